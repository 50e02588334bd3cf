//! A new node joins a long chain: `make join BLOCKS=100000`.
//!
//! The chain is made first, of real blocks with certificates of its four validators, and then goes on in four processes. A
//! node without a block joins by a peer's snapshot, on loopback, and must reach the tip within a minute. For another one
//! every peer's snapshot has one flipped byte: it refuses them all, and bans the peers.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use assay_primitives::Keypair;
use assay_tests::{Growth, Network, Setup};
use clap::Parser;
use eyre::{WrapErr as _, bail, ensure, eyre};

/// A new node joins a long chain.
#[derive(Clone, Debug, Parser)]
struct Options {
    /// The chain's length.
    #[arg(long, default_value_t = 100_000)]
    blocks: u64,
}

const VALIDATORS: usize = 4;
/// The nodes that join.
const HONEST: usize = VALIDATORS;
const LIED_TO: usize = VALIDATORS + 1;
/// Time between the blocks that are made.
const INTERVAL: Duration = Duration::from_millis(500);
/// How long a node may take to join.
const JOINED: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::main]
async fn main() -> eyre::Result<()> {
    let options = Options::parse();
    let payer = Keypair::from_secret([100; 32]);
    let blocks = u32::try_from(options.blocks)?;
    let setup = Setup {
        funded: vec![payer.clone()],
        followers: 2,
        // Blocks are not of the future.
        age: INTERVAL * blocks + Duration::from_secs(3600),
        ..Setup::dev()
    };
    let mut network = Network::new(setup)?;
    grow(&network, payer, options.blocks)?;
    for i in 0..VALIDATORS {
        network.start(i)?;
    }
    for i in 0..VALIDATORS {
        network.reach(i, options.blocks + 2, PATIENCE).await?;
    }
    let snapshots: Vec<_> = network.homes[..VALIDATORS].iter().map(|home| home.snapshots_dir()).collect();
    for dir in &snapshots {
        made(dir).await?;
    }
    joins(&mut network, options.blocks).await?;
    for dir in &snapshots {
        flip(dir)?;
    }
    refuses(&mut network).await
}

fn grow(network: &Network, payer: Keypair, blocks: u64) -> eyre::Result<()> {
    let (began, homes) = (Instant::now(), &network.homes[..VALIDATORS]);
    let mut growth = Growth::new(homes, payer, INTERVAL)?;
    for height in 1..=blocks {
        growth.block().wrap_err_with(|| format!("block {height}"))?;
        if height % 10_000 == 0 {
            println!("{height} blocks, {:.0} s", began.elapsed().as_secs_f64());
        }
    }
    growth.finish()?;
    for home in &homes[1..] {
        copy(&homes[0].store_dir(), &home.store_dir())?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> eyre::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// The folder of the newest snapshot.
fn newest(dir: &Path) -> Option<PathBuf> {
    let names = fs::read_dir(dir).ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok());
    names.max().map(|height| dir.join(height.to_string()))
}

async fn made(dir: &Path) -> eyre::Result<()> {
    let began = Instant::now();
    while newest(dir).is_none() {
        ensure!(began.elapsed() < PATIENCE, "no snapshot in {}", dir.display());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Flips one bit in the middle of the first chunk.
fn flip(dir: &Path) -> eyre::Result<()> {
    let path = newest(dir).ok_or_else(|| eyre!("no snapshot"))?.join("0");
    let mut bytes = fs::read(&path)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    Ok(fs::write(&path, bytes)?)
}

async fn joins(network: &mut Network, blocks: u64) -> eyre::Result<()> {
    let began = Instant::now();
    network.start(HONEST)?;
    let top = network.client(0)?.status().await?.height;
    network.reach(HONEST, top, JOINED).await?;
    let took = began.elapsed();
    let log = fs::read_to_string(network.log(HONEST))?;
    let line = log.lines().find(|line| line.contains("began with a snapshot, verified from genesis"));
    let line = line.ok_or_else(|| eyre!("it did not begin with a snapshot; its log:\n{log}"))?;
    ensure!(network.state_root(0, top).await? == network.state_root(HONEST, top).await?, "two states at {top}");
    // And it goes on with the others.
    network.reach(HONEST, top + 5, JOINED).await?;
    network.all_run()?;
    println!(
        "joined a chain of {blocks} blocks, at height {top} {:.1} s after its start, same state root; it said:\n  {}",
        took.as_secs_f64(),
        line.trim()
    );
    Ok(())
}

async fn refuses(network: &mut Network) -> eyre::Result<()> {
    // What has the honest snapshot, or none, would only be in the way.
    if let Some(process) = network.running[HONEST].take() {
        process.kill()?;
    }
    network.start(LIED_TO)?;
    let began = Instant::now();
    loop {
        let log = fs::read_to_string(network.log(LIED_TO))?;
        let banned: Vec<&str> = log.lines().filter(|line| line.contains("banning a peer")).collect();
        ensure!(!log.contains("began with a snapshot"), "a snapshot with a flipped byte was taken:\n{log}");
        if banned.len() == VALIDATORS {
            let reason = banned.iter().find(|line| !line.contains("has the hash"));
            ensure!(reason.is_none(), "banned for another reason: {reason:?}");
            println!(
                "one flipped byte in each: {} snapshots refused, their peers banned; it said:\n  {}",
                banned.len(),
                banned[0].trim()
            );
            return network.all_run();
        }
        if began.elapsed() > JOINED {
            bail!("of {VALIDATORS} peers with false snapshots {} were banned; its log:\n{log}", banned.len());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
