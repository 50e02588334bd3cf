//! Who wins: the true answer or an attack, under each judge.

use std::collections::BTreeMap;

use assay_primitives::Score;
use assay_scoring::text::{Arrived, Known, TextJudge, TextTask, WordRange};
use assay_scoring::{Mean, Verdict};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use crate::{
    Result,
    attacks::{ATTACKS, answer},
    dictionary::Item,
};

/// Of the attacks' draws; not that of training.
const SEED: u64 = 77;
/// Attacks that the acceptance names; the last is shown beside them.
const NAMED: usize = 6;

/// An item with its true answer and the attacks'.
pub(crate) struct Case {
    /// The question, and what is known.
    pub(crate) task: TextTask,
    /// The true answer.
    pub(crate) truth: String,
    /// By attack.
    pub(crate) attacks: [Option<String>; ATTACKS.len()],
}

fn task(item: &Item, known: Known) -> TextTask {
    TextTask {
        prompt: item.prompt(),
        known,
        words: WordRange { low: 3, high: 60 },
        schema: None,
        language: Some("eng".to_owned()),
    }
}

/// Cases of which nothing is known.
pub(crate) fn open(items: &[Item]) -> Vec<Case> {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let one = |(at, item): (usize, &Item)| {
        let other = &items[(at + items.len() / 2) % items.len()];
        Case {
            task: task(item, Known::Nothing),
            truth: item.gloss.clone(),
            attacks: std::array::from_fn(|attack| answer(attack, item, other, &mut rng)),
        }
    };
    items.iter().enumerate().map(one).collect()
}

/// Cases whose meaning is known in other words than the true answer's: the first clause of a gloss of two. Attacks have
/// the second one to work with, too.
pub(crate) fn known(items: &[Item]) -> Vec<Case> {
    let second = |item: &Item| {
        let (first, second) = item.gloss.split_once("; ")?;
        let fits = [first, second].iter().all(|c| c.split(' ').count() >= 3);
        fits.then(|| (first.to_owned(), Item { gloss: second.to_owned(), ..item.clone() }))
    };
    let (meanings, items): (Vec<String>, Vec<Item>) = items.iter().filter_map(second).unzip();
    let mut cases = open(&items);
    cases.iter_mut().zip(meanings).for_each(|(case, meaning)| case.task.known = Known::Meaning(meaning));
    cases
}

/// Marks of cases, to be weighed in many ways.
pub(crate) struct Marks(Vec<(Verdict, [Option<Verdict>; ATTACKS.len()])>);

impl Marks {
    /// Judges all.
    pub(crate) fn new(judge: &TextJudge, cases: &[Case]) -> Result<Self> {
        let one = |case: &Case| {
            let mut attacks = [const { None }; ATTACKS.len()];
            for (marks, text) in attacks.iter_mut().zip(&case.attacks) {
                *marks = text.as_ref().map(|t| verdict(judge, &case.task, t)).transpose()?;
            }
            Ok((verdict(judge, &case.task, &case.truth)?, attacks))
        };
        Ok(Self(cases.iter().map(one).collect::<Result<_>>()?))
    }

    /// Every second case, and the others.
    pub(crate) fn halves(self) -> (Self, Self) {
        let (even, odd): (Vec<_>, Vec<_>) = self.0.into_iter().enumerate().partition(|(at, _)| at % 2 == 0);
        (Self(even.into_iter().map(|c| c.1).collect()), Self(odd.into_iter().map(|c| c.1).collect()))
    }

    /// The scores under other weights.
    pub(crate) fn scores(&self, weights: &BTreeMap<&str, u64>) -> Scores {
        let score =
            |verdict: &Verdict| verdict.weighed(|name| weights.get(name).copied().unwrap_or(0), Mean::Geometric);
        let all =
            self.0.iter().map(|(truth, attacks)| (score(truth), attacks.each_ref().map(|a| a.as_ref().map(score))));
        Scores(all.collect())
    }
}

/// Scores of cases: the true answer's, and each attack's.
pub(crate) struct Scores(Vec<(Score, [Option<Score>; ATTACKS.len()])>);

fn verdict(judge: &TextJudge, task: &TextTask, text: &str) -> Result<Verdict> {
    let arrived = Arrived { text: text.to_owned(), ..Arrived::default() };
    Ok(judge.judge(task.clone(), Some(arrived))?.verdict)
}

/// The score of one answer.
pub(crate) fn score(judge: &TextJudge, task: &TextTask, text: &str) -> Result<Score> {
    Ok(verdict(judge, task, text)?.score)
}

impl Scores {
    /// Judges all.
    pub(crate) fn new(judge: &TextJudge, cases: &[Case]) -> Result<Self> {
        let one = |case: &Case| {
            let mut attacks = [None; ATTACKS.len()];
            for (score_of, text) in attacks.iter_mut().zip(&case.attacks) {
                *score_of = text.as_ref().map(|t| score(judge, &case.task, t)).transpose()?;
            }
            Ok((score(judge, &case.task, &case.truth)?, attacks))
        };
        Ok(Self(cases.iter().map(one).collect::<Result<_>>()?))
    }

    /// Of an attack: pairs, those that the truth won, ties.
    fn pairs(&self, attack: usize) -> (usize, usize, usize) {
        let pairs = || self.0.iter().filter_map(|(truth, attacks)| Some((truth, attacks[attack]?)));
        let won = pairs().filter(|(truth, a)| *truth > a).count();
        (pairs().count(), won, pairs().filter(|(truth, a)| *truth == a).count())
    }

    /// The share of all named pairs that the truth won; a tie is lost.
    pub(crate) fn accuracy(&self) -> f64 {
        let (all, won) = (0..NAMED).map(|a| self.pairs(a)).fold((0, 0), |(n, w), (pairs, won, _)| (n + pairs, w + won));
        won as f64 / all.max(1) as f64
    }

    /// The share of items whose true answer is above all named attacks.
    pub(crate) fn first(&self) -> f64 {
        let first =
            self.0.iter().filter(|(truth, attacks)| attacks[..NAMED].iter().flatten().all(|a| truth > a)).count();
        first as f64 / self.0.len().max(1) as f64
    }

    /// The lowest share among the named attacks, and which it is.
    pub(crate) fn worst(&self) -> (f64, &'static str) {
        let share = |a| {
            let (pairs, won, _) = self.pairs(a);
            (won as f64 / pairs.max(1) as f64, ATTACKS[a])
        };
        (0..NAMED).map(share).min_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((0.0, ""))
    }

    /// The true answers'.
    pub(crate) fn of_truth(&self) -> Vec<f64> {
        self.0.iter().map(|(truth, _)| truth.to_f64()).collect()
    }

    /// True answers that a gate or a mark of 0 brought to nothing.
    pub(crate) fn refused(&self) -> usize {
        self.0.iter().filter(|(truth, _)| *truth == Score::ZERO).count()
    }

    /// True answers that came to nothing.
    pub(crate) fn refused_of<'a>(&'a self, cases: &'a [Case]) -> impl Iterator<Item = &'a Case> {
        self.0.iter().zip(cases).filter(|((truth, _), _)| *truth == Score::ZERO).map(|(_, case)| case)
    }

    /// Prints the table.
    pub(crate) fn print(&self, title: &str) {
        let mean = |scores: &[Score]| scores.iter().map(|s| s.to_f64()).sum::<f64>() / scores.len().max(1) as f64;
        let truth: Vec<Score> = self.0.iter().map(|(t, _)| *t).collect();
        println!(
            "\n{title}: {} items, mean score of the true answer {:.3}, {} refused\n",
            truth.len(),
            mean(&truth),
            self.refused()
        );
        println!("| attack | pairs | won by the true answer | ties | mean score |\n|---|---|---|---|---|");
        for (at, name) in ATTACKS.iter().enumerate() {
            let (pairs, won, ties) = self.pairs(at);
            let scores: Vec<Score> = self.0.iter().filter_map(|(_, a)| a[at]).collect();
            let note = if at < NAMED { "" } else { " (not counted)" };
            let share = 100.0 * won as f64 / pairs.max(1) as f64;
            println!("| {name}{note} | {pairs} | {share:.1} % | {ties} | {:.3} |", mean(&scores));
        }
        println!(
            "\nAll pairs: {:.1} %; true answer first of all: {:.1} %",
            100.0 * self.accuracy(),
            100.0 * self.first()
        );
    }
}
