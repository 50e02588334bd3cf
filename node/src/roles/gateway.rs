//! The gateway: asks miners on behalf of callers, and hands out nothing that it has not verified.
//!
//! ```text
//! model name or id, input ─> miners of its subnet by settled score ─ask─> check: signed, exact, proven? ─> Inference
//!                                              └── any failure: the next miner
//! ```

use std::{sync::Arc, time::Duration};

use assay_inference::{Engine as _, EngineError, ExactEngine, class_of};
use assay_ledger::{
    StoreError, query,
    records::{MinerRecord, ModelRecord},
};
use assay_primitives::{
    AccountId, Keypair, ModelId, Signed,
    task::{Request, Response},
};
use rand::{RngCore as _, rngs::OsRng, seq::SliceRandom as _};
use tokio::sync::Semaphore;

use super::{
    Asker, ChainView, Models, RoleError, RoleMetrics, Snapshot,
    check::{Finding, check},
};
use crate::net::Ask;

/// Answers checked at once.
const CHECKS: usize = 2;

/// Asks miners for callers. Clones share everything.
#[derive(Clone)]
pub struct Gateway(Arc<Inner>);

struct Inner {
    chain: Arc<dyn ChainView>,
    asker: Arc<dyn Asker>,
    key: Keypair,
    models: Models,
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
    /// The proof, which holds.
    pub proof: Vec<u8>,
    /// The compiled model's bytes, as registered.
    pub model: Vec<u8>,
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
        matches!(self, InferError::UnknownModel { .. } | InferError::Input(_))
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
        Self(Arc::new(Inner { chain, asker, key, models: Models::default(), checks, metrics }))
    }

    /// Runs a model, by name or id, on an input in the model's own units (for the digits: pixels 0..=16).
    ///
    /// # Errors
    /// [`InferError`].
    pub async fn infer(&self, model: &str, input: &[f32]) -> Result<Inference, InferError> {
        let snapshot = self.0.chain.snapshot()?;
        let (record, engine) = self.0.find(&snapshot, model)?;
        let input = engine.quantise(input).map_err(InferError::Input)?;
        self.0.infer(snapshot, record, engine, input).await
    }

    /// As [`Gateway::infer`], on an input that is quantised already.
    ///
    /// # Errors
    /// [`InferError`].
    pub async fn infer_quantised(&self, model: &str, input: Vec<i16>) -> Result<Inference, InferError> {
        let snapshot = self.0.chain.snapshot()?;
        let (record, engine) = self.0.find(&snapshot, model)?;
        self.0.infer(snapshot, record, engine, input).await
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
        let engine = self.models.engine(view, &record.id)?.ok_or_else(unknown)?;
        Ok((record, engine))
    }

    /// Miners by settled score, the best first; equal ones in random order, so that they share the load.
    fn miners(&self, snapshot: &Snapshot, record: &ModelRecord) -> Result<Vec<MinerRecord>, InferError> {
        let mut miners = query::miners(&**snapshot, record.subnet)?;
        miners.retain(|m| m.retired.is_none() && !m.endpoint.peer_id.is_empty());
        miners.shuffle(&mut OsRng);
        miners.sort_by_key(|m| std::cmp::Reverse(m.score));
        if miners.is_empty() { Err(InferError::NoMiner { subnet: record.subnet }) } else { Ok(miners) }
    }

    async fn infer(
        &self,
        snapshot: Snapshot,
        record: ModelRecord,
        engine: Arc<ExactEngine>,
        input: Vec<i16>,
    ) -> Result<Inference, InferError> {
        engine.run(&input).map_err(InferError::Input)?;
        let miners = self.miners(&snapshot, &record)?;
        let deadline = Duration::from_millis(query::params(&*snapshot)?.latency_zero_ms);
        // Held no longer: while miners work the chain goes on.
        drop(snapshot);
        let mut tried = Vec::new();
        for miner in miners {
            let epoch = query::chain(&*self.chain.snapshot()?)?.epoch;
            match self.ask(&miner, &record, &engine, input.clone(), epoch, deadline).await {
                Ok(inference) => {
                    self.metrics.gateway_answers.inc();
                    return Ok(inference);
                }
                Err(reason) => {
                    self.metrics.gateway_rejections.inc();
                    tracing::info!(miner = %miner.operator, reason, "a miner's reply is not handed out; trying the next");
                    tried.push((miner.operator, reason));
                }
            }
        }
        Err(InferError::AllFailed { tried })
    }

    async fn ask(
        &self,
        miner: &MinerRecord,
        record: &ModelRecord,
        engine: &Arc<ExactEngine>,
        input: Vec<i16>,
        epoch: u64,
        deadline: Duration,
    ) -> Tried {
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
            input,
        };
        let request = Signed::new(body, &genesis, &self.key);
        let ask = Ask { request: request.clone(), want_proof: true };
        let reply = self.asker.ask(&miner.endpoint, ask, deadline).await.map_err(|e| e.to_string())?;
        let _core = self.checks.acquire().await.map_err(|e| e.to_string())?;
        let (checker, asked) = (Arc::clone(engine), request.clone());
        let checked = tokio::task::spawn_blocking(move || check(&genesis, &checker, &asked, reply));
        let checked = checked.await.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
        match (checked.finding, checked.proof) {
            (Finding::Verified, Some(proof)) => {
                let outputs = checked.expected;
                let (class, response) = (class_of(&outputs), checked.response);
                Ok(Inference { class, outputs, request, response, proof, model: engine.model().to_bytes() })
            }
            (Finding::WrongOutput, _) => Err("its output is not the model's".into()),
            (Finding::InvalidProof(reason), _) => Err(format!("its proof does not hold: {reason}")),
            (Finding::MissingProof | Finding::Verified, _) => Err("it gave no proof".into()),
        }
    }
}
