//! The disk in production: one RocksDB with a column family for each family of the store.

use std::{path::Path, sync::Arc};

use rocksdb::{
    ColumnFamily, ColumnFamilyDescriptor, DB, Direction, ErrorKind, IteratorMode, Options, WriteBatch, WriteOptions,
};

use super::{
    FAMILIES, OpenError,
    disk::{Batch, Change, Disk, DiskError, View},
};

impl From<rocksdb::Error> for DiskError {
    fn from(error: rocksdb::Error) -> Self {
        DiskError(error.to_string())
    }
}

/// An open database.
pub(super) struct Rocks(Arc<DB>);

fn family<'a>(db: &'a DB, name: &'static str) -> &'a ColumnFamily {
    db.cf_handle(name).expect("every family is created when the store is opened")
}

impl Rocks {
    /// Opens the database in `path`, with every family, or makes it.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let shown = path.display().to_string();
        let disk = |reason: String| OpenError::Disk { path: shown.clone(), reason };
        std::fs::create_dir_all(path).map_err(|e| disk(e.to_string()))?;
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        // A node lives beside others on small machines: little memory, few files, logs that do not grow.
        options.set_keep_log_file_num(2);
        options.set_max_open_files(256);
        options.set_db_write_buffer_size(32 << 20);
        options.set_max_total_wal_size(64 << 20);
        let families = FAMILIES.iter().map(|name| {
            let mut family = Options::default();
            family.set_compression_type(rocksdb::DBCompressionType::Lz4);
            ColumnFamilyDescriptor::new(*name, family)
        });
        let db = DB::open_cf_descriptors(&options, path, families).map_err(|e| {
            let reason = e.to_string();
            match e.kind() {
                ErrorKind::Corruption => OpenError::Damaged { path: shown.clone(), reason },
                // Held by another process, or by another part of this one.
                _ if reason.contains("/LOCK: ") || reason.contains("lock hold by") => {
                    OpenError::InUse { path: shown.clone() }
                }
                _ => disk(reason),
            }
        })?;
        Ok(Self(Arc::new(db)))
    }
}

type Entry = Result<(Box<[u8]>, Box<[u8]>), rocksdb::Error>;

/// Visits entries of an iterator, ascending, until enough were seen.
fn visit_all(
    entries: impl Iterator<Item = Entry>,
    visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
) -> Result<(), DiskError> {
    for entry in entries {
        let (key, value) = entry?;
        if !visit(&key, &value) {
            break;
        }
    }
    Ok(())
}

fn value_of(entry: Option<Entry>) -> Result<Option<Vec<u8>>, DiskError> {
    Ok(entry.transpose()?.map(|(_, value)| value.into_vec()))
}

impl View for Rocks {
    fn get(&self, name: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
        Ok(self.0.get_cf(family(&self.0, name), key)?)
    }

    fn ascend(
        &self,
        name: &'static str,
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), DiskError> {
        visit_all(self.0.iterator_cf(family(&self.0, name), IteratorMode::From(from, Direction::Forward)), visit)
    }

    fn last(&self, name: &'static str, most: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
        value_of(self.0.iterator_cf(family(&self.0, name), IteratorMode::From(most, Direction::Reverse)).next())
    }
}

impl Disk for Rocks {
    fn view(&self) -> Box<dyn View> {
        Box::new(Pinned::new(self.0.clone(), |db| db.snapshot()))
    }

    fn rest(&self) {
        self.0.cancel_all_background_work(true);
    }

    fn write(&self, batch: Batch, sync: bool) -> Result<(), DiskError> {
        let mut written = WriteBatch::default();
        for (name, change) in batch.into_changes() {
            let family = family(&self.0, name);
            match change {
                Change::Put { key, value } => written.put_cf(family, key, value),
                Change::Delete { key } => written.delete_cf(family, key),
                Change::DeleteRange { from, to } => written.delete_range_cf(family, from, to),
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        Ok(self.0.write_opt(written, &options)?)
    }
}

type RocksSnapshot<'a> = rocksdb::Snapshot<'a>;

self_cell::self_cell!(
    /// A snapshot beside the database that it is of.
    struct Pinned {
        owner: Arc<DB>,
        #[covariant]
        dependent: RocksSnapshot,
    }
);

impl View for Pinned {
    fn get(&self, name: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
        Ok(self.borrow_dependent().get_cf(family(self.borrow_owner(), name), key)?)
    }

    fn ascend(
        &self,
        name: &'static str,
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), DiskError> {
        let from = IteratorMode::From(from, Direction::Forward);
        visit_all(self.borrow_dependent().iterator_cf(family(self.borrow_owner(), name), from), visit)
    }

    fn last(&self, name: &'static str, most: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
        let from = IteratorMode::From(most, Direction::Reverse);
        value_of(self.borrow_dependent().iterator_cf(family(self.borrow_owner(), name), from).next())
    }
}
