//! A whole network on this machine: validators, miners, adversaries and a gateway in one process on loopback,
//! each with its own keys, ports, swarm and store.
//!
//! ```text
//! layout (keys, spec, homes) ──> start every node ──> script (register, propose, vote, ask) ──> report
//! ```
//!
//! Nothing here is special: the nodes are the product's nodes, started from the same homes that `assay init` makes,
//! and the script sends the same transactions a person would.

mod layout;
mod progress;
mod report;
mod script;

use std::{collections::BTreeMap, sync::Arc};

use assay_ledger::query;
use assay_primitives::{AccountId, Hash32};
use eyre::{WrapErr as _, eyre};
use tokio::{sync::watch, task::JoinSet};

pub use layout::{Behaviour, DIGITS, Plan};
pub use report::Report;

use self::{
    layout::{Layout, VISION, WORDS},
    progress::Progress,
    report::Circumstances,
};
use crate::{
    chain::Block,
    cli::DevnetArgs,
    home::Role,
    node::{Node, Options, Shared, asked_to_stop},
};

/// Why a run that was to settle so many epochs fails.
const INTERRUPTED: &str = "interrupted before the epochs asked for were settled and the proposals counted";

/// Runs a devnet until its epochs are settled, or until it is interrupted.
pub async fn run(args: DevnetArgs) -> eyre::Result<()> {
    let layout = Layout::open(&args)?;
    let progress = Progress::new(args.quiet);
    progress.say(&format!(
        "chain {} with genesis {}: {} nodes in {}",
        layout.spec.chain_id,
        layout.spec.genesis_hash().short(),
        layout.nodes.len(),
        layout.dir.display()
    ));
    if !layout.ignored.is_empty() {
        progress.say(&format!("this home was made with {}, and goes on with that", layout.ignored.join(", ")));
    }
    let mut nodes = Nodes(Vec::new());
    let started = tokio::select! {
        started = nodes.start(&layout, &progress) => started.map(|()| true),
        asked = asked_to_stop() => asked.map(|()| false),
    };
    let outcome = match started {
        Ok(true) => direct(&args, &layout, &mut nodes, &progress).await,
        Ok(false) => args.epochs.map_or(Ok(()), |_| Err(eyre!(INTERRUPTED))),
        Err(e) => Err(e),
    };
    progress.say("stopping");
    nodes.stop().await;
    outcome
}

/// Lets the network run, plays the script beside it, and reports.
async fn direct(args: &DevnetArgs, layout: &Layout, nodes: &mut Nodes, progress: &Progress) -> eyre::Result<()> {
    let shared = nodes.first_validator()?;
    let first_epoch = first_scored_epoch(layout, &shared)?;
    let goal = args.epochs.map(|epochs| Goal::new(first_epoch, epochs));
    for line in addresses(layout) {
        progress.say(&line);
    }
    let mut script = JoinSet::new();
    let everybody = nodes.shared();
    let done = tokio::select! {
        reason = nodes.failed() => Err(reason),
        asked = asked_to_stop() => asked.map(|()| false),
        outcome = play(&mut script, layout, everybody, shared.clone(), goal, progress) => outcome.map(|()| true),
    }?;
    if done {
        nodes.level().await?;
    }
    let report = report(layout, nodes, first_epoch)?;
    progress.done();
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{}", report.to_text());
    }
    if done || goal.is_none() { Ok(()) } else { Err(eyre!(INTERRUPTED)) }
}

/// When a run with `--epochs` is over.
#[derive(Clone, Copy)]
struct Goal {
    /// The last epoch that must be settled.
    last: u64,
}

impl Goal {
    fn new(first: u64, epochs: u64) -> Self {
        Self { last: first + epochs.saturating_sub(1) }
    }
}

/// Miners that register in this epoch, as in epoch 0 of a new network, are first scored in the next; where all are
/// registered already it counts from now on.
fn first_scored_epoch(layout: &Layout, shared: &Shared) -> eyre::Result<u64> {
    let epoch = query::chain(&shared.store().snapshot())?.epoch;
    Ok(if layout.played { epoch } else { epoch + 1 })
}

/// Plays the script and follows the chain until the goal is reached; without a goal it never ends by itself.
async fn play(
    script: &mut JoinSet<eyre::Result<()>>,
    layout: &Layout,
    nodes: Vec<(Plan, Arc<Shared>)>,
    shared: Arc<Shared>,
    goal: Option<Goal>,
    progress: &Progress,
) -> eyre::Result<()> {
    script.spawn(script::play(script::Cast::new(layout, nodes, progress.clone())?));
    let mut scripted = false;
    let mut heights = shared.chain().heights();
    loop {
        tokio::select! {
            ended = script.join_next(), if !scripted => {
                ended.ok_or_else(|| eyre!("the script is gone"))?.wrap_err("the script panicked")??;
                scripted = true;
            }
            changed = heights.changed() => if changed.is_err() {
                // The node is ending, and says why itself.
                std::future::pending::<()>().await;
            },
        }
        if follow(&shared, &heights, goal, progress)? && scripted {
            return Ok(());
        }
    }
}

/// Shows where the chain is; true once the goal is reached.
fn follow(
    shared: &Shared,
    heights: &watch::Receiver<u64>,
    goal: Option<Goal>,
    progress: &Progress,
) -> eyre::Result<bool> {
    let snapshot = shared.store().snapshot();
    let chain = query::chain(&snapshot)?;
    progress.at(*heights.borrow(), &chain, goal.map(|g| g.last));
    match goal {
        Some(goal) => {
            let settled = |subnet| query::epoch_report(&snapshot, goal.last, subnet).map(|report| report.is_some());
            // Where nobody mines, nothing is settled.
            let mined = |subnet| query::miners(&snapshot, subnet).map(|miners| !miners.is_empty());
            Ok(settled(VISION)? && (settled(WORDS)? || !mined(WORDS)?))
        }
        None => Ok(false),
    }
}

fn addresses(layout: &Layout) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(home) = layout.first(Role::Validator) {
        lines.push(format!("RPC      http://{}", home.rpc_address()));
    }
    if let Some(home) = layout.first(Role::Gateway) {
        lines.push(format!("gateway  http://{} (RPC http://{})", home.http_address(), home.rpc_address()));
    }
    lines
}

/// The running nodes, in the layout's order.
struct Nodes(Vec<(Plan, Node)>);

impl Nodes {
    async fn start(&mut self, layout: &Layout, progress: &Progress) -> eyre::Result<()> {
        for (plan, home) in &layout.nodes {
            let adversary = plan.behaviour.and_then(Behaviour::adversary);
            let started = Node::start(home, Options { role: plan.role, adversary }).await;
            self.0.push((plan.clone(), started.wrap_err_with(|| format!("{} cannot start", plan.name))?));
            progress.say(&format!("started {}", plan.name));
        }
        Ok(())
    }

    fn shared(&self) -> Vec<(Plan, Arc<Shared>)> {
        self.0.iter().map(|(plan, node)| (plan.clone(), node.shared().clone())).collect()
    }

    fn first_validator(&self) -> eyre::Result<Arc<Shared>> {
        let found = self.0.iter().find(|(plan, _)| plan.role == Role::Validator);
        found.map(|(_, node)| node.shared().clone()).ok_or_else(|| eyre!("a devnet needs at least one validator"))
    }

    /// Resolves when any node cannot go on.
    async fn failed(&mut self) -> eyre::Report {
        let ends = self.0.iter_mut().map(|(_, node)| Box::pin(node.ended()));
        futures::future::select_all(ends).await.0
    }

    /// Waits until every node has the highest block that any of them has now.
    async fn level(&self) -> eyre::Result<()> {
        let tips =
            || self.0.iter().map(|(_, n)| Ok(n.shared().store().tip()?.height)).collect::<eyre::Result<Vec<_>>>();
        let target = tips()?.into_iter().max().unwrap_or(0);
        for _ in 0..100 {
            if tips()?.iter().all(|height| *height >= target) {
                return Ok(());
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        let behind =
            self.0.iter().zip(tips()?).filter(|(_, h)| *h < target).map(|((p, _), h)| format!("{} at {h}", p.name));
        Err(eyre!("some nodes did not reach height {target} within 10 s: {}", behind.collect::<Vec<_>>().join(", ")))
    }

    async fn stop(self) {
        futures::future::join_all(self.0.into_iter().map(|(_, node)| node.stop())).await;
    }
}

/// The state root that a node's own store holds for a height.
fn root_at(shared: &Shared, height: u64) -> eyre::Result<Hash32> {
    let bytes = shared.store().block(height)?.ok_or_else(|| eyre!("block {height} is missing from a store"))?;
    Ok(Block::decode(&bytes)?.header.state_root)
}

fn report(layout: &Layout, nodes: &Nodes, first_epoch: u64) -> eyre::Result<Report> {
    let shared = nodes.first_validator()?;
    let mut common = u64::MAX;
    for (_, node) in &nodes.0 {
        common = common.min(node.shared().store().tip()?.height);
    }
    let mut state_roots = BTreeMap::new();
    if common > 0 {
        for (plan, node) in &nodes.0 {
            state_roots.insert(plan.name.clone(), root_at(node.shared(), common)?);
        }
    }
    let operators = || layout.nodes.iter().map(|(plan, home)| (home.operator.account(), plan));
    let is_miner = |(_, plan): &(AccountId, &Plan)| plan.role == Role::Miner;
    let miners = operators().filter(is_miner).map(|(account, plan)| (account, (plan.behaviour, plan.subnet))).collect();
    let names = operators().map(|(account, plan)| (account, plan.name.clone())).collect();
    let around = Circumstances {
        chain_id: layout.spec.chain_id.clone(),
        genesis_hash: layout.spec.genesis_hash(),
        height: common,
        state_roots,
        miners,
        names,
        first_epoch,
    };
    Ok(Report::read(&shared.store().snapshot(), &[VISION, WORDS], around)?)
}
