//! What texts cost, and who is paid for them.

use assay_primitives::{AccountId, Amount, Keypair};
use proptest::prelude::*;

use crate::{
    Event, MAX_BILLS, query,
    records::Tariff,
    tx::{Action, Bill, Consent, Endpoint},
    world::{FEE, World, key},
};

/// A miner of owner 4.
fn mining(world: &mut World, n: u64) -> Keypair {
    let (owner, miner) = (world.owners[4].clone(), key("miner", n));
    let consent = Consent::sign(owner.account(), &miner, &world.genesis);
    let (operator, endpoint) = (miner.account(), Endpoint::default());
    world.run(&owner, Action::RegisterMiner { subnet: 0, most: Amount::asy(10), operator, consent, endpoint }).unwrap();
    miner
}

fn bill(miner: AccountId, amount: u64) -> Bill {
    Bill { miner, amount: Amount(amount) }
}

const DEAR: Tariff = Tariff { prompt: Amount(2_000_000), completion: Amount(5_000_000) };

#[test]
fn a_tariff_counts_from_the_next_epoch_on_and_only_its_miner_sets_it() {
    let mut world = World::new();
    let miner = mining(&mut world, 1);
    let operator = miner.account();
    assert_eq!(query::asking(&world.state, &operator).unwrap().at(7), Tariff::FREE);
    let (epoch, owner) = (world.epoch(), world.owners[4].clone());
    world.run(&miner, Action::SetTariff { operator, tariff: DEAR }).unwrap();
    let asking = query::asking(&world.state, &operator).unwrap();
    assert_eq!((asking.at(epoch), asking.at(epoch + 1), asking.at(epoch + 9)), (Tariff::FREE, DEAR, DEAR));
    // Changed again before it counted: the present price stands.
    let cheap = Tariff { prompt: Amount(1), completion: Amount(1) };
    world.run(&owner, Action::SetTariff { operator, tariff: cheap }).unwrap();
    let asking = query::asking(&world.state, &operator).unwrap();
    assert_eq!((asking.at(epoch), asking.at(epoch + 1)), (Tariff::FREE, cheap));

    let stranger = world.owners[5].clone();
    let error = world.run(&stranger, Action::SetTariff { operator, tariff: DEAR }).unwrap_err();
    assert!(error.contains("a tariff"), "{error}");
    let nobody = key("nobody", 1).account();
    assert!(world.run(&stranger, Action::SetTariff { operator: nobody, tariff: DEAR }).unwrap_err().contains("miner"));
}

#[test]
fn bills_are_paid_to_the_owners_all_or_none() {
    let mut world = World::new();
    let miners = [mining(&mut world, 1).account(), mining(&mut world, 2).account()];
    let mut bills = vec![bill(miners[0], 300), bill(miners[1], 20)];
    bills.sort_by_key(|b| b.miner);
    let (payer, owner) = (world.owners[6].clone(), world.owners[4].account());
    let before = (world.balance(&payer.account()), world.balance(&owner));
    let tx = world.sign(&payer, Action::PayUsage { bills: bills.clone() });
    let outcome = world.block(&[tx]);
    assert!(outcome.results[0].ok);
    let paid = outcome.events.iter().filter(|e| matches!(e, Event::UsagePaid { .. })).count();
    assert_eq!(paid, 2);
    assert_eq!(world.balance(&payer.account()), before.0 - 320 - FEE.0);
    assert_eq!(world.balance(&owner), before.1 + 320);
    world.run(&payer, Action::PayUsage { bills: vec![bill(miners[0], 5)] }).unwrap();
    assert_eq!(query::paid(&world.state, &payer.account(), &miners[0]).unwrap(), Amount(305));
    assert_eq!(query::payments(&world.state, &payer.account()).unwrap().iter().map(|(_, a)| a.0).sum::<u64>(), 325);

    let (high, low) = (bills[1].miner, bills[0].miner);
    let all = world.balance(&payer.account());
    for (wrong, words) in [
        (vec![], "number of bills"),
        (vec![bill(high, 1), bill(low, 1)], "ascend by miner"),
        (vec![bill(low, 1), bill(low, 1)], "ascend by miner"),
        (vec![bill(low, 0)], "amount in grain"),
        (vec![bill(payer.account(), 1)], "miner"),
        (vec![bill(low, 1), bill(high, all)], "the bills"),
        (vec![bill(low, 1); MAX_BILLS as usize + 1], "number of bills"),
    ] {
        let before = (world.balance(&payer.account()), world.balance(&owner));
        let error = world.run(&payer, Action::PayUsage { bills: wrong }).unwrap_err();
        assert!(error.contains(words), "{error}");
        assert_eq!((world.balance(&payer.account()), world.balance(&owner)), (before.0 - FEE.0, before.1));
    }
}

#[test]
fn a_miner_that_left_is_paid_for_what_it_did() {
    let mut world = World::new();
    let (miner, owner) = (mining(&mut world, 1).account(), world.owners[4].clone());
    world.run(&owner, Action::RetireMiner { operator: miner }).unwrap();
    let payer = world.owners[6].clone();
    world.run(&payer, Action::PayUsage { bills: vec![bill(miner, 9)] }).unwrap();
    assert_eq!(query::paid(&world.state, &payer.account(), &miner).unwrap(), Amount(9));
}

proptest! {
    #[test]
    fn a_cost_is_rounded_up_once_and_never_wraps(prompt: u64, completion: u64, a: u64, b: u64) {
        let tariff = Tariff { prompt: Amount(a), completion: Amount(b) };
        let exact = (u128::from(prompt) * u128::from(a)).checked_add(u128::from(completion) * u128::from(b));
        let expected = exact.map_or(u64::MAX, |e| u64::try_from(e.div_ceil(1_000_000)).unwrap_or(u64::MAX));
        prop_assert_eq!(tariff.of(prompt, completion).0, expected);
    }
}

#[test]
fn costs_are_of_millions() {
    assert_eq!(DEAR.of(1_000_000, 0), DEAR.prompt);
    assert_eq!(DEAR.of(0, 1), Amount(5));
    assert_eq!(Tariff { prompt: Amount(1), completion: Amount::ZERO }.of(1, 10), Amount(1));
    assert_eq!(Tariff::FREE.of(u64::MAX, u64::MAX), Amount::ZERO);
}
