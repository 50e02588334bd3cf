//! The whole table: every attack at every stake, and without its defence.

use std::collections::BTreeSet;

use clap::ValueEnum as _;

use super::{Attack, Defence, Plan};

/// Stakes of the table, in basis points.
const SHARES: [u64; 4] = [500, 2_000, 3_300, 4_900];
/// Keys, where their number matters.
const KEYS: [usize; 3] = [1, 5, 20];

/// How much is run for each row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Epochs of each run.
    pub epochs: u64,
    /// Runs.
    pub seeds: u64,
    /// Only the smallest and the largest stake, and few keys.
    pub quick: bool,
}

impl Extent {
    /// What the documented table is of.
    pub const FULL: Self = Self { epochs: 30, seeds: 6, quick: false };
    /// Seconds, for tests.
    pub const QUICK: Self = Self { epochs: 12, seeds: 4, quick: true };
}

/// The plans of the table, from this seed on.
pub fn plans(seed: u64, extent: Extent) -> Vec<Plan> {
    let Extent { epochs, seeds, quick } = extent;
    let shares: &[u64] = if quick { &[2_000] } else { &SHARES };
    let mut plans = Vec::new();
    for attack in Attack::value_variants().iter().copied() {
        let keys: &[usize] = if !attack.keys_matter() {
            &[1]
        } else if quick {
            &[5]
        } else {
            &KEYS
        };
        let mut add = |share, keys, without: BTreeSet<Defence>| {
            plans.push(Plan { attack, share, keys, epochs, seed, seeds, without });
        };
        for share in shares {
            keys.iter().for_each(|keys| add(*share, *keys, BTreeSet::new()));
        }
        let without: BTreeSet<Defence> = attack.defences().iter().copied().collect();
        if !without.is_empty() {
            let keys = if attack.keys_matter() { 5 } else { 1 };
            shares.iter().for_each(|share| add(*share, keys, without.clone()));
        }
    }
    plans
}

impl Attack {
    fn keys_matter(self) -> bool {
        !matches!(self, Attack::CopiedCommitment | Attack::WeightInheritance | Attack::FlashStake)
    }

    /// Without these the attack should pay.
    fn defences(self) -> &'static [Defence] {
        match self {
            Attack::WeightCopying => &[Defence::CommitReveal, Defence::Audit],
            Attack::SybilMiners => &[Defence::BurnPrice],
            Attack::Relay => &[Defence::ProofBinding],
            Attack::Precomputed => &[Defence::ProofBinding, Defence::SeededTasks],
            Attack::LazyValidator => &[Defence::Canaries, Defence::Audit],
            Attack::MinerDrain => &[Defence::Admission],
            Attack::FlashStake => &[Defence::StakeSnapshot],
            _ => &[],
        }
    }
}

/// What to know of a row.
pub(super) fn note(plan: &Plan) -> String {
    let note = match (plan.attack, plan.without.is_empty()) {
        (Attack::SybilMiners, true) => {
            "registration at the price that free entry leads to; a key more then earns less than it costs"
        }
        (Attack::Relay, true) => "the relayed proof is refuted on chain; half the bond burns and the miner is out",
        (Attack::Relay, false) => "nobody compares miners' answers: the later of two equal ones is not found by that",
        (Attack::Precomputed, true) => "a prepared answer is to another input: re-execution refutes it",
        (Attack::ProofSpam, true) => "found by the check of every validator; long proofs never reach a block",
        (Attack::MinerDrain, true) => {
            "keys together hold the floor once; whoever locks the floor on each key has a quota for each"
        }
        (Attack::WithheldProof, true) => "silence at each validator's challenge burns bond until the miner is out",
        (Attack::LazyValidator, true) => {
            "a validator that asks but does not check is not told from others while all miners are exact"
        }
        _ => "",
    };
    note.to_owned()
}
