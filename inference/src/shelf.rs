//! Several models, each under its content hash.

use std::{collections::BTreeMap, sync::Arc};

use assay_primitives::ModelId;

use crate::{Engine, ExactEngine};

/// Engines by model. Cloning shares the engines.
#[derive(Debug)]
pub struct ModelShelf<E = ExactEngine> {
    engines: BTreeMap<ModelId, Arc<E>>,
}

impl<E> Clone for ModelShelf<E> {
    fn clone(&self) -> Self {
        Self { engines: self.engines.clone() }
    }
}

impl<E> Default for ModelShelf<E> {
    fn default() -> Self {
        Self { engines: BTreeMap::new() }
    }
}

impl<E: Engine> ModelShelf<E> {
    /// Puts an engine under its model's id and hands it back; one that is there already stays.
    pub fn insert(&mut self, engine: E) -> Arc<E> {
        Arc::clone(self.engines.entry(engine.describe().id).or_insert_with(|| Arc::new(engine)))
    }

    /// The engine of a model.
    pub fn get(&self, id: &ModelId) -> Option<Arc<E>> {
        self.engines.get(id).cloned()
    }

    /// Takes every model off that is not kept.
    pub fn retain(&mut self, keep: impl Fn(&ModelId) -> bool) {
        self.engines.retain(|id, _| keep(id));
    }

    /// The models, by ascending id.
    pub fn ids(&self) -> impl Iterator<Item = &ModelId> {
        self.engines.keys()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use assay_circuits::{graph::sample::perceptron, model::Model};

    use super::*;
    use crate::{EngineError, class_of};

    fn model(weight: i64) -> Model {
        let sample = perceptron(&[&[weight, 0], &[0, 1]], &[0, 0]);
        Model::new(sample.graph, sample.weights, [0; 32]).unwrap()
    }

    #[test]
    fn each_model_answers_under_its_own_id() {
        let mut shelf = ModelShelf::default();
        let (a, b) = (model(1), model(-1));
        for m in [&a, &b] {
            shelf.insert(ExactEngine::load(m.id(), &m.to_bytes()).unwrap());
        }
        let run = |m: &Model| shelf.get(&m.id()).unwrap().classify(&[100, 50]).unwrap();
        assert_eq!(run(&a).0, 0);
        assert_eq!(run(&b).0, 1);
        assert_eq!(run(&a).1, a.run_flat(&[100, 50]).unwrap());
        assert_eq!(shelf.ids().count(), 2);
        assert!(shelf.get(&model(2).id()).is_none());
    }

    #[test]
    fn bytes_of_another_model_or_of_none_are_refused() {
        let (a, b) = (model(1), model(2));
        assert!(matches!(ExactEngine::load(a.id(), &b.to_bytes()), Err(EngineError::OtherModel { .. })));
        assert!(matches!(ExactEngine::load(a.id(), b"ASYM"), Err(EngineError::Model(_))));
    }

    #[test]
    fn an_input_that_does_not_fit_is_the_callers_fault() {
        let engine = ExactEngine::from(model(1));
        assert!(engine.run(&[1]).unwrap_err().is_callers_fault());
        assert!(engine.run(&[1, 200]).unwrap_err().is_callers_fault());
        assert!(engine.quantise(&[f32::NAN, 0.0]).unwrap_err().is_callers_fault());
        assert_eq!(class_of(&[]), 0);
    }
}
