//! The set-up by many, so that nobody knows the numbers a key is made of unless all of them collude.
//!
//! ```text
//! start --> contribute* --> specialise --> contribute* --> finish
//!           tau, alpha, beta  no secrets     delta
//! ```
//!
//! One transcript is handed from each contributor to the next, who multiplies its numbers by fresh random ones, forgets them and hands it
//! on. A contribution carries a proof that its maker knows what it multiplied by, made over the hash of all that came before, so it cannot
//! be moved, copied or undone by a later one. [`verify`] checks the whole chain against the circuit and needs to trust nobody;
//! a miner must not be the only contributor. No beacon is needed: *Snarky ceremonies* (Kohlweiss, Maller, Siim, Volkhov, 2021) proves a key sound
//! even if the last contributor biases it.
//!
//! Contributors of the second phase, and whoever verifies, see the circuit and with it the weights.
//!
//! What it costs: each contribution multiplies every point once; `specialise`, `verify` and `finish` take the transcript's powers to
//! the circuit's points, which is minutes for 2^18 constraints.

mod chain;
mod powers;
mod second;
mod transcript;

use std::{collections::BTreeSet, sync::Arc};

use ark_ff::PrimeField;

use self::{
    chain::{Contribution, Share},
    second::{Initial, Second},
    transcript::Transcript,
};
use super::{
    Groth16,
    circuit::Circuit,
    key::{Provenance, ProverKey, VerifierKey, pair},
    random,
};
use crate::{
    proof::{ProofSystem as _, SetupError},
    relation::Relations,
};

/// Parties of different names that each phase needs: one that made all of a phase could forge proofs.
pub const LEAST_PARTIES: u32 = 2;

/// Longest name of a contributor, in bytes.
pub const LONGEST_NAME: usize = 64;

/// A name that can stand in a list: not empty, of [`LONGEST_NAME`] bytes at most, without commas or control characters.
fn check_name(name: &str) -> Result<(), String> {
    if name.trim().is_empty() || name.len() > LONGEST_NAME || name.contains(|c: char| c == ',' || c.is_control()) {
        return Err(format!(
            "the name {name:?}; expected 1 to {LONGEST_NAME} bytes without commas and control characters"
        ));
    }
    Ok(())
}

/// Why a ceremony does not go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CeremonyError {
    /// No circuit.
    #[error(transparent)]
    Circuit(#[from] SetupError),
    /// A name that cannot stand in a list.
    #[error("{reason}")]
    Name {
        /// Expected and found.
        reason: String,
    },
    /// Bytes that are no transcript.
    #[error("not a transcript of a ceremony: {reason}")]
    Malformed {
        /// What is wrong.
        reason: String,
    },
    /// A transcript of another circuit.
    #[error("the transcript is of another model")]
    OtherCircuit,
    /// A step out of turn.
    #[error("{reason}")]
    OutOfTurn {
        /// What is missing.
        reason: &'static str,
    },
    /// A contribution that is not what it says; the transcript must not be used.
    #[error("the transcript does not hold: {reason}")]
    Invalid {
        /// Which check failed.
        reason: String,
    },
    /// No randomness.
    #[error("{reason}")]
    Randomness {
        /// What the system says.
        reason: String,
    },
}

/// Who contributed to a transcript that holds.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Summary {
    /// Names of the first phase's contributors, as they gave them.
    pub first: Vec<String>,
    /// Names of the second phase's; none before it starts.
    pub second: Option<Vec<String>>,
    /// Hash of the transcript.
    pub transcript: [u8; 32],
    /// BLAKE3 hash of the verifier's key that it gives, as bytes; none until both phases have [`LEAST_PARTIES`].
    pub verifier_key: Option<[u8; 32]>,
}

/// Starts a ceremony for a model: a transcript that nobody has contributed to.
///
/// # Errors
/// [`CeremonyError::Circuit`].
pub fn start(relations: &Arc<Relations>, weights: &[Vec<i64>]) -> Result<Vec<u8>, CeremonyError> {
    let circuit = super::build(relations, weights)?;
    Ok(Transcript::start(&circuit).to_bytes())
}

/// Contributes to the phase the transcript is in, after checking what others contributed: a secret on top of what does not hold
/// would be wasted. That the second phase is about the circuit's points is for [`verify`], which has the circuit. `entropy` is mixed
/// with the system's randomness and may be empty.
///
/// # Errors
/// [`CeremonyError::Name`], [`CeremonyError::Malformed`], [`CeremonyError::Invalid`], [`CeremonyError::Randomness`].
pub fn contribute(transcript: &[u8], name: &str, entropy: &[u8]) -> Result<Vec<u8>, CeremonyError> {
    check_name(name).map_err(|reason| CeremonyError::Name { reason })?;
    let mut transcript = Transcript::from_bytes(transcript)?;
    if transcript.is_full() {
        return Err(CeremonyError::OutOfTurn { reason: "the phase has 1,024 contributions, the most" });
    }
    transcript.verify_first()?;
    transcript.second.as_ref().map_or(Ok(()), |second| second.verify_chain(&transcript.digest_first()))?;
    let digest = transcript.digest();
    let secret = || -> Result<ark_bn254::Fr, CeremonyError> {
        let fresh = random().map_err(|reason| CeremonyError::Randomness { reason })?;
        let mut hash = blake3::Hasher::new_derive_key("assay groth16 ceremony secret 1");
        fresh.into_bigint().0.iter().for_each(|limb| {
            hash.update(&limb.to_le_bytes());
        });
        hash.update(entropy);
        let mut bytes = [0; 64];
        hash.finalize_xof().fill(&mut bytes);
        Ok(ark_bn254::Fr::from_le_bytes_mod_order(&bytes))
    };
    match &mut transcript.second {
        None => {
            let secrets = [secret()?, secret()?, secret()?];
            transcript.powers.multiply(secrets);
            let shares = Share::all(&digest, name, &secrets, &transcript.powers.heads());
            transcript.first.push(Contribution { name: name.into(), shares });
        }
        Some(second) => {
            let secrets = [secret()?];
            second.multiply(secrets[0]);
            let shares = Share::all(&digest, name, &secrets, &[second.delta_1]);
            second.contributions.push(Contribution { name: name.into(), shares });
        }
    }
    Ok(transcript.to_bytes())
}

/// Ends the first phase and starts the second. Anyone may do it, with the same result.
///
/// # Errors
/// As [`verify`]; [`CeremonyError::OutOfTurn`] when nobody has contributed yet or the second phase has begun.
pub fn specialise(
    relations: &Arc<Relations>,
    weights: &[Vec<i64>],
    transcript: &[u8],
) -> Result<Vec<u8>, CeremonyError> {
    let (circuit, mut transcript) = read(relations, weights, transcript)?;
    if transcript.first.is_empty() || transcript.second.is_some() {
        return Err(CeremonyError::OutOfTurn { reason: "the second phase starts once, after the first contribution" });
    }
    transcript.verify_first()?;
    transcript.second = Some(Second::start(&Initial::new(&circuit.system, &transcript.powers)));
    Ok(transcript.to_bytes())
}

/// Checks everything there is to check.
///
/// # Errors
/// [`CeremonyError`] says what does not hold.
pub fn verify(relations: &Arc<Relations>, weights: &[Vec<i64>], transcript: &[u8]) -> Result<Summary, CeremonyError> {
    check(relations, weights, transcript).map(|(summary, _)| summary)
}

/// Checks everything and makes the keys.
///
/// # Errors
/// As [`verify`]; [`CeremonyError::OutOfTurn`] when a phase has fewer than [`LEAST_PARTIES`].
pub fn finish(
    relations: &Arc<Relations>,
    weights: &[Vec<i64>],
    transcript: &[u8],
) -> Result<(ProverKey, VerifierKey), CeremonyError> {
    let (_, keys) = check(relations, weights, transcript)?;
    keys.ok_or(CeremonyError::OutOfTurn {
        reason: "each of the two phases needs contributions of two parties at least, by name: who made all of one alone could forge \
                 proofs",
    })
}

/// What a transcript that holds says, and the keys that it gives once both phases have a contribution.
fn check(
    relations: &Arc<Relations>,
    weights: &[Vec<i64>],
    transcript: &[u8],
) -> Result<(Summary, Option<(ProverKey, VerifierKey)>), CeremonyError> {
    let hash = *blake3::hash(transcript).as_bytes();
    let (circuit, transcript) = read(relations, weights, transcript)?;
    transcript.verify_first()?;
    let mut summary = transcript.summary(hash);
    let Some(second) = &transcript.second else { return Ok((summary, None)) };
    let initial = Initial::new(&circuit.system, &transcript.powers);
    second.verify(&transcript.digest_first(), &initial)?;
    let parties = |list: &[Contribution]| list.iter().map(|c| &c.name).collect::<BTreeSet<_>>().len();
    let fewest = parties(&transcript.first).min(parties(&second.contributions));
    let contributors = u32::try_from(fewest).expect("a transcript has at most 1,024 contributions");
    if contributors < LEAST_PARTIES {
        return Ok((summary, None));
    }
    let key = second.key(initial, &transcript.powers);
    let (prover, verifier) = pair(circuit, key, Provenance::Ceremony { transcript: hash, contributors });
    summary.verifier_key = Some(*blake3::hash(&Groth16::verifier_key_to_bytes(&verifier)).as_bytes());
    Ok((summary, Some((prover, verifier))))
}

fn read(
    relations: &Arc<Relations>,
    weights: &[Vec<i64>],
    transcript: &[u8],
) -> Result<(Circuit, Transcript), CeremonyError> {
    let circuit = super::build(relations, weights)?;
    let transcript = Transcript::from_bytes(transcript)?;
    if !transcript.is_of(&circuit) {
        return Err(CeremonyError::OtherCircuit);
    }
    Ok((circuit, transcript))
}

fn invalid(reason: impl Into<String>) -> CeremonyError {
    CeremonyError::Invalid { reason: reason.into() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
