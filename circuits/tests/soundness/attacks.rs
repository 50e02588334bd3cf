//! The same attacks on every proof system.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use assay_circuits::{
    graph::sample::{Rng, Sample},
    proof::{Commitments, ProofSystem, Statement, Systems, halo2::Halo2, sumcheck::hiding::SumcheckHiding},
    relation::{COVERS, Definition, Relations, Trace},
};

use crate::{
    cases::{Case, full, other_values, some_cells},
    tally::{Fate, Tally},
    uncounted,
};

/// How much is tried.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Depth {
    /// Cells of each committed column.
    pub(crate) cells: usize,
    /// Altered traces that are proved, at most.
    pub(crate) proofs: usize,
    /// Altered proofs of each sort.
    pub(crate) bytes: usize,
    /// Other models for which keys are made.
    pub(crate) models: usize,
    /// Whether the verifier's key is altered too.
    pub(crate) keys: bool,
}

/// Longest that a verifier may take over bytes that are no proof: this many times an honest one, and a moment.
const PATIENCE: u32 = 20;

/// A case with keys and an honest proof.
struct Attack<'a, S: ProofSystem> {
    case: &'a Case,
    tally: &'a mut Tally,
    rng: Rng,
    prover: S::ProverKey,
    verifier: S::VerifierKey,
    binding: [u8; 32],
    proof: Vec<u8>,
    verified_in: Duration,
}

/// Tries everything on one case; gives its proof.
pub(crate) fn attack<S: ProofSystem>(case: &Case, depth: Depth, tally: &mut Tally) -> Vec<u8> {
    let mut rng = Rng::new(case.cells() as u64 + 1);
    let binding: [u8; 32] = std::array::from_fn(|_| rng.draw() as u8);
    let (prover, verifier) = keys::<S>(&case.relations, &case.sample.weights, &case.name);
    let statement = Statement { binding: &binding, inputs: &case.sample.inputs, outputs: &case.outputs };
    let proof = S::prove(&prover, &case.trace, statement).unwrap_or_else(|e| panic!("{}: {e}", case.name));
    let start = Instant::now();
    S::verify(&verifier, statement, &proof).unwrap_or_else(|e| panic!("{}: {e}", case.name));
    let verified_in = start.elapsed();
    let mut attack: Attack<'_, S> = Attack { case, tally, rng, prover, verifier, binding, proof, verified_in };
    attack.alter_traces(depth);
    attack.alter_statements(depth);
    attack.alter_bytes(depth);
    attack.alter_binding();
    if depth.keys {
        attack.alter_keys(depth);
    }
    attack.alter_models(depth);
    attack.proof
}

/// A proof of one graph is none of another.
pub(crate) fn cross<S: ProofSystem>(proofs: &[(&Case, Vec<u8>)], tally: &mut Tally) {
    for (at, (case, _)) in proofs.iter().enumerate() {
        let (_, verifier) = keys::<S>(&case.relations, &case.sample.weights, &case.name);
        for (other, (_, proof)) in proofs.iter().enumerate().filter(|(other, _)| *other != at).take(3) {
            let statement = Statement { binding: &[7; 32], inputs: &case.sample.inputs, outputs: &case.outputs };
            let fate = fate(S::verify(&verifier, statement, proof).is_ok());
            tally.count(&case.operation, "proof of another graph", fate, || format!("{} by {other}", case.name));
        }
    }
}

fn keys<S: ProofSystem>(
    relations: &Arc<Relations>,
    weights: &[Vec<i64>],
    name: &str,
) -> (S::ProverKey, S::VerifierKey) {
    S::set_up(Arc::clone(relations), weights).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn fate(accepted: bool) -> Fate {
    if accepted { Fate::Accepted } else { Fate::Rejected }
}

impl<S: ProofSystem> Attack<'_, S> {
    fn count(&mut self, attack: &'static str, fate: Fate, what: impl FnOnce() -> String) {
        let case = self.case;
        self.tally.count(&case.operation, attack, fate, || format!("{}: {}", case.name, what()));
    }

    /// Proves a trace for what it gives, and verifies that.
    fn prove(&self, trace: &Trace, inputs: &[Vec<i64>], outputs: &[Vec<i64>]) -> Fate {
        let statement = Statement { binding: &self.binding, inputs, outputs };
        match S::prove(&self.prover, trace, statement) {
            Err(_) => Fate::Unproved,
            Ok(proof) => fate(S::verify(&self.verifier, statement, &proof).is_ok()),
        }
    }

    /// Verifies the honest proof, or another, for some statement.
    fn verify(&self, binding: &[u8; 32], inputs: &[Vec<i64>], outputs: &[Vec<i64>], proof: &[u8]) -> Fate {
        let start = Instant::now();
        let verdict = S::verify(&self.verifier, Statement { binding, inputs, outputs }, proof);
        let most = self.verified_in * PATIENCE + Duration::from_secs(2);
        assert!(start.elapsed() < most, "{}: a verifier that took {:?}", self.case.name, start.elapsed());
        fate(verdict.is_ok())
    }

    /// Cells that the prover chooses.
    fn alter_traces(&mut self, depth: Depth) {
        let case = self.case;
        let columns = case.columns(|d| matches!(d, Definition::Witness | Definition::Weight(_)));
        let mut tries = Vec::new();
        for column in columns {
            let witness = case.relations.columns[column].definition == Definition::Witness;
            for cell in some_cells(case.trace.columns[column].len(), depth.cells, &mut self.rng) {
                for value in other_values(case.trace.columns[column][cell], &mut self.rng) {
                    tries.extend(COVERS.map(|cover| (column, cell, value, cover, witness)));
                }
            }
        }
        // Some of them, but of every column at least one as long as there is room.
        let step = tries.len().div_ceil(depth.proofs.max(1)).max(1) | 1;
        for (column, cell, value, cover, witness) in tries.into_iter().step_by(step) {
            let altered = case.relations.altered(&case.trace, column, cell, value, cover);
            let mut outputs = case.relations.outputs_of(&altered);
            // A prover may take the weights from its key, and prove the truth.
            if !witness && outputs == case.outputs {
                outputs[0][0] += 1;
            }
            let fate = self.prove(&altered, &case.sample.inputs, &outputs);
            self.count(if witness { "witness" } else { "weight" }, fate, || {
                format!("{:?} cell {cell} to {value}, {cover:?}", case.relations.columns[column])
            });
        }
        // A derived cell: a prover may ignore it and prove the truth, but never what follows from it.
        let derived = case
            .columns(|d| matches!(d, Definition::Linear { .. } | Definition::Wire { .. } | Definition::MatMul { .. }));
        for column in derived.into_iter().take(depth.proofs) {
            let cell = self.rng.below(case.trace.columns[column].len());
            let mut altered = case.trace.clone();
            altered.columns[column][cell] += 1;
            let mut outputs = case.relations.outputs_of(&altered);
            if outputs == case.outputs {
                outputs[0][0] += 1;
            }
            let fate = self.prove(&altered, &case.sample.inputs, &outputs);
            self.count("derived", fate, || format!("column {column} cell {cell}"));
        }
    }

    /// Inputs, outputs, binding, with the honest proof and with one made for them.
    fn alter_statements(&mut self, depth: Depth) {
        let (case, proof, binding) = (self.case, self.proof.clone(), self.binding);
        let (inputs, outputs) = (&case.sample.inputs, &case.outputs);
        let seen = |this: &mut Self, attack, altered: (&[Vec<i64>], &[Vec<i64>]), prove: bool, what: String| {
            let fate = this.verify(&binding, altered.0, altered.1, &proof);
            this.count(attack, fate, || what.clone());
            if prove && !case.is_true(altered.0, altered.1) {
                let fate = this.prove(&case.trace, altered.0, altered.1);
                this.count(attack, fate, || format!("{what}, proved for it"));
            }
        };
        for (values, attack) in [(inputs, "input"), (outputs, "output")] {
            let put = |altered: &[Vec<i64>]| match attack {
                "input" => (altered.to_vec(), outputs.clone()),
                _ => (inputs.clone(), altered.to_vec()),
            };
            for at in 0..values.len() {
                for cell in some_cells(values[at].len(), depth.cells.max(2), &mut self.rng) {
                    for other in other_values(values[at][cell], &mut self.rng) {
                        let mut altered = values.clone();
                        altered[at][cell] = other;
                        let (i, o) = put(&altered);
                        seen(self, attack, (&i, &o), full() || cell == 0, format!("{at}, cell {cell} to {other}"));
                    }
                }
                let longer = [values[at].as_slice(), &[0]].concat();
                let shorter = values[at][1..].to_vec();
                for other in [longer, shorter, Vec::new()] {
                    let mut altered = values.clone();
                    altered[at] = other;
                    let (i, o) = put(&altered);
                    seen(self, attack, (&i, &o), true, format!("{at} of {} values", altered[at].len()));
                }
            }
            let more = [values.as_slice(), &[vec![0]]].concat();
            for altered in [more, values[..values.len() - 1].to_vec(), Vec::new()] {
                let (i, o) = put(&altered);
                if altered.len() != values.len() {
                    seen(self, attack, (&i, &o), true, format!("{} vectors", altered.len()));
                }
            }
        }
    }

    /// A proof serves one binding and one input.
    fn alter_binding(&mut self) {
        let case = self.case;
        let (inputs, outputs) = (&case.sample.inputs, &case.outputs);
        for bit in (0..256).step_by(if full() { 1 } else { 37 }) {
            let mut other = self.binding;
            other[bit / 8] ^= 1 << (bit % 8);
            let fate = self.verify(&other, inputs, outputs, &self.proof);
            self.count("binding", fate, || format!("bit {bit}"));
        }
        let others = case.sample.other_inputs(self.rng.draw());
        if others != *inputs {
            let trace = case.relations.trace(&case.sample.graph, &case.sample.weights, &others).expect("in range");
            let other_outputs = case.relations.outputs_of(&trace);
            let statement = Statement { binding: &self.binding, inputs: &others, outputs: &other_outputs };
            let other = S::prove(&self.prover, &trace, statement).unwrap_or_else(|e| panic!("{}: {e}", case.name));
            let fate = self.verify(&self.binding, inputs, outputs, &other);
            self.count("proof of another input", fate, || "an honest one".to_owned());
            if other_outputs != *outputs {
                let fate = self.prove(&trace, inputs, &other_outputs);
                self.count("proof of another input", fate, || "its trace".to_owned());
            }
        }
    }

    /// The proof's own bytes.
    fn alter_bytes(&mut self, depth: Depth) {
        let honest = self.proof.clone();
        let mut tries: Vec<(&'static str, Vec<u8>)> = Vec::new();
        for _ in 0..depth.bytes {
            tries.push(("proof cut short", honest[..self.rng.below(honest.len())].to_vec()));
            let more: Vec<u8> = (0..1 + self.rng.below(64)).map(|_| self.rng.draw() as u8).collect();
            tries.push(("proof made longer", [honest.as_slice(), &more].concat()));
            let mut flipped = honest.clone();
            flipped[self.rng.below(honest.len())] ^= 1 << self.rng.below(8);
            tries.push(("bit of the proof", flipped));
            let mut spliced = honest.clone();
            let (from, len) = (self.rng.below(honest.len()), 1 + self.rng.below(40));
            spliced[from..].iter_mut().take(len).for_each(|byte| *byte = self.rng.draw() as u8);
            tries.push(("bytes of the proof", spliced));
            let noise = (0..self.rng.below(2 * honest.len())).map(|_| self.rng.draw() as u8).collect();
            tries.push(("noise", noise));
        }
        // Lengths that a reader may trust lie in front, and ends of sections anywhere.
        for at in 0..honest.len().min(64) {
            let mut large = honest.clone();
            large[at] = 0xff;
            tries.push(("bytes of the proof", large));
        }
        tries.extend([("noise", Vec::new()), ("noise", vec![0; honest.len()]), ("noise", vec![0xff; honest.len()])]);
        tries.push(("proof made longer", [honest.as_slice(), &honest].concat()));
        tries.push(("proof made longer", [honest.as_slice(), &[0]].concat()));
        tries.push(("proof cut short", honest[..honest.len() - 1].to_vec()));
        let (inputs, outputs) = (&self.case.sample.inputs, &self.case.outputs);
        for (attack, proof) in tries.into_iter().filter(|(_, proof)| *proof != honest) {
            let fate = self.verify(&self.binding, inputs, outputs, &proof);
            let at = proof.iter().zip(&honest).position(|(a, b)| a != b);
            self.count(attack, fate, || format!("{} bytes of {}, first at {at:?}", proof.len(), honest.len()));
        }
    }

    /// The verifier's key, as it comes from a stranger.
    fn alter_keys(&mut self, depth: Depth) {
        let case = self.case;
        let (bytes, binding) = (S::verifier_key_to_bytes(&self.verifier), self.binding);
        let statement = Statement { binding: &binding, inputs: &case.sample.inputs, outputs: &case.outputs };
        let same = S::verifier_key_from_bytes(Arc::clone(&case.relations), &bytes).expect("its own bytes");
        assert_eq!(S::verifier_key_to_bytes(&same), bytes, "{}: a key's bytes are not canonical", case.name);
        S::verify(&same, statement, &self.proof).expect("the same key");
        let mut others: Vec<Vec<u8>> = vec![Vec::new(), [bytes.as_slice(), &[0]].concat(), vec![0xff; bytes.len()]];
        if !bytes.is_empty() {
            others.push(bytes[..bytes.len() - 1].to_vec());
            for _ in 0..depth.bytes {
                let mut flipped = bytes.clone();
                flipped[self.rng.below(bytes.len())] ^= 1 << self.rng.below(8);
                others.push(flipped);
            }
        }
        for other in others.into_iter().filter(|other| *other != bytes) {
            let fate = match S::verifier_key_from_bytes(Arc::clone(&case.relations), &other) {
                Err(_) => Fate::Unproved,
                Ok(key) => fate(S::verify(&key, statement, &self.proof).is_ok()),
            };
            let at = other.iter().zip(&bytes).position(|(a, b)| a != b);
            self.count("verifier's key", fate, || format!("{} bytes of {}, first at {at:?}", other.len(), bytes.len()));
        }
    }

    /// A key that is well but for the name that it comes under.
    fn rename_key(&mut self, other: &S::VerifierKey) {
        let Sample { graph, weights, .. } = &self.case.sample;
        let systems = Systems { secret: S::NAME == SumcheckHiding::NAME, halo2: S::NAME == Halo2::NAME };
        let salt = if systems.secret { uncounted::SALT } else { [0; 32] };
        let named = Commitments::of(graph, weights, &salt, systems).unwrap_or_else(|e| panic!("{e}"));
        S::check_key(&self.verifier, &named).unwrap_or_else(|e| panic!("{}: {e}", self.case.name));
        let fate = fate(S::check_key(other, &named).is_ok());
        self.count("another model", fate, || "its key under this one's name".to_owned());
    }

    /// A model with another weight: its proofs for this one's key, and this one's for its key.
    fn alter_models(&mut self, depth: Depth) {
        let case = self.case;
        for _ in 0..depth.models {
            let mut weights = case.sample.weights.clone();
            let Some(at) = (0..weights.len()).find(|_| self.rng.chance(weights.len())).or(weights.len().checked_sub(1))
            else {
                return;
            };
            let column = case.columns(|d| *d == Definition::Weight(at))[0];
            let tensor = &case.relations.columns[column];
            let cell = self.rng.below(weights[at].len());
            let value = weights[at][cell];
            weights[at][cell] = if value < tensor.high { value + 1 } else { value - 1 };
            let Ok(trace) = case.relations.trace(&case.sample.graph, &weights, &case.sample.inputs) else { continue };
            let outputs = case.relations.outputs_of(&trace);
            if outputs != case.outputs {
                let fate = self.prove(&trace, &case.sample.inputs, &outputs);
                self.count("another model", fate, || "its trace".to_owned());
            }
            if case.relations.satisfied(&trace, &weights, &case.sample.inputs, &outputs).is_err() {
                continue;
            }
            let (prover, verifier) = keys::<S>(&case.relations, &weights, &case.name);
            let statement = Statement { binding: &self.binding, inputs: &case.sample.inputs, outputs: &outputs };
            let proof = S::prove(&prover, &trace, statement).unwrap_or_else(|e| panic!("{}: {e}", case.name));
            let fate_of_proof = self.verify(&self.binding, &case.sample.inputs, &outputs, &proof);
            self.count("another model", fate_of_proof, || "its proof".to_owned());
            let statement = Statement { binding: &self.binding, inputs: &case.sample.inputs, outputs: &case.outputs };
            let fate_of_key = fate(S::verify(&verifier, statement, &self.proof).is_ok());
            self.count("another model", fate_of_key, || "its key".to_owned());
            if depth.keys {
                self.rename_key(&verifier);
            }
        }
    }
}
