//! Domain separation: what is signed or hashed for one purpose, on one chain, is worthless for any other.
//!
//! The preimage of every signature and every hash is
//!
//! ```text
//! u8 length of tag || tag || 32-byte genesis hash || borsh(value)
//! ```

use borsh::BorshSerialize;

use crate::Hash32;

/// The canonical genesis itself (hashed under an all-zero genesis hash).
pub const GENESIS: &str = "assay/genesis/1";
/// A transaction's body.
pub const TRANSACTION: &str = "assay/transaction/1";
/// The root over a block's transactions.
pub const TX_ROOT: &str = "assay/tx-root/1";
/// The root over a block's evidence.
pub const EVIDENCE_ROOT: &str = "assay/evidence-root/1";
/// A block header; its hash is the block id.
pub const HEADER: &str = "assay/header/1";
/// A validator set.
pub const VALIDATOR_SET: &str = "assay/validator-set/1";
/// A consensus vote.
pub const VOTE: &str = "assay/vote/1";
/// A consensus proposal.
pub const PROPOSAL: &str = "assay/proposal/1";
/// The first part of a streamed block, signed by its proposer.
pub const PROPOSAL_PART: &str = "assay/proposal-part/1";
/// A consensus vote extension.
pub const VOTE_EXTENSION: &str = "assay/vote-extension/1";
/// A request for inference.
pub const REQUEST: &str = "assay/request/1";
/// A miner's response.
pub const RESPONSE: &str = "assay/response/1";
/// The input of a task.
pub const INPUT: &str = "assay/input/1";
/// The output of a task.
pub const OUTPUT: &str = "assay/output/1";
/// The input of a text task.
pub const TEXT_INPUT: &str = "assay/text-input/1";
/// The output of a text task.
pub const TEXT_OUTPUT: &str = "assay/text-output/1";
/// What a chain keeps of a language model; its hash is the model's id.
pub const TEXT_MODEL: &str = "assay/text-model/1";
/// A commitment to scores.
pub const SCORES: &str = "assay/scores/1";
/// A message signed by a wallet for somebody else to check.
pub const MESSAGE: &str = "assay/message/1";
/// Seeds of a validator's tasks.
pub const TASK_SEED: &str = "assay/task-seed/1";

/// The bytes that are signed, or hashed, for `value` under `tag` on the chain with this genesis hash.
pub fn preimage<T: BorshSerialize + ?Sized>(tag: &str, genesis: &Hash32, value: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(128);
    bytes.push(u8::try_from(tag.len()).expect("tags are short constants"));
    bytes.extend_from_slice(tag.as_bytes());
    bytes.extend_from_slice(&genesis.0);
    value.serialize(&mut bytes).expect("writing to a Vec never fails");
    bytes
}

/// BLAKE3 of [`preimage`].
pub fn hash<T: BorshSerialize + ?Sized>(tag: &str, genesis: &Hash32, value: &T) -> Hash32 {
    Hash32::digest(&preimage(tag, genesis, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purpose_chain_and_value_each_change_the_hash() {
        let (a, b) = (Hash32([1; 32]), Hash32([2; 32]));
        let reference = hash(REQUEST, &a, &7u64);
        assert_ne!(reference, hash(RESPONSE, &a, &7u64));
        assert_ne!(reference, hash(REQUEST, &b, &7u64));
        assert_ne!(reference, hash(REQUEST, &a, &8u64));
    }
}
