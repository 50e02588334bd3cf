//! Beginning with a snapshot of a peer.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use assay_chain_spec::ChainSpec;
use async_trait::async_trait;
use libp2p::PeerId;
use tokio::time::timeout;

use super::{BadSnapshot, Manifest, Trusted};
use crate::{
    net::{AskError, NetHandle, SnapshotAsk, SnapshotReply},
    store::{InstallError, Store},
};

/// How long a peer may take for one answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long it may take for its manifest; and for its state, which has this time and a second for each 256 KiB.
const MOST: Duration = Duration::from_secs(60);
const LEAST_RATE: u64 = 256 << 10;
/// How long peers are waited for before all blocks are executed instead.
const PEERS: Duration = Duration::from_secs(10);
/// Between two looks for peers, and after a peer said that it is asked too often.
const PAUSE: Duration = Duration::from_millis(250);

/// Why this node cannot begin. That no peer has a snapshot is no error.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The spec has no validators.
    #[error("the chain spec's validator set is unusable: {0}")]
    Spec(String),
    /// The disk, while the state was written.
    #[error("cannot take over a snapshot: {0}")]
    Install(InstallError),
    /// The thread that verifies died.
    #[error("the check of a snapshot died: {0}")]
    Died(#[from] tokio::task::JoinError),
}

/// Where snapshots come from.
#[async_trait]
pub trait Source: Send + Sync {
    /// Who is connected.
    async fn peers(&self) -> Vec<PeerId>;
    /// Asks one of them.
    async fn ask(&self, peer: PeerId, ask: SnapshotAsk) -> Result<SnapshotReply, AskError>;
    /// Has nothing to do with a peer any more.
    async fn ban(&self, peer: PeerId, reason: &str);
}

#[async_trait]
impl Source for NetHandle {
    async fn peers(&self) -> Vec<PeerId> {
        self.connected().await
    }

    async fn ask(&self, peer: PeerId, ask: SnapshotAsk) -> Result<SnapshotReply, AskError> {
        self.ask_snapshot(peer, ask, PATIENCE).await
    }

    async fn ban(&self, peer: PeerId, reason: &str) {
        tracing::warn!(%peer, reason, "banning a peer");
        NetHandle::ban(self, peer).await;
    }
}

/// Why nothing came of one peer.
enum Failed {
    /// It has none, or does not answer.
    Silent,
    /// It lies.
    Lies(BadSnapshot),
    /// This node's own trouble.
    Own(JoinError),
}

impl From<BadSnapshot> for Failed {
    fn from(bad: BadSnapshot) -> Self {
        Failed::Lies(bad)
    }
}

impl From<tokio::task::JoinError> for Failed {
    fn from(died: tokio::task::JoinError) -> Self {
        Failed::Own(died.into())
    }
}

async fn ask(source: &dyn Source, peer: PeerId, ask: SnapshotAsk) -> Result<Vec<u8>, Failed> {
    loop {
        match source.ask(peer, ask.clone()).await {
            Ok(SnapshotReply::Here(bytes)) => return Ok(bytes),
            Ok(SnapshotReply::Later) => tokio::time::sleep(PAUSE).await,
            Ok(SnapshotReply::None) | Err(_) => return Err(Failed::Silent),
        }
    }
}

/// All of a peer's snapshot, its header and chunks verified.
async fn fetch(source: &dyn Source, peer: PeerId, spec: &ChainSpec) -> Result<Trusted, Failed> {
    let genesis = spec.genesis_hash();
    let first = spec.validator_set().map_err(|e| Failed::Own(JoinError::Spec(e.to_string())))?;
    let bytes = timeout(MOST, ask(source, peer, SnapshotAsk::Newest)).await.map_err(|_| Failed::Silent)??;
    let mut trusted = tokio::task::spawn_blocking(move || Manifest::verify(&bytes, &genesis, &first)).await??;
    let (height, bytes) = (trusted.height(), trusted.bytes());
    tracing::info!(%peer, height, bytes, "fetching a snapshot");
    let chunks = async {
        while let Some(index) = trusted.wants() {
            trusted.take(&ask(source, peer, SnapshotAsk::Chunk { height, index }).await?)?;
        }
        Ok(trusted)
    };
    timeout(MOST + Duration::from_secs(bytes / LEAST_RATE), chunks).await.map_err(|_| Failed::Silent)?
}

async fn install(store: Arc<Store>, trusted: Trusted) -> Result<u64, Failed> {
    let height = trusted.height();
    let installed = trusted.into_installed();
    let done = tokio::task::spawn_blocking(move || store.install(&installed)).await?;
    done.map(|()| height).map_err(|e| match e {
        InstallError::OtherRoot { .. } => Failed::Lies(BadSnapshot::OtherState(e.to_string())),
        e => Failed::Own(JoinError::Install(e)),
    })
}

/// Puts the newest snapshot that a peer has into an empty store; the height, or `None` if no peer has one that holds. Once so
/// many peers as are `known` have none, no others are waited for.
///
/// # Errors
/// [`JoinError`], of this node alone.
pub async fn join(
    source: &dyn Source,
    store: &Arc<Store>,
    known: usize,
    spec: &ChainSpec,
) -> Result<Option<u64>, JoinError> {
    let began = tokio::time::Instant::now();
    let (mut asked, mut heard, mut without) = (BTreeSet::new(), began, 0);
    while heard.elapsed() < PEERS && without < known {
        let peers = source.peers().await.into_iter().find(|peer| !asked.contains(peer));
        let Some(peer) = peers else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        asked.insert(peer);
        let fetched = match fetch(source, peer, spec).await {
            Ok(trusted) => install(Arc::clone(store), trusted).await,
            Err(failed) => Err(failed),
        };
        match fetched {
            Ok(height) => {
                tracing::info!(height, %peer, took_ms = began.elapsed().as_millis(), "began with a snapshot, verified from genesis");
                return Ok(Some(height));
            }
            Err(Failed::Silent) => {
                tracing::debug!(%peer, "a peer has no snapshot, or does not give it");
                without += 1;
            }
            Err(Failed::Lies(bad)) => source.ban(peer, &format!("its snapshot is false: {bad}")).await,
            Err(Failed::Own(error)) => return Err(error),
        }
        heard = tokio::time::Instant::now();
    }
    tracing::info!("no peer has a snapshot; executing all blocks");
    Ok(None)
}
