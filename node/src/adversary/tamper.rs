//! Honest work, dishonest answers.

use std::sync::{Arc, Mutex, PoisonError};

use assay_primitives::{Hash32, Keypair, task::Output};
use async_trait::async_trait;

use super::sign;
use crate::{
    net::{Ask, Reply},
    roles::{Answerer, ChainView, Miner, MinerConfig, RoleError, RoleMetrics, Work},
};

/// Alternates between two frauds: an altered output beside the original proof, and the right output beside the proof
/// of an earlier task.
pub struct Tamper {
    genesis: Hash32,
    key: Keypair,
    miner: Arc<Miner>,
    /// The proof of the task before, and whether the next fraud is the replay of it.
    state: Mutex<(Option<Vec<u8>>, bool)>,
}

impl Tamper {
    /// A tampering miner over an honest one's machinery; `config.dir` must be its own.
    ///
    /// # Errors
    /// [`RoleError`] if the folder cannot be used.
    pub fn new(chain: Arc<dyn ChainView>, config: MinerConfig, metrics: RoleMetrics) -> Result<Self, RoleError> {
        let (genesis, key) = (chain.genesis(), config.key.clone());
        Ok(Self { genesis, key, miner: Miner::open(chain, config, metrics)?, state: Mutex::default() })
    }

    async fn defraud(&self, ask: &Ask) -> Result<Reply, Reply> {
        let engine = self.miner.admit(ask)?;
        let Work { mut output, proof, .. } = self.miner.work(engine, &ask.request, false).await?;
        let replayed = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let earlier = state.0.replace(proof.clone()).filter(|_| state.1);
            state.1 = !state.1;
            earlier
        };
        let proof = replayed.unwrap_or_else(|| {
            if let Some(first) = output.first_mut() {
                *first = first.wrapping_add(1);
            }
            proof
        });
        let response = sign(&self.genesis, &self.key, &ask.request, Output::Numbers(output), Some(&proof));
        Ok(Reply::Answer { response, proof: Some(proof), compact: None })
    }
}

#[async_trait]
impl Answerer for Tamper {
    async fn answer(&self, ask: Ask) -> Reply {
        self.defraud(&ask).await.unwrap_or_else(|refusal| refusal)
    }
}
