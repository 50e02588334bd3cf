//! What a run of the protocol is done with: the same steps prove, verify and count.

use std::ops::{Add, Mul, Sub};

use p3_field::{Field, PrimeCharacteristicRing};

use super::commitment::{Claim, Ext, Transcript};
use super::encoding::MessageReader;

/// Why a run stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::proof::sumcheck) enum Failure {
    /// The proof has fewer messages than the protocol, or one that is not a field element.
    Malformed(String),
    /// A check that did not hold, by its name.
    Untrue(&'static str),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Malformed(reason) => f.write_str(reason),
            Self::Untrue(check) => write!(f, "it does not hold: {check}"),
        }
    }
}

/// A committed list of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proof::sumcheck) enum Polynomial {
    /// The prover's, for this proof.
    Witness,
    /// The model's.
    Weights,
}

/// One side of a run. The protocol's steps are written over it once: what the verifier checks is what the prover ran.
///
/// Values are the prover's messages and what is computed from them: linear combinations with public coefficients, and
/// the products of [`Context::mul`] only, so that a context may keep them hidden.
pub(in crate::proof::sumcheck) trait Context {
    /// A value that the prover is bound to.
    type Value: Clone
        + From<Ext>
        + Add<Output = Self::Value>
        + Sub<Output = Self::Value>
        + Mul<Ext, Output = Self::Value>;

    /// The prover's next message; bound before the next challenge. The prover gives it, the verifier reads it.
    fn message(&mut self, honest: Option<Ext>) -> Result<Self::Value, Failure>;

    /// The verifier's next random choice.
    fn challenge(&mut self) -> Ext;

    /// The product.
    fn mul(&mut self, a: &Self::Value, b: &Self::Value) -> Result<Self::Value, Failure>;

    /// Demands that a value is 0.
    fn assert_zero(&mut self, value: Self::Value, what: &'static str) -> Result<(), Failure>;

    /// Demands that a block of a committed list has this value at this point; shown at the run's end.
    fn open(&mut self, of: Polynomial, block: usize, point: &[Ext], value: Self::Value);
}

/// What a run leaves to be shown by the commitments.
#[derive(Debug, Default)]
pub(super) struct Openings {
    /// Of the prover's list.
    pub(super) witness: Vec<Claim>,
    /// Of the weights.
    pub(super) weights: Vec<Claim>,
}

impl Openings {
    fn push(&mut self, of: Polynomial, block: usize, point: &[Ext], value: Ext) {
        let claim = Claim { block, point: point.to_vec(), value };
        match of {
            Polynomial::Witness => self.witness.push(claim),
            Polynomial::Weights => self.weights.push(claim),
        }
    }
}

/// The prover's side in the open: keeps each message.
pub(super) struct Prover {
    pub(super) transcript: Transcript,
    pub(super) messages: Vec<Ext>,
    pub(super) openings: Openings,
}

impl Context for Prover {
    type Value = Ext;

    fn message(&mut self, honest: Option<Ext>) -> Result<Ext, Failure> {
        let value = honest.ok_or(Failure::Untrue("the prover has the cells"))?;
        self.transcript.absorb_ext(&[value]);
        self.messages.push(value);
        Ok(value)
    }

    fn challenge(&mut self) -> Ext {
        self.transcript.challenge()
    }

    fn mul(&mut self, a: &Ext, b: &Ext) -> Result<Ext, Failure> {
        Ok(*a * *b)
    }

    fn assert_zero(&mut self, _: Ext, _: &'static str) -> Result<(), Failure> {
        // An untrue trace gives a proof that does not verify.
        Ok(())
    }

    fn open(&mut self, of: Polynomial, block: usize, point: &[Ext], value: Ext) {
        self.openings.push(of, block, point, value);
    }
}

/// The verifier's side in the open: reads each message.
pub(super) struct Verifier<'a> {
    pub(super) transcript: Transcript,
    pub(super) messages: MessageReader<'a>,
    pub(super) openings: Openings,
}

impl Context for Verifier<'_> {
    type Value = Ext;

    fn message(&mut self, _: Option<Ext>) -> Result<Ext, Failure> {
        let value = self.messages.next()?;
        self.transcript.absorb_ext(&[value]);
        Ok(value)
    }

    fn challenge(&mut self) -> Ext {
        self.transcript.challenge()
    }

    fn mul(&mut self, a: &Ext, b: &Ext) -> Result<Ext, Failure> {
        Ok(*a * *b)
    }

    fn assert_zero(&mut self, value: Ext, what: &'static str) -> Result<(), Failure> {
        if value == Ext::ZERO { Ok(()) } else { Err(Failure::Untrue(what)) }
    }

    fn open(&mut self, of: Polynomial, block: usize, point: &[Ext], value: Ext) {
        self.openings.push(of, block, point, value);
    }
}

/// A challenge to divide by. Zero comes up with probability 2^-128 and then fails the run.
pub(super) fn inverse(x: Ext) -> Result<Ext, Failure> {
    x.try_inverse().ok_or(Failure::Untrue("a challenge is not zero"))
}
