//! Lookups in tables of any values, without lookups: the index in two halves, monomials of each half's bits, and a product for each
//! kind of row.
//!
//! A table of `2^n` values is a matrix, high bits by low bits. Its value is `first(high) + sum over kinds of rows(is_kind(high) * rest(low))`:
//! rows that differ by a constant are one kind, rows that are constant need no product. Functions of few bits are sums of monomials
//! of them, so 8 bits cost at most 8 + 11 + 11 + 15 constraints and 16 bits 16 + 247 + 247 + 255.

use std::{collections::HashMap, sync::Arc};

use super::{
    bounds::Interval,
    builder::{Affine, Builder, Full, Source},
    public::bits_of,
    r1cs::Sum,
};

/// A function of bits as coefficients of monomials, by mask of the bits.
type Monomials = Vec<(usize, i128)>;

/// How the values of a window of a table are made.
#[derive(Debug)]
pub(super) struct Plan {
    base: i64,
    count: u32,
    domain: Interval,
    shape: Shape,
}

#[derive(Debug)]
enum Shape {
    /// `clamp(x, low, high) + add`.
    Clamp { low: i64, high: i64, add: i64 },
    /// A matrix of this many low bits.
    Matrix { low_bits: u32, first: Monomials, kinds: Vec<(Monomials, Monomials)> },
}

impl Plan {
    /// Of a table, for an `x` that honest provers keep within bounds.
    pub(super) fn new(low: i64, values: &Arc<[i16]>, within: Interval) -> Self {
        let last = i64::try_from(values.len()).unwrap_or(i64::MAX).saturating_sub(1).max(0);
        let domain = (low, low + last);
        let from = within.0.clamp(domain.0, domain.1);
        let to = within.1.clamp(from, domain.1);
        let count = bits_of(i128::from(to) - i128::from(from));
        let base = from.min(domain.1 + 1 - (1 << count)).max(domain.0);
        let value = |i: i64| values.get(usize::try_from((base - low + i).min(last)).unwrap_or(0)).copied().unwrap_or(0);
        let window: Vec<i64> = (0..1 << count).map(|i| i64::from(value(i))).collect();
        let shape = clamp_like(base, &window).unwrap_or_else(|| matrix(&window, count));
        Self { base, count, domain, shape }
    }

    /// The table's value at `x`, which is held to the table.
    pub(super) fn apply(&self, builder: &mut Builder, x: &Sum, of: Source, within: Interval) -> Result<Affine, Full> {
        match &self.shape {
            Shape::Clamp { low, high, add } => {
                // The values are a clamp's within the window only.
                let domain = (self.base, self.domain.1.min(self.base + (1 << self.count) - 1));
                let mut value = builder.clamp(x, of, within, domain, (*low, *high))?;
                value.plus = value.plus.plus(i128::from(*add));
                Ok(value)
            }
            Shape::Matrix { low_bits, first, kinds } => {
                let bits = builder.window(x, of, self.base, self.count, self.domain)?;
                let (low, high) = bits.split_at(*low_bits as usize);
                let (mut low, mut high) = (Half::new(low), Half::new(high));
                let mut plus = high.sum(builder, first)?;
                let mut product = None;
                for (is_kind, rest) in kinds {
                    let factors = (high.sum(builder, is_kind)?, low.sum(builder, rest)?);
                    if let Some((a, b)) = product.replace(factors) {
                        plus.add_sum(&builder.product(a, b)?, 1);
                    }
                }
                Ok(Affine { product, plus })
            }
        }
    }
}

/// Some of the bits and the monomials of them that have a variable.
struct Half {
    monomials: Vec<Option<Sum>>,
}

impl Half {
    fn new(bits: &[Sum]) -> Self {
        let mut monomials = vec![None; 1 << bits.len()];
        monomials[0] = Some(Sum::constant(1));
        for (at, bit) in bits.iter().enumerate() {
            monomials[1 << at] = Some(bit.clone());
        }
        Self { monomials }
    }

    fn monomial(&mut self, builder: &mut Builder, mask: usize) -> Result<Sum, Full> {
        if let Some(sum) = &self.monomials[mask] {
            return Ok(sum.clone());
        }
        let lowest = mask & mask.wrapping_neg();
        let rest = self.monomial(builder, mask ^ lowest)?;
        let bit = self.monomial(builder, lowest)?;
        let product = builder.product(bit, rest)?;
        self.monomials[mask] = Some(product.clone());
        Ok(product)
    }

    fn sum(&mut self, builder: &mut Builder, function: &Monomials) -> Result<Sum, Full> {
        let mut sum = Sum::default();
        for (mask, coefficient) in function {
            sum.add_sum(&self.monomial(builder, *mask)?, *coefficient);
        }
        Ok(sum)
    }
}

/// The values as a clamp of their index, if they are one.
fn clamp_like(base: i64, window: &[i64]) -> Option<Shape> {
    let (first, last) = (*window.first()?, *window.last()?);
    let position = |at: usize| base + i64::try_from(at).unwrap_or(i64::MAX);
    let Some(rise) = window.windows(2).position(|pair| pair[0] != pair[1]) else {
        // Constant: all of the window is below the clamp.
        let low = position(window.len());
        return Some(Shape::Clamp { low, high: low, add: first - low });
    };
    let add = window[rise] - position(rise);
    let matches =
        first <= last && window.iter().enumerate().all(|(at, value)| *value == (position(at) + add).clamp(first, last));
    matches.then_some(Shape::Clamp { low: first - add, high: last - add, add })
}

/// The values as a matrix, with the split that costs least.
fn matrix(window: &[i64], count: u32) -> Shape {
    let monomials = |bits: u32| (1_usize << bits) - bits as usize - 1;
    let cost = |low_bits: u32| monomials(low_bits) + monomials(count - low_bits) + kinds(window, low_bits).len();
    let low_bits = (0..=count).min_by_key(|low_bits| cost(*low_bits)).unwrap_or(0);
    let rows = 1_usize << (count - low_bits);
    let first: Vec<i128> = window.chunks(1 << low_bits).map(|row| i128::from(row[0])).collect();
    let kinds = kinds(window, low_bits).into_iter().map(|(rest, members)| {
        let mut is_kind = vec![0; rows];
        for row in members {
            is_kind[row] = 1;
        }
        (to_monomials(is_kind), to_monomials(rest.into_iter().map(i128::from).collect()))
    });
    let kinds = kinds.collect();
    Shape::Matrix { low_bits, first: to_monomials(first), kinds }
}

/// The kinds of rows that are not constant, less their first value, each with its rows.
fn kinds(window: &[i64], low_bits: u32) -> Vec<(Vec<i64>, Vec<usize>)> {
    let mut positions: HashMap<Vec<i64>, usize> = HashMap::new();
    let mut kinds: Vec<(Vec<i64>, Vec<usize>)> = Vec::new();
    for (at, row) in window.chunks(1 << low_bits).enumerate() {
        let rest: Vec<i64> = row.iter().map(|v| v - row[0]).collect();
        if rest.iter().all(|v| *v == 0) {
            continue;
        }
        let position = *positions.entry(rest.clone()).or_insert_with(|| {
            kinds.push((rest, Vec::new()));
            kinds.len() - 1
        });
        kinds[position].1.push(at);
    }
    kinds
}

/// The values of a function of bits as coefficients of monomials.
fn to_monomials(mut values: Vec<i128>) -> Monomials {
    let mut bit = 1;
    while bit < values.len() {
        for at in 0..values.len() {
            if at & bit != 0 {
                values[at] -= values[at ^ bit];
            }
        }
        bit <<= 1;
    }
    values.into_iter().enumerate().filter(|(_, c)| *c != 0).collect()
}
