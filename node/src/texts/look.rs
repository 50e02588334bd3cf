//! Making a text again, to see whether it is what the model gives.
//!
//! One pass over prompt and answer gives every token's logits and last hidden state at once: a tenth of the work of the answer
//! itself. The answer is right if each token is the one that would be drawn, if it ends where and why it says, and if the
//! hidden states are those that were signed.

use assay_inference::llm::{Llm, ReplayRequest, Replayed, Step};
use assay_primitives::text::{Ending, TextInput, TextOutput};

use super::{TextError, constraint, sampling};

/// What a text turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// What the model gives, to the last bit.
    Right,
    /// A token that the model would not draw.
    OtherToken {
        /// Which, from 0.
        at: usize,
        /// What was signed.
        signed: u32,
        /// What is drawn.
        drawn: u32,
    },
    /// The tokens are those that would be drawn, but not from these hidden states: another model, precision or prompt.
    OtherActivations,
    /// It goes on where it would have ended, or ends where it would have gone on, or for another reason.
    OtherEnding(String),
}

impl Verdict {
    /// Whether it holds.
    pub fn is_right(&self) -> bool {
        *self == Verdict::Right
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Verdict::Right => f.write_str("the text is the model's"),
            Verdict::OtherToken { at, signed, drawn } => write!(f, "token {at} is {signed}, the model draws {drawn}"),
            Verdict::OtherActivations => {
                f.write_str("the tokens were not drawn from these activations: of another model, precision or prompt")
            }
            Verdict::OtherEnding(reason) => write!(f, "its end: {reason}"),
        }
    }
}

/// A text looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// What it turned out to be.
    pub verdict: Verdict,
    /// Sum of the tokens' log-probabilities under the model.
    pub logprob: f64,
}

/// Makes a text again.
///
/// # Errors
/// [`TextError`] if the model cannot be run, or the input is none of it.
pub async fn look(llm: &Llm, text: &TextInput, told: &TextOutput) -> Result<Look, TextError> {
    let constraint = constraint(llm.grammars.as_ref(), text.form.as_ref()).map_err(TextError::Input)?;
    let wrong = |reason: &str| Ok(Look { verdict: Verdict::OtherEnding(reason.into()), logprob: 0.0 });
    if told.tokens.is_empty() {
        return wrong("it has no tokens");
    }
    if told.tokens.len() > text.max_tokens as usize {
        return wrong("it has more tokens than were asked for");
    }
    if let Some(token) = told.tokens.iter().find(|token| **token as usize >= llm.config.vocabulary) {
        return wrong(&format!("it has the token {token}, which the model does not have"));
    }
    let tokens = text.prompt.iter().chain(&told.tokens).copied().collect();
    let request =
        ReplayRequest { tokens, answer: text.prompt.len(), sampling: sampling(&text.draw), constraint, adapter: None };
    let replayed = llm.engine.replay(request).await.map_err(|e| match e.is_callers_fault() {
        true => TextError::Input(e.to_string()),
        false => TextError::Engine(e.to_string()),
    })?;
    let logprob = replayed.tokens.iter().map(|token| f64::from(token.logprob)).sum();
    Ok(Look { verdict: judge(llm, text, told, &replayed), logprob })
}

fn judge(llm: &Llm, text: &TextInput, told: &TextOutput, replayed: &Replayed) -> Verdict {
    let pairs = told.tokens.iter().zip(&replayed.tokens).enumerate();
    if let Some((at, (signed, found))) = pairs.into_iter().find(|(_, (signed, found))| **signed != found.drawn) {
        return Verdict::OtherToken { at, signed: *signed, drawn: found.drawn };
    }
    if replayed.activations != told.activations.0 {
        return Verdict::OtherActivations;
    }
    match ending(llm, text, &told.tokens, replayed.complete) {
        Some((at, found)) if at + 1 == told.tokens.len() && found == told.ending => Verdict::Right,
        Some((at, found)) => Verdict::OtherEnding(format!(
            "the model ends at token {at} by {found:?}, the miner at token {} by {:?}",
            told.tokens.len() - 1,
            told.ending
        )),
        None => Verdict::OtherEnding("the model would have gone on".into()),
    }
}

/// The token after which a text ends, and why: the first of its reasons, as the engine has them.
fn ending(llm: &Llm, text: &TextInput, tokens: &[u32], complete: Option<usize>) -> Option<(usize, Ending)> {
    let mut stream = llm.codec.stream(text.stop.clone());
    let last = text.max_tokens as usize - 1;
    for (at, token) in tokens.iter().enumerate() {
        if !text.ignore_end && llm.config.eos.contains(token) {
            return Some((at, Ending::End));
        }
        if let Step::Stop(_, stop) = stream.push(*token) {
            let place = text.stop.iter().position(|s| *s == stop)?;
            return Some((at, Ending::Stop(u8::try_from(place).ok()?)));
        }
        if complete == Some(at) {
            return Some((at, Ending::End));
        }
        if at == last {
            return Some((at, Ending::Length));
        }
    }
    None
}
