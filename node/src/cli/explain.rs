//! `assay explain`: each number between the scores and the money of one account in one epoch.

use assay_primitives::{AccountId, task::SubnetId};
use clap::Args;
use eyre::{bail, eyre};
use serde_json::{Value, json};

use super::{
    global::{Global, amount, pairs, rows, table, text},
    subnet::{last_report, share},
};

#[derive(Args, Debug)]
pub(super) struct Explain {
    /// The operator account of a miner or validator.
    account: AccountId,
    /// The epoch [default: the last settled one].
    #[arg(long, value_name = "N")]
    epoch: Option<u64>,
    /// The subnet.
    #[arg(long, value_name = "ID", default_value_t = 1)]
    subnet: SubnetId,
}

/// The sum of `reward` over a list of a report, in grain.
fn total(report: &Value, list: &str) -> Value {
    json!(rows(&report[list]).iter().filter_map(|line| line["reward"].as_u64()).sum::<u64>())
}

fn of_miner(report: &Value, line: &Value) -> String {
    let consensus = match line["consensus"].as_bool() {
        Some(true) => format!("{}: the stake-weighted median of the reports below", share(&line["score"])),
        _ => format!("{}: stands from before, since too few validators reported", share(&line["score"])),
    };
    let mut words = pairs([
        ("responses", text(&line["responses"])),
        ("proofs", format!("{} verified, {} rejected", text(&line["proofs_verified"]), text(&line["proofs_rejected"]))),
        ("score", consensus),
        ("confidence", format!("{}: how far the validators agreed", share(&line["confidence"]))),
        ("weight clip", format!("{}: weights above it do not count", share(&line["consensus_weight"]))),
        ("incentive", format!("{} of what miners earned together", share(&line["incentive"]))),
        (
            "miners earned",
            format!("{} of an emission of {}", amount(&total(report, "miners")), amount(&report["emission"])),
        ),
        ("reward", amount(&line["reward"])),
    ]);
    let outliers = rows(&line["outliers"]);
    let row = |r: &Value| {
        let why =
            outliers.iter().find(|o| o[0] == r[0]).map_or_else(String::new, |o| format!("outlier: {}", text(&o[1])));
        [text(&r[0]), share(&r[1]), why]
    };
    words += &table(["reported by", "score", ""], rows(&line["reports"]).iter().map(row));
    words
}

fn of_validator(report: &Value, line: &Value) -> String {
    let mut words = pairs([
        ("stake", amount(&line["stake"])),
        ("scores", text(&line["reveal"])),
        ("trust", format!("{} of its weights lies within the consensus", share(&line["trust"]))),
        ("dividend", format!("{} of what validators earned together", share(&line["dividend"]))),
        (
            "validators earned",
            format!("{} of an emission of {}", amount(&total(report, "validators")), amount(&report["emission"])),
        ),
        ("reward", format!("{}, shared with its delegators", amount(&line["reward"]))),
    ]);
    let row = |b: &Value| [text(&b[0]), format!("{} / 65535", text(&b[1]))];
    words += &table(["bond to miner", "size"], rows(&line["bonds"]).iter().map(row));
    words
}

pub(super) async fn run(global: &Global, command: &Explain) -> eyre::Result<()> {
    let client = global.client()?;
    let (account, subnet) = (command.account, command.subnet);
    let report: Value = match command.epoch {
        Some(epoch) => client.call("assay_epoch_report", json!({ "epoch": epoch, "subnet": subnet })).await?,
        None => last_report(&client, subnet).await?.ok_or_else(|| {
            eyre!("no epoch of subnet {subnet} is settled yet; the first settles at the end of epoch 1")
        })?,
    };
    let find = |list: &str| rows(&report[list]).iter().find(|line| line["account"] == json!(account));
    let (role, line) = match (find("miners"), find("validators")) {
        (Some(line), _) => ("miner", line),
        (None, Some(line)) => ("validator", line),
        (None, None) => bail!(
            "{account} is neither a miner nor a validator in epoch {} of subnet {subnet}; give an operator account from `assay subnet metagraph`",
            report["epoch"]
        ),
    };
    let value = json!({
        "account": account, "role": role, "epoch": report["epoch"], "subnet": subnet, "height": report["height"],
        "emission": report["emission"], "line": line,
        "miners_earned": total(&report, "miners"), "validators_earned": total(&report, "validators"),
    });
    global.show(&value, || {
        let head = format!("{role} {account}, epoch {}, settled in block {}\n", report["epoch"], report["height"]);
        head + &if role == "miner" { of_miner(&report, line) } else { of_validator(&report, line) }
    });
    Ok(())
}
