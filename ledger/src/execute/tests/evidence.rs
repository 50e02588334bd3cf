//! Refutations, challenges and answers, with real proofs.

use assay_primitives::{Amount, Hash32, Keypair, Signed, task::Output};

use crate::{
    Event, OPEN_CHALLENGES_PER_EPOCH, query,
    records::{ChallengeStatus, SlashReason},
    tx::{Action, Endpoint},
    world::{NO_CONSENT, World, key, quick_params},
};

fn with_miner() -> (World, Keypair) {
    let mut world = World::new();
    let miner = key("miner", 0);
    world.register_miner(4, &miner).unwrap();
    (world, miner)
}

#[test]
fn a_wrong_output_costs_half_the_bond_and_the_place_once() {
    let (mut world, miner) = with_miner();
    let (request, response) = world.exchange(&miner, 1, Some(vec![0, 0]), None);
    let refute = Action::Refute { request, response, proof: None };
    let anyone = world.owners[6].clone();
    world.run(&anyone, refute.clone()).unwrap();
    let slash = query::slashes(&world.state).unwrap().remove(0);
    assert_eq!(
        (slash.reason, slash.amount, slash.account),
        (SlashReason::WrongOutput, Amount::asy(50), miner.account())
    );
    let record = world.miner(&miner.account());
    assert!(record.retired.is_some() && record.slashed == Some(world.epoch()));
    assert_eq!(query::unbondings(&world.state).unwrap()[0].amount, Amount::asy(50));
    assert!(world.run(&anyone, refute).unwrap_err().contains("exists already"));

    let (request, response) = world.exchange(&miner, 2, Some(vec![0, 0]), None);
    world.run(&anyone, Action::Refute { request, response, proof: None }).unwrap();
    assert_eq!(query::unbondings(&world.state).unwrap()[0].amount, Amount::asy(25), "unbonding money is in reach");
}

#[test]
fn an_honest_response_cannot_be_refuted() {
    let (mut world, miner) = with_miner();
    let anyone = world.owners[6].clone();
    let (request, _) = world.exchange(&miner, 1, None, None);
    let proof = world.prove(&request);
    let (request, response) = world.exchange(&miner, 1, None, Some(Hash32::digest(&proof)));
    let refute = |proof| Action::Refute { request: request.clone(), response: response.clone(), proof };
    assert!(world.run(&anyone, refute(None)).unwrap_err().contains("nothing is refuted"));
    assert!(world.run(&anyone, refute(Some(proof.clone()))).unwrap_err().contains("the proof holds"));
    let mut other = proof;
    other[0] ^= 1;
    assert!(world.run(&anyone, refute(Some(other))).unwrap_err().contains("not the proof whose hash"));
    assert!(query::slashes(&world.state).unwrap().is_empty());
}

#[test]
fn a_proof_that_its_miner_signed_and_that_does_not_hold_is_slashed() {
    let (mut world, miner) = with_miner();
    let anyone = world.owners[6].clone();
    let (request, _) = world.exchange(&miner, 1, None, None);
    let replayed = world.prove(&request);
    let (request, response) = world.exchange(&miner, 2, None, Some(Hash32::digest(&replayed)));
    world.run(&anyone, Action::Refute { request, response, proof: Some(replayed) }).unwrap();
    assert_eq!(query::slashes(&world.state).unwrap()[0].reason, SlashReason::InvalidProof);
}

#[test]
fn evidence_must_be_signed_fit_together_and_be_recent() {
    let (mut world, miner) = with_miner();
    let anyone = world.owners[6].clone();
    let (request, response) = world.exchange(&miner, 1, Some(vec![0, 0]), None);
    let (other, _) = world.exchange(&miner, 2, None, None);
    let refute = |request: &Signed<_>, response: &Signed<_>| Action::Refute {
        request: request.clone(),
        response: response.clone(),
        proof: None,
    };
    assert!(world.run(&anyone, refute(&other, &response)).unwrap_err().contains("does not answer"));
    let mut forged = response.clone();
    forged.body.output = Output::Numbers(vec![9, 9]);
    assert!(world.run(&anyone, refute(&request, &forged)).unwrap_err().contains("signature on the response"));
    let mut forged = request.clone();
    forged.signature = assay_primitives::Signature::EMPTY;
    assert!(world.run(&anyone, refute(&forged, &response)).unwrap_err().contains("not signed"));
    world.advance_to_epoch(request.body.epoch + quick_params().evidence_epochs + 1);
    assert!(world.run(&anyone, refute(&request, &response)).unwrap_err().contains("evidence is taken from"));
}

#[test]
fn a_challenge_is_answered_with_a_proof_for_this_very_request() {
    let (mut world, miner) = with_miner();
    let (validator, stranger) = (world.validators[1].clone(), world.owners[6].clone());
    let (request, response) = world.exchange(&miner, 1, None, None);
    let id = response.id(&world.genesis);
    let challenge = Action::Challenge { request: request.clone(), response };
    assert!(world.run(&stranger, challenge.clone()).unwrap_err().contains("a validator's operator"));
    world.run(&validator, challenge.clone()).unwrap();
    assert!(world.run(&validator, challenge).unwrap_err().contains("exists already"));
    assert_eq!(query::challenges(&world.state).unwrap().len(), 1);

    let (other, _) = world.exchange(&miner, 2, None, None);
    let wrong = Action::Answer { challenge: id, proof: world.prove(&other) };
    assert!(world.awaits(&miner, &wrong), "whether a proof holds is found in a block only");
    assert!(world.run(&miner, wrong).unwrap_err().contains("does not answer"));
    let answer = Action::Answer { challenge: id, proof: world.prove(&request) };
    let vain = Action::Answer { challenge: request.id(&world.genesis), proof: world.prove(&request) };
    let awaits =
        [(&miner, &answer), (&miner, &vain), (&validator, &answer)].map(|(key, action)| world.awaits(key, action));
    assert_eq!(awaits, [true, false, false]);
    world.run(&miner, answer.clone()).unwrap();
    assert!(!world.awaits(&miner, &answer));
    assert!(matches!(query::challenge(&world.state, &id).unwrap().unwrap().status, ChallengeStatus::Answered { .. }));
    assert!(world.run(&miner, answer).unwrap_err().contains("closed"));
    world.advance_to(world.height() + 6);
    assert!(query::slashes(&world.state).unwrap().is_empty());
}

#[test]
fn silence_is_slashed_once_after_the_deadline() {
    let (mut world, miner) = with_miner();
    let validator = world.validators[1].clone();
    let (request, response) = world.exchange(&miner, 1, None, None);
    let id = response.id(&world.genesis);
    world.run(&validator, Action::Challenge { request: request.clone(), response }).unwrap();
    let deadline = world.height() + quick_params().challenge_window;
    world.advance_to(deadline + 1);
    assert!(query::slashes(&world.state).unwrap().is_empty(), "the deadline's block still takes an answer");
    let outcome = world.block(&[]);
    assert!(outcome.events.contains(&Event::ChallengeExpired { id, miner: miner.account() }));
    assert_eq!(world.miner(&miner.account()).bond, Amount::asy(90));
    assert!(world.miner(&miner.account()).retired.is_none());
    let answer = Action::Answer { challenge: id, proof: world.prove(&request) };
    assert!(world.run(&miner, answer).unwrap_err().contains("closed"));
    world.advance_to(deadline + 8);
    assert_eq!(query::slashes(&world.state).unwrap().len(), 1);
}

#[test]
fn a_validator_opens_only_so_many_challenges_in_an_epoch() {
    let mut world = World::with(assay_chain_spec::Params { tempo: 30, ..quick_params() });
    let (miner, validator) = (key("miner", 0), world.validators[1].clone());
    world.register_miner(4, &miner).unwrap();
    let open = |world: &World, nonce| {
        let (request, response) = world.exchange(&miner, nonce, None, None);
        Action::Challenge { request, response }
    };
    for nonce in 0..OPEN_CHALLENGES_PER_EPOCH as u8 {
        let action = open(&world, nonce);
        world.run(&validator, action).unwrap();
    }
    let action = open(&world, 99);
    assert!(world.run(&validator, action.clone()).unwrap_err().contains("at most"));
    let other = world.validators[2].clone();
    world.run(&other, action).unwrap();
}

#[test]
fn only_validators_that_vote_now_open_challenges() {
    let mut world = World::new();
    let (miner, operator) = (key("miner", 0), world.owners[5].clone());
    world.register_miner(4, &miner).unwrap();
    let register = Action::RegisterValidator {
        operator: operator.account(),
        consent: NO_CONSENT,
        stake: Amount::asy(1000),
        take: 0,
        endpoint: Endpoint::default(),
    };
    world.run(&operator, register).unwrap();
    let (request, response) = world.exchange(&miner, 1, None, None);
    let challenge = Action::Challenge { request, response };
    assert!(world.run(&operator, challenge.clone()).unwrap_err().contains("not in the validator set"));
    world.advance_to_epoch(1);
    world.run(&operator, challenge).unwrap();
}
