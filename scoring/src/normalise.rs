//! Scores of many miners on one scale.

use assay_primitives::Score;

/// What becomes of scores before they are reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Normalisation {
    /// They stay.
    #[default]
    None,
    /// `(score - lowest) / (highest - lowest)`; all 1 where all are equal and above 0.
    Range,
    /// The share of the others that are not better, equals counting half.
    Rank,
}

impl Normalisation {
    /// Normalises, in the same order. A score of 0 stays 0: silence and refuted answers earn nothing by others' failure.
    pub fn apply(self, scores: &[Score]) -> Vec<Score> {
        let (low, high) = (scores.iter().min(), scores.iter().max());
        let (Some(low), Some(high)) = (low, high) else { return Vec::new() };
        let one = |score: &Score| match self {
            _ if *score == Score::ZERO => Score::ZERO,
            Self::None => *score,
            Self::Range if low == high => Score::ONE,
            Self::Range => Score::ratio(score.bits() - low.bits(), high.bits() - low.bits()),
            Self::Rank if scores.len() == 1 => Score::ONE,
            Self::Rank => {
                let below = scores.iter().filter(|s| *s < score).count() as u64;
                let equal = scores.iter().filter(|s| *s == score).count() as u64 - 1;
                Score::ratio(2 * below + equal, 2 * (scores.len() as u64 - 1))
            }
        };
        scores.iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn percent(all: &[u64]) -> Vec<Score> {
        all.iter().map(|p| Score::ratio(*p, 100)).collect()
    }

    #[test]
    fn ranges_and_ranks_spread_over_the_scale() {
        let scores = percent(&[25, 50, 75]);
        let halves = [Score::ZERO, Score::ratio(1, 2), Score::ONE];
        assert_eq!(Normalisation::Range.apply(&scores), halves);
        assert_eq!(Normalisation::Rank.apply(&scores), halves);
        assert_eq!(Normalisation::None.apply(&scores), scores);
        assert_eq!(Normalisation::Rank.apply(&percent(&[50, 50])), [Score::ratio(1, 2); 2]);
        assert_eq!(Normalisation::Range.apply(&percent(&[50, 50])), [Score::ONE; 2]);
        assert!(Normalisation::Range.apply(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn order_is_kept_and_nothing_stays_nothing(all in proptest::collection::vec(0u64..=100, 1..30)) {
            let scores = percent(&all);
            for kind in [Normalisation::None, Normalisation::Range, Normalisation::Rank] {
                let after = kind.apply(&scores);
                for i in 0..scores.len() {
                    prop_assert!(scores[i] > Score::ZERO || after[i] == Score::ZERO);
                    for j in 0..scores.len() {
                        prop_assert!(scores[i] > scores[j] || after[i] <= after[j]);
                    }
                }
            }
        }
    }
}
