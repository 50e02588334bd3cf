//! `assay gov`: proposals and votes.

use assay_ledger::tx::{Action, Ballot, ProposalKind};
use assay_primitives::AccountId;
use clap::{Args, Subcommand};
use eyre::eyre;
use serde_json::{Value, json};

use super::{
    global::{Global, amount, pairs, rows, table, text},
    send::Sending,
    subnet::share,
};
use crate::rpc::RpcClient;

#[derive(Debug, Subcommand)]
pub(super) enum Gov {
    /// Open a proposal; its deposit is locked, and who may vote with how much is fixed now.
    #[command(subcommand)]
    Propose(Propose),
    /// Vote, or change the vote, until the voting period ends.
    Vote(Vote),
    /// List the proposals.
    List,
    /// Show a proposal: status, votes, tally, outcome, outliers.
    Show {
        /// Its number.
        id: u64,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Propose {
    /// A question for yes, no, abstain or veto.
    Choice(Proposal),
    /// A new value for a parameter: every voter names one, stake settles it.
    Parameter {
        /// The parameter; `assay subnet params` lists them.
        name: String,
        #[command(flatten)]
        proposal: Proposal,
    },
}

#[derive(Args, Debug)]
pub(super) struct Proposal {
    /// One line, at most 120 bytes.
    #[arg(long)]
    title: String,
    /// Reasons, at most 4096 bytes.
    #[arg(long, default_value = "")]
    text: String,
    #[command(flatten)]
    sending: Sending,
}

#[derive(Args, Debug)]
pub(super) struct Vote {
    /// The proposal's number.
    id: u64,
    /// For a choice: yes, no, abstain or veto. For a parameter: the value wanted.
    #[arg(value_parser = ballot, allow_negative_numbers = true)]
    ballot: Ballot,
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
    match proposal["kind"]["name"].as_str() {
        Some(name) => format!("parameter {name}"),
        None => text(&proposal["kind"]["kind"]),
    }
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

/// The number of the proposal that `proposer` opened in the block at `height`.
async fn number_of(global: &Global, proposer: &AccountId, height: &Value, title: &str) -> eyre::Result<Value> {
    let proposals: Value = global.client()?.call("assay_proposals", json!({})).await?;
    let ours =
        |p: &&Value| p["proposer"] == json!(proposer) && p["snapshot"] == *height && p["title"].as_str() == Some(title);
    let found = rows(&proposals).iter().rev().find(ours).map(|p| p["id"].clone());
    found.ok_or_else(|| {
        eyre!("the proposal was opened in block {height}, but the node does not list it; see `assay gov list`")
    })
}

async fn show(global: &Global, id: u64) -> eyre::Result<()> {
    let found: Value = global.client()?.call("assay_proposal", json!({ "id": id })).await?;
    global.show(&found, || {
        let p = &found["proposal"];
        let mut head = vec![
            ("proposal", format!("{id}: {}", text(&p["title"]))),
            ("kind", kind_words(p)),
            ("status", status_words(p)),
            ("proposer", text(&p["proposer"])),
            ("deposit", amount(&p["deposit"])),
            ("snapshot", format!("height {}, {} may vote", text(&p["snapshot"]), amount(&p["eligible"]))),
            ("votes until", format!("height {}", text(&p["voting_end"]))),
            ("executed from", format!("height {}", text(&p["execute_at"]))),
        ];
        if !p["bounds"].is_null() {
            head.push(("bounds", format!("{}..={}", text(&p["bounds"]["low"]), text(&p["bounds"]["high"]))));
        }
        if !p["outcome"].is_null() {
            head.push(("outcome", outcome_words(p)));
        }
        let mut words = pairs(head);
        if p["text"].as_str().is_some_and(|text| !text.is_empty()) {
            words += &format!("\n{}\n", text(&p["text"]));
        }
        let votes = rows(&found["votes"]);
        if votes.is_empty() {
            words += "\nnobody has voted";
        } else {
            let row =
                |v: &Value| [text(&v["account"]), ballot_words(&v["ballot"]), amount(&v["stake"]), text(&v["height"])];
            words += &format!("\n{}", table(["account", "vote", "stake", "height"], votes.iter().map(row)));
        }
        let outliers = rows(&p["outcome"]["parameter"]["outliers"]);
        if !outliers.is_empty() {
            let row = |o: &Value| [text(&o[0]), text(&o[1]), text(&o[2])];
            words += &format!("\n{}", table(["outlier", "value", "why"], outliers.iter().map(row)));
        }
        words
    });
    Ok(())
}

pub(super) async fn run(global: &Global, command: &Gov) -> eyre::Result<()> {
    match command {
        Gov::Propose(propose) => {
            let (kind, proposal) = match propose {
                Propose::Choice(proposal) => (ProposalKind::Choice, proposal),
                Propose::Parameter { name, proposal } => {
                    // A misspelt name costs a fee on chain and nothing here.
                    assay_chain_spec::Params::bounds(name)?;
                    (ProposalKind::Parameter { name: name.clone() }, proposal)
                }
            };
            let action = Action::Propose { title: proposal.title.clone(), text: proposal.text.clone(), kind };
            let what = format!("propose {:?}", proposal.title);
            let key = global.wallet(proposal.sending.wallet.as_deref())?;
            let mut sent = global.deliver(&proposal.sending, &key, action, &what).await?;
            if sent.value["height"].is_u64() {
                let number = number_of(global, &key.account(), &sent.value["height"], &proposal.title).await?;
                sent.words += &format!("\nit is proposal {}", text(&number));
                sent.value["proposal"] = number;
            }
            global.show(&sent.value, || sent.words);
        }
        Gov::Vote(vote) => {
            let words = match vote.ballot {
                Ballot::Value(value) => value.to_string(),
                other => format!("{other:?}").to_lowercase(),
            };
            let action = Action::Vote { proposal: vote.id, ballot: vote.ballot };
            global.send(&vote.sending, action, &format!("vote {words} on proposal {}", vote.id)).await?;
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
}
