//! [`Method::Robust`], [`Method::WeightedMedian`] and [`Method::Median`]: nothing below half of the stake moves them
//! out of the others' range.
//!
//! [`Method::Robust`]: super::Method::Robust
//! [`Method::WeightedMedian`]: super::Method::WeightedMedian
//! [`Method::Median`]: super::Method::Median

use super::Valid;
use fixed::types::I32F32;

/// The lower median of the reports' values.
pub(super) fn lower(valid: &[Valid<'_>]) -> I32F32 {
    lower_median(by_value(valid))
}

/// The middle between lower and upper median, rounded down.
pub(super) fn middle(valid: &[Valid<'_>]) -> I32F32 {
    let (lower, upper) = (lower_median(by_value(valid)), upper_median(by_value(valid)));
    let twice = i128::from(lower.to_bits()) + i128::from(upper.to_bits());
    I32F32::from_bits((twice >> 1) as i64) // fits: it lies between the two
}

fn by_value(valid: &[Valid<'_>]) -> Vec<(I32F32, u64)> {
    valid.iter().map(|(_, report)| (report.value, report.stake)).collect()
}

/// The smallest value at or below which lies at least half of the stake. The default value if there is none at all.
pub(super) fn lower_median<T: Ord + Copy + Default>(mut weighted: Vec<(T, u64)>) -> T {
    // Equal values may come in any order: only the sum over them is compared.
    weighted.sort_unstable_by_key(|(value, _)| *value);
    half(weighted.into_iter())
}

/// The largest value at or above which lies at least half of the stake.
fn upper_median<T: Ord + Copy + Default>(mut weighted: Vec<(T, u64)>) -> T {
    weighted.sort_unstable_by_key(|(value, _)| *value);
    half(weighted.into_iter().rev())
}

/// The first value by which half of the stake is reached.
fn half<T: Default>(sorted: impl Iterator<Item = (T, u64)> + Clone) -> T {
    let total: u128 = sorted.clone().map(|(_, stake)| u128::from(stake)).sum();
    let mut reached = 0u128;
    for (value, stake) in sorted {
        reached += u128::from(stake);
        if reached >= total - reached {
            return value;
        }
    }
    T::default()
}
