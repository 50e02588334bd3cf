use assay_primitives::{AccountId, Hash32};

use super::*;
use crate::graph::sample::perceptron;

fn small(bias: i64) -> Model {
    let sample = perceptron(&[&[3, 7], &[-5, 11]], &[bias, -bias]);
    Model::new(sample.graph, sample.weights, [0; 32]).unwrap()
}

const INPUT: [i16; 2] = [5, -7];

fn bound(model: &Model, output: &[i32]) -> Binding {
    let wide = |values: &[i32]| vec![values.iter().map(|&v| v.into()).collect()];
    Binding {
        genesis: Hash32([1; 32]),
        model: model.id(),
        request: Hash32([2; 32]),
        miner: AccountId([3; 32]),
        epoch: 4,
        input: hash_inputs(&wide(&INPUT.map(i32::from))).unwrap(),
        output: hash_outputs(&wide(output)).unwrap(),
    }
}

#[test]
fn a_binding_of_other_values_is_refused_before_any_proof_is_looked_at() {
    let model = small(10);
    let output = model.run_flat(&INPUT).unwrap();
    assert_eq!(output, [30, -26]);
    let good = bound(&model, &output);
    let outline = model.outline();
    let field = |binding: &Binding| match verify(&outline, binding, &INPUT, &output, b"").unwrap_err() {
        RefusedAnswer::Binding(error) => error.field,
        other => panic!("{other}"),
    };
    assert_eq!(field(&Binding { model: small(11).id(), ..good.clone() }), "model");
    assert_eq!(field(&Binding { input: Hash32::ZERO, ..good.clone() }), "input");
    assert_eq!(field(&Binding { output: Hash32::ZERO, ..good.clone() }), "output");
    assert!(matches!(verify(&outline, &good, &INPUT, &output, b""), Err(RefusedAnswer::Proof(_))));
    assert!(matches!(verify(&outline, &good, &INPUT[..1], &output, b""), Err(RefusedAnswer::Values(_))));
}

#[test]
fn a_compact_proof_holds_for_its_own_statement_and_key_and_says_who_made_the_key() {
    let (model, other) = (small(10), small(11));
    let output = model.run_flat(&INPUT).unwrap();
    let (good, outline) = (bound(&model, &output), model.outline());
    let keys = compact::dev_keys(&model).unwrap();
    let proof = compact::prove(&keys, &model, &good, &INPUT, &output).unwrap();
    assert_eq!(proof.len(), compact::PROOF_BYTES);
    let check =
        |key: &[u8], binding: &Binding, proof: &[u8]| compact::verify(&outline, key, binding, &INPUT, &output, proof);
    assert_eq!(check(keys.verifier_key(), &good, &proof).unwrap(), compact::Provenance::Dev);
    let later = Binding { epoch: 5, ..good.clone() };
    assert!(matches!(check(keys.verifier_key(), &later, &proof), Err(RefusedAnswer::Proof(_))));
    // The graph is the same, the weights are not.
    let theirs = compact::dev_keys(&other).unwrap();
    assert!(matches!(check(theirs.verifier_key(), &good, &proof), Err(RefusedAnswer::Proof(_))));
    assert!(matches!(check(&[0; compact::MAX_KEY_BYTES + 1], &good, &proof), Err(RefusedAnswer::Setup(_))));
    let wrong = [output[0] + 1, output[1]];
    let untrue = bound(&model, &wrong);
    assert!(matches!(compact::prove(&keys, &model, &untrue, &INPUT, &wrong), Err(AnswerError::WrongOutput)));
}

#[test]
fn public_keys_are_the_same_wherever_they_are_made_and_a_set_up_of_ones_own_is_not() {
    let model = small(10);
    let relations = relations(&model.outline()).unwrap();
    let make = |seed: &[u8]| groth16_bytes(&relations, &model, seed);
    assert_eq!(make(b"one"), make(b"one"));
    assert_ne!(make(b"one"), make(b"two"));
    assert_eq!(make(compact::DEV_SEED), compact::dev_keys(&model).unwrap().verifier_key());

    let (prover, _) = crate::proof::groth16::Groth16::set_up(relations, model.weights()).unwrap();
    let dev = compact::dev_keys(&model).unwrap();
    let mixed = compact::Prover::from_bytes(&model, &prover.to_bytes(), dev.verifier_key());
    assert!(matches!(mixed, Err(SetupError::Keys { .. })));
}

fn groth16_bytes(relations: &Arc<Relations>, model: &Model, seed: &[u8]) -> Vec<u8> {
    use crate::proof::groth16::Groth16;
    let (_, key) = Groth16::set_up_public(relations, model.weights(), seed).unwrap();
    Groth16::verifier_key_to_bytes(&key)
}

#[test]
fn costs_grow_with_the_model() {
    let large = perceptron(&[&[1i64; 64][..]; 64], &[0; 64]);
    let large = Model::new(large.graph, large.weights, [0; 32]).unwrap();
    let (a, b) = (Cost::of(&small(10)).unwrap(), Cost::of(&large).unwrap());
    assert!(a.replay < b.replay && a.verify < b.verify, "{a:?} {b:?}");
    assert_eq!(a, Cost::of(&small(11)).unwrap(), "weights do not count, their number does");
}

#[test]
fn a_model_that_takes_too_much_work_is_refused_before_its_weights_are_looked_at() {
    let model = small(10);
    let most = model.graph().work().unwrap();
    assert_eq!(Model::from_bytes_within(&model.to_bytes(), most).unwrap(), model);
    let less = Work { macs: most.macs - 1, ..most };
    let error = Model::from_bytes_within(&model.to_bytes(), less).unwrap_err();
    assert!(matches!(error, ModelError::Work { .. }), "{error}");
}
