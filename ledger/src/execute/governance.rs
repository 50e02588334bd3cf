//! Proposals and votes: stake at a snapshot decides a question, or settles a number.
//!
//! ```text
//! Propose at height h        deposit locked; who may vote, and with how much, is the stake at the end of block h
//! h + 1 ..= voting_end       votes, each changeable
//! start of voting_end + 1    counted: Passed, Rejected (deposit back), Vetoed or NoQuorum (deposit burned)
//! start of execute_at        Executed: in force for this block's transactions; Failed where it is not possible then
//! ```
//!
//! `count` says what votes come to, `enact` what passed proposals do.
//!
//! # Urgent proposals
//!
//! A proposal may be urgent. It waits `gov_urgent_timelock_blocks` after its vote instead of `gov_timelock_blocks`. For that,
//! yes must exceed `gov_urgent_threshold` among yes, no and veto, and the stake that votes must reach
//! `max(gov_quorum, gov_urgent_threshold)` of the eligible stake; for a number the latter alone. Votes last as long as others.
//!
//! # Delegated votes
//!
//! An account may let its stake follow another's votes, until it takes that back. What it votes itself comes first. The stake
//! follows the delegate's *own* votes alone, never those that the delegate follows in turn: one hop, so that everybody sees
//! whom its stake follows, and no circle can form. Delegations count as they stand when the votes are counted, stake as it
//! stood at the snapshot. Who votes has stake of its own at the snapshot, a delegate too.

use assay_chain_spec::{OF_SUBNET, Params};
use assay_primitives::{AccountId, Amount, Score};

use super::{Env, burn, credit, money::debit};
use crate::{
    ActionError, Event, StateRead, StoreError, keys,
    overlay::Overlay,
    query,
    records::{Outcome, ParameterBounds, Proposal, ProposalStatus, VoteDelegation, VoteRecord},
    tx::{Ballot, ProposalKind},
};

mod count;
mod enact;

pub use count::{Standing, place, standing};
pub use enact::MAX_UPGRADE_AHEAD;

pub(crate) use count::words;
pub(super) use enact::{execute_due, upgrade_due};

/// Of these, places that only urgent proposals take.
const FOR_URGENT: u64 = 8;
/// Most proposals under vote at a time.
pub const MAX_OPEN_PROPOSALS: u64 = 64;

const MISSING: StoreError = StoreError::Missing { what: "proposal of the agenda" };

pub(super) fn propose(
    state: &mut Overlay<'_>,
    env: &Env<'_>,
    proposer: AccountId,
    (title, text): (&str, &str),
    kind: &ProposalKind,
    urgent: bool,
) -> Result<(), ActionError> {
    ActionError::limit("bytes in the title", 1, 120, title.len() as u64)?;
    if title.chars().any(char::is_control) {
        return Err(ActionError::malformed("the title", "must be one line without control characters"));
    }
    ActionError::limit("bytes in the text", 0, 4096, text.len() as u64)?;
    let bounds = match kind {
        ProposalKind::Parameter { name, subnet } => {
            if let Some(subnet) = subnet {
                query::subnet(state, *subnet)?.ok_or(ActionError::unknown("subnet", subnet))?;
                if !OF_SUBNET.contains(&name.as_str()) {
                    let reason =
                        format!("{name} is the whole chain's; a subnet may have its own {}", OF_SUBNET.join(", "));
                    return Err(ActionError::malformed("the parameter", reason));
                }
            }
            Some(ParameterBounds::from(Params::bounds(name)?))
        }
        _ => None,
    };
    let mut agenda = query::agenda(state)?;
    let places = if urgent { MAX_OPEN_PROPOSALS } else { MAX_OPEN_PROPOSALS - FOR_URGENT };
    if agenda.voting.len() as u64 >= places {
        return Err(ActionError::not_now(format!(
            "{} proposals are under vote; wait until one ends",
            agenda.voting.len()
        )));
    }
    for id in agenda.voting.keys() {
        let open = query::proposal(state, *id)?.ok_or(MISSING)?;
        if open.kind == *kind && (open.title == title || enact::happens_once(kind)) {
            return Err(ActionError::not_now(format!(
                "proposal {id} asks the same and is under vote until height {}",
                open.voting_end
            )));
        }
    }
    let (timelock, threshold, quorum) = rules(env.params, urgent);
    let snapshot = env.block.height;
    let late = ActionError::Overflow("the voting period's end");
    let voting_end = snapshot.checked_add(env.params.gov_voting_blocks).ok_or(late.clone())?;
    let execute_at = voting_end.checked_add(timelock).and_then(|h| h.checked_add(1)).ok_or(late)?;
    enact::check(state, kind, snapshot, execute_at)?;
    let deposit = Amount(env.params.gov_deposit);
    debit(state, &proposer, deposit, "the proposal's deposit")?;
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
        quorum,
        threshold,
        veto: env.params.gov_veto,
        voting_end,
        execute_at,
        status: ProposalStatus::Voting,
        outcome: None,
        urgent,
    };
    put(state, &proposal);
    Ok(())
}

/// Timelock in blocks, threshold and quorum in basis points.
fn rules(params: &Params, urgent: bool) -> (u64, u64, u64) {
    match urgent {
        false => (params.gov_timelock_blocks, params.gov_threshold, params.gov_quorum),
        true => {
            let threshold = params.gov_urgent_threshold;
            (params.gov_urgent_timelock_blocks, threshold, params.gov_quorum.max(threshold))
        }
    }
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

/// An open proposal that an account may vote on in the block at a height, and the stake that it votes with.
///
/// # Errors
/// [`ActionError`]: it is not open, the ballot is none of its kind, or the account had no stake.
pub(super) fn may_vote(
    state: &dyn StateRead,
    height: u64,
    voter: AccountId,
    id: u64,
    ballot: Ballot,
) -> Result<(Proposal, u64), ActionError> {
    let proposal = query::proposal(state, id)?.ok_or(ActionError::unknown("proposal", id))?;
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
        (ProposalKind::Parameter { .. }, Ballot::Value(value), Some(bounds)) => {
            ActionError::limit("the value voted for", bounds.low, bounds.high, value)?;
        }
        (ProposalKind::Parameter { name, .. }, ..) => {
            return Err(ActionError::malformed("the ballot", format!("a vote on parameter {name} names a number")));
        }
        (kind, Ballot::Value(_), _) => {
            let reason = format!("{} proposals take yes, no, abstain or veto, not a number", kind.name());
            return Err(ActionError::malformed("the ballot", reason));
        }
        _ => {}
    }
    let stake = query::stake_at(state, &voter, proposal.snapshot)?;
    if stake == 0 {
        let at = proposal.snapshot;
        return Err(ActionError::not_now(format!(
            "{voter} had no stake at height {at}, when proposal {id} was made: only stake of that time votes"
        )));
    }
    Ok((proposal, stake))
}

pub(super) fn vote(
    state: &mut Overlay<'_>,
    env: &Env<'_>,
    voter: AccountId,
    id: u64,
    ballot: Ballot,
) -> Result<(), ActionError> {
    let height = env.block.height;
    let (_, stake) = may_vote(state, height, voter, id, ballot)?;
    state.write(keys::vote(id, &voter), &VoteRecord { ballot, stake, height, via: None });
    Ok(())
}

/// Lets an account's stake follow another's votes, or takes that back. Only accounts with stake have a vote to give, so
/// that a delegate's list cannot be filled for fees alone.
pub(super) fn delegate(
    state: &mut Overlay<'_>,
    env: &Env<'_>,
    signer: AccountId,
    to: Option<AccountId>,
) -> Result<(), ActionError> {
    let before = query::vote_delegation(state, &signer)?;
    match (to, before) {
        (Some(to), _) if to == signer => {
            return Err(ActionError::malformed("the delegate", "must be another account; your own votes count anyway"));
        }
        (Some(to), Some(before)) if to == before.to => {
            return Err(ActionError::exists("a delegation of votes to", to));
        }
        (None, None) => return Err(ActionError::not_now(format!("{signer} delegates its votes to nobody"))),
        (Some(_), _) if query::stake_of(state, &signer)? == Amount::ZERO => {
            return Err(ActionError::not_now(format!("{signer} has no stake, so it has no vote to delegate")));
        }
        _ => {}
    }
    forget_delegate(state, &signer)?;
    match to {
        None => {}
        Some(to) => {
            state.write(keys::vote_delegation(&signer), &VoteDelegation { to, since: env.block.height });
            state.write_bytes(keys::vote_delegator(&to, &signer), Vec::new());
        }
    }
    Ok(())
}

/// Whose votes an account's stake follows is forgotten: it said so, or its stake is all gone.
pub(super) fn forget_delegate(state: &mut Overlay<'_>, id: &AccountId) -> Result<(), StoreError> {
    if let Some(before) = query::vote_delegation(state, id)? {
        state.remove(keys::vote_delegator(&before.to, id));
        state.remove(keys::vote_delegation(id));
    }
    Ok(())
}

/// At the start of a block: votes whose time ended are counted, and written down with the stake they counted with, those that
/// followed a delegate too.
pub(super) fn count_due(state: &mut Overlay<'_>, height: u64) -> Result<(), StoreError> {
    let mut agenda = query::agenda(state)?;
    for id in agenda.voting.keys().copied().collect::<Vec<_>>() {
        let mut proposal = query::proposal(state, id)?.ok_or(MISSING)?;
        if proposal.voting_end >= height {
            continue;
        }
        let Standing { votes, status, mut outcome, .. } = count::standing(state, &proposal)?;
        for (voter, vote) in &votes {
            state.write(keys::vote(id, voter), vote);
        }
        agenda.voting.remove(&id);
        match status {
            ProposalStatus::Vetoed | ProposalStatus::NoQuorum => burn(state, proposal.deposit)?,
            _ => credit(state, &proposal.proposer, proposal.deposit)?,
        }
        if status == ProposalStatus::Passed {
            agenda.passed.insert(id);
        }
        // What too few settled is nothing that was settled.
        if let (ProposalStatus::NoQuorum, Outcome::Parameter { value, outliers, refused, confidence, .. }) =
            (&status, &mut outcome)
        {
            (*value, *refused, *confidence) = (None, None, Score::ZERO);
            outliers.clear();
        }
        proposal.status = status;
        proposal.outcome = Some(outcome);
        put(state, &proposal);
    }
    state.write(keys::agenda(), &agenda);
    Ok(())
}
