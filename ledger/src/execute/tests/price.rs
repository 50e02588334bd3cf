//! What registering a miner costs, who makes room for it, and how it begins.

use assay_chain_spec::Params;
use assay_primitives::{Amount, Keypair, Score};

use crate::{
    Event, query,
    tx::{Action, Consent, Endpoint},
    world::{World, key, quick_params, ratio},
};

fn register(world: &mut World, owner: usize, miner: &Keypair, most: Amount) -> Result<(), String> {
    let owner = world.owners[owner].clone();
    let consent = Consent::sign(owner.account(), miner, &world.genesis);
    let (operator, endpoint) = (miner.account(), Endpoint::default());
    world.run(&owner, Action::RegisterMiner { subnet: 0, most, operator, consent, endpoint })
}

fn price(world: &World) -> u64 {
    query::registration_price(&world.state, 0).unwrap().0
}

fn miner(n: u64) -> Keypair {
    key("miner", n)
}

#[test]
fn the_price_rises_with_each_registration_is_burned_and_decays_to_its_floor() {
    let mut world = World::new();
    let floor = quick_params().registration_fee;
    let (mut expected, owner) = (floor, world.owners[4].account());
    for n in 0..4 {
        assert_eq!(price(&world), expected);
        let (burned, balance) = (query::supply(&world.state).unwrap().burned, world.balance(&owner));
        register(&mut world, 4, &miner(n), Amount(expected)).unwrap();
        let gone = balance - world.balance(&owner);
        assert_eq!(gone, expected + quick_params().miner_bond + 1000);
        assert_eq!(query::supply(&world.state).unwrap().burned, burned + expected + 1000);
        expected = if world.epoch() == 0 { expected * 12 / 10 } else { price(&world) };
    }
    // 1, 1.2, 1.44, 1.728, and after the epoch's end half of what is above 1.
    assert_eq!(world.epoch(), 1);
    assert_eq!(price(&world), floor + (floor * 20736 / 10000 - floor) / 2);
    world.advance_to_epoch(40);
    assert_eq!(price(&world), floor);
    assert!(crate::StateRead::get(&world.state, &crate::keys::price(0)).unwrap().is_none(), "nothing is kept of it");
}

#[test]
fn a_registration_burns_no_more_than_its_owner_allows() {
    let mut world = World::new();
    let floor = quick_params().registration_fee;
    let error = register(&mut world, 4, &miner(0), Amount(floor - 1)).unwrap_err();
    assert!(error.contains("burns 1 ASY now"), "{error}");
    register(&mut world, 4, &miner(0), Amount(floor)).unwrap();
    assert!(register(&mut world, 4, &miner(1), Amount(floor)).unwrap_err().contains("burns 1.2 ASY now"));
    assert_eq!(query::miners(&world.state, 0).unwrap().len(), 1);
}

/// A full market of three miners with settled scores, past their immunity.
fn full() -> World {
    let mut world = World::with(Params { max_miners: 3, ..quick_params() });
    for n in 0..3 {
        world.register_miner(4, &miner(n)).unwrap();
    }
    world.advance_to_epoch(1);
    let given = [(0, ratio(9, 10)), (1, ratio(2, 10)), (2, ratio(5, 10))].map(|(n, s)| (miner(n).account(), s));
    world.settle(&vec![given.to_vec(); 4]);
    world
}

#[test]
fn a_full_market_lets_a_newcomer_in_for_the_miner_that_earned_least() {
    let mut world = full();
    let out = miner(1).account();
    assert!(world.miner(&out).emission < world.miner(&miner(2).account()).emission);
    let (owner, newcomer) = (world.owners[5].clone(), miner(3));
    let consent = Consent::sign(owner.account(), &newcomer, &world.genesis);
    let action = Action::RegisterMiner {
        subnet: 0,
        most: Amount::asy(5),
        operator: newcomer.account(),
        consent,
        endpoint: Endpoint::default(),
    };
    let emission = world.miner(&out).emission;
    let tx = world.sign(&owner, action);
    let outcome = world.block(&[tx]);
    assert!(outcome.results[0].ok, "{:?}", outcome.results);
    let pruned = Event::MinerPruned { miner: out, subnet: 0, emission, newcomer: newcomer.account() };
    assert!(outcome.events.contains(&pruned), "{:?}", outcome.events);
    let record = world.miner(&out);
    assert!(record.retired.is_some() && record.bond == Amount::ZERO);
    let unbonding = query::unbondings_of(&world.state, &world.owners[4].account()).unwrap();
    assert_eq!((unbonding.len(), unbonding[0].amount), (1, Amount(quick_params().miner_bond)));
    let active = query::miners(&world.state, 0).unwrap().iter().filter(|m| m.retired.is_none()).count();
    assert_eq!(active, 3);
}

#[test]
fn among_equal_earners_the_oldest_goes_and_a_market_of_newcomers_is_full() {
    let mut world = World::with(Params { max_miners: 2, tempo: 8, ..quick_params() });
    world.register_miner(4, &miner(0)).unwrap();
    world.register_miner(4, &miner(1)).unwrap();
    let error = world.register_miner(5, &miner(2)).unwrap_err();
    assert!(error.contains("too new to be replaced") && error.contains("from epoch 3 on"), "{error}");
    assert!(query::operator(&world.state, &miner(2).account()).unwrap().is_none(), "a refusal leaves no role behind");
    world.advance_to_epoch(3);
    world.register_miner(5, &miner(2)).unwrap();
    assert!(world.miner(&miner(0).account()).retired.is_some());
    world.register_miner(5, &miner(3)).unwrap();
    assert!(world.miner(&miner(1).account()).retired.is_some());
    assert!(world.register_miner(5, &miner(4)).unwrap_err().contains("from epoch 6 on"));
}

#[test]
fn a_newcomer_starts_at_the_lower_quartile_and_earns_nothing_until_it_is_scored() {
    let mut world = full();
    world.register_miner(5, &miner(3)).unwrap();
    let record = world.miner(&miner(3).account());
    // Settled are 0.2, 0.5 and 0.9; the lower quartile of three is the first. The one with 0.2 made room after it counted.
    assert_eq!((record.score, record.scored, record.emission), (ratio(2, 10), None, Amount::ZERO));

    // Two of four score it, fewer than min_reports: it earns nothing, and takes nothing from the others.
    world.advance_to_epoch(world.epoch() + 1);
    let known = [(miner(0).account(), ratio(9, 10)), (miner(2).account(), ratio(5, 10))].to_vec();
    let mut all = known.clone();
    all.push((miner(3).account(), Score::ONE));
    let report = world.settle(&[all.clone(), all.clone(), known.clone(), known]);
    let line = |id| report.miners.iter().find(|m| m.account == id).unwrap();
    let new = line(miner(3).account());
    assert!(new.withheld.as_ref().is_some_and(|why| why.contains("not scored yet")), "{new:?}");
    assert_eq!((new.reward, new.incentive, new.consensus), (Amount::ZERO, Score::ZERO, false));
    assert!(line(miner(0).account()).reward > Amount::ZERO);
    assert_eq!(world.miner(&miner(3).account()).score, ratio(2, 10), "it is still shown and routed by");

    let report = world.settle(&vec![all; 4]);
    let new = report.miners.iter().find(|m| m.account == miner(3).account()).unwrap();
    assert!(new.reward > Amount::ZERO && new.withheld.is_none());
    let record = world.miner(&miner(3).account());
    assert_eq!((record.score, record.scored, record.emission), (Score::ONE, Some(report.epoch), new.reward));
}

#[test]
fn a_known_miner_that_was_not_sampled_keeps_its_score_and_its_pay() {
    let mut world = full();
    let known = [(miner(0).account(), ratio(9, 10))].to_vec();
    let report = world.settle(&vec![known; 4]);
    let line = report.miners.iter().find(|m| m.account == miner(2).account()).unwrap();
    assert_eq!((line.score, line.consensus), (ratio(5, 10), false));
    assert!(line.reward > Amount::ZERO && line.withheld.is_none());
}

#[test]
fn a_replaced_operator_key_starts_afresh() {
    let mut world = full();
    let (old, new, owner) = (miner(0).account(), miner(7), world.owners[4].clone());
    let paid = world.miner(&old);
    assert!(paid.emission > Amount::ZERO && paid.scored.is_some());
    world.run(&owner, Action::RetireMiner { operator: old }).unwrap();
    assert!(world.register_miner(4, &miner(0)).unwrap_err().contains("exists already"), "a key has its role for good");
    world.register_miner(4, &new).unwrap();
    let record = world.miner(&new.account());
    assert_eq!((record.scored, record.emission), (None, Amount::ZERO));
    assert!(record.immune_until == world.epoch() + 3 && record.score < paid.score);
    for validator in &world.validators {
        let bonds: Vec<(assay_primitives::AccountId, u16)> =
            crate::state::read(&world.state, "bonds", &crate::keys::bonds(0, &validator.account())).unwrap().unwrap();
        assert!(bonds.iter().any(|(miner, _)| *miner == old), "{bonds:?}");
        assert!(bonds.iter().all(|(miner, _)| *miner != new.account()), "no bond is inherited");
    }
}
