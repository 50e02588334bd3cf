//! The state as the rules see it: bytes under ordered keys, read through [`StateRead`], written as [`Changes`].

use std::collections::BTreeMap;

use borsh::BorshDeserialize;

/// A key and the value under it.
pub type Entry = (Vec<u8>, Vec<u8>);

/// A store that can be read at one moment: the state after some block.
pub trait StateRead {
    /// The value under `key`, if there is one.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;
    /// All entries whose keys start with `prefix`, by ascending key.
    fn scan(&self, prefix: &[u8]) -> Result<Vec<Entry>, StoreError>;
}

/// What a block writes: the new value of each key, `None` where it is deleted. Only keys whose value differs are named.
pub type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// The store failed or holds what it cannot hold. It is this node's fault, never a transaction's or a proposer's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The database refused.
    #[error("the state cannot be read: {0}")]
    Backend(String),
    /// An entry does not decode.
    #[error(
        "the state holds a malformed {what} under key {key}: {reason}; the store is damaged, restore it or sync again"
    )]
    Corrupt {
        /// What was expected there.
        what: &'static str,
        /// The key, in hexadecimal.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// An entry that every state has is absent.
    #[error("the state holds no {what}: it was never written from a genesis, or is damaged")]
    Missing {
        /// What was expected.
        what: &'static str,
    },
    /// The state is at another height than the block's parent.
    #[error("the state is at height {state}; a block of height {block} cannot follow it")]
    Height {
        /// Height of the state.
        state: u64,
        /// Height of the block.
        block: u64,
    },
    /// Money that the books say exists is not there.
    #[error("the books do not add up: {0}")]
    Books(&'static str),
}

impl StoreError {
    /// From whatever a database reports.
    pub fn backend(error: impl ToString) -> Self {
        Self::Backend(error.to_string())
    }
}

/// Decodes an entry; what does not decode is a damaged store.
pub(crate) fn decode<T: BorshDeserialize>(what: &'static str, key: &[u8], bytes: &[u8]) -> Result<T, StoreError> {
    assay_primitives::decode(what, bytes).map_err(|e| {
        let key = key.iter().map(|b| format!("{b:02x}")).collect();
        StoreError::Corrupt { what, key, reason: e.reason }
    })
}

/// Reads and decodes an entry.
pub(crate) fn read<T: BorshDeserialize>(
    view: &dyn StateRead,
    what: &'static str,
    key: &[u8],
) -> Result<Option<T>, StoreError> {
    view.get(key)?.map(|bytes| decode(what, key, &bytes)).transpose()
}

/// A state in memory, for tests and simulations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryState(BTreeMap<Vec<u8>, Vec<u8>>);

impl MemoryState {
    /// Writes a block's changes.
    pub fn apply(&mut self, changes: &Changes) {
        for (key, value) in changes {
            match value {
                Some(value) => self.0.insert(key.clone(), value.clone()),
                None => self.0.remove(key),
            };
        }
    }

    /// All entries, by ascending key.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(key, value)| (key.as_slice(), value.as_slice()))
    }
}

impl StateRead for MemoryState {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<Entry>, StoreError> {
        let from = self.0.range(prefix.to_vec()..);
        Ok(from.take_while(|(key, _)| key.starts_with(prefix)).map(|(k, v)| (k.clone(), v.clone())).collect())
    }
}
