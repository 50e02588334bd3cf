//! Transactions waiting for a block: a lane for each sender, in nonce order, bounded in every direction.
//!
//! A transaction enters only if the ledger would let it stand in the next block given the ones before it in its lane
//! ([`assay_ledger::admit`]). Blocks take lanes' heads by highest fee. When the pool is full, a transaction that pays
//! more than the cheapest lane tail pushes that one out.

use std::{
    collections::{BTreeMap, BinaryHeap, HashMap},
    sync::Mutex,
};

use assay_ledger::{Refusal, SignedTransaction, StateRead, StoreError, query};
use assay_primitives::{AccountId, Amount, Hash32, decode};

/// Most encoded bytes waiting.
const MAX_BYTES: usize = 32 << 20;
/// Most transactions of one sender waiting.
const MAX_LANE: usize = 2048;

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
    /// The sender has too many waiting.
    #[error("{0} has {MAX_LANE} transactions waiting; wait until some are in a block")]
    LaneFull(AccountId),
    /// No room, and the fee is too low to make some.
    #[error("the mempool is full; the lowest fee that still enters is above {0}")]
    Full(Amount),
}

impl SubmitError {
    /// True if whoever sent this bears the blame, so that gossip from there counts against it.
    pub fn is_senders_fault(&self) -> bool {
        match self {
            SubmitError::Malformed(_) => true,
            // Stale nonces and empty accounts happen to honest senders whose view lags by a block.
            SubmitError::Refused(refusal) => matches!(refusal, Refusal::Signature(_) | Refusal::TooLarge { .. }),
            SubmitError::Known(_) | SubmitError::LaneFull(_) | SubmitError::Full(_) => false,
        }
    }
}

struct Waiting {
    tx: SignedTransaction,
    id: Hash32,
    bytes: usize,
}

#[derive(Default)]
struct Lanes {
    by_sender: BTreeMap<AccountId, BTreeMap<u64, Waiting>>,
    ids: HashMap<Hash32, AccountId>,
    bytes: usize,
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

    /// Takes an encoded transaction that fits the state `view`, and returns its id.
    pub fn submit(&self, view: &dyn StateRead, bytes: &[u8]) -> Result<Hash32, SubmitError> {
        let tx: SignedTransaction = decode("transaction", bytes)?;
        let id = tx.id(&self.genesis);
        let sender = tx.body.signer;
        let mut lanes = self.lanes();
        if lanes.ids.contains_key(&id) {
            return Err(SubmitError::Known(id));
        }
        let waiting = lanes.by_sender.get(&sender).map_or(0, BTreeMap::len);
        if waiting >= MAX_LANE {
            return Err(SubmitError::LaneFull(sender));
        }
        assay_ledger::admit(view, &self.genesis, &tx, bytes.len(), waiting as u64)?;
        lanes.make_room(bytes.len(), tx.body.fee)?;
        lanes.insert(Waiting { id, bytes: bytes.len(), tx });
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

    /// The nonce that the sender's next transaction must carry, given the state and what waits.
    pub fn next_nonce(&self, view: &dyn StateRead, sender: &AccountId) -> Result<u64, StoreError> {
        let nonce = query::account(view, sender)?.nonce;
        let lanes = self.lanes();
        let last = lanes.by_sender.get(sender).and_then(|lane| lane.keys().next_back().copied());
        Ok(last.map_or(nonce, |last| nonce.max(last + 1)))
    }

    /// True if this very transaction waits.
    pub fn contains(&self, tx: &SignedTransaction) -> bool {
        self.lanes().ids.contains_key(&tx.id(&self.genesis))
    }

    /// Up to `max_bytes` of transactions for a block: lanes' heads by highest fee, each lane in nonce order.
    pub fn candidates(&self, max_bytes: usize) -> Vec<SignedTransaction> {
        let lanes = self.lanes();
        let mut positions: BTreeMap<AccountId, std::collections::btree_map::Values<'_, u64, Waiting>> = BTreeMap::new();
        let mut heads = BinaryHeap::new();
        for (sender, lane) in &lanes.by_sender {
            let mut rest = lane.values();
            if let Some(head) = rest.next() {
                heads.push((head.tx.body.fee, std::cmp::Reverse(*sender), Ordered(head)));
                positions.insert(*sender, rest);
            }
        }
        let (mut chosen, mut bytes) = (Vec::new(), 0);
        while let Some((_, sender, Ordered(head))) = heads.pop() {
            bytes += head.bytes;
            if bytes > max_bytes {
                break;
            }
            chosen.push(head.tx.clone());
            if let Some(next) = positions.get_mut(&sender.0).and_then(Iterator::next) {
                heads.push((next.tx.body.fee, sender, Ordered(next)));
            }
        }
        chosen
    }

    /// Drops what a committed block contains or makes impossible. `view` is the state after it.
    pub fn committed(&self, view: &dyn StateRead, block: &[SignedTransaction]) {
        let mut lanes = self.lanes();
        let senders: std::collections::BTreeSet<AccountId> = block.iter().map(|tx| tx.body.signer).collect();
        for sender in senders {
            if let Err(e) = lanes.drop_below(view, sender) {
                tracing::warn!(%sender, "cannot read a sender's nonce: {e}");
            }
        }
    }

    /// Drops transactions that can no longer stand in a block, such as those whose payer ran out of money; called
    /// when a lane's head was passed over by a block builder for a whole epoch.
    pub fn sweep(&self, view: &dyn StateRead) {
        let mut lanes = self.lanes();
        let senders: Vec<AccountId> = lanes.by_sender.keys().copied().collect();
        for sender in senders {
            let head = lanes.by_sender.get(&sender).and_then(|lane| lane.values().next());
            let stuck = head.is_some_and(|h| assay_ledger::admit(view, &self.genesis, &h.tx, h.bytes, 0).is_err());
            if stuck {
                lanes.drop_lane(sender);
            }
        }
    }
}

/// Heads compare by what stands before them in the tuple.
struct Ordered<'a>(&'a Waiting);

impl PartialEq for Ordered<'_> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for Ordered<'_> {}
impl PartialOrd for Ordered<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Ordered<'_> {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

impl Lanes {
    fn insert(&mut self, waiting: Waiting) {
        self.bytes += waiting.bytes;
        self.ids.insert(waiting.id, waiting.tx.body.signer);
        self.by_sender.entry(waiting.tx.body.signer).or_default().insert(waiting.tx.body.nonce, waiting);
    }

    fn forget(&mut self, waiting: &Waiting) {
        self.bytes -= waiting.bytes;
        self.ids.remove(&waiting.id);
    }

    /// Evicts lane tails that pay less than `fee` until `bytes` fit, or refuses and evicts nothing.
    fn make_room(&mut self, bytes: usize, fee: Amount) -> Result<(), SubmitError> {
        let mut victims = Vec::new();
        let mut freed = 0;
        if self.bytes + bytes > MAX_BYTES {
            let mut tails: Vec<(Amount, AccountId, usize)> = self
                .by_sender
                .iter()
                .filter_map(|(s, lane)| lane.values().next_back().map(|w| (w.tx.body.fee, *s, w.bytes)))
                .collect();
            tails.sort_unstable();
            for (tail_fee, sender, size) in tails {
                if tail_fee >= fee {
                    return Err(SubmitError::Full(tail_fee));
                }
                victims.push(sender);
                freed += size;
                if self.bytes - freed + bytes <= MAX_BYTES {
                    break;
                }
            }
        }
        for sender in victims {
            if let Some(lane) = self.by_sender.get_mut(&sender)
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
