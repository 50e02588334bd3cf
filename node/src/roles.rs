//! What a node does beside following the chain: mine, validate, or serve callers.
//!
//! ```text
//! gateway ──Ask──┐                         ┌──> Answerer: Miner (or an adversary of the devnet)
//! validator ─Ask─┴──Asker (net, loopback)──┘        │ runs, signs, proves
//!     │ <───────────────── Reply ───────────────────┘
//!     └─ check ─> scoring ─> sheet on disk ─> commit, reveal ──ChainView::submit──> chain
//!        refuted answers ─> Refute;  missing proofs, random draws ─> Challenge ─> Miner answers on chain
//! ```
//!
//! A role sees the chain through [`ChainView`] and its peers through [`Asker`]; it knows no store, no engine of blocks
//! and no socket. Nothing of an answer is believed before `check` has looked at it. What must survive a crash (nonces
//! answered, proofs given, sheets committed) is on disk before it is spoken of.

pub(crate) mod check;
pub(crate) mod choice;
mod gateway;
mod metrics;
mod miner;
mod models;
mod validator;

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use assay_ledger::{
    StateRead, StoreError,
    tx::{Action, Endpoint},
};
use assay_primitives::{Hash32, Keypair};
use async_trait::async_trait;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

pub use gateway::{Gateway, InferError, Inference, ReceiptSystem};
pub use metrics::RoleMetrics;
pub use miner::{Miner, MinerConfig, Work, run_miner};
pub use models::Models;
pub use validator::{ValidatorConfig, run_validator};

use crate::home::KeptError;
use crate::net::{
    Ask, AskError, Frame, InboundAsk, InboundText, Multiaddr, NetHandle, PeerId, RefusalCode, Reply, Telling, TextAsk,
};

/// The state after some block.
pub type Snapshot = Arc<dyn StateRead + Send + Sync>;

/// The chain, as a role sees it.
#[async_trait]
pub trait ChainView: Send + Sync + 'static {
    /// The chain's genesis hash.
    fn genesis(&self) -> Hash32;

    /// The state after the last committed block; that of genesis before the first.
    ///
    /// # Errors
    /// [`StoreError`] if this node's store fails.
    fn snapshot(&self) -> Result<Snapshot, StoreError>;

    /// The last committed height. A height is announced after [`ChainView::snapshot`] shows its state.
    fn heights(&self) -> watch::Receiver<u64>;

    /// Signs the action with the key's next nonce and the least fee, takes it into the mempool and gossips it. Gives
    /// the transaction's id; whether it took effect shows in the state.
    ///
    /// # Errors
    /// [`SubmitError`]; nothing was sent.
    async fn submit(&self, action: Action, key: &Keypair) -> Result<Hash32, SubmitError>;
}

/// Why a transaction was not submitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// This node's mempool refuses it.
    #[error("the transaction is refused: {0}")]
    Refused(String),
    /// Not now.
    #[error("the transaction cannot be taken now: {0}")]
    Unavailable(String),
}

/// Why a role stopped, or did not start.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    /// The disk.
    #[error("cannot {doing} {}: {source}; check that the disk has room and the folder is writable", path.display())]
    Io {
        /// `read`, `write` or the like.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of this role holds something else than it wrote.
    #[error("{} is damaged: {reason}; move it away and start again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Expected and found.
        reason: String,
    },
    /// A table that this role keeps.
    #[error(transparent)]
    Kept(#[from] KeptError),
    /// The chain's store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A model of the chain cannot be loaded.
    #[error("a registered model cannot be loaded: {0}")]
    Model(#[from] assay_inference::EngineError),
}

/// Whoever carries an ask to the peer at an endpoint.
#[async_trait]
pub trait Asker: Send + Sync + 'static {
    /// Asks and waits at most `deadline`.
    ///
    /// # Errors
    /// [`AskError`]; a refusal is a [`Reply`].
    async fn ask(&self, to: &Endpoint, ask: Ask, deadline: Duration) -> Result<Reply, AskError>;

    /// Asks for a text. What goes wrong after it was asked for comes on the stream; when it falls silent is for the caller to say.
    ///
    /// # Errors
    /// [`AskError`]; a refusal is a [`Frame`].
    async fn tell(&self, to: &Endpoint, ask: TextAsk) -> Result<Telling, AskError>;
}

/// A registered endpoint as libp2p has it.
fn reached(to: &Endpoint) -> Result<(PeerId, Vec<Multiaddr>), AskError> {
    let wrong = |what: &str, e: &dyn std::fmt::Display| AskError::Endpoint(format!("{what}: {e}"));
    let peer: PeerId = to.peer_id.parse().map_err(|e| wrong("its peer id", &e))?;
    let parse = |a: &String| a.parse::<Multiaddr>().map_err(|e| wrong("an address", &e));
    Ok((peer, to.addresses.iter().map(parse).collect::<Result<Vec<_>, _>>()?))
}

#[async_trait]
impl Asker for NetHandle {
    async fn ask(&self, to: &Endpoint, ask: Ask, deadline: Duration) -> Result<Reply, AskError> {
        let (peer, addresses) = reached(to)?;
        NetHandle::ask(self, peer, &addresses, ask, deadline).await
    }

    async fn tell(&self, to: &Endpoint, ask: TextAsk) -> Result<Telling, AskError> {
        let (peer, addresses) = reached(to)?;
        NetHandle::tell(self, peer, &addresses, ask).await
    }
}

/// Whoever replies to asks: the honest miner, or an adversary.
#[async_trait]
pub trait Answerer: Send + Sync + 'static {
    /// Replies to one ask, which may be hostile.
    async fn answer(&self, ask: Ask) -> Reply;

    /// Tells a text, or refuses to.
    async fn tell(&self, inbound: InboundText) {
        inbound.say(Frame::refused(RefusalCode::Unavailable, "this node tells no texts")).await;
    }
}

/// Answers asks until `stop`, or until the network is gone. How many are at work at once is bounded by the network's
/// limit on asks pending, and by the answerer.
pub async fn serve(answerer: Arc<dyn Answerer>, mut asks: mpsc::Receiver<InboundAsk>, stop: CancellationToken) {
    let mut at_work = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            inbound = asks.recv() => {
                let Some(inbound) = inbound else { return stop.cancelled().await };
                let answerer = Arc::clone(&answerer);
                at_work.spawn(async move {
                    let reply = answerer.answer(inbound.ask.clone()).await;
                    inbound.answer(reply);
                });
            }
            Some(done) = at_work.join_next() => {
                if let Err(error) = done {
                    tracing::error!(%error, "answering an ask failed");
                }
            }
        }
    }
}

/// Tells texts until `stop`, as [`serve`] answers asks.
pub async fn serve_texts(answerer: Arc<dyn Answerer>, mut texts: mpsc::Receiver<InboundText>, stop: CancellationToken) {
    let mut at_work = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            inbound = texts.recv() => {
                let Some(inbound) = inbound else { return stop.cancelled().await };
                let answerer = Arc::clone(&answerer);
                at_work.spawn(async move { answerer.tell(inbound).await });
            }
            Some(done) = at_work.join_next() => {
                if let Err(error) = done {
                    tracing::error!(%error, "telling a text failed");
                }
            }
        }
    }
}

/// Refuses all asks, for nodes that do no inference.
pub async fn refuse_asks(
    (mut asks, mut texts): (mpsc::Receiver<InboundAsk>, mpsc::Receiver<InboundText>),
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            inbound = texts.recv() => match inbound {
                Some(inbound) => {
                    inbound.say(Frame::refused(RefusalCode::Unavailable, "this node is no miner and tells no texts")).await;
                }
                None => return stop.cancelled().await,
            },
            inbound = asks.recv() => match inbound {
                Some(inbound) => {
                    inbound.answer(Reply::refused(RefusalCode::Unavailable, "this node is no miner and takes no asks"));
                }
                None => return stop.cancelled().await,
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests;
