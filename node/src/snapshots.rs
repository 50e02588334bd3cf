//! Snapshots: the state at one height, so that a new node reaches the tip without executing the chain.
//!
//! ```text
//! a node that runs:  every so many blocks  state ──> manifest + chunks ──> data/snapshots/HEIGHT/, the newest two
//! a node that joins: manifest ──> header chain from genesis ──> chunks, each by its hash ──> state root ──> store
//! ```
//!
//! Nothing that a peer says is believed. The manifest's header is certified by the validator set to which the changes since
//! genesis lead; each chunk has the hash that the manifest names; and the state has the root that the header names, which
//! covers every byte of it. A peer whose manifest, chunk or state is not what it must be is banned, and another one is asked.

mod join;
mod make;
mod serve;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use assay_ledger::Changes;
use assay_primitives::{
    Certificate, DecodeError, Hash32, SignedHeader, ValidatorSet, decode,
    light::{self, SetChange, TrustError},
};
use borsh::{BorshDeserialize, BorshSerialize};

use crate::{chain::Block, store::Installed};

pub use join::{JoinError, Source, join};
pub use make::{Makes, keep};
pub use serve::serve;

/// Largest encoded manifest, in bytes.
pub const MAX_MANIFEST_BYTES: usize = 32 << 20;
/// Largest encoded chunk, in bytes.
pub const MAX_CHUNK_BYTES: usize = 16 << 20;
/// Entries are put into a chunk until it has so many bytes.
const CHUNK_BYTES: usize = 1 << 20;
/// Largest state that is put into a snapshot, in bytes: it is installed in one batch.
const MAX_STATE_BYTES: u64 = 1 << 30;

/// What a snapshot is of, and its chunks.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Manifest {
    /// The block whose state it is, encoded.
    block: Vec<u8>,
    /// Its certificate.
    certificate: Certificate,
    /// Every change of the validator set before that block.
    changes: Vec<SetChange>,
    /// The set that votes after it, if it is another.
    next: Option<ValidatorSet>,
    /// The chunks' hashes.
    chunks: Vec<Hash32>,
    /// Bytes of all chunks.
    bytes: u64,
}

/// Some entries of the state, ascending.
type Chunk = Vec<(Vec<u8>, Vec<u8>)>;

/// Why a snapshot is not what it must be; whoever gave it lies, or its disk is damaged.
#[derive(Debug, thiserror::Error)]
pub enum BadSnapshot {
    /// Not the encoding of one.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// Its header does not follow from genesis.
    #[error("its header is not one of this chain: {0}")]
    Untrusted(#[from] TrustError),
    /// The block is not the certified one.
    #[error("its block {0} is not the one that its certificate is for")]
    OtherBlock(u64),
    /// The next validator set is not the one that the header names.
    #[error("the validator set after block {0} is not the one that its header names")]
    OtherSet(u64),
    /// It has more bytes than are taken, or than its manifest says.
    #[error("its state has {0} bytes, at most {1} are taken")]
    TooLarge(u64, u64),
    /// A chunk is not the one that the manifest names.
    #[error("chunk {index} has the hash {found}, its manifest names {expected}")]
    OtherChunk {
        /// Which, from 0.
        index: usize,
        /// The manifest's.
        expected: Hash32,
        /// Computed.
        found: Hash32,
    },
    /// Entries are not strictly ascending, within a chunk or from one to the next.
    #[error("chunk {0} does not go on where the one before ends")]
    Order(usize),
    /// The whole is not the state that the header names.
    #[error("{0}")]
    OtherState(String),
}

/// A manifest that follows from genesis, and the state as far as it has come.
pub struct Trusted {
    manifest: Manifest,
    header: SignedHeader,
    state: Changes,
    /// Chunks that were taken, and their bytes.
    taken: usize,
    bytes: u64,
}

impl Manifest {
    /// Checks everything in an encoded manifest but the state itself.
    ///
    /// # Errors
    /// [`BadSnapshot`].
    pub fn verify(bytes: &[u8], genesis: &Hash32, first: &ValidatorSet) -> Result<Trusted, BadSnapshot> {
        let manifest: Manifest = decode("manifest", bytes)?;
        let block = Block::decode(&manifest.block)?;
        let height = block.header.height;
        if !block.binds_its_body(genesis) || block.header.id(genesis) != manifest.certificate.block {
            return Err(BadSnapshot::OtherBlock(height));
        }
        if manifest.bytes > MAX_STATE_BYTES || manifest.chunks.len() as u64 > manifest.bytes {
            return Err(BadSnapshot::TooLarge(manifest.bytes, MAX_STATE_BYTES));
        }
        let header = SignedHeader { header: block.header, certificate: manifest.certificate.clone() };
        let set = light::verify_path(genesis, first, &manifest.changes, &header)?;
        let next = manifest.next.as_ref().unwrap_or(&set);
        if next.check().is_err() || next.hash(genesis) != header.header.next_validators_hash {
            return Err(BadSnapshot::OtherSet(height));
        }
        Ok(Trusted { manifest, header, state: Changes::new(), taken: 0, bytes: 0 })
    }
}

impl Trusted {
    /// The block whose state it is.
    pub fn height(&self) -> u64 {
        self.header.header.height
    }

    /// Bytes of the whole state.
    pub fn bytes(&self) -> u64 {
        self.manifest.bytes
    }

    /// The chunk that is to be taken next; `None` once all have been.
    pub fn wants(&self) -> Option<u32> {
        let next = u32::try_from(self.taken).ok();
        next.filter(|_| self.taken < self.manifest.chunks.len())
    }

    /// Takes the chunk that it wants.
    ///
    /// # Errors
    /// [`BadSnapshot`] if it is not the one that the manifest names, or its entries do not go on after those before.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), BadSnapshot> {
        let index = self.taken;
        let (expected, found) = (self.manifest.chunks.get(index).copied().unwrap_or_default(), Hash32::digest(bytes));
        if found != expected {
            return Err(BadSnapshot::OtherChunk { index, expected, found });
        }
        self.bytes += bytes.len() as u64;
        if self.bytes > self.manifest.bytes {
            return Err(BadSnapshot::TooLarge(self.bytes, self.manifest.bytes));
        }
        for (key, value) in decode::<Chunk>("chunk", bytes)? {
            if self.state.last_key_value().is_some_and(|(last, _)| *last >= key) {
                return Err(BadSnapshot::Order(index));
            }
            self.state.insert(key, Some(value));
        }
        self.taken += 1;
        Ok(())
    }

    /// What a store is to begin with, when all chunks have been taken.
    pub fn into_installed(self) -> Installed {
        let Manifest { block, changes, next, .. } = self.manifest;
        Installed { header: self.header, block, changes, next, state: self.state }
    }
}
