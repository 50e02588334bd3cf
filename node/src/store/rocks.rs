//! The disk in production: one RocksDB with a column family for each family of the store.

use std::{
    fs, io,
    path::Path,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use rocksdb::{
    ColumnFamily, ColumnFamilyDescriptor, DB, DBRecoveryMode, Direction, ErrorKind, IteratorMode, Options, WriteBatch,
    WriteOptions,
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

/// How long a database may take to open, with a log of at most 64 MiB to read again.
const OPENING: Duration = Duration::from_secs(60);

/// In the folder of a database that was found damaged: what it was found by. The next try could take what is left for the whole,
/// without blocks that were acknowledged.
const DAMAGED: &str = "DAMAGED";

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
        let damaged = |reason: String| OpenError::Damaged { path: shown.clone(), reason };
        fs::create_dir_all(path).map_err(|e| disk(e.to_string()))?;
        let note = path.join(DAMAGED);
        match fs::read_to_string(&note) {
            Ok(reason) => return Err(damaged(reason)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(disk(format!("{}: {e}", note.display()))),
        }
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        // A node lives beside others on small machines: little memory, few files, logs that do not grow.
        options.set_keep_log_file_num(2);
        options.set_max_open_files(256);
        options.set_db_write_buffer_size(32 << 20);
        options.set_max_total_wal_size(64 << 20);
        // Only a record whose writing was broken off may be missing from the end of a log. By itself RocksDB takes the log up to the
        // first damage, wherever that is, and goes on without blocks that were acknowledged; nor does it miss a log that is gone.
        options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
        options.set_track_and_verify_wals_in_manifest(true);
        let families = FAMILIES.map(|name| {
            let mut family = Options::default();
            family.set_compression_type(rocksdb::DBCompressionType::Lz4);
            ColumnFamilyDescriptor::new(name, family)
        });
        // On a thread of its own: of some damage to its log RocksDB never comes back.
        let (opened, opening) = mpsc::channel();
        let path = path.to_owned();
        let open = move || {
            // Nobody waits for a database that took too long.
            let _ = opened.send(DB::open_cf_descriptors(&options, path, families));
        };
        thread::Builder::new().name("store".into()).spawn(open).map_err(|e| disk(e.to_string()))?;
        let db = match opening.recv_timeout(OPENING) {
            Ok(Ok(db)) => db,
            Ok(Err(e)) => {
                let reason = e.to_string();
                return Err(match e.kind() {
                    ErrorKind::Corruption => {
                        if let Err(e) = fs::write(&note, &reason) {
                            tracing::warn!("that the store is damaged stands in no file: {e}");
                        }
                        damaged(reason)
                    }
                    // Held by another process, or by another part of this one; a disk that takes no lock is another trouble.
                    _ if reason.contains("/LOCK: Resource temporarily unavailable")
                        || reason.contains("lock hold by") =>
                    {
                        OpenError::InUse { path: shown.clone() }
                    }
                    _ => disk(reason),
                });
            }
            // Its disk may stand still, so that nothing is noted.
            Err(_) => {
                return Err(disk(format!(
                    "it was not open after {} s. If the disk is well, the store is damaged: move this one folder away, and let it \
                     catch up with `assay node run` before a validator signs again. Otherwise",
                    OPENING.as_secs()
                )));
            }
        };
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// How often the database has brought its log to disk, as it counts itself. A test that kills a process cannot tell: the
    /// system keeps what was written.
    fn syncs(rocks: &Rocks) -> u64 {
        let told = rocks.0.property_value("rocksdb.dbstats").unwrap().unwrap();
        let line = told.lines().find(|line| line.starts_with("Cumulative WAL:")).unwrap();
        line.split(", ").find_map(|part| part.strip_suffix(" syncs")).unwrap().parse().unwrap()
    }

    #[test]
    fn a_batch_is_brought_to_disk_where_that_is_asked_for_and_only_there() {
        let dir = tempfile::tempdir().unwrap();
        let rocks = Rocks::open(dir.path()).unwrap();
        let before = syncs(&rocks);
        let write = |sync| {
            let mut batch = Batch::default();
            batch.put(FAMILIES[0], "key", "value");
            rocks.write(batch, sync).unwrap();
            syncs(&rocks) - before
        };
        assert_eq!([write(false), write(true), write(false), write(true)], [0, 1, 1, 2]);
    }

    #[test]
    fn a_database_that_was_found_damaged_stays_so() {
        let dir = tempfile::tempdir().unwrap();
        let rocks = Rocks::open(dir.path()).unwrap();
        for key in ["one", "two", "three"] {
            let mut batch = Batch::default();
            batch.put(FAMILIES[0], key, "value");
            rocks.write(batch, true).unwrap();
        }
        drop(rocks);
        let files = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let logs = files.filter(|path| path.extension().is_some_and(|end| end == "log"));
        let log = logs.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
        let mut bytes = fs::read(&log).unwrap();
        // In the first batch, behind its checksum, length and kind.
        bytes[20] ^= 1;
        fs::write(&log, bytes).unwrap();
        let reasons = [(); 3].map(|()| match Rocks::open(dir.path()) {
            Err(OpenError::Damaged { reason, .. }) => reason,
            other => panic!("{:?}", other.map(drop)),
        });
        assert!(!reasons[0].is_empty() && reasons.iter().all(|reason| *reason == reasons[0]), "{reasons:?}");
    }
}
