//! One model served to many at once.
//!
//! A thread of its own owns the network, the pages and every sequence, and steps, on threads that share the work (Yu
//! et al., "Orca", 2022; Kwon et al., "PagedAttention", 2023):
//!
//! ```text
//! commands ──> waiting (by priority, then arrival) ──admit──> running ──> batch ──forward──> logits ──> tokens ──> streams
//!                     ^                                          │
//!                     └── the last to come, when pages run out ──┘
//! ```
//!
//! A batch is one row for each sequence that decodes, and pieces of what is not as far yet, up to a budget of rows: a
//! small one beside those that decode, so that a long prompt delays nobody's next token by more than that, and a larger
//! one where much has gathered. A sequence that lost its pages to others is computed again when there is room, in
//! pieces as a prompt: since the arithmetic has one order, nobody can tell from the answer.

mod ask;
mod plan;
mod sequence;
mod serving;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use tokenizers::Tokenizer;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use self::serving::Serving;
use super::{
    adapter::Adapter,
    arena::{Arena, KvForm, PAGE, page_bytes},
    constraint::STACK,
    matrix::Panels,
    network::{Network, Scratch},
    pages::Pages,
    sampler::Sampling,
    threads::Threads,
};
use crate::background;

pub use ask::{
    Answer, Event, Finish, GenerateError, GenerateRequest, Piece, ReplayRequest, Replayed, ReplayedToken, TokenLogprob,
    Usage,
};

/// How an engine serves.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineOptions {
    /// Threads that compute.
    pub threads: usize,
    /// Positions a sequence may have: at most what the model was trained for.
    pub context: usize,
    /// Memory for keys and values, in bytes; at least one sequence of `context` positions.
    pub kv_bytes: u64,
    /// How they are kept.
    pub kv_form: KvForm,
    /// Rows in a step: at least `running`, or those that decode may leave none for others.
    pub step_rows: usize,
    /// Rows in a step that are not of sequences that decode (of prompts, replays, embeddings, and of answers that lost
    /// their pages), where there are such that do: their next tokens wait for these. Few of them also let few sequences
    /// begin with one step, and so end with one. A 64th of all such rows of running sequences, if that is more, and
    /// what those that decode leave of `step_rows`, if that is less.
    pub prompt_rows: usize,
    /// Sequences that run at once.
    pub running: usize,
    /// Requests that may wait.
    pub waiting: usize,
}

/// Counters of an engine, for metrics.
#[derive(Debug, Default)]
pub struct Counters {
    /// Requests waiting.
    pub waiting: AtomicUsize,
    /// Sequences running.
    pub running: AtomicUsize,
    /// Pages used by sequences.
    pub pages_used: AtomicUsize,
    /// Pages in all.
    pub pages: AtomicUsize,
    /// Prompt tokens computed.
    pub prompt_tokens: AtomicUsize,
    /// Prompt tokens taken from the cache.
    pub cached_tokens: AtomicUsize,
    /// Tokens drawn.
    pub generated_tokens: AtomicUsize,
    /// Sequences that lost their pages to others.
    pub preemptions: AtomicUsize,
    /// Steps.
    pub steps: AtomicUsize,
    /// The moving average of the time for which a request has its place, in milliseconds.
    pub request_ms: AtomicUsize,
}

enum Command {
    Generate(Box<GenerateRequest>, UnboundedSender<Event>),
    Replay(Box<ReplayRequest>, tokio::sync::oneshot::Sender<Result<Replayed, GenerateError>>),
    Embed(Vec<u32>, tokio::sync::oneshot::Sender<Result<Vec<f32>, GenerateError>>),
    AddAdapter(String, Arc<Adapter>),
    RemoveAdapter(String),
}

/// A handle to a running engine; the engine stops when the last one is dropped.
#[derive(Clone, Debug)]
pub struct Engine(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// With the time at which each was given: the step under way may be a long one.
    commands: Option<mpsc::Sender<(Instant, Command)>>,
    thread: Option<std::thread::JoinHandle<()>>,
    counters: Arc<Counters>,
    stop: Arc<AtomicBool>,
    options: EngineOptions,
    vocabulary: usize,
    dimensions: usize,
    most_tokens: usize,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.commands = None;
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            // A step is at most some tenths of a second; its panic has been reported to those it concerns.
            let _ = thread.join();
        }
    }
}

impl Engine {
    /// Starts an engine.
    ///
    /// # Errors
    /// If the system gives no threads.
    pub(crate) fn start(
        network: Network,
        tokenizer: Option<Arc<Tokenizer>>,
        options: EngineOptions,
    ) -> std::io::Result<Self> {
        let c = &network.config;
        let bytes = page_bytes(options.kv_form, c.layers, c.kv_heads, c.head_dim);
        let least = options.context.div_ceil(PAGE) + 1;
        let count = usize::try_from(options.kv_bytes / bytes).unwrap_or(usize::MAX).clamp(least, 1 << 28);
        let threads = Threads::new(options.threads)?;
        let counters = Arc::new(Counters::default());
        counters.pages.store(count, Ordering::Relaxed);
        let stop = Arc::new(AtomicBool::new(false));
        let (commands, received) = mpsc::channel();
        let (vocabulary, dimensions) = (c.vocabulary, c.hidden);
        let arena = Arena::new(options.kv_form, count, c.layers, c.kv_heads, c.head_dim);
        let mut serving = Serving {
            ends: c.eos.clone(),
            network,
            tokenizer,
            threads,
            pages: Pages::new(arena),
            adapters: HashMap::new(),
            waiting: Vec::new(),
            running: Vec::new(),
            scratch: Scratch::default(),
            logits: Panels::default(),
            arrivals: 0,
            options: options.clone(),
            counters: Arc::clone(&counters),
        };
        let stopping = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("engine".to_owned()).stack_size(STACK).spawn(move || {
            background::enter();
            serving.serve(&received, &stopping);
        })?;
        Ok(Self(Arc::new(Shared {
            commands: Some(commands),
            thread: Some(thread),
            counters,
            stop,
            most_tokens: options.context,
            options,
            vocabulary,
            dimensions,
        })))
    }

    /// Counters.
    pub fn counters(&self) -> &Counters {
        &self.0.counters
    }

    /// Whether it has nothing to do.
    pub fn is_idle(&self) -> bool {
        let Counters { waiting, running, .. } = self.counters();
        waiting.load(Ordering::Relaxed) == 0 && running.load(Ordering::Relaxed) == 0
    }

    /// How it serves.
    pub fn options(&self) -> &EngineOptions {
        &self.0.options
    }

    /// Numbers in a text's vector.
    pub fn dimensions(&self) -> usize {
        self.0.dimensions
    }

    fn send(&self, command: Command) -> Result<(), GenerateError> {
        let commands = self.0.commands.as_ref().ok_or(GenerateError::Stopped)?;
        commands.send((Instant::now(), command)).map_err(|_| GenerateError::Stopped)
    }

    /// Checks what can be checked before any work.
    fn check(&self, tokens: &[u32], more: usize, sampling: &Sampling) -> Result<(), GenerateError> {
        if more == 0 {
            return Err(GenerateError::Empty);
        }
        self.check_tokens(tokens, more)?;
        Ok(sampling.check()?)
    }

    /// Whether a text's tokens can be embedded.
    ///
    /// # Errors
    /// [`GenerateError`] on no tokens, ones that the model does not have, or more than its context.
    pub fn check_embed(&self, tokens: &[u32]) -> Result<(), GenerateError> {
        self.check_tokens(tokens, 0)
    }

    fn check_tokens(&self, tokens: &[u32], more: usize) -> Result<(), GenerateError> {
        if tokens.is_empty() {
            return Err(GenerateError::Empty);
        }
        let (vocabulary, context) = (self.0.vocabulary, self.0.most_tokens);
        if let Some(token) = tokens.iter().find(|t| **t as usize >= vocabulary) {
            return Err(GenerateError::Token { token: *token, vocabulary });
        }
        if tokens.len().saturating_add(more) > context {
            return Err(GenerateError::TooLong { prompt: tokens.len(), max_tokens: more, context });
        }
        Ok(())
    }

    /// Takes a place among those who wait, and gives it back where `command` does not arrive.
    fn queue(&self, command: Command) -> Result<(), GenerateError> {
        let counters = &self.0.counters;
        let waiting = counters.waiting.fetch_add(1, Ordering::Relaxed);
        let leave = || counters.waiting.fetch_sub(1, Ordering::Relaxed);
        if waiting >= self.0.options.waiting {
            leave();
            let each = counters.request_ms.load(Ordering::Relaxed) as u64;
            let rounds = (waiting / self.0.options.running.max(1)) as u64 + 1;
            return Err(GenerateError::Busy { waiting, retry_after: Duration::from_millis(each * rounds) });
        }
        self.send(command).inspect_err(|_| {
            leave();
        })
    }

    /// Asks for text.
    ///
    /// # Errors
    /// [`GenerateError`] at once on a request that cannot be served; later ones come on the stream.
    pub fn generate(&self, request: GenerateRequest) -> Result<Answer, GenerateError> {
        self.check(&request.prompt, request.max_tokens, &request.sampling)?;
        let vocabulary = self.0.vocabulary;
        if let Some(token) = request.resume.iter().find(|t| **t as usize >= vocabulary) {
            return Err(GenerateError::Token { token: *token, vocabulary });
        }
        if request.resume.len() >= request.max_tokens {
            let (prompt, max_tokens) = (request.prompt.len() + request.resume.len(), request.max_tokens);
            return Err(GenerateError::TooLong { prompt, max_tokens, context: self.0.most_tokens });
        }
        let (sender, receiver) = unbounded_channel();
        self.queue(Command::Generate(Box::new(request), sender))?;
        Ok(Answer(receiver))
    }

    /// A text's vector: the mean over its tokens of the last hidden states, of length 1.
    ///
    /// # Errors
    /// [`GenerateError`] on tokens that are none or too many, or where too many requests wait.
    pub async fn embed(&self, tokens: Vec<u32>) -> Result<Vec<f32>, GenerateError> {
        self.check_embed(&tokens)?;
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.queue(Command::Embed(tokens, sender))?;
        receiver.await.unwrap_or(Err(GenerateError::Stopped))
    }

    /// Looks at an answer again: what would have been drawn at each of its tokens, by one pass over them all.
    ///
    /// # Errors
    /// [`GenerateError`] on a request that cannot be served.
    pub async fn replay(&self, request: ReplayRequest) -> Result<Replayed, GenerateError> {
        if request.answer == 0 || request.answer >= request.tokens.len() {
            return Err(GenerateError::Empty);
        }
        // The last token is looked at, not computed from.
        let (_, before) = request.tokens.split_last().ok_or(GenerateError::Empty)?;
        self.check(before, 1, &request.sampling)?;
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.send(Command::Replay(Box::new(request), sender))?;
        receiver.await.unwrap_or(Err(GenerateError::Stopped))
    }

    /// Makes an adapter known under a name, in place of one that was.
    ///
    /// # Errors
    /// [`GenerateError::Stopped`].
    pub(crate) fn add_adapter(&self, name: &str, adapter: Adapter) -> Result<(), GenerateError> {
        self.send(Command::AddAdapter(name.to_owned(), Arc::new(adapter)))
    }

    /// Forgets an adapter; requests under way keep it.
    ///
    /// # Errors
    /// [`GenerateError::Stopped`].
    pub fn remove_adapter(&self, name: &str) -> Result<(), GenerateError> {
        self.send(Command::RemoveAdapter(name.to_owned()))
    }
}
