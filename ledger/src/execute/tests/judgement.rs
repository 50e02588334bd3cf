//! Challenged texts, and what validators make of them.

use assay_primitives::{Amount, Hash32, Keypair, Signed, task::Output};

use crate::{
    Event, StateRead, keys, query,
    records::{ChallengeStatus, ModelKind, SlashReason},
    tx::Action,
    world::{World, key, quick_params},
};

/// A world with a language model, and a miner whose text is challenged.
fn challenged() -> (World, Keypair, Hash32) {
    let mut world = World::new();
    let miner = key("miner", 0);
    world.register_miner(4, &miner).unwrap();
    let model = world.register_text_model();
    let (request, response) = world.telling(&model, &miner, 1, &[7, 8]);
    let id = response.id(&world.genesis);
    let validator = world.validators[0].clone();
    world.run(&validator, Action::Challenge { request, response }).unwrap();
    (world, miner, id)
}

fn judge(world: &mut World, validator: usize, challenge: Hash32, holds: bool) -> Result<(), String> {
    let validator = world.validators[validator].clone();
    world.run(&validator, Action::Judge { challenge, holds })
}

fn status(world: &World, id: &Hash32) -> ChallengeStatus {
    query::challenge(&world.state, id).unwrap().unwrap().status
}

#[test]
fn a_text_model_is_kept_as_the_hashes_of_its_files() {
    let mut world = World::new();
    let model = world.register_text_model();
    let record = query::model_by_name(&world.state, "poet").unwrap().unwrap();
    assert_eq!((record.id, record.kind, record.bytes), (model.id(), ModelKind::Text, 1 << 40));
    assert_eq!(query::model_bytes(&world.state, &model.id()).unwrap(), Some(model.to_bytes()));
    let owner = world.owners[5].clone();
    let mut bytes = model.to_bytes();
    bytes.push(0);
    let register = Action::RegisterModel { subnet: 0, name: "other".into(), bytes };
    assert!(world.run(&owner, register).unwrap_err().contains("text model"));
}

#[test]
fn more_than_two_thirds_of_the_power_condemn_a_text_and_slash_its_miner_once() {
    let (mut world, miner, id) = challenged();
    assert!(world.awaits(&world.validators[1].clone(), &Action::Judge { challenge: id, holds: false }));
    let judgement =
        |world: &World, n: usize| world.sign(&world.validators[n], Action::Judge { challenge: id, holds: false });
    let half = [judgement(&world, 0), judgement(&world, 1)];
    world.block(&half);
    assert!(matches!(status(&world, &id), ChallengeStatus::Open { .. }), "two of four are no more than two thirds");
    assert!(judge(&mut world, 0, id, true).unwrap_err().contains("exists already"));
    let third = judgement(&world, 2);
    let outcome = world.block(&[third]);
    assert!(outcome.events.contains(&Event::ChallengeJudged { id, miner: miner.account(), holds: false }));
    assert!(matches!(status(&world, &id), ChallengeStatus::Condemned { .. }));
    let slash = query::slashes(&world.state).unwrap().remove(0);
    assert_eq!((slash.reason, slash.amount), (SlashReason::WrongOutput, Amount::asy(50)));
    assert!(judge(&mut world, 3, id, false).unwrap_err().contains("closed"));
    assert!(world.state.scan(&keys::judgements(&id)).unwrap().is_empty());
    world.advance_to(world.height() + 6);
    assert_eq!(query::slashes(&world.state).unwrap().len(), 1);
}

#[test]
fn a_text_that_a_third_of_the_power_or_more_finds_right_is_upheld() {
    let (mut world, miner, id) = challenged();
    judge(&mut world, 0, id, false).unwrap();
    judge(&mut world, 1, id, true).unwrap();
    assert!(matches!(status(&world, &id), ChallengeStatus::Open { .. }), "a quarter is less than a third");
    judge(&mut world, 2, id, true).unwrap();
    assert!(matches!(status(&world, &id), ChallengeStatus::Upheld { .. }));
    assert!(query::slashes(&world.state).unwrap().is_empty());
    assert_eq!(world.miner(&miner.account()).bond, Amount::asy(100));
}

#[test]
fn a_text_that_too_few_judge_is_left_alone_after_the_deadline() {
    let (mut world, miner, id) = challenged();
    judge(&mut world, 0, id, false).unwrap();
    let ChallengeStatus::Open { deadline } = status(&world, &id) else { panic!("it is open") };
    world.advance_to(deadline + 1);
    let outcome = world.block(&[]);
    assert!(outcome.events.contains(&Event::ChallengeLapsed { id, miner: miner.account() }));
    assert!(matches!(status(&world, &id), ChallengeStatus::Lapsed { .. }));
    assert!(query::slashes(&world.state).unwrap().is_empty());
    assert!(world.state.scan(&keys::judgements(&id)).unwrap().is_empty());
    assert!(judge(&mut world, 1, id, false).unwrap_err().contains("closed"));
}

#[test]
fn only_validators_judge_and_only_texts() {
    let (mut world, miner, id) = challenged();
    let stranger = world.owners[6].clone();
    let said = world.run(&stranger, Action::Judge { challenge: id, holds: false }).unwrap_err();
    assert!(said.contains("a validator's operator"), "{said}");
    assert!(!world.awaits(&miner, &Action::Judge { challenge: id, holds: true }));
    let said = world.run(&miner, Action::Answer { challenge: id, proof: vec![1] }).unwrap_err();
    assert!(said.contains("validators judge"), "{said}");
    let (request, response) = world.exchange(&miner, 2, None, None);
    let numbers = response.id(&world.genesis);
    let validator = world.validators[1].clone();
    world.run(&validator, Action::Challenge { request, response }).unwrap();
    assert!(judge(&mut world, 2, numbers, false).unwrap_err().contains("is about numbers"));
    assert!(judge(&mut world, 2, Hash32([9; 32]), false).unwrap_err().contains("challenge"));
}

#[test]
fn a_response_to_a_text_that_is_false_on_its_face_is_refuted_and_not_challenged() {
    let mut world = World::new();
    let miner = key("miner", 0);
    world.register_miner(4, &miner).unwrap();
    let model = world.register_text_model();
    let (anyone, validator) = (world.owners[6].clone(), world.validators[0].clone());
    let (request, honest) = world.telling(&model, &miner, 1, &[7, 8]);
    let refute =
        |response: &Signed<_>| Action::Refute { request: request.clone(), response: response.clone(), proof: None };
    assert!(world.run(&anyone, refute(&honest)).unwrap_err().contains("challenge it instead"));
    // Too many tokens, none, or numbers.
    for output in [Some(vec![1; 5]), Some(Vec::new()), None] {
        let mut false_on_its_face = honest.body.clone();
        match (&mut false_on_its_face.output, output) {
            (Output::Text(told), Some(tokens)) => told.tokens = tokens,
            (output, _) => *output = Output::Numbers(vec![1]),
        }
        let response = Signed::new(false_on_its_face, &world.genesis, &miner);
        let challenge = Action::Challenge { request: request.clone(), response: response.clone() };
        assert!(world.run(&validator, challenge).unwrap_err().contains("refute it instead"));
        world.run(&anyone, refute(&response)).unwrap();
    }
    assert_eq!(query::slashes(&world.state).unwrap().len(), 3);
}

#[test]
fn a_model_is_asked_for_what_it_takes() {
    let mut world = World::with(assay_chain_spec::Params { tempo: 30, ..quick_params() });
    let miner = key("miner", 0);
    world.register_miner(4, &miner).unwrap();
    let model = world.register_text_model();
    let validator = world.validators[0].clone();
    let (text, _) = world.telling(&model, &miner, 1, &[7]);
    let (numbers, _) = world.exchange(&miner, 2, None, None);
    let mut crossed = [(text.clone(), numbers.body.model), (numbers, text.body.model)];
    for (request, model) in &mut crossed {
        request.body.model = *model;
        let request = Signed::new(request.body.clone(), &world.genesis, &validator);
        let (_, mut response) = world.exchange(&miner, 3, None, None);
        response.body.request = request.id(&world.genesis);
        response.body.model = *model;
        let response = Signed::new(response.body, &world.genesis, &miner);
        for action in [
            Action::Challenge { request: request.clone(), response: response.clone() },
            Action::Refute { request, response, proof: None },
        ] {
            let said = world.run(&validator, action).unwrap_err();
            assert!(said.contains("none of the model's"), "{said}");
        }
    }
}
