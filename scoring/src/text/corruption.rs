//! Ways to spoil a text: what fluency and reward heads learn from, and what they are measured by.

use rand::{Rng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::surface::is_function_word;

/// A way to spoil a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Corruption {
    /// All words in another order.
    Shuffled,
    /// One to three words change places with near ones.
    Swapped,
    /// The first half of the words.
    Halved,
    /// Cut after any word but the last.
    Cut,
    /// One to five words from elsewhere, anywhere.
    Inserted,
    /// One or two words gone.
    Deleted,
    /// The words of content alone, some twice, in any order.
    Stuffed,
}

impl Corruption {
    /// All of them, with how often a scorer in training meets each.
    pub const TRAINING: [(Self, u32); 7] = [
        (Self::Shuffled, 3),
        (Self::Swapped, 2),
        (Self::Halved, 4),
        (Self::Cut, 3),
        (Self::Inserted, 2),
        (Self::Deleted, 1),
        (Self::Stuffed, 2),
    ];

    /// One of them, as often as training asks.
    pub fn draw(rng: &mut ChaCha8Rng) -> Self {
        Self::TRAINING.choose_weighted(rng, |(_, weight)| *weight).map_or(Self::Shuffled, |(kind, _)| *kind)
    }

    /// The text, spoilt with words from `elsewhere`; `None` where that changes nothing or nothing is left.
    pub fn apply(self, text: &str, elsewhere: &[&str], rng: &mut ChaCha8Rng) -> Option<String> {
        let original: Vec<&str> = text.split_whitespace().collect();
        let mut words = original.clone();
        if words.len() < 2 {
            return None;
        }
        match self {
            Self::Shuffled => (0..8)
                .find(|_| {
                    words.shuffle(rng);
                    words != original
                })
                .map_or((), |_| ()),
            Self::Swapped => {
                for _ in 0..rng.gen_range(1..=3) {
                    let at = rng.gen_range(0..words.len() - 1);
                    let other = (at + rng.gen_range(1..=3)).min(words.len() - 1);
                    words.swap(at, other);
                }
            }
            Self::Halved => words.truncate(original.len() / 2),
            Self::Cut => words.truncate(rng.gen_range(1..original.len())),
            Self::Inserted => {
                for _ in 0..rng.gen_range(1..=5) {
                    let word = elsewhere.choose(rng)?;
                    words.insert(rng.gen_range(0..=words.len()), word);
                }
            }
            Self::Deleted => {
                for _ in 0..rng.gen_range(1..=2).min(words.len() - 1) {
                    words.remove(rng.gen_range(0..words.len()));
                }
            }
            Self::Stuffed => {
                let plain = |w: &&str| w.trim_matches(|c: char| !c.is_alphanumeric()).to_owned();
                let mut content: Vec<String> =
                    words.iter().map(plain).filter(|w| !w.is_empty() && !is_function_word(w)).collect();
                let again: Vec<String> = content.choose_multiple(rng, 3).cloned().collect();
                content.extend(again);
                content.shuffle(rng);
                return (!content.is_empty() && content != original).then(|| content.join(" "));
            }
        }
        (words != original && !words.is_empty()).then(|| words.join(" "))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn a_spoilt_text_differs_and_the_same_seed_spoils_alike() {
        let text = "a domestic animal that barks at what it does not know";
        for (kind, _) in Corruption::TRAINING {
            for seed in 0..50 {
                let spoilt = |seed| kind.apply(text, &["green", "of"], &mut ChaCha8Rng::seed_from_u64(seed));
                let once = spoilt(seed);
                assert_eq!(once, spoilt(seed));
                assert!(once.as_deref().is_none_or(|t| t != text && !t.is_empty()), "{kind:?}: {once:?}");
            }
        }
        assert_eq!(Corruption::Halved.apply("one two three", &[], &mut ChaCha8Rng::seed_from_u64(1)).unwrap(), "one");
    }

    #[test]
    fn too_short_a_text_cannot_be_spoilt() {
        for (kind, _) in Corruption::TRAINING {
            assert_eq!(kind.apply("word", &["x"], &mut ChaCha8Rng::seed_from_u64(1)), None);
            assert_eq!(kind.apply("", &["x"], &mut ChaCha8Rng::seed_from_u64(1)), None);
        }
    }
}
