//! Criteria weighed into one score.
//!
//! The score is a weighted mean over the criteria that apply, rounded down: arithmetic, `sum(weight * mark) / sum(weight)`,
//! or geometric, `product(mark ^ (weight / sum(weight)))`, under which no merit makes up for the lack of another.
//! Before that come the
//! *gates*: an answer that exact re-execution refutes, or whose proof is invalid or missing where policy demands
//! one, scores 0 in all. Speed and a lucky label cannot make up for a lie. No answer scores 0 too.

use std::fmt;

use assay_chain_spec::Params;
use assay_primitives::Score;
use serde::Serialize;

use crate::criteria::{Case, Correct, Criterion, Evidence, Exact, Latency, ProofVerdict};

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

impl Verdict {
    /// The score that the same marks make under other weights; a gate holds under all.
    pub fn weighed(&self, weight: impl Fn(&str) -> u64, mean: Mean) -> Score {
        let marks: Vec<_> =
            self.breakdown.iter().map(|m| CriterionMark { weight: weight(m.name), ..m.clone() }).collect();
        if self.gate.is_some() { Score::ZERO } else { combine(&marks, mean) }
    }
}

/// How marks become one score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mean {
    /// Merits add up.
    #[default]
    Arithmetic,
    /// Merits multiply: a mark of 0 with a weight makes the score 0.
    Geometric,
}

/// Criteria with their weights.
pub struct Scorer<C: Case = Evidence> {
    criteria: Vec<(Box<dyn Criterion<C>>, u64)>,
    mean: Mean,
}

impl<C: Case> Default for Scorer<C> {
    fn default() -> Self {
        Self { criteria: Vec::new(), mean: Mean::Arithmetic }
    }
}

impl<C: Case> fmt::Debug for Scorer<C> {
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
}

impl<C: Case> Scorer<C> {
    /// Takes another mean.
    pub fn by(mut self, mean: Mean) -> Self {
        self.mean = mean;
        self
    }

    /// Adds a criterion. With weight 0 its mark does not count, but its gate still holds.
    pub fn with(mut self, criterion: impl Criterion<C> + 'static, weight: u64) -> Self {
        self.criteria.push((Box::new(criterion), weight));
        self
    }

    /// Leaves a criterion out, its gate too.
    pub fn without(mut self, name: &str) -> Self {
        self.criteria.retain(|(criterion, _)| criterion.name() != name);
        self
    }

    /// The criteria's names with their weights, in order.
    pub fn weights(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.criteria.iter().map(|(criterion, weight)| (criterion.name(), *weight))
    }

    /// Judges one task. If all weights that apply are 0 the score is 0.
    pub fn judge(&self, case: &C) -> Verdict {
        let Some(answer) = case.answer() else {
            return Verdict { score: Score::ZERO, breakdown: Vec::new(), gate: None };
        };
        let breakdown: Vec<_> = self
            .criteria
            .iter()
            .filter_map(|(criterion, weight)| {
                let mark = criterion.mark(case, answer)?;
                Some(CriterionMark { name: criterion.name(), mark, weight: *weight })
            })
            .collect();
        let gate = self.criteria.iter().find(|(c, _)| c.refutes(case, answer)).map(|(c, _)| c.name());
        let score = if gate.is_some() { Score::ZERO } else { combine(&breakdown, self.mean) };
        Verdict { score, breakdown, gate }
    }
}

/// The marks' weighted mean; 0 where all weights are 0.
pub(crate) fn combine(marks: &[CriterionMark], mean: Mean) -> Score {
    match mean {
        Mean::Arithmetic => weighted(marks),
        Mean::Geometric => multiplied(marks),
    }
}

fn weighted(marks: &[CriterionMark]) -> Score {
    let total: u128 = marks.iter().map(|m| u128::from(m.weight)).sum();
    // A mark has at most 33 bits and a weight 64; criteria are few, so the sum fits.
    let sum: u128 = marks.iter().map(|m| u128::from(m.weight) * u128::from(m.mark.bits())).sum();
    let bits = sum.checked_div(total).unwrap_or(0);
    Score::from_bits(bits as u64).expect("an average of numbers in 0..=1 lies in 0..=1")
}

/// `exp(sum(weight * ln(mark)) / sum(weight))`, in floats that are the same on every machine, to 24 bits.
fn multiplied(marks: &[CriterionMark]) -> Score {
    let counted = || marks.iter().filter(|m| m.weight > 0);
    let total: f64 = counted().map(|m| m.weight as f64).sum();
    if counted().next().is_none() || counted().any(|m| m.mark == Score::ZERO) {
        return Score::ZERO;
    }
    let logarithms: f64 = counted().map(|m| m.weight as f64 * libm::log(m.mark.to_f64())).sum();
    let steps = f64::from(1 << 24);
    // Rounded, so that a mean of equal marks is that mark.
    Score::ratio(libm::round(libm::exp(logarithms / total) * steps) as u64, 1 << 24)
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

    #[test]
    fn under_the_geometric_mean_one_lack_sinks_all() {
        let marks = |a: u64, b: u64| {
            [a, b].map(|eighths| CriterionMark { name: "x", mark: Score::ratio(eighths, 8), weight: 1 })
        };
        assert_eq!(multiplied(&marks(8, 2)), Score::ratio(1, 2));
        assert_eq!(multiplied(&marks(8, 0)), Score::ZERO);
        assert_eq!(multiplied(&marks(8, 8)), Score::ONE);
        assert_eq!(multiplied(&[]), Score::ZERO);
        assert!(multiplied(&marks(1, 7)) < weighted(&marks(1, 7)));
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
            // The other mean is kept to 24 bits.
            let product = multiplied(&marks).bits();
            let counted = || marks.iter().filter(|m| m.weight > 0).map(|m| m.mark);
            match (counted().min(), counted().max()) {
                (Some(low), Some(high)) => {
                    prop_assert!(low <= score && score <= high);
                    prop_assert!(low.bits() <= product + 512 && product <= high.bits() + 512);
                }
                _ => prop_assert_eq!(score, Score::ZERO),
            }
        }
    }
}
