//! Commit and reveal: validators bind themselves to scores before anyone sees them.

use assay_primitives::{AccountId, Hash32, Score, task::SubnetId};

use super::Env;
use crate::{
    ActionError, Event, StateRead, StoreError,
    audit::{self, Exhibit},
    keys,
    overlay::Overlay,
    query,
    records::{Commitment, Reveal, Role},
    tx::{MAX_MARKS, ScoreEntry, ScoreSheet},
};

/// The signer must be a validator's operator.
pub(super) fn must_validate(state: &dyn StateRead, signer: AccountId, what: &'static str) -> Result<(), ActionError> {
    match query::operator(state, &signer)?.map(|operator| operator.role) {
        Some(Role::Validator) => Ok(()),
        _ => Err(ActionError::NotYours { what, expected: "a validator's operator".into(), found: signer }),
    }
}

/// Checks that scores of an epoch may be committed to in epoch `now`.
pub(super) fn may_commit(
    state: &dyn StateRead,
    now: u64,
    signer: AccountId,
    subnet: SubnetId,
    epoch: u64,
) -> Result<(), ActionError> {
    must_validate(state, signer, "a commitment")?;
    if query::subnet(state, subnet)?.is_none() {
        return Err(ActionError::unknown("subnet", subnet));
    }
    if epoch != now {
        return Err(ActionError::not_now(format!(
            "scores of epoch {epoch} are committed in epoch {epoch}, it is epoch {now}"
        )));
    }
    if query::commitment(state, epoch, subnet, &signer)?.is_some() {
        return Err(ActionError::exists("a commitment for epoch", epoch));
    }
    Ok(())
}

pub(super) fn commit(
    state: &mut Overlay<'_>,
    env: &Env<'_>,
    signer: AccountId,
    subnet: SubnetId,
    epoch: u64,
    hash: Hash32,
) -> Result<(), ActionError> {
    may_commit(state, env.epoch, signer, subnet, epoch)?;
    let commitment = Commitment { hash, height: env.block.height, mismatches: 0 };
    state.write(keys::commitment(epoch, subnet, &signer), &commitment);
    Ok(())
}

/// Checks that these scores may be revealed in epoch `now`.
pub(super) fn may_reveal(
    state: &dyn StateRead,
    genesis: &Hash32,
    now: u64,
    signer: AccountId,
    sheet: &ScoreSheet,
) -> Result<(), ActionError> {
    let commitment = awaiting_reveal(state, now, signer, sheet)?;
    let found = sheet.commitment(genesis);
    if found != commitment.hash {
        let reason = format!("committed was {}, this opens {found}", commitment.hash);
        return Err(ActionError::malformed("the reveal", reason));
    }
    well_formed(state, sheet)
}

/// The commitment of the signer that is to be opened in epoch `now` and is not yet.
fn awaiting_reveal(
    state: &dyn StateRead,
    now: u64,
    signer: AccountId,
    sheet: &ScoreSheet,
) -> Result<Commitment, ActionError> {
    must_validate(state, signer, "a reveal")?;
    if sheet.validator != signer {
        let expected = sheet.validator.to_string();
        return Err(ActionError::NotYours { what: "these scores", expected, found: signer });
    }
    let (epoch, subnet) = (sheet.epoch, sheet.subnet);
    if epoch.checked_add(1) != Some(now) {
        return Err(ActionError::not_now(format!(
            "scores of epoch {epoch} are revealed in the epoch after it, it is epoch {now}"
        )));
    }
    let commitment = query::commitment(state, epoch, subnet, &signer)?;
    let commitment = commitment.ok_or(ActionError::unknown("commitment for epoch", epoch))?;
    if query::reveal(state, epoch, subnet, &signer)?.is_some() {
        return Err(ActionError::exists("a reveal for epoch", epoch));
    }
    Ok(commitment)
}

fn well_formed(state: &dyn StateRead, sheet: &ScoreSheet) -> Result<(), ActionError> {
    let subnet = sheet.subnet;
    if let Some(pair) = sheet.scores.windows(2).find(|pair| pair[0].miner >= pair[1].miner) {
        let reason = format!("must ascend by miner, each once; {} is out of order or repeated", pair[1].miner);
        return Err(ActionError::malformed("the scores", reason));
    }
    for entry in &sheet.scores {
        let operator = query::operator(state, &entry.miner)?;
        if operator.is_none_or(|operator| operator.role != Role::Miner(subnet)) {
            return Err(ActionError::Unknown { what: "miner", id: format!("{} in subnet {subnet}", entry.miner) });
        }
        if entry.responses == 0 && entry.score > Score::ZERO {
            let reason = format!("miner {} is given {} without a response", entry.miner, entry.score);
            return Err(ActionError::malformed("the scores", reason));
        }
        check_marks(entry)?;
    }
    Ok(())
}

/// Marks are short, and in one order: nobody fills the state with them.
fn check_marks(entry: &ScoreEntry) -> Result<(), ActionError> {
    ActionError::limit("the number of a miner's marks", 0, MAX_MARKS, entry.marks.len() as u64)?;
    for mark in &entry.marks {
        ActionError::limit("characters in a criterion's name", 1, 16, mark.criterion.len() as u64)?;
        if !mark.criterion.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
            let reason = format!("only a-z, 0-9 and -, found {:?}", mark.criterion);
            return Err(ActionError::malformed("a criterion's name", reason));
        }
    }
    match entry.marks.windows(2).find(|pair| pair[0].criterion >= pair[1].criterion) {
        Some(pair) => {
            let reason = format!("must ascend by criterion, each once; {} is out of order", pair[1].criterion);
            Err(ActionError::malformed("the marks", reason))
        }
        None => Ok(()),
    }
}

/// Opens a commitment. A sheet that does not open it stands as a recorded mismatch; a right one may still follow.
pub(super) fn reveal(
    state: &mut Overlay<'_>,
    env: &Env<'_>,
    signer: AccountId,
    sheet: &ScoreSheet,
    exhibits: &[Exhibit],
) -> Result<(), ActionError> {
    let (epoch, subnet) = (sheet.epoch, sheet.subnet);
    let mut commitment = awaiting_reveal(state, env.epoch, signer, sheet)?;
    let found = sheet.commitment(&env.block.genesis);
    if found != commitment.hash {
        commitment.mismatches = commitment.mismatches.saturating_add(1);
        state.write(keys::commitment(epoch, subnet, &signer), &commitment);
        let missing = StoreError::Missing { what: "validator of an operator" };
        let mut record = query::validator(state, &signer)?.ok_or(missing)?;
        record.attendance.mismatched = record.attendance.mismatched.saturating_add(1);
        state.write(keys::validator(&signer), &record);
        let committed = commitment.hash;
        state.emit(Event::RevealMismatched { epoch, subnet, validator: signer, committed, found });
        return Ok(());
    }
    well_formed(state, sheet)?;
    let missing = StoreError::Missing { what: "seed of the last epoch's audit" };
    let seed = query::audit_seed(state, epoch)?.ok_or(missing)?;
    audit::check(&env.block.genesis, sheet, &audit::draw(&seed, sheet, env.params.audit_samples), exhibits)?;
    let reveal = Reveal { scores: sheet.scores.clone(), salt: sheet.salt, height: env.block.height };
    state.write(keys::reveal(epoch, subnet, &signer), &reveal);
    Ok(())
}
