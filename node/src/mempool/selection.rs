//! What a block builder draws from: the lanes as they were, by highest fee, each in nonce order.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    sync::Arc,
};

use assay_ledger::{Candidates, SignedTransaction};
use assay_primitives::{AccountId, Amount};

/// Transactions to try, best first. It shares them with the pool and keeps nobody else waiting.
pub struct Selection {
    lanes: BTreeMap<AccountId, VecDeque<Arc<SignedTransaction>>>,
    /// The fee of each lane's head; entries of lanes that are gone are skipped.
    heads: BinaryHeap<(Amount, Reverse<AccountId>)>,
}

impl Selection {
    pub(super) fn new(lanes: BTreeMap<AccountId, VecDeque<Arc<SignedTransaction>>>) -> Self {
        let head = |(sender, lane): (&AccountId, &VecDeque<Arc<SignedTransaction>>)| {
            lane.front().map(|tx| (tx.body.fee, Reverse(*sender)))
        };
        let heads = lanes.iter().filter_map(head).collect();
        Self { lanes, heads }
    }
}

impl Candidates for Selection {
    fn next(&mut self) -> Option<SignedTransaction> {
        while let Some((_, Reverse(sender))) = self.heads.pop() {
            let Some(lane) = self.lanes.get_mut(&sender) else { continue };
            let Some(tx) = lane.pop_front() else { continue };
            if let Some(next) = lane.front() {
                self.heads.push((next.body.fee, Reverse(sender)));
            }
            return Some(SignedTransaction::clone(&tx));
        }
        None
    }

    fn pass_over(&mut self, signer: &AccountId) {
        self.lanes.remove(signer);
    }
}
