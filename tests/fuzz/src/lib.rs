//! Verifiers under fuzz: one honest proof of a small model, and what the fuzzer's bytes make of it.
//!
//! Raw bytes hardly ever come past the first length of a proof, so most inputs are edits of the honest proof. Whatever is
//! made of it, a verifier says no without a panic, in bounded time and memory.

use std::sync::Arc;

use assay_circuits::{
    graph::sample::{self, Sample},
    proof::{ProofSystem, Statement},
    relation::Relations,
};

const BINDING: [u8; 32] = [7; 32];

/// How many times as long as the honest bytes edits may make them.
const ROOM: usize = 2;

/// A small model's verifier and one honest proof.
pub struct Honest<S: ProofSystem> {
    relations: Arc<Relations>,
    verifier: S::VerifierKey,
    key: Vec<u8>,
    inputs: Vec<Vec<i64>>,
    outputs: Vec<Vec<i64>>,
    proof: Vec<u8>,
}

impl<S: ProofSystem> Honest<S> {
    /// Makes keys and proof, once a process.
    pub fn make() -> Self {
        let (sample, relations) = small::<S>();
        let (prover, verifier) = S::set_up(Arc::clone(&relations), &sample.weights).expect("the system supports it");
        let trace = relations.trace(&sample.graph, &sample.weights, &sample.inputs).expect("samples are valid");
        let outputs = relations.outputs_of(&trace);
        let statement = Statement { binding: &BINDING, inputs: &sample.inputs, outputs: &outputs };
        let proof = S::prove(&prover, &trace, statement).expect("an honest run is proved");
        S::verify(&verifier, statement, &proof).expect("an honest proof holds");
        let key = S::verifier_key_to_bytes(&verifier);
        Self { relations, verifier, key, inputs: sample.inputs, outputs, proof }
    }

    /// What the first byte chooses: the bytes as a proof, as a verifier's key, or as edits of the honest proof, of the
    /// statement or of the honest key.
    ///
    /// # Panics
    /// Where a verifier accepts what was not proved.
    pub fn attack(&self, bytes: &[u8]) {
        let Some((&kind, bytes)) = bytes.split_first() else { return };
        // One to eight edits: of many the first that is met hides the rest.
        let edits = &bytes[..bytes.len().min(4 * (1 + usize::from(kind) % 8))];
        match kind {
            0..8 => self.refuse(&self.outputs, bytes),
            8..16 => self.read_key(bytes),
            16..32 => self.read_key(&edited(&self.key, edits)),
            32..64 => {
                let mut outputs = self.outputs.clone();
                for edit in edits.chunks_exact(4) {
                    let output = &mut outputs[usize::from(edit[0]) % self.outputs.len()];
                    let at = usize::from(edit[1]) % output.len();
                    output[at] = output[at].wrapping_add(i64::from(i16::from_le_bytes([edit[2], edit[3]])));
                }
                self.refuse(&outputs, &self.proof);
            }
            _ => self.refuse(&self.outputs, &edited(&self.proof, edits)),
        }
    }

    fn refuse(&self, outputs: &[Vec<i64>], proof: &[u8]) {
        let statement = Statement { binding: &BINDING, inputs: &self.inputs, outputs };
        let accepted = S::verify(&self.verifier, statement, proof).is_ok();
        let honest = proof == self.proof && outputs == self.outputs;
        assert_eq!(accepted, honest, "{}: only the honest proof of the true outputs holds", S::NAME);
    }

    /// A key from anyone is read or refused, and verifies or not: which model's it is, is not the reader's to know.
    fn read_key(&self, bytes: &[u8]) {
        if let Ok(key) = S::verifier_key_from_bytes(Arc::clone(&self.relations), bytes) {
            let statement = Statement { binding: &BINDING, inputs: &self.inputs, outputs: &self.outputs };
            let _ = S::verify(&key, statement, &self.proof);
        }
    }
}

/// The first sample of a few operations, with weights, that the system proves in little time.
fn small<S: ProofSystem>() -> (Sample, Arc<Relations>) {
    let fits = |seed| {
        let sample = sample::random(seed, 6);
        let relations = Relations::of(&sample.graph).expect("samples have relations");
        let committed = relations.total().committed;
        let little = (8..48).contains(&committed) && !sample.weights.is_empty();
        (little && S::supports(&relations).is_ok() && S::estimate(&relations).prove_s < 1.0)
            .then(|| (sample, Arc::new(relations)))
    };
    (0..10_000).find_map(fits).expect("samples are of all sizes")
}

/// Bytes after edits of four bytes each: what, where (two bytes), and a value.
pub fn edited(honest: &[u8], edits: &[u8]) -> Vec<u8> {
    let mut bytes = honest.to_vec();
    for edit in edits.chunks_exact(4) {
        let [what, low, high, value] = [edit[0], edit[1], edit[2], edit[3]];
        let length = bytes.len();
        if length == 0 {
            return bytes;
        }
        // Each byte of a short list has a number of its own; of a long one, every so many.
        let place = usize::from(u16::from_le_bytes([low, high]));
        let at = if length < 1 << 16 { place % length } else { (place * length) >> 16 };
        let word = at..(at + 8).min(length);
        match what % 8 {
            0 => bytes[at] ^= value,
            1 => bytes[at] = value,
            2 => bytes.truncate(at),
            3 => drop(bytes.splice(at..at, [value])),
            4 => drop(bytes.drain(at..(at + usize::from(value)).min(length))),
            5 => bytes[word].fill(if value < 128 { 0 } else { 0xff }),
            6 => {
                let from = at.min(length / 2);
                bytes.extend_from_within(from..(from + 32).min(length));
            }
            _ => {
                let other = (at + 32 * (1 + usize::from(value))) % length;
                bytes.swap(at, other);
            }
        }
        bytes.truncate(ROOM * honest.len());
    }
    bytes
}
