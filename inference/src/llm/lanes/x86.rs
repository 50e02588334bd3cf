//! Sixteen lanes in one register of AVX-512, or in two of AVX2.
//!
//! The crate's one place of unsafe code: processor instructions behind tokens that exist only where the processor has
//! them, in the manner of the `pulp` crate (which lacks the dot products of bytes and half precision).
#![allow(unsafe_code, reason = "instructions that a token proves to be there")]

use std::{arch::x86_64::*, sync::LazyLock};

use super::{Kernel, LANES, Lanes};

/// Proof that the processor has AVX-512 (F, BW, VL, DQ) with VNNI.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512(());

/// Proof that the processor has AVX2, FMA and F16C.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx2(());

impl Avx512 {
    /// The token, if the processor has the features.
    #[inline]
    pub(crate) fn detect() -> Option<Self> {
        static FOUND: LazyLock<bool> = LazyLock::new(|| {
            is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vnni")
                && Avx2::detect().is_some()
        });
        FOUND.then_some(Self(()))
    }
}

impl Avx2 {
    /// The token, if the processor has the features.
    #[inline]
    pub(crate) fn detect() -> Option<Self> {
        static FOUND: LazyLock<bool> = LazyLock::new(|| {
            is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
        });
        FOUND.then_some(Self(()))
    }
}

// SAFETY, for every block below: a token of this type was made by `detect`, so the processor has the instruction; and
// memory is reached through references to arrays of exactly the length that the instruction reads or writes, by
// instructions that ask for no alignment.
impl Lanes for Avx512 {
    type F = __m512;
    type I = __m512i;
    type W = __m512i;

    const WIDE: bool = true;

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> __m512 {
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }
    #[inline(always)]
    fn load_half(self, from: &[u16; LANES]) -> __m512 {
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())) }
    }
    #[inline(always)]
    fn load_bytes(self, from: &[u8; LANES]) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.as_ptr().cast()))) }
    }
    #[inline(always)]
    fn store(self, x: __m512, to: &mut [f32; LANES]) {
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), x) }
    }
    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    fn round(self, x: __m512) -> __m512 {
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x) }
    }
    #[inline(always)]
    fn power_of_two(self, n: __m512) -> __m512 {
        unsafe {
            let n = _mm512_add_epi32(_mm512_cvttps_epi32(n), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(n))
        }
    }
    #[inline(always)]
    fn store_half(self, x: __m512, to: &mut [u16; LANES]) {
        unsafe {
            let half = _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x);
            _mm256_storeu_si256(to.as_mut_ptr().cast(), half);
        }
    }

    #[inline(always)]
    fn weights(self, from: &[u8; 4 * LANES]) -> __m512i {
        unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
    }
    #[inline(always)]
    fn prefetch<T>(self, at: &T, bytes: usize) {
        // Nothing is read: an address that is no memory's is passed over.
        unsafe { _mm_prefetch::<_MM_HINT_T0>((&raw const *at).wrapping_byte_add(bytes).cast()) }
    }
    #[inline(always)]
    fn low_nibbles(self, w: __m512i) -> __m512i {
        unsafe { _mm512_and_si512(w, _mm512_set1_epi8(15)) }
    }
    #[inline(always)]
    fn high_nibbles(self, w: __m512i) -> __m512i {
        unsafe { _mm512_and_si512(_mm512_srli_epi16::<4>(w), _mm512_set1_epi8(15)) }
    }
    #[inline(always)]
    fn pair_to_high(self, w: __m512i, at: u32) -> __m512i {
        unsafe {
            let low = _mm512_srl_epi16(w, _mm_cvtsi32_si128(2 * at as i32));
            _mm512_slli_epi16::<4>(_mm512_and_si512(low, _mm512_set1_epi8(3)))
        }
    }
    #[inline(always)]
    fn or(self, a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_or_si512(a, b) }
    }

    #[inline(always)]
    fn begin(self, begin: i32) -> __m512i {
        unsafe { _mm512_set1_epi32(begin) }
    }
    #[inline(always)]
    fn dot_signed(self, acc: __m512i, w: __m512i, x: [i8; 4]) -> __m512i {
        self.dot_unsigned(acc, w, x)
    }
    #[inline(always)]
    fn ints(self, x: i32) -> __m512i {
        unsafe { _mm512_set1_epi32(x) }
    }
    #[inline(always)]
    fn dot_unsigned(self, acc: __m512i, w: __m512i, x: [i8; 4]) -> __m512i {
        unsafe { _mm512_dpbusd_epi32(acc, w, _mm512_set1_epi32(i32::from_le_bytes(x.map(|x| x as u8)))) }
    }
    #[inline(always)]
    fn times(self, x: __m512i, k: &[i8; LANES]) -> __m512i {
        unsafe { _mm512_mullo_epi32(x, _mm512_cvtepi8_epi32(_mm_loadu_si128(k.as_ptr().cast()))) }
    }
    #[inline(always)]
    fn plus(self, a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_add_epi32(a, b) }
    }
    #[inline(always)]
    fn float(self, x: __m512i) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(x) }
    }

    #[inline]
    fn run<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
        fn inner<K: Kernel>(lanes: Avx512, kernel: K) -> K::Output {
            kernel.with(lanes)
        }
        unsafe { inner(self, kernel) }
    }
}

// SAFETY: as above.
impl Lanes for Avx2 {
    type F = [__m256; 2];
    type I = [__m256i; 2];
    type W = [__m256i; 2];

    const WIDE: bool = false;

    #[inline(always)]
    fn splat(self, x: f32) -> [__m256; 2] {
        unsafe { [_mm256_set1_ps(x); 2] }
    }
    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> [__m256; 2] {
        unsafe { [_mm256_loadu_ps(from.as_ptr()), _mm256_loadu_ps(from[8..].as_ptr())] }
    }
    #[inline(always)]
    fn load_half(self, from: &[u16; LANES]) -> [__m256; 2] {
        unsafe {
            let half = |at: usize| _mm256_cvtph_ps(_mm_loadu_si128(from[at..at + 8].as_ptr().cast()));
            [half(0), half(8)]
        }
    }
    #[inline(always)]
    fn load_bytes(self, from: &[u8; LANES]) -> [__m256; 2] {
        unsafe {
            let bytes = _mm_loadu_si128(from.as_ptr().cast());
            [bytes, _mm_srli_si128::<8>(bytes)].map(|b| _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(b)))
        }
    }
    #[inline(always)]
    fn store(self, x: [__m256; 2], to: &mut [f32; LANES]) {
        unsafe {
            _mm256_storeu_ps(to.as_mut_ptr(), x[0]);
            _mm256_storeu_ps(to[8..].as_mut_ptr(), x[1]);
        }
    }
    #[inline(always)]
    fn add(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        unsafe { [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])] }
    }
    #[inline(always)]
    fn sub(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        unsafe { [_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])] }
    }
    #[inline(always)]
    fn mul(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        unsafe { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
    }
    #[inline(always)]
    fn div(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        unsafe { [_mm256_div_ps(a[0], b[0]), _mm256_div_ps(a[1], b[1])] }
    }
    #[inline(always)]
    fn fma(self, a: [__m256; 2], b: [__m256; 2], c: [__m256; 2]) -> [__m256; 2] {
        unsafe { [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])] }
    }
    #[inline(always)]
    fn max(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        unsafe { [_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])] }
    }
    #[inline(always)]
    fn min(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        unsafe { [_mm256_min_ps(a[0], b[0]), _mm256_min_ps(a[1], b[1])] }
    }
    #[inline(always)]
    fn round(self, x: [__m256; 2]) -> [__m256; 2] {
        unsafe { x.map(|x| _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x)) }
    }
    #[inline(always)]
    fn power_of_two(self, n: [__m256; 2]) -> [__m256; 2] {
        unsafe {
            n.map(|n| {
                let n = _mm256_add_epi32(_mm256_cvttps_epi32(n), _mm256_set1_epi32(127));
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(n))
            })
        }
    }
    #[inline(always)]
    fn store_half(self, x: [__m256; 2], to: &mut [u16; LANES]) {
        unsafe {
            _mm_storeu_si128(to.as_mut_ptr().cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x[0]));
            _mm_storeu_si128(to[8..].as_mut_ptr().cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x[1]));
        }
    }

    #[inline(always)]
    fn weights(self, from: &[u8; 4 * LANES]) -> [__m256i; 2] {
        unsafe { [_mm256_loadu_si256(from.as_ptr().cast()), _mm256_loadu_si256(from[32..].as_ptr().cast())] }
    }
    #[inline(always)]
    fn prefetch<T>(self, at: &T, bytes: usize) {
        // Nothing is read: an address that is no memory's is passed over.
        unsafe { _mm_prefetch::<_MM_HINT_T0>((&raw const *at).wrapping_byte_add(bytes).cast()) }
    }
    #[inline(always)]
    fn low_nibbles(self, w: [__m256i; 2]) -> [__m256i; 2] {
        unsafe { w.map(|w| _mm256_and_si256(w, _mm256_set1_epi8(15))) }
    }
    #[inline(always)]
    fn high_nibbles(self, w: [__m256i; 2]) -> [__m256i; 2] {
        unsafe { w.map(|w| _mm256_and_si256(_mm256_srli_epi16::<4>(w), _mm256_set1_epi8(15))) }
    }
    #[inline(always)]
    fn pair_to_high(self, w: [__m256i; 2], at: u32) -> [__m256i; 2] {
        unsafe {
            w.map(|w| {
                let low = _mm256_srl_epi16(w, _mm_cvtsi32_si128(2 * at as i32));
                _mm256_slli_epi16::<4>(_mm256_and_si256(low, _mm256_set1_epi8(3)))
            })
        }
    }
    #[inline(always)]
    fn or(self, a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        unsafe { [_mm256_or_si256(a[0], b[0]), _mm256_or_si256(a[1], b[1])] }
    }

    #[inline(always)]
    fn begin(self, _begin: i32) -> [__m256i; 2] {
        self.ints(0)
    }
    #[inline(always)]
    fn dot_signed(self, acc: [__m256i; 2], w: [__m256i; 2], x: [i8; 4]) -> [__m256i; 2] {
        unsafe {
            let x = _mm256_set1_epi32(i32::from_le_bytes(x.map(|x| x as u8)));
            std::array::from_fn(|i| {
                let w = _mm256_xor_si256(w[i], _mm256_set1_epi8(-128));
                // |w| is at most 128 and |x| at most 127, so that no pair of products leaves sixteen bits.
                let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
                _mm256_add_epi32(acc[i], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
            })
        }
    }
    #[inline(always)]
    fn ints(self, x: i32) -> [__m256i; 2] {
        unsafe { [_mm256_set1_epi32(x); 2] }
    }
    #[inline(always)]
    fn dot_unsigned(self, acc: [__m256i; 2], w: [__m256i; 2], x: [i8; 4]) -> [__m256i; 2] {
        unsafe {
            let x = _mm256_set1_epi32(i32::from_le_bytes(x.map(|x| x as u8)));
            std::array::from_fn(|i| {
                let pairs = _mm256_maddubs_epi16(w[i], x);
                _mm256_add_epi32(acc[i], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
            })
        }
    }
    #[inline(always)]
    fn times(self, x: [__m256i; 2], k: &[i8; LANES]) -> [__m256i; 2] {
        unsafe {
            let k = _mm_loadu_si128(k.as_ptr().cast());
            let k = [k, _mm_srli_si128::<8>(k)].map(|k| _mm256_cvtepi8_epi32(k));
            [_mm256_mullo_epi32(x[0], k[0]), _mm256_mullo_epi32(x[1], k[1])]
        }
    }
    #[inline(always)]
    fn plus(self, a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        unsafe { [_mm256_add_epi32(a[0], b[0]), _mm256_add_epi32(a[1], b[1])] }
    }
    #[inline(always)]
    fn float(self, x: [__m256i; 2]) -> [__m256; 2] {
        unsafe { x.map(|x| _mm256_cvtepi32_ps(x)) }
    }

    #[inline]
    fn run<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx2,fma,f16c")]
        fn inner<K: Kernel>(lanes: Avx2, kernel: K) -> K::Output {
            kernel.with(lanes)
        }
        unsafe { inner(self, kernel) }
    }
}
