//! `assay stake`: money behind validators.

use assay_ledger::tx::Action;
use assay_primitives::{AccountId, Amount};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    global::{Global, amount, rows, table, text},
    send::Sending,
    wallet::account_of,
};

#[derive(Debug, Subcommand)]
pub(super) enum Stake {
    /// Stake with a validator.
    Add(Change),
    /// Take stake back; it arrives after the unbonding time.
    Remove(Change),
    /// List an account's stakes and what is on its way back.
    List {
        /// An account, or a wallet [default: the owner of the home's node, else the wallet `default`].
        of: Option<String>,
    },
}

#[derive(Args, Debug)]
pub(super) struct Change {
    /// The validator's operator account.
    #[arg(long, value_name = "ACCOUNT")]
    validator: AccountId,
    /// How much, like `100` (ASY).
    #[arg(long, value_name = "AMOUNT")]
    amount: Amount,
    #[command(flatten)]
    sending: Sending,
}

async fn list(global: &Global, of: Option<&str>) -> eyre::Result<()> {
    let account = account_of(global, of)?;
    let client = global.client()?;
    let stakes: Value = client.call("assay_delegations", json!({ "account": account })).await?;
    let found: Value = client.call("assay_account", json!({ "account": account })).await?;
    let value = json!({ "account": account, "stakes": stakes, "unbonding": found["unbonding"] });
    global.show(&value, || {
        let staked = rows(&stakes).iter().map(|s| [text(&s["validator"]), amount(&s["amount"]), "staked".to_owned()]);
        let leaving = rows(&found["unbonding"]).iter().map(|u| {
            [
                text(&u["operator"]),
                amount(&u["amount"]),
                format!("unbonding until the end of epoch {}", text(&u["release"])),
            ]
        });
        let lines: Vec<_> = staked.chain(leaving).collect();
        if lines.is_empty() { format!("{account} stakes nothing") } else { table(["with", "amount", "state"], lines) }
    });
    Ok(())
}

pub(super) async fn run(global: &Global, command: &Stake) -> eyre::Result<()> {
    match command {
        Stake::Add(c) => {
            let action = Action::Stake { validator: c.validator, amount: c.amount };
            global.send(&c.sending, action, &format!("stake {} with {}", c.amount, c.validator)).await
        }
        Stake::Remove(c) => {
            let action = Action::Unstake { validator: c.validator, amount: c.amount };
            global.send(&c.sending, action, &format!("take {} of stake back from {}", c.amount, c.validator)).await
        }
        Stake::List { of } => list(global, of.as_deref()).await,
    }
}
