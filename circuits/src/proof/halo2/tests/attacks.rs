//! What must not verify.

use super::{digit::perceptron, layout::*, *};
use crate::{graph::sample::Rng, relation::Definition};

/// No proof that verifies comes of it.
fn refused(case: &Case, prover: &ProverKey, verifier: &VerifierKey, trace: &Trace) -> bool {
    match Halo2::prove(prover, trace, case.statement()) {
        Err(_) => true,
        Ok(proof) => Halo2::verify(verifier, case.statement(), &proof).is_err(),
    }
}

#[test]
fn a_trace_with_any_altered_witness_is_refused() {
    let mut altered = 0;
    for kind in KINDS {
        let case = Case::small(kind);
        let (prover, verifier) = case.keys();
        let mut rng = Rng::new(9);
        for (id, column) in case.relations.columns.iter().enumerate() {
            if column.definition != Definition::Witness {
                continue;
            }
            let mut trace = case.trace.clone();
            let cell = rng.below(trace.columns[id].len());
            trace.columns[id][cell] += [1, -1, 256, 65_536][rng.below(4)];
            assert!(refused(&case, &prover, &verifier, &trace), "{kind:?}, column {id} ({}), cell {cell}", column.role);
            altered += 1;
        }
    }
    println!("{altered} witnesses altered");
}

#[test]
fn a_trace_with_an_altered_derived_cell_input_or_weight_is_refused() {
    let case = Case::of(perceptron(&[9, 5, 3], 2));
    let (prover, verifier) = case.keys();
    for id in 0..case.relations.columns.len() {
        let mut trace = case.trace.clone();
        trace.columns[id][0] += 1;
        assert!(refused(&case, &prover, &verifier, &trace), "column {id}");
    }
}

#[test]
fn a_proof_holds_for_its_own_statement_only() {
    let case = Case::of(perceptron(&[9, 5, 3], 2));
    let (prover, verifier) = case.keys();
    let proof = Halo2::prove(&prover, &case.trace, case.statement()).unwrap();
    let statement = case.statement();
    let mut binding = BINDING;
    binding[31] ^= 0x80;
    let other = Statement { binding: &binding, ..statement };
    assert!(matches!(Halo2::verify(&verifier, other, &proof), Err(VerifyError::Invalid { .. })));
    let mut inputs = case.sample.inputs.clone();
    inputs[0][8] = (inputs[0][8] + 1) % 128;
    let other = Statement { inputs: &inputs, ..statement };
    assert!(matches!(Halo2::verify(&verifier, other, &proof), Err(VerifyError::Invalid { .. })));
    inputs[0][8] = 128;
    let other = Statement { inputs: &inputs, ..statement };
    assert!(matches!(Halo2::verify(&verifier, other, &proof), Err(VerifyError::Statement { .. })), "beyond its bounds");
    let mut outputs = case.outputs.clone();
    outputs[0][2] ^= 1;
    let other = Statement { outputs: &outputs, ..statement };
    assert!(matches!(Halo2::verify(&verifier, other, &proof), Err(VerifyError::Invalid { .. })));
    outputs[0].pop();
    let other = Statement { outputs: &outputs, ..statement };
    assert!(matches!(Halo2::verify(&verifier, other, &proof), Err(VerifyError::Statement { .. })));
}

#[test]
fn other_weights_under_the_same_structure_do_not_verify_and_the_link_is_what_tells() {
    let case = Case::of(perceptron(&[9, 5, 3], 2));
    let (_, verifier) = case.keys();
    let mut weights = case.sample.weights.clone();
    weights[0].swap(3, 17);
    assert_ne!(weights, case.sample.weights);
    let (forger, forged) = Halo2::set_up(Arc::clone(&case.relations), &weights).unwrap();
    let trace = case.relations.trace(&case.sample.graph, &weights, &case.sample.inputs).unwrap();
    let outputs = case.relations.outputs_of(&trace);
    let statement = Statement { outputs: &outputs, ..case.statement() };
    let proof = Halo2::prove(&forger, &trace, statement).unwrap();
    assert_eq!(Halo2::verify(&forged, statement, &proof), Ok(()), "true of its own weights");
    assert!(matches!(Halo2::verify(&verifier, statement, &proof), Err(VerifyError::Invalid { .. })));
}

#[test]
fn a_key_of_another_circuit_cannot_be_passed_off_as_this_models() {
    let case = Case::of(perceptron(&[9, 5, 3], 2));
    // As many inputs and outputs, but it computes something else.
    let other = Case::of(perceptron(&[9, 3], 2));
    let (prover, key) = other.keys();
    let bytes = Halo2::verifier_key_to_bytes(&key);
    let passed_off = Halo2::verifier_key_from_bytes(Arc::clone(&case.relations), &bytes).unwrap();
    let proof = Halo2::prove(&prover, &other.trace, other.statement()).unwrap();
    assert_eq!(Halo2::verify(&key, other.statement(), &proof), Ok(()));
    assert!(Halo2::verify(&passed_off, other.statement(), &proof).is_err());
}

#[test]
fn no_slot_without_a_weight_multiplies_anything_but_zero() {
    let case = Case::of(perceptron(&[9, 5, 3], 2));
    for shape in SHAPES {
        let layout = lay_out(&case.relations, shape).unwrap();
        let zero = layout.constants.iter().find(|(value, _)| *value == 0).unwrap().1;
        let mut empty = 0;
        for (row, demand) in layout.demands.iter().enumerate() {
            if matches!(demand, Demand::Dot { sum: Sum::Weights, .. }) {
                for at in row * shape.terms..(row + 1) * shape.terms {
                    assert!(layout.w[at] != NONE || layout.a[at] == zero);
                    empty += usize::from(layout.w[at] == NONE);
                }
            }
        }
        assert!(empty > 0);
    }
}

#[test]
fn altered_cut_extended_and_random_bytes_are_refused_without_a_panic() {
    let case = Case::of(perceptron(&[9, 5, 3], 2));
    let (prover, verifier) = case.keys();
    let proof = Halo2::prove(&prover, &case.trace, case.statement()).unwrap();
    let verify = |bytes: &[u8]| Halo2::verify(&verifier, case.statement(), bytes);
    assert_eq!(verify(&proof), Ok(()));
    let mut rng = Rng::new(4);
    for i in 0..proof.len() / 32 {
        let mut bytes = proof.clone();
        bytes[i * 32 + rng.below(32)] ^= 1 << rng.below(8);
        assert!(verify(&bytes).is_err(), "element {i}");
        // Columns that this circuit does not use evaluate to zero in an honest proof too.
        bytes[i * 32..][..32].fill(if i % 2 == 0 { 0 } else { 0xff });
        assert!(bytes == proof || verify(&bytes).is_err(), "element {i}");
    }
    for wrong in [&proof[..0], &proof[..proof.len() - 1], &proof[32..], &[&proof[..], &[0]].concat()] {
        assert!(matches!(verify(wrong), Err(VerifyError::Malformed { .. })));
    }
    let random: Vec<u8> = (0..proof.len()).map(|_| rng.below(256) as u8).collect();
    assert!(verify(&random).is_err());
}
