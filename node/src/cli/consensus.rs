//! `assay consensus`: what the ledger computes, by the same functions, on numbers from a file and without a chain.

mod aggregate;
mod yuma;

use clap::Subcommand;

use super::global::Global;

#[derive(Debug, Subcommand)]
pub(super) enum Consensus {
    /// Settle validators' scores into one.
    Aggregate(aggregate::Aggregate),
    /// Run epochs of rewards, and print what each settles.
    Yuma(yuma::Yuma),
}

pub(super) fn run(global: &Global, command: &Consensus) -> eyre::Result<()> {
    match command {
        Consensus::Aggregate(c) => aggregate::run(global, c),
        Consensus::Yuma(c) => yuma::run(global, c),
    }
}
