//! Writes that are not yet in the store: a block's over the state, and each transaction's over the block's.

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::{
    Event,
    state::{self, Changes, Entry, StateRead, StoreError},
};

/// A view of a state with writes on top. Dropping it forgets them.
pub(crate) struct Overlay<'a> {
    base: &'a dyn StateRead,
    changes: Changes,
    events: Vec<Event>,
}

impl<'a> Overlay<'a> {
    pub(crate) fn new(base: &'a dyn StateRead) -> Self {
        Self { base, changes: Changes::new(), events: Vec::new() }
    }

    pub(crate) fn read<T: BorshDeserialize>(&self, what: &'static str, key: &[u8]) -> Result<Option<T>, StoreError> {
        state::read(self, what, key)
    }

    pub(crate) fn write<T: BorshSerialize>(&mut self, key: Vec<u8>, value: &T) {
        self.changes.insert(key, Some(assay_primitives::encode(value)));
    }

    pub(crate) fn write_bytes(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.changes.insert(key, Some(value));
    }

    pub(crate) fn remove(&mut self, key: Vec<u8>) {
        self.changes.insert(key, None);
    }

    pub(crate) fn emit(&mut self, event: Event) {
        self.events.push(event);
    }

    /// The writes and events, to be merged into what lies below.
    pub(crate) fn into_parts(self) -> (Changes, Vec<Event>) {
        (self.changes, self.events)
    }

    pub(crate) fn merge(&mut self, (changes, events): (Changes, Vec<Event>)) {
        self.changes.extend(changes);
        self.events.extend(events);
    }

    /// The writes that change something, and the events. Writes that leave a value as it was are dropped, so that the
    /// tree sees no deletion of an absent key and two ways to the same state give the same changes.
    pub(crate) fn into_effects(self) -> Result<(Changes, Vec<Event>), StoreError> {
        let mut effective = Changes::new();
        for (key, value) in self.changes {
            if self.base.get(&key)? != value {
                effective.insert(key, value);
            }
        }
        Ok((effective, self.events))
    }
}

impl StateRead for Overlay<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.changes.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.base.get(key),
        }
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<Entry>, StoreError> {
        let mut entries: BTreeMap<_, _> = self.base.scan(prefix)?.into_iter().collect();
        for (key, value) in self.changes.range(prefix.to_vec()..).take_while(|(key, _)| key.starts_with(prefix)) {
            match value {
                Some(value) => entries.insert(key.clone(), value.clone()),
                None => entries.remove(key),
            };
        }
        Ok(entries.into_iter().collect())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::MemoryState;

    #[test]
    fn a_scan_sees_writes_and_deletions_of_every_layer_in_order() {
        let mut state = MemoryState::default();
        let entry = |key: &[u8]| (key.to_vec(), Some(vec![1]));
        state.apply(&[entry(b"a/1"), entry(b"a/3"), entry(b"b/1")].into());
        let mut block = Overlay::new(&state);
        block.write_bytes(b"a/2".to_vec(), vec![2]);
        let mut transaction = Overlay::new(&block);
        transaction.remove(b"a/1".to_vec());
        transaction.write_bytes(b"a/4".to_vec(), vec![4]);
        let keys: Vec<_> = transaction.scan(b"a/").unwrap().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, [b"a/2", b"a/3", b"a/4"]);
        let parts = transaction.into_parts();
        assert_eq!(block.scan(b"a/").unwrap().len(), 3);
        block.merge(parts);
        block.remove(b"never/there".to_vec());
        block.write_bytes(b"b/1".to_vec(), vec![1]);
        let (changes, _) = block.into_effects().unwrap();
        assert_eq!(changes.keys().collect::<Vec<_>>(), [&b"a/1".to_vec(), &b"a/2".to_vec(), &b"a/4".to_vec()]);
    }
}
