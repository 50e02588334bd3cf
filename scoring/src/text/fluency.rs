//! Whether a text reads like language: words in an order in which words come.
//!
//! A linear model over hashed n-grams of words and of word classes (a common word is its own class, any other is its
//! ending), with the text's beginning and end among them, so that a text that breaks off shows. It is trained on pairs
//! of a text and the same text spoilt to prefer the first (Bradley and Terry, 1952), which needs no counts of what is
//! rare and fits in a small file:
//!
//! ```text
//! measure(text) = sum over n-grams of weight[hash(n-gram) mod 2^k] / sqrt(tokens + 1)
//! ```

use std::collections::BTreeMap;

use assay_primitives::Score;
use borsh::{BorshDeserialize, BorshSerialize};
use rand::{Rng, SeedableRng as _, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::{
    calibration::Calibration,
    case::{TextAnswer, TextCase},
    corruption::Corruption,
    reading::{Reading, is_word},
};
use crate::criteria::Criterion;

/// Endings that make a class, longest first.
const ENDINGS: [&str; 23] = [
    "ation", "able", "ical", "less", "ment", "ness", "ful", "ing", "ion", "ism", "ist", "ity", "ive", "ous", "al",
    "ed", "er", "es", "ic", "ly", "or", "s", "y",
];
/// Words that are their own class.
const COMMON: usize = 400;
/// Share of honest texts that have less than the full mark.
const USUAL: f64 = 0.85;
/// Tokens of a text that are looked at.
const TOKENS: usize = 1024;

/// The model.
#[derive(Clone, Debug, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct Fluency {
    /// Measures to marks.
    pub calibration: Calibration,
    /// What a weight of 1 stands for.
    scale: f32,
    /// Words that are their own class, in ascending order.
    common: Vec<String>,
    /// By hash; as many as a power of two.
    weights: Vec<i8>,
}

/// How the model is trained.
#[derive(Clone, Copy, Debug)]
pub struct FluencyTraining {
    /// Of everything that is drawn.
    pub seed: u64,
    /// The logarithm of the number of weights.
    pub bits: u32,
    /// Times that every text is read.
    pub rounds: usize,
}

/// FNV-1a, with the last bits mixed.
fn hash(kind: u8, parts: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ u64::from(kind);
    for part in parts {
        for byte in part.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    (hash ^ (hash >> 29)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16
}

fn class<'a>(token: &'a str, common: &[String]) -> &'a str {
    if !is_word(token) || common.binary_search_by(|c| c.as_str().cmp(token)).is_ok() {
        return token;
    }
    if token.starts_with(|c: char| c.is_ascii_digit()) {
        return "0";
    }
    ENDINGS.iter().find(|e| token.len() > e.len() + 2 && token.ends_with(*e)).map_or("~", |e| e)
}

/// The hashes of a text's n-grams, and the measure's divisor.
fn features(text: &Reading, common: &[String], mask: u64) -> (Vec<usize>, f64) {
    let inner = || text.tokens.iter().take(TOKENS).map(String::as_str);
    let words: Vec<&str> = ["<"].into_iter().chain(inner()).chain([">"]).collect();
    let classes: Vec<&str> = ["<"].into_iter().chain(inner().map(|t| class(t, common))).chain([">"]).collect();
    let mut all = Vec::with_capacity(words.len() * 7);
    let mut add = |kind, parts: &[&str]| all.push((hash(kind, parts) & mask) as usize);
    for i in 0..words.len() - 1 {
        let (w, c) = (&words[i..], &classes[i..]);
        add(0, &w[..2]);
        add(1, &[c[0], w[1]]);
        add(2, &[w[0], c[1]]);
        add(3, &c[..2]);
        if w.len() > 2 {
            add(4, &c[..3]);
            add(5, &[c[0], w[1], c[2]]);
        }
        if w.len() > 3 {
            add(6, &c[..4]);
        }
    }
    (all, ((words.len() - 1) as f64).sqrt())
}

impl Fluency {
    /// The model that comes with the node.
    pub fn shipped() -> Self {
        Self::from_bytes(include_bytes!("../../../assets/text-scorers/fluency.bin"))
            .expect("the committed file is the one that was written with this code")
    }

    /// Reads a model.
    ///
    /// # Errors
    /// If the bytes are none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, std::io::Error> {
        let model: Self = borsh::from_slice(bytes)?;
        if model.weights.len().is_power_of_two() && model.scale.is_finite() {
            Ok(model)
        } else {
            Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "expected as many weights as a power of two"))
        }
    }

    /// As [`Self::from_bytes`] reads it.
    pub fn to_bytes(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("writing to a Vec never fails")
    }

    /// How much a text reads like language; comparable between texts, without a unit.
    pub fn measure(&self, text: &Reading) -> f64 {
        let (features, divisor) = features(text, &self.common, self.weights.len() as u64 - 1);
        features.iter().map(|f| f64::from(self.weights[*f])).sum::<f64>() * f64::from(self.scale) / divisor
    }

    /// Trains on texts against the same texts spoilt, by AdaGrad (Duchi et al., 2011) on the logistic loss of their
    /// difference, and calibrates on the last twentieth, which is not trained on. The same texts and seed give the same
    /// model. `worse` are further pairs of a better text and a worse one, each read once in every round. `None` for fewer than 1000 texts.
    pub fn train(texts: &[String], worse: &[(String, String)], training: FluencyTraining) -> Option<Self> {
        let mut rng = ChaCha8Rng::seed_from_u64(training.seed);
        let (kept, held_out) = texts.split_at(texts.len() - texts.len() / 20);
        if held_out.len() < 50 {
            return None;
        }
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        for text in kept {
            Reading::new(text).words().for_each(|w| *counts.entry(w.to_owned()).or_default() += 1);
        }
        let mut ranked: Vec<(&String, &u32)> = counts.iter().collect();
        ranked.sort_by_key(|(word, count)| (std::cmp::Reverse(**count), *word));
        let elsewhere: Vec<&str> = ranked.iter().take(20_000).map(|(word, _)| word.as_str()).collect();
        let mut common: Vec<String> = ranked.iter().take(COMMON).map(|(word, _)| (*word).clone()).collect();
        common.sort();
        let mask = (1u64 << training.bits) - 1;
        let mut weights = vec![0f32; 1 << training.bits];
        let mut squares = vec![1e-6f32; 1 << training.bits];
        let mut order: Vec<usize> = (0..kept.len() + worse.len()).collect();
        for _ in 0..training.rounds {
            order.shuffle(&mut rng);
            for at in &order {
                let spoilt = kept.get(*at).and_then(|text| spoil(text, &elsewhere, &mut rng).map(|bad| (text, bad)));
                let given = || worse.get(at.checked_sub(kept.len())?).map(|(good, bad)| (good, bad.clone()));
                let Some((text, bad)) = spoilt.or_else(given) else { continue };
                let (good, by_good) = features(&Reading::new(text), &common, mask);
                let (bad, by_bad) = features(&Reading::new(&bad), &common, mask);
                let sum = |all: &[usize]| all.iter().map(|f| f64::from(weights[*f])).sum::<f64>();
                let error = 1.0 / (1.0 + (sum(&good) / by_good - sum(&bad) / by_bad).exp());
                if error < 0.01 {
                    continue;
                }
                let steps = good.iter().map(|f| (f, error / by_good)).chain(bad.iter().map(|f| (f, -error / by_bad)));
                for (f, step) in steps {
                    squares[*f] += (step * step) as f32;
                    weights[*f] += 0.2 * step as f32 / squares[*f].sqrt();
                }
            }
        }
        // The few largest weights are cut, so that the others keep their digits.
        let mut sizes: Vec<f64> = weights.iter().map(|w| f64::from(w.abs())).collect();
        sizes.sort_by(f64::total_cmp);
        let largest = sizes[sizes.len() - 1 - sizes.len() / 2000].max(1e-6);
        let scale = (largest / 127.0) as f32;
        let weights = weights.iter().map(|w| (w / scale).round().clamp(-127.0, 127.0) as i8).collect();
        let calibration = Calibration { centre: 0.0, width: 1.0, full: 1.0 };
        let mut model = Self { calibration, scale, common, weights };
        let measures = |texts: &[String]| texts.iter().map(|t| model.measure(&Reading::new(t))).collect::<Vec<_>>();
        let spoilt: Vec<String> = held_out.iter().filter_map(|t| spoil(t, &elsewhere, &mut rng)).collect();
        model.calibration = Calibration::fit(&measures(held_out), &measures(&spoilt), USUAL)?;
        Some(model)
    }
}

/// Spoilt in some way; now and then in two.
fn spoil(text: &str, elsewhere: &[&str], rng: &mut ChaCha8Rng) -> Option<String> {
    let once = Corruption::draw(rng).apply(text, elsewhere, rng)?;
    if rng.gen_bool(0.1) { Corruption::draw(rng).apply(&once, elsewhere, rng).or(Some(once)) } else { Some(once) }
}

/// The answer reads like language. Applies to prose in English, which the model knows.
#[derive(Clone, Debug)]
pub struct Fluent(pub Fluency);

impl Criterion<TextCase> for Fluent {
    fn name(&self) -> &'static str {
        "fluency"
    }
    fn mark(&self, case: &TextCase, answer: &TextAnswer) -> Option<Score> {
        let applies = case.task.language.as_deref() == Some("eng") && !case.task.known.is_exact();
        applies.then(|| self.0.calibration.mark(self.0.measure(&answer.text)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn texts() -> Vec<String> {
        let (things, places, ways) =
            (["dog", "horse", "farmer", "river", "engine"], ["town", "field", "house", "forest"], ["slowly", "gladly"]);
        let mut all = Vec::new();
        for a in things {
            for p in places {
                for b in things {
                    for w in ways {
                        all.push(format!("a {a} that moves {w} through the {p} of the {b}"));
                        all.push(format!("the {p} in which the {a} was seen by a {b}; {w} left alone"));
                        all.push(format!("to bring a {b} {w} from the {p} to the {a}"));
                    }
                }
            }
        }
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        all.extend(all.clone());
        all.shuffle(&mut rng);
        all
    }

    fn trained() -> Fluency {
        Fluency::train(&texts(), &[], FluencyTraining { seed: 7, bits: 12, rounds: 3 }).unwrap()
    }

    #[test]
    fn a_trained_model_prefers_texts_to_their_shuffled_and_broken_selves() {
        let model = trained();
        let measure = |t: &str| model.measure(&Reading::new(t));
        let whole = measure("a horse that moves slowly through the forest of the farmer");
        for bad in [
            "moves the of horse a slowly forest through that the farmer",
            "a horse that moves slowly through the",
            "horse forest farmer slowly horse forest",
        ] {
            assert!(whole > measure(bad), "{bad}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_they_are_read_back() {
        let bytes = trained().to_bytes();
        assert_eq!(bytes, trained().to_bytes());
        assert_eq!(Fluency::from_bytes(&bytes).unwrap().to_bytes(), bytes);
        assert!(Fluency::from_bytes(&bytes[..bytes.len() - 1]).is_err());
    }

    #[test]
    fn any_text_has_a_measure() {
        let model = trained();
        for text in ["", "\0", "。", &"word ".repeat(100_000)] {
            assert!(model.measure(&Reading::new(text)).is_finite());
        }
    }
}
