//! The chain's models, loaded when first needed.

use std::sync::{Arc, PoisonError, RwLock};

use assay_inference::{ExactEngine, ModelShelf};
use assay_ledger::{StateRead, query};
use assay_primitives::{ModelId, text::TextModel};

use super::RoleError;

/// A shelf filled from the chain's state.
#[derive(Debug, Default)]
pub struct Models(RwLock<ModelShelf>);

impl Models {
    /// The engine of a registered exact model; `None` if there is no such model.
    ///
    /// # Errors
    /// [`RoleError`] if the store fails or holds something else under the model's id.
    pub fn engine(&self, view: &dyn StateRead, id: &ModelId) -> Result<Option<Arc<ExactEngine>>, RoleError> {
        if let Some(engine) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(id) {
            return Ok(Some(engine));
        }
        let Some(bytes) = query::model_bytes(view, id)?.filter(|bytes| !TextModel::is_magic(bytes)) else {
            return Ok(None);
        };
        let engine = ExactEngine::load(*id, &bytes)?;
        Ok(Some(self.0.write().unwrap_or_else(PoisonError::into_inner).insert(engine)))
    }
}
