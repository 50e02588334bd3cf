//! What a chain asks of a model before it keeps it: that every validator can check its answers in the time that a block has.
//!
//! An exact model is kept whole, and blocks run and verify it. Of a language model only a [`TextModel`] is kept: its answers
//! are judged by validators outside of blocks.

use assay_circuits::{
    answer::{
        Cost,
        compact::{self, Provenance},
    },
    graph::Work,
    model::{Model, ModelError},
    proof::SetupError,
};
use assay_primitives::{DecodeError, Hash32, ModelId, text::TextModel};

use crate::records::{ModelKind, WorkCost};

/// Most work of one run of a model on a chain.
const MOST_WORK: Work = Work { macs: 1 << 26, moves: 1 << 22 };

/// Most that verifying one proof, or reading a model and running it once, may cost, in nanoseconds by the ledger's reckoning:
/// so that a block has room for some.
pub const MAX_WORK_COST: u64 = 100_000_000;

/// Bytes of a transaction around the proof that it carries, at most.
const AROUND_A_PROOF: u64 = 1024;

/// Why a chain does not keep a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelFault {
    /// Bytes that are no model, or of one that takes too much work.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// No proof of it can be made.
    #[error(transparent)]
    Unprovable(SetupError),
    /// Its answers are too dear to check.
    #[error("{what} takes {found} ns by the ledger's reckoning; at most {MAX_WORK_COST} are taken")]
    Cost {
        /// Verifying a proof, or running the model.
        what: &'static str,
        /// What it takes.
        found: u64,
    },
    /// Its proofs do not fit into a transaction, so that no challenge could be answered.
    #[error(
        "a proof has about {found} bytes; with the parameter max_tx_bytes at {limit} no challenge could be answered"
    )]
    Proof {
        /// Bytes of a proof, about.
        found: u64,
        /// The parameter `max_tx_bytes`.
        limit: u64,
    },
    /// The `groth16` key is none of this model's.
    #[error("its groth16 key: {0}")]
    Key(SetupError),
    /// Bytes that begin as a text model's and are none.
    #[error(transparent)]
    Text(#[from] DecodeError),
    /// A text model proves nothing.
    #[error("a text model has no groth16 key")]
    TextKey,
    /// A development key that is not the one that everybody makes.
    #[error("its groth16 key was made by a single party, and not from the development networks' public seed")]
    SingleParty,
}

/// A model that a chain may keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examined {
    /// Its id.
    pub id: ModelId,
    /// What it runs on.
    pub kind: ModelKind,
    /// Size of all that it is made of.
    pub size: u64,
    /// What its answers cost a block to check.
    pub cost: WorkCost,
    /// Bytes of a transaction that carries a proof of it, at most.
    pub answer_bytes: u64,
    /// Hash of its `groth16` key.
    pub groth16: Option<Hash32>,
}

impl Examined {
    /// Reads a model and its `groth16` key, from anyone. `max_tx_bytes` is the chain's parameter.
    ///
    /// # Errors
    /// [`ModelFault`]. That a ceremony was sound is for those to check who agree to the genesis that carries its key.
    pub fn new(bytes: &[u8], groth16: Option<&[u8]>, max_tx_bytes: u64) -> Result<Self, ModelFault> {
        if !TextModel::is_magic(bytes) {
            return Self::exact(bytes, groth16, max_tx_bytes);
        }
        let text = TextModel::from_bytes(bytes)?;
        if groth16.is_some() {
            return Err(ModelFault::TextKey);
        }
        let (id, size) = (text.id(), text.bytes());
        Ok(Self { id, kind: ModelKind::Text, size, cost: WorkCost::default(), answer_bytes: 0, groth16: None })
    }

    fn exact(bytes: &[u8], groth16: Option<&[u8]>, max_tx_bytes: u64) -> Result<Self, ModelFault> {
        let model = Model::from_bytes_within(bytes, MOST_WORK)?;
        let Cost { verify, replay, proof_bytes } = Cost::of(&model).map_err(ModelFault::Unprovable)?;
        for (what, found) in [("verifying a proof", verify), ("reading and running the model", replay)] {
            if found > MAX_WORK_COST {
                return Err(ModelFault::Cost { what, found });
            }
        }
        // The length is known to a tenth only.
        let answer_bytes = proof_bytes.saturating_add(proof_bytes / 8).saturating_add(AROUND_A_PROOF);
        if answer_bytes > max_tx_bytes {
            return Err(ModelFault::Proof { found: proof_bytes, limit: max_tx_bytes });
        }
        let judge = |key: &[u8]| {
            let provenance = compact::provenance(&model.outline(), key).map_err(ModelFault::Key)?;
            // Keys that anybody can make again bind nobody, and say so.
            let known = match provenance {
                Provenance::Dev => compact::dev_keys(&model).map_err(ModelFault::Key)?.verifier_key() == key,
                ceremony => !ceremony.is_single_party(),
            };
            if !known {
                return Err(ModelFault::SingleParty);
            }
            Ok(Hash32::digest(key))
        };
        let groth16 = groth16.map(judge).transpose()?;
        let (id, size) = (model.id(), bytes.len() as u64);
        Ok(Self { id, kind: ModelKind::Exact, size, cost: WorkCost { verify, replay }, answer_bytes, groth16 })
    }
}
