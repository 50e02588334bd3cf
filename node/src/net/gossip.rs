//! What is gossiped, and the node's end of it.
//!
//! Each topic has a channel to the node, and places and room for what the node has not judged yet: what comes when these are taken
//! is ignored. A flood on one topic takes nothing of the other's, and one peer takes a quarter at most.

use std::{collections::BTreeMap, sync::Arc};

use assay_primitives::Hash32;
use borsh::{BorshDeserialize, BorshSerialize};
use libp2p::{PeerId, gossipsub};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// What is gossiped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Transactions; a message is an encoded [`Bundle`].
    Transactions,
    /// Certified headers, and proofs that there are two of one height. What a message is, is the node's to say.
    Headers,
}

impl Topic {
    pub(super) const ALL: [Topic; 2] = [Topic::Transactions, Topic::Headers];

    /// The topic of this name on a chain.
    pub(super) fn of(self, genesis: &Hash32) -> gossipsub::IdentTopic {
        let name = match self {
            Topic::Transactions => "tx/2",
            Topic::Headers => "header/1",
        };
        gossipsub::IdentTopic::new(format!("/assay/{genesis}/{name}"))
    }

    /// The largest message, in bytes.
    pub fn max_bytes(self) -> usize {
        match self {
            Topic::Transactions => MAX_BUNDLE_BYTES,
            Topic::Headers => MAX_HEADERS_BYTES,
        }
    }
}

/// Largest encoded [`Bundle`], in bytes: one of the largest transaction that the parameter `max_tx_bytes` can allow fits.
pub const MAX_BUNDLE_BYTES: usize = 1024 * 1024 + 4096;

/// Largest message about headers, in bytes: two of them, signed by as many validators as the parameter `max_validators` can allow,
/// take less than half of it.
const MAX_HEADERS_BYTES: usize = 64 * 1024;

/// Most bytes on one topic that the node has not judged yet.
const MAX_PENDING_BYTES: usize = 32 << 20;
/// Most of these that come from one peer.
const MAX_PENDING_OF_ONE: usize = MAX_PENDING_BYTES / 4;

/// Transactions that are gossiped together.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Bundle {
    /// Each encoded.
    pub transactions: Vec<Vec<u8>>,
    /// Gossip takes the same bytes only once: the number of the try makes them others.
    pub turn: u8,
}

/// What the node makes of what a peer gossips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GossipVerdict {
    /// All of it is new and good: forward it.
    Accept,
    /// Not all of it, and nobody's fault: known, out of order, or there is no room.
    Ignore,
    /// Malformed, or something in it is, or is badly signed: not forwarded, and its sender is scored down.
    Reject,
}

/// Gossip from a peer. [`InboundGossip::report`] must follow; dropping it counts as [`GossipVerdict::Ignore`].
#[derive(Debug)]
pub struct InboundGossip {
    /// Who forwarded it.
    pub from: PeerId,
    /// Its bytes, which may be hostile.
    pub bytes: Vec<u8>,
    verdict: oneshot::Sender<GossipVerdict>,
}

impl InboundGossip {
    /// Says what is to be done with it.
    pub fn report(self, verdict: GossipVerdict) {
        // A stopped swarm has nobody to forward to.
        let _ = self.verdict.send(verdict);
    }
}

/// What a message takes until it is judged.
pub(super) struct Place {
    _place: OwnedSemaphorePermit,
    _room: OwnedSemaphorePermit,
    _share: OwnedSemaphorePermit,
}

/// Where the node takes what is gossiped on one topic.
pub(super) struct Inlet {
    topic: gossipsub::TopicHash,
    queue: mpsc::Sender<InboundGossip>,
    places: Arc<Semaphore>,
    /// In bytes.
    room: Arc<Semaphore>,
    /// What is left of each peer's, in bytes.
    shares: BTreeMap<PeerId, Arc<Semaphore>>,
    /// What a message takes of its peer's share at least, so that small ones take no more than their share of places.
    least: usize,
}

impl Inlet {
    /// An inlet with so many places, and its end at the node.
    pub(super) fn new(topic: &gossipsub::IdentTopic, places: usize) -> (Self, mpsc::Receiver<InboundGossip>) {
        let places = places.max(1);
        let (queue, gossip) = mpsc::channel(places);
        let inlet = Self {
            topic: topic.hash(),
            queue,
            places: Arc::new(Semaphore::new(places)),
            room: Arc::new(Semaphore::new(MAX_PENDING_BYTES)),
            shares: BTreeMap::new(),
            least: MAX_PENDING_OF_ONE / (places / 4).max(1),
        };
        (inlet, gossip)
    }

    /// Whether it is for this topic.
    pub(super) fn is_for(&self, topic: &gossipsub::TopicHash) -> bool {
        self.topic == *topic
    }

    /// Hands a message to the node. What it takes until it is judged; nothing if there is no room for it.
    pub(super) fn take(
        &mut self,
        from: PeerId,
        bytes: Vec<u8>,
        verdict: oneshot::Sender<GossipVerdict>,
    ) -> Option<Place> {
        let size = u32::try_from(bytes.len()).ok()?;
        let part = u32::try_from(bytes.len().max(self.least)).ok()?;
        let place = Place {
            _place: Arc::clone(&self.places).try_acquire_owned().ok()?,
            _room: Arc::clone(&self.room).try_acquire_many_owned(size).ok()?,
            _share: self.share(from).try_acquire_many_owned(part).ok()?,
        };
        self.queue.try_send(InboundGossip { from, bytes, verdict }).ok()?;
        Some(place)
    }

    fn share(&mut self, peer: PeerId) -> Arc<Semaphore> {
        // One that nobody has a part of is whole.
        self.shares.retain(|_, share| Arc::strong_count(share) > 1);
        let whole = || Arc::new(Semaphore::new(MAX_PENDING_OF_ONE));
        Arc::clone(self.shares.entry(peer).or_insert_with(whole))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use assay_primitives::Keypair;

    use super::*;

    fn peer(n: u8) -> PeerId {
        super::super::peer_id(&Keypair::from_secret([n; 32]))
    }

    fn take(inlet: &mut Inlet, n: u8, bytes: usize) -> Option<Place> {
        inlet.take(peer(n), vec![n; bytes], oneshot::channel().0)
    }

    #[test]
    fn one_peer_takes_a_quarter_of_the_places_and_gets_them_back() {
        let (mut inlet, mut gossip) = Inlet::new(&Topic::Transactions.of(&Hash32::ZERO), 8);
        let first = take(&mut inlet, 1, 1).unwrap();
        let _second = take(&mut inlet, 1, 1).unwrap();
        assert!(take(&mut inlet, 1, 1).is_none(), "two of eight are its share");
        let _others = [2, 2, 3, 3, 4, 4].map(|n| take(&mut inlet, n, 1).unwrap());
        assert!(take(&mut inlet, 5, 1).is_none(), "no place is left");
        // The node has judged it.
        gossip.try_recv().unwrap();
        drop(first);
        assert!(take(&mut inlet, 1, 1).is_some());
    }

    #[test]
    fn messages_that_wait_are_bounded_in_bytes() {
        let (mut inlet, _gossip) = Inlet::new(&Topic::Transactions.of(&Hash32::ZERO), 1024);
        let large = MAX_BUNDLE_BYTES;
        let of_one = MAX_PENDING_OF_ONE / large;
        let mut taken: Vec<Place> = (0..of_one).map(|_| take(&mut inlet, 1, large).unwrap()).collect();
        assert!(take(&mut inlet, 1, large).is_none());
        for n in 2..=5 {
            taken.extend((0..of_one).map_while(|_| take(&mut inlet, n, large)));
        }
        assert!(taken.len() * large <= MAX_PENDING_BYTES && (taken.len() + 1) * large > MAX_PENDING_BYTES);
        taken.clear();
        assert!(take(&mut inlet, 1, large).is_some());
    }
}
