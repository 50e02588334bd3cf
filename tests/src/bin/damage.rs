//! Damages the files of a killed validator and asks what becomes of it: `make damage TIMES=20`.
//!
//! Four real validators under a few transfers a second. One is killed (`kill -9`), one of its files is damaged, and it is started
//! again. Then either it comes back: at the others' height, with their blocks and states and every transaction in its place. Or
//! it ends within 90 s, non-zero, with a reason in words that names what is damaged and what to do. It hangs, it believes
//! something else, or its key signs two messages for one height and round: those are failures, and are printed with the seed.
//! The chain of the three others goes on all the time.
//!
//! What cannot come back is put back as its operator would: the data as they were before the damage, followed by `assay node run`
//! until the chain is past all that the key may have signed since, and only then the validator. The same is done after any
//! damage to the store, whose old files are not all read at once. Each kind of damage has a network of its own.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
    path::Path,
    time::{Duration, Instant},
};

use assay::rpc::{ClientError, RpcClient};
use assay_primitives::Keypair;
use assay_tests::{
    Network, Process, Setup,
    faults::{Clients, Damage, History, Signatures},
    until_stopped,
};
use clap::{Parser, ValueEnum as _};
use eyre::{WrapErr as _, bail, ensure, eyre};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Damages the files of a killed validator.
#[derive(Clone, Debug, Parser)]
struct Options {
    /// How often each kind.
    #[arg(long, default_value_t = 20)]
    times: u32,
    /// Where moments and places are drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only this kind of damage.
    #[arg(long, value_name = "KIND")]
    only: Option<Damage>,
}

const VALIDATORS: usize = 4;
/// The one whose files are damaged.
const ILL: usize = 3;
/// Clients, and transfers a second of each.
const CLIENTS: u8 = 4;
const EACH: u32 = 1;
/// A damaged validator has come back or ended.
const LIMIT: Duration = Duration::from_secs(90);
/// Everybody else has done what is expected.
const LEVEL: Duration = Duration::from_secs(60);
/// How long an answer to a question about its height may take.
const ANSWER: Duration = Duration::from_secs(5);
/// Blocks above the others' tip that it must reach: it takes part again.
const FURTHER: u64 = 6;
/// The key may have signed for so many heights above the others' tip, at most.
const AHEAD: u64 = 3;
/// Words that tell an operator what to do.
const ADVICE: [&str; 10] = ["restore", "move", "let", "keep", "check", "stop", "restart", "sync", "update", "delete"];

/// What became of it.
enum Outcome {
    Back,
    /// What it said.
    Ended(String),
    /// What is wrong.
    Failed(String),
}

/// What became of all of one kind.
#[derive(Default)]
struct Tally {
    times: u32,
    back: u32,
    /// How often it ended with these words.
    ended: BTreeMap<String, u32>,
    failures: Vec<String>,
}

impl Tally {
    fn row(&self, kind: Damage) -> String {
        let typical = self.ended.iter().max_by_key(|(_, times)| **times).map_or("", |(words, _)| words.as_str());
        format!(
            "| {} | {} | {} | {} | {} | {typical} |",
            kind.name(),
            self.times,
            self.back,
            self.ended.values().sum::<u32>(),
            self.failures.len()
        )
    }
}

#[tokio::main]
async fn main() -> eyre::Result<()> {
    until_stopped(run(Options::parse())).await
}

async fn run(options: Options) -> eyre::Result<()> {
    let kinds = options.only.map_or_else(|| Damage::value_variants().to_vec(), |kind| vec![kind]);
    println!("| damage | times | came back | ended with words | failed | typical words |\n|---|---|---|---|---|---|");
    let mut failures = Vec::new();
    for kind in kinds {
        let context = || format!("seed {}, {}", options.seed, kind.name());
        let tally = trials(kind, &options).await.wrap_err_with(context)?;
        println!("{}", tally.row(kind));
        failures.extend(tally.failures.into_iter().map(|failure| format!("{}, {failure}", context())));
    }
    for failure in &failures {
        println!("\n{failure}");
    }
    ensure!(failures.is_empty(), "{} times it neither came back nor ended with a reason; see above", failures.len());
    Ok(())
}

/// All times of one kind, on a network of their own.
async fn trials(kind: Damage, options: &Options) -> eyre::Result<Tally> {
    let mut random = ChaCha8Rng::seed_from_u64(options.seed);
    // The same with or without the other kinds.
    random.set_stream(kind as u64);
    let mut setup = Setup::dev();
    setup.log = format!("info,{}=debug", assay_consensus::bft::SIGNED);
    setup.funded = (0..CLIENTS).map(|i| Keypair::from_secret([100 + i; 32])).collect();
    let keys = setup.funded.clone();
    let mut network = Network::new(setup)?;
    network.start_all()?;
    for i in 0..VALIDATORS {
        network.reach(i, 3, LEVEL).await?;
    }
    let urls: Vec<String> = network.homes.iter().map(|home| format!("http://{}", home.rpc_address())).collect();
    let clients = Clients::start(keys, &urls, network.spec.genesis_hash(), EACH)?;
    // A database that was opened before has tables, not a log alone.
    kill(&mut network)?;
    network.start(ILL)?;
    let top = highest(&network).await?;
    network.reach(ILL, top, LEVEL).await?;

    let (mut tally, mut convicted, kept) = (Tally::default(), false, tempfile::tempdir()?);
    for time in 1..=options.times {
        let data = kept.path().join(time.to_string());
        let (did, outcome) = trial(&mut network, kind, &data, &mut random).await?;
        tally.times += 1;
        let said = match &outcome {
            Outcome::Back => "came back".to_owned(),
            Outcome::Ended(words) => format!("ended: {words}"),
            Outcome::Failed(why) => format!("FAILED: {why}"),
        };
        eprintln!("{} {time}: {did}; {said}", kind.name());
        let came_back = matches!(outcome, Outcome::Back);
        match outcome {
            Outcome::Back => tally.back += 1,
            Outcome::Ended(words) => *tally.ended.entry(words).or_default() += 1,
            Outcome::Failed(why) => tally.failures.push(format!("time {time}: {did}; {why}")),
        }
        if let Err(twice) = Signatures::read(&network.log(ILL)) {
            tally.failures.push(format!("time {time}: {did}; double signature: {twice:#}"));
            // The others convict it: it is no validator any more.
            convicted = true;
            break;
        }
        if !came_back || kind.lasts() {
            put_back(&mut network, &data).await.wrap_err_with(|| format!("putting it back, time {time}: {did}"))?;
        }
        fs::remove_dir_all(&data)?;
    }
    let told = clients.finish().await?;
    let top = highest(&network).await?;
    let mut histories: Vec<History> = Vec::new();
    for i in 0..VALIDATORS {
        network.reach(i, top, LEVEL).await?;
        let history = History::read(&network.client(i)?, top).await.wrap_err_with(|| format!("validator {}", i + 1))?;
        history.holds(&told).wrap_err_with(|| format!("validator {}", i + 1))?;
        if i != ILL || !convicted {
            Signatures::read(&network.log(i)).wrap_err_with(|| format!("validator {}", i + 1))?;
        }
        if let Some(first) = histories.first() {
            first.agrees(&history).wrap_err_with(|| format!("validators 1 and {}", i + 1))?;
        }
        histories.push(history);
    }
    Ok(tally)
}

/// Kills, damages, starts and judges, once; what was done and what became of it. Its data of before the damage are in `data`.
async fn trial(
    network: &mut Network,
    kind: Damage,
    data: &Path,
    random: &mut ChaCha8Rng,
) -> eyre::Result<(String, Outcome)> {
    tokio::time::sleep(Duration::from_millis(random.gen_range(500..3000))).await;
    if let Some(status) = ill(network)?.ended()? {
        bail!("after it had come back it ended with {status}; its log ends:\n{}", ill(network)?.tail());
    }
    kill(network)?;
    copy(&network.homes[ILL].data_dir(), data)?;
    let did = kind.apply(&network.homes[ILL], random)?;
    let before = highest(network).await?;
    let from = fs::metadata(network.log(ILL))?.len();
    network.start(ILL)?;
    let outcome = judge(network, kind, from).await.wrap_err_with(|| did.clone())?;
    network.reach(0, before + FURTHER, LEVEL).await.wrap_err("the chain of the other three stands")?;
    for (i, process) in network.running.iter_mut().enumerate().filter(|(i, _)| *i != ILL) {
        let process = process.as_mut().ok_or_else(|| eyre!("validator {} is not running", i + 1))?;
        if let Some(status) = process.ended()? {
            bail!("validator {} ended by itself with {status}; its log ends:\n{}", i + 1, process.tail());
        }
    }
    Ok((did, outcome))
}

fn ill(network: &mut Network) -> eyre::Result<&mut Process> {
    network.running[ILL].as_mut().ok_or_else(|| eyre!("the validator is not running"))
}

fn kill(network: &mut Network) -> eyre::Result<()> {
    network.running[ILL].take().ok_or_else(|| eyre!("the validator is not running"))?.kill()
}

/// The others' tip.
async fn highest(network: &Network) -> eyre::Result<u64> {
    let mut top = 0;
    for i in (0..VALIDATORS).filter(|i| *i != ILL) {
        top = top.max(network.client(i)?.status().await?.height);
    }
    Ok(top)
}

/// Waits until it has come back or ended. `from` is where its log of this run begins.
async fn judge(network: &mut Network, kind: Damage, from: u64) -> eyre::Result<Outcome> {
    let (other, client) = (network.client(0)?, network.client(ILL)?);
    let goal = highest(network).await? + FURTHER;
    let (began, mut seen) = (Instant::now(), "it never answered".to_owned());
    while began.elapsed() < LIMIT {
        if let Some(status) = ill(network)?.ended()? {
            let log = read_from(&network.log(ILL), from)?;
            let home = network.homes[ILL].dir.display().to_string();
            return Ok(ended(kind, &status, &log, &home));
        }
        match tokio::time::timeout(ANSWER, client.status()).await {
            Ok(Ok(status)) if status.height >= goal => {
                network.reach(0, goal, LEVEL).await?;
                match holds(&other, &client, goal).await? {
                    Held::All => return Ok(Outcome::Back),
                    // It may be about to end for the same reason.
                    Held::Silent(why) => seen = format!("it says that it is at height {}, and {why}", status.height),
                    Held::Lies(why) => {
                        return Ok(Outcome::Failed(format!(
                            "it says that it is at height {}, and {why}",
                            status.height
                        )));
                    }
                }
            }
            Ok(Ok(status)) => seen = format!("at height {} of {goal}: {:?}", status.height, status.reason),
            Ok(Err(e)) => seen = e.to_string(),
            Err(_) => seen = format!("no answer within {ANSWER:?}"),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let tail = ill(network)?.tail();
    Ok(Outcome::Failed(format!("it still runs after {LIMIT:?}: {seen}; its log ends:\n{tail}")))
}

/// Whether a node has all that another one has.
enum Held {
    All,
    /// It does not say.
    Silent(String),
    /// It says something else.
    Lies(String),
}

/// Compares all blocks, states and places of transactions up to a height.
async fn holds(other: &RpcClient, client: &RpcClient, height: u64) -> eyre::Result<Held> {
    let history = History::read(other, height).await?;
    let compared = async {
        history.agrees(&History::read(client, height).await?)?;
        history.found_by(client).await
    };
    Ok(match compared.await {
        Ok(()) => Held::All,
        Err(e) if e.downcast_ref::<ClientError>().is_some_and(|e| !e.is_not_found()) => Held::Silent(format!("{e:#}")),
        Err(e) => Held::Lies(format!("{e:#}")),
    })
}

/// What a process printed since its log had so many bytes.
fn read_from(log: &Path, from: u64) -> eyre::Result<String> {
    let (mut file, mut bytes) = (File::open(log)?, Vec::new());
    file.seek(SeekFrom::Start(from))?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Judges the end of a process by its status and its last words.
fn ended(kind: Damage, status: &str, log: &str, home: &str) -> Outcome {
    let Some(words) = log.lines().rev().find_map(|line| line.strip_prefix("error: ")) else {
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(30)..].join("\n");
        return Outcome::Failed(format!("it ended with {status} and no reason; its log ends:\n{tail}"));
    };
    let (thing, names) = kind.thing();
    let lower = words.to_lowercase();
    let said: Vec<&str> = lower.split(|c: char| !c.is_ascii_alphabetic()).collect();
    let tells = |expected: &[&str]| expected.iter().any(|word| said.contains(word));
    let wrong = if !status.starts_with("exit status: ") || status == "exit status: 0" {
        "its status is no failure of its own"
    } else if lower.contains("in use by another process") {
        "nobody else uses it"
    } else if !tells(names) {
        "its reason does not name what is damaged"
    } else if !tells(&ADVICE) {
        "its reason does not say what to do"
    } else {
        return Outcome::Ended(typical(words, home));
    };
    Outcome::Failed(format!("it ended with {status}, and {wrong} ({thing}): {words}"))
}

/// Words without what differs from time to time: the folder, and numbers.
fn typical(words: &str, home: &str) -> String {
    let mut plain = String::new();
    for c in words.replace(home, "HOME").replace('|', "/").chars() {
        let c = if c.is_ascii_digit() { '#' } else { c };
        if c != '#' || !plain.ends_with('#') {
            plain.push(c);
        }
    }
    plain
}

/// Puts back the data of before the damage. They know nothing of what the key has signed since: the node follows the chain without
/// signing until that is past.
async fn put_back(network: &mut Network, data: &Path) -> eyre::Result<()> {
    // Ended already, perhaps.
    drop(network.running[ILL].take());
    let place = network.homes[ILL].data_dir();
    fs::remove_dir_all(&place)?;
    copy(data, &place)?;
    let past = highest(network).await? + AHEAD;
    let home = network.homes[ILL].dir.display().to_string();
    let follower = Process::start(&["node", "run", "--home", &home], &network.log(ILL))?;
    network.running[ILL] = Some(follower);
    network.reach(ILL, past, LEVEL).await.wrap_err("following the chain")?;
    kill(network)?;
    network.start(ILL)?;
    network.reach(ILL, past + 2, LEVEL).await
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) -> eyre::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let place = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &place)?;
        } else {
            fs::copy(entry.path(), place)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(kind: Damage, status: &str, reason: &str) -> Result<String, String> {
        match ended(kind, status, &format!("INFO opened\nerror: {reason}\n"), "/tmp/v4") {
            Outcome::Ended(words) => Ok(words),
            Outcome::Failed(why) => Err(why),
            Outcome::Back => Err("back".into()),
        }
    }

    #[test]
    fn an_end_counts_if_it_fails_names_what_is_damaged_and_says_what_to_do() {
        let words =
            "the store at /tmp/v4/data/store is damaged: checksum of 000012.sst | 77; move this one folder away";
        let typical = "the store at HOME/data/store is damaged: checksum of #.sst / #; move this one folder away";
        assert_eq!(judged(Damage::StoreTableCut, "exit status: 1", words), Ok(typical.to_owned()));
        for (kind, status, reason) in [
            (Damage::StoreTableCut, "exit status: 0", words),
            (Damage::StoreTableCut, "signal: 6 (SIGABRT) (core dumped)", words),
            (Damage::MarkFlip, "exit status: 1", words),
            (
                Damage::StoreTableCut,
                "exit status: 1",
                "the store at /x is in use by another process; stop that one first",
            ),
            // A checksum is no advice to check something.
            (Damage::StoreTableCut, "exit status: 1", "the store failed while reading: bad checksum, stored 5"),
        ] {
            assert!(judged(kind, status, reason).is_err(), "{kind:?} {status} {reason}");
        }
        assert!(matches!(ended(Damage::LogCut, "exit status: 1", "INFO opened\n", "/x"), Outcome::Failed(_)));
    }
}
