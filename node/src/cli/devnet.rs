//! `assay devnet`: the arguments; the network itself is [`crate::devnet`].

use std::{fmt, path::PathBuf};

use clap::{Args, ValueEnum};

use super::global::Global;

/// A miner that does not play by the rules, and loses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Adversary {
    /// Answers a constant.
    Lazy,
    /// Alters the output after proving, or replays another task's proof.
    Tamper,
    /// Relays another miner's answer.
    Copy,
}

impl fmt::Display for Adversary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Adversary::Lazy => "lazy",
            Adversary::Tamper => "tamper",
            Adversary::Copy => "copy",
        })
    }
}

/// What a devnet is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevnetArgs {
    /// Epochs to settle before it ends by itself; `None` runs until interrupted.
    pub epochs: Option<u64>,
    /// One miner for each.
    pub adversaries: Vec<Adversary>,
    /// Validators.
    pub validators: u32,
    /// Honest miners.
    pub miners: u32,
    /// Honest miners of texts.
    pub text_miners: u32,
    /// First of the ports, taken upwards.
    pub base_port: u16,
    /// Where state is kept; `None` for a temporary folder.
    pub home: Option<PathBuf>,
    /// One JSON object on stdout at the end, and nothing else there.
    pub json: bool,
    /// No progress on stderr.
    pub quiet: bool,
}

#[derive(Args, Debug)]
pub(super) struct Devnet {
    /// Stop after this many settled epochs; without it, run until interrupted.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    epochs: Option<u64>,
    /// Miners that cheat, each kind once; an empty list for none.
    #[arg(long, value_name = "LIST", default_value = "lazy,tamper", value_parser = adversaries)]
    adversaries: AdversaryList,
    /// Number of validators.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=16))]
    validators: u32,
    /// Number of honest miners.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=16))]
    miners: u32,
    /// Number of honest miners that serve the language model.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=16))]
    text_miners: u32,
    /// First port; each node takes four from here on.
    #[arg(long, value_name = "PORT", default_value_t = 26000, value_parser = clap::value_parser!(u16).range(1024..))]
    base_port: u16,
}

/// A parsed list; its own type because clap takes a `Vec` for a repeated flag.
#[derive(Clone, Debug)]
struct AdversaryList(Vec<Adversary>);

fn adversaries(text: &str) -> Result<AdversaryList, String> {
    let mut list = Vec::new();
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let kind = Adversary::from_str(word, false)
            .map_err(|_| format!("there is no adversary {word:?}; expected lazy, tamper or copy"))?;
        if list.contains(&kind) {
            return Err(format!("{word} is given twice"));
        }
        list.push(kind);
    }
    Ok(AdversaryList(list))
}

impl Devnet {
    pub(super) fn args(&self, global: &Global) -> DevnetArgs {
        DevnetArgs {
            epochs: self.epochs,
            adversaries: self.adversaries.0.clone(),
            validators: self.validators,
            miners: self.miners,
            text_miners: self.text_miners,
            base_port: self.base_port,
            // Only what is said here: a devnet must not settle in somebody's ASSAY_HOME.
            home: global.home.clone(),
            json: global.json,
            quiet: global.quiet,
        }
    }
}

pub(super) async fn run(global: &Global, command: &Devnet) -> eyre::Result<()> {
    super::roles::install_log("off,assay=warn,assay_consensus=warn", global)?;
    assay_inference::background::share();
    crate::devnet::run(command.args(global)).await
}
