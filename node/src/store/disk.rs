//! What a store lies on: families of ordered entries, changed in batches.
//!
//! The database behind it in production is RocksDB; the simulator puts one there that loses what was not synced.
//!
//! What every disk keeps:
//!
//! - A batch is there whole, or not at all.
//! - A batch that was written with `sync` is there after any crash, and so are all that were written before it.
//! - A batch without it may be lost in a crash, and then all that came after it are lost too.
//! - A [`View`] that was taken shows what was there when it was taken, whatever is written since.

/// Trouble of the disk, in its own words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DiskError(pub String);

/// One change of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A key has this value.
    Put {
        /// The key.
        key: Vec<u8>,
        /// Its value.
        value: Vec<u8>,
    },
    /// A key has no value.
    Delete {
        /// The key.
        key: Vec<u8>,
    },
    /// No key of a range has a value.
    DeleteRange {
        /// The first key.
        from: Vec<u8>,
        /// The first key beyond.
        to: Vec<u8>,
    },
}

/// Changes that go down together, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch(Vec<(&'static str, Change)>);

impl Batch {
    /// Gives a key a value.
    pub fn put(&mut self, family: &'static str, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.0.push((family, Change::Put { key: key.into(), value: value.into() }));
    }

    /// Takes a key's value.
    pub fn delete(&mut self, family: &'static str, key: impl Into<Vec<u8>>) {
        self.0.push((family, Change::Delete { key: key.into() }));
    }

    /// Takes the values of the keys from `from` on and below `to`.
    pub fn delete_range(&mut self, family: &'static str, from: impl Into<Vec<u8>>, to: impl Into<Vec<u8>>) {
        self.0.push((family, Change::DeleteRange { from: from.into(), to: to.into() }));
    }

    /// The changes with their families, in order.
    pub fn into_changes(self) -> impl Iterator<Item = (&'static str, Change)> {
        self.0.into_iter()
    }
}

/// Entries as they were at one moment; of a [`Disk`] itself, as they are now.
pub trait View: Send + Sync {
    /// The value of a key, if it has one.
    ///
    /// # Errors
    /// If the disk fails or its data is damaged.
    fn get(&self, family: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, DiskError>;

    /// Visits the entries from the key `from` on, ascending, until `visit` says that it has seen enough.
    ///
    /// # Errors
    /// If the disk fails or its data is damaged.
    fn ascend(
        &self,
        family: &'static str,
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), DiskError>;

    /// The value of the last key up to `most`, which may be that key itself.
    ///
    /// # Errors
    /// If the disk fails or its data is damaged.
    fn last(&self, family: &'static str, most: &[u8]) -> Result<Option<Vec<u8>>, DiskError>;
}

/// A disk with the families of a store.
pub trait Disk: View {
    /// A view of what is there now.
    fn view(&self) -> Box<dyn View>;

    /// Writes a batch; with `sync`, returns once it will survive a crash.
    ///
    /// # Errors
    /// If it may not have been written: it is there whole or not at all.
    fn write(&self, batch: Batch, sync: bool) -> Result<(), DiskError>;

    /// Ends what the disk does in the background, and waits for it.
    fn rest(&self) {}
}
