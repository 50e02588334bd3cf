//! `assay explain`: each number between the scores and the money of one account in one epoch.

use assay_primitives::{AccountId, task::SubnetId};
use clap::Args;
use eyre::{bail, ensure, eyre};
use serde_json::{Value, json};

use super::{
    global::{Global, amount, pairs, rows, table, text},
    subnet::{last_report, share, standing},
};
use crate::rpc::RpcClient;

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

/// What a validator did with its commitment, and what that cost it.
fn reveal(line: &Value) -> String {
    let mismatches = match line["mismatches"].as_u64() {
        Some(count) if count > 0 => format!("; {count} reveals did not open its commitment"),
        _ => String::new(),
    };
    let words = match line["reveal"].as_str() {
        Some("revealed") => "committed and revealed",
        Some("missed") => "committed, never revealed: no dividend, and no share of the public randomness",
        Some("mismatched") => "committed, and what it revealed was something else: no dividend",
        Some("not_committed") => "never committed: no dividend",
        _ => return text(&line["reveal"]),
    };
    format!("{words}{mismatches}")
}

fn of_validator(report: &Value, line: &Value, record: &Value) -> String {
    let attendance = |key: &str| text(&record["attendance"][key]);
    let mut words = pairs([
        ("state", standing(record)),
        ("stake", amount(&line["stake"])),
        ("scores", reveal(line)),
        (
            "until now",
            format!(
                "{} epochs missed, {} of them last and in a row; {} commitments never opened, {} reveals mismatched",
                attendance("missed"),
                attendance("missed_in_row"),
                attendance("unopened"),
                attendance("mismatched")
            ),
        ),
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

/// When an operator was registered and the block that settles its first epoch, if that block is still to come.
async fn first_settlement(
    client: &RpcClient,
    account: &AccountId,
    subnet: SubnetId,
) -> eyre::Result<Option<(u64, u64)>> {
    let miners: Value = client.call("assay_miners", json!({ "subnet": subnet })).await?;
    let validators: Value = client.call("assay_validators", json!({})).await?;
    let ours = |record: &&Value| record["operator"] == json!(account);
    let record = rows(&miners).iter().find(ours).or_else(|| rows(&validators).iter().find(ours));
    let Some(registered) = record.and_then(|record| record["registered"].as_u64()) else { return Ok(None) };
    let params: Value = client.call("assay_params", json!({})).await?;
    let tempo = rows(&params).iter().find(|p| p["name"] == "tempo").and_then(|p| p["value"].as_u64());
    let tempo = tempo.ok_or_else(|| eyre!("the node names no parameter tempo"))?;
    let status = client.status().await?;
    let settled = settles(registered, status.epoch_end, tempo);
    Ok((settled > status.height).then_some((registered, settled)))
}

/// The last block of the epoch after the one after that of `registered`, where the current epoch ends with `epoch_end`
/// and epochs are `tempo` blocks long. Who stands in the genesis is scored from the first epoch on.
fn settles(registered: u64, epoch_end: u64, tempo: u64) -> u64 {
    let end = match registered {
        0 => return tempo.saturating_mul(2),
        _ => epoch_end.saturating_sub(epoch_end.saturating_sub(registered) / tempo.max(1) * tempo),
    };
    end.saturating_add(tempo.saturating_mul(2))
}

pub(super) async fn run(global: &Global, command: &Explain) -> eyre::Result<()> {
    let client = global.client()?;
    let (account, subnet) = (command.account, command.subnet);
    let report: Option<Value> = match command.epoch {
        Some(epoch) => Some(client.call("assay_epoch_report", json!({ "epoch": epoch, "subnet": subnet })).await?),
        None => last_report(&client, subnet).await?,
    };
    // Null holds no lines.
    let report = report.unwrap_or_default();
    let find = |list: &str| rows(&report[list]).iter().find(|line| line["account"] == json!(account));
    let (role, line) = match (find("miners"), find("validators")) {
        (Some(line), _) => ("miner", line),
        (None, Some(line)) => ("validator", line),
        (None, None) => {
            if let Some((registered, settled)) = first_settlement(&client, &account, subnet).await? {
                bail!(
                    "{account} was registered in block {registered}; it is first scored in the epoch after its \
                     registration and that epoch settles at the end of the next: ask again after block {settled}"
                );
            }
            ensure!(
                !report.is_null(),
                "no epoch of subnet {subnet} is settled yet; the first settles at the end of epoch 1"
            );
            bail!(
                "{account} is neither a miner nor a validator in epoch {} of subnet {subnet}; give an operator account from `assay subnet show {subnet}`",
                report["epoch"]
            )
        }
    };
    let record = match role {
        "validator" => {
            let all: Value = client.call("assay_validators", json!({})).await?;
            rows(&all).iter().find(|v| v["operator"] == json!(account)).cloned().unwrap_or_default()
        }
        _ => Value::Null,
    };
    let value = json!({
        "account": account, "role": role, "epoch": report["epoch"], "subnet": subnet, "height": report["height"],
        "emission": report["emission"], "line": line,
        "miners_earned": total(&report, "miners"), "validators_earned": total(&report, "validators"),
        "attendance": record["attendance"], "jailed": record["jailed"],
    });
    global.show(&value, || {
        let head = format!("{role} {account}, epoch {}, settled in block {}\n", report["epoch"], report["height"]);
        head + &if role == "miner" { of_miner(&report, line) } else { of_validator(&report, line, &record) }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newcomer_is_settled_two_epochs_after_its_own() {
        // Epochs 1..=10, 11..=20, 21..=30: registered in the first, scored in the second, settled with the third.
        for registered in [1, 5, 10] {
            for epoch_end in [10, 20, 30] {
                assert_eq!(settles(registered, epoch_end, 10), 30, "registered {registered}, now {epoch_end}");
            }
        }
        assert_eq!(settles(11, 20, 10), 40);
        assert_eq!(settles(0, 10, 10), 20);
    }
}
