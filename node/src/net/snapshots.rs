//! What is said of snapshots, with limits: see [`crate::snapshots`].

use borsh::{BorshDeserialize, BorshSerialize};

use super::wire;
use crate::snapshots::MAX_MANIFEST_BYTES;

/// Largest encoded ask, in bytes.
const MAX_ASK_BYTES: usize = 64;
/// Largest encoded reply, in bytes: a manifest, which may be larger than a chunk, and what stands around it.
const MAX_REPLY_BYTES: usize = MAX_MANIFEST_BYTES + 64;

/// What a node that joins asks.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum SnapshotAsk {
    /// The newest snapshot's manifest.
    Newest,
    /// One of its chunks.
    Chunk {
        /// The snapshot's height.
        height: u64,
        /// Which, from 0.
        index: u32,
    },
}

/// What it is told.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum SnapshotReply {
    /// The manifest or chunk, encoded.
    Here(Vec<u8>),
    /// There is none.
    None,
    /// It is asked too often: ask again in a moment.
    Later,
}

/// The codec of `/assay/<genesis>/snapshot/1`.
pub(super) type Codec = wire::Codec<SnapshotAsk, SnapshotReply, MAX_ASK_BYTES, MAX_REPLY_BYTES>;
