//! Attacks by the number and the age of keys.

use assay_ledger::tx::ScoreEntry;

use super::{Conduct, Market, Play, Scene, Setting, Sheet, SimulationError, Work};
use crate::simulate::{market::full_marks, population::key};

/// Many miner keys, each of them served as an honest one is.
pub(super) struct Sybil;

impl Play for Sybil {
    fn work(&self, setting: &Setting) -> Work {
        Work { mining: setting.miners as f64, ..Work::WHOLE }
    }
}

/// One validator's stake under many keys, which all report the scores that the first one came to; each asked for itself, or
/// it would have nothing to show.
#[derive(Default)]
pub(super) struct Split {
    measured: Option<(u64, Vec<ScoreEntry>)>,
}

impl Play for Split {
    fn sheet(&mut self, scene: &Scene<'_, '_>, own: &[ScoreEntry]) -> Result<Sheet, SimulationError> {
        let known = self.measured.take().filter(|(epoch, _)| *epoch == scene.epoch);
        let (_, scores) = self.measured.insert(known.unwrap_or_else(|| (scene.epoch, own.to_vec())));
        let score = |own: &ScoreEntry| {
            let first = scores.iter().find(|entry| entry.miner == own.miner && own.responses > 0);
            ScoreEntry { score: first.map_or(own.score, |entry| entry.score), ..own.clone() }
        };
        Ok(Sheet::Scores(own.iter().map(score).collect()))
    }
}

/// Its miners work for a third of the time; then new keys take their places, do nothing, and should live on what was
/// scored before they were there. Its validators commit full marks for the heirs before these register.
pub(super) struct Inheritance {
    /// The epoch in which the keys are replaced.
    replaced: u64,
}

impl Inheritance {
    pub(super) fn new(setting: &Setting) -> Self {
        Self { replaced: (setting.epochs / 3).max(1) }
    }
}

impl Play for Inheritance {
    fn conduct(&self, epoch: u64) -> Conduct {
        if epoch <= self.replaced { Conduct::Work } else { Conduct::Absent }
    }

    fn sheet(&mut self, scene: &Scene<'_, '_>, own: &[ScoreEntry]) -> Result<Sheet, SimulationError> {
        let mut scores = own.to_vec();
        if scene.epoch == self.replaced {
            let heir = |n| full_marks(key(scene.market.draw, "heir", n).account());
            scores.extend((0..scene.market.setting.miners as u64).map(heir));
        }
        Ok(Sheet::Scores(scores))
    }

    fn late(&mut self, market: &mut Market<'_>, epoch: u64) -> Result<(), SimulationError> {
        if epoch != self.replaced {
            return Ok(());
        }
        let ours = market.cast.miners.iter().enumerate().filter(|(_, m)| m.ours).map(|(at, _)| at);
        for (n, m) in (0u64..).zip(ours.collect::<Vec<_>>()) {
            let heir = key(market.draw, "heir", n);
            market.replace_miner(m, heir)?;
        }
        Ok(())
    }

    fn work(&self, setting: &Setting) -> Work {
        Work { mining: self.replaced as f64 / setting.epochs.max(1) as f64, ..Work::WHOLE }
    }
}
