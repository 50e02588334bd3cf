//! The one rounding rule: `x * M + 2^(s - 1) = q * 2^s + r` with `0 <= r < 2^s`, and `y = clamp(q, low, high)`.
//!
//! With one public `M` the remainder is a derived column; with one for each index of an axis, `M` is spread by a wire, `r` is
//! committed and a [`super::super::Zero`] ties it. `r` always lies in a range of exactly `s` bits.
//!
//! Unique, given that `q` lies in some interval of `2^w` integers with `w + s <= 63`: of two choices,
//! `(q - q') * 2^s = r' - r`, where the left is under `2^63` and the right under `2^s`: it holds as integers, the right is no
//! multiple of `2^s` but 0, so `q = q'` and `r = r'`. The interval comes from one of three:
//!
//! - *exact*: no input in range makes the clamp bite; `y` is `q`, and `q - low` lies in a range (`w <= 16`), or a
//!   table that a following lookup looks `y` up in holds it;
//! - *narrow*: `q` fits 16 bits; `(q, y)` lies in a table of clamped values, or that of the lookup which follows and does both.
//!   Unique: a table is a function;
//! - *wide*: `q = y + up - down`, `up` and `down` in ranges of up to `62 - s` bits, `up * (high - y) = 0` and
//!   `down * (y - low) = 0`, and `high - y` and `y - low` in ranges. `up` and what keeps `y` from passing `high` are there only
//!   if some input makes `q` pass `high`, `down` and what keeps `y` from `low` likewise; one is. So `q` lies in an interval
//!   whose product with `2^s` is under `2^63 + 2^57 < p` (refused otherwise), and the argument above holds. Given `q`, `y` is
//!   unique: with `low < high`, at most one of `up` and `down` is not 0 (`y` cannot be both ends), and then `y` is that end: `q`
//!   under `low`, between, or over `high` leave one choice each. With `low = high` there is nothing to prove: `y` is that
//!   number.

use crate::{
    graph::{Index, Multiplier},
    relation::{
        ColumnId, Factor, Hint, Table,
        builder::{Bounds, Builder, bits_of, width_of},
    },
};

/// What is asked for.
pub(in crate::relation) struct Rescale {
    /// `M`; its column where it is not one number.
    pub(in crate::relation) multiplier: (Multiplier, Option<ColumnId>),
    /// `s`.
    pub(in crate::relation) shift: u8,
    /// Where the clamp begins.
    pub(in crate::relation) low: i64,
    /// Where the clamp ends.
    pub(in crate::relation) high: i64,
    /// What the graph says of the result.
    pub(in crate::relation) bounds: Bounds,
    /// What reads the result.
    pub(in crate::relation) readers: Readers,
}

/// What reads a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::relation) enum Readers {
    /// Lookups only.
    Lookups,
    /// A lookup, and others.
    SomeLookup,
    /// No lookup.
    NoLookup,
}

/// A quotient in 16 bits whose clamp is left to the lookups that read it.
pub(in crate::relation) struct Unclamped {
    pub(in crate::relation) quotient: ColumnId,
    pub(in crate::relation) quotient_low: i64,
    pub(in crate::relation) quotient_high: i64,
    pub(in crate::relation) low: i64,
    pub(in crate::relation) high: i64,
}

/// The result of the gadget.
pub(in crate::relation) enum Rescaled {
    Clamped(ColumnId),
    Unclamped(Unclamped),
}

/// Adds the gadget.
pub(in crate::relation) fn build(b: &mut Builder, x: ColumnId, op: &Rescale) -> Result<Rescaled, String> {
    let (low, high, shift) = (op.low, op.high, op.shift);
    let factor = spread(b, x, op)?;
    let (ql, qh) = quotient_bounds(b, x, factor, op)?;
    let exact = low <= ql && qh <= high;
    let narrow = -(1 << 15) <= ql && qh < 1 << 15;
    if !exact && !narrow {
        return wide(b, x, factor, (ql, qh), op).map(Rescaled::Clamped);
    }
    let hint = Hint::Rescaled { x, factor, shift, low: i64::MIN, high: i64::MAX };
    let quotient = b.witness(x, (ql, qh), hint, "quotient");
    remainder(b, x, factor, shift, vec![(1, quotient)]);
    if exact {
        if op.readers == Readers::NoLookup {
            let over = b.linear_within(vec![(1, quotient)], -ql, (0, qh - ql), "over");
            b.range(over, width_of(qh - ql));
        }
        return Ok(Rescaled::Clamped(quotient));
    }
    if op.readers == Readers::Lookups {
        let unclamped = Unclamped { quotient, quotient_low: ql, quotient_high: qh, low, high };
        return Ok(Rescaled::Unclamped(unclamped));
    }
    let bits = 1 + bits_of(qh.max(-1 - ql));
    let table = Table::Clamp { bits, low: low as i16, high: high as i16 };
    Ok(Rescaled::Clamped(b.looked(table, quotient, op.bounds, "clamped")))
}

/// `M` cell by cell, where it is not one number.
fn spread(b: &mut Builder, x: ColumnId, op: &Rescale) -> Result<Factor, String> {
    match op.multiplier {
        (Multiplier::Uniform(m), _) => Ok(Factor::Constant(m.into())),
        (Multiplier::PerAxis(axis), Some(column)) => {
            let shape = b.shape(x).to_vec();
            let axis = usize::from(axis);
            let (before, size) = (shape[..axis].iter().product::<usize>(), shape[axis]);
            let after = shape[axis + 1..].iter().product::<usize>();
            let loops = vec![(before as u32, 0), (size as u32, 1), (after as u32, 0)];
            Ok(Factor::Column(b.moved(column, Index::Strided { offset: 0, loops }, shape, "multiplier")))
        }
        (Multiplier::PerAxis(_), None) => Err("the multipliers are missing".into()),
    }
}

/// Between which bounds the quotient lies, before the clamp.
fn quotient_bounds(b: &Builder, x: ColumnId, factor: Factor, op: &Rescale) -> Result<Bounds, String> {
    let (xl, xh) = b.bounds(x);
    let (ml, mh) = match factor {
        Factor::Constant(m) => (m, m),
        Factor::Column(column) => b.bounds(column),
    };
    let half = 1_i128 << (op.shift - 1);
    let ends =
        [(xl, ml), (xl, mh), (xh, ml), (xh, mh)].map(|(x, m)| (i128::from(x) * i128::from(m) + half) >> op.shift);
    let least = ends.into_iter().min().unwrap_or_default();
    let most = ends.into_iter().max().unwrap_or_default();
    if most.max(-least) >= 1 << 62 {
        return Err(format!("a quotient from {least} to {most} is too wide"));
    }
    // Where the graph knows more than the clamp says, the clamp does not bite and the quotient keeps to it as well.
    let (mut ql, mut qh) = (least as i64, most as i64);
    if op.bounds.0 > op.low {
        ql = ql.max(op.bounds.0);
    }
    if op.bounds.1 < op.high {
        qh = qh.min(op.bounds.1);
    }
    if ql > qh {
        return Err(format!("bounds {} to {} are not those of its operands", op.bounds.0, op.bounds.1));
    }
    Ok((ql, qh))
}

/// Demands that `x * M + 2^(s - 1) - 2^s * quotient` lies in a range of `s` bits, for a quotient that is a sum.
fn remainder(b: &mut Builder, x: ColumnId, factor: Factor, shift: u8, quotient: Vec<(i64, ColumnId)>) {
    let half = 1_i64 << (shift - 1);
    let bounds = (0, (1 << shift) - 1);
    let dropped = match factor {
        Factor::Constant(m) => {
            let mut terms = vec![(m, x)];
            terms.extend(quotient.into_iter().map(|(sign, column)| (-sign << shift, column)));
            b.linear_within(terms, half, bounds, "remainder")
        }
        Factor::Column(m) => {
            let dropped = b.witness(x, bounds, Hint::Dropped { x, factor, shift }, "remainder");
            let mut terms = vec![(1, vec![x, m]), (-1, vec![dropped])];
            terms.extend(quotient.into_iter().map(|(sign, column)| (-sign << shift, vec![column])));
            b.zero(terms, half);
            dropped
        }
    };
    b.range(dropped, shift);
}

/// The gadget for quotients over 16 bits.
fn wide(b: &mut Builder, x: ColumnId, factor: Factor, (ql, qh): Bounds, op: &Rescale) -> Result<ColumnId, String> {
    let (low, high, shift) = (op.low, op.high, op.shift);
    if low == high {
        return Ok(b.constant(x, low, "clamped"));
    }
    let spans = [qh - high, low - ql].map(|over| if over > 0 { 1_i128 << bits_of(over) } else { 0 });
    if (spans[0] + spans[1] + (1 << width_of(high - low))) << shift > (1 << 63) + (1 << 57) {
        return Err(format!("a quotient from {ql} to {qh} is too wide for a shift of {shift}"));
    }
    let hint = Hint::Rescaled { x, factor, shift, low, high };
    let clamped = b.witness(x, op.bounds, hint, "clamped");
    let mut quotient = vec![(1, clamped)];
    if qh > high {
        let up = b.witness(x, (0, qh - high), Hint::Above { x, factor, shift, high }, "up");
        b.range(up, bits_of(qh - high));
        b.zero(vec![(high, vec![up]), (-1, vec![up, clamped])], 0);
        quotient.push((1, up));
    }
    if ql < low {
        let down = b.witness(x, (0, low - ql), Hint::Below { x, factor, shift, low }, "down");
        b.range(down, bits_of(low - ql));
        b.zero(vec![(1, vec![down, clamped]), (-low, vec![down])], 0);
        quotient.push((-1, down));
    }
    // An end that the quotient never passes needs no guard, nor does one that the other's range ends at.
    let width = width_of(high - low);
    let whole = high - low == (1 << width) - 1;
    if qh > high {
        let under = b.linear_within(vec![(-1, clamped)], high, (0, high - low), "under");
        b.range(under, width);
    }
    if ql < low && !(qh > high && whole) {
        let over = b.linear_within(vec![(1, clamped)], -low, (0, high - low), "over");
        b.range(over, width);
    }
    remainder(b, x, factor, shift, quotient);
    Ok(clamped)
}
