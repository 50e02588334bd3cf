//! The one face of the proof systems.
//!
//! A proof states: the model committed to gives these outputs on these inputs, for this binding. The three systems prove
//! the same [`Relations`]; they differ in what a proof weighs and costs and in who learns what.

mod commitments;
#[cfg(feature = "groth16")]
pub mod groth16;
#[cfg(feature = "halo2")]
pub mod halo2;
pub mod sumcheck;

pub use commitments::{Commitments, SumcheckCommitment, Systems};

use crate::relation::{Relations, Trace};

/// What is proved. The verifier fills it from its own task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement<'a> {
    /// [`crate::Binding::digest`]: chain, model, request, miner, epoch, input and output.
    pub binding: &'a [u8; 32],
    /// One row-major vector an input of the graph.
    pub inputs: &'a [Vec<i64>],
    /// One row-major vector an output of the graph.
    pub outputs: &'a [Vec<i64>],
}

/// What proving will cost, said before it is done.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Estimate {
    /// Seconds of set-up on two cores.
    pub setup_s: f64,
    /// Seconds of proving on two cores.
    pub prove_s: f64,
    /// Seconds of one verification.
    pub verify_s: f64,
    /// Most memory while proving, MiB.
    pub memory_mib: f64,
    /// Length of a proof.
    pub proof_bytes: usize,
}

/// A system that cannot prove these relations, said before any work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{system} cannot prove this model: {reason}")]
pub struct Unsupported {
    /// The system.
    pub system: &'static str,
    /// Expected and found, with the node.
    pub reason: String,
}

/// Why keys were not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// The system does not do such relations.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// Weights that are not those of the relations.
    #[error("weights: {reason}")]
    Weights {
        /// Expected and found.
        reason: String,
    },
    /// The library refused.
    #[error("{system} keys: {reason}")]
    Keys {
        /// The system.
        system: &'static str,
        /// What the library says.
        reason: String,
    },
    /// A model that lacks what the system needs in its id.
    #[error("the model is not committed for {system}: {reason}")]
    NotCommitted {
        /// The system.
        system: &'static str,
        /// Why, and how a model is that is.
        reason: &'static str,
    },
    /// A key of the same graph that is not the one that the model's id tells.
    #[error("the {system} key is another model's: it commits to other weights")]
    OtherModel {
        /// The system.
        system: &'static str,
    },
}

/// Why a proof was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProveError {
    /// The statement's values do not have the graph's shapes.
    #[error("statement: {reason}")]
    Statement {
        /// Expected and found.
        reason: String,
    },
    /// The trace is not one of these relations.
    #[error("trace: {reason}")]
    Trace {
        /// Expected and found.
        reason: String,
    },
    /// The library refused.
    #[error("{system}: {reason}")]
    Library {
        /// The system.
        system: &'static str,
        /// What the library says.
        reason: String,
    },
}

/// Why a proof was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The statement's values do not have the graph's shapes.
    #[error("statement: {reason}")]
    Statement {
        /// Expected and found.
        reason: String,
    },
    /// Bytes that are not a proof of this system and version.
    #[error("not a proof of {system}: {reason}")]
    Malformed {
        /// The system.
        system: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A proof that does not prove the statement.
    #[error("the proof does not hold ({reason})")]
    Invalid {
        /// Which check failed.
        reason: String,
    },
}

/// A way to prove relations.
///
/// Keys hold what both sides derive from the public relations; the prover's hold the weights too, the verifier's only
/// a commitment to them.
pub trait ProofSystem: Send + Sync {
    /// What a prover keeps for a model.
    type ProverKey: Send + Sync;
    /// What a verifier keeps for a model; holds no weights.
    type VerifierKey: Send + Sync;

    /// The name used on the command line and in documents.
    const NAME: &'static str;

    /// Says whether the system does these relations, before any work.
    ///
    /// # Errors
    /// [`Unsupported`] names the node.
    fn supports(relations: &Relations) -> Result<(), Unsupported>;

    /// What proving will cost.
    fn estimate(relations: &Relations) -> Estimate;

    /// Makes both keys. `weights` has one vector for each [`crate::relation::Definition::Weight`], by its number.
    ///
    /// # Errors
    /// [`SetupError`].
    fn set_up(
        relations: std::sync::Arc<Relations>,
        weights: &[Vec<i64>],
    ) -> Result<(Self::ProverKey, Self::VerifierKey), SetupError>;

    /// Proves. The trace is taken as it is: an untrue one gives a proof that does not verify, or an error.
    ///
    /// # Errors
    /// [`ProveError`].
    fn prove(key: &Self::ProverKey, trace: &Trace, statement: Statement<'_>) -> Result<Vec<u8>, ProveError>;

    /// Verifies. Never panics, on any bytes; time and memory are bounded by the key.
    ///
    /// # Errors
    /// [`VerifyError`].
    fn verify(key: &Self::VerifierKey, statement: Statement<'_>, proof: &[u8]) -> Result<(), VerifyError>;

    /// Verifies many proofs of one model, cheaper than one by one where the system can.
    ///
    /// # Errors
    /// The position of one proof that does not hold, and why.
    fn verify_batch(key: &Self::VerifierKey, batch: &[(Statement<'_>, &[u8])]) -> Result<(), (usize, VerifyError)> {
        for (at, (statement, proof)) in batch.iter().enumerate() {
            Self::verify(key, *statement, proof).map_err(|e| (at, e))?;
        }
        Ok(())
    }

    /// Length of the prover's key where it must be kept; none where it follows from the model.
    fn prover_key_bytes(_: &Self::ProverKey) -> Option<usize> {
        None
    }

    /// Says whether models with these commitments are proved with the system, before any work.
    ///
    /// # Errors
    /// [`SetupError::NotCommitted`].
    fn committed(commitments: &Commitments) -> Result<(), SetupError>;

    /// Says whether a verifier's key commits to the weights that the model's id covers. Only `groth16` takes every key:
    /// weights are constants of its circuit, and whether a key is of these is for who holds them to
    /// [check by its ceremony](groth16::ceremony).
    ///
    /// # Errors
    /// [`SetupError::NotCommitted`], [`SetupError::OtherModel`].
    fn check_key(key: &Self::VerifierKey, commitments: &Commitments) -> Result<(), SetupError>;

    /// The verifier's key as bytes.
    fn verifier_key_to_bytes(key: &Self::VerifierKey) -> Vec<u8>;

    /// Reads a verifier's key made for these relations, from anyone. Whether it is a model's own is for [`Self::check_key`]
    /// to say; [`crate::model::Outline::verifier_key`] does both.
    ///
    /// # Errors
    /// [`SetupError::Keys`].
    fn verifier_key_from_bytes(
        relations: std::sync::Arc<Relations>,
        bytes: &[u8],
    ) -> Result<Self::VerifierKey, SetupError>;
}
