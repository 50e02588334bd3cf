//! The node as its roles see it.

use std::sync::Arc;

use assay_ledger::{
    StoreError, query,
    tx::{Action, Transaction},
};
use assay_primitives::{Hash32, Keypair, Signed, encode};
use async_trait::async_trait;
use tokio::sync::watch;

use super::Shared;
use crate::{
    mempool,
    net::PublishError,
    roles::{ChainView, Snapshot, SubmitError},
};

#[async_trait]
impl ChainView for Shared {
    fn genesis(&self) -> Hash32 {
        self.genesis
    }

    fn snapshot(&self) -> Result<Snapshot, StoreError> {
        Ok(Arc::new(self.store.snapshot()))
    }

    fn heights(&self) -> watch::Receiver<u64> {
        self.heights.clone()
    }

    async fn submit(&self, action: Action, key: &Keypair) -> Result<Hash32, SubmitError> {
        let unavailable = |e: StoreError| SubmitError::Unavailable(e.to_string());
        let _turn = self.submitting.lock().await;
        let snapshot = self.store.snapshot();
        let signer = key.account();
        let nonce = self.mempool.next_nonce(|| self.store.snapshot(), &signer).map_err(unavailable)?;
        let fee = assay_ledger::least_fee(&query::params(&snapshot).map_err(unavailable)?, &action);
        let tx = Signed::new(Transaction { signer, nonce, fee, action }, &self.genesis, key);
        self.admit_and_spread(encode(&tx)).await.map_err(|e| SubmitError::Refused(e.to_string()))
    }
}

impl Shared {
    /// Takes an encoded transaction into the mempool and tells the others.
    pub(super) async fn admit_and_spread(&self, bytes: Vec<u8>) -> Result<Hash32, mempool::SubmitError> {
        let id = self.mempool.submit(|| self.store.snapshot(), &bytes)?;
        self.spread(bytes).await;
        Ok(id)
    }

    /// Gossips a transaction; one that finds no peer yet is tried again in a moment.
    pub(super) async fn spread(&self, bytes: Vec<u8>) {
        if let Err(PublishError::NoPeers) = self.net.publish_tx(bytes.clone()).await
            && self.unsent.try_send(bytes).is_err()
        {
            tracing::warn!(
                "no peer takes transactions, and too many wait for one; this one stays with this node alone"
            );
        }
    }
}
