//! A consistent, read-only view of the store.

use std::sync::Arc;

use assay_ledger::{StateRead, StoreError};
use assay_primitives::{decode, encode};
use jmt::{
    KeyHash, OwnedValue, Version,
    storage::{LeafNode, Node, NodeKey, TreeReader},
};
use rocksdb::{DB, Direction, IteratorMode};

use super::{META, NODES, STATE, TIP, TipRecord, VALUES};

type RocksSnapshot<'a> = rocksdb::Snapshot<'a>;

self_cell::self_cell!(
    struct Pinned {
        owner: Arc<DB>,
        #[covariant]
        dependent: RocksSnapshot,
    }
);

/// The store as it was when the snapshot was taken: state, tree and tip belong together.
pub struct Snapshot(Pinned);

impl Snapshot {
    pub(super) fn take(db: Arc<DB>) -> Self {
        Self(Pinned::new(db, |db| db.snapshot()))
    }

    fn read(&self, family: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let family = self.0.borrow_owner().cf_handle(family).expect("every family is created when the store is opened");
        self.0.borrow_dependent().get_cf(family, key).map_err(|e| StoreError::backend(e.to_string()))
    }

    /// The last block committed before the snapshot.
    pub fn tip(&self) -> Result<TipRecord, StoreError> {
        let bytes = self.read(META, TIP)?.ok_or_else(|| StoreError::backend("the store has no tip"))?;
        decode("tip", &bytes).map_err(|e| StoreError::backend(e.to_string()))
    }
}

impl StateRead for Snapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(STATE, key)
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
        let family = self.0.borrow_owner().cf_handle(STATE).expect("every family is created when the store is opened");
        let from = IteratorMode::From(prefix, Direction::Forward);
        let mut found = Vec::new();
        for entry in self.0.borrow_dependent().iterator_cf(family, from) {
            let (key, value) = entry.map_err(|e| StoreError::backend(e.to_string()))?;
            if !key.starts_with(prefix) {
                break;
            }
            found.push((key.into_vec(), value.into_vec()));
        }
        Ok(found)
    }
}

impl TreeReader for Snapshot {
    fn get_node_option(&self, key: &NodeKey) -> anyhow::Result<Option<Node>> {
        let bytes = self.read(NODES, &encode(key))?;
        Ok(bytes.map(|b| decode("tree node", &b)).transpose()?)
    }

    fn get_value_option(&self, max_version: Version, key: KeyHash) -> anyhow::Result<Option<OwnedValue>> {
        let Some(bytes) = self.read(VALUES, &key.0)? else { return Ok(None) };
        let (version, value): (Version, Option<OwnedValue>) = decode("tree value", &bytes)?;
        anyhow::ensure!(
            version <= max_version,
            "only the latest value of each key is kept; version {max_version} is older"
        );
        Ok(value)
    }

    fn get_rightmost_leaf(&self) -> anyhow::Result<Option<(NodeKey, LeafNode)>> {
        anyhow::bail!("the tree is never restored from leaves in order")
    }
}
