//! Taking money from those at fault, and the evidence of conflicting votes.

use std::collections::BTreeMap;

use assay_chain_spec::Params;
use assay_primitives::{AccountId, Amount, Hash32, Signed, VoteContent};

use super::{Env, burn, redelegation, registry, stake};
use crate::{
    ActionError, Event, StateRead, StoreError, keys,
    overlay::Overlay,
    query,
    records::{MinerRecord, Slash, SlashReason, ValidatorRecord},
};

const SUM: StoreError = StoreError::Books("a slash exceeds what it is taken from");
/// Losses that are remembered for each account, the latest.
const LOSSES_KEPT: usize = 100;

/// Books a slash whose money is already taken: burns it and gives it a number.
fn book(
    state: &mut Overlay<'_>,
    env: &Env<'_>,
    account: AccountId,
    reason: SlashReason,
    amount: Amount,
) -> Result<u64, StoreError> {
    burn(state, amount)?;
    let mut chain = query::chain(state)?;
    let number = chain.next_slash;
    chain.next_slash += 1; // at most a few for each transaction: 2^64 is out of reach
    state.write(keys::chain(), &chain);
    let slash = Slash { account, reason, amount, height: env.block.height, epoch: env.epoch };
    state.write(keys::slash(number), &slash);
    state.emit(Event::Slashed { slash });
    Ok(number)
}

/// Whether a miner has anything that a slash could reach.
pub(super) fn has_bond(state: &Overlay<'_>, miner: &MinerRecord) -> Result<bool, StoreError> {
    Ok(miner.bond > Amount::ZERO || !state.scan(&keys::unbonds_from(&miner.operator))?.is_empty())
}

/// Takes a share of a miner's bond and of what of it is unbonding. A miner left with at most half of the parameter
/// `miner_bond` is out of the market.
pub(super) fn slash_miner(
    state: &mut Overlay<'_>,
    env: &Env<'_>,
    mut miner: MinerRecord,
    reason: SlashReason,
    basis_points: u64,
) -> Result<u64, StoreError> {
    let part = miner.bond.basis_points(basis_points);
    miner.bond = miner.bond.checked_sub(part).ok_or(SUM)?;
    miner.slashed = Some(env.epoch);
    let operator = miner.operator;
    state.write(keys::miner(&operator), &miner);
    let unbonding = stake::take_unbonding(state, &operator, 0, basis_points)?;
    let amount = unbonding.into_iter().try_fold(part, |sum, (_, part)| sum.checked_add(part)).ok_or(SUM)?;
    if miner.retired.is_none() && miner.bond.0 <= env.params.miner_bond / 2 {
        registry::retire(state, env, miner)?;
    }
    book(state, env, operator, reason, amount)
}

/// The validator that two votes convict in the block at a height, and that has a seat to lose.
///
/// # Errors
/// [`ActionError`]: they do not conflict, are too old or from the future, are not signed, or have been punished.
pub(super) fn convicted(
    state: &dyn StateRead,
    genesis: &Hash32,
    (params, epoch, height): (&Params, u64, u64),
    (first, second): (&Signed<VoteContent>, &Signed<VoteContent>),
) -> Result<ValidatorRecord, ActionError> {
    let (a, b) = (&first.body, &second.body);
    if (a.validator, a.height, a.round, a.kind) != (b.validator, b.height, b.round, b.kind) {
        return Err(ActionError::evidence(
            "the votes are not of one validator, height, round and kind: they do not conflict",
        ));
    }
    if a.block == b.block {
        return Err(ActionError::evidence("both votes are for the same block: they do not conflict"));
    }
    let operator = a.validator;
    let record = query::validator(state, &operator)?.ok_or(ActionError::unknown("validator", operator))?;
    // One slash for all: whoever lost control of a key, or runs it twice, signs many conflicting votes before its seat is gone.
    if record.tombstoned {
        return Err(ActionError::not_now(format!(
            "{operator} is tombstoned already: it was slashed once for conflicting votes and has no seat to lose"
        )));
    }
    if a.height > height {
        return Err(ActionError::not_now(format!("the votes are for height {}, above this block's", a.height)));
    }
    let oldest = epoch.saturating_sub(params.evidence_epochs);
    let from = query::epoch_start(state, oldest)?.ok_or(StoreError::Missing { what: "start of an epoch" })?;
    if a.height < from {
        return Err(ActionError::not_now(format!(
            "evidence reaches back to height {from}, the votes are for height {}",
            a.height
        )));
    }
    // Before anything that takes long: a false claim costs its sender more than it costs the validators.
    first.verify(genesis)?;
    second.verify(genesis)?;
    if query::validator_set_at(state, a.height)?.power_of(&operator).is_none() {
        return Err(ActionError::evidence(format!("{operator} was not in the validator set of height {}", a.height)));
    }
    Ok(record)
}

pub(super) fn double_sign(
    state: &mut Overlay<'_>,
    env: &Env<'_>,
    first: &Signed<VoteContent>,
    second: &Signed<VoteContent>,
) -> Result<(), ActionError> {
    let at = (env.params, env.epoch, env.block.height);
    let mut record = convicted(state, &env.block.genesis, at, (first, second))?;
    let (a, operator) = (&first.body, first.body.validator);
    record.tombstoned = true;
    state.write(keys::validator(&operator), &record);
    let basis_points = env.params.slash_double_sign;
    let since = epoch_begin(state, env, a.height)?;
    let mut lost = BTreeMap::new();
    redelegation::take_moved(state, env, &operator, since, basis_points, &mut lost)?;
    let mut parts = stake::take_unbonding(state, &operator, since, basis_points)?;
    for (delegator, delegation) in query::delegators_of(state, &operator)? {
        let part = delegation.basis_points(basis_points);
        if part > Amount::ZERO {
            stake::take(state, env.block.height, &operator, &delegator, part)?;
        }
        parts.push((delegator, part));
    }
    for (account, part) in parts {
        let sum: &mut Amount = lost.entry(account).or_default();
        *sum = sum.checked_add(part).ok_or(SUM)?;
    }
    let amount = lost.values().try_fold(Amount::ZERO, |sum, part| sum.checked_add(*part)).ok_or(SUM)?;
    let number = book(state, env, operator, SlashReason::DoubleSign, amount)?;
    state.write(keys::double_sign(&operator, a.height, a.round, a.kind), &number);
    remember(state, number, &lost)
}

/// First height of the epoch of `height`, which evidence reaches back to.
fn epoch_begin(state: &Overlay<'_>, env: &Env<'_>, height: u64) -> Result<u64, StoreError> {
    for epoch in (0..=env.epoch).rev() {
        let start = query::epoch_start(state, epoch)?.ok_or(StoreError::Missing { what: "start of an epoch" })?;
        if start <= height {
            return Ok(start);
        }
    }
    Err(StoreError::Missing { what: "epoch of a height" })
}

/// Keeps what each account lost by a slash, and of each account only the latest.
fn remember(state: &mut Overlay<'_>, number: u64, lost: &BTreeMap<AccountId, Amount>) -> Result<(), ActionError> {
    for (account, amount) in lost.iter().filter(|(_, amount)| **amount > Amount::ZERO) {
        state.write(keys::lost(account, number), amount);
        let kept: Vec<_> = state.scan(&keys::lost_by(account))?.into_iter().map(|(key, _)| key).collect();
        let old = kept.len().saturating_sub(LOSSES_KEPT);
        kept.into_iter().take(old).for_each(|key| state.remove(key));
    }
    Ok(())
}
