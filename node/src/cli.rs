//! The command line: one verb for each thing a person does with the network. `docs/cli.md` describes it all.
//!
//! ```text
//! arguments ──clap──> Command ──┬─ a home on this disk        init, check, roles, wallet, chain-spec, verify, zk
//!                               ├─ a file, no network        consensus
//!                               └─ RpcClient ──> a node       status, query, stake, gov, infer, …
//! result ──> a table for people, or with --json one JSON value on stdout
//! ```
//!
//! stdout carries the result and nothing else; progress, questions and errors go to stderr. Exit status: 0 done,
//! 1 failed, 2 wrong usage; with `--json` the error is `{"error": {"message"}}` on stderr.

mod batch;
mod check;
mod consensus;
mod devnet;
mod explain;
mod files;
mod global;
mod gov;
mod infer;
mod init;
pub(crate) mod keys;
mod model;
mod query;
mod roles;
mod send;
mod serve;
mod simulate;
mod spec;
mod stake;
mod subnet;
mod train;
mod wallet;
mod zk;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use serde_json::json;

pub use devnet::{Adversary, DevnetArgs};

use global::Global;

/// The exit status of wrong usage, as clap has it.
const WRONG_USAGE: u8 = 2;

/// Assay: a network whose miners serve AI models and prove what they ran, and whose validators score and pay them.
#[derive(Debug, Parser)]
#[command(name = "assay", version, propagate_version = true, max_term_width = 120)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a whole network on this machine.
    Devnet(devnet::Devnet),
    /// Make a home for a node: keys, chain spec and settings.
    Init(init::Init),
    /// Check that this machine and home are ready to run.
    Check(check::Preflight),
    /// Run, register or retire a miner.
    #[command(subcommand)]
    Miner(roles::Miner),
    /// Run or register a validator.
    #[command(subcommand)]
    Validator(roles::Validator),
    /// Run a gateway, and say who may ask it.
    #[command(subcommand)]
    Gateway(roles::Gateway),
    /// Run a node that follows the chain.
    #[command(subcommand)]
    Node(roles::Runner),
    /// Keys, balances, payments and signed messages.
    #[command(subcommand)]
    Wallet(wallet::Wallet),
    /// Stake with validators.
    #[command(subcommand)]
    Stake(stake::Stake),
    /// Subnets, their members and the network's parameters.
    #[command(subcommand)]
    Subnet(subnet::Subnet),
    /// Proposals and votes.
    #[command(subcommand)]
    Gov(gov::Gov),
    /// Registered models.
    #[command(subcommand)]
    Model(model::Model),
    /// Compile, run, prove and verify models on this machine.
    #[command(subcommand)]
    Zk(zk::Zk),
    /// Compute what the ledger computes, on numbers from a file.
    #[command(subcommand)]
    Consensus(consensus::Consensus),
    /// Ask a miner for an inference, check the answer and keep the receipt.
    Infer(infer::Infer),
    /// Check a receipt offline, knowing only the genesis hash.
    Verify(infer::Verify),
    /// Show each number behind what an account earned in an epoch.
    Explain(explain::Explain),
    /// Make and check chain specs.
    #[command(subcommand)]
    ChainSpec(spec::Spec),
    /// Blocks, transactions, accounts and proofs.
    #[command(subcommand)]
    Query(query::Query),
    /// Serve models on this machine by the OpenAI API, without a chain.
    Serve(serve::Serve),
    /// Talk to a language model on this machine.
    Run(serve::Run),
    /// Train models on this machine.
    #[command(subcommand)]
    Train(train::Train),
    /// Play attacks on the real ledger and see whether they pay.
    Simulate(simulate::Simulate),
    /// How a node is.
    Status,
}

/// Runs the program on the process's arguments.
pub fn main() -> ExitCode {
    // clap prints by itself and ends the process: wrong usage, --help and --version.
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") => {
            let text = error.to_string();
            let message = text.trim_start_matches("error: ").trim_end();
            let _ = writeln!(io::stderr(), "{}", json!({ "error": { "message": message } }));
            return ExitCode::from(WRONG_USAGE);
        }
        Err(error) => error.exit(),
    };
    crate::web::raise_files();
    let workers = workers(&cli.command);
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return cli.global.failed(&error.into()),
    };
    match runtime.block_on(run(&cli)) {
        Ok(true) => ExitCode::SUCCESS,
        // What was found wrong stands in the result.
        Ok(false) => ExitCode::FAILURE,
        Err(error) => cli.global.failed(&error),
    }
}

/// Threads for what waits on others. Those of one node are half as many as there are cores: its computing threads take what time
/// there is, and fewer that answer wake each other less (a tenth more answers by two miners and a gateway on two cores).
fn workers(command: &Command) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    match command {
        Command::Miner(_) | Command::Validator(_) | Command::Gateway(_) | Command::Node(_) | Command::Serve(_) => {
            cores.div_ceil(2)
        }
        _ => cores,
    }
}

/// `Ok(false)`: the work was done and its result is bad news, already printed.
async fn run(cli: &Cli) -> eyre::Result<bool> {
    let global = &cli.global;
    match &cli.command {
        Command::Devnet(c) => devnet::run(global, c).await?,
        Command::Init(c) => init::run(global, c)?,
        Command::Check(c) => return check::run(global, c).await,
        Command::Miner(c) => roles::miner(global, c).await?,
        Command::Validator(c) => roles::validator(global, c).await?,
        Command::Gateway(c) => roles::gateway(global, c).await?,
        Command::Node(c) => roles::runner(global, c, crate::home::Role::Node).await?,
        Command::Wallet(c) => return wallet::run(global, c).await,
        Command::Stake(c) => stake::run(global, c).await?,
        Command::Subnet(c) => subnet::run(global, c).await?,
        Command::Gov(c) => gov::run(global, c).await?,
        Command::Model(c) => return model::run(global, c).await,
        Command::Zk(c) => return zk::run(global, c),
        Command::Consensus(c) => consensus::run(global, c)?,
        Command::Infer(c) => return infer::infer(global, c).await,
        Command::Verify(c) => return infer::verify(global, c),
        Command::Explain(c) => explain::run(global, c).await?,
        Command::ChainSpec(c) => spec::run(global, c)?,
        Command::Query(c) => query::run(global, c).await?,
        Command::Serve(c) => serve::serve(global, c).await?,
        Command::Run(c) => serve::run(global, c).await?,
        Command::Train(c) => train::run(global, c)?,
        Command::Simulate(c) => return simulate::run(global, c),
        Command::Status => query::status(global).await?,
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
