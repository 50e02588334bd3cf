//! The node's durable memory: a family of entries for each kind, on a [`disk`] that is RocksDB in production.
//!
//! | family | key | value |
//! |---|---|---|
//! | `meta` | name | schema version, genesis hash, tip, earliest block |
//! | `state` | the ledger's raw key | the latest value |
//! | `nodes` | borsh of the tree's node key | node of the Jellyfish Merkle tree at the tip |
//! | `values` | hash of the state key | version and value, for the tree's own reads |
//! | `blocks` | height, big-endian | encoded block, from the earliest that is kept on |
//! | `headers` | height, big-endian | header; all that this node has seen, and those that lead to them from genesis |
//! | `certificates` | height, big-endian | the certificate of that header |
//! | `transactions` | transaction id | where it stands and how it went |
//! | `sets` | first height, big-endian | validator set from that height on |
//! | `undecided` | height, round, block id | proposals not decided yet |
//!
//! A block, its certificate, the state it leaves and the new tip go down in **one fsynced batch**
//! ([`Store::commit`]): after a crash either all of it is there or none. Readers use [`Store::snapshot`], a
//! consistent view that no commit disturbs.

pub mod disk;
mod install;
mod open;
mod prune;
mod rocks;
mod snapshot;

use std::sync::Arc;

use assay_consensus::bft::Undecided;
use assay_ledger::Changes;
use assay_primitives::{Certificate, Hash32, Header, SignedHeader, ValidatorSet, decode, encode};
use borsh::{BorshDeserialize, BorshSerialize};
use jmt::storage::{StaleNodeIndex, TreeUpdateBatch};

use self::disk::{Batch, Disk, DiskError};

pub use install::{InstallError, Installed};
pub use open::OpenError;
pub use snapshot::Snapshot;

/// Version of the table above. A store of another version is refused.
pub const SCHEMA_VERSION: u32 = 4;

const META: &str = "meta";
const STATE: &str = "state";
const NODES: &str = "nodes";
const VALUES: &str = "values";
const BLOCKS: &str = "blocks";
const HEADERS: &str = "headers";
const CERTIFICATES: &str = "certificates";
const TRANSACTIONS: &str = "transactions";
const SETS: &str = "sets";
const UNDECIDED: &str = "undecided";
const FAMILIES: [&str; 10] = [META, STATE, NODES, VALUES, BLOCKS, HEADERS, CERTIFICATES, TRANSACTIONS, SETS, UNDECIDED];

const TIP: &[u8] = b"tip";
const EARLIEST: &[u8] = b"earliest";

/// The store cannot be read or written: the disk is full, failing or read-only, or the data is damaged.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the store at {path} failed while {doing}: {reason}")]
pub struct StoreFault {
    path: String,
    doing: &'static str,
    reason: String,
}

/// The last committed block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TipRecord {
    /// Its height; 0 before the first block.
    pub height: u64,
    /// Its id; zero before the first block.
    pub id: Hash32,
    /// Its time, or genesis time.
    pub time_ms: u64,
    /// The state root after it.
    pub state_root: Hash32,
}

/// Where a transaction stands and how it went.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, serde::Serialize)]
pub struct TransactionRecord {
    /// The block.
    pub height: u64,
    /// The position in the block, from 0.
    pub index: u32,
    /// Why it failed; `None` if it did what it says.
    pub error: Option<String>,
    /// What was burned for it.
    pub fee: assay_primitives::Amount,
}

/// Everything that one decided block changes.
pub struct Commit<'a> {
    /// The new tip.
    pub tip: TipRecord,
    /// The encoded block.
    pub block: &'a [u8],
    /// Its header.
    pub header: &'a Header,
    /// Its certificate.
    pub certificate: &'a Certificate,
    /// The ledger's changes.
    pub changes: &'a Changes,
    /// The tree's changes.
    pub tree: &'a TreeUpdateBatch,
    /// The block's transactions.
    pub transactions: Vec<(Hash32, TransactionRecord)>,
    /// The set that votes from the next height on, if it differs from this height's.
    pub next_set: Option<&'a ValidatorSet>,
}

/// The open store.
pub struct Store {
    disk: Arc<dyn Disk>,
    /// What errors call it: the folder.
    name: String,
    genesis: Hash32,
}

impl Store {
    /// Ends the database's own work in the background and waits for it. After this the process may end while something still
    /// holds the store: a database that dumps its figures while the process takes its statics down crashes it.
    pub fn rest(&self) {
        self.disk.rest();
    }

    fn fault(&self, doing: &'static str) -> impl Fn(String) -> StoreFault {
        let path = self.name.clone();
        move |reason| StoreFault { path: path.clone(), doing, reason }
    }

    /// The fault of a state that the ledger cannot read.
    pub fn unreadable(&self, error: &assay_ledger::StoreError) -> StoreFault {
        self.fault("reading the state")(error.to_string())
    }

    fn read(&self, family: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreFault> {
        self.disk.get(family, key).map_err(|DiskError(reason)| self.fault("reading")(reason))
    }

    fn read_as<T: BorshDeserialize>(&self, family: &'static str, key: &[u8]) -> Result<Option<T>, StoreFault> {
        let bytes = self.read(family, key)?;
        bytes.map(|b| decode(family, &b).map_err(|e| self.fault("decoding")(e.to_string()))).transpose()
    }

    fn write(&self, doing: &'static str, batch: Batch) -> Result<(), StoreFault> {
        self.disk.write(batch, true).map_err(|DiskError(reason)| self.fault(doing)(reason))
    }

    /// The genesis hash the store belongs to.
    pub fn genesis(&self) -> Hash32 {
        self.genesis
    }

    /// A consistent view of everything as of now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.disk.view())
    }

    /// The last committed block.
    pub fn tip(&self) -> Result<TipRecord, StoreFault> {
        self.read_as(META, TIP)?.ok_or_else(|| self.fault("reading the tip")("it is missing".into()))
    }

    /// The lowest height whose block is here, or will be.
    pub fn earliest(&self) -> Result<u64, StoreFault> {
        Ok(self.read_as(META, EARLIEST)?.unwrap_or(1))
    }

    /// The certified header at `height`; `None` above the tip, and where this node was not there.
    pub fn signed_header(&self, height: u64) -> Result<Option<SignedHeader>, StoreFault> {
        let header = self.read_as(HEADERS, &height.to_be_bytes())?;
        Ok(header.zip(self.certificate(height)?).map(|(header, certificate)| SignedHeader { header, certificate }))
    }

    /// The encoded block at `height`; `None` below [`Self::earliest`].
    pub fn block(&self, height: u64) -> Result<Option<Vec<u8>>, StoreFault> {
        self.read(BLOCKS, &height.to_be_bytes())
    }

    /// The certificate at `height`.
    pub fn certificate(&self, height: u64) -> Result<Option<Certificate>, StoreFault> {
        self.read_as(CERTIFICATES, &height.to_be_bytes())
    }

    /// Where a transaction stands, if it stands in a block.
    pub fn transaction(&self, id: &Hash32) -> Result<Option<TransactionRecord>, StoreFault> {
        self.read_as(TRANSACTIONS, &id.0)
    }

    /// The set that votes at `height`.
    pub fn validators(&self, height: u64) -> Result<ValidatorSet, StoreFault> {
        let fault = self.fault("reading a validator set");
        let bytes = self.disk.last(SETS, &height.to_be_bytes()).map_err(|DiskError(reason)| fault(reason))?;
        let bytes = bytes.ok_or_else(|| fault(format!("none is known for height {height}")))?;
        decode("validator set", &bytes).map_err(|e| self.fault("decoding")(e.to_string()))
    }

    /// The validator sets that came into force after genesis, with their first heights, up to `height` inclusive.
    pub fn set_changes(&self, height: u64) -> Result<Vec<(u64, ValidatorSet)>, StoreFault> {
        let mut found = Vec::new();
        let mut keep = |key: &[u8], bytes: &[u8]| {
            let first = key.try_into().map(u64::from_be_bytes);
            let wanted = first.is_ok_and(|first| first <= height);
            found.extend((first.is_err() || wanted).then(|| (first, bytes.to_vec())));
            wanted
        };
        let read = self.disk.ascend(SETS, &2u64.to_be_bytes(), &mut keep);
        read.map_err(|DiskError(reason)| self.fault("reading a validator set")(reason))?;
        let set = |(first, bytes): (Result<u64, _>, Vec<u8>)| {
            let first = first.map_err(|_| self.fault("decoding")("a validator set's key is damaged".into()))?;
            let set = decode("validator set", &bytes).map_err(|e| self.fault("decoding")(e.to_string()))?;
            Ok((first, set))
        };
        found.into_iter().map(set).collect()
    }

    /// Writes one decided block and all it changes, and returns once it is on disk.
    pub fn commit(&self, commit: &Commit<'_>) -> Result<(), StoreFault> {
        let mut batch = Batch::default();
        let height = commit.tip.height.to_be_bytes();
        self.put_state(&mut batch, commit.changes, commit.tree);
        batch.put(BLOCKS, height, commit.block);
        batch.put(HEADERS, height, encode(commit.header));
        batch.put(CERTIFICATES, height, encode(commit.certificate));
        for (id, record) in &commit.transactions {
            batch.put(TRANSACTIONS, id.0, encode(record));
        }
        if let Some(set) = commit.next_set {
            batch.put(SETS, (commit.tip.height + 1).to_be_bytes(), encode(set));
        }
        batch.delete_range(UNDECIDED, 0u64.to_be_bytes(), (commit.tip.height + 1).to_be_bytes());
        batch.put(META, TIP, encode(&commit.tip));
        self.write("committing a block", batch)
    }

    /// The ledger's entries, the tree's nodes and values; nodes that the tip's tree no longer uses are dropped.
    fn put_state(&self, batch: &mut Batch, changes: &Changes, tree: &TreeUpdateBatch) {
        for (key, value) in changes {
            match value {
                Some(value) => batch.put(STATE, key.as_slice(), value.as_slice()),
                None => batch.delete(STATE, key.as_slice()),
            }
        }
        for (key, node) in tree.node_batch.nodes() {
            batch.put(NODES, encode(key), encode(node));
        }
        for ((version, key), value) in tree.node_batch.values() {
            batch.put(VALUES, key.0, encode(&(version, value)));
        }
        for StaleNodeIndex { node_key, .. } in &tree.stale_node_index_batch {
            batch.delete(NODES, encode(node_key));
        }
    }

    /// Keeps an undecided proposal, durably.
    pub fn save_undecided(&self, proposal: &Undecided) -> Result<(), StoreFault> {
        let mut batch = Batch::default();
        let key = undecided_key(proposal.height, proposal.round, &proposal.block);
        batch.put(UNDECIDED, key, encode(proposal));
        self.write("keeping a proposal", batch)
    }

    /// The undecided proposals of a height and round.
    pub fn undecided(&self, height: u64, round: u32) -> Result<Vec<Undecided>, StoreFault> {
        let prefix = &undecided_key(height, round, &Hash32::ZERO)[..12];
        self.undecided_with_prefix(prefix)
    }

    /// The undecided proposals of a height, in any round.
    pub fn undecided_at(&self, height: u64) -> Result<Vec<Undecided>, StoreFault> {
        self.undecided_with_prefix(&height.to_be_bytes())
    }

    fn undecided_with_prefix(&self, prefix: &[u8]) -> Result<Vec<Undecided>, StoreFault> {
        let mut found = Vec::new();
        let mut keep = |key: &[u8], bytes: &[u8]| {
            let belongs = key.starts_with(prefix);
            found.extend(belongs.then(|| decode("undecided proposal", bytes)));
            belongs
        };
        let read = self.disk.ascend(UNDECIDED, prefix, &mut keep);
        read.map_err(|DiskError(reason)| self.fault("reading a proposal")(reason))?;
        found.into_iter().map(|proposal| proposal.map_err(|e| self.fault("decoding")(e.to_string()))).collect()
    }
}

fn undecided_key(height: u64, round: u32, block: &Hash32) -> Vec<u8> {
    [&height.to_be_bytes()[..], &round.to_be_bytes(), &block.0].concat()
}
