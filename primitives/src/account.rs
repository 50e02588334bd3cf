//! Account ids: ed25519 public keys, shown as bech32m `asy1…`.

use std::{fmt, str::FromStr};

use bech32::{Bech32m, Hrp};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// The human-readable part of every account id.
const HRP: Hrp = Hrp::parse_unchecked("asy");

/// An ed25519 public key that holds funds (owner), runs a role (operator), or both.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct AccountId(pub [u8; 32]);

/// Why a text is not an account id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseAccountError {
    /// Not valid bech32m: a typing error, or another checksum variant.
    #[error("{found:?} is not an account id (bech32m, starting with asy1): {reason}; check for a typing error")]
    Encoding {
        /// The offending text.
        found: String,
        /// What bech32 says.
        reason: String,
    },
    /// Valid bech32m of something else.
    #[error("expected an account id starting with asy1, found one starting with {found}1")]
    Prefix {
        /// The human-readable part that was found.
        found: String,
    },
    /// Valid prefix, wrong number of bytes.
    #[error("an account id carries 32 bytes, this one carries {found}")]
    Length {
        /// The number of bytes found.
        found: usize,
    },
}

impl AccountId {
    /// `asy1` and the next six characters, for tables. Not for comparing.
    pub fn short(&self) -> String {
        self.to_string().chars().take(12).collect()
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = bech32::encode::<Bech32m>(HRP, &self.0).expect("32 bytes are far under bech32's length limit");
        f.write_str(&text)
    }
}

impl fmt::Debug for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

impl FromStr for AccountId {
    type Err = ParseAccountError;

    fn from_str(text: &str) -> Result<Self, ParseAccountError> {
        let encoding = |reason: String| ParseAccountError::Encoding { found: text.chars().take(100).collect(), reason };
        let checked =
            bech32::primitives::decode::CheckedHrpstring::new::<Bech32m>(text).map_err(|e| encoding(e.to_string()))?;
        if checked.hrp() != HRP {
            return Err(ParseAccountError::Prefix { found: checked.hrp().to_string() });
        }
        let bytes: Vec<u8> = checked.byte_iter().collect();
        let found = bytes.len();
        let id = AccountId(bytes.try_into().map_err(|_| ParseAccountError::Length { found })?);
        if id.to_string() != text {
            return Err(encoding("not in its canonical lower-case form".into()));
        }
        Ok(id)
    }
}

impl Serialize for AccountId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AccountId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <String as Deserialize>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_form_round_trips(bytes: [u8; 32]) {
            let id = AccountId(bytes);
            prop_assert!(id.to_string().starts_with("asy1"));
            prop_assert_eq!(id.to_string().parse::<AccountId>().unwrap(), id);
        }

        #[test]
        fn one_changed_character_is_refused(bytes: [u8; 32], at in 4usize..60, to in "[a-z0-9]") {
            let mut text = AccountId(bytes).to_string();
            let old = text[at..=at].to_string();
            prop_assume!(old != to);
            text.replace_range(at..=at, &to);
            prop_assert!(text.parse::<AccountId>().is_err());
        }
    }

    #[test]
    fn a_foreign_prefix_is_named_in_the_error() {
        let text = bech32::encode::<Bech32m>(Hrp::parse("btc").unwrap(), &[0; 32]).unwrap();
        assert_eq!(text.parse::<AccountId>().unwrap_err(), ParseAccountError::Prefix { found: "btc".into() });
    }
}
