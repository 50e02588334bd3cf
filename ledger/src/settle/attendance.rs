//! Who revealed scores for an epoch and who did not, counted in the validators' records.

use std::collections::{BTreeMap, BTreeSet};

use assay_primitives::AccountId;

use crate::{Event, StateRead, StoreError, keys, overlay::Overlay, query};

/// Counts missed epochs and commitments never opened, for the epoch that is settled in this block.
pub(super) fn count(state: &mut Overlay<'_>, scored: u64) -> Result<(), StoreError> {
    let mut revealed = BTreeSet::new();
    let mut unopened: BTreeMap<AccountId, u64> = BTreeMap::new();
    for subnet in query::subnets(state)? {
        for (key, _) in state.scan(&keys::commitments(scored, subnet.id))? {
            let validator =
                keys::last_account(&key).ok_or(StoreError::Missing { what: "validator of a commitment" })?;
            if query::reveal(state, scored, subnet.id, &validator)?.is_some() {
                revealed.insert(validator);
                continue;
            }
            let missing = StoreError::Missing { what: "commitment of an epoch" };
            let commitment = query::commitment(state, scored, subnet.id, &validator)?.ok_or(missing)?;
            *unopened.entry(validator).or_default() += 1; // at most one for each subnet
            let mismatches = commitment.mismatches;
            state.emit(Event::RevealMissed { epoch: scored, subnet: subnet.id, validator, mismatches });
        }
    }
    let missing = StoreError::Missing { what: "start of the scored epoch" };
    let start = query::epoch_start(state, scored)?.ok_or(missing)?;
    let seats: BTreeSet<AccountId> = query::validator_set_at(state, start)?.iter().map(|seat| seat.account).collect();
    for mut record in query::validators(state)? {
        let before = record.attendance;
        let attendance = &mut record.attendance;
        let unopened = unopened.get(&record.operator).copied().unwrap_or(0);
        attendance.unopened = attendance.unopened.saturating_add(unopened);
        let expected = !revealed.is_empty() && record.jailed.is_none() && !record.tombstoned;
        if revealed.contains(&record.operator) {
            attendance.missed_in_row = 0;
        } else if expected && seats.contains(&record.operator) {
            attendance.missed_in_row = attendance.missed_in_row.saturating_add(1);
            attendance.missed = attendance.missed.saturating_add(1);
        }
        if *attendance != before {
            state.write(keys::validator(&record.operator), &record);
        }
    }
    Ok(())
}
