//! A text task, what came back for it, and what the validator's models said of that.

use serde_json::Value;

use super::{
    models::{Likelihood, ModelError, Models},
    reading::Reading,
    surface::added,
};
use crate::criteria::{Case, Timed};

/// What is known of the right answer, and so how an answer is judged.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Known {
    /// Nothing: the answer is judged by what it is like.
    #[default]
    Nothing,
    /// Words: one of `accepted`, alone or in a sentence that names none of the `rivals`.
    Words {
        /// Right answers.
        accepted: Vec<String>,
        /// What the question offers beside the right answer.
        rivals: Vec<String>,
    },
    /// A number.
    Number(i64),
    /// A JSON object: the share of its fields that are right.
    Record(Value),
    /// A text of the same meaning: how near an answer comes to it.
    Meaning(String),
}

impl Known {
    /// Whether an answer is right or wrong, not more or less near.
    pub fn is_exact(&self) -> bool {
        matches!(self, Self::Words { .. } | Self::Number(_) | Self::Record(_))
    }
}

/// Words an answer may have, in full honour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WordRange {
    /// The fewest.
    pub low: usize,
    /// The most.
    pub high: usize,
}

/// A question, and how its answers are judged.
#[derive(Clone, Debug, PartialEq)]
pub struct TextTask {
    /// What the miner is asked.
    pub prompt: String,
    /// What is known of the answer.
    pub known: Known,
    /// How long the answer may be.
    pub words: WordRange,
    /// The JSON schema that the answer must meet, where it must be JSON.
    pub schema: Option<Value>,
    /// The answer's language, in ISO 639-3; `None` if any will do.
    pub language: Option<String>,
}

/// What a replay of the answer under the validator's copy of the model showed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplayOutcome {
    /// The model draws these tokens.
    Confirmed,
    /// It does not.
    Refuted,
    /// The answer was not replayed.
    #[default]
    NotReplayed,
}

/// An answer that carries the miner's valid signature over this very request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrived {
    /// What the miner signed. What is not UTF-8 is no answer.
    pub text: String,
    /// What became of its replay.
    pub replay: ReplayOutcome,
    /// From sending the request to holding the whole answer, measured by the validator, in milliseconds.
    pub latency_ms: u64,
    /// What the miner asks for it, in grain for a thousand tokens; `None` where no price is stated.
    pub price: Option<u64>,
}

/// A task with its answer, and what the validator's models said.
#[derive(Clone, Debug)]
pub struct TextCase {
    /// The task.
    pub task: TextTask,
    /// Its prompt, read.
    pub prompt: Reading,
    /// The prompt's vector.
    pub prompt_vector: Option<Vec<f32>>,
    /// The known meaning's vector.
    pub known_vector: Option<Vec<f32>>,
    /// What came back.
    pub answer: Option<TextAnswer>,
}

/// An answer, and what the validator's models said.
#[derive(Clone, Debug)]
pub struct TextAnswer {
    /// The text, read.
    pub text: Reading,
    /// The vector of what it adds to the prompt: saying the prompt's own words makes nothing more relevant.
    pub vector: Option<Vec<f32>>,
    /// How likely it is.
    pub likelihood: Option<Likelihood>,
    /// The reward model's reward.
    pub reward: Option<f64>,
    /// What became of its replay.
    pub replay: ReplayOutcome,
    /// As in [`Arrived`].
    pub latency_ms: u64,
    /// As in [`Arrived`].
    pub price: Option<u64>,
}

impl Case for TextCase {
    type Answer = TextAnswer;
    fn answer(&self) -> Option<&TextAnswer> {
        self.answer.as_ref()
    }
}

impl Timed for TextAnswer {
    fn latency_ms(&self) -> u64 {
        self.latency_ms
    }
}

impl TextCase {
    /// Reads task and answer; no model is asked.
    pub fn read(task: TextTask, arrived: Option<Arrived>) -> Self {
        let answer = arrived.map(|arrived| TextAnswer {
            text: Reading::new(&arrived.text),
            vector: None,
            likelihood: None,
            reward: None,
            replay: arrived.replay,
            latency_ms: arrived.latency_ms,
            price: arrived.price,
        });
        Self { prompt: Reading::new(&task.prompt), task, prompt_vector: None, known_vector: None, answer }
    }

    /// Asks the models that there are. Nothing is asked where the right answer is known exactly: what models think of
    /// it does not matter.
    ///
    /// # Errors
    /// [`ModelError`] of the first model that failed.
    pub fn ask(&mut self, models: &Models) -> Result<(), ModelError> {
        let Some(answer) = self.answer.as_mut().filter(|a| !a.text.tokens.is_empty()) else { return Ok(()) };
        if self.task.known.is_exact() {
            return Ok(());
        }
        let (prompt, text) = (&self.task.prompt, &answer.text.raw);
        if let Some(embedder) = &models.embedder {
            self.prompt_vector = Some(embedder.embed(prompt)?);
            answer.vector = Some(embedder.embed(&added(&self.prompt, &answer.text))?);
            if let Known::Meaning(known) = &self.task.known {
                self.known_vector = Some(embedder.embed(known)?);
            }
        }
        if let Some(model) = &models.language_model {
            answer.likelihood = Some(model.likelihood(prompt, text)?);
        }
        if let Some(model) = &models.reward_model {
            answer.reward = Some(model.reward(prompt, text)?);
        }
        Ok(())
    }
}
