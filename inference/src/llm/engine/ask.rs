//! What an engine is asked for, and what comes of it.

use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedReceiver;

use crate::llm::{
    constraint::Constraint,
    sampler::{Sampling, SamplingError},
};

/// A request for text.
#[derive(Clone, Debug, Default)]
pub struct GenerateRequest {
    /// Tokens; at least one.
    pub prompt: Vec<u32>,
    /// The answer's first tokens, which another began: they are looked at, and come on the stream as if drawn here.
    pub resume: Vec<u32>,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// The most tokens to draw, those to resume from among them; at least one.
    pub max_tokens: usize,
    /// Strings that end the text; it goes up to them.
    pub stop: Vec<String>,
    /// Whether the model's own end is not one.
    pub ignore_end: bool,
    /// Log-probabilities wanted: of the token, and of so many of the likeliest.
    pub logprobs: Option<usize>,
    /// What the text must be.
    pub constraint: Option<Constraint>,
    /// A loaded adapter's name.
    pub adapter: Option<String>,
    /// Higher goes first.
    pub priority: i32,
    /// When nobody wants the answer any more.
    pub deadline: Option<Instant>,
}

/// A request to look at an answer again.
#[derive(Clone, Debug)]
pub struct ReplayRequest {
    /// The prompt's tokens, then the answer's.
    pub tokens: Vec<u32>,
    /// Where the answer begins; at least 1.
    pub answer: usize,
    /// How its tokens are claimed to have been drawn.
    pub sampling: Sampling,
    /// What the text had to be.
    pub constraint: Option<Constraint>,
    /// The adapter it was made with.
    pub adapter: Option<String>,
}

/// What a replay found.
#[derive(Clone, Debug, PartialEq)]
pub struct Replayed {
    /// Of each token of the answer.
    pub tokens: Vec<ReplayedToken>,
    /// Hash of the hidden states from which they are drawn.
    pub activations: [u8; 32],
    /// The token that made the text what the constraint asks for, if one did.
    pub complete: Option<usize>,
}

/// What a replay found of one token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReplayedToken {
    /// The token that is drawn here.
    pub drawn: u32,
    /// How far the claimed token's adjusted logit is below the largest.
    pub gap: f32,
    /// The claimed token's log-probability.
    pub logprob: f32,
}

/// A token's log-probability, beside the likeliest ones'.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprob {
    /// Of the token.
    pub logprob: f32,
    /// The likeliest, by descending log-probability.
    pub top: Vec<(u32, f32)>,
}

/// A token of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// The token.
    pub token: u32,
    /// What text it made certain; perhaps none.
    pub text: String,
    /// If wanted.
    pub logprob: Option<TokenLogprob>,
}

/// Why an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The model ended it, or the constraint was met.
    End,
    /// A stop string came.
    Stop(String),
    /// It has as many tokens as were asked for.
    Length,
}

/// Counts and times of an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Of them, those that were not computed again.
    pub cached: usize,
    /// Tokens drawn, the model's end among them.
    pub completion: usize,
    /// From arrival to the first step.
    pub queued: Duration,
    /// From arrival to the first token.
    pub first: Duration,
    /// From arrival to the end.
    pub total: Duration,
}

/// What comes on an answer's stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The next token.
    Piece(Piece),
    /// The end, with text that was held back.
    Done {
        /// Text that was held back until the end.
        text: String,
        /// Why it ended.
        finish: Finish,
        /// Counts and times.
        usage: Usage,
        /// The model's own end, if that is what ended it; no piece came of it.
        end: Option<u32>,
        /// Hash of the last hidden states from which the answer's tokens were drawn.
        activations: [u8; 32],
    },
    /// It will not be finished.
    Failed(GenerateError),
}

/// Why an answer is not made, or not finished.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GenerateError {
    /// No tokens.
    #[error("the prompt is empty")]
    Empty,
    /// No room in the context.
    #[error("the prompt has {prompt} tokens and {max_tokens} are asked for; the context has {context}")]
    TooLong {
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens asked for.
        max_tokens: usize,
        /// Positions.
        context: usize,
    },
    /// A token that the model does not have.
    #[error("the token {token} is not in the vocabulary of {vocabulary}")]
    Token {
        /// The token.
        token: u32,
        /// Tokens there are.
        vocabulary: usize,
    },
    /// A parameter out of its range.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// An adapter that is not loaded.
    #[error("the adapter `{0}` is not loaded")]
    Adapter(String),
    /// The constraint cannot be met.
    #[error("the constraint: {0}")]
    Constraint(String),
    /// An answer that another began, and that does not go on so here.
    #[error("token {at} of the answer to resume is {claimed}; here it is {drawn}")]
    Resume {
        /// Which token of the answer.
        at: usize,
        /// What it was said to be.
        claimed: u32,
        /// What it is.
        drawn: u32,
    },
    /// As many wait as may.
    #[error("{waiting} requests wait already; try again in {} s", retry_after.as_secs().max(1))]
    Busy {
        /// Requests waiting.
        waiting: usize,
        /// About how long until one of them is served.
        retry_after: Duration,
    },
    /// The deadline passed.
    #[error("the deadline passed")]
    Deadline,
    /// The engine stops.
    #[error("the model is being unloaded")]
    Stopped,
    /// A step went wrong; the engine has stopped.
    #[error("the engine failed: {0}")]
    Internal(String),
}

impl GenerateError {
    /// True if another request could have been served.
    pub fn is_callers_fault(&self) -> bool {
        !matches!(self, Self::Busy { .. } | Self::Deadline | Self::Stopped | Self::Internal(_))
    }
}

/// An answer as it comes. Dropping it cancels the request.
#[derive(Debug)]
pub struct Answer(pub(super) UnboundedReceiver<Event>);

impl Answer {
    /// The next event; `None` after the last.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.recv().await
    }

    /// The next event, if it is there already.
    pub fn ready(&mut self) -> Option<Event> {
        self.0.try_recv().ok()
    }

    /// The next event, waiting on this thread.
    ///
    /// # Panics
    /// If called where asynchronous code runs.
    pub fn wait(&mut self) -> Option<Event> {
        self.0.blocking_recv()
    }
}
