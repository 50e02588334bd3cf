//! The deterministic state machine: what transactions mean, and who owns what after each block.
//!
//! ```text
//! ChainSpec --genesis--> Changes ----------------------------------------------\
//! state of height h-1 (StateRead) + BlockContext + transactions                 v
//!    -> start of block   votes that ended are counted, passed proposals executed, overdue challenges slashed
//!    -> transactions     each on an overlay of its own: it stands whole, or burns its fee and changes nothing else
//!    -> end of epoch     scores settled and paid, unbonding money released, validator set chosen
//!    -> BlockOutcome     Changes + results + events + the next height's validator set
//! Changes --tree::apply--> Jellyfish Merkle root --header--> provable to anyone (tree::prove, tree::verify_fact)
//! ```
//!
//! # What always holds
//!
//! - Same state, context and transactions give the same changes and the same root, on every machine: integers only,
//!   ordered maps only, no clock, no randomness, checked arithmetic.
//! - `genesis + minted - burned` is the sum of balances, stakes, bonds, unbonding money and deposits, after every block.
//! - A transaction with a bad signature, a wrong nonce or a fee it cannot pay stands in no block ([`Refusal`]); any other
//!   error ([`ActionError`]) costs the fee and the nonce and is reported in the [`TxResult`].
//! - A [`StoreError`] is this node's fault and says nothing about the block.
//!
//! # Time
//!
//! Height 1 begins epoch 0. An epoch has `tempo` blocks; a changed `tempo` counts from the next one. Scores of epoch `e`
//! are committed in `e`, revealed in `e + 1` and settled in the last block of `e + 1`. The validator set is chosen in
//! the last block of an epoch and votes from the next height on.
//!
//! | module | holds |
//! |---|---|
//! | [`tx`], [`records`], [`keys`] | transactions; state records; where they lie |
//! | [`state`] | the store trait, and one in memory |
//! | `execute` and below it, `settle` | the rules |
//! | [`audit`] | what a reveal of scores must show |
//! | [`model`] | what a model must be for a chain to keep it |
//! | [`query`] | typed reads |
//! | [`explain`] | each number between scores and money |
//! | [`tree`] | the Merkle tree and its proofs |

pub mod audit;
pub mod error;
pub mod event;
mod execute;
pub mod explain;
pub mod genesis;
pub mod keys;
pub mod model;
mod overlay;
pub mod query;
pub mod records;
mod settle;
pub mod state;
pub mod tree;
pub mod tx;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod vectors;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod world;

pub use error::{ActionError, BlockError, Refusal};
pub use event::Event;
pub use execute::{
    BlockContext, BlockOutcome, Candidates, MAX_ANSWERS_PER_BLOCK, MAX_BILLS, MAX_OPEN_PROPOSALS, MAX_PROOFS_PER_BLOCK,
    MAX_REPLAYS_PER_BLOCK, MAX_SUBNET_MODELS, MAX_UPGRADE_AHEAD, OPEN_CHALLENGES_PER_EPOCH, Standing, TxResult,
    WORK_BUDGET, admit, awaited_until, build, execute, least_fee, place, standing,
};
pub use genesis::GenesisError;
pub use settle::{REPORTS_KEPT, REVEALS_KEPT};
pub use state::{Changes, MemoryState, StateRead, StoreError};
pub use tx::SignedTransaction;

use assay_primitives::{AccountId, Hash32};

/// The account that rounding remainders are paid to, and that `treasury` proposals pay from: the BLAKE3 hash of a tag, so no key is known for it.
pub fn treasury() -> AccountId {
    AccountId(Hash32::digest(b"assay/treasury/1").0)
}
