//! The words every other crate speaks: ids, keys, amounts, fixed-point scores, block headers and
//! certificates, tasks, responses and receipts.
//!
//! Nothing here does IO, reads a clock or draws randomness on its own. Data flows outwards only:
//!
//! ```text
//! value --borsh--> bytes --domain tag + genesis hash--> preimage --ed25519--> Signed<T>
//!                                                             \--BLAKE3---> Hash32 (ids, roots)
//! ```
//!
//! Everything that is signed or hashed goes through [`domain::preimage`], so a signature made for one
//! purpose or one chain is worthless for another. Encodings are borsh; trailing bytes are an error
//! ([`decode`]); `tests/vectors/primitives.json` pins each type.

pub mod account;
pub mod amount;
pub mod block;
pub mod domain;
pub mod hash;
pub mod keys;
pub mod light;
pub mod receipt;
pub mod score;
pub mod task;
pub mod text;
#[cfg(test)]
mod vectors;

pub use account::AccountId;
pub use amount::{Amount, GRAINS_PER_ASY};
pub use block::{Certificate, Header, SignedHeader, Validator, ValidatorSet, VoteContent, VoteKind};
pub use hash::{Hash32, ModelId};
pub use keys::{Keypair, Signature, SignatureError, Signed};
pub use score::Score;

/// Why bytes were refused by [`decode`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed {what}: {reason}")]
pub struct DecodeError {
    /// What the bytes were expected to be.
    pub what: &'static str,
    /// What is wrong with them.
    pub reason: String,
}

/// Decodes exactly one value of `T`; bytes left over are an error.
///
/// `what` names the expected value in the error.
pub fn decode<T: borsh::BorshDeserialize>(what: &'static str, bytes: &[u8]) -> Result<T, DecodeError> {
    T::try_from_slice(bytes).map_err(|e| DecodeError { what, reason: e.to_string() })
}

/// Encodes a value with borsh. Encoding into memory cannot fail for the types of this workspace.
pub fn encode<T: borsh::BorshSerialize + ?Sized>(value: &T) -> Vec<u8> {
    borsh::to_vec(value).expect("borsh writes into a Vec, which never fails, and no type here refuses to encode")
}
