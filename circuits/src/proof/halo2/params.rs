//! The commitment parameters of 2^k rows: public, the same for every model, derived once in a process.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use halo2_proofs::{pasta::EqAffine, poly::commitment::Params};

use super::{MAX_K, MIN_K};

type Slot = Arc<OnceLock<Arc<Params<EqAffine>>>>;

/// Those of the smallest circuits, as [`Params::write`] writes them. Anyone can derive them (a test does); reading them
/// takes a tenth of the time, which a command that verifies one proof feels.
const SMALLEST: &[u8] = include_bytes!("params-k9.bin");

fn make(k: u32) -> Params<EqAffine> {
    if k == MIN_K {
        return Params::read(&mut &SMALLEST[..])
            .expect("embedded whole and compared with a fresh derivation by a test");
    }
    Params::new(k)
}

/// From memory, or derived now. Two threads that want the same derive it once.
pub(crate) fn params(k: u32) -> Arc<Params<EqAffine>> {
    static KNOWN: Mutex<[Option<Slot>; MAX_K as usize + 1]> = Mutex::new([const { None }; MAX_K as usize + 1]);
    let slot = {
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known[k as usize].get_or_insert_default())
    };
    Arc::clone(slot.get_or_init(|| Arc::new(make(k))))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_parameters_are_those_that_the_library_derives() {
        let mut derived = Vec::new();
        Params::<EqAffine>::new(MIN_K).write(&mut derived).unwrap();
        assert_eq!(derived, SMALLEST);
    }
}
