//! [`Method::StakeWeighted`](super::Method::StakeWeighted) and
//! [`Method::ConfidenceWeighted`](super::Method::ConfidenceWeighted): every report moves them, by its share of the weight.

use super::{Bounds, Valid, wide};
use fixed::types::I32F32;

/// `sum(t s) / sum(t)`.
pub(super) fn by_stake(bounds: Bounds, valid: &[Valid<'_>]) -> I32F32 {
    let weighted = valid.iter().map(|(_, report)| (report.value, u128::from(report.stake)));
    // Valid reports have stake.
    mean(bounds, weighted).unwrap_or(bounds.lo)
}

/// `sum(t c s) / sum(t c)`; the stake-weighted mean if everybody declares a confidence of 0, which weighs none against another.
pub(super) fn by_confidence(bounds: Bounds, valid: &[Valid<'_>]) -> I32F32 {
    let weight = |stake, confidence: I32F32| u128::from(stake) * u128::from(confidence.to_bits().unsigned_abs());
    let weighted = valid.iter().map(|(_, report)| (report.value, weight(report.stake, report.confidence)));
    mean(bounds, weighted).unwrap_or_else(|| by_stake(bounds, valid))
}

/// The weighted mean of values within the bounds, rounded down once, after exact sums; `None` without weight. The
/// weights' sum is below `2^128`.
pub(super) fn mean(bounds: Bounds, weighted: impl Iterator<Item = (I32F32, u128)>) -> Option<I32F32> {
    let lo = bounds.lo.to_bits();
    let above = wide::mean(weighted.map(|(value, weight)| (u128::from(value.to_bits().abs_diff(lo)), weight)))?;
    // A mean of distances from `lo` is at most the width of the bounds, below 2^64.
    Some(I32F32::from_bits((i128::from(lo) + above as i128) as i64))
}
