//! One request while it is served: its tokens, its pages, and what it is computed for.

use std::{sync::Arc, time::Instant};

use tokio::sync::{mpsc::UnboundedSender, oneshot};

use super::{
    ask::{Event, GenerateError, GenerateRequest, ReplayRequest, Replayed, ReplayedToken},
    plan::Due,
};
use crate::llm::{
    adapter::Adapter,
    arena::PAGE,
    constraint::Constraint,
    pages::{self, Key},
    sampler::Sampler,
    text::TextStream,
};

/// What a sequence is computed for.
pub(super) enum Purpose {
    Generate(Box<Generation>),
    Replay(Box<Replay>),
    Embed(Pooling),
}

pub(super) struct Generation {
    pub(super) request: GenerateRequest,
    pub(super) events: UnboundedSender<Event>,
    pub(super) sampler: Sampler,
    pub(super) constraint: Option<Constraint>,
    pub(super) text: Option<TextStream>,
    pub(super) drawn: usize,
    pub(super) activations: blake3::Hasher,
    pub(super) first: Option<Instant>,
    /// When its first step began.
    pub(super) started: Option<Instant>,
    pub(super) cached: usize,
}

pub(super) struct Replay {
    pub(super) request: ReplayRequest,
    pub(super) result: oneshot::Sender<Result<Replayed, GenerateError>>,
    pub(super) sampler: Sampler,
    pub(super) constraint: Option<Constraint>,
    pub(super) found: Vec<ReplayedToken>,
    pub(super) complete: Option<usize>,
    pub(super) activations: blake3::Hasher,
}

pub(super) struct Pooling {
    /// Of the last hidden states.
    pub(super) sum: Vec<f32>,
    pub(super) count: usize,
    pub(super) result: oneshot::Sender<Result<Vec<f32>, GenerateError>>,
}

impl Pooling {
    pub(super) fn add(&mut self, hidden: &[f32]) {
        self.sum.resize(hidden.len(), 0.0);
        self.sum.iter_mut().zip(hidden).for_each(|(sum, x)| *sum += x);
        self.count += 1;
    }

    /// Sends the mean's direction: its length says how sure a model is of its next token, not what a text means.
    pub(super) fn tell(self) {
        let length =
            self.sum.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt().max(f64::from(f32::MIN_POSITIVE));
        let vector = self.sum.iter().map(|x| (f64::from(*x) / length) as f32).collect();
        drop(self.result.send(Ok(vector)));
    }
}

pub(super) struct Sequence {
    pub(super) purpose: Purpose,
    /// The prompt and what was drawn.
    pub(super) tokens: Vec<u32>,
    /// Tokens whose keys and values are in the pages.
    pub(super) computed: usize,
    pub(super) pages: Vec<u32>,
    /// Keys of the full pages.
    pub(super) chain: Vec<Key>,
    pub(super) root: Key,
    pub(super) adapter: Option<Arc<Adapter>>,
    pub(super) priority: i32,
    pub(super) arrival: u64,
    pub(super) arrived: Instant,
    /// When it got a place, first.
    pub(super) admitted: Option<Instant>,
}

impl Sequence {
    /// Tokens to compute: all but the last of a replay, which is only looked at.
    pub(super) fn goal(&self) -> usize {
        match self.purpose {
            Purpose::Generate(_) | Purpose::Embed(_) => self.tokens.len(),
            Purpose::Replay(_) => self.tokens.len() - 1,
        }
    }

    /// The first position whose logits are still wanted.
    pub(super) fn wanted(&self) -> usize {
        match &self.purpose {
            Purpose::Generate(g) => g.request.prompt.len() - 1 + g.drawn,
            // The logits of the token before the answer's first are those it was drawn from.
            Purpose::Replay(r) => r.request.answer - 1 + r.found.len(),
            Purpose::Embed(p) => p.count,
        }
    }

    /// What there is to do of it.
    pub(super) fn due(&self) -> Due {
        let rows = self.goal() - self.computed;
        let decodes = rows == 1 && matches!(&self.purpose, Purpose::Generate(g) if g.drawn > 0);
        Due { arrival: self.arrival, rows, decodes }
    }

    /// Keys of the pages that may be another's: from the first position whose logits are wanted on, all are computed.
    pub(super) fn reusable(&self) -> &[Key] {
        &self.chain[..(self.wanted() / PAGE).min(self.chain.len())]
    }

    /// Tokens that may yet be drawn, at most.
    pub(super) fn left(&self) -> usize {
        match &self.purpose {
            Purpose::Generate(g) => g.request.max_tokens.saturating_sub(g.drawn),
            Purpose::Replay(_) | Purpose::Embed(_) => 0,
        }
    }

    /// Extends the chain to all full pages of the tokens there are.
    pub(super) fn extend_chain(&mut self) {
        while (self.chain.len() + 1) * PAGE <= self.tokens.len() {
            let at = self.chain.len();
            let before = self.chain.last().unwrap_or(&self.root);
            self.chain.push(pages::next(before, &self.tokens[at * PAGE..(at + 1) * PAGE]));
        }
    }

    pub(super) fn is_cancelled(&self) -> bool {
        match &self.purpose {
            Purpose::Generate(g) => g.events.is_closed(),
            Purpose::Replay(r) => r.result.is_closed(),
            Purpose::Embed(p) => p.result.is_closed(),
        }
    }

    pub(super) fn fail(self, error: GenerateError) {
        match self.purpose {
            Purpose::Generate(g) => drop(g.events.send(Event::Failed(error))),
            Purpose::Replay(r) => drop(r.result.send(Err(error))),
            Purpose::Embed(p) => drop(p.result.send(Err(error))),
        }
    }

    /// Who goes first: by priority, then by arrival.
    pub(super) fn rank(&self) -> (std::cmp::Reverse<i32>, u64) {
        (std::cmp::Reverse(self.priority), self.arrival)
    }
}
