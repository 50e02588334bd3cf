//! What a block builder draws from: the lanes as they were, by highest rank, each in nonce order.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    sync::Arc,
};

use assay_ledger::{Candidates, SignedTransaction, StoreError, tx::Transaction};
use assay_primitives::AccountId;

use super::Rank;

/// Transactions and their encoded lengths, in nonce order.
type Lane = VecDeque<(Arc<SignedTransaction>, usize)>;

/// Transactions to try, best first. It shares them with the pool and keeps nobody else waiting.
pub struct Selection {
    lanes: BTreeMap<AccountId, Lane>,
    /// The rank of each lane's head; entries of lanes that are gone are skipped.
    heads: BinaryHeap<(Rank, Reverse<AccountId>)>,
}

impl Selection {
    /// Only lanes' first heads can have the rank of what is awaited: one of a sender's a block, so that all get their turn.
    pub(super) fn new(
        lanes: BTreeMap<AccountId, Lane>,
        awaited: impl Fn(&Transaction) -> Result<bool, StoreError>,
    ) -> Result<Self, StoreError> {
        let mut heads = BinaryHeap::with_capacity(lanes.len());
        for (sender, lane) in &lanes {
            if let Some((tx, bytes)) = lane.front() {
                heads.push((Rank::new(awaited(&tx.body)?, tx.body.fee, *bytes), Reverse(*sender)));
            }
        }
        Ok(Self { lanes, heads })
    }
}

impl Candidates for Selection {
    fn next(&mut self) -> Option<SignedTransaction> {
        while let Some((_, Reverse(sender))) = self.heads.pop() {
            let Some(lane) = self.lanes.get_mut(&sender) else { continue };
            let Some((tx, _)) = lane.pop_front() else { continue };
            if let Some((next, bytes)) = lane.front() {
                self.heads.push((Rank::new(false, next.body.fee, *bytes), Reverse(sender)));
            }
            return Some(SignedTransaction::clone(&tx));
        }
        None
    }

    fn pass_over(&mut self, signer: &AccountId) {
        self.lanes.remove(signer);
    }
}
