//! `assay gov`: proposals, votes, and whose votes an account's stake follows.

use assay_ledger::{
    records::ParameterBounds,
    tx::{Action, Ballot},
};
use assay_primitives::AccountId;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use self::{
    histogram::{Mark, histogram},
    propose::Propose,
};
use super::{
    global::{Global, amount, pairs, rows, short, table, text, width},
    send::Sending,
    subnet::share,
};
use crate::rpc::RpcClient;

mod histogram;
mod propose;

#[derive(Debug, Subcommand)]
pub(super) enum Gov {
    /// Open a proposal; its deposit is locked, and who may vote with how much is fixed now.
    #[command(subcommand)]
    Propose(Propose),
    /// Vote, or change the vote, until the voting period ends.
    Vote(Vote),
    /// Let this account's stake follow another's own votes, wherever it does not vote itself.
    Delegate(Delegate),
    /// List the proposals.
    List,
    /// Show a proposal: status, votes, tally, outcome; for a number the distribution and the outliers.
    Show {
        /// Its number.
        id: u64,
    },
}

#[derive(Args, Debug)]
pub(super) struct Vote {
    /// The proposal's number.
    id: u64,
    /// yes, no, abstain or veto; for a parameter the value wanted.
    #[arg(value_parser = ballot, allow_negative_numbers = true)]
    ballot: Ballot,
    #[command(flatten)]
    sending: Sending,
}

#[derive(Args, Debug)]
pub(super) struct Delegate {
    /// Whose votes; it must have stake of its own to vote.
    #[arg(required_unless_present = "none", conflicts_with = "none")]
    account: Option<AccountId>,
    /// Take the delegation back.
    #[arg(long)]
    none: bool,
    #[command(flatten)]
    sending: Sending,
}

fn ballot(text: &str) -> Result<Ballot, String> {
    match text {
        "yes" => Ok(Ballot::Yes),
        "no" => Ok(Ballot::No),
        "abstain" => Ok(Ballot::Abstain),
        "veto" => Ok(Ballot::Veto),
        number => number
            .parse()
            .map(Ballot::Value)
            .map_err(|_| format!("{number:?} is no vote; expected yes, no, abstain, veto, or a whole number")),
    }
}

/// A ballot of a JSON answer for people.
fn ballot_words(value: &Value) -> String {
    if value["value"].is_null() { text(value) } else { text(&value["value"]) }
}

fn kind_words(proposal: &Value) -> String {
    let kind = &proposal["kind"];
    let what = |name: &str| match name {
        "parameter" if kind["subnet"].is_u64() => {
            format!("parameter {} of subnet {}", text(&kind["name"]), kind["subnet"])
        }
        "parameter" => format!("parameter {}", text(&kind["name"])),
        "model" => {
            format!("model {} {}", text(&kind["action"]), text(&kind["model"]).chars().take(8).collect::<String>())
        }
        "treasury" => format!("treasury {}", amount(&kind["amount"])),
        "upgrade" => format!("upgrade {} at {}", text(&kind["version"]), text(&kind["height"])),
        other => other.to_owned(),
    };
    let words = what(&text(&kind["kind"]));
    if proposal["urgent"] == json!(true) { format!("{words}, urgent") } else { words }
}

fn status_words(proposal: &Value) -> String {
    text(&proposal["status"]).replace('_', " ")
}

/// A share of the eligible stake for people, one decimal.
fn percent(part: &Value, whole: &Value) -> String {
    let tenths = u128::from(part.as_u64().unwrap_or(0)) * 1000 / u128::from(whole.as_u64().unwrap_or(0)).max(1);
    if tenths % 10 == 0 { format!("{} %", tenths / 10) } else { format!("{}.{} %", tenths / 10, tenths % 10) }
}

fn outcome_words(proposal: &Value) -> String {
    let outcome = &proposal["outcome"];
    let (eligible, quorum) = (&proposal["eligible"], &proposal["quorum"]);
    let weight = |v: &Value| u128::from(v.as_u64().unwrap_or(0));
    // As the ledger counts it: a vote of nobody never has a quorum.
    let missed = |voted: &Value| {
        let missed = weight(voted) == 0 || weight(voted) * 10_000 < weight(quorum) * weight(eligible);
        let needed = percent(quorum, &json!(10_000));
        missed.then(|| format!("quorum {needed} not reached: {} voted", percent(voted, eligible)))
    };
    if !outcome["choice"].is_null() {
        let tally = &outcome["choice"]["tally"];
        const ANSWERS: [&str; 4] = ["yes", "no", "abstain", "veto"];
        let counted = ANSWERS.map(|answer| format!("{answer} {}", amount(&tally[answer]))).join(", ");
        let voted: u64 = ANSWERS.iter().filter_map(|answer| tally[*answer].as_u64()).sum();
        return missed(&json!(voted)).map_or(counted.clone(), |missed| format!("{missed} ({counted})"));
    }
    let settled = &outcome["parameter"];
    if settled.is_null() {
        return "-".into();
    }
    if let Some(missed) = missed(&settled["voted"]) {
        return missed;
    }
    let value = if settled["value"].is_null() { "no robust value".into() } else { text(&settled["value"]) };
    let (previous, confidence) = (text(&settled["previous"]), share(&settled["confidence"]));
    format!("{value} (was {previous}, confidence {confidence}, {} voted)", amount(&settled["voted"]))
}

/// All proposals by ascending number, however many pages the node makes of them.
async fn proposals(client: &RpcClient) -> eyre::Result<Value> {
    let mut all: Vec<Value> = Vec::new();
    let mut before: Option<u64> = None;
    loop {
        let page: Vec<Value> = client.call("assay_proposals", json!({ "before": before })).await?;
        let first = page.first().and_then(|p| p["id"].as_u64());
        if first.is_none_or(|first| before.is_some_and(|before| first >= before)) {
            return Ok(Value::Array(all));
        }
        before = first;
        all.splice(0..0, page);
    }
}

/// What the votes would come to if they were counted now.
fn now_words(proposal: &Value, now: &Value) -> String {
    let counted = json!({ "eligible": proposal["eligible"], "quorum": proposal["quorum"], "outcome": now["outcome"] });
    let value = &now["outcome"]["parameter"]["value"];
    let status = match now["status"].as_str() {
        Some("passed") => "would pass",
        Some("vetoed") => "would be vetoed",
        Some("rejected") => "would be rejected",
        _ if value.is_u64() => return format!("{}; at {} so far", outcome_words(&counted), text(value)),
        _ => return outcome_words(&counted),
    };
    format!("{status}: {}", outcome_words(&counted))
}

/// The distribution of a numeric vote, in lines of the terminal's width.
fn distribution(proposal: &Value, votes: &[Value], outcome: &Value, width: usize) -> String {
    let bound = |name: &str| proposal["bounds"][name].as_u64();
    let (Some(low), Some(high)) = (bound("low"), bound("high")) else { return String::new() };
    let outliers = rows(&outcome["parameter"]["outliers"]);
    let mark = |vote: &Value| {
        let (value, stake) = (vote["ballot"]["value"].as_u64()?, vote["stake"].as_u64()?);
        Some(Mark { value, stake, outlier: outliers.iter().any(|outlier| outlier[0] == vote["account"]) })
    };
    let marks: Vec<Mark> = votes.iter().filter_map(mark).collect();
    let settled = outcome["parameter"]["value"].as_u64();
    let drawn = histogram(ParameterBounds { low, high }, &marks, settled, width);
    if drawn.is_empty() {
        return drawn;
    }
    format!("\nvalues from, stake behind them (x: outliers), <- the stake-weighted median\n{drawn}")
}

fn show_words(found: &Value) -> String {
    let (p, now) = (&found["proposal"], &found["now"]);
    let basis = |name: &str| percent(&p[name], &json!(10_000));
    let rules = match p["bounds"].is_null() {
        true => format!("quorum {}, yes above {}, veto above {}", basis("quorum"), basis("threshold"), basis("veto")),
        false => format!("quorum {}", basis("quorum")),
    };
    let mut head = vec![
        ("proposal", format!("{}: {}", text(&p["id"]), text(&p["title"]))),
        ("kind", kind_words(p)),
        ("status", status_words(p)),
        ("proposer", text(&p["proposer"])),
        ("deposit", amount(&p["deposit"])),
        ("snapshot", format!("height {}, {} may vote", text(&p["snapshot"]), amount(&p["eligible"]))),
        ("rules", rules),
        ("votes until", format!("height {}", text(&p["voting_end"]))),
        ("executed from", format!("height {}", text(&p["execute_at"]))),
    ];
    match p["kind"]["kind"].as_str() {
        Some("model") => head.push(("model", text(&p["kind"]["model"]))),
        Some("treasury") => head.push(("to", text(&p["kind"]["to"]))),
        _ => {}
    }
    if !p["bounds"].is_null() {
        head.push(("bounds", format!("{}..={}", text(&p["bounds"]["low"]), text(&p["bounds"]["high"]))));
    }
    if !now.is_null() {
        head.push(("now", now_words(p, now)));
    }
    if !p["outcome"].is_null() {
        head.push(("outcome", outcome_words(p)));
    }
    let refused = ["choice", "parameter"].map(|kind| &p["outcome"][kind]["refused"]);
    if let Some(why) = refused.into_iter().find_map(Value::as_str) {
        head.push(("why not", why.to_owned()));
    }
    let mut words = pairs(head);
    if p["text"].as_str().is_some_and(|text| !text.is_empty()) {
        words += &format!("\n{}\n", text(&p["text"]));
    }
    let votes = rows(&found["votes"]);
    let outcome = if now.is_null() { &p["outcome"] } else { &now["outcome"] };
    words += &distribution(p, votes, outcome, width());
    if votes.is_empty() {
        words += "\nnobody has voted";
    } else {
        let row = |v: &Value| {
            let through = if v["via"].is_null() { "itself".to_owned() } else { short(&text(&v["via"])) };
            [text(&v["account"]), ballot_words(&v["ballot"]), amount(&v["stake"]), text(&v["height"]), through]
        };
        words += &format!("\n{}", table(["account", "vote", "stake", "height", "through"], votes.iter().map(row)));
    }
    let outliers = rows(&outcome["parameter"]["outliers"]);
    if !outliers.is_empty() {
        let row = |o: &Value| [text(&o[0]), text(&o[1]), text(&o[2])];
        words += &format!("\n{}", table(["outlier", "value", "why"], outliers.iter().map(row)));
    }
    words
}

async fn show(global: &Global, id: u64) -> eyre::Result<()> {
    let found: Value = global.client()?.call("assay_proposal", json!({ "id": id })).await?;
    global.show(&found, || show_words(&found));
    Ok(())
}

pub(super) async fn run(global: &Global, command: &Gov) -> eyre::Result<()> {
    match command {
        Gov::Propose(what) => propose::run(global, what).await?,
        Gov::Vote(vote) => {
            let words = match vote.ballot {
                Ballot::Value(value) => value.to_string(),
                other => format!("{other:?}").to_lowercase(),
            };
            let action = Action::Vote { proposal: vote.id, ballot: vote.ballot };
            global.send(&vote.sending, action, &format!("vote {words} on proposal {}", vote.id)).await?;
        }
        Gov::Delegate(Delegate { account, sending, .. }) => {
            let what = match account {
                Some(to) => format!("let this account's stake follow the votes of {to}"),
                None => "take the delegation of votes back".to_owned(),
            };
            global.send(sending, Action::DelegateVote { to: *account }, &what).await?;
        }
        Gov::List => {
            let proposals = proposals(&global.client()?).await?;
            global.show(&proposals, || {
                if rows(&proposals).is_empty() {
                    return "no proposals".into();
                }
                let row = |p: &Value| {
                    [
                        text(&p["id"]),
                        kind_words(p),
                        status_words(p),
                        text(&p["voting_end"]),
                        outcome_words(p),
                        text(&p["title"]),
                    ]
                };
                table(["id", "kind", "status", "votes until", "outcome", "title"], rows(&proposals).iter().map(row))
            });
        }
        Gov::Show { id } => show(global, *id).await?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_vote_says_how_far_its_quorum_was_missed() {
        let proposal = |voted: u64| {
            let settled = json!({ "value": 30, "previous": 20, "confidence": 1.0, "voted": voted, "refused": null, "outliers": [] });
            json!({ "eligible": 1000, "quorum": 4000, "outcome": { "parameter": settled } })
        };
        assert_eq!(outcome_words(&proposal(249)), "quorum 40 % not reached: 24.9 % voted");
        assert_eq!(outcome_words(&proposal(0)), "quorum 40 % not reached: 0 % voted");
        assert!(outcome_words(&proposal(400)).starts_with("30 (was 20"));
    }

    #[test]
    fn an_open_numeric_vote_is_drawn_with_what_it_would_settle_at() {
        let account = |n: u8| json!(AccountId([n; 32]));
        let vote = |n: u8, value: u64, via: Value| json!({ "account": account(n), "ballot": { "value": value }, "stake": 100, "height": 7, "via": via });
        let outliers = json!([[account(4), 900_000, "modified Z-score 12.000 is above 3.5"]]);
        let settled = json!({ "value": 3000, "previous": 2500, "confidence": 0.5, "voted": 400, "refused": null, "outliers": outliers });
        let found = json!({
            "proposal": {
                "id": 3, "title": "Fees", "text": "", "kind": { "kind": "parameter", "name": "min_fee" }, "urgent": true,
                "status": "voting", "bounds": { "low": 0, "high": 1_000_000_000 }, "eligible": 400, "quorum": 6670,
                "outcome": null,
            },
            "votes": [
                vote(1, 3000, Value::Null), vote(2, 3000, account(1)), vote(3, 3100, Value::Null), vote(4, 900_000, Value::Null),
            ],
            "now": { "status": "passed", "quorum_reached": true, "voted": 400, "outcome": { "parameter": settled } },
        });
        let words = show_words(&found);
        for expected in [
            "parameter min_fee, urgent",
            "would pass: 3000 (was 2500",
            "75.0 % <- 3000",
            "25.0 % outlier",
            "modified Z-score 12.000 is above 3.5",
            "itself",
        ] {
            assert!(words.contains(expected), "{expected} is missing in:\n{words}");
        }
        let through = short(&AccountId([1; 32]).to_string());
        assert!(words.lines().any(|line| line.trim_end().ends_with(&through)), "{words}");
    }

    #[test]
    fn a_failed_proposal_says_why() {
        let found = json!({
            "proposal": {
                "id": 1, "title": "Pay", "text": "", "kind": { "kind": "treasury", "to": "asy1x", "amount": 5_000_000_000u64 },
                "status": "failed", "eligible": 4, "quorum": 4000,
                "outcome": { "choice": { "tally": { "yes": 4, "no": 0, "abstain": 0, "veto": 0 }, "refused": "the treasury is empty" } },
            },
            "votes": [], "now": null,
        });
        let words = show_words(&found);
        assert!(words.contains("treasury 5 ASY") && words.contains("the treasury is empty"), "{words}");
    }
}
