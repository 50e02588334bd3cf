//! Criteria weighed into one score.
//!
//! The score is `sum(weight * mark) / sum(weight)` over the criteria that apply, rounded down. Before that come the
//! *gates*: an answer that exact re-execution refutes, or whose proof is invalid or missing where policy demands
//! one, scores 0 in all. Speed and a lucky label cannot make up for a lie. No answer scores 0 too.

use std::fmt;

use assay_chain_spec::Params;
use assay_primitives::Score;
use serde::Serialize;

use crate::criteria::{Correct, Criterion, Evidence, Exact, Latency, ProofVerdict};

/// One criterion's part in a verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CriterionMark {
    /// The criterion.
    pub name: &'static str,
    /// Its mark.
    pub mark: Score,
    /// Its weight, out of the sum of the weights beside it.
    pub weight: u64,
}

/// What one answer is worth, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The score.
    pub score: Score,
    /// The criteria that apply, in the scorer's order; empty if nothing came back.
    pub breakdown: Vec<CriterionMark>,
    /// The gate that made the score 0, if one did.
    pub gate: Option<&'static str>,
}

/// Criteria with their weights.
#[derive(Default)]
pub struct Scorer {
    criteria: Vec<(Box<dyn Criterion>, u64)>,
}

impl fmt::Debug for Scorer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.criteria.iter().map(|(c, weight)| (c.name(), weight))).finish()
    }
}

impl Scorer {
    /// The classifier's criteria with the weights and latency curve that the chain has in force.
    pub fn from_params(params: &Params) -> Self {
        Self::default()
            .with(Correct, params.weight_correct)
            .with(Exact, params.weight_exact)
            .with(ProofVerdict, params.weight_proof)
            .with(Latency { full_ms: params.latency_full_ms, zero_ms: params.latency_zero_ms }, params.weight_latency)
    }

    /// Adds a criterion. With weight 0 its mark does not count, but its gate still holds.
    pub fn with(mut self, criterion: impl Criterion + 'static, weight: u64) -> Self {
        self.criteria.push((Box::new(criterion), weight));
        self
    }

    /// Judges one task. If all weights that apply are 0 the score is 0.
    pub fn judge(&self, evidence: &Evidence) -> Verdict {
        let Some(answer) = &evidence.answer else {
            return Verdict { score: Score::ZERO, breakdown: Vec::new(), gate: None };
        };
        let breakdown: Vec<_> = self
            .criteria
            .iter()
            .filter_map(|(criterion, weight)| {
                let mark = criterion.mark(evidence, answer)?;
                Some(CriterionMark { name: criterion.name(), mark, weight: *weight })
            })
            .collect();
        let gate = self.criteria.iter().find(|(c, _)| c.refutes(evidence, answer)).map(|(c, _)| c.name());
        let score = if gate.is_some() { Score::ZERO } else { weighted(&breakdown) };
        Verdict { score, breakdown, gate }
    }
}

fn weighted(marks: &[CriterionMark]) -> Score {
    let total: u128 = marks.iter().map(|m| u128::from(m.weight)).sum();
    // A mark has at most 33 bits and a weight 64; criteria are few, so the sum fits.
    let sum: u128 = marks.iter().map(|m| u128::from(m.weight) * u128::from(m.mark.bits())).sum();
    let bits = sum.checked_div(total).unwrap_or(0);
    Score::from_bits(bits as u64).expect("an average of numbers in 0..=1 lies in 0..=1")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::criteria::{Answered, ProofOutcome};

    fn evidence(class: u32, output: Vec<i32>, proof: ProofOutcome, latency_ms: u64) -> Evidence {
        let answer = Some(Answered { output, class, proof, latency_ms });
        Evidence { label: Some(3), expected: vec![1, 2, 3, 9], answer }
    }

    fn scorer() -> Scorer {
        Scorer::from_params(&Params::dev())
    }

    #[test]
    fn a_right_proven_and_quick_answer_scores_one() {
        let verdict = scorer().judge(&evidence(3, vec![1, 2, 3, 9], ProofOutcome::Verified, 10));
        assert_eq!(verdict.score, Score::ONE);
        assert_eq!(
            verdict.breakdown.iter().map(|m| m.name).collect::<Vec<_>>(),
            ["correct", "exact", "proof", "latency"]
        );
    }

    #[test]
    fn an_honest_error_of_the_model_costs_the_label_weight_only() {
        let verdict = scorer().judge(&evidence(2, vec![1, 2, 3, 9], ProofOutcome::Verified, 10));
        assert_eq!(verdict.score, Score::ratio(9, 10));
        assert_eq!(verdict.gate, None);
    }

    #[test]
    fn a_refuted_output_scores_nothing_even_with_a_proof_a_label_and_speed() {
        let verdict = scorer().judge(&evidence(3, vec![1, 2, 3, 8], ProofOutcome::Verified, 1));
        assert_eq!((verdict.score, verdict.gate), (Score::ZERO, Some("exact")));
        let exact_unweighted = Scorer::default().with(Correct, 1).with(Exact, 0);
        assert_eq!(exact_unweighted.judge(&evidence(3, vec![0], ProofOutcome::Verified, 1)).score, Score::ZERO);
    }

    #[test]
    fn an_invalid_or_missing_proof_scores_nothing_even_with_the_right_output() {
        for outcome in [ProofOutcome::Invalid, ProofOutcome::Missing] {
            let verdict = scorer().judge(&evidence(3, vec![1, 2, 3, 9], outcome, 1));
            assert_eq!((verdict.score, verdict.gate), (Score::ZERO, Some("proof")));
        }
    }

    #[test]
    fn silence_scores_nothing() {
        let verdict = scorer().judge(&Evidence { label: Some(1), expected: vec![1], answer: None });
        assert_eq!((verdict.score, verdict.breakdown.len()), (Score::ZERO, 0));
    }

    proptest! {
        #[test]
        fn the_score_lies_between_the_worst_and_the_best_mark(
            marks in proptest::collection::vec((0u64..=1 << 32, 0u64..=10_000), 1..8)
        ) {
            let marks: Vec<_> = marks
                .into_iter()
                .map(|(bits, weight)| CriterionMark { name: "x", mark: Score::from_bits(bits).unwrap(), weight })
                .collect();
            let score = weighted(&marks);
            let counted = || marks.iter().filter(|m| m.weight > 0).map(|m| m.mark);
            match (counted().min(), counted().max()) {
                (Some(low), Some(high)) => prop_assert!(low <= score && score <= high),
                _ => prop_assert_eq!(score, Score::ZERO),
            }
        }
    }
}
