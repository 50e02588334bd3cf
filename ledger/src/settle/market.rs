//! One subnet's epoch: gather, aggregate, reward, pay, report.

use std::collections::{BTreeMap, BTreeSet};

use assay_consensus::{
    aggregate::{Bounds, NoConsensus, Outlier, Report, aggregate},
    rewards,
};
use assay_primitives::{AccountId, Amount, Score, task::SubnetId};
use fixed::types::I32F32;

use super::{REPORTS_KEPT, REVEALS_KEPT, rules};
use crate::{
    Event, StateRead, StoreError,
    execute::{Env, credit, mint, words},
    keys,
    overlay::Overlay,
    query,
    records::{EpochReport, MinerRecord, MinerSettlement, RevealStatus, ValidatorRecord, ValidatorSettlement},
    treasury,
    tx::ScoreEntry,
};

const UNSOUND: StoreError = StoreError::Books("the reward rules refuse the epoch that the ledger gathered");

/// A validator that committed and revealed.
struct Judge {
    record: ValidatorRecord,
    /// Stake that its scores count with.
    stake: Amount,
    /// Height of its commitment.
    committed: u64,
    mismatches: u32,
    scores: BTreeMap<AccountId, ScoreEntry>,
}

impl Judge {
    /// Its verdict on a miner, unless the miner registered after it was committed.
    fn on(&self, miner: &MinerRecord) -> Option<&ScoreEntry> {
        self.scores.get(&miner.operator).filter(|_| self.committed > miner.registered)
    }
}

/// What the validators agreed on for one miner.
struct Verdict {
    score: Score,
    confidence: Score,
    consensus: bool,
    /// Judges whose report was rejected, with the reason.
    outliers: Vec<(u16, String)>,
}

/// Settles epoch `scored` of one subnet, minting at most `emission`.
pub(super) fn settle(
    state: &mut Overlay<'_>,
    env: &Env<'_>,
    scored: u64,
    subnet: SubnetId,
    emission: u64,
) -> Result<(), StoreError> {
    let params = query::params_of(state, subnet)?;
    let env = &Env { params: &params, ..*env };
    let (judges, absent) = gather(state, scored, subnet)?;
    let miners = contenders(state, scored, subnet)?;
    let verdicts: Vec<_> = miners.iter().map(|miner| verdict(env, &judges, miner)).collect();
    let emission = if judges.is_empty() || miners.is_empty() { 0 } else { emission };
    let treasurys = Amount(emission).basis_points(env.params.emission_treasury);
    let input = input(state, subnet, &judges, &miners, &verdicts, emission.saturating_sub(treasurys.0))?;
    let output = rewards::epoch(&rules::rewards(env.params), &input).map_err(|_| UNSOUND)?;

    let mut paid = Paid { remainder: Amount(output.remainder), minted: Amount::ZERO };
    paid.account(state, &treasury(), treasurys)?;
    let mut miner_lines = Vec::with_capacity(miners.len());
    for (m, (miner, verdict)) in miners.iter().zip(&verdicts).enumerate() {
        let uid = judges.len() + m;
        let withheld = withheld(miner, verdict, scored);
        let share = Amount(output.server_emission[uid]);
        let reward = if withheld.is_some() { Amount::ZERO } else { share };
        paid.account(state, &miner.owner, reward)?;
        let mut record = miner.clone();
        if verdict.consensus {
            (record.score, record.scored) = (verdict.score, Some(scored));
        }
        if !judges.is_empty() {
            record.emission = reward;
        }
        state.write(keys::miner(&miner.operator), &record);
        let mut line = miner_line(&judges, miner, verdict);
        line.consensus_weight = score(output.consensus[uid])?;
        line.rank = score(output.ranks[uid])?;
        line.trust = score(output.trust[uid])?;
        line.incentive = score(output.incentive[uid])?;
        line.reward = reward;
        line.withheld = withheld;
        miner_lines.push(line);
    }
    let mut validator_lines = absent;
    for (v, judge) in judges.iter().enumerate() {
        let bonds: Vec<_> = output.bonds[v]
            .iter()
            .filter_map(|(uid, bond)| Some((miners.get(usize::from(*uid).checked_sub(judges.len())?)?.operator, *bond)))
            .collect();
        state.write(keys::bonds(subnet, &judge.record.operator), &bonds);
        validator_lines.push(ValidatorSettlement {
            account: judge.record.operator,
            stake: judge.record.stake,
            counted: judge.stake,
            share: score(output.stake[v])?,
            given: input.weights[v].iter().fold(0u64, |sum, (_, w)| sum.saturating_add(w.to_bits().unsigned_abs())),
            reveal: RevealStatus::Revealed,
            mismatches: judge.mismatches,
            trust: score(output.validator_trust[v])?,
            dividend: score(output.dividends[v])?,
            reward: paid.validator(state, &judge.record, Amount(output.validator_emission[v]))?,
            bonds,
        });
    }
    validator_lines.sort_by_key(|line| line.account);
    paid.finish(state)?;
    let report = EpochReport {
        epoch: scored,
        subnet,
        height: env.block.height,
        emission: paid.minted,
        treasury: treasurys,
        remainder: paid.remainder,
        miners: miner_lines,
        validators: validator_lines,
    };
    state.write(keys::report(scored, subnet), &report);
    if let Some(old) = scored.checked_sub(REPORTS_KEPT) {
        state.remove(keys::report(old, subnet));
    }
    let over = scored.checked_sub(REVEALS_KEPT).map(|old| keys::reveals(old, subnet));
    for prefix in std::iter::once(keys::commitments(scored, subnet)).chain(over) {
        for (key, _) in state.scan(&prefix)? {
            state.remove(key);
        }
    }
    state.emit(Event::Settled { epoch: scored, subnet, emission: paid.minted });
    Ok(())
}

/// Validators that take part, and the lines of those that could have.
fn gather(
    state: &Overlay<'_>,
    scored: u64,
    subnet: SubnetId,
) -> Result<(Vec<Judge>, Vec<ValidatorSettlement>), StoreError> {
    let (mut judges, mut absent) = (Vec::new(), Vec::new());
    for (operator, permitted) in query::permits(state, scored)? {
        let missing = StoreError::Missing { what: "validator of a permit" };
        let record = query::validator(state, &operator)?.ok_or(missing)?;
        if record.tombstoned {
            continue;
        }
        let stake = record.stake.min(permitted);
        let commitment = query::commitment(state, scored, subnet, &operator)?;
        let reveal = query::reveal(state, scored, subnet, &operator)?;
        if let (Some(commitment), Some(reveal)) = (commitment, reveal) {
            let scores = reveal.scores.into_iter().map(|entry| (entry.miner, entry)).collect();
            let (committed, mismatches) = (commitment.height, commitment.mismatches);
            judges.push(Judge { record, stake, committed, mismatches, scores });
            continue;
        }
        absent.push(ValidatorSettlement {
            account: operator,
            stake: record.stake,
            counted: Amount::ZERO,
            share: Score::ZERO,
            given: 0,
            reveal: match commitment {
                None => RevealStatus::NotCommitted,
                Some(commitment) if commitment.mismatches > 0 => RevealStatus::Mismatched,
                Some(_) => RevealStatus::Missed,
            },
            mismatches: commitment.map_or(0, |commitment| commitment.mismatches),
            trust: Score::ZERO,
            dividend: Score::ZERO,
            reward: Amount::ZERO,
            bonds: state.read("bonds", &keys::bonds(subnet, &operator))?.unwrap_or_default(),
        });
    }
    Ok((judges, absent))
}

/// Miners that were in the market for some of the scored epoch, by ascending account.
fn contenders(state: &Overlay<'_>, scored: u64, subnet: SubnetId) -> Result<Vec<MinerRecord>, StoreError> {
    let missing = StoreError::Missing { what: "start of the scored epoch" };
    let from = query::epoch_start(state, scored)?.ok_or(missing)?;
    let until = query::chain(state)?.epoch_start;
    let mut miners = query::miners(state, subnet)?;
    miners.retain(|miner| miner.registered < until && miner.retired.is_none_or(|height| height >= from));
    Ok(miners)
}

fn verdict(env: &Env<'_>, judges: &[Judge], miner: &MinerRecord) -> Verdict {
    let mut who = Vec::new();
    let mut reports = Vec::new();
    for (v, judge) in (0u16..).zip(judges) {
        if let Some(entry) = judge.on(miner) {
            who.push(v);
            let (value, confidence) = (entry.score.to_fixed(), entry.confidence.to_fixed());
            reports.push(Report { value, stake: judge.stake.0, confidence });
        }
    }
    let rules = rules::aggregation(env.params);
    let named = |outliers: &[Outlier]| -> Vec<(u16, String)> {
        let name = |o: &Outlier| Some((*who.get(o.index as usize)?, words(&o.reason, rules.cut_off_milli)));
        outliers.iter().filter_map(name).collect()
    };
    let stands = |outliers: &[Outlier]| Verdict {
        // A score that no validator gave weighs nothing.
        score: if miner.scored.is_some() { miner.score } else { Score::ZERO },
        confidence: Score::ZERO,
        consensus: false,
        outliers: named(outliers),
    };
    match aggregate(&rules, Bounds::UNIT, &reports) {
        Ok(settled) => match (Score::from_fixed(settled.value), Score::from_fixed(settled.confidence)) {
            (Ok(score), Ok(confidence)) => {
                Verdict { score, confidence, consensus: true, outliers: named(&settled.outliers) }
            }
            _ => stands(&settled.outliers),
        },
        Err(NoConsensus::TooFewValidators { outliers, .. } | NoConsensus::NoStake { outliers }) => stands(&outliers),
        Err(_) => stands(&[]),
    }
}

/// Uids: the judges first, then the miners, each by ascending account.
fn input(
    state: &Overlay<'_>,
    subnet: SubnetId,
    judges: &[Judge],
    miners: &[MinerRecord],
    verdicts: &[Verdict],
    emission: u64,
) -> Result<rewards::Input, StoreError> {
    let first = u16::try_from(judges.len()).map_err(|_| UNSOUND)?;
    let is_judge: Vec<bool> = (0..judges.len() + miners.len()).map(|uid| uid < judges.len()).collect();
    let mut input = rewards::Input {
        stake: judges.iter().map(|j| j.stake.0).chain(miners.iter().map(|_| 0)).collect(),
        active: is_judge.clone(),
        permit: is_judge.clone(),
        new_permit: is_judge,
        last_update: judges.iter().map(|j| j.committed).chain(miners.iter().map(|_| 0)).collect(),
        registered: judges.iter().map(|_| 0).chain(miners.iter().map(|m| m.registered)).collect(),
        // Bonds lie under account ids, and an operator key has its role for good: no key inherits another's bonds.
        last_epoch: u64::MAX,
        weights: Vec::new(),
        bonds: Vec::new(),
        flagged: BTreeSet::new(),
        emission,
    };
    let uids: BTreeMap<AccountId, u16> = miners.iter().map(|m| m.operator).zip(first..).collect();
    for (v, judge) in (0u16..).zip(judges) {
        // A miner that a validator could not score is not worth less for it: the settled score stands in for the missing
        // report, flagged, so that the validator earns neither trust nor bonds by it.
        let missing =
            |(_, (miner, verdict)): &(u16, (&MinerRecord, &Verdict))| verdict.consensus && judge.on(miner).is_none();
        let entries = || (first..).zip(miners.iter().zip(verdicts));
        input.flagged.extend(entries().filter(missing).map(|(uid, _)| (v, uid)));
        let weight = |(uid, (miner, verdict)): (u16, (&MinerRecord, &Verdict))| {
            let given = judge.on(miner).filter(|_| verdict.consensus).map_or(verdict.score, |entry| entry.score);
            (uid, given.to_fixed())
        };
        input.weights.push(entries().map(weight).collect());
        let stored: Vec<(AccountId, u16)> =
            state.read("bonds", &keys::bonds(subnet, &judge.record.operator))?.unwrap_or_default();
        let mut bonds: Vec<_> = stored.iter().filter_map(|(miner, bond)| Some((*uids.get(miner)?, *bond))).collect();
        bonds.sort_unstable();
        input.bonds.push(bonds);
    }
    for (uid, verdict) in (first..).zip(verdicts) {
        input.weights.push(Vec::new());
        input.bonds.push(Vec::new());
        input.flagged.extend(verdict.outliers.iter().map(|(judge, _)| (*judge, uid)));
    }
    Ok(input)
}

/// Why a miner earns nothing for the scored epoch, if so.
fn withheld(miner: &MinerRecord, verdict: &Verdict, scored: u64) -> Option<String> {
    if let Some(epoch) = miner.slashed.filter(|epoch| *epoch >= scored) {
        return Some(format!("it was slashed in epoch {epoch}"));
    }
    if let Some(height) = miner.retired {
        return Some(format!("it left the market at height {height}"));
    }
    if miner.scored.is_none() && !verdict.consensus {
        return Some("it is not scored yet: too few validators reported on it".into());
    }
    (verdict.score == Score::ZERO).then(|| "its settled score is 0".into())
}

fn miner_line(judges: &[Judge], miner: &MinerRecord, verdict: &Verdict) -> MinerSettlement {
    let entries = || judges.iter().filter_map(|judge| Some((judge.record.operator, judge.on(miner)?)));
    let sum = |count: fn(&ScoreEntry) -> u32| entries().fold(0u32, |sum, (_, entry)| sum.saturating_add(count(entry)));
    let outliers = verdict.outliers.iter();
    MinerSettlement {
        account: miner.operator,
        score: verdict.score,
        confidence: verdict.confidence,
        consensus: verdict.consensus,
        outliers: outliers.map(|(v, reason)| (judges[usize::from(*v)].record.operator, reason.clone())).collect(),
        reports: entries().map(|(validator, entry)| (validator, entry.score)).collect(),
        responses: sum(|entry| entry.responses),
        proofs_verified: sum(|entry| entry.proofs_verified),
        proofs_rejected: sum(|entry| entry.proofs_rejected),
        consensus_weight: Score::ZERO,
        rank: Score::ZERO,
        trust: Score::ZERO,
        incentive: Score::ZERO,
        reward: Amount::ZERO,
        withheld: None,
    }
}

fn score(share: I32F32) -> Result<Score, StoreError> {
    Score::from_fixed(share.clamp(I32F32::ZERO, I32F32::ONE)).map_err(|_| UNSOUND)
}

/// What is paid of an epoch, all of it minted.
struct Paid {
    remainder: Amount,
    minted: Amount,
}

const SUM: StoreError = StoreError::Books("rewards exceed the emission");

impl Paid {
    fn account(&mut self, state: &mut Overlay<'_>, account: &AccountId, amount: Amount) -> Result<(), StoreError> {
        self.minted = self.minted.checked_add(amount).ok_or(SUM)?;
        credit(state, account, amount)
    }

    /// The owner's take, then everyone who delegated, the owner too, in proportion. Returns what was paid.
    fn validator(
        &mut self,
        state: &mut Overlay<'_>,
        validator: &ValidatorRecord,
        reward: Amount,
    ) -> Result<Amount, StoreError> {
        let take = reward.basis_points(validator.take);
        self.account(state, &validator.owner, take)?;
        let shared = reward.checked_sub(take).ok_or(SUM)?;
        let mut paid = take;
        for (delegator, delegation) in query::delegators_of(state, &validator.operator)? {
            let part = shared.fraction(delegation.0, validator.stake.0);
            self.account(state, &delegator, part)?;
            paid = paid.checked_add(part).ok_or(SUM)?;
        }
        let dust = reward.checked_sub(paid).ok_or(SUM)?;
        self.remainder = self.remainder.checked_add(dust).ok_or(SUM)?;
        Ok(paid)
    }

    fn finish(&mut self, state: &mut Overlay<'_>) -> Result<(), StoreError> {
        self.account(state, &treasury(), self.remainder)?;
        mint(state, self.minted)
    }
}
