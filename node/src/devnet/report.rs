//! What the devnet says at the end: one JSON object, or tables of who earned what and why.

use std::collections::BTreeMap;

use assay_ledger::{
    StateRead, StoreError, query,
    records::{
        EpochReport, Holdings, MinerSettlement, Outcome, Proposal, ProposalStatus, Slash, Supply, ValidatorSettlement,
    },
    tx::ProposalKind,
};
use assay_primitives::{AccountId, Amount, Hash32, Score, task::SubnetId};
use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use serde::Serialize;
use serde_json::{Value, json};

use super::layout::Behaviour;

/// Width of tables where stdout is no terminal.
const PIPE_WIDTH: u16 = 110;

/// The report of a run. Its JSON keys are documented in `docs/cli.md` and stable.
#[derive(Debug, Serialize)]
pub struct Report {
    chain_id: String,
    genesis_hash: Hash32,
    height: u64,
    state_roots: BTreeMap<String, Hash32>,
    epochs: Vec<Epoch>,
    slashes: Vec<Slash>,
    proposals: Vec<ProposalLine>,
    supply: SupplyLine,
    #[serde(skip)]
    names: BTreeMap<AccountId, String>,
}

#[derive(Debug, Serialize)]
struct Epoch {
    epoch: u64,
    miners: Vec<MinerLine>,
    validators: Vec<ValidatorLine>,
}

#[derive(Debug, Serialize)]
struct MinerLine {
    account: AccountId,
    subnet: Option<SubnetId>,
    behaviour: Option<Behaviour>,
    responses: u32,
    proofs_verified: u32,
    proofs_rejected: u32,
    score: Score,
    incentive: Score,
    reward: Amount,
}

#[derive(Debug, Serialize)]
struct ValidatorLine {
    account: AccountId,
    stake: Amount,
    trust: Score,
    dividend: Score,
    reward: Amount,
}

#[derive(Debug, Serialize)]
struct ProposalLine {
    id: u64,
    kind: &'static str,
    status: ProposalStatus,
    result: Value,
    #[serde(skip)]
    title: String,
}

/// `total` is counted entry by entry over the whole state, so that it can disagree with the books.
#[derive(Debug, Serialize)]
struct SupplyLine {
    genesis: u64,
    minted: u64,
    burned: u64,
    total: u64,
}

/// What the state alone does not know.
pub(super) struct Circumstances {
    pub(super) chain_id: String,
    pub(super) genesis_hash: Hash32,
    pub(super) height: u64,
    pub(super) state_roots: BTreeMap<String, Hash32>,
    pub(super) miners: BTreeMap<AccountId, (Option<Behaviour>, Option<SubnetId>)>,
    pub(super) names: BTreeMap<AccountId, String>,
    pub(super) first_epoch: u64,
}

impl Report {
    /// Reads the report of some subnets from a state; validators' lines add up over them.
    pub(super) fn read(view: &dyn StateRead, subnets: &[SubnetId], around: Circumstances) -> Result<Self, StoreError> {
        let mut by_epoch: BTreeMap<u64, Vec<EpochReport>> = BTreeMap::new();
        for subnet in subnets {
            for report in query::epoch_reports(view, *subnet)?.into_iter().filter(|r| r.epoch >= around.first_epoch) {
                by_epoch.entry(report.epoch).or_default().push(report);
            }
        }
        let epochs = by_epoch.into_iter().map(|(number, reports)| epoch(number, &reports, &around)).collect();
        let params = query::params(view)?;
        let proposals = query::proposals(view)?;
        let proposals = proposals.into_iter().map(|p| proposal(p, |name| params.get(name).ok())).collect();
        Ok(Self {
            chain_id: around.chain_id,
            genesis_hash: around.genesis_hash,
            height: around.height,
            state_roots: around.state_roots,
            epochs,
            slashes: query::slashes(view)?,
            proposals,
            supply: supply(&query::supply(view)?, &query::holdings(view)?),
            names: around.names,
        })
    }

    fn name(&self, account: &AccountId) -> String {
        self.names.get(account).cloned().unwrap_or_else(|| account.short())
    }

    /// The tables for people.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for epoch in &self.epochs {
            text += &format!("\nEpoch {}\n{}\n{}\n", epoch.epoch, self.miners(epoch), self.validators(epoch));
        }
        if !self.proposals.is_empty() {
            text += &format!("\nGovernance\n{}\n", self.governance());
        }
        if !self.slashes.is_empty() {
            text += &format!("\nSlashes\n{}\n", self.slashes_table());
        }
        text + &self.footer()
    }

    /// A miner's behaviour, and that it cost it its place, where it did.
    fn does(&self, miner: &MinerLine, epoch: u64) -> String {
        let behaviour = miner.behaviour.map_or("-", Behaviour::name);
        let slashed = self.slashes.iter().any(|s| s.account == miner.account && s.epoch <= epoch);
        if slashed { format!("{behaviour}, slashed") } else { behaviour.to_owned() }
    }

    fn miners(&self, epoch: &Epoch) -> Table {
        let mut table =
            table(&["miner", "subnet", "does", "answers", "proofs", "rejected", "score", "incentive", "earned"]);
        for m in &epoch.miners {
            table.add_row([
                self.name(&m.account),
                m.subnet.map_or_else(String::new, |subnet| subnet.to_string()),
                self.does(m, epoch.epoch),
                m.responses.to_string(),
                m.proofs_verified.to_string(),
                m.proofs_rejected.to_string(),
                m.score.to_string(),
                percent(m.incentive),
                m.reward.to_string(),
            ]);
        }
        table
    }

    fn validators(&self, epoch: &Epoch) -> Table {
        let mut table = table(&["validator", "stake", "trust", "dividend", "earned"]);
        for v in &epoch.validators {
            table.add_row([
                self.name(&v.account),
                v.stake.to_string(),
                v.trust.to_string(),
                percent(v.dividend),
                v.reward.to_string(),
            ]);
        }
        table
    }

    fn governance(&self) -> Table {
        let mut table = table(&["#", "proposal", "kind", "status", "result"]);
        for p in &self.proposals {
            let status = serde_json::to_value(&p.status).ok().and_then(|s| s.as_str().map(str::to_owned));
            table.add_row([
                p.id.to_string(),
                p.title.clone(),
                p.kind.to_owned(),
                status.unwrap_or_default(),
                in_words(&p.result),
            ]);
        }
        table
    }

    fn slashes_table(&self) -> Table {
        let mut table = table(&["who", "why", "lost", "block", "epoch"]);
        for s in &self.slashes {
            let why = serde_json::to_value(s.reason).ok().and_then(|r| r.as_str().map(|r| r.replace('_', " ")));
            table.add_row([
                self.name(&s.account),
                why.unwrap_or_default(),
                s.amount.to_string(),
                s.height.to_string(),
                s.epoch.to_string(),
            ]);
        }
        table
    }

    fn footer(&self) -> String {
        let s = &self.supply;
        let roots: std::collections::BTreeSet<_> = self.state_roots.values().collect();
        let agreement = match (roots.len(), roots.first()) {
            (1, Some(root)) => format!("{} nodes agree on state root {}", self.state_roots.len(), root.short()),
            (n, _) => format!("NODES DISAGREE: {n} different state roots"),
        };
        let books = u128::from(s.genesis) + u128::from(s.minted) - u128::from(s.burned);
        let verdict = if books == u128::from(s.total) { "equals" } else { "DOES NOT EQUAL" };
        format!(
            "\nSupply  {} at genesis + {} minted - {} burned\n        {verdict} {} found in all accounts, stakes, bonds and deposits.\nHeight  {}: {agreement}.\n",
            Amount(s.genesis),
            Amount(s.minted),
            Amount(s.burned),
            Amount(s.total),
            self.height
        )
    }
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    // In a pipe there is no terminal to fit: lines that a person can still read there.
    if table.width().is_none() {
        table.set_width(PIPE_WIDTH);
    }
    table.set_header(header);
    table
}

fn percent(share: Score) -> String {
    format!("{:.1} %", share.to_f64() * 100.0)
}

fn in_words(result: &Value) -> String {
    match result {
        Value::Object(fields) => fields
            .iter()
            .filter(|(_, v)| !v.is_null())
            .map(|(key, value)| match (key.as_str(), value.as_u64()) {
                ("yes" | "no" | "abstain" | "veto" | "voted", Some(grains)) => format!("{key} {}", Amount(grains)),
                _ => format!("{} {}", key.replace('_', " "), value.to_string().trim_matches('"')),
            })
            .collect::<Vec<_>>()
            .join(", "),
        Value::Null => "open".into(),
        other => other.to_string(),
    }
}

fn epoch(epoch: u64, reports: &[EpochReport], around: &Circumstances) -> Epoch {
    let known = |account: &AccountId| around.miners.get(account).copied().unwrap_or_default();
    let miner = |m: &MinerSettlement| MinerLine {
        account: m.account,
        subnet: known(&m.account).1,
        behaviour: known(&m.account).0,
        responses: m.responses,
        proofs_verified: m.proofs_verified,
        proofs_rejected: m.proofs_rejected,
        score: m.score,
        incentive: m.incentive,
        reward: m.reward,
    };
    let mut miners: Vec<MinerLine> = reports.iter().flat_map(|r| &r.miners).map(miner).collect();
    let absent: Vec<AccountId> =
        around.miners.keys().filter(|a| !miners.iter().any(|m| m.account == **a)).copied().collect();
    miners.extend(absent.into_iter().map(|account| idle(account, around)));
    miners.sort_by_key(|m| around.names.get(&m.account).cloned());
    let mut validators: BTreeMap<AccountId, Vec<&ValidatorSettlement>> = BTreeMap::new();
    reports.iter().flat_map(|r| &r.validators).for_each(|v| validators.entry(v.account).or_default().push(v));
    let mut validators: Vec<ValidatorLine> = validators.into_values().filter_map(|parts| validator(&parts)).collect();
    validators.sort_by_key(|v| around.names.get(&v.account).cloned());
    Epoch { epoch, miners, validators }
}

/// A validator's line over its subnets: means of shares, the sum of rewards.
fn validator(parts: &[&ValidatorSettlement]) -> Option<ValidatorLine> {
    let first = parts.first()?;
    let mean = |of: fn(&ValidatorSettlement) -> Score| {
        let sum: u64 = parts.iter().map(|v| of(v).bits()).sum();
        Score::from_bits(sum / parts.len() as u64).unwrap_or(Score::ONE)
    };
    let reward = parts.iter().fold(0u64, |sum, v| sum.saturating_add(v.reward.0));
    Some(ValidatorLine {
        account: first.account,
        stake: first.stake,
        trust: mean(|v| v.trust),
        dividend: mean(|v| v.dividend),
        reward: Amount(reward),
    })
}

/// The line of a miner that had left the market before the epoch: it was asked nothing and earned nothing.
fn idle(account: AccountId, around: &Circumstances) -> MinerLine {
    MinerLine {
        account,
        subnet: around.miners.get(&account).and_then(|(_, subnet)| *subnet),
        behaviour: around.miners.get(&account).and_then(|(behaviour, _)| *behaviour),
        responses: 0,
        proofs_verified: 0,
        proofs_rejected: 0,
        score: Score::ZERO,
        incentive: Score::ZERO,
        reward: Amount::ZERO,
    }
}

fn proposal(proposal: Proposal, in_force: impl Fn(&str) -> Option<u64>) -> ProposalLine {
    let kind = proposal.kind.name();
    let name = match &proposal.kind {
        ProposalKind::Parameter { name, .. } => Some(name.as_str()),
        _ => None,
    };
    let result = match &proposal.outcome {
        None => Value::Null,
        Some(Outcome::Choice { tally, .. }) => json!({
            "yes": tally.yes, "no": tally.no, "abstain": tally.abstain, "veto": tally.veto,
        }),
        Some(Outcome::Parameter { value, previous, voted, outliers, .. }) => json!({
            "parameter": name, "value": value, "previous": previous, "in_force": name.and_then(in_force),
            "voted": voted, "outliers": outliers.len(),
        }),
    };
    ProposalLine { id: proposal.id, kind, status: proposal.status, result, title: proposal.title }
}

fn supply(books: &Supply, holdings: &Holdings) -> SupplyLine {
    let total = holdings.balances + holdings.stakes + holdings.bonds + holdings.unbonding + holdings.deposits;
    SupplyLine { genesis: books.genesis, minted: books.minted, burned: books.burned, total }
}
