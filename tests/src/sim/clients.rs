//! Accounts that send transactions through whatever node is up: transfers and stake, nonces that race, stale copies.

use assay_ledger::tx::Action;
use assay_primitives::{AccountId, Amount, Keypair};
use bytes::Bytes;
use rand::{Rng as _, SeedableRng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;

use super::node::Sender;

/// Transactions that are remembered, to be sent again.
const MEMORY: usize = 32;

/// The clients of a network.
pub(super) struct Clients {
    random: ChaCha8Rng,
    keys: Vec<Keypair>,
    validators: Vec<AccountId>,
    sent: Vec<Bytes>,
}

impl Clients {
    /// Clients with these keys, and the validators that they delegate to.
    pub(super) fn new(seed: u64, keys: Vec<Keypair>, validators: Vec<AccountId>) -> Self {
        Self { random: ChaCha8Rng::seed_from_u64(seed), keys, validators, sent: Vec::new() }
    }

    /// Somebody does something, through nodes that are up.
    pub(super) fn act(&mut self, up: &[Sender]) -> eyre::Result<()> {
        let Some(node) = up.choose(&mut self.random) else { return Ok(()) };
        let Some(key) = self.keys.choose(&mut self.random).cloned() else { return Ok(()) };
        match self.random.gen_range(0..10) {
            // What may stand in a block already comes again.
            0 => {
                if let Some(old) = self.sent.choose(&mut self.random) {
                    node.submit(old.clone());
                }
            }
            // Two transactions with one nonce, at two nodes.
            1 => {
                let other = up.choose(&mut self.random).unwrap_or(node);
                let (first, second) = (self.action(), self.action());
                let (first, second) = (node.sign(first, &key)?, node.sign(second, &key)?);
                self.submit(node, first);
                self.submit(other, second);
            }
            _ => {
                let action = self.action();
                let bytes = node.sign(action, &key)?;
                self.submit(node, bytes);
            }
        }
        Ok(())
    }

    fn action(&mut self) -> Action {
        let amount = Amount::asy(self.random.gen_range(1..50));
        let validator = *self.validators.choose(&mut self.random).expect("a network has validators");
        match self.random.gen_range(0..10) {
            0 => Action::Stake { validator, amount },
            // Often more than there is: it fails, and costs its fee.
            1 => Action::Unstake { validator, amount },
            2 => {
                let to = *self.validators.choose(&mut self.random).expect("a network has validators");
                Action::Redelegate { from: validator, to, amount }
            }
            _ => {
                let to = self.keys.choose(&mut self.random).expect("there are clients").account();
                Action::Transfer { to, amount }
            }
        }
    }

    fn submit(&mut self, node: &Sender, bytes: Bytes) {
        node.submit(bytes.clone());
        if self.sent.len() < MEMORY {
            self.sent.push(bytes);
        } else {
            let at = self.random.gen_range(0..MEMORY);
            self.sent[at] = bytes;
        }
    }
}
