//! Prices of texts, and what is paid for them.
//!
//! The chain knows what a miner asks for and what it was paid; how many tokens it was asked for only the two of them know.
//! A miner that is not paid stops serving, and a payer pays for no more than it got: neither can lose more than the credit
//! that the miner gives.

use assay_primitives::AccountId;

use super::{
    Env,
    money::{credit, debit},
};
use crate::{
    ActionError, Event, keys,
    overlay::Overlay,
    query,
    records::{Asking, Tariff},
    tx::Bill,
};

/// Most miners that are paid by one transaction.
pub const MAX_BILLS: u64 = 64;

/// Sets what a miner asks for, from the next epoch on.
pub(super) fn set_tariff(
    state: &mut Overlay<'_>,
    env: &Env<'_>,
    signer: AccountId,
    operator: AccountId,
    tariff: Tariff,
) -> Result<(), ActionError> {
    let miner = query::miner(state, &operator)?.ok_or(ActionError::unknown("miner", operator))?;
    if signer != operator && signer != miner.owner {
        let expected = format!("{operator} or its owner {}", miner.owner);
        return Err(ActionError::NotYours { what: "a tariff", expected, found: signer });
    }
    let before = query::asking(state, &operator)?.at(env.epoch);
    state.write(keys::asking(&operator), &Asking { tariff, since: env.epoch.saturating_add(1), before });
    Ok(())
}

/// Moves what the signer owes to the miners' owners. All bills are paid, or none.
pub(super) fn pay(state: &mut Overlay<'_>, payer: AccountId, bills: &[Bill]) -> Result<(), ActionError> {
    ActionError::limit("the number of bills", 1, MAX_BILLS, bills.len() as u64)?;
    if !bills.is_sorted_by(|a, b| a.miner < b.miner) {
        return Err(ActionError::malformed("the bills", "must ascend by miner, each once"));
    }
    for Bill { miner, amount } in bills {
        ActionError::limit("a bill's amount in grain", 1, u64::MAX, amount.0)?;
        let record = query::miner(state, miner)?.ok_or(ActionError::unknown("miner", miner))?;
        debit(state, &payer, *amount, "the bills")?;
        credit(state, &record.owner, *amount)?;
        let paid = query::paid(state, &payer, miner)?;
        let paid = paid.checked_add(*amount).ok_or(ActionError::Overflow("all that was ever paid to the miner"))?;
        state.write(keys::paid(&payer, miner), &paid);
        state.emit(Event::UsagePaid { payer, miner: *miner, amount: *amount });
    }
    Ok(())
}
