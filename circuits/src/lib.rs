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
//! Nothing here does IO or knows a network or a chain. Bytes from others (models, proofs) are refused with an
//! error that says what was expected and found; nothing panics on them.

pub mod answer;
pub mod binding;
pub mod compile;
pub mod exec;
pub mod graph;
mod kept;
pub mod model;
pub mod network;
pub mod onnx;
pub mod proof;
pub mod quantise;
pub mod relation;

pub use binding::Binding;
