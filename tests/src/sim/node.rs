//! One simulated machine, and the node that runs on it: the real store, mempool, chain and engine.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use assay::{
    chain::{Chain, ChainFeeds, Committed},
    mempool::Mempool,
    store::Store,
};
use assay_chain_spec::{ChainSpec, Params};
use assay_consensus::bft::{
    Engine, EngineConfig, Executor, Fault, Misbehaviour, StopReason, Tip, Undecided, Verdict, simulation,
    simulation::Simulated,
};
use assay_ledger::{
    query,
    tx::{Action, Transaction},
};
use assay_primitives::{AccountId, Certificate, Hash32, Keypair, Signed, ValidatorSet, encode};
use bytes::Bytes;
use eyre::WrapErr as _;
use futures::FutureExt as _;
use rand_chacha::ChaCha8Rng;
use tokio::{
    sync::{broadcast, mpsc},
    task::JoinSet,
};

use super::{
    byzantine::{self, Shared, Vice},
    check::Checks,
    disk::Disks,
    net::{End, EngineWire, Net},
    power::Power,
    trace::{Happening, Trace},
};

/// Blocks between two looks for transactions that can no longer stand in a block, as a real node does.
const SWEEP_EVERY: u64 = 16;

/// What all machines share.
#[derive(Clone)]
pub(super) struct World {
    pub(super) spec: Arc<ChainSpec>,
    pub(super) genesis: Hash32,
    pub(super) net: Net,
    pub(super) trace: Arc<Mutex<Trace>>,
    pub(super) checks: Arc<Mutex<Checks>>,
}

impl World {
    /// Adds to the trace.
    pub(super) fn note(&self, happening: &Happening<'_>) {
        self.trace.lock().unwrap_or_else(PoisonError::into_inner).add(happening);
    }

    /// The invariants.
    pub(super) fn checks(&self) -> std::sync::MutexGuard<'_, Checks> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A machine, running or not.
pub(super) struct Machine {
    pub(super) number: u8,
    world: World,
    key: Keypair,
    disks: Disks,
    /// What it does that an honest node does not.
    vice: Option<Shared>,
    /// It runs without its key until it has this height.
    follows: Option<u64>,
    running: Option<Running>,
}

/// What runs on a machine.
struct Running {
    sender: Sender,
    engine: Engine,
    tasks: JoinSet<()>,
}

impl Machine {
    /// A machine with empty disks.
    pub(super) fn new(number: u8, key: Keypair, world: World) -> Self {
        Self { number, world, key, disks: Disks::default(), vice: None, follows: None, running: None }
    }

    /// Sends what its vice makes it send, if it has one.
    pub(super) fn submit_evil(&self, payer: &Keypair) -> eyre::Result<()> {
        let (Some(vice), Some(sender), Some(height)) = (&self.vice, self.sender(), self.height()) else {
            return Ok(());
        };
        for action in byzantine::lock(vice).submit(height) {
            sender.submit(sender.sign(action, payer)?);
        }
        Ok(())
    }

    /// Gives it a vice.
    pub(super) fn corrupt(&mut self, vice: Box<dyn Vice>) {
        self.vice = Some(Arc::new(Mutex::new(vice)));
    }

    /// What the operator of a node does that refuses to sign: it runs without its key until the network has passed the height.
    pub(super) fn follow(&mut self) {
        self.follows = self.height().map(|height| height + 1);
        self.fail(None);
    }

    /// Gives a node its key again that has followed far enough.
    pub(super) fn sign_again(&mut self) {
        let there = self.follows.zip(self.height()).is_some_and(|(wanted, height)| height >= wanted);
        if there && self.is_up() {
            self.follows = None;
            self.fail(None);
        }
    }

    /// Whose key it runs with.
    pub(super) fn account(&self) -> AccountId {
        self.key.account()
    }

    /// Starts the node on what the disks hold.
    pub(super) async fn start(&mut self) -> eyre::Result<()> {
        let World { spec, genesis, net, .. } = self.world.clone();
        let power = Power::default();
        let store = Store::on(Arc::new(self.disks.store(&power)), format!("node {}", self.number), &spec)?;
        let store = Arc::new(store);
        self.world.checks().recovered(self.number, &store);
        self.world.note(&Happening::Started { node: self.number, height: store.tip()?.height });
        let mempool = Arc::new(Mempool::new(genesis));
        let (chain, feeds) = Chain::new(store.clone(), mempool.clone(), spec.clone())?;
        let ChainFeeds { committed, misbehaviour, .. } = feeds;
        let observed = Observed {
            chain,
            number: self.number,
            world: self.world.clone(),
            store: store.clone(),
            mempool: mempool.clone(),
            committed: committed.subscribe(),
            vice: self.vice.clone(),
        };
        let config = EngineConfig {
            chain_id: spec.chain_id.clone(),
            genesis,
            moniker: format!("node-{}", self.number),
            listen: ([127, 0, 0, 1], 1).into(),
            peers: Vec::new(),
            home: Default::default(),
            network_key: self.key.clone(),
            signer: self.follows.is_none().then(|| self.key.clone()),
            // As a real node's: what governance may raise the limit to.
            max_block_bytes: usize::try_from(Params::bounds("max_block_bytes")?.high)?,
        };
        let machine = Simulated {
            number: self.number,
            wire: EngineWire { number: self.number, net: net.clone(), power: power.clone(), vice: self.vice.clone() },
            journal: self.disks.journal(&power),
            mark: self.disks.mark(&power),
        };
        let (engine, inbox) = simulation::start(machine, config, observed).await?;
        let (transactions, gossip) = mpsc::unbounded_channel();
        net.connect(self.number, Some(End { inbox, transactions }));
        let mut tasks = JoinSet::new();
        tasks.spawn(receive(store.clone(), mempool.clone(), gossip));
        let sender = Sender { number: self.number, world: self.world.clone(), power, store, mempool };
        tasks.spawn(report(sender.clone(), self.key.clone(), misbehaviour));
        self.running = Some(Running { sender, engine, tasks });
        Ok(())
    }

    /// Lets the power fail: now, or at a later step, which is then done or not.
    pub(super) fn fail(&self, after: Option<(u64, bool)>) {
        let Some(running) = &self.running else { return };
        match after {
            Some((steps, done)) => running.sender.power.fail_after(steps, done),
            None => running.sender.power.cut(),
        }
    }

    /// Whether it is going to fail at a later step.
    pub(super) fn has_fuse(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.sender.power.has_fuse())
    }

    /// Whether the node runs, and has power.
    pub(super) fn is_up(&self) -> bool {
        self.running.as_ref().is_some_and(|running| !running.sender.power.is_off())
    }

    /// If the power has failed since the last look, clears up what ran, and loses what such a failure loses.
    pub(super) fn clear(&mut self, random: &mut ChaCha8Rng) -> bool {
        let Some(mut running) = self.running.take_if(|running| running.sender.power.is_off()) else { return false };
        self.world.net.connect(self.number, None);
        running.tasks.abort_all();
        // It has no effect any more; it only has to end.
        tokio::spawn(running.engine.stop());
        self.disks.lose(random);
        if self.vice.as_ref().is_some_and(|vice| byzantine::lock(vice).forgets()) {
            self.disks.forget();
        }
        self.world.note(&Happening::Failed { node: self.number });
        true
    }

    /// Why the node stopped, if it did so with its power on.
    pub(super) fn stopped(&mut self) -> Option<StopReason> {
        let running = self.running.as_mut()?;
        let stopped = running.engine.stopped().now_or_never()?;
        (!running.sender.power.is_off()).then_some(stopped)
    }

    /// The store, while the node runs.
    pub(super) fn store(&self) -> Option<&Arc<Store>> {
        self.running.as_ref().map(|running| &running.sender.store)
    }

    /// The last committed height.
    pub(super) fn height(&self) -> Option<u64> {
        Some(self.store()?.tip().ok()?.height)
    }

    /// With what clients send through this node, while it is up.
    pub(super) fn sender(&self) -> Option<Sender> {
        self.running.as_ref().map(|running| &running.sender).filter(|sender| !sender.power.is_off()).cloned()
    }
}

/// Takes transactions in at one node.
#[derive(Clone)]
pub(super) struct Sender {
    number: u8,
    world: World,
    power: Power,
    store: Arc<Store>,
    mempool: Arc<Mempool>,
}

impl Sender {
    /// A signed transaction with the nonce that comes next here, and the least fee.
    pub(super) fn sign(&self, action: Action, key: &Keypair) -> eyre::Result<Bytes> {
        let signer = key.account();
        let nonce = self.mempool.next_nonce(|| self.store.snapshot(), &signer)?;
        let fee = assay_ledger::least_fee(&query::params(&self.store.snapshot())?, &action);
        let tx = Signed::new(Transaction { signer, nonce, fee, action }, &self.world.genesis, key);
        Ok(encode(&tx).into())
    }

    /// Submits an encoded transaction; one that is taken is gossiped.
    pub(super) fn submit(&self, bytes: Bytes) {
        let taken = self.mempool.submit(|| self.store.snapshot(), &bytes).is_ok();
        self.world.note(&Happening::Submitted { node: self.number, taken });
        if taken {
            self.world.net.spread(self.number, &self.power, bytes);
        }
    }
}

/// Takes gossiped transactions.
async fn receive(store: Arc<Store>, mempool: Arc<Mempool>, mut gossip: mpsc::UnboundedReceiver<Bytes>) {
    while let Some(bytes) = gossip.recv().await {
        // What is refused is known here already, or stale.
        let _ = mempool.submit_gossiped(|| store.snapshot(), &bytes);
    }
}

/// Turns conflicting votes into evidence, as a real node does.
async fn report(sender: Sender, reporter: Keypair, mut misbehaviour: mpsc::Receiver<Misbehaviour>) {
    while let Some(found) = misbehaviour.recv().await {
        let Misbehaviour::Votes { first, second } = found else { continue };
        let record = query::validator(&sender.store.snapshot(), &first.body.validator);
        if record.is_ok_and(|record| record.is_some_and(|record| !record.tombstoned))
            && let Ok(bytes) = sender.sign(Action::DoubleSign { first, second }, &reporter)
        {
            sender.submit(bytes);
        }
    }
}

/// The chain behind the engine, watched: the invariants see each block as it is committed.
struct Observed {
    chain: Chain,
    number: u8,
    world: World,
    store: Arc<Store>,
    mempool: Arc<Mempool>,
    committed: broadcast::Receiver<Arc<Committed>>,
    vice: Option<Shared>,
}

impl Executor for Observed {
    fn tip(&self) -> Tip {
        self.chain.tip()
    }
    fn validators(&self, height: u64) -> Result<ValidatorSet, Fault> {
        self.chain.validators(height)
    }
    fn may_go_on(&self) -> Result<(), Fault> {
        self.chain.may_go_on()
    }
    fn block_interval(&self) -> Duration {
        self.chain.block_interval()
    }
    fn prepare(&mut self, height: u64, round: u32, proposer: AccountId, now_ms: u64) -> Result<Vec<u8>, Fault> {
        let block = self.chain.prepare(height, round, proposer, now_ms)?;
        Ok(match &self.vice {
            Some(vice) => byzantine::lock(vice).propose(block),
            None => block,
        })
    }
    fn process(&mut self, height: u64, proposer: AccountId, bytes: &[u8], now: Option<u64>) -> Result<Verdict, Fault> {
        self.chain.process(height, proposer, bytes, now)
    }
    fn block_id(&self, bytes: &[u8]) -> Option<Hash32> {
        self.chain.block_id(bytes)
    }
    fn save_undecided(&mut self, proposal: &Undecided) -> Result<(), Fault> {
        self.chain.save_undecided(proposal)
    }
    fn undecided(&self, height: u64, round: u32) -> Result<Vec<Undecided>, Fault> {
        self.chain.undecided(height, round)
    }
    fn undecided_block(&self, id: &Hash32) -> Result<Option<Vec<u8>>, Fault> {
        self.chain.undecided_block(id)
    }
    fn commit(&mut self, bytes: &[u8], certificate: &Certificate) -> Result<(), Fault> {
        self.chain.commit(bytes, certificate)?;
        let committed = self.committed.try_recv().wrap_err("a commit is told to those who watch");
        let committed = committed.map_err(|e| Fault(format!("{e:#}")))?;
        let header = &committed.header;
        self.world.note(&Happening::Committed {
            node: self.number,
            height: header.height,
            round: certificate.round,
            block: committed.id.0,
            state_root: header.state_root.0,
        });
        self.world.checks().committed(self.number, &self.store, &committed, bytes, certificate);
        if header.height.is_multiple_of(SWEEP_EVERY) {
            self.mempool.sweep(&self.store.snapshot());
        }
        Ok(())
    }
    fn decided(&self, height: u64) -> Result<Option<(Vec<u8>, Certificate)>, Fault> {
        self.chain.decided(height)
    }
    fn earliest(&self) -> Result<u64, Fault> {
        self.chain.earliest()
    }
    fn report(&mut self, misbehaviour: Misbehaviour) {
        self.chain.report(misbehaviour);
    }
}
