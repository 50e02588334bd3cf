//! A store that begins with somebody else's state.

use assay_ledger::{Changes, StoreError, tree};
use assay_primitives::{Hash32, SignedHeader, ValidatorSet, encode, light::SetChange};
use jmt::{
    KeyHash, OwnedValue, Version,
    storage::{LeafNode, Node, NodeKey, TreeReader},
};

use super::{
    BLOCKS, CERTIFICATES, EARLIEST, HEADERS, META, NODES, SETS, STATE, Store, StoreFault, TIP, TipRecord, VALUES,
    disk::Batch,
};

/// Greater than any key.
const BEYOND: [u8; 256] = [0xff; 256];

/// What a store begins with. All of it was verified from genesis before: see `assay_primitives::light`.
pub struct Installed {
    /// The header of its tip.
    pub header: SignedHeader,
    /// That block, encoded.
    pub block: Vec<u8>,
    /// Each change of the validator set before, with the header that names it.
    pub changes: Vec<SetChange>,
    /// The set that votes after the tip, if it is another than before.
    pub next: Option<ValidatorSet>,
    /// The state after the tip.
    pub state: Changes,
}

/// Why a state was not installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// It is not the one that its header names.
    #[error("the state has the root {found}, and the header of block {height} names {expected}")]
    OtherRoot {
        /// The block.
        height: u64,
        /// The header's.
        expected: Hash32,
        /// Computed.
        found: Hash32,
    },
    /// There are blocks already.
    #[error("the store is at block {0} already; a state is taken over by an empty one only")]
    NotEmpty(u64),
    /// The tree cannot be made.
    #[error(transparent)]
    Tree(#[from] StoreError),
    /// The disk.
    #[error(transparent)]
    Fault(#[from] StoreFault),
}

/// A tree without a leaf.
struct Nothing;

impl TreeReader for Nothing {
    fn get_node_option(&self, _: &NodeKey) -> anyhow::Result<Option<Node>> {
        Ok(None)
    }

    fn get_value_option(&self, _: Version, _: KeyHash) -> anyhow::Result<Option<OwnedValue>> {
        Ok(None)
    }

    fn get_rightmost_leaf(&self) -> anyhow::Result<Option<(NodeKey, LeafNode)>> {
        Ok(None)
    }
}

impl Store {
    /// Takes over a state in one batch: the store is as it was, or has all of it.
    ///
    /// # Errors
    /// [`InstallError`]; nothing has changed then.
    pub fn install(&self, installed: &Installed) -> Result<(), InstallError> {
        let Installed { header: SignedHeader { header, certificate }, block, changes, next, state } = installed;
        let here = self.tip()?.height;
        if here != 0 {
            return Err(InstallError::NotEmpty(here));
        }
        let height = header.height;
        let (found, tree) = tree::apply(&Nothing, height, state)?;
        if found != header.state_root {
            return Err(InstallError::OtherRoot { height, expected: header.state_root, found });
        }
        let mut batch = Batch::default();
        for family in [STATE, NODES, VALUES] {
            batch.delete_range(family, Vec::new(), BEYOND);
        }
        self.put_state(&mut batch, state, &tree);
        let signed = changes.iter().map(|change| &change.signed).chain([&installed.header]);
        for SignedHeader { header, certificate } in signed {
            batch.put(HEADERS, header.height.to_be_bytes(), encode(header));
            batch.put(CERTIFICATES, header.height.to_be_bytes(), encode(certificate));
        }
        let sets = changes.iter().map(|change| (change.signed.header.height, &change.next));
        for (last, set) in sets.chain(next.iter().map(|set| (height, set))) {
            batch.put(SETS, (last + 1).to_be_bytes(), encode(set));
        }
        batch.put(BLOCKS, height.to_be_bytes(), block.as_slice());
        batch.put(META, EARLIEST, encode(&height));
        let tip = TipRecord { height, id: certificate.block, time_ms: header.time_ms, state_root: found };
        batch.put(META, TIP, encode(&tip));
        Ok(self.write("taking over a state", batch)?)
    }
}
