//! Scores and weights: numbers in 0..=1 with 32 fractional bits, exact and the same on every machine.

use std::{fmt, str::FromStr};

use borsh::{BorshDeserialize, BorshSerialize};
use fixed::types::I32F32;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A number in 0..=1, stored as a count of 2^-32. Construction refuses anything outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize)]
pub struct Score(u64);

/// The bits of the number one.
const ONE: u64 = 1 << 32;

/// A number that is not a score.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a score lies in 0..=1, found {found}")]
pub struct ScoreError {
    found: String,
}

impl Score {
    /// The worst score.
    pub const ZERO: Score = Score(0);
    /// The best score.
    pub const ONE: Score = Score(ONE);

    /// From a count of 2^-32; at most 2^32.
    pub fn from_bits(bits: u64) -> Result<Self, ScoreError> {
        if bits > ONE { Err(ScoreError { found: format!("{bits} / 2^32") }) } else { Ok(Self(bits)) }
    }

    /// The count of 2^-32, in 0..=2^32.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// `floor(2^32 * numerator / denominator)`, capped at one; zero for a zero denominator.
    pub fn ratio(numerator: u64, denominator: u64) -> Self {
        if denominator == 0 {
            return Self::ZERO;
        }
        let bits = (u128::from(numerator) << 32) / u128::from(denominator);
        Self(bits.min(u128::from(ONE)) as u64)
    }

    /// The product, rounded down.
    pub fn times(self, other: Score) -> Self {
        Self(((u128::from(self.0) * u128::from(other.0)) >> 32) as u64)
    }

    /// As the signed fixed-point number the mechanism computes with.
    pub fn to_fixed(self) -> I32F32 {
        I32F32::from_bits(self.0 as i64)
    }

    /// From a fixed-point number; outside 0..=1 is an error.
    pub fn from_fixed(value: I32F32) -> Result<Self, ScoreError> {
        u64::try_from(value.to_bits()).map_err(|_| ScoreError { found: value.to_string() }).and_then(Self::from_bits)
    }

    /// For people and JSON only; never computed with on chain.
    pub fn to_f64(self) -> f64 {
        self.0 as f64 / ONE as f64
    }
}

impl BorshDeserialize for Score {
    fn deserialize_reader<R: std::io::Read>(reader: &mut R) -> std::io::Result<Self> {
        let bits = u64::deserialize_reader(reader)?;
        Self::from_bits(bits).map_err(|e| std::io::Error::new(std::io::ErrorKind::InvalidData, e))
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:.4}", self.to_f64()))
    }
}

impl FromStr for Score {
    type Err = ScoreError;
    fn from_str(text: &str) -> Result<Self, ScoreError> {
        let value = I32F32::from_str(text).map_err(|_| ScoreError { found: text.chars().take(40).collect() })?;
        Self::from_fixed(value)
    }
}

impl Serialize for Score {
    /// As a JSON number; every count of 2^-32 is exact in a double.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.to_f64())
    }
}

impl<'de> Deserialize<'de> for Score {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = <f64 as Deserialize>::deserialize(deserializer)?;
        if !(0.0..=1.0).contains(&number) {
            return Err(D::Error::custom(ScoreError { found: number.to_string() }));
        }
        Ok(Self((number * ONE as f64).round() as u64))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn json_and_borsh_round_trip_bit_for_bit(bits in 0..=ONE) {
            let score = Score::from_bits(bits).unwrap();
            let json = serde_json::to_string(&score).unwrap();
            prop_assert_eq!(serde_json::from_str::<Score>(&json).unwrap(), score);
            prop_assert_eq!(crate::decode::<Score>("score", &crate::encode(&score)).unwrap(), score);
        }

        #[test]
        fn anything_above_one_is_refused(bits in ONE + 1..) {
            prop_assert!(Score::from_bits(bits).is_err());
            prop_assert!(crate::decode::<Score>("score", &bits.to_le_bytes()).is_err());
        }
    }

    #[test]
    fn ratios_floor_and_cap() {
        assert_eq!(Score::ratio(1, 3).bits(), ONE / 3);
        assert_eq!(Score::ratio(4, 3), Score::ONE);
        assert_eq!(Score::ratio(1, 0), Score::ZERO);
    }
}
