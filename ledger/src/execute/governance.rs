//! Proposals and votes: stake at a snapshot decides a choice, or settles a number.
//!
//! ```text
//! Propose at height h        deposit locked; who may vote, and with how much, is the stake at the end of block h
//! h + 1 ..= voting_end       votes, each changeable
//! start of voting_end + 1    counted: Passed, Rejected (deposit back), Vetoed or NoQuorum (deposit burned)
//! start of execute_at        Executed: a parameter's value is in force for this block's transactions
//! ```
//!
//! A number is settled by [`assay_consensus::aggregate`] over the values' places within the parameter's bounds on a
//! logarithmic scale, `log2(v - low + 1) / log2(high - low + 1)`: bounds span many powers of ten, and a value is an
//! outlier by its ratio to the others, not by its difference. The scale keeps the order, so the aggregate (a
//! stake-weighted lower median) is the place of one of the values voted for, and that very value is taken.

use assay_chain_spec::Params;
use assay_consensus::aggregate::{Bounds, OutlierReason, Report, Rules, aggregate};
use assay_primitives::{AccountId, Amount, Score};
use fixed::types::I32F32;

use super::{Env, burn, credit, money::debit};
use crate::{
    ActionError, Event, StoreError, keys,
    overlay::Overlay,
    query,
    records::{ModelRecord, Outcome, ParameterBounds, Proposal, ProposalStatus, Tally, VoteRecord},
    tx::{Ballot, ProposalKind},
};

/// Most proposals under vote at a time.
pub const MAX_OPEN_PROPOSALS: u64 = 64;

const MISSING: StoreError = StoreError::Missing { what: "proposal of the agenda" };

pub(super) fn propose(
    state: &mut Overlay<'_>,
    env: &Env<'_>,
    proposer: AccountId,
    title: &str,
    text: &str,
    kind: &ProposalKind,
) -> Result<(), ActionError> {
    ActionError::limit("bytes in the title", 1, 120, title.len() as u64)?;
    if title.chars().any(char::is_control) {
        return Err(ActionError::malformed("the title", "must be one line without control characters"));
    }
    ActionError::limit("bytes in the text", 0, 4096, text.len() as u64)?;
    let bounds = match kind {
        ProposalKind::Choice => None,
        ProposalKind::Parameter { name } => Some(ParameterBounds::from(Params::bounds(name)?)),
    };
    let mut agenda = query::agenda(state)?;
    if agenda.voting.len() as u64 >= MAX_OPEN_PROPOSALS {
        return Err(ActionError::not_now(format!(
            "{MAX_OPEN_PROPOSALS} proposals are under vote; wait until one ends"
        )));
    }
    let deposit = Amount(env.params.gov_deposit);
    debit(state, &proposer, deposit, "the proposal's deposit")?;
    let snapshot = env.block.height;
    let late = ActionError::Overflow("the voting period's end");
    let voting_end = snapshot.checked_add(env.params.gov_voting_blocks).ok_or(late.clone())?;
    let execute_at =
        voting_end.checked_add(env.params.gov_timelock_blocks).and_then(|h| h.checked_add(1)).ok_or(late)?;
    let mut chain = query::chain(state)?;
    let id = chain.next_proposal;
    chain.next_proposal += 1; // one for each transaction at most: 2^64 is out of reach
    state.write(keys::chain(), &chain);
    agenda.voting.insert(id, snapshot);
    state.write(keys::agenda(), &agenda);
    let proposal = Proposal {
        id,
        proposer,
        title: title.into(),
        text: text.into(),
        kind: kind.clone(),
        bounds,
        deposit,
        snapshot,
        eligible: 0, // known at the end of this block: `fix_eligible`
        quorum: env.params.gov_quorum,
        threshold: env.params.gov_threshold,
        veto: env.params.gov_veto,
        voting_end,
        execute_at,
        status: ProposalStatus::Voting,
        outcome: None,
    };
    put(state, &proposal);
    Ok(())
}

/// Writes a proposal and says where it stands.
fn put(state: &mut Overlay<'_>, proposal: &Proposal) {
    state.write(keys::proposal(proposal.id), proposal);
    state.emit(Event::ProposalChanged { id: proposal.id, status: proposal.status.clone() });
}

/// At the end of a block: all stake is eligible for the proposals made in it.
pub(super) fn fix_eligible(state: &mut Overlay<'_>, height: u64) -> Result<(), StoreError> {
    let eligible = query::chain(state)?.total_stake;
    for (id, _) in query::agenda(state)?.voting.into_iter().filter(|(_, snapshot)| *snapshot == height) {
        let mut proposal = query::proposal(state, id)?.ok_or(MISSING)?;
        proposal.eligible = eligible;
        state.write(keys::proposal(id), &proposal);
    }
    Ok(())
}

pub(super) fn vote(
    state: &mut Overlay<'_>,
    env: &Env<'_>,
    voter: AccountId,
    id: u64,
    ballot: Ballot,
) -> Result<(), ActionError> {
    let proposal = query::proposal(state, id)?.ok_or(ActionError::unknown("proposal", id))?;
    let height = env.block.height;
    if height > proposal.voting_end || proposal.status != ProposalStatus::Voting {
        let end = proposal.voting_end;
        return Err(ActionError::not_now(format!(
            "votes on proposal {id} were taken until height {end}, this is height {height}"
        )));
    }
    if height <= proposal.snapshot {
        return Err(ActionError::not_now(format!(
            "votes on proposal {id} are taken from height {} on",
            proposal.snapshot + 1
        )));
    }
    match (&proposal.kind, ballot, proposal.bounds) {
        (ProposalKind::Choice, Ballot::Value(_), _) => {
            return Err(ActionError::malformed("the ballot", "a choice takes yes, no, abstain or veto, not a number"));
        }
        (ProposalKind::Parameter { .. }, Ballot::Value(value), Some(bounds)) => {
            ActionError::limit("the value voted for", bounds.low, bounds.high, value)?;
        }
        (ProposalKind::Choice, _, _) => {}
        (ProposalKind::Parameter { name }, _, _) => {
            return Err(ActionError::malformed("the ballot", format!("a vote on parameter {name} names a number")));
        }
    }
    let stake = query::stake_at(state, &voter, proposal.snapshot)?;
    if stake == 0 {
        let at = proposal.snapshot;
        return Err(ActionError::not_now(format!(
            "{voter} had no stake at height {at}, when proposal {id} was made: only stake of that time votes"
        )));
    }
    state.write(keys::vote(id, &voter), &VoteRecord { ballot, stake, height });
    Ok(())
}

/// At the start of a block: votes whose time ended are counted.
pub(super) fn count_due(state: &mut Overlay<'_>, height: u64) -> Result<(), StoreError> {
    let mut agenda = query::agenda(state)?;
    for id in agenda.voting.keys().copied().collect::<Vec<_>>() {
        let mut proposal = query::proposal(state, id)?.ok_or(MISSING)?;
        if proposal.voting_end >= height {
            continue;
        }
        let votes = query::votes(state, id)?;
        let (status, outcome) = match &proposal.kind {
            ProposalKind::Choice => choice(&proposal, &votes)?,
            ProposalKind::Parameter { name } => parameter(state, &proposal, name, &votes)?,
        };
        agenda.voting.remove(&id);
        match status {
            ProposalStatus::Vetoed | ProposalStatus::NoQuorum => burn(state, proposal.deposit)?,
            _ => credit(state, &proposal.proposer, proposal.deposit)?,
        }
        if status == ProposalStatus::Passed {
            agenda.passed.insert(id);
        }
        proposal.status = status;
        proposal.outcome = Some(outcome);
        put(state, &proposal);
    }
    state.write(keys::agenda(), &agenda);
    Ok(())
}

/// At the start of a block: passed proposals whose timelock ended come into force.
pub(super) fn execute_due(state: &mut Overlay<'_>, height: u64) -> Result<(), StoreError> {
    let mut agenda = query::agenda(state)?;
    for id in agenda.passed.iter().copied().collect::<Vec<_>>() {
        let mut proposal = query::proposal(state, id)?.ok_or(MISSING)?;
        if proposal.execute_at > height {
            continue;
        }
        agenda.passed.remove(&id);
        proposal.status = ProposalStatus::Executed;
        if let (ProposalKind::Parameter { name }, Some(Outcome::Parameter { value: Some(value), refused, .. })) =
            (&proposal.kind, &mut proposal.outcome)
        {
            // Others may have changed since the vote was counted, so the whole set is checked again.
            match changed(&query::params(state)?, &query::models(state)?, name, *value) {
                Ok(params) => state.write(keys::params(), &params),
                Err(reason) => {
                    *refused = Some(reason);
                    proposal.status = ProposalStatus::Rejected;
                }
            }
        }
        put(state, &proposal);
    }
    state.write(keys::agenda(), &agenda);
    Ok(())
}

/// The parameters with one changed, if they go together and with the registered models. The same rules as a chain spec's.
fn changed(params: &Params, models: &[ModelRecord], name: &str, value: u64) -> Result<Params, String> {
    let mut p = params.clone();
    p.set(name, value).map_err(|e| e.to_string())?;
    p.check_together().map_err(|e| format!("{name} = {value} is not possible now: {e}"))?;
    match models.iter().find(|model| model.answer_bytes > p.max_tx_bytes) {
        Some(ModelRecord { name: model, answer_bytes, .. }) => Err(format!(
            "{name} = {value} is not possible now: a challenge to model {model} is answered in up to {answer_bytes} bytes"
        )),
        None => Ok(p),
    }
}

fn has_quorum(proposal: &Proposal, voted: u64) -> bool {
    voted > 0 && u128::from(voted) * 10_000 >= u128::from(proposal.quorum) * u128::from(proposal.eligible)
}

type Votes = [(AccountId, VoteRecord)];

fn choice(proposal: &Proposal, votes: &Votes) -> Result<(ProposalStatus, Outcome), StoreError> {
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
    let against = u128::from(tally.no) + u128::from(tally.veto);
    let decided = u128::from(tally.yes) + against;
    let voted = decided + u128::from(tally.abstain);
    let quorum = has_quorum(proposal, u64::try_from(voted).map_err(|_| VOTED)?);
    let status = if !quorum {
        ProposalStatus::NoQuorum
    } else if u128::from(tally.veto) * 10_000 > u128::from(proposal.veto) * voted {
        ProposalStatus::Vetoed
    } else if u128::from(tally.yes) * 10_000 > u128::from(proposal.threshold) * decided {
        ProposalStatus::Passed
    } else {
        ProposalStatus::Rejected
    };
    Ok((status, Outcome::Choice { tally }))
}

const VOTED: StoreError = StoreError::Books("more stake voted than exists");

fn parameter(
    state: &Overlay<'_>,
    proposal: &Proposal,
    name: &str,
    votes: &Votes,
) -> Result<(ProposalStatus, Outcome), StoreError> {
    let params = query::params(state)?;
    let previous = params.get(name).map_err(|_| StoreError::Books("a proposal names no parameter"))?;
    let bounds = proposal.bounds.ok_or(StoreError::Books("a parameter's proposal has no bounds"))?;
    let mut values = Vec::with_capacity(votes.len());
    for (voter, vote) in votes {
        let Ballot::Value(value) = vote.ballot else {
            return Err(StoreError::Books("a parameter's vote holds no number"));
        };
        values.push((*voter, value, vote.stake));
    }
    let voted = values.iter().try_fold(0u64, |sum, (_, _, stake)| sum.checked_add(*stake)).ok_or(VOTED)?;
    let place = |value| Report { value: place(bounds, value), stake: 0, confidence: I32F32::ONE };
    let reports: Vec<_> = values.iter().map(|(_, value, stake)| Report { stake: *stake, ..place(*value) }).collect();
    let rules = Rules { min_validators: 1, ..Rules::default() };
    let quorum = has_quorum(proposal, voted);
    let (Ok(settled), true) = (aggregate(&rules, Bounds::UNIT, &reports), quorum) else {
        let outliers = Vec::new();
        let outcome =
            Outcome::Parameter { value: None, previous, confidence: Score::ZERO, voted, refused: None, outliers };
        return Ok((ProposalStatus::NoQuorum, outcome));
    };
    let value = median(&values, voted).ok_or(VOTED)?;
    let named = |outlier: &assay_consensus::aggregate::Outlier| {
        let (voter, value, _) = values.get(outlier.index as usize)?;
        Some((*voter, *value, words(&outlier.reason)))
    };
    let outliers = settled.outliers.iter().filter_map(named).collect();
    let refused = changed(&params, &query::models(state)?, name, value).err();
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

/// Where a value lies within bounds: 0 at the low end, at most 1 at the high end.
fn place(bounds: ParameterBounds, value: u64) -> I32F32 {
    let width = log2(bounds.high.saturating_sub(bounds.low).saturating_add(1));
    let at = log2(value.saturating_sub(bounds.low).saturating_add(1));
    if width == 0 {
        return I32F32::ZERO;
    }
    let bits = (u128::from(at) << 32) / u128::from(width);
    I32F32::from_bits(bits.min(1 << 32) as i64)
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
pub(crate) fn words(reason: &OutlierReason) -> String {
    match reason {
        OutlierReason::OutOfBounds => "out of bounds".into(),
        OutlierReason::ConfidenceOutOfRange => "its confidence is out of 0..=1".into(),
        OutlierReason::NoStake => "no stake behind it".into(),
        OutlierReason::Deviates { z_milli } => {
            format!("modified Z-score {}.{:03} is above 3.5", z_milli / 1000, z_milli % 1000)
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
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

    #[test]
    fn parameters_that_do_not_go_together_are_refused() {
        let p = Params::dev();
        assert!(changed(&p, &[], "evidence_epochs", p.unbonding_epochs + 1).unwrap_err().contains("slashing"));
        assert!(changed(&p, &[], "latency_full_ms", p.latency_zero_ms).is_err());
        assert!(changed(&p, &[], "tempo", 3).is_err());
        assert_eq!(changed(&p, &[], "tempo", 30).unwrap().tempo, 30);
    }

    proptest! {
        #[test]
        fn a_greater_value_never_has_a_lesser_place(low in 0u64..1000, width in 1u64..=1_000_000_000_000_000_000, a: u64, b: u64) {
            let bounds = ParameterBounds { low, high: low + width };
            let (a, b) = (low + a % (width + 1), low + b % (width + 1));
            prop_assert!(place(bounds, a.min(b)) <= place(bounds, a.max(b)));
            prop_assert_eq!(place(bounds, low), I32F32::ZERO);
            prop_assert!(place(bounds, low + width) <= I32F32::ONE);
        }

        #[test]
        fn the_settled_value_is_the_one_at_the_aggregates_place(votes in prop::collection::vec((4u64..=100_000, 1u64..1000), 1..12)) {
            let bounds = ParameterBounds::from(Params::bounds("tempo").unwrap());
            let values: Vec<_> = (0u64..).zip(&votes)
                .map(|(i, (value, stake))| (AccountId(Hash32::digest(&i.to_le_bytes()).0), *value, *stake)).collect();
            let voted = votes.iter().map(|(_, stake)| stake).sum();
            let reports: Vec<_> = votes.iter()
                .map(|(value, stake)| Report { value: place(bounds, *value), stake: *stake, confidence: I32F32::ONE }).collect();
            let rules = Rules { min_validators: 1, ..Rules::default() };
            let settled = aggregate(&rules, Bounds::UNIT, &reports).unwrap();
            prop_assert_eq!(place(bounds, median(&values, voted).unwrap()), settled.value);
        }
    }
}
