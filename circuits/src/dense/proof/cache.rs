//! Keys are derived, not shipped, and deriving them costs more than a verification: a bounded, process-wide
//! memory of them. Two threads that want the same key make it once.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use assay_primitives::ModelId;
use halo2_proofs::{pasta::EqAffine, poly::commitment::Params};

use super::{
    Halo2, ProofSystem,
    halo2::{MIN_K, Prover, SetupError, Verifier},
};
use crate::dense::CompiledModel;

/// Models whose keys are kept, of each kind.
const CAPACITY: usize = 8;

type Slot<T> = Arc<OnceLock<Result<Arc<T>, SetupError>>>;

type ParamsSlot = Arc<OnceLock<Arc<Params<EqAffine>>>>;

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

/// The commitment parameters of 2^9 rows, as [`Params::write`] writes them. They are public and anyone can derive
/// them (a test does); reading them takes a tenth of the time, which a command that verifies one proof feels.
const SMALLEST: &[u8] = include_bytes!("../../proof/halo2/params-k9.bin");

fn make_params(k: u32) -> Params<EqAffine> {
    if k == MIN_K {
        return Params::read(&mut &SMALLEST[..])
            .expect("embedded whole and compared with a fresh derivation by a test");
    }
    Params::new(k)
}

/// The commitment parameters of 2^k rows; the same for every model, so at most one a `k` is kept.
pub(super) fn params(k: u32) -> Arc<Params<EqAffine>> {
    static PARAMS: Mutex<Vec<(u32, ParamsSlot)>> = Mutex::new(Vec::new());
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
    Arc::clone(slot.get_or_init(|| Arc::new(make_params(k))))
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_parameters_are_those_that_the_library_derives() {
        let mut derived = Vec::new();
        Params::<EqAffine>::new(MIN_K).write(&mut derived).unwrap();
        if derived != SMALLEST {
            let path = std::env::temp_dir().join("params-k9.bin");
            std::fs::write(&path, &derived).unwrap();
            panic!("put {} in the place of src/proof/halo2/params-k9.bin", path.display());
        }
    }

    #[test]
    fn keys_are_made_once_and_the_least_used_is_forgotten() {
        let keys = Keys::<u8>::new();
        let get = |id: u8, value: u8| *keys.get(ModelId([id; 32]), || Ok(value)).unwrap();
        assert_eq!((get(0, 10), get(0, 11)), (10, 10));
        for id in 1..CAPACITY as u8 {
            get(id, id);
        }
        assert_eq!(get(0, 12), 10, "used again, so kept");
        get(100, 1);
        assert_eq!((get(0, 13), get(1, 14)), (10, 14), "model 1 was the least recently used");
        assert_eq!(keys.0.lock().unwrap().len(), CAPACITY);
    }
}
