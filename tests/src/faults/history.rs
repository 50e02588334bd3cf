//! What a node says has happened: all its blocks, read one by one.

use std::collections::BTreeMap;

use assay::rpc::RpcClient;
use assay_primitives::Hash32;
use eyre::{bail, ensure};
use serde::Deserialize;
use serde_json::json;

use super::Acknowledged;

/// A chain as one node tells it.
#[derive(Debug, Default)]
pub struct History {
    /// Block ids and state roots, by height from 1 on.
    blocks: Vec<(Hash32, Hash32)>,
    /// The height of each transaction.
    transactions: BTreeMap<Hash32, u64>,
}

#[derive(Deserialize)]
struct Header {
    state_root: Hash32,
}

#[derive(Deserialize)]
struct Line {
    id: Hash32,
    signer: String,
    nonce: u64,
}

#[derive(Deserialize)]
struct Told {
    id: Hash32,
    header: Header,
    transactions: Vec<Line>,
}

impl History {
    /// Reads a node's blocks up to a height.
    ///
    /// # Errors
    /// If the node does not answer, or tells of a transaction twice or out of order.
    pub async fn read(node: &RpcClient, height: u64) -> eyre::Result<Self> {
        let (mut history, mut nonces) = (Self::default(), BTreeMap::<String, u64>::new());
        for height in 1..=height {
            let block: Told = node.call("assay_block", json!({ "height": height })).await?;
            history.blocks.push((block.id, block.header.state_root));
            for Line { id, signer, nonce } in block.transactions {
                let next = nonces.entry(signer.clone()).or_default();
                ensure!(*next == nonce, "block {height} has nonce {nonce} of {signer}, where {next} comes next");
                *next += 1;
                if let Some(before) = history.transactions.insert(id, height) {
                    bail!("transaction {id} is in block {before} and in block {height}");
                }
            }
        }
        Ok(history)
    }

    /// How many transactions there are.
    pub fn transactions(&self) -> usize {
        self.transactions.len()
    }

    /// Whether everything that clients were told is so.
    ///
    /// # Errors
    /// With the first that is not.
    pub fn holds(&self, told: &[Acknowledged]) -> eyre::Result<()> {
        for Acknowledged { id, height } in told {
            match self.transactions.get(id) {
                Some(found) if found == height => {}
                Some(found) => bail!("transaction {id} was acknowledged in block {height} and is in block {found}"),
                None => bail!("transaction {id} was acknowledged in block {height} and is in none"),
            }
        }
        Ok(())
    }

    /// Whether another node tells the same.
    ///
    /// # Errors
    /// With the first height at which they differ.
    pub fn agrees(&self, other: &Self) -> eyre::Result<()> {
        for (at, (own, others)) in self.blocks.iter().zip(&other.blocks).enumerate() {
            ensure!(own == others, "block {} and its state differ: {own:?} and {others:?}", at + 1);
        }
        ensure!(
            self.blocks.len() == other.blocks.len(),
            "one has {} blocks, the other {}",
            self.blocks.len(),
            other.blocks.len()
        );
        Ok(())
    }
}
