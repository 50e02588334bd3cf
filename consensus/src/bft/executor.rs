//! What the engine asks of the application: build blocks, judge them, commit them, serve them.

use std::time::Duration;

use assay_primitives::{AccountId, Certificate, Hash32, Signed, ValidatorSet, VoteContent, domain, keys::Signable};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// The last committed block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tip {
    /// Its height; 0 before the first block.
    pub height: u64,
    /// Its block id; [`Hash32::ZERO`] at height 0.
    pub id: Hash32,
    /// Its time, milliseconds since the Unix epoch; the genesis time at height 0.
    pub time_ms: u64,
}

/// A block seen in a round of a height that is not decided yet.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Undecided {
    /// The height it was proposed for.
    pub height: u64,
    /// The round it was proposed in.
    pub round: u32,
    /// For a block proposed again: the earlier round in which two thirds prevoted it.
    pub valid_round: Option<u32>,
    /// The proposer of `round` (a block proposed again was built by another).
    pub proposer: AccountId,
    /// The block id.
    pub block: Hash32,
    /// The encoded block.
    pub bytes: Vec<u8>,
    /// The verdict of [`Executor::process`] when it was received.
    pub valid: bool,
}

/// What [`Executor::process`] thinks of a block. A verdict is about the block; a [`Fault`] is about this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The block follows the rules; this is its id.
    Valid(Hash32),
    /// It does not; this node will prevote nil.
    Invalid {
        /// What was expected and what was found.
        reason: String,
    },
}

/// Trouble of this node alone (disk full, corrupt store): it must stop, say why and exit non-zero.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this node cannot go on: {0}")]
pub struct Fault(pub String);

/// What the proposer of a round signs, under [`domain::PROPOSAL`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProposalContent {
    /// The height proposed for.
    pub height: u64,
    /// The round of that height, from 0.
    pub round: u32,
    /// The block id.
    pub block: Hash32,
    /// For a block proposed again: the earlier round in which two thirds prevoted it.
    pub valid_round: Option<u32>,
    /// Who proposes.
    pub proposer: AccountId,
}

impl Signable for ProposalContent {
    const DOMAIN: &'static str = domain::PROPOSAL;
    const NAME: &'static str = "proposal";
    fn signer(&self) -> AccountId {
        self.proposer
    }
}

/// Two signed messages that no honest validator signs both of.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub enum Misbehaviour {
    /// Two votes of one kind, height and round for different blocks.
    Votes {
        /// The one seen first.
        first: Signed<VoteContent>,
        /// The conflicting one.
        second: Signed<VoteContent>,
    },
    /// Two different proposals for one height and round.
    Proposals {
        /// The one seen first.
        first: Signed<ProposalContent>,
        /// The conflicting one.
        second: Signed<ProposalContent>,
    },
}

/// The application under the engine: the ledger and its store.
///
/// Calls come one at a time, on a thread that may block. A [`Fault`] from any of them stops the engine.
pub trait Executor: Send + 'static {
    /// The last committed block.
    fn tip(&self) -> Tip;

    /// The validators that vote at `height`, for `1..=tip + 1`.
    ///
    /// # Errors
    /// If the set is not in the store.
    fn validators(&self, height: u64) -> Result<ValidatorSet, Fault>;

    /// Whether this program may take part in the next height. Asked after each commit and at the start; if not, the engine
    /// never begins that height: it serves peers that catch up for a moment more, and stops.
    ///
    /// # Errors
    /// What the node stops with: the chain goes by rules from there on that this program does not know.
    fn may_go_on(&self) -> Result<(), Fault>;

    /// Time between blocks from the next height on.
    fn block_interval(&self) -> Duration;

    /// Builds a block on the tip, as its `proposer`, for `height = tip + 1`; returns the encoded block.
    ///
    /// The engine takes it as valid: `process` would have to accept it.
    ///
    /// # Errors
    /// On local trouble only; no transactions make an empty block.
    fn prepare(&mut self, height: u64, round: u32, proposer: AccountId, now_ms: u64) -> Result<Vec<u8>, Fault>;

    /// Executes a block on the tip (`height = tip + 1`) and judges it, without committing.
    ///
    /// `proposer` must be the one its header names. `now_ms` is this node's clock for the drift check at
    /// first receipt; `None` skips it (synced and decided blocks). Apart from that the verdict depends on
    /// the parent state and the block alone.
    ///
    /// # Errors
    /// On local trouble only; a bad block is [`Verdict::Invalid`].
    fn process(
        &mut self,
        height: u64,
        proposer: AccountId,
        bytes: &[u8],
        now_ms: Option<u64>,
    ) -> Result<Verdict, Fault>;

    /// The id of an encoded block: `None` unless it decodes and its body matches the roots in its header,
    /// so that the id binds every byte. It does not execute the block.
    fn block_id(&self, bytes: &[u8]) -> Option<Hash32>;

    /// Stores a valid proposal durably; replaces one of the same height, round and block. For each round
    /// that is at most two blocks of its proposer, and what catching up brings.
    ///
    /// # Errors
    /// If it may not survive a crash.
    fn save_undecided(&mut self, proposal: &Undecided) -> Result<(), Fault>;

    /// The proposals saved for a round.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn undecided(&self, height: u64, round: u32) -> Result<Vec<Undecided>, Fault>;

    /// The bytes of a block saved by [`Self::save_undecided`] and not yet decided.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn undecided_block(&self, id: &Hash32) -> Result<Option<Vec<u8>>, Fault>;

    /// Makes the block of `tip + 1` final, in one fsynced batch: block, certificate, state, tip.
    /// Proposals of this height may be forgotten.
    ///
    /// The block was prepared by this node, or found valid by `process` in this run.
    ///
    /// # Errors
    /// If it may not survive a crash: then nothing was committed.
    fn commit(&mut self, bytes: &[u8], certificate: &Certificate) -> Result<(), Fault>;

    /// A committed block with its certificate; `None` outside [`Self::earliest`]`..=tip`.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn decided(&self, height: u64) -> Result<Option<(Vec<u8>, Certificate)>, Fault>;

    /// The lowest height that [`Self::decided`] still serves, or will.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn earliest(&self) -> Result<u64, Fault>;

    /// Takes evidence of misbehaviour; it becomes a transaction, never direct state, since honest nodes
    /// see different evidence. Signatures were checked against the validator set of that height.
    fn report(&mut self, misbehaviour: Misbehaviour);
}
