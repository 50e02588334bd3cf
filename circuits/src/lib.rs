//! One integer meaning for a neural network, shared by who serves it, who proves it and who checks it.
//!
//! ```text
//! ONNX --onnx--> Network --quantise + calibration--> Graph + weights --model--> Model, ModelId
//!               (floats)                            (integers)  |
//!                                                               +--exec-----> what is served
//!                                                               +--relation-> Relations, Trace
//!                                                                               |
//!                                             proof::{sumcheck, groth16, halo2} +--> proof, verified
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`compile`] | the whole way from an ONNX file and samples to a model and its report |
//! | [`onnx`] | the reader: every operation comes down to the network's few, or is refused by name and node |
//! | [`network`] | the float network: a small set of operations that every ONNX operation comes down to |
//! | [`graph`] | the typed integer graph: one meaning, no floats |
//! | [`quantise`] | scales from calibration data, and the report of what they cost |
//! | [`exec`] | the exact executor: what it gives is what is served |
//! | [`model`] | canonical bytes, the outline without weights, the id |
//! | [`relation`] | the graph as columns and relations between them: what a proof system proves |
//! | [`proof`] | the one face of the proof systems |
//! | [`answer`] | one answer of a served model: proved and verified with keys kept in memory |
//! | [`binding`] | what a proof is bound to |
//!
//! The features `compile`, `groth16`, `halo2` and `hiding`, all on by default, bring what their names say; without them, running,
//! proving and verifying by plain `sumcheck` is left, which asks the operating system for nothing.
//!
//! Nothing here does IO or knows a network or a chain. Bytes from others (models, proofs) are refused with an
//! error that says what was expected and found; nothing panics on them.
//!
//! # From a file to a verified proof
//! ```
//! use std::{fs, sync::Arc};
//!
//! use assay_circuits::{
//!     compile::{Options, Samples, compile},
//!     model::Outline,
//!     proof::{ProofSystem, Statement, sumcheck::Sumcheck},
//!     relation::Relations,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../assets/digits");
//! // Compile. Sample inputs choose the scales; more of them choose better.
//! let onnx = fs::read(format!("{folder}/digits.onnx"))?;
//! let samples = Samples::read(&fs::read(format!("{folder}/input-7.json"))?)?;
//! let model = compile(&onnx, &samples, &Options::default())?.model;
//!
//! // Run: exact integers. The outline, which holds no weights, knows what they stand for.
//! let outline = model.outline();
//! let inputs = outline.quantise_inputs(&samples.one(&outline.input_shapes())?)?;
//! let outputs = model.run(&inputs)?;
//! let logits = &outline.dequantise_outputs(&outputs)[0];
//! assert!(logits.iter().all(|&logit| logit <= logits[7]), "it is a seven");
//!
//! // Prove, bound to whatever the proof is for: `Binding` makes the digest of a request.
//! let relations = Arc::new(Relations::of(model.graph())?);
//! let (prover, verifier) = Sumcheck::set_up(Arc::clone(&relations), model.weights())?;
//! let trace = relations.trace(model.graph(), model.weights(), &inputs)?;
//! let statement = Statement { binding: &[7; 32], inputs: &inputs, outputs: &outputs };
//! let proof = Sumcheck::prove(&prover, &trace, statement)?;
//! let (outline, key) = (outline.to_bytes(), Sumcheck::verifier_key_to_bytes(&verifier));
//!
//! // Verify, elsewhere: from the outline, whose id is trusted, and a key, which is taken only if it is the model's own.
//! let outline = Outline::from_bytes(&outline)?;
//! assert_eq!(outline.id(), model.id());
//! let verifier = outline.verifier_key::<Sumcheck>(&key)?;
//! Sumcheck::verify(&verifier, statement, &proof)?;
//! assert!(Sumcheck::verify(&verifier, Statement { binding: &[8; 32], ..statement }, &proof).is_err());
//! # Ok(())
//! # }
//! ```
//!
//! `cargo run -p assay-circuits --example prove_digits` goes the same way with each proof system, tells times and sizes, and verifies
//! many proofs at once.

pub mod answer;
pub mod binding;
#[cfg(feature = "compile")]
pub mod compile;
pub mod exec;
pub mod graph;
mod kept;
pub mod model;
#[cfg(feature = "compile")]
pub mod network;
#[cfg(feature = "compile")]
pub mod onnx;
pub mod proof;
#[cfg(feature = "compile")]
pub mod quantise;
pub mod relation;

pub use binding::Binding;
