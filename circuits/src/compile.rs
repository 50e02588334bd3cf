//! From an ONNX file and samples to a model that can be served and proved, and a report of what the integers cost.
//!
//! ```text
//! ONNX --onnx::read--> Network --quantise, on samples--> graph + weights --Model::committed--> Model, with its id
//! ```
//!
//! The same bytes, samples and options give the same model on every machine.

mod npz;
mod samples;

pub use samples::{Samples, SamplesError, read_outputs, write_outputs};

use crate::{
    model::{Model, ModelError},
    network::Network,
    onnx::{self, OnnxError},
    proof::Systems,
    quantise::{self, QuantiseError, Report},
};

/// How a model is compiled.
#[derive(Default)]
pub struct Options<'a> {
    /// Batch, named axes, and where tensors in other files come from.
    pub onnx: onnx::Options<'a>,
    /// Precision, ranges and the least agreement with the floats.
    pub quantise: quantise::Options,
    /// Hides secret weights in the model's commitment: 32 random bytes, to be kept. Zeros where the weights are public,
    /// so that anyone who compiles the same file finds the same id.
    pub salt: [u8; 32],
    /// For which proof systems the weights are committed to.
    pub systems: Systems,
    /// Hears how far the quantisation is.
    pub told: Option<&'a quantise::Told<'a>>,
}

/// A compiled model.
#[derive(Debug)]
pub struct Compiled {
    /// The integer model.
    pub model: Model,
    /// How far it is from the floats.
    pub report: Report,
    /// The floats, to compare with.
    pub network: Network,
}

/// Why a model was not compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The ONNX file.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// The samples.
    #[error(transparent)]
    Samples(#[from] SamplesError),
    /// Numbers that do not fit in integers, or too little agreement.
    #[error(transparent)]
    Quantise(#[from] QuantiseError),
    /// The integer graph.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// Compiles an ONNX file.
///
/// # Errors
/// [`CompileError`] says what is wrong with the file, the samples or a node.
pub fn compile(onnx: &[u8], samples: &Samples, options: &Options<'_>) -> Result<Compiled, CompileError> {
    let network = onnx::read(onnx, &options.onnx)?;
    if network.inputs.is_empty() {
        return Err(OnnxError::Model { reason: "no inputs; expected at least one".into() }.into());
    }
    let samples = samples.of(&network)?;
    let told = options.told.unwrap_or(&|_, _| ());
    let quantised = quantise::quantise_told(&network, &samples, &options.quantise, told)?;
    let model = Model::committed(quantised.graph, quantised.weights, options.salt, options.systems)?;
    Ok(Compiled { model, report: quantised.report, network })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
