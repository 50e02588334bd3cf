//! Opening a store: what it belongs to is checked before anything is read or written.

use std::{path::Path, sync::Arc};

use assay_chain_spec::ChainSpec;
use assay_ledger::{genesis::GenesisError, tree};
use assay_primitives::{Hash32, decode, encode};

use super::{
    META, SCHEMA_VERSION, SETS, Store, StoreFault, TIP, TipRecord,
    disk::{Batch, Disk},
    rocks::Rocks,
};

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
        Self::on(Arc::new(Rocks::open(path)?), path.display().to_string(), spec)
    }

    /// As [`Self::open`], on a disk with every family; `name` is what errors call it.
    pub fn on(disk: Arc<dyn Disk>, name: String, spec: &ChainSpec) -> Result<Self, OpenError> {
        let genesis = spec.genesis_hash();
        let store = Store { disk, name, genesis };
        match store.read(META, SCHEMA)? {
            None => store.write_genesis(spec)?,
            Some(bytes) => store.check(&bytes)?,
        }
        Ok(store)
    }

    fn check(&self, schema: &[u8]) -> Result<(), OpenError> {
        let path = self.name.clone();
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
        let mut batch = Batch::default();
        self.put_state(&mut batch, &changes, &tree);
        let set = spec.validator_set().map_err(|e| self.fault("writing genesis")(e.to_string()))?;
        batch.put(SETS, 1u64.to_be_bytes(), encode(&set));
        let tip = TipRecord { height: 0, id: Hash32::ZERO, time_ms: spec.genesis_time_ms, state_root };
        batch.put(META, TIP, encode(&tip));
        batch.put(META, GENESIS, encode(&self.genesis));
        batch.put(META, SCHEMA, encode(&SCHEMA_VERSION));
        Ok(self.write("writing genesis", batch)?)
    }
}
