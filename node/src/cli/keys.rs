//! `assay gateway key`: who may ask a gateway.

use std::{num::NonZeroU32, path::PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::global::{Global, date, table};
use crate::openai::{
    keys::{self, Key},
    usage::{self, Account, Usage},
};

/// Where a home keeps them.
pub(crate) const FILE: &str = "api-keys.json";

#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// Make a key, and show it for the only time.
    Add(Add),
    /// List the keys: not themselves, which nobody has, but what they may do.
    List(Where),
    /// Remove a key; it opens nothing from then on.
    Rm {
        /// Its name.
        name: String,
        #[command(flatten)]
        file: Where,
    },
}

#[derive(Args, Debug)]
pub(super) struct Where {
    /// The file of keys [default: that of the home].
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(super) struct Add {
    /// What it is called.
    name: String,
    /// Requests a minute [default: no limit].
    #[arg(long, value_name = "N")]
    per_minute: Option<NonZeroU32>,
    /// Tokens a day, of prompts and answers together [default: no limit].
    #[arg(long, value_name = "N")]
    tokens_per_day: Option<u64>,
    /// A model that it may ask for; may be given again [default: all].
    #[arg(long, value_name = "MODEL")]
    model: Vec<String>,
    /// Higher goes first where requests wait.
    #[arg(long, default_value_t = 0, allow_hyphen_values = true, value_parser = clap::value_parser!(i8).range(-10..=10))]
    priority: i8,
    #[command(flatten)]
    file: Where,
}

fn path(global: &Global, file: &Where) -> eyre::Result<PathBuf> {
    file.file.clone().map_or_else(|| Ok(global.home_dir()?.join(FILE)), Ok)
}

/// What each key has used.
pub(super) fn usage(global: &Global, file: &Where) -> eyre::Result<()> {
    let accounts = usage::read(&usage::beside(&path(global, file)?))?;
    let today = usage::today();
    let value: Vec<_> = accounts
        .values()
        .map(|account| json!({ "name": account.name, "today": account.on(today), "ever": account.ever }))
        .collect();
    global.show(&json!(value), || {
        let sums = |u: Usage| [u.answers.to_string(), u.tokens().to_string(), u.cost.to_string()];
        let row = |account: &Account| {
            let name = if account.name.is_empty() { "(no key)".to_owned() } else { account.name.clone() };
            let ([a, b, c], [d, e, f]) = (sums(account.on(today)), sums(account.ever));
            [name, a, b, c, d, e, f]
        };
        table(["key", "answers today", "tokens", "cost", "answers ever", "tokens", "cost"], accounts.values().map(row))
    });
    Ok(())
}

pub(super) fn run(global: &Global, command: &Keys) -> eyre::Result<()> {
    match command {
        Keys::Add(add) => {
            let made = Key {
                name: add.name.clone(),
                hash: String::new(),
                per_minute: add.per_minute,
                tokens_per_day: add.tokens_per_day,
                models: Some(add.model.clone()).filter(|models| !models.is_empty()),
                priority: add.priority,
                created: 0,
            };
            let key = keys::add(&path(global, &add.file)?, made)?;
            global.hint("this key is shown now and never again: only its hash is kept");
            global.show(&json!({ "name": add.name, "key": key }), || key.clone());
        }
        Keys::List(file) => {
            let all = keys::read(&path(global, file)?)?;
            let value: Vec<_> = all
                .iter()
                .map(|k| {
                    json!({ "name": k.name, "per_minute": k.per_minute, "tokens_per_day": k.tokens_per_day,
                            "models": k.models, "priority": k.priority, "created": k.created })
                })
                .collect();
            global.show(&json!(value), || {
                let limit = |n: Option<String>| n.unwrap_or_else(|| "-".into());
                let row = |k: &Key| {
                    [
                        k.name.clone(),
                        limit(k.per_minute.map(|n| n.to_string())),
                        limit(k.tokens_per_day.map(|n| n.to_string())),
                        k.models.as_ref().map_or_else(|| "all".into(), |models| models.join(", ")),
                        k.priority.to_string(),
                        date(k.created.saturating_mul(1000)),
                    ]
                };
                table(["key", "a minute", "tokens a day", "models", "priority", "made"], all.iter().map(row))
            });
        }
        Keys::Rm { name, file } => {
            let path = path(global, file)?;
            eyre::ensure!(keys::remove(&path, name)?, "{} has no key named {name:?}", path.display());
            global.show(&json!({ "name": name, "removed": true }), || format!("removed the key {name:?}"));
        }
    }
    Ok(())
}
