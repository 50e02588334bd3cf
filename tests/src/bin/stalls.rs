//! One validator of four stands still, and one has a full disk and then a read-only one: `make stalls`.
//!
//! Stopped (SIGSTOP) for two minutes and resumed, it catches up by itself. With a full filesystem under its data it ends within
//! a minute, non-zero, with the reason in words; with room again it goes on. So it does with a filesystem that is read-only. The
//! chain goes on all the time.

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use assay_tests::{Network, Process, Setup, faults::Namespaces, until_stopped};
use clap::Parser;
use eyre::{WrapErr as _, bail, ensure, eyre};

/// One validator of four stands still, and one has a full disk and then a read-only one.
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
/// A node whose disk is full or read-only has ended.
const ENDED: Duration = Duration::from_secs(60);
/// Everybody has caught up.
const LEVEL: Duration = Duration::from_secs(60);

fn main() -> eyre::Result<()> {
    let options = Options::parse();
    // Before there are threads: this starts the program again.
    let machines = Namespaces::new(VALIDATORS)?;
    tokio::runtime::Runtime::new()?.block_on(until_stopped(run(&options, machines)))
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
    full(&mut network, &data).await?;
    read_only(&mut network, &data).await
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
    let from = logged(network)?;
    let mut ballast = File::create(data.join("ballast"))?;
    let mib = vec![1; 1 << 20];
    // Until there is no byte left.
    for piece in [&mib[..], &mib[..4096], &mib[..1]] {
        while ballast.write_all(piece).is_ok() {}
    }
    ends(network, from, "full", &["left on the disk", "No space left"]).await?;
    drop(ballast);
    std::fs::remove_file(data.join("ballast"))?;
    goes_on(network).await.wrap_err("with room on its disk again")
}

/// The node is down while that happens: the kernel leaves no filesystem read-only on which a file is open for writing.
async fn read_only(network: &mut Network, data: &Path) -> eyre::Result<()> {
    ill(network)?.signal("KILL")?;
    while ill(network)?.ended()?.is_none() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let remount = |how: &str| -> eyre::Result<()> {
        // With its source: else `mount` adds options that it finds for the folder.
        let status = Command::new("mount").args(["-o", &format!("remount,{how}"), "tmpfs"]).arg(data).status()?;
        ensure!(status.success(), "cannot make {} {how}", data.display());
        Ok(())
    };
    remount("ro")?;
    let from = logged(network)?;
    network.start(ILL)?;
    ends(network, from, "read-only", &["Read-only file system"]).await?;
    remount("rw")?;
    goes_on(network).await.wrap_err("with a disk that takes writes again")
}

/// Bytes of its log.
fn logged(network: &Network) -> eyre::Result<usize> {
    Ok(usize::try_from(std::fs::metadata(network.log(ILL))?.len())?)
}

/// It ends by itself, with one of these words, said after so many bytes of its log; and the chain goes on.
async fn ends(network: &mut Network, from: usize, disk: &str, words: &[&str]) -> eyre::Result<()> {
    let began = Instant::now();
    let before = network.client(0)?.status().await?.height;
    let status = loop {
        if let Some(status) = ill(network)?.ended()? {
            break status;
        }
        if began.elapsed() > ENDED {
            bail!("the node with the {disk} disk still runs after {ENDED:?}; its log ends:\n{}", ill(network)?.tail());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let took = began.elapsed();
    ensure!(status.starts_with("exit status: ") && status != "exit status: 0", "it ended with {status}");
    let log = std::fs::read(network.log(ILL))?;
    let said = String::from_utf8_lossy(&log[from.min(log.len())..]);
    let reason = said.lines().rev().find(|line| words.iter().any(|word| line.contains(word)));
    let reason = reason.ok_or_else(|| eyre!("no reason:\n{said}"))?;
    network.reach(0, before + 10, LEVEL).await.wrap_err("the chain stands")?;
    println!("{disk} disk: {status} after {:.1} s, the chain goes on; it said:\n  {reason}", took.as_secs_f64());
    Ok(())
}

/// Started anew it is at the others' height, with their state, and takes part.
async fn goes_on(network: &mut Network) -> eyre::Result<()> {
    network.start(ILL)?;
    let top = network.client(0)?.status().await?.height + 5;
    network.reach(ILL, top, LEVEL).await?;
    network.reach(0, top, LEVEL).await?;
    ensure!(network.state_root(0, top).await? == network.state_root(ILL, top).await?, "two states at height {top}");
    network.all_run()
}
