//! What a block builder draws from: the lanes as they were, by highest rank, each in nonce order. Of equals comes first from whom
//! least was drawn, and then another one in each block: no account is first for good.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    sync::Arc,
};

use assay_ledger::{
    Candidate as _, Candidates, StoreError, Verified,
    tx::{Action, Transaction},
};
use assay_primitives::{AccountId, Hash32, encode};

use super::{MOST_AWAITED, Rank, Waiting};

/// Bytes of a lane that may stand before what is awaited and have its rank: a refutation, say, or a challenge.
const BEFORE_AWAITED: usize = 256 << 10;

/// Transactions to try, best first. It shares them with the pool and keeps nobody else waiting.
pub struct Selection {
    lanes: BTreeMap<AccountId, Lane>,
    /// The rank of each lane's head, how many were drawn from it, and its turn in this block. Entries of lanes that are gone are
    /// skipped.
    heads: BinaryHeap<(Rank, Reverse<usize>, Hash32, AccountId)>,
}

struct Lane {
    waiting: Arc<BTreeMap<u64, Waiting>>,
    /// The least nonce that may be drawn.
    next: u64,
    drawn: usize,
    turn: Hash32,
    /// How many come up to the first awaited one, with it, and the rank that it gives them: one of a sender's a block, so that
    /// all get their turn.
    awaited: Option<(usize, Rank)>,
}

impl Lane {
    fn new(
        waiting: Arc<BTreeMap<u64, Waiting>>,
        turn: Hash32,
        until: &impl Fn(&Transaction) -> Result<Option<u64>, StoreError>,
    ) -> Result<Self, StoreError> {
        let (mut before, mut awaited) = (0, None);
        for (count, one) in (1..=MOST_AWAITED).zip(waiting.values()) {
            let body = one.body();
            // Evidence that was none when it came is none now, and takes long to look at.
            let was_none = matches!(body.action, Action::DoubleSign { .. }) && one.rank != Rank::Evidence;
            let height = if was_none { None } else { until(body)? };
            if let Some(height) = height {
                awaited = Some((count, Rank::new(body, one.bytes, Some(height))));
                break;
            }
            before += one.bytes;
            if before > BEFORE_AWAITED {
                break;
            }
        }
        Ok(Self { waiting, next: 0, drawn: 0, turn, awaited })
    }

    fn head(&self) -> Option<&Waiting> {
        self.waiting.range(self.next..).next().map(|(_, head)| head)
    }

    fn rank(&self) -> Option<Rank> {
        let head = self.head()?;
        Some(self.awaited.map_or_else(|| Rank::new(head.body(), head.bytes, None), |(_, rank)| rank))
    }

    fn pop(&mut self) -> Option<Verified> {
        let tx = self.head()?.tx.clone();
        // The ledger takes no transaction with the last of all nonces.
        self.next = tx.transaction().body.nonce.saturating_add(1);
        self.drawn += 1;
        self.awaited = self.awaited.and_then(|(count, rank)| (count > 1).then_some((count - 1, rank)));
        Some(tx)
    }
}

impl Selection {
    /// `tip` is the height and the time of the block to build on, which give the lanes their turns; `until` says up to which height
    /// a transaction is awaited.
    pub(super) fn new(
        lanes: BTreeMap<AccountId, Arc<BTreeMap<u64, Waiting>>>,
        tip: (u64, u64),
        until: impl Fn(&Transaction) -> Result<Option<u64>, StoreError>,
    ) -> Result<Self, StoreError> {
        let turn = |sender: AccountId| Hash32::digest(&encode(&(tip.0, tip.1, sender)));
        let lane = |(sender, waiting)| Ok((sender, Lane::new(waiting, turn(sender), &until)?));
        let lanes = lanes.into_iter().map(lane).collect::<Result<BTreeMap<_, _>, StoreError>>()?;
        let heads =
            lanes.iter().filter_map(|(sender, lane)| Some((lane.rank()?, Reverse(0), lane.turn, *sender))).collect();
        Ok(Self { lanes, heads })
    }
}

impl Candidates for Selection {
    type Item = Verified;

    fn next(&mut self) -> Option<Verified> {
        while let Some((.., sender)) = self.heads.pop() {
            let Some(lane) = self.lanes.get_mut(&sender) else { continue };
            let Some(tx) = lane.pop() else { continue };
            self.heads.extend(lane.rank().map(|rank| (rank, Reverse(lane.drawn), lane.turn, sender)));
            return Some(tx);
        }
        None
    }

    fn pass_over(&mut self, signer: &AccountId) {
        self.lanes.remove(signer);
    }
}
