//! A chain whose state is one number: the sum of all heights. Its store is shared, so that it outlives the
//! engine that writes it, as a disk would.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use assay_primitives::{AccountId, Certificate, Hash32, ValidatorSet, encode};
use borsh::{BorshDeserialize, BorshSerialize};

use crate::bft::{Executor, Fault, Misbehaviour, Tip, Undecided, Verdict};

#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct Block {
    pub(super) height: u64,
    pub(super) parent: Hash32,
    pub(super) proposer: AccountId,
    pub(super) time_ms: u64,
    pub(super) sum: u64,
    pub(super) payload: Vec<u8>,
}

#[derive(Default)]
pub(super) struct Store {
    pub(super) decided: BTreeMap<u64, (Vec<u8>, Certificate)>,
    pub(super) committed_at: BTreeMap<u64, Instant>,
    pub(super) undecided: BTreeMap<(u64, u32), Vec<Undecided>>,
    /// Calls of `process`.
    pub(super) processed: usize,
    pub(super) evidence: Vec<Misbehaviour>,
}

#[derive(Clone)]
pub(super) struct Counter {
    pub(super) store: Arc<Mutex<Store>>,
    /// The set from each height on.
    pub(super) sets: BTreeMap<u64, ValidatorSet>,
    /// The block interval from each height on.
    pub(super) intervals: BTreeMap<u64, Duration>,
    pub(super) payload: usize,
    /// Builds blocks with a wrong sum.
    pub(super) builds_wrong: bool,
    /// Finds every block of this height invalid.
    pub(super) refused_height: Option<u64>,
    /// Cannot commit this height.
    pub(super) faulty_height: Option<u64>,
    /// Does not know the rules of this height and those above.
    pub(super) unknown_from: Option<u64>,
}

impl Counter {
    pub(super) fn new(set: ValidatorSet) -> Self {
        Self {
            store: Arc::default(),
            sets: [(1, set)].into(),
            intervals: [(1, Duration::ZERO)].into(),
            payload: 100,
            builds_wrong: false,
            refused_height: None,
            faulty_height: None,
            unknown_from: None,
        }
    }

    pub(super) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap()
    }

    pub(super) fn height(&self) -> u64 {
        self.tip().height
    }

    fn sum(&self) -> u64 {
        self.store().decided.last_key_value().map_or(0, |(_, (bytes, _))| Block::try_from_slice(bytes).unwrap().sum)
    }
}

impl Executor for Counter {
    fn tip(&self) -> Tip {
        self.store().decided.last_key_value().map_or(
            Tip { height: 0, id: Hash32::ZERO, time_ms: 0 },
            |(height, (bytes, _))| Tip {
                height: *height,
                id: Hash32::digest(bytes),
                time_ms: Block::try_from_slice(bytes).unwrap().time_ms,
            },
        )
    }

    fn validators(&self, height: u64) -> Result<ValidatorSet, Fault> {
        assert!((1..=self.height() + 1).contains(&height));
        Ok(self.sets.range(..=height).next_back().unwrap().1.clone())
    }

    fn may_go_on(&self) -> Result<(), Fault> {
        match self.unknown_from {
            Some(from) if self.height() + 1 >= from => Err(Fault(format!("height {from} needs another program"))),
            _ => Ok(()),
        }
    }

    fn block_interval(&self) -> Duration {
        *self.intervals.range(..=self.height() + 1).next_back().unwrap().1
    }

    fn prepare(&mut self, height: u64, _round: u32, proposer: AccountId, now_ms: u64) -> Result<Vec<u8>, Fault> {
        let tip = self.tip();
        assert_eq!(height, tip.height + 1);
        let sum = self.sum() + height + u64::from(self.builds_wrong);
        let time_ms = now_ms.max(tip.time_ms + 1);
        Ok(encode(&Block { height, parent: tip.id, proposer, time_ms, sum, payload: vec![7; self.payload] }))
    }

    fn process(
        &mut self,
        height: u64,
        proposer: AccountId,
        bytes: &[u8],
        now_ms: Option<u64>,
    ) -> Result<Verdict, Fault> {
        self.store().processed += 1;
        let tip = self.tip();
        assert_eq!(height, tip.height + 1);
        if self.refused_height == Some(height) {
            return Ok(Verdict::Invalid { reason: "other rules".into() });
        }
        let Ok(block) = Block::try_from_slice(bytes) else { return Ok(Verdict::Invalid { reason: "no block".into() }) };
        let expected = (height, tip.id, proposer, self.sum() + height);
        if (block.height, block.parent, block.proposer, block.sum) != expected {
            return Ok(Verdict::Invalid { reason: format!("expected {expected:?}, found {}", block.sum) });
        }
        if now_ms.is_some_and(|now| block.time_ms > now + 5_000) {
            return Ok(Verdict::Invalid { reason: "from the future".into() });
        }
        Ok(Verdict::Valid(Hash32::digest(bytes)))
    }

    fn block_id(&self, bytes: &[u8]) -> Option<Hash32> {
        Block::try_from_slice(bytes).ok().map(|_| Hash32::digest(bytes))
    }

    fn save_undecided(&mut self, proposal: &Undecided) -> Result<(), Fault> {
        let mut store = self.store();
        let round = store.undecided.entry((proposal.height, proposal.round)).or_default();
        round.retain(|saved| saved.block != proposal.block);
        round.push(proposal.clone());
        Ok(())
    }

    fn undecided(&self, height: u64, round: u32) -> Result<Vec<Undecided>, Fault> {
        Ok(self.store().undecided.get(&(height, round)).cloned().unwrap_or_default())
    }

    fn undecided_block(&self, id: &Hash32) -> Result<Option<Vec<u8>>, Fault> {
        Ok(self.store().undecided.values().flatten().find(|saved| saved.block == *id).map(|saved| saved.bytes.clone()))
    }

    fn commit(&mut self, bytes: &[u8], certificate: &Certificate) -> Result<(), Fault> {
        let tip = self.tip();
        assert_eq!((certificate.height, certificate.block), (tip.height + 1, Hash32::digest(bytes)));
        if self.faulty_height == Some(certificate.height) {
            return Err(Fault("the disk is full".into()));
        }
        let mut store = self.store();
        store.decided.insert(certificate.height, (bytes.to_vec(), certificate.clone()));
        store.committed_at.insert(certificate.height, Instant::now());
        store.undecided.retain(|(height, _), _| *height > certificate.height);
        Ok(())
    }

    fn decided(&self, height: u64) -> Result<Option<(Vec<u8>, Certificate)>, Fault> {
        Ok(self.store().decided.get(&height).cloned())
    }

    fn earliest(&self) -> Result<u64, Fault> {
        Ok(self.store().decided.first_key_value().map_or(0, |(height, _)| *height))
    }

    fn report(&mut self, misbehaviour: Misbehaviour) {
        self.store().evidence.push(misbehaviour);
    }
}
