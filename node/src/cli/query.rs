//! `assay query` and `assay status`.

use std::path::PathBuf;

use assay_ledger::{
    keys,
    records::{Proposal as ProposalRecord, VoteRecord},
    tree,
};
use assay_primitives::{AccountId, Hash32, ModelId, light, receipt::Blob};
use clap::{ArgGroup, Args, Subcommand};
use eyre::{bail, ensure, eyre};
use serde_json::{Value, json};

use super::{
    global::{Global, amount, date, pairs, rows, short, table, text},
    wallet::account_of,
};
use crate::{
    home,
    rpc::{RpcClient, Status},
};

#[derive(Debug, Subcommand)]
pub(super) enum Query {
    /// Show a block.
    Block {
        /// Its height [default: the last one].
        height: Option<u64>,
    },
    /// Show what became of a transaction.
    Tx {
        /// Its id.
        id: Hash32,
    },
    /// Show an account.
    Account {
        /// An account, or a wallet [default: the owner of the home's node, else the wallet `default`].
        of: Option<String>,
    },
    /// Fetch an entry of the state with its proof, and check it.
    Proof(Box<Proof>),
}

#[derive(Args, Debug)]
#[group(skip)]
#[command(group(ArgGroup::new("entry").required(true).args(["account", "miner", "validator", "model", "proposal", "vote", "key"])))]
pub(super) struct Proof {
    /// An account's balance and nonce.
    #[arg(long)]
    account: Option<AccountId>,
    /// A miner's registration.
    #[arg(long, value_name = "ACCOUNT")]
    miner: Option<AccountId>,
    /// A validator's registration.
    #[arg(long, value_name = "ACCOUNT")]
    validator: Option<AccountId>,
    /// A model's registration, by id.
    #[arg(long, value_name = "ID")]
    model: Option<ModelId>,
    /// A proposal, by number.
    #[arg(long, value_name = "ID")]
    proposal: Option<u64>,
    /// An account's vote on a proposal: the receipt that it stands as it was cast.
    #[arg(long, value_name = "ID:ACCOUNT", value_parser = vote_key)]
    vote: Option<(u64, AccountId)>,
    /// Any state key, in hexadecimal.
    #[arg(long, value_name = "HEX", value_parser = hex_key)]
    key: Option<Blob>,
    /// Also check the header's certificate, from this chain's genesis.
    #[arg(long, value_name = "FILE")]
    chain_spec: Option<PathBuf>,
}

fn hex_key(text: &str) -> Result<Blob, String> {
    hex::decode(text).map(Blob).map_err(|e| format!("expected hexadecimal digits: {e}"))
}

fn vote_key(text: &str) -> Result<(u64, AccountId), String> {
    let (id, account) = text.split_once(':').ok_or("expected a proposal's number, a colon and an account")?;
    let id = id.parse().map_err(|_| format!("{id:?} is no proposal's number"))?;
    Ok((id, account.parse().map_err(|e| format!("{e}"))?))
}

/// The record that an entry's bytes are, where the question says its kind.
fn record(asked: &Proof, bytes: &[u8]) -> eyre::Result<Option<Value>> {
    Ok(match asked {
        Proof { proposal: Some(_), .. } => {
            Some(serde_json::to_value(assay_primitives::decode::<ProposalRecord>("proposal", bytes)?)?)
        }
        Proof { vote: Some(_), .. } => {
            Some(serde_json::to_value(assay_primitives::decode::<VoteRecord>("vote", bytes)?)?)
        }
        _ => None,
    })
}

async fn proof(global: &Global, client: &RpcClient, asked: &Proof) -> eyre::Result<()> {
    let key = match asked {
        Proof { account: Some(id), .. } => keys::account(id),
        Proof { miner: Some(id), .. } => keys::miner(id),
        Proof { validator: Some(id), .. } => keys::validator(id),
        Proof { model: Some(id), .. } => keys::model(id),
        Proof { proposal: Some(id), .. } => keys::proposal(*id),
        Proof { vote: Some((id, account)), .. } => keys::vote(*id, account),
        Proof { key: Some(key), .. } => key.0.clone(),
        _ => bail!("say which entry, for example --account"),
    };
    let proven = client.proof(key.clone()).await?;
    ensure!(proven.fact.key.0 == key, "the node proved another entry than the one asked for");
    let header = &proven.header.header;
    tree::verify_fact(&header.state_root, &key, &proven.fact.value.0, &proven.fact.proof.0)?;
    let certified = match &asked.chain_spec {
        Some(path) => {
            let spec = home::read_spec(path)?;
            light::verify_path(&spec.genesis_hash(), &spec.validator_set()?, &proven.changes, &proven.header)?;
            true
        }
        None => false,
    };
    let mut value = serde_json::to_value(&proven)?;
    value["certificate_checked"] = json!(certified);
    let record = record(asked, &proven.fact.value.0)?;
    if let Some(record) = &record {
        value["record"] = record.clone();
    }
    global.show(&value, || {
        let certificate = match certified {
            true => "checked, from the genesis validators on",
            false => "not checked; give --chain-spec FILE to check it",
        };
        let mut lines = vec![
            ("key", hex::encode(&key)),
            ("value", hex::encode(&proven.fact.value.0)),
            ("height", header.height.to_string()),
            ("state root", header.state_root.to_string()),
            ("proof", format!("{} bytes, holds", proven.fact.proof.0.len())),
            ("certificate", certificate.into()),
        ];
        lines.extend(record.map(|record| ("it says", record.to_string())));
        pairs(lines)
    });
    Ok(())
}

fn block_words(block: &Value) -> String {
    let header = &block["header"];
    let mut words = pairs([
        ("block", text(&header["height"])),
        ("id", text(&block["id"])),
        ("time", header["time_ms"].as_u64().map_or_else(|| "-".into(), |ms| format!("{} ({ms} ms)", date(ms)))),
        ("proposer", text(&header["proposer"])),
        ("state root", text(&header["state_root"])),
        ("signatures", rows(&block["certificate"]["signatures"]).len().to_string()),
    ]);
    let row = |t: &Value| {
        let outcome = t["error"].as_str().map_or_else(|| "ok".to_owned(), |error| format!("no effect: {error}"));
        [text(&t["id"]), text(&t["action"]), short(&text(&t["signer"])), outcome]
    };
    let transactions = rows(&block["transactions"]);
    words += &if transactions.is_empty() {
        "no transactions".to_owned()
    } else {
        table(["transaction", "action", "signer", "outcome"], transactions.iter().map(row))
    };
    words
}

pub(super) async fn run(global: &Global, command: &Query) -> eyre::Result<()> {
    let client = global.client()?;
    match command {
        Query::Block { height } => {
            let block: Value = client.call("assay_block", json!({ "height": height })).await?;
            global.show(&block, || block_words(&block));
        }
        Query::Tx { id } => {
            let found = client.transaction(id).await?;
            let found = found.ok_or_else(|| eyre!("transaction {id} stands in no block; it may still be waiting"))?;
            let block: Value = client.call("assay_block", json!({ "height": found.height })).await?;
            let mut value = serde_json::to_value(&found)?;
            let listed = rows(&block["transactions"]).iter().find(|t| t["id"] == json!(id));
            if let Some(listed) = listed {
                for field in ["signer", "nonce", "fee", "action"] {
                    value[field] = listed[field].clone();
                }
            }
            global.show(&value, || {
                pairs([
                    ("transaction", id.to_string()),
                    ("action", text(&value["action"])),
                    ("signer", text(&value["signer"])),
                    ("fee", amount(&value["fee"])),
                    ("block", format!("{}, place {}", found.height, found.index)),
                    ("outcome", found.error.clone().map_or_else(|| "ok".into(), |e| format!("no effect: {e}"))),
                ])
            });
        }
        Query::Account { of } => {
            let account = account_of(global, of.as_deref())?;
            let found: Value = client.call("assay_account", json!({ "account": account })).await?;
            global.show(&found, || {
                let operator = &found["operator"];
                let role = match &operator["role"] {
                    Value::Null => "-".into(),
                    role => {
                        let role = match &role["miner"] {
                            Value::Null => text(role),
                            subnet => format!("miner of subnet {subnet}"),
                        };
                        format!("{role} for {}", text(&operator["owner"]))
                    }
                };
                pairs([
                    ("account", account.to_string()),
                    ("balance", amount(&found["balance"])),
                    ("stake", amount(&found["stake"])),
                    ("nonce", text(&found["nonce"])),
                    ("operator", role),
                    ("votes follow", text(&found["votes_follow"]["to"])),
                    ("followed by", format!("{} accounts", text(&found["votes_followed_by"]))),
                ])
            });
        }
        Query::Proof(asked) => proof(global, &client, asked).await?,
    }
    Ok(())
}

pub(super) async fn status(global: &Global) -> eyre::Result<()> {
    let found: Status = global.client()?.status().await?;
    global.show(&serde_json::to_value(&found)?, || {
        pairs([
            ("chain", format!("{} ({})", found.chain_id, found.genesis_hash)),
            ("height", found.height.to_string()),
            ("epoch", format!("{}, ends with block {}", found.epoch, found.epoch_end)),
            ("state root", found.state_root.to_string()),
            ("peers", format!("{} consensus, {} data plane", found.peers, found.data_peers)),
            ("mempool", found.mempool.to_string()),
            ("node", format!("{} {} ({}), version {}", found.role, found.moniker, found.account, found.version)),
            (
                "rules",
                found.upgrade.as_ref().map_or_else(
                    || format!("version {}", found.app_version),
                    |upgrade| format!("version {}; {}", found.app_version, upgrade.detail),
                ),
            ),
            ("health", if found.healthy { "ok".into() } else { format!("NOT OK: {}", found.reason) }),
        ])
    });
    Ok(())
}
