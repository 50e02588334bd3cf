//! A block: a header and the transactions it commits to.

use assay_ledger::{SignedTransaction, tx::Action};
use assay_primitives::{DecodeError, Hash32, Header, decode, domain, encode};
use borsh::{BorshDeserialize, BorshSerialize};

/// A block as it travels and is stored.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Block {
    /// What it says about itself.
    pub header: Header,
    /// Its transactions, in order of execution.
    pub transactions: Vec<SignedTransaction>,
}

impl Block {
    /// Decodes a block; trailing bytes are an error.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        decode("block", bytes)
    }

    /// The encoded block.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// True if the header commits to these very transactions, so that its id binds every byte of the block.
    pub fn binds_its_body(&self, genesis: &Hash32) -> bool {
        self.header.tx_root == Self::tx_root(genesis, &self.transactions)
            && self.header.evidence_root == Self::evidence_root(genesis, &self.transactions)
    }

    /// Hash over the encoded transactions, signatures included.
    pub fn tx_root(genesis: &Hash32, transactions: &[SignedTransaction]) -> Hash32 {
        domain::hash(domain::TX_ROOT, genesis, transactions)
    }

    /// Hash over the ids of the transactions that are evidence of misbehaviour.
    pub fn evidence_root(genesis: &Hash32, transactions: &[SignedTransaction]) -> Hash32 {
        let is_evidence = |tx: &&SignedTransaction| matches!(tx.body.action, Action::DoubleSign { .. });
        let ids: Vec<Hash32> = transactions.iter().filter(is_evidence).map(|tx| tx.id(genesis)).collect();
        domain::hash(domain::EVIDENCE_ROOT, genesis, &ids)
    }
}
