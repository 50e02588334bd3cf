//! The node as its RPC and HTTP servers see it.

use std::{sync::Arc, time::Duration};

use assay_consensus::bft;
use assay_ledger::query;
use assay_primitives::{AccountId, Hash32, ModelId, encode};
use async_trait::async_trait;

use super::{Shared, health};
use crate::{
    chain::{APP_VERSION, Block, knows_rules},
    mempool::SubmitError,
    roles::{InferError, ReceiptSystem},
    rpc::{Answer, BackendError, BlockBody, Identity, Proven, RpcBackend, Snapshot, TxStatus, Vitals},
    texts::write_metrics,
};

#[async_trait]
impl RpcBackend for Shared {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn vitals(&self) -> Vitals {
        let engine = self.engine.borrow().clone();
        let snapshot = self.store.snapshot();
        let interval = query::params(&snapshot).map_or(Duration::ZERO, |p| Duration::from_millis(p.block_interval_ms));
        let (tip, health) = match snapshot.tip() {
            Ok(tip) => {
                let rules = query::app_version(&snapshot).map_err(|e| e.to_string());
                let known = rules.and_then(|version| knows_rules(&version, tip.height, APP_VERSION));
                (Some(tip), known.and_then(|()| health::judge(&engine, interval)))
            }
            Err(e) => (None, Err(format!("the store cannot be read: {e}"))),
        };
        Vitals {
            height: tip.map_or(0, |t| t.height),
            state_root: tip.map(|t| t.state_root).unwrap_or_default(),
            block_time_ms: tip.filter(|t| t.height > 0).map_or(0, |t| t.time_ms),
            peers: u32::try_from(engine.peers).unwrap_or(u32::MAX),
            data_peers: self.net.peers(),
            mempool: u32::try_from(self.mempool.len()).unwrap_or(u32::MAX),
            healthy: health.is_ok(),
            reason: health.err().unwrap_or_default(),
        }
    }

    fn snapshot(&self) -> Result<Snapshot, BackendError> {
        Ok(Arc::new(self.store.snapshot()))
    }

    async fn submit(&self, tx: Vec<u8>) -> Result<Hash32, BackendError> {
        self.admit_and_spread(tx).await.map_err(|e| match e {
            SubmitError::Refused(refusal) if refusal.is_store() => BackendError::Internal(refusal.to_string()),
            SubmitError::Full(..) | SubmitError::LaneFull(_) => BackendError::Unavailable(e.to_string()),
            other => BackendError::Refused(other.to_string()),
        })
    }

    fn next_nonce(&self, account: &AccountId) -> Result<u64, BackendError> {
        let nonce = self.mempool.next_nonce(|| self.store.snapshot(), account);
        nonce.map_err(|e| BackendError::Internal(e.to_string()))
    }

    fn transaction(&self, id: &Hash32) -> Result<Option<TxStatus>, BackendError> {
        let record = self.store.transaction(id)?;
        Ok(record.map(|r| TxStatus { id: *id, height: r.height, index: r.index, error: r.error }))
    }

    fn block(&self, height: u64) -> Result<Option<BlockBody>, BackendError> {
        let Some(bytes) = self.store.block(height)? else {
            let earliest = self.store.earliest()?;
            let kept = || {
                BackendError::NotFound(format!(
                    "this node keeps blocks from {earliest} on, not block {height}; ask another one"
                ))
            };
            return if (1..earliest).contains(&height) { Err(kept()) } else { Ok(None) };
        };
        let signed = self.header_at(height)?;
        let block = Block::decode(&bytes).map_err(|e| BackendError::Internal(e.to_string()))?;
        let error_of = |id| Ok(self.store.transaction(&id)?.and_then(|r| r.error));
        let results =
            block.transactions.iter().map(|tx| error_of(tx.id(&self.genesis))).collect::<Result<_, BackendError>>()?;
        Ok(Some(BlockBody { signed, transactions: block.transactions.iter().map(encode).collect(), results }))
    }

    fn prove(&self, key: &[u8]) -> Result<Option<Proven>, BackendError> {
        self.prove_key(key)
    }

    async fn infer(&self, model: &str, input: Vec<f32>, system: Option<ReceiptSystem>) -> Result<Answer, BackendError> {
        let gateway = self.gateway.get().ok_or_else(|| {
            BackendError::Unavailable("this node holds no owner key to ask miners with; ask a gateway".into())
        })?;
        let inference = gateway.infer(model, &input, system).await.map_err(|e| match &e {
            InferError::UnknownModel { .. } => BackendError::NotFound(e.to_string()),
            e if e.is_callers_fault() => BackendError::Refused(e.to_string()),
            e => BackendError::Unavailable(e.to_string()),
        })?;
        let class = inference.class;
        let receipt = self.receipt(inference.request, inference.response, inference.proof, inference.outline)?;
        Ok(Answer { class, receipt })
    }

    fn metrics(&self, out: &mut String) {
        bft::encode_metrics(out);
        let (snapshot, loaded) = (self.store.snapshot(), self.texts.loaded());
        let name = |id: ModelId| {
            let record = query::model(&snapshot, &id).ok().flatten();
            record.map_or_else(|| id.to_string(), |record| record.name)
        };
        write_metrics(out, loaded.iter().map(|llm| (name(llm.id()), llm.engine.counters())));
        // Writing to a String fails only if an encoder does; what is missing then shows in the text itself.
        let _ = prometheus_client::encoding::text::encode_registry(out, &self.registry);
    }
}
