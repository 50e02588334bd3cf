//! One answer, from as many miners as it takes.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use assay_inference::llm::{Finish, Piece, Step, TextStream, TokenLogprob, Usage};
use assay_ledger::{
    query,
    records::{MinerRecord, ModelRecord},
};
use assay_primitives::{
    AccountId, Signed,
    task::{Input, Request, Response},
    text::{Ending, TextInput},
};
use rand::{RngCore as _, rngs::OsRng};
use tokio::sync::mpsc;

use super::{Network, locked};
use crate::{
    net::{Frame, Logprob, RefusalCode, TextAsk},
    openai::{
        backend::{Chunk, TextModel},
        error::ApiError,
    },
};

/// The least time after which a silent miner's place is offered to another.
const HEDGE: Duration = Duration::from_secs(2);
/// After this a silent miner is given up.
const SILENCE: Duration = Duration::from_secs(20);
/// Times that miners are asked for one answer at most.
const MOST_TRIES: usize = 8;
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
    pub(super) pieces: mpsc::Sender<Chunk>,
}

/// One miner at work on it.
struct Attempt {
    network: Network,
    miner: MinerRecord,
    request: Signed<Request>,
    frames: crate::net::Telling,
    /// Tokens of the answer before its next one.
    at: usize,
    heard: Option<Instant>,
    asked: Instant,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        locked(&self.network.0.book).ended(&self.miner.operator);
    }
}

/// What has come of an answer.
struct Told {
    telling: Telling,
    tokens: Vec<u32>,
    stream: TextStream,
    /// Text goes no further: a string that ends it has come.
    stopped: bool,
    tried: BTreeSet<AccountId>,
    tries: usize,
    /// Whether those that were away were let be asked again already.
    forgiven: bool,
    reasons: Vec<(AccountId, RefusalCode, String)>,
    began: Instant,
    first: Option<Duration>,
}

/// Why a miner is listened to no longer.
enum Trouble {
    /// Nobody waits for the answer.
    ClientGone,
    /// It refused, failed or lied.
    Miner(RefusalCode, String),
}

impl Telling {
    /// Finds a miner that begins, and goes on by itself from there.
    ///
    /// # Errors
    /// [`ApiError`] if none begins.
    pub(super) async fn start(self) -> Result<(), ApiError> {
        let stream = self.model.codec.stream(self.text.stop.clone());
        let mut told = Told {
            telling: self,
            tokens: Vec::new(),
            stream,
            stopped: false,
            tried: BTreeSet::new(),
            tries: 0,
            forgiven: false,
            reasons: Vec::new(),
            began: Instant::now(),
            first: None,
        };
        let (attempt, frame) = told.begin().await?;
        tokio::spawn(async move { told.run(attempt, frame).await });
        Ok(())
    }
}

impl Attempt {
    /// The next frame; an error after too long a silence.
    async fn next(&mut self) -> Result<Frame, (RefusalCode, String)> {
        let since = self.heard.unwrap_or(self.asked);
        let unavailable = |reason: String| (RefusalCode::Unavailable, reason);
        let frame = match tokio::time::timeout(SILENCE, self.frames.recv()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => return Err(unavailable(error.to_string())),
            Ok(None) => return Err(unavailable("it ended in the middle".into())),
            Err(_) => return Err(unavailable(format!("it was silent for {} s", SILENCE.as_secs()))),
        };
        if let Frame::Refused { code, reason } = frame {
            return Err((code, reason));
        }
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
        locked(&self.network.0.book).patience(&self.miner.operator, self.heard.is_some(), HEDGE)
    }
}

impl Told {
    /// Asks the next miner, for what is left of the answer; `None` when all were tried.
    async fn ask(&mut self) -> Result<Option<Attempt>, ApiError> {
        loop {
            let Telling { network, record, text, logprobs, .. } = &self.telling;
            let inner = &network.0;
            if self.tries >= MOST_TRIES {
                return Ok(None);
            }
            let view = inner.chain.snapshot().map_err(ApiError::internal)?;
            let epoch = query::chain(&*view).map_err(ApiError::internal)?.epoch;
            let mut miners = query::miners(&*view, record.subnet).map_err(ApiError::internal)?;
            drop(view);
            miners.retain(|m| m.retired.is_none() && !m.endpoint.peer_id.is_empty());
            let chosen = locked(&inner.book).choose(&miners, &self.tried).cloned();
            let Some(miner) = chosen else {
                if self.forget_unreachable() {
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
                return Ok(None);
            };
            self.tried.insert(miner.operator);
            self.tries += 1;
            let mut nonce = [0; 16];
            OsRng.fill_bytes(&mut nonce);
            let body = Request {
                requester: inner.key.account(),
                miner: miner.operator,
                subnet: record.subnet,
                model: record.id,
                epoch,
                nonce,
                input: Input::Text(text.clone()),
            };
            let request = Signed::new(body, &inner.chain.genesis(), &inner.key);
            // The last token is left to it: an answer is never resumed at its very end.
            let at = self.tokens.len().min(text.max_tokens.saturating_sub(1) as usize);
            let ask = TextAsk { request: request.clone(), resume: self.tokens[..at].to_vec(), logprobs: *logprobs };
            locked(&inner.book).asked(&miner.operator);
            tracing::debug!(miner = %miner.operator, tokens = at, "a miner is asked for a text");
            match inner.asker.tell(&miner.endpoint, ask).await {
                Ok(frames) => {
                    let (network, asked) = (network.clone(), Instant::now());
                    return Ok(Some(Attempt { network, miner, request, frames, at, heard: None, asked }));
                }
                Err(error) => {
                    locked(&inner.book).ended(&miner.operator);
                    self.fault(miner.operator, RefusalCode::Unavailable, error.to_string());
                }
            }
        }
    }

    /// Lets those be asked once more that could not be reached or were not ready; whether there are any.
    fn forget_unreachable(&mut self) -> bool {
        let before = self.tried.len();
        if !std::mem::replace(&mut self.forgiven, true) {
            let away = |code: &RefusalCode| matches!(code, RefusalCode::Unavailable | RefusalCode::Epoch);
            let away = self.reasons.iter().filter(|(_, code, _)| away(code)).map(|(miner, ..)| *miner);
            for miner in away {
                self.tried.remove(&miner);
            }
        }
        self.tried.len() < before
    }

    fn fault(&mut self, miner: AccountId, code: RefusalCode, reason: String) {
        let inner = &self.telling.network.0;
        inner.metrics.gateway_rejections.inc();
        // A busy miner is no bad one.
        if !code.is_passing() {
            locked(&inner.book).failed(&miner);
        }
        tracing::info!(%miner, ?code, reason, tokens = self.tokens.len(), "a miner does not finish a text; trying the next");
        self.reasons.push((miner, code, reason));
    }

    /// Why there is no answer, in the API's words.
    fn refusal(&self) -> ApiError {
        let of = |code: RefusalCode| self.reasons.iter().filter(move |(_, c, _)| *c == code);
        if let Some((_, _, reason)) = of(RefusalCode::Malformed).next() {
            return ApiError::malformed(reason.clone());
        }
        if self.reasons.is_empty() {
            return ApiError::unavailable(format!("no miner of subnet {} can be asked", self.telling.record.subnet));
        }
        if self.reasons.iter().all(|(_, code, _)| code.is_passing()) {
            return ApiError::busy("every miner is busy; try again in a moment", Duration::from_secs(1));
        }
        let list: Vec<String> = self.reasons.iter().map(|(m, _, reason)| format!("{}: {reason}", m.short())).collect();
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

    async fn run(mut self, mut attempt: Attempt, frame: Frame) {
        let mut frame = Some(frame);
        loop {
            let trouble = match self.follow(&mut attempt, frame.take()).await {
                Ok(()) => return,
                Err(trouble) => trouble,
            };
            let Trouble::Miner(code, reason) = trouble else { return };
            self.fault(attempt.miner.operator, code, reason);
            let denials = self.reasons.iter().filter(|(_, code, _)| *code == RefusalCode::OtherBeginning).count();
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
                Ok(next) => attempt = next,
                Err(error) => return drop(self.telling.pieces.send(Chunk::Failed(error)).await),
            }
        }
    }

    /// Listens to a miner to the end of the answer; when it is silent for long, to another one too, and then to whichever
    /// speaks first.
    async fn follow(&mut self, attempt: &mut Attempt, first: Option<Frame>) -> Result<(), Trouble> {
        let mut frame = first;
        loop {
            let heard = match frame.take() {
                Some(frame) => frame,
                None => self.listen(attempt).await?,
            };
            match heard {
                Frame::Tokens(tokens) => {
                    for (token, logprob) in tokens {
                        self.take(attempt, token, logprob).await?;
                    }
                }
                Frame::Done { response, cached } => return self.finish(attempt, *response, cached as usize).await,
                Frame::Refused { code, reason } => return Err(Trouble::Miner(code, reason)),
            }
        }
    }

    async fn listen(&mut self, attempt: &mut Attempt) -> Result<Frame, Trouble> {
        let miner = |(code, reason)| Trouble::Miner(code, reason);
        let patience = attempt.patience();
        tokio::select! {
            frame = attempt.next() => return frame.map_err(miner),
            () = self.telling.pieces.closed() => return Err(Trouble::ClientGone),
            () = tokio::time::sleep(patience) => {}
        }
        let Ok(Some(mut other)) = self.ask().await else {
            return tokio::select! {
                frame = attempt.next() => frame.map_err(miner),
                () = self.telling.pieces.closed() => Err(Trouble::ClientGone),
            };
        };
        tracing::info!(silent = %attempt.miner.operator, beside = %other.miner.operator, "a miner is silent; another is asked beside it");
        tokio::select! {
            frame = attempt.next() => frame.map_err(miner),
            frame = other.next() => match frame {
                Ok(frame) => {
                    self.fault(attempt.miner.operator, RefusalCode::Unavailable, "it was silent while another spoke".into());
                    *attempt = other;
                    Ok(frame)
                }
                Err((code, reason)) => {
                    self.fault(other.miner.operator, code, reason);
                    attempt.next().await.map_err(miner)
                }
            },
            () = self.telling.pieces.closed() => Err(Trouble::ClientGone),
        }
    }

    /// Takes a miner's next token; one that is known already must be the same.
    async fn take(&mut self, attempt: &mut Attempt, token: u32, logprob: Option<Logprob>) -> Result<(), Trouble> {
        let at = attempt.at;
        attempt.at += 1;
        match self.tokens.get(at) {
            Some(known) if *known == token => return Ok(()),
            Some(known) => {
                let reason = format!("token {at} is {token} by it, {known} by another");
                return Err(Trouble::Miner(RefusalCode::OtherBeginning, reason));
            }
            None => {}
        }
        if at >= self.telling.text.max_tokens as usize || token as usize >= self.telling.model.vocabulary {
            return Err(Trouble::Miner(
                RefusalCode::Unavailable,
                format!("token {at}, {token}, can be none of the answer"),
            ));
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
    async fn finish(&mut self, attempt: &Attempt, response: Signed<Response>, cached: usize) -> Result<(), Trouble> {
        let wrong =
            |reason: &str| Err(Trouble::Miner(RefusalCode::Unavailable, format!("its signed answer: {reason}")));
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
        let usage = Usage {
            prompt: self.telling.text.prompt.len(),
            cached: cached.min(self.telling.text.prompt.len()),
            completion,
            queued: Duration::ZERO,
            first: self.first.unwrap_or_default(),
            total: self.began.elapsed(),
        };
        // The client may be gone; the answer is signed all the same.
        let _ = self.telling.pieces.send(Chunk::Done { text, finish, usage }).await;
        Ok(())
    }
}
