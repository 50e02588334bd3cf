//! Whether an answer belongs to a question: a bilinear form on their embeddings.
//!
//! The cosine says how near two texts are, and a question is nearest to itself. What belongs to it lies a little aside, in
//! directions that can be learned: the form begins as the cosine and is trained to tell each question's answer from the
//! other questions' (the loss of van den Oord et al., 2018, over the pairs of a batch):
//!
//! ```text
//! measure(p, a) = p . a + p . M a + b . a,      M of d x d in 8 bits
//! ```

use assay_primitives::Score;
use borsh::{BorshDeserialize, BorshSerialize};
use rand::{SeedableRng as _, seq::index};
use rand_chacha::ChaCha8Rng;

use super::{
    calibration::Calibration,
    case::{TextAnswer, TextCase},
    models::{Embedder, cosine},
};
use crate::criteria::Criterion;

/// How far apart measures of right and wrong answers are pushed.
const SHARPNESS: f32 = 10.0;
/// How strongly the form is held near the cosine.
const DECAY: f32 = 0.01;
/// Of AdaGrad's steps.
const RATE: f32 = 0.005;

/// What encoders are told apart by.
pub const PROBE: &str = "a small brown bird that sings at night";
/// The least cosine of what one encoder makes of [`PROBE`] on two machines, or in two precisions.
const ALIKE: f64 = 0.99;

/// The form.
#[derive(Clone, Debug, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct Relation {
    /// Measures to marks.
    pub calibration: Calibration,
    /// The vector of [`PROBE`] by the encoder that the form is for.
    pub probe: Vec<f32>,
    /// Of an embedding.
    dimensions: u32,
    /// What a 1 in the matrix stands for.
    scale: f32,
    /// `M`, row by row.
    matrix: Vec<i8>,
    /// `b`
    bias: Vec<f32>,
}

/// How the form is trained.
#[derive(Clone, Copy, Debug)]
pub struct RelationTraining {
    /// Of everything that is drawn.
    pub seed: u64,
    /// Batches.
    pub steps: usize,
    /// Pairs in a batch.
    pub batch: usize,
}

/// A vector of the same direction and length 1; one of length 0 stays.
fn unit(v: &[f32]) -> Vec<f32> {
    let length = dot(v, v).sqrt();
    v.iter().map(|x| if length > 0.0 { x / length } else { 0.0 }).collect()
}

/// `sum of x y`
fn dot(x: &[f32], y: &[f32]) -> f32 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

/// `to += factor * from`
fn add(to: &mut [f32], factor: f32, from: &[f32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += factor * from);
}

impl Relation {
    /// The form that comes with the node: for `all-MiniLM-L6-v2`.
    pub fn shipped() -> Self {
        Self::from_bytes(include_bytes!("../../../assets/text-scorers/relation.bin"))
            .expect("the committed file is the one that was written with this code")
    }

    /// Reads a form.
    ///
    /// # Errors
    /// If the bytes are none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, std::io::Error> {
        let form: Self = borsh::from_slice(bytes)?;
        let size = form.dimensions as usize;
        let finite = form.scale.is_finite() && form.bias.iter().chain(&form.probe).all(|x| x.is_finite());
        if size.checked_mul(size) == Some(form.matrix.len()) && form.bias.len() == size && finite {
            return Ok(form);
        }
        Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "expected a square matrix, a vector, and numbers"))
    }

    /// As [`Self::from_bytes`] reads it.
    pub fn to_bytes(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("writing to a Vec never fails")
    }

    /// How well an answer belongs to a prompt, about -1 to 2. `None` where the vectors are not of the form's dimensions.
    pub fn measure(&self, prompt: &[f32], answer: &[f32]) -> Option<f64> {
        let size = self.dimensions as usize;
        if prompt.len() != size || answer.len() != size {
            return None;
        }
        let (prompt, answer) = (&unit(prompt)[..], &unit(answer)[..]);
        let row = |row: &[i8]| row.iter().zip(answer).map(|(m, a)| f32::from(*m) * a).sum::<f32>();
        let rows = self.matrix.chunks_exact(size.max(1)).map(row);
        let turned: f32 = rows.zip(prompt).map(|(row, p)| row * p).sum();
        Some(f64::from(dot(prompt, answer) + self.scale * turned + dot(&self.bias, answer)))
    }

    /// Whether an encoder is the one that the form is for: what is trained on one encoder's vectors means nothing on those
    /// of another.
    ///
    /// # Errors
    /// In words, if it is another, or does not work.
    pub fn fits(&self, embedder: &dyn Embedder) -> Result<(), String> {
        let vector = embedder.embed(PROBE).map_err(|e| e.to_string())?;
        let (has, needs) = (vector.len(), self.probe.len());
        if has != needs {
            return Err(format!(
                "its vectors are of {has} dimensions; those that scoring is trained on are of {needs}"
            ));
        }
        let alike = cosine(&vector, &self.probe);
        if alike < ALIKE {
            return Err(format!(
                "it is another encoder than scoring is trained on: what both make of {PROBE:?} has a cosine of {alike:.3}"
            ));
        }
        Ok(())
    }

    /// The cosine.
    pub fn cosine(calibration: Calibration, dimensions: u32) -> Self {
        let size = dimensions as usize;
        Self { calibration, probe: vec![], dimensions, scale: 1.0, matrix: vec![0; size * size], bias: vec![0.0; size] }
    }

    /// Trains on prompts and their answers by AdaGrad (Duchi et al., 2011). The same pairs and seed
    /// give the same form; its calibration is to be fitted on others, and its probe to be set. `None` for fewer pairs than a batch has, or where
    /// vectors are of different lengths.
    pub fn train(pairs: &[(&[f32], &[f32])], training: RelationTraining) -> Option<Self> {
        let RelationTraining { seed, steps, batch } = training;
        let size = pairs.first()?.0.len();
        if size == 0 || batch < 2 || pairs.len() < batch {
            return None;
        }
        if !pairs.iter().all(|(p, a)| p.len() == size && a.len() == size) {
            return None;
        }
        let pairs: Vec<(Vec<f32>, Vec<f32>)> = pairs.iter().map(|(p, a)| (unit(p), unit(a))).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (mut matrix, mut bias) = (vec![0f32; size * size], vec![0f32; size]);
        let (mut squares, mut bias_squares) = (vec![1e-8f32; size * size], vec![1e-8f32; size]);
        for _ in 0..steps {
            let drawn: Vec<(&[f32], &[f32])> = index::sample(&mut rng, pairs.len(), batch)
                .iter()
                .map(|at| (&pairs[at].0[..], &pairs[at].1[..]))
                .collect();
            let mut gradient: Vec<f32> = matrix.iter().map(|m| DECAY * m).collect();
            let mut bias_gradient: Vec<f32> = bias.iter().map(|b| DECAY * b).collect();
            let mut wanted = vec![0f32; size];
            for (at, (prompt, _)) in drawn.iter().enumerate() {
                // The direction that the prompt's answer should lie in, and the chance of each answer to be it.
                let mut turned: Vec<f32> = prompt.to_vec();
                matrix.chunks_exact(size).zip(*prompt).for_each(|(row, p)| add(&mut turned, *p, row));
                let mut chances: Vec<f32> =
                    drawn.iter().map(|(_, a)| SHARPNESS * (dot(&turned, a) + dot(&bias, a))).collect();
                let largest = chances.iter().fold(f32::MIN, |m, x| m.max(*x));
                chances.iter_mut().for_each(|x| *x = (*x - largest).exp());
                let sum: f32 = chances.iter().sum();
                wanted.fill(0.0);
                for (other, (_, answer)) in drawn.iter().enumerate() {
                    let error = chances[other] / sum - f32::from(u8::from(other == at));
                    add(&mut wanted, SHARPNESS * error / batch as f32, answer);
                }
                add(&mut bias_gradient, 1.0, &wanted);
                gradient.chunks_exact_mut(size).zip(*prompt).for_each(|(row, p)| add(row, *p, &wanted));
            }
            let step = |weights: &mut [f32], squares: &mut [f32], gradient: &[f32]| {
                for ((w, s), g) in weights.iter_mut().zip(squares).zip(gradient) {
                    *s += g * g;
                    *w -= RATE * g / s.sqrt();
                }
            };
            step(&mut matrix, &mut squares, &gradient);
            step(&mut bias, &mut bias_squares, &bias_gradient);
        }
        let scale = matrix.iter().fold(1e-9f32, |m, w| m.max(w.abs())) / f32::from(i8::MAX);
        let matrix = matrix.iter().map(|w| (w / scale).round() as i8).collect();
        let calibration = Calibration { centre: 0.0, width: 1.0, full: 1.0 };
        Some(Self { calibration, probe: vec![], dimensions: u32::try_from(size).ok()?, scale, matrix, bias })
    }
}

/// The answer is about what was asked. An echo is more about it than any answer, so this stands beside other criteria only.
#[derive(Clone, Debug)]
pub struct Relevance(pub Relation);

impl Criterion<TextCase> for Relevance {
    fn name(&self) -> &'static str {
        "relevance"
    }
    fn mark(&self, case: &TextCase, answer: &TextAnswer) -> Option<Score> {
        let measure = self.0.measure(case.prompt_vector.as_ref()?, answer.vector.as_ref()?)?;
        Some(self.0.calibration.mark(measure))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rand::Rng as _;

    use super::*;

    const SIZE: usize = 12;

    fn any(rng: &mut ChaCha8Rng) -> Vec<f32> {
        unit(&(0..SIZE).map(|_| rng.gen_range(-1.0..1.0)).collect::<Vec<_>>())
    }

    /// Answers that are their prompts turned the same way, where the cosine says nothing.
    fn pairs(seed: u64) -> Vec<(Vec<f32>, Vec<f32>)> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let turned = |p: &[f32]| (0..SIZE).map(|i| p[(i + 1) % SIZE]).collect();
        (0..300).map(|_| any(&mut rng)).map(|p| (p.clone(), turned(&p))).collect()
    }

    fn trained() -> Relation {
        let pairs = pairs(1);
        let pairs: Vec<(&[f32], &[f32])> = pairs.iter().map(|(p, a)| (&p[..], &a[..])).collect();
        Relation::train(&pairs, RelationTraining { seed: 3, steps: 2000, batch: 32 }).unwrap()
    }

    #[test]
    fn answers_of_a_kind_that_was_not_seen_are_found_among_others() {
        let (form, unseen) = (trained(), pairs(2));
        let right = unseen.iter().zip(unseen.iter().skip(1)).filter(|((prompt, answer), (_, other))| {
            form.measure(prompt, answer).unwrap() > form.measure(prompt, other).unwrap()
        });
        let right = right.count();
        assert!(right > 280, "{right} of 299");
    }

    #[test]
    fn the_same_pairs_give_the_same_bytes_and_they_are_read_back() {
        let form = trained();
        assert_eq!(form, trained());
        assert_eq!(Relation::from_bytes(&form.to_bytes()).unwrap(), form);
        assert!(Relation::from_bytes(&form.to_bytes()[1..]).is_err());
        assert!(Relation::from_bytes(&Relation { bias: vec![0.0; 3], ..form.clone() }.to_bytes()).is_err());
        assert!(Relation::from_bytes(&Relation { scale: f32::INFINITY, ..form }.to_bytes()).is_err());
    }

    #[test]
    fn vectors_of_another_size_have_no_measure() {
        assert_eq!(trained().measure(&[1.0; 3], &[1.0; SIZE]), None);
        assert!(
            Relation::train(&[(&[1.0][..], &[1.0][..])], RelationTraining { seed: 1, steps: 1, batch: 2 }).is_none()
        );
    }

    /// An encoder of one vector.
    struct One(Vec<f32>);

    impl Embedder for One {
        fn embed(&self, _text: &str) -> Result<Vec<f32>, crate::text::ModelError> {
            Ok(self.0.clone())
        }
    }

    #[test]
    fn another_encoder_is_told_by_what_it_makes_of_the_probe() {
        let form = Relation { probe: vec![0.6, 0.8, 0.0], ..trained() };
        form.fits(&One(vec![0.6, 0.79, 0.01])).unwrap();
        assert!(form.fits(&One(vec![0.0, 0.6, 0.8])).unwrap_err().contains("cosine of 0.480"));
        assert!(form.fits(&One(vec![0.6, 0.8])).unwrap_err().contains("2 dimensions"));
    }
}
