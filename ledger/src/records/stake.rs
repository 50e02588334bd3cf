//! Validators that are out for a while, and what of a stake is remembered after it moved or was slashed.

use assay_primitives::{AccountId, Amount};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::Serialize;

/// Why a validator was jailed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JailReason {
    /// It had a seat and revealed no scores for the parameter `jail_after_missed` epochs in a row.
    Absence,
}

/// A validator that is out of the set and unpaid until it asks to be let back in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct Jail {
    /// The block that jailed it.
    pub since: u64,
    /// The first epoch in which it may ask to be let out.
    pub until: u64,
    /// Why.
    pub reason: JailReason,
}

/// How a validator kept up with its scores. Epochs count in which it had a seat and anyone revealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct Attendance {
    /// Epochs without revealed scores since the last with some, or since it was let out of jail.
    pub missed_in_row: u64,
    /// Epochs without revealed scores in all.
    pub missed: u64,
    /// Commitments that it never opened, in all.
    pub unopened: u64,
    /// Reveals that did not open its commitment, in all.
    pub mismatched: u64,
}

/// Stake that moved from one validator to another, kept while it can be slashed for what the first one did before.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct Redelegation {
    /// Whose stake.
    pub account: AccountId,
    /// The validator it was taken from.
    pub from: AccountId,
    /// The validator it went to.
    pub to: AccountId,
    /// How much moved, less what was slashed of it since for `from`.
    pub amount: Amount,
    /// The block that moved it.
    pub height: u64,
    /// The epoch at whose end it is forgotten: until then this stake moves no further.
    pub release: u64,
}
