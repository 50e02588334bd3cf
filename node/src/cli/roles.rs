//! `miner`, `validator`, `gateway`, `node`: running a home's node, and registering its keys.

use assay_ledger::{
    records::Tariff,
    tx::{Action, Consent},
};
use assay_primitives::{AccountId, Amount, Signature, task::SubnetId};
use clap::{Args, Subcommand};
use eyre::{WrapErr as _, bail};
use serde_json::{Value, json};
use tracing_subscriber::EnvFilter;

use super::{
    global::{Global, table},
    keys,
    send::Sending,
    subnet,
};
use crate::{
    home::{Home, Role},
    openai::{self, network::Account},
};

#[derive(Debug, Subcommand)]
pub(super) enum Runner {
    /// Run it from its home until interrupted.
    Run,
}

#[derive(Debug, Subcommand)]
pub(super) enum Gateway {
    /// Run the gateway of a home until interrupted.
    Run,
    /// Keys of its OpenAI API.
    #[command(subcommand)]
    Key(keys::Keys),
    /// What each key has used, today and ever.
    Usage(keys::Where),
    /// What the gateway of a home was billed by each miner, and what it has paid.
    Bills,
}

#[derive(Debug, Subcommand)]
pub(super) enum Miner {
    /// Run the miner of a home until interrupted.
    Run,
    /// Register the miner of a home: its owner locks the bond and burns the price of a registration.
    Register(RegisterMiner),
    /// Say what the texts of a home's miner cost, from the next epoch on.
    Tariff(SetTariff),
    /// Take the miner of a home out; its bond comes back after the unbonding time.
    Retire(Sending),
}

#[derive(Args, Debug)]
pub(super) struct RegisterMiner {
    /// The subnet to serve.
    #[arg(long, value_name = "ID", default_value_t = 1)]
    subnet: SubnetId,
    /// The most to burn, like `5` (ASY): the price rises with every registration [default: twice the price now].
    #[arg(long, value_name = "AMOUNT")]
    most: Option<Amount>,
    #[command(flatten)]
    sending: Sending,
}

#[derive(Args, Debug)]
pub(super) struct SetTariff {
    /// The price of a million tokens of requests, like `0.5` (ASY).
    #[arg(long, value_name = "AMOUNT")]
    prompt: Amount,
    /// The price of a million tokens of answers.
    #[arg(long, value_name = "AMOUNT")]
    completion: Amount,
    #[command(flatten)]
    sending: Sending,
}

#[derive(Debug, Subcommand)]
pub(super) enum Validator {
    /// Run the validator of a home until interrupted.
    Run,
    /// Register the validator of a home, with its owner's stake.
    Register(RegisterValidator),
    /// Let a jailed validator back into the set, from the next epoch on.
    Unjail(Unjail),
}

#[derive(Args, Debug)]
pub(super) struct Unjail {
    /// The validator's operator account [default: the operator of the home].
    #[arg(long, value_name = "ACCOUNT")]
    validator: Option<AccountId>,
    #[command(flatten)]
    sending: Sending,
}

#[derive(Args, Debug)]
pub(super) struct RegisterValidator {
    /// The owner's own stake, like `1000` (ASY).
    #[arg(long, value_name = "AMOUNT")]
    stake: Amount,
    /// Share of the delegators' dividends that the owner keeps, in basis points.
    #[arg(long, value_name = "BP", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(0..=10_000))]
    take: u64,
    #[command(flatten)]
    sending: Sending,
}

/// Logs go to stderr, filtered by `RUST_LOG` or else by `filter`.
pub(super) fn install_log(filter: &str, global: &Global) -> eyre::Result<()> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(filter) if !filter.is_empty() => filter,
        // Errors of libraries, as of peers that are not up yet, are no news for a quiet run.
        _ if global.quiet => "off,assay=error,assay_consensus=error".to_owned(),
        _ => filter.to_owned(),
    };
    let parsed = EnvFilter::try_new(&filter)
        .wrap_err_with(|| format!("{filter:?} is no log filter; write for example info or assay=debug,info"))?;
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let logging = tracing_subscriber::fmt().with_env_filter(parsed).with_writer(std::io::stderr).with_ansi(ansi);
    // An error means that logging is installed already, as in a test.
    let _ = logging.try_init();
    Ok(())
}

async fn run(global: &Global, role: Role) -> eyre::Result<()> {
    let home = Home::open(&global.home_dir()?)?;
    // Following the chain needs no particular keys, so `node run` works in every home.
    if role != Role::Node && home.config.role != role {
        let has = home.config.role;
        bail!(
            "{} is the home of a {has}, not of a {role}; run `assay {has} run`, or make another home",
            home.dir.display()
        );
    }
    install_log(&home.config.log, global)?;
    assay_inference::background::share();
    crate::node::run(home, role).await
}

pub(super) async fn runner(global: &Global, command: &Runner, role: Role) -> eyre::Result<()> {
    match command {
        Runner::Run => run(global, role).await,
    }
}

pub(super) async fn gateway(global: &Global, command: &Gateway) -> eyre::Result<()> {
    match command {
        Gateway::Run => run(global, Role::Gateway).await,
        Gateway::Key(command) => keys::run(global, command),
        Gateway::Usage(file) => keys::usage(global, file),
        Gateway::Bills => bills(global).await,
    }
}

/// Bills and payments of a home's gateway, by miner.
async fn bills(global: &Global) -> eyre::Result<()> {
    let home = Home::open(&global.home_dir()?)?;
    let payer = home.owner()?.account();
    let mut accounts = openai::network::accounts(&home.gateway_dir())?;
    let paid: Vec<Value> = global.client()?.call("assay_payments", json!({ "account": payer })).await?;
    let mut rows = Vec::new();
    for line in &paid {
        let (miner, paid): (AccountId, Amount) =
            (serde_json::from_value(line["miner"].clone())?, serde_json::from_value(line["amount"].clone())?);
        rows.push((miner, accounts.remove(&miner).unwrap_or_default(), paid));
    }
    rows.extend(accounts.into_iter().map(|(miner, account)| (miner, account, Amount::ZERO)));
    let due = |account: &Account, paid: Amount| Amount(account.billed.0.saturating_sub(paid.0));
    let value: Vec<Value> = rows
        .iter()
        .map(|(miner, account, paid)| {
            let Account { billed, open, unexplained } = account;
            let due = due(account, *paid);
            json!({ "miner": miner, "billed": billed, "paid": paid, "due": due, "open": open, "unexplained": unexplained })
        })
        .collect();
    global.show(&json!(value), || {
        let row = |(miner, account, paid): &(AccountId, Account, Amount)| {
            [
                miner.to_string(),
                account.billed.to_string(),
                paid.to_string(),
                due(account, *paid).to_string(),
                account.open.to_string(),
            ]
        };
        table(["miner", "billed", "paid", "due", "open"], rows.iter().map(row))
    });
    Ok(())
}

/// Opens the home and checks its role and, against the node to ask, its chain.
async fn home_for(global: &Global, role: Role) -> eyre::Result<Home> {
    let home = Home::open(&global.home_dir()?)?;
    if home.config.role != role {
        bail!("{} is the home of a {}, not of a {role}", home.dir.display(), home.config.role);
    }
    let client = global.client()?;
    let status = client.status().await?;
    if status.genesis_hash != home.genesis {
        bail!(
            "the node at {} is of the chain {} ({}), the home {} of {} ({}); give the right one with --node",
            client.url(),
            status.chain_id,
            status.genesis_hash,
            home.dir.display(),
            home.spec.chain_id,
            home.genesis
        );
    }
    Ok(home)
}

/// The operator's consent to be registered by the wallet that signs.
fn consent(home: &Home, owner: &assay_primitives::Keypair) -> Signature {
    if owner.account() == home.operator.account() {
        return Signature::EMPTY;
    }
    Consent::sign(owner.account(), &home.operator, &home.genesis)
}

/// What a registration may burn: as asked, or twice the price now, so that a few others may come before it.
async fn most_to_burn(global: &Global, register: &RegisterMiner) -> eyre::Result<Amount> {
    let price = subnet::registration_price(&global.client()?, register.subnet).await?;
    let most = register.most.unwrap_or(Amount(price.0.saturating_mul(2)));
    if most < price {
        bail!("a registration in subnet {} burns {price} now, more than --most {most}", register.subnet);
    }
    global.hint(format!(
        "a registration in subnet {} burns {price} now and at most {most} if others come first (--most)",
        register.subnet
    ));
    Ok(most)
}

pub(super) async fn miner(global: &Global, command: &Miner) -> eyre::Result<()> {
    match command {
        Miner::Run => run(global, Role::Miner).await,
        Miner::Register(register) => {
            let home = home_for(global, Role::Miner).await?;
            let owner = global.wallet(register.sending.wallet.as_deref())?;
            let most = most_to_burn(global, register).await?;
            let action = Action::RegisterMiner {
                subnet: register.subnet,
                most,
                operator: home.operator.account(),
                consent: consent(&home, &owner),
                endpoint: home.endpoint(),
            };
            let (miner, subnet) = (home.operator.account(), register.subnet);
            let what = format!("register miner {miner} in subnet {subnet}, burning at most {most} beside the bond");
            global.send_as(&register.sending, &owner, action, &what).await
        }
        Miner::Tariff(SetTariff { prompt, completion, sending }) => {
            let operator = home_for(global, Role::Miner).await?.operator.account();
            let tariff = Tariff { prompt: *prompt, completion: *completion };
            let what =
                format!("texts of {operator} cost {prompt} and {completion} a million tokens, asked and answered");
            global.send(sending, Action::SetTariff { operator, tariff }, &what).await
        }
        Miner::Retire(sending) => {
            let home = home_for(global, Role::Miner).await?;
            let operator = home.operator.account();
            let what = format!("retire miner {operator}");
            global.send(sending, Action::RetireMiner { operator }, &what).await
        }
    }
}

pub(super) async fn validator(global: &Global, command: &Validator) -> eyre::Result<()> {
    match command {
        Validator::Run => run(global, Role::Validator).await,
        Validator::Register(register) => {
            let home = home_for(global, Role::Validator).await?;
            let owner = global.wallet(register.sending.wallet.as_deref())?;
            let action = Action::RegisterValidator {
                operator: home.operator.account(),
                consent: consent(&home, &owner),
                stake: register.stake,
                take: register.take,
                endpoint: home.endpoint(),
            };
            let what = format!("register validator {} with a stake of {}", home.operator.account(), register.stake);
            global.send_as(&register.sending, &owner, action, &what).await
        }
        Validator::Unjail(unjail) => {
            let validator = match unjail.validator {
                Some(validator) => validator,
                None => home_for(global, Role::Validator).await?.operator.account(),
            };
            let what = format!("let validator {validator} out of jail");
            global.send(&unjail.sending, Action::Unjail { validator }, &what).await
        }
    }
}
