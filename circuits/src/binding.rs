//! What a proof is bound to, so that it serves one request of one miner on one chain and nothing else.

use assay_primitives::{
    AccountId, Hash32, ModelId, domain,
    task::{input_hash, output_hash},
};
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
    /// [`hash_inputs`] of the input.
    pub input: Hash32,
    /// [`hash_outputs`] of the output.
    pub output: Hash32,
}

/// A value that no input or output of a model has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} value {found}; expected {low} to {high}")]
pub struct OutOfRange {
    /// `input` or `output`.
    pub what: &'static str,
    /// The value.
    pub found: i64,
    /// Smallest.
    pub low: i64,
    /// Largest.
    pub high: i64,
}

/// All values, one after another, as narrower integers.
fn narrow<T: TryFrom<i64>>(
    what: &'static str,
    (low, high): (i64, i64),
    values: &[Vec<i64>],
) -> Result<Vec<T>, OutOfRange> {
    let one = |&found: &i64| T::try_from(found).map_err(|_| OutOfRange { what, found, low, high });
    values.iter().flatten().map(one).collect()
}

/// The hash of a model's inputs, one after another: [`input_hash`] of 16-bit integers.
///
/// # Errors
/// [`OutOfRange`].
pub fn hash_inputs(inputs: &[Vec<i64>]) -> Result<Hash32, OutOfRange> {
    Ok(input_hash(&narrow("input", (i16::MIN.into(), i16::MAX.into()), inputs)?))
}

/// The hash of a model's outputs, one after another: [`output_hash`] of 32-bit integers.
///
/// # Errors
/// [`OutOfRange`].
pub fn hash_outputs(outputs: &[Vec<i64>]) -> Result<Hash32, OutOfRange> {
    Ok(output_hash(&narrow("output", (i32::MIN.into(), i32::MAX.into()), outputs)?))
}

impl Binding {
    /// BLAKE3 over the domain tag, the genesis hash and the borsh encoding; a public input of the proof.
    pub fn digest(&self) -> Hash32 {
        domain::hash(BINDING_DOMAIN, &self.genesis, self)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn values_hash_as_one_flat_list_of_narrow_integers() {
        assert_eq!(hash_inputs(&[vec![1, -2], vec![3]]).unwrap(), input_hash(&[1, -2, 3]));
        assert_eq!(hash_outputs(&[vec![70_000]]).unwrap(), output_hash(&[70_000]));
        assert_eq!(hash_inputs(&[vec![32_768]]).unwrap_err().found, 32_768);
        assert!(hash_outputs(&[vec![0, 1 << 31]]).unwrap_err().to_string().contains("output value 2147483648"));
    }
}
