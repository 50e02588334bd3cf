//! Starting, watching and stopping the engine.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use assay_primitives::{AccountId, Hash32};
use malachitebft_app_channel::Channels;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

use super::{
    EngineConfig, WatermarkError,
    app::{App, now_ms, with},
    context::Ctx,
    executor::{Executor, Fault},
    handlers,
    machine::{Held, Host, Machine, Parts, Running},
    parts::Streams,
    settings::Settings,
    signing::OperatorSigner,
    watch::{Refused, watch_events, watch_network},
    watermark::Watermark,
};

/// How long the engine's actors get to stop by themselves.
const STOPPING: Duration = Duration::from_secs(3);

/// What the engine is doing.
#[derive(Clone, Debug)]
pub struct EngineStatus {
    /// The last committed height.
    pub height: u64,
    /// The round of the next height.
    pub round: u32,
    /// Connected peers.
    pub peers: usize,
    /// Whether this node's key votes at the next height.
    pub validator: bool,
    /// Whether the newest block came by catching up rather than from its proposer.
    pub syncing: bool,
    /// When a block was last committed, or the engine started.
    pub last_progress: Instant,
}

/// Why the engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The folder for its log.
    #[error("cannot make the engine's folder {path}: {source}; check its owner and the disk")]
    Home {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The signer's watermark.
    #[error(transparent)]
    Watermark(#[from] WatermarkError),
    /// The application cannot say where it stands.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// An unusable setting.
    #[error("unusable engine setting: {0}")]
    Setting(String),
    /// The engine itself.
    #[error("the block engine did not start: {0}; check that its folder belongs to this node alone")]
    Engine(String),
}

/// Why the engine stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StopReason {
    /// The application cannot go on.
    #[error(transparent)]
    Fault(Fault),
    /// The engine died or refuses to go on.
    #[error("the block engine stopped: {0}")]
    Engine(String),
    /// [`Engine::stop`] was called.
    #[error("the block engine was asked to stop")]
    Requested,
}

/// A running engine. Dropping it leaves the engine running; call [`Engine::stop`].
#[derive(Debug)]
pub struct Engine {
    status: watch::Receiver<EngineStatus>,
    stop: mpsc::Sender<()>,
    outcome: watch::Receiver<Option<StopReason>>,
    supervisor: JoinHandle<()>,
}

impl Engine {
    /// What the engine is doing, as it changes.
    pub fn status(&self) -> watch::Receiver<EngineStatus> {
        self.status.clone()
    }

    /// Waits until the engine has stopped, for whatever reason. May be called again.
    pub async fn stopped(&mut self) -> StopReason {
        match self.outcome.wait_for(Option::is_some).await.map(|reason| reason.clone()) {
            Ok(Some(reason)) => reason,
            _ => StopReason::Engine("its supervisor died".into()),
        }
    }

    /// Stops the engine; when it returns, the executor is dropped and the port is free.
    pub async fn stop(self) {
        // Closed already if it stopped by itself.
        let _ = self.stop.send(()).await;
        let _ = self.supervisor.await;
    }
}

/// Writes the engine's metrics in Prometheus text format. They are one registry for the process; each
/// engine's carry its moniker.
pub fn encode_metrics(out: &mut String) {
    malachitebft_app_channel::app::metrics::export(out);
}

/// Starts the engine on an application. Needs a multi-thread tokio runtime.
///
/// # Errors
/// See [`StartError`].
pub async fn start(config: EngineConfig, executor: impl Executor) -> Result<Engine, StartError> {
    start_on(Host::new(&config)?, config, executor).await
}

/// As [`start`], on a given machine.
pub(crate) async fn start_on(
    mut machine: impl Machine,
    config: EngineConfig,
    executor: impl Executor,
) -> Result<Engine, StartError> {
    if config.max_block_bytes == 0 || config.max_block_bytes > u32::MAX as usize {
        return Err(StartError::Setting(format!(
            "max_block_bytes must be 1..={}, found {}",
            u32::MAX,
            config.max_block_bytes
        )));
    }
    let settings = Settings::new(&config).map_err(StartError::Setting)?;
    // Without a key the engine still wants an address; nobody has the key of a hash.
    let account = match &config.signer {
        Some(key) => key.account(),
        None => AccountId(Hash32::digest(&config.network_key.account().0).0),
    };

    let (blocking, genesis) = (machine.blocking(), config.genesis);
    let failure = Arc::new(Mutex::new(None));
    let signer = match &config.signer {
        Some(key) => {
            let watermark = Watermark::open(machine.slots()?, genesis, account)?;
            Some(OperatorSigner::new(key.clone(), genesis, watermark, blocking, Arc::clone(&failure)))
        }
        None => None,
    };

    let executor = Arc::new(Mutex::new(executor));
    let (tip, set, block_interval) = with(&executor, blocking, |executor| {
        let tip = executor.tip();
        executor.may_go_on()?;
        executor.validators(tip.height + 1).map(|set| (tip, set, executor.block_interval()))
    })
    .await??;
    set.check().map_err(|e| Fault(format!("the validator set of height {} is unusable: {e}", tip.height + 1)))?;
    if config.signer.is_none() && set.power_of(&account).is_some() {
        return Err(StartError::Setting("a validator set names an account that nobody has the key of".into()));
    }

    let running = machine.build(Parts { genesis, settings, account, signer }).await?;

    let validator = config.signer.is_some() && set.power_of(&account).is_some();
    let first = EngineStatus {
        height: tip.height,
        round: 0,
        peers: 0,
        validator,
        syncing: false,
        last_progress: Instant::now(),
    };
    let (status, status_seen) = watch::channel(first);
    let app = App {
        executor,
        blocking,
        genesis,
        account,
        key: config.signer,
        block_interval,
        max_block_bytes: config.max_block_bytes,
        tip,
        set,
        round: 0,
        streams: Streams::new(config.max_block_bytes),
        future: Vec::new(),
        first_seen: Default::default(),
        judged: Default::default(),
        openings: Default::default(),
        halted: None,
        network: running.channels.network.clone(),
        net_requests: running.channels.net_requests.clone(),
        status: status.clone(),
        started_ms: now_ms(),
        streams_sent: 0,
    };
    let (stop, stop_asked) = mpsc::channel(1);
    let (outcome, outcome_seen) = watch::channel(None);
    let supervisor = tokio::spawn(supervise(app, running, status, failure, stop_asked, outcome));
    Ok(Engine { status: status_seen, stop, outcome: outcome_seen, supervisor })
}

/// Why the engine is about to hang, if it is.
pub(crate) type Failure = Arc<Mutex<Option<String>>>;

async fn supervise<E: Executor>(
    app: App<E>,
    running: Running<impl Held>,
    status: watch::Sender<EngineStatus>,
    failure: Failure,
    mut stop_asked: mpsc::Receiver<()>,
    outcome: watch::Sender<Option<StopReason>>,
) {
    let Running { channels, handle: mut engine, held } = running;
    let refused = Refused::default();
    let watch_events =
        tokio::spawn(watch_events(channels.events.subscribe(), Arc::clone(&failure), Arc::clone(&refused)));
    let (requests, network) = (channels.requests.clone(), channels.net_requests.clone());
    let mut watch_network = tokio::spawn(watch_network(status, network, requests, refused));
    let mut work = tokio::spawn(run(app, channels));
    let (mut working, mut running) = (true, true);
    let mut reason = tokio::select! {
        done = &mut work => {
            working = false;
            match done {
                Ok(Err(fault)) => StopReason::Fault(fault),
                Ok(Ok(())) => StopReason::Engine("it closed its channel".into()),
                Err(e) => StopReason::Fault(Fault(format!("the application loop died: {e}"))),
            }
        }
        _ = &mut engine.handle => {
            running = false;
            StopReason::Engine("its supervisor ended".into())
        }
        Some(()) = stop_asked.recv() => StopReason::Requested,
        found = &mut watch_network => found.unwrap_or_else(|e| StopReason::Engine(format!("its watch died: {e}"))),
    };
    // At once: a node whose application is gone must not go on voting.
    let cell = engine.actor.get_cell();
    let gentle = cell.stop_children_and_wait(Some("stopping".into()), Some(STOPPING));
    if tokio::time::timeout(STOPPING, gentle).await.is_err() || reason != StopReason::Requested {
        cell.kill();
    }
    cell.stop(None);
    if running && tokio::time::timeout(STOPPING, &mut engine.handle).await.is_err() {
        tracing::error!("the engine does not stop; leaving it behind");
    }
    if working && tokio::time::timeout(10 * STOPPING, &mut work).await.is_err() {
        tracing::error!("the application does not finish its last call; leaving it behind");
        work.abort();
    }
    watch_network.abort();
    watch_events.abort();
    held.released().await;
    if let StopReason::Engine(text) = &mut reason
        && let Some(found) = failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    {
        *text = found;
    }
    tracing::info!(%reason, "engine stopped");
    let _ = outcome.send(Some(reason));
}

async fn run<E: Executor>(mut app: App<E>, mut channels: Channels<Ctx>) -> Result<(), Fault> {
    loop {
        let over = app.halted.as_ref().map(|halted| halted.until);
        let message = tokio::select! {
            message = channels.consensus.recv() => message,
            () = tokio::time::sleep_until(over.unwrap_or_else(Instant::now).into()), if over.is_some() => {
                return app.halted.map_or(Ok(()), |halted| Err(halted.fault));
            }
        };
        let Some(message) = message else { return Ok(()) };
        handlers::handle(&mut app, message).await?;
    }
}
