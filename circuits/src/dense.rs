//! The first circuit: multi-layer perceptrons under halo2. What the network runs until the tensor graph beside it
//! (`network`, `graph`, `relation`, `proof`) takes its place.
//!
//! ```text
//! ONNX bytes --onnx--> float layers --quantise + calibration--> graph --model--> CompiledModel, ModelId
//!                                                                 |                   |
//!                               input --exec--> output <----------+                   |
//!                                  \---------- binding ----- proof::prove ---> proof --+--> proof::verify
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`onnx`] | the reader: what is not supported is refused by operation and node |
//! | [`graph`] | the typed integer graph and its interval analysis |
//! | [`quantise`] | scales from calibration data, and the report |
//! | [`exec`] | the exact executor; what it gives is what is served |
//! | [`model`] | canonical bytes and the commitment on chain |
//! | [`proof`] | the proof systems, and the keys kept in memory |
//!
//! Nothing here does IO or knows a network or a chain. Bytes from others (models, proofs) are refused with an
//! error that says what was expected and found; nothing panics on them.

pub mod exec;
pub mod graph;
pub mod model;
pub mod onnx;
pub mod proof;
pub mod quantise;

pub use crate::binding::Binding;
pub use assay_primitives::task::{input_hash as hash_input, output_hash as hash_output};
pub use exec::{ExecError, argmax};
pub use graph::{Graph, GraphError};
pub use model::{CompiledModel, InputError, ModelError};
pub use onnx::OnnxError;
pub use proof::{BindingError, ProofSystem, ProveError, SetupError, VerifyError, prove, verify};
pub use quantise::Report;

/// A model read from ONNX, with the report of its quantisation.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// What is committed, run and proved.
    pub model: CompiledModel,
    /// What the integers cost in accuracy.
    pub report: Report,
}

/// Why an ONNX file was not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be read or uses what is not supported.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// The calibration samples cannot be used.
    #[error("calibration: {reason}")]
    Calibration {
        /// Expected and found.
        reason: String,
    },
    /// A layer's numbers do not fit the integers.
    #[error("node '{node}': {reason}")]
    Quantise {
        /// The ONNX node.
        node: String,
        /// What does not fit.
        reason: String,
    },
    /// The quantised graph fails its checks.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// Reads an ONNX file, quantises it on the calibration samples (each one input in the network's own units) and
/// proves that no input in range can overflow it.
///
/// # Errors
/// [`ImportError`], naming the operation and node where there is one.
pub fn import_onnx(bytes: &[u8], calibration: &[Vec<f32>]) -> Result<Imported, ImportError> {
    let network = onnx::read(bytes)?;
    let (model, report) = quantise::quantise(&network, calibration)?;
    Ok(Imported { model, report })
}
