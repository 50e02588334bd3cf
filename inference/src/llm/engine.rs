//! One model served to many at once.
//!
//! A thread of its own owns the network, the pages and every sequence, and steps (Yu et al., "Orca", 2022; Kwon et
//! al., "PagedAttention", 2023):
//!
//! ```text
//! commands ──> waiting (by priority, then arrival) ──admit──> running ──> batch ──forward──> logits ──> tokens ──> streams
//!                     ^                                          │
//!                     └── the last to come, when pages run out ──┘
//! ```
//!
//! A batch is one row for each sequence that decodes, and pieces of prompts up to a budget of rows, so that a long
//! prompt delays nobody's next token by more than a step. A sequence that lost its pages to others is computed again
//! when there is room: since the arithmetic has one order, nobody can tell from the answer.

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
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{
    adapter::Adapter,
    arena::{Arena, KvForm, PAGE, page_bytes},
    constraint::Constraint,
    matrix::Panels,
    network::{Network, Run, Scratch},
    pages::{self, Key, Pages},
    sampler::{Sampler, Sampling, SamplingError, likeliest, log_total, top},
    text::{Step, TextStream},
    threads::Threads,
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
    /// Rows in a step.
    pub step_rows: usize,
    /// Sequences that run at once.
    pub running: usize,
    /// Requests that may wait.
    pub waiting: usize,
}

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
pub struct Answer(UnboundedReceiver<Event>);

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
    /// The moving average of a request's time, in milliseconds.
    request_ms: AtomicUsize,
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
    commands: Option<mpsc::Sender<Command>>,
    thread: Option<std::thread::JoinHandle<()>>,
    counters: Arc<Counters>,
    stop: Arc<AtomicBool>,
    options: EngineOptions,
    vocabulary: usize,
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
        let vocabulary = c.vocabulary;
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
        let thread =
            std::thread::Builder::new().name("engine".to_owned()).spawn(move || serving.serve(&received, &stopping))?;
        Ok(Self(Arc::new(Shared {
            commands: Some(commands),
            thread: Some(thread),
            counters,
            stop,
            most_tokens: options.context,
            options,
            vocabulary,
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

    fn send(&self, command: Command) -> Result<(), GenerateError> {
        let commands = self.0.commands.as_ref().ok_or(GenerateError::Stopped)?;
        commands.send(command).map_err(|_| GenerateError::Stopped)
    }

    /// Checks what can be checked before any work.
    fn check(&self, tokens: &[u32], more: usize, sampling: &Sampling) -> Result<(), GenerateError> {
        if more == 0 {
            return Err(GenerateError::Empty);
        }
        self.check_tokens(tokens, more)?;
        Ok(sampling.check()?)
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
        self.check_tokens(&tokens, 0)?;
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

/// What a sequence is computed for.
enum Purpose {
    Generate(Box<Generation>),
    Replay(Box<Replay>),
    Embed(Pooling),
}

struct Generation {
    request: GenerateRequest,
    events: UnboundedSender<Event>,
    sampler: Sampler,
    constraint: Option<Constraint>,
    text: Option<TextStream>,
    drawn: usize,
    activations: blake3::Hasher,
    first: Option<Instant>,
    started: Option<Instant>,
    cached: usize,
}

struct Replay {
    request: ReplayRequest,
    result: tokio::sync::oneshot::Sender<Result<Replayed, GenerateError>>,
    sampler: Sampler,
    constraint: Option<Constraint>,
    found: Vec<ReplayedToken>,
    complete: Option<usize>,
    activations: blake3::Hasher,
}

struct Pooling {
    /// Of the last hidden states.
    sum: Vec<f32>,
    count: usize,
    result: tokio::sync::oneshot::Sender<Result<Vec<f32>, GenerateError>>,
}

impl Pooling {
    fn add(&mut self, hidden: &[f32]) {
        self.sum.resize(hidden.len(), 0.0);
        self.sum.iter_mut().zip(hidden).for_each(|(sum, x)| *sum += x);
        self.count += 1;
    }

    /// Sends the mean's direction: its length says how sure a model is of its next token, not what a text means.
    fn tell(self) {
        let length =
            self.sum.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt().max(f64::from(f32::MIN_POSITIVE));
        let vector = self.sum.iter().map(|x| (f64::from(*x) / length) as f32).collect();
        drop(self.result.send(Ok(vector)));
    }
}

struct Sequence {
    purpose: Purpose,
    /// The prompt and what was drawn.
    tokens: Vec<u32>,
    /// Tokens whose keys and values are in the pages.
    computed: usize,
    pages: Vec<u32>,
    /// Keys of the full pages.
    chain: Vec<Key>,
    root: Key,
    adapter: Option<Arc<Adapter>>,
    priority: i32,
    arrival: u64,
    arrived: Instant,
}

impl Sequence {
    /// Tokens to compute: all but the last of a replay, which is only looked at.
    fn goal(&self) -> usize {
        match self.purpose {
            Purpose::Generate(_) | Purpose::Embed(_) => self.tokens.len(),
            Purpose::Replay(_) => self.tokens.len() - 1,
        }
    }

    /// The first position whose logits are still wanted.
    fn wanted(&self) -> usize {
        match &self.purpose {
            Purpose::Generate(g) => g.request.prompt.len() - 1 + g.drawn,
            // The logits of the token before the answer's first are those it was drawn from.
            Purpose::Replay(r) => r.request.answer - 1 + r.found.len(),
            Purpose::Embed(p) => p.count,
        }
    }

    /// Extends the chain to all full pages of the tokens there are.
    fn extend_chain(&mut self) {
        while (self.chain.len() + 1) * PAGE <= self.tokens.len() {
            let at = self.chain.len();
            let before = self.chain.last().unwrap_or(&self.root);
            self.chain.push(pages::next(before, &self.tokens[at * PAGE..(at + 1) * PAGE]));
        }
    }

    fn is_cancelled(&self) -> bool {
        match &self.purpose {
            Purpose::Generate(g) => g.events.is_closed(),
            Purpose::Replay(r) => r.result.is_closed(),
            Purpose::Embed(p) => p.result.is_closed(),
        }
    }

    fn fail(self, error: GenerateError) {
        match self.purpose {
            Purpose::Generate(g) => drop(g.events.send(Event::Failed(error))),
            Purpose::Replay(r) => drop(r.result.send(Err(error))),
            Purpose::Embed(p) => drop(p.result.send(Err(error))),
        }
    }

    /// Who goes first: by priority, then by arrival.
    fn rank(&self) -> (std::cmp::Reverse<i32>, u64) {
        (std::cmp::Reverse(self.priority), self.arrival)
    }
}

struct Serving {
    network: Network,
    ends: Vec<u32>,
    tokenizer: Option<Arc<Tokenizer>>,
    threads: Threads,
    pages: Pages,
    adapters: HashMap<String, Arc<Adapter>>,
    /// In the order in which they are served.
    waiting: Vec<Sequence>,
    running: Vec<Sequence>,
    scratch: Scratch,
    logits: Panels,
    arrivals: u64,
    options: EngineOptions,
    counters: Arc<Counters>,
}

impl Serving {
    fn serve(&mut self, commands: &mpsc::Receiver<Command>, stop: &AtomicBool) {
        loop {
            if self.waiting.is_empty() && self.running.is_empty() {
                match commands.recv() {
                    Ok(command) => self.take(command),
                    Err(_) => return,
                }
            }
            while let Ok(command) = commands.try_recv() {
                self.take(command);
            }
            if stop.load(Ordering::Relaxed) {
                self.fail_all(&GenerateError::Stopped);
                return;
            }
            self.sweep();
            self.admit();
            let step = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.step()));
            if let Err(panic) = step {
                let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
                let error = GenerateError::Internal(text.unwrap_or("a step panicked").to_owned());
                tracing::error!("{error}");
                self.fail_all(&error);
                // Pages may be in any state: nothing more is computed with them.
                return;
            }
            self.count();
        }
    }

    fn fail_all(&mut self, error: &GenerateError) {
        for sequence in self.waiting.drain(..).chain(self.running.drain(..)) {
            sequence.fail(error.clone());
        }
        self.counters.waiting.store(0, Ordering::Relaxed);
        self.counters.running.store(0, Ordering::Relaxed);
    }

    fn count(&self) {
        self.counters.running.store(self.running.len(), Ordering::Relaxed);
        self.counters.pages_used.store(self.pages.used(), Ordering::Relaxed);
    }

    fn take(&mut self, command: Command) {
        let arrived = Instant::now();
        match command {
            Command::AddAdapter(name, adapter) => drop(self.adapters.insert(name, adapter)),
            Command::RemoveAdapter(name) => drop(self.adapters.remove(&name)),
            Command::Generate(request, events) => {
                let adapter = match self.adapter(request.adapter.as_deref()) {
                    Ok(adapter) => adapter,
                    Err(error) => {
                        self.counters.waiting.fetch_sub(1, Ordering::Relaxed);
                        drop(events.send(Event::Failed(error)));
                        return;
                    }
                };
                let text = self.tokenizer.clone().map(|t| TextStream::new(t, request.stop.clone()));
                let purpose = Purpose::Generate(Box::new(Generation {
                    sampler: Sampler::new(request.sampling.clone()),
                    constraint: request.constraint.clone(),
                    text,
                    drawn: 0,
                    activations: blake3::Hasher::new(),
                    first: None,
                    started: None,
                    cached: 0,
                    events,
                    request: *request.clone(),
                }));
                let GenerateRequest { mut prompt, resume, priority, adapter: name, .. } = *request;
                prompt.extend(resume);
                self.enqueue(purpose, prompt, name.as_deref(), adapter, priority, arrived);
            }
            Command::Replay(request, result) => {
                let adapter = match self.adapter(request.adapter.as_deref()) {
                    Ok(adapter) => adapter,
                    Err(error) => return drop(result.send(Err(error))),
                };
                let (tokens, name) = (request.tokens.clone(), request.adapter.clone());
                let purpose = Purpose::Replay(Box::new(Replay {
                    sampler: Sampler::new(request.sampling.clone()),
                    constraint: request.constraint.clone(),
                    found: Vec::new(),
                    complete: None,
                    activations: blake3::Hasher::new(),
                    result,
                    request: *request,
                }));
                self.counters.waiting.fetch_add(1, Ordering::Relaxed);
                self.enqueue(purpose, tokens, name.as_deref(), adapter, 0, arrived);
            }
            Command::Embed(tokens, result) => {
                let purpose = Purpose::Embed(Pooling { sum: Vec::new(), count: 0, result });
                self.enqueue(purpose, tokens, None, None, 0, arrived);
            }
        }
    }

    fn adapter(&self, name: Option<&str>) -> Result<Option<Arc<Adapter>>, GenerateError> {
        let Some(name) = name else { return Ok(None) };
        self.adapters.get(name).cloned().map(Some).ok_or_else(|| GenerateError::Adapter(name.to_owned()))
    }

    fn enqueue(
        &mut self,
        purpose: Purpose,
        tokens: Vec<u32>,
        name: Option<&str>,
        adapter: Option<Arc<Adapter>>,
        priority: i32,
        arrived: Instant,
    ) {
        self.arrivals += 1;
        // An adapter that was replaced under its name must not find the pages of the one before.
        let root = pages::root(
            name.map(|n| format!("{n} {:p}", adapter.as_ref().map_or(std::ptr::null(), Arc::as_ptr))).as_deref(),
        );
        self.wait(Sequence {
            purpose,
            tokens,
            computed: 0,
            pages: Vec::new(),
            chain: Vec::new(),
            root,
            adapter,
            priority,
            arrival: self.arrivals,
            arrived,
        });
    }

    fn wait(&mut self, sequence: Sequence) {
        let at = self.waiting.partition_point(|s| s.rank() < sequence.rank());
        self.waiting.insert(at, sequence);
    }

    /// Lets go of what nobody waits for any more.
    fn sweep(&mut self) {
        let now = Instant::now();
        let is_late = |s: &Sequence| match &s.purpose {
            Purpose::Generate(g) => g.request.deadline.is_some_and(|d| d <= now),
            Purpose::Replay(_) | Purpose::Embed(_) => false,
        };
        let mut at = 0;
        while at < self.waiting.len() {
            if self.waiting[at].is_cancelled() || is_late(&self.waiting[at]) {
                self.counters.waiting.fetch_sub(1, Ordering::Relaxed);
                self.waiting.remove(at).fail(GenerateError::Deadline);
            } else {
                at += 1;
            }
        }
        let mut at = 0;
        while at < self.running.len() {
            if self.running[at].is_cancelled() || is_late(&self.running[at]) {
                let sequence = self.running.remove(at);
                self.pages.release(&sequence.pages);
                sequence.fail(GenerateError::Deadline);
            } else {
                at += 1;
            }
        }
    }

    /// Moves those that wait to those that run, while there are places and pages for their prompts.
    fn admit(&mut self) {
        while self.running.len() < self.options.running && !self.waiting.is_empty() {
            let next = &mut self.waiting[0];
            next.extend_chain();
            // From the first position whose logits are wanted on, all are computed.
            let reusable = next.wanted() / PAGE;
            let chain = &next.chain[..reusable.min(next.chain.len())];
            let cached = self.pages.count_cached(chain);
            let needed = next.goal().div_ceil(PAGE) - cached;
            // Those who run need a page now and then.
            let spare = self.running.len();
            if !self.running.is_empty() && needed + spare > self.pages.available() {
                return;
            }
            let mut next = self.waiting.remove(0);
            next.pages = self.pages.take_cached(&next.chain[..cached]);
            next.computed = next.pages.len() * PAGE;
            if let Purpose::Generate(g) = &mut next.purpose {
                g.started.get_or_insert_with(Instant::now);
                if g.drawn == 0 {
                    g.cached = next.computed;
                    self.counters.cached_tokens.fetch_add(next.computed, Ordering::Relaxed);
                }
            }
            self.counters.waiting.fetch_sub(1, Ordering::Relaxed);
            self.running.push(next);
        }
    }

    /// Takes pages for all positions below `end` of a running sequence, from others if need be; whether it has them.
    fn reserve(&mut self, arrival: u64, end: usize) -> bool {
        loop {
            let Some(at) = self.running.iter().position(|s| s.arrival == arrival) else { return false };
            if self.running[at].pages.len() * PAGE >= end {
                return true;
            }
            if let Some(page) = self.pages.take() {
                self.running[at].pages.push(page);
                continue;
            }
            // The last to be served gives way; it may be this one.
            let Some(victim) = (0..self.running.len()).max_by_key(|i| self.running[*i].rank()) else { return false };
            let mut victim = self.running.remove(victim);
            self.pages.release(&victim.pages);
            victim.pages.clear();
            victim.computed = 0;
            match &mut victim.purpose {
                Purpose::Generate(_) => {}
                Purpose::Replay(r) => {
                    r.found.clear();
                    r.complete = None;
                    r.activations.reset();
                    r.sampler = Sampler::new(r.request.sampling.clone());
                    r.constraint.clone_from(&r.request.constraint);
                }
                Purpose::Embed(p) => {
                    p.sum.clear();
                    p.count = 0;
                }
            }
            self.counters.preemptions.fetch_add(1, Ordering::Relaxed);
            self.counters.waiting.fetch_add(1, Ordering::Relaxed);
            self.wait(victim);
        }
    }

    /// Computes one batch and draws from it.
    fn step(&mut self) {
        // Those that decode first, one row each; then prompts by rank, while there is room.
        let mut order: Vec<(bool, (std::cmp::Reverse<i32>, u64), u64)> =
            self.running.iter().map(|s| (s.goal() - s.computed > 1, s.rank(), s.arrival)).collect();
        order.sort_unstable();
        let mut room = self.options.step_rows.max(1);
        let mut batch: Vec<(u64, usize)> = Vec::new();
        for (_, _, arrival) in order {
            if room == 0 {
                break;
            }
            let Some(sequence) = self.running.iter().find(|s| s.arrival == arrival) else { continue };
            let rows = (sequence.goal() - sequence.computed).min(room);
            let end = sequence.computed + rows;
            if self.reserve(arrival, end) {
                room -= rows;
                batch.push((arrival, rows));
            }
        }
        // Some may have given way to later ones of a higher rank.
        batch.retain(|(arrival, _)| self.running.iter().any(|s| s.arrival == *arrival));
        if batch.is_empty() {
            return;
        }

        let members: Vec<(usize, usize)> = batch
            .iter()
            .filter_map(|(arrival, rows)| Some((self.running.iter().position(|s| s.arrival == *arrival)?, *rows)))
            .collect();
        let runs: Vec<Run<'_>> = members
            .iter()
            .map(|(at, rows)| {
                let s = &self.running[*at];
                let end = s.computed + rows;
                let wanted = s.wanted().saturating_sub(s.computed).min(*rows)..*rows;
                Run {
                    tokens: &s.tokens[s.computed..end],
                    position: s.computed,
                    pages: &s.pages,
                    wanted,
                    adapter: s.adapter.as_ref(),
                }
            })
            .collect();
        let wanted: Vec<usize> = runs.iter().map(|r| r.wanted.len()).collect();
        let (network, threads, arena) = (&self.network, &self.threads, &mut self.pages.arena);
        let (scratch, logits) = (&mut self.scratch, &mut self.logits);
        threads.step(|| network.forward(threads, arena, &runs, scratch, logits));
        drop(runs);
        self.counters.steps.fetch_add(1, Ordering::Relaxed);

        let mut row = 0;
        let mut ended = Vec::new();
        for ((at, rows), wanted) in members.into_iter().zip(wanted) {
            let sequence = &mut self.running[at];
            let was = sequence.computed;
            sequence.computed += rows;
            sequence.extend_chain();
            for full in was / PAGE..sequence.computed / PAGE {
                self.pages.publish(sequence.pages[full], sequence.chain[full]);
            }
            let mut done = false;
            for row in row..row + wanted {
                if done {
                    break;
                }
                let mut logits = vec![0.0; self.network.config.vocabulary];
                self.logits.read(row, 0, &mut logits);
                let hidden = self.scratch.hidden(row);
                done = draw(sequence, &self.threads, &self.ends, (hidden, logits), &self.counters);
            }
            row += wanted;
            if let Purpose::Generate(g) = &sequence.purpose
                && g.drawn == 0
            {
                self.counters.prompt_tokens.fetch_add(rows, Ordering::Relaxed);
            }
            if done {
                ended.push(sequence.arrival);
            }
        }
        for arrival in ended {
            let Some(at) = self.running.iter().position(|s| s.arrival == arrival) else { continue };
            let sequence = self.running.remove(at);
            self.pages.release(&sequence.pages);
            // From its first step: how long it waited is what is asked of this.
            let since = match &sequence.purpose {
                Purpose::Generate(g) => g.started.unwrap_or(sequence.arrived),
                Purpose::Replay(_) | Purpose::Embed(_) => sequence.arrived,
            };
            let ms = since.elapsed().as_millis() as usize;
            let average = self.counters.request_ms.load(Ordering::Relaxed);
            self.counters.request_ms.store(if average == 0 { ms } else { (7 * average + ms) / 8 }, Ordering::Relaxed);
            match sequence.purpose {
                Purpose::Generate(_) => {}
                Purpose::Replay(r) => {
                    let activations = *r.activations.finalize().as_bytes();
                    drop(r.result.send(Ok(Replayed { tokens: r.found, activations, complete: r.complete })));
                }
                Purpose::Embed(pooling) => pooling.tell(),
            }
        }
    }
}

/// Adds one position's last hidden state to the hash of an answer's.
fn absorb(activations: &mut blake3::Hasher, hidden: &[f32]) {
    let bytes: Vec<u8> = hidden.iter().flat_map(|x| x.to_le_bytes()).collect();
    activations.update(&bytes);
}

/// Uses one position's last hidden state and logits; whether the sequence is done.
fn draw(
    sequence: &mut Sequence,
    threads: &Threads,
    ends: &[u32],
    (hidden, mut logits): (&[f32], Vec<f32>),
    counters: &Counters,
) -> bool {
    let level = threads.level();
    match &mut sequence.purpose {
        Purpose::Embed(pooling) => {
            pooling.add(hidden);
            pooling.count == sequence.tokens.len()
        }
        Purpose::Replay(r) => {
            absorb(&mut r.activations, hidden);
            let at = r.request.answer + r.found.len();
            let claimed = r.request.tokens[at];
            let logprob = logits.get(claimed as usize).map_or(f32::NEG_INFINITY, |l| l - log_total(level, &logits));
            // An answer that has left its grammar is not what would have been drawn, whatever its tokens.
            let lawful = r.constraint.as_mut().is_none_or(|c| c.mask(&mut logits).is_ok());
            r.sampler.adjust(&mut logits);
            let drawn = r.sampler.would_draw(level, &logits);
            let logit = if lawful { logits.get(claimed as usize).copied() } else { None };
            let gap = logit.map_or(f32::INFINITY, |l| logits[likeliest(&logits) as usize] - l);
            r.sampler.take(claimed);
            if let Some(constraint) = &mut r.constraint
                && constraint.take(claimed)
            {
                r.complete.get_or_insert(r.found.len());
            }
            r.found.push(ReplayedToken { drawn, gap, logprob });
            at + 1 == r.request.tokens.len()
        }
        Purpose::Generate(g) => {
            absorb(&mut g.activations, hidden);
            let raw = g.request.logprobs.map(|n| {
                let total = log_total(level, &logits);
                (logits.clone(), total, top(&logits, n).into_iter().map(|(t, l)| (t, l - total)).collect::<Vec<_>>())
            });
            if let Some(constraint) = &mut g.constraint
                && let Err(error) = constraint.mask(&mut logits)
            {
                drop(g.events.send(Event::Failed(GenerateError::Constraint(error))));
                return true;
            }
            g.sampler.adjust(&mut logits);
            let token = g.sampler.draw(level, &logits);
            let at = g.drawn;
            match g.request.resume.get(at) {
                Some(claimed) if *claimed != token => {
                    let error = GenerateError::Resume { at, claimed: *claimed, drawn: token };
                    drop(g.events.send(Event::Failed(error)));
                    return true;
                }
                Some(_) => {}
                None => {
                    counters.generated_tokens.fetch_add(1, Ordering::Relaxed);
                    sequence.tokens.push(token);
                }
            }
            g.drawn += 1;
            g.first.get_or_insert_with(Instant::now);

            let met = g.constraint.as_mut().is_some_and(|c| c.take(token));
            let is_end = !g.request.ignore_end && ends.contains(&token);
            let mut finish = None;
            let mut text = String::new();
            if is_end {
                finish = Some(Finish::End);
            } else if let Some(stream) = &mut g.text {
                match stream.push(token) {
                    Step::Text(t) => text = t,
                    Step::Stop(t, stop) => {
                        text = t;
                        finish = Some(Finish::Stop(stop));
                    }
                }
            }
            if met {
                finish.get_or_insert(Finish::End);
            }
            if g.drawn >= g.request.max_tokens {
                finish.get_or_insert(Finish::Length);
            }
            let logprob = raw.map(|(raw, total, top)| TokenLogprob { logprob: raw[token as usize] - total, top });
            if !is_end {
                drop(g.events.send(Event::Piece(Piece { token, text, logprob })));
            }
            let Some(finish) = finish else { return false };
            let held = match (&finish, &mut g.text) {
                // What comes after a stop string is not wanted.
                (Finish::Stop(_), _) | (_, None) => String::new(),
                (_, Some(stream)) => stream.finish(),
            };
            let since = |at: Option<Instant>| at.map_or(Duration::ZERO, |at| at - sequence.arrived);
            let usage = Usage {
                prompt: g.request.prompt.len(),
                cached: g.cached,
                completion: g.drawn,
                queued: since(g.started),
                first: since(g.first),
                total: sequence.arrived.elapsed(),
            };
            let activations = *g.activations.finalize().as_bytes();
            let end = is_end.then_some(token);
            drop(g.events.send(Event::Done { text: held, finish, usage, end, activations }));
            true
        }
    }
}
