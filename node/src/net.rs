//! The data plane: a libp2p swarm of its own, apart from the consensus engine's, so that inference and transactions
//! never starve votes.
//!
//! ```text
//! publish_tx ──gossipsub /assay/<genesis>/tx/1────> InboundTx ──report(verdict)──> forwarded, dropped, or its sender scored down
//! ask ────────request-response /assay/<genesis>/infer/1──> InboundAsk ──answer(reply)──> Reply
//! tell ───────request-response /assay/<genesis>/text/1───> InboundText ──say(frame), say(frame), …──> Frame, Frame, …
//! ask_snapshot ──request-response /assay/<genesis>/snapshot/1──> InboundSnapshotAsk ──answer(reply)──> SnapshotReply
//! connect ────identify, kad /assay/<genesis>/kad/1──> who else is there
//! ```
//!
//! Protocol names carry the genesis hash, so peers of another chain find nothing to talk about. A transaction is
//! forwarded only after the node has said [`TxVerdict::Accept`]; an ask is bounded in size before it is read and in
//! rate by peer. Everything that waits for the node is bounded: where it is full, asks are refused as busy and
//! transactions ignored.
//!
//! | module | holds |
//! |---|---|
//! | [`wire`] | what is said, and its encoding with limits |
//! | [`texts`] | the same for text, which comes piece by piece |
//! | `snapshots` | the same for the state that a new node begins with |
//! | `behaviour` | the protocols and their settings |
//! | `swarm` | the event loop |
//! | `listen` | binding, with a clear error for a busy port |

mod behaviour;
mod listen;
mod snapshots;
mod swarm;
pub mod texts;
pub mod wire;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use assay_primitives::{Hash32, Keypair};
use tokio::sync::{mpsc, oneshot};

pub use libp2p::{Multiaddr, PeerId};
pub use snapshots::{SnapshotAsk, SnapshotReply};
pub use texts::{Frame, Logprob, MAX_TEXT_ASK_BYTES, TextAsk};
pub use wire::{Ask, MAX_ASK_BYTES, MAX_REPLY_BYTES, RefusalCode, Reply};

use swarm::Command;

/// Bounds of the swarm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most connections in all.
    pub max_connections: u32,
    /// Most connections with one peer.
    pub max_connections_per_peer: u32,
    /// Asks taken from one peer in a minute; more are refused.
    pub asks_per_minute: u32,
    /// Texts asked for by one peer in a minute; more are refused. A gateway asks for those of all its clients, and the engine's
    /// queue bounds the work: this bounds what it costs to say no.
    pub texts_per_minute: u32,
    /// Parts of snapshots given to one peer in a minute; more are put off.
    pub snapshot_parts_per_minute: u32,
    /// Parts of snapshots asked for and not yet given; more are put off.
    pub pending_snapshot_parts: usize,
    /// Asks handed to the node and not yet answered; more are refused as busy.
    pub pending_asks: usize,
    /// Texts being told; more are refused as busy.
    pub open_texts: usize,
    /// Transactions handed to the node and not yet judged; more are ignored.
    pub pending_transactions: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 256,
            max_connections_per_peer: 4,
            asks_per_minute: 600,
            texts_per_minute: 60_000,
            snapshot_parts_per_minute: 1200,
            pending_snapshot_parts: 16,
            pending_asks: 128,
            open_texts: 512,
            pending_transactions: 1024,
        }
    }
}

/// What a swarm is started with.
#[derive(Clone, Debug)]
pub struct NetConfig {
    /// The node's network key, from which its peer id follows.
    pub key: Keypair,
    /// Where to listen; port 0 lets the system choose.
    pub listen: Vec<Multiaddr>,
    /// Where others reach this node, if that differs from where it listens.
    pub external: Vec<Multiaddr>,
    /// Peers to stay connected with. The node's own address among them is harmless.
    pub bootstrap: Vec<Multiaddr>,
    /// The chain.
    pub genesis: Hash32,
    /// Bounds.
    pub limits: Limits,
}

impl NetConfig {
    /// A swarm that listens nowhere and knows nobody yet.
    pub fn new(key: Keypair, genesis: Hash32) -> Self {
        Self {
            key,
            listen: Vec::new(),
            external: Vec::new(),
            bootstrap: Vec::new(),
            genesis,
            limits: Limits::default(),
        }
    }
}

/// Why the swarm did not start.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// A listener could not be bound.
    #[error("cannot listen on {address}{}: {reason}", port.map(|p| format!(" (port {p})")).unwrap_or_default())]
    Listen {
        /// Where.
        address: Multiaddr,
        /// The port, if the address names one.
        port: Option<u16>,
        /// Why, and what to do.
        reason: String,
    },
    /// The protocols could not be set up.
    #[error("cannot set up the network: {0}")]
    Setup(String),
}

/// Why an ask got no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The registered endpoint is no peer id with addresses.
    #[error("the peer's endpoint is unusable: {0}")]
    Endpoint(String),
    /// No connection.
    #[error("the peer cannot be reached: {0}")]
    Unreachable(String),
    /// No reply within the deadline.
    #[error("no reply within {ms} ms")]
    Timeout {
        /// The deadline.
        ms: u64,
    },
    /// The peer broke the protocol or the connection.
    #[error("the exchange failed: {0}")]
    Protocol(String),
    /// This node's request is too large to send.
    #[error("an ask has at most {limit} bytes, found {found}")]
    TooLarge {
        /// The most.
        limit: usize,
        /// Encoded size.
        found: usize,
    },
    /// This node's swarm has stopped.
    #[error("this node's network has stopped")]
    Stopped,
}

impl AskError {
    /// The peer is to blame, or its connection; not this node.
    pub fn is_bad_peer(&self) -> bool {
        !matches!(self, AskError::TooLarge { .. } | AskError::Stopped)
    }
}

/// Why a transaction was not published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Nobody is connected; normal for a lone node.
    #[error("no peer to send transactions to")]
    NoPeers,
    /// It went round already.
    #[error("the transaction was published before")]
    Known,
    /// Gossip refused it.
    #[error("the transaction was not published: {0}")]
    Refused(String),
    /// This node's swarm has stopped.
    #[error("this node's network has stopped")]
    Stopped,
}

/// What the node makes of a transaction from a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxVerdict {
    /// Taken: forward it.
    Accept,
    /// Not taken, and nobody's fault: known, out of order, or the pool is full.
    Ignore,
    /// Malformed or badly signed: not forwarded, and its sender is scored down.
    Reject,
}

/// A transaction from a peer. [`InboundTx::report`] must follow; dropping it counts as [`TxVerdict::Ignore`].
#[derive(Debug)]
pub struct InboundTx {
    /// Who forwarded it.
    pub from: PeerId,
    /// Its bytes, which may be hostile.
    pub bytes: Vec<u8>,
    verdict: oneshot::Sender<TxVerdict>,
}

impl InboundTx {
    /// Says what is to be done with it.
    pub fn report(self, verdict: TxVerdict) {
        // A stopped swarm has nobody to forward to.
        let _ = self.verdict.send(verdict);
    }
}

/// An ask from a peer. Dropping it refuses it as unavailable.
#[derive(Debug)]
pub struct InboundAsk {
    /// Who sent it; the requester is named, and signs, inside.
    pub from: PeerId,
    /// What is asked. Nothing in it is checked yet.
    pub ask: Ask,
    reply: oneshot::Sender<Reply>,
}

impl InboundAsk {
    /// Replies.
    pub fn answer(self, reply: Reply) {
        // The peer may be gone; then nobody waits for it.
        let _ = self.reply.send(reply);
    }
}

/// A peer asks for a part of a snapshot. Dropping it puts the peer off.
#[derive(Debug)]
pub struct InboundSnapshotAsk {
    /// What is asked.
    pub ask: SnapshotAsk,
    reply: oneshot::Sender<SnapshotReply>,
}

impl InboundSnapshotAsk {
    /// Replies.
    pub fn answer(self, reply: SnapshotReply) {
        // The peer may be gone; then nobody waits for it.
        let _ = self.reply.send(reply);
    }
}

/// An ask for text from a peer. Dropping it ends the text without an answer.
#[derive(Debug)]
pub struct InboundText {
    /// Who sent it; the requester is named, and signs, inside.
    pub from: PeerId,
    /// What is asked. Nothing in it is checked yet.
    pub ask: TextAsk,
    frames: mpsc::Sender<Frame>,
}

impl InboundText {
    /// An ask that came over no network, and what is said to it.
    #[cfg(test)]
    pub(crate) fn loopback(ask: TextAsk) -> (Self, mpsc::Receiver<Frame>) {
        let (frames, said) = mpsc::channel(texts::FRAMES_WAITING);
        (Self { from: PeerId::random(), ask, frames }, said)
    }

    /// Says the next frame, waiting while the peer is slow; false when nobody listens any more.
    pub async fn say(&self, frame: Frame) -> bool {
        self.frames.send(frame).await.is_ok()
    }

    /// Resolves when nobody listens any more.
    pub async fn closed(&self) {
        self.frames.closed().await;
    }
}

/// A text as it comes. Dropping it tells the miner to stop.
pub type Telling = mpsc::Receiver<Result<Frame, AskError>>;

/// What peers send. A node takes them apart.
#[derive(Debug)]
pub struct NetEvents {
    /// Transactions.
    pub transactions: mpsc::Receiver<InboundTx>,
    /// Requests for inference.
    pub asks: mpsc::Receiver<InboundAsk>,
    /// Requests for text.
    pub texts: mpsc::Receiver<InboundText>,
    /// Requests for parts of snapshots.
    pub snapshots: mpsc::Receiver<InboundSnapshotAsk>,
}

/// The node's side of the swarm. Clones share it.
#[derive(Clone, Debug)]
pub struct NetHandle {
    peer_id: PeerId,
    commands: mpsc::Sender<Command>,
    peers: Arc<AtomicU32>,
}

/// The peer id of a network key.
pub fn peer_id(key: &Keypair) -> PeerId {
    identity(key).public().to_peer_id()
}

fn identity(key: &Keypair) -> libp2p::identity::Keypair {
    let mut secret = key.secret();
    libp2p::identity::Keypair::ed25519_from_bytes(secret.as_mut_slice()).expect("32 bytes are an ed25519 secret")
}

/// Starts the swarm; returns when every listener is bound.
///
/// # Errors
/// [`NetError::Listen`] names the address and port that could not be bound.
pub async fn start(config: NetConfig) -> Result<(NetHandle, NetEvents), NetError> {
    let peer_id = peer_id(&config.key);
    let mut swarm = behaviour::build(&config)?;
    listen::bind(&mut swarm, &config.listen).await?;
    for address in &config.external {
        swarm.add_external_address(address.clone());
    }
    let (commands, command_queue) = mpsc::channel(1024);
    let (transactions_in, transactions) = mpsc::channel(config.limits.pending_transactions.max(1));
    let (asks_in, asks) = mpsc::channel(config.limits.pending_asks.max(1));
    let (texts_in, texts) = mpsc::channel(config.limits.pending_asks.max(1));
    let (snapshots_in, snapshots) = mpsc::channel(config.limits.pending_snapshot_parts.max(1));
    let peers = Arc::new(AtomicU32::new(0));
    let inbound =
        swarm::Inbound { transactions: transactions_in, asks: asks_in, texts: texts_in, snapshots: snapshots_in };
    let running = swarm::Running::new(swarm, config, command_queue, inbound, Arc::clone(&peers));
    tokio::spawn(running.run());
    Ok((NetHandle { peer_id, commands, peers }, NetEvents { transactions, asks, texts, snapshots }))
}

impl NetHandle {
    /// This node's peer id.
    pub fn local_peer_id(&self) -> PeerId {
        self.peer_id
    }

    /// Where this node listens, with real ports also where 0 was asked for. Empty once stopped.
    pub async fn listen_addresses(&self) -> Vec<Multiaddr> {
        let (reply, listening) = oneshot::channel();
        if self.commands.send(Command::Listening(reply)).await.is_err() {
            return Vec::new();
        }
        listening.await.unwrap_or_default()
    }

    /// Dials an address, and again whenever its peer is lost.
    pub fn connect(&self, address: Multiaddr) {
        if self.commands.try_send(Command::Connect(address)).is_err() {
            tracing::warn!("the network is stopped or too busy to dial another peer");
        }
    }

    /// Gossips a transaction.
    ///
    /// # Errors
    /// [`PublishError::NoPeers`] is normal for a lone node.
    pub async fn publish_tx(&self, bytes: Vec<u8>) -> Result<(), PublishError> {
        let (reply, published) = oneshot::channel();
        self.commands.send(Command::Publish(bytes, reply)).await.map_err(|_| PublishError::Stopped)?;
        published.await.unwrap_or(Err(PublishError::Stopped))
    }

    /// Asks a peer, dialling it at `addresses` if need be.
    ///
    /// # Errors
    /// [`AskError`]; a refusal is a [`Reply`], not an error.
    pub async fn ask(
        &self,
        peer: PeerId,
        addresses: &[Multiaddr],
        ask: Ask,
        deadline: Duration,
    ) -> Result<Reply, AskError> {
        let found = assay_primitives::encode(&ask).len();
        if found > MAX_ASK_BYTES {
            return Err(AskError::TooLarge { limit: MAX_ASK_BYTES, found });
        }
        let (reply, replied) = oneshot::channel();
        let command = Command::Ask { peer, addresses: addresses.to_vec(), ask: Box::new(ask), reply };
        let exchange = async {
            self.commands.send(command).await.map_err(|_| AskError::Stopped)?;
            replied.await.unwrap_or(Err(AskError::Stopped))
        };
        let ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
        tokio::time::timeout(deadline, exchange).await.unwrap_or(Err(AskError::Timeout { ms }))
    }

    /// Asks a peer for text, dialling it at `addresses` if need be. What goes wrong later comes on the stream.
    ///
    /// # Errors
    /// [`AskError`]; a refusal is a [`Frame`], not an error.
    pub async fn tell(&self, peer: PeerId, addresses: &[Multiaddr], ask: TextAsk) -> Result<Telling, AskError> {
        let (limit, found) = (MAX_TEXT_ASK_BYTES, assay_primitives::encode(&ask).len());
        if found > limit {
            return Err(AskError::TooLarge { limit, found });
        }
        let (heard, telling) = mpsc::channel(texts::FRAMES_WAITING);
        let command = Command::Tell { peer, addresses: addresses.to_vec(), ask: Box::new(ask), heard };
        self.commands.send(command).await.map_err(|_| AskError::Stopped)?;
        Ok(telling)
    }

    /// Asks a connected peer for a part of a snapshot.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn ask_snapshot(
        &self,
        peer: PeerId,
        ask: SnapshotAsk,
        deadline: Duration,
    ) -> Result<SnapshotReply, AskError> {
        let (reply, replied) = oneshot::channel();
        let exchange = async {
            self.commands.send(Command::AskSnapshot { peer, ask, reply }).await.map_err(|_| AskError::Stopped)?;
            replied.await.unwrap_or(Err(AskError::Stopped))
        };
        let ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
        tokio::time::timeout(deadline, exchange).await.unwrap_or(Err(AskError::Timeout { ms }))
    }

    /// Who is connected. Nobody once stopped.
    pub async fn connected(&self) -> Vec<PeerId> {
        let (reply, connected) = oneshot::channel();
        if self.commands.send(Command::Connected(reply)).await.is_err() {
            return Vec::new();
        }
        connected.await.unwrap_or_default()
    }

    /// Ends all connections with a peer, and takes none from it or to it until this node starts anew.
    pub async fn ban(&self, peer: PeerId) {
        // A stopped swarm has nothing to do with anybody.
        let _ = self.commands.send(Command::Ban(peer)).await;
    }

    /// Connected peers.
    pub fn peers(&self) -> u32 {
        self.peers.load(Ordering::Relaxed)
    }

    /// Closes all connections and listeners; returns when they are closed.
    pub async fn stop(&self) {
        let (reply, stopped) = oneshot::channel();
        if self.commands.send(Command::Stop(reply)).await.is_ok() {
            let _ = stopped.await;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
