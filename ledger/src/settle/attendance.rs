//! Who revealed scores for an epoch and who did not, counted in the validators' records.
//!
//! An epoch is missed only where validators with more than half of the permitted stake revealed scores of some miner for it:
//! a minority that reveals something where there is nothing to score, an empty sheet say, makes nobody absent.

use std::collections::{BTreeMap, BTreeSet};

use assay_primitives::{AccountId, Amount};

use crate::{Event, StateRead, StoreError, keys, overlay::Overlay, query};

/// Counts missed epochs and commitments never opened, for the epoch that is settled in this block.
pub(super) fn count(state: &mut Overlay<'_>, scored: u64) -> Result<(), StoreError> {
    let (mut revealed, mut scorers) = (BTreeSet::new(), BTreeSet::new());
    let mut unopened: BTreeMap<AccountId, u64> = BTreeMap::new();
    for subnet in query::subnets(state)? {
        for (key, _) in state.scan(&keys::commitments(scored, subnet.id))? {
            let validator =
                keys::last_account(&key).ok_or(StoreError::Missing { what: "validator of a commitment" })?;
            if let Some(reveal) = query::reveal(state, scored, subnet.id, &validator)? {
                revealed.insert(validator);
                if !reveal.scores.is_empty() {
                    scorers.insert(validator);
                }
                continue;
            }
            let missing = StoreError::Missing { what: "commitment of an epoch" };
            let commitment = query::commitment(state, scored, subnet.id, &validator)?.ok_or(missing)?;
            *unopened.entry(validator).or_default() += 1; // at most one for each subnet
            let mismatches = commitment.mismatches;
            state.emit(Event::RevealMissed { epoch: scored, subnet: subnet.id, validator, mismatches });
        }
    }
    let seats: BTreeMap<AccountId, Amount> = query::permits(state, scored)?.into_iter().collect();
    let stake = |of: &dyn Fn(&AccountId) -> bool| -> u128 {
        seats.iter().filter(|(seat, _)| of(seat)).map(|(_, stake)| u128::from(stake.0)).sum()
    };
    let scored_by_most = stake(&|seat| scorers.contains(seat)) * 2 > stake(&|_| true);
    for mut record in query::validators(state)? {
        let before = record.attendance;
        let attendance = &mut record.attendance;
        let unopened = unopened.get(&record.operator).copied().unwrap_or(0);
        attendance.unopened = attendance.unopened.saturating_add(unopened);
        let expected = scored_by_most && record.jailed.is_none() && !record.tombstoned;
        if revealed.contains(&record.operator) {
            attendance.missed_in_row = 0;
        } else if expected && seats.contains_key(&record.operator) {
            attendance.missed_in_row = attendance.missed_in_row.saturating_add(1);
            attendance.missed = attendance.missed.saturating_add(1);
        }
        if *attendance != before {
            state.write(keys::validator(&record.operator), &record);
        }
    }
    Ok(())
}
