//! Miners as the ones who answer.
//!
//! ```text
//! request ─> the miner that is likely to be done first, among those with a good score ─tokens─> text ─> client
//!               └─ dead, silent, or false: the next, which goes on after the last token
//! signed answer ─> kept for its receipt
//! ```
//!
//! An answer is a function of model and request, so another miner goes on where one stopped, and the client cannot tell.
//! The one that goes on looks at what was said before it; a beginning that two miners refuse was false, and the client is
//! told so.

mod bills;
mod measures;
mod pace;
mod telling;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use assay_inference::llm::{self, LoadOptions};
use assay_ledger::{
    StateRead, StoreError, query,
    records::{ModelKind, ModelRecord},
};
use assay_primitives::{
    AccountId, Amount, Keypair, ModelId, Signed,
    receipt::{Receipt, ReceiptProof},
    task::{Request, Response},
    text::{self, TextInput},
};
use async_trait::async_trait;
use futures::StreamExt as _;
use tokio_util::sync::CancellationToken;

use super::{
    backend::{Answering, Backend, EmbedInput, Embedding, TextModel, TextRequest, embed_by},
    error::ApiError,
    stream::{fresh_id, now},
    wire::ModelCard,
};
use crate::{
    home::KeptError,
    roles::{Asker, ChainView, RoleError, RoleMetrics, choice::Book},
    texts::{self, Texts},
};

pub use self::bills::Account;
use self::{bills::Bills, measures::Measures, pace::Pace};

/// Finished answers whose receipts can be asked for.
const KEPT: usize = 16_384;
/// Pieces that wait for a slow client.
const PIECES_WAITING: usize = 64;

/// Makes an answer's receipt at the present height.
pub type ReceiptMaker =
    Arc<dyn Fn(Signed<Request>, Signed<Response>, ReceiptProof, Vec<u8>) -> Result<Receipt, String> + Send + Sync>;

/// How a gateway asks the network's miners.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// Signs requests and payments; its account must be a validator's or hold the miners' floor.
    pub key: Keypair,
    /// The language models that it has the files of.
    pub texts: Texts,
    /// The folder of what it owes; made if need be.
    pub bills: PathBuf,
    /// What a second of waiting is worth.
    pub second: Amount,
}

/// The network's miners. Clones share everything.
#[derive(Clone)]
pub struct Network(Arc<Inner>);

struct Inner {
    chain: Arc<dyn ChainView>,
    asker: Arc<dyn Asker>,
    config: NetworkConfig,
    receipt: ReceiptMaker,
    metrics: RoleMetrics,
    models: Mutex<BTreeMap<ModelId, TextModel>>,
    book: Mutex<Book>,
    finished: Mutex<Finished>,
    measures: Measures,
    pace: Pace,
    bills: Bills,
    /// Seconds since 1970 at which this gateway started.
    created: u64,
}

/// Answers by the names of their receipts, the oldest let go.
#[derive(Default)]
struct Finished {
    order: VecDeque<String>,
    answers: BTreeMap<String, (Signed<Request>, Signed<Response>)>,
}

impl Finished {
    fn keep(&mut self, name: String, answer: (Signed<Request>, Signed<Response>)) {
        if self.order.len() >= KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.answers.remove(&oldest);
        }
        self.order.push_back(name.clone());
        self.answers.insert(name, answer);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Network {
    /// A way to the miners.
    ///
    /// # Errors
    /// [`RoleError`] if the folder of bills cannot be used.
    pub fn new(
        chain: Arc<dyn ChainView>,
        asker: Arc<dyn Asker>,
        config: NetworkConfig,
        receipt: ReceiptMaker,
        metrics: RoleMetrics,
    ) -> Result<Self, RoleError> {
        Ok(Self(Arc::new(Inner {
            bills: Bills::open(&config.bills)?,
            chain,
            asker,
            config,
            receipt,
            metrics,
            models: Mutex::default(),
            book: Mutex::default(),
            finished: Mutex::default(),
            measures: Measures::new(),
            pace: Pace::default(),
            created: now(),
        })))
    }

    /// Pays the miners, until `stop`.
    pub async fn settle(&self, stop: CancellationToken) {
        let Inner { bills, chain, config, metrics, .. } = &*self.0;
        bills.settle(&**chain, &config.key, &metrics.gateway_payments, stop).await;
    }

    /// Books what a miner is to be paid for an answer to a request of `epoch`; gives the amount.
    fn owe(&self, miner: &AccountId, epoch: u64, prompt: usize, completion: usize) -> Result<Amount, StoreError> {
        let view = self.0.chain.snapshot()?;
        let cost = query::asking(&*view, miner)?.at(epoch).of(prompt as u64, completion as u64);
        self.0.bills.owe(miner, cost, Amount::ZERO, self.paid(&*view, miner)?);
        Ok(cost)
    }

    /// Books an answer of which nobody waits for the rest. Its miner may have told more than the `heard` tokens.
    fn abandon(&self, request: &Request, heard: usize) -> Result<(), StoreError> {
        let Some(text) = request.input.text() else { return Ok(()) };
        let view = self.0.chain.snapshot()?;
        let tariff = query::asking(&*view, &request.miner)?.at(request.epoch);
        let of = |completion: u64| tariff.of(text.prompt.len() as u64, completion);
        let cost = if heard > 0 { of(heard as u64) } else { Amount::ZERO };
        let open = Amount(of(u64::from(text.max_tokens)).0.saturating_sub(cost.0));
        self.0.bills.owe(&request.miner, cost, open, self.paid(&*view, &request.miner)?);
        Ok(())
    }

    /// A miner that is to be paid first says what it billed in all.
    fn claim(&self, miner: &AccountId, billed: Amount) -> Result<(), StoreError> {
        let view = self.0.chain.snapshot()?;
        self.0.bills.claim(miner, billed, self.paid(&*view, miner)?);
        Ok(())
    }

    fn paid(&self, view: &dyn StateRead, miner: &AccountId) -> Result<Amount, StoreError> {
        query::paid(view, &self.0.config.key.account(), miner)
    }

    fn record(&self, name: &str) -> Result<ModelRecord, ApiError> {
        let view = self.0.chain.snapshot().map_err(ApiError::internal)?;
        let found = match name.parse::<ModelId>() {
            Ok(id) => query::model(&*view, &id),
            Err(_) => query::model_by_name(&*view, name),
        };
        let found = found.map_err(ApiError::internal)?.filter(|m| m.kind == ModelKind::Text && m.retired.is_none());
        found.ok_or_else(|| ApiError::no_model(name))
    }
}

/// What stands between the gateway whose folder this is and each miner.
///
/// # Errors
/// [`KeptError`] if it cannot be read.
pub fn accounts(dir: &Path) -> Result<BTreeMap<AccountId, Account>, KeptError> {
    bills::read(dir)
}

/// Of a registered model that this gateway can do nothing with.
fn unserved(model: &str, reason: &str) -> ApiError {
    tracing::error!(model, reason, "a registered model cannot be served");
    ApiError::unavailable(format!("this gateway cannot serve {model}; its log says why"))
}

#[async_trait]
impl Backend for Network {
    async fn models(&self) -> Result<Vec<ModelCard>, ApiError> {
        let view = self.0.chain.snapshot().map_err(ApiError::internal)?;
        let models = query::models(&*view).map_err(ApiError::internal)?;
        let here = models.into_iter().filter(|m| m.kind == ModelKind::Text && m.retired.is_none());
        let card = |m: ModelRecord| {
            let bytes = query::model_bytes(&*view, &m.id).map_err(ApiError::internal)?.unwrap_or_default();
            let committed = text::TextModel::from_bytes(&bytes).map_err(ApiError::internal)?;
            Ok(ModelCard {
                id: m.name,
                object: "model",
                created: self.0.created,
                owned_by: m.registrant.map_or_else(|| "genesis".to_owned(), |owner| owner.to_string()),
                max_model_len: Some(committed.context as usize),
                parent: None,
            })
        };
        here.map(card).collect()
    }

    async fn text_model(&self, name: &str) -> Result<TextModel, ApiError> {
        let record = self.record(name)?;
        if let Some(model) = locked(&self.0.models).get(&record.id) {
            return Ok(TextModel { name: name.to_owned(), ..model.clone() });
        }
        let view = self.0.chain.snapshot().map_err(ApiError::internal)?;
        let bytes = query::model_bytes(&*view, &record.id).map_err(ApiError::internal)?.unwrap_or_default();
        let committed = text::TextModel::from_bytes(&bytes).map_err(ApiError::internal)?;
        let (texts, id) = (self.0.config.texts.clone(), record.id);
        let looked = tokio::task::spawn_blocking(move || {
            let path = texts.entrance(&id).map_err(|e| e.to_string())?;
            let known = llm::survey(&path, &LoadOptions::default()).map_err(|e| e.to_string())?;
            let codec = known.codec.map_err(|e| e.to_string())?;
            Ok::<_, String>((codec.grammars(&known.config), codec))
        });
        let looked = looked.await.map_err(ApiError::internal)?;
        let (grammars, codec) = looked.map_err(|reason| unserved(&record.name, &reason))?;
        let model = TextModel {
            name: name.to_owned(),
            codec,
            grammars,
            context: committed.context as usize,
            vocabulary: committed.vocabulary as usize,
            fingerprint: format!("fp_{}", &record.id.to_string()[..10]),
        };
        locked(&self.0.models).insert(record.id, model.clone());
        Ok(model)
    }

    async fn generate(&self, model: &TextModel, request: TextRequest) -> Result<Answering, ApiError> {
        let record = self.record(&model.name)?;
        let text = TextInput {
            max_tokens: u32::try_from(request.max_tokens).unwrap_or(u32::MAX),
            draw: texts::draw(&request.sampling).map_err(|e| ApiError::invalid("temperature", e.to_string()))?,
            form: request.form.as_ref().map(|(grammar, _)| texts::form(grammar)),
            stop: request.stop,
            ignore_end: request.ignore_end,
            prompt: request.prompt,
        };
        let name = fresh_id("receipt");
        let (pieces, chunks) = tokio::sync::mpsc::channel(PIECES_WAITING);
        let telling = telling::Telling {
            network: self.clone(),
            record,
            model: model.clone(),
            text,
            logprobs: request.logprobs.map(|n| u8::try_from(n).unwrap_or(u8::MAX)),
            receipt: name.clone(),
            wait: self.0.pace.wait(request.stream),
            arrived: request.arrived,
            pieces,
        };
        // Refused before any text: told as such, with a status of its own.
        let tariff = telling.start().await?;
        let next = |mut chunks: tokio::sync::mpsc::Receiver<_>| async move { chunks.recv().await.map(|c| (c, chunks)) };
        Ok(Answering { chunks: futures::stream::unfold(chunks, next).boxed(), receipt: Some(name), tariff })
    }

    async fn receipt(&self, id: &str) -> Result<String, ApiError> {
        let answer = locked(&self.0.finished).answers.get(id).cloned();
        let (request, response) = answer.ok_or_else(|| {
            ApiError::no_receipt(format!(
                "there is no receipt {id:?}: the answer is not finished, failed, or is among none of the last {KEPT}"
            ))
        })?;
        let view = self.0.chain.snapshot().map_err(ApiError::internal)?;
        let bytes = query::model_bytes(&*view, &request.body.model).map_err(ApiError::internal)?;
        let bytes = bytes.ok_or_else(|| ApiError::internal("the bytes of a registered model are missing"))?;
        let receipt =
            (self.0.receipt)(request, response, ReceiptProof::Replay {}, bytes).map_err(ApiError::internal)?;
        Ok(receipt.to_json())
    }

    /// By this gateway's own copy of the model: nobody else stands for a vector, and none has a receipt.
    async fn embed(&self, model: &str, inputs: Vec<EmbedInput>) -> Result<Embedding, ApiError> {
        let record = self.record(model)?;
        let llm =
            self.0.config.texts.ready(record.id).await.map_err(|error| unserved(&record.name, &error.to_string()))?;
        embed_by(llm, inputs).await
    }

    async fn health(&self) -> Result<(), String> {
        self.0.chain.snapshot().map(drop).map_err(|e| e.to_string())
    }

    fn metrics(&self, text: &mut String) {
        self.0.measures.encode(text);
    }
}
