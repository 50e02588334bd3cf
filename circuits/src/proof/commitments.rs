//! What ties a model's id to its weights: a commitment for each proof system that asks for one.
//!
//! | system | its commitment to the weights | what it is |
//! |---|---|---|
//! | `sumcheck` | [`SumcheckCommitment::Plain`] | the root of the weights; who can guess all of them can test the guess |
//! | `sumcheck-hiding` | [`SumcheckCommitment::Hiding`] | the root of blinded weights; in the place of the plain one |
//! | `halo2` | [`Commitments::halo2`] | the digest of the verifier's key, which holds Pedersen commitments blinded from the salt |
//! | `groth16` | none | weights are constants of its circuit: who holds them checks the ceremony that made the key |
//!
//! They are part of a model's outline, so of its id: a key that commits to other weights of the same graph is refused under
//! the model's name, by [`crate::model::Outline::verifier_key`].

use borsh::{BorshDeserialize, BorshSerialize};

use super::{
    SetupError,
    sumcheck::{self, commitment},
};
use crate::graph::Graph;

/// Names of systems that a program may have been built without.
const HIDING: &str = "sumcheck-hiding";
const HALO2: &str = "halo2";

/// For which systems a model's weights are committed to. `sumcheck` is always among them, in one of its modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Systems {
    /// Secret weights: for `sumcheck-hiding` and not for plain `sumcheck`. The model's salt must be random and stay secret.
    pub secret: bool,
    /// For `halo2` too. Its parameters are derived anew in each process that makes or reads such a model, in seconds where
    /// the circuit has 2^12 rows and minutes where it has 2^17.
    pub halo2: bool,
}

/// The commitment of `sumcheck`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum SumcheckCommitment {
    /// [`commitment::weight_commitment`].
    Plain([u8; 32]),
    /// [`sumcheck::hiding::commitment`].
    Hiding([u8; 32]),
}

/// The commitments to a model's weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Commitments {
    /// For `sumcheck`.
    pub sumcheck: SumcheckCommitment,
    /// For `halo2`, if the model was compiled for it: the [digest](super::halo2::VerifierKey::digest) of its verifier's key.
    pub halo2: Option<[u8; 32]>,
}

impl Commitments {
    /// Commits to the weights of a checked graph.
    ///
    /// # Errors
    /// [`SetupError`] where one of the systems cannot.
    pub fn of(graph: &Graph, weights: &[Vec<i64>], salt: &[u8; 32], systems: Systems) -> Result<Self, SetupError> {
        let unfit = |e: commitment::Unfit| SetupError::Weights { reason: e.to_string() };
        let sumcheck = if systems.secret {
            if *salt == [0; 32] {
                let reason = "secret weights need a salt of 32 random bytes, to be kept secret".into();
                return Err(SetupError::Weights { reason });
            }
            SumcheckCommitment::Hiding(hide(weights, salt)?)
        } else {
            SumcheckCommitment::Plain(commitment::weight_commitment(weights).map_err(unfit)?)
        };
        let halo2 = systems.halo2.then(|| halo2_digest(graph, weights, salt)).transpose()?;
        Ok(Self { sumcheck, halo2 })
    }

    /// A plain root and nothing else.
    pub const fn plain(root: [u8; 32]) -> Self {
        Self { sumcheck: SumcheckCommitment::Plain(root), halo2: None }
    }

    /// For which systems these are.
    pub const fn systems(&self) -> Systems {
        Systems { secret: matches!(self.sumcheck, SumcheckCommitment::Hiding(_)), halo2: self.halo2.is_some() }
    }

    /// The root that a plain `sumcheck` proof is of.
    ///
    /// # Errors
    /// [`SetupError::NotCommitted`].
    pub fn plain_root(&self) -> Result<[u8; 32], SetupError> {
        match self.sumcheck {
            SumcheckCommitment::Plain(root) => Ok(root),
            SumcheckCommitment::Hiding(_) => Err(SetupError::NotCommitted {
                system: sumcheck::NAME,
                reason: "its weights are secret, and plain proofs would tell them bit by bit. Use sumcheck-hiding",
            }),
        }
    }

    /// The root that a `sumcheck-hiding` proof is of.
    ///
    /// # Errors
    /// [`SetupError::NotCommitted`].
    pub fn hiding_root(&self) -> Result<[u8; 32], SetupError> {
        match self.sumcheck {
            SumcheckCommitment::Hiding(root) => Ok(root),
            SumcheckCommitment::Plain(_) => Err(SetupError::NotCommitted {
                system: HIDING,
                reason: "its id holds the plain root of its weights, which hides nothing. Compile it with `--secret`",
            }),
        }
    }

    /// The digest of the model's own `halo2` key.
    ///
    /// # Errors
    /// [`SetupError::NotCommitted`].
    pub fn halo2_digest(&self) -> Result<[u8; 32], SetupError> {
        self.halo2.ok_or(SetupError::NotCommitted {
            system: HALO2,
            reason: "its id does not tell which halo2 key is its own. Compile it with `--systems sumcheck,halo2`",
        })
    }
}

#[cfg(feature = "hiding")]
fn hide(weights: &[Vec<i64>], salt: &[u8; 32]) -> Result<[u8; 32], SetupError> {
    sumcheck::hiding::commitment(weights, salt).map_err(|e| SetupError::Weights { reason: e.to_string() })
}

#[cfg(not(feature = "hiding"))]
fn hide(_: &[Vec<i64>], _: &[u8; 32]) -> Result<[u8; 32], SetupError> {
    Err(SetupError::Keys { system: HIDING, reason: "this program was built without the feature `hiding`".into() })
}

#[cfg(feature = "halo2")]
fn halo2_digest(graph: &Graph, weights: &[Vec<i64>], salt: &[u8; 32]) -> Result<[u8; 32], SetupError> {
    let refused = |reason: String| SetupError::Keys { system: HALO2, reason };
    let relations = crate::relation::Relations::of(graph).map_err(|e| refused(e.to_string()))?;
    super::halo2::Halo2::commitment(&relations, weights, salt)
}

#[cfg(not(feature = "halo2"))]
fn halo2_digest(_: &Graph, _: &[Vec<i64>], _: &[u8; 32]) -> Result<[u8; 32], SetupError> {
    Err(SetupError::Keys { system: HALO2, reason: "this program was built without the feature `halo2`".into() })
}
