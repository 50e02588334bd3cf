//! Delegations, their sums per account, and money on its way out.

use assay_primitives::{AccountId, Amount};

use super::{Env, credit, money::debit};
use crate::{
    ActionError, StateRead, StoreError, keys,
    overlay::Overlay,
    query,
    records::{AccountStake, Unbonding, ValidatorRecord},
};

const SUM: StoreError = StoreError::Books("a sum of stake does not fit its parts");

pub(super) fn stake(
    state: &mut Overlay<'_>,
    env: &Env<'_>,
    from: AccountId,
    validator: AccountId,
    amount: Amount,
) -> Result<(), ActionError> {
    // Slashing, payment and a validator's own reads go through its delegations one by one, so none may be dust.
    ActionError::limit("the amount in grain", env.params.min_delegation, u64::MAX, amount.0)?;
    let record = takes_stake(state, validator)?;
    debit(state, &from, amount, "the stake")?;
    Ok(add(state, env.block.height, record, &from, amount)?)
}

/// The validator, if stake may be put with it.
pub(super) fn takes_stake(state: &Overlay<'_>, validator: AccountId) -> Result<ValidatorRecord, ActionError> {
    let record = query::validator(state, &validator)?.ok_or(ActionError::unknown("validator", validator))?;
    if record.tombstoned {
        return Err(ActionError::not_now(format!(
            "{validator} signed two conflicting votes and takes no stake; choose another"
        )));
    }
    Ok(record)
}

/// Books a delegation whose money was taken from somewhere.
pub(crate) fn add(
    state: &mut Overlay<'_>,
    height: u64,
    mut validator: ValidatorRecord,
    delegator: &AccountId,
    amount: Amount,
) -> Result<(), StoreError> {
    let operator = validator.operator;
    let delegation = query::delegation(state, &operator, delegator)?.checked_add(amount).ok_or(SUM)?;
    state.write(keys::delegation(&operator, delegator), &delegation);
    state.write_bytes(keys::delegated(delegator, &operator), Vec::new());
    validator.stake = validator.stake.checked_add(amount).ok_or(SUM)?;
    state.write(keys::validator(&operator), &validator);
    shift(state, height, delegator, |sum| sum.checked_add(amount))?;
    total(state, |sum| sum.checked_add(amount.0))
}

/// Takes from a delegation; the caller books where the money goes. At most the delegation.
pub(super) fn take(
    state: &mut Overlay<'_>,
    height: u64,
    operator: &AccountId,
    delegator: &AccountId,
    amount: Amount,
) -> Result<(), StoreError> {
    let rest = query::delegation(state, operator, delegator)?.checked_sub(amount).ok_or(SUM)?;
    if rest == Amount::ZERO {
        state.remove(keys::delegation(operator, delegator));
        state.remove(keys::delegated(delegator, operator));
    } else {
        state.write(keys::delegation(operator, delegator), &rest);
    }
    let mut validator =
        query::validator(state, operator)?.ok_or(StoreError::Missing { what: "validator of a delegation" })?;
    validator.stake = validator.stake.checked_sub(amount).ok_or(SUM)?;
    state.write(keys::validator(operator), &validator);
    shift(state, height, delegator, |sum| sum.checked_sub(amount))?;
    total(state, |sum| sum.checked_sub(amount.0))
}

pub(super) fn unstake(
    state: &mut Overlay<'_>,
    env: &Env<'_>,
    delegator: AccountId,
    validator: AccountId,
    amount: Amount,
) -> Result<(), ActionError> {
    ActionError::limit("the amount in grain", 1, u64::MAX, amount.0)?;
    let found = may_take(state, env, &delegator, validator, amount, "this unstaking")?;
    // What leaves is kept for epochs and gone through one by one, so no part of it may be dust.
    if amount < found {
        ActionError::limit("the amount in grain, unless it is all,", env.params.min_delegation, u64::MAX, amount.0)?;
    }
    take(state, env.block.height, &validator, &delegator, amount)?;
    if query::stake_of(state, &delegator)? == Amount::ZERO {
        super::governance::forget_delegate(state, &delegator)?;
    }
    Ok(unbond(state, env, &delegator, &validator, amount)?)
}

/// Checks that a delegator has so much with a validator, and that no dust would stay; returns what it has.
pub(super) fn may_take(
    state: &Overlay<'_>,
    env: &Env<'_>,
    delegator: &AccountId,
    validator: AccountId,
    amount: Amount,
    what: &'static str,
) -> Result<Amount, ActionError> {
    if query::validator(state, &validator)?.is_none() {
        return Err(ActionError::unknown("validator", validator));
    }
    let found = query::delegation(state, &validator, delegator)?;
    if found < amount {
        return Err(ActionError::Funds { what, account: *delegator, needed: amount, found });
    }
    let (rest, least) = (found.0.saturating_sub(amount.0), env.params.min_delegation);
    if rest > 0 && rest < least {
        return Err(ActionError::not_now(format!(
            "{} would stay with {validator}, less than the least delegation of {}: take all {found} or leave that much",
            Amount(rest),
            Amount(least)
        )));
    }
    Ok(found)
}

/// Puts money on its way out of a stake or bond.
pub(super) fn unbond(
    state: &mut Overlay<'_>,
    env: &Env<'_>,
    account: &AccountId,
    operator: &AccountId,
    amount: Amount,
) -> Result<(), StoreError> {
    if amount == Amount::ZERO {
        return Ok(());
    }
    let mut chain = query::chain(state)?;
    let number = chain.next_unbonding;
    chain.next_unbonding += 1; // one for each transaction or slash at most: 2^64 is out of reach
    state.write(keys::chain(), &chain);
    let release = env.epoch.saturating_add(env.params.unbonding_epochs);
    let entry = Unbonding { account: *account, operator: *operator, amount, since: env.block.height, release };
    state.write(keys::unbonding(release, number), &entry);
    state.write_bytes(keys::unbonds(operator, release, number), Vec::new());
    Ok(())
}

/// Pays what is due at the end of an epoch.
pub(crate) fn release(state: &mut Overlay<'_>, epoch: u64) -> Result<(), StoreError> {
    for (key, value) in state.scan(&keys::unbondings_of_epoch(epoch))? {
        let entry: Unbonding = crate::state::decode("unbonding", &key, &value)?;
        let number = keys::last_number(&key).ok_or(StoreError::Missing { what: "number of an unbonding" })?;
        credit(state, &entry.account, entry.amount)?;
        state.remove(keys::unbonds(&entry.operator, epoch, number));
        state.remove(key);
    }
    Ok(())
}

/// Takes a share of the money on its way out of `operator` since block `since`; returns what it took from whom. The caller
/// burns it.
pub(super) fn take_unbonding(
    state: &mut Overlay<'_>,
    operator: &AccountId,
    since: u64,
    basis_points: u64,
) -> Result<Vec<(AccountId, Amount)>, StoreError> {
    let mut taken = Vec::new();
    for money in leaving(state, operator)? {
        if money.entry.since >= since {
            let part = money.entry.amount.basis_points(basis_points);
            taken.push((money.entry.account, part));
            money.shorten(state, part)?;
        }
    }
    Ok(taken)
}

/// Takes at most `amount` of what one account has on its way out of `operator` since block `since`; returns how much it
/// was. The caller burns it.
pub(super) fn take_unbonding_of(
    state: &mut Overlay<'_>,
    operator: &AccountId,
    account: &AccountId,
    since: u64,
    amount: Amount,
) -> Result<Amount, StoreError> {
    if amount == Amount::ZERO {
        return Ok(amount);
    }
    let mut due = amount;
    for money in leaving(state, operator)? {
        if money.entry.account == *account && money.entry.since >= since {
            let part = due.min(money.entry.amount);
            due = due.checked_sub(part).ok_or(SUM)?;
            money.shorten(state, part)?;
        }
    }
    amount.checked_sub(due).ok_or(SUM)
}

/// Money on its way out, with its key and its index entry.
struct Leaving {
    key: Vec<u8>,
    index: Vec<u8>,
    entry: Unbonding,
}

/// All money on its way out of `operator`.
fn leaving(state: &Overlay<'_>, operator: &AccountId) -> Result<Vec<Leaving>, StoreError> {
    let found = |(index, _): (Vec<u8>, Vec<u8>)| {
        let Some(fields) = index.last_chunk::<16>() else {
            return Err(StoreError::Missing { what: "fields of an unbonding's index entry" });
        };
        let key = [keys::all::UNBONDINGS, fields].concat();
        let missing = StoreError::Missing { what: "unbonding of an index entry" };
        let entry = state.read("unbonding", &key)?.ok_or(missing)?;
        Ok(Leaving { key, index, entry })
    };
    state.scan(&keys::unbonds_from(operator))?.into_iter().map(found).collect()
}

impl Leaving {
    /// Takes a part of it; the caller burns that.
    fn shorten(mut self, state: &mut Overlay<'_>, part: Amount) -> Result<(), StoreError> {
        self.entry.amount = self.entry.amount.checked_sub(part).ok_or(SUM)?;
        if self.entry.amount == Amount::ZERO {
            state.remove(self.key);
            state.remove(self.index);
        } else {
            state.write(self.key, &self.entry);
        }
        Ok(())
    }
}

/// Changes the sum of an account's delegations. The sum before is kept if a vote may still ask for it: at most one
/// entry for each snapshot between two changes, and none once those votes have ended.
fn shift(
    state: &mut Overlay<'_>,
    height: u64,
    account: &AccountId,
    change: impl Fn(Amount) -> Option<Amount>,
) -> Result<(), StoreError> {
    let before: AccountStake = state.read("stake", &keys::stake(account))?.unwrap_or_default();
    let agenda = query::agenda(state)?;
    prune(state, account, agenda.voting.values().min().copied())?;
    let asked = agenda.voting.values().any(|snapshot| (before.since..height).contains(snapshot));
    let known = before.since > 0 || before.amount > Amount::ZERO;
    if asked && known {
        state.write(keys::stake_from(account, before.since), &before.amount.0);
    }
    let after = AccountStake { amount: change(before.amount).ok_or(SUM)?, since: height };
    state.write(keys::stake(account), &after);
    Ok(())
}

/// Forgets past sums that no open vote can ask for: all but the newest one at or before its snapshot, and what follows.
fn prune(state: &mut Overlay<'_>, account: &AccountId, oldest_snapshot: Option<u64>) -> Result<(), StoreError> {
    let past: Vec<_> = state.scan(&keys::stake_history(account))?.into_iter().map(|(key, _)| key).collect();
    let needed_from = match oldest_snapshot {
        None => past.len(),
        Some(snapshot) => {
            past.iter().rposition(|key| keys::last_number(key).is_some_and(|since| since <= snapshot)).unwrap_or(0)
        }
    };
    past.into_iter().take(needed_from).for_each(|key| state.remove(key));
    Ok(())
}

fn total(state: &mut Overlay<'_>, change: impl Fn(u64) -> Option<u64>) -> Result<(), StoreError> {
    let mut chain = query::chain(state)?;
    chain.total_stake = change(chain.total_stake).ok_or(SUM)?;
    state.write(keys::chain(), &chain);
    Ok(())
}
