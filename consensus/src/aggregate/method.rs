//! The methods by name and number.

use std::{fmt, str::FromStr};

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// How many reports become one value. The formulas and what each withstands stand in the parent module's documentation.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Method {
    /// Stake-weighted lower median. The default, and what a chain should use.
    #[default]
    Robust,
    /// The same value under its plain name.
    WeightedMedian,
    /// Middle between the stake-weighted lower and upper median.
    Median,
    /// Stake-weighted mean without the outer parts of the stake.
    TrimmedMean,
    /// Stake-weighted mean. Any stake moves it.
    StakeWeighted,
    /// Mean weighted by stake times declared confidence. Any stake moves it.
    ConfidenceWeighted,
    /// The seed system's `median`; see [`seed`](super::seed). Never on a chain, as all that follow.
    SeedMedian,
    /// Its `weighted_median`.
    SeedWeightedMedian,
    /// Its `trimmed_mean`.
    SeedTrimmedMean,
    /// Its `stake_weighted`.
    SeedStakeWeighted,
    /// Its `confidence_weighted`.
    SeedConfidenceWeighted,
    /// Its `robust`.
    SeedRobust,
}

/// What a method computes, by ours or by the seed system's formula of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Formula {
    /// `robust`.
    Robust,
    /// `weighted_median`.
    WeightedMedian,
    /// `median`.
    Median,
    /// `trimmed_mean`.
    TrimmedMean,
    /// `stake_weighted`.
    StakeWeighted,
    /// `confidence_weighted`.
    ConfidenceWeighted,
}

impl Method {
    /// Every method: first those a chain may settle, by their codes, then the compatibility modes.
    pub const ALL: [Self; 12] = [
        Self::Robust,
        Self::WeightedMedian,
        Self::Median,
        Self::TrimmedMean,
        Self::StakeWeighted,
        Self::ConfidenceWeighted,
        Self::SeedMedian,
        Self::SeedWeightedMedian,
        Self::SeedTrimmedMean,
        Self::SeedStakeWeighted,
        Self::SeedConfidenceWeighted,
        Self::SeedRobust,
    ];

    /// The number that stands for it in a chain's parameters, `0..=5`. Codes never change their meaning. `None` for the
    /// compatibility modes, which never run on a chain.
    #[must_use]
    pub fn code(self) -> Option<u64> {
        match self {
            Self::Robust => Some(0),
            Self::WeightedMedian => Some(1),
            Self::Median => Some(2),
            Self::TrimmedMean => Some(3),
            Self::StakeWeighted => Some(4),
            Self::ConfidenceWeighted => Some(5),
            _ => None,
        }
    }

    /// The method a [`Method::code`] stands for.
    #[must_use]
    pub fn from_code(code: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.code() == Some(code))
    }

    /// Whether it is one of the seed system's, kept for comparison.
    #[must_use]
    pub fn is_seed(self) -> bool {
        self.code().is_none()
    }

    /// What it computes.
    #[must_use]
    pub fn formula(self) -> Formula {
        match self {
            Self::Robust | Self::SeedRobust => Formula::Robust,
            Self::WeightedMedian | Self::SeedWeightedMedian => Formula::WeightedMedian,
            Self::Median | Self::SeedMedian => Formula::Median,
            Self::TrimmedMean | Self::SeedTrimmedMean => Formula::TrimmedMean,
            Self::StakeWeighted | Self::SeedStakeWeighted => Formula::StakeWeighted,
            Self::ConfidenceWeighted | Self::SeedConfidenceWeighted => Formula::ConfidenceWeighted,
        }
    }

    /// Its name, as in JSON and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Robust => "robust",
            Self::WeightedMedian => "weighted_median",
            Self::Median => "median",
            Self::TrimmedMean => "trimmed_mean",
            Self::StakeWeighted => "stake_weighted",
            Self::ConfidenceWeighted => "confidence_weighted",
            Self::SeedMedian => "seed_median",
            Self::SeedWeightedMedian => "seed_weighted_median",
            Self::SeedTrimmedMean => "seed_trimmed_mean",
            Self::SeedStakeWeighted => "seed_stake_weighted",
            Self::SeedConfidenceWeighted => "seed_confidence_weighted",
            Self::SeedRobust => "seed_robust",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that no method has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected one of {}, found {found:?}", Method::ALL.map(Method::name).join(", "))]
pub struct UnknownMethod {
    /// What was given.
    pub found: String,
}

impl FromStr for Method {
    type Err = UnknownMethod;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = Self::ALL.into_iter().find(|method| method.name() == text);
        named.ok_or_else(|| UnknownMethod { found: text.to_owned() })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_numbers_and_encodings_agree() {
        for (place, method) in (0u8..).zip(Method::ALL) {
            assert_eq!(method.to_string().parse(), Ok(method));
            assert_eq!(serde_json::to_string(&method).unwrap(), format!("\"{method}\""));
            assert_eq!(borsh::to_vec(&method).unwrap(), [place]);
            let code = (place < 6).then_some(u64::from(place));
            assert_eq!(method.code(), code);
            assert_eq!(Method::from_code(u64::from(place)), code.map(|_| method));
            let ours = method.name().strip_prefix("seed_");
            assert_eq!(method.is_seed(), ours.is_some());
            let same: Method = ours.unwrap_or(method.name()).parse().unwrap();
            assert_eq!(same.formula(), method.formula());
        }
        assert_eq!(Method::default(), Method::Robust);
        assert_eq!(Method::from_code(u64::MAX), None);
    }

    #[test]
    fn an_unknown_name_is_told_with_those_that_are_known() {
        let error = "mean".parse::<Method>().unwrap_err().to_string();
        assert!(error.starts_with("expected one of robust, ") && error.ends_with("found \"mean\""), "{error}");
    }
}
