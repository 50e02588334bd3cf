//! The block engine with nothing to do: what a block costs before a transaction stands in it.
//!
//! ```text
//! Floor::start ──> this program again, once a validator (FloorNode::run) ──> bft::start (Empty) ──> Floor::block_time
//! ```
//!
//! Engine, log, watermark, network and settings are those of the node, over TCP on loopback. The application is empty: its blocks
//! are a header, its store is memory, and heights follow each other without an interval.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _},
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use assay::chain::{APP_VERSION, Block};
use assay_chain_spec::Params;
use assay_consensus::bft::{self, EngineConfig, EngineStatus, Executor, Fault, Misbehaviour, Tip, Undecided, Verdict};
use assay_primitives::{AccountId, Certificate, Hash32, Header, Keypair, Validator, ValidatorSet};
use clap::Args;
use eyre::{WrapErr as _, bail, ensure, eyre};
use tokio::sync::{oneshot, watch};

use crate::ports;

/// Its subcommand's name.
const COMMAND: &str = "floor-node";
/// The chain's name.
const CHAIN: &str = "floor";
/// Blocks are counted from here on.
const WARM: u64 = 20;
/// How long it may take to come so far.
const PATIENCE: Duration = Duration::from_secs(60);

/// Engines without an application, each a process of its own; killed when dropped.
pub struct Floor {
    nodes: Vec<Child>,
    dir: tempfile::TempDir,
}

impl Floor {
    /// Starts this program again for each of so many validators, with the subcommand `floor-node`, which has to lead to
    /// [`FloorNode::run`]. They count blocks for so long.
    ///
    /// # Errors
    /// The operating system's.
    pub fn start(validators: usize, window: Duration) -> eyre::Result<Self> {
        let dir = tempfile::tempdir()?;
        let ports = (0..validators).map(|_| ports().map(|ports| ports.consensus.to_string()));
        let ports = ports.collect::<eyre::Result<Vec<_>>>()?.join(",");
        let mut floor = Self { nodes: Vec::new(), dir };
        for index in 0..validators {
            let home = floor.dir.path().join(index.to_string());
            let mut command = Command::new(std::env::current_exe()?);
            command.args([COMMAND, "--index", &index.to_string(), "--ports", &ports]);
            command.args(["--seconds", &window.as_secs().to_string(), "--home"]).arg(home);
            // One counts for all. Their input ends with this process.
            command.stdin(Stdio::piped()).stdout(if index == 0 { Stdio::piped() } else { Stdio::null() });
            floor.nodes.push(command.spawn().wrap_err("cannot start an engine")?);
        }
        Ok(floor)
    }

    /// The mean time from one block to the next. Waits until it is counted.
    ///
    /// # Errors
    /// If the engine ends, or makes no blocks; it says why on stderr.
    pub fn block_time(mut self) -> eyre::Result<Duration> {
        let output = self.nodes.first_mut().and_then(|node| node.stdout.take()).ok_or_else(|| eyre!("no engine"))?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let nanoseconds = line.trim().parse::<u64>();
        let nanoseconds = nanoseconds.map_err(|_| eyre!("an engine ended without a figure: {line:?}"))?;
        for node in &mut self.nodes {
            ensure!(node.try_wait()?.is_none(), "an engine ended meanwhile, and the others were slower for it");
        }
        Ok(Duration::from_nanos(nanoseconds))
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            // Already gone is fine.
            let _ = node.kill();
            let _ = node.wait();
        }
    }
}

/// One of the engines, as the process that it runs in is told.
#[derive(Args, Clone, Debug)]
pub struct FloorNode {
    /// Which of the validators, from 0.
    #[arg(long)]
    index: usize,
    /// Where the validators' engines listen.
    #[arg(long, value_delimiter = ',')]
    ports: Vec<u16>,
    /// For how long blocks are counted.
    #[arg(long)]
    seconds: u64,
    /// Where its log lies.
    #[arg(long)]
    home: PathBuf,
}

/// The key of a validator, or of its place in the network.
fn key(role: u8, index: usize) -> Keypair {
    Keypair::from_secret(Hash32::digest(&[&[role][..], &index.to_be_bytes()].concat()).0)
}

impl FloorNode {
    /// Runs the engine, prints the nanoseconds from one block to the next, and goes on until its input ends.
    ///
    /// # Errors
    /// If the engine does not start, ends, or makes no blocks.
    pub async fn run(&self) -> eyre::Result<()> {
        let listens = |port: &u16| SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
        let own = self.ports.get(self.index).ok_or_else(|| eyre!("validator {} has no port", self.index))?;
        let operator = |index| key(0, index);
        let set = (0..self.ports.len()).map(|index| Validator { account: operator(index).account(), power: 1000 });
        let genesis = Hash32::digest(CHAIN.as_bytes());
        let config = EngineConfig {
            chain_id: CHAIN.into(),
            genesis,
            moniker: format!("f{}", self.index + 1),
            listen: listens(own),
            peers: self.ports.iter().filter(|port| *port != own).map(listens).collect(),
            home: self.home.clone(),
            network_key: key(1, self.index),
            signer: Some(operator(self.index)),
            // As the node.
            max_block_bytes: usize::try_from(Params::bounds("max_block_bytes")?.high)?,
        };
        let mut engine = bft::start(config, Empty::new(genesis, ValidatorSet::new(set.collect())?)).await?;
        let counting = block_time(engine.status(), Duration::from_secs(self.seconds));
        let counted = tokio::select! {
            reason = engine.stopped() => bail!("{reason}"),
            counted = counting => counted?,
        };
        println!("{}", counted.as_nanos());
        tokio::select! {
            reason = engine.stopped() => bail!("{reason}"),
            () = input_ends() => Ok(()),
        }
    }
}

async fn block_time(mut status: watch::Receiver<EngineStatus>, window: Duration) -> eyre::Result<Duration> {
    let warm = tokio::time::timeout(PATIENCE, status.wait_for(|now| now.height >= WARM)).await;
    ensure!(warm.is_ok_and(|now| now.is_ok()), "no {WARM} blocks within {PATIENCE:?}");
    let (from, start) = (status.borrow().height, Instant::now());
    tokio::time::sleep(window).await;
    let blocks = u32::try_from(status.borrow().height - from)?;
    ensure!(blocks > 0, "no block in {window:?}");
    Ok(start.elapsed() / blocks)
}

async fn input_ends() {
    let (ended, end) = oneshot::channel();
    std::thread::spawn(move || {
        // An error is an end as well.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = ended.send(());
    });
    let _ = end.await;
}

/// An application whose blocks hold nothing, and whose store is memory.
struct Empty {
    genesis: Hash32,
    set: ValidatorSet,
    tip: Tip,
    decided: BTreeMap<u64, (Vec<u8>, Certificate)>,
    undecided: Vec<Undecided>,
}

impl Empty {
    fn new(genesis: Hash32, set: ValidatorSet) -> Self {
        let tip = Tip { height: 0, id: Hash32::ZERO, time_ms: 0 };
        Self { genesis, set, tip, decided: BTreeMap::new(), undecided: Vec::new() }
    }
}

impl Executor for Empty {
    fn tip(&self) -> Tip {
        self.tip
    }

    fn validators(&self, _height: u64) -> Result<ValidatorSet, Fault> {
        Ok(self.set.clone())
    }

    fn may_go_on(&self) -> Result<(), Fault> {
        Ok(())
    }

    fn block_interval(&self) -> Duration {
        Duration::ZERO
    }

    fn prepare(&mut self, height: u64, _round: u32, proposer: AccountId, now_ms: u64) -> Result<Vec<u8>, Fault> {
        let set = self.set.hash(&self.genesis);
        let header = Header {
            chain_id: CHAIN.into(),
            height,
            time_ms: now_ms.max(self.tip.time_ms + 1),
            parent: self.tip.id,
            proposer,
            tx_root: Block::tx_root(&self.genesis, &[]),
            state_root: Hash32::ZERO,
            validators_hash: set,
            next_validators_hash: set,
            evidence_root: Block::evidence_root(&self.genesis, &[]),
            app_version: APP_VERSION,
        };
        Ok(Block { header, transactions: Vec::new() }.encode())
    }

    fn process(
        &mut self,
        height: u64,
        proposer: AccountId,
        bytes: &[u8],
        _now_ms: Option<u64>,
    ) -> Result<Verdict, Fault> {
        let invalid = |reason: String| Ok(Verdict::Invalid { reason });
        let block = match Block::decode(bytes) {
            Ok(block) => block,
            Err(e) => return invalid(e.to_string()),
        };
        let found = (block.header.height, block.header.proposer, block.header.parent);
        let expected = (height, proposer, self.tip.id);
        if found != expected {
            return invalid(format!("expected height, proposer and parent {expected:?}, found {found:?}"));
        }
        Ok(Verdict::Valid(block.header.id(&self.genesis)))
    }

    fn block_id(&self, bytes: &[u8]) -> Option<Hash32> {
        let block = Block::decode(bytes).ok()?;
        block.binds_its_body(&self.genesis).then(|| block.header.id(&self.genesis))
    }

    fn save_undecided(&mut self, proposal: &Undecided) -> Result<(), Fault> {
        let same = |kept: &Undecided| {
            (kept.height, kept.round, kept.block) == (proposal.height, proposal.round, proposal.block)
        };
        self.undecided.retain(|kept| !same(kept));
        self.undecided.push(proposal.clone());
        Ok(())
    }

    fn undecided(&self, height: u64, round: u32) -> Result<Vec<Undecided>, Fault> {
        let of_round = |kept: &&Undecided| (kept.height, kept.round) == (height, round);
        Ok(self.undecided.iter().filter(of_round).cloned().collect())
    }

    fn undecided_block(&self, id: &Hash32) -> Result<Option<Vec<u8>>, Fault> {
        Ok(self.undecided.iter().find(|kept| kept.block == *id).map(|kept| kept.bytes.clone()))
    }

    fn commit(&mut self, bytes: &[u8], certificate: &Certificate) -> Result<(), Fault> {
        let block = Block::decode(bytes).map_err(|e| Fault(e.to_string()))?;
        let height = block.header.height;
        self.tip = Tip { height, id: certificate.block, time_ms: block.header.time_ms };
        self.decided.insert(height, (bytes.to_vec(), certificate.clone()));
        self.undecided.retain(|kept| kept.height > height);
        Ok(())
    }

    fn decided(&self, height: u64) -> Result<Option<(Vec<u8>, Certificate)>, Fault> {
        Ok(self.decided.get(&height).cloned())
    }

    fn earliest(&self) -> Result<u64, Fault> {
        Ok(1)
    }

    fn report(&mut self, _misbehaviour: Misbehaviour) {}
}
