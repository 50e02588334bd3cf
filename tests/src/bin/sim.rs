//! Runs the simulator over seeds, on every core: `make sim SEEDS=2000`.
//!
//! Each seed runs in a process of its own. Exits non-zero if one violates an invariant, with the command that runs it again.

use std::{
    collections::BTreeMap,
    process::{Command, ExitCode, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use assay_tests::sim::{Plan, Report, run};
use clap::Parser;
use eyre::{WrapErr as _, bail, eyre};

/// Runs seeds of the simulator.
#[derive(Clone, Debug, Parser)]
struct Options {
    /// How many seeds.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// The first one.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Validators.
    #[arg(long, default_value_t = 4)]
    nodes: u8,
    /// Heights of each run.
    #[arg(long, default_value_t = 50)]
    heights: u64,
    /// Nobody lies: machines and links fail, and that is all.
    #[arg(long)]
    honest: bool,
    /// Runs at once; as many as there are cores if it is not given.
    #[arg(long)]
    jobs: Option<usize>,
    /// Runs this one seed in this process, with its report as JSON on standard output. RUST_LOG shows what nodes log.
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match options.seed {
        Some(seed) => one(seed, &options),
        None => many(&options),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a seed here. Whether everything held.
fn one(seed: u64, options: &Options) -> eyre::Result<bool> {
    if std::env::var_os("RUST_LOG").is_some() {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
    let report = run(Plan { seed, nodes: options.nodes, heights: options.heights, honest: options.honest })?;
    println!("{}", serde_json::to_string(&report)?);
    Ok(report.violation.is_none())
}

/// The command that runs a seed again.
fn replay(seed: u64, options: &Options) -> Vec<String> {
    let Options { nodes, heights, honest, .. } = options;
    let honest = if *honest { " --honest" } else { "" };
    let text = format!("--seed {seed} --nodes {nodes} --heights {heights}{honest}");
    text.split(' ').map(String::from).collect()
}

/// Runs a seed in a process of its own.
fn apart(seed: u64, options: &Options) -> eyre::Result<Report> {
    let own = std::env::current_exe()?;
    let output = Command::new(own).args(replay(seed, options)).stderr(Stdio::piped()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.lines().last().map(serde_json::from_str) {
        Some(Ok(report)) => Ok(report),
        _ => bail!("no report ({}): {}", output.status, String::from_utf8_lossy(&output.stderr)),
    }
}

/// What a number of runs had.
#[derive(Default)]
struct Sums {
    runs: u64,
    heights: u64,
    transactions: u64,
    failures: u64,
    partitions: u64,
    refusals: u64,
    sent: u64,
    lost: u64,
    virtual_ms: u64,
    slowest_healed_ms: u64,
    highest_round: u32,
    evils: BTreeMap<String, u64>,
    checks: BTreeMap<String, u64>,
    bad: Vec<(u64, String)>,
}

impl Sums {
    fn add(&mut self, seed: u64, outcome: eyre::Result<Report>) {
        let report = match outcome {
            Ok(report) => report,
            Err(e) => return self.bad.push((seed, format!("{e:#}"))),
        };
        self.runs += 1;
        self.heights += report.height;
        self.transactions += report.transactions;
        self.failures += report.failures;
        self.partitions += report.partitions;
        self.refusals += report.refusals;
        self.sent += report.sent;
        self.lost += report.lost;
        self.virtual_ms += report.virtual_ms;
        self.slowest_healed_ms = self.slowest_healed_ms.max(report.healed_ms);
        self.highest_round = self.highest_round.max(report.highest_round);
        *self.evils.entry(report.evil).or_default() += 1;
        for (name, count) in report.checks {
            *self.checks.entry(name).or_default() += count;
        }
        if let Some(violation) = report.violation {
            self.bad.push((seed, violation));
        }
    }

    fn show(&self, took: Duration, options: &Options) {
        let Self { runs, heights, transactions, failures, partitions, refusals, sent, lost, .. } = self;
        println!(
            "{runs} seeds of {} nodes x {} heights in {:.1} s: {:.2} seeds/s",
            options.nodes,
            options.heights,
            took.as_secs_f64(),
            *runs as f64 / took.as_secs_f64()
        );
        println!(
            "{heights} heights, {transactions} transactions, {failures} failures of machines, {partitions} cuts of links"
        );
        println!(
            "{refusals} times a node stopped rather than sign what its watermark forbids, and followed for a while"
        );
        println!(
            "{sent} messages, {lost} lost; {:.1} virtual hours; highest deciding round {}; slowest recovery {:.1} s",
            self.virtual_ms as f64 / 3.6e6,
            self.highest_round,
            self.slowest_healed_ms as f64 / 1e3
        );
        let evils: Vec<String> = self.evils.iter().map(|(name, runs)| format!("{name} {runs}")).collect();
        println!("who lied, in runs: {}", evils.join(", "));
        println!("invariants checked:");
        for (name, count) in &self.checks {
            println!("  {name:<18} {count:>10}");
        }
        for (seed, reason) in &self.bad {
            println!("seed {seed}: {reason}");
            let own = std::env::current_exe().unwrap_or_else(|_| "sim".into());
            println!("  again: {} {}", own.display(), replay(*seed, options).join(" "));
        }
    }
}

/// Runs all seeds. Whether everything held in each.
fn many(options: &Options) -> eyre::Result<bool> {
    let jobs = match options.jobs {
        Some(jobs) => jobs.max(1),
        None => thread::available_parallelism().map(usize::from).wrap_err("how many cores are there?")?,
    };
    let end = options.from.checked_add(options.seeds).ok_or_else(|| eyre!("seeds are numbered below 2^64"))?;
    let (next, sums, began) = (AtomicU64::new(options.from), Mutex::new(Sums::default()), Instant::now());
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        break;
                    }
                    let outcome = apart(seed, options);
                    sums.lock().unwrap_or_else(PoisonError::into_inner).add(seed, outcome);
                }
            });
        }
    });
    let mut sums = sums.into_inner().unwrap_or_else(PoisonError::into_inner);
    sums.bad.sort();
    sums.show(began.elapsed(), options);
    Ok(sums.bad.is_empty())
}
