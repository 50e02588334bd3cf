//! Several language models, each loaded when it is first asked for and let go when nobody has asked for it for a while.
//!
//! A model is loaded once in a process, however many shelves and nodes use it: they share its engine, and with it its
//! batches and its cache.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use super::{Llm, LoadError, LoadOptions};
use crate::memory::available_memory;

/// All models that are loaded in this process, by where they lie.
static LOADED: Mutex<BTreeMap<PathBuf, Weak<Llm>>> = Mutex::new(BTreeMap::new());

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A shelf. Clones share it.
#[derive(Clone, Debug)]
pub struct LlmShelf(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: LoadOptions,
    keep_alive: Option<Duration>,
    places: Mutex<BTreeMap<PathBuf, Arc<Place>>>,
}

/// One model's place. Two models are loaded beside each other, one model once.
#[derive(Debug, Default)]
struct Place {
    /// The model, and when it was last asked for.
    held: Mutex<Option<(Arc<Llm>, Instant)>>,
    /// Its adapters' names and folders: it has them whenever it is loaded.
    adapters: Mutex<BTreeMap<String, PathBuf>>,
}

impl LlmShelf {
    /// An empty shelf; models that nobody asked for during `keep_alive` are let go by [`LlmShelf::sweep`], where there is one.
    pub fn new(options: LoadOptions, keep_alive: Option<Duration>) -> Self {
        Self(Arc::new(Inner { options, keep_alive, places: Mutex::default() }))
    }

    /// The model at a path, loading it if need be: this may take long. Where memory is short, models that nobody uses are let
    /// go first.
    ///
    /// # Errors
    /// [`LoadError`], [`LoadError::Memory`] among them.
    pub fn get(&self, path: &Path) -> Result<Arc<Llm>, LoadError> {
        let path = path.canonicalize().map_err(|source| LoadError::Io { path: path.to_owned(), source })?;
        let place = Arc::clone(locked(&self.0.places).entry(path.clone()).or_default());
        let mut held = locked(&place.held);
        if let Some((llm, used)) = &mut *held {
            *used = Instant::now();
            return Ok(Arc::clone(llm));
        }
        let shared = locked(&LOADED).get(&path).and_then(Weak::upgrade);
        let llm = match shared {
            Some(llm) => llm,
            None => {
                let needed = Llm::memory(&path, &self.0.options)?;
                if available_memory().is_some_and(|free| free < needed) {
                    self.let_go(|_| true);
                }
                let llm = Arc::new(Llm::load(&path, &self.0.options)?);
                locked(&LOADED).insert(path, Arc::downgrade(&llm));
                llm
            }
        };
        for (name, folder) in &*locked(&place.adapters) {
            llm.add_adapter(name, folder)?;
        }
        *held = Some((Arc::clone(&llm), Instant::now()));
        Ok(llm)
    }

    /// Gives the model at a path an adapter out of `folder`, under a name, whenever it is loaded; loads it if need be. The
    /// fingerprint is that of the model with it.
    ///
    /// # Errors
    /// [`LoadError`] if model or adapter do not load, or do not fit together.
    pub fn adapt(&self, path: &Path, name: &str, folder: &Path) -> Result<String, LoadError> {
        let fingerprint = self.get(path)?.add_adapter(name, folder)?;
        if let Some(place) = self.place(path) {
            locked(&place.adapters).insert(name.to_owned(), folder.to_owned());
        }
        Ok(fingerprint)
    }

    /// The model at a path, if it is loaded; this does not count as asking for it.
    pub fn peek(&self, path: &Path) -> Option<Arc<Llm>> {
        let place = self.place(path)?;
        // One that is being loaded is not loaded yet.
        let held = place.held.try_lock().ok()?;
        held.as_ref().map(|(llm, _)| Arc::clone(llm))
    }

    /// As [`LlmShelf::get`] of a model that is loaded: at once, and `None` of another.
    pub fn get_loaded(&self, path: &Path) -> Option<Arc<Llm>> {
        let place = self.place(path)?;
        let mut held = place.held.try_lock().ok()?;
        held.as_mut().map(|(llm, used)| {
            *used = Instant::now();
            Arc::clone(llm)
        })
    }

    fn place(&self, path: &Path) -> Option<Arc<Place>> {
        let path = path.canonicalize().ok()?;
        locked(&self.0.places).get(&path).map(Arc::clone)
    }

    /// All that are loaded.
    pub fn all_loaded(&self) -> Vec<Arc<Llm>> {
        let held = |place: &Arc<Place>| Some(Arc::clone(&place.held.try_lock().ok()?.as_ref()?.0));
        locked(&self.0.places).values().filter_map(held).collect()
    }

    /// Lets go of models that nobody has asked for during the keep-alive, and that have nothing left to do.
    pub fn sweep(&self) {
        if let Some(keep) = self.0.keep_alive {
            self.let_go(|used| used.elapsed() > keep);
        }
    }

    fn let_go(&self, which: impl Fn(Instant) -> bool) {
        for place in locked(&self.0.places).values() {
            let Ok(mut held) = place.held.try_lock() else { continue };
            let idle = |llm: &Arc<Llm>| Arc::strong_count(llm) == 1 && llm.engine.is_idle();
            if held.as_ref().is_some_and(|(llm, used)| which(*used) && idle(llm)) {
                tracing::info!("a model that nobody uses is unloaded");
                *held = None;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use candle_core::{DType, Device, Tensor};
    use serde_json::json;

    use super::{super::*, *};

    fn genesis_model() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../assets/gloss")
    }

    /// An adapter that changes nothing.
    fn adapter() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let name = |part| format!("base_model.model.model.layers.0.self_attn.q_proj.lora_{part}.weight");
        let zeros = |shape: (usize, usize)| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        let tensors: std::collections::HashMap<String, Tensor> =
            [(name("A"), zeros((2, 160))), (name("B"), zeros((160, 2)))].into_iter().collect();
        candle_core::safetensors::save(&tensors, folder.path().join("adapter_model.safetensors")).unwrap();
        let config = json!({ "r": 2, "lora_alpha": 2 }).to_string();
        std::fs::write(folder.path().join("adapter_config.json"), config).unwrap();
        folder
    }

    fn tokens(llm: &Llm, adapter: Option<&str>) -> Vec<Event> {
        let adapter = adapter.map(str::to_owned);
        let request = GenerateRequest { prompt: vec![5, 6], max_tokens: 2, adapter, ..GenerateRequest::default() };
        let mut answer = llm.engine.generate(request).unwrap();
        std::iter::from_fn(|| answer.wait()).filter(|event| !matches!(event, Event::Done { .. })).collect()
    }

    #[test]
    fn a_model_is_let_go_when_nobody_asks_for_it_and_comes_back_with_its_adapters() {
        let (path, adapter) = (genesis_model(), adapter());
        let shelf = LlmShelf::new(LoadOptions::default(), Some(Duration::from_millis(40)));
        let with = shelf.adapt(&path, "same", adapter.path()).unwrap();
        let llm = shelf.get(&path).unwrap();
        assert_ne!(with, llm.fingerprint());
        let before = tokens(&llm, Some("same"));
        assert_eq!(before, tokens(&llm, None));
        let past = || std::thread::sleep(Duration::from_millis(60));
        past();
        shelf.sweep();
        assert!(shelf.peek(&path).is_some(), "somebody holds it");
        drop(llm);
        assert!(shelf.get_loaded(&path).is_some());
        shelf.sweep();
        assert!(shelf.peek(&path).is_some(), "it was asked for just now");
        past();
        shelf.sweep();
        assert!(shelf.peek(&path).is_none() && shelf.get_loaded(&path).is_none() && shelf.all_loaded().is_empty());
        assert_eq!(tokens(&shelf.get(&path).unwrap(), Some("same")), before);
        // Gone from the disk by then, it is missed aloud.
        past();
        shelf.sweep();
        drop(adapter);
        assert!(shelf.get(&path).unwrap_err().to_string().contains("adapter_config.json"));
    }

    #[test]
    fn without_a_keep_alive_nothing_is_let_go() {
        let shelf = LlmShelf::new(LoadOptions::default(), None);
        drop(shelf.get(&genesis_model()).unwrap());
        shelf.sweep();
        assert_eq!(shelf.all_loaded().len(), 1);
    }
}
