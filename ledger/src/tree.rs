//! The authenticated state: a Jellyfish Merkle tree over SHA-256.
//!
//! The tree's version is the block height; genesis is version 0. A key enters the tree as its SHA-256 hash, a value as
//! its bytes. A proof is the borsh encoding of the tree's own sparse Merkle proof.

use std::collections::BTreeMap;

use assay_primitives::Hash32;
use jmt::{
    KeyHash, OwnedValue, RootHash, Sha256Jmt, Version,
    proof::SparseMerkleProof,
    storage::{LeafNode, Node, NodeKey, TreeReader, TreeUpdateBatch},
};
use sha2::Sha256;

use crate::{Changes, StoreError};

/// Largest proof that is read: 256 siblings and change.
const MAX_PROOF_BYTES: usize = 64 * 1024;

/// Why a fact does not follow from a state root.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FactError {
    /// Not the encoding of a proof.
    #[error("malformed state proof: {0}")]
    Malformed(String),
    /// The path leads to another root, or to another key or value.
    #[error("the state root {root} does not contain this: {reason}")]
    NotContained {
        /// The trusted root.
        root: Hash32,
        /// What the tree says.
        reason: String,
    },
}

/// Where a key lies in the tree.
pub fn key_hash(key: &[u8]) -> KeyHash {
    KeyHash::with::<Sha256>(key)
}

/// Puts a block's changes on top of version `version - 1`: the new root, and the nodes to store in the block's batch.
pub fn apply(
    reader: &impl TreeReader,
    version: u64,
    changes: &Changes,
) -> Result<(Hash32, TreeUpdateBatch), StoreError> {
    let values = changes.iter().map(|(key, value)| (key_hash(key), value.clone()));
    let (RootHash(root), batch) = Sha256Jmt::new(reader).put_value_set(values, version).map_err(StoreError::backend)?;
    Ok((Hash32(root), batch))
}

/// The value under `key` at a version, with the proof that the version's root contains it, or that it contains no such key.
pub fn prove(reader: &impl TreeReader, version: u64, key: &[u8]) -> Result<(Option<Vec<u8>>, Vec<u8>), StoreError> {
    let (value, proof) = Sha256Jmt::new(reader).get_with_proof(key_hash(key), version).map_err(StoreError::backend)?;
    Ok((value, assay_primitives::encode(&proof)))
}

fn read_proof(proof: &[u8]) -> Result<SparseMerkleProof<Sha256>, FactError> {
    if proof.len() > MAX_PROOF_BYTES {
        return Err(FactError::Malformed(format!("at most {MAX_PROOF_BYTES} bytes, found {}", proof.len())));
    }
    assay_primitives::decode("state proof", proof).map_err(|e| FactError::Malformed(e.reason))
}

/// Checks offline that the state with this root holds exactly `value` under `key`.
pub fn verify_fact(root: &Hash32, key: &[u8], value: &[u8], proof: &[u8]) -> Result<(), FactError> {
    let reason = |e: &dyn std::fmt::Display| FactError::NotContained { root: *root, reason: e.to_string() };
    read_proof(proof)?.verify_existence(RootHash(root.0), key_hash(key), value).map_err(|e| reason(&e))
}

/// Checks offline that the state with this root holds nothing under `key`.
pub fn verify_absence(root: &Hash32, key: &[u8], proof: &[u8]) -> Result<(), FactError> {
    let reason = |e: &dyn std::fmt::Display| FactError::NotContained { root: *root, reason: e.to_string() };
    read_proof(proof)?.verify_nonexistence(RootHash(root.0), key_hash(key)).map_err(|e| reason(&e))
}

/// A tree in memory, all versions kept; for tests and simulations.
#[derive(Clone, Debug, Default)]
pub struct MemoryTree {
    nodes: BTreeMap<NodeKey, Node>,
    values: BTreeMap<(KeyHash, Version), Option<OwnedValue>>,
}

impl MemoryTree {
    /// Stores the nodes of one [`apply`].
    pub fn write(&mut self, batch: TreeUpdateBatch) {
        self.nodes.extend(batch.node_batch.nodes().iter().map(|(key, node)| (key.clone(), node.clone())));
        let values = batch.node_batch.values().iter();
        self.values.extend(values.map(|((version, key), value)| ((*key, *version), value.clone())));
    }
}

impl TreeReader for MemoryTree {
    fn get_node_option(&self, key: &NodeKey) -> anyhow::Result<Option<Node>> {
        Ok(self.nodes.get(key).cloned())
    }

    fn get_value_option(&self, most: Version, key: KeyHash) -> anyhow::Result<Option<OwnedValue>> {
        Ok(self.values.range((key, 0)..=(key, most)).next_back().and_then(|(_, value)| value.clone()))
    }

    fn get_rightmost_leaf(&self) -> anyhow::Result<Option<(NodeKey, LeafNode)>> {
        let leaves = self.nodes.iter().filter_map(|(key, node)| match node {
            Node::Leaf(leaf) => Some((key.clone(), leaf.clone())),
            _ => None,
        });
        Ok(leaves.max_by_key(|(_, leaf)| leaf.key_hash()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_holds_for_its_root_key_and_value_only() {
        let mut tree = MemoryTree::default();
        let set = |key: &str, value: &str| (key.as_bytes().to_vec(), Some(value.as_bytes().to_vec()));
        let (first, batch) = apply(&tree, 0, &[set("a", "1"), set("b", "2"), set("c", "3")].into()).unwrap();
        tree.write(batch);
        let (second, batch) = apply(&tree, 1, &[set("a", "9"), (b"c".to_vec(), None)].into()).unwrap();
        tree.write(batch);

        let (value, proof) = prove(&tree, 1, b"a").unwrap();
        assert_eq!(value.as_deref(), Some(&b"9"[..]));
        verify_fact(&second, b"a", b"9", &proof).unwrap();
        assert!(matches!(verify_fact(&first, b"a", b"9", &proof), Err(FactError::NotContained { .. })));
        assert!(verify_fact(&second, b"a", b"1", &proof).is_err());
        assert!(verify_fact(&second, b"b", b"9", &proof).is_err());
        assert!(matches!(verify_fact(&second, b"a", b"9", &proof[1..]), Err(FactError::Malformed(_))));

        let (old, proof) = prove(&tree, 0, b"c").unwrap();
        verify_fact(&first, b"c", &old.unwrap(), &proof).unwrap();
        let (gone, proof) = prove(&tree, 1, b"c").unwrap();
        assert_eq!(gone, None);
        verify_absence(&second, b"c", &proof).unwrap();
        assert!(verify_absence(&first, b"c", &proof).is_err());
    }

    #[test]
    fn the_root_depends_on_content_and_not_on_the_way_there() {
        let set = |key: &str, value: &str| (key.as_bytes().to_vec(), Some(value.as_bytes().to_vec()));
        let (once, _) = apply(&MemoryTree::default(), 0, &[set("a", "1"), set("b", "2")].into()).unwrap();
        let mut tree = MemoryTree::default();
        let (_, batch) = apply(&tree, 0, &[set("a", "7"), set("x", "8")].into()).unwrap();
        tree.write(batch);
        let changes = [set("a", "1"), set("b", "2"), (b"x".to_vec(), None)].into();
        assert_eq!(apply(&tree, 1, &changes).unwrap().0, once);
    }
}
