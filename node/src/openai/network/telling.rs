//! One answer, from as many miners as it takes.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use assay_inference::llm::{Finish, Piece, Step, TextStream, TokenLogprob, Usage};
use assay_ledger::{
    StoreError, query,
    records::{MinerRecord, ModelRecord, Tariff},
};
use assay_primitives::{
    AccountId, Amount, Signed,
    task::{Input, Request, Response},
    text::{Ending, TextInput},
};
use futures::future::select_all;
use rand::{RngCore as _, rngs::OsRng};
use tokio::sync::mpsc;

use super::{Network, locked, measures::Place, pace::Wait};
use crate::{
    net::{Frame, Logprob, RefusalCode, TextAsk},
    openai::{
        backend::{Chunk, TextModel},
        error::ApiError,
    },
};

/// The least time after which a silent miner's place is offered to another: before its first word, and after it.
const HEDGE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(1));
/// After this a silent miner is given up.
const SILENCE: Duration = Duration::from_secs(20);
/// Miners that are listened to at once for one answer, at most.
const MOST_BESIDE: usize = 3;
/// Miners that may fail one answer, at most.
const MOST_FAILURES: usize = 8;
/// How long an answer waits for a miner that is not busy.
const BUSY: Duration = Duration::from_secs(30);
/// How long it waits for miners of which all are to be paid first.
const UNPAID: Duration = Duration::from_secs(8);
/// The first pause between asking busy miners; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_millis(800);
/// Pause before those are asked again that could not be reached: one that has just been started is there in a moment.
const AGAIN: Duration = Duration::from_millis(500);
/// Miners that must deny a beginning before it is called false.
const DENIALS: usize = 2;

/// An answer to be told.
pub(super) struct Telling {
    pub(super) network: Network,
    pub(super) record: ModelRecord,
    pub(super) model: TextModel,
    pub(super) text: TextInput,
    pub(super) logprobs: Option<u8>,
    /// The name of its receipt.
    pub(super) receipt: String,
    /// For how long its tokens may wait for more.
    pub(super) wait: Wait,
    /// When its client asked for it.
    pub(super) arrived: Instant,
    pub(super) pieces: mpsc::Sender<Chunk>,
}

/// One miner at work on it.
struct Attempt {
    network: Network,
    miner: MinerRecord,
    tariff: Tariff,
    request: Signed<Request>,
    frames: crate::net::Telling,
    /// Tokens of the answer before its next one.
    at: usize,
    /// Tokens of the answer that it is owed for if nobody waits for the rest.
    due: usize,
    heard: Option<Instant>,
    asked: Instant,
    /// It has ended by itself, or is found out to lie.
    over: bool,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        locked(&self.network.0.book).ended(&self.miner.operator);
        if self.over {
            return;
        }
        if let Err(error) = self.network.abandon(&self.request.body, self.due) {
            tracing::error!(%error, miner = %self.miner.operator, "what a miner is owed cannot be looked up");
        }
    }
}

/// What has come of an answer.
struct Told {
    telling: Telling,
    tokens: Vec<u32>,
    stream: TextStream,
    /// Text goes no further: a string that ends it has come.
    stopped: bool,
    /// Those that are not to be asked.
    tried: BTreeSet<AccountId>,
    /// Whether those that were away were let be asked again already.
    forgiven: bool,
    queued: Option<Queued>,
    /// Why each was listened to no longer, the last of each.
    reasons: BTreeMap<AccountId, (RefusalCode, String)>,
    failures: usize,
    began: Instant,
    first: Option<Duration>,
}

/// A wait for a miner that is not busy.
struct Queued {
    since: Instant,
    pause: Duration,
    _place: Place,
}

/// Why an answer does not go on with the miners that were listened to.
enum Trouble {
    /// Nobody waits for the answer.
    ClientGone,
    /// This one refused, failed or lied.
    Miner(AccountId, RefusalCode, String),
    /// All are given up, for reasons that are noted.
    Silence,
}

impl Telling {
    /// Finds a miner that begins, and goes on by itself from there.
    ///
    /// # Errors
    /// [`ApiError`] if none begins. What the first one asks for its tokens is given.
    pub(super) async fn start(self) -> Result<Tariff, ApiError> {
        let stream = self.model.codec.stream(self.text.stop.clone());
        let mut told = Told {
            telling: self,
            tokens: Vec::new(),
            stream,
            stopped: false,
            tried: BTreeSet::new(),
            forgiven: false,
            queued: None,
            reasons: BTreeMap::new(),
            failures: 0,
            began: Instant::now(),
            first: None,
        };
        let (attempt, frame) = told.begin().await?;
        let tariff = attempt.tariff;
        tokio::spawn(async move { told.run(attempt, frame).await });
        Ok(tariff)
    }
}

impl Attempt {
    /// The next frame; an error after too long a silence.
    async fn next(&mut self) -> Result<Frame, (RefusalCode, String)> {
        let since = self.heard.unwrap_or(self.asked);
        let unavailable = |reason: String| (RefusalCode::Unavailable, reason);
        let frame = match tokio::time::timeout_at((since + SILENCE).into(), self.frames.recv()).await {
            Ok(Some(Ok(frame))) => Ok(frame),
            Ok(Some(Err(error))) => Err(unavailable(error.to_string())),
            Ok(None) => Err(unavailable("it ended in the middle".into())),
            Err(_) => Err(unavailable(format!("it was silent for {} s", SILENCE.as_secs()))),
        };
        // Who breaks off by itself is owed nothing; but if that was the network's fault, it may say another thing.
        if frame.is_err() {
            self.due = 0;
        }
        self.over = matches!(frame, Ok(Frame::Refused { .. } | Frame::Unpaid { .. } | Frame::Done { .. }));
        let frame = match frame {
            Ok(Frame::Refused { code, reason }) => Err((code, reason)),
            Ok(Frame::Unpaid { billed, reason }) => {
                if let Err(error) = self.network.claim(&self.miner.operator, billed) {
                    tracing::error!(%error, miner = %self.miner.operator, "what a miner was paid cannot be looked up");
                }
                Err((RefusalCode::PaymentDue, reason))
            }
            other => other,
        }?;
        let mut book = locked(&self.network.0.book);
        match self.heard {
            None => book.first(&self.miner.operator, since.elapsed()),
            Some(_) => book.gap(&self.miner.operator, since.elapsed()),
        }
        drop(book);
        self.heard = Some(Instant::now());
        Ok(frame)
    }

    fn patience(&self) -> Duration {
        let (first, later) = HEDGE;
        let least = if self.heard.is_some() { later } else { first };
        locked(&self.network.0.book).patience(&self.miner.operator, self.heard.is_some(), least)
    }
}

impl Told {
    /// Asks the next miner, for what is left of the answer, as soon as there is one; `None` when all were tried.
    async fn ask(&mut self) -> Result<Option<Attempt>, ApiError> {
        loop {
            if let Some(attempt) = self.ask_now().await? {
                return Ok(Some(attempt));
            }
            let Some(pause) = self.again() else { return Ok(None) };
            tokio::time::sleep(pause).await;
        }
    }

    /// Asks the next miner, if there is one that can be asked now.
    async fn ask_now(&mut self) -> Result<Option<Attempt>, ApiError> {
        loop {
            let Telling { network, record, text, logprobs, wait, .. } = &self.telling;
            let inner = &network.0;
            if self.failures >= MOST_FAILURES {
                return Ok(None);
            }
            let view = inner.chain.snapshot().map_err(ApiError::internal)?;
            let epoch = query::chain(&*view).map_err(ApiError::internal)?.epoch;
            let mut miners = query::miners(&*view, record.subnet).map_err(ApiError::internal)?;
            miners.retain(|m| m.retired.is_none() && !m.endpoint.peer_id.is_empty());
            let priced = |miner: MinerRecord| {
                let tariff = query::asking(&*view, &miner.operator)?.at(epoch);
                let price = tariff.of(text.prompt.len() as u64, u64::from(text.max_tokens));
                Ok((miner, price))
            };
            let priced: Result<Vec<_>, StoreError> = miners.into_iter().map(priced).collect();
            let priced = priced.map_err(ApiError::internal)?;
            let chosen = locked(&inner.book).choose(&priced, &self.tried, inner.config.second).cloned();
            let Some(miner) = chosen else { return Ok(None) };
            let tariff = query::asking(&*view, &miner.operator).map_err(ApiError::internal)?.at(epoch);
            drop(view);
            self.tried.insert(miner.operator);
            let mut nonce = [0; 16];
            OsRng.fill_bytes(&mut nonce);
            let body = Request {
                requester: inner.config.key.account(),
                miner: miner.operator,
                subnet: record.subnet,
                model: record.id,
                epoch,
                nonce,
                input: Input::Text(text.clone()),
            };
            let request = Signed::new(body, &inner.chain.genesis(), &inner.config.key);
            // The last token is left to it: an answer is never resumed at its very end.
            let at = self.tokens.len().min(text.max_tokens.saturating_sub(1) as usize);
            let (resume, logprobs, together_ms) = (self.tokens[..at].to_vec(), *logprobs, wait.ms());
            let ask = TextAsk { request: request.clone(), resume, logprobs, together_ms };
            locked(&inner.book).asked(&miner.operator);
            tracing::debug!(miner = %miner.operator, tokens = at, "a miner is asked for a text");
            match inner.asker.tell(&miner.endpoint, ask).await {
                Ok(frames) => {
                    let (network, asked) = (network.clone(), Instant::now());
                    let (due, heard, over) = (0, None, false);
                    return Ok(Some(Attempt { network, miner, tariff, request, frames, at, due, heard, asked, over }));
                }
                Err(error) => {
                    locked(&inner.book).ended(&miner.operator);
                    self.fault(miner.operator, RefusalCode::Unavailable, error.to_string());
                }
            }
        }
    }

    /// Lets those be asked again, after a pause, that may say another thing by then: those that could not be reached or
    /// were not ready, once; those that are busy, while this answer has a place in the queue. `None` if there are none.
    fn again(&mut self) -> Option<Duration> {
        if self.failures >= MOST_FAILURES {
            return None;
        }
        let forgiven = std::mem::replace(&mut self.forgiven, true);
        let away = |code: RefusalCode| !forgiven && matches!(code, RefusalCode::Unavailable | RefusalCode::Epoch);
        let busy =
            |code: RefusalCode| matches!(code, RefusalCode::Busy | RefusalCode::RateLimited | RefusalCode::PaymentDue);
        let (mut pause, mut found) = (AGAIN, false);
        if self.reasons.values().any(|(code, _)| busy(*code)) {
            let queued = match self.queued.take() {
                None => Queued {
                    since: Instant::now(),
                    pause: FIRST_PAUSE,
                    _place: self.telling.network.0.measures.queue()?,
                },
                Some(queued) => Queued { pause: LONGEST_PAUSE.min(queued.pause * 2), ..queued },
            };
            let unpaid = self.reasons.values().all(|(code, _)| *code == RefusalCode::PaymentDue);
            if queued.since.elapsed() > if unpaid { UNPAID } else { BUSY } {
                return None;
            }
            pause = queued.pause;
            self.queued = Some(queued);
        }
        for (miner, (code, _)) in &self.reasons {
            if away(*code) || busy(*code) {
                found |= self.tried.remove(miner);
            }
        }
        found.then_some(pause)
    }

    fn fault(&mut self, miner: AccountId, code: RefusalCode, reason: String) {
        let inner = &self.telling.network.0;
        inner.metrics.gateway_rejections.inc();
        // A busy miner is no bad one.
        if !code.is_passing() {
            locked(&inner.book).failed(&miner);
            self.failures += 1;
        }
        tracing::info!(%miner, ?code, reason, tokens = self.tokens.len(), "a miner does not finish a text; trying the next");
        self.reasons.insert(miner, (code, reason));
    }

    /// Why there is no answer, in the API's words.
    fn refusal(&self) -> ApiError {
        if let Some((_, reason)) = self.reasons.values().find(|(code, _)| *code == RefusalCode::Malformed) {
            return ApiError::malformed(reason.clone());
        }
        if self.reasons.is_empty() {
            return ApiError::unavailable(format!("no miner of subnet {} can be asked", self.telling.record.subnet));
        }
        if self.reasons.values().all(|(code, _)| *code == RefusalCode::PaymentDue) {
            return ApiError::unavailable("this gateway has not paid its miners, who wait for their money");
        }
        if self.reasons.values().all(|(code, _)| code.is_passing()) {
            return ApiError::busy("every miner is busy; try again in a moment", Duration::from_secs(1));
        }
        let list = self.reasons.iter().map(|(miner, (_, reason))| format!("{}: {reason}", miner.short()));
        let list: Vec<String> = list.collect();
        ApiError::unavailable(format!("none of {} miners answered: {}", list.len(), list.join("; ")))
    }

    /// The first miner that says anything, and what it says.
    async fn begin(&mut self) -> Result<(Attempt, Frame), ApiError> {
        while let Some(mut attempt) = self.ask().await? {
            match attempt.next().await {
                Ok(frame) => return Ok((attempt, frame)),
                Err((code, reason)) => self.fault(attempt.miner.operator, code, reason),
            }
        }
        Err(self.refusal())
    }

    async fn run(mut self, attempt: Attempt, frame: Frame) {
        let (mut attempts, mut frame) = (vec![attempt], Some(frame));
        loop {
            match self.follow(&mut attempts, frame.take()).await {
                Ok(()) | Err(Trouble::ClientGone) => return,
                Err(Trouble::Miner(miner, code, reason)) => self.fault(miner, code, reason),
                Err(Trouble::Silence) => {}
            }
            attempts.clear();
            let denials = self.reasons.values().filter(|(code, _)| *code == RefusalCode::OtherBeginning).count();
            let next = match self.ask().await {
                _ if denials >= DENIALS => {
                    let words = "what came so far is not what the model gives: its miner lied; throw it away";
                    Err(ApiError::unavailable(words))
                }
                Ok(Some(next)) => Ok(next),
                Ok(None) => Err(self.refusal()),
                Err(error) => Err(error),
            };
            match next {
                Ok(next) => attempts.push(next),
                Err(error) => return drop(self.telling.pieces.send(Chunk::Failed(error)).await),
            }
        }
    }

    /// Listens to miners, of which one has begun, to the end of the answer.
    async fn follow(&mut self, attempts: &mut Vec<Attempt>, first: Option<Frame>) -> Result<(), Trouble> {
        let mut frame = first;
        loop {
            let heard = match frame.take() {
                Some(frame) => frame,
                None => self.listen(attempts).await?,
            };
            let [attempt] = &mut attempts[..] else { return Err(Trouble::Silence) };
            match heard {
                Frame::Tokens(tokens) => {
                    for (token, logprob) in tokens {
                        self.take(attempt, token, logprob).await?;
                    }
                }
                Frame::Done { response, cached, engine_us } => {
                    return self.finish(attempt, *response, cached as usize, Duration::from_micros(engine_us)).await;
                }
                // None that is taken for a frame to go on with.
                Frame::Refused { reason, .. } | Frame::Unpaid { reason, .. } => {
                    return Err(Trouble::Miner(attempt.miner.operator, RefusalCode::Unavailable, reason));
                }
            }
        }
    }

    /// What is said next by the first that speaks, which alone is kept; while all are silent for long, more are asked
    /// beside them.
    async fn listen(&mut self, attempts: &mut Vec<Attempt>) -> Result<Frame, Trouble> {
        loop {
            let patience = attempts.last().ok_or(Trouble::Silence)?.patience();
            let more = attempts.len() < MOST_BESIDE;
            let heard = {
                let words = attempts.iter_mut().map(|attempt| Box::pin(attempt.next()));
                tokio::select! {
                    (said, at, _) = select_all(words) => Some((said, at)),
                    () = self.telling.pieces.closed() => return Err(Trouble::ClientGone),
                    () = tokio::time::sleep(patience), if more => None,
                }
            };
            let Some((said, at)) = heard else {
                if let Ok(Some(other)) = self.ask_now().await {
                    tracing::info!(beside = %other.miner.operator, "a miner is silent; another is asked beside it");
                    attempts.push(other);
                }
                continue;
            };
            let spoke = attempts.swap_remove(at);
            match said {
                Ok(frame) => {
                    for mut silent in attempts.drain(..) {
                        silent.due = 0;
                        let words = "it was silent while another spoke";
                        self.fault(silent.miner.operator, RefusalCode::Unavailable, words.into());
                    }
                    attempts.push(spoke);
                    return Ok(frame);
                }
                Err((code, reason)) => self.fault(spoke.miner.operator, code, reason),
            }
        }
    }

    /// Takes a miner's next token; one that is known already must be the same.
    async fn take(&mut self, attempt: &mut Attempt, token: u32, logprob: Option<Logprob>) -> Result<(), Trouble> {
        let at = attempt.at;
        attempt.at += 1;
        attempt.due = attempt.at;
        match self.tokens.get(at) {
            Some(known) if *known == token => return Ok(()),
            Some(known) => {
                attempt.over = true;
                let reason = format!("token {at} is {token} by it, {known} by another");
                return Err(Trouble::Miner(attempt.miner.operator, RefusalCode::OtherBeginning, reason));
            }
            None => {}
        }
        if at >= self.telling.text.max_tokens as usize || token as usize >= self.telling.model.vocabulary {
            attempt.over = true;
            let reason = format!("token {at}, {token}, can be none of the answer");
            return Err(Trouble::Miner(attempt.miner.operator, RefusalCode::Unavailable, reason));
        }
        self.tokens.push(token);
        self.first.get_or_insert(self.began.elapsed());
        let text = match (self.stopped, self.stream.push(token)) {
            (true, _) => String::new(),
            (false, Step::Text(text)) => text,
            (false, Step::Stop(text, _)) => {
                self.stopped = true;
                text
            }
        };
        let logprob = logprob.map(|l| TokenLogprob { logprob: l.logprob, top: l.top });
        let sent = self.telling.pieces.send(Chunk::Piece(Piece { token, text, logprob })).await;
        sent.map_err(|_| Trouble::ClientGone)
    }

    /// Checks the signed answer against what was asked and heard, and ends the text.
    async fn finish(
        &mut self,
        attempt: &Attempt,
        response: Signed<Response>,
        cached: usize,
        engine: Duration,
    ) -> Result<(), Trouble> {
        let wrong = |reason: &str| {
            let reason = format!("its signed answer: {reason}");
            Err(Trouble::Miner(attempt.miner.operator, RefusalCode::Unavailable, reason))
        };
        let inner = &self.telling.network.0;
        let (genesis, asked, said) = (inner.chain.genesis(), &attempt.request.body, &response.body);
        if said.miner != asked.miner || said.request != attempt.request.id(&genesis) || said.model != asked.model {
            return wrong("it is to another request");
        }
        if said.input != asked.input.hash() {
            return wrong("it is about another input");
        }
        if let Err(error) = response.verify(&genesis) {
            return wrong(&error.to_string());
        }
        let Some(told) = said.output.text() else { return wrong("it is no text") };
        // The model's own end is signed, and was not said.
        let unsaid = match told.ending {
            Ending::End if told.tokens.len() == self.tokens.len() + 1 => 1,
            _ => 0,
        };
        if told.tokens.len() - unsaid.min(told.tokens.len()) != self.tokens.len()
            || !told.tokens.starts_with(&self.tokens)
        {
            return wrong("it is not what was told");
        }
        let stop = |at: u8| self.telling.text.stop.get(usize::from(at)).cloned();
        let finish = match told.ending {
            Ending::End => Finish::End,
            Ending::Length => Finish::Length,
            Ending::Stop(at) => match stop(at).filter(|_| self.stopped) {
                Some(stop) => Finish::Stop(stop),
                None => return wrong("it ends at a string that did not come"),
            },
        };
        let completion = told.tokens.len();
        let text = if self.stopped { String::new() } else { self.stream.finish() };
        locked(&inner.finished).keep(self.telling.receipt.clone(), (attempt.request.clone(), response));
        inner.metrics.gateway_answers.inc();
        // Of an answer that one miner told from its beginning; others are no measure of the gateway.
        if self.reasons.is_empty() && self.tried.len() == 1 {
            inner.measures.overhead.observe(self.telling.arrived.elapsed().saturating_sub(engine).as_secs_f64());
        }
        let usage = Usage {
            prompt: self.telling.text.prompt.len(),
            cached: cached.min(self.telling.text.prompt.len()),
            completion,
            queued: Duration::ZERO,
            first: self.first.unwrap_or_default(),
            total: self.began.elapsed(),
        };
        let owed = self.telling.network.owe(&attempt.miner.operator, asked.epoch, usage.prompt, completion);
        let cost = owed.unwrap_or_else(|error| {
            tracing::error!(%error, miner = %attempt.miner.operator, "what a miner is owed cannot be looked up");
            Amount::ZERO
        });
        // The client may be gone; the answer is signed all the same.
        let _ = self.telling.pieces.send(Chunk::Done { text, finish, usage, cost }).await;
        Ok(())
    }
}
