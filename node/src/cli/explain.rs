//! `assay explain`: each number between the scores and the money of one account in one epoch.

use assay_primitives::{AccountId, task::SubnetId};
use clap::Args;
use eyre::{bail, eyre};
use serde_json::{Value, json};

use super::{
    global::{Global, amount, pairs, rows, table, text},
    subnet::{share, standing},
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

/// What the criteria said, as `correct 1.0000, latency 0.9500`.
fn marks(verdict: &Value) -> String {
    let mark = |m: &Value| format!("{} {}", text(&m["criterion"]), share(&m["mark"]));
    let marks: Vec<_> = rows(&verdict["marks"]).iter().map(mark).collect();
    if marks.is_empty() { "-".into() } else { marks.join(", ") }
}

/// Tasks of a verdict that were answered, of those judged, and answers that scored 0 by a gate.
fn tasks(verdict: &Value) -> String {
    let answered = format!("{}/{}", text(&verdict["responses"]), text(&verdict["tasks"]));
    match verdict["refuted"].as_u64() {
        Some(0) | None => answered,
        Some(refuted) => format!("{answered}, {refuted} false"),
    }
}

/// Why a report does not earn its validator anything.
fn note(verdict: &Value) -> String {
    match (&verdict["outlier"], &verdict["score"]) {
        (Value::String(reason), _) => format!("outlier: {reason}"),
        (_, Value::Null) => "no report; the settled score stands in".into(),
        _ => String::new(),
    }
}

/// Where the minted money of an epoch went.
fn emission(found: &Value) -> String {
    format!(
        "{} minted: miners {}, validators {}, treasury {}, rounding {} grain",
        amount(&found["emission"]),
        amount(&found["miners_earned"]),
        amount(&found["validators_earned"]),
        amount(&found["treasury"]),
        text(&found["remainder"]),
    )
}

fn of_miner(found: &Value) -> String {
    let (line, verdicts) = (&found["line"], rows(&found["verdicts"]));
    let consensus = match line["consensus"].as_bool() {
        Some(true) => format!("{}: what the reports below settle", share(&line["score"])),
        _ => format!("{}: stands from before, since too few validators reported", share(&line["score"])),
    };
    let mut words = String::from("What the validators saw\n");
    let seen =
        |v: &Value| [text(&v["validator"]), tasks(v), marks(v), share(&v["score"]), share(&v["confidence"]), note(v)];
    words += &table(["validator", "answered", "mean marks", "score", "sure", ""], verdicts.iter().map(seen));
    words += "\n\nWhat they settled\n";
    words += &pairs([
        ("proofs", format!("{} verified, {} rejected", text(&line["proofs_verified"]), text(&line["proofs_rejected"]))),
        ("score", consensus),
        ("confidence", format!("{}: how far the validators agreed", share(&line["confidence"]))),
    ]);
    words += "\nFrom scores to weights\n";
    let weighed = |v: &Value| {
        let bond = format!("{} / 65535", text(&v["bond"]));
        [text(&v["validator"]), share(&v["share"]), share(&v["weight"]), share(&v["clipped"]), bond]
    };
    words += &table(
        ["validator", "share of stake", "weight (score / all it gave)", "clipped", "its bond"],
        verdicts.iter().map(weighed),
    );
    words += "\n\nFrom weights to money\n";
    let mut money = vec![
        (
            "clip",
            format!(
                "{}: what a majority of the stake upholds; weights count up to it",
                share(&line["consensus_weight"])
            ),
        ),
        ("rank", format!("{}: sum of share of stake times clipped weight", share(&line["rank"]))),
        ("trust", format!("{} of the weight given to it was upheld", share(&line["trust"]))),
        ("incentive", format!("{}: its share of the miners' part", share(&line["incentive"]))),
        ("emission", emission(found)),
        ("reward", format!("{} ({} grain)", amount(&line["reward"]), text(&line["reward"]))),
    ];
    if !line["withheld"].is_null() {
        money.push(("withheld", format!("it earns nothing: {}", text(&line["withheld"]))));
    }
    words + &pairs(money)
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

fn of_validator(found: &Value) -> String {
    let line = &found["line"];
    let attendance = |key: &str| text(&found["attendance"][key]);
    let counted = format!(
        "{}, of which {} counted: what it had when the epoch began, or less if some left since",
        amount(&line["stake"]),
        amount(&line["counted"])
    );
    let mut words = pairs([
        ("state", standing(found)),
        ("stake", counted),
        ("share", format!("{} of the stake that took part", share(&line["share"]))),
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
    ]);
    words += "\nIts verdicts, and what they earn\n";
    let row = |v: &Value| {
        let bond = format!("{} / 65535", text(&v["bond"]));
        [
            text(&v["miner"]),
            share(&v["score"]),
            share(&v["settled"]),
            share(&v["weight"]),
            share(&v["clipped"]),
            bond,
            note(v),
        ]
    };
    words += &table(
        ["miner", "it said", "settled", "weight", "clipped", "bond", ""],
        rows(&found["verdicts"]).iter().map(row),
    );
    words += "\n\nFrom bonds to money\n";
    words
        + &pairs([
            ("trust", format!("{} of its weights lies within the consensus", share(&line["trust"]))),
            (
                "dividend",
                format!(
                    "{}: its share of the validators' part, by bonds and the miners' incentives",
                    share(&line["dividend"])
                ),
            ),
            ("emission", emission(found)),
            (
                "reward",
                format!("{} ({} grain), shared with its delegators", amount(&line["reward"]), text(&line["reward"])),
            ),
        ])
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

/// The number of the last settled epoch, if one is settled.
async fn last_settled(client: &RpcClient, subnet: SubnetId) -> eyre::Result<Option<u64>> {
    let epochs: Value = client.call("assay_epochs", json!({ "subnet": subnet, "limit": 1 })).await?;
    Ok(rows(&epochs).last().and_then(|e| e["epoch"].as_u64()))
}

pub(super) async fn run(global: &Global, command: &Explain) -> eyre::Result<()> {
    let client = global.client()?;
    let (account, subnet) = (command.account, command.subnet);
    let asked = match command.epoch {
        Some(epoch) => Some(epoch),
        None => last_settled(&client, subnet).await?,
    };
    let asked = asked.map(|epoch| json!({ "account": account, "subnet": subnet, "epoch": epoch }));
    let answer = match asked {
        Some(asked) => client.call::<Value>("assay_explain", asked).await.map_err(Some),
        None => Err(None),
    };
    let mut found = match answer {
        Ok(found) => found,
        Err(Some(error)) if !error.is_not_found() => return Err(error.into()),
        Err(missing) => {
            if let Some((registered, settled)) = first_settlement(&client, &account, subnet).await? {
                bail!(
                    "{account} was registered in block {registered}; it is first scored in the epoch after its \
                     registration and that epoch settles at the end of the next: ask again after block {settled}"
                );
            }
            match missing {
                Some(missing) => bail!("{missing}; `assay subnet show {subnet}` lists the operator accounts"),
                None => bail!("no epoch of subnet {subnet} is settled yet; the first settles at the end of epoch 1"),
            }
        }
    };
    let role = if found["line"]["incentive"].is_null() { "validator" } else { "miner" };
    found["account"] = json!(account);
    found["role"] = json!(role);
    if role == "validator" {
        let all: Value = client.call("assay_validators", json!({})).await?;
        if let Some(record) = rows(&all).iter().find(|v| v["operator"] == json!(account)) {
            for key in ["attendance", "jailed", "tombstoned", "power"] {
                found[key] = record[key].clone();
            }
        }
    }
    global.show(&found, || {
        let mut words = format!("{role} {account}, epoch {}, settled in block {}\n", found["epoch"], found["height"]);
        if found["sheets_kept"] == json!(false) {
            words += "The validators' score sheets of this epoch are no longer kept: marks and counts are left out.\n";
        }
        words += "\n";
        words + &if role == "miner" { of_miner(&found) } else { of_validator(&found) }
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
