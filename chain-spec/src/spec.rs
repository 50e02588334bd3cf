//! The chain spec's two forms, and the checks between them.

use std::collections::BTreeSet;

use assay_primitives::{
    AccountId, Amount, Hash32, ModelId, Validator, ValidatorSet, block::ValidatorSetError, domain, receipt::Blob,
    task::SubnetId,
};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Deserializer, Serialize};

use crate::params::{ParamError, Params};

/// Largest compiled model that a chain keeps, in bytes.
pub const MAX_MODEL_BYTES: usize = 192 * 1024;
/// Largest `groth16` verifier's key that a chain keeps, in bytes.
pub const MAX_KEY_BYTES: usize = 16 * 1024;
/// Largest chain spec read from a file, in bytes.
const MAX_SPEC_BYTES: usize = 16 * 1024 * 1024;

/// What a network is before its first block.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainSpec {
    /// The network's name: 3 to 48 of `a-z 0-9 -`.
    pub chain_id: String,
    /// Time of genesis, in milliseconds since the Unix epoch; the first block's time lies above it.
    pub genesis_time_ms: u64,
    /// Parameters in force at the first block.
    pub params: Params,
    /// Balances at genesis.
    pub accounts: Vec<GenesisAccount>,
    /// Validators of the first epoch.
    pub validators: Vec<GenesisValidator>,
    /// Subnets that exist from the start.
    pub subnets: Vec<GenesisSubnet>,
}

/// A balance at genesis.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisAccount {
    /// Whose.
    pub account: AccountId,
    /// How much, in grain.
    pub balance: Amount,
}

/// A validator at genesis.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisValidator {
    /// The key that signs blocks, scores and requests.
    pub operator: AccountId,
    /// The account that holds the stake and receives the dividends.
    pub owner: AccountId,
    /// The owner's own stake, in grain.
    pub stake: Amount,
    /// Share of the delegators' dividends that the owner keeps, in basis points.
    pub take: u64,
}

/// A subnet at genesis.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisSubnet {
    /// Its number.
    pub id: SubnetId,
    /// Its name: 1 to 32 of `a-z 0-9 -`.
    pub name: String,
    /// Models its miners serve.
    pub models: Vec<GenesisModel>,
}

/// A model at genesis.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisModel {
    /// The name callers use: 1 to 32 of `a-z 0-9 -`.
    pub name: String,
    /// The content hash of `bytes`; the ledger refuses a genesis where it differs.
    pub id: ModelId,
    /// The compiled model, in hexadecimal.
    pub bytes: Blob,
    /// The `groth16` verifier's key that receipts are checked with; null where none was made.
    #[serde(deserialize_with = "given")]
    pub groth16: Option<Blob>,
}

/// A value that may be null but must be there.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Blob>, D::Error> {
    <Option<Blob> as Deserialize>::deserialize(deserializer)
}

/// Why a text is no chain spec.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// Not the JSON of a chain spec.
    #[error("chain spec, field `{field}`: {reason}")]
    Field {
        /// Path of the offending field, like `validators[2].stake`.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The file is too large to be a chain spec.
    #[error("a chain spec has at most {MAX_SPEC_BYTES} bytes, found {0}")]
    TooLarge(usize),
    /// Canonical bytes that do not decode.
    #[error(transparent)]
    Decode(#[from] assay_primitives::DecodeError),
}

/// Where an error in no field of the spec's own lies.
const TOP: &str = "(top level)";

fn field(field: impl Into<String>, reason: impl ToString) -> SpecError {
    SpecError::Field { field: field.into(), reason: reason.to_string() }
}

impl ChainSpec {
    /// Reads and checks the human form.
    pub fn from_json(text: &str) -> Result<Self, SpecError> {
        if text.len() > MAX_SPEC_BYTES {
            return Err(SpecError::TooLarge(text.len()));
        }
        let mut json = serde_json::Deserializer::from_str(text);
        let spec: ChainSpec =
            serde_path_to_error::deserialize(&mut json).map_err(|e| match e.path().to_string().as_str() {
                "." => field(TOP, e.inner()),
                path => field(path, e.inner()),
            })?;
        json.end().map_err(|e| field(TOP, e))?;
        spec.check()?;
        Ok(spec)
    }

    /// The human form: indented JSON with a final newline.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a spec holds only strings, numbers and lists");
        text.push('\n');
        text
    }

    /// The canonical bytes.
    pub fn to_canonical(&self) -> Vec<u8> {
        assay_primitives::encode(self)
    }

    /// Reads and checks canonical bytes.
    pub fn from_canonical(bytes: &[u8]) -> Result<Self, SpecError> {
        if bytes.len() > MAX_SPEC_BYTES {
            return Err(SpecError::TooLarge(bytes.len()));
        }
        let spec: ChainSpec = assay_primitives::decode("canonical chain spec", bytes)?;
        spec.check()?;
        Ok(spec)
    }

    /// The genesis hash: BLAKE3 over the canonical form under [`domain::GENESIS`].
    pub fn genesis_hash(&self) -> Hash32 {
        domain::hash(domain::GENESIS, &Hash32::ZERO, self)
    }

    /// All money at genesis: balances and stakes.
    pub fn supply(&self) -> u128 {
        let balances: u128 = self.accounts.iter().map(|a| u128::from(a.balance.0)).sum();
        let stakes: u128 = self.validators.iter().map(|v| u128::from(v.stake.0)).sum();
        balances + stakes
    }

    /// The set that votes on the first block. Power is stake in thousandths of an ASY, at least 1, as [`voting_power`] says.
    pub fn validator_set(&self) -> Result<ValidatorSet, ValidatorSetError> {
        let power = |v: &GenesisValidator| Validator { account: v.operator, power: voting_power(v.stake) };
        ValidatorSet::new(self.validators.iter().map(power).collect())
    }

    /// Checks everything that one field's type cannot.
    pub fn check(&self) -> Result<(), SpecError> {
        check_name("chain_id", &self.chain_id, 3, 48)?;
        if self.genesis_time_ms == 0 || self.genesis_time_ms > 4_102_444_800_000 {
            return Err(field(
                "genesis_time_ms",
                format!("expected a time between 1970 and 2100, found {}", self.genesis_time_ms),
            ));
        }
        self.params.check().map_err(|e| match &e {
            ParamError::OutOfBounds { name, .. } => field(format!("params.{name}"), &e),
            ParamError::Unknown { name } => field(format!("params.{name}"), &e),
        })?;
        self.params.check_together().map_err(|e| field(format!("params.{}", e.name), e.reason))?;
        self.check_accounts()?;
        self.check_validators()?;
        self.check_subnets()?;
        if self.supply() > u128::from(u64::MAX / 4) {
            return Err(field(
                "accounts",
                format!("balances and stakes add up to {} grain, over the limit of 2^62", self.supply()),
            ));
        }
        Ok(())
    }

    fn check_accounts(&self) -> Result<(), SpecError> {
        let mut seen = BTreeSet::new();
        for (i, a) in self.accounts.iter().enumerate() {
            if !seen.insert(a.account) {
                return Err(field(format!("accounts[{i}].account"), format!("{} is given twice", a.account)));
            }
        }
        Ok(())
    }

    fn check_validators(&self) -> Result<(), SpecError> {
        let mut operators = BTreeSet::new();
        for (i, v) in self.validators.iter().enumerate() {
            if !operators.insert(v.operator) {
                return Err(field(format!("validators[{i}].operator"), format!("{} is given twice", v.operator)));
            }
            if v.stake.0 < self.params.min_validator_stake {
                let least = Amount(self.params.min_validator_stake);
                return Err(field(
                    format!("validators[{i}].stake"),
                    format!("expected at least {least}, found {}", v.stake),
                ));
            }
            if v.take > 10_000 {
                return Err(field(
                    format!("validators[{i}].take"),
                    format!("expected basis points in 0..=10000, found {}", v.take),
                ));
            }
        }
        if self.validators.len() as u64 > self.params.max_validators {
            return Err(field(
                "validators",
                format!("more than params.max_validators = {}", self.params.max_validators),
            ));
        }
        self.validator_set().map_err(|e| field("validators", e)).map(|_| ())
    }

    fn check_subnets(&self) -> Result<(), SpecError> {
        let (mut ids, mut models) = (BTreeSet::new(), BTreeSet::new());
        for (i, s) in self.subnets.iter().enumerate() {
            check_name(&format!("subnets[{i}].name"), &s.name, 1, 32)?;
            if !ids.insert(s.id) {
                return Err(field(format!("subnets[{i}].id"), format!("{} is given twice", s.id)));
            }
            for (j, m) in s.models.iter().enumerate() {
                let at = format!("subnets[{i}].models[{j}]");
                check_name(&format!("{at}.name"), &m.name, 1, 32)?;
                if m.bytes.0.len() > MAX_MODEL_BYTES {
                    return Err(field(
                        format!("{at}.bytes"),
                        format!("at most {MAX_MODEL_BYTES} bytes, found {}", m.bytes.0.len()),
                    ));
                }
                let key = m.groth16.as_ref().map_or(0, |key| key.0.len());
                if key > MAX_KEY_BYTES {
                    return Err(field(format!("{at}.groth16"), format!("at most {MAX_KEY_BYTES} bytes, found {key}")));
                }
                if !models.insert(m.name.clone()) {
                    return Err(field(format!("{at}.name"), format!("{:?} is given twice", m.name)));
                }
            }
        }
        Ok(())
    }
}

/// Voting power of a stake: thousandths of an ASY, at least 1, so that the total stays below 2^60.
pub fn voting_power(stake: Amount) -> u64 {
    (stake.0 / 1_000_000).max(1)
}

/// Names are short, lower-case and fit into protocol ids and file names.
fn check_name(at: &str, name: &str, least: usize, most: usize) -> Result<(), SpecError> {
    let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if plain && (least..=most).contains(&name.len()) {
        return Ok(());
    }
    let found: String = name.chars().take(60).collect();
    Err(field(at, format!("expected {least} to {most} characters of a-z, 0-9 and -, found {found:?}")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use assay_primitives::GRAINS_PER_ASY;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::presets::Preset;

    fn spec() -> ChainSpec {
        let validator = |n: u8| GenesisValidator {
            operator: AccountId([n; 32]),
            owner: AccountId([n + 100; 32]),
            stake: Amount::asy(1000),
            take: 1000,
        };
        let accounts = vec![GenesisAccount { account: AccountId([1; 32]), balance: Amount::asy(5) }];
        let model =
            GenesisModel { name: "digits".into(), id: ModelId([4; 32]), bytes: Blob(vec![1, 2]), groth16: None };
        let subnet = GenesisSubnet { id: 1, name: "vision".into(), models: vec![model] };
        Preset::Dev.spec("test-net".into(), 1_000, accounts, (1..=4).map(validator).collect(), vec![subnet])
    }

    /// The error of the spec's JSON after `edit`.
    fn refused(edit: impl FnOnce(&mut Value)) -> String {
        let mut json = serde_json::to_value(spec()).unwrap();
        edit(&mut json);
        ChainSpec::from_json(&json.to_string()).unwrap_err().to_string()
    }

    #[test]
    fn both_forms_round_trip_to_the_same_genesis_hash() {
        let spec = spec();
        assert_eq!(ChainSpec::from_json(&spec.to_json()).unwrap(), spec);
        assert_eq!(ChainSpec::from_canonical(&spec.to_canonical()).unwrap(), spec);
        let spaced = spec.to_json().replace('\n', "\n\n");
        assert_eq!(ChainSpec::from_json(&spaced).unwrap().genesis_hash(), spec.genesis_hash());
    }

    #[test]
    fn every_field_changes_the_genesis_hash() {
        let reference = spec().genesis_hash();
        let mut other = spec();
        other.params.tempo += 1;
        assert_ne!(other.genesis_hash(), reference);
        let mut other = spec();
        other.validators[0].take += 1;
        assert_ne!(other.genesis_hash(), reference);
    }

    #[test]
    fn unknown_missing_and_repeated_fields_are_named() {
        assert!(refused(|j| j["colour"] = json!("red")).contains("colour"));
        let missing = refused(|j| {
            j["params"].as_object_mut().unwrap().remove("tempo");
        });
        assert!(missing.contains("params") && missing.contains("tempo"), "{missing}");
        let text = spec().to_json().replacen("\"chain_id\"", "\"chain_id\": \"twice\", \"chain_id\"", 1);
        let repeated = ChainSpec::from_json(&text).unwrap_err().to_string();
        assert!(repeated.contains("duplicate field") && repeated.contains("chain_id"), "{repeated}");
        assert!(refused(|j| j["validators"][2]["stake"] = json!("lots")).contains("validators[2].stake"));
    }

    #[test]
    fn impossible_numbers_are_named() {
        assert!(refused(|j| j["params"]["tempo"] = json!(0)).contains("params.tempo"));
        assert!(refused(|j| j["params"]["tempo"] = json!(-3)).contains("params.tempo"));
        assert!(refused(|j| j["validators"][1]["stake"] = json!(1)).contains("validators[1].stake"));
        assert!(refused(|j| j["validators"][1]["take"] = json!(10_001)).contains("validators[1].take"));
        assert!(refused(|j| j["accounts"][0]["balance"] = json!(u64::MAX)).contains("accounts"));
        assert!(refused(|j| j["genesis_time_ms"] = json!(0)).contains("genesis_time_ms"));
        assert!(refused(|j| j["chain_id"] = json!("No Spaces")).contains("chain_id"));
        assert!(refused(|j| j["validators"] = json!([])).contains("validators"));
        assert!(refused(|j| j["params"]["evidence_epochs"] = json!(9)).contains("params.evidence_epochs"));
        let twice = refused(|j| j["validators"][1]["operator"] = j["validators"][0]["operator"].clone());
        assert!(twice.contains("validators[1].operator"), "{twice}");
    }

    #[test]
    fn trailing_bytes_after_either_form_are_refused() {
        assert!(ChainSpec::from_json(&(spec().to_json() + "{}")).is_err());
        let mut bytes = spec().to_canonical();
        bytes.push(0);
        assert!(ChainSpec::from_canonical(&bytes).is_err());
    }

    #[test]
    fn power_follows_stake_and_is_never_zero() {
        assert_eq!(voting_power(Amount(1)), 1);
        assert_eq!(voting_power(Amount::asy(1)), GRAINS_PER_ASY / 1_000_000);
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes: Vec<u8>) {
            let _ = ChainSpec::from_canonical(&bytes);
            let _ = ChainSpec::from_json(&String::from_utf8_lossy(&bytes));
        }
    }
}
