//! What a block builder draws from: the lanes as they were, by highest rank, each in nonce order.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    sync::Arc,
};

use assay_ledger::{
    Candidates, SignedTransaction, StoreError,
    tx::{Action, Transaction},
};
use assay_primitives::AccountId;

use super::{MOST_AWAITED, Rank};

/// Bytes of a lane that may stand before what is awaited and have its rank: a refutation, say, or a challenge.
const BEFORE_AWAITED: usize = 256 << 10;

/// Transactions, their encoded lengths and the ranks that they came with, in nonce order.
type Waiting = VecDeque<(Arc<SignedTransaction>, usize, Rank)>;

/// Transactions to try, best first. It shares them with the pool and keeps nobody else waiting.
pub struct Selection {
    lanes: BTreeMap<AccountId, Lane>,
    /// The rank of each lane's head; entries of lanes that are gone are skipped.
    heads: BinaryHeap<(Rank, Reverse<AccountId>)>,
}

struct Lane {
    waiting: Waiting,
    /// How many come up to the first awaited one, with it, and the rank that it gives them: one of a sender's a block, so that
    /// all get their turn.
    awaited: Option<(usize, Rank)>,
}

impl Lane {
    fn new(
        waiting: Waiting,
        until: &impl Fn(&Transaction) -> Result<Option<u64>, StoreError>,
    ) -> Result<Self, StoreError> {
        let (mut before, mut awaited) = (0, None);
        for (count, (tx, bytes, rank)) in (1..=MOST_AWAITED).zip(&waiting) {
            // Evidence that was none when it came is none now, and takes long to look at.
            let was_none = matches!(tx.body.action, Action::DoubleSign { .. }) && *rank != Rank::Evidence;
            let height = if was_none { None } else { until(&tx.body)? };
            if let Some(height) = height {
                awaited = Some((count, Rank::new(&tx.body, *bytes, Some(height))));
                break;
            }
            before += bytes;
            if before > BEFORE_AWAITED {
                break;
            }
        }
        Ok(Self { waiting, awaited })
    }

    fn rank(&self) -> Option<Rank> {
        let (tx, bytes, _) = self.waiting.front()?;
        Some(self.awaited.map_or_else(|| Rank::new(&tx.body, *bytes, None), |(_, rank)| rank))
    }

    fn pop(&mut self) -> Option<Arc<SignedTransaction>> {
        let (tx, ..) = self.waiting.pop_front()?;
        self.awaited = self.awaited.and_then(|(count, rank)| (count > 1).then_some((count - 1, rank)));
        Some(tx)
    }
}

impl Selection {
    /// `until` says up to which height a transaction is awaited.
    pub(super) fn new(
        lanes: BTreeMap<AccountId, Waiting>,
        until: impl Fn(&Transaction) -> Result<Option<u64>, StoreError>,
    ) -> Result<Self, StoreError> {
        let lane = |(sender, waiting)| Ok((sender, Lane::new(waiting, &until)?));
        let lanes = lanes.into_iter().map(lane).collect::<Result<BTreeMap<_, _>, StoreError>>()?;
        let heads = lanes.iter().filter_map(|(sender, lane)| Some((lane.rank()?, Reverse(*sender)))).collect();
        Ok(Self { lanes, heads })
    }
}

impl Candidates for Selection {
    fn next(&mut self) -> Option<SignedTransaction> {
        while let Some((_, Reverse(sender))) = self.heads.pop() {
            let Some(lane) = self.lanes.get_mut(&sender) else { continue };
            let Some(tx) = lane.pop() else { continue };
            self.heads.extend(lane.rank().map(|rank| (rank, Reverse(sender))));
            return Some(SignedTransaction::clone(&tx));
        }
        None
    }

    fn pass_over(&mut self, signer: &AccountId) {
        self.lanes.remove(signer);
    }
}
