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
        self.admit_and_spread(encode(&tx)).map_err(|e| SubmitError::Refused(e.to_string()))
    }
}

impl Shared {
    /// Takes an encoded transaction into the mempool and tells the others.
    pub(super) fn admit_and_spread(&self, bytes: Vec<u8>) -> Result<Hash32, mempool::SubmitError> {
        let id = self.mempool.submit(|| self.store.snapshot(), &bytes)?;
        self.spread(bytes);
        Ok(id)
    }

    /// Has a transaction gossiped.
    pub(super) fn spread(&self, bytes: Vec<u8>) {
        if self.outbox.try_send(bytes).is_err() {
            self.gossip.count_unsent(1, "too many wait to be gossiped");
        }
    }
}
