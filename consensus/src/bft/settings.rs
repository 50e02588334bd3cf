//! The engine's settings, derived from the few that are ours.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use assay_primitives::{Hash32, Keypair};
use malachitebft_app_channel::app::config::{
    ChannelNames, ConsensusConfig, NodeConfig, ProtocolNames, ValueSyncConfig,
};
use malachitebft_core_types::LinearTimeouts;

/// What [`start`](super::start) needs to know.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The chain's name; nodes of other chains are not understood.
    pub chain_id: String,
    /// The chain's genesis hash, in everything that is signed.
    pub genesis: Hash32,
    /// This node's name in logs and metrics; unique among the engines of one process.
    pub moniker: String,
    /// Where peers reach the engine (TCP). Not the data plane's address.
    pub listen: SocketAddr,
    /// Peers to stay connected to.
    pub peers: Vec<SocketAddr>,
    /// A folder of this node's own for the write-ahead log and the signer's watermark; made if missing.
    /// Never delete it, and never restore an older store beside it.
    pub home: PathBuf,
    /// The key of the node's network identity; not the operator's.
    pub network_key: Keypair,
    /// The operator's key. With `None`, or while it is not in the validator set, the node follows only.
    pub signer: Option<Keypair>,
    /// The largest encoded block that the chain's rules may ever allow, in bytes; the same on all nodes. What
    /// they allow today is the [`Executor`](super::Executor)'s to judge.
    pub max_block_bytes: usize,
}

/// The engine's own view of its settings.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    moniker: String,
    consensus: ConsensusConfig,
    sync: ValueSyncConfig,
}

impl NodeConfig for Settings {
    fn moniker(&self) -> &str {
        &self.moniker
    }
    fn consensus(&self) -> &ConsensusConfig {
        &self.consensus
    }
    fn consensus_mut(&mut self) -> &mut ConsensusConfig {
        &mut self.consensus
    }
    fn value_sync(&self) -> &ValueSyncConfig {
        &self.sync
    }
    fn value_sync_mut(&mut self) -> &mut ValueSyncConfig {
        &mut self.sync
    }
}

/// An address in libp2p's form.
pub(crate) fn multiaddr(address: SocketAddr) -> String {
    match address.ip() {
        IpAddr::V4(ip) => format!("/ip4/{ip}/tcp/{}", address.port()),
        IpAddr::V6(ip) => format!("/ip6/{ip}/tcp/{}", address.port()),
    }
}

impl Settings {
    pub(crate) fn new(config: &EngineConfig) -> Result<Self, String> {
        let mut consensus = ConsensusConfig::default();
        let address = |a: SocketAddr| multiaddr(a).parse().map_err(|e| format!("{a} is no usable address: {e}"));
        consensus.p2p.listen_addr = address(config.listen)?;
        for peer in &config.peers {
            consensus.p2p.persistent_peers.push(address(*peer)?);
        }
        // The chain stands in every protocol's name: strangers do not even start to talk.
        let chain = format!("{}/{}", config.chain_id, &config.genesis.to_string()[..16]);
        let protocol = |name: &str| format!("/assay/{chain}/{name}/1");
        consensus.p2p.protocol_names = ProtocolNames {
            consensus: protocol("consensus"),
            discovery_kad: protocol("kad"),
            discovery_regres: protocol("discovery"),
            sync: protocol("sync"),
            validator_proof: protocol("validator-proof"),
        };
        consensus.p2p.channel_names = ChannelNames {
            consensus: format!("/assay/{chain}/votes"),
            proposal_parts: format!("/assay/{chain}/parts"),
            sync: format!("/assay/{chain}/status"),
            liveness: format!("/assay/{chain}/liveness"),
        };
        // Devnets put every node behind one address, and a node may come back at once.
        consensus.p2p.discovery.max_connections_per_ip = 128;
        consensus.p2p.discovery.ip_throttle_duration = Duration::ZERO;

        let mut sync = ValueSyncConfig {
            // A node that missed a block hears of it within this time.
            status_update_interval: Duration::from_millis(500),
            // The largest block has to come within it, over a link of 4 Mbit/s or more.
            request_timeout: Duration::from_secs(5 + config.max_block_bytes as u64 / (512 * 1024)),
            ..ValueSyncConfig::default()
        };
        let response = (config.max_block_bytes as u64 + 1024 * 1024).max(10 * 1024 * 1024);
        sync.max_response_size.0 = response;
        consensus.p2p.rpc_max_size.0 = response + 1024 * 1024;
        Ok(Self { moniker: config.moniker.clone(), consensus, sync })
    }
}

/// Timeouts for a block interval. A dead proposer costs the first; the others only count among faults.
pub(crate) fn timeouts(block_interval: Duration) -> LinearTimeouts {
    let propose = block_interval + Duration::from_secs(1);
    let second = Duration::from_secs(1);
    let delta = Duration::from_millis(500);
    LinearTimeouts {
        propose,
        propose_delta: delta,
        prevote: second,
        prevote_delta: delta,
        precommit: second,
        precommit_delta: delta,
        rebroadcast: propose + second,
        max_timeout: (10 * propose).max(Duration::from_secs(30)),
    }
}
