//! Balances, fees and the supply.

use assay_primitives::{AccountId, Amount};

use crate::{ActionError, StoreError, keys, overlay::Overlay, query, tx::Transaction};

/// Adds to a balance.
pub(crate) fn credit(state: &mut Overlay<'_>, to: &AccountId, amount: Amount) -> Result<(), StoreError> {
    if amount == Amount::ZERO {
        return Ok(());
    }
    let mut account = query::account(state, to)?;
    let sum = account.balance.checked_add(amount);
    account.balance = sum.ok_or(StoreError::Books("a balance exceeds 2^64 although the supply does not"))?;
    state.write(keys::account(to), &account);
    Ok(())
}

/// Takes from a balance, `what` for.
pub(super) fn debit(
    state: &mut Overlay<'_>,
    from: &AccountId,
    amount: Amount,
    what: &'static str,
) -> Result<(), ActionError> {
    let mut account = query::account(state, from)?;
    let rest = account.balance.checked_sub(amount);
    let funds = ActionError::Funds { what, account: *from, needed: amount, found: account.balance };
    account.balance = rest.ok_or(funds)?;
    state.write(keys::account(from), &account);
    Ok(())
}

/// Books money that is taken from somewhere and given to nobody.
pub(crate) fn burn(state: &mut Overlay<'_>, amount: Amount) -> Result<(), StoreError> {
    let mut supply = query::supply(state)?;
    supply.burned = supply.burned.checked_add(amount.0).ok_or(StoreError::Books("burned money exceeds 2^64"))?;
    state.write(keys::supply(), &supply);
    Ok(())
}

/// Books money that is given to somebody and taken from nobody.
pub(crate) fn mint(state: &mut Overlay<'_>, amount: Amount) -> Result<(), StoreError> {
    let mut supply = query::supply(state)?;
    supply.minted = supply.minted.checked_add(amount.0).ok_or(StoreError::Books("minted money exceeds 2^64"))?;
    state.write(keys::supply(), &supply);
    Ok(())
}

/// Burns the fee of a transaction that stands, and counts its nonce.
pub(super) fn take_fee(state: &mut Overlay<'_>, payer: &AccountId, tx: &Transaction) -> Result<(), StoreError> {
    let mut account = query::account(state, payer)?;
    account.balance =
        account.balance.checked_sub(tx.fee).ok_or(StoreError::Books("a fee exceeds the balance checked"))?;
    state.write(keys::account(payer), &account);
    let mut account = query::account(state, &tx.signer)?;
    account.nonce = account.nonce.checked_add(1).ok_or(StoreError::Books("a nonce exceeds 2^64"))?;
    state.write(keys::account(&tx.signer), &account);
    burn(state, tx.fee)
}

pub(super) fn transfer(
    state: &mut Overlay<'_>,
    from: AccountId,
    to: AccountId,
    amount: Amount,
) -> Result<(), ActionError> {
    ActionError::limit("the amount in grain", 1, u64::MAX, amount.0)?;
    debit(state, &from, amount, "the transfer")?;
    Ok(credit(state, &to, amount)?)
}
