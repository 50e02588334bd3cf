//! The runs of the hiding mode: what is sent is one-time-padded, and what the verifier would check it writes down.
//!
//! The pads are committed before the run. Of a message the prover sends the difference to its pad, which is uniform; the
//! verifier takes the value to be that difference plus the pad, and computes with such sums. A product of two hidden values
//! is made linear by pads `x`, `y` and `z = x y`: the prover sends `a - x` and `b - y`, and
//! `a b = (a - x)(b - y) + (a - x) y + (b - y) x + z`. Every check becomes a linear equation of pads, and these are shown
//! at the end, all at once, by the argument on the committed pads.

use std::ops::{Add, Mul, Sub};

use p3_field::PrimeCharacteristicRing;

use super::affine::{Affine, Pad};
use crate::proof::sumcheck::commitment::{Ext, Transcript};
use crate::proof::sumcheck::context::{Context, Failure, Polynomial};
use crate::proof::sumcheck::encoding::MessageReader;

/// A claim on a block of a committed list.
#[derive(Debug, Clone)]
pub(super) struct HiddenClaim<V> {
    pub(super) block: usize,
    pub(super) point: Vec<Ext>,
    pub(super) value: V,
}

/// Claims on both lists.
#[derive(Debug)]
pub(super) struct HiddenClaims<V> {
    pub(super) witness: Vec<HiddenClaim<V>>,
    pub(super) weights: Vec<HiddenClaim<V>>,
}

impl<V> Default for HiddenClaims<V> {
    fn default() -> Self {
        Self { witness: vec![], weights: vec![] }
    }
}

impl<V> HiddenClaims<V> {
    fn push(&mut self, of: Polynomial, block: usize, point: &[Ext], value: V) {
        let claim = HiddenClaim { block, point: point.to_vec(), value };
        match of {
            Polynomial::Witness => self.witness.push(claim),
            Polynomial::Weights => self.weights.push(claim),
        }
    }
}

/// How many messages and products a run has: the same for every run of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    pub(super) messages: usize,
    pub(super) products: usize,
}

/// A value that the counter knows only to be public or not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known(bool);

impl From<Ext> for Known {
    fn from(_: Ext) -> Self {
        Self(true)
    }
}

impl Add for Known {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 && other.0)
    }
}

impl Sub for Known {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 && other.0)
    }
}

impl Mul<Ext> for Known {
    type Output = Self;
    fn mul(self, _: Ext) -> Self {
        self
    }
}

/// Counts what a run sends.
pub(super) struct Counter {
    pub(super) transcript: Transcript,
    pub(super) counts: Counts,
    pub(super) claims: HiddenClaims<Known>,
}

impl Context for Counter {
    type Value = Known;

    fn message(&mut self, _: Option<Ext>) -> Result<Known, Failure> {
        self.counts.messages += 1;
        Ok(Known(false))
    }

    fn challenge(&mut self) -> Ext {
        self.transcript.challenge()
    }

    fn mul(&mut self, a: &Known, b: &Known) -> Result<Known, Failure> {
        if !a.0 && !b.0 {
            self.counts.products += 1;
        }
        Ok(*a + *b)
    }

    fn assert_zero(&mut self, _: Known, _: &'static str) -> Result<(), Failure> {
        Ok(())
    }

    fn open(&mut self, of: Polynomial, block: usize, point: &[Ext], value: Known) {
        self.claims.push(of, block, point, value);
    }
}

/// A value as the prover knows it, and whether the verifier does too.
#[derive(Debug, Clone, Copy)]
pub(super) struct Secret {
    pub(super) value: Ext,
    public: bool,
}

impl From<Ext> for Secret {
    fn from(value: Ext) -> Self {
        Self { value, public: true }
    }
}

impl Add for Secret {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { value: self.value + other.value, public: self.public && other.public }
    }
}

impl Sub for Secret {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self { value: self.value - other.value, public: self.public && other.public }
    }
}

impl Mul<Ext> for Secret {
    type Output = Self;
    fn mul(self, by: Ext) -> Self {
        Self { value: self.value * by, public: self.public }
    }
}

/// The pads of one proof.
pub(super) struct Pads {
    pub(super) messages: Vec<Ext>,
    /// Left, right, product.
    pub(super) products: [Vec<Ext>; 3],
}

/// The prover's side.
pub(super) struct HidingProver<'a> {
    pub(super) transcript: Transcript,
    pub(super) pads: &'a Pads,
    /// All that was sent.
    pub(super) sent: Vec<Ext>,
    pub(super) used: Counts,
    pub(super) claims: HiddenClaims<Secret>,
}

impl HidingProver<'_> {
    pub(super) fn send(&mut self, padded: Ext) {
        self.transcript.absorb_ext(&[padded]);
        self.sent.push(padded);
    }
}

/// What a run needs more of than was counted: a fault of the protocol's code, never of a proof.
const UNCOUNTED: Failure = Failure::Untrue("every run of a model sends the same number of messages");

impl Context for HidingProver<'_> {
    type Value = Secret;

    fn message(&mut self, honest: Option<Ext>) -> Result<Secret, Failure> {
        let value = honest.ok_or(Failure::Untrue("the prover has the cells"))?;
        let pad = *self.pads.messages.get(self.used.messages).ok_or(UNCOUNTED)?;
        self.used.messages += 1;
        self.send(value - pad);
        Ok(Secret { value, public: false })
    }

    fn challenge(&mut self) -> Ext {
        self.transcript.challenge()
    }

    fn mul(&mut self, a: &Secret, b: &Secret) -> Result<Secret, Failure> {
        if !a.public && !b.public {
            let at = self.used.products;
            let (Some(x), Some(y)) = (self.pads.products[0].get(at), self.pads.products[1].get(at)) else {
                return Err(UNCOUNTED);
            };
            self.used.products += 1;
            self.send(a.value - *x);
            self.send(b.value - *y);
        }
        Ok(Secret { value: a.value * b.value, public: a.public && b.public })
    }

    fn assert_zero(&mut self, _: Secret, _: &'static str) -> Result<(), Failure> {
        // An untrue trace gives a proof that does not verify.
        Ok(())
    }

    fn open(&mut self, of: Polynomial, block: usize, point: &[Ext], value: Secret) {
        self.claims.push(of, block, point, value);
    }
}

/// The verifier's side; the prover runs it too, to learn the equations it has to show.
pub(super) struct HidingVerifier<'a> {
    pub(super) transcript: Transcript,
    pub(super) messages: MessageReader<'a>,
    pub(super) counts: Counts,
    /// Each must be 0.
    pub(super) equations: Vec<Affine>,
    pub(super) claims: HiddenClaims<Affine>,
}

impl HidingVerifier<'_> {
    pub(super) fn receive(&mut self) -> Result<Ext, Failure> {
        let value = self.messages.next()?;
        self.transcript.absorb_ext(&[value]);
        Ok(value)
    }
}

impl Context for HidingVerifier<'_> {
    type Value = Affine;

    fn message(&mut self, _: Option<Ext>) -> Result<Affine, Failure> {
        let padded = self.receive()?;
        let pad = Affine::of(Pad::Message(number(self.counts.messages)));
        self.counts.messages += 1;
        Ok(pad + padded.into())
    }

    fn challenge(&mut self) -> Ext {
        self.transcript.challenge()
    }

    fn mul(&mut self, a: &Affine, b: &Affine) -> Result<Affine, Failure> {
        if a.pads.is_empty() {
            return Ok(b.clone() * a.constant);
        }
        if b.pads.is_empty() {
            return Ok(a.clone() * b.constant);
        }
        let at = number(self.counts.products);
        self.counts.products += 1;
        let (left, right) = (self.receive()?, self.receive()?);
        let (x, y) = (Affine::of(Pad::Left(at)), Affine::of(Pad::Right(at)));
        self.equations.push(a.clone() - left.into() - x.clone());
        self.equations.push(b.clone() - right.into() - y.clone());
        Ok(Affine::of(Pad::Product(at)) + y * left + x * right + (left * right).into())
    }

    fn assert_zero(&mut self, value: Affine, what: &'static str) -> Result<(), Failure> {
        if value.pads.is_empty() {
            return if value.constant == Ext::ZERO { Ok(()) } else { Err(Failure::Untrue(what)) };
        }
        self.equations.push(value);
        Ok(())
    }

    fn open(&mut self, of: Polynomial, block: usize, point: &[Ext], value: Affine) {
        self.claims.push(of, block, point, value);
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).expect("a proof has fewer than 2^32 messages")
}
