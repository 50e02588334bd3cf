//! The same answer to everything.

use std::sync::Arc;

use assay_primitives::{Hash32, Keypair, task::Output};
use async_trait::async_trait;

use super::sign;
use crate::{
    net::{Ask, RefusalCode, Reply},
    roles::{Answerer, ChainView, Models},
};

/// Signs a constant of the right length, at once.
pub struct Lazy {
    genesis: Hash32,
    chain: Arc<dyn ChainView>,
    key: Keypair,
    models: Models,
}

impl Lazy {
    /// A lazy miner with this operator key.
    pub fn new(genesis: Hash32, chain: Arc<dyn ChainView>, key: Keypair) -> Self {
        Self { genesis, chain, key, models: Models::default() }
    }
}

#[async_trait]
impl Answerer for Lazy {
    async fn answer(&self, ask: Ask) -> Reply {
        let request = &ask.request;
        if request.body.miner != self.key.account() {
            return Reply::refused(RefusalCode::NotForMe, "not for me");
        }
        let snapshot = match self.chain.snapshot() {
            Ok(snapshot) => snapshot,
            Err(e) => return Reply::refused(RefusalCode::Unavailable, e),
        };
        // It does look up how long an output is; any other length would give it away before anything runs.
        let length = match self.models.engine(&*snapshot, &request.body.model) {
            Ok(Some(engine)) => engine.model().output_len(),
            Ok(None) => return Reply::refused(RefusalCode::UnknownModel, "no such model"),
            Err(e) => return Reply::refused(RefusalCode::Unavailable, e),
        };
        let output = (0..length).map(|class| if class == 0 { 100 } else { 0 }).collect();
        let response = sign(&self.genesis, &self.key, request, Output::Numbers(output), None);
        Reply::Answer { response, proof: None, compact: None }
    }
}
