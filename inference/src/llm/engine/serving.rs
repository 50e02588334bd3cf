//! The engine's thread: who waits, who runs, and the steps.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use tokenizers::Tokenizer;

use super::{
    Command, Counters, EngineOptions,
    ask::{Event, Finish, GenerateError, GenerateRequest, Piece, Replayed, ReplayedToken, TokenLogprob, Usage},
    plan::{Due, plan},
    sequence::{Generation, Pooling, Purpose, Replay, Sequence},
};
use crate::llm::{
    adapter::Adapter,
    arena::PAGE,
    lanes::Level,
    matrix::Panels,
    network::{Network, Run, Scratch},
    pages::{self, Pages},
    sampler::{Sampler, likeliest, log_total, top},
    text::{Step, TextStream},
    threads::Threads,
};

pub(super) struct Serving {
    pub(super) network: Network,
    pub(super) ends: Vec<u32>,
    pub(super) tokenizer: Option<Arc<Tokenizer>>,
    pub(super) threads: Threads,
    pub(super) pages: Pages,
    pub(super) adapters: HashMap<String, Arc<Adapter>>,
    /// In the order in which they are served.
    pub(super) waiting: Vec<Sequence>,
    pub(super) running: Vec<Sequence>,
    pub(super) scratch: Scratch,
    pub(super) logits: Panels,
    pub(super) arrivals: u64,
    pub(super) options: EngineOptions,
    pub(super) counters: Arc<Counters>,
}

impl Serving {
    pub(super) fn serve(&mut self, commands: &mpsc::Receiver<(Instant, Command)>, stop: &AtomicBool) {
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

    fn take(&mut self, (arrived, command): (Instant, Command)) {
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
                let GenerateRequest { mut prompt, resume, priority, .. } = *request;
                prompt.extend(resume);
                self.enqueue(purpose, prompt, adapter, priority, arrived);
            }
            Command::Replay(request, result) => {
                let adapter = match self.adapter(request.adapter.as_deref()) {
                    Ok(adapter) => adapter,
                    Err(error) => return drop(result.send(Err(error))),
                };
                let tokens = request.tokens.clone();
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
                self.enqueue(purpose, tokens, adapter, 0, arrived);
            }
            Command::Embed(tokens, result) => {
                let purpose = Purpose::Embed(Pooling { sum: Vec::new(), count: 0, result });
                self.enqueue(purpose, tokens, None, 0, arrived);
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
        adapter: Option<Arc<Adapter>>,
        priority: i32,
        arrived: Instant,
    ) {
        self.arrivals += 1;
        // By what the adapter is: one that was replaced under its name must not find the pages of the one before.
        let root = pages::root(adapter.as_deref().map(|adapter| &adapter.digest));
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
            admitted: None,
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
            let cached = self.pages.count_cached(next.reusable());
            let needed = next.goal().div_ceil(PAGE) - cached;
            // Those who run need a page now and then.
            let spare = self.running.len();
            if !self.running.is_empty() && needed + spare > self.pages.available() {
                return;
            }
            let mut next = self.waiting.remove(0);
            next.admitted.get_or_insert_with(Instant::now);
            reuse(&mut next, &mut self.pages, &self.counters);
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
                Purpose::Generate(g) if g.drawn == 0 => g.cached = 0,
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
        for sequence in &mut self.running {
            // What comes next of it may have been computed since it came.
            reuse(sequence, &mut self.pages, &self.counters);
        }
        self.running.sort_unstable_by_key(Sequence::rank);
        let due: Vec<Due> = self.running.iter().map(Sequence::due).collect();
        let mut batch = Vec::new();
        for (arrival, rows) in plan(&due, &self.options) {
            let Some(sequence) = self.running.iter().find(|s| s.arrival == arrival) else { continue };
            if self.reserve(arrival, sequence.computed + rows) {
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
        let began = Instant::now();
        threads.step(|| network.forward(threads, arena, &runs, scratch, logits));
        drop(runs);
        self.counters.steps.fetch_add(1, Ordering::Relaxed);

        let mut first = 0;
        let mut found = vec![None; self.running.len()];
        for ((at, rows), wanted) in members.into_iter().zip(wanted) {
            found[at] = Some(first..first + wanted);
            first += wanted;
            let sequence = &mut self.running[at];
            if let Purpose::Generate(g) = &mut sequence.purpose {
                g.started.get_or_insert(began);
            }
            let was = sequence.computed;
            sequence.computed += rows;
            sequence.extend_chain();
            for full in was / PAGE..sequence.computed / PAGE {
                self.pages.publish(sequence.pages[full], sequence.chain[full]);
            }
            if let Purpose::Generate(g) = &sequence.purpose
                && g.drawn == 0
            {
                self.counters.prompt_tokens.fetch_add(rows, Ordering::Relaxed);
            }
        }

        let (level, ends, counters) = (self.threads.level(), &self.ends, &self.counters);
        let (scratch, logits, vocabulary) = (&self.scratch, &self.logits, self.network.config.vocabulary);
        let mut done = vec![false; self.running.len()];
        let draws = self.running.iter_mut().zip(found).zip(&mut done);
        let draws = draws.filter_map(|((sequence, wanted), done)| Some((sequence, wanted?, done)));
        // What is known to end with this step is told before what goes on: whoever reads on can wait, and there may be
        // many.
        let (ending, going): (Vec<_>, Vec<_>) = draws.partition(|(sequence, ..)| sequence.left() <= 1);
        for draws in [ending, going] {
            self.threads.share(draws, |(sequence, mut wanted, done)| {
                *done = wanted.any(|row| {
                    let mut values = vec![0.0; vocabulary];
                    logits.read(row, 0, &mut values);
                    draw(sequence, level, ends, (scratch.hidden(row), values), counters)
                });
            });
        }
        let ended: Vec<u64> = self.running.iter().zip(done).filter_map(|(s, done)| done.then_some(s.arrival)).collect();
        for arrival in ended {
            let Some(at) = self.running.iter().position(|s| s.arrival == arrival) else { continue };
            let sequence = self.running.remove(at);
            self.pages.release(&sequence.pages);
            // Since it has a place: how long others wait for one is what is asked of this.
            let ms = sequence.admitted.unwrap_or(sequence.arrived).elapsed().as_millis() as usize;
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

/// Takes the pages that a sequence would fill next, as far as another has filled them; what it has of the first of
/// these itself is let go.
fn reuse(sequence: &mut Sequence, pages: &mut Pages, counters: &Counters) {
    let full = sequence.computed / PAGE;
    let next = sequence.reusable().get(full..).unwrap_or_default();
    if pages.count_cached(next) == 0 {
        return;
    }
    let found = pages.take_cached(next);
    pages.release(&sequence.pages.split_off(full));
    sequence.pages.extend(found);
    let computed = std::mem::replace(&mut sequence.computed, sequence.pages.len() * PAGE);
    if let Purpose::Generate(g) = &mut sequence.purpose
        && g.drawn == 0
    {
        let rows = sequence.computed - computed;
        g.cached += rows;
        counters.cached_tokens.fetch_add(rows, Ordering::Relaxed);
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
    level: Level,
    ends: &[u32],
    (hidden, mut logits): (&[f32], Vec<f32>),
    counters: &Counters,
) -> bool {
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
