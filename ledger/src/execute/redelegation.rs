//! Stake that moves from one validator to another at once, and stays in reach of what it voted for before.
//!
//! A seat's power is fixed when an epoch begins, so stake that leaves within an epoch has backed its validator until that
//! epoch's end. What moved is slashed for an offence of the validator it left if it left in the epoch of the offence or
//! later; for what that validator does in later epochs it is not. Unbonding money follows the same rule.

use std::collections::BTreeMap;

use assay_primitives::{AccountId, Amount};

use super::{Env, stake};
use crate::{ActionError, StateRead, StoreError, keys, overlay::Overlay, query, records::Redelegation, state::decode};

const SUM: StoreError = StoreError::Books("a sum of moved stake does not fit its parts");

pub(super) fn redelegate(
    state: &mut Overlay<'_>,
    env: &Env<'_>,
    account: AccountId,
    (from, to): (AccountId, AccountId),
    amount: Amount,
) -> Result<(), ActionError> {
    ActionError::limit("the amount in grain", env.params.min_delegation, u64::MAX, amount.0)?;
    if from == to {
        return Err(ActionError::malformed("to", "must be another validator than the one the stake is taken from"));
    }
    let target = stake::takes_stake(state, to)?;
    let found = stake::may_take(state, env, &account, from, amount, "this move of stake")?;
    may_move_on(state, &account, &from, found, amount)?;

    let height = env.block.height;
    stake::take(state, height, &from, &account, amount)?;
    stake::add(state, height, target, &account, amount)?;
    let mut chain = query::chain(state)?;
    let number = chain.next_redelegation;
    chain.next_redelegation += 1; // one for each transaction at most: 2^64 is out of reach
    state.write(keys::chain(), &chain);
    let release = env.epoch.saturating_add(env.params.unbonding_epochs);
    state.write(keys::redelegation(release, number), &Redelegation { account, from, to, amount, height, release });
    state.write_bytes(keys::redelegates(&from, release, number), Vec::new());
    state.write_bytes(keys::redelegated(&account, &to, release, number), Vec::new());
    Ok(())
}

/// Refuses to move what itself arrived not long ago: moved twice, it would be out of reach of the first validator's offences.
fn may_move_on(
    state: &Overlay<'_>,
    account: &AccountId,
    from: &AccountId,
    found: Amount,
    amount: Amount,
) -> Result<(), ActionError> {
    let arrived = moved(state, &keys::redelegated_to(account, from))?;
    let sum = arrived.iter().try_fold(Amount::ZERO, |sum, (_, entry)| sum.checked_add(entry.amount)).ok_or(SUM)?;
    let free = found.0.saturating_sub(sum.0);
    let mut later = free;
    // By ascending epoch of release.
    for (_, entry) in &arrived {
        if later >= amount.0 {
            break;
        }
        later = later.saturating_add(entry.amount.0);
        if later >= amount.0 {
            return Err(ActionError::not_now(format!(
                "{sum} of this stake moved to {from} itself and stays slashable for the validator it came from: {} may move \
                 on now, and {amount} from epoch {} on",
                Amount(free),
                entry.release.saturating_add(1)
            )));
        }
    }
    if later >= amount.0 { Ok(()) } else { Err(SUM.into()) }
}

/// Takes a share of what left `from` since block `since`, from wherever it is bound now, and adds it to what each account
/// lost. Never more than is there; the caller burns it.
pub(super) fn take_moved(
    state: &mut Overlay<'_>,
    env: &Env<'_>,
    from: &AccountId,
    since: u64,
    basis_points: u64,
    lost: &mut BTreeMap<AccountId, Amount>,
) -> Result<(), StoreError> {
    for (number, mut entry) in moved(state, &keys::redelegates_from(from))? {
        if entry.height < since {
            continue;
        }
        let due = entry.amount.basis_points(basis_points);
        let staked = query::delegation(state, &entry.to, &entry.account)?.min(due);
        if staked > Amount::ZERO {
            stake::take(state, env.block.height, &entry.to, &entry.account, staked)?;
        }
        let rest = due.checked_sub(staked).ok_or(SUM)?;
        let leaving = stake::take_unbonding_of(state, &entry.to, &entry.account, entry.height, rest)?;
        let taken = staked.checked_add(leaving).ok_or(SUM)?;
        let sum = lost.entry(entry.account).or_default();
        *sum = sum.checked_add(taken).ok_or(SUM)?;
        entry.amount = entry.amount.checked_sub(due).ok_or(SUM)?;
        match entry.amount {
            Amount::ZERO => forget(state, number, &entry),
            _ => state.write(keys::redelegation(entry.release, number), &entry),
        }
    }
    Ok(())
}

/// Forgets what is out of reach at the end of an epoch.
pub(crate) fn forget_moved(state: &mut Overlay<'_>, epoch: u64) -> Result<(), StoreError> {
    for (key, value) in state.scan(&keys::redelegations_of_epoch(epoch))? {
        let entry: Redelegation = decode("redelegation", &key, &value)?;
        let number = keys::last_number(&key).ok_or(StoreError::Missing { what: "number of a redelegation" })?;
        forget(state, number, &entry);
    }
    Ok(())
}

fn forget(state: &mut Overlay<'_>, number: u64, entry: &Redelegation) {
    state.remove(keys::redelegation(entry.release, number));
    state.remove(keys::redelegates(&entry.from, entry.release, number));
    state.remove(keys::redelegated(&entry.account, &entry.to, entry.release, number));
}

/// The entries of an index, with their numbers.
fn moved(state: &Overlay<'_>, index: &[u8]) -> Result<Vec<(u64, Redelegation)>, StoreError> {
    let entry = |(index, _): (Vec<u8>, Vec<u8>)| {
        let Some(fields) = index.last_chunk::<16>() else {
            return Err(StoreError::Missing { what: "fields of a redelegation's index entry" });
        };
        let key = [keys::all::REDELEGATIONS, fields].concat();
        let missing = StoreError::Missing { what: "redelegation of an index entry" };
        let number = keys::last_number(&key).ok_or(StoreError::Missing { what: "number of a redelegation" })?;
        Ok((number, state.read("redelegation", &key)?.ok_or(missing)?))
    };
    state.scan(index)?.into_iter().map(entry).collect()
}
