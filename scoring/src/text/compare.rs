//! Miners with the same tasks, compared: strengths by the model of Bradley and Terry (1952).
//!
//! On each task each pair of miners is a comparison: the better score wins, near ones are a draw, half a win each. The
//! chance that `i` beats `j` is `s_i / (s_i + s_j)`; the strengths `s` are found by minorisation and maximisation
//! (Hunter, 2004). Each miner also draws twice with a phantom of strength 1, so that who has won or lost all has a
//! finite strength, and more comparisons say more. The score is the chance to beat the phantom, `s / (s + 1)`.

use std::collections::BTreeMap;

use assay_primitives::{AccountId, Score};
use serde::Serialize;

use super::calibration::mark;

/// Scores that differ by less than this many 2^-32 are a draw: a 64th of one.
const DRAW: u64 = 1 << 26;
/// Draws with the phantom.
const PHANTOM: f64 = 2.0;
/// Rounds of the fit: strengths of hundreds of miners settle in some tens.
const ROUNDS: usize = 100;

/// Where a miner stands.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Standing {
    /// Strength, above 0; the phantom's is 1.
    pub strength: f64,
    /// `strength / (strength + 1)`
    pub score: Score,
    /// `comparisons / (comparisons + 2)`
    pub confidence: Score,
    /// Comparisons with other miners.
    pub comparisons: u32,
    /// Won ones; a draw is half.
    pub wins: f64,
}

/// The standings of miners from their scores on each task; a task counts between those who had it.
pub fn compare(tasks: &[BTreeMap<AccountId, Score>]) -> BTreeMap<AccountId, Standing> {
    let miners: Vec<AccountId> =
        tasks.iter().flat_map(BTreeMap::keys).copied().collect::<std::collections::BTreeSet<_>>().into_iter().collect();
    let place: BTreeMap<AccountId, usize> = miners.iter().enumerate().map(|(at, miner)| (*miner, at)).collect();
    let count = miners.len();
    let mut wins = vec![0.0; count];
    let mut met = vec![0u32; count * count];
    for task in tasks {
        let entries: Vec<(usize, Score)> = task.iter().map(|(miner, score)| (place[miner], *score)).collect();
        for (at, (i, a)) in entries.iter().enumerate() {
            for (j, b) in &entries[at + 1..] {
                met[i * count + j] += 1;
                met[j * count + i] += 1;
                let near = a.bits().abs_diff(b.bits()) < DRAW;
                wins[*i] += if near { 0.5 } else { f64::from(u8::from(a > b)) };
                wins[*j] += if near { 0.5 } else { f64::from(u8::from(b > a)) };
            }
        }
    }
    let mut strengths = vec![1.0f64; count];
    for _ in 0..ROUNDS {
        for i in 0..count {
            let others = (0..count).filter(|j| met[i * count + j] > 0);
            let sum: f64 = others.map(|j| f64::from(met[i * count + j]) / (strengths[i] + strengths[j])).sum();
            strengths[i] = (wins[i] + PHANTOM / 2.0) / (sum + PHANTOM / (strengths[i] + 1.0));
        }
    }
    let standing = |(i, miner): (usize, &AccountId)| {
        let comparisons: u32 = met[i * count..(i + 1) * count].iter().sum();
        let standing = Standing {
            strength: strengths[i],
            score: mark(strengths[i] / (strengths[i] + 1.0)),
            confidence: Score::ratio(u64::from(comparisons), u64::from(comparisons) + 2),
            comparisons,
            wins: wins[i],
        };
        (*miner, standing)
    };
    miners.iter().enumerate().map(standing).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn miner(n: u8) -> AccountId {
        AccountId([n; 32])
    }

    fn task(scores: &[(u8, u64)]) -> BTreeMap<AccountId, Score> {
        scores.iter().map(|(n, percent)| (miner(*n), Score::ratio(*percent, 100))).collect()
    }

    #[test]
    fn who_wins_more_is_stronger_and_equals_stand_at_one_half() {
        let tasks = vec![task(&[(1, 90), (2, 50), (3, 10)]); 5];
        let standings = compare(&tasks);
        assert!(standings[&miner(1)].score > standings[&miner(2)].score);
        assert!(standings[&miner(2)].score > standings[&miner(3)].score);
        assert_eq!((standings[&miner(1)].comparisons, standings[&miner(1)].wins), (10, 10.0));
        let equal = compare(&vec![task(&[(1, 70), (2, 70)]); 3]);
        assert_eq!(equal[&miner(1)].score, Score::ratio(1, 2));
    }

    #[test]
    fn strength_is_won_against_the_strong_too() {
        // 1 beats 2, 2 beats 3; 4 beats 3 only: it met nobody stronger.
        let tasks: Vec<_> = (0..6)
            .flat_map(|_| [task(&[(1, 90), (2, 50)]), task(&[(2, 90), (3, 50)]), task(&[(4, 90), (3, 50)])])
            .collect();
        let standings = compare(&tasks);
        assert!(standings[&miner(1)].strength > standings[&miner(2)].strength);
        assert!(standings[&miner(4)].strength > standings[&miner(3)].strength);
    }

    #[test]
    fn more_comparisons_are_surer_and_nobody_to_compare_with_says_nothing() {
        let once = compare(&[task(&[(1, 90), (2, 10)])]);
        let often = compare(&vec![task(&[(1, 90), (2, 10)]); 20]);
        assert!(often[&miner(1)].confidence > once[&miner(1)].confidence);
        assert!(often[&miner(1)].score > once[&miner(1)].score);
        let alone = compare(&[task(&[(1, 90)])]);
        assert_eq!((alone[&miner(1)].score, alone[&miner(1)].confidence), (Score::ratio(1, 2), Score::ZERO));
        assert!(compare(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn strengths_are_finite_and_follow_wins_where_all_meet_all(
            scores in proptest::collection::vec(proptest::collection::vec(0u64..=100, 5), 1..20)
        ) {
            let tasks: Vec<_> =
                scores.iter().map(|s| task(&s.iter().enumerate().map(|(i, p)| (i as u8, *p)).collect::<Vec<_>>())).collect();
            let standings: Vec<_> = compare(&tasks).into_values().collect();
            for a in &standings {
                prop_assert!(a.strength.is_finite() && a.strength > 0.0);
                for b in &standings {
                    prop_assert!(a.wins <= b.wins || a.strength >= b.strength - 1e-6);
                }
            }
        }
    }
}
