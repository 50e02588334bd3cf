//! The average over an epoch's tasks of one miner, with how sure it is.

use std::collections::BTreeMap;

use assay_primitives::Score;

use crate::{criteria::ProofOutcome, verdict::Verdict};

/// One miner's verdicts of one epoch, as they come in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    scores: Vec<Score>,
    responses: u32,
    refuted: u32,
    verified: u32,
    rejected: u32,
    /// By criterion: the sum of its marks in raw bits, and how many there are.
    marks: BTreeMap<&'static str, (u128, u32)>,
}

/// A criterion's mean mark over the tasks that it applied to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeanMark {
    /// The criterion.
    pub name: &'static str,
    /// The mean of its marks, rounded down.
    pub mark: Score,
    /// Tasks it applied to.
    pub tasks: u32,
}

/// What an epoch came to for one miner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochScore {
    /// Mean of the tasks' scores, rounded down.
    pub score: Score,
    /// `judged / planned * (1 - min(2 * variance, 1/2))`: few or contradictory verdicts are less sure.
    pub confidence: Score,
    /// Tasks judged.
    pub tasks: u32,
    /// Valid signed answers.
    pub responses: u32,
    /// Answers that a gate gave 0.
    pub refuted: u32,
    /// Proofs that held.
    pub proofs_verified: u32,
    /// Proofs that did not hold, or were missing where demanded.
    pub proofs_rejected: u32,
    /// What the criteria said, by ascending name.
    pub marks: Vec<MeanMark>,
}

impl Tally {
    /// Takes in one task; `proof` is `None` where no valid answer came.
    pub fn add(&mut self, verdict: &Verdict, proof: Option<ProofOutcome>) {
        self.scores.push(verdict.score);
        self.refuted += u32::from(verdict.gate.is_some());
        for mark in &verdict.breakdown {
            let (sum, tasks) = self.marks.entry(mark.name).or_default();
            *sum += u128::from(mark.mark.bits());
            *tasks += 1;
        }
        let Some(proof) = proof else { return };
        self.responses += 1;
        self.verified += u32::from(proof == ProofOutcome::Verified);
        self.rejected += u32::from(proof.is_rejected());
    }

    /// The epoch's score, of `planned` tasks; `None` if no task was judged: then there is nothing to report.
    pub fn finish(&self, planned: u64) -> Option<EpochScore> {
        let judged = self.scores.len() as u128;
        let bits = |s: &Score| u128::from(s.bits());
        let mean = self.scores.iter().map(bits).sum::<u128>().checked_div(judged)?;
        // Scores have 33 bits, so squares have 66 and thousands of them fit.
        let squares = self.scores.iter().map(|s| bits(s).abs_diff(mean).pow(2)).sum::<u128>();
        let variance = (squares / judged) >> 32;
        let doubt = (2 * variance).min(1 << 31) as u64;
        let coverage = Score::ratio(judged as u64, planned.max(judged as u64));
        let score = |bits: u64| Score::from_bits(bits).expect("within 0..=1 by construction");
        let mean_mark = |(name, (sum, tasks)): (&&'static str, &(u128, u32))| {
            let mean = sum.checked_div(u128::from(*tasks)).unwrap_or(0);
            MeanMark { name, mark: score(mean as u64), tasks: *tasks }
        };
        Some(EpochScore {
            score: score(mean as u64),
            confidence: coverage.times(score((1 << 32) - doubt)),
            tasks: u32::try_from(judged).unwrap_or(u32::MAX),
            responses: self.responses,
            refuted: self.refuted,
            proofs_verified: self.verified,
            proofs_rejected: self.rejected,
            marks: self.marks.iter().map(mean_mark).collect(),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::verdict::CriterionMark;

    fn verdict(score: Score) -> Verdict {
        Verdict { score, breakdown: Vec::new(), gate: None }
    }

    #[test]
    fn equal_verdicts_of_all_planned_tasks_are_certain() {
        let mut tally = Tally::default();
        for _ in 0..3 {
            tally.add(&verdict(Score::ratio(9, 10)), Some(ProofOutcome::Verified));
        }
        let epoch = tally.finish(3).unwrap();
        assert_eq!((epoch.score, epoch.confidence), (Score::ratio(9, 10), Score::ONE));
        assert_eq!((epoch.responses, epoch.proofs_verified, epoch.proofs_rejected), (3, 3, 0));
    }

    #[test]
    fn half_the_tasks_give_half_the_confidence_and_contradiction_halves_it_again() {
        let mut tally = Tally::default();
        tally.add(&verdict(Score::ONE), Some(ProofOutcome::Verified));
        assert_eq!(tally.finish(2).unwrap().confidence, Score::ratio(1, 2));
        tally.add(&verdict(Score::ZERO), Some(ProofOutcome::Invalid));
        let epoch = tally.finish(2).unwrap();
        assert_eq!((epoch.score, epoch.confidence), (Score::ratio(1, 2), Score::ratio(1, 2)));
        assert_eq!(epoch.proofs_rejected, 1);
    }

    #[test]
    fn silence_counts_as_zero_with_no_response_and_no_task_gives_no_score() {
        let mut tally = Tally::default();
        assert_eq!(tally.finish(4), None);
        tally.add(&verdict(Score::ZERO), None);
        let epoch = tally.finish(1).unwrap();
        assert_eq!((epoch.score, epoch.responses, epoch.confidence), (Score::ZERO, 0, Score::ONE));
    }

    #[test]
    fn each_criterion_has_its_mean_over_the_tasks_it_applied_to() {
        let marked = |marks: &[(&'static str, u64)], gate| {
            let mark =
                |(name, half): &(&'static str, u64)| CriterionMark { name, mark: Score::ratio(*half, 2), weight: 1 };
            Verdict { score: Score::ZERO, breakdown: marks.iter().map(mark).collect(), gate }
        };
        let mut tally = Tally::default();
        tally.add(&marked(&[("latency", 2), ("correct", 0)], Some("exact")), Some(ProofOutcome::Verified));
        tally.add(&marked(&[("latency", 1)], None), Some(ProofOutcome::Verified));
        tally.add(&marked(&[], None), None);
        let epoch = tally.finish(3).unwrap();
        assert_eq!((epoch.tasks, epoch.responses, epoch.refuted), (3, 2, 1));
        let correct = MeanMark { name: "correct", mark: Score::ZERO, tasks: 1 };
        let latency = MeanMark { name: "latency", mark: Score::ratio(3, 4), tasks: 2 };
        assert_eq!(epoch.marks, [correct, latency]);
    }

    proptest! {
        #[test]
        fn the_mean_lies_within_its_scores(bits in proptest::collection::vec(0u64..=1 << 32, 1..50)) {
            let mut tally = Tally::default();
            for b in &bits {
                tally.add(&verdict(Score::from_bits(*b).unwrap()), None);
            }
            let epoch = tally.finish(bits.len() as u64).unwrap();
            prop_assert!(epoch.score.bits() >= *bits.iter().min().unwrap());
            prop_assert!(epoch.score.bits() <= *bits.iter().max().unwrap());
        }
    }
}
