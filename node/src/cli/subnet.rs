//! `assay subnet`: markets, their members, and the network's parameters.

use assay_primitives::{Amount, task::SubnetId};
use clap::Subcommand;
use eyre::eyre;
use serde_json::{Value, json};

use super::global::{Global, amount, pairs, rows, table, text};
use crate::rpc::RpcClient;

#[derive(Debug, Subcommand)]
pub(super) enum Subnet {
    /// List the subnets.
    List,
    /// Show one subnet.
    Show {
        /// Its number.
        #[arg(default_value_t = 1)]
        id: SubnetId,
    },
    /// Show every member with its stake, scores and earnings of the last settled epoch.
    Metagraph {
        /// The subnet's number.
        #[arg(default_value_t = 1)]
        id: SubnetId,
    },
    /// Show the parameters in force, with their bounds.
    Params {
        /// A subnet's number: its own values in the place of the chain's [default: the chain's].
        id: Option<SubnetId>,
    },
}

/// The record of one subnet.
async fn find(client: &RpcClient, id: SubnetId) -> eyre::Result<Value> {
    let subnets: Value = client.call("assay_subnets", json!({})).await?;
    let found = rows(&subnets).iter().find(|subnet| subnet["id"] == json!(id)).cloned();
    found.ok_or_else(|| eyre!("there is no subnet {id}; `assay subnet list` lists them"))
}

/// What a miner's registration burns now.
pub(super) async fn registration_price(client: &RpcClient, id: SubnetId) -> eyre::Result<Amount> {
    let found = find(client, id).await?;
    found["registration_price"].as_u64().map(Amount).ok_or_else(|| eyre!("the node names no price of a registration"))
}

/// The last settled epoch's report, if one is settled.
async fn last_report(client: &RpcClient, subnet: SubnetId) -> eyre::Result<Option<Value>> {
    let epochs: Value = client.call("assay_epochs", json!({ "subnet": subnet, "limit": 1 })).await?;
    let Some(epoch) = rows(&epochs).last().map(|e| e["epoch"].clone()) else { return Ok(None) };
    Ok(Some(client.call("assay_epoch_report", json!({ "epoch": epoch, "subnet": subnet })).await?))
}

/// The line of `account` in a list of a report.
fn line<'a>(report: Option<&'a Value>, list: &str, account: &Value) -> Option<&'a Value> {
    rows(&report?[list]).iter().find(|line| line["account"] == *account)
}

/// A share for people: four decimals.
pub(super) fn share(value: &Value) -> String {
    value.as_f64().map_or_else(|| "-".into(), |share| format!("{share:.4}"))
}

/// Whether a validator votes, and if not, why.
pub(super) fn standing(record: &Value) -> String {
    match (&record["tombstoned"], &record["jailed"], &record["power"]) {
        (Value::Bool(true), ..) => "out for good".into(),
        (_, jail @ Value::Object(_), _) => format!("jailed, may unjail from epoch {}", text(&jail["until"])),
        (_, _, Value::Null) => "not voting".into(),
        _ => "voting".into(),
    }
}

/// What a validator did with its commitment in the last settled epoch, and how often it failed to reveal before.
fn scores_kept(validator: &Value) -> String {
    let mut words = text(&validator["settled"]["reveal"]).replace('_', " ");
    let attendance = &validator["attendance"];
    for (key, name) in [("missed", "epochs missed"), ("unopened", "never opened"), ("mismatched", "mismatched")] {
        if let Some(count) = attendance[key].as_u64().filter(|count| *count > 0) {
            words += &format!(", {count} {name}");
        }
    }
    words
}

async fn metagraph(global: &Global, id: SubnetId) -> eyre::Result<()> {
    let client = global.client()?;
    let miners: Value = client.call("assay_miners", json!({ "subnet": id })).await?;
    let validators: Value = client.call("assay_validators", json!({})).await?;
    let report = last_report(&client, id).await?;
    let report = report.as_ref();
    let with = |record: &Value, list: &str| {
        let mut record = record.clone();
        record["settled"] = line(report, list, &record["operator"]).cloned().unwrap_or(Value::Null);
        record
    };
    let miners: Vec<Value> = rows(&miners).iter().map(|m| with(m, "miners")).collect();
    let validators: Vec<Value> = rows(&validators).iter().map(|v| with(v, "validators")).collect();
    let epoch = report.map(|r| r["epoch"].clone());
    global.show(&json!({ "subnet": id, "epoch": epoch, "miners": miners, "validators": validators }), || {
        let of_miner = |m: &Value| {
            let s = &m["settled"];
            let state = if m["retired"].is_null() { "active" } else { "retired" };
            [
                text(&m["operator"]),
                state.to_owned(),
                amount(&m["bond"]),
                share(&m["score"]),
                share(&s["confidence"]),
                format!("{}/{}", text(&s["proofs_verified"]), text(&s["proofs_rejected"])),
                share(&s["incentive"]),
                amount(&s["reward"]),
            ]
        };
        let of_validator = |v: &Value| {
            let s = &v["settled"];
            [
                text(&v["operator"]),
                standing(v),
                amount(&v["stake"]),
                scores_kept(v),
                share(&s["trust"]),
                share(&s["dividend"]),
                amount(&s["reward"]),
            ]
        };
        let head = match epoch {
            Some(epoch) => format!("subnet {id}, last settled epoch {epoch}"),
            None => format!("subnet {id}, no epoch settled yet"),
        };
        let miners = table(
            ["miner", "state", "bond", "score", "confidence", "proofs ok/bad", "incentive", "reward"],
            miners.iter().map(of_miner),
        );
        let validators = table(
            ["validator", "state", "stake", "scores", "trust", "dividend", "reward"],
            validators.iter().map(of_validator),
        );
        format!("{head}\n{miners}\n{validators}")
    });
    Ok(())
}

pub(super) async fn run(global: &Global, command: &Subnet) -> eyre::Result<()> {
    let client = global.client()?;
    match command {
        Subnet::List => {
            let subnets: Value = client.call("assay_subnets", json!({})).await?;
            global.show(&subnets, || {
                let row = |s: &Value| [text(&s["id"]), text(&s["name"]), rows(&s["models"]).len().to_string()];
                table(["subnet", "name", "models"], rows(&subnets).iter().map(row))
            });
        }
        Subnet::Show { id } => {
            let subnet = find(&client, *id).await?;
            let miners: Value = client.call("assay_miners", json!({ "subnet": id })).await?;
            let validators: Value = client.call("assay_validators", json!({})).await?;
            let active = rows(&miners).iter().filter(|m| m["retired"].is_null()).count();
            let mut value = subnet.clone();
            value["active_miners"] = json!(active);
            global.show(&value, || {
                let models: Vec<String> = rows(&subnet["models"]).iter().map(text).collect();
                // Accounts in full, for the verbs that take one: the metagraph shortens them.
                let member = |role: &str, record: &Value| [text(&record["operator"]), role.to_owned()];
                let miner = |m: &Value| member(if m["retired"].is_null() { "miner" } else { "retired miner" }, m);
                let miners = rows(&miners).iter().map(miner);
                let validator = |v: &Value| match standing(v).as_str() {
                    "voting" => member("validator", v),
                    other => member(&format!("validator, {other}"), v),
                };
                let members = miners.chain(rows(&validators).iter().map(validator));
                let head = pairs([
                    ("subnet", text(&subnet["id"])),
                    ("name", text(&subnet["name"])),
                    ("models", models.join(", ")),
                    ("active miners", active.to_string()),
                    ("registration burns", amount(&subnet["registration_price"])),
                ]);
                format!("{head}\n{}", table(["operator", "role"], members))
            });
        }
        Subnet::Metagraph { id } => metagraph(global, *id).await?,
        Subnet::Params { id } => {
            let params: Value = client.call("assay_params", json!({ "subnet": id })).await?;
            global.show(&params, || {
                let row = |p: &Value| {
                    let bounds = format!("{}..={}", text(&p["low"]), text(&p["high"]));
                    [text(&p["name"]), text(&p["value"]), bounds, text(&p["description"])]
                };
                table(["parameter", "value", "bounds", "what"], rows(&params).iter().map(row))
            });
        }
    }
    Ok(())
}
