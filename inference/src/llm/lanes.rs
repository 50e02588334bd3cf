//! Sixteen lanes of arithmetic, and the processors that have them.
//!
//! The engine's sums have one order, written down here and in the kernels: sixteen lanes wide, each step rounded once
//! (a fused multiply-add is one rounding). A processor with wider or narrower registers computes the same sixteen
//! lanes in fewer or more instructions, so that a model gives **the same bits on every machine**, alone or in a batch,
//! in one chunk or token by token, on one thread or many. That is what lets a validator replay an answer exactly.
//!
//! A kernel is generic over [`Lanes`] and runs through `Level::run` on the best the machine has ([`Level::best`]).

mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(crate) use portable::Portable;

/// How many.
pub(crate) const LANES: usize = 16;

/// Arithmetic on sixteen lanes of `f32` or `i32`.
///
/// Every method rounds as IEEE 754 says, to nearest, ties to even, and gives the same bits on each implementation.
pub(crate) trait Lanes: Copy {
    /// Sixteen `f32`.
    type F: Copy;
    /// Sixteen `i32`.
    type I: Copy;
    /// Sixteen groups of four weights of eight bits, as loaded.
    type W: Copy;

    /// Whether there are 32 registers of sixteen lanes, rather than sixteen of eight.
    const WIDE: bool;

    /// The same value in each lane.
    fn splat(self, x: f32) -> Self::F;
    /// Lanes from memory.
    fn load(self, from: &[f32; LANES]) -> Self::F;
    /// Lanes from IEEE half precision; exact.
    fn load_half(self, from: &[u16; LANES]) -> Self::F;
    /// Lanes from bytes; exact.
    fn load_bytes(self, from: &[u8; LANES]) -> Self::F;
    /// Lanes to memory.
    fn store(self, x: Self::F, to: &mut [f32; LANES]);
    /// `a + b`
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a - b`
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b`
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a / b`
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// The larger; `b` where either is NaN.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// The smaller; `b` where either is NaN.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// To the nearest integer, ties to even.
    fn round(self, x: Self::F) -> Self::F;
    /// `2^n` for integers `n` in -126..=127.
    fn power_of_two(self, n: Self::F) -> Self::F;
    /// Rounded to IEEE half precision, to nearest, ties to even.
    fn store_half(self, x: Self::F, to: &mut [u16; LANES]);

    /// Weights from memory: lane `i` has bytes `4 i..4 i + 4`.
    fn weights(self, from: &[u8; 4 * LANES]) -> Self::W;
    /// Asks memory for the line that lies `bytes` after a value, so that it is there when its turn comes; it may lie
    /// beyond what is allocated.
    fn prefetch<T>(self, at: &T, bytes: usize);
    /// The low four bits of each byte.
    fn low_nibbles(self, w: Self::W) -> Self::W;
    /// The high four bits of each byte.
    fn high_nibbles(self, w: Self::W) -> Self::W;
    /// Bits `2 at..2 at + 2` of each byte moved to bits 4 and 5, others 0; `at` in 0..4.
    fn pair_to_high(self, w: Self::W, at: u32) -> Self::W;
    /// `a | b`
    fn or(self, a: Self::W, b: Self::W) -> Self::W;

    /// Where a sum over signed weights begins, for activations whose sum times -128 is `begin`.
    fn begin(self, begin: i32) -> Self::I;
    /// Adds, in each lane, the four products of `w - 128` (bytes as unsigned) and `x` to a sum that [`Lanes::begin`]
    /// began; exact.
    fn dot_signed(self, acc: Self::I, w: Self::W, x: [i8; 4]) -> Self::I;
    /// The same integer in each lane; where a sum over unsigned weights begins.
    fn ints(self, x: i32) -> Self::I;
    /// Adds, in each lane, the four products of `w` (bytes as unsigned, at most 127) and `x`; exact.
    fn dot_unsigned(self, acc: Self::I, w: Self::W, x: [i8; 4]) -> Self::I;
    /// The integer of each lane times one of `k`; wrapping.
    fn times(self, x: Self::I, k: &[i8; LANES]) -> Self::I;
    /// `a + b`, wrapping.
    fn plus(self, a: Self::I, b: Self::I) -> Self::I;
    /// To `f32`, rounded to nearest; exact below 2^24.
    fn float(self, x: Self::I) -> Self::F;

    /// Runs a kernel with these lanes enabled.
    fn run<K: Kernel>(self, kernel: K) -> K::Output;
}

/// Something that computes on lanes.
pub(crate) trait Kernel {
    /// What it gives.
    type Output;
    /// Computes; must be `#[inline(always)]`, so that it is compiled for the lanes it gets.
    fn with<L: Lanes>(self, lanes: L) -> Self::Output;
}

/// The lanes of a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// AVX-512 with VNNI.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX2 with FMA and F16C.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Whatever the compiler makes of arrays.
    Portable,
}

impl Level {
    /// The widest that this machine has.
    pub fn best() -> Self {
        Self::all()[0]
    }

    /// Those that this machine has, the widest first.
    pub fn all() -> &'static [Self] {
        #[cfg(target_arch = "x86_64")]
        {
            use std::sync::LazyLock;
            static ALL: LazyLock<Vec<Level>> = LazyLock::new(|| {
                let wide = x86::Avx512::detect().map(|_| Level::Avx512);
                let mid = x86::Avx2::detect().map(|_| Level::Avx2);
                wide.into_iter().chain(mid).chain([Level::Portable]).collect()
            });
            &ALL
        }
        #[cfg(not(target_arch = "x86_64"))]
        &[Level::Portable]
    }

    /// Runs a kernel.
    ///
    /// # Panics
    /// If this machine has no such lanes.
    #[inline]
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => x86::Avx512::detect().expect("levels come from `all`").run(kernel),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => x86::Avx2::detect().expect("levels come from `all`").run(kernel),
            Level::Portable => Portable.run(kernel),
        }
    }
}

/// The sum of the lanes: halves added to halves, so eight, four, two, one.
#[inline(always)]
pub(crate) fn sum<L: Lanes>(l: L, x: L::F) -> f32 {
    let mut a = [0.0; LANES];
    l.store(x, &mut a);
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            a[i] += a[i + width];
        }
        width /= 2;
    }
    a[0]
}

/// `e^x`, within two units in the last place; 0 below -87.3 and infinity above 88.7.
///
/// Cody and Waite's reduction by `ln 2` and a polynomial of the sixth degree (the coefficients of Cephes' `expf`).
#[inline(always)]
pub(crate) fn exp<L: Lanes>(l: L, x: L::F) -> L::F {
    let s = |x| l.splat(x);
    let clamped = l.min(l.max(x, s(-87.336_54)), s(88.376_26));
    let n = l.round(l.mul(clamped, s(std::f32::consts::LOG2_E)));
    let r = l.fma(n, s(-0.693_359_4), clamped);
    let r = l.fma(n, s(2.121_944_4e-4), r);
    let mut p = s(1.987_569_2e-4);
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = l.fma(p, r, s(c));
    }
    let e = l.add(l.fma(p, l.mul(r, r), r), s(1.0));
    l.mul(e, l.power_of_two(n))
}

/// `x / (1 + e^-x)`
#[inline(always)]
pub(crate) fn silu<L: Lanes>(l: L, x: L::F) -> L::F {
    let e = exp(l, l.sub(l.splat(0.0), x));
    l.div(x, l.add(l.splat(1.0), e))
}

/// `tanh x`, from `e^2x`; within 1e-6.
#[inline(always)]
pub(crate) fn tanh<L: Lanes>(l: L, x: L::F) -> L::F {
    // Beyond nine, the result is one to the last bit.
    let x = l.min(l.max(x, l.splat(-9.0)), l.splat(9.0));
    let e = exp(l, l.add(x, x));
    l.div(l.sub(e, l.splat(1.0)), l.add(e, l.splat(1.0)))
}

/// Gaussian error linear unit by its hyperbolic tangent, as Gemma and Phi use it.
#[inline(always)]
pub(crate) fn gelu_tanh<L: Lanes>(l: L, x: L::F) -> L::F {
    let cube = l.mul(l.mul(x, x), x);
    let inner = l.mul(l.splat(0.797_884_6), l.fma(cube, l.splat(0.044_715), x));
    let half = l.mul(l.splat(0.5), x);
    l.fma(half, tanh(l, inner), half)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
