//! `assay wallet`: keys in `HOME/wallets`, balances, payments, signed messages.

use std::{
    fs,
    io::{self, IsTerminal as _, Read as _},
    path::PathBuf,
};

use assay_ledger::tx::Action;
use assay_primitives::{AccountId, Amount, Hash32, Keypair, Signature, domain};
use clap::{Args, Subcommand};
use eyre::{WrapErr as _, bail, eyre};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{
    global::{Global, amount, pairs, rows, table, text},
    send::Sending,
};
use crate::keyfile;

#[derive(Debug, Subcommand)]
pub(super) enum Wallet {
    /// Make a new key.
    Create {
        /// The wallet's name.
        #[arg(default_value = "default")]
        name: String,
    },
    /// Keep a key given as 64 hexadecimal digits on stdin, or a key file.
    Import {
        /// The wallet's name.
        name: String,
        /// A key file to copy, instead of stdin.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// List the wallets.
    List,
    /// Show a wallet's account.
    Show {
        /// A wallet's name, `owner` or `operator` of the home, or a key file's path.
        #[arg(default_value = "default")]
        name: String,
    },
    /// Show what an account holds.
    Balance {
        /// An account, or a wallet as in `show` [default: the owner of the home's node, else the wallet `default`].
        of: Option<String>,
    },
    /// Pay.
    Transfer(Transfer),
    /// Sign a message for somebody else to check.
    Sign {
        /// The message.
        message: String,
        /// Who signs, as in `show`.
        #[arg(long, value_name = "NAME")]
        wallet: Option<String>,
    },
    /// Check a signed message.
    Verify {
        /// The message.
        message: String,
        /// Who is said to have signed.
        #[arg(long)]
        account: AccountId,
        /// The signature.
        #[arg(long)]
        signature: Signature,
    },
}

#[derive(Args, Debug)]
pub(super) struct Transfer {
    /// To whom.
    to: AccountId,
    /// How much, like `12.5` (ASY) or `7 grain`.
    #[arg(allow_negative_numbers = true)]
    amount: Amount,
    #[command(flatten)]
    sending: Sending,
}

/// The folder's name and the file's are made of it.
fn check_name(name: &str) -> eyre::Result<()> {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if plain && (1..=32).contains(&name.len()) {
        return Ok(());
    }
    bail!("{name:?} is no wallet name; expected 1 to 32 characters of a-z, A-Z, 0-9, - and _")
}

fn keep(global: &Global, name: &str, key: &Keypair) -> eyre::Result<()> {
    check_name(name)?;
    let path = global.home_dir()?.join("wallets").join(format!("{name}.json"));
    keyfile::create(&path, key)?;
    let value = json!({ "name": name, "account": key.account(), "file": path });
    global.show(&value, || {
        format!("{}\nkept in {}; whoever has this file has the money: keep a copy", key.account(), path.display())
    });
    Ok(())
}

/// Messages are signed for no chain: everybody can check them without one.
fn message_preimage(message: &str) -> Vec<u8> {
    domain::preimage(domain::MESSAGE, &Hash32::ZERO, message)
}

/// An account given as such, or a wallet's.
pub(super) fn account_of(global: &Global, of: Option<&str>) -> eyre::Result<AccountId> {
    match of {
        Some(text) if text.starts_with("asy1") => Ok(text.parse()?),
        other => Ok(global.wallet(other)?.account()),
    }
}

fn list(global: &Global) -> eyre::Result<()> {
    let folder = global.home_dir()?.join("wallets");
    let mut found: Vec<(String, Result<AccountId, String>)> = Vec::new();
    if folder.is_dir() {
        let entries = fs::read_dir(&folder).wrap_err_with(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            let Some(name) = path.file_stem().filter(|_| path.extension().is_some_and(|e| e == "json")) else {
                continue;
            };
            let key = keyfile::read(&path).map(|key| key.account()).map_err(|e| e.to_string());
            found.push((name.to_string_lossy().into_owned(), key));
        }
    }
    found.sort();
    let line = |(name, key): &(String, Result<AccountId, String>)| match key {
        Ok(account) => json!({ "name": name, "account": account }),
        Err(error) => json!({ "name": name, "error": error }),
    };
    global.show(&Value::Array(found.iter().map(line).collect()), || {
        if found.is_empty() {
            return format!("no wallets in {}; make one with `assay wallet create`", folder.display());
        }
        let shown = |(name, key): &(String, Result<AccountId, String>)| {
            [name.clone(), key.as_ref().map_or_else(Clone::clone, ToString::to_string)]
        };
        table(["wallet", "account"], found.iter().map(shown))
    });
    Ok(())
}

fn import(global: &Global, name: &str, file: Option<&PathBuf>) -> eyre::Result<()> {
    check_name(name)?;
    if let Some(path) = file {
        return keep(global, name, &keyfile::read(path)?);
    }
    if io::stdin().is_terminal() {
        global.hint("type the secret key (64 hexadecimal digits) and press Enter; it will be visible");
    }
    let mut secret = Zeroizing::new(String::new());
    if io::stdin().is_terminal() {
        io::stdin().read_line(&mut secret)?;
    } else {
        io::stdin().take(4096).read_to_string(&mut secret)?;
    }
    let key = keyfile::from_secret_text(&secret)
        .ok_or_else(|| eyre!("expected 64 hexadecimal digits on stdin, found {} characters", secret.trim().len()))?;
    keep(global, name, &key)
}

async fn balance(global: &Global, of: Option<&str>) -> eyre::Result<()> {
    let account = account_of(global, of)?;
    let found: Value = global.client()?.call("assay_account", json!({ "account": account })).await?;
    global.show(&found, || {
        let unbonding: u64 = rows(&found["unbonding"]).iter().filter_map(|u| u["amount"].as_u64()).sum();
        pairs([
            ("account", account.to_string()),
            ("balance", amount(&found["balance"])),
            ("stake", amount(&found["stake"])),
            ("unbonding", Amount(unbonding).to_string()),
            ("transactions", text(&found["nonce"])),
        ])
    });
    Ok(())
}

pub(super) async fn run(global: &Global, command: &Wallet) -> eyre::Result<bool> {
    match command {
        Wallet::Create { name } => keep(global, name, &keyfile::generate())?,
        Wallet::Import { name, file } => import(global, name, file.as_ref())?,
        Wallet::List => list(global)?,
        Wallet::Show { name } => {
            let path = global.wallet_path(name)?;
            let account = keyfile::read(&path)?.account();
            global.show(&json!({ "name": name, "account": account, "file": path }), || account.to_string());
        }
        Wallet::Balance { of } => balance(global, of.as_deref()).await?,
        Wallet::Transfer(transfer) => {
            let action = Action::Transfer { to: transfer.to, amount: transfer.amount };
            let what = format!("pay {} to {}", transfer.amount, transfer.to);
            global.send(&transfer.sending, action, &what).await?;
        }
        Wallet::Sign { message, wallet } => {
            let key = global.wallet(wallet.as_deref())?;
            let signature = key.sign(&message_preimage(message));
            let value = json!({ "account": key.account(), "message": message, "signature": signature });
            global
                .show(&value, || pairs([("account", key.account().to_string()), ("signature", signature.to_string())]));
        }
        Wallet::Verify { message, account, signature } => {
            let checked = signature.verify("message", account, &message_preimage(message));
            let reason = checked.as_ref().err().map(ToString::to_string);
            let value = json!({ "ok": checked.is_ok(), "account": account, "reason": reason });
            global.show(&value, || match &reason {
                None => format!("ok: {account} signed this message"),
                Some(reason) => format!("FAILED: {reason}"),
            });
            return Ok(checked.is_ok());
        }
    }
    Ok(true)
}
