//! Parts validators' networks and heals them: `make partitions`.
//!
//! Four real validators on machines of their own (network namespaces). Two against two: no block is made, and the first
//! one comes soon after the heal. Three against one: the three go on, and the one catches up. All is seen over RPC.

use std::time::{Duration, Instant};

use assay_tests::{
    Network, Process, Setup,
    faults::{Namespaces, Side},
};
use clap::Parser;
use eyre::ensure;

/// Parts validators' networks and heals them.
#[derive(Clone, Debug, Parser)]
struct Options {
    /// How often each.
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// How long a partition lasts, in seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Only three against one.
    #[arg(long)]
    one_out: bool,
    /// What nodes log; their logs are printed when something fails.
    #[arg(long, default_value = "info")]
    log: String,
}

const VALIDATORS: usize = 4;
/// Messages that were under way when the network parted have arrived.
const SETTLED: Duration = Duration::from_secs(2);
/// The first block after a heal.
const HEALED: Duration = Duration::from_secs(15);
/// Everybody has caught up.
const LEVEL: Duration = Duration::from_secs(60);

fn main() -> eyre::Result<()> {
    let options = Options::parse();
    // Before there are threads: this starts the program again.
    let machines = Namespaces::new(VALIDATORS)?;
    tokio::runtime::Runtime::new()?.block_on(run(&options, machines))
}

async fn run(options: &Options, machines: Namespaces) -> eyre::Result<()> {
    let setup = Setup { machines: Some(machines), log: options.log.clone(), ..Setup::dev() };
    let mut network = Network::new(setup)?;
    let outcome = rounds(&mut network, options).await;
    if outcome.is_err() {
        for (i, process) in network.running.iter().enumerate() {
            let tail = process.as_ref().map(Process::tail).unwrap_or_default();
            eprintln!("validator {}, {:?}; its log ends:\n{tail}\n", i + 1, network.client(i)?.status().await);
        }
    }
    outcome
}

async fn rounds(network: &mut Network, options: &Options) -> eyre::Result<()> {
    network.start_all()?;
    for i in 0..VALIDATORS {
        network.reach(i, 3, LEVEL).await?;
    }
    println!(
        "| partition | blocks of the majority | of the minority | first block after the heal | all level |\n|---|---|---|---|---|"
    );
    for round in 0..if options.one_out { 0 } else { options.rounds } {
        halves(network, options, round).await?;
    }
    for round in 0..options.rounds {
        one_out(network, options, round % VALIDATORS).await?;
    }
    Ok(())
}

async fn heights(network: &Network) -> eyre::Result<Vec<u64>> {
    let mut all = Vec::new();
    for i in 0..VALIDATORS {
        all.push(network.client(i)?.status().await?.height);
    }
    Ok(all)
}

fn part(network: &Network, right: &[usize]) -> eyre::Result<()> {
    let side = |i| if right.contains(&i) { Side::Right } else { Side::Left };
    let sides: Vec<Side> = (0..VALIDATORS).map(side).collect();
    network.machines().part(&sides)
}

/// Heals the network: seconds until somebody has a block more than the highest before, and until all have it and agree.
async fn heal(network: &mut Network) -> eyre::Result<(f64, f64)> {
    let before = heights(network).await?.into_iter().max().unwrap_or(0);
    part(network, &[])?;
    let healed = Instant::now();
    let first = loop {
        if heights(network).await?.into_iter().any(|height| height > before) {
            break healed.elapsed();
        }
        ensure!(healed.elapsed() < HEALED, "no block within {HEALED:?} after the heal");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    for i in 0..VALIDATORS {
        network.reach(i, before + 1, LEVEL).await?;
    }
    let level = healed.elapsed();
    let root = network.state_root(0, before + 1).await?;
    for i in 1..VALIDATORS {
        ensure!(network.state_root(i, before + 1).await? == root, "validators 1 and {} have different states", i + 1);
    }
    network.all_run()?;
    Ok((first.as_secs_f64(), level.as_secs_f64()))
}

/// Two against two.
async fn halves(network: &mut Network, options: &Options, round: usize) -> eyre::Result<()> {
    let with_first = 1 + round % (VALIDATORS - 1);
    let right: Vec<usize> = (1..VALIDATORS).filter(|i| *i != with_first).collect();
    part(network, &right)?;
    tokio::time::sleep(SETTLED).await;
    let before = heights(network).await?;
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    let after = heights(network).await?;
    ensure!(before == after, "blocks were made by half of the validators: {before:?}, then {after:?}");
    let (first, level) = heal(network).await?;
    println!("| 2 and 2, {} s | none | none | {first:.1} s | {level:.1} s |", options.seconds);
    Ok(())
}

/// Three against one.
async fn one_out(network: &mut Network, options: &Options, out: usize) -> eyre::Result<()> {
    part(network, &[out])?;
    tokio::time::sleep(SETTLED).await;
    let before = heights(network).await?;
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    let after = heights(network).await?;
    ensure!(before[out] == after[out], "validator {} made blocks alone: {before:?}, then {after:?}", out + 1);
    let made = (0..VALIDATORS).filter(|i| *i != out).map(|i| after[i] - before[i]).min().unwrap_or(0);
    // One in four proposers is missing, which costs its time-out; half of the usual rate is little to ask.
    ensure!(
        made >= options.seconds / 2,
        "three of four made {made} blocks in {} s: {before:?}, then {after:?}",
        options.seconds
    );
    let (first, level) = heal(network).await?;
    println!("| 3 and 1, {} s | {made} | none | {first:.1} s | {level:.1} s |", options.seconds);
    Ok(())
}
