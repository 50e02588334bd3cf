//! Validators that are absent for too long lose their seat until they ask for it.
//!
//! An epoch is missed by a validator that had a seat in it and revealed no scores for it in any market, whether it had
//! committed or not; an epoch in which no majority of the permitted stake had anything to score is missed by nobody. After
//! the parameter `jail_after_missed` missed in a row it is jailed, unless fewer than two thirds of the current set's power would be left: of several the longest
//! absent go first, and who is spared is looked at again an epoch later. That keeps what votes now a quorum of what
//! voted before, so that jailing alone never stops the chain.

use std::cmp::Reverse;

use assay_primitives::AccountId;

use super::Env;
use crate::{
    ActionError, Event, StoreError, keys,
    overlay::Overlay,
    query,
    records::{Jail, JailReason},
};

/// Jails who was absent for too long; in the last block of an epoch, before the next set is chosen.
pub(crate) fn jail_absent(state: &mut Overlay<'_>, env: &Env<'_>) -> Result<(), StoreError> {
    let limit = env.params.jail_after_missed;
    if limit == 0 {
        return Ok(());
    }
    let set = query::next_validator_set(state)?;
    let (mut total, mut left) = (0u128, 0u128);
    let mut absent = Vec::new();
    for seat in set.iter() {
        let missing = StoreError::Missing { what: "validator of the set" };
        let record = query::validator(state, &seat.account)?.ok_or(missing)?;
        total = total.saturating_add(u128::from(seat.power));
        if record.tombstoned || record.jailed.is_some() {
            continue;
        }
        left = left.saturating_add(u128::from(seat.power));
        if record.attendance.missed_in_row >= limit {
            absent.push((record, u128::from(seat.power)));
        }
    }
    absent.sort_by_key(|(record, _)| (Reverse(record.attendance.missed_in_row), record.operator));
    for (mut record, power) in absent {
        let rest = left.saturating_sub(power);
        if rest.saturating_mul(3) < total.saturating_mul(2) {
            continue;
        }
        left = rest;
        let until = env.epoch.saturating_add(1).saturating_add(env.params.jail_epochs);
        record.jailed = Some(Jail { since: env.block.height, until, reason: JailReason::Absence });
        state.write(keys::validator(&record.operator), &record);
        let missed = record.attendance.missed_in_row;
        state.emit(Event::ValidatorJailed { validator: record.operator, missed, until });
    }
    Ok(())
}

pub(super) fn unjail(
    state: &mut Overlay<'_>,
    env: &Env<'_>,
    signer: AccountId,
    validator: AccountId,
) -> Result<(), ActionError> {
    let mut record = query::validator(state, &validator)?.ok_or(ActionError::unknown("validator", validator))?;
    if signer != record.operator && signer != record.owner {
        let expected = format!("{} or its owner {}", record.operator, record.owner);
        return Err(ActionError::NotYours { what: "the end of a jailing", expected, found: signer });
    }
    if record.tombstoned {
        return Err(ActionError::not_now(format!("{validator} signed two conflicting votes and is out for good")));
    }
    let Some(jail) = record.jailed else {
        return Err(ActionError::not_now(format!("{validator} is not jailed")));
    };
    if env.epoch < jail.until {
        return Err(ActionError::not_now(format!(
            "{validator} stays jailed until epoch {} begins, it is epoch {}",
            jail.until, env.epoch
        )));
    }
    record.jailed = None;
    record.attendance.missed_in_row = 0;
    state.write(keys::validator(&validator), &record);
    state.emit(Event::ValidatorUnjailed { validator });
    Ok(())
}
