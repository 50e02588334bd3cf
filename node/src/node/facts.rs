//! State facts with the proof and the certified header they hang from, and receipts made of them.

use assay_ledger::{keys, tree};
use assay_primitives::{
    Signed, SignedHeader,
    light::SetChange,
    receipt::{Blob, RECEIPT_VERSION, Receipt, ReceiptProof, StateFact},
    task::{Request, Response},
};

use super::Shared;
use crate::{
    rpc::{BackendError, Proven},
    store::{Snapshot, StoreFault, TipRecord},
};

impl From<StoreFault> for BackendError {
    fn from(fault: StoreFault) -> Self {
        BackendError::Internal(fault.to_string())
    }
}

fn internal(e: impl std::fmt::Display) -> BackendError {
    BackendError::Internal(e.to_string())
}

impl Shared {
    /// The header of a committed block that must be there.
    pub(super) fn header_at(&self, height: u64) -> Result<SignedHeader, BackendError> {
        let missing = || BackendError::Internal(format!("header {height} is missing from the store"));
        self.store.signed_header(height)?.ok_or_else(missing)
    }

    /// The validator-set changes that lead from genesis to `height`.
    fn path_to(&self, height: u64) -> Result<Vec<SetChange>, BackendError> {
        let changes = self.store.set_changes(height)?;
        changes.into_iter().map(|(first, next)| Ok(SetChange { signed: self.header_at(first - 1)?, next })).collect()
    }

    /// The tip of a snapshot, which must have a block.
    fn tip_of(snapshot: &Snapshot) -> Result<TipRecord, BackendError> {
        let tip = snapshot.tip().map_err(internal)?;
        if tip.height == 0 {
            return Err(BackendError::Unavailable("the chain has no block yet; try again in a moment".into()));
        }
        Ok(tip)
    }

    /// The entry under `key` with its proof at the snapshot's tip.
    fn fact(snapshot: &Snapshot, height: u64, key: Vec<u8>) -> Result<Option<StateFact>, BackendError> {
        let (value, proof) = tree::prove(snapshot, height, &key).map_err(internal)?;
        Ok(value.map(|value| StateFact { key: Blob(key), value: Blob(value), proof: Blob(proof) }))
    }

    /// An entry with its proof and the header it hangs from.
    pub(super) fn prove_key(&self, key: &[u8]) -> Result<Option<Proven>, BackendError> {
        let snapshot = self.store.snapshot();
        let tip = Self::tip_of(&snapshot)?;
        let Some(fact) = Self::fact(&snapshot, tip.height, key.to_vec())? else { return Ok(None) };
        Ok(Some(Proven { fact, header: self.header_at(tip.height)?, changes: self.path_to(tip.height)? }))
    }

    /// Everything a client needs to check an answer offline.
    pub(super) fn receipt(
        &self,
        request: Signed<Request>,
        response: Signed<Response>,
        proof: ReceiptProof,
        outline: Vec<u8>,
    ) -> Result<Receipt, BackendError> {
        let snapshot = self.store.snapshot();
        let tip = Self::tip_of(&snapshot)?;
        let fact = |what: &str, key| {
            Self::fact(&snapshot, tip.height, key)?
                .ok_or_else(|| BackendError::Unavailable(format!("the {what} is no longer registered; ask again")))
        };
        Ok(Receipt {
            version: RECEIPT_VERSION,
            genesis: Blob(self.spec.to_canonical()),
            model_fact: fact("model", keys::model(&request.body.model))?,
            miner_fact: fact("miner", keys::miner(&response.body.miner))?,
            request,
            response,
            proof,
            outline: Blob(outline),
            changes: self.path_to(tip.height)?,
            header: self.header_at(tip.height)?,
        })
    }
}
