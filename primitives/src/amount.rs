//! Money: whole grains in a `u64`; 1 ASY = 10^9 grain.

use std::{fmt, str::FromStr};

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// Grains in one ASY.
pub const GRAINS_PER_ASY: u64 = 1_000_000_000;

/// A non-negative amount of money in grain. Arithmetic is checked: there is no operator that can wrap.
///
/// In JSON it is the plain integer number of grains; in text it is `1.5 ASY`.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(transparent)]
pub struct Amount(pub u64);

impl Amount {
    /// Nothing.
    pub const ZERO: Amount = Amount(0);

    /// Whole ASY; saturates at the largest amount.
    pub const fn asy(whole: u64) -> Amount {
        Amount(whole.saturating_mul(GRAINS_PER_ASY))
    }

    /// The number of grains.
    pub const fn grains(self) -> u64 {
        self.0
    }

    /// The sum, or `None` if it does not fit.
    pub fn checked_add(self, other: Amount) -> Option<Amount> {
        self.0.checked_add(other.0).map(Amount)
    }

    /// The difference, or `None` if `other` is larger.
    pub fn checked_sub(self, other: Amount) -> Option<Amount> {
        self.0.checked_sub(other.0).map(Amount)
    }

    /// `floor(self * numerator / denominator)`; zero if the denominator is zero; capped at `self` for fractions above one.
    pub fn fraction(self, numerator: u64, denominator: u64) -> Amount {
        if denominator == 0 {
            return Amount::ZERO;
        }
        let part = u128::from(self.0) * u128::from(numerator) / u128::from(denominator);
        Amount(part.min(u128::from(self.0)) as u64)
    }

    /// `floor(self * basis_points / 10_000)`.
    pub fn basis_points(self, basis_points: u64) -> Amount {
        self.fraction(basis_points, 10_000)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / GRAINS_PER_ASY, self.0 % GRAINS_PER_ASY);
        let text = match rest {
            0 => format!("{whole} ASY"),
            _ => format!("{whole}.{} ASY", format!("{rest:09}").trim_end_matches('0')),
        };
        f.pad(&text)
    }
}

/// Why a text is not an amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not an amount: {reason}; write for example 12, 12.5 ASY or 7 grain")]
pub struct ParseAmountError {
    found: String,
    reason: &'static str,
}

impl FromStr for Amount {
    type Err = ParseAmountError;

    /// Accepts `12`, `12.5`, `12.5 ASY` (whole ASY with up to nine decimals) and `7 grain`.
    fn from_str(text: &str) -> Result<Self, ParseAmountError> {
        let wrong = |reason| ParseAmountError { found: text.chars().take(60).collect(), reason };
        let trimmed = text.trim();
        if let Some(grains) = trimmed.strip_suffix("grain") {
            return grains
                .trim()
                .parse()
                .map(Amount)
                .map_err(|_| wrong("expected a whole number of grains below 2^64"));
        }
        let number = trimmed.strip_suffix("ASY").unwrap_or(trimmed).trim();
        let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(decimals) {
            return Err(wrong("expected digits with at most one decimal point and no sign"));
        }
        if decimals.len() > 9 {
            return Err(wrong("more than nine decimals; one grain is 0.000000001 ASY"));
        }
        let rest: u64 = format!("{decimals:0<9}").parse().map_err(|_| wrong("unreadable decimals"))?;
        whole
            .parse::<u64>()
            .ok()
            .and_then(|w| w.checked_mul(GRAINS_PER_ASY))
            .and_then(|w| w.checked_add(rest))
            .map(Amount)
            .ok_or_else(|| wrong("larger than 2^64 - 1 grains"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_form_round_trips(grains: u64) {
            prop_assert_eq!(Amount(grains).to_string().parse::<Amount>().unwrap(), Amount(grains));
        }

        #[test]
        fn a_fraction_never_exceeds_the_whole(grains: u64, n: u64, d: u64) {
            prop_assert!(Amount(grains).fraction(n, d) <= Amount(grains));
        }
    }

    #[test]
    fn people_may_write_asy_or_grain() {
        assert_eq!("1.5 ASY".parse(), Ok(Amount(1_500_000_000)));
        assert_eq!("2".parse(), Ok(Amount::asy(2)));
        assert_eq!("7 grain".parse(), Ok(Amount(7)));
        for wrong in ["", "-1", "1.0000000001", "1e9", "99999999999999", ".5", "1.", "1 BTC"] {
            assert!(wrong.parse::<Amount>().is_err(), "{wrong}");
        }
    }
}
