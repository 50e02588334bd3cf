use proptest::prelude::*;

use super::*;

fn floats() -> impl Strategy<Value = [f32; LANES]> {
    proptest::array::uniform16(prop_oneof![-1e4f32..1e4, -80f32..80.0, -1f32..1.0, Just(0.0)])
}

fn same_bits<T: PartialEq + std::fmt::Debug>(kernel: impl Fn(Level) -> T) {
    let portable = kernel(Level::Portable);
    for level in Level::all() {
        assert_eq!(kernel(*level), portable, "{level:?}");
    }
}

macro_rules! lanes_agree {
    ($($name:ident($($x:ident),*) = |$l:ident| $body:expr;)*) => {
        proptest! {$(
            #[test]
            fn $name($($x in floats()),*) {
                #[derive(Clone, Copy)]
                struct K<const N: usize>([[f32; LANES]; N]);
                impl<const N: usize> Kernel for K<N> {
                    type Output = [u32; LANES];
                    #[inline(always)]
                    fn with<L: Lanes>(self, $l: L) -> [u32; LANES] {
                        let mut at = 0;
                        $(let $x = $l.load(&self.0[at]); at += 1;)*
                        let _ = at;
                        let mut out = [0.0; LANES];
                        $l.store($body, &mut out);
                        out.map(f32::to_bits)
                    }
                }
                same_bits(|level| level.run(K([$($x),*])));
            }
        )*}
    };
}

lanes_agree! {
    sums_agree(a, b) = |l| l.add(a, b);
    differences_agree(a, b) = |l| l.sub(a, b);
    products_agree(a, b) = |l| l.mul(a, b);
    quotients_agree(a, b) = |l| l.div(a, b);
    fused_products_agree(a, b, c) = |l| l.fma(a, b, c);
    larger_and_smaller_agree(a, b) = |l| l.add(l.max(a, b), l.mul(l.min(a, b), l.splat(0.5)));
    rounding_agrees(a) = |l| l.round(a);
    exponentials_agree(a) = |l| exp(l, a);
    silu_agrees(a) = |l| silu(l, a);
    tanh_agrees(a) = |l| tanh(l, a);
    gelu_agrees(a) = |l| gelu_tanh(l, a);
    halves_agree(a) = |l| { let mut h = [0; LANES]; l.store_half(a, &mut h); l.load_half(&h) };
}

#[derive(Clone, Copy)]
struct Dots<'a>(&'a [u8; 64], &'a [u8; 64], [i8; 4], &'a [i8; LANES]);

impl Kernel for Dots<'_> {
    type Output = [[u32; LANES]; 4];
    #[inline(always)]
    fn with<L: Lanes>(self, l: L) -> Self::Output {
        let (w, v, x) = (l.weights(self.0), l.weights(self.1), self.2);
        let sum: i32 = x.iter().map(|x| i32::from(*x)).sum();
        let signed = l.dot_signed(l.begin(-128 * sum), w, x);
        let low = l.dot_unsigned(l.ints(7), l.low_nibbles(w), x);
        let high = l.dot_unsigned(low, l.or(l.high_nibbles(w), l.pair_to_high(v, 2)), x);
        [signed, l.times(signed, self.3), high, l.plus(low, high)].map(|i| {
            let mut out = [0.0; LANES];
            l.store(l.float(i), &mut out);
            out.map(f32::to_bits)
        })
    }
}

proptest! {
    #[test]
    fn integer_dots_agree(w: [[u8; 32]; 2], v: [[u8; 32]; 2], x in proptest::array::uniform4(-127i8..=127), k: [i8; 16]) {
        let (w, v): (Vec<u8>, Vec<u8>) = (w.concat(), v.concat());
        let (w, v) = (w.try_into().unwrap(), v.try_into().unwrap());
        same_bits(|level| level.run(Dots(&w, &v, x, &k)));
    }

    #[test]
    fn the_exponential_is_close(x in -87f32..88.0) {
        struct Exp(f32);
        impl Kernel for Exp {
            type Output = f32;
            #[inline(always)]
            fn with<L: Lanes>(self, l: L) -> f32 {
                let mut out = [0.0; LANES];
                l.store(exp(l, l.splat(self.0)), &mut out);
                out[0]
            }
        }
        let exact = f64::from(x).exp();
        let apart = (f64::from(Level::Portable.run(Exp(x))) - exact).abs() / exact;
        prop_assert!(apart < 2.4e-7, "{apart}");
    }
}

#[test]
fn extreme_weights_do_not_overflow_the_short_sums() {
    for (w, x) in [(0u8, 127i8), (0, -127), (255, 127), (255, -127)] {
        same_bits(|level| level.run(Dots(&[w; 64], &[255; 64], [x; 4], &[127; LANES])));
    }
}
