//! Validators, miners, endpoints and models.

use assay_circuits::{
    answer::compact,
    graph::sample::perceptron,
    model::Model,
    proof::{ProofSystem as _, groth16::Groth16},
    relation::Relations,
};
use assay_primitives::{Amount, Hash32, Score, Signature, receipt::Blob};

use crate::{
    query,
    records::Role,
    tx::{Action, Consent, Endpoint},
    world::{FEE, NO_CONSENT, World, key, quick_params, tiny_model},
};

#[test]
fn a_miner_locks_its_bond_and_burns_the_fee_and_gets_the_bond_back() {
    let mut world = World::new();
    let (owner, operator) = (world.owners[4].clone(), key("miner", 0));
    let before = world.balance(&owner.account());
    world.register_miner(4, &operator).unwrap();
    let miner = world.miner(&operator.account());
    assert_eq!((miner.bond, miner.owner, miner.score), (Amount::asy(100), owner.account(), Score::ZERO));
    assert_eq!(world.balance(&owner.account()), before - Amount::asy(101).0 - FEE.0);
    assert_eq!(query::operator(&world.state, &operator.account()).unwrap().unwrap().role, Role::Miner(0));
    let stranger = world.owners[5].clone();
    let retire = Action::RetireMiner { operator: operator.account() };
    assert!(world.run(&stranger, retire.clone()).unwrap_err().contains("must be signed by its owner"));
    world.run(&owner, retire.clone()).unwrap();
    assert!(world.run(&owner, retire).unwrap_err().contains("out of its market"));
    world.advance_to_epoch(4);
    assert_eq!(world.balance(&owner.account()), before - Amount::asy(1).0 - 3 * FEE.0);
}

#[test]
fn a_key_has_one_role_and_only_with_its_consent() {
    let mut world = World::new();
    let (owner, operator) = (world.owners[4].clone(), key("miner", 0));
    let register = |consent| Action::RegisterMiner {
        subnet: 0,
        most: Amount::asy(2),
        operator: operator.account(),
        consent,
        endpoint: Endpoint::default(),
    };
    assert!(world.run(&owner, register(Signature::EMPTY)).unwrap_err().contains("not signed"));
    let for_another = Consent::sign(world.owners[5].account(), &operator, &world.genesis);
    assert!(world.run(&owner, register(for_another)).unwrap_err().contains("does not match"));
    world.register_miner(4, &operator).unwrap();
    assert!(world.register_miner(4, &operator).unwrap_err().contains("exists already"));
    let consent = Consent::sign(owner.account(), &operator, &world.genesis);
    let (stake, endpoint) = (Amount::asy(200), Endpoint::default());
    let validator = Action::RegisterValidator { operator: operator.account(), consent, stake, take: 0, endpoint };
    assert!(world.run(&owner, validator).unwrap_err().contains("exists already"));
}

#[test]
fn a_validator_registers_itself_and_votes_from_the_next_epoch() {
    let mut world = World::new();
    let owner = world.owners[7].clone();
    let operator = owner.account();
    let register = |stake, take| {
        let endpoint = Endpoint { peer_id: "12D3".into(), addresses: vec!["/ip4/127.0.0.1/tcp/1".into()] };
        Action::RegisterValidator { operator, consent: NO_CONSENT, stake: Amount(stake), take, endpoint }
    };
    let least = quick_params().min_validator_stake;
    assert!(world.run(&owner, register(least - 1, 0)).unwrap_err().contains("must lie in"));
    assert!(world.run(&owner, register(least, 10_001)).unwrap_err().contains("take"));
    world.run(&owner, register(least, 10_000)).unwrap();
    world.advance_to_epoch(1);
    assert_eq!(query::next_validator_set(&world.state).unwrap().power_of(&operator), Some(least / 1_000_000));
    assert_eq!(query::delegators_of(&world.state, &operator).unwrap(), [(operator, Amount(least))]);
}

#[test]
fn endpoints_have_limits_and_belong_to_operator_and_owner() {
    let mut world = World::new();
    let operator = world.validators[0].account();
    let set = |peer: usize, addresses: Vec<usize>| {
        let addresses = addresses.into_iter().map(|len| "a".repeat(len)).collect();
        Action::SetEndpoint { operator, endpoint: Endpoint { peer_id: "p".repeat(peer), addresses } }
    };
    let (owner, stranger) = (world.owners[0].clone(), world.owners[1].clone());
    world.run(&owner, set(64, vec![128; 4])).unwrap();
    assert_eq!(query::validator(&world.state, &operator).unwrap().unwrap().endpoint.peer_id.len(), 64);
    for wrong in [set(65, vec![]), set(1, vec![1; 5]), set(1, vec![129]), set(1, vec![0])] {
        assert!(world.run(&owner, wrong).unwrap_err().contains("must lie in"));
    }
    assert!(world.run(&stranger, set(1, vec![])).unwrap_err().contains("must be signed by"));
}

#[test]
fn a_model_is_registered_once_under_a_plain_free_name_in_a_known_subnet() {
    let mut world = World::new();
    let owner = world.owners[4].clone();
    let model = tiny_model(11);
    let register = |subnet, name: &str, bytes: Vec<u8>| Action::RegisterModel { subnet, name: name.into(), bytes };
    let bytes = model.to_bytes();
    for (action, reason) in [
        (register(9, "next", bytes.clone()), "no subnet 9"),
        (register(0, "tiny", bytes.clone()), "exists already"),
        (register(0, "Next", bytes.clone()), "only a-z"),
        (register(0, "", bytes.clone()), "must lie in"),
        (register(0, "next", bytes[1..].to_vec()), "the model"),
        (register(0, "next", tiny_model(10).to_bytes()), "exists already"),
        (register(0, "next", vec![0; 200_000]), "must lie in"),
    ] {
        let error = world.run(&owner, action).unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
    let before = world.balance(&owner.account());
    world.run(&owner, register(0, "next", bytes.clone())).unwrap();
    assert_eq!(world.balance(&owner.account()), before - Amount::asy(1).0 - 100 * FEE.0);
    let record = query::model_by_name(&world.state, "next").unwrap().unwrap();
    assert_eq!((record.id, record.registrant), (model.id(), Some(owner.account())));
    assert_eq!(query::model_bytes(&world.state, &model.id()).unwrap(), Some(bytes));
    assert_eq!(query::subnet(&world.state, 0).unwrap().unwrap().models, [tiny_model(10).id(), model.id()]);
}

#[test]
fn a_groth16_key_in_a_genesis_is_the_models_and_of_a_ceremony_or_the_public_seed() {
    let model = tiny_model(11);
    let key = compact::dev_keys(&model).unwrap().verifier_key().to_vec();
    let mut spec = crate::world::spec(quick_params());
    let mut known = spec.subnets[0].models[0].clone();
    (known.name, known.id, known.bytes) = ("next".into(), model.id(), Blob(model.to_bytes()));
    known.groth16 = Some(Blob(key.clone()));
    spec.subnets[0].models.push(known.clone());
    let mut state = crate::MemoryState::default();
    state.apply(&crate::genesis::genesis(&spec).unwrap());
    let record = query::model(&state, &model.id()).unwrap().unwrap();
    assert_eq!(record.groth16, Some(Hash32::digest(&key)));
    assert_eq!(query::model_groth16(&state, &model.id()).unwrap(), Some(key.clone()));
    assert!(record.cost.verify > 0 && record.cost.replay > 0);

    spec.subnets[0].models[1].groth16 = Some(Blob(key[1..].to_vec()));
    let error = crate::genesis::genesis(&spec).unwrap_err().to_string();
    assert!(error.contains("next") && error.contains("groth16 key"), "{error}");

    // A single party's own numbers, which it alone could forge with.
    let relations = std::sync::Arc::new(Relations::of(model.graph()).unwrap());
    let (_, own) = Groth16::set_up(relations, model.weights()).unwrap();
    spec.subnets[0].models[1].groth16 = Some(Blob(Groth16::verifier_key_to_bytes(&own)));
    let error = crate::genesis::genesis(&spec).unwrap_err().to_string();
    assert!(error.contains("public seed"), "{error}");
}

#[test]
fn a_model_that_takes_too_long_to_check_is_not_kept() {
    use crate::model::{Examined, ModelFault};
    let rows = vec![&[1i64; 256][..]; 256];
    let sample = perceptron(&rows, &[0; 256]);
    let large = Model::new(sample.graph, sample.weights, [0; 32]).unwrap().to_bytes();
    let limit = quick_params().max_tx_bytes;
    assert!(Examined::new(&large, None, limit).is_ok());
    assert!(matches!(Examined::new(&large, None, 4096), Err(ModelFault::Proof { .. })));

    // Few bytes, much work: a table is looked up 16 million times.
    let mut graph = tiny_model(0).graph().as_ref().clone();
    graph.tensors[0].shape = vec![1, 1 << 23, 2];
    graph.tensors[3].shape = vec![1, 1 << 23, 2];
    graph.tensors[4].shape = vec![1, 1 << 23, 2];
    let wide = Model::new(graph, tiny_model(0).weights().to_vec(), [0; 32]).unwrap().to_bytes();
    assert!(wide.len() < 1000);
    assert!(matches!(Examined::new(&wide, None, limit), Err(ModelFault::Model(_))));
}

#[test]
fn a_genesis_with_a_wrong_model_or_field_is_refused() {
    let mut spec = crate::world::spec(quick_params());
    spec.subnets[0].models[0].id.0[0] ^= 1;
    assert!(matches!(crate::genesis::genesis(&spec), Err(crate::GenesisError::ModelId { .. })));
    let mut spec = crate::world::spec(quick_params());
    spec.subnets[0].models[0].bytes.0.pop();
    assert!(matches!(crate::genesis::genesis(&spec), Err(crate::GenesisError::Model { .. })));
    let mut spec = crate::world::spec(quick_params());
    spec.params.tempo = 0;
    assert!(matches!(crate::genesis::genesis(&spec), Err(crate::GenesisError::Spec(_))));
}

#[test]
fn a_miner_that_left_long_ago_is_listed_no_more_and_still_known() {
    let mut world = World::new();
    let miner = key("miner", 0);
    world.register_miner(4, &miner).unwrap();
    let owner = world.owners[4].clone();
    world.run(&owner, Action::RetireMiner { operator: miner.account() }).unwrap();
    let kept = world.epoch() + quick_params().evidence_epochs + 2;
    world.advance_to_epoch(kept + 1);
    assert_eq!(query::miners(&world.state, 0).unwrap().len(), 1);
    world.advance_to_epoch(kept + 2);
    assert!(query::miners(&world.state, 0).unwrap().is_empty());
    assert!(world.miner(&miner.account()).retired.is_some());
}
