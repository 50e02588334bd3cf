//! Kills validators under load and asks what is left: `make kills KILLS=200`.
//!
//! Four real validators, 300 transfers a second from independent clients, and `kill -9` at random moments, one validator
//! or all. Then every transfer that a client was told is in a block must be there on every node, once; all nodes must have
//! the same blocks and state; and no key may have signed two messages for one height and round, by the log of all signatures.

use std::time::{Duration, Instant};

use assay_primitives::Keypair;
use assay_tests::{
    Network, Setup,
    faults::{Clients, History, Signatures},
};
use clap::Parser;
use eyre::{WrapErr as _, bail, eyre};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Kills validators under load.
#[derive(Clone, Debug, Parser)]
struct Options {
    /// How often.
    #[arg(long, default_value_t = 200)]
    kills: u32,
    /// Where moments and validators are drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Clients.
    #[arg(long, default_value_t = 20)]
    clients: u8,
    /// Transfers a second, of all clients.
    #[arg(long, default_value_t = 300)]
    rate: u32,
}

/// How long the network may take to go on after the last kill.
const RECOVERY: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> eyre::Result<()> {
    let options = Options::parse();
    let mut random = ChaCha8Rng::seed_from_u64(options.seed);
    let mut setup = Setup::dev();
    setup.log = format!("info,{}=debug", assay_consensus::bft::SIGNED);
    setup.funded = (0..options.clients).map(|i| Keypair::from_secret([100 + i; 32])).collect();
    let keys = setup.funded.clone();
    let mut network = Network::new(setup)?;
    network.start_all()?;
    let nodes = network.homes.len();
    for i in 0..nodes {
        network.reach(i, 2, RECOVERY).await?;
    }
    let urls: Vec<String> = network.homes.iter().map(|home| format!("http://{}", home.rpc_address())).collect();
    let started = Instant::now();
    let each = (options.rate / u32::from(options.clients.max(1))).max(1);
    let clients = Clients::start(keys, &urls, network.spec.genesis_hash(), each)?;
    let mut killed = 0;
    while killed < options.kills {
        tokio::time::sleep(Duration::from_millis(random.gen_range(20..1500))).await;
        // One in ten takes all of them down.
        let all = random.gen_bool(0.1);
        let one = random.gen_range(0..nodes);
        let chosen: Vec<usize> = if all { (0..nodes).collect() } else { vec![one] };
        for i in &chosen {
            let mut process = network.running[*i].take().ok_or_else(|| eyre!("validator {} is not running", i + 1))?;
            if let Some(status) = process.ended()? {
                bail!("validator {} ended by itself with {status}; its log ends:\n{}", i + 1, process.tail());
            }
            process.kill()?;
            killed += 1;
        }
        tokio::time::sleep(Duration::from_millis(random.gen_range(0..1000))).await;
        for i in &chosen {
            network.start(*i)?;
        }
        if killed % 20 == 0 {
            eprintln!("{killed} kills, {:.0} s", started.elapsed().as_secs_f64());
        }
        // The next moment may come before it is up again; that it comes up is seen here, now and then, and at the end.
        for i in chosen.into_iter().filter(|_| random.gen_bool(0.3)) {
            let height = network.client(i)?.status().await.map_or(1, |s| s.height);
            network.reach(i, height, RECOVERY).await?;
        }
    }
    let told = clients.finish().await?;
    let took = started.elapsed();
    let mut top = 0;
    for i in 0..nodes {
        network.reach(i, 1, RECOVERY).await?;
        top = top.max(network.client(i)?.status().await?.height);
    }
    let mut histories = Vec::new();
    for i in 0..nodes {
        network.reach(i, top, RECOVERY).await?;
        let history = History::read(&network.client(i)?, top).await.wrap_err_with(|| format!("validator {}", i + 1))?;
        history.holds(&told).wrap_err_with(|| format!("validator {}", i + 1))?;
        histories.push(history);
    }
    for (i, history) in histories.iter().enumerate().skip(1) {
        histories[0].agrees(history).wrap_err_with(|| format!("validators 1 and {}", i + 1))?;
    }
    let (mut signed, mut again) = (0, 0);
    for i in 0..nodes {
        let signatures = Signatures::read(&network.log(i)).wrap_err_with(|| format!("validator {}", i + 1))?;
        signed += signatures.count();
        again += signatures.again;
    }
    println!(
        "{killed} kills in {:.0} s, {top} blocks: {} transfers acknowledged, each once on all {nodes} nodes ({} in blocks, {:.0}/s); \
         {signed} messages signed, {again} of them a second time and the same, none in contradiction",
        took.as_secs_f64(),
        told.len(),
        histories[0].transactions(),
        told.len() as f64 / took.as_secs_f64(),
    );
    Ok(())
}
