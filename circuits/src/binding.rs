//! What a proof is bound to, so that it serves one request of one miner on one chain and nothing else.

use assay_primitives::{AccountId, Hash32, ModelId, domain};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// Tag of a binding's digest.
pub const BINDING_DOMAIN: &str = "assay/proof-binding/1";

/// The statement's context. A verifier fills it from its own task, never from the miner's answer.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// The chain.
    pub genesis: Hash32,
    /// The committed model.
    pub model: ModelId,
    /// The request's id, which covers its nonce.
    pub request: Hash32,
    /// The miner that answers.
    pub miner: AccountId,
    /// The epoch of the request.
    pub epoch: u64,
    /// [`crate::hash_input`] of the input.
    pub input: Hash32,
    /// [`crate::hash_output`] of the output.
    pub output: Hash32,
}

impl Binding {
    /// BLAKE3 over the domain tag, the genesis hash and the borsh encoding; a public input of the proof.
    pub fn digest(&self) -> Hash32 {
        domain::hash(BINDING_DOMAIN, &self.genesis, self)
    }
}
