//! The hiding mode with keys that make as many proofs as the attacks take. What more than its number of proofs tell of the
//! weights is no matter here; whether any of them proves what is untrue, is.

use std::sync::Arc;

use assay_circuits::{
    proof::{
        Commitments, Estimate, ProofSystem, ProveError, SetupError, Statement, Unsupported, VerifyError,
        sumcheck::hiding::{Count, HidingProverKey, HidingVerifierKey, SumcheckHiding},
    },
    relation::{Relations, Trace},
};

/// See the module.
pub(crate) struct Uncounted;

/// The salt of its keys.
pub(crate) const SALT: [u8; 32] = [1; 32];

struct Never;

impl Count for Never {
    fn begun(&self) -> Result<usize, String> {
        Ok(0)
    }

    fn begin(&self) -> Result<usize, String> {
        Ok(0)
    }
}

impl ProofSystem for Uncounted {
    type ProverKey = HidingProverKey;
    type VerifierKey = HidingVerifierKey;

    const NAME: &'static str = SumcheckHiding::NAME;

    fn supports(relations: &Relations) -> Result<(), Unsupported> {
        SumcheckHiding::supports(relations)
    }

    fn estimate(relations: &Relations) -> Estimate {
        SumcheckHiding::estimate(relations)
    }

    fn set_up(
        relations: Arc<Relations>,
        weights: &[Vec<i64>],
    ) -> Result<(HidingProverKey, HidingVerifierKey), SetupError> {
        SumcheckHiding::set_up_counted(relations, weights, &SALT, Box::new(Never))
    }

    fn prove(key: &HidingProverKey, trace: &Trace, statement: Statement<'_>) -> Result<Vec<u8>, ProveError> {
        SumcheckHiding::prove(key, trace, statement)
    }

    fn verify(key: &HidingVerifierKey, statement: Statement<'_>, proof: &[u8]) -> Result<(), VerifyError> {
        SumcheckHiding::verify(key, statement, proof)
    }

    fn committed(commitments: &Commitments) -> Result<(), SetupError> {
        SumcheckHiding::committed(commitments)
    }

    fn check_key(key: &HidingVerifierKey, commitments: &Commitments) -> Result<(), SetupError> {
        SumcheckHiding::check_key(key, commitments)
    }

    fn verifier_key_to_bytes(key: &HidingVerifierKey) -> Vec<u8> {
        SumcheckHiding::verifier_key_to_bytes(key)
    }

    fn verifier_key_from_bytes(relations: Arc<Relations>, bytes: &[u8]) -> Result<HidingVerifierKey, SetupError> {
        SumcheckHiding::verifier_key_from_bytes(relations, bytes)
    }
}
