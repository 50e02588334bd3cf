//! The exact runtime of provable models.

use assay_circuits::model::Model;
use assay_primitives::ModelId;

use crate::{Engine, EngineError, ModelInfo};

/// Runs a compiled model in integers: what it gives is what is served, scored and proved.
#[derive(Debug, Clone, PartialEq)]
pub struct ExactEngine {
    model: Model,
}

impl ExactEngine {
    /// Reads a compiled model that must be the one named.
    ///
    /// # Errors
    /// [`EngineError::Model`] on malformed bytes, [`EngineError::OtherModel`] on those of another model.
    pub fn load(expected: ModelId, bytes: &[u8]) -> Result<Self, EngineError> {
        let model = Model::from_bytes(bytes).map_err(|e| EngineError::Model(e.to_string()))?;
        if model.id() != expected {
            return Err(EngineError::OtherModel { expected, found: model.id() });
        }
        Ok(Self { model })
    }

    /// The model, for proving and verifying.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Rounds an input in the model's own units (for the digits: pixels 0..=16) to its integers.
    ///
    /// # Errors
    /// [`EngineError::Input`] on a wrong length, NaN, infinity or a value out of range.
    pub fn quantise(&self, input: &[f32]) -> Result<Vec<i16>, EngineError> {
        self.model
            .quantise_flat(input)
            .map_err(|e| EngineError::Input { model: self.model.id(), reason: e.to_string() })
    }
}

impl From<Model> for ExactEngine {
    fn from(model: Model) -> Self {
        Self { model }
    }
}

impl Engine for ExactEngine {
    fn describe(&self) -> ModelInfo {
        let model = &self.model;
        ModelInfo { id: model.id(), input_len: model.input_len(), output_len: model.output_len(), provable: true }
    }

    fn run(&self, input: &[i16]) -> Result<Vec<i32>, EngineError> {
        self.model.run_flat(input).map_err(|e| EngineError::Input { model: self.model.id(), reason: e.to_string() })
    }
}
