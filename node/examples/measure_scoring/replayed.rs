//! Answers as the network hears them: made by the model, and made again by the validator before they are judged.

use std::path::Path;

use assay::texts;
use assay_inference::llm::{Event, Llm, LoadOptions};
use assay_primitives::{
    Hash32, Score,
    text::{Draw, TextInput, TextOutput},
};
use assay_scoring::text::{Arrived, ReplayOutcome, TextJudge, TextTask};
use futures::executor::block_on;

use crate::Result;

/// Tokens of an answer at most.
const MOST: u32 = 64;

/// A model, of the miner and of the validator.
pub(crate) struct Network(Llm);

/// What the model answers to a question.
pub(crate) struct Told {
    asked: TextInput,
    signed: TextOutput,
    /// The answer.
    pub(crate) text: String,
}

impl Network {
    /// Loads a folder.
    pub(crate) fn load(folder: &Path) -> Result<Self> {
        Ok(Self(Llm::load(folder, &LoadOptions::default())?))
    }

    /// What the model answers, always its likeliest word.
    pub(crate) fn ask(&self, prompt: &str) -> Result<Told> {
        let Self(llm) = self;
        let template = llm.codec.template().ok_or("the model has no chat template")?;
        let turn = serde_json::json!({ "role": "user", "content": prompt });
        let prompt = llm.codec.encode_as_is(&template.render::<_, ()>(&[turn], None)?)?;
        let asked = TextInput {
            prompt,
            max_tokens: MOST,
            draw: Draw::greedy(),
            stop: Vec::new(),
            ignore_end: false,
            form: None,
        };
        let mut answer = llm.engine.generate(texts::request(llm, &asked)?)?;
        let mut tokens = Vec::new();
        loop {
            match block_on(answer.next()).ok_or("the answer broke off")? {
                Event::Piece(piece) => tokens.push(piece.token),
                Event::Done { finish, end, activations, .. } => {
                    let text = llm.codec.decode(&tokens)?;
                    tokens.extend(end);
                    let ending = texts::ending(&finish, &asked)?;
                    let signed = TextOutput { tokens, ending, activations: Hash32(activations) };
                    return Ok(Told { asked, signed, text });
                }
                Event::Failed(error) => return Err(error.into()),
            }
        }
    }

    /// The score of a text that a miner signs in place of what it was told, with the activations of the true answer.
    pub(crate) fn score(&self, judge: &TextJudge, task: &TextTask, told: &Told, text: &str) -> Result<Score> {
        let Self(llm) = self;
        let mut signed = told.signed.clone();
        if text != told.text {
            signed.tokens = llm.codec.encode_as_is(text)?;
            signed.tokens.extend(llm.config.eos.first());
        }
        let right = block_on(texts::look(llm, &told.asked, &signed))?.verdict.is_right();
        let replay = if right { ReplayOutcome::Confirmed } else { ReplayOutcome::Refuted };
        let arrived = Arrived { text: text.to_owned(), replay, ..Arrived::default() };
        Ok(judge.judge(task.clone(), Some(arrived))?.verdict.score)
    }
}
