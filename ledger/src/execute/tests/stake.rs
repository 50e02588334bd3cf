//! Delegation, unbonding, the validator set and conflicting votes.

use assay_primitives::{Amount, Hash32, Keypair, Signed, VoteContent, VoteKind};

use crate::{
    Event, query,
    records::SlashReason,
    tx::Action,
    world::{World, key},
};

#[test]
fn unstaked_money_arrives_after_the_unbonding_time() {
    let mut world = World::new();
    let (owner, validator) = (world.owners[5].clone(), world.validators[0].account());
    world.run(&owner, Action::Stake { validator, amount: Amount::asy(50) }).unwrap();
    assert_eq!(query::delegations_of(&world.state, &owner.account()).unwrap(), [(validator, Amount::asy(50))]);
    let error = world.run(&owner, Action::Unstake { validator, amount: Amount::asy(51) }).unwrap_err();
    assert!(error.contains("has 50 ASY"), "{error}");
    world.run(&owner, Action::Unstake { validator, amount: Amount::asy(50) }).unwrap();
    assert!(query::delegations_of(&world.state, &owner.account()).unwrap().is_empty());
    let before = world.balance(&owner.account());
    let release = query::unbondings_of(&world.state, &owner.account()).unwrap()[0].release;
    assert_eq!(release, world.epoch() + 3);
    world.advance_to_epoch(release);
    assert_eq!(world.balance(&owner.account()), before, "not before the end of that epoch");
    world.advance_to_epoch(release + 1);
    assert_eq!(world.balance(&owner.account()), before + Amount::asy(50).0);
    assert!(query::unbondings(&world.state).unwrap().is_empty());
}

#[test]
fn the_set_follows_stake_at_the_end_of_an_epoch_and_is_never_empty() {
    let mut world = World::new();
    let genesis_set = query::next_validator_set(&world.state).unwrap();
    let (owner, out) = (world.owners[0].clone(), world.validators[0].account());
    world.run(&owner, Action::Unstake { validator: out, amount: Amount::asy(950) }).unwrap();
    assert_eq!(query::next_validator_set(&world.state).unwrap(), genesis_set, "only at the end of the epoch");
    world.advance_to(4);
    let outcome = world.block(&[]);
    assert_eq!(outcome.next_validators.power_of(&out), None);
    assert!(outcome.events.contains(&Event::ValidatorsChanged { from_height: 5 }));
    assert_eq!(query::validator_set(&world.state).unwrap(), genesis_set);
    assert_eq!(query::validator_set_at(&world.state, 4).unwrap(), genesis_set);
    assert_eq!(query::validator_set_at(&world.state, 5).unwrap(), outcome.next_validators);
    assert_eq!(query::set_changes(&world.state).unwrap().len(), 2);
    for i in 1..4 {
        let owner = world.owners[i].clone();
        let validator = world.validators[i].account();
        world.run(&owner, Action::Unstake { validator, amount: Amount::asy(1000) }).unwrap();
    }
    world.advance_to_epoch(3);
    assert_eq!(query::next_validator_set(&world.state).unwrap().len(), 3, "nobody qualifies, so the last set stands");
}

fn vote(world: &World, key: &Keypair, height: u64, block: u8) -> Signed<VoteContent> {
    let block = Some(Hash32([block; 32]));
    let content = VoteContent { kind: VoteKind::Prevote, height, round: 0, block, validator: key.account() };
    Signed::new(content, &world.genesis, key)
}

#[test]
fn conflicting_votes_cost_every_delegator_and_unbonding_money_and_the_seat_for_good() {
    let mut world = World::new();
    let (culprit, delegator, reporter) =
        (world.validators[0].clone(), world.owners[5].clone(), world.owners[6].clone());
    let validator = culprit.account();
    world.run(&delegator, Action::Stake { validator, amount: Amount::asy(100) }).unwrap();
    world.run(&delegator, Action::Unstake { validator, amount: Amount::asy(40) }).unwrap();
    let double = |world: &World, a, b| Action::DoubleSign {
        first: vote(world, &culprit, 2, a),
        second: vote(world, &culprit, 2, b),
    };
    let error = world.run(&reporter, double(&world, 1, 1)).unwrap_err();
    assert!(error.contains("do not conflict"), "{error}");
    world.run(&reporter, double(&world, 1, 2)).unwrap();
    assert_eq!(query::delegation(&world.state, &validator, &delegator.account()).unwrap(), Amount::asy(57));
    assert_eq!(query::unbondings(&world.state).unwrap()[0].amount, Amount::asy(38));
    assert_eq!(query::validator(&world.state, &validator).unwrap().unwrap().stake, Amount::asy(950 + 57));
    let slash = query::slashes(&world.state).unwrap().remove(0);
    assert_eq!((slash.reason, slash.amount), (SlashReason::DoubleSign, Amount::asy(50 + 3 + 2)));
    let error = world.run(&reporter, double(&world, 2, 1)).unwrap_err();
    assert!(error.contains("tombstoned already"), "{error}");
    world.advance_to_epoch(2);
    assert_eq!(query::next_validator_set(&world.state).unwrap().power_of(&validator), None);
    let owner = world.owners[0].clone();
    assert!(
        world.run(&owner, Action::Stake { validator, amount: Amount::asy(1) }).unwrap_err().contains("choose another")
    );
}

#[test]
fn votes_too_old_too_new_forged_or_of_a_stranger_are_no_evidence() {
    let mut world = World::new();
    let (culprit, reporter) = (world.validators[0].clone(), world.owners[6].clone());
    let pair = |world: &World, key: &Keypair, height| Action::DoubleSign {
        first: vote(world, key, height, 1),
        second: vote(world, key, height, 2),
    };
    assert!(world.run(&reporter, pair(&world, &culprit, 99)).unwrap_err().contains("above this block's"));
    let stranger = key("stranger", 0);
    assert!(world.run(&reporter, pair(&world, &stranger, 1)).unwrap_err().contains("no validator"));
    let Action::DoubleSign { first, mut second } = pair(&world, &culprit, 1) else { unreachable!() };
    second.body.block = None;
    assert!(world.run(&reporter, Action::DoubleSign { first, second }).unwrap_err().contains("signature"));
    world.advance_to_epoch(3);
    assert!(world.run(&reporter, pair(&world, &culprit, 4)).unwrap_err().contains("reaches back to height 5"));
    world.run(&reporter, pair(&world, &culprit, 5)).unwrap();
}

#[test]
fn no_delegation_is_dust_not_even_what_an_unstaking_leaves() {
    let mut world = World::new();
    let (delegator, validator) = (world.owners[5].clone(), world.validators[0].account());
    let stake = |amount| Action::Stake { validator, amount: Amount(amount) };
    let unstake = |amount| Action::Unstake { validator, amount: Amount(amount) };
    let least = query::params(&world.state).unwrap().min_delegation;
    assert!(world.run(&delegator, stake(least - 1)).unwrap_err().contains("must lie in"));
    world.run(&delegator, stake(2 * least)).unwrap();
    assert!(world.run(&delegator, unstake(least + 1)).unwrap_err().contains("least delegation"));
    world.run(&delegator, unstake(least)).unwrap();
    assert!(world.run(&delegator, unstake(1)).unwrap_err().contains("least delegation"));
    world.run(&delegator, unstake(least)).unwrap();
    assert!(query::delegations_of(&world.state, &delegator.account()).unwrap().is_empty());
}

#[test]
fn forged_votes_are_found_out_before_a_validator_set_is_read() {
    let mut world = World::new();
    let (culprit, reporter) = (world.validators[0].clone(), world.owners[6].clone());
    let (mut first, second) = (vote(&world, &culprit, 1, 1), vote(&world, &culprit, 1, 2));
    first.signature = assay_primitives::Signature::EMPTY;
    let sets = crate::keys::set_after(0);
    world.state.apply(&[(sets, None)].into());
    let tx = world.sign(&reporter, Action::DoubleSign { first, second });
    let outcome = crate::execute(&world.state, &world.context(), &[tx]).unwrap();
    assert!(outcome.results[0].error.as_ref().unwrap().contains("signature"), "{:?}", outcome.results);
}
