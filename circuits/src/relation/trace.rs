//! A trace: every column from the weights and inputs, in order.

use rayon::prelude::*;

use super::{Column, ColumnId, Definition, Factor, Hint, Relations, Table, Trace, TraceError};
use crate::graph::{Graph, Tensor, TensorId, Wire};

/// Cells under which a column is not worth sharing among threads.
const SHARED: usize = 1 << 13;

impl Relations {
    /// Fills every column, as an honest prover does.
    ///
    /// # Errors
    /// Weights or inputs that are not of the graph's sizes or leave its bounds; relations of another graph.
    pub fn trace(&self, graph: &Graph, weights: &[Vec<i64>], inputs: &[Vec<i64>]) -> Result<Trace, TraceError> {
        let wrong = |what: &str, reason: String| TraceError { what: what.to_owned(), reason };
        check_given("weights", graph, &graph.constants, weights)?;
        check_given("inputs", graph, &graph.inputs, inputs)?;
        let mut columns: Vec<Vec<i64>> = Vec::with_capacity(self.columns.len());
        let mut hints = self.hints.iter();
        for (at, column) in self.columns.iter().enumerate() {
            let foreign = || wrong("relations", format!("column {at} is not one of this graph"));
            let values = match &column.definition {
                Definition::Input(number) => inputs.get(*number).ok_or_else(foreign)?.clone(),
                Definition::Weight(number) => weights.get(*number).ok_or_else(foreign)?.clone(),
                Definition::Witness => {
                    self.witness(hints.next().ok_or_else(foreign)?, &columns, column.len()).ok_or_else(foreign)?
                }
                Definition::Linear { terms, constant } => linear(terms, *constant, &columns, column.len()),
                Definition::Wire { sources, wire } => wired(wire, sources, &columns, column.len()),
                Definition::MatMul { left, right } => self.product(*left, *right, &columns),
            };
            if values.len() != column.len() {
                return Err(foreign());
            }
            columns.push(values);
        }
        Ok(Trace { columns })
    }

    /// What a statement over a trace gives as outputs.
    ///
    /// # Panics
    /// On a trace of other relations.
    pub fn outputs_of(&self, trace: &Trace) -> Vec<Vec<i64>> {
        self.outputs.iter().map(|output| trace.columns[output.column].clone()).collect()
    }

    /// A witness; none if the relations are not those of the values.
    pub(super) fn witness(&self, hint: &Hint, columns: &[Vec<i64>], len: usize) -> Option<Vec<i64>> {
        let of = |column: ColumnId| &columns[column];
        let rescaled = |x: ColumnId, factor: Factor, shift: u8| {
            let half = 1_i64 << (shift - 1);
            let product = move |at: usize| match factor {
                Factor::Constant(m) => columns[x][at].wrapping_mul(m),
                Factor::Column(m) => columns[x][at].wrapping_mul(columns[m][at]),
            };
            move |at: usize| product(at).wrapping_add(half)
        };
        let divided = |n: ColumnId, d: ColumnId, shift: u8| {
            move |at: usize| {
                let d = columns[d][at];
                let sum = columns[n][at].wrapping_shl(u32::from(shift) + 1).wrapping_add(d);
                let twice = d.wrapping_mul(2).max(1);
                (sum.div_euclid(twice), sum.rem_euclid(twice))
            }
        };
        Some(match *hint {
            Hint::Rescaled { x, factor, shift, low, high } => {
                let value = rescaled(x, factor, shift);
                cells(len, |at| (value(at) >> shift).clamp(low, high))
            }
            Hint::Above { x, factor, shift, high } => {
                let value = rescaled(x, factor, shift);
                cells(len, |at| ((value(at) >> shift) - high).max(0))
            }
            Hint::Below { x, factor, shift, low } => {
                let value = rescaled(x, factor, shift);
                cells(len, |at| (low - (value(at) >> shift)).max(0))
            }
            Hint::Dropped { x, factor, shift } => {
                let value = rescaled(x, factor, shift);
                cells(len, |at| value(at) & ((1 << shift) - 1))
            }
            Hint::Limb { of: x, at: from, bits } => cells(len, |at| (of(x)[at] >> from) & ((1 << bits) - 1)),
            Hint::Looked { table, x } => {
                let table = self.tables.get(table)?;
                cells(len, |at| table.value(of(x)[at]).unwrap_or_default())
            }
            Hint::Product { a, b } => cells(len, |at| of(a)[at].wrapping_mul(of(b)[at])),
            Hint::Larger { a, b } => cells(len, |at| of(a)[at].max(of(b)[at])),
            Hint::Greater { a, b } => cells(len, |at| (of(a)[at] > of(b)[at]).into()),
            Hint::Position { bit, otherwise, then, offset } => {
                let part = |part: Option<ColumnId>, at: usize| part.map_or(0, |p| of(p)[at]);
                cells(
                    len,
                    |at| if of(bit)[at] == 0 { part(otherwise, at) } else { part(then, at).wrapping_add(offset) },
                )
            }
            Hint::Quotient { n, d, shift } => {
                let value = divided(n, d, shift);
                cells(len, |at| value(at).0)
            }
            Hint::Remainder { n, d, shift } => {
                let value = divided(n, d, shift);
                cells(len, |at| value(at).1)
            }
            Hint::Root { v } => cells(len, |at| of(v)[at].max(0).isqrt()),
            Hint::RootRemainder { v, s } => cells(len, |at| of(v)[at].wrapping_sub(of(s)[at].wrapping_mul(of(s)[at]))),
        })
    }

    fn product(&self, left: ColumnId, right: ColumnId, columns: &[Vec<i64>]) -> Vec<i64> {
        let (l, r) = (&self.columns[left], &self.columns[right]);
        let [_, m, k] = l.shape[..] else { return Vec::new() };
        let n = r.shape[2];
        // Products of sums that fit 32 bits are four to a vector.
        let most = |column: &Column| u128::from(column.low.unsigned_abs().max(column.high.unsigned_abs()));
        let short = most(l).max(1) * most(r).max(1) * (k as u128) < 1 << 31;
        let (left, right) = (&columns[left], &columns[right]);
        if short {
            let narrow = |values: &[i64]| values.iter().map(|&v| v as i32).collect::<Vec<_>>();
            let sums = products(&narrow(left), &narrow(right), (m, k, n), |sum: &mut i32, a, b| *sum += a * b);
            return sums.into_iter().map(i64::from).collect();
        }
        products(left, right, (m, k, n), |sum: &mut i64, a, b| *sum = sum.wrapping_add(a.wrapping_mul(b)))
    }
}

/// Row by row: each row of the left adds up multiples of the right's rows.
fn products<T: Copy + Default + PartialEq + Send + Sync>(
    left: &[T],
    right: &[T],
    (m, k, n): (usize, usize, usize),
    add: impl Fn(&mut T, T, T) + Sync,
) -> Vec<T> {
    let mut out = vec![T::default(); left.len() / k * n];
    let row = |at: usize, sums: &mut [T]| {
        let batch = at / m;
        for (step, &a) in left[at * k..(at + 1) * k].iter().enumerate() {
            if a != T::default() {
                let from = (batch * k + step) * n;
                sums.iter_mut().zip(&right[from..from + n]).for_each(|(sum, &b)| add(sum, a, b));
            }
        }
    };
    if left.len() * n >= SHARED * 8 {
        out.par_chunks_mut(n).enumerate().for_each(|(at, sums)| row(at, sums));
    } else {
        out.chunks_mut(n).enumerate().for_each(|(at, sums)| row(at, sums));
    }
    out
}

fn cells(len: usize, value: impl Fn(usize) -> i64 + Send + Sync) -> Vec<i64> {
    if len < SHARED {
        return (0..len).map(value).collect();
    }
    (0..len).into_par_iter().with_min_len(SHARED / 4).map(value).collect()
}

fn linear(terms: &[(i64, ColumnId)], constant: i64, columns: &[Vec<i64>], len: usize) -> Vec<i64> {
    cells(len, |at| {
        let term = |&(coefficient, column): &(i64, ColumnId)| coefficient.wrapping_mul(columns[column][at]);
        terms.iter().map(term).fold(constant, i64::wrapping_add)
    })
}

fn wired(wire: &Wire, sources: &[ColumnId], columns: &[Vec<i64>], len: usize) -> Vec<i64> {
    let sources: Vec<&[i64]> = sources.iter().map(|&column| &*columns[column]).collect();
    wire.apply(&sources, len)
}

fn check_given(what: &str, graph: &Graph, ids: &[TensorId], values: &[Vec<i64>]) -> Result<(), TraceError> {
    let wrong = |reason: String| Err(TraceError { what: what.to_owned(), reason });
    if values.len() != ids.len() {
        return wrong(format!("{} vectors; expected {}", values.len(), ids.len()));
    }
    for (number, (&id, values)) in ids.iter().zip(values).enumerate() {
        let Some(Tensor { shape, low, high, .. }) = graph.tensors.get(id as usize) else {
            return wrong(format!("vector {number} is of tensor {id}, which the graph lacks"));
        };
        let expected = shape.iter().map(|&size| size as usize).product::<usize>();
        if values.len() != expected {
            return wrong(format!("vector {number} has {} values; expected {expected}", values.len()));
        }
        if let Some(at) = values.iter().position(|value| !(low..=high).contains(&value)) {
            let value = values[at];
            return wrong(format!("vector {number} has {value} at {at}; expected {low} to {high}"));
        }
    }
    Ok(())
}

impl Table {
    /// What stands beside `x`: 0 in a range; none if `x` is not in the table.
    pub fn value(&self, x: i64) -> Option<i64> {
        match self {
            Self::Range { bits } => (0..1 << bits).contains(&x).then_some(0),
            Self::Clamp { bits, low, high } => {
                let end = 1_i64 << (bits - 1);
                (-end..end).contains(&x).then(|| x.clamp((*low).into(), (*high).into()))
            }
            Self::Map { low, values } => {
                let at = usize::try_from(x.checked_sub((*low).into())?).ok()?;
                values.get(at).map(|&value| value.into())
            }
        }
    }

    /// Entries.
    #[allow(clippy::len_without_is_empty)] // A table is never empty.
    pub fn len(&self) -> usize {
        match self {
            Self::Range { bits } | Self::Clamp { bits, .. } => 1 << bits,
            Self::Map { values, .. } => values.len(),
        }
    }
}
