//! Proofs of 128 bytes for what clients keep: `groth16`, for models whose keys were made.
//!
//! ```text
//! ceremony, or a public seed on a development network --> ProverKey (miners), verifier's key (on chain, in receipts)
//! ```
//!
//! Who knows the numbers that a key was made from can forge proofs for it, so the key's [`Provenance`] belongs beside every
//! verdict. Keys of a development network are made from a seed that everybody knows: they bind nobody, and say so.

use std::sync::Arc;

use super::{AnswerError, CAPACITY, RefusedAnswer, Stated, relations};
use crate::{
    Binding,
    kept::Kept,
    model::{Model, Outline},
    proof::{
        ProofSystem, SetupError,
        groth16::{self, Groth16},
    },
    relation::Relations,
};

pub use groth16::{PROOF_BYTES, Provenance};

/// Longest key that a verifier reads, in bytes: of about 500 public elements, each 15 or more inputs or outputs.
pub const MAX_KEY_BYTES: usize = 16 * 1024;

/// The seed of development networks' keys.
pub(super) const DEV_SEED: &[u8] = b"assay development network";

/// What a prover keeps for a model.
#[derive(Debug)]
pub struct Prover {
    relations: Arc<Relations>,
    key: groth16::ProverKey,
    verifier: Vec<u8>,
}

impl Prover {
    /// Reads the keys that a ceremony gave for this model.
    ///
    /// # Errors
    /// [`SetupError`] on keys of another model, or that do not belong together.
    pub fn from_bytes(model: &Model, prover: &[u8], verifier: &[u8]) -> Result<Self, SetupError> {
        let relations = relations(&model.outline())?;
        let key = groth16::ProverKey::from_bytes(&relations, model.weights(), prover)?;
        if Groth16::verifier_key_to_bytes(&key.verifier_key()) != verifier {
            let reason = "the prover's key and the verifier's are not of one set-up".into();
            return Err(SetupError::Keys { system: Groth16::NAME, reason });
        }
        Ok(Self { relations, key, verifier: verifier.to_vec() })
    }

    /// The verifier's key.
    pub fn verifier_key(&self) -> &[u8] {
        &self.verifier
    }
}

static DEV: Kept<Prover, SetupError> = Kept::new(CAPACITY);

/// The keys of a development network for this model, which every node makes by itself.
///
/// # Errors
/// [`SetupError`] where the system cannot do the model.
pub fn dev_keys(model: &Model) -> Result<Arc<Prover>, SetupError> {
    DEV.get(model.id(), || {
        let relations = relations(&model.outline())?;
        let (key, verifier) = Groth16::set_up_public(&relations, model.weights(), DEV_SEED)?;
        Ok(Prover { relations, key, verifier: Groth16::verifier_key_to_bytes(&verifier) })
    })
}

/// Reads a verifier's key for a model, from anyone, and says how it came to be. Whether it is the one that the model's users
/// agreed on is for who calls to know.
///
/// # Errors
/// [`SetupError`].
pub fn provenance(outline: &Outline, key: &[u8]) -> Result<Provenance, SetupError> {
    read(outline, key).map(|key| key.provenance())
}

fn read(outline: &Outline, key: &[u8]) -> Result<groth16::VerifierKey, SetupError> {
    if key.len() > MAX_KEY_BYTES {
        let reason = format!("{} bytes; expected at most {MAX_KEY_BYTES}", key.len());
        return Err(SetupError::Keys { system: Groth16::NAME, reason });
    }
    Groth16::verifier_key_from_bytes(relations(outline)?, key)
}

/// Proves that the model gives `output` on `input`, for this binding.
///
/// # Errors
/// [`AnswerError`].
pub fn prove(
    prover: &Prover,
    model: &Model,
    binding: &Binding,
    input: &[i16],
    output: &[i32],
) -> Result<Vec<u8>, AnswerError> {
    let stated = Stated::new::<AnswerError>(&model.outline(), binding, input, output)?;
    let trace = stated.trace(&prover.relations, model)?;
    Ok(Groth16::prove(&prover.key, &trace, stated.statement())?)
}

/// Verifies that the model gives `output` on `input`, for this binding, and says how the key came to be.
///
/// # Errors
/// [`RefusedAnswer`]; never panics, on any bytes.
pub fn verify(
    outline: &Outline,
    key: &[u8],
    binding: &Binding,
    input: &[i16],
    output: &[i32],
    proof: &[u8],
) -> Result<Provenance, RefusedAnswer> {
    let stated = Stated::new::<RefusedAnswer>(outline, binding, input, output)?;
    let key = read(outline, key)?;
    Groth16::verify(&key, stated.statement(), proof)?;
    Ok(key.provenance())
}
