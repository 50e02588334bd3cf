//! Numbers: [`I32F32`] with every rounding stated. Products round down, quotients towards zero, `x / 0 = 0`, results
//! outside of the type's range become its nearest end, and sums are taken in `i128`, where they cannot overflow.
//!
//! The operators are written out on raw bits instead of taken from a library so that rounding is ours to keep.

use fixed::types::I32F32;

/// One in raw bits.
const ONE_BITS: i128 = 1 << 32;

fn saturate(bits: i128) -> I32F32 {
    let clamped = bits.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
    I32F32::from_bits(clamped as i64) // fits: clamped
}

fn wide(x: I32F32) -> i128 {
    i128::from(x.to_bits())
}

/// `a b`, rounded down.
pub(super) fn mul(a: I32F32, b: I32F32) -> I32F32 {
    saturate((wide(a) * wide(b)) >> 32)
}

/// `a / b`, rounded towards zero; 0 if `b` is 0.
pub(super) fn div(a: I32F32, b: I32F32) -> I32F32 {
    div_by_sum(a, wide(b))
}

/// `a / sum` for a sum as [`sum`] returns it, rounded towards zero; 0 if the sum is 0.
pub(super) fn div_by_sum(a: I32F32, sum: i128) -> I32F32 {
    saturate((wide(a) << 32).checked_div(sum).unwrap_or(0))
}

/// Divides many numbers by one sum: what [`div_by_sum`] gives, to the last bit, without a division each.
///
/// With the sum `d` shifted to `2^62 <= d < 2^63` and `x` shifted as far, `q = floor(2^32 x / d)` follows from
/// `r = floor(2^96 / d)`: the product `x r / 2^64` is less than `x / 2^64 < 1` below `2^32 x / d`, so its floor is `q`
/// or `q - 1`, and the remainder, which is below `2 d < 2^64`, tells which. Source of the idea: T. Granlund and
/// P. L. Montgomery, "Division by Invariant Integers using Multiplication", PLDI 1994.
#[derive(Clone, Copy)]
pub(super) struct Divisor {
    sum: i128,
    /// The sum, shifted; 0 if it is not in `1..2^63`, and then every division is done at length.
    shifted: u64,
    shift: u32,
    reciprocal: u64,
}

impl Divisor {
    pub(super) fn new(sum: i128) -> Self {
        let bits = u64::try_from(sum).unwrap_or(0);
        if bits == 0 || bits >> 63 == 1 {
            return Self { sum, shifted: 0, shift: 0, reciprocal: 0 };
        }
        let shift = bits.leading_zeros() - 1;
        let shifted = bits << shift;
        let reciprocal = ((1u128 << 96) / u128::from(shifted)) as u64; // fits: at most 2^34
        Self { sum, shifted, shift, reciprocal }
    }

    /// `x / sum`, rounded towards zero; 0 if the sum is 0. Fast where `0 <= x <= sum`.
    pub(super) fn divide(&self, x: I32F32) -> I32F32 {
        let bits = x.to_bits();
        if self.shifted == 0 || bits < 0 || i128::from(bits) > self.sum {
            return div_by_sum(x, self.sum);
        }
        I32F32::from_bits(self.share(bits.unsigned_abs()) as i64) // fits: at most one
    }

    /// [`divide`](Self::divide) on raw bits, where `x <= sum < 2^63` is known; 0 if the sum is 0.
    pub(super) fn share(&self, x: u64) -> u64 {
        let x = x << self.shift;
        let least = ((u128::from(x) * u128::from(self.reciprocal)) >> 64) as u64; // fits: below 2^33
        let rest = (x << 32).wrapping_sub(least.wrapping_mul(self.shifted));
        least + u64::from(rest >= self.shifted && self.shifted > 0)
    }
}

/// Exact sum in raw bits. At most `2^32` terms are ever added, so it stays below `2^96`.
pub(super) fn sum(terms: impl IntoIterator<Item = I32F32>) -> i128 {
    terms.into_iter().map(wide).sum()
}

/// [`sum`] as a number.
pub(super) fn saturating_sum(terms: impl IntoIterator<Item = I32F32>) -> I32F32 {
    saturate(sum(terms))
}

/// `part / whole` as a number, rounded down; 0 if `whole` is 0. Meant for stakes: `part <= whole`.
pub(super) fn ratio(part: u64, whole: u128) -> I32F32 {
    let bits = (u128::from(part) << 32).checked_div(whole).unwrap_or(0);
    saturate(i128::try_from(bits).unwrap_or(i128::MAX))
}

/// `x / 65535`, the meaning of a proportion kept in 16 bits.
pub(super) fn from_u16(x: u16) -> I32F32 {
    div(I32F32::from_num(x), I32F32::from_num(u16::MAX))
}

/// `floor(65535 x)`, at least 0 and at most 65535: how proportions are kept in 16 bits.
#[must_use]
pub fn to_u16(x: I32F32) -> u16 {
    let scaled = (wide(x) * i128::from(u16::MAX)) >> 32;
    scaled.clamp(0, i128::from(u16::MAX)) as u16 // fits: clamped
}

/// Divides by the sum; unchanged if the sum is 0.
pub(super) fn normalize(x: &mut [I32F32]) {
    let total = sum(x.iter().copied());
    if total != 0 {
        for value in x {
            *value = div_by_sum(*value, total);
        }
    }
}

/// `floor(share * amount)` for a share in `0..=1`.
pub(super) fn part_of(amount: u64, share: I32F32) -> u64 {
    let bits = u128::from(share.to_bits().max(0).unsigned_abs());
    // fits: a share is at most one
    u64::try_from((bits * u128::from(amount)) >> 32).unwrap_or(amount)
}

/// `e^x` with `x` limited to `-20..=20`, rounded down from an error below `2^-58` relative.
///
/// `x = k ln 2 + r` with `0 <= r < ln 2`; the series of `e^r` in 64 fractional bits, then `k` binary places.
pub(super) fn exp(x: I32F32) -> I32F32 {
    /// `ln 2` in 64 fractional bits.
    const LN_2: i128 = 0xB172_17F7_D1CF_79AB;
    let limit = I32F32::from_num(20);
    let x = wide(x.clamp(-limit, limit)) << 32;
    let places = x.div_euclid(LN_2);
    let r = x.rem_euclid(LN_2) as u64; // fits: below ln 2 in 64 fractional bits
    // The first two terms, 1 and r.
    let (mut series, mut term) = ((1u128 << 64) + u128::from(r), r);
    for n in 2..=22 {
        term = (((u128::from(term) * u128::from(r)) >> 64) as u64) / n; // fits: a product of two below one
        series += u128::from(term);
    }
    // From 64 to 32 fractional bits, `places` of them undone: -29 <= places <= 28.
    let down = (32 - places).clamp(0, 127) as u32; // fits: clamped
    saturate(i128::try_from(series >> down).unwrap_or(i128::MAX))
}

/// `1 / (1 + e^(-steepness (x - middle)))`.
pub(super) fn sigmoid(x: I32F32, steepness: I32F32, middle: I32F32) -> I32F32 {
    let one = saturate(ONE_BITS);
    let exponent = mul(-steepness, x.saturating_sub(middle));
    div(one, exp(exponent).saturating_add(one))
}

/// `ln x` for `x > 0`, rounded down from an error below `2^-58`; 0 for any other `x`.
///
/// `x = 2^k y` with `1 <= y < 2`, `z = (y - 1) / (y + 1) <= 1/3`, `ln y = 2 (z + z^3/3 + z^5/5 + ...)`, in 64 fractional
/// bits; 21 terms leave less than `2^-66`.
pub(super) fn ln(x: I32F32) -> I32F32 {
    /// `ln 2` in 64 fractional bits.
    const LN_2: i128 = 0xB172_17F7_D1CF_79AC;
    let bits = match u64::try_from(x.to_bits()) {
        Ok(bits) if bits > 0 => bits,
        _ => return I32F32::ZERO,
    };
    let places = 31 - i128::from(bits.leading_zeros());
    let y = u128::from(bits << bits.leading_zeros()); // 63 fractional bits
    let one = 1u128 << 63;
    let z = ((y - one) << 64) / (y + one);
    let square = (z * z) >> 64;
    let (mut series, mut power) = (0u128, z);
    for n in 0..21 {
        series += power / (2 * n + 1);
        power = (power * square) >> 64;
    }
    let ln_y = i128::try_from(2 * series).unwrap_or(i128::MAX); // fits: below one
    saturate((places * LN_2 + ln_y) >> 32)
}
