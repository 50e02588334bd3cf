//! How an answer was served: replay and price. Latency is [`crate::Latency`].

use assay_primitives::Score;

use super::case::{ReplayOutcome, TextAnswer, TextCase};
use crate::criteria::{Criterion, full_if};

/// The model draws these tokens. A gate where it does not: the answer is not the model's, however good it is.
#[derive(Clone, Copy, Debug)]
pub struct Replay;

impl Criterion<TextCase> for Replay {
    fn name(&self) -> &'static str {
        "replay"
    }
    fn mark(&self, _case: &TextCase, answer: &TextAnswer) -> Option<Score> {
        match answer.replay {
            ReplayOutcome::NotReplayed => None,
            outcome => Some(full_if(outcome == ReplayOutcome::Confirmed)),
        }
    }
    fn refutes(&self, _case: &TextCase, answer: &TextAnswer) -> bool {
        answer.replay == ReplayOutcome::Refuted
    }
}

/// Full up to `full`, then linear down to nothing at `zero`, in grain for a thousand tokens.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Up to this price the mark is full.
    pub full: u64,
    /// From this price on the mark is zero. At or below `full` the curve is a step at `full`.
    pub zero: u64,
}

impl Criterion<TextCase> for Cost {
    fn name(&self) -> &'static str {
        "cost"
    }
    fn mark(&self, _case: &TextCase, answer: &TextAnswer) -> Option<Score> {
        let price = answer.price?;
        if price <= self.full {
            return Some(Score::ONE);
        }
        Some(Score::ratio(self.zero.saturating_sub(price), self.zero.saturating_sub(self.full)))
    }
}
