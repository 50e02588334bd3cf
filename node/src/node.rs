//! One running node: its store, engine, data plane, role and servers, started and stopped together.
//!
//! Every part is a task. The first one that ends on its own takes the whole node down with its reason: a validator
//! that cannot go on says so and exits, it never hangs and looks alive.

mod backend;
mod chain_metrics;
mod disk;
mod facts;
mod gossip;
mod health;
mod view;

use std::{
    net::{SocketAddr, ToSocketAddrs as _},
    num::NonZeroU64,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use assay_chain_spec::{ChainSpec, Params};
use assay_consensus::bft::{self, Engine, EngineConfig, EngineStatus, Executor as _};
use assay_primitives::{Hash32, Keypair};
use assay_scoring::CanarySet;
use eyre::{WrapErr as _, eyre};
use prometheus_client::registry::Registry;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use self::chain_metrics::ChainMetrics;
use crate::{
    adversary::{Copy, Lazy, Tamper},
    chain::{Chain, ChainFeeds},
    cli::{self, Adversary},
    home::{BusyPort, Config, GatewaySettings, Home, PeerAddress, Role, StorageSettings},
    http, judges,
    mempool::Mempool,
    net::{self, Multiaddr, NetConfig, NetHandle},
    openai::{
        self,
        keys::Keys,
        network::{Network, NetworkConfig, ReceiptMaker},
        server::ServerOptions,
    },
    roles::{self, Answerer, Asker, ChainView, Gateway, MinerConfig, RoleMetrics, ValidatorConfig},
    rpc::{self, Identity, RpcBackend},
    snapshots::{self, Makes},
    store::Store,
    texts::{self, Texts},
    web::{self, Tls},
};

/// Labelled digit scans that the training never saw: canaries for the validators' tasks.
const CANARIES: &str = include_str!("../../assets/digits/heldout.json");

/// How long a node may take to stop before it is dropped where it stands.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// A chain so young has no snapshot worth waiting for.
const YOUNG: Duration = Duration::from_secs(600);

/// How often it is seen to that models nobody asks for are let go.
const SWEEP: Duration = Duration::from_secs(60);

/// What peers ask of a node.
type Inbound = (tokio::sync::mpsc::Receiver<net::InboundAsk>, tokio::sync::mpsc::Receiver<net::InboundText>);

/// What the parts of a node share.
pub struct Shared {
    identity: Identity,
    genesis: Hash32,
    spec: Arc<ChainSpec>,
    store: Arc<Store>,
    mempool: Arc<Mempool>,
    net: NetHandle,
    heights: watch::Receiver<u64>,
    engine: watch::Receiver<EngineStatus>,
    gateway: OnceLock<Gateway>,
    /// The language models of whatever role it runs.
    texts: Texts,
    /// Nonces are given out one at a time.
    submitting: tokio::sync::Mutex<()>,
    /// Transactions that found no peer yet.
    unsent: tokio::sync::mpsc::Sender<Vec<u8>>,
    registry: Registry,
}

impl Shared {
    /// The node's store.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The node as its roles see it.
    pub fn chain(&self) -> &dyn ChainView {
        self
    }
}

/// A running node.
pub struct Node {
    shared: Arc<Shared>,
    stop: CancellationToken,
    tasks: JoinSet<(&'static str, eyre::Result<()>)>,
}

/// How a node is started.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What it runs; [`Role::Node`] on any home follows the chain only.
    pub role: Role,
    /// Runs this adversary in place of an honest miner. Only the devnet does.
    pub adversary: Option<Adversary>,
}

/// Runs a node until it is told to stop (interrupt or SIGTERM) or cannot go on.
pub async fn run(home: Home, role: Role) -> eyre::Result<()> {
    let mut node = Node::start(&home, Options { role, adversary: None }).await?;
    let outcome = tokio::select! {
        reason = node.ended() => Err(reason),
        asked = asked_to_stop() => asked,
    };
    tracing::info!("stopping");
    node.stop().await;
    outcome
}

/// Resolves when the process is asked to stop: an interrupt or SIGTERM.
pub(crate) async fn asked_to_stop() -> eyre::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupt = tokio::signal::ctrl_c() => Ok(interrupt?),
        _ = terminate.recv() => Ok(()),
    }
}

fn resolve(peer: &PeerAddress) -> eyre::Result<SocketAddr> {
    (peer.host.as_str(), peer.port)
        .to_socket_addrs()
        .wrap_err_with(|| format!("cannot resolve consensus peer {}:{}", peer.host, peer.port))?
        .next()
        .ok_or_else(|| eyre!("consensus peer {}:{} has no address", peer.host, peer.port))
}

fn multiaddr(text: &str) -> eyre::Result<Multiaddr> {
    text.parse().wrap_err_with(|| format!("{text:?} is not a multiaddress"))
}

impl Node {
    /// Starts every part. An error names what could not start; nothing is left running then.
    pub async fn start(home: &Home, options: Options) -> eyre::Result<Self> {
        // A store that exists says itself who has it, and is not changed by being opened.
        if !home.store_dir().exists() {
            let Config { listen, rpc_listen, ports, .. } = &home.config;
            let mend = |e: BusyPort| eyre!("{e}; stop what uses it, or change ports.{} in config.toml", e.name);
            ports.check_free(*listen, *rpc_listen).map_err(mend)?;
        }
        let spec = Arc::new(home.spec.clone());
        let store = Arc::new(Store::open(&home.store_dir(), &spec)?);
        let mempool = Arc::new(Mempool::new(home.genesis));
        let options_of_api = api_options(home).await?;
        let (net, events) = net::start(net_config(home)?).await?;
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let giving = snapshots::serve(home.snapshots_dir(), events.snapshots, stop.clone());
        tasks.spawn(async move { ("snapshots for others", giving.await) });
        if may_join(home, &store)? {
            snapshots::join(&net, &store, home.config.peers.data.len(), &spec).await?;
        }
        let (chain, feeds) = Chain::new(store.clone(), mempool.clone(), spec.clone())?;
        chain.may_go_on()?;
        let ChainFeeds { heights, committed, misbehaviour } = feeds;
        let engine = start_engine(home, options.role, chain).await?;

        let texts = home.texts();
        let metrics = RoleMetrics::default();
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let chain_metrics = ChainMetrics::default();
        chain_metrics.register(&mut registry);
        let connections = web::Metrics::default();
        connections.register(&mut registry);
        let (unsent, unsent_out) = tokio::sync::mpsc::channel(1024);
        let shared = Arc::new(Shared {
            identity: identity(home, options.role),
            genesis: home.genesis,
            spec,
            store,
            mempool,
            net: net.clone(),
            heights,
            engine: engine.status(),
            gateway: OnceLock::new(),
            texts: texts.clone(),
            submitting: tokio::sync::Mutex::new(()),
            unsent,
            registry,
        });
        let view: Arc<dyn ChainView> = shared.clone();
        let asker: Arc<dyn Asker> = Arc::new(net);
        let mut accounts = None;
        let backend: Arc<dyn RpcBackend> = shared.clone();
        let servers = async {
            let mut api = None;
            // Clients' questions are asked in the owner's name: a validator's own name is for its tasks alone, or a crowd of
            // clients could use up the rate that miners grant it.
            if let Ok(key) = home.owner() {
                let gateway = Gateway::new(view.clone(), asker.clone(), key.clone(), metrics.clone());
                shared.gateway.get_or_init(|| gateway);
                let parts = Arc::clone(&shared);
                let receipt: ReceiptMaker = Arc::new(move |request, response, proof, outline| {
                    parts.receipt(request, response, proof, outline).map_err(|e| e.to_string())
                });
                let second = home.config.gateway.second;
                let config = NetworkConfig { key, texts: texts.clone(), bills: home.gateway_dir(), second };
                let network = Network::new(view.clone(), asker.clone(), config, receipt, metrics.clone())?;
                accounts = Some((options_of_api.keys.book().clone(), network.clone()));
                api = Some((Arc::new(network) as Arc<dyn openai::backend::Backend>, options_of_api));
            }
            let rpc = rpc::serve(home.rpc_address(), backend.clone(), &connections)?;
            Ok::<_, eyre::Report>((rpc, http::serve(home.http_address(), backend, api, &connections)?))
        };
        let (rpc, http) = match servers.await {
            Ok(servers) => servers,
            Err(e) => {
                engine.stop().await;
                shared.net.stop().await;
                return Err(e);
            }
        };

        let mut node = Self { shared, stop: stop.clone(), tasks };
        node.task("block engine", supervise(engine, stop.clone()));
        node.task("gossip", gossip::receive(node.shared.clone(), events.transactions, stop.clone()));
        node.task("gossip retry", gossip::retry(node.shared.clone(), unsent_out, stop.clone()));
        node.task("mempool upkeep", gossip::sweep(node.shared.clone(), committed.subscribe(), stop.clone()));
        let me = home.operator.account();
        node.task("metrics of blocks", chain_metrics.watch(me, committed.subscribe(), stop.clone()));
        let disk = disk::watch(home.data_dir(), stop.clone());
        node.task("disk", async move { Ok(disk.await?) });
        let StorageSettings { snapshot_every, keep_blocks, .. } = home.config.storage;
        let makes = Makes {
            store: Arc::clone(node.shared.store()),
            dir: home.snapshots_dir(),
            every: NonZeroU64::new(snapshot_every),
            keep_blocks: NonZeroU64::new(keep_blocks),
        };
        node.task("snapshots", snapshots::keep(makes, node.shared.heights.clone(), stop.clone()));
        let sweeping = texts::sweep(texts.shelf().clone(), SWEEP, stop.clone());
        node.task("upkeep of models", async move { Ok(sweeping.await?) });
        if options.role == Role::Validator {
            let reporter = home.operator.clone();
            node.task("evidence", gossip::report(node.shared.clone(), reporter, misbehaviour, stop.clone()));
        }
        if let Some((book, network)) = accounts {
            let (stop, other) = (node.stop.clone(), node.stop.clone());
            node.task("accounts of keys", async move {
                book.keep(stop).await;
                Ok(())
            });
            node.task("payments for texts", async move {
                network.settle(other).await;
                Ok(())
            });
        }
        node.task("servers", async move {
            stop.cancelled().await;
            tokio::join!(rpc.stop(), http.stop());
            Ok(())
        });
        match node.start_role(home, options, view, asker, metrics, (events.asks, events.texts)) {
            Ok(()) => Ok(node),
            Err(e) => {
                node.stop().await;
                Err(e)
            }
        }
    }

    fn start_role(
        &mut self,
        home: &Home,
        options: Options,
        chain: Arc<dyn ChainView>,
        asker: Arc<dyn Asker>,
        metrics: RoleMetrics,
        inbound: Inbound,
    ) -> eyre::Result<()> {
        let (key, stop, texts) = (home.operator.clone(), self.stop.clone(), self.shared.texts.clone());
        match (options.role, options.adversary) {
            (Role::Validator, _) => {
                let canaries =
                    CanarySet::from_json(CANARIES).wrap_err("the canary scans in this program are damaged")?;
                let mut config = ValidatorConfig::new(key, home.data_dir().join("validator"), texts);
                let (settings, dir) = (home.config.validator.clone(), home.dir.clone());
                self.task("validator", async move {
                    config.judges = tokio::task::spawn_blocking(move || judges::load(&settings, &dir)).await??;
                    Ok(roles::run_validator(chain, asker, canaries, config, metrics, stop).await?)
                });
                self.refuse(inbound);
            }
            (Role::Miner, None) => {
                let mut config = MinerConfig::new(key, home.data_dir().join("miner"), home.groth16_dir(), texts);
                config.credit = home.config.miner.credit;
                self.task("miner", async move { Ok(roles::run_miner(chain, config, metrics, inbound, stop).await?) });
            }
            (Role::Miner, Some(adversary)) => {
                let answerer: Arc<dyn Answerer> = match adversary {
                    Adversary::Lazy => Arc::new(Lazy::new(home.genesis, chain, key)),
                    Adversary::Tamper => {
                        let config = MinerConfig::new(key, home.data_dir().join("tamper"), home.groth16_dir(), texts);
                        Arc::new(Tamper::new(chain, config, metrics)?)
                    }
                    Adversary::Copy => Arc::new(Copy::new(chain, asker, key, home.owner()?)),
                };
                let (asks, texts) = inbound;
                self.task("adversary", async move {
                    let telling = roles::serve_texts(Arc::clone(&answerer), texts, stop.clone());
                    tokio::join!(roles::serve(answerer, asks, stop), telling);
                    Ok(())
                });
            }
            (Role::Gateway | Role::Node, _) => self.refuse(inbound),
        }
        Ok(())
    }

    fn refuse(&mut self, inbound: Inbound) {
        let stop = self.stop.clone();
        self.task("refusing asks", async move {
            roles::refuse_asks(inbound, stop).await;
            Ok(())
        });
    }

    fn task(&mut self, name: &'static str, work: impl Future<Output = eyre::Result<()>> + Send + 'static) {
        self.tasks.spawn(async move { (name, work.await) });
    }

    /// What the parts share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Resolves when a part ends on its own, with the reason. Never resolves while all is well.
    pub async fn ended(&mut self) -> eyre::Report {
        let moniker = &self.shared.identity.moniker;
        match self.tasks.join_next().await {
            Some(Ok((name, Ok(())))) => eyre!("{moniker}: the {name} ended without being told to"),
            Some(Ok((name, Err(e)))) => e.wrap_err(format!("{moniker}: the {name} cannot go on")),
            Some(Err(e)) => eyre!("{moniker}: a part of the node panicked: {e}"),
            None => eyre!("{moniker}: nothing is running"),
        }
    }

    /// Stops every part and waits for it, at most five seconds.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_LIMIT, all).await.is_err() {
            tracing::warn!("some parts did not stop within {STOP_LIMIT:?} and were cut off; nothing committed is lost");
            self.tasks.shutdown().await;
        }
        self.shared.net.stop().await;
        let store = Arc::clone(self.shared.store());
        if let Err(e) = tokio::task::spawn_blocking(move || store.rest()).await {
            tracing::warn!("the store did not come to rest: {e}");
        }
    }
}

/// Whether a node begins with a peer's snapshot: it has no block, and the chain is not young.
fn may_join(home: &Home, store: &Store) -> eyre::Result<bool> {
    let genesis = Duration::from_millis(home.spec.genesis_time_ms);
    let age = SystemTime::now().duration_since(UNIX_EPOCH)?.saturating_sub(genesis);
    let Config { storage, peers, .. } = &home.config;
    Ok(storage.join_by_snapshot && !peers.data.is_empty() && age > YOUNG && store.tip()?.height == 0)
}

fn identity(home: &Home, role: Role) -> Identity {
    Identity {
        genesis: home.genesis,
        chain_id: home.spec.chain_id.clone(),
        role,
        moniker: home.config.moniker.clone(),
        account: home.operator.account(),
        owner: home.owner().ok().map(|key: Keypair| key.account()),
    }
}

/// How the home's OpenAI API is served.
async fn api_options(home: &Home) -> eyre::Result<ServerOptions> {
    let GatewaySettings { cors, tls_certificate, tls_key, .. } = &home.config.gateway;
    let tls = match (tls_certificate, tls_key) {
        (Some(certificate), Some(key)) => Some(Tls::read(certificate, key).await?),
        _ => None,
    };
    Ok(ServerOptions { cors: cors.clone(), keys: Keys::open(home.dir.join(cli::keys::FILE))?, tls })
}

fn net_config(home: &Home) -> eyre::Result<NetConfig> {
    let mut config = NetConfig::new(home.network.clone(), home.genesis);
    let here = PeerAddress { host: home.config.listen.to_string(), port: home.config.ports.data };
    config.listen = vec![multiaddr(&here.quic())?, multiaddr(&here.tcp())?];
    config.external = home.config.external_addresses.iter().map(|a| multiaddr(a)).collect::<eyre::Result<_>>()?;
    config.bootstrap = home.config.peers.data.iter().map(|p| multiaddr(&p.quic())).collect::<eyre::Result<_>>()?;
    Ok(config)
}

async fn start_engine(home: &Home, role: Role, chain: Chain) -> eyre::Result<Engine> {
    let listen = SocketAddr::new(home.config.listen, home.config.ports.consensus);
    // The engine's own listener fails only after it has started, and in silence: ask the system first.
    std::net::TcpListener::bind(listen).wrap_err_with(|| {
        format!("cannot listen for consensus on {listen}; stop what uses the port, or choose another one")
    })?;
    // Governance may raise the limit on blocks while the node runs: the engine is sized for the largest it may become.
    // What is valid now is the ledger's to say.
    let max_block_bytes = usize::try_from(Params::bounds("max_block_bytes")?.high)?;
    let config = EngineConfig {
        chain_id: home.spec.chain_id.clone(),
        genesis: home.genesis,
        moniker: home.config.moniker.clone(),
        listen,
        peers: home.config.peers.consensus.iter().map(resolve).collect::<eyre::Result<_>>()?,
        home: home.data_dir().join("consensus"),
        network_key: home.engine_identity()?,
        signer: (role == Role::Validator).then(|| home.operator.clone()),
        max_block_bytes,
    };
    Ok(bft::start(config, chain).await?)
}

/// Ends when the engine dies, or stops it when the node stops.
async fn supervise(mut engine: Engine, stop: CancellationToken) -> eyre::Result<()> {
    tokio::select! {
        reason = engine.stopped() => Err(eyre!("{reason}")),
        () = stop.cancelled() => {
            engine.stop().await;
            Ok(())
        }
    }
}
