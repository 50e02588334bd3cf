//! Circuits of graphs drawn at random: honest traces hold, any witness altered does not, whole proofs of one of each kind.

use super::*;
use crate::{
    graph::sample::{self, Sample},
    relation::Definition,
};

/// An honest trace satisfies the circuit, and with any of some witnesses altered it does not.
fn is_exact(sample: &Sample, what: &str) -> Option<usize> {
    let relations = Relations::of(&sample.graph).expect(what);
    let Ok(counted) = Circuit::count(&relations) else { return None };
    let circuit = Circuit::new(&relations, &sample.weights).expect(what);
    assert!(circuit.counts().constraints <= counted.constraints, "{what}: {counted:?} {:?}", circuit.counts());
    let mut altered = 0;
    for seed in 0..3 {
        let inputs = if seed == 0 { sample.inputs.clone() } else { sample.other_inputs(seed) };
        let trace = relations.trace(&sample.graph, &sample.weights, &inputs).expect(what);
        let outputs = relations.outputs_of(&trace);
        assert!(holds(&circuit, &trace, &inputs, &outputs), "{what}: an honest trace, seed {seed}");
        let mut rng = sample::Rng::new(seed);
        for (column, of) in relations.columns.iter().enumerate() {
            if of.definition != Definition::Witness {
                continue;
            }
            let cell = rng.below(trace.columns[column].len());
            for by in [1, -1, rng.between(-70000, 70000)] {
                let mut other = trace.clone();
                other.columns[column][cell] += by;
                assert!(
                    by == 0 || !holds(&circuit, &other, &inputs, &outputs),
                    "{what}: column {column} cell {cell} by {by}"
                );
                altered += 1;
            }
        }
    }
    Some(altered)
}

#[test]
fn every_operation_is_exact() {
    let mut altered = 0;
    for kind in sample::KINDS {
        let mut done = 0;
        for seed in 0..6 {
            if let Some(count) = is_exact(&sample::one(kind, seed), &format!("{kind:?} {seed}")) {
                altered += count;
                done += 1;
            }
        }
        assert!(done > 0, "{kind:?} is never in reach");
    }
    println!("{altered} altered witnesses");
}

#[test]
fn graphs_of_many_operations_are_exact() {
    let done = (0..20).filter_map(|seed| is_exact(&sample::random(seed, 6), &format!("graph {seed}"))).count();
    assert!(done > 10, "{done}");
}

#[test]
fn every_operation_proves_and_verifies() {
    for kind in sample::KINDS {
        let small = (0..20).map(|seed| sample::one(kind, seed)).find(|sample| {
            let relations = Relations::of(&sample.graph).expect("relations");
            Circuit::count(&relations).is_ok_and(|counts| counts.constraints < 3000)
        });
        let Some(sample) = small else { continue };
        let relations = Arc::new(Relations::of(&sample.graph).expect("relations"));
        let (prover, verifier) = Groth16::set_up(relations.clone(), &sample.weights).expect("keys");
        let trace = relations.trace(&sample.graph, &sample.weights, &sample.inputs).expect("a trace");
        let mut outputs = relations.outputs_of(&trace);
        let prove = |outputs: &[Vec<i64>]| {
            Groth16::prove(&prover, &trace, Statement { binding: &[7; 32], inputs: &sample.inputs, outputs })
        };
        let proof = prove(&outputs).unwrap_or_else(|e| panic!("{kind:?}: {e}"));
        let verify = |outputs: &[Vec<i64>]| {
            Groth16::verify(&verifier, Statement { binding: &[7; 32], inputs: &sample.inputs, outputs }, &proof)
        };
        verify(&outputs).unwrap_or_else(|e| panic!("{kind:?}: {e}"));
        outputs[0][0] ^= 1;
        assert!(verify(&outputs).is_err(), "{kind:?}");
    }
}
