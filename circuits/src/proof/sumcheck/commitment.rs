//! Committing to columns and opening them: WHIR over Goldilocks, Merkle trees by BLAKE3.
//!
//! ```text
//! blocks of cells --Stack::commit--> Commitment (32 bytes) + Committed (kept by the prover)
//! claims (block, point, value) --Stack::open--> Opening --Stack::verify--> all claims hold, or an error
//! ```
//!
//! A [`Stack`] is a list of blocks of `2^n` cells, committed as one polynomial. A commitment may be opened any number of
//! times: that of the weights is made once a model, that of the witness once a proof.
//!
//! | property | how |
//! |---|---|
//! | binding | 100 bits for every error term, under the Johnson bound of [`p3_whir`]; of these at most [`GRINDING`] bits are proof of work. Each term is that small, their sum a few bits larger |
//! | nothing trusted | no set-up; BLAKE3 is the only assumption beside the bound |
//! | not hiding | an opening shows cells of the codeword and of its foldings: linear functionals of the blocks |
//! | canonical | field elements below the modulus, every length derived from the stack, no trailing bytes |
//! | no panic | a proof is brought into its exact shape by the decoder, before the library sees it |
//!
//! The polynomial of a block is multilinear; `point[0]` belongs to the top bit of a cell's index.

mod codec;
mod scheme;
pub mod stack;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
pub mod transcript;
mod weights;

use p3_field::extension::BinomialExtensionField;
use p3_goldilocks::Goldilocks;

pub use codec::Opening;
#[cfg(feature = "hiding")]
pub(in crate::proof::sumcheck) use codec::Reader;
pub use scheme::{GRINDING, SECURITY, parameter_bytes};
pub use stack::{Committed, Stack};
pub use transcript::Transcript;
pub use weights::{commit_weights, weight_commitment, weight_stack};

/// What cells are made of: integers modulo `2^64 - 2^32 + 1`.
pub type Base = Goldilocks;
/// What challenges, points and claimed values are made of: about 128 bits.
pub type Ext = BinomialExtensionField<Goldilocks, 2>;

/// What stands for the committed blocks: the root of a Merkle tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Commitment(pub [u8; 32]);

/// That block `block` has value `value` at `point`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The block's position in its stack.
    pub block: usize,
    /// One coordinate a variable of the block; the first for the top bit.
    pub point: Vec<Ext>,
    /// The value claimed.
    pub value: Ext,
}

/// Blocks that cannot be committed or opened, whatever they hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("commitment: {reason}")]
pub struct Unfit {
    /// Expected and found.
    pub reason: String,
}

impl Unfit {
    fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

/// Why an opening is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpeningError {
    /// Bytes that are not an opening of this stack.
    #[error("opening: {0}")]
    Malformed(&'static str),
    /// Claims that do not fit the stack: the verifier's own fault, not the prover's.
    #[error(transparent)]
    Claims(#[from] Unfit),
    /// The claims do not hold for what is committed.
    #[error("opening does not hold: {0}")]
    Invalid(String),
}
