//! `assay chain-spec`: a new network's first page, and its checks.

use std::{
    fs,
    path::{Path, PathBuf},
    str::FromStr,
    time::{SystemTime, UNIX_EPOCH},
};

use assay_chain_spec::{ChainSpec, GenesisAccount, GenesisModel, GenesisSubnet, GenesisValidator, presets::Preset};
use assay_circuits::model::Model;
use assay_inference::llm::TextFiles;
use assay_primitives::{AccountId, Amount, Keypair};
use clap::{Args, Subcommand};
use eyre::{WrapErr as _, bail, ensure, eyre};
use serde_json::json;

use super::{
    files,
    global::{Global, pairs},
    zk::read_model,
};
use crate::{
    genesis_model::{GLOSS, ReceiptKey, genesis_model, genesis_text_model},
    home, keyfile,
};

/// The digit classifier, so that a network can be made from the program alone.
const DIGITS: &[u8] = include_bytes!("../../../assets/digits/digits.assay");

#[derive(Debug, Subcommand)]
pub(super) enum Spec {
    /// Write a chain spec.
    New(Box<New>),
    /// Check a chain spec and show what it says.
    Check {
        /// The chain spec.
        file: PathBuf,
    },
    /// Print a chain spec's genesis hash.
    Hash {
        /// The chain spec.
        file: PathBuf,
    },
}

#[derive(Args, Debug)]
pub(super) struct New {
    /// Parameters: `dev` (epochs of seconds) or `testnet`.
    #[arg(long, value_name = "NAME", default_value = "dev", value_parser = Preset::from_str)]
    preset: Preset,
    /// The network's name: 3 to 48 of a-z, 0-9 and -.
    #[arg(long, value_name = "NAME")]
    chain_id: String,
    /// Make keys for this many validators and for a faucet, beside the spec in `OUT.keys/`.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=150))]
    validators: u32,
    /// A validator that has its keys: a home made by `assay init`, or `OPERATOR:OWNER` accounts. Repeatable.
    #[arg(long, value_name = "HOME|OPERATOR:OWNER")]
    validator: Vec<String>,
    /// Stake of each validator.
    #[arg(long, value_name = "AMOUNT", default_value = "10000")]
    stake: Amount,
    /// Share of the delegators' dividends that validators keep, in basis points.
    #[arg(long, value_name = "BP", default_value_t = 1000)]
    take: u64,
    /// Balance of each validator's owner, which pays its fees.
    #[arg(long, value_name = "AMOUNT", default_value = "1000")]
    owner_balance: Amount,
    /// Balance of the faucet that comes with --validators.
    #[arg(long, value_name = "AMOUNT", default_value = "1000000")]
    faucet: Amount,
    /// A further balance. Repeatable.
    #[arg(long, value_name = "ACCOUNT=AMOUNT", value_parser = fund)]
    fund: Vec<(AccountId, Amount)>,
    /// Name of subnet 1.
    #[arg(long, value_name = "NAME", default_value = "digits")]
    subnet: String,
    /// A model of subnet 1: a compiled model, an ONNX file (with --calibration), or `digits` alone for the built-in
    /// digit classifier. Repeatable.
    #[arg(long, value_name = "NAME[=FILE]", default_value = "digits")]
    model: Vec<String>,
    /// A language model of subnet 2, `words`: a folder as Hugging Face has it or a GGUF file, or `gloss` alone for the
    /// built-in one. The chain keeps the hashes of its files. Repeatable.
    #[arg(long, value_name = "NAME[=PATH]")]
    text_model: Vec<String>,
    /// Sample inputs to quantise ONNX models with, as `assay zk compile` takes them.
    #[arg(long, value_name = "FILE")]
    calibration: Option<PathBuf>,
    /// The groth16 verifier's key that a ceremony gave for a model; its receipts then have 128 bytes. Repeatable. Models of
    /// the preset `dev` get keys that anybody can forge proofs for.
    #[arg(long, value_name = "NAME=FILE", value_parser = key_file)]
    groth16: Vec<(String, PathBuf)>,
    /// Another value for a parameter. Repeatable.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parameter)]
    param: Vec<(String, u64)>,
    /// Genesis time in milliseconds since the Unix epoch [default: now].
    #[arg(long, value_name = "MS")]
    genesis_time: Option<u64>,
    /// The file to write; never overwritten.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

fn fund(text: &str) -> Result<(AccountId, Amount), String> {
    let (account, amount) = text.split_once('=').ok_or("expected ACCOUNT=AMOUNT")?;
    Ok((account.parse().map_err(|e| format!("{e}"))?, amount.parse().map_err(|e| format!("{e}"))?))
}

fn key_file(text: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("expected NAME=FILE")?;
    Ok((name.to_owned(), path.into()))
}

fn parameter(text: &str) -> Result<(String, u64), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.parse().map_err(|_| format!("{value:?} is not a whole number"))?))
}

/// The accounts of a validator that has its keys.
fn known_validator(text: &str) -> eyre::Result<(AccountId, AccountId)> {
    if let Some((operator, owner)) = text.split_once(':').filter(|_| text.starts_with("asy1")) {
        return Ok((operator.parse()?, owner.parse()?));
    }
    let accounts = home::accounts(Path::new(text))
        .wrap_err_with(|| format!("--validator {text}: expected a home made by `assay init`, or OPERATOR:OWNER"))?;
    let owner =
        accounts.owner.ok_or_else(|| eyre!("--validator {text}: the home has no owner key; write OPERATOR:OWNER"))?;
    Ok((accounts.operator, owner))
}

fn model_of(global: &Global, command: &New, text: &str) -> eyre::Result<GenesisModel> {
    let (name, model) = match text.split_once('=') {
        Some((name, path)) => (name, read_model(global, Path::new(path), command.calibration.as_deref())?),
        None if text == "digits" => (text, Model::from_bytes(DIGITS)?),
        None => bail!("--model {text}: expected NAME=FILE; only `digits` is built in"),
    };
    let given = command.groth16.iter().find(|(named, _)| named == name);
    let key = match given {
        Some((_, path)) => ReceiptKey::Given(files::read(path)?),
        None if command.preset == Preset::Dev => ReceiptKey::Development,
        None => ReceiptKey::None,
    };
    genesis_model(name, &model, key).wrap_err_with(|| format!("--groth16 {name}"))
}

fn text_model_of(text: &str) -> eyre::Result<GenesisModel> {
    match text.split_once('=') {
        Some((name, path)) => Ok(genesis_text_model(name, &TextFiles::read(Path::new(path))?.model)),
        None if text == "gloss" => Ok(genesis_text_model(text, &GLOSS.committed())),
        None => bail!("--text-model {text}: expected NAME=PATH; only `gloss` is built in"),
    }
}

/// Writes the keys, then the spec that names them.
fn write(
    out: &Path,
    keys: &Path,
    spec: &ChainSpec,
    fresh: &[(Keypair, Keypair)],
    faucet: Option<&Keypair>,
) -> eyre::Result<()> {
    for (i, (operator, owner)) in fresh.iter().enumerate() {
        let folder = keys.join(format!("validator-{}", i + 1));
        keyfile::create(&folder.join("operator.json"), operator)?;
        keyfile::create(&folder.join("owner.json"), owner)?;
    }
    if let Some(faucet) = faucet {
        keyfile::create(&keys.join("faucet.json"), faucet)?;
    }
    if let Some(folder) = out.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).wrap_err_with(|| format!("cannot make {}", folder.display()))?;
    }
    home::write_new(out, spec.to_json().as_bytes(), 0o644).wrap_err_with(|| format!("cannot write {}", out.display()))
}

fn new(global: &Global, command: &New) -> eyre::Result<()> {
    let out = &command.out;
    let keys = out.with_extension("keys");
    ensure!(!out.exists(), "{} exists already and is never overwritten", out.display());
    let makes_keys = command.validators > 0;
    ensure!(!makes_keys || !keys.exists(), "{} exists already and is never overwritten", keys.display());

    let mut members = Vec::new();
    for text in &command.validator {
        members.push(known_validator(text)?);
    }
    let fresh: Vec<_> = (0..command.validators).map(|_| (keyfile::generate(), keyfile::generate())).collect();
    members.extend(fresh.iter().map(|(operator, owner)| (operator.account(), owner.account())));
    ensure!(!members.is_empty(), "a network needs validators: give --validators N, or --validator for each");

    let faucet = makes_keys.then(keyfile::generate);
    let mut accounts: Vec<GenesisAccount> = Vec::new();
    let owners = members.iter().map(|(_, owner)| (*owner, command.owner_balance));
    let funded = owners.chain(faucet.iter().map(|key| (key.account(), command.faucet)));
    for (account, balance) in funded.chain(command.fund.iter().copied()) {
        match accounts.iter_mut().find(|known| known.account == account) {
            // One owner of several validators holds the sum.
            Some(known) => {
                known.balance = known
                    .balance
                    .checked_add(balance)
                    .ok_or_else(|| eyre!("the balances of {account} exceed 2^64 grain"))?;
            }
            None => accounts.push(GenesisAccount { account, balance }),
        }
    }
    let validator = |&(operator, owner): &(AccountId, AccountId)| GenesisValidator {
        operator,
        owner,
        stake: command.stake,
        take: command.take,
    };
    let validators = members.iter().map(validator).collect();
    let models = command.model.iter().map(|text| model_of(global, command, text)).collect::<eyre::Result<Vec<_>>>()?;
    if let Some((name, _)) = command.groth16.iter().find(|(name, _)| models.iter().all(|model| model.name != *name)) {
        bail!("--groth16 {name}: no --model has that name");
    }
    let texts = command.text_model.iter().map(|text| text_model_of(text)).collect::<eyre::Result<Vec<_>>>()?;
    let mut subnets = vec![GenesisSubnet { id: 1, name: command.subnet.clone(), models }];
    if !texts.is_empty() {
        subnets.push(GenesisSubnet { id: 2, name: "words".into(), models: texts });
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).wrap_err("the clock says a time before 1970; set it")?;
    let time = command.genesis_time.unwrap_or(u64::try_from(now.as_millis())?);
    let mut spec = command.preset.spec(command.chain_id.clone(), time, accounts, validators, subnets);
    for (name, value) in &command.param {
        spec.params.set(name, *value).map_err(|e| eyre!("--param: {e}"))?;
    }
    spec.check()?;
    // What no node would start from is not written.
    assay_ledger::genesis::genesis(&spec)?;

    if let Err(error) = write(out, &keys, &spec, &fresh, faucet.as_ref()) {
        if makes_keys {
            // Keys of a network that was never written; the next try makes others.
            let _ = fs::remove_dir_all(&keys);
        }
        return Err(error);
    }

    let genesis = spec.genesis_hash();
    let value = json!({
        "chain_spec": out, "chain_id": spec.chain_id, "genesis_hash": genesis,
        "validators": members.iter().map(|(operator, owner)| json!({ "operator": operator, "owner": owner })).collect::<Vec<_>>(),
        "keys": makes_keys.then_some(&keys), "faucet": faucet.as_ref().map(|key| key.account()),
    });
    global.show(&value, || {
        let mut words = summary(&spec);
        if let Some(faucet) = &faucet {
            words += &format!(
                "faucet      {} (key {})\nkeys        {}/validator-N, for `assay init --keys`; they are secret\n",
                faucet.account(),
                keys.join("faucet.json").display(),
                keys.display()
            );
        }
        format!("wrote {}\n{words}", out.display())
    });
    Ok(())
}

fn summary(spec: &ChainSpec) -> String {
    let models: Vec<_> = spec.subnets.iter().flat_map(|s| &s.models).map(|m| format!("{} {}", m.name, m.id)).collect();
    pairs([
        ("chain", spec.chain_id.clone()),
        ("genesis", spec.genesis_hash().to_string()),
        ("validators", spec.validators.len().to_string()),
        ("supply", format!("{} ASY", spec.supply() / u128::from(assay_primitives::GRAINS_PER_ASY))),
        ("epochs of", format!("{} blocks, {} ms or more each", spec.params.tempo, spec.params.block_interval_ms)),
        ("models", if models.is_empty() { "none".into() } else { models.join(", ") }),
    ])
}

pub(super) fn run(global: &Global, command: &Spec) -> eyre::Result<()> {
    match command {
        Spec::New(command) => new(global, command),
        Spec::Check { file } => {
            let spec = home::read_spec(file)?;
            // The ledger refuses what only it can see, as a model whose bytes are not those of its id.
            assay_ledger::genesis::genesis(&spec).wrap_err_with(|| format!("{}", file.display()))?;
            let value = json!({
                "ok": true, "chain_id": spec.chain_id, "genesis_hash": spec.genesis_hash(),
                "validators": spec.validators.len(),
            });
            global.show(&value, || format!("{} is a chain spec\n{}", file.display(), summary(&spec)));
            Ok(())
        }
        Spec::Hash { file } => {
            let genesis = home::read_spec(file)?.genesis_hash();
            global.show(&json!({ "genesis_hash": genesis }), || genesis.to_string());
            Ok(())
        }
    }
}
