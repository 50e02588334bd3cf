//! One validator of four stands still, and one has a full disk: `make stalls`.
//!
//! Stopped (SIGSTOP) for two minutes and resumed, it catches up by itself. With a full filesystem under its data it ends within
//! a minute, non-zero, with the reason in words. The chain goes on both times.

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use assay_tests::{Network, Process, Setup, faults::Namespaces};
use clap::Parser;
use eyre::{WrapErr as _, bail, ensure, eyre};

/// One validator of four stands still, and one has a full disk.
#[derive(Clone, Debug, Parser)]
struct Options {
    /// How long it is stopped, in seconds.
    #[arg(long, default_value_t = 120)]
    seconds: u64,
}

const VALIDATORS: usize = 4;
/// The one that has trouble.
const ILL: usize = 3;
/// What it needs until its disk is full, in MiB.
const DISK_MIB: u32 = 256;
/// A node whose disk is full has ended.
const ENDED: Duration = Duration::from_secs(60);
/// Everybody has caught up.
const LEVEL: Duration = Duration::from_secs(60);

fn main() -> eyre::Result<()> {
    let options = Options::parse();
    // Before there are threads: this starts the program again.
    let machines = Namespaces::new(VALIDATORS)?;
    tokio::runtime::Runtime::new()?.block_on(run(&options, machines))
}

async fn run(options: &Options, machines: Namespaces) -> eyre::Result<()> {
    let mut network = Network::new(Setup { machines: Some(machines), ..Setup::dev() })?;
    let data = network.homes[ILL].data_dir();
    std::fs::create_dir_all(&data)?;
    let mounted =
        Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={DISK_MIB}m"), "tmpfs"]).arg(&data).status()?;
    ensure!(mounted.success(), "cannot mount a small filesystem on {}", data.display());
    network.start_all()?;
    for i in 0..VALIDATORS {
        network.reach(i, 3, LEVEL).await?;
    }
    stopped(&mut network, options).await?;
    full(&mut network, &data).await
}

fn ill(network: &mut Network) -> eyre::Result<&mut Process> {
    network.running[ILL].as_mut().ok_or_else(|| eyre!("the validator is not running"))
}

async fn stopped(network: &mut Network, options: &Options) -> eyre::Result<()> {
    let before = network.client(0)?.status().await?.height;
    ill(network)?.signal("STOP")?;
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    let made = network.client(0)?.status().await?.height - before;
    ensure!(made >= options.seconds / 2, "three of four made {made} blocks in {} s", options.seconds);
    ill(network)?.signal("CONT")?;
    let resumed = Instant::now();
    let top = network.client(0)?.status().await?.height;
    network.reach(ILL, top, LEVEL).await?;
    let level = resumed.elapsed();
    ensure!(network.state_root(0, top).await? == network.state_root(ILL, top).await?, "two states at height {top}");
    // It takes part again: a block that waits for all of its power would not come without it for good.
    network.reach(ILL, top + 10, LEVEL).await?;
    network.all_run()?;
    println!(
        "stopped for {} s: the three others made {made} blocks; level {:.1} s after it went on",
        options.seconds,
        level.as_secs_f64()
    );
    Ok(())
}

async fn full(network: &mut Network, data: &Path) -> eyre::Result<()> {
    let mut ballast = File::create(data.join("ballast"))?;
    let mib = vec![1; 1 << 20];
    // Until there is no byte left.
    for piece in [&mib[..], &mib[..4096], &mib[..1]] {
        while ballast.write_all(piece).is_ok() {}
    }
    let filled = Instant::now();
    let before = network.client(0)?.status().await?.height;
    let status = loop {
        if let Some(status) = ill(network)?.ended()? {
            break status;
        }
        if filled.elapsed() > ENDED {
            bail!("the node with the full disk still runs after {ENDED:?}; its log ends:\n{}", ill(network)?.tail());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let took = filled.elapsed();
    let tail = ill(network)?.tail();
    ensure!(!status.contains("exit status: 0"), "it ended with {status}");
    let reason = tail
        .lines()
        .rev()
        .find(|line| line.contains("left on the disk") || line.contains("No space left"))
        .ok_or_else(|| eyre!("no reason:\n{tail}"))?;
    network.reach(0, before + 10, LEVEL).await.wrap_err("the chain stands")?;
    println!("full disk: {status} after {:.1} s, the chain goes on; it said:\n  {reason}", took.as_secs_f64());
    Ok(())
}
