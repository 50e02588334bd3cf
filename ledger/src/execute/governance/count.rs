//! What votes come to: whose stake stands behind which ballot, and what that decides.
//!
//! A number is settled by [`assay_consensus::aggregate`] over the values' places within the parameter's bounds on a
//! logarithmic scale, `log2(v - low + 1) / log2(high - low + 1)`: bounds span many powers of ten, and a value is an
//! outlier by its ratio to the others, not by its difference. The scale keeps the order, so the aggregate (a
//! stake-weighted lower median) is the place of one of the values voted for, and that very value is taken. An account whose
//! stake follows a delegate is a report of its own with the delegate's value.

use assay_consensus::aggregate::{Bounds, OutlierReason, Report, Rules, aggregate};
use assay_primitives::{AccountId, Score, task::SubnetId};
use fixed::types::I32F32;

use super::enact::changed;
use crate::{
    StateRead, StoreError, query,
    records::{Outcome, ParameterBounds, Proposal, ProposalStatus, Tally, VoteRecord},
    tx::{Ballot, ProposalKind},
};

/// What the votes on a proposal come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Every vote with stake behind it, by ascending account, each account once: those cast, and those that follow a delegate.
    pub votes: Vec<(AccountId, VoteRecord)>,
    /// Stake that voted, in grain.
    pub voted: u64,
    /// Whether that is as much as the proposal needs.
    pub quorum: bool,
    /// `Passed`, `Rejected`, `Vetoed` or `NoQuorum`.
    pub status: ProposalStatus,
    /// Tally, or settled value with outliers; a value is given also where too few voted for it to count.
    pub outcome: Outcome,
}

/// What the votes on a proposal under vote would come to if they were counted now, by the rules they will be counted by.
///
/// # Errors
/// [`StoreError`]. For a proposal that is decided the stake of its snapshot is no longer known exactly: its own record and
/// [`query::votes`] say what it came to.
pub fn standing(view: &dyn StateRead, proposal: &Proposal) -> Result<Standing, StoreError> {
    let votes = counted(view, proposal)?;
    let voted = votes.iter().try_fold(0u64, |sum, (_, vote)| sum.checked_add(vote.stake)).ok_or(VOTED)?;
    let quorum = has_quorum(proposal, voted);
    let (decided, outcome) = match &proposal.kind {
        ProposalKind::Parameter { name, subnet } => parameter(view, proposal, (name, *subnet), &votes, voted)?,
        _ => choice(proposal, &votes, voted)?,
    };
    let status = if quorum { decided } else { ProposalStatus::NoQuorum };
    Ok(Standing { votes, voted, quorum, status, outcome })
}

/// The votes cast, and those of accounts that did not vote and whose delegate did, each with the stake of the snapshot that is
/// still staked. An account has one delegate at most, so no stake is counted twice.
fn counted(view: &dyn StateRead, proposal: &Proposal) -> Result<Vec<(AccountId, VoteRecord)>, StoreError> {
    let cast = query::votes(view, proposal.id)?;
    let mut votes = Vec::with_capacity(cast.len());
    // Stake that came for the vote and left before it was counted decides nothing.
    let held = |voter: &AccountId, then: u64| Ok::<_, StoreError>(then.min(query::stake_of(view, voter)?.0));
    for (voter, vote) in &cast {
        votes.push((*voter, VoteRecord { stake: held(voter, vote.stake)?, ..vote.clone() }));
    }
    for (delegate, vote) in &cast {
        for follower in query::vote_delegators(view, delegate)? {
            if cast.binary_search_by_key(&follower, |(voter, _)| *voter).is_ok() {
                continue;
            }
            let stake = held(&follower, query::stake_at(view, &follower, proposal.snapshot)?)?;
            if stake > 0 {
                votes.push((follower, VoteRecord { stake, via: Some(*delegate), ..vote.clone() }));
            }
        }
    }
    votes.sort_by_key(|(voter, _)| *voter);
    Ok(votes)
}

fn has_quorum(proposal: &Proposal, voted: u64) -> bool {
    voted > 0 && u128::from(voted) * 10_000 >= u128::from(proposal.quorum) * u128::from(proposal.eligible)
}

type Votes = [(AccountId, VoteRecord)];

fn choice(proposal: &Proposal, votes: &Votes, voted: u64) -> Result<(ProposalStatus, Outcome), StoreError> {
    let mut tally = Tally::default();
    for (_, vote) in votes {
        let side = match vote.ballot {
            Ballot::Yes => &mut tally.yes,
            Ballot::No => &mut tally.no,
            Ballot::Abstain => &mut tally.abstain,
            Ballot::Veto => &mut tally.veto,
            Ballot::Value(_) => return Err(StoreError::Books("a choice holds a vote for a number")),
        };
        *side = side.checked_add(vote.stake).ok_or(VOTED)?;
    }
    let decided = u128::from(tally.yes) + u128::from(tally.no) + u128::from(tally.veto);
    let status = if u128::from(tally.veto) * 10_000 > u128::from(proposal.veto) * u128::from(voted) {
        ProposalStatus::Vetoed
    } else if u128::from(tally.yes) * 10_000 > u128::from(proposal.threshold) * decided {
        ProposalStatus::Passed
    } else {
        ProposalStatus::Rejected
    };
    Ok((status, Outcome::Choice { tally, refused: None }))
}

const VOTED: StoreError = StoreError::Books("more stake voted than exists");

fn parameter(
    view: &dyn StateRead,
    proposal: &Proposal,
    (name, subnet): (&str, Option<SubnetId>),
    votes: &Votes,
    voted: u64,
) -> Result<(ProposalStatus, Outcome), StoreError> {
    let before = subnet.map_or_else(|| query::params(view), |subnet| query::params_of(view, subnet))?;
    let previous = before.get(name).map_err(|_| StoreError::Books("a proposal names no parameter"))?;
    let bounds = proposal.bounds.ok_or(StoreError::Books("a parameter's proposal has no bounds"))?;
    let mut values = Vec::with_capacity(votes.len());
    for (voter, vote) in votes {
        let Ballot::Value(value) = vote.ballot else {
            return Err(StoreError::Books("a parameter's vote holds no number"));
        };
        values.push((*voter, value, vote.stake));
    }
    let report = |(_, value, stake): &(AccountId, u64, u64)| Report {
        value: place(bounds, *value).to_fixed(),
        stake: *stake,
        confidence: I32F32::ONE,
    };
    let reports: Vec<_> = values.iter().map(report).collect();
    let rules = Rules { min_validators: 1, ..Rules::default() };
    let Ok(settled) = aggregate(&rules, Bounds::UNIT, &reports) else {
        let outliers = Vec::new();
        let outcome =
            Outcome::Parameter { value: None, previous, confidence: Score::ZERO, voted, refused: None, outliers };
        return Ok((ProposalStatus::NoQuorum, outcome));
    };
    let value = median(&values, voted).ok_or(VOTED)?;
    let named = |outlier: &assay_consensus::aggregate::Outlier| {
        let (voter, value, _) = values.get(outlier.index as usize)?;
        Some((*voter, *value, words(&outlier.reason, rules.cut_off_milli)))
    };
    let outliers = settled.outliers.iter().filter_map(named).collect();
    let refused = changed(view, name, subnet, value)?.err();
    let status = if refused.is_some() { ProposalStatus::Rejected } else { ProposalStatus::Passed };
    let confidence = Score::from_fixed(settled.confidence).unwrap_or(Score::ZERO);
    Ok((status, Outcome::Parameter { value: Some(value), previous, confidence, voted, refused, outliers }))
}

/// The stake-weighted lower median: the value that the aggregate's place belongs to.
fn median(values: &[(AccountId, u64, u64)], voted: u64) -> Option<u64> {
    let mut sorted: Vec<_> = values.iter().map(|(_, value, stake)| (*value, *stake)).collect();
    sorted.sort_unstable();
    let mut below = 0u128;
    sorted.into_iter().find_map(|(value, stake)| {
        below += u128::from(stake);
        (below * 2 >= u128::from(voted)).then_some(value)
    })
}

/// Where a value lies within bounds, on the scale that votes are settled on: 0 at the low end, at most 1 at the high end.
#[must_use]
pub fn place(bounds: ParameterBounds, value: u64) -> Score {
    let width = log2(bounds.high.saturating_sub(bounds.low).saturating_add(1));
    let at = log2(value.saturating_sub(bounds.low).saturating_add(1));
    Score::ratio(at, width)
}

/// `floor(2^32 log2(x))` to within rounding of each step, never decreasing in `x`; `x` is at least 1.
fn log2(x: u64) -> u64 {
    let whole = x.max(1).ilog2();
    // The fraction, one bit at a time: squaring a number in 1..2 doubles its logarithm.
    let mut m = (u128::from(x.max(1)) << 63) >> whole;
    let mut bits = u64::from(whole);
    for _ in 0..32 {
        m = (m * m) >> 63;
        bits <<= 1;
        if m >= 1 << 64 {
            bits |= 1;
            m >>= 1;
        }
    }
    bits
}

/// An outlier's reason for people.
pub(crate) fn words(reason: &OutlierReason, cut_off_milli: u32) -> String {
    match reason {
        OutlierReason::OutOfBounds => "out of bounds".into(),
        OutlierReason::ConfidenceOutOfRange => "its confidence is out of 0..=1".into(),
        OutlierReason::NoStake => "no stake behind it".into(),
        OutlierReason::Deviates { z_milli } => {
            let thousandths = |n: u64| format!("{}.{:03}", n / 1000, n % 1000);
            format!("modified Z-score {} is above {}", thousandths(*z_milli), thousandths(cut_off_milli.into()))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use assay_chain_spec::Params;
    use assay_primitives::{AccountId, Hash32};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_logarithm_is_exact_at_powers_of_two() {
        for power in 0..64u64 {
            assert_eq!(log2(1 << power), power << 32);
        }
        assert!(log2(3) > 1 << 32 && log2(3) < 2 << 32);
    }

    proptest! {
        #[test]
        fn a_greater_value_never_has_a_lesser_place(low in 0u64..1000, width in 1u64..=1_000_000_000_000_000_000, a: u64, b: u64) {
            let bounds = ParameterBounds { low, high: low + width };
            let (a, b) = (low + a % (width + 1), low + b % (width + 1));
            prop_assert!(place(bounds, a.min(b)) <= place(bounds, a.max(b)));
            prop_assert_eq!(place(bounds, low), Score::ZERO);
            prop_assert!(place(bounds, low + width) <= Score::ONE);
        }

        #[test]
        fn the_settled_value_is_the_one_at_the_aggregates_place(votes in prop::collection::vec((4u64..=100_000, 1u64..1000), 1..12)) {
            let bounds = ParameterBounds::from(Params::bounds("tempo").unwrap());
            let values: Vec<_> = (0u64..).zip(&votes)
                .map(|(i, (value, stake))| (AccountId(Hash32::digest(&i.to_le_bytes()).0), *value, *stake)).collect();
            let voted = votes.iter().map(|(_, stake)| stake).sum();
            let reports: Vec<_> = votes.iter()
                .map(|(value, stake)| Report { value: place(bounds, *value).to_fixed(), stake: *stake, confidence: I32F32::ONE }).collect();
            let rules = Rules { min_validators: 1, ..Rules::default() };
            let settled = aggregate(&rules, Bounds::UNIT, &reports).unwrap();
            prop_assert_eq!(place(bounds, median(&values, voted).unwrap()).to_fixed(), settled.value);
        }
    }
}
