//! `groth16`: 128-byte proofs on BN254, verified in about a millisecond, after a set-up for each model.
//!
//! ```text
//! Relations, weights --circuit--> constraints --set-up--> ProverKey, VerifierKey
//! Trace --hints--> all variables --prover--> 128 bytes
//! Statement --public--> few field elements --verify--> yes or no
//! ```
//!
//! Weights are constants of the circuit, so linear layers cost nothing; only what is not linear is paid for, by bits. A model is
//! in reach up to 2^21 constraints; the time of proving doubles with each power of two.
//!
//! # Who learns what
//! A proof is zero-knowledge: it shows nothing but that the statement holds. The verifier's key holds no weights, only what the
//! circuit's public variables need. *The parties of the set-up see the constant weights*, since the circuit is made of them; a model
//! whose weights are secret from them must use another system.
//!
//! # Set-up
//! Whoever knows the numbers a key was made from can prove anything. [`ceremony`] makes keys so that nobody knows them unless all
//! contributors collude. [`Groth16::set_up`](ProofSystem::set_up) draws them alone: such keys say [`Provenance::Dev`], in their bytes too, and
//! are for development only.
//!
//! # What is bound
//! The public elements are the binding's digest in two halves, the inputs and the outputs, long ones packed. A proof can be
//! re-randomised by anyone into another proof of the *same* statement; it says nothing about any other.
//!
//! Sources: Groth, *On the size of pairing-based non-interactive arguments*, 2016; Bowe, Gabizon, Miers, 2017, and Kohlweiss, Maller, Siim, Volkhov,
//! *Snarky ceremonies*, 2021, for the set-up.

mod bounds;
mod builder;
pub mod ceremony;
mod circuit;
mod estimate;
mod key;
mod prover;
mod public;
mod r1cs;
mod setup;
mod table;
mod verifier;

use std::sync::Arc;

use ark_bn254::Fr;
use ark_ff::{PrimeField, Zero};
use rand::{TryRng, rngs::SysRng};

pub use self::{
    circuit::Counts,
    key::{Provenance, ProverKey, VerifierKey},
    verifier::PROOF_BYTES,
};
use self::{
    circuit::{BuildError, Circuit},
    setup::Secrets,
};
use crate::{
    proof::{Commitments, Estimate, ProofSystem, ProveError, SetupError, Statement, Unsupported, VerifyError},
    relation::{Relations, Trace},
};

/// The name of the system.
const NAME: &str = "groth16";

/// The system.
#[derive(Debug, Clone, Copy)]
pub struct Groth16;

impl Groth16 {
    /// How big the circuit is at most, whatever the weights.
    ///
    /// # Errors
    /// [`Unsupported`].
    pub fn counts(relations: &Relations) -> Result<Counts, Unsupported> {
        Circuit::count(relations).map_err(unsupported)
    }

    /// Keys whose secret numbers are drawn from a seed that everybody knows, so that the nodes of a development network
    /// make the same ones without a word between them. Anybody can forge proofs for such keys; they say
    /// [`Provenance::Dev`].
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn set_up_public(
        relations: &Arc<Relations>,
        weights: &[Vec<i64>],
        seed: &[u8],
    ) -> Result<(ProverKey, VerifierKey), SetupError> {
        Self::supports(relations)?;
        let draw = |name: &str| {
            let mut bytes = [0; 64];
            blake3::Hasher::new_derive_key(name).update(seed).finalize_xof().fill(&mut bytes);
            // 512 bits, so that the remainder is 0 for no seed that anybody will find.
            Fr::from_le_bytes_mod_order(&bytes)
        };
        let secrets = Secrets {
            tau: draw("assay groth16 public tau 1"),
            alpha: draw("assay groth16 public alpha 1"),
            beta: draw("assay groth16 public beta 1"),
            delta: draw("assay groth16 public delta 1"),
        };
        let circuit = build(relations, weights)?;
        let key = setup::keys(&circuit.system, &secrets);
        Ok(key::pair(circuit, key, Provenance::Dev))
    }
}

impl ProofSystem for Groth16 {
    type ProverKey = ProverKey;
    type VerifierKey = VerifierKey;

    const NAME: &'static str = NAME;

    fn supports(relations: &Relations) -> Result<(), Unsupported> {
        Self::counts(relations).map(|_| ())
    }

    fn estimate(relations: &Relations) -> Estimate {
        estimate::estimate(relations)
    }

    /// Draws the set-up's numbers alone: the keys say [`Provenance::Dev`].
    fn set_up(relations: Arc<Relations>, weights: &[Vec<i64>]) -> Result<(ProverKey, VerifierKey), SetupError> {
        Self::supports(&relations)?;
        let circuit = build(&relations, weights)?;
        let secrets = Secrets { tau: draw()?, alpha: draw()?, beta: draw()?, delta: draw()? };
        let key = setup::keys(&circuit.system, &secrets);
        Ok(key::pair(circuit, key, Provenance::Dev))
    }

    fn prove(key: &ProverKey, trace: &Trace, statement: Statement<'_>) -> Result<Vec<u8>, ProveError> {
        let public = key.circuit.layout.of(statement).map_err(|reason| ProveError::Statement { reason })?;
        let values = key.circuit.assignment(&public, trace).map_err(|reason| ProveError::Trace { reason })?;
        let library = |reason: String| ProveError::Library { system: NAME, reason };
        let blinding = [random().map_err(library)?, random().map_err(library)?];
        let proof = prover::prove(&key.circuit.system, &key.key, &values, blinding, true).map_err(|broken| {
            ProveError::Trace {
                reason: match broken.node {
                    u32::MAX => "it is not of the statement's input and output".into(),
                    node => format!("it does not hold at node {node}"),
                },
            }
        })?;
        Ok(verifier::to_bytes(&proof))
    }

    fn verify(key: &VerifierKey, statement: Statement<'_>, proof: &[u8]) -> Result<(), VerifyError> {
        verifier::verify(key, statement, proof)
    }

    fn verify_batch(key: &VerifierKey, batch: &[(Statement<'_>, &[u8])]) -> Result<(), (usize, VerifyError)> {
        verifier::verify_batch(key, batch)
    }

    fn prover_key_bytes(key: &ProverKey) -> Option<usize> {
        Some(key.to_bytes().len())
    }

    fn committed(_: &Commitments) -> Result<(), SetupError> {
        Ok(())
    }

    fn check_key(_: &VerifierKey, _: &Commitments) -> Result<(), SetupError> {
        Ok(())
    }

    fn verifier_key_to_bytes(key: &VerifierKey) -> Vec<u8> {
        key.to_bytes()
    }

    fn verifier_key_from_bytes(relations: Arc<Relations>, bytes: &[u8]) -> Result<VerifierKey, SetupError> {
        VerifierKey::from_bytes(&relations, bytes).map_err(|reason| SetupError::Keys { system: NAME, reason })
    }
}

fn build(relations: &Relations, weights: &[Vec<i64>]) -> Result<Circuit, SetupError> {
    Circuit::new(relations, weights).map_err(|error| match error {
        BuildError::Weights(reason) => SetupError::Weights { reason },
        other => unsupported(other).into(),
    })
}

fn unsupported(error: BuildError) -> Unsupported {
    let (BuildError::Unsupported(reason) | BuildError::Weights(reason)) = error;
    Unsupported { system: NAME, reason }
}

/// A number that nobody knows, not 0.
fn draw() -> Result<Fr, SetupError> {
    random().map_err(|reason| SetupError::Keys { system: NAME, reason })
}

/// A random field element, not 0.
fn random() -> Result<Fr, String> {
    let mut bytes = [0; 64];
    loop {
        SysRng.try_fill_bytes(&mut bytes).map_err(|e| format!("no randomness from the operating system: {e}"))?;
        // 512 bits, so that the remainder is as good as uniform.
        let element = Fr::from_le_bytes_mod_order(&bytes);
        if !element.is_zero() {
            return Ok(element);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
