//! Engines that run models, behind one trait.
//!
//! ```text
//! model bytes (from the chain) --circuits--> Model --ExactEngine--> ModelShelf, by ModelId
//! quantised input --Engine::run--> output, bit for bit what a proof of it states
//! ```
//!
//! The one engine here is the exact integer runtime of provable models. An engine is synchronous and may take all of
//! a core while it runs: how many run at once is for the node to bound. Nothing here knows a chain or a network.

pub mod background;
pub mod encoders;
mod exact;
mod guard;
pub mod inspect;
pub mod llm;
pub mod memory;
pub mod onnx;
mod shelf;
pub mod train;

use assay_primitives::ModelId;
use serde::Serialize;

pub use exact::ExactEngine;
pub use shelf::ModelShelf;

/// What a model takes and gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelInfo {
    /// Content hash.
    pub id: ModelId,
    /// Values in an input.
    pub input_len: usize,
    /// Values in an output.
    pub output_len: usize,
    /// Whether an output can be proved.
    pub provable: bool,
}

/// Why an engine did not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The caller's input does not fit the model.
    #[error("the input does not fit model {model}: {reason}")]
    Input {
        /// The model.
        model: ModelId,
        /// Expected and found.
        reason: String,
    },
    /// The model's bytes are not a model.
    #[error("not a model: {0}")]
    Model(String),
    /// The bytes are a model, but not the one that was named.
    #[error("expected the model {expected}, the bytes are of model {found}")]
    OtherModel {
        /// What was named.
        expected: ModelId,
        /// What the bytes hash to.
        found: ModelId,
    },
}

impl EngineError {
    /// True if another input could have worked.
    pub fn is_callers_fault(&self) -> bool {
        matches!(self, EngineError::Input { .. })
    }
}

/// Something that runs one model.
pub trait Engine: Send + Sync {
    /// What the model takes and gives.
    fn describe(&self) -> ModelInfo;

    /// The output for one quantised input.
    ///
    /// # Errors
    /// [`EngineError::Input`] on a wrong length or a value out of range.
    fn run(&self, input: &[i16]) -> Result<Vec<i32>, EngineError>;

    /// The output and the class it names: the position of the largest value, the first of equal ones.
    ///
    /// # Errors
    /// As [`Engine::run`].
    fn classify(&self, input: &[i16]) -> Result<(u32, Vec<i32>), EngineError> {
        let output = self.run(input)?;
        Ok((class_of(&output), output))
    }
}

/// The class an output names: the position of the largest value, the first of equal ones; 0 for an empty output.
pub fn class_of(output: &[i32]) -> u32 {
    u32::try_from(assay_circuits::answer::argmax(output)).expect("outputs of models are far shorter than 2^32")
}
