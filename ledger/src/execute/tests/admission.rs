//! What may stand in a block, and what a failed transaction costs.

use assay_primitives::{Amount, Hash32, Signature, SignatureError, Signed};

use crate::{
    BlockError, MAX_PROOFS_PER_BLOCK, Refusal, admit, build, execute, query,
    tx::{Action, Consent, Endpoint},
    world::{FEE, World, key},
};

fn transfer(world: &World, amount: u64) -> Action {
    Action::Transfer { to: world.owners[1].account(), amount: Amount(amount) }
}

fn refusal(world: &World, tx: &crate::SignedTransaction) -> Refusal {
    let len = borsh::object_length(tx).unwrap();
    let admitted = admit(&world.state, &world.genesis, tx, len, 0).unwrap_err();
    match execute(&world.state, &world.context(), std::slice::from_ref(tx)).unwrap_err() {
        BlockError::Transaction { index: 0, refusal, .. } => assert_eq!(refusal, admitted),
        other => panic!("{other}"),
    }
    let (chosen, _) = build(&world.state, &world.context(), [tx.clone()], usize::MAX).unwrap();
    assert!(chosen.is_empty(), "a proposer leaves it out");
    admitted
}

#[test]
fn money_moves_and_the_fee_burns() {
    let mut world = World::new();
    let (from, to) = (world.owners[0].clone(), world.owners[1].account());
    let before = (world.balance(&from.account()), world.balance(&to));
    world.run(&from, transfer(&world, 500)).unwrap();
    assert_eq!(world.balance(&from.account()), before.0 - 500 - FEE.0);
    assert_eq!(world.balance(&to), before.1 + 500);
    assert_eq!(query::supply(&world.state).unwrap().burned, FEE.0);
}

#[test]
fn empty_foreign_and_altered_signatures_stand_in_no_block() {
    let world = World::new();
    let good = world.sign(&world.owners[0], transfer(&world, 5));
    let empty = Signed { signature: Signature::EMPTY, ..good.clone() };
    assert_eq!(refusal(&world, &empty), Refusal::Signature(SignatureError::Empty { what: "transaction" }));
    let foreign = Signed::new(good.body.clone(), &Hash32([1; 32]), &world.owners[0]);
    assert!(matches!(refusal(&world, &foreign), Refusal::Signature(SignatureError::Invalid { .. })));
    let mut altered = good.clone();
    altered.body.action = transfer(&world, 6);
    assert!(matches!(refusal(&world, &altered), Refusal::Signature(SignatureError::Invalid { .. })));
}

#[test]
fn a_nonce_is_used_once_and_in_order() {
    let mut world = World::new();
    let owner = world.owners[0].clone();
    let first = world.sign(&owner, transfer(&world, 5));
    let early = world.sign_with(&owner, transfer(&world, 5), 1, FEE);
    assert!(matches!(refusal(&world, &early), Refusal::Nonce { expected: 0, found: 1, .. }));
    let len = borsh::object_length(&early).unwrap();
    admit(&world.state, &world.genesis, &early, len, 1).unwrap();
    let both = [first.clone(), early];
    assert!(world.block(&both).results.iter().all(|r| r.ok), "two of one signer in their order");
    assert!(matches!(refusal(&world, &first), Refusal::Nonce { expected: 2, found: 0, .. }));
    let twice = world.sign(&owner, transfer(&world, 5));
    let replay = execute(&world.state, &world.context(), &[twice.clone(), twice]);
    assert!(matches!(replay, Err(BlockError::Transaction { index: 1, .. })));
}

#[test]
fn a_low_or_unpayable_fee_and_an_oversize_transaction_stand_in_no_block() {
    let world = World::new();
    let low = world.sign_with(&world.owners[0], transfer(&world, 5), 0, Amount(999));
    assert_eq!(refusal(&world, &low), Refusal::Fee { least: Amount(1000), found: Amount(999) });
    let poor = world.sign(&key("poor", 0), transfer(&world, 5));
    assert!(matches!(refusal(&world, &poor), Refusal::Funds { found: Amount::ZERO, .. }));
    let bytes = vec![0; 300_000];
    let large = world.sign(&world.owners[0], Action::RegisterModel { subnet: 0, name: "x".into(), bytes });
    assert!(matches!(refusal(&world, &large), Refusal::TooLarge { .. }));
}

#[test]
fn a_failed_action_costs_fee_and_nonce_and_changes_nothing_else() {
    let mut world = World::new();
    let owner = world.owners[0].clone();
    let before = world.balance(&owner.account());
    let action = Action::Stake { validator: world.validators[0].account(), amount: Amount(before) };
    let error = world.run(&owner, action).unwrap_err();
    assert!(error.contains("the stake takes"), "{error}");
    let after = query::account(&world.state, &owner.account()).unwrap();
    assert_eq!((after.balance.0, after.nonce), (before - FEE.0, 1));
}

#[test]
fn an_operators_fee_is_paid_by_its_owner() {
    let mut world = World::new();
    let (owner, operator) = (world.owners[0].account(), world.validators[0].clone());
    let before = world.balance(&owner);
    let action = Action::SetEndpoint { operator: operator.account(), endpoint: Endpoint::default() };
    world.run(&operator, action).unwrap();
    assert_eq!(world.balance(&owner), before - FEE.0);
    assert_eq!(query::account(&world.state, &operator.account()).unwrap().nonce, 1);
}

#[test]
fn a_block_verifies_only_so_many_proofs() {
    let world = World::new();
    let answer = |nonce| {
        let action = Action::Answer { challenge: Hash32::ZERO, proof: vec![] };
        world.sign_with(&world.owners[0], action, nonce, FEE)
    };
    let txs: Vec<_> = (0..=u64::from(MAX_PROOFS_PER_BLOCK)).map(answer).collect();
    let error = execute(&world.state, &world.context(), &txs).unwrap_err();
    assert!(matches!(error, BlockError::Transaction { refusal: Refusal::TooManyProofs { .. }, .. }));
    let (chosen, _) = build(&world.state, &world.context(), txs, usize::MAX).unwrap();
    assert_eq!(chosen.len(), MAX_PROOFS_PER_BLOCK as usize);
}

#[test]
fn a_proposer_keeps_to_the_bytes_it_is_given_and_its_block_executes_alike() {
    let world = World::new();
    let txs: Vec<_> = (0..20).map(|n| world.sign_with(&world.owners[0], transfer(&world, 5), n, FEE)).collect();
    let len = borsh::object_length(&txs[0]).unwrap();
    let (chosen, built) = build(&world.state, &world.context(), txs, 4 + 7 * len).unwrap();
    assert_eq!(chosen.len(), 7);
    assert_eq!(execute(&world.state, &world.context(), &chosen).unwrap(), built);
}

#[test]
fn a_block_of_another_height_is_this_nodes_fault() {
    let world = World::new();
    let context = crate::BlockContext { height: 5, ..world.context() };
    assert!(execute(&world.state, &context, &[]).unwrap_err().is_store());
}

#[test]
fn amounts_at_the_edge_of_64_bits_are_errors_and_no_panic() {
    let mut world = World::new();
    let owner = world.owners[0].clone();
    for amount in [0, u64::MAX] {
        world.run(&owner, transfer(&world, amount)).unwrap_err();
        let validator = world.validators[0].account();
        world.run(&owner, Action::Stake { validator, amount: Amount(amount) }).unwrap_err();
        world.run(&owner, Action::Unstake { validator, amount: Amount(amount) }).unwrap_err();
    }
    let operator = key("new", 0);
    let consent = Consent::sign(owner.account(), &operator, &world.genesis);
    let stake = Amount(u64::MAX);
    let action = Action::RegisterValidator {
        operator: operator.account(),
        consent,
        stake,
        take: 0,
        endpoint: Endpoint::default(),
    };
    world.run(&owner, action).unwrap_err();
}
