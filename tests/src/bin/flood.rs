//! Floods one validator of four with what it must refuse: `make flood`.
//!
//! 50 connections send 10,000 requests a second to its RPC for a minute: no JSON, JSON that is no call, unknown methods, wrong
//! parameters, transactions of random bytes, with a flipped signature, a stale nonce or no money, and a few that are too large.
//! Four in five come in batches of 32, each call counted as a request: that is how a node is asked so often on a machine of two
//! cores that also runs the other validators and the flood itself. What is sent is drawn from a seed and made beforehand; the
//! pace is the clock's, and a connection that waits for answers to its last few batches makes up for it afterwards. Meanwhile
//! ten strangers talk garbage to its consensus and data ports, and an honest client sends it a transfer each second.
//!
//! The node must make blocks at no less than half the rate of before, within 1 GiB of memory, and commit every honest transfer; nine in
//! ten requests and more are answered, in HTTP, and none is granted; and in the end all four have the same blocks and states.

use std::{
    net::SocketAddr,
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use assay::rpc::RpcClient;
use assay_primitives::{Keypair, encode};
use assay_tests::{
    Network, Process, Setup,
    faults::{Clients, Flood, Flooded, History, Nonsense, Pace, transfer},
    until_stopped,
};
use clap::Parser;
use eyre::{WrapErr as _, ensure, eyre};
use rand::{Rng as _, RngCore as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    task::JoinSet,
    time::{sleep, timeout},
};

/// Floods one validator of four.
#[derive(Clone, Debug, Parser)]
struct Options {
    /// How long, in seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Requests a second, of all connections.
    #[arg(long, default_value_t = 10_000)]
    rate: u32,
    /// Connections.
    #[arg(long, default_value_t = 50)]
    connections: u32,
    /// Where requests and garbage are drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

const VALIDATORS: usize = 4;
/// The one that is flooded, and one that is looked at meanwhile.
const FLOODED: usize = 0;
const OTHER: usize = 1;
/// How long the rate of blocks is measured before.
const IDLE: Duration = Duration::from_secs(20);
/// Everybody has caught up.
const LEVEL: Duration = Duration::from_secs(60);
/// What the flooded process may hold in memory.
const MEMORY: u64 = 1 << 30;
/// Those who talk garbage to the other ports.
const STRANGERS: u64 = 10;
/// How long one of them waits for what comes of it.
const WAIT: Duration = Duration::from_secs(1);

#[tokio::main]
async fn main() -> eyre::Result<()> {
    until_stopped(run(Options::parse())).await
}

async fn run(options: Options) -> eyre::Result<()> {
    ensure!(options.seconds > 0 && options.rate > 0 && options.connections > 0, "nothing to do");
    let [honest, idle, old] = [100, 101, 102].map(|secret| Keypair::from_secret([secret; 32]));
    let setup = Setup { funded: vec![honest.clone(), idle.clone(), old.clone()], ..Setup::dev() };
    let mut network = Network::new(setup)?;
    network.start_all()?;
    for i in 0..VALIDATORS {
        network.reach(i, 3, LEVEL).await?;
    }
    let genesis = network.spec.genesis_hash();
    let (flooded, other) = (network.client(FLOODED)?, network.client(OTHER)?);
    // Its nonce is stale from now on.
    let first = flooded.submit(encode(&transfer(&genesis, &old, 0, 1))).await?;
    let began = Instant::now();
    while flooded.transaction(&first).await?.is_none() {
        ensure!(began.elapsed() < LEVEL, "a first transfer is in no block after {LEVEL:?}");
        sleep(Duration::from_millis(200)).await;
    }
    let address = network.homes[FLOODED].rpc_address();
    let nonsense = Nonsense::new(address, genesis, (idle, old), options.seed);

    let (from, began) = (flooded.status().await?.height, Instant::now());
    sleep(IDLE).await;
    let blocks_idle = rate(flooded.status().await?.height - from, began);
    let memory_idle = process(&network)?.resident_memory()?;

    let (from, began) = (flooded.status().await?.height, Instant::now());
    let until = began + Duration::from_secs(options.seconds);
    let clients = Clients::start(vec![honest], &[format!("http://{address}")], genesis, 1)?;
    let Options { rate: asked, connections, seed, .. } = options;
    let time = Duration::from_secs(options.seconds);
    let flood = Flood::start(address, &nonsense, Pace { rate: asked, connections, time, seed });
    let mut strangers = JoinSet::new();
    for at in 0..STRANGERS {
        let random = ChaCha8Rng::seed_from_u64(options.seed ^ ((at + 1) << 32));
        let home = &network.homes[FLOODED];
        let ports = [home.config.ports.consensus, home.config.ports.data];
        strangers.spawn(stranger(ports.map(|port| SocketAddr::new(home.config.listen, port)), random, until));
    }
    let watched = watch(&network, &other, until).await?;
    let own = flooded.status().await.wrap_err("the flooded node does not answer")?.height;
    let blocks_own = rate(own - from, began);
    let Flooded { said, heard, closed } = flood.finish().await?;
    let mut opened = 0;
    while let Some(stranger) = strangers.join_next().await {
        opened += stranger??;
    }
    let told = clients.finish().await.wrap_err("transfers of the honest client")?;
    let peak = process(&network)?.peak_memory()?;
    let proposed = proposed(&network, &other, from + 1..=own.min(watched.height)).await?;

    let (sent, answered) = (said.requests(), heard.requests());
    let sent_rate = sent as f64 / options.seconds as f64;
    println!(
        "{} s of flood from {} connections: {sent} requests, {sent_rate:.0}/s, in {} bodies; {answered} were answered, the others' \
         connections were closed, {closed} in all; {opened} connections of {STRANGERS} strangers to its other ports\n\
         blocks: {blocks_idle:.2}/s before, {:.2}/s meanwhile, {blocks_own:.2}/s by the flooded node's own tip, {proposed} of them its \
         own; never more than {:.1} s without one\n\
         memory of the flooded node: {} MiB before, at most {} MiB meanwhile, {} MiB at its peak\n\
         {} transfers of an honest client, each in a block\n",
        options.seconds,
        options.connections,
        said.bodies,
        watched.rate,
        watched.longest.as_secs_f64(),
        memory_idle >> 20,
        watched.memory >> 20,
        peak >> 20,
        told.len()
    );
    println!("| requests | sent | answered |\n|---|---|---|");
    for (kind, sent) in said.by_kind() {
        println!("| {} | {sent} | {} |", kind.words(), heard.words(kind));
    }

    ensure!(sent_rate >= 0.95 * f64::from(options.rate), "{sent_rate:.0} requests a second, not {}", options.rate);
    // What was written into connections that the node hangs up on did not reach it.
    ensure!(answered >= sent / 10 * 9, "of {sent} requests only {answered} were answered");
    ensure!(heard.granted() == 0, "{} of what must be refused was granted", heard.granted());
    ensure!(watched.rate >= blocks_idle / 2.0, "the chain is slower than half of {blocks_idle:.2} blocks a second");
    ensure!(
        blocks_own >= blocks_idle / 2.0,
        "the flooded node makes fewer than half of {blocks_idle:.2} blocks a second"
    );
    ensure!(proposed > 0, "no block is the flooded node's own");
    ensure!(watched.memory.max(peak) < MEMORY, "the flooded node has {} MiB", watched.memory.max(peak) >> 20);
    ensure!(opened > 0, "no stranger got through");
    ensure!(told.len() as u64 >= options.seconds * 9 / 10, "of one transfer a second {} were sent", told.len());
    network.all_run()?;
    let top = own.max(watched.height) + 5;
    let mut histories = Vec::new();
    for i in 0..VALIDATORS {
        network.reach(i, top, LEVEL).await?;
        let history = History::read(&network.client(i)?, top).await.wrap_err_with(|| format!("validator {}", i + 1))?;
        history.holds(&told).wrap_err_with(|| format!("validator {}", i + 1))?;
        histories.push(history);
    }
    for (i, history) in histories.iter().enumerate().skip(1) {
        histories[0].agrees(history).wrap_err_with(|| format!("validators 1 and {}", i + 1))?;
    }
    network.all_run()?;
    println!("all {VALIDATORS} run, with the same {top} blocks and states");
    Ok(())
}

fn process(network: &Network) -> eyre::Result<&Process> {
    network.running[FLOODED].as_ref().ok_or_else(|| eyre!("the flooded validator is not running"))
}

fn rate(blocks: u64, since: Instant) -> f64 {
    blocks as f64 / since.elapsed().as_secs_f64()
}

/// What was seen from outside.
struct Watched {
    /// The other node's height in the end.
    height: u64,
    /// Its blocks a second.
    rate: f64,
    /// The longest time without one, to a second.
    longest: Duration,
    /// The most memory that the flooded process was seen with, in bytes.
    memory: u64,
}

/// Looks once a second.
async fn watch(network: &Network, other: &RpcClient, until: Instant) -> eyre::Result<Watched> {
    let (from, began) = (other.status().await?.height, Instant::now());
    let (mut height, mut moved) = (from, began);
    let (mut longest, mut memory) = (Duration::ZERO, 0);
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    while Instant::now() < until {
        ticks.tick().await;
        memory = process(network)?.resident_memory()?.max(memory);
        let now = other.status().await?.height;
        longest = longest.max(moved.elapsed());
        if now > height {
            (height, moved) = (now, Instant::now());
        }
    }
    Ok(Watched { height, rate: rate(height - from, began), longest, memory })
}

/// How many blocks of those the flooded node proposed.
async fn proposed(network: &Network, other: &RpcClient, heights: RangeInclusive<u64>) -> eyre::Result<u64> {
    let (own, mut count) = (json!(network.homes[FLOODED].operator.account()), 0);
    for height in heights {
        let block: Value = other.call("assay_block", json!({ "height": height })).await?;
        count += u64::from(block["header"]["proposer"] == own);
    }
    Ok(count)
}

/// Opens connections to ports that speak other protocols, says a KiB of garbage and waits. How many it opened.
async fn stranger(ports: [SocketAddr; 2], mut random: ChaCha8Rng, until: Instant) -> eyre::Result<u64> {
    let [_, data] = ports;
    let datagrams = UdpSocket::bind(SocketAddr::new(data.ip(), 0)).await?;
    let (mut opened, mut garbage, mut answer) = (0, [0; 1024], [0; 1024]);
    while Instant::now() < until {
        random.fill_bytes(&mut garbage);
        let port = ports[random.gen_range(0..ports.len())];
        let mut stream = TcpStream::connect(port).await.wrap_err_with(|| format!("{port} takes no connection"))?;
        opened += 1;
        // What comes of it is the node's to say: it may answer, or hang up at once.
        let _ = stream.write_all(&garbage).await;
        let _ = datagrams.send_to(&garbage, data).await;
        let answers = async { while stream.read(&mut answer).await.is_ok_and(|bytes| bytes > 0) {} };
        let _ = timeout(WAIT, answers).await;
        sleep(Duration::from_millis(random.gen_range(100..500))).await;
    }
    Ok(opened)
}
