//! How an honest validator of the simulation comes to its scores: the product's canaries, criteria and tally, on a model
//! small enough to be asked thousands of times.

use std::sync::Arc;

use assay_circuits::{graph::sample::perceptron, model::Model};
use assay_inference::{Engine as _, ExactEngine, class_of};
use assay_primitives::AccountId;
use assay_scoring::{Answered, CanarySet, EpochSeed, Evidence, ProofOutcome, Scorer, Tally, Verdict};
use serde_json::json;

use super::{
    SimulationError,
    draw::{Draw, bell},
};

/// Inputs and outputs of the model.
const PIXELS: usize = 16;
const CLASSES: usize = 4;
/// Scans that everybody knows; tasks are made of them.
const SCANS: usize = 32;

/// What validators judge with.
pub(super) struct Exam {
    pub(super) engine: Arc<ExactEngine>,
    canaries: CanarySet,
    /// The scans without noise, which everybody has.
    scans: Vec<Vec<i16>>,
}

/// One task: what is asked, and what is known of it.
pub(super) struct Question {
    pub(super) input: Vec<i16>,
    pub(super) expected: Vec<i32>,
    label: u32,
}

impl Exam {
    /// The same in every run: a fixed model, and scans that it tells apart with some room.
    pub(super) fn new() -> Result<Self, SimulationError> {
        let broken = |what: String| SimulationError::Model(what);
        let mut stream = Draw::new(0).stream("model", [0; 3]);
        let mut weight = || (4.0 * bell(&mut stream)) as i64;
        let rows: Vec<Vec<i64>> = (0..PIXELS).map(|_| (0..CLASSES).map(|_| weight()).collect()).collect();
        let rows: Vec<&[i64]> = rows.iter().map(Vec::as_slice).collect();
        let sample = perceptron(&rows, &[1; CLASSES]);
        let model = Model::new(sample.graph, sample.weights, [0; 32]).map_err(|e| broken(e.to_string()))?;
        let engine = ExactEngine::load(model.id(), &model.to_bytes()).map_err(|e| broken(e.to_string()))?;
        let mut stream = Draw::new(0).stream("scans", [0; 3]);
        let (mut scans, mut labelled) = (Vec::new(), Vec::new());
        while scans.len() < SCANS {
            let pixels: Vec<i16> =
                (0..PIXELS).map(|_| (8.0 + 3.0 * bell(&mut stream)).clamp(0.0, 16.0) as i16).collect();
            let output = engine.run(&pixels).map_err(|e| broken(e.to_string()))?;
            let mut sorted = output.clone();
            sorted.sort_unstable();
            // Noise of six steps seldom moves the best output below the next.
            if sorted[CLASSES - 1] - sorted[CLASSES - 2] >= 15 {
                labelled.push(json!({ "label": class_of(&output), "pixels": pixels }));
                scans.push(pixels);
            }
        }
        let canaries = CanarySet::from_json(&json!(labelled).to_string()).map_err(|e| broken(e.to_string()))?;
        Ok(Self { engine: Arc::new(engine), canaries, scans })
    }

    pub(super) fn model(&self) -> &Model {
        self.engine.model()
    }

    /// The task number `index` of an epoch for a miner.
    pub(super) fn question(
        &self,
        seed: &EpochSeed,
        miner: &AccountId,
        index: u32,
    ) -> Result<Question, SimulationError> {
        let task = self.canaries.task(seed, miner, index);
        let input: Vec<i16> = task.pixels.iter().map(|pixel| i16::from(*pixel)).collect();
        Ok(Question { expected: self.run(&input)?, input, label: task.label })
    }

    pub(super) fn run(&self, input: &[i16]) -> Result<Vec<i32>, SimulationError> {
        self.engine.run(input).map_err(|e| SimulationError::Model(e.to_string()))
    }

    /// The scan without noise that an input is nearest to.
    pub(super) fn nearest_scan(&self, input: &[i16]) -> &[i16] {
        let apart = |scan: &&Vec<i16>| -> i64 { scan.iter().zip(input).map(|(a, b)| i64::from(a.abs_diff(*b))).sum() };
        self.scans.iter().min_by_key(apart).expect("there are scans")
    }
}

/// An answer as it arrived.
pub(super) struct Arrived {
    pub(super) output: Vec<i32>,
    pub(super) proof: ProofOutcome,
    pub(super) latency_ms: u64,
}

/// Marks one task and takes it in.
pub(super) fn mark(scorer: &Scorer, tally: &mut Tally, question: &Question, arrived: Option<Arrived>) -> Verdict {
    let outcome = arrived.as_ref().map(|answer| answer.proof);
    let answer = arrived.map(|Arrived { output, proof, latency_ms }| Answered {
        class: class_of(&output),
        output,
        proof,
        latency_ms,
    });
    let evidence = Evidence { label: Some(question.label), expected: question.expected.clone(), answer };
    let verdict = scorer.judge(&evidence);
    tally.add(&verdict, outcome);
    verdict
}
