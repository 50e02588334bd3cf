//! What is asked of a miner and what it answers.
//!
//! ```text
//! Request (requester, miner, nonce, model, epoch, input) --signed--> miner
//! Response (request id, model, input hash, output, proof hash) --signed--> requester, with the proof beside it
//! ```
//!
//! The request's id covers the miner and a fresh nonce, and a proof covers the request's id: an answer to one
//! request is worthless for another, and one miner's answer is worthless for another miner.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::{AccountId, Hash32, ModelId, domain, keys::Signable};

/// A market for one kind of work, by number.
pub type SubnetId = u16;

/// A request for one inference, addressed to one miner.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Who asks and signs.
    pub requester: AccountId,
    /// The operator account of the one miner that may answer.
    pub miner: AccountId,
    /// The market.
    pub subnet: SubnetId,
    /// The committed model to run.
    pub model: ModelId,
    /// The epoch in which the requester asked; miners refuse other epochs than the chain's current or last.
    pub epoch: u64,
    /// Fresh randomness; a miner answers each (requester, nonce) once.
    pub nonce: [u8; 16],
    /// The quantised input; its length is the model's.
    pub input: Vec<i16>,
}

impl Signable for Request {
    const DOMAIN: &'static str = domain::REQUEST;
    const NAME: &'static str = "request";
    fn signer(&self) -> AccountId {
        self.requester
    }
}

/// A miner's answer.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Response {
    /// The answering miner's operator account, which signs.
    pub miner: AccountId,
    /// The id of the request.
    pub request: Hash32,
    /// The model that was run.
    pub model: ModelId,
    /// Hash of the input that was run, as [`input_hash`] computes it.
    pub input: Hash32,
    /// The quantised output (logits of a classifier).
    pub output: Vec<i32>,
    /// BLAKE3 of the proof's bytes; `None` where the miner gives no proof now.
    pub proof: Option<Hash32>,
}

impl Signable for Response {
    const DOMAIN: &'static str = domain::RESPONSE;
    const NAME: &'static str = "response";
    fn signer(&self) -> AccountId {
        self.miner
    }
}

/// The hash of a quantised input; the same on every chain.
pub fn input_hash(input: &[i16]) -> Hash32 {
    domain::hash(domain::INPUT, &Hash32::ZERO, input)
}

/// The hash of a quantised output; the same on every chain.
pub fn output_hash(output: &[i32]) -> Hash32 {
    domain::hash(domain::OUTPUT, &Hash32::ZERO, output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_inputs_and_outputs_hash_apart() {
        assert_ne!(input_hash(&[1, 2]), input_hash(&[1, 2, 0]));
        assert_ne!(output_hash(&[1]), output_hash(&[2]));
        assert_ne!(input_hash(&[]).0, output_hash(&[]).0);
    }
}
