//! What every method of ours says beside its value: who deviates, and how far the value can be relied on.

use super::{Aggregate, Bounds, Outlier, OutlierReason, Rules, Valid, medians::lower_median};
use fixed::types::I32F32;

/// 0.6745, the 0.75 quantile of the standard normal distribution, in ten-thousandths as Iglewicz and Hoaglin give it.
const NORMAL_QUARTILE: u128 = 6_745;
/// Its scale.
const TEN_THOUSAND: u128 = 10_000;
/// One in 32 fractional bits.
const ONE: u128 = 1 << 32;

/// Flags valid reports, of which there is at least one, by their distance from `median`, and measures the confidence in
/// `value`. `outliers` are the invalid ones.
pub(super) fn judge(
    rules: &Rules,
    bounds: Bounds,
    valid: &[Valid<'_>],
    mut outliers: Vec<Outlier>,
    median: I32F32,
    value: I32F32,
) -> Aggregate {
    let distance = |s: I32F32, from: I32F32| s.to_bits().abs_diff(from.to_bits());
    let mad = lower_median(valid.iter().map(|(_, r)| (distance(r.value, median), r.stake)).collect());
    let scale = u128::from(mad).max(mad_floor(rules, bounds));

    let width = u128::from(bounds.width_bits());
    let (mut valid_stake, mut agreeing_stake, mut agreement, mut declared) = (0u128, 0u128, 0u128, 0u128);
    for (index, report) in valid {
        let stake = u128::from(report.stake);
        let d = u128::from(distance(report.value, median));
        valid_stake += stake;
        if exceeds(d, scale, rules.cut_off_milli) {
            outliers.push(Outlier { index: *index, reason: OutlierReason::Deviates { z_milli: z_milli(d, scale) } });
            continue;
        }
        agreeing_stake += stake;
        agreement += stake * closeness(u128::from(distance(report.value, value)), width);
        declared += stake * u128::from(report.confidence.to_bits().unsigned_abs());
    }
    outliers.sort_unstable_by_key(|outlier| outlier.index);

    let factors =
        [share(agreement, agreeing_stake), share(declared, agreeing_stake), share(agreeing_stake * ONE, valid_stake)];
    let confidence = factors.into_iter().fold(ONE, |acc, f| (acc * f) >> 32);
    Aggregate {
        value,
        confidence: from_share(confidence),
        valid: valid.len() as u32, // fits: `aggregate` refuses more reports
        valid_stake,
        agreeing_stake,
        mad_bits: mad,
        outliers,
    }
}

/// The floor under the MAD in units of `2^-32`, at least one of them.
fn mad_floor(rules: &Rules, bounds: Bounds) -> u128 {
    (u128::from(bounds.width_bits()) * u128::from(rules.mad_floor_ppm) / 1_000_000).max(1)
}

/// Whether `0.6745 d / scale > cut_off_milli / 1000`, without dividing. `d` and `scale` are below `2^96`, so that the
/// products stay below `2^128`: `d < 2^64` always, and `scale < 2^64 * 2^32 / 10^6`.
fn exceeds(d: u128, scale: u128, cut_off_milli: u32) -> bool {
    let limit = (TEN_THOUSAND * u128::from(cut_off_milli)).checked_mul(scale);
    limit.is_some_and(|limit| NORMAL_QUARTILE * 1_000 * d > limit)
}

/// The modified Z-score in thousandths, for the record.
fn z_milli(d: u128, scale: u128) -> u64 {
    u64::try_from(NORMAL_QUARTILE * 1_000 * d / (TEN_THOUSAND * scale)).unwrap_or(u64::MAX)
}

/// `max(0, 1 - 2 d / width)` in 32 fractional bits, rounded down.
fn closeness(d: u128, width: u128) -> u128 {
    if width == 0 {
        return ONE; // one value is possible, and all reported it
    }
    (width.saturating_sub(2 * d) << 32) / width
}

/// `part / whole`, where `part` has 32 fractional bits more.
fn share(part: u128, whole: u128) -> u128 {
    part.checked_div(whole).unwrap_or(0).min(ONE)
}

/// A share in 32 fractional bits, at most one, as a number.
fn from_share(share: u128) -> I32F32 {
    I32F32::from_bits(i64::try_from(share.min(ONE)).unwrap_or(1 << 32))
}
