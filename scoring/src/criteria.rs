//! What can be marked about an answer. A criterion gives a mark in 0..=1, or none where it does not apply.

use assay_primitives::Score;

/// What the validator knows of a task, and what came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The known class of the input, where it is a canary.
    pub label: Option<u32>,
    /// The output of the validator's own exact re-execution.
    pub expected: Vec<i32>,
    /// The answer; `None` if no valid signed answer arrived before the deadline.
    pub answer: Option<Answered>,
}

/// An answer that carries the miner's valid signature over this very request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The output the miner signed.
    pub output: Vec<i32>,
    /// The class that output names: the position of its largest value, the first of equal ones.
    pub class: u32,
    /// What became of its proof.
    pub proof: ProofOutcome,
    /// From sending the request to holding the whole answer, measured by the validator, in milliseconds.
    pub latency_ms: u64,
}

/// What became of a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofOutcome {
    /// It holds for the validator's own input, the signed output, this request and this miner.
    Verified,
    /// It was given and does not hold.
    Invalid,
    /// The model's policy demands it with every answer, and it was not given.
    Missing,
    /// The model's policy does not demand it with this answer.
    NotDemanded,
}

impl ProofOutcome {
    /// Counts against the miner.
    pub fn is_rejected(self) -> bool {
        matches!(self, ProofOutcome::Invalid | ProofOutcome::Missing)
    }
}

/// What is judged: a task with what came back for it.
pub trait Case {
    /// What came back.
    type Answer: Timed;

    /// The answer; `None` if no valid signed answer arrived before the deadline.
    fn answer(&self) -> Option<&Self::Answer>;
}

/// An answer whose time was taken.
pub trait Timed {
    /// From sending the request to holding the whole answer, measured by the validator, in milliseconds.
    fn latency_ms(&self) -> u64;
}

impl Case for Evidence {
    type Answer = Answered;
    fn answer(&self) -> Option<&Answered> {
        self.answer.as_ref()
    }
}

impl Timed for Answered {
    fn latency_ms(&self) -> u64 {
        self.latency_ms
    }
}

/// One thing an answer is judged by.
pub trait Criterion<C: Case = Evidence>: Send + Sync {
    /// Its name in breakdowns; stable, as reports carry it.
    fn name(&self) -> &'static str;

    /// The mark in 0..=1; `None` where the criterion does not apply to this task, so that its weight does not count.
    fn mark(&self, case: &C, answer: &C::Answer) -> Option<Score>;

    /// True if the answer is shown to be false: then it scores 0 in all, whatever its other marks.
    fn refutes(&self, _case: &C, _answer: &C::Answer) -> bool {
        false
    }
}

/// The full mark or none.
pub(crate) fn full_if(holds: bool) -> Score {
    if holds { Score::ONE } else { Score::ZERO }
}

/// The answer's class is the canary's label. Never a gate: an honest model errs now and then, for every miner alike.
#[derive(Clone, Copy, Debug)]
pub struct Correct;

impl Criterion for Correct {
    fn name(&self) -> &'static str {
        "correct"
    }
    fn mark(&self, evidence: &Evidence, answer: &Answered) -> Option<Score> {
        evidence.label.map(|label| full_if(label == answer.class))
    }
}

/// The output is that of exact re-execution. A gate.
#[derive(Clone, Copy, Debug)]
pub struct Exact;

impl Criterion for Exact {
    fn name(&self) -> &'static str {
        "exact"
    }
    fn mark(&self, evidence: &Evidence, answer: &Answered) -> Option<Score> {
        Some(full_if(evidence.expected == answer.output))
    }
    fn refutes(&self, evidence: &Evidence, answer: &Answered) -> bool {
        evidence.expected != answer.output
    }
}

/// The proof holds. A gate where it is invalid, or missing though the policy demands it.
#[derive(Clone, Copy, Debug)]
pub struct ProofVerdict;

impl Criterion for ProofVerdict {
    fn name(&self) -> &'static str {
        "proof"
    }
    fn mark(&self, _evidence: &Evidence, answer: &Answered) -> Option<Score> {
        match answer.proof {
            ProofOutcome::NotDemanded => None,
            outcome => Some(full_if(outcome == ProofOutcome::Verified)),
        }
    }
    fn refutes(&self, _evidence: &Evidence, answer: &Answered) -> bool {
        answer.proof.is_rejected()
    }
}

/// Full until `full_ms`, then linear down to nothing at `zero_ms`.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    /// Up to this latency the mark is full, in milliseconds.
    pub full_ms: u64,
    /// From this latency on the mark is zero, in milliseconds. At or below `full_ms` the curve is a step at `full_ms`.
    pub zero_ms: u64,
}

impl<C: Case> Criterion<C> for Latency {
    fn name(&self) -> &'static str {
        "latency"
    }
    fn mark(&self, _case: &C, answer: &C::Answer) -> Option<Score> {
        if answer.latency_ms() <= self.full_ms {
            return Some(Score::ONE);
        }
        let left = self.zero_ms.saturating_sub(answer.latency_ms());
        Some(Score::ratio(left, self.zero_ms.saturating_sub(self.full_ms)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn took(latency_ms: u64) -> (Evidence, Answered) {
        let answer = Answered { output: vec![1], class: 0, proof: ProofOutcome::Verified, latency_ms };
        (Evidence { label: None, expected: vec![1], answer: None }, answer)
    }

    proptest! {
        #[test]
        fn a_slower_answer_never_earns_a_better_latency_mark(full in 0u64..1000, zero in 0u64..2000, a: u16, b: u16) {
            let curve = Latency { full_ms: full, zero_ms: zero };
            let mark = |ms: u16| { let (e, x) = took(u64::from(ms)); curve.mark(&e, &x).unwrap() };
            prop_assert!(mark(a.min(b)) >= mark(a.max(b)));
        }
    }

    #[test]
    fn latency_is_full_then_linear_then_nothing() {
        let curve = Latency { full_ms: 100, zero_ms: 300 };
        let mark = |ms| {
            let (e, x) = took(ms);
            curve.mark(&e, &x).unwrap()
        };
        assert_eq!(mark(0), Score::ONE);
        assert_eq!(mark(100), Score::ONE);
        assert_eq!(mark(200), Score::ratio(1, 2));
        assert_eq!(mark(300), Score::ZERO);
        assert_eq!(mark(u64::MAX), Score::ZERO);
    }

    #[test]
    fn a_criterion_that_does_not_apply_gives_no_mark() {
        let (evidence, answer) = took(1);
        assert_eq!(Correct.mark(&evidence, &answer), None);
        let unproved = Answered { proof: ProofOutcome::NotDemanded, ..answer };
        assert_eq!(ProofVerdict.mark(&evidence, &unproved), None);
        assert!(!ProofVerdict.refutes(&evidence, &unproved));
    }
}
