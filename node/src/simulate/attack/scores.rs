//! Attacks by what a validator reports.

use std::collections::BTreeMap;

use assay_consensus::aggregate::{Bounds, Report, Rules, aggregate};
use assay_ledger::{query, tx::ScoreEntry};
use assay_primitives::{AccountId, Score};

use super::{Market, Play, Scene, Setting, Sheet, SimulationError, Work};
use crate::simulate::{Defence, actions, market::full_marks, population::SUBNET};

const NO_VALIDATING: Work = Work { validating: 0.0, ..Work::WHOLE };

/// Reports what the others agreed on: of the last epoch, which is all that commit-reveal shows in time; without it, of
/// this one.
pub(super) struct Copying;

impl Play for Copying {
    fn measures(&self) -> bool {
        false
    }

    fn sheet(&mut self, scene: &Scene<'_, '_>, _: &[ScoreEntry]) -> Result<Sheet, SimulationError> {
        let market = scene.market;
        let mut reports: BTreeMap<AccountId, Vec<(ScoreEntry, u64)>> = BTreeMap::new();
        let mut take = |scores: &[ScoreEntry], stake: u64| {
            scores.iter().for_each(|entry| reports.entry(entry.miner).or_default().push((entry.clone(), stake)));
        };
        for (v, validator) in market.cast.validators.iter().enumerate().filter(|(_, v)| !v.ours) {
            let stake = validator.stake.0;
            if market.setting.is_without(Defence::CommitReveal) {
                take(&scene.now[v], stake);
            } else if let Some(last) = scene.epoch.checked_sub(1) {
                let account = validator.operator.account();
                let reveal = query::reveal(&market.chain.state, last, SUBNET, &account)?;
                reveal.iter().for_each(|reveal| take(&reveal.scores, stake));
            }
        }
        let agreed = |miner: &AccountId| {
            let of_it = reports.get(miner)?;
            let report = |(entry, stake): &(ScoreEntry, u64)| Report {
                value: entry.score.to_fixed(),
                stake: *stake,
                confidence: entry.confidence.to_fixed(),
            };
            let all: Vec<_> = of_it.iter().map(report).collect();
            let settled = aggregate(&Rules { min_validators: 1, ..Rules::default() }, Bounds::UNIT, &all).ok()?;
            let score = Score::from_fixed(settled.value).ok()?;
            Some(ScoreEntry { score, ..full_marks(*miner) })
        };
        Ok(Sheet::Scores(scene.listed.iter().filter_map(agreed).collect()))
    }

    fn work(&self, _: &Setting) -> Work {
        NO_VALIDATING
    }
}

/// Commits to the hash that another validator committed to, and shows that one's scores once they are revealed: as they
/// are, and under its own name.
pub(super) struct CopiedCommitment;

impl Play for CopiedCommitment {
    fn measures(&self) -> bool {
        false
    }

    fn sheet(&mut self, _: &Scene<'_, '_>, _: &[ScoreEntry]) -> Result<Sheet, SimulationError> {
        Ok(Sheet::Nothing)
    }

    fn meanwhile(&mut self, market: &mut Market<'_>, _: u64) -> Result<(), SimulationError> {
        let victim = market.revealed.iter().find(|(v, _)| !market.cast.validators[*v].ours);
        let Some((_, theirs)) = victim.cloned() else { return Ok(()) };
        for validator in market.cast.validators.iter().filter(|v| v.ours) {
            let mut renamed = theirs.clone();
            renamed.validator = validator.operator.account();
            market.chain.send(&validator.operator, actions::reveal(theirs.clone(), Vec::new()))?;
            market.chain.send(&validator.operator, actions::reveal(renamed, Vec::new()))?;
        }
        Ok(())
    }

    fn late(&mut self, market: &mut Market<'_>, epoch: u64) -> Result<(), SimulationError> {
        let Some(victim) = market.cast.validators.iter().find(|v| !v.ours) else { return Ok(()) };
        let theirs = query::commitment(&market.chain.state, epoch, SUBNET, &victim.operator.account())?;
        let Some(theirs) = theirs else { return Ok(()) };
        for validator in market.cast.validators.iter().filter(|v| v.ours) {
            market.chain.send(&validator.operator, actions::commit(epoch, theirs.hash))?;
        }
        Ok(())
    }

    fn work(&self, _: &Setting) -> Work {
        NO_VALIDATING
    }
}

/// What a cabal reports of other miners than its own.
pub(super) enum Others {
    /// Nothing at all.
    Nothing,
    /// A little less than was measured: close enough to be no outlier.
    Shaded,
}

/// Full marks for its own miners, less for all others.
pub(super) struct Cabal {
    pub(super) others: Others,
}

impl Play for Cabal {
    fn sheet(&mut self, scene: &Scene<'_, '_>, own: &[ScoreEntry]) -> Result<Sheet, SimulationError> {
        let mut scores = own.to_vec();
        for entry in &mut scores {
            let ours = scene.market.cast.miners.iter().any(|m| m.ours && m.operator.account() == entry.miner);
            entry.score = match self.others {
                _ if ours => Score::ONE,
                Others::Nothing => Score::ZERO,
                Others::Shaded => entry.score.times(Score::ratio(96, 100)),
            };
        }
        Ok(Sheet::Scores(scores))
    }
}

/// Asks nobody and gives everybody full marks.
pub(super) struct Lazy;

impl Play for Lazy {
    fn measures(&self) -> bool {
        false
    }

    fn sheet(&mut self, scene: &Scene<'_, '_>, _: &[ScoreEntry]) -> Result<Sheet, SimulationError> {
        Ok(Sheet::Scores(scene.listed.iter().map(|miner| full_marks(*miner)).collect()))
    }

    fn work(&self, _: &Setting) -> Work {
        NO_VALIDATING
    }
}
