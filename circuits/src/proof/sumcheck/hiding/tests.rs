//! The hiding mode on a small protocol of its own: complete, sound, and alike for every secret.

use std::sync::{Arc, Mutex};

use p3_field::PrimeCharacteristicRing;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::code::uniform;
use super::context::Counts;
use super::layout::Layout;
use super::script::Layouts;
use super::session::{HiddenWeights, Protocol, Refusal, count, prove, verify};
use super::{Count, PROOFS, SumcheckHiding, commitment};
use crate::graph::sample::{KINDS, Sample, one, random};
use crate::proof::sumcheck::commitment::{Base, Ext, Transcript};
use crate::proof::sumcheck::context::{Context, Failure, Polynomial};
use crate::proof::sumcheck::multilinear::eq_table;
use crate::proof::{ProofSystem, Statement};
use crate::relation::{Definition, Relations, Trace};

const WITNESS: [usize; 3] = [3, 5, 0];
const WEIGHTS: [usize; 2] = [4, 2];

/// Shows that the value of a block of the witness at a random point, times that of the weights' first block, is that of
/// the one-cell block times a public number; and opens everything.
struct Toy {
    witness: Vec<Vec<Base>>,
    weights: Vec<Vec<Base>>,
    /// Added to a message by a prover who lies.
    lie: Option<usize>,
}

fn evaluate(cells: &[Base], point: &[Ext]) -> Ext {
    eq_table(point).into_iter().zip(cells).map(|(w, c)| w * *c).sum()
}

impl Toy {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut blocks = |sizes: &[usize]| -> Vec<Vec<Base>> {
            sizes.iter().map(|n| (0..1 << n).map(|_| uniform(&mut random)).collect()).collect()
        };
        Self { witness: blocks(&WITNESS), weights: blocks(&WEIGHTS), lie: None }
    }

    fn layouts() -> Layouts {
        Layouts { witness: Some(Layout::new(&WITNESS)), weights: Layout::new(&WEIGHTS) }
    }

    fn committed(&self, seed: u64) -> HiddenWeights {
        let layouts = Self::layouts();
        let cells = layouts.weights.place(self.weights.iter().map(Vec::as_slice));
        HiddenWeights::commit(&layouts, cells, &mut StdRng::seed_from_u64(seed))
    }

    fn prove(&self, weights: &HiddenWeights, seed: u64) -> Result<Vec<u8>, Failure> {
        let layouts = Self::layouts();
        let cells = layouts.witness.as_ref().unwrap().place(self.witness.iter().map(Vec::as_slice));
        let counts = count(self, &layouts)?;
        let transcript = Transcript::new("toy");
        prove(self, &layouts, counts, weights, &cells, transcript, &mut StdRng::seed_from_u64(seed))
    }

    fn verify(&self, root: &[u8; 32], proof: &[u8]) -> Result<(), Refusal> {
        verify(self, &Self::layouts(), root, Transcript::new("toy"), proof)
    }
}

impl Protocol for Toy {
    fn run<C: Context>(&self, c: &mut C, proving: bool) -> Result<(), Failure> {
        let mut sent = 0;
        let mut message = |c: &mut C, honest: Ext| {
            let lie = if self.lie == Some(sent) { Ext::ONE } else { Ext::ZERO };
            sent += 1;
            c.message(proving.then_some(honest + lie))
        };
        let mut values = vec![];
        for (of, blocks) in [(Polynomial::Witness, &self.witness), (Polynomial::Weights, &self.weights)] {
            for (block, cells) in blocks.iter().enumerate() {
                let point: Vec<Ext> = (0..cells.len().trailing_zeros()).map(|_| c.challenge()).collect();
                let honest = evaluate(cells, &point);
                let value = message(c, honest)?;
                c.open(of, block, &point, value.clone());
                values.push((honest, value));
            }
        }
        let product = c.mul(&values[0].1, &values[3].1)?;
        let square = c.mul(&product, &product)?;
        let quotient = message(c, values[0].0 * values[3].0 * values[0].0 * values[3].0)?;
        c.assert_zero(square - quotient, "a square")?;
        let twice = c.mul(&values[1].1, &Ext::TWO.into())?;
        c.assert_zero(twice - values[1].1.clone() - values[1].1.clone(), "a double")
    }
}

#[test]
fn an_honest_run_verifies() {
    let toy = Toy::new(1);
    let weights = toy.committed(2);
    for seed in 0..3 {
        let proof = toy.prove(&weights, seed).unwrap();
        assert_eq!(toy.verify(&weights.root(), &proof), Ok(()));
    }
    assert_eq!(count(&toy, &Toy::layouts()).unwrap().products, 2);
}

#[test]
fn every_lie_is_refused() {
    for lie in 0..6 {
        let mut toy = Toy::new(3);
        let weights = toy.committed(4);
        toy.lie = Some(lie);
        let proof = toy.prove(&weights, 5).unwrap();
        assert!(matches!(toy.verify(&weights.root(), &proof), Err(Refusal::Invalid(_))), "message {lie}");
    }
}

#[test]
fn other_weights_than_the_committed_ones_are_refused() {
    let (toy, other) = (Toy::new(6), Toy::new(7));
    let (weights, others) = (toy.committed(8), other.committed(8));
    let proof = toy.prove(&weights, 9).unwrap();
    assert!(toy.verify(&others.root(), &proof).is_err());
    let forged = toy.prove(&others, 9).unwrap();
    assert!(toy.verify(&others.root(), &forged).is_err());
    assert!(toy.verify(&weights.root(), &forged).is_err());
}

#[test]
fn altered_truncated_and_extended_proofs_are_refused() {
    let toy = Toy::new(10);
    let weights = toy.committed(11);
    let proof = toy.prove(&weights, 12).unwrap();
    for at in (0..proof.len()).step_by(proof.len() / 150) {
        let mut altered = proof.clone();
        altered[at] ^= 1;
        assert!(toy.verify(&weights.root(), &altered).is_err(), "byte {at}");
        assert!(toy.verify(&weights.root(), &proof[..at]).is_err(), "length {at}");
    }
    assert!(toy.verify(&weights.root(), &[&proof[..], &[0]].concat()).is_err());
}

/// Eight-byte words of a proof.
fn words(proof: &[u8]) -> std::collections::HashSet<[u8; 8]> {
    proof.windows(8).map(|word| word.try_into().unwrap()).collect()
}

#[test]
fn two_proofs_of_one_statement_share_no_field_element() {
    let toy = Toy::new(13);
    let weights = toy.committed(14);
    let (one, other) = (toy.prove(&weights, 15).unwrap(), toy.prove(&weights, 16).unwrap());
    let messages = 16 * 40;
    let shared = words(&one[5..5 + messages]).intersection(&words(&other[5..5 + messages])).count();
    assert_eq!(shared, 0);
}

#[test]
fn what_is_sent_looks_the_same_for_any_secret() {
    // Of each of two secrets many proofs; the first padded messages and opened cells are spread evenly over the field.
    let counts = |seed: u64| {
        let toy = Toy::new(seed);
        let weights = toy.committed(seed);
        let mut ones = vec![0u32; 64];
        for run in 0..64 {
            let proof = toy.prove(&weights, 1000 * seed + run).unwrap();
            for (message, ones) in ones.iter_mut().enumerate() {
                *ones += u32::from(proof[5 + 8 * message + 6] & 1);
            }
        }
        ones
    };
    for seed in [17, 18] {
        assert!(counts(seed).into_iter().all(|ones| (8..=56).contains(&ones)));
    }
}

#[test]
fn a_run_without_witness_or_products_verifies() {
    struct Plain;
    impl Protocol for Plain {
        fn run<C: Context>(&self, c: &mut C, proving: bool) -> Result<(), Failure> {
            let value = c.message(proving.then_some(Ext::TWO))?;
            c.assert_zero(value - Ext::TWO.into(), "two")
        }
    }
    let layouts = Layouts { witness: None, weights: Layout::new(&[0]) };
    let random = &mut StdRng::seed_from_u64(19);
    let weights = HiddenWeights::commit(&layouts, vec![Base::ZERO], random);
    assert_eq!(count(&Plain, &layouts).unwrap(), Counts { messages: 1, products: 0 });
    let counts = Counts { messages: 1, products: 0 };
    let proof = prove(&Plain, &layouts, counts, &weights, &[], Transcript::new("plain"), random).unwrap();
    assert_eq!(verify(&Plain, &layouts, &weights.root(), Transcript::new("plain"), &proof), Ok(()));
}

/// A model of a few operations with keys, its trace and what it states.
fn model(seed: u64) -> (Sample, Arc<Relations>, Trace, Vec<Vec<i64>>) {
    let sample = random(seed, 6);
    let relations = Arc::new(Relations::of(&sample.graph).unwrap());
    let trace = relations.trace(&sample.graph, &sample.weights, &sample.inputs).unwrap();
    let outputs = relations.outputs_of(&trace);
    (sample, relations, trace, outputs)
}

#[test]
fn every_operation_is_proved_with_hidden_weights() {
    for kind in KINDS {
        let sample = one(kind, 1);
        let relations = Arc::new(Relations::of(&sample.graph).unwrap());
        let trace = relations.trace(&sample.graph, &sample.weights, &sample.inputs).unwrap();
        let outputs = relations.outputs_of(&trace);
        let (prover, verifier) = SumcheckHiding::set_up(Arc::clone(&relations), &sample.weights).unwrap();
        let statement = Statement { binding: &[7; 32], inputs: &sample.inputs, outputs: &outputs };
        let proof = SumcheckHiding::prove(&prover, &trace, statement).unwrap();
        assert_eq!(SumcheckHiding::verify(&verifier, statement, &proof), Ok(()), "{kind:?}");
        let elsewhere = Statement { binding: &[8; 32], ..statement };
        assert!(SumcheckHiding::verify(&verifier, elsewhere, &proof).is_err(), "{kind:?}");
    }
}

#[test]
fn an_altered_trace_of_a_model_is_refused() {
    let (sample, relations, trace, outputs) = model(20);
    let (prover, verifier) = SumcheckHiding::set_up(Arc::clone(&relations), &sample.weights).unwrap();
    let statement = Statement { binding: &[7; 32], inputs: &sample.inputs, outputs: &outputs };
    let witnesses = relations.columns.iter().enumerate().filter(|(_, c)| c.definition == Definition::Witness);
    let mut altered = 0;
    for (column, _) in witnesses.take(PROOFS - 1) {
        let mut trace = trace.clone();
        trace.columns[column][0] += 1;
        let proof = SumcheckHiding::prove(&prover, &trace, statement).unwrap();
        assert!(SumcheckHiding::verify(&verifier, statement, &proof).is_err(), "column {column}");
        altered += 1;
    }
    assert!(altered > 0);
}

#[test]
fn keys_of_one_model_differ_and_a_key_makes_so_many_proofs_and_no_more() {
    let (sample, relations, trace, outputs) = model(21);
    let (prover, verifier) = SumcheckHiding::set_up(Arc::clone(&relations), &sample.weights).unwrap();
    let (_, other) = SumcheckHiding::set_up(Arc::clone(&relations), &sample.weights).unwrap();
    assert_ne!(verifier.commitment(), other.commitment());
    let statement = Statement { binding: &[7; 32], inputs: &sample.inputs, outputs: &outputs };
    for left in (0..PROOFS).rev() {
        let proof = SumcheckHiding::prove(&prover, &trace, statement).unwrap();
        assert_eq!(prover.proofs_left(), Ok(left));
        if left == 0 {
            assert_eq!(SumcheckHiding::verify(&verifier, statement, &proof), Ok(()));
            assert!(SumcheckHiding::verify(&other, statement, &proof).is_err());
        }
    }
    let refused = SumcheckHiding::prove(&prover, &trace, statement).unwrap_err();
    assert!(refused.to_string().contains("set the model up again"));
}

#[test]
fn a_verifier_key_survives_its_encoding_and_is_for_its_relations_only() {
    let (sample, relations, ..) = model(22);
    let (_, verifier) = SumcheckHiding::set_up(Arc::clone(&relations), &sample.weights).unwrap();
    let bytes = SumcheckHiding::verifier_key_to_bytes(&verifier);
    let again = SumcheckHiding::verifier_key_from_bytes(Arc::clone(&relations), &bytes).unwrap();
    assert_eq!(again.commitment(), verifier.commitment());
    let (_, others, ..) = model(23);
    assert!(SumcheckHiding::verifier_key_from_bytes(others, &bytes).is_err());
    for wrong in [&bytes[..64], &[&bytes[..], &[0]].concat(), &[]] {
        assert!(SumcheckHiding::verifier_key_from_bytes(Arc::clone(&relations), wrong).is_err());
    }
}

/// A count that somebody else keeps, as [`Count`] asks; it may fail.
struct Kept(Arc<Mutex<Result<usize, String>>>);

impl Count for Kept {
    fn begun(&self) -> Result<usize, String> {
        self.0.lock().unwrap().clone()
    }

    fn begin(&self) -> Result<usize, String> {
        let mut begun = self.0.lock().unwrap();
        let before = begun.clone()?;
        *begun = Ok(before + 1);
        Ok(before)
    }
}

#[test]
fn keys_of_one_salt_are_the_same_and_share_the_count_that_is_kept_for_them() {
    let (sample, relations, trace, outputs) = model(24);
    let count = Arc::new(Mutex::new(Ok(PROOFS - 2)));
    let keys = |salt| {
        let count = Box::new(Kept(Arc::clone(&count)));
        SumcheckHiding::set_up_counted(Arc::clone(&relations), &sample.weights, &[salt; 32], count).unwrap()
    };
    let (one, verifier) = keys(5);
    let (other, again) = keys(5);
    assert_eq!(again.commitment(), verifier.commitment());
    assert_eq!(commitment(&sample.weights, &[5; 32]), Ok(verifier.commitment()));
    assert_ne!(keys(6).1.commitment(), verifier.commitment());

    let statement = Statement { binding: &[7; 32], inputs: &sample.inputs, outputs: &outputs };
    let proofs = [&one, &other].map(|key| SumcheckHiding::prove(key, &trace, statement).unwrap());
    assert_ne!(proofs[0], proofs[1]);
    for proof in &proofs {
        assert_eq!(SumcheckHiding::verify(&verifier, statement, proof), Ok(()));
    }
    assert_eq!((one.proofs_left(), other.proofs_left()), (Ok(0), Ok(0)));
    assert!(SumcheckHiding::prove(&one, &trace, statement).is_err());
    *count.lock().unwrap() = Err("the count is lost".into());
    let refused = SumcheckHiding::prove(&one, &trace, statement).unwrap_err();
    assert!(refused.to_string().contains("the count is lost"));
}

#[test]
fn a_models_hiding_commitment_is_the_same_on_every_machine_and_in_every_version() {
    let weights = [vec![1, -2, 3], vec![127; 300], vec![]];
    let root = blake3::Hash::from_bytes(commitment(&weights, &[5; 32]).unwrap());
    assert_eq!(root.to_hex().as_str(), "80f098d04a2973af659e29388ee826d341f9e942451b6fa593bc4962ebef4326");
}
