//! Matrix products, by Thaler's sumcheck over the inner axis: each cell of the operands is touched once.

use p3_field::PrimeCharacteristicRing;
use rayon::prelude::*;

use super::commitment::{Base, Ext};
use super::context::{Context, Failure};
use super::kernel::{Kernel, axes};
use super::multilinear::{eq, eq_table, log2_ceil, prefix};
use super::product::{PairProduct, TripleProduct, Values};
use super::rounds::{Rounds, sumcheck};
use super::run::Run;
use crate::relation::ColumnId;

/// Sizes of the axes.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    b: usize,
    m: usize,
    k: usize,
    n: usize,
}

/// Turns a claim on `[b, m, n]` into claims on `[b, m, k]` and `[b, k, n]`:
/// `sum over b', k of eq(r_b, b') [k is a true position] left(b', r_m, k) right(b', k, r_n)`.
pub(super) fn run<C: Context>(
    run: &mut Run<'_, C>,
    column: ColumnId,
    [left, right]: [ColumnId; 2],
    kernel: &Kernel,
    value: C::Value,
) -> Result<(), Failure> {
    let shape = |c: ColumnId| &run.plan.relations.columns[c].shape;
    let sizes = Sizes { b: shape(column)[0], m: shape(column)[1], k: shape(left)[2], n: shape(column)[2] };
    let [b, k] = [log2_ceil(sizes.b), log2_ceil(sizes.k)];
    let (at_b, rest) = kernel.point().split_at(b);
    let (at_m, at_n) = rest.split_at(log2_ceil(sizes.m));
    // Without a batch and padding there is nothing to weigh by.
    let plain = sizes.b == 1 && sizes.k.is_power_of_two();
    let mut prover = run.column(left).zip(run.column(right)).map(|(left, right)| {
        let operands = [sum_rows(sizes, left, at_m), sum_columns(sizes, right, at_n)];
        Product::new(sizes, operands, (!plain).then_some(at_b))
    });
    let rounds = prover.as_mut().map(|p| p.rounds());
    let (last, point) = sumcheck(run.c, value, b + k, if plain { 2 } else { 3 }, rounds)?;
    let (to_b, to_k) = point.split_at(b);
    let known = prover.map(|p| p.last());
    let operand = |column: ColumnId, parts: [&[Ext]; 3]| Kernel::new(axes(shape(column)), parts.concat());
    let kernels = [operand(left, [to_b, at_m, to_k]), operand(right, [to_b, to_k, at_n])];
    let left = run.value(left, &kernels[0], known.map(|k| k[0]))?;
    let right = run.value(right, &kernels[1], known.map(|k| k[1]))?;
    let product = run.c.mul(&left, &right)?;
    let weight = if plain { Ext::ONE } else { eq(at_b, to_b) * prefix(to_k, sizes.k) };
    run.c.assert_zero(last - product * weight, "the end of a matrix product")
}

/// `left(b, r_m, k)` for each `b, k`, padded.
fn sum_rows(s: Sizes, left: &[Base], at_m: &[Ext]) -> Vec<Ext> {
    let weights = eq_table(at_m);
    let width = s.k.next_power_of_two();
    let mut out = vec![Ext::ZERO; s.b.next_power_of_two() * width];
    for (out, matrix) in out.chunks_mut(width).zip(left.chunks(s.m * s.k)) {
        for (row, &weight) in matrix.chunks(s.k).zip(&weights) {
            out.iter_mut().zip(row).for_each(|(sum, &cell)| *sum += weight * cell);
        }
    }
    out
}

/// `right(b, k, r_n)` for each `b, k`, padded.
fn sum_columns(s: Sizes, right: &[Base], at_n: &[Ext]) -> Vec<Ext> {
    let weights = eq_table(at_n);
    let width = s.k.next_power_of_two();
    let mut out = vec![Ext::ZERO; s.b.next_power_of_two() * width];
    let row_sum = |row: &[Base]| row.iter().zip(&weights).map(|(&cell, &w)| w * cell).sum::<Ext>();
    let rows_at_once = 4096_usize.div_ceil(s.n);
    for (out, matrix) in out.chunks_mut(width).zip(right.chunks(s.k * s.n)) {
        out.par_iter_mut()
            .zip(matrix.par_chunks(s.n))
            .with_min_len(rows_at_once)
            .for_each(|(sum, row)| *sum = row_sum(row));
    }
    out
}

/// The prover's rounds.
enum Product {
    Plain(PairProduct),
    Weighed(TripleProduct),
}

impl Product {
    fn new(s: Sizes, [left, right]: [Vec<Ext>; 2], at_b: Option<&[Ext]>) -> Self {
        let Some(at_b) = at_b else { return Self::Plain(PairProduct { a: Values::Ext(left), b: right }) };
        let width = s.k.next_power_of_two();
        let mut weights = vec![Ext::ZERO; left.len()];
        for (row, weight) in weights.chunks_mut(width).zip(eq_table(at_b)) {
            row[..s.k].fill(weight);
        }
        Self::Weighed(TripleProduct([weights, left, right]))
    }

    fn rounds(&mut self) -> &mut dyn Rounds {
        match self {
            Self::Plain(p) => p,
            Self::Weighed(p) => p,
        }
    }

    /// The values of both operands at the end.
    fn last(&self) -> [Ext; 2] {
        match self {
            Self::Plain(p) => [p.a.last(), p.b[0]],
            Self::Weighed(TripleProduct([_, left, right])) => [left[0], right[0]],
        }
    }
}
