//! Whole proofs of a small network: dense, rescale with ReLU, dense with what is not constant, maximum.

use std::sync::LazyLock;

use ark_ff::Zero;

use super::*;
use crate::proof::groth16::verifier;

const CELLS: usize = 60;

/// `x [1, 1, 60]` by weights to 6, rescaled; its outer product with itself; rescaled; the larger of neighbours.
fn network() -> Hand {
    let mut hand = Hand::default();
    let x = hand.input(&[1, 1, CELLS], -128, 127);
    let w = hand.weight(&[1, CELLS, 6], (0..CELLS * 6).map(|i| (i as i64 * 37) % 200 - 100).collect());
    let sums = hand.matmul(x, w);
    let y = hand.rescale(sums, 77, 13, 0, 127);
    let column = hand.wire(&[1, 6, 1], &[y], 1, Index::Identity);
    let outer = hand.matmul(column, y);
    let z = hand.rescale(outer, 3, 6, -128, 127);
    let left = hand.wire(&[18], &[z], 1, Index::Explicit((0..18).map(|i| 2 * i).collect()));
    let right = hand.wire(&[18], &[z], 1, Index::Explicit((0..18).map(|i| 2 * i + 1).collect()));
    let m = hand.witness(&[18], -128, 127, move |c, i| c[left][i].max(c[right][i]));
    let u = hand.linear(&[(1, m), (-1, left)], 0);
    let v = hand.linear(&[(1, m), (-1, right)], 0);
    hand.lookup(Table::Range { bits: 16 }, u, None);
    hand.lookup(Table::Range { bits: 16 }, v, None);
    hand.zero(&[(1, &[u, v])], 0);
    hand.output(m);
    hand
}

fn input(seed: i64) -> Vec<Vec<i64>> {
    vec![(0..CELLS as i64).map(|i| (i * i * 7 + seed * 31 + i * seed) % 256 - 128).collect()]
}

// Keys of the network.
static READY: LazyLock<(ProverKey, VerifierKey)> = LazyLock::new(|| {
    let hand = network();
    Groth16::set_up(Arc::new(hand.relations), &hand.weights).expect("keys")
});

struct Proved {
    binding: [u8; 32],
    inputs: Vec<Vec<i64>>,
    outputs: Vec<Vec<i64>>,
    proof: Vec<u8>,
}

impl Proved {
    fn new(seed: u8) -> Self {
        let hand = network();
        let inputs = input(i64::from(seed));
        let trace = hand.trace(&inputs);
        let outputs = hand.outputs(&trace);
        let binding = [seed; 32];
        let statement = Statement { binding: &binding, inputs: &inputs, outputs: &outputs };
        let proof = Groth16::prove(&READY.0, &trace, statement).expect("a proof");
        Self { binding, inputs, outputs, proof }
    }

    fn statement(&self) -> Statement<'_> {
        Statement { binding: &self.binding, inputs: &self.inputs, outputs: &self.outputs }
    }

    fn verify(&self) -> Result<(), VerifyError> {
        Groth16::verify(&READY.1, self.statement(), &self.proof)
    }
}

#[test]
fn a_proof_of_the_statement_holds_and_of_any_other_does_not() {
    let mut proved = Proved::new(5);
    assert_eq!(proved.proof.len(), PROOF_BYTES);
    proved.verify().expect("it holds");
    for byte in [0, 15, 16, 31] {
        proved.binding[byte] ^= 1;
        assert!(matches!(proved.verify(), Err(VerifyError::Invalid { .. })), "byte {byte} of the binding");
        proved.binding[byte] ^= 1;
    }
    // The binding's halves exchanged or moved are another statement too.
    proved.binding = std::array::from_fn(|i| if i < 16 { 5 } else { 0 });
    assert!(proved.verify().is_err());
    proved.binding = [5; 32];
    for cell in 0..CELLS {
        let old = proved.inputs[0][cell];
        proved.inputs[0][cell] = if old == 127 { 126 } else { old + 1 };
        assert!(matches!(proved.verify(), Err(VerifyError::Invalid { .. })), "input {cell}");
        proved.inputs[0][cell] = old;
    }
    for cell in 0..18 {
        let old = proved.outputs[0][cell];
        proved.outputs[0][cell] = if old == 127 { 126 } else { old + 1 };
        assert!(matches!(proved.verify(), Err(VerifyError::Invalid { .. })), "output {cell}");
        proved.outputs[0][cell] = old;
    }
    proved.verify().expect("it holds again");
}

#[test]
fn statements_of_other_shapes_or_out_of_bounds_are_refused_before_the_proof_is_read() {
    let mut proved = Proved::new(6);
    proved.inputs[0][3] = 128;
    assert!(matches!(proved.verify(), Err(VerifyError::Statement { .. })));
    proved.inputs[0].truncate(59);
    assert!(matches!(proved.verify(), Err(VerifyError::Statement { .. })));
    proved.inputs.clear();
    assert!(matches!(proved.verify(), Err(VerifyError::Statement { .. })));
}

#[test]
fn a_rerandomised_proof_holds_for_the_same_statement_only() {
    let mut proved = Proved::new(7);
    let proof = verifier::from_bytes(&proved.proof).expect("a proof");
    let key = &READY.1.prepared.vk;
    let (r, s) = (Fr::from(1234567_u64), Fr::from(7654321_u64));
    let other = ark_groth16::Proof::<ark_bn254::Bn254> {
        a: (proof.a * r1cs::inverse(r)).into(),
        b: (proof.b * r + key.delta_g2 * (r * s)).into(),
        c: (proof.c + proof.a * s).into(),
    };
    proved.proof = verifier::to_bytes(&other);
    proved.verify().expect("the same statement");
    proved.binding[0] ^= 1;
    assert!(proved.verify().is_err());
}

#[test]
fn bytes_that_are_not_exactly_a_proof_are_refused() {
    let mut proved = Proved::new(8);
    let good = proved.proof.clone();
    for length in 0..PROOF_BYTES {
        proved.proof = good[..length].to_vec();
        assert!(matches!(proved.verify(), Err(VerifyError::Malformed { .. })), "{length} bytes");
    }
    proved.proof = [&good[..], &[0]].concat();
    assert!(matches!(proved.verify(), Err(VerifyError::Malformed { .. })));
    for bit in 0..PROOF_BYTES * 8 {
        proved.proof = good.clone();
        proved.proof[bit / 8] ^= 1 << (bit % 8);
        assert!(proved.verify().is_err(), "bit {bit}");
    }
    // The identity, with and without garbage in its coordinate; and a coordinate past the modulus.
    for at in [0, 96] {
        proved.proof = good.clone();
        proved.proof[at..at + 32].fill(0);
        proved.proof[at + 31] = 0x40;
        assert!(matches!(proved.verify(), Err(VerifyError::Malformed { .. })));
        proved.proof[at] = 1;
        assert!(matches!(proved.verify(), Err(VerifyError::Malformed { .. })));
        proved.proof[at..at + 32].fill(0x3f);
        assert!(matches!(proved.verify(), Err(VerifyError::Malformed { .. })));
    }
}

#[test]
fn a_batch_holds_when_all_do_and_names_one_that_does_not() {
    let proofs: Vec<Proved> = (10..16).map(Proved::new).collect();
    let mut batch: Vec<(Statement<'_>, &[u8])> = proofs.iter().map(|p| (p.statement(), &p.proof[..])).collect();
    Groth16::verify_batch(&READY.1, &batch).expect("all hold");
    Groth16::verify_batch(&READY.1, &batch[..1]).expect("one holds");
    Groth16::verify_batch(&READY.1, &[]).expect("none is no harm");
    (batch[3].1, batch[4].1) = (batch[4].1, batch[3].1);
    let (at, error) = Groth16::verify_batch(&READY.1, &batch).expect_err("two are exchanged");
    assert!(at == 3 && matches!(error, VerifyError::Invalid { .. }));
    batch[1].1 = &batch[1].1[..100];
    let (at, error) = Groth16::verify_batch(&READY.1, &batch).expect_err("one is cut");
    assert!(at == 1 && matches!(error, VerifyError::Malformed { .. }));
}

#[test]
fn every_variable_altered_breaks_a_constraint() {
    let hand = network();
    let circuit = hand.circuit();
    let inputs = input(3);
    let trace = hand.trace(&inputs);
    let honest = values(&circuit, &trace, &inputs, &hand.outputs(&trace)).expect("in bounds");
    assert_eq!(circuit.system.broken(&honest), None);
    // One over 0 is free, and means nothing.
    let mut free = vec![false; honest.len()];
    let mut at = circuit.system.public + 1;
    for hint in &circuit.hints {
        at += match hint {
            builder::Hint::Cells { count, .. } => *count,
            builder::Hint::Bits { count, .. } => *count as usize - 1,
            builder::Hint::Product(_) => 1,
            builder::Hint::Inverse(_) => {
                free[at] = honest[at].is_zero();
                1
            }
        };
    }
    assert_eq!(at, honest.len());
    let mut altered = honest.clone();
    for variable in 1..honest.len() {
        for by in [Fr::from(1_u64), -Fr::from(1_u64), Fr::from(1_u64 << 32)] {
            altered[variable] = honest[variable] + by;
            assert_eq!(circuit.system.broken(&altered).is_none(), free[variable], "variable {variable}");
        }
        altered[variable] = honest[variable];
    }
}

#[test]
fn every_witness_cell_altered_is_noticed_by_the_prover_and_by_the_verifier() {
    let hand = network();
    let (prover, verifier) = &*READY;
    let inputs = input(4);
    let trace = hand.trace(&inputs);
    let outputs = hand.outputs(&trace);
    let statement = Statement { binding: &[9; 32], inputs: &inputs, outputs: &outputs };
    let public = prover.circuit.layout.of(statement).expect("in bounds");
    for (column, of) in hand.relations.columns.iter().enumerate() {
        if !matches!(of.definition, Definition::Witness | Definition::Input(_)) {
            continue;
        }
        for cell in 0..trace.columns[column].len() {
            let mut altered = trace.clone();
            altered.columns[column][cell] += if cell % 2 == 0 { 1 } else { -1 };
            assert!(matches!(Groth16::prove(prover, &altered, statement), Err(ProveError::Trace { .. })));
            if cell == 0 {
                // A prover that does not look makes a proof that does not hold.
                let values = prover.circuit.assignment(&public, &altered).expect("a whole trace");
                let blinding = [Fr::from(5_u64), Fr::from(6_u64)];
                let proof = prover::prove(&prover.circuit.system, &prover.key, &values, blinding, false);
                let bytes = verifier::to_bytes(&proof.expect("no look"));
                let found = Groth16::verify(verifier, statement, &bytes);
                assert!(matches!(found, Err(VerifyError::Invalid { .. })), "column {column}");
            }
        }
    }
}

#[test]
fn a_trace_that_lacks_cells_is_refused() {
    let hand = network();
    let inputs = input(4);
    let mut trace = hand.trace(&inputs);
    let outputs = hand.outputs(&trace);
    let statement = Statement { binding: &[9; 32], inputs: &inputs, outputs: &outputs };
    trace.columns[3].pop();
    assert!(matches!(Groth16::prove(&READY.0, &trace, statement), Err(ProveError::Trace { .. })));
    trace.columns.clear();
    assert!(matches!(Groth16::prove(&READY.0, &trace, statement), Err(ProveError::Trace { .. })));
}

#[test]
fn a_proof_does_not_hold_under_a_key_of_other_weights() {
    let mut hand = network();
    hand.weights[0][7] += 1;
    let (_, other) = Groth16::set_up(Arc::new(hand.relations), &hand.weights).expect("keys");
    let proved = Proved::new(9);
    let found = Groth16::verify(&other, proved.statement(), &proved.proof);
    assert!(matches!(found, Err(VerifyError::Invalid { .. })));
}

#[test]
fn weights_that_are_not_the_relations_are_refused() {
    let hand = network();
    let relations = Arc::new(hand.relations);
    for weights in [vec![], vec![vec![1; 7]], vec![vec![200; CELLS * 6]]] {
        assert!(matches!(Groth16::set_up(relations.clone(), &weights), Err(SetupError::Weights { .. })));
    }
}

#[test]
fn a_circuit_out_of_reach_is_refused_before_any_work() {
    let mut hand = Hand::default();
    let x = hand.input(&[1 << 18], 0, 4095);
    hand.lookup(Table::Range { bits: 12 }, x, None);
    hand.output(x);
    let refused = Groth16::supports(&hand.relations).expect_err("2^21 and more");
    assert!(refused.reason.contains("2^21"), "{refused}");
}

#[test]
fn keys_read_back_from_their_bytes_and_no_others() {
    let hand = network();
    let relations = Arc::new(hand.relations);
    let bytes = Groth16::verifier_key_to_bytes(&READY.1);
    assert_eq!(bytes.len(), 162 + 32 * (READY.0.counts().public + 1));
    let key = Groth16::verifier_key_from_bytes(relations.clone(), &bytes).expect("a key");
    assert_eq!(key.provenance(), Provenance::Dev);
    assert_eq!(Groth16::verifier_key_to_bytes(&key), bytes);
    let proved = Proved::new(2);
    Groth16::verify(&key, proved.statement(), &proved.proof).expect("it holds");
    for length in (0..bytes.len()).step_by(13) {
        assert!(Groth16::verifier_key_from_bytes(relations.clone(), &bytes[..length]).is_err());
    }
    assert!(Groth16::verifier_key_from_bytes(relations.clone(), &[&bytes[..], &[0]].concat()).is_err());
    for (at, value) in [(0, 2), (1, 1), (1, 7)] {
        let mut other = bytes.clone();
        other[at] = value;
        assert!(Groth16::verifier_key_from_bytes(relations.clone(), &other).is_err());
    }
    let prover = ProverKey::from_bytes(&relations, &hand.weights, &READY.0.to_bytes()).expect("a key");
    assert_eq!(prover.counts(), READY.0.counts());
    assert!(ProverKey::from_bytes(&relations, &hand.weights, &READY.0.to_bytes()[1..]).is_err());
}

#[test]
fn a_count_without_weights_is_no_less_than_the_circuit_and_not_far_from_it() {
    let hand = network();
    let counted = Groth16::counts(&hand.relations).expect("in reach");
    let built = hand.circuit().counts();
    assert!(built.constraints <= counted.constraints && counted.constraints < 2 * built.constraints);
    assert_eq!(built.public, counted.public);
}
