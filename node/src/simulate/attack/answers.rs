//! Attacks by what a miner answers. The attacker's validators score honestly: to shield such a miner they would have to
//! stand against the majority of stake, and lose by it.

use super::{Conduct, Play, Setting, Work};

/// Running the model, as a share of a miner's work; the rest is proving.
pub(super) const RUNNING: f64 = 0.1;
/// Epochs in which a miner that prepares its answers still works.
pub(super) const LEARNING: u64 = 4;

/// Works for some epochs, then answers otherwise.
pub(super) struct Answering {
    pub(super) conduct: Conduct,
    /// Epochs of honest work before.
    pub(super) learning: u64,
    /// Share of honest work that is done.
    pub(super) work: f64,
}

impl Play for Answering {
    fn conduct(&self, epoch: u64) -> Conduct {
        if epoch <= self.learning { Conduct::Work } else { self.conduct }
    }

    fn work(&self, _: &Setting) -> Work {
        Work { mining: self.work, ..Work::WHOLE }
    }
}
