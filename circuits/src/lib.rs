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
//! | [`network`] | the float network: a small set of operations that every ONNX operation comes down to |
//! | [`graph`] | the typed integer graph: one meaning, no floats |
//! | [`relation`] | the graph as columns and relations between them: what a proof system proves |
//! | [`proof`] | the one face of the proof systems |
//! | [`binding`] | what a proof is bound to |
//! | [`dense`] | the first circuit, for perceptrons only |
//!
//! Nothing here does IO or knows a network or a chain. Bytes from others (models, proofs) are refused with an
//! error that says what was expected and found; nothing panics on them.

pub mod binding;
pub mod compile;
pub mod dense;
pub mod exec;
pub mod graph;
pub mod model;
pub mod network;
pub mod onnx;
pub mod proof;
pub mod quantise;
pub mod relation;

pub use binding::Binding;
