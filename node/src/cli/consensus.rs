//! `assay consensus`: the mechanism's own functions on a file, without a chain. What the ledger calls is called here.

mod yuma;

use clap::Subcommand;

use super::global::Global;

#[derive(Debug, Subcommand)]
pub(super) enum Consensus {
    /// Run epochs of rewards, and print what each settles.
    Yuma(yuma::Yuma),
}

pub(super) fn run(global: &Global, command: &Consensus) -> eyre::Result<()> {
    match command {
        Consensus::Yuma(c) => yuma::run(global, c),
    }
}
