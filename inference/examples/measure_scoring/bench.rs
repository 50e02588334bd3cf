//! The node's models behind the scorer's traits.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use assay_inference::{
    encoders,
    llm::{Llm, LoadOptions, ReplayRequest, Sampling},
    train::{ASSISTANT, END, USER},
};
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

/// The genesis language model, or another with its template.
#[derive(Clone)]
pub(crate) struct Lm(Arc<Llm>);

impl Lm {
    /// Loads a folder.
    pub(crate) fn load(folder: &Path) -> Result<Self> {
        Ok(Self(Arc::new(Llm::load(folder, &LoadOptions::default())?)))
    }

    fn sum(&self, before: &str, answer: &str) -> std::result::Result<(f64, usize), String> {
        let mut tokens = self.0.codec.encode_as_is(before)?;
        let at = tokens.len();
        tokens.extend(self.0.codec.encode_as_is(&format!("{answer}{END}"))?);
        let request =
            ReplayRequest { tokens, answer: at, sampling: Sampling::default(), constraint: None, adapter: None };
        let replayed = futures::executor::block_on(self.0.engine.replay(request)).map_err(|e| e.to_string())?;
        Ok((replayed.tokens.iter().map(|r| f64::from(r.logprob)).sum(), replayed.tokens.len()))
    }
}

impl LanguageModel for Lm {
    fn likelihood(&self, prompt: &str, answer: &str) -> std::result::Result<Likelihood, ModelError> {
        let failed = |reason| ModelError { model: "language model", reason };
        let after = self.sum(&format!("{END}{USER}{prompt}{END}{ASSISTANT}"), answer).map_err(failed)?;
        let alone = self.sum(&format!("{END}{ASSISTANT}"), answer).map_err(failed)?;
        Ok(Likelihood { after_prompt: after.0, alone: alone.0, tokens: after.1.max(1) })
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
