//! Stake that moves, and what a slash takes from whom.

use assay_primitives::{AccountId, Amount, Hash32, Keypair, Signed, VoteContent, VoteKind};

use crate::{query, tx::Action, world::World};

fn double_sign(world: &World, culprit: &Keypair, height: u64) -> Action {
    let vote = |block: u8| {
        let block = Some(Hash32([block; 32]));
        let content = VoteContent { kind: VoteKind::Precommit, height, round: 0, block, validator: culprit.account() };
        Signed::new(content, &world.genesis, culprit)
    };
    Action::DoubleSign { first: vote(1), second: vote(2) }
}

fn asy(amount: u64) -> Amount {
    Amount::asy(amount)
}

/// A world where owner 5 has 100 ASY with validator 0.
fn delegated() -> (World, Keypair, [AccountId; 3]) {
    let mut world = World::new();
    let delegator = world.owners[5].clone();
    let validators = [0, 1, 2].map(|i| world.validators[i].account());
    world.run(&delegator, Action::Stake { validator: validators[0], amount: asy(100) }).unwrap();
    (world, delegator, validators)
}

fn staked(world: &World, validator: &AccountId, delegator: &Keypair) -> Amount {
    query::delegation(&world.state, validator, &delegator.account()).unwrap()
}

#[test]
fn stake_moves_at_once_and_no_money_is_made_of_it() {
    let (mut world, delegator, [a, b, _]) = delegated();
    let before = (world.balance(&delegator.account()), query::stake_of(&world.state, &delegator.account()).unwrap());
    world.run(&delegator, Action::Redelegate { from: a, to: b, amount: asy(40) }).unwrap();
    assert_eq!([staked(&world, &a, &delegator), staked(&world, &b, &delegator)], [asy(60), asy(40)]);
    assert_eq!([world.validator(&a).stake, world.validator(&b).stake], [asy(1060), asy(1040)]);
    let after = (world.balance(&delegator.account()), query::stake_of(&world.state, &delegator.account()).unwrap());
    assert_eq!(after, (before.0 - 1000, before.1), "only the fee is gone");
    let moved = query::redelegations_of(&world.state, &delegator.account()).unwrap();
    assert_eq!((moved.len(), moved[0].amount, moved[0].release), (1, asy(40), 3));
    world.advance_to_epoch(moved[0].release + 1);
    assert!(query::redelegations_of(&world.state, &delegator.account()).unwrap().is_empty());
}

#[test]
fn what_cannot_move_says_why() {
    let (mut world, delegator, [a, b, _]) = delegated();
    let nobody = AccountId([9; 32]);
    let step = |from, to, amount| Action::Redelegate { from, to, amount };
    for (action, reason) in [
        (step(a, b, asy(101)), "has 100 ASY"),
        (step(a, a, asy(10)), "must be another validator"),
        (step(a, nobody, asy(10)), "no validator"),
        (step(nobody, b, asy(10)), "no validator"),
        (step(a, b, Amount(1)), "must lie in"),
        (step(a, b, Amount(asy(100).0 - 1)), "least delegation"),
    ] {
        let error = world.run(&delegator, action).unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
    let (culprit, reporter) = (world.validators[1].clone(), world.owners[6].clone());
    let evidence = double_sign(&world, &culprit, 1);
    world.run(&reporter, evidence).unwrap();
    assert!(world.run(&delegator, step(a, b, asy(10))).unwrap_err().contains("choose another"));
    assert_eq!(staked(&world, &a, &delegator), asy(100));
}

#[test]
fn stake_that_just_arrived_moves_no_further_until_its_time_has_passed() {
    let (mut world, delegator, [a, b, c]) = delegated();
    world.run(&delegator, Action::Stake { validator: b, amount: asy(30) }).unwrap();
    world.run(&delegator, Action::Redelegate { from: a, to: b, amount: asy(100) }).unwrap();
    let on = |amount| Action::Redelegate { from: b, to: c, amount };
    let error = world.run(&delegator, on(asy(31))).unwrap_err();
    assert!(error.contains("30 ASY may move on now") && error.contains("from epoch 4 on"), "{error}");
    world.run(&delegator, on(asy(30))).unwrap();
    world.advance_to_epoch(3);
    assert!(world.run(&delegator, on(asy(100))).is_err());
    world.advance_to_epoch(4);
    world.run(&delegator, on(asy(100))).unwrap();
    assert_eq!(staked(&world, &c, &delegator), asy(130));
}

#[test]
fn moved_stake_pays_for_what_its_old_validator_signed_before_wherever_it_is_bound() {
    let (mut world, delegator, [a, b, _]) = delegated();
    let (culprit, reporter) = (world.validators[0].clone(), world.owners[6].clone());
    world.run(&delegator, Action::Redelegate { from: a, to: b, amount: asy(100) }).unwrap();
    world.run(&delegator, Action::Unstake { validator: b, amount: asy(98) }).unwrap();
    let burned = query::supply(&world.state).unwrap().burned;
    let evidence = double_sign(&world, &culprit, 1);
    world.run(&reporter, evidence).unwrap();
    // A share of 5 in 100: 2 are still staked, 3 are on their way out.
    assert_eq!(staked(&world, &b, &delegator), Amount::ZERO);
    assert_eq!(query::unbondings_of(&world.state, &delegator.account()).unwrap()[0].amount, asy(95));
    let slash = query::slashes(&world.state).unwrap().remove(0);
    assert_eq!(slash.amount, asy(50 + 5));
    assert_eq!(query::supply(&world.state).unwrap().burned, burned + slash.amount.0 + 1000);
    assert_eq!(world.validator(&b).stake, asy(1000), "nobody else at the new validator pays");
    let lost = query::losses_of(&world.state, &delegator.account()).unwrap();
    assert_eq!((lost[0].1, lost[0].2.account, lost.len()), (asy(5), a, 1));
    assert_eq!(query::redelegations_of(&world.state, &delegator.account()).unwrap()[0].amount, asy(95));
}

#[test]
fn an_offence_of_a_later_epoch_does_not_reach_what_left_before_and_one_of_the_same_epoch_does() {
    for (height, pays) in [(5, false), (4, true)] {
        let (mut world, delegator, [a, b, _]) = delegated();
        let leaver = world.owners[6].clone();
        world.run(&leaver, Action::Stake { validator: a, amount: asy(100) }).unwrap();
        world.run(&delegator, Action::Redelegate { from: a, to: b, amount: asy(100) }).unwrap();
        world.run(&leaver, Action::Unstake { validator: a, amount: asy(100) }).unwrap();
        world.advance_to_epoch(2);
        let (culprit, reporter) = (world.validators[0].clone(), world.owners[7].clone());
        // Block 4 is the last of epoch 0, in which both left after their stake had set the seat's power.
        let evidence = double_sign(&world, &culprit, height);
        world.run(&reporter, evidence).unwrap();
        let left = if pays { asy(95) } else { asy(100) };
        assert_eq!(staked(&world, &b, &delegator), left, "votes of height {height}");
        assert_eq!(query::unbondings_of(&world.state, &leaver.account()).unwrap()[0].amount, left);
    }
}

#[test]
fn every_delegator_sees_its_part_and_the_parts_are_the_slash() {
    let (mut world, delegator, [a, b, _]) = delegated();
    let (culprit, owner, reporter) = (world.validators[0].clone(), world.owners[0].clone(), world.owners[6].clone());
    world.run(&delegator, Action::Redelegate { from: a, to: b, amount: asy(20) }).unwrap();
    world.run(&delegator, Action::Unstake { validator: a, amount: asy(40) }).unwrap();
    let evidence = double_sign(&world, &culprit, 2);
    world.run(&reporter, evidence).unwrap();
    let lost = |key: &Keypair| query::losses_of(&world.state, &key.account()).unwrap();
    assert_eq!((lost(&delegator)[0].1, lost(&owner)[0].1), (asy(5), asy(50)));
    let slash = &query::slashes(&world.state).unwrap()[0];
    assert_eq!(slash.amount, asy(55));
    assert_eq!((lost(&delegator)[0].0, &lost(&delegator)[0].2), (1, slash));
    assert!(lost(&reporter).is_empty());
}

#[test]
fn conflicting_votes_are_slashed_once_whatever_else_the_same_key_signed() {
    let (mut world, _, [a, ..]) = delegated();
    let (culprit, reporter) = (world.validators[0].clone(), world.owners[6].clone());
    let first = double_sign(&world, &culprit, 1);
    world.run(&reporter, first).unwrap();
    let stake = world.validator(&a).stake;
    for height in [1, 2] {
        let again = double_sign(&world, &culprit, height);
        let error = world.run(&reporter, again).unwrap_err();
        assert!(error.contains("tombstoned already"), "{error}");
    }
    assert_eq!((world.validator(&a).stake, query::slashes(&world.state).unwrap().len()), (stake, 1));
}
