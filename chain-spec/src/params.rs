//! The network's parameters: every number that governance may change, with its bounds.
//!
//! Each parameter is a `u64` with a name, a unit in its documentation and inclusive bounds. The whole set is
//! one record of the state; a `parameter` proposal names one of them and stake settles its value within the bounds.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// Inclusive limits of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Bounds {
    /// Smallest allowed value.
    pub low: u64,
    /// Largest allowed value.
    pub high: u64,
}

/// A parameter that does not exist, or a value outside its bounds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    /// No such name.
    #[error("there is no parameter {name:?}; `assay subnet params` lists them")]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// Out of bounds.
    #[error("{name} must lie in {low}..={high}, found {found}")]
    OutOfBounds {
        /// The parameter.
        name: &'static str,
        /// Smallest allowed value.
        low: u64,
        /// Largest allowed value.
        high: u64,
        /// The refused value.
        found: u64,
    },
}

macro_rules! params {
    ($($(#[doc = $doc:literal])+ $name:ident: $low:literal..=$high:literal, dev $dev:literal, testnet $testnet:literal;)+) => {
        /// The values in force.
        #[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Params {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl Params {
            /// Every parameter's name, in the order of the record.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name)),+];

            /// Values for a network on one machine: epochs of seconds.
            pub const fn dev() -> Self {
                Self { $($name: $dev),+ }
            }

            /// Values for a public test network.
            pub const fn testnet() -> Self {
                Self { $($name: $testnet),+ }
            }

            /// What a parameter means, in one line.
            pub fn describe(name: &str) -> Option<&'static str> {
                match name {
                    $(stringify!($name) => Some(concat!($($doc),+).trim_ascii_start()),)+
                    _ => None,
                }
            }

            /// A parameter's bounds.
            pub fn bounds(name: &str) -> Result<Bounds, ParamError> {
                match name {
                    $(stringify!($name) => Ok(Bounds { low: $low, high: $high }),)+
                    _ => Err(ParamError::Unknown { name: name.chars().take(60).collect() }),
                }
            }

            /// A parameter's value.
            pub fn get(&self, name: &str) -> Result<u64, ParamError> {
                match name {
                    $(stringify!($name) => Ok(self.$name),)+
                    _ => Err(ParamError::Unknown { name: name.chars().take(60).collect() }),
                }
            }

            /// Sets a parameter if the value lies within its bounds.
            pub fn set(&mut self, name: &str, value: u64) -> Result<(), ParamError> {
                match name {
                    $(stringify!($name) => {
                        check(stringify!($name), $low, $high, value)?;
                        self.$name = value;
                    })+
                    _ => return Err(ParamError::Unknown { name: name.chars().take(60).collect() }),
                }
                Ok(())
            }

            /// Checks every value against its bounds; the first one outside is the error.
            pub fn check(&self) -> Result<(), ParamError> {
                $(check(stringify!($name), $low, $high, self.$name)?;)+
                Ok(())
            }
        }
    };
}

/// Two parameters, each within its bounds, that do not go together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} {reason}")]
pub struct ParamConflict {
    /// The parameter to change.
    pub name: &'static str,
    /// What it must be beside the others.
    pub reason: &'static str,
}

impl Params {
    /// Epochs from the last block of one to the block after a challenge opened there ran out, which slashes;
    /// `None` for a `tempo` of 0.
    fn challenge_epochs(&self) -> Option<u64> {
        Some(self.challenge_window.checked_div(self.tempo)?.saturating_add(1))
    }

    /// Checks what no single parameter's bounds can.
    pub fn check_together(&self) -> Result<(), ParamConflict> {
        let weights = [self.weight_correct, self.weight_exact, self.weight_proof, self.weight_latency];
        let rules = [
            (
                self.challenge_epochs()
                    .is_some_and(|epochs| self.evidence_epochs.saturating_add(epochs) <= self.unbonding_epochs),
                "evidence_epochs",
                "and the epochs that challenge_window can span (one more than the tempos in it) must together not exceed \
                 unbonding_epochs, \
                 or stake or bond escapes its slashing",
            ),
            (
                self.min_reports <= self.max_validators,
                "min_reports",
                "must not exceed max_validators, or no score ever settles",
            ),
            (self.latency_full_ms < self.latency_zero_ms, "latency_full_ms", "must be below latency_zero_ms"),
            (weights.iter().any(|w| *w > 0), "weight_exact", "must be above zero where all other weights are zero"),
            (
                self.max_tx_bytes.saturating_add(4096) <= self.max_block_bytes,
                "max_tx_bytes",
                "must leave 4096 bytes of max_block_bytes",
            ),
            (
                self.gov_urgent_threshold >= self.gov_threshold,
                "gov_urgent_threshold",
                "must not lie below gov_threshold: what comes into force sooner needs more agreement, not less",
            ),
            (
                self.gov_urgent_timelock_blocks <= self.gov_timelock_blocks,
                "gov_urgent_timelock_blocks",
                "must not exceed gov_timelock_blocks, or urgent proposals would come into force later than others",
            ),
        ];
        match rules.into_iter().find(|(holds, ..)| !holds) {
            Some((_, name, reason)) => Err(ParamConflict { name, reason }),
            None => Ok(()),
        }
    }
}

fn check(name: &'static str, low: u64, high: u64, found: u64) -> Result<(), ParamError> {
    if (low..=high).contains(&found) { Ok(()) } else { Err(ParamError::OutOfBounds { name, low, high, found }) }
}

params! {
    /// Shortest time between two blocks, in milliseconds.
    block_interval_ms: 20..=60000, dev 500, testnet 6000;
    /// Largest encoded block, in bytes.
    max_block_bytes: 65536..=8388608, dev 2097152, testnet 2097152;
    /// Largest encoded transaction, in bytes.
    max_tx_bytes: 4096..=1048576, dev 262144, testnet 262144;
    /// Lowest fee of a transaction, in grain. Fees are burned.
    min_fee: 0..=1000000000, dev 1000, testnet 10000;
    /// Blocks in an epoch.
    tempo: 4..=100000, dev 20, testnet 360;
    /// Newly minted grain for each settled epoch.
    epoch_emission: 0..=1000000000000000, dev 100000000000, testnet 1000000000000;
    /// Most validators that vote on blocks, by stake.
    max_validators: 1..=150, dev 16, testnet 64;
    /// Least total stake of a validator, in grain.
    min_validator_stake: 1..=1000000000000000000, dev 100000000000, testnet 1000000000000;
    /// Least that one delegator has with one validator, in grain.
    min_delegation: 1..=1000000000000000, dev 1000000000, testnet 1000000000;
    /// Bond a miner locks at registration, in grain; what slashing takes from.
    miner_bond: 1..=1000000000000000000, dev 100000000000, testnet 500000000000;
    /// Price of a miner's registration, in grain; burned.
    registration_fee: 0..=1000000000000000, dev 1000000000, testnet 10000000000;
    /// Most miners registered in one subnet.
    max_miners: 1..=4096, dev 64, testnet 256;
    /// Epochs between taking stake or bond out and receiving it; longer than evidence stays valid and a challenge open.
    unbonding_epochs: 1..=1000, dev 3, testnet 14;
    /// Epochs for which evidence of misbehaviour is accepted.
    evidence_epochs: 1..=1000, dev 2, testnet 12;
    /// Share of stake lost for signing two conflicting votes, in basis points.
    slash_double_sign: 1..=10000, dev 500, testnet 500;
    /// Share of a miner's bond lost for a response that exact re-execution or its own proof refutes, in basis points.
    slash_invalid_response: 1..=10000, dev 5000, testnet 5000;
    /// Share of a miner's bond lost for a challenge left unanswered, in basis points.
    slash_silence: 1..=10000, dev 1000, testnet 2000;
    /// Blocks a challenged miner has to post its proof.
    challenge_window: 2..=100000, dev 19, testnet 100;
    /// Chance that a validator challenges a random past response in an epoch, in basis points.
    challenge_rate: 0..=10000, dev 2500, testnet 1000;
    /// Fewest validators that must score a miner for a new settled score.
    min_reports: 1..=150, dev 3, testnet 3;
    /// Tasks a validator sends to each miner in an epoch.
    tasks_per_epoch: 1..=1000, dev 2, testnet 8;
    /// Weight of the label check on canary inputs, out of the sum of weights.
    weight_correct: 0..=10000, dev 1000, testnet 1000;
    /// Weight of exact re-execution, out of the sum of weights.
    weight_exact: 0..=10000, dev 4000, testnet 4000;
    /// Weight of the proof's verdict, out of the sum of weights.
    weight_proof: 0..=10000, dev 4000, testnet 4000;
    /// Weight of the latency curve, out of the sum of weights.
    weight_latency: 0..=10000, dev 1000, testnet 1000;
    /// Latency up to which a response earns the full latency mark, in milliseconds.
    latency_full_ms: 1..=600000, dev 8000, testnet 2000;
    /// Latency from which a response earns no latency mark, and is given up, in milliseconds.
    latency_zero_ms: 2..=600000, dev 20000, testnet 20000;
    /// Deposit of a proposal, in grain; returned unless the proposal is vetoed or misses its quorum.
    gov_deposit: 0..=1000000000000000, dev 10000000000, testnet 100000000000;
    /// Blocks a vote lasts.
    gov_voting_blocks: 2..=1000000, dev 30, testnet 14400;
    /// Blocks between a passed vote and its execution.
    gov_timelock_blocks: 0..=1000000, dev 6, testnet 1440;
    /// Share of the eligible stake that must vote, in basis points.
    gov_quorum: 1..=10000, dev 4000, testnet 3340;
    /// Share of yes among yes and no above which a choice passes, in basis points.
    gov_threshold: 1..=9999, dev 5000, testnet 5000;
    /// Share of veto among all votes above which a choice fails and its deposit burns, in basis points.
    gov_veto: 1..=10000, dev 3340, testnet 3340;
    /// Blocks between an urgent proposal's passed vote and its execution; at most gov_timelock_blocks.
    gov_urgent_timelock_blocks: 0..=1000000, dev 2, testnet 120;
    /// Share of yes among yes, no and veto above which an urgent proposal passes, and least share of the eligible stake that must vote on it, in basis points; at least gov_threshold.
    gov_urgent_threshold: 1..=9999, dev 6670, testnet 6670;
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn presets_lie_within_their_own_bounds() {
        Params::dev().check().unwrap();
        Params::testnet().check().unwrap();
        Params::dev().check_together().unwrap();
        Params::testnet().check_together().unwrap();
    }

    #[test]
    fn a_challenge_runs_out_before_the_bond_it_slashes_is_released() {
        let together = |evidence_epochs, challenge_window| {
            let p = Params { tempo: 20, unbonding_epochs: 3, evidence_epochs, challenge_window, ..Params::dev() };
            p.check_together().map_err(|e| e.to_string())
        };
        together(2, 19).unwrap();
        // Opened in an epoch's last block it ends with the next epoch's last block, and is slashed a block later.
        assert!(together(2, 20).unwrap_err().contains("escapes its slashing"));
        together(1, 39).unwrap();
        assert!(together(3, 2).is_err() && together(1, 40).is_err());
    }

    #[test]
    fn an_urgent_proposal_is_sooner_and_harder_to_pass_than_another() {
        let p = Params { gov_urgent_threshold: Params::dev().gov_threshold - 1, ..Params::dev() };
        assert_eq!(p.check_together().unwrap_err().name, "gov_urgent_threshold");
        let p = Params { gov_urgent_timelock_blocks: Params::dev().gov_timelock_blocks + 1, ..Params::dev() };
        assert_eq!(p.check_together().unwrap_err().name, "gov_urgent_timelock_blocks");
    }

    #[test]
    fn every_name_can_be_read_described_and_set_only_within_its_bounds() {
        for name in Params::NAMES {
            let mut params = Params::dev();
            let bounds = Params::bounds(name).unwrap();
            assert!(Params::describe(name).is_some_and(|d| !d.is_empty()), "{name}");
            params.set(name, bounds.low).unwrap();
            assert_eq!(params.get(name).unwrap(), bounds.low);
            params.set(name, bounds.high).unwrap();
            assert!(params.set(name, bounds.high + 1).is_err(), "{name}");
            assert_eq!(params.get(name).unwrap(), bounds.high);
        }
        assert!(matches!(Params::dev().get("tempa"), Err(ParamError::Unknown { .. })));
    }
}
