//! Opening a store: what it belongs to is checked before anything is read or written.

use std::{path::Path, sync::Arc};

use assay_chain_spec::ChainSpec;
use assay_ledger::{genesis::GenesisError, tree};
use assay_primitives::{Hash32, decode, encode};
use rocksdb::{ColumnFamilyDescriptor, DB, ErrorKind, Options, WriteBatch};

use super::{FAMILIES, META, SCHEMA_VERSION, SETS, Store, StoreFault, TIP, TipRecord};

const SCHEMA: &[u8] = b"schema";
const GENESIS: &[u8] = b"genesis";

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("the store at {path} is in use by another process; stop that one first, or give this one another --home")]
    InUse {
        /// Where.
        path: String,
    },
    /// What lies there is no whole store.
    #[error(
        "the store at {path} is damaged: {reason}; move this one folder away and keep the rest of the home. Then let it catch up \
         with `assay node run` before a validator signs again"
    )]
    Damaged {
        /// Where.
        path: String,
        /// What RocksDB says.
        reason: String,
    },
    /// The disk refuses.
    #[error(
        "the store at {path} cannot be opened: {reason}; check that the disk is mounted writable, has free space and that you own the folder"
    )]
    Disk {
        /// Where.
        path: String,
        /// What RocksDB says.
        reason: String,
    },
    /// A store of another chain.
    #[error(
        "the store at {path} belongs to the chain with genesis {found}, this chain spec has genesis {expected}; use another --home"
    )]
    OtherChain {
        /// Where.
        path: String,
        /// The spec's genesis hash.
        expected: Hash32,
        /// The store's.
        found: Hash32,
    },
    /// A store written by another version of the program.
    #[error(
        "the store at {path} has schema version {found}, this program reads version {SCHEMA_VERSION}; use the program that wrote it"
    )]
    OtherSchema {
        /// Where.
        path: String,
        /// The store's version.
        found: u32,
    },
    /// The chain spec makes no genesis state.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// It opened, but cannot be used.
    #[error(transparent)]
    Fault(#[from] StoreFault),
}

impl Store {
    /// Opens the store in `path` for the chain of `spec`, writing the genesis state first if the folder is new.
    pub fn open(path: &Path, spec: &ChainSpec) -> Result<Self, OpenError> {
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
                _ if reason.contains("lock") => OpenError::InUse { path: shown.clone() },
                ErrorKind::Corruption => OpenError::Damaged { path: shown.clone(), reason },
                _ => disk(reason),
            }
        })?;
        let genesis = spec.genesis_hash();
        let store = Store { db: Arc::new(db), path: path.to_path_buf(), genesis };
        match store.read(META, SCHEMA)? {
            None => store.write_genesis(spec)?,
            Some(bytes) => store.check(&bytes, &shown)?,
        }
        Ok(store)
    }

    fn check(&self, schema: &[u8], path: &str) -> Result<(), OpenError> {
        let path = path.to_string();
        let found = decode("schema version", schema).map_err(|e| self.fault("decoding")(e.to_string()))?;
        if found != SCHEMA_VERSION {
            return Err(OpenError::OtherSchema { path, found });
        }
        let found: Hash32 = self.read_as(META, GENESIS)?.unwrap_or_default();
        if found != self.genesis {
            return Err(OpenError::OtherChain { path, expected: self.genesis, found });
        }
        Ok(())
    }

    /// One batch: a store is either untouched or holds the whole genesis.
    fn write_genesis(&self, spec: &ChainSpec) -> Result<(), OpenError> {
        let changes = assay_ledger::genesis::genesis(spec)?;
        let (state_root, tree) =
            tree::apply(&self.snapshot(), 0, &changes).map_err(|e| self.fault("writing genesis")(e.to_string()))?;
        let mut batch = WriteBatch::default();
        self.put_state(&mut batch, &changes, &tree);
        let set = spec.validator_set().map_err(|e| self.fault("writing genesis")(e.to_string()))?;
        batch.put_cf(self.family(SETS), 1u64.to_be_bytes(), encode(&set));
        let tip = TipRecord { height: 0, id: Hash32::ZERO, time_ms: spec.genesis_time_ms, state_root };
        batch.put_cf(self.family(META), TIP, encode(&tip));
        batch.put_cf(self.family(META), GENESIS, encode(&self.genesis));
        batch.put_cf(self.family(META), SCHEMA, encode(&SCHEMA_VERSION));
        Ok(self.write("writing genesis", batch)?)
    }
}
