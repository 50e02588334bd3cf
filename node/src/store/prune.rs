//! Forgetting old blocks. Headers and certificates stay, so that trust can still be followed from genesis.

use assay_primitives::decode;

use super::{BLOCKS, EARLIEST, META, Store, StoreFault, TRANSACTIONS, disk::Batch};
use crate::chain::Block;

/// Most blocks that one batch forgets.
const AT_ONCE: u64 = 64;

impl Store {
    /// Forgets blocks, and where their transactions stand, so that `keep` are left below the tip and with it; at most a few at a
    /// time. Returns how many.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn prune(&self, keep: u64) -> Result<u64, StoreFault> {
        let (earliest, tip) = (self.earliest()?, self.tip()?.height);
        let until = tip.saturating_sub(keep.max(1) - 1).min(earliest.saturating_add(AT_ONCE));
        if until <= earliest {
            return Ok(0);
        }
        let mut batch = Batch::default();
        for height in earliest..until {
            let Some(bytes) = self.block(height)? else { continue };
            let block: Block =
                decode("block", &bytes).map_err(|e| self.fault("forgetting old blocks")(e.to_string()))?;
            for transaction in block.transactions {
                batch.delete(TRANSACTIONS, transaction.id(&self.genesis).0);
            }
        }
        batch.delete_range(BLOCKS, earliest.to_be_bytes(), until.to_be_bytes());
        batch.put(META, EARLIEST, assay_primitives::encode(&until));
        self.write("forgetting old blocks", batch)?;
        Ok(until - earliest)
    }
}
