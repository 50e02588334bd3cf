//! The gateway: asks miners on behalf of callers, and hands out nothing that it has not verified.
//!
//! ```text
//! model name or id, input ─> miners of its subnet by score and wait ─ask─> check: signed, exact, proven? ─> Inference
//!                                              └── any failure: the next miner
//! ```

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use assay_inference::{Engine as _, EngineError, ExactEngine, class_of};
use assay_ledger::{
    StoreError, query,
    records::{MinerRecord, ModelRecord},
};
use assay_primitives::{
    AccountId, Amount, Hash32, Keypair, ModelId, Signed,
    receipt::{Blob, ReceiptProof},
    task::{Input, Request, Response},
};
use rand::{RngCore as _, rngs::OsRng, seq::SliceRandom as _};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::{
    Asker, ChainView, Models, RoleError, RoleMetrics, Snapshot,
    check::{Finding, check, check_compact},
    choice::Book,
};
use crate::net::{Ask, Reply};

/// Answers checked at once.
const CHECKS: usize = 2;
/// What a second of waiting is worth: something, where nothing else has a price.
const SECOND: Amount = Amount(1);

/// Asks miners for callers. Clones share everything.
#[derive(Clone)]
pub struct Gateway(Arc<Inner>);

struct Inner {
    chain: Arc<dyn ChainView>,
    asker: Arc<dyn Asker>,
    key: Keypair,
    models: Models,
    book: Mutex<Book>,
    checks: Semaphore,
    metrics: RoleMetrics,
}

/// A verified answer, with everything its receipt is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inference {
    /// The class the output names: the position of its largest value, the first of equal ones.
    pub class: u32,
    /// The output, one integer a class.
    pub outputs: Vec<i32>,
    /// What was asked.
    pub request: Signed<Request>,
    /// What the miner signed.
    pub response: Signed<Response>,
    /// The proof for the receipt, which holds.
    pub proof: ReceiptProof,
    /// The model's bytes without its weights.
    pub outline: Vec<u8>,
}

/// The proof system of a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum ReceiptSystem {
    /// Rests on hashes alone; some hundred kilobytes.
    Sumcheck,
    /// 128 bytes; rests on the ceremony that made the model's key.
    Groth16,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum InferError {
    /// No such model.
    #[error("there is no model {name:?}; `assay model list` shows those registered")]
    UnknownModel {
        /// What was asked for.
        name: String,
    },
    /// Retired by a vote.
    #[error(
        "model {name} is retired by a vote since height {since}, and nobody serves it; `assay model list` shows those that are served"
    )]
    Retired {
        /// The model's name.
        name: String,
        /// Since this height.
        since: u64,
    },
    /// The input does not fit the model.
    #[error(transparent)]
    Input(EngineError),
    /// Nobody serves it.
    #[error("subnet {subnet} has no miner that could be asked")]
    NoMiner {
        /// The model's subnet.
        subnet: u16,
    },
    /// Nobody gave an answer that holds.
    #[error("none of {} miners gave an answer that holds: {}", tried.len(), list(tried))]
    AllFailed {
        /// Who was asked, and what went wrong.
        tried: Vec<(AccountId, String)>,
    },
    /// A receipt of a system that the model has no key for.
    #[error("model {name} has no groth16 key registered; ask for a sumcheck receipt")]
    NoKey {
        /// The model's name.
        name: String,
    },
    /// This node's own trouble.
    #[error(transparent)]
    Node(#[from] RoleError),
}

fn list(tried: &[(AccountId, String)]) -> String {
    let one = |(miner, reason): &(AccountId, String)| format!("{}: {reason}", miner.short());
    tried.iter().map(one).collect::<Vec<_>>().join("; ")
}

impl InferError {
    /// Another request could succeed now; this one cannot.
    pub fn is_callers_fault(&self) -> bool {
        matches!(
            self,
            InferError::UnknownModel { .. }
                | InferError::Retired { .. }
                | InferError::Input(_)
                | InferError::NoKey { .. }
        )
    }
}

impl From<StoreError> for InferError {
    fn from(error: StoreError) -> Self {
        InferError::Node(error.into())
    }
}

/// Why one miner's reply was not handed out; `Err` in the outer place is for failures of this node.
type Tried = Result<Inference, String>;

impl Gateway {
    /// A gateway that signs requests with `key`, whose account must be a validator's or hold the miners' floor.
    pub fn new(chain: Arc<dyn ChainView>, asker: Arc<dyn Asker>, key: Keypair, metrics: RoleMetrics) -> Self {
        let checks = Semaphore::new(CHECKS);
        Self(Arc::new(Inner { chain, asker, key, models: Models::default(), book: Mutex::default(), checks, metrics }))
    }

    /// Runs a model, by name or id, on an input in the model's own units (for the digits: pixels 0..=16). The receipt is by
    /// `groth16` where the model has a key and nothing else is asked for, else by `sumcheck`.
    ///
    /// # Errors
    /// [`InferError`].
    pub async fn infer(
        &self,
        model: &str,
        input: &[f32],
        system: Option<ReceiptSystem>,
    ) -> Result<Inference, InferError> {
        let snapshot = self.0.chain.snapshot()?;
        let (record, engine) = self.0.find(&snapshot, model)?;
        let input = engine.quantise(input).map_err(InferError::Input)?;
        self.0.infer(snapshot, record, engine, input, system).await
    }

    /// As [`Gateway::infer`], on an input that is quantised already.
    ///
    /// # Errors
    /// [`InferError`].
    pub async fn infer_quantised(&self, model: &str, input: Vec<i16>) -> Result<Inference, InferError> {
        let snapshot = self.0.chain.snapshot()?;
        let (record, engine) = self.0.find(&snapshot, model)?;
        self.0.infer(snapshot, record, engine, input, None).await
    }
}

impl Inner {
    fn find(&self, snapshot: &Snapshot, name: &str) -> Result<(ModelRecord, Arc<ExactEngine>), InferError> {
        let view = &**snapshot;
        let unknown = || InferError::UnknownModel { name: name.chars().take(80).collect() };
        let record = match name.parse::<ModelId>() {
            Ok(id) => query::model(view, &id)?,
            Err(_) => query::model_by_name(view, name)?,
        };
        let record = record.ok_or_else(unknown)?;
        if let Some(since) = record.retired {
            return Err(InferError::Retired { name: record.name, since });
        }
        let engine = self.models.engine(view, &record.id)?.ok_or_else(unknown)?;
        Ok((record, engine))
    }

    /// Miners of a model's subnet that can be asked, in random order: equal ones share the load. Exact answers are free.
    fn miners(&self, snapshot: &Snapshot, record: &ModelRecord) -> Result<Vec<(MinerRecord, Amount)>, InferError> {
        let mut miners = query::miners(&**snapshot, record.subnet)?;
        miners.retain(|m| m.retired.is_none() && !m.endpoint.peer_id.is_empty());
        miners.shuffle(&mut OsRng);
        if miners.is_empty() {
            return Err(InferError::NoMiner { subnet: record.subnet });
        }
        Ok(miners.into_iter().map(|miner| (miner, Amount::ZERO)).collect())
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn infer(
        &self,
        snapshot: Snapshot,
        record: ModelRecord,
        engine: Arc<ExactEngine>,
        input: Vec<i16>,
        system: Option<ReceiptSystem>,
    ) -> Result<Inference, InferError> {
        let key = query::model_groth16(&*snapshot, &record.id)?.map(Arc::<[u8]>::from);
        let key = match (system, key) {
            (Some(ReceiptSystem::Sumcheck), _) => None,
            (Some(ReceiptSystem::Groth16), None) => return Err(InferError::NoKey { name: record.name }),
            (_, key) => key,
        };
        let question = Question { record, engine, key };
        let (record, engine) = (&question.record, &question.engine);
        engine.run(&input).map_err(InferError::Input)?;
        let miners = self.miners(&snapshot, record)?;
        let deadline = Duration::from_millis(query::params(&*snapshot)?.latency_zero_ms);
        // Held no longer: while miners work the chain goes on.
        drop(snapshot);
        let mut tried: Vec<(AccountId, String)> = Vec::new();
        loop {
            let asked = tried.iter().map(|(miner, _)| *miner).collect();
            let chosen = self.book().choose(&miners, &asked, SECOND).cloned();
            let Some(miner) = chosen else { return Err(InferError::AllFailed { tried }) };
            let epoch = query::chain(&*self.chain.snapshot()?)?.epoch;
            let since = Instant::now();
            let busy = Busy::with(self, miner.operator);
            let answered = self.ask(&miner, &question, input.clone(), epoch, deadline).await;
            drop(busy);
            match answered {
                Ok(inference) => {
                    self.book().first(&miner.operator, since.elapsed());
                    self.metrics.gateway_answers.inc();
                    return Ok(inference);
                }
                Err(reason) => {
                    self.book().failed(&miner.operator);
                    self.metrics.gateway_rejections.inc();
                    tracing::info!(miner = %miner.operator, reason, "a miner's reply is not handed out; trying the next");
                    tried.push((miner.operator, reason));
                }
            }
        }
    }

    async fn ask(
        &self,
        miner: &MinerRecord,
        question: &Question,
        input: Vec<i16>,
        epoch: u64,
        deadline: Duration,
    ) -> Tried {
        let Question { record, engine, key } = question;
        let genesis = self.chain.genesis();
        let mut nonce = [0; 16];
        OsRng.fill_bytes(&mut nonce);
        let body = Request {
            requester: self.key.account(),
            miner: miner.operator,
            subnet: record.subnet,
            model: record.id,
            epoch,
            nonce,
            input: Input::Numbers(input),
        };
        let request = Signed::new(body, &genesis, &self.key);
        let ask = Ask { request: request.clone(), want_proof: true, want_compact: key.is_some() };
        let reply = self.asker.ask(&miner.endpoint, ask, deadline).await.map_err(|e| e.to_string())?;
        let _core = self.checks.acquire().await.map_err(|e| e.to_string())?;
        let (checker, asked, key) = (Arc::clone(engine), request.clone(), key.clone());
        let checked = tokio::task::spawn_blocking(move || worth(&genesis, &checker, &asked, reply, key.as_deref()));
        let (response, outputs, proof) = checked.await.map_err(|e| e.to_string())??;
        let (class, outline) = (class_of(&outputs), engine.model().outline().to_bytes());
        Ok(Inference { class, outputs, request, response, proof, outline })
    }
}

/// A miner that is being asked, until this is dropped: also if whoever wanted the answer has gone.
struct Busy<'a> {
    gateway: &'a Inner,
    miner: AccountId,
}

impl<'a> Busy<'a> {
    fn with(gateway: &'a Inner, miner: AccountId) -> Self {
        gateway.book().asked(&miner);
        Self { gateway, miner }
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.gateway.book().ended(&self.miner);
    }
}

/// What is asked of one miner after another.
struct Question {
    record: ModelRecord,
    engine: Arc<ExactEngine>,
    /// The model's `groth16` key, if the receipt is to be of that system.
    key: Option<Arc<[u8]>>,
}

/// The signed response, output and receipt's proof of a reply that holds in all its parts, or what is wrong with it.
fn worth(
    genesis: &Hash32,
    engine: &ExactEngine,
    request: &Signed<Request>,
    reply: Reply,
    key: Option<&[u8]>,
) -> Result<(Signed<Response>, Vec<i32>, ReceiptProof), String> {
    let checked = check(genesis, engine, request, reply).map_err(|e| e.to_string())?;
    let outputs = checked.expected;
    let proof = match (checked.finding, checked.proof) {
        (Finding::Verified, Some(proof)) => proof,
        (Finding::WrongOutput, _) => return Err("its output is not the model's".into()),
        (Finding::InvalidProof(reason), _) => return Err(format!("its proof does not hold: {reason}")),
        (Finding::OtherText(reason), _) => return Err(reason),
        (Finding::MissingProof | Finding::Verified, _) => return Err("it gave no proof".into()),
    };
    let proof = match key {
        None => ReceiptProof::Sumcheck { proof: Blob(proof) },
        Some(key) => {
            let compact =
                checked.compact.ok_or("it gave no groth16 proof for the receipt; one by sumcheck can be asked for")?;
            check_compact(genesis, engine, key, request, &outputs, &compact)
                .map_err(|reason| format!("its groth16 proof does not hold: {reason}"))?;
            ReceiptProof::Groth16 { key: Blob(key.to_vec()), proof: Blob(compact) }
        }
    };
    Ok((checked.response, outputs, proof))
}
