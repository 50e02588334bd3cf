//! Transfers a second and time to finality of 4, 7 and 10 validators, beside their block engine alone: `make bench-throughput`.
//!
//! For each number of validators, one after the other on the same cores:
//!
//! - the floor: the same engine with the node's settings and an empty application ([`assay_tests::floor`]), a process each;
//! - what one thread needs to verify a transfer's signature, which every node has to do once for each transfer;
//! - the network: validators as processes of their own, with the shortest interval and blocks of about a thousand transfers, under
//!   as many transfers as they take ([`assay_tests::load`]);
//! - finality: on the same network, then idle, single transfers from their sending until the node asked says that they are in a block.
//!
//! A block may take twice what the floor and its signatures take together, or this fails. Blocks' times are those in their headers.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use assay::rpc::RpcClient;
use assay_chain_spec::Params;
use assay_primitives::{Hash32, Keypair, encode};
use assay_tests::{
    Network, Process, Setup,
    floor::{Floor, FloorNode},
    load::{BACKLOG, Load, Stock, cores, key, transfer},
    processor_time, until_stopped,
};
use clap::{Parser, Subcommand};
use eyre::{WrapErr as _, ensure, eyre};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;
use serde_json::json;

/// Transfers a second and time to finality, beside the block engine alone.
#[derive(Clone, Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Options {
    /// Numbers of validators.
    #[arg(long, value_delimiter = ',', default_value = "4,7,10")]
    validators: Vec<usize>,
    /// For how many seconds transfers are counted.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// For how many seconds the floor's blocks are counted.
    #[arg(long, default_value_t = 20)]
    floor_seconds: u64,
    /// Accounts that send.
    #[arg(long, default_value_t = 128)]
    senders: u64,
    /// Accounts that receive.
    #[arg(long, default_value_t = 1000)]
    receivers: u64,
    /// Single transfers whose finality is taken.
    #[arg(long, default_value_t = 200)]
    samples: usize,
    /// The page whose part between the marks is written anew.
    #[arg(long)]
    write: Option<PathBuf>,
    #[command(subcommand)]
    again: Option<Again>,
}

/// What this program starts itself again for.
#[derive(Clone, Debug, Subcommand)]
enum Again {
    #[command(hide = true)]
    FloorNode(FloorNode),
}

const BEGIN: &str = "<!-- throughput -->";
const END: &str = "<!-- /throughput -->";

/// Holds a header and 1,064 transfers of 153 bytes.
const BLOCK_BYTES: u64 = 160 << 10;
const TRANSACTION_BYTES: u64 = 64 << 10;
/// Blocks with fewer transfers say nothing about full ones.
const FULL: f64 = 900.0;
/// How long transfers are sent before they are counted.
const WARM: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(60);
/// Transfers signed ahead, at most: about 100 MB.
const MOST_SIGNED: f64 = 500_000.0;
/// From one question for a transfer to the next.
const POLL: Duration = Duration::from_millis(2);
/// Pauses between single transfers, at most, so that they come at any moment of a block.
const PAUSE_MS: u64 = 100;

/// What was measured with one number of validators.
struct Row {
    validators: usize,
    /// Milliseconds of a block of the engine alone.
    floor: f64,
    /// Milliseconds that one thread needs for one signature.
    signature: f64,
    ours: Ours,
}

/// What was measured of the network.
struct Ours {
    /// Milliseconds of a block.
    block: f64,
    /// Transfers in one.
    transfers: f64,
    /// Transfers in a second.
    rate: f64,
    /// Seconds of processor time that one node takes for a thousand.
    processor: f64,
    /// The same of the clients, for a thousand.
    clients: f64,
    /// Milliseconds until a transfer is final, ascending.
    finality: Vec<f64>,
}

impl Row {
    /// What all nodes need for the signatures of a block, on all cores.
    fn signatures(&self) -> f64 {
        self.validators as f64 * self.ours.transfers * self.signature / cores() as f64
    }

    fn bound(&self) -> f64 {
        2.0 * (self.floor + self.signatures())
    }

    /// Whether it holds, for blocks that are full enough to say so.
    fn verdict(&self) -> &'static str {
        match (self.ours.transfers >= FULL, self.ours.block <= self.bound()) {
            (true, true) => "pass",
            (true, false) => "fail",
            (false, _) => "fail: blocks are not full",
        }
    }

    fn line(&self) -> String {
        let Ours { block, transfers, rate, processor, clients, finality } = &self.ours;
        format!(
            "| {} | {:.1} ms | {:.1} ms | {:.1} ms | {block:.1} ms | {:.0} % | {} | {transfers:.0} | {rate:.0} | {:.0} ms | {:.0} ms | {processor:.2} s | {clients:.2} s |",
            self.validators,
            self.floor,
            self.signatures(),
            self.bound(),
            100.0 * block / self.bound(),
            self.verdict(),
            quantile(finality, 0.5),
            quantile(finality, 0.99),
        )
    }
}

const HEAD: &str = "\
| validators | floor: block time | signatures | bound: 2 x (floor + signatures) | our block time | of the bound | within it | transfers a block | transfers a second | finality p50 | p99 | processor time of a node for 1,000 transfers | of the clients |
|---|---|---|---|---|---|---|---|---|---|---|---|---|";

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Of ascending values, the one that so large a share does not exceed.
fn quantile(ascending: &[f64], share: f64) -> f64 {
    let at = (ascending.len() as f64 * share).ceil() as usize;
    ascending.get(at.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

#[tokio::main]
async fn main() -> eyre::Result<()> {
    let options = Options::parse();
    if let Some(Again::FloorNode(node)) = &options.again {
        return node.run().await;
    }
    until_stopped(compare(&options)).await
}

async fn compare(options: &Options) -> eyre::Result<()> {
    println!("{HEAD}");
    let (mut lines, mut rows) = (HEAD.to_owned(), Vec::new());
    for validators in options.validators.iter().copied() {
        let row = measure(validators, options).await.wrap_err_with(|| format!("{validators} validators"))?;
        println!("{}", row.line());
        lines += &format!("\n{}", row.line());
        rows.push(row);
    }
    let signature = rows.iter().map(|row| row.signature).fold(f64::NAN, f64::min);
    if let Some(page) = &options.write {
        // Also what fails: the page says so.
        write(page, &format!("{}\n\n{lines}\n", head(options, signature)?))?;
    }
    for row in &rows {
        let (validators, found, bound) = (row.validators, row.ours.block, row.bound());
        ensure!(row.ours.transfers >= FULL, "{validators} validators: blocks had {:.0} transfers", row.ours.transfers);
        ensure!(found <= bound, "{validators} validators: a block takes {found:.1} ms, more than {bound:.1} ms");
    }
    Ok(())
}

async fn measure(validators: usize, options: &Options) -> eyre::Result<Row> {
    let window = Duration::from_secs(options.floor_seconds);
    let floor = Floor::start(validators, window)?;
    let floor = tokio::task::spawn_blocking(move || floor.block_time()).await??;
    let signature = verification()?;
    let ours = network(validators, signature, options).await?;
    Ok(Row { validators, floor: milliseconds(floor), signature: milliseconds(signature), ours })
}

/// What one thread needs to verify a transfer: the median of some passes over a thousand.
fn verification() -> eyre::Result<Duration> {
    let genesis = Hash32::digest(b"throughput");
    let signed: Vec<_> = (0..1000).map(|number| transfer(&key(number % 100), number, 1000, &genesis)).collect();
    let mut passes = Vec::new();
    for _ in 0..9 {
        let start = Instant::now();
        for transfer in &signed {
            transfer.verify(&genesis)?;
        }
        passes.push(start.elapsed() / u32::try_from(signed.len())?);
    }
    passes.sort();
    Ok(passes[passes.len() / 2])
}

async fn network(validators: usize, signature: Duration, options: &Options) -> eyre::Result<Ours> {
    let senders: Vec<Keypair> = (0..options.senders).map(key).collect();
    // One for each node: what comes next is then known there.
    let single: Vec<Keypair> = (options.senders..).take(validators).map(key).collect();
    let mut setup = Setup { validators, ..Setup::dev() };
    setup.params.block_interval_ms = Params::bounds("block_interval_ms")?.low;
    setup.params.max_block_bytes = BLOCK_BYTES;
    setup.params.max_tx_bytes = TRANSACTION_BYTES;
    setup.params.tempo = 1000;
    setup.funded = senders.iter().chain(&single).cloned().collect();
    let mut network = Network::new(setup)?;
    let genesis = network.spec.genesis_hash();
    // More than nodes could take that did nothing but verify.
    let most = cores() as f64 / (validators as f64 * signature.as_secs_f64());
    let most = most * (WARM.as_secs_f64() + options.seconds as f64 + 2.0) + f64::from(BACKLOG);
    let each = (most.min(MOST_SIGNED) / options.senders as f64).ceil() as u64;
    let stock = Stock::sign(&senders, each, options.receivers, genesis);
    network.start_all()?;
    for i in 0..validators {
        network.reach(i, 5, PATIENCE).await?;
    }
    let nodes = (0..validators).map(|i| network.client(i)).collect::<eyre::Result<Vec<_>>>()?;

    let load = Load::start(&nodes, stock);
    tokio::time::sleep(WARM).await;
    let (from, before) = (nodes[0].status().await?.height, processor(&network)?);
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    let (to, after) = (nodes[0].status().await?.height, processor(&network)?);
    let left = load.finish().await?;
    network.all_run()?;
    ensure!(
        left > usize::try_from(BACKLOG)?,
        "{left} transfers are left of those signed ahead: it was not always loaded"
    );

    settle(&nodes).await?;
    let blocks = blocks(&nodes[0], from, to).await?;
    let finality = finality(&nodes, &single, genesis, options.samples).await?;
    network.all_run()?;
    let thousands = blocks.transfers as f64 / 1000.0;
    Ok(Ours {
        block: milliseconds(blocks.time) / blocks.count as f64,
        transfers: blocks.transfers as f64 / blocks.count as f64,
        rate: blocks.transfers as f64 / blocks.time.as_secs_f64(),
        processor: (after.0 - before.0).as_secs_f64() / validators as f64 / thousands,
        clients: (after.1 - before.1).as_secs_f64() / thousands,
        finality,
    })
}

/// Processor time of all nodes together, and of this program.
fn processor(network: &Network) -> eyre::Result<(Duration, Duration)> {
    let nodes = network.running.iter().flatten().map(Process::processor_time).sum::<eyre::Result<Duration>>()?;
    Ok((nodes, processor_time(std::process::id())?))
}

/// Waits until nothing waits for a block anywhere.
async fn settle(nodes: &[RpcClient]) -> eyre::Result<()> {
    let start = Instant::now();
    for node in nodes {
        while let waiting @ 1.. = node.status().await?.mempool {
            ensure!(start.elapsed() < PATIENCE, "{waiting} transfers wait at {} after {PATIENCE:?}", node.url());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(())
}

/// What stands in a window's blocks.
struct Blocks {
    count: u64,
    transfers: usize,
    time: Duration,
}

#[derive(Deserialize)]
struct Header {
    time_ms: u64,
}

#[derive(Deserialize)]
struct Certificate {
    round: u32,
}

#[derive(Deserialize)]
struct Line {
    action: String,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Told {
    header: Header,
    certificate: Certificate,
    transactions: Vec<Line>,
}

/// Reads the blocks after `from` up to `to`.
async fn blocks(node: &RpcClient, from: u64, to: u64) -> eyre::Result<Blocks> {
    ensure!(from < to, "no block while transfers were counted");
    let (mut transfers, mut late, mut first, mut last) = (0, 0, 0, 0);
    for height in from..=to {
        let block: Told = node.call("assay_block", json!({ "height": height })).await?;
        last = block.header.time_ms;
        if height == from {
            first = last;
            continue;
        }
        late += usize::from(block.certificate.round > 0);
        let took_effect = |line: &&Line| line.action == "transfer" && line.error.is_none();
        transfers += block.transactions.iter().filter(took_effect).count();
    }
    if late > 0 {
        eprintln!("{late} of {} blocks took more than a round", to - from);
    }
    Ok(Blocks { count: to - from, transfers, time: Duration::from_millis(last - first) })
}

/// Milliseconds from a transfer's sending until the node that got it says that it is in a block, ascending. Each node has its key.
async fn finality(nodes: &[RpcClient], keys: &[Keypair], genesis: Hash32, samples: usize) -> eyre::Result<Vec<f64>> {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut times = Vec::new();
    for sample in 0..samples {
        let (node, key) = (&nodes[sample % nodes.len()], &keys[sample % nodes.len()]);
        let nonce = u64::try_from(sample / nodes.len())?;
        let bytes = encode(&transfer(key, nonce, 1, &genesis));
        tokio::time::sleep(Duration::from_millis(random.gen_range(0..PAUSE_MS))).await;
        let sent = Instant::now();
        let id = node.submit(bytes).await?;
        while node.transaction(&id).await?.is_none() {
            ensure!(sent.elapsed() < PATIENCE, "transfer {id} is in no block after {PATIENCE:?}");
            tokio::time::sleep(POLL).await;
        }
        times.push(milliseconds(sent.elapsed()));
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}

/// When, by which command, on what.
fn head(options: &Options, signature: f64) -> eyre::Result<String> {
    let date = Command::new("date").arg("+%F").output().wrap_err("cannot run date")?;
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, name)| name);
    Ok(format!(
        "`make bench-throughput` on {}, {} cores ({}), which the clients share with the validators, each a process of its own on loopback. The \
         floor is counted for {} s, transfers for {} s after {} s, from {} accounts to {}; {} single transfers. One signature takes {:.0} µs.",
        String::from_utf8_lossy(&date.stdout).trim(),
        cores(),
        cpu.unwrap_or("unknown processor"),
        options.floor_seconds,
        options.seconds,
        WARM.as_secs(),
        options.senders,
        options.receivers,
        options.samples,
        signature * 1e3,
    ))
}

/// Writes a page's part between the marks anew.
fn write(page: &Path, part: &str) -> eyre::Result<()> {
    let text = fs::read_to_string(page).wrap_err_with(|| page.display().to_string())?;
    let marks = || eyre!("{} has no part from {BEGIN} to {END}", page.display());
    let (before, rest) = text.split_once(BEGIN).ok_or_else(marks)?;
    let (_, after) = rest.split_once(END).ok_or_else(marks)?;
    Ok(fs::write(page, format!("{before}{BEGIN}\n{part}{END}{after}"))?)
}
