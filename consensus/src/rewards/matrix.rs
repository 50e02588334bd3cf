//! Sparse matrices by row: `rows[i]` holds `(column, value)` with strictly ascending columns. A missing entry is 0,
//! and every function gives the same values whether a zero is written out or left out: upstream has a sparse and a
//! dense path that differ in this, ours is one.

use super::Row;
use super::arith::{Divisor, div_by_sum, mul, saturating_sum, sum};
use fixed::types::I32F32;

/// Matrix of numbers.
pub(super) type Matrix = Vec<Row<I32F32>>;

const ZERO: I32F32 = I32F32::ZERO;

/// The entries for which `keep(row, column)` holds.
pub(super) fn filtered(matrix: &Matrix, keep: impl Fn(usize, u16) -> bool) -> Matrix {
    let row = |(i, row): (usize, &Row<I32F32>)| row.iter().filter(|(j, _)| keep(i, *j)).copied().collect();
    matrix.iter().enumerate().map(row).collect()
}

/// Divides each row by its sum; a row that sums to 0 or less stays.
pub(super) fn normalize_rows(matrix: &mut Matrix) {
    for row in matrix {
        let total = sum(row.iter().map(|(_, x)| *x));
        if total > 0 {
            let total = Divisor::new(total);
            for (_, x) in row {
                *x = total.divide(*x);
            }
        }
    }
}

/// Divides each column of entries of at least 0 by its sum; a column that sums to 0 stays.
pub(super) fn normalize_columns(matrix: &mut Matrix, columns: usize) {
    let mut totals = vec![0i128; columns];
    for (j, x) in matrix.iter().flatten() {
        totals[usize::from(*j)] += i128::from(x.to_bits());
    }
    // All entries of a column that sums to 0 are 0, and so is their quotient.
    let totals: Vec<Divisor> = totals.into_iter().map(Divisor::new).collect();
    for (j, x) in matrix.iter_mut().flatten() {
        *x = totals[usize::from(*j)].divide(*x);
    }
}

/// Divides each column of entries of at least 0 by its largest, which becomes 1; a column of zeros stays.
pub(super) fn upscale_columns(matrix: &mut Matrix, columns: usize) {
    let mut largest = vec![ZERO; columns];
    for (j, x) in matrix.iter().flatten() {
        let cell = &mut largest[usize::from(*j)];
        *cell = (*cell).max(*x);
    }
    let largest: Vec<Divisor> = largest.into_iter().map(|top| Divisor::new(i128::from(top.to_bits()))).collect();
    for (j, x) in matrix.iter_mut().flatten() {
        *x = largest[usize::from(*j)].divide(*x);
    }
}

/// `out_i = sum_j m_ij`.
pub(super) fn row_sums(matrix: &Matrix) -> Vec<I32F32> {
    let total = |row: &Row<I32F32>| saturating_sum(row.iter().map(|(_, x)| *x));
    matrix.iter().map(total).collect()
}

/// `out_j = sum_i v_i m_ij`.
pub(super) fn weighted_column_sums(matrix: &Matrix, v: &[I32F32], columns: usize) -> Vec<I32F32> {
    let mut out = vec![ZERO; columns];
    for (row, scale) in matrix.iter().zip(v) {
        for (j, x) in row {
            let cell = &mut out[usize::from(*j)];
            *cell = cell.saturating_add(mul(*scale, *x));
        }
    }
    out
}

/// `out_i = sum_j m_ij v_j`.
pub(super) fn weighted_row_sums(matrix: &Matrix, v: &[I32F32]) -> Vec<I32F32> {
    let total = |row: &Row<I32F32>| saturating_sum(row.iter().map(|(j, x)| mul(v[usize::from(*j)], *x)));
    matrix.iter().map(total).collect()
}

/// `out_ij = v_i m_ij`.
pub(super) fn scaled_rows(matrix: &Matrix, v: &[I32F32]) -> Matrix {
    let scaled = |(row, scale): (&Row<I32F32>, &I32F32)| row.iter().map(|(j, x)| (*j, mul(*x, *scale))).collect();
    matrix.iter().zip(v).map(scaled).collect()
}

/// `out_ij = min(m_ij, limit_j)`; entries that become 0 are left out.
pub(super) fn clipped_columns(matrix: &Matrix, limits: &[I32F32]) -> Matrix {
    let clipped = |row: &Row<I32F32>| {
        row.iter().map(|(j, x)| (*j, (*x).min(limits[usize::from(*j)]))).filter(|(_, x)| *x > ZERO).collect()
    };
    matrix.iter().map(clipped).collect()
}

/// `out_ij = f(i, j, a_ij, b_ij)` wherever either is written out; only positive results are kept.
pub(super) fn merged(a: &Matrix, b: &Matrix, f: impl Fn(usize, u16, I32F32, I32F32) -> I32F32) -> Matrix {
    let merge_row = |i: usize, a: &Row<I32F32>, b: &Row<I32F32>| {
        let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
        let mut out = Vec::new();
        loop {
            let column = match (a.peek(), b.peek()) {
                (Some((ja, _)), Some((jb, _))) => *ja.min(jb),
                (Some((j, _)), None) | (None, Some((j, _))) => *j,
                (None, None) => return out,
            };
            let xa = a.next_if(|(j, _)| *j == column).map_or(ZERO, |(_, x)| *x);
            let xb = b.next_if(|(j, _)| *j == column).map_or(ZERO, |(_, x)| *x);
            let value = f(i, column, xa, xb);
            if value > ZERO {
                out.push((column, value));
            }
        }
    };
    a.iter().zip(b).enumerate().map(|(i, (a, b))| merge_row(i, a, b)).collect()
}

/// `a + ratio (b - a)`.
pub(super) fn interpolated(a: &Matrix, b: &Matrix, ratio: I32F32) -> Matrix {
    if ratio == ZERO {
        return a.clone();
    }
    if ratio == I32F32::ONE {
        return b.clone();
    }
    merged(a, b, |_, _, a, b| a.saturating_add(mul(ratio, b.saturating_sub(a))))
}

/// Per column the largest `w` such that rows with `m_ij >= w` hold at least `majority` of the stake; if no entry has
/// that much behind it the smallest one. Rows without stake do not count. Stake is normalised among the others first.
pub(super) fn stake_medians(stake: &[I32F32], matrix: &Matrix, columns: usize, majority: I32F32) -> Vec<I32F32> {
    let staked = stake.iter().copied().filter(|s| *s > ZERO);
    let total_before = sum(staked.clone());
    let total = sum(staked.map(|s| div_by_sum(s, total_before)));
    let minority = total - i128::from(majority.to_bits());

    let mut entries: Vec<Vec<(I32F32, i128)>> = vec![Vec::new(); columns];
    let mut rows = 0usize;
    for (row, s) in matrix.iter().zip(stake).filter(|(_, s)| **s > ZERO) {
        rows += 1;
        let share = i128::from(div_by_sum(*s, total_before).to_bits());
        for (j, x) in row {
            entries[usize::from(*j)].push((*x, share));
        }
    }
    let median = |mut column: Vec<(I32F32, i128)>| {
        let written: i128 = column.iter().map(|(_, share)| share).sum();
        if column.len() < rows {
            column.push((ZERO, total - written)); // all rows that leave the column out
        }
        stake_median(column, minority)
    };
    entries.into_iter().map(median).collect()
}

/// The largest score with at most `minority` of the stake strictly below it, or the smallest one; 0 if there is none.
pub(super) fn stake_median(mut scores: Vec<(I32F32, i128)>, minority: i128) -> I32F32 {
    scores.sort_unstable_by_key(|(score, _)| *score);
    let mut median = scores.first().map_or(ZERO, |(score, _)| *score);
    let (mut below, mut group) = (0i128, 0i128);
    let mut last = median;
    for (score, share) in scores {
        if score != last {
            below += group;
            group = 0;
            last = score;
        }
        if below > minority {
            break;
        }
        median = score;
        group += share;
    }
    median
}
