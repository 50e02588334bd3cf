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
    let r = x.rem_euclid(LN_2).unsigned_abs();
    let (mut series, mut term) = (1u128 << 64, 1u128 << 64);
    for n in 1..=22 {
        term = ((term * r) >> 64) / n;
        series += term;
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
