//! `assay consensus yuma`: a subnet from a file, epoch by epoch.

mod scenario;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt::Display, path::PathBuf};

use assay_consensus::rewards::{Output, Row, to_u16};
use clap::Args;
use eyre::WrapErr as _;
use serde::{Serialize, Serializer, ser::SerializeMap as _};

use super::super::{
    files,
    global::{Global, table},
};
use scenario::Scenario;

/// Larger files are no scenarios.
const MAX_BYTES: u64 = 1 << 28;

#[derive(Args, Debug)]
pub(in crate::cli) struct Yuma {
    /// The scenario as JSON, `-` for stdin: `params` and `steps`, or `params` and `weights_by_epoch`.
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
}

pub(super) fn run(global: &Global, command: &Yuma) -> eyre::Result<()> {
    let bytes = files::read_or_stdin(&command.input, MAX_BYTES)?;
    let file = || format!("{}", command.input.display());
    let steps = Scenario::read(&bytes).wrap_err_with(file)?.run().wrap_err_with(file)?;
    let settled = Settled { steps: steps.iter().map(Step::new).collect() };
    global.stream(&settled, || steps.iter().map(words).collect::<Vec<_>>().join("\n\n"));
    Ok(())
}

/// An epoch that a scenario ran.
struct Epoch {
    block: u64,
    /// Weights of each uid as they are stored, in 65535ths of the row's largest.
    weights: Vec<Row<u16>>,
    output: Output,
}

/// All epochs, as JSON shows them.
#[derive(Serialize)]
struct Settled<'a> {
    steps: Vec<Step<'a>>,
}

/// One epoch: proportions in 16 bits as upstream stores them, and as decimals, exact to `2^-32`.
#[derive(Serialize)]
struct Step<'a> {
    block: u64,
    consensus_u16: Vec<u16>,
    incentive_u16: Vec<u16>,
    dividends_u16: Vec<u16>,
    validator_trust_u16: Vec<u16>,
    consensus: Vec<f64>,
    incentive: Vec<f64>,
    dividends: Vec<f64>,
    server_emission: &'a [u64],
    validator_emission: &'a [u64],
    emission: &'a [u64],
    remainder: u64,
    bonds_u16: Bonds<'a>,
    stored_weights: BTreeMap<usize, BTreeMap<u16, u16>>,
}

impl<'a> Step<'a> {
    fn new(epoch: &'a Epoch) -> Self {
        let output = &epoch.output;
        let in_u16 = |shares: &[_]| shares.iter().map(|share| to_u16(*share)).collect();
        let rows = epoch.weights.iter().enumerate().filter(|(_, row)| !row.is_empty());
        Self {
            block: epoch.block,
            consensus_u16: in_u16(&output.consensus),
            incentive_u16: in_u16(&output.incentive),
            dividends_u16: in_u16(&output.dividends),
            validator_trust_u16: in_u16(&output.validator_trust),
            consensus: output.consensus.iter().map(|share| share.to_num()).collect(),
            incentive: output.incentive.iter().map(|share| share.to_num()).collect(),
            dividends: output.dividends.iter().map(|share| share.to_num()).collect(),
            server_emission: &output.server_emission,
            validator_emission: &output.validator_emission,
            emission: &output.combined_emission,
            remainder: output.remainder,
            bonds_u16: Bonds(&output.bonds),
            stored_weights: rows.map(|(i, row)| (i, row.iter().copied().collect())).collect(),
        }
    }
}

/// Every bond, zeros too: `{"0": {"0": bond, "1": bond, ...}, ...}`, by validator and then by miner.
struct Bonds<'a>(&'a [Row<u16>]);

/// One row of [`Bonds`] and how many entries it has written out.
struct BondsOf<'a>(&'a Row<u16>, usize);

impl Serialize for Bonds<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let uids = self.0.len();
        serializer.collect_map(self.0.iter().map(|row| BondsOf(row, uids)).enumerate())
    }
}

impl Serialize for BondsOf<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.1))?;
        let mut held = self.0.iter().peekable();
        for j in 0..self.1 {
            let bond = held.next_if(|(miner, _)| usize::from(*miner) == j).map_or(0, |(_, bond)| *bond);
            map.serialize_entry(&j, &bond)?;
        }
        map.end()
    }
}

fn share(share: impl Display) -> String {
    format!("{share:.6}")
}

/// An epoch for people.
fn words(epoch: &Epoch) -> String {
    let output = &epoch.output;
    let rows = (0..output.stake.len()).map(|uid| {
        [
            uid.to_string(),
            share(output.stake[uid]),
            share(output.consensus[uid]),
            share(output.incentive[uid]),
            share(output.dividends[uid]),
            share(output.validator_trust[uid]),
            output.server_emission[uid].to_string(),
            output.validator_emission[uid].to_string(),
            output.bonds[uid].iter().map(|(j, bond)| format!("{j}: {bond}")).collect::<Vec<_>>().join(", "),
        ]
    });
    let header =
        ["uid", "active stake", "consensus", "incentive", "dividends", "trust", "as miner", "as validator", "bonds"];
    format!("block {}, {} grain left\n{}", epoch.block, output.remainder, table(header, rows))
}
