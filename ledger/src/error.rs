//! Why a transaction or a block is not accepted, by consequence.
//!
//! | error | consequence |
//! |---|---|
//! | [`Refusal`] | the transaction stands in no block |
//! | [`ActionError`] | it stands, costs its fee and its nonce, and changes nothing else |
//! | [`BlockError`] | the proposal is invalid, unless [`BlockError::is_store`] |
//! | [`StoreError`] | this node cannot go on; nothing is said about the block |

use assay_chain_spec::ParamError;
use assay_primitives::{AccountId, Amount, Hash32, SignatureError};

use crate::StoreError;

/// Why a transaction may not stand in a block, or enter the mempool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not signed, signed by somebody else, or for another chain.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// Replayed, or out of order.
    #[error("the next nonce of {signer} is {expected}, found {found}; sign again with {expected}")]
    Nonce {
        /// Who signed.
        signer: AccountId,
        /// The nonce it must carry.
        expected: u64,
        /// The nonce it carries.
        found: u64,
    },
    /// Below the least fee.
    #[error("the fee must be at least {least}, found {found}")]
    Fee {
        /// [`crate::least_fee`] of the action.
        least: Amount,
        /// The offered fee.
        found: Amount,
    },
    /// An operator offers more of its owner's money than any action needs.
    #[error("an operator's fee is paid by its owner and must be at most {most} for this action, found {found}")]
    OperatorFee {
        /// 100 times [`crate::least_fee`] of the action.
        most: Amount,
        /// The offered fee.
        found: Amount,
    },
    /// The payer cannot pay the fee.
    #[error("the fee of {needed} is paid by {payer}, who has {found}; fund that account")]
    Funds {
        /// The signer, or its owner if it is an operator.
        payer: AccountId,
        /// The fee.
        needed: Amount,
        /// The payer's balance.
        found: Amount,
    },
    /// Too many bytes.
    #[error("a transaction has at most {limit} bytes, found {found}")]
    TooLarge {
        /// The parameter `max_tx_bytes`.
        limit: u64,
        /// Bytes found.
        found: u64,
    },
    /// The block already holds as much costly work of this kind as it may; the next one may take it.
    #[error("a block verifies at most {limit} {what}")]
    NoRoom {
        /// The kind of work.
        what: &'static str,
        /// [`crate::MAX_ANSWERS_PER_BLOCK`], [`crate::MAX_PROOFS_PER_BLOCK`], [`crate::MAX_REPLAYS_PER_BLOCK`] or
        /// [`crate::WORK_BUDGET`].
        limit: u64,
    },
    /// The state could not be read; says nothing about the transaction.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Refusal {
    /// This node's fault, not the sender's.
    pub fn is_store(&self) -> bool {
        matches!(self, Refusal::Store(_))
    }
}

/// Why a block cannot be executed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// A transaction that may not stand in it.
    #[error("transaction {index} ({id}) may not stand in this block: {refusal}")]
    Transaction {
        /// Its place, from 0.
        index: u64,
        /// Its id.
        id: Hash32,
        /// Why.
        refusal: Refusal,
    },
    /// Too many bytes in all.
    #[error("the transactions of a block have at most {limit} bytes, found {found}")]
    TooLarge {
        /// The parameter `max_block_bytes`.
        limit: u64,
        /// Bytes found.
        found: u64,
    },
    /// This node's store failed; says nothing about the block.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl BlockError {
    /// This node's fault: stop, do not vote against the block.
    pub fn is_store(&self) -> bool {
        matches!(self, BlockError::Store(_))
    }
}

/// Why an action did nothing. Its text stands in the [`crate::TxResult`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ActionError {
    /// Not enough money.
    #[error("{what} takes {needed}, {account} has {found}")]
    Funds {
        /// For what.
        what: &'static str,
        /// Whose money.
        account: AccountId,
        /// How much is needed.
        needed: Amount,
        /// How much is there.
        found: Amount,
    },
    /// Something that does not exist.
    #[error("there is no {what} {id}")]
    Unknown {
        /// Its kind.
        what: &'static str,
        /// What was asked for.
        id: String,
    },
    /// Something that exists already.
    #[error("{what} {id} exists already")]
    Exists {
        /// Its kind.
        what: &'static str,
        /// Which.
        id: String,
    },
    /// A number or length out of its limits.
    #[error("{what} must lie in {least}..={most}, found {found}")]
    Limit {
        /// Of what.
        what: &'static str,
        /// Smallest allowed.
        least: u64,
        /// Largest allowed.
        most: u64,
        /// Found.
        found: u64,
    },
    /// Somebody else may do this.
    #[error("{what} must be signed by {expected}, found {found}")]
    NotYours {
        /// What was tried.
        what: &'static str,
        /// Who may.
        expected: String,
        /// Who tried.
        found: AccountId,
    },
    /// Not now: too early, too late, or already done.
    #[error("{0}")]
    NotNow(String),
    /// A text, list or number that is not well formed.
    #[error("{what}: {reason}")]
    Malformed {
        /// The field.
        what: &'static str,
        /// Expected and found.
        reason: String,
    },
    /// Evidence, a proof or a challenge that shows nothing.
    #[error("{0}")]
    Evidence(String),
    /// A parameter that does not exist, or a value out of its bounds.
    #[error(transparent)]
    Param(#[from] ParamError),
    /// A signature inside the action does not hold.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// A sum that does not fit 64 bits.
    #[error("{0} does not fit 64 bits")]
    Overflow(&'static str),
    /// This node's store failed. Never recorded in a result: the whole block fails.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ActionError {
    pub(crate) fn unknown(what: &'static str, id: impl ToString) -> Self {
        Self::Unknown { what, id: id.to_string() }
    }

    pub(crate) fn exists(what: &'static str, id: impl ToString) -> Self {
        Self::Exists { what, id: id.to_string() }
    }

    pub(crate) fn malformed(what: &'static str, reason: impl Into<String>) -> Self {
        Self::Malformed { what, reason: reason.into() }
    }

    pub(crate) fn not_now(reason: impl Into<String>) -> Self {
        Self::NotNow(reason.into())
    }

    pub(crate) fn evidence(reason: impl Into<String>) -> Self {
        Self::Evidence(reason.into())
    }

    pub(crate) fn limit(what: &'static str, least: u64, most: u64, found: u64) -> Result<(), Self> {
        if (least..=most).contains(&found) { Ok(()) } else { Err(Self::Limit { what, least, most, found }) }
    }
}
