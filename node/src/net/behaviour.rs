//! The swarm's protocols and their settings.

use std::time::Duration;

use libp2p::{
    StreamProtocol, Swarm, SwarmBuilder, allow_block_list, connection_limits, dns, gossipsub, identify, identity, kad,
    noise, request_response, swarm::NetworkBehaviour, tcp, yamux,
};

use super::{Limits, NetConfig, NetError, identity as identity_of, snapshots, texts, wire};

/// Longest time an exchange may stay open; each ask has a shorter deadline of its own.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(600);
/// How often a silent peer is asked over QUIC whether it is there, and milliseconds of silence after which it is not.
const QUIC_ALIVE: Duration = Duration::from_secs(1);
const QUIC_SILENCE_MS: u32 = 5_000;
/// Exchanges that one connection may have open.
const STREAMS_PER_CONNECTION: usize = 128;
/// Largest gossiped transaction, in bytes: the largest that the parameter `max_tx_bytes` can allow, with its frame.
const MAX_GOSSIP_BYTES: usize = 1024 * 1024 + 4096;

/// All protocols of the data plane.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    pub(super) limits: connection_limits::Behaviour,
    pub(super) banned: allow_block_list::Behaviour<allow_block_list::BlockedPeers>,
    pub(super) identify: identify::Behaviour,
    pub(super) kad: kad::Behaviour<kad::store::MemoryStore>,
    pub(super) gossip: gossipsub::Behaviour,
    pub(super) infer: request_response::Behaviour<wire::Infer>,
    pub(super) texts: request_response::Behaviour<texts::Codec>,
    pub(super) snapshots: request_response::Behaviour<snapshots::Codec>,
}

/// The gossip topic of transactions.
pub(super) fn topic(genesis: &assay_primitives::Hash32) -> gossipsub::IdentTopic {
    gossipsub::IdentTopic::new(format!("/assay/{genesis}/tx/1"))
}

fn protocol(genesis: &assay_primitives::Hash32, name: &str) -> StreamProtocol {
    StreamProtocol::try_from_owned(format!("/assay/{genesis}/{name}/1")).expect("it starts with a slash")
}

fn connection_limits(limits: &Limits) -> connection_limits::Behaviour {
    let bounds = connection_limits::ConnectionLimits::default()
        .with_max_established(Some(limits.max_connections))
        .with_max_established_per_peer(Some(limits.max_connections_per_peer))
        .with_max_pending_incoming(Some(limits.max_connections / 4 + 1))
        .with_max_pending_outgoing(Some(limits.max_connections));
    connection_limits::Behaviour::new(bounds)
}

fn gossip(key: &identity::Keypair, genesis: &assay_primitives::Hash32) -> Result<gossipsub::Behaviour, NetError> {
    let setup = |e: &dyn std::fmt::Display| NetError::Setup(format!("gossip: {e}"));
    let config = gossipsub::ConfigBuilder::default()
        .validate_messages()
        .validation_mode(gossipsub::ValidationMode::Strict)
        .max_transmit_size(MAX_GOSSIP_BYTES)
        // The same transaction is one message, whoever published it.
        .message_id_fn(|message| gossipsub::MessageId::new(blake3::hash(&message.data).as_bytes()))
        .build()
        .map_err(|e| setup(&e))?;
    let mut gossip = gossipsub::Behaviour::new(gossipsub::MessageAuthenticity::Signed(key.clone()), config)
        .map_err(|e| setup(&e))?;
    let topic = topic(genesis);
    // Peers lose standing for invalid transactions only: quiet ones are welcome, and many nodes may share a machine.
    let scores = gossipsub::TopicScoreParams {
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        time_in_mesh_weight: 0.01,
        invalid_message_deliveries_weight: -20.0,
        invalid_message_deliveries_decay: 0.9,
        ..Default::default()
    };
    let peers = gossipsub::PeerScoreParams {
        topics: [(topic.hash(), scores)].into(),
        ip_colocation_factor_weight: 0.0,
        ..Default::default()
    };
    gossip.with_peer_score(peers, gossipsub::PeerScoreThresholds::default()).map_err(|e| setup(&e))?;
    gossip.subscribe(&topic).map_err(|e| setup(&e))?;
    Ok(gossip)
}

fn kademlia(key: &identity::Keypair, genesis: &assay_primitives::Hash32) -> kad::Behaviour<kad::store::MemoryStore> {
    let id = key.public().to_peer_id();
    let mut config = kad::Config::new(protocol(genesis, "kad"));
    // It is here to find peers. Nobody stores anything with us.
    config.set_record_filtering(kad::StoreInserts::FilterBoth);
    config.set_periodic_bootstrap_interval(Some(Duration::from_secs(60)));
    let mut kad = kad::Behaviour::with_config(id, kad::store::MemoryStore::new(id), config);
    kad.set_mode(Some(kad::Mode::Server));
    kad
}

fn behaviour(key: &identity::Keypair, config: &NetConfig) -> Result<Behaviour, NetError> {
    let genesis = &config.genesis;
    let identify = identify::Config::new(protocol(genesis, "id").to_string(), key.public())
        .with_agent_version(concat!("assay/", env!("CARGO_PKG_VERSION")).into());
    let exchanges = request_response::Config::default()
        .with_request_timeout(EXCHANGE_TIMEOUT)
        .with_max_concurrent_streams(STREAMS_PER_CONNECTION);
    let full = |name| [(protocol(genesis, name), request_response::ProtocolSupport::Full)];
    Ok(Behaviour {
        limits: connection_limits(&config.limits),
        banned: allow_block_list::Behaviour::default(),
        identify: identify::Behaviour::new(identify),
        kad: kademlia(key, genesis),
        gossip: gossip(key, genesis)?,
        texts: request_response::Behaviour::with_codec(
            texts::Codec::default(),
            full("text"),
            exchanges.clone().with_max_concurrent_streams(config.limits.open_texts),
        ),
        snapshots: request_response::Behaviour::with_codec(
            snapshots::Codec::default(),
            full("snapshot"),
            exchanges.clone(),
        ),
        infer: request_response::Behaviour::with_codec(wire::Infer::default(), full("infer"), exchanges),
    })
}

/// A swarm over QUIC and TCP with noise and yamux; listens nowhere yet.
pub(super) fn build(config: &NetConfig) -> Result<Swarm<Behaviour>, NetError> {
    let setup = |e: &dyn std::fmt::Display| NetError::Setup(e.to_string());
    let key = identity_of(&config.key);
    let behaviour = behaviour(&key, config)?;
    // A peer that was killed says no goodbye over QUIC: it is missed only when it has been silent for so long.
    let quic = |mut c: libp2p::quic::Config| {
        (c.keep_alive_interval, c.max_idle_timeout) = (QUIC_ALIVE, QUIC_SILENCE_MS);
        c
    };
    let transports = || {
        let tcp = tcp::Config::default().nodelay(true);
        let builder = SwarmBuilder::with_existing_identity(key.clone()).with_tokio();
        builder
            .with_tcp(tcp, noise::Config::new, yamux::Config::default)
            .map_err(|e| setup(&e))
            .map(|b| b.with_quic_config(quic))
    };
    let swarm = |c: libp2p::swarm::Config| {
        // A stream's first message goes out with the proposal of its protocol, which saves a round trip for each request.
        c.with_idle_connection_timeout(Duration::from_secs(600))
            .with_substream_upgrade_protocol_override(libp2p::core::upgrade::Version::V1Lazy)
    };
    match transports()?.with_dns() {
        Ok(named) => Ok(named.with_behaviour(|_| behaviour).map_err(|e| setup(&e))?.with_swarm_config(swarm).build()),
        Err(e) => {
            tracing::warn!(
                "this machine has no usable name resolver ({e}): only peers given by IP address are reached"
            );
            let numbers = transports()?.with_dns_config(dns::ResolverConfig::new(), dns::ResolverOpts::default());
            Ok(numbers.with_behaviour(|_| behaviour).map_err(|e| setup(&e))?.with_swarm_config(swarm).build())
        }
    }
}
