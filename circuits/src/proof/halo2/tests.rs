//! With real proofs, over random graphs of every operation and a digit perceptron.

mod attacks;
mod digit;

use halo2_proofs::plonk::{Circuit, ConstraintSystem};

use super::{
    circuit::RowCircuit,
    layout::{SHAPES, Shape},
    *,
};
use crate::graph::sample::{self, KINDS, Kind, Sample};

/// A model, a run of it, and what it is bound to.
struct Case {
    relations: Arc<Relations>,
    sample: Sample,
    trace: Trace,
    outputs: Vec<Vec<i64>>,
}

const BINDING: [u8; 32] = [7; 32];

impl Case {
    fn of(sample: Sample) -> Self {
        let relations = Arc::new(Relations::of(&sample.graph).unwrap());
        let trace = relations.trace(&sample.graph, &sample.weights, &sample.inputs).unwrap();
        let outputs = relations.outputs_of(&trace);
        Self { relations, sample, trace, outputs }
    }

    /// The first graph of an operation whose circuit is small: that of a large table takes minutes.
    fn small(kind: Kind) -> Self {
        let mut cases = (0..100).map(|seed| Self::of(sample::one(kind, seed)));
        cases.find(|case| plan(&case.relations).is_ok_and(|layout| layout.k == MIN_K)).unwrap()
    }

    fn statement(&self) -> Statement<'_> {
        Statement { binding: &BINDING, inputs: &self.sample.inputs, outputs: &self.outputs }
    }

    fn keys(&self) -> (ProverKey, VerifierKey) {
        Halo2::set_up(Arc::clone(&self.relations), &self.sample.weights).unwrap()
    }

    fn holds(&self) {
        let (prover, verifier) = self.keys();
        let proof = Halo2::prove(&prover, &self.trace, self.statement()).unwrap();
        assert_eq!(Halo2::estimate(&self.relations).proof_bytes, proof.len());
        assert_eq!(Halo2::verify(&verifier, self.statement(), &proof), Ok(()));
    }
}

#[test]
fn every_operation_is_proved_and_verified() {
    for kind in KINDS {
        println!("{kind:?}");
        Case::small(kind).holds();
    }
}

#[test]
fn random_graphs_are_proved_and_verified() {
    let cases = (0..100).map(|seed| Case::of(sample::random(seed, 8)));
    for case in cases.filter(|case| plan(&case.relations).is_ok_and(|layout| layout.k <= MIN_K + 2)).take(3) {
        case.holds();
    }
}

fn check_columns<const T: usize, const R: usize, const P: usize>(shape: Shape) {
    assert_eq!((shape.terms, shape.ranges, shape.pieces), (T, R, P));
    let mut system = ConstraintSystem::default();
    RowCircuit::<T, R, P>::configure(&mut system);
    assert_eq!(system.blinding_factors() + 1, UNUSABLE_ROWS);
    assert_eq!(system.degree(), 5);
}

#[test]
fn the_library_keeps_the_rows_that_we_leave_and_the_degree_is_five() {
    check_columns::<8, 1, 1>(SHAPES[0]);
    check_columns::<16, 2, 1>(SHAPES[1]);
    check_columns::<32, 4, 2>(SHAPES[2]);
}

#[test]
fn a_verifier_key_comes_back_from_its_bytes_and_other_bytes_are_refused() {
    let case = Case::of(sample::one(Kind::MatMul, 1));
    let (prover, verifier) = case.keys();
    let bytes = Halo2::verifier_key_to_bytes(&verifier);
    let proof = Halo2::prove(&prover, &case.trace, case.statement()).unwrap();
    let read = |bytes: &[u8]| Halo2::verifier_key_from_bytes(Arc::clone(&case.relations), bytes);
    let again = read(&bytes).unwrap();
    assert_eq!(Halo2::verifier_key_to_bytes(&again), bytes);
    assert_eq!(Halo2::verify(&again, case.statement(), &proof), Ok(()));
    for wrong in [&bytes[..0], &bytes[..1], &bytes[1..], &bytes[..bytes.len() - 1], &[&bytes[..], &[0]].concat()] {
        assert!(matches!(read(wrong), Err(SetupError::Keys { .. })));
    }
    let mut beyond = bytes.clone();
    beyond[1..33].fill(0xff);
    assert!(matches!(read(&beyond), Err(SetupError::Keys { .. })), "not a canonical point");
}

#[test]
fn a_salt_hides_the_commitment_and_gives_the_same_keys_again() {
    let case = Case::of(sample::one(Kind::MatMul, 1));
    let set_up = |salt: u8| {
        let (_, key) = Halo2::set_up_salted(Arc::clone(&case.relations), &case.sample.weights, &[salt; 32]).unwrap();
        Halo2::verifier_key_to_bytes(&key)
    };
    assert_eq!(set_up(1), set_up(1));
    assert_ne!(set_up(1), set_up(2));
}
