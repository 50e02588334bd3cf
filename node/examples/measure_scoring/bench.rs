//! The node's models behind the scorer's traits.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use assay::{home::ValidatorSettings, judges};
use assay_inference::encoders;
use assay_scoring::text::{Embedder, LanguageModel, Likelihood, ModelError, Models, models::cosine};

use crate::Result;

/// A sentence encoder that remembers what it has embedded.
#[derive(Clone)]
pub(crate) struct Remembering(Arc<Inner>);

struct Inner {
    model: encoders::Embedder,
    known: Mutex<HashMap<String, Vec<f32>>>,
}

impl Remembering {
    /// Loads a folder, and what a run before embedded with it, if there is such a file. A sample of that is embedded
    /// again: vectors of another model are an error.
    pub(crate) fn load(folder: &Path, cache: Option<&Path>) -> Result<Self> {
        let model = encoders::Embedder::load(folder)?;
        let mut known: HashMap<String, Vec<f32>> = HashMap::new();
        if let Some(bytes) = cache.and_then(|path| std::fs::read(path).ok()) {
            known = borsh::from_slice(&bytes)?;
            for (text, vector) in known.iter().take(32) {
                let again = model.embed(0, text)?.vector;
                if cosine(vector, &again) < 0.9999 {
                    return Err(
                        format!("the remembered vector of {text:?} is of another model; remove the file").into()
                    );
                }
            }
            eprintln!("{} vectors remembered", known.len());
        }
        Ok(Self(Arc::new(Inner { model, known: Mutex::new(known) })))
    }

    /// Writes what is remembered.
    pub(crate) fn save(&self, cache: &Path) -> Result<()> {
        let known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::fs::write(cache, borsh::to_vec(&*known)?)?)
    }
}

impl Embedder for Remembering {
    fn embed(&self, text: &str) -> std::result::Result<Vec<f32>, ModelError> {
        let known = || self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(vector) = known().get(text) {
            return Ok(vector.clone());
        }
        let failed = |reason: String| ModelError { model: "embedder", reason };
        let vector = self.0.model.embed(0, text).map_err(|e| failed(e.to_string()))?.vector;
        known().insert(text.to_owned(), vector.clone());
        Ok(vector)
    }
}

/// A language model as validators ask it; it remembers what it has found likely.
#[derive(Clone)]
pub(crate) struct Lm(Arc<Asked>);

struct Asked {
    model: Arc<dyn LanguageModel>,
    known: Mutex<HashMap<(String, String), Likelihood>>,
}

impl Lm {
    /// Loads a folder.
    pub(crate) fn load(folder: &Path) -> Result<Self> {
        let settings = ValidatorSettings { language_model: Some(folder.to_owned()), ..Default::default() };
        let model = judges::load(&settings, Path::new("."))?.language_model.ok_or("no language model was loaded")?;
        Ok(Self(Arc::new(Asked { model, known: Mutex::default() })))
    }
}

impl LanguageModel for Lm {
    fn likelihood(&self, prompt: &str, answer: &str) -> std::result::Result<Likelihood, ModelError> {
        let known = || self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (prompt.to_owned(), answer.to_owned());
        if let Some(likelihood) = known().get(&key) {
            return Ok(*likelihood);
        }
        let likelihood = self.0.model.likelihood(prompt, answer)?;
        known().insert(key, likelihood);
        Ok(likelihood)
    }
}

/// What the judge asks.
pub(crate) fn models(embedder: &Remembering, lm: Option<&Lm>) -> Models {
    Models {
        embedder: Some(Arc::new(embedder.clone())),
        language_model: lm.map(|lm| Arc::new(lm.clone()) as Arc<dyn LanguageModel>),
        reward_model: None,
    }
}
