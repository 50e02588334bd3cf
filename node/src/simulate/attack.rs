//! What an attacker does otherwise than an honest party, by family.

mod answers;
mod keys;
mod scores;

use assay_ledger::tx::ScoreEntry;
use assay_primitives::AccountId;

use super::{Attack, SimulationError, Work, fraud::Conduct, market::Market, setting::Setting};

/// A party's way to play in the market. Every method is honest play unless an attack overrides it.
pub(super) trait Play {
    /// Whether its validators ask and check for themselves.
    fn measures(&self) -> bool {
        true
    }

    /// How its miners answer in an epoch.
    fn conduct(&self, _epoch: u64) -> Conduct {
        Conduct::Work
    }

    /// What one of its validators commits to, having measured `own`.
    ///
    /// # Errors
    /// [`SimulationError`] of the ledger's.
    fn sheet(&mut self, _scene: &Scene<'_, '_>, own: &[ScoreEntry]) -> Result<Sheet, SimulationError> {
        Ok(Sheet::Scores(own.to_vec()))
    }

    /// Transactions between the tasks and the commitments.
    ///
    /// # Errors
    /// [`SimulationError`] of the ledger's.
    fn meanwhile(&mut self, _market: &mut Market<'_>, _epoch: u64) -> Result<(), SimulationError> {
        Ok(())
    }

    /// Transactions after the commitments.
    ///
    /// # Errors
    /// [`SimulationError`] of the ledger's.
    fn late(&mut self, _market: &mut Market<'_>, _epoch: u64) -> Result<(), SimulationError> {
        Ok(())
    }

    /// The work it does, as a share of what honest play does.
    fn work(&self, _setting: &Setting) -> Work {
        Work::WHOLE
    }
}

/// What a validator does about its scores.
pub(super) enum Sheet {
    /// Commits to these.
    Scores(Vec<ScoreEntry>),
    /// Commits to nothing.
    Nothing,
}

/// What a validator sees when it commits.
pub(super) struct Scene<'s, 'm> {
    pub(super) market: &'s Market<'m>,
    pub(super) epoch: u64,
    /// Miners in the market since before the epoch.
    pub(super) listed: &'s [AccountId],
    /// The other validators' scores of this very epoch, which commit-reveal hides.
    pub(super) now: &'s [Vec<ScoreEntry>],
}

struct Honest;

impl Play for Honest {}

/// The way a setting is played in the market.
pub(super) fn of(setting: &Setting) -> Box<dyn Play> {
    match setting.attack {
        Some(Attack::WeightCopying) => Box::new(scores::Copying),
        Some(Attack::CopiedCommitment) => Box::new(scores::CopiedCommitment),
        Some(Attack::ValidatorCabal) => Box::new(scores::Cabal { others: scores::Others::Nothing }),
        Some(Attack::ValidatorShading) => Box::new(scores::Cabal { others: scores::Others::Shaded }),
        Some(Attack::LazyValidator) => Box::new(scores::Lazy),
        Some(Attack::WeightInheritance) => Box::new(keys::Inheritance::new(setting)),
        Some(Attack::SybilMiners) => Box::new(keys::Sybil),
        Some(Attack::SplitStake) => Box::new(keys::Split::default()),
        Some(Attack::Relay) => Box::new(answers::Answering { conduct: Conduct::Relay, learning: 0, work: 0.0 }),
        Some(Attack::Precomputed) => {
            let learning = answers::LEARNING.min(setting.epochs);
            let work = learning as f64 / setting.epochs.max(1) as f64;
            Box::new(answers::Answering { conduct: Conduct::Prepared, learning, work })
        }
        Some(Attack::ProofSpam) => {
            Box::new(answers::Answering { conduct: Conduct::Forge, learning: 0, work: answers::RUNNING })
        }
        Some(Attack::WithheldProof) => {
            Box::new(answers::Answering { conduct: Conduct::Withhold, learning: 0, work: answers::RUNNING })
        }
        Some(Attack::FlashStake | Attack::MinerDrain) | None => Box::new(Honest),
    }
}
