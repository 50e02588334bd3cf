//! Counts and times of the API, under the names that vLLM gives to its own: boards made for it show these too.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64},
    },
    task::{Context, Poll},
    time::Instant,
};

use assay_inference::llm::{Finish, Usage};
use assay_ledger::records::Tariff;
use futures::{
    Stream,
    stream::{BoxStream, StreamExt as _},
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use super::{
    backend::{Answering, Chunk},
    keys::{Caller, Reservation},
    usage as used,
};
use crate::texts::Model;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    finished_reason: &'static str,
    #[prometheus(flatten)]
    model: Model,
}

type Times = Family<Model, Histogram, fn() -> Histogram>;

/// Counts and times of answers. Clones share them.
#[derive(Clone, Debug)]
pub struct ApiMetrics {
    waiting: Family<Model, Gauge<i64, AtomicI64>>,
    running: Family<Model, Gauge<i64, AtomicI64>>,
    prompt: Family<Model, Counter<u64, AtomicU64>>,
    cached: Family<Model, Counter<u64, AtomicU64>>,
    generated: Family<Model, Counter<u64, AtomicU64>>,
    ended: Family<Ended, Counter<u64, AtomicU64>>,
    first: Times,
    each: Times,
    whole: Times,
    queued: Times,
}

fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 18))
}

impl Default for ApiMetrics {
    fn default() -> Self {
        let times = || Times::new_with_constructor(seconds as fn() -> Histogram);
        Self {
            waiting: Family::default(),
            running: Family::default(),
            prompt: Family::default(),
            cached: Family::default(),
            generated: Family::default(),
            ended: Family::default(),
            first: times(),
            each: times(),
            whole: times(),
            queued: times(),
        }
    }
}

impl ApiMetrics {
    /// Adds them to a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("vllm:num_requests_waiting", "Answers that wait for their first token", self.waiting.clone());
        registry.register("vllm:num_requests_running", "Answers of which tokens come", self.running.clone());
        registry.register("vllm:prompt_tokens", "Tokens of prompts", self.prompt.clone());
        registry.register(
            "vllm:prefix_cache_queries",
            "Tokens of prompts that were looked for in the cache",
            self.prompt.clone(),
        );
        registry.register(
            "vllm:prefix_cache_hits",
            "Tokens of prompts that were found in the cache",
            self.cached.clone(),
        );
        registry.register("vllm:generation_tokens", "Tokens of answers", self.generated.clone());
        registry.register("vllm:request_success", "Answers that were finished, by why they ended", self.ended.clone());
        registry.register(
            "vllm:time_to_first_token_seconds",
            "From the request to the first token",
            self.first.clone(),
        );
        registry.register("vllm:time_per_output_token_seconds", "Between two tokens", self.each.clone());
        registry.register("vllm:e2e_request_latency_seconds", "From the request to the end", self.whole.clone());
        registry.register("vllm:request_queue_time_seconds", "From the request to its first step", self.queued.clone());
    }

    /// An answer's chunks, counted as they pass, and its receipt's name.
    pub(super) fn watch(
        &self,
        model: &str,
        caller: &Caller,
        reservation: Reservation,
        prompt: usize,
        answering: Answering,
    ) -> (BoxStream<'static, Chunk>, Option<String>) {
        let Answering { chunks, receipt, tariff } = answering;
        let model = Model::named(model);
        self.waiting.get_or_create(&model).inc();
        let now = Instant::now();
        let (metrics, caller) = (self.clone(), caller.clone());
        let watched = Watched {
            chunks,
            metrics,
            caller,
            _reservation: reservation,
            model,
            tariff,
            began: now,
            last: now,
            prompt,
            tokens: 0,
            booked: false,
        };
        (watched.boxed(), receipt)
    }
}

/// An answer under way: it waits until its first token, and runs until it is dropped, however it ends.
struct Watched {
    chunks: BoxStream<'static, Chunk>,
    metrics: ApiMetrics,
    caller: Caller,
    /// Let go after the answer is booked.
    _reservation: Reservation,
    model: Model,
    tariff: Tariff,
    began: Instant,
    last: Instant,
    /// Tokens of the prompt, and of the answer so far.
    prompt: usize,
    tokens: u64,
    booked: bool,
}

impl Drop for Watched {
    fn drop(&mut self) {
        // Whoever hangs up has used what came until then.
        if !self.booked && self.tokens > 0 {
            let (prompt, completion) = (self.prompt as u64, self.tokens);
            let cost = self.tariff.of(prompt, completion);
            self.caller.used(&used::Usage { answers: 1, prompt, completion, cost });
        }
        let stands = if self.tokens == 0 { &self.metrics.waiting } else { &self.metrics.running };
        stands.get_or_create(&self.model).dec();
    }
}

impl Stream for Watched {
    type Item = Chunk;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Chunk>> {
        let next = self.chunks.poll_next_unpin(cx);
        if let Poll::Ready(Some(chunk)) = &next {
            self.note(chunk);
        }
        next
    }
}

impl Watched {
    fn note(&mut self, chunk: &Chunk) {
        let m = &self.metrics;
        match chunk {
            Chunk::Piece(_) => {
                let now = Instant::now();
                let since = (now - self.last).as_secs_f64();
                let times = if self.tokens == 0 { &m.first } else { &m.each };
                times.get_or_create(&self.model).observe(since);
                if self.tokens == 0 {
                    m.waiting.get_or_create(&self.model).dec();
                    m.running.get_or_create(&self.model).inc();
                }
                (self.last, self.tokens) = (now, self.tokens + 1);
            }
            Chunk::Done { finish, usage, cost, .. } => {
                let Usage { prompt, cached, completion, queued, .. } = usage;
                let (prompt_tokens, completion_tokens) = (*prompt as u64, *completion as u64);
                self.caller.used(&used::Usage {
                    answers: 1,
                    prompt: prompt_tokens,
                    completion: completion_tokens,
                    cost: *cost,
                });
                self.booked = true;
                m.prompt.get_or_create(&self.model).inc_by(*prompt as u64);
                m.cached.get_or_create(&self.model).inc_by(*cached as u64);
                m.generated.get_or_create(&self.model).inc_by(*completion as u64);
                m.queued.get_or_create(&self.model).observe(queued.as_secs_f64());
                m.whole.get_or_create(&self.model).observe(self.began.elapsed().as_secs_f64());
                self.end(match finish {
                    Finish::End | Finish::Stop(_) => "stop",
                    Finish::Length => "length",
                });
            }
            Chunk::Failed(_) => self.end("abort"),
        }
    }

    fn end(&self, finished_reason: &'static str) {
        let ended = Ended { model: self.model.clone(), finished_reason };
        self.metrics.ended.get_or_create(&ended).inc();
    }
}

/// What serving a request takes: who answers, and what is counted.
#[derive(Clone)]
pub(super) struct Serving {
    pub(super) backend: Arc<dyn super::backend::Backend>,
    pub(super) metrics: ApiMetrics,
    pub(super) caller: Caller,
    /// When the request came.
    pub(super) arrived: Instant,
    /// The size of its body.
    pub(super) bytes: usize,
}
