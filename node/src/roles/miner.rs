//! The miner: runs committed models for whoever may ask, signs and proves what it ran.
//!
//! ```text
//! Ask ─ admit (addressed to me, signed, of now, asked by somebody who may, model known, nonce fresh)
//!     ─ run and prove (a bounded queue before a few provers) ─ sign ─ log, synced ─> Reply
//! open challenge against me ─ run and prove again ─> Answer on chain
//! ```
//!
//! Every answer of an exact model is proved by `sumcheck`: the policy of the models here is `always`. For a receipt a `groth16`
//! proof is made too, where the model has a registered key. Texts have no proofs: whoever has the model makes them again.

mod answers;
mod compact_keys;
mod credit;
mod tell;

use std::{
    num::NonZeroU32,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use assay_circuits::answer;
use assay_inference::{Engine as _, ExactEngine};
use assay_ledger::{
    StoreError, query,
    records::{Challenge, ChallengeStatus, ModelRecord},
    tx::Action,
};
use assay_primitives::{
    AccountId, Amount, Hash32, Keypair, ModelId, SignatureError, Signed,
    task::{Output, Request, Response, output_hash},
};
use async_trait::async_trait;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use self::{
    answers::{AnswerLog, Taken},
    compact_keys::CompactKeys,
    credit::CreditBook,
};
use super::{Answerer, ChainView, Models, RoleError, RoleMetrics, check, serve, serve_texts};
use crate::{
    net::{Ask, Frame, InboundAsk, InboundText, RefusalCode, Reply},
    texts::Texts,
};

/// Asks that may wait for a prover.
const QUEUE: usize = 64;
/// Blocks after which an answer to a challenge that did not show on chain is sent again.
const RESEND_AFTER: u64 = 4;

/// How a miner runs.
#[derive(Clone, Debug)]
pub struct MinerConfig {
    /// The operator key, which signs responses.
    pub key: Keypair,
    /// Where the miner keeps its log; made if need be. No two miners may share it.
    pub dir: PathBuf,
    /// Where the `groth16` keys of ceremonies lie: `MODEL_ID.key`, as `assay zk ceremony finish` writes them.
    pub keys: PathBuf,
    /// Proofs made at once; each takes a core.
    pub provers: usize,
    /// Balance that a requester who is no validator must hold.
    pub floor: Amount,
    /// Asks taken from one requester in a minute.
    pub asks_per_minute: u32,
    /// Asks for text taken from one requester in a minute: a bound of what it costs to refuse them; that of the work is the
    /// engine's queue.
    pub texts_per_minute: u32,
    /// The language models that it has the files of.
    pub texts: Texts,
    /// The most that one requester may owe for texts.
    pub credit: Amount,
}

impl MinerConfig {
    /// One prover, a floor of 1 ASY, 120 asks and 60,000 texts a minute from each requester, and 1 ASY of credit.
    pub fn new(key: Keypair, dir: PathBuf, keys: PathBuf, texts: Texts) -> Self {
        let (asks_per_minute, texts_per_minute) = (120, 60_000);
        Self {
            key,
            dir,
            keys,
            provers: 1,
            floor: Amount::asy(1),
            asks_per_minute,
            texts_per_minute,
            texts,
            credit: Amount::asy(1),
        }
    }
}

/// An honest miner.
#[derive(Debug)]
pub struct Miner {
    chain: View,
    config: MinerConfig,
    account: AccountId,
    models: Models,
    compact: Arc<CompactKeys>,
    answers: Mutex<AnswerLog>,
    credit: CreditBook,
    rates: DefaultKeyedRateLimiter<AccountId>,
    text_rates: DefaultKeyedRateLimiter<AccountId>,
    queue: Semaphore,
    provers: Semaphore,
    metrics: RoleMetrics,
}

/// The chain, printed as nothing more than that.
struct View(Arc<dyn ChainView>);

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ChainView")
    }
}

/// What an admitted request came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// The model's output.
    pub output: Vec<i32>,
    /// Proof of it, bound to the request.
    pub proof: Vec<u8>,
    /// The `groth16` proof of the same, if it was asked for and there are keys.
    pub compact: Option<Vec<u8>>,
}

fn refuse(code: RefusalCode, reason: impl ToString) -> Reply {
    Reply::refused(code, reason)
}

fn malformed(reason: impl ToString) -> Reply {
    refuse(RefusalCode::Malformed, reason)
}

/// The numbers that an exact model is asked about.
fn numbers(request: &Request) -> Result<&[i16], String> {
    request.input.numbers().ok_or_else(|| "an exact model is run on numbers, not on text".into())
}

/// Trouble of this node's own: logged in full, told in brief.
fn unavailable(error: impl std::fmt::Display) -> Reply {
    tracing::error!(%error, "this miner cannot answer");
    refuse(RefusalCode::Unavailable, "the miner has trouble of its own; ask another")
}

impl Miner {
    /// Opens the miner's log.
    ///
    /// # Errors
    /// [`RoleError`] if the folder cannot be used.
    pub fn open(chain: Arc<dyn ChainView>, config: MinerConfig, metrics: RoleMetrics) -> Result<Arc<Self>, RoleError> {
        let answers = Mutex::new(AnswerLog::open(config.dir.join("answers"))?);
        let credit = CreditBook::open(&config.dir)?;
        let limiter =
            |per_minute| RateLimiter::keyed(Quota::per_minute(NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN)));
        Ok(Arc::new(Self {
            chain: View(chain),
            account: config.key.account(),
            models: Models::default(),
            compact: Arc::new(CompactKeys::new(config.keys.clone())),
            answers,
            credit,
            rates: limiter(config.asks_per_minute),
            text_rates: limiter(config.texts_per_minute),
            queue: Semaphore::new(QUEUE),
            provers: Semaphore::new(config.provers.max(1)),
            metrics,
            config,
        }))
    }

    fn answers(&self) -> std::sync::MutexGuard<'_, AnswerLog> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an ask is to be worked on; takes its nonce if so.
    ///
    /// # Errors
    /// The refusal to reply with.
    pub fn admit(&self, ask: &Ask) -> Result<Arc<ExactEngine>, Reply> {
        let request = &ask.request.body;
        let model = self.welcome(&ask.request, (&self.rates, self.config.asks_per_minute))?;
        let unknown = || refuse(RefusalCode::UnknownModel, format!("{} answers in text, not in numbers", model.name));
        let engine = self.exact_engine(&request.model).map_err(unavailable)?.ok_or_else(unknown)?;
        numbers(request).and_then(|input| engine.run(input).map_err(|e| e.to_string())).map_err(malformed)?;
        self.take_nonce(request)?;
        Ok(engine)
    }

    /// Checks all that does not depend on what is asked for: to whom, by whom, when, of which model, and how often.
    fn welcome(
        &self,
        request: &Signed<Request>,
        (rates, per_minute): (&DefaultKeyedRateLimiter<AccountId>, u32),
    ) -> Result<ModelRecord, Reply> {
        let body = &request.body;
        if body.miner != self.account {
            let reason = format!("this is {}, the request is for {}", self.account, body.miner);
            return Err(refuse(RefusalCode::NotForMe, reason));
        }
        request.verify(&self.chain.0.genesis()).map_err(|e| match e {
            SignatureError::Empty { .. } => refuse(RefusalCode::Unsigned, e),
            SignatureError::Invalid { .. } => refuse(RefusalCode::BadSignature, e),
        })?;
        let model = self.stands(body).map_err(unavailable)??;
        if rates.check_key(&body.requester).is_err() {
            let reason = format!("at most {per_minute} asks a minute are taken from one requester");
            return Err(refuse(RefusalCode::RateLimited, reason));
        }
        Ok(model)
    }

    /// Writes down that a request was answered.
    async fn record(&self, request: &Request) -> Result<(), Reply> {
        let written = self.answers().record(request.epoch, &request.requester, &request.nonce);
        match written.map_err(unavailable)? {
            Some(written) => written.sync().await.map_err(unavailable),
            None => Ok(()),
        }
    }

    fn take_nonce(&self, request: &Request) -> Result<(), Reply> {
        match self.answers().reserve(request.epoch, request.requester, request.nonce).map_err(unavailable)? {
            Ok(()) => Ok(()),
            Err(Taken::Replay) => {
                Err(refuse(RefusalCode::Replay, "this requester used this nonce before; draw a fresh one"))
            }
            Err(Taken::Full) => Err(refuse(RefusalCode::Busy, "this epoch's answers are used up; ask in the next one")),
        }
    }

    /// What the chain says about a request; the outer error is this node's own.
    fn stands(&self, request: &Request) -> Result<Result<ModelRecord, Reply>, RoleError> {
        let view = &*self.chain.0.snapshot()?;
        let now = query::chain(view)?.epoch;
        if request.epoch != now && request.epoch.checked_add(1) != Some(now) {
            let reason =
                format!("requests of epoch {now} and the one before are taken, this is of epoch {}", request.epoch);
            return Ok(Err(refuse(RefusalCode::Epoch, reason)));
        }
        match query::miner(view, &self.account)? {
            Some(me) if me.subnet == request.subnet => {}
            Some(me) => {
                let reason = format!("this miner serves subnet {}, not {}", me.subnet, request.subnet);
                return Ok(Err(refuse(RefusalCode::NotForMe, reason)));
            }
            None => return Ok(Err(refuse(RefusalCode::Unavailable, "this miner is not registered yet"))),
        }
        let validator = query::validator(view, &request.requester)?;
        if validator.is_none_or(|v| v.tombstoned) {
            let balance = query::account(view, &request.requester)?.balance;
            let floor = self.config.floor;
            if balance < floor {
                let requester = &request.requester;
                let reason =
                    format!("the requester {requester} must be a validator or hold {floor}, it holds {balance}");
                return Ok(Err(refuse(RefusalCode::NotAllowed, reason)));
            }
        }
        let unknown =
            || refuse(RefusalCode::UnknownModel, format!("subnet {} has no model {}", request.subnet, request.model));
        let Some(model) = query::model(view, &request.model)?.filter(|m| m.subnet == request.subnet) else {
            return Ok(Err(unknown()));
        };
        // What was asked in the epoch in which it was retired may have been on its way.
        let began = query::epoch_start(view, request.epoch)?.unwrap_or(0);
        if let Some(since) = model.retired.filter(|since| *since < began) {
            let reason = format!("model {} is retired by a vote since height {since}", model.name);
            return Ok(Err(refuse(RefusalCode::UnknownModel, reason)));
        }
        Ok(Ok(model))
    }

    fn exact_engine(&self, model: &ModelId) -> Result<Option<Arc<ExactEngine>>, RoleError> {
        self.models.engine(&*self.chain.0.snapshot()?, model)
    }

    /// Runs and proves, as soon as a prover is free; for a receipt, by `groth16` too.
    ///
    /// # Errors
    /// The refusal to reply with.
    pub async fn work(
        &self,
        engine: Arc<ExactEngine>,
        request: &Signed<Request>,
        compact: bool,
    ) -> Result<Work, Reply> {
        let _prover = self.provers.acquire().await.map_err(unavailable)?;
        let genesis = self.chain.0.genesis();
        let (body, id) = (request.body.clone(), request.id(&genesis));
        let registered = match compact {
            true => self.registered_key(&body.model).map_err(unavailable)?,
            false => None,
        };
        let keys = Arc::clone(&self.compact);
        let done = tokio::task::spawn_blocking(move || {
            let input = numbers(&body)?;
            let output = engine.run(input).map_err(|e| e.to_string())?;
            let binding = check::binding(&genesis, &body, id, output_hash(&output));
            let proof = answer::prove(engine.model(), &binding, input, &output).map_err(|e| e.to_string())?;
            let keys = registered.and_then(|key| match keys.of(engine.model(), &key) {
                Ok(keys) => Some(keys),
                Err(reason) => {
                    tracing::warn!(model = %body.model, reason, "no groth16 proof can be given");
                    None
                }
            });
            let compact = |keys: Arc<answer::compact::Prover>| {
                answer::compact::prove(&keys, engine.model(), &binding, input, &output)
            };
            let compact = keys.map(compact).transpose().map_err(|e| e.to_string())?;
            Ok::<_, String>(Work { output, proof, compact })
        });
        let work = done.await.map_err(unavailable)?.map_err(unavailable)?;
        self.metrics.miner_proofs.inc();
        Ok(work)
    }

    fn registered_key(&self, model: &ModelId) -> Result<Option<Vec<u8>>, StoreError> {
        query::model_groth16(&*self.chain.0.snapshot()?, model)
    }

    /// Signs an answer.
    pub fn sign(&self, request: &Signed<Request>, output: Output, proof: Option<Hash32>) -> Signed<Response> {
        let genesis = self.chain.0.genesis();
        let body = Response {
            miner: self.account,
            request: request.id(&genesis),
            model: request.body.model,
            input: request.body.input.hash(),
            output,
            proof,
        };
        Signed::new(body, &genesis, &self.config.key)
    }

    async fn try_answer(&self, ask: &Ask) -> Result<Reply, Reply> {
        let busy = |_| refuse(RefusalCode::Busy, format!("{QUEUE} requests wait already; try again in a moment"));
        // Before the nonce is taken, so that whoever is refused here may ask the same again.
        let _place = self.queue.try_acquire().map_err(busy)?;
        let engine = self.admit(ask)?;
        let request = &ask.request;
        let body = &request.body;
        let Work { output, proof, compact } = self.work(engine, request, ask.want_compact).await.inspect_err(|_| {
            self.answers().release(body.epoch, body.requester, body.nonce);
        })?;
        let response = Box::new(self.sign(request, Output::Numbers(output), Some(Hash32::digest(&proof))));
        self.record(body).await?;
        Ok(Reply::Answer { response, proof: Some(proof), compact })
    }

    /// Answers challenges against this miner until `stop`.
    pub async fn watch_challenges(&self, stop: CancellationToken) {
        let mut heights = self.chain.0.heights();
        let mut sent: std::collections::BTreeMap<Hash32, u64> = Default::default();
        loop {
            let height = *heights.borrow_and_update();
            match self.open_challenges() {
                Ok(open) => {
                    sent.retain(|id, _| open.iter().any(|(o, _)| o == id));
                    for (id, challenge) in open {
                        if sent.get(&id).is_some_and(|at| height < at.saturating_add(RESEND_AFTER)) {
                            continue;
                        }
                        sent.insert(id, height);
                        self.answer_challenge(id, challenge).await;
                    }
                }
                Err(error) => tracing::error!(%error, "challenges against this miner cannot be read"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                changed = heights.changed() => if changed.is_err() { return stop.cancelled().await },
            }
        }
    }

    fn open_challenges(&self) -> Result<Vec<(Hash32, Challenge)>, RoleError> {
        let view = &*self.chain.0.snapshot()?;
        let (now, window) = (query::chain(view)?.epoch, query::params(view)?.evidence_epochs);
        // A challenge may come in the last epoch of evidence and be open for a while after it.
        self.answers().forget_before(now.saturating_sub(window.saturating_add(2)))?;
        self.rates.retain_recent();
        // Texts are for validators to judge.
        let mine = |(_, c): &(Hash32, Challenge)| {
            c.response.body.miner == self.account
                && matches!(c.status, ChallengeStatus::Open { .. })
                && c.request.body.input.numbers().is_some()
        };
        Ok(query::challenges(view)?.into_iter().filter(mine).collect())
    }

    async fn answer_challenge(&self, id: Hash32, challenge: Challenge) {
        let proof = match self.challenged_proof(&challenge).await {
            Ok(proof) => proof,
            Err(reason) => return tracing::error!(challenge = %id, reason, "a challenge cannot be answered"),
        };
        match self.chain.0.submit(Action::Answer { challenge: id, proof }, &self.config.key).await {
            Ok(tx) => {
                self.metrics.miner_challenges_answered.inc();
                tracing::info!(challenge = %id.short(), tx = %tx.short(), "sent the answer to a challenge");
            }
            Err(error) => tracing::warn!(challenge = %id, %error, "the answer to a challenge was not submitted"),
        }
    }

    async fn challenged_proof(&self, challenge: &Challenge) -> Result<Vec<u8>, String> {
        let request = &challenge.request;
        let engine =
            self.exact_engine(&request.body.model).map_err(|e| e.to_string())?.ok_or("its model is unknown")?;
        let work = self.work(engine, request, false).await.map_err(|reply| format!("{reply:?}"))?;
        if challenge.response.body.output.numbers() != Some(&work.output[..]) {
            return Err("the signed output is not what the model gives".into());
        }
        Ok(work.proof)
    }

    /// Derives the proving keys of the miner's models, so that the first ask need not wait for it.
    fn warm_up(&self) -> Result<(), RoleError> {
        let view = &*self.chain.0.snapshot()?;
        for model in query::models(view)?.into_iter().filter(|model| model.retired.is_none()) {
            let Some(engine) = self.models.engine(view, &model.id)? else {
                self.warm_up_text(&model);
                continue;
            };
            if let Err(error) = answer::warm_up(engine.model()) {
                tracing::warn!(model = model.name, %error, "this model cannot be proved");
            }
            let Some(key) = query::model_groth16(view, &model.id)? else { continue };
            if let Err(reason) = self.compact.of(engine.model(), &key) {
                tracing::warn!(model = model.name, reason, "no groth16 proofs of this model can be given");
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Answerer for Miner {
    async fn answer(&self, ask: Ask) -> Reply {
        let reply = self.try_answer(&ask).await.unwrap_or_else(|refusal| refusal);
        match &reply {
            Reply::Answer { .. } => self.metrics.miner_answers.inc(),
            Reply::Refused { code, reason } => {
                tracing::debug!(requester = %ask.request.body.requester, ?code, reason, "refused an ask");
                self.metrics.miner_refusals.inc()
            }
        };
        reply
    }

    async fn tell(&self, inbound: InboundText) {
        let (requester, told) = (inbound.ask.request.body.requester, self.try_tell(&inbound).await);
        match told {
            Ok(()) => drop(self.metrics.miner_answers.inc()),
            Err(refusal) => {
                if let Frame::Refused { reason, .. } | Frame::Unpaid { reason, .. } = &refusal {
                    tracing::debug!(%requester, reason, "refused an ask for text");
                }
                self.metrics.miner_refusals.inc();
                inbound.say(refusal).await;
            }
        }
    }
}

/// Runs an honest miner until `stop`.
///
/// # Errors
/// [`RoleError`] if its folder cannot be used.
pub async fn run_miner(
    chain: Arc<dyn ChainView>,
    config: MinerConfig,
    metrics: RoleMetrics,
    (asks, texts): (mpsc::Receiver<InboundAsk>, mpsc::Receiver<InboundText>),
    stop: CancellationToken,
) -> Result<(), RoleError> {
    let miner = Miner::open(chain, config, metrics)?;
    let warming = Arc::clone(&miner);
    let warmed = tokio::task::spawn_blocking(move || warming.warm_up());
    let serving = serve(Arc::clone(&miner) as Arc<dyn Answerer>, asks, stop.clone());
    let telling = serve_texts(Arc::clone(&miner) as Arc<dyn Answerer>, texts, stop.clone());
    let watching = miner.watch_challenges(stop.clone());
    let (warmed, (), (), (), ()) = tokio::join!(warmed, serving, telling, watching, miner.credit.keep(&stop));
    warmed.map_err(|e| StoreError::backend(format!("loading models failed: {e}")))?
}
