//! Every method: its parameters, and the query behind it.

use std::sync::Arc;

use assay_chain_spec::Params as ChainParams;
use assay_ledger::{
    BlockContext, Refusal,
    query::{self},
    records::{ModelRecord, Operator, Unbonding},
    tx::SignedTransaction,
};
use assay_primitives::{AccountId, Amount, Hash32, ModelId, receipt::Blob, task::SubnetId};
use jsonrpsee::{
    RpcModule,
    types::{ErrorObjectOwned, Params},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{BackendError, INVALID_PARAMS, RpcBackend};
use crate::home::Role;

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
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfAccount {
    account: AccountId,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfSubnet {
    subnet: SubnetId,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfEpoch {
    epoch: u64,
    subnet: SubnetId,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfProposal {
    id: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfTransaction {
    id: Hash32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfBlock {
    height: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfModel {
    /// A name, or the 64 digits of an id.
    model: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfKey {
    key: Blob,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Encoded {
    transaction: Blob,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Infer {
    model: String,
    input: Vec<f32>,
}

fn refuse(error: &BackendError) -> ErrorObjectOwned {
    if let BackendError::Internal(reason) = error {
        tracing::error!(%reason, "an RPC call failed");
    }
    ErrorObjectOwned::owned(error.code(), error.to_string(), None::<()>)
}

/// Reads parameters given by name or by position; none at all reads as no fields.
fn parse<P: DeserializeOwned>(params: &Params<'_>) -> Result<P, ErrorObjectOwned> {
    let mut text = serde_json::Deserializer::from_str(params.as_str().unwrap_or("{}"));
    serde_path_to_error::deserialize(&mut text).map_err(|e| {
        let message = format!("parameter `{}`: {}", e.path(), e.inner());
        ErrorObjectOwned::owned(INVALID_PARAMS, message, None::<()>)
    })
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

type Reply<R> = Result<R, BackendError>;

/// The module of all methods over one node.
pub fn methods(backend: Backend) -> RpcModule<Backend> {
    let mut m = RpcModule::new(backend);
    reading(&mut m, "assay_status", |b, _: Nothing| status(b));
    reading(&mut m, "assay_simulate", |b, p: Encoded| simulate(b, &p.transaction.0));
    reading(&mut m, "assay_tx", |b, p: OfTransaction| {
        b.transaction(&p.id)?.ok_or_else(|| {
            BackendError::NotFound(format!("transaction {} stands in no block; it may still be waiting", p.id))
        })
    });
    reading(&mut m, "assay_block", |b, p: OfBlock| block(b, p.height));
    reading(&mut m, "assay_nonce", |b, p: OfAccount| b.next_nonce(&p.account));
    reading(&mut m, "assay_account", |b, p: OfAccount| account(b, &p.account));
    reading(&mut m, "assay_delegations", |b, p: OfAccount| delegations(b, &p.account));
    reading(&mut m, "assay_validators", |b, _: Nothing| validators(b));
    reading(&mut m, "assay_subnets", |b, _: Nothing| Ok(query::subnets(&*b.snapshot()?)?));
    reading(&mut m, "assay_miners", |b, p: OfSubnet| {
        known_subnet(b, p.subnet)?;
        Ok(query::miners(&*b.snapshot()?, p.subnet)?)
    });
    reading(&mut m, "assay_params", |b, _: Nothing| params(b));
    reading(&mut m, "assay_proposals", |b, _: Nothing| Ok(query::proposals(&*b.snapshot()?)?));
    reading(&mut m, "assay_proposal", |b, p: OfProposal| proposal(b, p.id));
    reading(&mut m, "assay_epochs", |b, p: OfSubnet| epochs(b, p.subnet));
    reading(&mut m, "assay_epoch_report", |b, p: OfEpoch| {
        known_subnet(b, p.subnet)?;
        query::epoch_report(&*b.snapshot()?, p.epoch, p.subnet)?.ok_or_else(|| {
            BackendError::NotFound(format!(
                "epoch {} of subnet {} is not settled; an epoch settles at the end of the next one, `assay_epochs` lists those that are",
                p.epoch, p.subnet
            ))
        })
    });
    reading(&mut m, "assay_slashes", |b, _: Nothing| Ok(query::slashes(&*b.snapshot()?)?));
    reading(&mut m, "assay_supply", |b, _: Nothing| supply(b));
    reading(&mut m, "assay_models", |b, _: Nothing| Ok(query::models(&*b.snapshot()?)?));
    reading(&mut m, "assay_model", |b, p: OfModel| model(b, &p.model));
    reading(&mut m, "assay_model_bytes", |b, p: OfModel| {
        let record = model(b, &p.model)?;
        let bytes = query::model_bytes(&*b.snapshot()?, &record.id)?;
        bytes.map(Blob).ok_or_else(|| BackendError::Internal(format!("the bytes of model {} are missing", record.id)))
    });
    reading(&mut m, "assay_proof", |b, p: OfKey| {
        b.prove(&p.key.0)?
            .ok_or_else(|| BackendError::NotFound(format!("the state has no entry {}", hex::encode(&p.key.0))))
    });
    m.register_async_method("assay_submit", |params, backend, _| async move {
        let p: Encoded = parse(&params)?;
        backend.submit(p.transaction.0).await.map_err(|e| refuse(&e))
    })
    .expect("each name is registered once");
    m.register_async_method("assay_infer", |params, backend, _| async move {
        let p: Infer = parse(&params)?;
        backend.infer(&p.model, p.input).await.map_err(|e| refuse(&e))
    })
    .expect("each name is registered once");
    m
}

pub(crate) fn status(b: &dyn RpcBackend) -> Reply<Status> {
    let (identity, vitals) = (b.identity(), b.vitals());
    let chain = query::chain(&*b.snapshot()?)?;
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

#[derive(Clone, Serialize)]
struct AccountView {
    account: AccountId,
    balance: Amount,
    nonce: u64,
    operator: Option<Operator>,
    stake: Amount,
    unbonding: Vec<Unbonding>,
}

fn account(b: &dyn RpcBackend, id: &AccountId) -> Reply<AccountView> {
    let view = b.snapshot()?;
    let account = query::account(&*view, id)?;
    Ok(AccountView {
        account: *id,
        balance: account.balance,
        nonce: account.nonce,
        operator: query::operator(&*view, id)?,
        stake: query::stake_of(&*view, id)?,
        unbonding: query::unbondings_of(&*view, id)?,
    })
}

fn delegations(b: &dyn RpcBackend, id: &AccountId) -> Reply<Vec<Value>> {
    let list = query::delegations_of(&*b.snapshot()?, id)?;
    Ok(list.into_iter().map(|(validator, amount)| json!({ "validator": validator, "amount": amount })).collect())
}

fn validators(b: &dyn RpcBackend) -> Reply<Vec<Value>> {
    let view = b.snapshot()?;
    let set = query::next_validator_set(&*view)?;
    let line = |record: assay_ledger::records::ValidatorRecord| {
        let power = set.power_of(&record.operator);
        let mut line = serde_json::to_value(&record).map_err(|e| BackendError::Internal(e.to_string()))?;
        line["power"] = json!(power);
        Ok(line)
    };
    query::validators(&*view)?.into_iter().map(line).collect()
}

fn params(b: &dyn RpcBackend) -> Reply<Vec<Value>> {
    let values = query::params(&*b.snapshot()?)?;
    let line = |name: &&'static str| {
        let internal = |e: assay_chain_spec::ParamError| BackendError::Internal(e.to_string());
        let (value, bounds) = (values.get(name).map_err(internal)?, ChainParams::bounds(name).map_err(internal)?);
        Ok(json!({
            "name": name, "value": value, "low": bounds.low, "high": bounds.high,
            "description": ChainParams::describe(name),
        }))
    };
    ChainParams::NAMES.iter().map(line).collect()
}

fn proposal(b: &dyn RpcBackend, id: u64) -> Reply<Value> {
    let view = b.snapshot()?;
    let proposal = query::proposal(&*view, id)?
        .ok_or_else(|| BackendError::NotFound(format!("there is no proposal {id}; `assay gov list` lists them")))?;
    let vote = |(account, vote): (AccountId, assay_ledger::records::VoteRecord)| json!({ "account": account, "ballot": vote.ballot, "stake": vote.stake, "height": vote.height });
    let votes: Vec<Value> = query::votes(&*view, id)?.into_iter().map(vote).collect();
    Ok(json!({ "proposal": proposal, "votes": votes }))
}

fn known_subnet(b: &dyn RpcBackend, id: SubnetId) -> Reply<()> {
    match query::subnet(&*b.snapshot()?, id)? {
        Some(_) => Ok(()),
        None => Err(BackendError::NotFound(format!("there is no subnet {id}; `assay subnet list` lists them"))),
    }
}

fn epochs(b: &dyn RpcBackend, subnet: SubnetId) -> Reply<Vec<Value>> {
    known_subnet(b, subnet)?;
    let line =
        |r: assay_ledger::records::EpochReport| json!({ "epoch": r.epoch, "height": r.height, "emission": r.emission });
    Ok(query::epoch_reports(&*b.snapshot()?, subnet)?.into_iter().map(line).collect())
}

fn supply(b: &dyn RpcBackend) -> Reply<Value> {
    let view = b.snapshot()?;
    let (supply, held) = (query::supply(&*view)?, query::holdings(&*view)?);
    let parts = [held.balances, held.stakes, held.bonds, held.unbonding, held.deposits];
    let total: u128 = parts.into_iter().map(u128::from).sum();
    let expected = u128::from(supply.genesis) + u128::from(supply.minted);
    let conserved = expected.checked_sub(u128::from(supply.burned)) == Some(total);
    let total = u64::try_from(total).map_err(|_| BackendError::Internal("holdings exceed 2^64 grain".into()))?;
    Ok(json!({
        "genesis": supply.genesis, "minted": supply.minted, "burned": supply.burned,
        "total": total, "conserved": conserved, "holdings": held,
    }))
}

fn model(b: &dyn RpcBackend, named: &str) -> Reply<ModelRecord> {
    let view = b.snapshot()?;
    let found = match named.parse::<ModelId>() {
        Ok(id) => query::model(&*view, &id)?,
        Err(_) => query::model_by_name(&*view, named)?,
    };
    let shown: String = named.chars().take(80).collect();
    found.ok_or_else(|| BackendError::NotFound(format!("there is no model {shown:?}; `assay model list` lists them")))
}
