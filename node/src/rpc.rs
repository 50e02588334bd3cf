//! JSON-RPC: how wallets, tools and people read a node and hand it transactions.
//!
//! ```text
//! RpcClient ──HTTP──> server (limits) ──> methods ──┬─ ledger::query over a Snapshot of the state
//!                                                   └─ RpcBackend: mempool, blocks, proofs, inference
//! ```
//!
//! The server sees the node only through [`RpcBackend`]; most methods are queries over its [`Snapshot`]. Every
//! method is named `assay_…` and takes its parameters by name or by position; `docs/cli.md` lists them.
//!
//! | code | means |
//! |---|---|
//! | -32602 | malformed parameters: mend the call |
//! | -32001 | refused: what was asked breaks a rule, the message says which |
//! | -32002 | there is no such thing |
//! | -32003 | not now: the node cannot do it yet, try again |
//! | -32603 | the node failed; see its log |

mod client;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod fixture;
mod lists;
mod methods;
mod server;

use std::sync::Arc;

use assay_ledger::StateRead;
use assay_primitives::{
    AccountId, Hash32, SignedHeader,
    light::SetChange,
    receipt::{Receipt, StateFact},
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub use client::{ClientError, RpcClient};
pub(crate) use methods::fault;
pub use methods::{Status, UpgradeAhead, methods};
pub(crate) use server::{Calls, MAX_REQUEST_BYTES};
pub use server::{ServeError, serve};

use crate::{home::Role, roles::ReceiptSystem};

/// Refused by a rule.
pub const REFUSED: i32 = -32001;
/// No such thing.
pub const NOT_FOUND: i32 = -32002;
/// Try again later.
pub const UNAVAILABLE: i32 = -32003;
/// The node failed.
pub const INTERNAL: i32 = -32603;
/// Malformed parameters.
pub const INVALID_PARAMS: i32 = -32602;

/// The state after one committed block; it does not change under the reader.
pub type Snapshot = Arc<dyn StateRead + Send + Sync>;

/// What does not change while a node runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The chain.
    pub genesis: Hash32,
    /// Its name.
    pub chain_id: String,
    /// What the node does.
    pub role: Role,
    /// Its name for people.
    pub moniker: String,
    /// Its operator account.
    pub account: AccountId,
    /// Whom it works for, if it knows.
    pub owner: Option<AccountId>,
}

/// How a node is at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vitals {
    /// Last committed height; 0 before the first block.
    pub height: u64,
    /// The state root after it.
    pub state_root: Hash32,
    /// Its time in milliseconds since the Unix epoch; 0 before the first block.
    pub block_time_ms: u64,
    /// Peers of the consensus engine.
    pub peers: u32,
    /// Peers of the data plane.
    pub data_peers: u32,
    /// Transactions waiting.
    pub mempool: u32,
    /// Whether the node does its work.
    pub healthy: bool,
    /// What is amiss and what to do; empty when healthy.
    pub reason: String,
}

/// A transaction that stands in a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxStatus {
    /// Its id.
    pub id: Hash32,
    /// The block.
    pub height: u64,
    /// Its place in the block, from 0.
    pub index: u32,
    /// Why it was executed without effect; `None` if it took effect.
    pub error: Option<String>,
}

/// A committed block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockBody {
    /// Header and certificate.
    pub signed: SignedHeader,
    /// Encoded signed transactions, in order.
    pub transactions: Vec<Vec<u8>>,
    /// The error of each transaction, `None` where it took effect.
    pub results: Vec<Option<String>>,
}

/// A fact of the state with all that a light client needs to believe it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proven {
    /// The entry and its Merkle path.
    pub fact: StateFact,
    /// The certified header whose state root the path leads to.
    pub header: SignedHeader,
    /// Validator-set changes between genesis and the header.
    pub changes: Vec<SetChange>,
}

/// What a node hands out for an inference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Position of the largest output.
    pub class: u32,
    /// The complete receipt.
    pub receipt: Receipt,
}

/// Why a node did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// The caller asked for what a rule forbids ([`REFUSED`]).
    #[error("{0}")]
    Refused(String),
    /// There is no such thing ([`NOT_FOUND`]).
    #[error("{0}")]
    NotFound(String),
    /// Not now ([`UNAVAILABLE`]).
    #[error("{0}")]
    Unavailable(String),
    /// The node's own fault ([`INTERNAL`]).
    #[error("{0}")]
    Internal(String),
}

impl BackendError {
    /// The JSON-RPC error code.
    pub fn code(&self) -> i32 {
        match self {
            BackendError::Refused(_) => REFUSED,
            BackendError::NotFound(_) => NOT_FOUND,
            BackendError::Unavailable(_) => UNAVAILABLE,
            BackendError::Internal(_) => INTERNAL,
        }
    }
}

impl From<assay_ledger::StoreError> for BackendError {
    fn from(error: assay_ledger::StoreError) -> Self {
        BackendError::Internal(error.to_string())
    }
}

/// All that the servers see of a node.
#[async_trait]
pub trait RpcBackend: Send + Sync + 'static {
    /// Who the node is.
    fn identity(&self) -> &Identity;

    /// How it is now.
    fn vitals(&self) -> Vitals;

    /// The state after the last committed block.
    fn snapshot(&self) -> Result<Snapshot, BackendError>;

    /// Checks an encoded signed transaction from anyone, takes it into the mempool and spreads it. Gives its id.
    async fn submit(&self, transaction: Vec<u8>) -> Result<Hash32, BackendError>;

    /// The nonce of the account's next transaction, those waiting in the mempool counted.
    fn next_nonce(&self, account: &AccountId) -> Result<u64, BackendError>;

    /// Where a transaction stands; `None` while it stands in no block.
    fn transaction(&self, id: &Hash32) -> Result<Option<TxStatus>, BackendError>;

    /// A committed block; `None` above the tip and at height 0.
    fn block(&self, height: u64) -> Result<Option<BlockBody>, BackendError>;

    /// An entry of the state with its proof under a certified header; `None` if there is no such entry.
    fn prove(&self, key: &[u8]) -> Result<Option<Proven>, BackendError>;

    /// Asks a miner of the model, checks the answer and its proofs, and gives the receipt. `input` is in the model's
    /// own units; the receipt is of the system asked for, or the smallest that the model has keys for.
    async fn infer(&self, model: &str, input: Vec<f32>, system: Option<ReceiptSystem>) -> Result<Answer, BackendError>;

    /// Appends the node's metrics as Prometheus text, without an `EOF` line.
    fn metrics(&self, out: &mut String);
}

#[cfg(test)]
mod tests;
