//! What an engine runs on: its network, its log and the disk of its watermark.

use std::{
    fs::File,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use assay_primitives::{AccountId, Hash32};
use malachitebft_app_channel::app::types::Keypair as NetworkKey;
use malachitebft_app_channel::{
    Channels, ConsensusContext, EngineBuilder, EngineHandle, NetworkContext, NetworkIdentity, RequestContext,
    SyncContext, WalContext,
};
use malachitebft_codec::Codec;
use malachitebft_signing::Signer as _;

use super::{
    EngineConfig, WatermarkError,
    blocking::Blocking,
    codec::BorshCodec,
    context::{Address, Ctx},
    engine::StartError,
    settings::Settings,
    signing::{ChainVerifier, OperatorSigner},
    watermark::{FileSlots, Slots},
};

/// The engine's write-ahead log, in its home.
const LOG: &str = "consensus.wal";

/// Requests of ours that may wait for the engine.
pub(crate) const REQUESTS: usize = 64;

/// Puts the engine on what it runs on.
pub(crate) trait Machine: Send + Sized + 'static {
    /// What the engine leaves in use for a moment after it has stopped.
    type Held: Held;

    /// Where its disk is waited for.
    fn blocking(&self) -> Blocking;

    /// Where the signer's watermark lies.
    fn slots(&mut self) -> Result<Box<dyn Slots>, WatermarkError>;

    /// Starts the engine.
    fn build(self, parts: Parts) -> impl Future<Output = Result<Running<Self::Held>, StartError>> + Send;
}

/// What an engine may leave in use.
pub(crate) trait Held: Send + 'static {
    /// Waits until it is free: a restart could not use it before.
    fn released(self) -> impl Future<Output = ()> + Send;
}

/// What every engine is made of.
pub(crate) struct Parts {
    pub(crate) genesis: Hash32,
    pub(crate) settings: Settings,
    pub(crate) account: AccountId,
    pub(crate) signer: Option<OperatorSigner>,
}

/// A validator's consensus with a signer, a follower's without.
pub(crate) fn consensus(signer: Option<OperatorSigner>, account: AccountId, genesis: Hash32) -> ConsensusContext<Ctx> {
    let verifier = Box::new(ChainVerifier { genesis });
    match signer {
        Some(signer) => ConsensusContext::new_validator(Address(account), verifier, Box::new(signer)),
        None => ConsensusContext::new_full_node(Address(account), verifier),
    }
}

/// An engine that runs.
pub(crate) struct Running<H> {
    pub(crate) channels: Channels<Ctx>,
    pub(crate) handle: EngineHandle,
    pub(crate) held: H,
}

/// A real machine: libp2p, and files in a folder.
pub(crate) struct Host {
    home: PathBuf,
    moniker: String,
    key: NetworkKey,
}

impl Host {
    /// Makes the folder if it is missing.
    pub(crate) fn new(config: &EngineConfig) -> Result<Self, StartError> {
        let home = config.home.clone();
        std::fs::create_dir_all(&home).map_err(|source| StartError::Home { path: home.clone(), source })?;
        let key = NetworkKey::ed25519_from_bytes(*config.network_key.secret());
        let key = key.map_err(|e| StartError::Setting(e.to_string()))?;
        Ok(Self { home, moniker: config.moniker.clone(), key })
    }
}

impl Machine for Host {
    type Held = LogFile;

    fn blocking(&self) -> Blocking {
        Blocking::OnThreads
    }

    fn slots(&mut self) -> Result<Box<dyn Slots>, WatermarkError> {
        Ok(Box::new(FileSlots::open(&self.home.join("last_signed"), &self.home.join(LOG))?))
    }

    async fn build(self, parts: Parts) -> Result<Running<LogFile>, StartError> {
        let engine = |e: &dyn std::fmt::Display| StartError::Engine(format!("{e:#}"));
        let Parts { genesis, settings, account, signer } = parts;
        let identity = match &signer {
            Some(signer) => {
                let peer = self.key.public().to_peer_id().to_bytes();
                let proof = signer.sign_validator_proof(account.0.to_vec(), peer).await.map_err(|e| engine(&e))?;
                let proof = BorshCodec.encode(&proof).map_err(|e| engine(&e))?;
                NetworkIdentity::new_validator(self.moniker, self.key, Address(account).to_string(), proof)
            }
            None => NetworkIdentity::new(self.moniker, self.key, None),
        };
        let log = self.home.join(LOG);
        let (channels, handle) = EngineBuilder::new(Ctx { genesis }, settings)
            .with_default_wal(WalContext::new(log.clone(), BorshCodec))
            .with_default_network(NetworkContext::new(identity, BorshCodec))
            .with_default_sync(SyncContext::new(BorshCodec))
            .with_default_consensus(consensus(signer, account, genesis))
            .with_default_request(RequestContext::new(REQUESTS))
            .build()
            .await
            .map_err(|e| engine(&e))?;
        Ok(Running { channels, handle, held: LogFile(log) })
    }
}

/// The file of a log, which a thread of the engine keeps locked until it has ended.
pub(crate) struct LogFile(PathBuf);

impl LogFile {
    /// How long the engine's thread gets.
    const PATIENCE: Duration = Duration::from_secs(3);

    fn is_locked(path: &Path) -> bool {
        File::open(path).is_ok_and(|file| matches!(file.try_lock(), Err(std::fs::TryLockError::WouldBlock)))
    }
}

impl Held for LogFile {
    async fn released(self) {
        let (path, began) = (self.0, Instant::now());
        while Self::is_locked(&path) {
            if began.elapsed() > Self::PATIENCE {
                tracing::error!(path = %path.display(), "the engine's log is still locked; a restart in this process may fail");
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
