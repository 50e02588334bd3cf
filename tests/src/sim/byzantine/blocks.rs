//! Blocks that nobody may vote for.

use assay::chain::Block;
use assay_primitives::{Hash32, Signature, encode};
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use super::Vice;

/// More than the chain allows, and more than the engine takes in.
const TOO_LARGE: [usize; 2] = [3 << 20, 9 << 20];

/// The vice.
pub(super) struct Blocks {
    pub(super) random: ChaCha8Rng,
    pub(super) genesis: Hash32,
}

impl Blocks {
    /// Makes a header fit other transactions.
    fn refit(&self, mut block: Block) -> Vec<u8> {
        block.header.tx_root = Block::tx_root(&self.genesis, &block.transactions);
        block.header.evidence_root = Block::evidence_root(&self.genesis, &block.transactions);
        block.encode()
    }
}

impl Vice for Blocks {
    fn name(&self) -> &'static str {
        "bad blocks"
    }

    fn propose(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        let Ok(mut block) = Block::decode(&bytes) else { return bytes };
        match (self.random.gen_range(0..7), block.transactions.first().cloned()) {
            (0, _) => bytes,
            // The same twice.
            (1, Some(tx)) => {
                block.transactions.push(tx);
                self.refit(block)
            }
            // One that its signer did not sign.
            (2, Some(mut tx)) => {
                tx.signature = Signature([self.random.r#gen(); 64]);
                block.transactions[0] = tx;
                self.refit(block)
            }
            // One that comes too early.
            (3, Some(mut tx)) => {
                tx.body.nonce += 1;
                block.transactions[0] = tx;
                self.refit(block)
            }
            // Transactions that the header does not commit to.
            (4, Some(_)) => {
                block.transactions.clear();
                block.encode()
            }
            (5, Some(tx)) if self.random.gen_bool(0.3) => {
                let wanted = TOO_LARGE[self.random.gen_range(0..TOO_LARGE.len())];
                block.transactions = vec![tx.clone(); wanted / encode(&tx).len()];
                self.refit(block)
            }
            _ => {
                block.header.state_root = Hash32(self.random.r#gen());
                block.encode()
            }
        }
    }
}
