//! The seed system's six methods, so that results can be compared with ours. Never used by a chain.
//!
//! Every report counts, whatever its stake. With `n` reports `(s_i, t_i, c_i)`, `m` and `MAD` *un*weighted medians (the
//! middle of both for even `n`) and the population's standard deviation `std`:
//!
//! ```text
//! n < min_validators  ->  no value (the seed system answers 0 with confidence 0)
//! i is an outlier iff |0.6745 (s_i - m) / MAD| > cut-off (2.0 there); none if MAD = 0 or n < 3
//! median               m
//! weighted_median      sorted by s: the first whose sum of c_i / sum(c) so far is >= 1/2; the smallest s if sum(c) = 0
//! trimmed_mean         mean of those that are no outliers
//! stake_weighted       sum(s t) / sum(t)
//! confidence_weighted  sum(s c) / sum(c)
//! robust               sum(s c sqrt(t)) / sum(c sqrt(t)) over those that are no outliers
//! confidence = 0.4 (1 - min(2 std, 1/2)) + 0.4 mean(c) + 0.2 (1 - 0.3 outliers / n), at least 1/2 and at most 1
//! ```
//!
//! Where the weights' sum is zero, the plain mean over the same reports stands instead, and the mean of all where no
//! report would be left (which takes a negative cut-off). Source: sonson0910/moderntensor at 25b83ad5,
//! `sdk/ai_ml/scoring/consensus.py`. What is wrong with these formulas stands in the parent module's documentation.
//!
//! # Arithmetic
//!
//! Numbers have 64 fractional bits here, and sums are exact in 256, so that results are those of the formulas to well
//! below `10^-9`. The seed system computes in binary64, where one thing jumps: which report holds the weighted median
//! when some hold exactly half of the weight together. That sum is therefore rounded step by step as binary64 rounds
//! it, in integers.

use super::{Aggregate, Formula, NoConsensus, Outlier, OutlierReason, Rules, wide};
use fixed::types::{I32F32, I64F64, U64F64};

mod binary64;

/// One in 64 fractional bits.
const ONE: u128 = 1 << 64;
/// Numbers of reports are below this in amount.
const LIMIT: I64F64 = I64F64::lit("2147483648");

/// One validator's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// What it says; any number from `-2^31` to below `2^31`.
    pub score: I64F64,
    /// How sure it says it is; from 0 to below `2^31`. A weight in half of the methods.
    pub confidence: I64F64,
    /// Stake behind it, in any unit, the same for all: one in which stakes are large keeps small ones exact.
    pub stake: U64F64,
}

/// What the reports give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The value.
    pub value: I64F64,
    /// The confidence, `0.5..=1`.
    pub confidence: I64F64,
    /// Unweighted median absolute deviation.
    pub mad: I64F64,
    /// Reports far from the unweighted median, ascending by index.
    pub outliers: Vec<Outlier>,
}

/// Settles reports as the seed system does. `cut_off` is its `outlier_threshold`, 2.0 unless given there.
///
/// # Errors
///
/// [`NoConsensus`] with fewer reports than `min_validators` (whatever their stake) or none, with more than `2^32 - 1`, or
/// with a number outside of the limits of [`Report`].
pub fn settle(
    formula: Formula,
    cut_off: I64F64,
    min_validators: u32,
    reports: &[Report],
) -> Result<Settled, NoConsensus> {
    let Ok(count) = u32::try_from(reports.len()) else {
        return Err(NoConsensus::TooManyReports { found: reports.len() as u64 });
    };
    if count < min_validators.max(1) {
        let needed = min_validators.max(1);
        return Err(NoConsensus::TooFewValidators { valid: count, needed, outliers: Vec::new() });
    }
    for (index, report) in (0u32..).zip(reports) {
        let score = (-LIMIT..LIMIT).contains(&report.score);
        if !score || !(I64F64::ZERO..LIMIT).contains(&report.confidence) {
            return Err(NoConsensus::OutOfRange { index, field: if score { "confidence" } else { "score" } });
        }
    }
    let median = median(reports.iter().map(|report| report.score.to_bits()).collect());
    let distance = |report: &Report| report.score.to_bits().abs_diff(median);
    let mad = self::median(reports.iter().map(|report| distance(report) as i128).collect()).unsigned_abs();
    let deviates = |report: &&Report| count >= 3 && exceeds(distance(report), mad, cut_off);
    let outliers: Vec<_> = (0u32..)
        .zip(reports)
        .filter(|(_, report)| deviates(report))
        .map(|(index, report)| Outlier {
            index,
            reason: OutlierReason::Deviates { z_milli: z_milli(distance(report), mad) },
        })
        .collect();

    let all: Vec<&Report> = reports.iter().collect();
    let mut clean: Vec<&Report> = reports.iter().filter(|report| !deviates(report)).collect();
    if clean.is_empty() {
        clean.clone_from(&all);
    }
    let value = match formula {
        Formula::Median => median,
        Formula::WeightedMedian => weighted_median(all),
        Formula::TrimmedMean => mean(&clean),
        Formula::StakeWeighted => weighted_mean(&all, all.iter().map(|r| r.stake.to_bits()).collect()),
        Formula::ConfidenceWeighted => weighted_mean(&all, all.iter().map(|r| confidence_bits(r)).collect()),
        // With none clean, the seed system takes the plain mean.
        Formula::Robust if outliers.len() == reports.len() => mean(&all),
        Formula::Robust => weighted_mean(&clean, robust_weights(&clean)),
    };
    let confidence = I64F64::from_bits(confidence(reports, outliers.len() as u128) as i128);
    // All fit: distances are below 2^33 and shares at most one.
    Ok(Settled { value: I64F64::from_bits(value), confidence, mad: I64F64::from_bits(mad as i128), outliers })
}

/// The same from and into the types of the ledger, whose numbers have 32 fractional bits.
pub(super) fn aggregate(rules: &Rules, reports: &[super::Report]) -> Result<Aggregate, NoConsensus> {
    let wide = |report: &super::Report| Report {
        score: report.value.into(),
        confidence: report.confidence.into(),
        stake: report.stake.into(),
    };
    let cut_off = I64F64::from_num(rules.cut_off_milli) / 1_000;
    let wide: Vec<_> = reports.iter().map(wide).collect();
    let settled = settle(rules.method.formula(), cut_off, rules.min_validators, &wide)?;
    let stake = |report: &super::Report| u128::from(report.stake);
    let valid_stake: u128 = reports.iter().map(stake).sum();
    let deviating: u128 = settled.outliers.iter().map(|outlier| stake(&reports[outlier.index as usize])).sum();
    Ok(Aggregate {
        value: nearest(settled.value),
        confidence: nearest(settled.confidence),
        valid: reports.len() as u32, // fits: `settle` refuses more
        valid_stake,
        agreeing_stake: valid_stake - deviating,
        mad_bits: (settled.mad.to_bits() >> 32) as u64, // at most 2^64 - 1, as the scores are this near
        outliers: settled.outliers,
    })
}

/// Rounded to `2^-32`, halves up.
fn nearest(x: I64F64) -> I32F32 {
    x.saturating_add(I64F64::DELTA << 31).saturating_to_num()
}

fn confidence_bits(report: &Report) -> u128 {
    report.confidence.to_bits().unsigned_abs()
}

/// The middle one, or the middle of the middle two. There is at least one.
fn median(mut bits: Vec<i128>) -> i128 {
    bits.sort_unstable();
    let (low, high) = (bits[(bits.len() - 1) / 2], bits[bits.len() / 2]);
    (low + high) >> 1
}

/// Whether `0.6745 d / mad > cut_off`; never where `mad` is 0.
fn exceeds(d: u128, mad: u128, cut_off: I64F64) -> bool {
    if mad == 0 || cut_off < I64F64::ZERO {
        return mad != 0;
    }
    let limit = wide::Wide::product(cut_off.to_bits().unsigned_abs(), 10_000 * mad);
    wide::Wide::product(6_745 * d, ONE) > limit
}

/// The modified Z-score in thousandths, for the record.
fn z_milli(d: u128, mad: u128) -> u64 {
    (6_745 * d).checked_div(10 * mad).and_then(|z| u64::try_from(z).ok()).unwrap_or(u64::MAX)
}

fn mean(reports: &[&Report]) -> i128 {
    weighted_mean(reports, vec![1; reports.len()])
}

/// `sum(w s) / sum(w)`, the plain mean if there is no weight. There is at least one report.
fn weighted_mean(reports: &[&Report], weights: Vec<u128>) -> i128 {
    let lowest = reports.iter().map(|report| report.score.to_bits()).min().unwrap_or(0);
    let above = |report: &&Report| report.score.to_bits().abs_diff(lowest);
    let mean = match wide::mean(reports.iter().map(above).zip(to_64_bits(weights))) {
        Some(mean) => mean,
        None => wide::mean(reports.iter().map(|report| (above(report), 1))).unwrap_or(0),
    };
    lowest + mean as i128 // below 2^97: a mean of such distances
}

/// Weights scaled together so that the largest has at most 64 bits, with which no sum overflows.
fn to_64_bits(mut weights: Vec<u128>) -> Vec<u128> {
    let largest = weights.iter().max().copied().unwrap_or(0);
    let excess = 64u32.saturating_sub(largest.leading_zeros());
    for weight in &mut weights {
        *weight >>= excess;
    }
    weights
}

/// `c sqrt(t)`, up to a common factor.
fn robust_weights(reports: &[&Report]) -> Vec<u128> {
    // Where one factor is zero, the other must not decide how far all are scaled.
    let factors = reports.iter().map(|report| (confidence_bits(report), report.stake.to_bits()));
    let (confidences, stakes): (Vec<_>, Vec<_>) =
        factors.map(|(c, t)| if c == 0 || t == 0 { (0, 0) } else { (c, t) }).unzip();
    let largest = stakes.iter().max().copied().unwrap_or(0);
    // Even, so that the root is scaled by a whole power of two, and then as large as 64 bits hold.
    let shift = if largest == 0 { 0 } else { largest.leading_zeros() & !1 };
    let roots = stakes.into_iter().map(|stake| (stake << shift).isqrt());
    to_64_bits(confidences).into_iter().zip(roots).map(|(confidence, root)| confidence * root).collect()
}

/// The score of the first report by which half of the confidence is reached; the smallest if there is none.
fn weighted_median(mut reports: Vec<&Report>) -> i128 {
    // Numpy leaves the order of equal scores open; here no order of the reports matters.
    reports.sort_unstable_by_key(|report| (report.score, report.confidence));
    let weights: Vec<_> = reports.iter().map(|report| confidence_bits(report)).collect();
    let place = binary64::half_reached(&weights).unwrap_or(0);
    reports[place].score.to_bits()
}

/// How the seed system rates agreement, in 64 fractional bits.
fn confidence(reports: &[Report], outliers: u128) -> u128 {
    let count = reports.len() as u128;
    let all: Vec<_> = reports.iter().collect();
    let mean = mean(&all);
    let square = |report: &Report| {
        let d = report.score.to_bits().abs_diff(mean);
        wide::Wide::product(d, d)
    };
    // Distances are below 2^97, their squares' sum below 2^226. The mean square saturates far beyond the largest that counts.
    let variance = reports.iter().fold(wide::Wide::default(), |sum, report| sum.plus(square(report))).div_rem(count).0;
    let agreement = ONE - (2 * variance.isqrt()).min(ONE / 2);
    let declared = reports.iter().map(confidence_bits).sum::<u128>() / count;
    let tenths = 4 * agreement + 4 * declared + 2 * ONE - 6 * ONE * outliers / (10 * count);
    (tenths / 10).clamp(ONE / 2, ONE)
}
