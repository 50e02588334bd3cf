//! `assay stake`: money behind validators.

use assay_ledger::tx::Action;
use assay_primitives::{AccountId, Amount};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    global::{Global, amount, rows, short, table, text},
    send::Sending,
    wallet::account_of,
};

#[derive(Debug, Subcommand)]
pub(super) enum Stake {
    /// Stake with a validator.
    Add(Change),
    /// Take stake back; it arrives after the unbonding time.
    Remove(Change),
    /// Move stake from one validator to another at once; it stays slashable for what the first did before.
    Move(Move),
    /// List an account's stakes, what is on its way back, and what slashes took of it.
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

#[derive(Args, Debug)]
pub(super) struct Move {
    /// The operator account of the validator to take it from.
    #[arg(long, value_name = "ACCOUNT")]
    from: AccountId,
    /// The operator account of the validator to put it with.
    #[arg(long, value_name = "ACCOUNT")]
    to: AccountId,
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
    let slashed: Value = client.call("assay_losses", json!({ "account": account })).await?;
    let value = json!({
        "account": account, "stakes": stakes, "unbonding": found["unbonding"], "moved": found["moved"], "slashed": slashed,
    });
    global.show(&value, || {
        let staked = rows(&stakes).iter().map(|s| [text(&s["validator"]), amount(&s["amount"]), "staked".to_owned()]);
        let leaving = rows(&found["unbonding"]).iter().map(|u| {
            [
                text(&u["operator"]),
                amount(&u["amount"]),
                format!("unbonding until the end of epoch {}", text(&u["release"])),
            ]
        });
        let moved = rows(&found["moved"]).iter().map(|m| {
            let state = format!(
                "moved there, may move on after epoch {} and is slashable for {} until then",
                text(&m["release"]),
                short(&text(&m["from"]))
            );
            [text(&m["to"]), amount(&m["amount"]), state]
        });
        let lost = rows(&slashed).iter().map(|s| {
            let why = text(&s["reason"]).replace('_', " ");
            let state = format!(
                "slashed: {why}, in block {}, epoch {} (slash {})",
                text(&s["height"]),
                text(&s["epoch"]),
                text(&s["number"])
            );
            [text(&s["validator"]), amount(&s["amount"]), state]
        });
        let lines: Vec<_> = staked.chain(leaving).chain(moved).chain(lost).collect();
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
        Stake::Move(m) => {
            let action = Action::Redelegate { from: m.from, to: m.to, amount: m.amount };
            global.send(&m.sending, action, &format!("move {} of stake from {} to {}", m.amount, m.from, m.to)).await
        }
        Stake::List { of } => list(global, of.as_deref()).await,
    }
}
