//! What may stand in a block, and what a failed transaction costs.

use assay_primitives::{AccountId, Amount, Hash32, Signature, SignatureError, Signed};

use crate::{
    BlockError, Candidates, MAX_PROOFS_PER_BLOCK, MAX_REPLAYS_PER_BLOCK, Refusal, admit, build, execute, least_fee,
    query,
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
    let (chosen, _) = build(&world.state, &world.context(), &mut [tx.clone()].into_iter(), usize::MAX).unwrap();
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
fn an_operator_cannot_burn_its_owners_money_as_fees() {
    let world = World::new();
    let operator = world.validators[0].clone();
    let action = || Action::SetEndpoint { operator: operator.account(), endpoint: Endpoint::default() };
    let most = Amount(100 * FEE.0);
    let dear = world.sign_with(&operator, action(), 0, Amount(most.0 + 1));
    assert_eq!(refusal(&world, &dear), Refusal::OperatorFee { most, found: Amount(most.0 + 1) });
    let fair = world.sign_with(&operator, action(), 0, most);
    execute(&world.state, &world.context(), &[fair]).unwrap();
    let own = world.sign_with(&world.owners[0], action(), 0, Amount(most.0 + 1));
    execute(&world.state, &world.context(), &[own]).unwrap();
}

/// A model that is none, under a free name.
fn junk_model(world: &World, owner: usize, nonce: u64) -> crate::SignedTransaction {
    let action = Action::RegisterModel { subnet: 0, name: format!("junk-{owner}-{nonce}"), bytes: vec![1] };
    world.sign_with(&world.owners[owner], action, nonce, Amount(100 * FEE.0))
}

#[test]
fn a_model_and_a_refutation_with_a_proof_cost_a_hundred_times_the_least_fee() {
    let world = World::new();
    let model = junk_model(&world, 0, 0).body.action;
    let cheap = world.sign_with(&world.owners[0], model, 0, Amount(100 * FEE.0 - 1));
    let least = Amount(100 * FEE.0);
    assert_eq!(refusal(&world, &cheap), Refusal::Fee { least, found: Amount(least.0 - 1) });
    let params = query::params(&world.state).unwrap();
    let (request, response) = world.exchange(&key("miner", 0), 1, None, None);
    let refute = |proof| Action::Refute { request: request.clone(), response: response.clone(), proof };
    assert_eq!(least_fee(&params, &refute(Some(vec![]))), least);
    assert_eq!(least_fee(&params, &refute(None)), FEE);
    assert_eq!(least_fee(&params, &transfer(&world, 5)), FEE);
}

#[test]
fn a_block_verifies_only_so_many_models_and_has_room_for_other_work_beside() {
    let world = World::new();
    let limit = MAX_PROOFS_PER_BLOCK;
    let txs: Vec<_> = (0..=limit).map(|nonce| junk_model(&world, 0, nonce)).collect();
    let error = execute(&world.state, &world.context(), &txs).unwrap_err();
    assert!(matches!(error, BlockError::Transaction { index: 16, refusal: Refusal::NoRoom { .. }, .. }), "{error}");
    let answer = Action::Answer { challenge: Hash32::ZERO, proof: vec![] };
    let txs = txs.into_iter().chain([world.sign(&world.owners[1], answer)]);
    let (chosen, _) = build(&world.state, &world.context(), &mut txs.into_iter(), usize::MAX).unwrap();
    assert_eq!(chosen.len(), MAX_PROOFS_PER_BLOCK as usize + 1);
}

#[test]
fn what_fails_before_its_work_takes_no_room() {
    let world = World::new();
    let many = |action: &dyn Fn(u64) -> Action, fee| -> Vec<_> {
        (0..100).map(|nonce| world.sign_with(&world.owners[0], action(nonce), nonce, Amount(fee))).collect()
    };
    let nobodys = many(&|_| Action::Answer { challenge: Hash32::ZERO, proof: vec![] }, FEE.0);
    let taken = many(&|_| Action::RegisterModel { subnet: 0, name: "tiny".into(), bytes: vec![1] }, 100 * FEE.0);
    let (request, response) = world.exchange(&key("nobody", 0), 1, None, None);
    let nobody = many(
        &|_| Action::Refute { request: request.clone(), response: response.clone(), proof: Some(vec![]) },
        100 * FEE.0,
    );
    for txs in [nobodys, taken, nobody] {
        let outcome = execute(&world.state, &world.context(), &txs).unwrap();
        assert!(outcome.results.iter().all(|r| !r.ok));
    }
}

#[test]
fn a_block_replays_only_so_many_responses() {
    let mut world = World::new();
    let miner = key("miner", 0);
    world.register_miner(4, &miner).unwrap();
    let (request, response) = world.exchange(&miner, 1, None, None);
    let refute = |nonce| {
        let action = Action::Refute { request: request.clone(), response: response.clone(), proof: None };
        world.sign_with(&world.owners[6], action, nonce, FEE)
    };
    let mut txs = (0..100).map(refute);
    let (chosen, _) = build(&world.state, &world.context(), &mut txs, usize::MAX).unwrap();
    assert_eq!(chosen.len(), MAX_REPLAYS_PER_BLOCK as usize);
}

/// Candidates in order, but none of a signer that was passed over.
struct Queue {
    waiting: std::vec::IntoIter<crate::SignedTransaction>,
    passed: Vec<AccountId>,
}

impl Candidates for Queue {
    fn next(&mut self) -> Option<crate::SignedTransaction> {
        let passed = &self.passed;
        self.waiting.find(|tx| !passed.contains(&tx.body.signer))
    }

    fn pass_over(&mut self, signer: &AccountId) {
        self.passed.push(*signer);
    }
}

#[test]
fn what_may_not_stand_takes_no_bytes_and_its_signer_is_passed_over_once() {
    let world = World::new();
    let of = |owner: usize, nonce| world.sign_with(&world.owners[owner], transfer(&world, 5), nonce, FEE);
    let junk = (1..2000).map(|nonce| of(0, nonce)); // 0 is missing
    let good: Vec<_> = (0..3).map(|nonce| of(1, nonce)).collect();
    let waiting = junk.chain(good.clone()).collect::<Vec<_>>().into_iter();
    let mut queue = Queue { waiting, passed: Vec::new() };
    let room = 4 + 3 * borsh::object_length(&good[0]).unwrap();
    let (chosen, _) = build(&world.state, &world.context(), &mut queue, room).unwrap();
    assert_eq!(chosen, good);
    assert_eq!(queue.passed, [world.owners[0].account()]);
}

#[test]
fn a_proposer_gives_up_after_many_candidates_in_a_row_that_may_not_stand() {
    let world = World::new();
    let (mut asked, bad) = (0, world.sign_with(&world.owners[0], transfer(&world, 5), 7, FEE));
    let mut endless = std::iter::repeat_with(|| {
        asked += 1;
        bad.clone()
    });
    let (chosen, _) = build(&world.state, &world.context(), &mut endless, usize::MAX).unwrap();
    assert_eq!((chosen.len(), asked), (0, 10_000));
}

#[test]
fn a_proposer_keeps_to_the_bytes_it_is_given_and_its_block_executes_alike() {
    let world = World::new();
    let txs: Vec<_> = (0..20).map(|n| world.sign_with(&world.owners[0], transfer(&world, 5), n, FEE)).collect();
    let len = borsh::object_length(&txs[0]).unwrap();
    let (chosen, built) = build(&world.state, &world.context(), &mut txs.into_iter(), 4 + 7 * len).unwrap();
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
