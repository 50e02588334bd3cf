//! Keys follow from a model, and making them costs more than a verification: a bounded memory of them, by model.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use assay_primitives::ModelId;

type Slot<T, E> = Arc<OnceLock<Result<Arc<T>, E>>>;

/// What was made for the models used last; two threads that want the same make it once. A refusal is kept too, as it
/// would come again.
pub(crate) struct Kept<T, E> {
    capacity: usize,
    /// Least recently used first.
    entries: Mutex<Vec<(ModelId, Slot<T, E>)>>,
}

impl<T, E: Clone> Kept<T, E> {
    /// For at most this many models.
    pub(crate) const fn new(capacity: usize) -> Self {
        Self { capacity, entries: Mutex::new(Vec::new()) }
    }

    /// The slot of a model, moved to the end; the lock is not held while a key is made.
    fn slot(&self, id: ModelId) -> Slot<T, E> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = match entries.iter().position(|(known, _)| *known == id) {
            Some(at) => entries.remove(at),
            None => {
                if entries.len() == self.capacity {
                    entries.remove(0);
                }
                (id, Slot::default())
            }
        };
        let slot = Arc::clone(&entry.1);
        entries.push(entry);
        slot
    }

    /// From memory, or made now.
    ///
    /// # Errors
    /// What `make` says.
    pub(crate) fn get(&self, id: ModelId, make: impl FnOnce() -> Result<T, E>) -> Result<Arc<T>, E> {
        self.slot(id).get_or_init(|| make().map(Arc::new)).clone()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once_and_the_least_used_is_forgotten() {
        let kept = Kept::<u8, ()>::new(8);
        let get = |id: u8, value: u8| *kept.get(ModelId([id; 32]), || Ok(value)).unwrap();
        assert_eq!((get(0, 10), get(0, 11)), (10, 10));
        for id in 1..8 {
            get(id, id);
        }
        assert_eq!(get(0, 12), 10, "used again, so kept");
        get(100, 1);
        assert_eq!((get(0, 13), get(1, 14)), (10, 14), "model 1 was the least recently used");
        assert_eq!(kept.entries.lock().unwrap().len(), 8);
    }
}
