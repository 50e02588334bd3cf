//! Many validators' numbers into one: the score of a miner, or a governance vote.
//!
//! ```text
//! reports (value, stake, confidence), by validator
//!    -> valid?            stake > 0, lo <= value <= hi, 0 <= confidence <= 1
//!    -> enough of them?   at least `min_validators`, or no consensus: the value settled before stands
//!    -> value             by the method, of every valid report
//!    -> outliers          modified Z-score against stake-weighted median and MAD
//!    -> confidence        of the reports that are not outliers
//! ```
//!
//! # Methods
//!
//! With reports `(s_i, t_i, c_i)`, `t_i` the stake, and `T` the sum of the stake of the valid ones:
//!
//! | method | value | withstands |
//! |---|---|---|
//! | `robust` | lower median: smallest `s` such that `sum(t_i : s_i <= s) >= T / 2` | any split of less than `T / 2` |
//! | `weighted_median` | the same under its plain name | the same |
//! | `median` | middle of the lower and the upper median (largest `s` such that `sum(t_i : s_i >= s) >= T / 2`); at equal stakes the textbook's median | any split of less than `T / 2` |
//! | `trimmed_mean` | stake-weighted mean of the mass between the quantiles `f` and `1 - f`, `f = trim_ppm / 10^6`; of a report that straddles one, only the stake inside counts; from `f = 1/2` up `median` | any split of at most `f T` |
//! | `stake_weighted` | `sum(t_i s_i) / T` | nothing: a stake `t` moves it by up to `t / T` of the bounds' width |
//! | `confidence_weighted` | `sum(t_i c_i s_i) / sum(t_i c_i)`; the stake-weighted mean if that sum is 0 | nothing, and less: who declares 1 counts for more than honest doubt |
//!
//! To withstand means: the value stays between the smallest and the largest value of the others, whatever the rest reports
//! and into however many keys it is split. Means are taken over exact sums and rounded down to `2^-32` once. The chain
//! keeps a method as a number, [`Method::code`]. Six further methods are those of the [`seed`] system, for comparison only.
//!
//! # Outliers and confidence, in every method of ours
//!
//! ```text
//! m    = smallest s such that  sum(t_i : s_i <= s) >= T / 2
//! MAD  = smallest d such that  sum(t_i : |s_i - m| <= d) >= T / 2
//! z_i  = 0.6745 |s_i - m| / max(MAD, floor)        floor = mad_floor_ppm / 10^6 of the bounds' width
//! i is an outlier  iff  z_i > cut_off_milli / 1000                     (3.5 unless changed)
//! ```
//!
//! The modified Z-score and its cut-off are those of B. Iglewicz and D. C. Hoaglin, "How to Detect and Handle
//! Outliers", ASQC 1993; weighting median and MAD by stake is ours, and so is the floor. Without a floor a majority
//! that agrees to the last bit has MAD = 0 and no deviation can be measured against it; with the default of 1 % of the
//! width, a report more than 5.19 % of the width away from an unanimous majority is an outlier, and a closer one is not.
//!
//! Confidence is a product of three shares in `0..=1`, each over stake and each rounded down to `2^-32`, `v` the value:
//!
//! ```text
//! A = sum(t_i max(0, 1 - 2 |s_i - v| / (hi - lo))) / sum(t_i)          over reports that are not outliers: agreement
//! D = sum(t_i c_i) / sum(t_i)                                          over the same: what they declared
//! U = sum(t_i) / T                                                     how much of the stake they are
//! confidence = A D U
//! ```
//!
//! Who is an outlier is measured from the median in every method, since a mean moves with those it should flag. Agreement is
//! measured from the value: a mean that outliers drew away from those that agree is one to rely on less, and its
//! confidence falls by twice the way that it moved. In `robust` and `weighted_median` the value is `m`.
//!
//! # Properties (each is a test here)
//!
//! - Whoever holds more than half of the stake decides the range of the three medians: the value lies between the smallest
//!   and the largest value reported by any set of validators with more than half of the stake, whatever keys the rest
//!   splits into. The same holds for `trimmed_mean` and sets with at least `1 - f` of the stake.
//! - Splitting one key into several with the same report, or merging them, changes neither value, confidence nor who is
//!   flagged, in any method of ours: weights are linear in stake. (The count of validators does rise, so
//!   `min_validators` guards against absence, not against splitting.)
//! - The order of reports does not matter. Declared confidence never raises a weight above the stake, and changes the
//!   value of `confidence_weighted` only.
//! - Outliers do not leave the medians: these come from *all* valid reports. The median of the unflagged alone
//!   would break the first property: honest 26 % at 0.2 and 26 % at 0.8 with a cabal of 48 % at 0.81 flags the honest
//!   0.2, and the cabal would then set 0.81. Here the value is 0.8.
//!
//! # Arithmetic
//!
//! [`I32F32`] holds values from `-2^31` to `2^31 - 2^-32`: a governance parameter outside of this range has to be
//! scaled by its author. Inside it nothing overflows: differences of raw bits are taken in `i128`, where the widest is
//! below `2^64`; stakes are `u64` grain and their sums `u128`, below `2^96` as at most `2^32 - 1` reports are taken;
//! shares are rounded to 32 fractional bits *before* they are multiplied by stake, so these sums stay below `2^128`; the
//! products behind a mean are summed in 256 bits.
//!
//! # Use
//!
//! ```
//! use assay_consensus::aggregate::{Bounds, Method, Report, Rules, aggregate};
//! use fixed::types::I32F32;
//!
//! let report = |value: f64, stake| Report {
//!     value: I32F32::from_num(value),
//!     stake,
//!     confidence: I32F32::ONE,
//! };
//! let reports = [report(0.7, 10), report(0.7, 10), report(0.7, 10), report(0.0, 10)];
//! let settled = aggregate(&Rules::default(), Bounds::UNIT, &reports)?;
//! assert_eq!(settled.value, I32F32::from_num(0.7));
//! assert_eq!(settled.outliers[0].index, 3);
//!
//! // The mean follows the deviant, which it flags all the same.
//! let mean = aggregate(&Rules::of(Method::StakeWeighted), Bounds::UNIT, &reports)?;
//! assert!(mean.value < I32F32::from_num(0.53));
//! assert_eq!(mean.outliers, settled.outliers);
//!
//! // Two validators are no consensus: the value settled before stands.
//! assert!(aggregate(&Rules::default(), Bounds::UNIT, &reports[..2]).is_err());
//! # Ok::<(), assay_consensus::aggregate::NoConsensus>(())
//! ```

use borsh::{BorshDeserialize, BorshSerialize};
use fixed::types::I32F32;
use serde::{Deserialize, Serialize};

mod agreement;
mod means;
mod medians;
mod method;
pub mod seed;
#[cfg(test)]
mod tests;
mod trimmed;
mod wide;

/// What numbers are made of here, for callers that depend on nothing else for it.
pub use fixed;
pub use method::{Formula, Method, UnknownMethod};

/// What a chain has settled about aggregation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// The method.
    pub method: Method,
    /// Fewest valid reports, each with stake, that make a consensus; 3 unless changed.
    pub min_validators: u32,
    /// Modified Z-score, in thousandths, above which a report is an outlier; 3500 unless changed.
    pub cut_off_milli: u32,
    /// Smallest MAD the Z-score is measured against, in millionths of the bounds' width; 10 000 (1 %) unless changed.
    /// Even at 0 it is at least `2^-32`, so that it never divides by zero. The `seed_*` methods have no floor.
    pub mad_floor_ppm: u32,
    /// How much of the stake `trimmed_mean` leaves out at either end, in millionths; 333 333 (a third) unless changed.
    pub trim_ppm: u32,
}

impl Rules {
    /// The rules that a method comes with. The seed system's cut off at 2.0.
    #[must_use]
    pub fn of(method: Method) -> Self {
        let cut_off_milli = if method.is_seed() { 2_000 } else { 3_500 };
        Self { method, min_validators: 3, cut_off_milli, mad_floor_ppm: 10_000, trim_ppm: 333_333 }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self::of(Method::Robust)
    }
}

/// The values a report may have, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Bounds {
    /// Smallest valid value.
    pub lo: I32F32,
    /// Largest valid value.
    pub hi: I32F32,
}

impl Bounds {
    /// Bounds of a score: `0..=1`.
    pub const UNIT: Self = Self { lo: I32F32::ZERO, hi: I32F32::ONE };

    /// Whether `value` lies inside.
    #[must_use]
    pub fn contains(&self, value: I32F32) -> bool {
        self.lo <= value && value <= self.hi
    }

    /// Width in units of `2^-32`; at most `2^64 - 1`. Zero if the bounds are empty.
    fn width_bits(&self) -> u64 {
        if self.lo > self.hi {
            return 0;
        }
        self.hi.to_bits().abs_diff(self.lo.to_bits())
    }
}

/// One validator's (or voter's) number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Report {
    /// What it says; valid inside the [`Bounds`].
    pub value: I32F32,
    /// Stake behind it, in grain; valid above 0.
    pub stake: u64,
    /// How sure it says it is, `0..=1`. Lowers or raises the confidence of the result, never a weight.
    pub confidence: I32F32,
}

/// Why a report is not among those that agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum OutlierReason {
    /// Invalid: the value is outside of the bounds. It did not count for anything.
    OutOfBounds,
    /// Invalid: the declared confidence is outside of `0..=1`. It did not count for anything.
    ConfidenceOutOfRange,
    /// Invalid: no stake behind it. It did not count for anything.
    NoStake,
    /// Valid and part of the median, but too far from it: left out of confidence, trust and dividends.
    Deviates {
        /// Modified Z-score in thousandths, rounded down.
        z_milli: u64,
    },
}

impl OutlierReason {
    /// Whether the report was malformed, and not merely far away.
    #[must_use]
    pub fn is_invalid(&self) -> bool {
        !matches!(self, Self::Deviates { .. })
    }
}

/// A report that does not agree, by its place among the reports given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Outlier {
    /// Index into the reports given.
    pub index: u32,
    /// Why.
    pub reason: OutlierReason,
}

/// What the reports settle.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Aggregate {
    /// The value. By `robust` and `weighted_median` that of one of the valid reports, by every method between two of them.
    pub value: I32F32,
    /// How far it can be relied on, `0..=1`; the formula is in the module's documentation.
    pub confidence: I32F32,
    /// How many reports were valid.
    pub valid: u32,
    /// Stake of the valid reports, in grain.
    pub valid_stake: u128,
    /// Stake of those of them that are not outliers, in grain; at least half of `valid_stake` at any cut-off from 0.6745 up,
    /// except by the `seed_*` methods, which count keys.
    pub agreeing_stake: u128,
    /// Stake-weighted median absolute deviation before the floor, in units of `2^-32`. By the `seed_*` methods unweighted.
    pub mad_bits: u64,
    /// Reports that are invalid or deviate, ascending by index.
    pub outliers: Vec<Outlier>,
}

impl Aggregate {
    /// Whether the report at `index` is invalid or deviates.
    #[must_use]
    pub fn is_outlier(&self, index: u32) -> bool {
        self.outliers.binary_search_by_key(&index, |outlier| outlier.index).is_ok()
    }
}

/// Why there is no value. Whatever was settled before stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoConsensus {
    /// Fewer valid reports than the rules ask for.
    #[error("expected at least {needed} valid reports with stake, found {valid}; the value settled before stands")]
    TooFewValidators {
        /// Valid reports found.
        valid: u32,
        /// What `min_validators` asks for.
        needed: u32,
        /// The reports that are invalid, and why.
        outliers: Vec<Outlier>,
    },
    /// No valid report has stake; only possible when `min_validators` is 0.
    #[error("expected stake behind at least one valid report, found none; the value settled before stands")]
    NoStake {
        /// The reports that are invalid, and why.
        outliers: Vec<Outlier>,
    },
    /// The bounds admit no value.
    #[error("expected bounds with lo <= hi, found lo {lo} and hi {hi}; correct the parameter's bounds")]
    EmptyBounds {
        /// Lower bound given.
        lo: I32F32,
        /// Upper bound given.
        hi: I32F32,
    },
    /// A number that a `seed_*` method cannot take.
    #[error(
        "expected scores from -2^31 and confidences from 0, both below 2^31, found another {field} in report {index}"
    )]
    OutOfRange {
        /// Index into the reports given.
        index: u32,
        /// `score` or `confidence`.
        field: &'static str,
    },
    /// More reports than an index of 32 bits can name.
    #[error("expected at most 4294967295 reports, found {found}; aggregate fewer at once")]
    TooManyReports {
        /// Reports given.
        found: u64,
    },
}

/// Settles `reports` under `rules`. Pure: same input, same output, on every machine.
///
/// The `seed_*` methods count every report and disregard bounds, `mad_floor_ppm` and `trim_ppm`.
///
/// # Errors
///
/// [`NoConsensus`] when there are too few valid reports, or when bounds or count of reports are not usable; by the `seed_*`
/// methods also for a negative confidence.
pub fn aggregate(rules: &Rules, bounds: Bounds, reports: &[Report]) -> Result<Aggregate, NoConsensus> {
    if bounds.lo > bounds.hi {
        return Err(NoConsensus::EmptyBounds { lo: bounds.lo, hi: bounds.hi });
    }
    if u32::try_from(reports.len()).is_err() {
        return Err(NoConsensus::TooManyReports { found: reports.len() as u64 });
    }
    if rules.method.is_seed() {
        return seed::aggregate(rules, reports);
    }
    let (valid, outliers) = sort_out(bounds, reports);
    let count = valid.len() as u32; // fits: at most as many as the reports
    if count < rules.min_validators {
        return Err(NoConsensus::TooFewValidators { valid: count, needed: rules.min_validators, outliers });
    }
    if valid.is_empty() {
        return Err(NoConsensus::NoStake { outliers });
    }
    let median = medians::lower(&valid);
    let value = match rules.method.formula() {
        Formula::Robust | Formula::WeightedMedian => median,
        Formula::Median => medians::middle(&valid),
        Formula::TrimmedMean => trimmed::mean(rules.trim_ppm, bounds, &valid),
        Formula::StakeWeighted => means::by_stake(bounds, &valid),
        Formula::ConfidenceWeighted => means::by_confidence(bounds, &valid),
    };
    Ok(agreement::judge(rules, bounds, &valid, outliers, median, value))
}

/// A valid report and its place among those given.
type Valid<'a> = (u32, &'a Report);

/// Parts the reports into valid ones and the reasons against the others, both by index.
fn sort_out(bounds: Bounds, reports: &[Report]) -> (Vec<Valid<'_>>, Vec<Outlier>) {
    let mut valid = Vec::with_capacity(reports.len());
    let mut outliers = Vec::new();
    for (index, report) in (0u32..).zip(reports) {
        let reason = if !bounds.contains(report.value) {
            OutlierReason::OutOfBounds
        } else if !Bounds::UNIT.contains(report.confidence) {
            OutlierReason::ConfidenceOutOfRange
        } else if report.stake == 0 {
            OutlierReason::NoStake
        } else {
            valid.push((index, report));
            continue;
        };
        outliers.push(Outlier { index, reason });
    }
    (valid, outliers)
}
