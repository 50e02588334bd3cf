//! Sixteen lanes as arrays, for any processor.

use half::f16;

use super::{Kernel, LANES, Lanes};

/// Arrays of sixteen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Portable;

#[inline(always)]
fn each<A: Copy, B>(x: [A; LANES], f: impl Fn(A) -> B) -> [B; LANES] {
    std::array::from_fn(|i| f(x[i]))
}

#[inline(always)]
fn both<A: Copy, B: Copy, C>(x: [A; LANES], y: [B; LANES], f: impl Fn(A, B) -> C) -> [C; LANES] {
    std::array::from_fn(|i| f(x[i], y[i]))
}

impl Lanes for Portable {
    type F = [f32; LANES];
    type I = [i32; LANES];
    type W = [u8; 4 * LANES];

    const WIDE: bool = false;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        [x; LANES]
    }
    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Self::F {
        *from
    }
    #[inline(always)]
    fn load_half(self, from: &[u16; LANES]) -> Self::F {
        each(*from, |x| f16::from_bits(x).to_f32())
    }
    #[inline(always)]
    fn load_bytes(self, from: &[u8; LANES]) -> Self::F {
        each(*from, f32::from)
    }
    #[inline(always)]
    fn store(self, x: Self::F, to: &mut [f32; LANES]) {
        *to = x;
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        both(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        both(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        both(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        both(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
    }
    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        both(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        both(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn round(self, x: Self::F) -> Self::F {
        each(x, f32::round_ties_even)
    }
    #[inline(always)]
    fn power_of_two(self, n: Self::F) -> Self::F {
        each(n, |n| f32::from_bits(((n as i32 + 127) << 23) as u32))
    }
    #[inline(always)]
    fn store_half(self, x: Self::F, to: &mut [u16; LANES]) {
        *to = each(x, |x| f16::from_f32(x).to_bits());
    }

    #[inline(always)]
    fn weights(self, from: &[u8; 4 * LANES]) -> Self::W {
        *from
    }
    #[inline(always)]
    fn prefetch<T>(self, _at: &T, _bytes: usize) {}
    #[inline(always)]
    fn low_nibbles(self, w: Self::W) -> Self::W {
        std::array::from_fn(|i| w[i] & 15)
    }
    #[inline(always)]
    fn high_nibbles(self, w: Self::W) -> Self::W {
        std::array::from_fn(|i| w[i] >> 4)
    }
    #[inline(always)]
    fn pair_to_high(self, w: Self::W, at: u32) -> Self::W {
        std::array::from_fn(|i| ((w[i] >> (2 * at)) & 3) << 4)
    }
    #[inline(always)]
    fn or(self, a: Self::W, b: Self::W) -> Self::W {
        std::array::from_fn(|i| a[i] | b[i])
    }

    #[inline(always)]
    fn begin(self, _begin: i32) -> Self::I {
        [0; LANES]
    }
    #[inline(always)]
    fn dot_signed(self, acc: Self::I, w: Self::W, x: [i8; 4]) -> Self::I {
        std::array::from_fn(|i| (0..4).fold(acc[i], |a, j| a + (i32::from(w[4 * i + j]) - 128) * i32::from(x[j])))
    }
    #[inline(always)]
    fn ints(self, x: i32) -> Self::I {
        [x; LANES]
    }
    #[inline(always)]
    fn dot_unsigned(self, acc: Self::I, w: Self::W, x: [i8; 4]) -> Self::I {
        std::array::from_fn(|i| (0..4).fold(acc[i], |a, j| a + i32::from(w[4 * i + j]) * i32::from(x[j])))
    }
    #[inline(always)]
    fn times(self, x: Self::I, k: &[i8; LANES]) -> Self::I {
        both(x, *k, |x, k| x.wrapping_mul(i32::from(k)))
    }
    #[inline(always)]
    fn plus(self, a: Self::I, b: Self::I) -> Self::I {
        both(a, b, i32::wrapping_add)
    }
    #[inline(always)]
    fn float(self, x: Self::I) -> Self::F {
        each(x, |x| x as f32)
    }

    #[inline]
    fn run<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.with(self)
    }
}
