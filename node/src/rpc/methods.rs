//! Every method: its parameters, and the query behind it.

use std::sync::Arc;

use assay_ledger::{BlockContext, Refusal, query, records::Upgrade, tx::SignedTransaction};
use assay_primitives::{AccountId, Hash32, receipt::Blob, task::SubnetId};
use jsonrpsee::{
    RpcModule,
    types::{ErrorObjectOwned, Params},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::{BackendError, INVALID_PARAMS, RpcBackend, lists};
use crate::{
    chain::{self, APP_VERSION},
    home::Role,
    roles::ReceiptSystem,
};

/// Transactions tried at the same time: each executes a block, and the node has its own to execute.
const SIMULATIONS: usize = 2;

type Backend = Arc<dyn RpcBackend>;

/// The answer of `assay_status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The chain's name.
    pub chain_id: String,
    /// The chain.
    pub genesis_hash: Hash32,
    /// Last committed height.
    pub height: u64,
    /// The epoch the next block belongs to.
    pub epoch: u64,
    /// The last height of that epoch.
    pub epoch_end: u64,
    /// The state root after the last block.
    pub state_root: Hash32,
    /// Its time in milliseconds since the Unix epoch.
    pub block_time_ms: u64,
    /// Peers of the consensus engine.
    pub peers: u32,
    /// Peers of the data plane.
    pub data_peers: u32,
    /// Transactions waiting.
    pub mempool: u32,
    /// What the node does.
    pub role: Role,
    /// Its name for people.
    pub moniker: String,
    /// Its operator account.
    pub account: AccountId,
    /// Whom it works for, if it knows.
    pub owner: Option<AccountId>,
    /// Whether it does its work.
    pub healthy: bool,
    /// What is amiss; empty when healthy.
    pub reason: String,
    /// The program's version.
    pub version: String,
    /// Version of the rules that the next block goes by.
    pub app_version: u32,
    /// The upgrade that is ahead, if one is.
    pub upgrade: Option<UpgradeAhead>,
}

/// An upgrade that was voted for and is not in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpgradeAhead {
    /// Version of the rules.
    pub version: u32,
    /// The first block that goes by it.
    pub height: u64,
    /// The proposal that decided it.
    pub proposal: u64,
    /// Whether the node's program knows it; if not, the node stops before that block.
    pub known: bool,
    /// The same in words.
    pub detail: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "no parameters")]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "the parameter `account`")]
struct OfAccount {
    account: AccountId,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "the parameter `subnet`")]
struct OfSubnet {
    subnet: SubnetId,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "the parameter `subnet`, or none")]
struct MaybeSubnet {
    subnet: Option<SubnetId>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "the parameters `epoch` and `subnet`")]
struct OfEpoch {
    epoch: u64,
    subnet: SubnetId,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "the parameters `account`, `subnet` and `epoch`")]
struct OfAccountsEpoch {
    account: AccountId,
    subnet: SubnetId,
    epoch: u64,
}

/// Which part of a list that grows for ever.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "the parameters `before` and `limit`")]
pub(super) struct Page {
    /// Only what has a smaller number.
    pub(super) before: Option<u64>,
    /// At most so many, the latest; never more than [`lists::MOST`].
    pub(super) limit: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "the parameters `subnet`, `before` and `limit`")]
struct EpochsOf {
    subnet: SubnetId,
    before: Option<u64>,
    limit: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "the parameter `id`")]
struct OfProposal {
    id: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "the parameter `id`")]
struct OfTransaction {
    id: Hash32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "the parameter `height`")]
struct OfBlock {
    height: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "the parameter `model`")]
struct OfModel {
    /// A name, or the 64 digits of an id.
    model: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "the parameter `key`")]
struct OfKey {
    key: Blob,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "the parameter `transaction`")]
struct Encoded {
    transaction: Blob,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "the parameters `model`, `input` and, if you like, `proof`")]
struct Infer {
    model: String,
    input: Vec<f32>,
    #[serde(default)]
    proof: Option<ReceiptSystem>,
}

fn refuse(error: &BackendError) -> ErrorObjectOwned {
    if let BackendError::Internal(reason) = error {
        tracing::error!(%reason, "an RPC call failed");
    }
    ErrorObjectOwned::owned(error.code(), error.to_string(), None::<()>)
}

/// Where in a JSON text what is wrong; the place is left out if it is the whole.
pub(crate) fn fault(part: &str, error: &serde_path_to_error::Error<serde_json::Error>) -> String {
    match error.path().to_string().as_str() {
        "." => error.inner().to_string(),
        path => format!("{part} `{path}`: {}", error.inner()),
    }
}

/// Reads parameters given by name or by position; none at all reads as no fields.
fn parse<P: DeserializeOwned>(params: &Params<'_>) -> Result<P, ErrorObjectOwned> {
    let mut text = serde_json::Deserializer::from_str(params.as_str().unwrap_or("{}"));
    serde_path_to_error::deserialize(&mut text)
        .map_err(|e| ErrorObjectOwned::owned(INVALID_PARAMS, fault("parameter", &e), None::<()>))
}

/// A method that only reads; it runs on a thread that may block on the disk.
fn reading<P, R>(module: &mut RpcModule<Backend>, name: &'static str, run: fn(&dyn RpcBackend, P) -> Reply<R>)
where
    P: DeserializeOwned + 'static,
    R: Serialize + Clone + Send + 'static,
{
    let call = move |params: Params<'_>, backend: Arc<Backend>, _: jsonrpsee::Extensions| {
        run(&**backend, parse(&params)?).map_err(|e| refuse(&e))
    };
    module.register_blocking_method(name, call).expect("each name is registered once");
}

pub(super) type Reply<R> = Result<R, BackendError>;

/// The module of all methods over one node.
pub fn methods(backend: Backend) -> RpcModule<Backend> {
    let mut m = RpcModule::new(backend);
    reading(&mut m, "assay_status", |b, _: Nothing| status(b));
    reading(&mut m, "assay_tx", |b, p: OfTransaction| {
        b.transaction(&p.id)?.ok_or_else(|| {
            BackendError::NotFound(format!("transaction {} stands in no block; it may still be waiting", p.id))
        })
    });
    reading(&mut m, "assay_block", |b, p: OfBlock| block(b, p.height));
    reading(&mut m, "assay_nonce", |b, p: OfAccount| b.next_nonce(&p.account));
    reading(&mut m, "assay_account", |b, p: OfAccount| lists::account(b, &p.account));
    reading(&mut m, "assay_delegations", |b, p: OfAccount| lists::delegations(b, &p.account));
    reading(&mut m, "assay_losses", |b, p: OfAccount| lists::losses(b, &p.account));
    reading(&mut m, "assay_validators", |b, _: Nothing| lists::validators(b));
    reading(&mut m, "assay_subnets", |b, _: Nothing| lists::subnets(b));
    reading(&mut m, "assay_miners", |b, p: OfSubnet| {
        lists::known_subnet(b, p.subnet)?;
        lists::miners(b, p.subnet)
    });
    reading(&mut m, "assay_payments", |b, p: OfAccount| lists::payments(b, &p.account));
    reading(&mut m, "assay_params", |b, p: MaybeSubnet| lists::params(b, p.subnet));
    reading(&mut m, "assay_proposals", |b, p: Page| lists::proposals(b, p));
    reading(&mut m, "assay_proposal", |b, p: OfProposal| lists::proposal(b, p.id));
    reading(&mut m, "assay_epochs", |b, p: EpochsOf| {
        lists::epochs(b, p.subnet, Page { before: p.before, limit: p.limit })
    });
    reading(&mut m, "assay_epoch_report", |b, p: OfEpoch| {
        lists::known_subnet(b, p.subnet)?;
        query::epoch_report(&*b.snapshot()?, p.epoch, p.subnet)?.ok_or_else(|| {
            BackendError::NotFound(format!(
                "epoch {} of subnet {} is not settled; an epoch settles at the end of the next one, `assay_epochs` lists those that are",
                p.epoch, p.subnet
            ))
        })
    });
    reading(&mut m, "assay_explain", |b, p: OfAccountsEpoch| lists::explain(b, &p.account, p.subnet, p.epoch));
    reading(&mut m, "assay_slashes", |b, p: Page| lists::slashes(b, p));
    reading(&mut m, "assay_supply", |b, _: Nothing| lists::supply(b));
    reading(&mut m, "assay_models", |b, _: Nothing| Ok(query::models(&*b.snapshot()?)?));
    reading(&mut m, "assay_model", |b, p: OfModel| lists::model(b, &p.model));
    reading(&mut m, "assay_model_bytes", |b, p: OfModel| {
        let record = lists::model(b, &p.model)?;
        let bytes = query::model_bytes(&*b.snapshot()?, &record.id)?;
        bytes.map(Blob).ok_or_else(|| BackendError::Internal(format!("the bytes of model {} are missing", record.id)))
    });
    reading(&mut m, "assay_proof", |b, p: OfKey| {
        b.prove(&p.key.0)?
            .ok_or_else(|| BackendError::NotFound(format!("the state has no entry {}", hex::encode(&p.key.0))))
    });
    let executing = Arc::new(Semaphore::new(SIMULATIONS));
    m.register_async_method("assay_simulate", move |params, backend, _| {
        let executing = Arc::clone(&executing);
        async move {
            let p: Encoded = parse(&params)?;
            let permit = executing.acquire_owned().await.expect("the semaphore is never closed");
            // The permit goes with the work, which goes on when the caller hangs up.
            let run = move || {
                let _permit = permit;
                simulate(&**backend, &p.transaction.0)
            };
            let done = tokio::task::spawn_blocking(run).await;
            done.unwrap_or_else(|e| Err(BackendError::Internal(e.to_string()))).map_err(|e| refuse(&e))
        }
    })
    .expect("each name is registered once");
    m.register_async_method("assay_submit", |params, backend, _| async move {
        let p: Encoded = parse(&params)?;
        backend.submit(p.transaction.0).await.map_err(|e| refuse(&e))
    })
    .expect("each name is registered once");
    m.register_async_method("assay_infer", |params, backend, _| async move {
        let p: Infer = parse(&params)?;
        backend.infer(&p.model, p.input, p.proof).await.map_err(|e| refuse(&e))
    })
    .expect("each name is registered once");
    m
}

pub(crate) fn status(b: &dyn RpcBackend) -> Reply<Status> {
    let (identity, vitals) = (b.identity(), b.vitals());
    let snapshot = b.snapshot()?;
    let (chain, version) = (query::chain(&*snapshot)?, query::app_version(&*snapshot)?);
    let detail = chain::upgrade_ahead(&version, chain.height, APP_VERSION);
    let upgrade = version.planned.zip(detail).map(|(Upgrade { version, height, proposal }, detail)| UpgradeAhead {
        version,
        height,
        proposal,
        known: version <= APP_VERSION,
        detail,
    });
    Ok(Status {
        chain_id: identity.chain_id.clone(),
        genesis_hash: identity.genesis,
        height: vitals.height,
        epoch: chain.epoch,
        epoch_end: chain.epoch_end,
        state_root: vitals.state_root,
        block_time_ms: vitals.block_time_ms,
        peers: vitals.peers,
        data_peers: vitals.data_peers,
        mempool: vitals.mempool,
        role: identity.role,
        moniker: identity.moniker.clone(),
        account: identity.account,
        owner: identity.owner,
        healthy: vitals.healthy,
        reason: vitals.reason,
        version: env!("CARGO_PKG_VERSION").into(),
        app_version: version.at(chain.height.saturating_add(1)),
        upgrade,
    })
}

/// Executes a transaction on the state after the last block and throws the effect away.
fn simulate(b: &dyn RpcBackend, bytes: &[u8]) -> Reply<Value> {
    let snapshot = b.snapshot()?;
    let refused = |e: Refusal| match e.is_store() {
        true => BackendError::Internal(e.to_string()),
        false => BackendError::Refused(e.to_string()),
    };
    let tx: SignedTransaction =
        assay_primitives::decode("transaction", bytes).map_err(|e| BackendError::Refused(e.to_string()))?;
    let genesis = b.identity().genesis;
    let account = query::account(&*snapshot, &tx.body.signer)?;
    let pending = b.next_nonce(&tx.body.signer)?.saturating_sub(account.nonce);
    assay_ledger::admit(&*snapshot, &genesis, &tx, bytes.len(), pending).map_err(refused)?;
    if pending > 0 {
        return Err(BackendError::Unavailable(format!(
            "{pending} earlier transactions of this account wait for a block; try again once they are in one"
        )));
    }
    let (vitals, id) = (b.vitals(), tx.id(&genesis));
    let context = BlockContext {
        genesis,
        height: query::chain(&*snapshot)?.height + 1,
        time_ms: vitals.block_time_ms + 1,
        proposer: b.identity().account,
        parent: Hash32::ZERO,
    };
    let (_, outcome) = assay_ledger::build(&*snapshot, &context, &mut [tx].into_iter(), usize::MAX)?;
    let result = outcome.results.into_iter().next().ok_or_else(|| {
        BackendError::Refused("the transaction does not fit into the next block as the state stands".into())
    })?;
    Ok(json!({ "id": id, "ok": result.ok, "error": result.error, "fee": result.fee, "events": outcome.events }))
}

fn block(b: &dyn RpcBackend, height: Option<u64>) -> Reply<Value> {
    let tip = b.vitals().height;
    let height = height.unwrap_or(tip);
    let body = b
        .block(height)?
        .ok_or_else(|| BackendError::NotFound(format!("there is no block {height} here; blocks go from 1 to {tip}")))?;
    let genesis = b.identity().genesis;
    let line = |(i, bytes): (usize, &Vec<u8>)| -> Reply<Value> {
        let tx: SignedTransaction =
            assay_primitives::decode("stored transaction", bytes).map_err(|e| BackendError::Internal(e.to_string()))?;
        Ok(json!({
            "id": tx.id(&genesis),
            "signer": tx.body.signer,
            "nonce": tx.body.nonce,
            "fee": tx.body.fee,
            "action": tx.body.action.name(),
            "bytes": bytes.len(),
            "error": body.results.get(i).cloned().flatten(),
        }))
    };
    let transactions: Vec<Value> = body.transactions.iter().enumerate().map(line).collect::<Reply<_>>()?;
    Ok(json!({
        "id": body.signed.header.id(&genesis),
        "header": body.signed.header,
        "certificate": body.signed.certificate,
        "transactions": transactions,
    }))
}
