//! The last block of an epoch: revealed scores become money, unbonding money is released, the validator set is chosen.
//!
//! ```text
//! reveals of epoch e --aggregate--> settled score of each miner  --\
//!       \-- scores as weights, outliers flagged --rewards::epoch----+--> rewards: miners' owners, validators and delegators
//! ```
//!
//! - A validator takes part if it had a permit for `e`, committed in `e` and revealed in `e + 1`. Others have no say, earn
//!   nothing, and their stored bonds stand as they are. Permits of an epoch go to those who could be in the validator set
//!   when it began; their stake counts as it was then, or as it is now if that is less: stake bought later has no say.
//! - Only scores whose audit held were revealed at all: see [`crate::audit`].
//! - A report on a miner that registered at or after the commitment does not count.
//! - Where fewer than `min_reports` count, the miner's last score stands, and stands for every validator's weight of it.
//! - Where a validator gave no report on a miner that has a settled score, that score stands in for it in the miner's pay,
//!   and earns the validator neither trust nor bonds: an unanswered task is nobody's gain.
//! - A miner that retired or was slashed in `e` or since, or whose settled score is 0, earns nothing: its share is not
//!   minted. Shares are computed first, so nobody else gains by it.
//! - A newcomer's first score, the 25th percentile of its market, is for routing alone: it weighs nothing and earns nothing
//!   until validators have agreed on one.
//! - An epoch for which nobody revealed, or a market without miners, mints nothing.
//! - Every division rounds down. What rounding leaves goes to [`crate::treasury`].

mod attendance;
mod beacon;
mod market;
mod rules;

use assay_chain_spec::{Params, voting_power};
use assay_consensus::rewards;
use assay_primitives::{AccountId, Amount, Validator, ValidatorSet};

use crate::{
    Event, StateRead, StoreError,
    execute::{Env, decay_prices, forget_moved, jail_absent, release},
    keys,
    overlay::Overlay,
    query,
    records::ValidatorRecord,
};

/// Epoch reports kept for each subnet.
pub const REPORTS_KEPT: u64 = 1000;
/// Settled epochs whose revealed scores are kept, for those who want to know what a score was made of.
pub const REVEALS_KEPT: u64 = 8;
/// Epochs in which a retired miner is still listed, beyond those that evidence reaches back: its last ones are settled.
const LISTED_AFTER_EVIDENCE: u64 = 2;
/// Epochs whose first heights are kept; above the largest `evidence_epochs` by more than [`LISTED_AFTER_EVIDENCE`].
const EPOCH_STARTS_KEPT: u64 = 1004;
/// All money together stays below this, so that no sum of money overflows: emission stops there.
const SUPPLY_LIMIT: u64 = 1 << 63;

/// Ends the epoch of this block.
pub(crate) fn end_epoch(state: &mut Overlay<'_>, env: &Env<'_>) -> Result<(), StoreError> {
    let height = env.block.height;
    if let Some(scored) = env.epoch.checked_sub(1) {
        // Before settlement, which forgets commitments and reveals.
        attendance::count(state, scored)?;
        beacon::mix(state, env, scored)?;
        let subnets = query::subnets(state)?;
        let emission = rewards::emission_at(env.params.epoch_emission, env.params.emission_halving_epochs, scored);
        let share = emission.checked_div(subnets.len() as u64).unwrap_or(0);
        for subnet in subnets {
            let supply = query::supply(state)?;
            let exists = supply.genesis.saturating_add(supply.minted).saturating_sub(supply.burned);
            let emission = share.min(SUPPLY_LIMIT.saturating_sub(exists));
            market::settle(state, env, scored, subnet.id, emission)?;
        }
        state.remove(keys::permits(scored));
        state.remove(keys::audit(scored));
    }
    unlist_miners(state, env)?;
    release(state, env.epoch)?;
    forget_moved(state, env.epoch)?;
    decay_prices(state, env.params)?;
    jail_absent(state, env)?;
    choose_validators(state, env)?;
    write_permits(state, env.epoch.saturating_add(1), env.params)?;
    for (key, _) in state.scan(&keys::challenge_counts(env.epoch))? {
        state.remove(key);
    }
    let mut chain = query::chain(state)?;
    chain.epoch = env.epoch.saturating_add(1);
    chain.epoch_start = height.saturating_add(1);
    chain.epoch_end = height.saturating_add(env.params.tempo);
    state.write(keys::chain(), &chain);
    state.write(keys::epoch_start(chain.epoch), &chain.epoch_start);
    if let Some(old) = chain.epoch.checked_sub(EPOCH_STARTS_KEPT) {
        state.remove(keys::epoch_start(old));
    }
    state.emit(Event::EpochEnded { epoch: env.epoch, height });
    Ok(())
}

/// Takes miners that left long ago off their market's list, so that reading it does not grow for good. Their records stay.
fn unlist_miners(state: &mut Overlay<'_>, env: &Env<'_>) -> Result<(), StoreError> {
    let kept = env.params.evidence_epochs.saturating_add(LISTED_AFTER_EVIDENCE);
    let Some(oldest) = env.epoch.checked_sub(kept) else { return Ok(()) };
    let from = query::epoch_start(state, oldest)?.ok_or(StoreError::Missing { what: "start of an epoch" })?;
    for subnet in query::subnets(state)? {
        for miner in query::miners(state, subnet.id)? {
            if miner.retired.is_some_and(|height| height < from) {
                state.remove(keys::mines(subnet.id, &miner.operator));
            }
        }
    }
    Ok(())
}

/// Validators with enough stake that never signed conflicting votes and are not jailed: the `max_validators` largest by stake, equal ones by account.
/// By ascending account.
fn eligible(state: &Overlay<'_>, params: &Params) -> Result<Vec<ValidatorRecord>, StoreError> {
    let mut validators = query::validators(state)?;
    validators.retain(|v| !v.tombstoned && v.jailed.is_none() && v.stake.0 >= params.min_validator_stake);
    validators.sort_by_key(|v| (std::cmp::Reverse(v.stake), v.operator));
    validators.truncate(usize::try_from(params.max_validators).unwrap_or(usize::MAX));
    validators.sort_by_key(|v| v.operator);
    Ok(validators)
}

/// Fixes whose scores of an epoch that begins will count, and with what stake at most.
pub(crate) fn write_permits(state: &mut Overlay<'_>, epoch: u64, params: &Params) -> Result<(), StoreError> {
    let permits: Vec<(AccountId, Amount)> =
        eligible(state, params)?.into_iter().map(|v| (v.operator, v.stake)).collect();
    state.write(keys::permits(epoch), &permits);
    Ok(())
}

/// Chooses the set of the next height. If nobody qualifies the set stands as it is: a chain without voters never returns.
fn choose_validators(state: &mut Overlay<'_>, env: &Env<'_>) -> Result<(), StoreError> {
    let of = |v: ValidatorRecord| Validator { account: v.operator, power: voting_power(v.stake) };
    let chosen: Vec<_> = eligible(state, env.params)?.into_iter().map(of).collect();
    let now = query::next_validator_set(state)?;
    match ValidatorSet::new(chosen) {
        Ok(next) if next != now => {
            state.write(keys::set_next(), &next);
            state.write(keys::set_after(env.block.height), &next);
            state.emit(Event::ValidatorsChanged { from_height: env.block.height.saturating_add(1) });
        }
        _ => {}
    }
    Ok(())
}
