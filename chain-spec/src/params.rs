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

/// Parameters of settlement, of which a subnet may have values of its own; all others are the chain's.
pub const OF_SUBNET: &[&str] = &[
    "emission_miners",
    "aggregation",
    "outlier_cut_off",
    "outlier_floor",
    "aggregation_trim",
    "kappa",
    "bonding",
    "bonds_moving_average",
    "bonds_penalty",
    "alpha_low",
    "alpha_high",
    "alpha_steepness",
    "one_out",
    "entropy",
    "min_reports",
];

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

    /// Bytes of a reveal of scores of a full subnet, about: entries, and the audit's exhibits.
    fn reveal_bytes(&self) -> u64 {
        let entries = self.max_miners.saturating_mul(256);
        let exhibit = self.tasks_per_epoch.saturating_mul(32).saturating_add(8192);
        entries.saturating_add(self.audit_samples.saturating_mul(exhibit))
    }

    /// Checks what no single parameter's bounds can.
    pub fn check_together(&self) -> Result<(), ParamConflict> {
        let weights = [self.weight_correct, self.weight_exact, self.weight_proof, self.weight_latency];
        let of_text = [self.weight_match, self.weight_nearness, self.weight_relevance, self.weight_head];
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
            (self.alpha_low <= self.alpha_high, "alpha_low", "must not exceed alpha_high"),
            (self.latency_full_ms < self.latency_zero_ms, "latency_full_ms", "must be below latency_zero_ms"),
            (weights.iter().any(|w| *w > 0), "weight_exact", "must be above zero where all other weights are zero"),
            (
                of_text.iter().any(|w| *w > 0),
                "weight_match",
                "must be above zero where weight_nearness, weight_relevance and weight_head are zero: form alone is no merit",
            ),
            (self.price_full < self.price_zero, "price_full", "must be below price_zero"),
            (
                self.reveal_bytes() <= self.max_tx_bytes,
                "max_tx_bytes",
                "must hold a reveal of scores: 256 bytes for each of max_miners, and for each of audit_samples 8192 bytes and \
                 32 for each of tasks_per_epoch",
            ),
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
    /// Epochs after which the emission halves, and halves again; 0: never.
    emission_halving_epochs: 0..=1000000000, dev 0, testnet 58400;
    /// Share of the emission that goes to the treasury, in basis points.
    emission_treasury: 0..=5000, dev 0, testnet 500;
    /// Share of what miners and validators earn together that goes to miners, in basis points.
    emission_miners: 0..=10000, dev 5000, testnet 5000;
    /// How scores are aggregated: 0 robust, 1 weighted_median, 2 median, 3 trimmed_mean, 4 stake_weighted, 5 confidence_weighted. A minority of the stake moves 4 and 5 at will.
    aggregation: 0..=5, dev 0, testnet 0;
    /// Modified Z-score above which a report is an outlier, in thousandths.
    outlier_cut_off: 675..=100000, dev 3500, testnet 3500;
    /// Smallest deviation that outliers are measured against, in millionths of the range of values.
    outlier_floor: 0..=1000000, dev 10000, testnet 10000;
    /// Share of the stake that trimmed_mean cuts off at each end, in millionths.
    aggregation_trim: 0..=499999, dev 333333, testnet 333333;
    /// Majority of the stake that makes a weight consensus, in 65535ths.
    kappa: 32767..=65535, dev 32767, testnet 32767;
    /// How bonds are kept: 0 Yuma classic, 1 Yuma3, 2 Yuma3 with liquid alpha.
    bonding: 0..=2, dev 0, testnet 0;
    /// Share of the old bonds in the moving average, in millionths.
    bonds_moving_average: 0..=1000000, dev 900000, testnet 900000;
    /// How far weights above consensus are clipped for bonds, in 65535ths.
    bonds_penalty: 0..=65535, dev 65535, testnet 65535;
    /// Slowest liquid alpha, in 65535ths.
    alpha_low: 0..=65535, dev 45875, testnet 45875;
    /// Fastest liquid alpha, in 65535ths.
    alpha_high: 0..=65535, dev 58982, testnet 58982;
    /// Steepness of liquid alpha, in hundredths.
    alpha_steepness: 0..=65535, dev 1000, testnet 1000;
    /// What each rank is worth of the one before where miners are paid by one-out contribution, in 65535ths; 0: they are paid by incentive.
    one_out: 0..=65534, dev 0, testnet 0;
    /// How much empty keys lower their group's pool where pools follow entropy, in millionths; 0: pools follow emission_miners.
    entropy: 0..=1000000, dev 0, testnet 0;
    /// Most validators that vote on blocks, by stake.
    max_validators: 1..=150, dev 16, testnet 64;
    /// Least total stake of a validator, in grain.
    min_validator_stake: 1..=1000000000000000000, dev 100000000000, testnet 1000000000000;
    /// Least that one delegator has with one validator, in grain.
    min_delegation: 1..=1000000000000000, dev 1000000000, testnet 1000000000;
    /// Bond a miner locks at registration, in grain; what slashing takes from.
    miner_bond: 1..=1000000000000000000, dev 100000000000, testnet 500000000000;
    /// Least price of a miner's registration, and the price of a model's, in grain; burned.
    registration_fee: 0..=1000000000000000, dev 1000000000, testnet 10000000000;
    /// What the price of a subnet's next registration is multiplied by with each registration, in basis points.
    registration_rise: 10000..=100000, dev 12000, testnet 11000;
    /// Share of the price above registration_fee that is gone at the end of each epoch, in basis points.
    registration_decay: 1..=10000, dev 5000, testnet 1000;
    /// Most miners registered in one subnet.
    max_miners: 1..=4096, dev 64, testnet 256;
    /// Epochs, the one of its registration counted, in which no other registration takes a miner's place: its first scores settle in the third.
    immunity_epochs: 3..=1000, dev 3, testnet 6;
    /// Epochs between taking stake or bond out and receiving it; longer than evidence stays valid and a challenge open.
    unbonding_epochs: 1..=1000, dev 3, testnet 14;
    /// Epochs for which evidence of misbehaviour is accepted.
    evidence_epochs: 1..=1000, dev 2, testnet 12;
    /// Epochs in a row without revealed scores after which a validator is jailed; 0 for never.
    jail_after_missed: 0..=10000, dev 30, testnet 12;
    /// Whole epochs that a jailed validator stays out at least.
    jail_epochs: 1..=1000, dev 2, testnet 2;
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
    /// Exchanges that a validator must show behind the scores it reveals.
    audit_samples: 0..=16, dev 2, testnet 4;
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
    /// How text answers are judged: 0 simple, 1 weighted, 2 ensemble, 3 reward_model, 4 comparative.
    text_method: 0..=4, dev 1, testnet 1;
    /// Weight of the replay's verdict on a text, out of the sum of the weights for text.
    weight_replay: 0..=10000, dev 1000, testnet 1000;
    /// Weight of the match with an exactly known text, out of the sum of the weights for text.
    weight_match: 0..=10000, dev 4000, testnet 4000;
    /// Weight of a text's nearness to a known meaning, out of the sum of the weights for text.
    weight_nearness: 0..=10000, dev 2000, testnet 2000;
    /// Weight of a text's relevance to its prompt, out of the sum of the weights for text.
    weight_relevance: 0..=10000, dev 5000, testnet 5000;
    /// Weight of the reward head, out of the sum of the weights for text.
    weight_head: 0..=10000, dev 1000, testnet 1000;
    /// Weight of a text's fluency, out of the sum of the weights for text.
    weight_fluency: 0..=10000, dev 2000, testnet 2000;
    /// Weight of the information that prompt and text share under the validator's language model, out of the sum of the weights for text.
    weight_information: 0..=10000, dev 1000, testnet 1000;
    /// Weight of a text's likelihood under the validator's language model, out of the sum of the weights for text.
    weight_likely: 0..=10000, dev 1500, testnet 1500;
    /// Weight of the likelihood under the validator's language model that a text ends where it does, out of the sum of the weights for text.
    weight_ending: 0..=10000, dev 1500, testnet 1500;
    /// Weight of the validator's reward model, out of the sum of the weights for text.
    weight_reward: 0..=10000, dev 1000, testnet 1000;
    /// Weight of a text's length within its range, out of the sum of the weights for text.
    weight_length: 0..=10000, dev 200, testnet 200;
    /// Weight of saying things once, out of the sum of the weights for text.
    weight_repetition: 0..=10000, dev 200, testnet 200;
    /// Weight of saying what the prompt does not, out of the sum of the weights for text.
    weight_echo: 0..=10000, dev 200, testnet 200;
    /// Weight of writing without invisible or disguised characters, out of the sum of the weights for text.
    weight_plain: 0..=10000, dev 200, testnet 200;
    /// Weight of a text's language, out of the sum of the weights for text.
    weight_language: 0..=10000, dev 200, testnet 200;
    /// Weight of the form that a JSON schema demands, out of the sum of the weights for text.
    weight_format: 0..=10000, dev 1000, testnet 1000;
    /// Weight of the latency curve of texts, out of the sum of the weights for text.
    weight_text_latency: 0..=10000, dev 500, testnet 500;
    /// Weight of the price of texts, out of the sum of the weights for text.
    weight_cost: 0..=10000, dev 0, testnet 0;
    /// Price up to which a text earns the full mark for cost, in grain for a thousand tokens.
    price_full: 0..=1000000000000, dev 1000000, testnet 1000000;
    /// Price from which a text earns no mark for cost, in grain for a thousand tokens.
    price_zero: 1..=1000000000000, dev 10000000, testnet 10000000;
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
    fn what_a_subnet_may_set_are_parameters() {
        assert!(OF_SUBNET.iter().all(|name| Params::NAMES.contains(name)));
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
