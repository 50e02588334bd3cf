//! What is asked of a miner and what it answers.
//!
//! ```text
//! Request (requester, miner, nonce, model, epoch, input) --signed--> miner
//! Response (request id, model, input hash, output, proof hash) --signed--> requester, with the proof beside it
//! input: numbers of an exact model, or a text to go on with; output: numbers, or tokens
//! ```
//!
//! The request's id covers the miner and a fresh nonce, and a proof covers the request's id: an answer to one
//! request is worthless for another, and one miner's answer is worthless for another miner.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::{
    AccountId, Hash32, ModelId, domain,
    keys::Signable,
    text::{TextInput, TextOutput},
};

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
    /// What the model is run on.
    pub input: Input,
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
    /// Hash of the input that was run, as [`Input::hash`] computes it.
    pub input: Hash32,
    /// What the model gave.
    pub output: Output,
    /// BLAKE3 of the proof's bytes; `None` where the miner gives no proof now, and for text.
    pub proof: Option<Hash32>,
}

impl Signable for Response {
    const DOMAIN: &'static str = domain::RESPONSE;
    const NAME: &'static str = "response";
    fn signer(&self) -> AccountId {
        self.miner
    }
}

/// What a model is run on.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// The quantised input of an exact model; its length is the model's.
    Numbers(Vec<i16>),
    /// A text for a language model to go on with.
    Text(TextInput),
}

impl Input {
    /// The numbers, if it is numbers.
    pub fn numbers(&self) -> Option<&[i16]> {
        match self {
            Input::Numbers(numbers) => Some(numbers),
            Input::Text(_) => None,
        }
    }

    /// The text, if it is text.
    pub fn text(&self) -> Option<&TextInput> {
        match self {
            Input::Text(text) => Some(text),
            Input::Numbers(_) => None,
        }
    }

    /// Its hash, the same on every chain.
    pub fn hash(&self) -> Hash32 {
        match self {
            Input::Numbers(numbers) => input_hash(numbers),
            Input::Text(text) => domain::hash(domain::TEXT_INPUT, &Hash32::ZERO, text),
        }
    }
}

/// What a model gave.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// The quantised output of an exact model: logits of a classifier.
    Numbers(Vec<i32>),
    /// A language model's text.
    Text(TextOutput),
}

impl Output {
    /// The numbers, if it is numbers.
    pub fn numbers(&self) -> Option<&[i32]> {
        match self {
            Output::Numbers(numbers) => Some(numbers),
            Output::Text(_) => None,
        }
    }

    /// The text, if it is text.
    pub fn text(&self) -> Option<&TextOutput> {
        match self {
            Output::Text(text) => Some(text),
            Output::Numbers(_) => None,
        }
    }

    /// Its hash, the same on every chain.
    pub fn hash(&self) -> Hash32 {
        match self {
            Output::Numbers(numbers) => output_hash(numbers),
            Output::Text(text) => domain::hash(domain::TEXT_OUTPUT, &Hash32::ZERO, text),
        }
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
