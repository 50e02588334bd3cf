//! Keys are derived, not shipped, and deriving them costs more than a verification: a bounded, process-wide
//! memory of them. Two threads that want the same key make it once.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use assay_primitives::ModelId;
use halo2_proofs::{pasta::EqAffine, poly::commitment::Params};

use super::{
    Halo2, ProofSystem,
    halo2::{Prover, SetupError, Verifier},
};
use crate::CompiledModel;

/// Models whose keys are kept, of each kind.
const CAPACITY: usize = 8;

type Slot<T> = Arc<OnceLock<Result<Arc<T>, SetupError>>>;

/// Least recently used first.
struct Keys<T>(Mutex<Vec<(ModelId, Slot<T>)>>);

impl<T> Keys<T> {
    const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// The slot of a model, moved to the end; the lock is not held while a key is made.
    fn slot(&self, id: ModelId) -> Slot<T> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = match entries.iter().position(|(known, _)| *known == id) {
            Some(at) => entries.remove(at),
            None => {
                if entries.len() == CAPACITY {
                    entries.remove(0);
                }
                (id, Slot::default())
            }
        };
        let slot = Arc::clone(&entry.1);
        entries.push(entry);
        slot
    }

    fn get(&self, id: ModelId, make: impl FnOnce() -> Result<T, SetupError>) -> Result<Arc<T>, SetupError> {
        self.slot(id).get_or_init(|| make().map(Arc::new)).clone()
    }
}

static VERIFIERS: Keys<Verifier> = Keys::new();
static PROVERS: Keys<Prover> = Keys::new();

/// The commitment parameters of 2^k rows; the same for every model, so at most one a `k` is kept.
pub(super) fn params(k: u32) -> Arc<Params<EqAffine>> {
    static PARAMS: Mutex<Vec<(u32, Arc<OnceLock<Arc<Params<EqAffine>>>>)>> = Mutex::new(Vec::new());
    let slot = {
        let mut known = PARAMS.lock().unwrap_or_else(PoisonError::into_inner);
        match known.iter().find(|(have, _)| *have == k) {
            Some((_, slot)) => Arc::clone(slot),
            None => {
                let slot = Arc::default();
                known.push((k, Arc::clone(&slot)));
                slot
            }
        }
    };
    Arc::clone(slot.get_or_init(|| Arc::new(Params::new(k))))
}

/// The verifier of a model, from memory or made now.
///
/// # Errors
/// [`SetupError`] where the proof library refuses; kept, as it would refuse again.
pub fn verifier_for(model: &CompiledModel) -> Result<Arc<Verifier>, SetupError> {
    VERIFIERS.get(model.id(), || Halo2.verifier(model))
}

/// The prover of a model, from memory or made now.
///
/// # Errors
/// [`SetupError`] where the proof library refuses; kept, as it would refuse again.
pub fn prover_for(model: &CompiledModel) -> Result<Arc<Prover>, SetupError> {
    PROVERS.get(model.id(), || Halo2.prover(model))
}
