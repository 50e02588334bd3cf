//! The same bits from whoever computes: the executor on one thread, on two and without vectors, and every proof system.
//!
//! On each shipped model, on the held-out scans first and then on random inputs within its range. `make test` proves a few of
//! them; `make exactness` (`ASSAY_EXACTNESS=full`) proves all with each system, and prints the counts.

use std::{iter, num::NonZeroUsize, sync::Arc, time::Instant};

use assay_circuits::{
    exec::{Options, Program},
    graph::sample::Rng,
    model::{Model, Port},
    proof::{ProofSystem, Statement, groth16::Groth16, halo2::Halo2, sumcheck::Sumcheck},
    relation::Relations,
};

use crate::{NAMES, compiled, scans};

/// Inputs of each model.
const INPUTS: usize = 1000;
/// Coprime to [`INPUTS`]: steps of it come by every input, scans and random ones in turn.
const STRIDE: usize = 389;

fn full() -> bool {
    std::env::var("ASSAY_EXACTNESS").is_ok_and(|value| value == "full")
}

/// A model, what it is fed and what it gives.
struct Served {
    name: &'static str,
    model: Model,
    relations: Arc<Relations>,
    inputs: Vec<Vec<Vec<i64>>>,
    outputs: Vec<Vec<Vec<i64>>>,
}

impl Served {
    fn of(name: &'static str) -> Self {
        let model = compiled(name).model;
        let relations = Arc::new(Relations::of(model.graph()).unwrap());
        let inputs = inputs(&model);
        let outputs = inputs.iter().map(|inputs| model.run(inputs).unwrap()).collect();
        Self { name, model, relations, inputs, outputs }
    }

    /// Proves this many inputs. A proof is of the bits that are served, and of no others.
    fn prove<S: ProofSystem>(&self, count: usize) {
        let (prover, verifier) = S::set_up(Arc::clone(&self.relations), self.model.weights()).unwrap();
        let begun = Instant::now();
        for at in (0..count).map(|step| step * STRIDE % INPUTS) {
            let what = format!("{}, {}, input {at}", self.name, S::NAME);
            let (inputs, outputs) = (&self.inputs[at], &self.outputs[at]);
            let binding = [at as u8; 32];
            let statement = Statement { binding: &binding, inputs, outputs };
            let trace = self.relations.trace(self.model.graph(), self.model.weights(), inputs).unwrap();
            let proof = S::prove(&prover, &trace, statement).unwrap_or_else(|e| panic!("{what}: {e}"));
            S::verify(&verifier, statement, &proof).unwrap_or_else(|e| panic!("{what}: {e}"));

            let mut others = outputs.clone();
            let value = at % others[0].len();
            others[0][value] += if at.is_multiple_of(2) { 1 } else { -1 };
            let untrue = Statement { outputs: &others, ..statement };
            assert!(S::verify(&verifier, untrue, &proof).is_err(), "{what}: output {value} altered");
        }
        println!("{}: {count} of {INPUTS} proved by {} in {:.0?}", self.name, S::NAME, begun.elapsed());
    }
}

/// Held-out scans, and random inputs within the model's range.
fn inputs(model: &Model) -> Vec<Vec<Vec<i64>>> {
    let outline = model.outline();
    let scans = scans("heldout").into_iter().map(|scan| outline.quantise_inputs(&[scan.pixels]).unwrap());
    let ports = outline.inputs();
    let lengths = outline.input_lengths();
    let mut rng = Rng::new(1);
    let random = iter::repeat_with(|| {
        let input =
            |(&Port { low, high, .. }, &length): (&Port, &usize)| (0..length).map(|_| rng.between(low, high)).collect();
        ports.iter().zip(&lengths).map(input).collect()
    });
    scans.chain(random).take(INPUTS).collect()
}

#[test]
fn a_thousand_inputs_give_the_same_bits_on_any_threads_without_vectors_and_in_what_is_proved() {
    for name in NAMES {
        let Served { model, relations, inputs, outputs, .. } = Served::of(name);
        let program = |options| Program::new(Arc::clone(model.graph()), model.weights(), options).unwrap();
        let threads = |count| program(Options { threads: NonZeroUsize::new(count), scalar: false });
        let programs = [
            ("one thread", threads(1)),
            ("two threads", threads(2)),
            ("no vectors", program(Options { threads: None, scalar: true })),
        ];
        for (at, (inputs, outputs)) in inputs.iter().zip(&outputs).enumerate() {
            for (how, program) in &programs {
                assert_eq!(&program.run(inputs).unwrap(), outputs, "{name}, input {at}: {how}");
            }
            let trace = relations.trace(model.graph(), model.weights(), inputs).unwrap();
            assert_eq!(&relations.outputs_of(&trace), outputs, "{name}, input {at}: what is proved");
        }
        println!("{name}: {} inputs, the same bits on 1 and 2 threads, without vectors, and proved", inputs.len());
    }
}

#[test]
fn sumcheck_proves_the_bits_that_are_served_and_no_others() {
    let count = if full() { INPUTS } else { 8 };
    NAMES.into_iter().for_each(|name| Served::of(name).prove::<Sumcheck>(count));
}

#[test]
fn groth16_proves_the_bits_that_are_served_and_no_others() {
    let count = if full() { INPUTS } else { 4 };
    NAMES.into_iter().for_each(|name| Served::of(name).prove::<Groth16>(count));
}

#[test]
fn halo2_proves_the_bits_that_are_served_and_no_others() {
    let (names, count) = if full() { (&NAMES[..], INPUTS) } else { (&NAMES[..1], 2) };
    names.iter().for_each(|name| Served::of(name).prove::<Halo2>(count));
}
