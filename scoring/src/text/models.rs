//! What a validator asks of its own models. The models themselves stand elsewhere; here are the questions.

use std::fmt;
use std::sync::Arc;

/// A model did not answer. It says nothing about the miner: the task is left out, or judged without that model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the validator's own {model}: {reason}")]
pub struct ModelError {
    /// Which one.
    pub model: &'static str,
    /// What it said.
    pub reason: String,
}

/// Texts to vectors.
pub trait Embedder: Send + Sync {
    /// The vector of a text: of length 1, always of as many numbers.
    ///
    /// # Errors
    /// [`ModelError`] if there is none, as of a text without tokens.
    fn embed(&self, text: &str) -> Result<Vec<f32>, ModelError>;
}

/// How likely an answer is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Likelihood {
    /// Sum of its tokens' log-probabilities after the prompt, its end among them, in nats.
    pub after_prompt: f64,
    /// The same without the prompt.
    pub alone: f64,
    /// Its tokens; at least 1.
    pub tokens: usize,
    /// Log-probability after the prompt that the answer ends where it does, in nats; `None` where that was not asked, as of
    /// an answer of which only the beginning fits the model.
    pub end: Option<f64>,
}

impl Likelihood {
    /// Log-probability after the prompt of each token, in nats: their mean.
    pub fn of_a_token(&self) -> f64 {
        self.after_prompt / self.tokens.max(1) as f64
    }

    /// Pointwise mutual information of prompt and answer for each token, in nats.
    pub fn information(&self) -> f64 {
        (self.after_prompt - self.alone) / self.tokens.max(1) as f64
    }
}

impl Likelihood {
    /// Of the log-probabilities of an answer's tokens, in nats, after the prompt and without it; `ended` says that the last
    /// token is the answer's end.
    pub fn of(after_prompt: &[f64], alone: &[f64], ended: bool) -> Self {
        Self {
            after_prompt: after_prompt.iter().sum(),
            alone: alone.iter().sum(),
            tokens: after_prompt.len().max(1),
            end: after_prompt.last().filter(|_| ended).copied(),
        }
    }
}

/// A validator's own language model.
pub trait LanguageModel: Send + Sync {
    /// How likely it finds an answer, after a prompt and without one.
    ///
    /// # Errors
    /// [`ModelError`], as for a text over its context.
    fn likelihood(&self, prompt: &str, answer: &str) -> Result<Likelihood, ModelError>;
}

/// A model of what people prefer, such as OpenAssistant's on DeBERTa.
pub trait RewardModel: Send + Sync {
    /// The reward of an answer to a prompt; larger is better, without a scale of its own.
    ///
    /// # Errors
    /// [`ModelError`] if the texts cannot be taken.
    fn reward(&self, prompt: &str, answer: &str) -> Result<f64, ModelError>;
}

/// The models that a validator has; criteria whose model is missing do not apply.
#[derive(Clone, Default)]
pub struct Models {
    /// For relevance, the reward head and nearness to known meanings.
    pub embedder: Option<Arc<dyn Embedder>>,
    /// For pointwise mutual information.
    pub language_model: Option<Arc<dyn LanguageModel>>,
    /// For preference.
    pub reward_model: Option<Arc<dyn RewardModel>>,
}

impl fmt::Debug for Models {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Models")
            .field("embedder", &self.embedder.is_some())
            .field("language_model", &self.language_model.is_some())
            .field("reward_model", &self.reward_model.is_some())
            .finish()
    }
}

/// Cosine of two vectors; 0 where their lengths differ or one is of length 0.
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    if a.len() != b.len() {
        return 0.0;
    }
    let product = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    let lengths = (product(a, a) * product(b, b)).sqrt();
    let cosine = if lengths > 0.0 { product(a, b) / lengths } else { 0.0 };
    if cosine.is_finite() { cosine } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosines_are_of_directions_and_nothing_is_near_nothing() {
        assert!((cosine(&[3.0, 0.0], &[2.0, 0.0]) - 1.0).abs() < 1e-9);
        assert!((cosine(&[1.0, 1.0], &[1.0, -1.0])).abs() < 1e-9);
        assert_eq!(cosine(&[0.0], &[1.0]), 0.0);
        assert_eq!(cosine(&[1.0], &[1.0, 2.0]), 0.0);
        assert_eq!(cosine(&[f32::NAN], &[1.0]), 0.0);
    }

    #[test]
    fn likelihoods_are_of_all_tokens_and_an_end_is_one_that_was_asked() {
        let likelihood = Likelihood::of(&[-1.0, -2.0, -0.5], &[-3.0, -3.0, -1.0], true);
        assert_eq!((likelihood.after_prompt, likelihood.alone, likelihood.tokens), (-3.5, -7.0, 3));
        assert_eq!(likelihood.end, Some(-0.5));
        assert!((likelihood.of_a_token() + 3.5 / 3.0).abs() < 1e-12);
        assert_eq!(Likelihood::of(&[-1.0], &[-1.0], false).end, None);
        let nothing = Likelihood::of(&[], &[], true);
        assert_eq!((nothing.tokens, nothing.end, nothing.of_a_token()), (1, None, 0.0));
    }

    #[test]
    fn information_is_for_each_token() {
        let likelihood = Likelihood { after_prompt: -10.0, alone: -30.0, tokens: 10, end: None };
        assert!((likelihood.information() - 2.0).abs() < 1e-12);
    }
}
