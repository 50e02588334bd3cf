//! [`Method::TrimmedMean`](super::Method::TrimmedMean): the mean of the middle of the stake.

use super::{Bounds, Valid, means, medians};
use fixed::types::I32F32;

/// One in millionths.
const MILLION: u32 = 1_000_000;

/// The stake-weighted mean of the mass between the quantiles `f` and `1 - f`, `f` in millionths, rounded down. Of a report
/// that straddles a quantile, only the stake inside counts. From a half up nothing would be left: the median, which is
/// what the mean tends to.
pub(super) fn mean(trim_ppm: u32, bounds: Bounds, valid: &[Valid<'_>]) -> I32F32 {
    let Some(kept_below) = MILLION.checked_sub(trim_ppm).filter(|end| *end > trim_ppm) else {
        return medians::middle(valid);
    };
    let mut sorted: Vec<_> = valid.iter().map(|(_, report)| (report.value, u128::from(report.stake))).collect();
    sorted.sort_unstable_by_key(|(value, _)| *value);
    // In millionths of a grain, so that quantiles are exact: below 2^96 2^20.
    let total: u128 = sorted.iter().map(|(_, stake)| stake).sum();
    let (start, end) = (total * u128::from(trim_ppm), total * u128::from(kept_below));
    let mut reached = 0u128;
    let inside = sorted.into_iter().map(|(value, stake)| {
        let before = reached;
        reached += stake * u128::from(MILLION);
        (value, reached.min(end).saturating_sub(before.max(start)))
    });
    // Between two different quantiles lies stake.
    means::mean(bounds, inside).unwrap_or(bounds.lo)
}
