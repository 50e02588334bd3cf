//! Does attacking pay? The real ledger and the real scoring, played by honest and attacking parties, thousands of epochs a
//! minute.
//!
//! ```text
//! Plan (attack, stake, keys, seeds) ──> Settings: for each seed the attack, and honest play in the same world
//! Setting ─ cast, chain spec ─> market | votes | asks ─ transactions ─> ledger::execute ─ state ─> Outcome
//! Outcomes of a seed ──> relative profit ─ Student's t over seeds ─> Row
//! ```
//!
//! # What is real, and what is drawn
//!
//! Transactions are signed and executed by [`assay_ledger::execute`] on a state in memory: registration, commitment, reveal,
//! refutation, challenge, answer, stake, votes. Scores come from [`assay_scoring`]: seeded canaries, criteria, tally. A
//! dishonest answer is a signed response with a proof, found out by the check that every validator of this program runs.
//! What is drawn is what no program decides: how fast a miner is, when it is out, and when a task meets it. In every epoch
//! the books must add up.
//!
//! # Profit
//!
//! ```text
//! profit = what the attacker has at the end - what it had - cost of its work
//! work   = share done * (10 % of what honest play earned by validating + 20 % of what it earned by mining)
//! relative = profit of the attack / profit of honest play with the same stake and keys, same world, same seed
//! ```
//!
//! Where honest play makes no profit the quotient means nothing, and `1 + (attack - honest) / honest earnings` stands for it:
//! above 1 still says that the attack does better. For flash stake the gain is the weight of votes for each grain and block
//! that money is bound; for draining a miner it is the asks that are taken on. Then 1 is as good as honest play again.
//!
//! # Defences that can be switched off
//!
//! [`Defence`] says of each what the world is without it. None changes a result; each changes what a party sees, may do or
//! pays.

mod actions;
mod asks;
mod attack;
mod chain;
mod draw;
mod evidence;
mod exam;
mod fraud;
mod market;
mod population;
mod setting;
mod statistics;
mod table;
#[cfg(test)]
mod tests;
mod votes;

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZero,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use assay_ledger::{BlockError, GenesisError, StoreError};
use clap::ValueEnum;
use serde::Serialize;

pub use table::{Extent, plans};

use exam::Exam;
use setting::{Arena, Setting};
use statistics::estimate;

/// What a validator's work costs, as a share of what honest validating earns.
pub const VALIDATING_WORK: f64 = 0.10;
/// What a miner's work costs, as a share of what honest mining earns.
pub const MINING_WORK: f64 = 0.20;

/// An attack of the simulator's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Attack {
    /// Validators that report what the others reported.
    WeightCopying,
    /// Validators that commit to another's hash.
    CopiedCommitment,
    /// New miner keys that should live on what was scored before them.
    WeightInheritance,
    /// Validators that give full marks to their own miners and nothing to all others.
    ValidatorCabal,
    /// The same with differences too small to be outliers.
    ValidatorShading,
    /// Many miner keys in place of one.
    SybilMiners,
    /// One stake under many validator keys.
    SplitStake,
    /// Miners that pass on other miners' answers.
    Relay,
    /// Miners that answer out of a table.
    Precomputed,
    /// Validators that ask nobody and give full marks.
    LazyValidator,
    /// Miners that send proofs that are none.
    ProofSpam,
    /// Keys with little money that would use up a miner.
    MinerDrain,
    /// Stake that comes for a vote.
    FlashStake,
    /// Miners that give no proof, nor when challenged.
    WithheldProof,
}

impl Attack {
    /// Its name on the command line and in tables.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Whether its keys are validators'; else they are miners', or those that ask or vote.
    fn validates(self) -> bool {
        matches!(
            self,
            Attack::WeightCopying
                | Attack::CopiedCommitment
                | Attack::ValidatorCabal
                | Attack::ValidatorShading
                | Attack::SplitStake
                | Attack::LazyValidator
        )
    }

    fn arena(self) -> Arena {
        match self {
            Attack::FlashStake => Arena::Votes,
            Attack::MinerDrain => Arena::Asks,
            _ => Arena::Market,
        }
    }
}

/// A defence that the simulator can do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Defence {
    /// Without it a validator sees the others' scores of an epoch before it commits its own.
    CommitReveal,
    /// Without it scores are revealed with nothing to show for them.
    Audit,
    /// Without it a miner's place is free: no price is burned, and the bond is one grain.
    BurnPrice,
    /// Without it a proof is checked against the request and miner it was made for, whoever shows it.
    ProofBinding,
    /// Without it tasks depend neither on the epoch nor on its randomness, and come again.
    SeededTasks,
    /// Without it there are no tasks whose answer is known: a validator has a miner's word alone.
    Canaries,
    /// Without it a miner takes asks from anyone and as many as they send.
    Admission,
    /// Without it stake that comes after a proposal counts: here it is told of the proposal before.
    StakeSnapshot,
}

impl Defence {
    /// Its name on the command line and in tables.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// One row to be simulated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The attack.
    pub attack: Attack,
    /// The attacker's share of all stake, in basis points: above 0 and below 5000.
    pub share: u64,
    /// Its keys, at least 1.
    pub keys: usize,
    /// Epochs that are scored in each run, at least 1.
    pub epochs: u64,
    /// The first seed.
    pub seed: u64,
    /// Runs, with seeds that follow each other; at least 2, which an interval needs.
    pub seeds: u64,
    /// Defences that are switched off.
    pub without: BTreeSet<Defence>,
}

/// What a plan came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The attack's name.
    pub attack: String,
    /// The attacker's share of all stake.
    pub stake: f64,
    /// Its keys.
    pub keys: usize,
    /// Its profit as a multiple of honest play's: the mean over seeds.
    pub relative_profit: f64,
    /// 95 % confidence interval of that mean, by Student's t over seeds.
    pub interval: [f64; 2],
    /// Epochs scored in each run.
    pub epochs: u64,
    /// Runs of the attack, and as many of honest play.
    pub seeds: u64,
    /// Defences that were switched off, joined by `+`.
    pub without: Option<String>,
    /// With all defences: that the attack does not pay, as far as the interval tells. Without some: that it does.
    pub ok: bool,
    /// What is gained: `money`, `votes` or `asks`.
    pub gain: &'static str,
    /// What the attack costs against honest play, in ASY, mean over seeds; negative where it pays. `None` unless money is
    /// gained.
    pub cost: Option<f64>,
    /// What to know of it.
    pub note: String,
}

/// All rows, and how much was run for them.
#[derive(Clone, Debug, PartialEq)]
pub struct Simulated {
    /// In the order of the plans.
    pub rows: Vec<Row>,
    /// Epochs of the ledger that were executed.
    pub epochs: u64,
}

/// Why a simulation stopped. Each is a fault of this program or its machine: what an attack fails at is a result.
#[derive(Debug, thiserror::Error)]
pub enum SimulationError {
    /// The ledger's state.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A block that the ledger does not execute.
    #[error("a simulated block is refused: {0}")]
    Block(#[from] BlockError),
    /// The chain spec of the simulation.
    #[error("the simulated chain has no genesis: {0}")]
    Genesis(Box<GenesisError>),
    /// Something honest was refused.
    #[error("honest play is refused: {0}")]
    Refused(String),
    /// Money appeared or vanished.
    #[error("the books do not add up at height {height}: {expected} grain should be held, {found} are")]
    Books {
        /// The block.
        height: u64,
        /// Genesis, plus what was minted, less what was burned.
        expected: u128,
        /// The sum of what is held.
        found: u128,
    },
    /// The model of the simulation, or a proof of it.
    #[error("the simulation's model fails: {0}")]
    Model(String),
    /// A folder for a miner's log.
    #[error("a folder for the simulated miner cannot be used: {0}")]
    Disk(String),
    /// A plan that cannot be run.
    #[error("{field} must be {expected}, found {found}")]
    Plan {
        /// Of the plan.
        field: &'static str,
        /// In words.
        expected: &'static str,
        /// What was given.
        found: String,
    },
}

/// Work or pay, by role.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Work {
    validating: f64,
    mining: f64,
}

impl Work {
    const NONE: Self = Self { validating: 0.0, mining: 0.0 };
    /// All that honest play does.
    const WHOLE: Self = Self { validating: 1.0, mining: 1.0 };
}

/// What a run came to.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Outcome {
    /// Grain in the market; else the arena's own unit.
    gain: f64,
    /// Grain paid for validating and mining.
    earned: Work,
    /// Work done, as a share of what honest play does.
    work: Work,
}

impl Outcome {
    /// The gain less the work, which is reckoned from what honest play earned.
    fn profit(&self, honest: &Outcome) -> f64 {
        let validating = VALIDATING_WORK * self.work.validating * honest.earned.validating;
        let mining = MINING_WORK * self.work.mining * honest.earned.mining;
        self.gain - validating - mining
    }

    fn relative(&self, honest: &Outcome) -> f64 {
        let (attack, fair) = (self.profit(honest), honest.profit(honest));
        if fair > 0.0 {
            return attack / fair;
        }
        let earned = honest.earned.validating + honest.earned.mining;
        if earned > 0.0 { 1.0 + (attack - fair) / earned } else { 1.0 }
    }
}

impl Plan {
    fn check(&self) -> Result<(), SimulationError> {
        let wrong = |field, expected, found: String| Err(SimulationError::Plan { field, expected, found });
        if !(1..5_000).contains(&self.share) {
            let found = (self.share as f64 / 10_000.0).to_string();
            return wrong("stake", "above 0 and below 0.5, in steps of 0.0001", found);
        }
        if !(1..=50).contains(&self.keys) {
            return wrong("keys", "1 to 50", self.keys.to_string());
        }
        if !(1..=100_000).contains(&self.epochs) {
            return wrong("epochs", "1 to 100000", self.epochs.to_string());
        }
        if !(2..=10_000).contains(&self.seeds) {
            return wrong("seeds", "2 to 10000, as an interval needs two", self.seeds.to_string());
        }
        // A validator needs the least stake that the chain asks for.
        if self.attack.validates()
            && population::STAKE.basis_points(self.share).0 / (self.keys as u64) < population::LEAST
        {
            return wrong(
                "stake",
                "at least 0.0005 for each validator key",
                (self.share as f64 / 10_000.0).to_string(),
            );
        }
        Ok(())
    }

    fn settings(&self) -> impl Iterator<Item = Setting> {
        (0..self.seeds).map(|n| Setting::attack(self, self.seed.wrapping_add(n)))
    }

    fn row(&self, outcomes: &BTreeMap<Setting, Outcome>) -> Row {
        let pairs: Vec<_> = self.settings().map(|s| (outcomes[&s], outcomes[&s.honest()])).collect();
        let relative: Vec<f64> = pairs.iter().map(|(attack, honest)| attack.relative(honest)).collect();
        let found = estimate(&relative);
        let arena = self.attack.arena();
        let lost: Vec<f64> =
            pairs.iter().map(|(attack, honest)| honest.profit(honest) - attack.profit(honest)).collect();
        let without: Vec<_> = self.without.iter().map(|defence| defence.name()).collect();
        Row {
            attack: self.attack.name(),
            stake: self.share as f64 / 10_000.0,
            keys: self.keys,
            relative_profit: round(found.mean),
            interval: [round(found.low), round(found.high)],
            epochs: self.epochs,
            seeds: self.seeds,
            ok: if without.is_empty() { found.low <= 1.0 + ROUNDING } else { found.low > 1.0 },
            without: (!without.is_empty()).then(|| without.join("+")),
            gain: match arena {
                Arena::Market => "money",
                Arena::Votes => "votes",
                Arena::Asks => "asks",
            },
            cost: (arena == Arena::Market)
                .then(|| round(estimate(&lost).mean / assay_primitives::GRAINS_PER_ASY as f64)),
            note: table::note(self),
        }
    }
}

/// What the ledger's rounding to whole grain makes of equal play.
const ROUNDING: f64 = 1e-6;

/// Four digits are more than any interval here is worth.
fn round(value: f64) -> f64 {
    // Adding zero leaves no negative one.
    (value * 1e4).round() / 1e4 + 0.0
}

/// Runs plans on all cores. Equal plans give equal rows, on any number of cores.
///
/// # Errors
/// [`SimulationError`].
pub fn simulate(plans: &[Plan]) -> Result<Simulated, SimulationError> {
    plans.iter().try_for_each(Plan::check)?;
    let attacks = plans.iter().flat_map(Plan::settings);
    let all: BTreeSet<Setting> = attacks.flat_map(|s| [s.honest(), s]).collect();
    let settings: Vec<Setting> = all.into_iter().collect();
    let exam = Exam::new()?;
    let next = AtomicUsize::new(0);
    let found = Mutex::new(BTreeMap::new());
    let work = || {
        while let Some(setting) = settings.get(next.fetch_add(1, Ordering::Relaxed)) {
            let outcome = play(setting, &exam);
            found.lock().unwrap_or_else(PoisonError::into_inner).insert(setting.clone(), outcome);
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| (0..cores.min(settings.len())).for_each(|_| drop(scope.spawn(work))));
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    let outcomes =
        found.into_iter().map(|(s, outcome)| Ok((s, outcome?))).collect::<Result<BTreeMap<_, _>, SimulationError>>()?;
    let epochs = settings.iter().map(|s| s.epochs + 2).sum();
    Ok(Simulated { rows: plans.iter().map(|plan| plan.row(&outcomes)).collect(), epochs })
}

fn play(setting: &Setting, exam: &Exam) -> Result<Outcome, SimulationError> {
    match setting.arena {
        Arena::Market => market::run(setting, exam, attack::of(setting)),
        Arena::Votes => votes::run(setting, exam),
        Arena::Asks => asks::run(setting, exam),
    }
}
