//! Measures what `docs/benchmarks.md` states and prints its table: `make bench`.
//!
//! A network of four validator processes on loopback, idle and under transfers; the digit network's proof; memory of
//! one validator. Figures are medians over the run, on this machine, now.

use std::time::{Duration, Instant};

use assay::{devnet::DIGITS, rpc::RpcClient};
use assay_circuits::{
    Binding,
    answer::{compact, prove, verify},
    model::Model,
};
use assay_ledger::tx::{Action, Transaction};
use assay_primitives::{AccountId, Amount, Hash32, Keypair, Signed, encode, task};
use assay_tests::{Network, Process, Setup};
use eyre::{bail, eyre};

/// How long each load is held.
const WINDOW: Duration = Duration::from_secs(20);
/// Transfers a second under load.
const RATE: u32 = 500;
/// Accounts that send them.
const SENDERS: u8 = 20;

#[tokio::main]
async fn main() -> eyre::Result<()> {
    println!("| what | figure |\n|---|---|");
    proofs()?;
    for (name, interval) in [("dev preset, blocks every 500 ms", 500), ("as fast as they come (interval 20 ms)", 20)] {
        blocks(name, interval).await?;
    }
    Ok(())
}

fn line(what: &str, figure: &str) {
    println!("| {what} | {figure} |");
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

/// The digit network's proof: cold and warm.
fn proofs() -> eyre::Result<()> {
    let model = Model::from_bytes(DIGITS)?;
    let outline = model.outline();
    let input = model.quantise_flat(&vec![7.0; model.input_len()])?;
    let output = model.run_flat(&input)?;
    let binding = |nonce: u8| Binding {
        genesis: Hash32([1; 32]),
        model: model.id(),
        request: Hash32([nonce; 32]),
        miner: AccountId([3; 32]),
        epoch: 1,
        input: task::input_hash(&input),
        output: task::output_hash(&output),
    };
    let start = Instant::now();
    let first = prove(&model, &binding(0), &input, &output)?;
    line("digits: first proof, keys made on the way", &format!("{:.0} ms", milliseconds(start)));
    let (mut proving, mut verifying) = (Vec::new(), Vec::new());
    for nonce in 1..=10 {
        let start = Instant::now();
        let proof = prove(&model, &binding(nonce), &input, &output)?;
        proving.push(milliseconds(start));
        let start = Instant::now();
        verify(&outline, &binding(nonce), &input, &output, &proof)?;
        verifying.push(milliseconds(start));
    }
    line("digits: proof, median of 10", &format!("{:.0} ms", median(proving)));
    line("digits: verification, median of 10", &format!("{:.1} ms", median(verifying)));
    line("digits: proof size", &format!("{} B", first.len()));
    let start = Instant::now();
    let keys = compact::dev_keys(&model)?;
    line("digits: groth16 development keys", &format!("{:.0} ms", milliseconds(start)));
    let (mut proving, mut verifying, mut size) = (Vec::new(), Vec::new(), 0);
    for nonce in 1..=10 {
        let start = Instant::now();
        let proof = compact::prove(&keys, &model, &binding(nonce), &input, &output)?;
        proving.push(milliseconds(start));
        let start = Instant::now();
        compact::verify(&outline, keys.verifier_key(), &binding(nonce), &input, &output, &proof)?;
        verifying.push(milliseconds(start));
        size = proof.len();
    }
    line("digits: groth16 proof for a receipt, median of 10", &format!("{:.0} ms", median(proving)));
    line("digits: its verification, the key read anew, median of 10", &format!("{:.1} ms", median(verifying)));
    line("digits: its size", &format!("{size} B"));
    Ok(())
}

/// Heights and times at the ends of a window give the block time in it.
async fn window(client: &RpcClient) -> eyre::Result<f64> {
    let (from, start) = (client.status().await?.height, Instant::now());
    tokio::time::sleep(WINDOW).await;
    let blocks = client.status().await?.height - from;
    Ok(milliseconds(start) / blocks.max(1) as f64)
}

async fn blocks(name: &str, interval: u64) -> eyre::Result<()> {
    let mut setup = Setup::dev();
    setup.params.block_interval_ms = interval;
    setup.params.tempo = 1000;
    setup.funded = (0..SENDERS).map(|i| Keypair::from_secret([100 + i; 32])).collect();
    let senders = setup.funded.clone();
    let mut network = Network::new(setup)?;
    network.start_all()?;
    network.reach(0, 5, Duration::from_secs(60)).await?;
    let client = network.client(0)?;
    line(&format!("4 validators, {name}: block time, idle"), &format!("{:.0} ms", window(&client).await?));
    let before = money(&client, &senders).await?;
    let load = tokio::spawn(transfers(network.client(1)?, senders.clone(), network.spec.genesis_hash()));
    let under_load = window(&client).await?;
    let sent = load.await??;
    let committed = settle(&client, &senders, before, sent).await?;
    line(
        &format!("4 validators, {name}: block time under {RATE} transfers/s"),
        &format!(
            "{under_load:.0} ms ({committed} of {sent} transfers committed, {:.0}/s)",
            f64::from(sent) / WINDOW.as_secs_f64()
        ),
    );
    let memory = network.running[0].as_ref().map(Process::resident_memory).ok_or_else(|| eyre!("not running"))??;
    line(&format!("4 validators, {name}: resident memory of one, after the load"), &format!("{} MiB", memory >> 20));
    Ok(())
}

/// How many transactions the senders have had executed.
async fn money(client: &RpcClient, senders: &[Keypair]) -> eyre::Result<u64> {
    let mut executed = 0;
    for sender in senders {
        let account: serde_json::Value =
            client.call("assay_account", serde_json::json!({ "account": sender.account() })).await?;
        executed += account["nonce"].as_u64().unwrap_or(0);
    }
    Ok(executed)
}

/// Waits until everything sent is in blocks.
async fn settle(client: &RpcClient, senders: &[Keypair], before: u64, sent: u32) -> eyre::Result<u64> {
    for _ in 0..300 {
        let executed = money(client, senders).await? - before;
        if executed >= u64::from(sent) {
            return Ok(executed);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    bail!("not every transfer was committed within a minute after the load")
}

/// Sends transfers at [`RATE`] for [`WINDOW`] through one node, in nonce order for each sender.
async fn transfers(client: RpcClient, senders: Vec<Keypair>, genesis: Hash32) -> eyre::Result<u32> {
    let client = std::sync::Arc::new(client);
    let each = RATE / u32::from(SENDERS);
    let tasks = senders.into_iter().map(|key| {
        let client = client.clone();
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(1) / each);
            let start = Instant::now();
            let mut nonce = 0;
            while start.elapsed() < WINDOW {
                ticks.tick().await;
                let action = Action::Transfer { to: AccountId([9; 32]), amount: Amount(1) };
                let body = Transaction { signer: key.account(), nonce, fee: Amount(1000), action };
                client.submit(encode(&Signed::new(body, &genesis, &key))).await?;
                nonce += 1;
            }
            Ok::<u32, eyre::Report>(u32::try_from(nonce)?)
        })
    });
    let mut sent = 0;
    for task in futures::future::join_all(tasks).await {
        sent += task??;
    }
    Ok(sent)
}
