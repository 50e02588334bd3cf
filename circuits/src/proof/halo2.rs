//! `halo2`: PLONKish proofs with inner-product-argument commitments on the Pasta curves, without a trusted set-up.
//!
//! ```text
//! Relations --layout--> rows --derived by everyone for himself--> circuit's key
//!                        |  \--weights--> commitment of the model (a point for each column of weights)
//! Trace, statement ------+--> halo2 proof, and the link: its weights are the committed ones
//! ```
//!
//! # Who learns what
//! Proofs are zero-knowledge, in the weights too: a proof shows the public values (the binding's digest, inputs and outputs)
//! and that the committed weights give them. The verifier needs no weights, only the commitment: `32` bytes for
//! each of the 8, 16 or 32 columns of weights. It hides them if it is salted ([`Halo2::set_up_salted`]); without a salt
//! its blinds are derived from the weights, so who can guess all weights at once can confirm the guess, and no more.
//!
//! # Nobody's key is trusted
//! A verifier's key holds the commitment to the weights and nothing else. The circuit (which row demands what, copies, tables)
//! is derived from the public relations by each verifier. So a key made by somebody else is always the key of the
//! claimed graph, with some weights: a key that proves another circuit cannot be said. Which weights, is what the model's id
//! covers: the key's digest is part of the outline of a model that was compiled for `halo2`. (Weights as fixed columns would prove faster, but each proof would tell one linear equation about each column, so
//! enough proofs would tell them all; and the library takes no verifying key from outside: its parts are private.)
//!
//! # Limits
//! At most 2^17 rows. Tables are laid out as straight pieces: a clamp or a saturating function is
//! small, a table of 2^16 arguments without structure needs the largest circuit. The library derives its parameters anew in
//! each process, in seconds for 2^12 rows and minutes for 2^17; the estimate of set-up says so.

mod circuit;
mod cost;
mod field;
mod keys;
mod layout;
mod link;
pub(crate) mod params;
mod pieces;
mod values;

use std::sync::Arc;

use halo2_proofs::poly::commitment::MSM;
use rayon::iter::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};

pub use self::keys::{ProverKey, VerifierKey};
use super::{Commitments, Estimate, ProofSystem, ProveError, SetupError, Statement, Unsupported, VerifyError};
use crate::relation::{Relations, Trace};

pub(crate) const NAME: &str = "halo2";
/// The largest circuit has 2^17 rows.
pub(crate) const MAX_K: u32 = 17;
/// The smallest has 2^9: under that no proof is cheaper.
pub(crate) const MIN_K: u32 = 9;
/// Rows at the end that the library keeps for blinding; a test compares with what it says.
pub(crate) const UNUSABLE_ROWS: usize = 6;

/// The system.
#[derive(Debug, Clone, Copy, Default)]
pub struct Halo2;

/// The layout in the shape that proves fastest.
fn plan(relations: &Relations) -> Result<layout::Layout, Unsupported> {
    let mut best: Option<layout::Layout> = None;
    let mut refused = None;
    for shape in layout::SHAPES {
        match layout::lay_out(relations, shape) {
            Ok(found) => {
                let better = best.as_ref().is_none_or(|b| cost::prove_seconds(&found) < cost::prove_seconds(b));
                best = if better { Some(found) } else { best };
            }
            Err(reason) => refused = Some(reason),
        }
    }
    best.ok_or_else(|| refused.unwrap_or(Unsupported { system: NAME, reason: "no shape".into() }))
}

impl Halo2 {
    /// As [`ProofSystem::set_up`], with a secret salt: the commitment then hides even weights that could be guessed. The same
    /// salt gives the same keys; a model's own salt those that its id tells.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn set_up_salted(
        relations: Arc<Relations>,
        weights: &[Vec<i64>],
        salt: &[u8; 32],
    ) -> Result<(ProverKey, VerifierKey), SetupError> {
        keys::set_up(relations, weights, Some(salt))
    }

    /// The [digest](VerifierKey::digest) of the verifier's key of [`Self::set_up_salted`], without making the circuit's key.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn commitment(relations: &Relations, weights: &[Vec<i64>], salt: &[u8; 32]) -> Result<[u8; 32], SetupError> {
        keys::commitment(relations, weights, salt)
    }
}

impl ProofSystem for Halo2 {
    type ProverKey = ProverKey;
    type VerifierKey = VerifierKey;

    const NAME: &'static str = NAME;

    fn supports(relations: &Relations) -> Result<(), Unsupported> {
        plan(relations).map(|_| ())
    }

    fn estimate(relations: &Relations) -> Estimate {
        let none = Estimate {
            setup_s: f64::INFINITY,
            prove_s: f64::INFINITY,
            verify_s: f64::INFINITY,
            memory_mib: f64::INFINITY,
            proof_bytes: 0,
        };
        plan(relations).map_or(none, |layout| cost::estimate(&layout))
    }

    fn set_up(relations: Arc<Relations>, weights: &[Vec<i64>]) -> Result<(ProverKey, VerifierKey), SetupError> {
        keys::set_up(relations, weights, None)
    }

    fn prove(key: &ProverKey, trace: &Trace, statement: Statement<'_>) -> Result<Vec<u8>, ProveError> {
        key.prove(trace, statement)
    }

    fn verify(key: &VerifierKey, statement: Statement<'_>, proof: &[u8]) -> Result<(), VerifyError> {
        holds(key.sum(statement, proof)?)
    }

    fn verify_batch(key: &VerifierKey, batch: &[(Statement<'_>, &[u8])]) -> Result<(), (usize, VerifyError)> {
        let sums: Vec<_> = batch
            .par_iter()
            .enumerate()
            .map(|(at, (statement, proof))| {
                let mut sum = key.sum(*statement, proof).map_err(|e| (at, e))?;
                sum.scale(key.scale().map_err(|e| (at, e))?);
                Ok(sum)
            })
            .collect::<Result<_, (usize, VerifyError)>>()?;
        let mut all = key.empty();
        sums.iter().for_each(|sum| all.add_msm(sum));
        if all.eval() {
            return Ok(());
        }
        // Which one, takes them one by one.
        for (at, sum) in sums.into_iter().enumerate() {
            holds(sum).map_err(|e| (at, e))?;
        }
        Err((0, VerifyError::Invalid { reason: "the batch's sum is not zero".into() }))
    }

    fn committed(commitments: &Commitments) -> Result<(), SetupError> {
        commitments.halo2_digest().map(drop)
    }

    fn check_key(key: &VerifierKey, commitments: &Commitments) -> Result<(), SetupError> {
        let own = commitments.halo2_digest()? == key.digest();
        if own { Ok(()) } else { Err(SetupError::OtherModel { system: NAME }) }
    }

    fn verifier_key_to_bytes(key: &VerifierKey) -> Vec<u8> {
        key.to_bytes()
    }

    fn verifier_key_from_bytes(relations: Arc<Relations>, bytes: &[u8]) -> Result<VerifierKey, SetupError> {
        VerifierKey::from_bytes(relations, bytes)
    }
}

fn holds(sum: MSM<'_, halo2_proofs::pasta::EqAffine>) -> Result<(), VerifyError> {
    if sum.eval() { Ok(()) } else { Err(VerifyError::Invalid { reason: "the proof's sum is not zero".into() }) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
