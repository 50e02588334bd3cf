//! Absence, jail and the way back.

use assay_chain_spec::Params;
use assay_primitives::{Amount, Keypair, Score};

use crate::{
    Event, query,
    records::{JailReason, RevealStatus},
    tx::Action,
    world::{World, key, quick_params, sheet, unaudited},
};

fn params(jail_after_missed: u64) -> Params {
    Params { jail_after_missed, jail_epochs: 2, ..quick_params() }
}

fn with_miner(params: Params) -> (World, Keypair) {
    let mut world = World::with(params);
    let miner = key("miner", 0);
    world.register_miner(4, &miner).unwrap();
    world.advance_to_epoch(1);
    (world, miner)
}

/// An epoch for which only the validators in `present` commit and reveal; the world stands at the start of the next.
/// What is committed in an epoch is revealed by the call after it.
fn epoch(world: &mut World, miner: &Keypair, present: &[usize]) -> Vec<Event> {
    let now = world.epoch();
    let scores = vec![vec![(miner.account(), Score::ONE)]; 4];
    let mut txs = Vec::new();
    let (commits, sheets) = world.commits(&scores);
    for i in 0..4 {
        let validator = &world.validators[i];
        let mut nonce = query::account(&world.state, &validator.account()).unwrap().nonce;
        let last = now - 1;
        if query::commitment(&world.state, last, 0, &validator.account()).unwrap().is_some() {
            let sheet = crate::tx::ScoreSheet { epoch: last, ..sheets[i].clone() };
            txs.push(world.sign_with(validator, unaudited(sheet), nonce, crate::world::FEE));
            nonce += 1;
        }
        if present.contains(&i) {
            let action = commits[i].body.action.clone();
            txs.push(world.sign_with(validator, action, nonce, crate::world::FEE));
        }
    }
    let mut events = world.block(&txs).events;
    while world.epoch() == now {
        events.extend(world.block(&[]).events);
    }
    events
}

fn jailed(events: &[Event]) -> usize {
    events.iter().filter(|event| matches!(event, Event::ValidatorJailed { .. })).count()
}

#[test]
fn a_validator_absent_for_too_long_is_out_and_unpaid_until_it_asks() {
    let (mut world, miner) = with_miner(params(2));
    let absent = world.validators[3].account();
    assert_eq!(jailed(&epoch(&mut world, &miner, &[0, 1, 2])), 0);
    assert_eq!(jailed(&epoch(&mut world, &miner, &[0, 1, 2])), 0);
    assert_eq!(world.validator(&absent).attendance.missed_in_row, 1);
    let events = epoch(&mut world, &miner, &[0, 1, 2]);
    assert!(events.contains(&Event::ValidatorJailed { validator: absent, missed: 2, until: 6 }), "{events:?}");
    let record = world.validator(&absent);
    let jail = record.jailed.unwrap();
    assert_eq!((jail.since, jail.until, jail.reason), (16, 6, JailReason::Absence));
    assert_eq!(query::next_validator_set(&world.state).unwrap().power_of(&absent), None);

    // Jailed, it has no permit for the epochs that begin, and its absence counts no further.
    let permitted = |world: &World, epoch| query::permits(&world.state, epoch).unwrap().len();
    assert_eq!((permitted(&world, 3), permitted(&world, 4)), (4, 3));
    epoch(&mut world, &miner, &[0, 1, 2]);
    let report = query::epoch_report(&world.state, 3, 0).unwrap().unwrap();
    let line = report.validators.iter().find(|v| v.account == absent).unwrap();
    assert_eq!((line.reveal, line.reward.0), (RevealStatus::NotCommitted, 0));
    assert_eq!(world.validator(&absent).attendance.missed, 2);
    let (operator, stranger) = (world.validators[3].clone(), world.owners[0].clone());
    let unjail = Action::Unjail { validator: absent };
    assert!(world.run(&operator, unjail.clone()).unwrap_err().contains("until epoch 6"));
    world.advance_to_epoch(6);
    assert!(world.run(&stranger, unjail.clone()).unwrap_err().contains("must be signed by"));
    world.run(&operator, unjail.clone()).unwrap();
    assert!(world.run(&operator, unjail).unwrap_err().contains("not jailed"));
    world.advance_to_epoch(7);
    assert!(query::next_validator_set(&world.state).unwrap().power_of(&absent).is_some());
    assert_eq!(world.validator(&absent).attendance.missed_in_row, 0);
}

#[test]
fn the_owner_may_ask_too_and_a_double_signer_never() {
    let (mut world, miner) = with_miner(params(1));
    for _ in 0..2 {
        epoch(&mut world, &miner, &[0, 1, 2]);
    }
    let validator = world.validators[3].account();
    let until = world.validator(&validator).jailed.unwrap().until;
    world.advance_to_epoch(until);
    let (owner, other) = (world.owners[3].clone(), world.validators[0].clone());
    world.run(&owner, Action::Unjail { validator }).unwrap();
    let mut record = world.validator(&other.account());
    record.tombstoned = true;
    let bytes = assay_primitives::encode(&record);
    world.state.apply(&[(crate::keys::validator(&other.account()), Some(bytes))].into());
    let action = Action::Unjail { validator: other.account() };
    let tx = world.sign(&other, action);
    let outcome = crate::execute(&world.state, &world.context(), &[tx]).unwrap();
    assert!(outcome.results[0].error.as_ref().unwrap().contains("out for good"));
}

#[test]
fn two_thirds_of_the_power_are_never_jailed_away() {
    let (mut world, miner) = with_miner(params(1));
    let (richer, validator) = (world.owners[6].clone(), world.validators[0].account());
    world.run(&richer, Action::Stake { validator, amount: Amount::asy(500) }).unwrap();
    epoch(&mut world, &miner, &[0, 1, 2, 3]);
    epoch(&mut world, &miner, &[0, 1]);
    // Of 1500, 1000, 1000 and 1000 the last two are absent: one may go, since 3500 of 4500 are two thirds, and then the other.
    assert_eq!(jailed(&epoch(&mut world, &miner, &[0, 1])), 1);
    assert_eq!(jailed(&epoch(&mut world, &miner, &[0, 1])), 1);
    for _ in 0..3 {
        assert_eq!(jailed(&epoch(&mut world, &miner, &[0, 1])), 0);
    }
    assert_eq!(query::next_validator_set(&world.state).unwrap().len(), 2);
}

#[test]
fn an_epoch_that_nobody_revealed_is_missed_by_nobody_and_zero_switches_jailing_off() {
    let (mut world, miner) = with_miner(params(1));
    for _ in 0..3 {
        assert_eq!(jailed(&epoch(&mut world, &miner, &[])), 0);
    }
    let counted =
        |world: &World| world.validators.iter().map(|v| world.validator(&v.account()).attendance.missed).sum::<u64>();
    assert_eq!(counted(&world), 0);

    let (mut world, miner) = with_miner(params(0));
    for _ in 0..4 {
        assert_eq!(jailed(&epoch(&mut world, &miner, &[0, 1, 2])), 0);
    }
    assert_eq!(counted(&world), 3);
}

#[test]
fn commitments_without_reveals_are_absence_too() {
    let (mut world, miner) = with_miner(params(2));
    let validator = world.validators[3].clone();
    let mut events = Vec::new();
    for _ in 0..3 {
        let action =
            Action::CommitScores { subnet: 0, epoch: world.epoch(), commitment: assay_primitives::Hash32([1; 32]) };
        let tx = world.sign(&validator, action);
        events.extend(world.block(&[tx]).events);
        // In later epochs `epoch` would reveal a sheet that does not open it: a mismatch, which is absence as well.
        events.extend(epoch(&mut world, &miner, &[0, 1, 2]));
    }
    assert_eq!(jailed(&events), 1, "{events:?}");
    let missed = |e: &&Event| matches!(e, Event::RevealMissed { validator: v, .. } if *v == validator.account());
    assert_eq!(events.iter().filter(missed).count(), 2);
    let attendance = world.validator(&validator.account()).attendance;
    assert_eq!((attendance.missed, attendance.unopened), (2, 2));
    assert!(attendance.mismatched > 0);
    let report = query::epoch_report(&world.state, 1, 0).unwrap().unwrap();
    let line = report.validators.iter().find(|v| v.account == validator.account()).unwrap();
    assert_eq!((line.reveal, line.reward), (RevealStatus::Mismatched, Amount::ZERO));
}

#[test]
fn a_minority_that_reveals_what_nobody_else_has_to_score_makes_nobody_absent() {
    let mut world = World::with(params(1));
    for _ in 0..4 {
        let epoch = world.epoch();
        // There is no miner, so honest validators have no sheet; two of four open empty ones all the same.
        let sheets: Vec<_> = (0..2).map(|v| sheet(&world.validators[v], epoch, &[])).collect();
        for (v, sheet) in sheets.iter().enumerate() {
            let commitment = sheet.commitment(&world.genesis);
            world.run(&world.validators[v].clone(), Action::CommitScores { subnet: 0, epoch, commitment }).unwrap();
        }
        world.advance_to_epoch(epoch + 1);
        for (v, sheet) in sheets.into_iter().enumerate() {
            world.run(&world.validators[v].clone(), unaudited(sheet)).unwrap();
        }
    }
    let missed = |v: usize| world.validator(&world.validators[v].account());
    assert!((2..4).all(|v| missed(v).jailed.is_none() && missed(v).attendance.missed == 0));
    assert_eq!(query::next_validator_set(&world.state).unwrap().iter().count(), 4);
}
