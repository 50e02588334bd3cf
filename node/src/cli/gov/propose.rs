//! `assay gov propose`: what can be put to the vote.

use assay_ledger::tx::{Action, ModelAction, ProposalKind};
use assay_primitives::{AccountId, Amount, ModelId, task::SubnetId};
use clap::{Args, Subcommand};
use eyre::eyre;
use serde_json::{Value, json};

use crate::cli::{
    global::{Global, rows, text},
    send::Sending,
};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Propose {
    /// A statement for yes, no, abstain or veto: nothing on chain follows from it.
    Text(Proposal),
    /// A question for yes, no, abstain or veto.
    Choice(Proposal),
    /// A new value for a parameter: every voter names one, stake settles it.
    Parameter {
        /// The parameter; `assay subnet params` lists them.
        name: String,
        /// A value for this subnet alone [default: for the whole chain].
        #[arg(long, value_name = "ID")]
        subnet: Option<SubnetId>,
        #[command(flatten)]
        proposal: Proposal,
    },
    /// What a subnet's miners serve.
    #[command(subcommand)]
    Model(ModelChange),
    /// A payment from the treasury.
    Treasury {
        /// To whom.
        to: AccountId,
        /// How much, like `12.5` (ASY) or `7 grain`.
        #[arg(allow_negative_numbers = true)]
        amount: Amount,
        #[command(flatten)]
        proposal: Proposal,
    },
    /// Other rules of the chain from a height on; programs that do not know them stop before it.
    Upgrade {
        /// The version of the rules: the next one above the version in force, which `assay status` shows.
        #[arg(value_name = "VERSION")]
        rules: u32,
        /// The first block under them.
        height: u64,
        #[command(flatten)]
        proposal: Proposal,
    },
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ModelChange {
    /// Make it the first of its subnet's models; brings a retired one back.
    Promote {
        /// Its name or id.
        model: String,
        #[command(flatten)]
        proposal: Proposal,
    },
    /// Take it off its subnet's list: nobody is asked for it any more, past answers can still be challenged.
    Retire {
        /// Its name or id.
        model: String,
        #[command(flatten)]
        proposal: Proposal,
    },
}

#[derive(Args, Debug)]
pub(in crate::cli) struct Proposal {
    /// One line, at most 120 bytes.
    #[arg(long)]
    title: String,
    /// Reasons, at most 4096 bytes.
    #[arg(long, default_value = "")]
    text: String,
    /// Sooner in force after its vote, for a higher threshold and quorum: the parameters `gov_urgent_…`.
    #[arg(long)]
    urgent: bool,
    #[command(flatten)]
    sending: Sending,
}

/// The id of a registered model.
async fn model_of(global: &Global, named: &str) -> eyre::Result<ModelId> {
    let found: Value = global.client()?.call("assay_model", json!({ "model": named })).await?;
    Ok(serde_json::from_value(found["id"].clone())?)
}

impl Propose {
    /// What is decided, and the flags that all kinds have.
    async fn parts(&self, global: &Global) -> eyre::Result<(ProposalKind, &Proposal)> {
        Ok(match self {
            Propose::Text(proposal) => (ProposalKind::Text, proposal),
            Propose::Choice(proposal) => (ProposalKind::Choice, proposal),
            Propose::Parameter { name, subnet, proposal } => {
                // A misspelt name costs a fee on chain and nothing here.
                assay_chain_spec::Params::bounds(name)?;
                (ProposalKind::Parameter { name: name.clone(), subnet: *subnet }, proposal)
            }
            Propose::Model(ModelChange::Promote { model, proposal }) => {
                (ProposalKind::Model { action: ModelAction::Promote, model: model_of(global, model).await? }, proposal)
            }
            Propose::Model(ModelChange::Retire { model, proposal }) => {
                (ProposalKind::Model { action: ModelAction::Retire, model: model_of(global, model).await? }, proposal)
            }
            Propose::Treasury { to, amount, proposal } => {
                (ProposalKind::Treasury { to: *to, amount: *amount }, proposal)
            }
            Propose::Upgrade { rules, height, proposal } => {
                (ProposalKind::Upgrade { version: *rules, height: *height }, proposal)
            }
        })
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

pub(in crate::cli) async fn run(global: &Global, propose: &Propose) -> eyre::Result<()> {
    let (kind, proposal) = propose.parts(global).await?;
    let Proposal { title, text: reasons, urgent, sending } = proposal;
    let what = format!("propose {title:?}{}", if *urgent { ", urgent" } else { "" });
    let action = Action::Propose { title: title.clone(), text: reasons.clone(), kind, urgent: *urgent };
    let key = global.wallet(sending.wallet.as_deref())?;
    let mut sent = global.deliver(sending, &key, action, &what).await?;
    if sent.value["height"].is_u64() {
        let number = number_of(global, &key.account(), &sent.value["height"], title).await?;
        sent.words += &format!("\nit is proposal {}", text(&number));
        sent.value["proposal"] = number;
    }
    global.show(&sent.value, || sent.words);
    Ok(())
}
