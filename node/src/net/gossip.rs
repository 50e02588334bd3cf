//! What is gossiped, and the node's end of it.
//!
//! Each topic has a channel to the node and places for what the node has not judged yet: what comes when all are taken is ignored,
//! and a flood on one topic takes no place of the other's.

use std::sync::Arc;

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

/// Encoded transactions that are gossiped together.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Bundle(pub Vec<Vec<u8>>);

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

/// Where the node takes what is gossiped on one topic.
pub(super) struct Inlet {
    topic: gossipsub::TopicHash,
    queue: mpsc::Sender<InboundGossip>,
    places: Arc<Semaphore>,
}

impl Inlet {
    /// An inlet with so many places, and its end at the node.
    pub(super) fn new(topic: &gossipsub::IdentTopic, places: usize) -> (Self, mpsc::Receiver<InboundGossip>) {
        let (queue, gossip) = mpsc::channel(places.max(1));
        (Self { topic: topic.hash(), queue, places: Arc::new(Semaphore::new(places.max(1))) }, gossip)
    }

    /// Whether it is for this topic.
    pub(super) fn is_for(&self, topic: &gossipsub::TopicHash) -> bool {
        self.topic == *topic
    }

    /// Hands a message to the node. The place that it takes until it is judged; none if there is no room.
    pub(super) fn take(
        &self,
        from: PeerId,
        bytes: Vec<u8>,
        verdict: oneshot::Sender<GossipVerdict>,
    ) -> Option<OwnedSemaphorePermit> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        self.queue.try_send(InboundGossip { from, bytes, verdict }).ok()?;
        Some(place)
    }
}
