//! Values that the verifier does not see: public numbers plus multiples of pads.

use std::ops::{Add, Mul, Sub};

use p3_field::PrimeCharacteristicRing;

use crate::proof::sumcheck::commitment::Ext;

/// A pad: a secret number that the prover committed to before the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Pad {
    /// Hides the message of this number.
    Message(u32),
    /// Hides the left factor of the product of this number.
    Left(u32),
    /// Hides its right factor.
    Right(u32),
    /// The product of the two above.
    Product(u32),
}

/// `constant + sum(coefficient * pad)`; each pad once, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Affine {
    pub(super) constant: Ext,
    pub(super) pads: Vec<(Pad, Ext)>,
}

impl Affine {
    pub(super) fn of(pad: Pad) -> Self {
        Self { constant: Ext::ZERO, pads: vec![(pad, Ext::ONE)] }
    }

    fn merge(self, other: Self, sign: Ext) -> Self {
        let constant = self.constant + other.constant * sign;
        if self.pads.is_empty() {
            return Self { constant, pads: other.pads.into_iter().map(|(pad, c)| (pad, c * sign)).collect() };
        }
        let mut pads = Vec::with_capacity(self.pads.len() + other.pads.len());
        let (mut left, mut right) = (self.pads.into_iter().peekable(), other.pads.into_iter().peekable());
        loop {
            match (left.peek(), right.peek()) {
                (Some((l, _)), Some((r, _))) if l == r => {
                    if let (Some((pad, a)), Some((_, b))) = (left.next(), right.next()) {
                        pads.push((pad, a + b * sign));
                    }
                }
                (Some((l, _)), Some((r, _))) if l < r => pads.extend(left.next()),
                (_, Some(_)) => pads.extend(right.next().map(|(pad, c)| (pad, c * sign))),
                (Some(_), None) => pads.extend(left.next()),
                (None, None) => break,
            }
        }
        Self { constant, pads }
    }
}

impl From<Ext> for Affine {
    fn from(constant: Ext) -> Self {
        Self { constant, pads: vec![] }
    }
}

impl Add for Affine {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        self.merge(other, Ext::ONE)
    }
}

impl Sub for Affine {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self.merge(other, Ext::NEG_ONE)
    }
}

impl Mul<Ext> for Affine {
    type Output = Self;
    fn mul(mut self, by: Ext) -> Self {
        self.constant *= by;
        self.pads.iter_mut().for_each(|(_, coefficient)| *coefficient *= by);
        self
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn ext(n: u32) -> Ext {
        Ext::from_u32(n)
    }

    #[test]
    fn affine_values_add_subtract_and_scale_pad_by_pad() {
        let (a, b) = (Affine::of(Pad::Message(3)), Affine::of(Pad::Left(0)));
        let sum = a.clone() * ext(5) + b.clone() + Affine::from(ext(7)) + a.clone();
        assert_eq!(sum.constant, ext(7));
        assert_eq!(sum.pads, vec![(Pad::Message(3), ext(6)), (Pad::Left(0), ext(1))]);
        let difference = Affine::from(ext(1)) - sum;
        assert_eq!(difference.constant, -ext(6));
        assert_eq!(difference.pads, vec![(Pad::Message(3), -ext(6)), (Pad::Left(0), -ext(1))]);
    }
}
