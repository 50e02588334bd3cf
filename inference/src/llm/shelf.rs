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
struct Place(Mutex<Option<(Arc<Llm>, Instant)>>);

impl LlmShelf {
    /// An empty shelf; models that nobody asked for during `keep_alive` are let go by [`LlmShelf::sweep`].
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
        let mut held = locked(&place.0);
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
        *held = Some((Arc::clone(&llm), Instant::now()));
        Ok(llm)
    }

    /// The model at a path, if it is loaded.
    pub fn loaded(&self, path: &Path) -> Option<Arc<Llm>> {
        let path = path.canonicalize().ok()?;
        let place = Arc::clone(locked(&self.0.places).get(&path)?);
        // One that is being loaded is not loaded yet.
        let held = place.0.try_lock().ok()?;
        held.as_ref().map(|(llm, _)| Arc::clone(llm))
    }

    /// Lets go of models that nobody has asked for during the keep-alive, and that have nothing left to do.
    pub fn sweep(&self) {
        if let Some(keep) = self.0.keep_alive {
            self.let_go(|used| used.elapsed() > keep);
        }
    }

    fn let_go(&self, which: impl Fn(Instant) -> bool) {
        for place in locked(&self.0.places).values() {
            let Ok(mut held) = place.0.try_lock() else { continue };
            let idle = |llm: &Arc<Llm>| Arc::strong_count(llm) == 1 && llm.engine.is_idle();
            if held.as_ref().is_some_and(|(llm, used)| which(*used) && idle(llm)) {
                tracing::info!("a model that nobody uses is unloaded");
                *held = None;
            }
        }
    }
}
