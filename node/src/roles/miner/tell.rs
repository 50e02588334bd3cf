//! Texts, told as the engine makes them.

use std::time::{Duration, Instant};

use assay_inference::llm::{Answer, Event, GenerateError, GenerateRequest, Piece, Usage};
use assay_ledger::{
    query,
    records::{ModelKind, ModelRecord, Tariff},
};
use assay_primitives::{
    AccountId, Amount, Hash32,
    task::{Output, Request},
    text::{TextInput, TextOutput},
};

use super::{Miner, credit, malformed, refuse, unavailable};
use crate::{
    net::{Frame, InboundText, Logprob, RefusalCode, Reply},
    texts::{self, TextError},
};

/// When nobody can want an answer any more: exchanges are closed then.
const LIMIT: Duration = Duration::from_secs(600);
/// Most log-probabilities of one token.
const MAX_LOGPROBS: u8 = 20;
/// Most tokens in one frame.
const TOGETHER: usize = 64;
/// For how long they may wait for each other, at most.
const LONGEST_TOGETHER: Duration = Duration::from_millis(500);

impl From<Reply> for Frame {
    /// A refusal as it is told on a text's stream.
    fn from(reply: Reply) -> Self {
        match reply {
            Reply::Refused { code, reason } => Frame::Refused { code, reason },
            Reply::Answer { .. } => Frame::refused(RefusalCode::Unavailable, "the miner has trouble of its own"),
        }
    }
}

fn refusal(error: GenerateError) -> Reply {
    let words = error.to_string();
    match error {
        GenerateError::Busy { .. } => refuse(RefusalCode::Busy, words),
        GenerateError::Resume { .. } => refuse(RefusalCode::OtherBeginning, words),
        error if error.is_callers_fault() => malformed(words),
        _ => unavailable(words),
    }
}

/// What came of an answer.
enum Told {
    /// It was told to its end.
    Whole {
        /// What is signed.
        output: TextOutput,
        /// What it took.
        usage: Usage,
    },
    /// Whoever asked hung up.
    Part {
        /// Tokens of the answer that there were by then, with those it was resumed from; 0 if none was told.
        tokens: usize,
    },
}

impl Miner {
    /// Tells a text.
    ///
    /// # Errors
    /// The refusal to end with.
    pub(super) async fn try_tell(&self, inbound: &InboundText) -> Result<(), Frame> {
        let (ask, request) = (&inbound.ask, &inbound.ask.request);
        let body = &request.body;
        let model = self.welcome(request, (&self.text_rates, self.config.texts_per_minute))?;
        let (ModelKind::Text, Some(text)) = (model.kind, body.input.text()) else {
            let reason = format!("{} is no language model, or it is not asked for text", model.name);
            return Err(malformed(reason).into());
        };
        let llm = self.config.texts.ready(model.id).await.map_err(|error| match error {
            TextError::NotHere { .. } => {
                tracing::error!(%error, "this miner is asked for a model that it does not have");
                refuse(RefusalCode::UnknownModel, "this miner does not have the model's files")
            }
            other => unavailable(other),
        })?;
        let wanted = GenerateRequest {
            resume: ask.resume.clone(),
            logprobs: ask.logprobs.map(|n| usize::from(n.min(MAX_LOGPROBS))),
            priority: self.priority(&body.requester).map_err(unavailable)?,
            deadline: Some(Instant::now() + LIMIT),
            ..texts::request(&llm, text).map_err(malformed)?
        };
        let tariff = self.may_owe(body)?;
        self.take_nonce(body)?;
        let answer = llm.engine.generate(wanted).map_err(refusal).inspect_err(|_| {
            self.answers().release(body.epoch, body.requester, body.nonce);
        })?;
        // From here on the nonce is used, whatever comes of it: it is on the disk by the time that the text is told, and nobody
        // waits for that.
        let (told, recorded) = tokio::join!(self.stream(inbound, text, answer), self.record(body));
        recorded?;
        // What was told is owed, whether it was all heard or not; the requester books alike.
        let bill = |completion: usize| {
            if let Some(tariff) = tariff {
                self.credit.bill(&body.requester, tariff.of(text.prompt.len() as u64, completion as u64));
            }
        };
        let (output, usage) = match told? {
            Told::Part { tokens: 0 } => return Ok(()),
            Told::Part { tokens } => {
                bill(tokens);
                return Ok(());
            }
            Told::Whole { output, usage } => (output, usage),
        };
        self.metrics.miner_texts.observe(&usage);
        bill(output.tokens.len());
        let response = Box::new(self.sign(request, Output::Text(output), None));
        let cached = u32::try_from(usage.cached).unwrap_or(u32::MAX);
        let engine_us = u64::try_from(usage.total.as_micros()).unwrap_or(u64::MAX);
        inbound.say(Frame::Done { response, cached, engine_us }).await;
        Ok(())
    }

    /// What a request's answer will cost its requester; `None` if nothing, as for validators, who ask on everybody's behalf.
    ///
    /// # Errors
    /// A refusal if the requester owes as much as it may.
    fn may_owe(&self, request: &Request) -> Result<Option<Tariff>, Frame> {
        let view = &*self.chain.0.snapshot().map_err(unavailable)?;
        let requester = &request.requester;
        let tariff = query::asking(view, &self.account).map_err(unavailable)?.at(request.epoch);
        let validator = query::validator(view, requester).map_err(unavailable)?;
        if tariff == Tariff::FREE || validator.is_some_and(|v| !v.tombstoned) {
            return Ok(None);
        }
        let paid = query::paid(view, requester, &self.account).map_err(unavailable)?;
        let (owed, most) = (self.credit.owed(requester, paid), credit::limit(self.config.credit, paid));
        if owed >= most {
            let reason = format!("{owed} are owed for texts, and {most} may be; pay on chain, and ask again");
            return Err(Frame::Unpaid { billed: Amount(paid.0.saturating_add(owed.0)), reason });
        }
        Ok(Some(tariff))
    }

    /// Validators go before others: they must be answered within the epoch.
    fn priority(&self, requester: &AccountId) -> Result<i32, assay_ledger::StoreError> {
        let view = self.chain.0.snapshot()?;
        Ok(i32::from(query::validator(&*view, requester)?.is_some_and(|v| !v.tombstoned)))
    }

    /// Hands the tokens on as they come, or some together where whoever asked lets them wait.
    async fn stream(&self, inbound: &InboundText, text: &TextInput, mut answer: Answer) -> Result<Told, Frame> {
        let mut tokens = Vec::new();
        let begun = inbound.ask.resume.len();
        // Of an answer that is broken off, without what still waits.
        let part = |tokens: &[u32], waiting: usize| {
            let told = tokens.len() - waiting;
            Told::Part { tokens: if told > begun { told } else { 0 } }
        };
        let mut unsaid = begun;
        let mut pending = Vec::new();
        let together = LONGEST_TOGETHER.min(Duration::from_millis(inbound.ask.together_ms.into()));
        // The first token waits for nothing.
        let mut due = tokio::time::Instant::now();
        loop {
            let event = match answer.ready() {
                Some(event) => Some(event),
                None => tokio::select! {
                    biased;
                    () = tokio::time::sleep_until(due), if !pending.is_empty() => {
                        let waiting = pending.len();
                        if !inbound.say(Frame::Tokens(std::mem::take(&mut pending))).await {
                            return Ok(part(&tokens, waiting));
                        }
                        due = tokio::time::Instant::now() + together;
                        continue;
                    }
                    event = answer.next() => event,
                    () = inbound.closed() => return Ok(part(&tokens, pending.len())),
                },
            };
            match event {
                Some(Event::Piece(piece)) => {
                    tokens.push(piece.token);
                    if unsaid > 0 {
                        unsaid -= 1;
                    } else {
                        pending.push(said(piece));
                    }
                    if pending.len() >= TOGETHER && !inbound.say(Frame::Tokens(std::mem::take(&mut pending))).await {
                        return Ok(part(&tokens, TOGETHER));
                    }
                }
                Some(Event::Done { finish, usage, end, activations, .. }) => {
                    let waiting = pending.len();
                    if waiting > 0 && !inbound.say(Frame::Tokens(pending)).await {
                        return Ok(part(&tokens, waiting));
                    }
                    tokens.extend(end);
                    let ending = texts::ending(&finish, text).map_err(unavailable)?;
                    let output = TextOutput { tokens, ending, activations: Hash32(activations) };
                    return Ok(Told::Whole { output, usage });
                }
                Some(Event::Failed(error)) => return Err(refusal(error).into()),
                None => return Err(unavailable("the engine stopped in the middle of an answer").into()),
            }
        }
    }

    /// Loads a language model of this miner's market, so that the first ask need not wait for it.
    pub(super) fn warm_up_text(&self, model: &ModelRecord) {
        if let Err(error) = self.config.texts.llm(&model.id) {
            tracing::warn!(model = model.name, %error, "this model cannot be served");
        }
    }
}

fn said(piece: Piece) -> (u32, Option<Logprob>) {
    (piece.token, piece.logprob.map(|l| Logprob { logprob: l.logprob, top: l.top }))
}
