//! A reward head on the embeddings of prompt and answer.
//!
//! Linear in `(p * a, |p - a|, a, p)`, the features of Conneau et al. (2017), trained on pairs of a better and a worse
//! answer to one prompt by the model of Bradley and Terry (1952): `P(better beats worse) = 1 / (1 + e^-(r(better) -
//! r(worse)))`. Several members learn from different draws of the pairs; the reward is their mean less their spread,
//! so that an answer must please them all, and what pleases one by its chance mistakes gains little.

use assay_primitives::Score;
use borsh::{BorshDeserialize, BorshSerialize};
use rand::{Rng, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::{
    calibration::Calibration,
    case::{TextAnswer, TextCase},
};
use crate::criteria::Criterion;

/// The head.
#[derive(Clone, Debug, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct RewardHead {
    /// Rewards to marks.
    pub calibration: Calibration,
    /// Numbers in an embedding.
    dimensions: u32,
    /// What a weight of 1 stands for.
    scale: f32,
    /// Of each member one after another, four for each dimension.
    weights: Vec<i16>,
}

/// Two answers to one prompt, as vectors of length 1.
#[derive(Clone, Copy, Debug)]
pub struct Preference<'a> {
    /// The prompt.
    pub prompt: &'a [f32],
    /// The better answer.
    pub better: &'a [f32],
    /// The worse one.
    pub worse: &'a [f32],
}

/// How a head is trained.
#[derive(Clone, Copy, Debug)]
pub struct HeadTraining {
    /// Of everything that is drawn.
    pub seed: u64,
    /// Heads that decide together.
    pub members: usize,
    /// Times that each member reads as many pairs as there are.
    pub rounds: usize,
    /// How strongly weights are held near 0.
    pub decay: f32,
}

/// The features of prompt and answer, each about as large as the others whatever the dimensions.
fn features(prompt: &[f32], answer: &[f32]) -> impl Iterator<Item = f32> {
    let size = prompt.len() as f32;
    let (square, root) = (size / 4.0, size.sqrt() / 4.0);
    let both = move || prompt.iter().zip(answer);
    both()
        .map(move |(p, a)| p * a * square)
        .chain(both().map(move |(p, a)| (p - a).abs() * root))
        .chain(answer.iter().map(move |a| a * root))
        .chain(prompt.iter().map(move |p| p * root))
}

impl RewardHead {
    /// The head that comes with the node, for `all-MiniLM-L6-v2`.
    pub fn shipped() -> Self {
        Self::from_bytes(include_bytes!("../../../assets/text-scorers/head.bin"))
            .expect("the committed file is the one that was written with this code")
    }

    /// Reads a head.
    ///
    /// # Errors
    /// If the bytes are none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, std::io::Error> {
        let head: Self = borsh::from_slice(bytes)?;
        let size = 4 * head.dimensions as usize;
        if size > 0 && !head.weights.is_empty() && head.weights.len().is_multiple_of(size) && head.scale.is_finite() {
            Ok(head)
        } else {
            Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "expected four weights for each dimension"))
        }
    }

    /// As [`Self::from_bytes`] reads it.
    pub fn to_bytes(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("writing to a Vec never fails")
    }

    /// The reward: the members' mean less their spread. `None` where the vectors are not of the head's dimensions.
    pub fn reward(&self, prompt: &[f32], answer: &[f32]) -> Option<f64> {
        let size = self.dimensions as usize;
        if prompt.len() != size || answer.len() != size {
            return None;
        }
        let all: Vec<f32> = features(prompt, answer).collect();
        let of = |weights: &[i16]| {
            weights.iter().zip(&all).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum::<f64>() * f64::from(self.scale)
        };
        let rewards: Vec<f64> = self.weights.chunks_exact(4 * size).map(of).collect();
        let count = rewards.len() as f64;
        let mean = rewards.iter().sum::<f64>() / count;
        let variance = rewards.iter().map(|r| (r - mean) * (r - mean)).sum::<f64>() / count;
        Some(mean - variance.sqrt())
    }

    /// Trains on pairs by AdaGrad (Duchi et al., 2011). The same pairs and seed give the same head; its calibration is
    /// to be fitted on others. `None` without pairs, or where their vectors are of different lengths.
    pub fn train(pairs: &[Preference<'_>], training: HeadTraining) -> Option<Self> {
        let dimensions = pairs.first()?.prompt.len();
        let fits = |p: &Preference<'_>| [p.prompt, p.better, p.worse].iter().all(|v| v.len() == dimensions);
        if dimensions == 0 || training.members == 0 || !pairs.iter().all(fits) {
            return None;
        }
        let mut all = Vec::with_capacity(training.members * 4 * dimensions);
        for member in 0..training.members {
            let mut rng = ChaCha8Rng::seed_from_u64(training.seed.wrapping_add(member as u64));
            all.extend(train_one(pairs, training, dimensions, &mut rng));
        }
        let largest = all.iter().fold(1e-6f32, |m, w| m.max(w.abs()));
        let scale = largest / f32::from(i16::MAX);
        let weights = all.iter().map(|w| (w / scale).round() as i16).collect();
        let calibration = Calibration { centre: 0.0, width: 1.0, full: 1.0 };
        Some(Self { calibration, dimensions: u32::try_from(dimensions).ok()?, scale, weights })
    }
}

/// One member: it learns from a draw of the pairs with repetition.
fn train_one(pairs: &[Preference<'_>], training: HeadTraining, dimensions: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    const BATCH: usize = 16;
    let drawn: Vec<usize> = (0..pairs.len()).map(|_| rng.gen_range(0..pairs.len())).collect();
    let mut weights = vec![0f32; 4 * dimensions];
    let mut squares = vec![1e-8f32; 4 * dimensions];
    let mut gradient = vec![0f32; 4 * dimensions];
    let mut difference = vec![0f32; 4 * dimensions];
    for _ in 0..(training.rounds * pairs.len()).div_ceil(BATCH) {
        gradient.iter_mut().zip(&weights).for_each(|(g, w)| *g = training.decay * w);
        for _ in 0..BATCH {
            let pair = &pairs[drawn[rng.gen_range(0..drawn.len())]];
            let both = features(pair.prompt, pair.better).zip(features(pair.prompt, pair.worse));
            difference.iter_mut().zip(both).for_each(|(d, (b, w))| *d = b - w);
            let margin: f32 = weights.iter().zip(&difference).map(|(w, d)| w * d).sum();
            let error = 1.0 / (1.0 + margin.exp()) / BATCH as f32;
            gradient.iter_mut().zip(&difference).for_each(|(g, d)| *g -= error * d);
        }
        for ((w, s), g) in weights.iter_mut().zip(&mut squares).zip(&gradient) {
            *s += g * g;
            *w -= 0.02 * g / s.sqrt();
        }
    }
    weights
}

/// The answer is such as were preferred.
#[derive(Clone, Debug)]
pub struct Preferred(pub RewardHead);

impl Criterion<TextCase> for Preferred {
    fn name(&self) -> &'static str {
        "head"
    }
    fn mark(&self, case: &TextCase, answer: &TextAnswer) -> Option<Score> {
        let reward = self.0.reward(case.prompt_vector.as_ref()?, answer.vector.as_ref()?)?;
        Some(self.0.calibration.mark(reward))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn vector(rng: &mut ChaCha8Rng) -> Vec<f32> {
        let v: Vec<f32> = (0..16).map(|_| rng.gen_range(-1.0..1.0)).collect();
        let length = v.iter().map(|x| x * x).sum::<f32>().sqrt();
        v.iter().map(|x| x / length).collect()
    }

    /// Answers near their prompts beat answers near others.
    fn examples(seed: u64) -> Vec<[Vec<f32>; 3]> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..400)
            .map(|_| {
                let (prompt, noise, worse) = (vector(&mut rng), vector(&mut rng), vector(&mut rng));
                let better = prompt.iter().zip(&noise).map(|(p, n)| p * 0.8 + n * 0.2).collect();
                [prompt, better, worse]
            })
            .collect()
    }

    fn trained() -> RewardHead {
        let examples = examples(1);
        let pairs: Vec<_> =
            examples.iter().map(|[prompt, better, worse]| Preference { prompt, better, worse }).collect();
        RewardHead::train(&pairs, HeadTraining { seed: 3, members: 2, rounds: 8, decay: 1e-4 }).unwrap()
    }

    #[test]
    fn a_trained_head_tells_answers_to_prompts_it_has_not_met() {
        let head = trained();
        let right = examples(2).iter().filter(|[p, b, w]| head.reward(p, b) > head.reward(p, w)).count();
        assert!(right > 380, "{right} of 400");
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_they_are_read_back() {
        let bytes = trained().to_bytes();
        assert_eq!(bytes, trained().to_bytes());
        assert_eq!(RewardHead::from_bytes(&bytes).unwrap().to_bytes(), bytes);
        assert!(RewardHead::from_bytes(&bytes[..20]).is_err());
    }

    #[test]
    fn vectors_of_other_dimensions_have_no_reward() {
        let head = trained();
        assert_eq!(head.reward(&[1.0], &[1.0]), None);
        assert!(RewardHead::train(&[], HeadTraining { seed: 0, members: 1, rounds: 1, decay: 0.0 }).is_none());
    }
}
