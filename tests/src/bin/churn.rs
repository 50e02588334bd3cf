//! Networks that fail a little, validators that come and go: `make churn`.
//!
//! Four real validators on machines of their own (network namespaces), and a fifth that is none at first:
//!
//! | | what is done | how long |
//! |---|---|---|
//! | a | one validator's link goes down and up again, every few seconds | a minute |
//! | b | all that one sends is lost, then all that is sent to one | half a minute each |
//! | c | one is behind a thin wire: 64 kbit/s, and 300 ms each way | half a minute |
//! | d | each in turn is asked to stop (SIGTERM), ends within five seconds and without an error, and starts again, under transfers | |
//! | e | the fifth registers, gets a seat where an epoch ends, signs blocks, takes its stake back, and loses the seat in the same way | |
//! | f | one's clock is set ten seconds and an hour ahead, and as much behind | ten seconds each |
//! | g | all are killed at once (SIGKILL) and start again | |
//!
//! After each of them every node goes on within half a minute, and all have the same state. While it lasts (a to c, f), the chain makes
//! a quarter of its usual blocks at least. All is seen over RPC.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use assay::rpc::RpcClient;
use assay_ledger::tx::{Action, Consent, Transaction};
use assay_primitives::{AccountId, Amount, Certificate, Header, Keypair, Signed, encode};
use assay_tests::{
    Network, Process, Setup,
    faults::{Clients, Direction, History, Namespaces},
    until_stopped,
};
use clap::{Parser, ValueEnum};
use eyre::{WrapErr as _, ensure, eyre};
use serde::Deserialize;
use serde_json::{Value, json};

/// Networks that fail a little, validators that come and go.
#[derive(Clone, Debug, Parser)]
struct Options {
    /// Which of them, like `a,d`; without, all.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// What nodes log; their logs are printed when something fails.
    #[arg(long, default_value = "info")]
    log: String,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// A link goes down and up.
    #[value(name = "a")]
    Flaps,
    /// One direction of a link loses everything.
    #[value(name = "b")]
    OneWay,
    /// A link is slow.
    #[value(name = "c")]
    Slow,
    /// All restart, one after the other.
    #[value(name = "d")]
    Restarts,
    /// A validator comes and goes.
    #[value(name = "e")]
    Fifth,
    /// A clock is wrong.
    #[value(name = "f")]
    Clock,
    /// All are killed at once.
    #[value(name = "g")]
    Kill,
}

const VALIDATORS: usize = 4;
/// The validator that comes and goes.
const FIFTH: usize = VALIDATORS;
/// Always well.
const WITNESS: usize = 0;
const STAKE: Amount = Amount::asy(1000);

/// For how long usual blocks are counted.
const USUAL: Duration = Duration::from_secs(20);
const FLAPPING: Duration = Duration::from_secs(60);
const DOWN: Duration = Duration::from_secs(3);
const UP: Duration = Duration::from_secs(4);
const TROUBLE: Duration = Duration::from_secs(30);
const DELAY: Duration = Duration::from_millis(300);
const BITS: u32 = 64_000;
/// For how long a clock is wrong.
const CLOCK: Duration = Duration::from_secs(10);
/// Seconds between a line of a log and when it is read.
const CLOCK_LATE: i64 = 12;
/// Every node goes on.
const GOES_ON: Duration = Duration::from_secs(30);
/// A validator that is asked to stops.
const STOPS: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(60);
/// Clients, and transfers a second of each.
const CLIENTS: u8 = 8;
const EACH: u32 = 10;

fn main() -> eyre::Result<()> {
    let options = Options::parse();
    // Before there are threads: this starts the program again.
    let machines = Namespaces::new(VALIDATORS + 1)?;
    tokio::runtime::Runtime::new()?.block_on(until_stopped(run(&options, machines)))
}

async fn run(options: &Options, machines: Namespaces) -> eyre::Result<()> {
    let clients: Vec<Keypair> = (0..CLIENTS).map(|i| Keypair::from_secret([100 + i; 32])).collect();
    let mut network = Network::new(Setup {
        candidates: 1,
        funded: clients.clone(),
        machines: Some(machines),
        log: options.log.clone(),
        ..Setup::dev()
    })?;
    let outcome = parts(&mut network, options, clients).await;
    if outcome.is_err() {
        for (i, process) in network.running.iter().enumerate() {
            let tail = process.as_ref().map(Process::tail).unwrap_or_default();
            eprintln!("validator {}, {:?}; its log ends:\n{tail}\n", i + 1, network.client(i)?.status().await);
        }
    }
    outcome
}

async fn parts(network: &mut Network, options: &Options, clients: Vec<Keypair>) -> eyre::Result<()> {
    for i in 0..VALIDATORS {
        network.start(i)?;
    }
    for i in 0..VALIDATORS {
        network.reach(i, 3, PATIENCE).await?;
    }
    let before = height(network, WITNESS).await?;
    tokio::time::sleep(USUAL).await;
    let usual = (height(network, WITNESS).await? - before) as f64 / USUAL.as_secs_f64();
    println!("usually: {usual:.1} blocks a second");
    for part in Part::value_variants().iter().filter(|part| options.only.is_empty() || options.only.contains(part)) {
        let done = match part {
            Part::Flaps => flaps(network, usual).await,
            Part::OneWay => one_way(network, usual).await,
            Part::Slow => slow(network, usual).await,
            Part::Restarts => restarts(network, clients.clone()).await,
            Part::Fifth => fifth(network).await,
            Part::Clock => clock(network, usual).await,
            Part::Kill => kill(network).await,
        };
        done.wrap_err_with(|| format!("{part:?}"))?;
    }
    Ok(())
}

async fn height(network: &Network, i: usize) -> eyre::Result<u64> {
    Ok(network.client(i)?.status().await?.height)
}

fn running(network: &Network) -> Vec<usize> {
    (0..network.homes.len()).filter(|i| network.running[*i].is_some()).collect()
}

/// Every node goes on, and all have one state: seconds until they had.
async fn goes_on(network: &mut Network) -> eyre::Result<f64> {
    let (nodes, began) = (running(network), Instant::now());
    let mut top = 0;
    for i in &nodes {
        network.reach(*i, 0, GOES_ON).await?;
        top = top.max(height(network, *i).await?);
    }
    for i in &nodes {
        network.reach(*i, top + 2, GOES_ON.saturating_sub(began.elapsed())).await?;
    }
    let took = began.elapsed().as_secs_f64();
    let root = network.state_root(WITNESS, top + 2).await?;
    for i in nodes {
        ensure!(network.state_root(i, top + 2).await? == root, "validators 1 and {} have different states", i + 1);
    }
    network.all_run()?;
    Ok(took)
}

/// The blocks that were made since a height and a moment, if they are a quarter of the usual ones at least.
async fn made(network: &Network, (from, since): (u64, Instant), usual: f64) -> eyre::Result<u64> {
    let (made, expected) = (height(network, WITNESS).await? - from, usual * since.elapsed().as_secs_f64());
    ensure!(made as f64 >= expected / 4.0, "{made} blocks were made in the time of {expected:.0}");
    Ok(made)
}

async fn flaps(network: &mut Network, usual: f64) -> eyre::Result<()> {
    const ILL: usize = 1;
    let start = (height(network, WITNESS).await?, Instant::now());
    let mut times = 0;
    while start.1.elapsed() < FLAPPING {
        network.machines().link(ILL, false)?;
        tokio::time::sleep(DOWN).await;
        network.machines().link(ILL, true)?;
        tokio::time::sleep(UP).await;
        times += 1;
    }
    let (made, seconds) = (made(network, start, usual).await?, start.1.elapsed().as_secs_f64());
    let level = goes_on(network).await?;
    println!("a: a link {times} times down and up in {seconds:.0} s: {made} blocks, all go on after {level:.1} s");
    Ok(())
}

async fn one_way(network: &mut Network, usual: f64) -> eyre::Result<()> {
    for (ill, direction, words) in [(2, Direction::Out, "sends"), (3, Direction::In, "should hear")] {
        let start = (height(network, WITNESS).await?, Instant::now());
        network.machines().lose(ill, direction)?;
        tokio::time::sleep(TROUBLE).await;
        let made = made(network, start, usual).await?;
        // Without its acknowledgements nobody goes on sending to it: whoever hears nothing or is not heard falls behind.
        let behind = height(network, WITNESS).await?.saturating_sub(height(network, ill).await?);
        ensure!(behind > 2, "all that one {words} was to be lost, and it is {behind} blocks behind");
        network.machines().restore(ill)?;
        let level = goes_on(network).await?;
        println!(
            "b: all that one {words} is lost for {} s: {made} blocks, it is {behind} behind; all go on after {level:.1} s",
            TROUBLE.as_secs()
        );
    }
    Ok(())
}

async fn slow(network: &mut Network, usual: f64) -> eyre::Result<()> {
    const ILL: usize = 3;
    let start = (height(network, WITNESS).await?, Instant::now());
    network.machines().slow(ILL, DELAY, BITS)?;
    tokio::time::sleep(TROUBLE).await;
    let (made, behind) = (made(network, start, usual).await?, height(network, ILL).await?);
    let behind = height(network, WITNESS).await?.saturating_sub(behind);
    network.machines().restore(ILL)?;
    let level = goes_on(network).await?;
    println!(
        "c: one at {} kbit/s and {} ms for {} s: {made} blocks, it is {behind} behind; all go on after {level:.1} s",
        BITS / 1000,
        DELAY.as_millis(),
        TROUBLE.as_secs()
    );
    Ok(())
}

async fn restarts(network: &mut Network, keys: Vec<Keypair>) -> eyre::Result<()> {
    let urls: Vec<String> =
        network.homes[..VALIDATORS].iter().map(|home| format!("http://{}", home.rpc_address())).collect();
    let clients = Clients::start(keys, &urls, network.spec.genesis_hash(), EACH)?;
    let (mut longest, mut back) = (Duration::ZERO, Duration::ZERO);
    for i in 0..VALIDATORS {
        let process = network.running[i].take().ok_or_else(|| eyre!("validator {} does not run", i + 1))?;
        let asked = Instant::now();
        let status = tokio::task::spawn_blocking(move || process.terminate(STOPS)).await??;
        longest = longest.max(asked.elapsed());
        ensure!(status == Some(0), "validator {} was asked to stop and ended with {status:?}", i + 1);
        network.start(i)?;
        let started = Instant::now();
        let other = if i == WITNESS { VALIDATORS - 1 } else { WITNESS };
        let top = height(network, other).await?;
        network.reach(i, top + 1, PATIENCE).await?;
        back = back.max(started.elapsed());
    }
    let told = clients.finish().await?;
    let level = goes_on(network).await?;
    let nodes = running(network);
    let mut top = 0;
    for i in &nodes {
        top = top.max(height(network, *i).await?);
    }
    let mut histories = Vec::new();
    for i in nodes {
        let who = || format!("validator {}", i + 1);
        network.reach(i, top, PATIENCE).await?;
        let history = History::read(&network.client(i)?, top).await.wrap_err_with(who)?;
        history.holds(&told).wrap_err_with(who)?;
        histories.push(history);
        histories[0].agrees(&histories[histories.len() - 1]).wrap_err_with(who)?;
    }
    println!(
        "d: all restarted, one after the other: ended with status 0 in {:.1} s at most, back with the others {:.1} s after the start at \
         most; {} transfers acknowledged, each in one block on all; all go on after {level:.1} s",
        longest.as_secs_f64(),
        back.as_secs_f64(),
        told.len()
    );
    Ok(())
}

async fn fifth(network: &mut Network) -> eyre::Result<()> {
    network.start(FIFTH)?;
    let top = height(network, WITNESS).await?;
    network.reach(FIFTH, top, PATIENCE).await?;
    let home = &network.homes[FIFTH];
    let (owner, operator) = (home.owner()?, home.operator.account());
    let register = Action::RegisterValidator {
        operator,
        consent: Consent::sign(owner.account(), &home.operator, &home.genesis),
        stake: STAKE,
        take: 1000,
        endpoint: home.endpoint(),
    };
    let registered = send(network, &owner, register).await?;
    let joined = changes(network, registered).await?;
    ensure!(
        power(network, operator).await?.is_some(),
        "the set changed after block {joined}, and the fifth has no seat"
    );
    let signs = signed(network, joined + 1, operator).await?;

    let client = network.client(WITNESS)?;
    let stakes: Value = client.call("assay_delegations", json!({ "account": owner.account() })).await?;
    let amount: Amount = serde_json::from_value(stakes[0]["amount"].clone()).wrap_err("the fifth has no stake")?;
    let unstaked = send(network, &owner, Action::Unstake { validator: operator, amount }).await?;
    let left = changes(network, unstaked).await?;
    ensure!(power(network, operator).await?.is_none(), "the set changed after block {left}, and the fifth has a seat");
    network.reach(WITNESS, left + 5, PATIENCE).await?;
    for height in left + 1..left + 5 {
        ensure!(!has_signed(&client, height, operator).await?, "the fifth has no seat and signed block {height}");
    }
    let level = goes_on(network).await?;
    println!(
        "e: registered in block {registered}, a seat from {} on, signed block {signs}; out in block {unstaked}, no seat from {} on; \
         all go on after {level:.1} s",
        joined + 1,
        left + 1
    );
    Ok(())
}

async fn clock(network: &mut Network, usual: f64) -> eyre::Result<()> {
    const ILL: usize = 2;
    let process = network.running[ILL].take().ok_or_else(|| eyre!("validator {} does not run", ILL + 1))?;
    tokio::task::spawn_blocking(move || process.terminate(STOPS)).await??;
    network.set_clock(ILL, 0)?;
    network.start(ILL)?;
    goes_on(network).await?;
    let mut told = 0;
    for seconds in [10, 3600, -3600, -10, 0] {
        let said = std::fs::read_to_string(network.log(ILL))?.len();
        let start = (height(network, WITNESS).await?, Instant::now());
        network.set_clock(ILL, seconds)?;
        tokio::time::sleep(CLOCK).await;
        // A clock that did not change would try nothing.
        let log = std::fs::read_to_string(network.log(ILL))?;
        let wrong = |ahead: &i64| seconds.abs() > 60 && (ahead - seconds).abs() <= CLOCK_LATE;
        told += log[said..].lines().filter_map(ahead).filter(wrong).count();
        let made = made(network, start, usual).await?;
        let behind = height(network, WITNESS).await?.saturating_sub(height(network, ILL).await?);
        println!("f: one's clock {seconds:+} s for {} s: {made} blocks, it is {behind} behind", CLOCK.as_secs());
    }
    ensure!(told > 0, "no line of its log is an hour off");
    let level = goes_on(network).await?;
    let slashes: Value = network.client(WITNESS)?.call("assay_slashes", json!({ "limit": 100 })).await?;
    ensure!(slashes == json!([]), "a clock made somebody sign twice: {slashes}");
    println!("f: with a right clock again all go on after {level:.1} s; nothing is signed twice");
    Ok(())
}

/// How far ahead of now a line of a log was written, by the time of day that it begins with; up to twelve hours.
fn ahead(line: &str) -> Option<i64> {
    const DAY: i64 = 24 * 60 * 60;
    let time = line.get(11..19)?;
    let seconds = time.split(':').try_fold(0, |sum, part| Some(60 * sum + part.parse::<i64>().ok()?))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs().cast_signed();
    Some((seconds - now + DAY / 2).rem_euclid(DAY) - DAY / 2)
}

async fn kill(network: &mut Network) -> eyre::Result<()> {
    let nodes = running(network);
    let top = height(network, WITNESS).await?;
    let root = network.state_root(WITNESS, top).await?;
    for i in &nodes {
        if let Some(process) = network.running[*i].take() {
            process.kill()?;
        }
    }
    for i in &nodes {
        network.start(*i)?;
    }
    let level = goes_on(network).await?;
    ensure!(network.state_root(WITNESS, top).await? == root, "block {top} of before has another state now");
    println!("g: all {} killed at once: all go on {level:.1} s after their start", nodes.len());
    Ok(())
}

/// Sends a transaction and waits for its block.
async fn send(network: &Network, key: &Keypair, action: Action) -> eyre::Result<u64> {
    let (client, signer) = (network.client(WITNESS)?, key.account());
    let (what, nonce) = (action.name(), client.next_nonce(&signer).await?);
    let fee = assay_ledger::least_fee(&network.spec.params, &action);
    let signed = Signed::new(Transaction { signer, nonce, fee, action }, &network.spec.genesis_hash(), key);
    let id = client.submit(encode(&signed)).await?;
    let sent = Instant::now();
    loop {
        if let Some(found) = client.transaction(&id).await? {
            ensure!(found.error.is_none(), "{what} had no effect: {:?}", found.error);
            return Ok(found.height);
        }
        ensure!(sent.elapsed() < PATIENCE, "{what} is in no block after {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[derive(Deserialize)]
struct Told {
    header: Header,
    certificate: Certificate,
}

/// A block, waited for.
async fn block(client: &RpcClient, height: u64) -> eyre::Result<Told> {
    let began = Instant::now();
    loop {
        match client.call("assay_block", json!({ "height": height })).await {
            Err(e) if e.is_not_found() && began.elapsed() < PATIENCE => {}
            told => return Ok(told?),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The first block from a height on after which the set is another one. It must be the last of its epoch, and of the next epoch at most.
async fn changes(network: &Network, from: u64) -> eyre::Result<u64> {
    let (client, tempo) = (network.client(WITNESS)?, network.spec.params.tempo);
    for height in from..from + 2 * tempo {
        let header = block(&client, height).await?.header;
        if header.validators_hash != header.next_validators_hash {
            // Epochs have so many blocks, from block 1 on.
            ensure!(height % tempo == 0, "the set changed after block {height}, within an epoch");
            return Ok(height);
        }
    }
    Err(eyre!("the set is the same two epochs after block {from}"))
}

/// The power that a validator has at the next block, if it has a seat.
async fn power(network: &Network, operator: AccountId) -> eyre::Result<Option<u64>> {
    let all: Value = network.client(WITNESS)?.call("assay_validators", json!({})).await?;
    let own = all.as_array().into_iter().flatten().find(|record| record["operator"] == json!(operator));
    Ok(own.ok_or_else(|| eyre!("{operator} is no validator"))?["power"].as_u64())
}

async fn has_signed(client: &RpcClient, height: u64, operator: AccountId) -> eyre::Result<bool> {
    Ok(block(client, height).await?.certificate.signatures.iter().any(|(signer, _)| *signer == operator))
}

/// The first block from a height on whose certificate has a validator's signature.
async fn signed(network: &Network, from: u64, operator: AccountId) -> eyre::Result<u64> {
    let (client, began) = (network.client(WITNESS)?, Instant::now());
    let mut height = from;
    while !has_signed(&client, height, operator).await? {
        ensure!(began.elapsed() < GOES_ON, "no block from {from} to {height} is signed by {operator}");
        height += 1;
    }
    Ok(height)
}
