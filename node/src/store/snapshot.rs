//! A consistent, read-only view of the store.

use assay_ledger::{StateRead, StoreError};
use assay_primitives::{decode, encode};
use jmt::{
    KeyHash, OwnedValue, Version,
    storage::{LeafNode, Node, NodeKey, TreeReader},
};

use super::{META, NODES, STATE, TIP, TipRecord, VALUES, disk::View};

/// The store as it was when the snapshot was taken: state, tree and tip belong together.
pub struct Snapshot(Box<dyn View>);

impl Snapshot {
    pub(super) fn new(view: Box<dyn View>) -> Self {
        Self(view)
    }

    fn read(&self, family: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.get(family, key).map_err(StoreError::backend)
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
        let mut found = Vec::new();
        let mut keep = |key: &[u8], value: &[u8]| {
            let belongs = key.starts_with(prefix);
            if belongs {
                found.push((key.to_vec(), value.to_vec()));
            }
            belongs
        };
        self.0.ascend(STATE, prefix, &mut keep).map_err(StoreError::backend)?;
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
