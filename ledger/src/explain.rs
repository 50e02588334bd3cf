//! Each number between what the validators saw and the money that one account got for an epoch.
//!
//! ```text
//! marks by criterion ──> score of each report ──aggregate──> settled score, outliers
//! settled score, report ──/ all that the validator gave──> weight ──clip──> counted weight
//! counted weight x share of stake ──sum──> rank ──> incentive ──> grains        (a miner)
//! counted weight ──> bonds ──x incentive──> dividend ──> grains                 (a validator)
//! ```
//!
//! Everything is read from the state: the [`EpochReport`] says what was settled, the revealed sheets what it was settled
//! from. Sheets are kept for the last [`crate::REVEALS_KEPT`] settled epochs; for older ones the reports' scores are left.

use std::collections::BTreeMap;

use assay_primitives::{AccountId, Score, task::SubnetId};
use serde::Serialize;

use crate::{
    StateRead, StoreError, query,
    records::{EpochReport, MinerSettlement, Reveal, ValidatorSettlement},
    tx::{Mark, ScoreEntry},
};

/// What was settled for one account, and from what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The epoch's report without its lines.
    #[serde(flatten)]
    pub epoch: EpochTotals,
    /// The account's own line.
    pub line: Line,
    /// For a miner one entry for each validator that took part, for a validator one for each miner; by ascending account.
    pub verdicts: Vec<Verdict>,
    /// Whether the revealed sheets are still kept; without them the entries have neither marks nor counts.
    pub sheets_kept: bool,
}

/// An epoch's report without its lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EpochTotals {
    /// The epoch scored.
    pub epoch: u64,
    /// The market.
    pub subnet: SubnetId,
    /// The block that settled it.
    pub height: u64,
    /// Newly minted, in grain.
    pub emission: u64,
    /// The treasury's share, in grain.
    pub treasury: u64,
    /// What all miners earned, in grain.
    pub miners_earned: u64,
    /// What all validators and their delegators earned, in grain.
    pub validators_earned: u64,
    /// Rounding remainder, booked to the treasury, in grain.
    pub remainder: u64,
}

/// The line of a report that is explained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Line {
    /// A miner's.
    Miner(Box<MinerSettlement>),
    /// A validator's.
    Validator(Box<ValidatorSettlement>),
}

/// What one validator's report on one miner came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The validator.
    pub validator: AccountId,
    /// The miner.
    pub miner: AccountId,
    /// The validator's share of the counted stake.
    pub share: Score,
    /// The score it reported; `None` where it gave none, and the settled score stands in.
    pub score: Option<Score>,
    /// What the reports settled.
    pub settled: Score,
    /// Why the report is an outlier, in words.
    pub outlier: Option<String>,
    /// The sheet's entry, where it is kept.
    #[serde(flatten)]
    pub seen: Seen,
    /// What it scored divided by all that the validator gave.
    pub weight: Score,
    /// The weight cut off at the miner's consensus weight.
    pub clipped: Score,
    /// The validator's bond to the miner after this epoch, out of 65535.
    pub bond: u16,
}

/// What a validator saw of a miner; empty where its sheet is no longer kept, or has no entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// How sure it was.
    pub confidence: Option<Score>,
    /// Tasks judged.
    pub tasks: u32,
    /// Responses received.
    pub responses: u32,
    /// Responses that scored 0 whatever their marks.
    pub refuted: u32,
    /// What the criteria said.
    pub marks: Vec<Mark>,
}

impl From<&ScoreEntry> for Seen {
    fn from(entry: &ScoreEntry) -> Self {
        Self {
            confidence: Some(entry.confidence),
            tasks: entry.tasks,
            responses: entry.responses,
            refuted: entry.refuted,
            marks: entry.marks.clone(),
        }
    }
}

/// Explains what an account got for an epoch; `None` if the epoch is not settled, or the account was no part of it.
///
/// # Errors
/// [`StoreError`].
pub fn explain(
    view: &dyn StateRead,
    epoch: u64,
    subnet: SubnetId,
    account: &AccountId,
) -> Result<Option<Explanation>, StoreError> {
    let Some(report) = query::epoch_report(view, epoch, subnet)? else { return Ok(None) };
    let sheets: BTreeMap<AccountId, Reveal> = query::reveals(view, epoch, subnet)?.into_iter().collect();
    let took_part = || report.validators.iter().filter(|v| v.given > 0);
    let (line, verdicts) = if let Some(miner) = report.miners.iter().find(|m| m.account == *account) {
        let verdicts = took_part().map(|v| verdict(v, miner, &sheets)).collect();
        (Line::Miner(Box::new(miner.clone())), verdicts)
    } else if let Some(validator) = report.validators.iter().find(|v| v.account == *account) {
        let of = |m: &MinerSettlement| (validator.given > 0).then(|| verdict(validator, m, &sheets));
        (Line::Validator(Box::new(validator.clone())), report.miners.iter().filter_map(of).collect())
    } else {
        return Ok(None);
    };
    Ok(Some(Explanation { epoch: totals(&report), line, verdicts, sheets_kept: !sheets.is_empty() }))
}

fn totals(report: &EpochReport) -> EpochTotals {
    EpochTotals {
        epoch: report.epoch,
        subnet: report.subnet,
        height: report.height,
        emission: report.emission.0,
        treasury: report.treasury.0,
        miners_earned: report.miners.iter().map(|line| line.reward.0).sum(),
        validators_earned: report.validators.iter().map(|line| line.reward.0).sum(),
        remainder: report.remainder.0,
    }
}

fn verdict(validator: &ValidatorSettlement, miner: &MinerSettlement, sheets: &BTreeMap<AccountId, Reveal>) -> Verdict {
    let of = |(account, _): &&(AccountId, Score)| *account == validator.account;
    let score = miner.reports.iter().find(of).map(|(_, score)| *score);
    let entry = sheets.get(&validator.account).and_then(|sheet| sheet.scores.iter().find(|e| e.miner == miner.account));
    // As settlement weighs: where there was no report, or no consensus, the settled score stands in.
    let weighed = score.filter(|_| miner.consensus).unwrap_or(miner.score);
    let weight = Score::ratio(weighed.bits(), validator.given);
    let outlier = miner.outliers.iter().find(|(account, _)| *account == validator.account);
    let bond = validator.bonds.iter().find(|(account, _)| *account == miner.account);
    Verdict {
        validator: validator.account,
        miner: miner.account,
        share: validator.share,
        score,
        settled: miner.score,
        outlier: outlier.map(|(_, reason)| reason.clone()),
        seen: entry.filter(|_| score.is_some()).map(Seen::from).unwrap_or_default(),
        weight,
        clipped: weight.min(miner.consensus_weight),
        bond: bond.map_or(0, |(_, bond)| *bond),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::world::{World, key, ratio};

    #[test]
    fn the_numbers_of_an_explanation_lead_from_the_reports_to_the_reward() {
        let mut world = World::new();
        let miners: Vec<_> = (0..2).map(|n| key("miner", n)).collect();
        for (owner, miner) in miners.iter().enumerate() {
            world.register_miner(owner, miner).unwrap();
        }
        world.advance_to_epoch(1);
        let scores = |first, second| vec![(miners[0].account(), first), (miners[1].account(), second)];
        let sheets: Vec<_> = (0..world.validators.len())
            .map(|v| if v == 0 { scores(ratio(1, 10), ratio(9, 10)) } else { scores(ratio(9, 10), ratio(3, 10)) })
            .collect();
        let report = world.settle(&sheets);
        let found = explain(&world.state, report.epoch, 0, &miners[0].account()).unwrap().unwrap();
        let Line::Miner(line) = &found.line else { panic!("a miner has a miner's line") };
        assert_eq!((found.verdicts.len(), found.sheets_kept), (world.validators.len(), true));
        // Rank: the share of stake times the clipped weight, summed; rounded down term by term, as settlement does.
        let rank: u64 = found.verdicts.iter().map(|v| v.share.times(v.clipped).bits()).sum();
        assert_eq!(rank, line.rank.bits());
        assert_eq!(found.verdicts.iter().filter(|v| v.outlier.is_some()).count(), 1);
        assert!(found.verdicts.iter().all(|v| v.seen.marks.len() == 1 && v.seen.tasks == 2));
        let earned = found.epoch.miners_earned + found.epoch.validators_earned;
        assert_eq!(earned + found.epoch.treasury + found.epoch.remainder, found.epoch.emission);

        let validator = world.validators[1].account();
        let found = explain(&world.state, report.epoch, 0, &validator).unwrap().unwrap();
        let Line::Validator(line) = &found.line else { panic!("a validator has a validator's line") };
        assert_eq!(found.verdicts.len(), 2);
        // Trust: the clipped weights that no flag takes out, summed.
        let trust: u64 = found.verdicts.iter().filter(|v| v.outlier.is_none()).map(|v| v.clipped.bits()).sum();
        assert_eq!(trust, line.trust.bits());
        assert_eq!(explain(&world.state, report.epoch, 0, &key("stranger", 0).account()).unwrap(), None);
        assert_eq!(explain(&world.state, report.epoch + 1, 0, &validator).unwrap(), None);
    }
}
