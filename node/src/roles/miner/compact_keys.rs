//! The prover's keys of `groth16`, one a model.
//!
//! A development network's keys are made here from the seed that everybody knows; those of a ceremony are read from the
//! miner's folder. Either must be the pair of the key that the chain has registered.

use std::{
    collections::BTreeMap,
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use assay_circuits::{
    answer::compact::{self, Provenance, Prover},
    model::Model,
};
use assay_primitives::ModelId;

/// Keys that were made or read before, and the folder for those to come.
#[derive(Debug)]
pub(super) struct CompactKeys {
    dir: PathBuf,
    read: Mutex<BTreeMap<ModelId, Arc<Prover>>>,
}

impl CompactKeys {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir, read: Mutex::default() }
    }

    /// The prover's key for a model whose registered verifier's key is given.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub(super) fn of(&self, model: &Model, registered: &[u8]) -> Result<Arc<Prover>, String> {
        let found = match compact::provenance(&model.outline(), registered).map_err(|e| e.to_string())? {
            Provenance::Dev => compact::dev_keys(model).map_err(|e| e.to_string())?,
            Provenance::Ceremony { .. } => self.read_ceremony(model, registered)?,
        };
        if found.verifier_key() != registered {
            return Err("the registered key was made by a single party, from numbers that nobody else has".into());
        }
        Ok(found)
    }

    fn read_ceremony(&self, model: &Model, registered: &[u8]) -> Result<Arc<Prover>, String> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = read.get(&model.id()) {
            return Ok(Arc::clone(known));
        }
        let path = self.dir.join(format!("{}.key", model.id()));
        let bytes = fs::read(&path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => {
                format!("put the prover's key that the model's ceremony gave at {}", path.display())
            }
            _ => format!("cannot read {}: {e}", path.display()),
        })?;
        let prover = Prover::from_bytes(model, &bytes, registered).map_err(|e| format!("{}: {e}", path.display()))?;
        let prover = Arc::new(prover);
        read.insert(model.id(), Arc::clone(&prover));
        Ok(prover)
    }
}
