//! The sumcheck itself: round polynomials, bound variable by variable.
//!
//! A round's polynomial `g` of degree `d >= 2` is sent as `g(0), g(2), .., g(d - 1)` and its leading coefficient. What
//! the running claim says gives `g(1)`, so that there is nothing to check in a round. In a *weighted* sumcheck of
//! `sum(eq(z, x) f(x))` the known factor `eq(z_i, X)` stays out of the message (Gruen): the polynomial sent is that
//! of the rest, and the claim never carries the factors of bound variables.

use p3_field::PrimeCharacteristicRing;

use super::commitment::{Base, Ext};
use super::context::{Context, Failure, inverse};

/// The prover's side of one sumcheck.
pub(super) trait Rounds {
    /// `g(0), g(2), .., g(d - 1)` and the leading coefficient of the next round's polynomial.
    fn message(&mut self) -> Vec<Ext>;
    /// Binds the next variable.
    fn bind(&mut self, r: Ext);
}

/// What the running claim says of `g(0)` and `g(1)`.
#[derive(Clone, Copy)]
enum Split {
    /// `claim = g(0) + g(1)`.
    Sum,
    /// `claim = (1 - z) g(0) + z g(1)`.
    Weighted(Ext),
}

/// A sumcheck of `rounds` rounds and this degree; gives the last claim and the point.
pub(super) fn sumcheck<C: Context>(
    c: &mut C,
    mut claim: C::Value,
    rounds: usize,
    degree: usize,
    mut prover: Option<&mut dyn Rounds>,
) -> Result<(C::Value, Vec<Ext>), Failure> {
    let mut point = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let (next, r) = round(c, &claim, degree, Split::Sum, prover.as_mut().map(|p| p.message()))?;
        if let Some(p) = prover.as_mut() {
            p.bind(r);
        }
        claim = next;
        point.push(r);
    }
    Ok((claim, point))
}

/// A sumcheck weighted by `eq(z, x)`: the last claim has no such factor.
pub(super) fn weighted_sumcheck<C: Context>(
    c: &mut C,
    mut claim: C::Value,
    z: &[Ext],
    degree: usize,
    mut prover: Option<&mut dyn Rounds>,
) -> Result<(C::Value, Vec<Ext>), Failure> {
    let mut point = Vec::with_capacity(z.len());
    for &z in z {
        let (next, r) = round(c, &claim, degree, Split::Weighted(z), prover.as_mut().map(|p| p.message()))?;
        if let Some(p) = prover.as_mut() {
            p.bind(r);
        }
        claim = next;
        point.push(r);
    }
    Ok((claim, point))
}

fn round<C: Context>(
    c: &mut C,
    claim: &C::Value,
    degree: usize,
    split: Split,
    sent: Option<Vec<Ext>>,
) -> Result<(C::Value, Ext), Failure> {
    debug_assert!(degree >= 2 && sent.as_ref().is_none_or(|s| s.len() == degree));
    let mut read = |at: usize| c.message(sent.as_ref().and_then(|s| s.get(at).copied()));
    let zero = read(0)?;
    let mut values = vec![zero.clone(), zero.clone()];
    for at in 1..degree - 1 {
        values.push(read(at)?);
    }
    let leading = read(degree - 1)?;
    values[1] = match split {
        Split::Sum => claim.clone() - zero,
        Split::Weighted(z) => (claim.clone() - zero * (Ext::ONE - z)) * inverse(z)?,
    };
    let r = c.challenge();
    // g(X) = leading * X (X - 1) .. (X - d + 1) + the polynomial through the values at 0 .. d - 1.
    let mut next = leading * falling(r, degree);
    for (value, weight) in values.into_iter().zip(lagrange(r, degree)) {
        next = next + value * weight;
    }
    Ok((next, r))
}

/// `x (x - 1) .. (x - n + 1)`.
fn falling(x: Ext, n: usize) -> Ext {
    (0..n).map(|i| x - Ext::from_usize(i)).product()
}

/// The values at `x` of the Lagrange polynomials of the positions `0 .. n`.
fn lagrange(x: Ext, n: usize) -> Vec<Ext> {
    (0..n)
        .map(|i| {
            let mut above = Ext::ONE;
            let mut below = Base::ONE;
            for j in (0..n).filter(|&j| j != i) {
                above *= x - Ext::from_usize(j);
                below *= Base::from_usize(i) - Base::from_usize(j);
            }
            above * p3_field::Field::inverse(&below)
        })
        .collect()
}
