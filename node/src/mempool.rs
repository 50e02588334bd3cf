//! Transactions waiting for a block: a lane for each sender, in nonce order, bounded in every direction.
//!
//! A transaction enters only if the ledger would let it stand in the next block given the ones before it in its lane
//! ([`assay_ledger::admit`]). Blocks take lanes' heads by rank: first what the ledger waits for ([`assay_ledger::awaited_until`]),
//! evidence before scores, these before answers to challenges by deadline and then votes, each with the little that stands before
//! it in its lane; then the others by highest fee for a byte. When the pool is full, a transaction pushes tails of lanes of lower
//! rank out. This orders what has arrived; a flood still delays gossip.
//!
//! Who offers a tenth more replaces a transaction of its own that waits. What has waited for 3,600 blocks is given up.
//!
//! Gossip keeps no order: a transaction that overtook its predecessor is held aside, bounded, until that one is here.

mod selection;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap},
    sync::{Arc, Mutex},
};

use assay_ledger::{
    Refusal, SignedTransaction, StateRead, StoreError, query,
    tx::{Action, Transaction},
};
use assay_primitives::{AccountId, Amount, Hash32, decode};

pub use selection::Selection;

/// Most encoded bytes waiting.
const MAX_BYTES: usize = 32 << 20;
/// Most transactions of one sender waiting.
const MAX_LANE: usize = 2048;

/// Blocks that a transaction waits for, at most: an hour and a half at 1.5 s.
const MAX_WAIT: u64 = 3600;
/// Who replaces a transaction offers this part of its fee more, at least.
const MORE: u64 = 10;

/// So many of a lane's transactions may have the rank of what the ledger waits for: it waits for few of one sender's.
const MOST_AWAITED: usize = 16;

/// Most encoded bytes of gossiped transactions held aside because they came before their predecessors.
const MAX_AHEAD_BYTES: usize = 4 << 20;
/// How far ahead of its lane a transaction may be to be held aside.
const MAX_GAP: u64 = 64;

/// Why a transaction is not taken.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// It does not decode.
    #[error(transparent)]
    Malformed(#[from] assay_primitives::DecodeError),
    /// It could not stand in a block.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It is waiting already.
    #[error("transaction {0} is already waiting for a block")]
    Known(Hash32),
    /// One of the same nonce waits, and this does not offer enough more.
    #[error("a transaction of nonce {nonce} waits already with a fee of {found}; offer {least} or more to replace it")]
    Underpriced {
        /// Of both.
        nonce: u64,
        /// What the one that waits offers.
        found: Amount,
        /// What replaces it.
        least: Amount,
    },
    /// The sender has too many waiting.
    #[error("{0} has {MAX_LANE} transactions waiting; wait until some are in a block")]
    LaneFull(AccountId),
    /// The fees of all that waits are more than the payer has.
    #[error("{payer} pays for this transaction and has {balance}, less than the fees of all it has waiting")]
    Overdrawn {
        /// Who pays: the signer, or an operator's owner.
        payer: AccountId,
        /// What it has.
        balance: Amount,
    },
    /// No room, and the fee is too low to make some.
    #[error("the mempool is full; a fee of {0} for {1} bytes pushes nobody out")]
    Full(Amount, usize),
}

impl SubmitError {
    /// True if whoever sent this bears the blame, so that gossip from there counts against it.
    pub fn is_senders_fault(&self) -> bool {
        match self {
            SubmitError::Malformed(_) => true,
            // Stale nonces and empty accounts happen to honest senders whose view lags by a block.
            SubmitError::Refused(refusal) => matches!(refusal, Refusal::Signature(_) | Refusal::TooLarge { .. }),
            SubmitError::Known(_)
            | SubmitError::Underpriced { .. }
            | SubmitError::LaneFull(_)
            | SubmitError::Full(..)
            | SubmitError::Overdrawn { .. } => false,
        }
    }
}

/// Who pays an account's fees, and what it has: operators are paid for by their owners.
fn payer(view: &dyn StateRead, signer: &AccountId) -> Result<(AccountId, Amount), Refusal> {
    let payer = query::operator(view, signer)?.map_or(*signer, |operator| operator.owner);
    Ok((payer, query::account(view, &payer)?.balance))
}

struct Waiting {
    tx: Arc<SignedTransaction>,
    id: Hash32,
    bytes: usize,
    rank: Rank,
    /// The height at which it came.
    since: u64,
}

/// Which transactions come first, higher ones before lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Nobody waits for it. Grain for 2^20 bytes.
    Paid(u128),
    /// A first vote on a proposal that is open until this height.
    Vote(Reverse<u64>),
    /// An answer to a challenge that is open until this height. It may be false, and then come again.
    Answer(Reverse<u64>),
    /// Scores: small, and taken once.
    Scores,
    /// What convicts a validator: small, and taken once.
    Evidence,
}

impl Rank {
    /// `awaited` is the last height at which the ledger takes it, if it waits for it.
    fn new(tx: &Transaction, bytes: usize, awaited: Option<u64>) -> Self {
        match (awaited, &tx.action) {
            (None, _) => Self::Paid((u128::from(tx.fee.0) << 20) / (bytes as u128).max(1)),
            (Some(height), Action::Answer { .. }) => Self::Answer(Reverse(height)),
            (Some(height), Action::Vote { .. }) => Self::Vote(Reverse(height)),
            (Some(_), Action::DoubleSign { .. }) => Self::Evidence,
            (Some(_), _) => Self::Scores,
        }
    }

    /// The rank of a lane's next: it cannot come before the others, so that no fee for it makes up for what they lack.
    fn after(self, before: Self) -> Self {
        match (self, before) {
            (Self::Paid(own), Self::Paid(before)) => Self::Paid(own.min(before)),
            _ => self,
        }
    }
}

#[derive(Default)]
struct Lanes {
    by_sender: BTreeMap<AccountId, BTreeMap<u64, Waiting>>,
    ids: HashMap<Hash32, AccountId>,
    bytes: usize,
    /// Gossiped before their predecessors, by sender and nonce.
    ahead: BTreeMap<(AccountId, u64), Vec<u8>>,
    ahead_bytes: usize,
}

/// The pool. Shared between gossip, RPC, roles and the chain.
pub struct Mempool {
    genesis: Hash32,
    lanes: Mutex<Lanes>,
}

impl Mempool {
    /// An empty pool.
    pub fn new(genesis: Hash32) -> Self {
        Self { genesis, lanes: Mutex::new(Lanes::default()) }
    }

    fn lanes(&self) -> std::sync::MutexGuard<'_, Lanes> {
        self.lanes.lock().expect("no holder of this lock panics: lane bookkeeping has no failing step")
    }

    /// Takes an encoded transaction that fits the committed state, and returns its id.
    ///
    /// `snapshot` is called with the lanes locked: a state older than the lanes would miscount what waits.
    pub fn submit<S: StateRead>(&self, snapshot: impl FnOnce() -> S, bytes: &[u8]) -> Result<Hash32, SubmitError> {
        let tx: SignedTransaction = match decode("transaction", bytes) {
            Ok(tx) => tx,
            Err(malformed) => {
                // What is far too large is often nothing else either.
                let (limit, found) =
                    (query::params(&snapshot()).map_err(Refusal::from)?.max_tx_bytes, bytes.len() as u64);
                return Err(if found > limit { Refusal::TooLarge { limit, found }.into() } else { malformed.into() });
            }
        };
        let mut lanes = self.lanes();
        let view = snapshot();
        let sender = tx.body.signer;
        let id = self.insert(&mut lanes, &view, tx, bytes)?;
        self.take_successors(&mut lanes, &view, sender);
        Ok(id)
    }

    /// As [`Self::submit`], for a transaction from gossip: one that overtook its predecessors is held aside for them.
    pub fn submit_gossiped<S: StateRead>(
        &self,
        snapshot: impl FnOnce() -> S,
        bytes: &[u8],
    ) -> Result<Hash32, SubmitError> {
        let tx: SignedTransaction = decode("transaction", bytes)?;
        let signature = tx.verify(&self.genesis);
        let mut lanes = self.lanes();
        let view = snapshot();
        let sender = tx.body.signer;
        let nonce = tx.body.nonce;
        match self.insert(&mut lanes, &view, tx, bytes) {
            Ok(id) => {
                self.take_successors(&mut lanes, &view, sender);
                Ok(id)
            }
            Err(SubmitError::Refused(Refusal::Nonce { expected, found, signer })) => {
                let near = found > expected && found - expected <= MAX_GAP;
                let room = lanes.ahead_bytes + bytes.len() <= MAX_AHEAD_BYTES;
                if near && room && payer(&view, &sender)?.1 > Amount::ZERO && signature.is_ok() {
                    lanes.hold(sender, nonce, bytes);
                }
                Err(SubmitError::Refused(Refusal::Nonce { expected, found, signer }))
            }
            Err(e) => Err(e),
        }
    }

    /// Takes in what was held aside and now follows its lane.
    fn take_successors(&self, lanes: &mut Lanes, view: &dyn StateRead, sender: AccountId) {
        let Ok(account) = query::account(view, &sender) else { return };
        loop {
            let next = lanes.next_nonce(&sender, account.nonce);
            let Some(bytes) = lanes.release(sender, next) else { break };
            let taken = decode("transaction", &bytes).map_err(SubmitError::from);
            if taken.and_then(|tx| self.insert(lanes, view, tx, &bytes)).is_err() {
                break;
            }
        }
        let stale: Vec<u64> =
            lanes.ahead.range((sender, 0)..(sender, account.nonce)).map(|((_, nonce), _)| *nonce).collect();
        for nonce in stale {
            lanes.release(sender, nonce);
        }
    }

    fn insert(
        &self,
        lanes: &mut Lanes,
        view: &dyn StateRead,
        tx: SignedTransaction,
        bytes: &[u8],
    ) -> Result<Hash32, SubmitError> {
        let id = tx.id(&self.genesis);
        let sender = tx.body.signer;
        if lanes.ids.contains_key(&id) {
            return Err(SubmitError::Known(id));
        }
        // A block may be committed whose transactions are still in the lanes: those count in the state, not here.
        let account = query::account(view, &sender).map_err(Refusal::from)?.nonce;
        let own = tx.body.nonce;
        let lane = lanes.by_sender.get(&sender);
        let replaced = lane.and_then(|lane| lane.get(&own)).filter(|_| own >= account);
        let (pending, old_bytes, old_fee) = match replaced {
            Some(old) => {
                let found = old.tx.body.fee;
                let least = Amount(found.0.saturating_add((found.0 / MORE).max(1)));
                if tx.body.fee < least {
                    return Err(SubmitError::Underpriced { nonce: own, found, least });
                }
                (own - account, old.bytes, u128::from(found.0))
            }
            None if lane.is_some_and(|lane| lane.len() >= MAX_LANE) => return Err(SubmitError::LaneFull(sender)),
            None => (lanes.next_nonce(&sender, account) - account, 0, 0),
        };
        assay_ledger::admit(view, &self.genesis, &tx, bytes.len(), pending)?;
        let (payer, balance) = payer(view, &sender)?;
        let fees = lanes.fees_of(&sender) - old_fee + u128::from(tx.body.fee.0);
        if fees > u128::from(balance.0) {
            return Err(SubmitError::Overdrawn { payer, balance });
        }
        let before = || lane.into_iter().flat_map(|lane| lane.range(..own));
        let few = before().count() < MOST_AWAITED;
        let until = || assay_ledger::awaited_until(view, &self.genesis, &tx.body).map_err(Refusal::from);
        let rank = Rank::new(&tx.body, bytes.len(), if few { until()? } else { None });
        let rank = before().next_back().map_or(rank, |(_, last)| rank.after(last.rank));
        let since = query::chain(view).map_err(Refusal::from)?.height;
        let more = bytes.len().saturating_sub(old_bytes);
        lanes.make_room(sender, more, rank).map_err(|NoRoom| SubmitError::Full(tx.body.fee, bytes.len()))?;
        lanes.insert(Waiting { id, bytes: bytes.len(), rank, since, tx: Arc::new(tx) });
        Ok(id)
    }

    /// How many transactions wait.
    pub fn len(&self) -> usize {
        self.lanes().ids.len()
    }

    /// True if none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The nonce that the sender's next transaction must carry, given the committed state and what waits.
    pub fn next_nonce<S: StateRead>(
        &self,
        snapshot: impl FnOnce() -> S,
        sender: &AccountId,
    ) -> Result<u64, StoreError> {
        let lanes = self.lanes();
        let nonce = query::account(&snapshot(), sender)?.nonce;
        Ok(lanes.next_nonce(sender, nonce))
    }

    /// True if this very transaction waits.
    pub fn contains(&self, tx: &SignedTransaction) -> bool {
        self.lanes().ids.contains_key(&tx.id(&self.genesis))
    }

    /// What waits, for a block builder to draw from. `view` is the state that it builds on.
    pub fn selection(&self, view: &dyn StateRead) -> Result<Selection, StoreError> {
        let shared = |lane: &BTreeMap<u64, Waiting>| lane.values().map(|w| (w.tx.clone(), w.bytes, w.rank)).collect();
        let lanes = self.lanes().by_sender.iter().map(|(sender, lane)| (*sender, shared(lane))).collect();
        Selection::new(lanes, |tx| assay_ledger::awaited_until(view, &self.genesis, tx))
    }

    /// Drops what a committed block contains or makes impossible. `view` is the state after it.
    pub fn committed(&self, view: &dyn StateRead, block: &[SignedTransaction]) {
        let mut lanes = self.lanes();
        let senders: std::collections::BTreeSet<AccountId> = block.iter().map(|tx| tx.body.signer).collect();
        for sender in senders {
            if let Err(e) = lanes.drop_below(view, sender) {
                tracing::warn!(%sender, "cannot read a sender's nonce: {e}");
            }
            self.take_successors(&mut lanes, view, sender);
        }
    }

    /// Drops lanes whose head can no longer stand in a block, for example because its payer ran out of money, or has waited too
    /// long, and gives up what was held aside: its predecessors have had their time.
    pub fn sweep(&self, view: &dyn StateRead) {
        let mut lanes = self.lanes();
        lanes.ahead.clear();
        lanes.ahead_bytes = 0;
        let senders: Vec<AccountId> = lanes.by_sender.keys().copied().collect();
        let height = query::chain(view).map_or(0, |chain| chain.height);
        for sender in senders {
            let head = lanes.by_sender.get(&sender).and_then(|lane| lane.values().next());
            let stuck = head.is_some_and(|h| {
                let old = height.saturating_sub(h.since) > MAX_WAIT;
                old || assay_ledger::admit(view, &self.genesis, &h.tx, h.bytes, 0).is_err()
            });
            if stuck {
                lanes.drop_lane(sender);
            }
        }
    }
}

/// Nothing of lower rank is left to evict.
struct NoRoom;

impl Lanes {
    /// The nonce after the last one waiting, but never below the state's.
    fn next_nonce(&self, sender: &AccountId, state: u64) -> u64 {
        let last = self.by_sender.get(sender).and_then(|lane| lane.keys().next_back());
        last.map_or(state, |last| state.max(last + 1))
    }

    /// Puts a transaction in its place, which another may have had; those behind it have their rank by it.
    fn insert(&mut self, waiting: Waiting) {
        let (sender, nonce, mut before) = (waiting.tx.body.signer, waiting.tx.body.nonce, waiting.rank);
        self.bytes += waiting.bytes;
        self.ids.insert(waiting.id, sender);
        let lane = self.by_sender.entry(sender).or_default();
        let replaced = lane.insert(nonce, waiting);
        for (_, behind) in lane.range_mut(nonce..).skip(1) {
            if let Rank::Paid(_) = behind.rank {
                behind.rank = Rank::new(&behind.tx.body, behind.bytes, None).after(before);
            }
            before = behind.rank;
        }
        if let Some(replaced) = replaced {
            self.forget(&replaced);
        }
    }

    fn forget(&mut self, waiting: &Waiting) {
        self.bytes -= waiting.bytes;
        self.ids.remove(&waiting.id);
    }

    /// Sum of the fees that a sender's waiting transactions will pay, in grain.
    fn fees_of(&self, sender: &AccountId) -> u128 {
        self.by_sender.get(sender).into_iter().flat_map(BTreeMap::values).map(|w| u128::from(w.tx.body.fee.0)).sum()
    }

    fn hold(&mut self, sender: AccountId, nonce: u64, bytes: &[u8]) {
        self.release(sender, nonce);
        self.ahead_bytes += bytes.len();
        self.ahead.insert((sender, nonce), bytes.to_vec());
    }

    fn release(&mut self, sender: AccountId, nonce: u64) -> Option<Vec<u8>> {
        let bytes = self.ahead.remove(&(sender, nonce))?;
        self.ahead_bytes -= bytes.len();
        Some(bytes)
    }

    /// Evicts the tails of others' lanes of lower rank until `bytes` fit, or refuses and evicts nothing.
    fn make_room(&mut self, sender: AccountId, bytes: usize, rank: Rank) -> Result<(), NoRoom> {
        let needed = (self.bytes + bytes).saturating_sub(MAX_BYTES);
        if needed == 0 {
            return Ok(());
        }
        let others = self.by_sender.iter().filter(|(owner, _)| **owner != sender);
        let mut tails: HashMap<AccountId, _> = others.map(|(owner, lane)| (*owner, lane.values().rev())).collect();
        let key = |owner: AccountId, w: &Waiting| Reverse((w.rank, owner, w.bytes));
        let first = tails.iter_mut().filter_map(|(owner, tail)| tail.next().map(|w| key(*owner, w)));
        let mut lowest: BinaryHeap<_> = first.collect();
        let (mut victims, mut freed) = (Vec::new(), 0);
        while freed < needed {
            let Some(Reverse((_, owner, size))) = lowest.pop().filter(|Reverse((lower, ..))| *lower < rank) else {
                return Err(NoRoom);
            };
            freed += size;
            victims.push(owner);
            lowest.extend(tails.get_mut(&owner).and_then(Iterator::next).map(|w| key(owner, w)));
        }
        for owner in victims {
            if let Some(lane) = self.by_sender.get_mut(&owner)
                && let Some((_, waiting)) = lane.pop_last()
            {
                self.forget(&waiting);
            }
        }
        self.by_sender.retain(|_, lane| !lane.is_empty());
        Ok(())
    }

    fn drop_below(&mut self, view: &dyn StateRead, sender: AccountId) -> Result<(), StoreError> {
        let nonce = query::account(view, &sender)?.nonce;
        let Some(mut lane) = self.by_sender.remove(&sender) else { return Ok(()) };
        let keep = lane.split_off(&nonce);
        for waiting in lane.into_values() {
            self.forget(&waiting);
        }
        // A gap in front (another transaction took the nonce) makes the rest worthless only if it never fills;
        // lanes are contiguous by construction, so what is kept starts at the account's nonce.
        if !keep.is_empty() {
            self.by_sender.insert(sender, keep);
        }
        Ok(())
    }

    fn drop_lane(&mut self, sender: AccountId) {
        for waiting in self.by_sender.remove(&sender).unwrap_or_default().into_values() {
            self.forget(&waiting);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
