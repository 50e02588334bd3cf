//! Dot products of acts: the kernel under matrix products and convolutions.
//!
//! Where a sum is proved to fit 32 bits it is added up in wrapping 32-bit arithmetic: whatever wraps on the way comes back,
//! so the result is exact in any order of addition.

use pulp::Arch;

use super::buffer::Cell;

/// Rows and columns of a tile.
const ROWS: usize = 2;
const COLUMNS: usize = 4;

/// `out[i]` is the product of row `(start + i) / n` of `left` by row `(start + i) % n` of `right`, both of `k` values, and
/// the bias of the latter (or, where `bias_by_row`, of the former).
pub(super) struct Dots<'a> {
    pub(super) left: &'a [i16],
    pub(super) right: &'a [i16],
    pub(super) bias: Option<&'a [i64]>,
    pub(super) bias_by_row: bool,
    pub(super) n: usize,
    pub(super) k: usize,
}

impl Dots<'_> {
    /// Sums in 32 bits.
    pub(super) fn words<T: Cell>(&self, arch: Arch, start: usize, out: &mut [T]) {
        arch.dispatch(|| self.tiles(start, out));
    }

    /// Sums in 64 bits.
    pub(super) fn longs<T: Cell>(&self, start: usize, out: &mut [T]) {
        for (at, cell) in out.iter_mut().enumerate() {
            let (row, column) = ((start + at) / self.n, (start + at) % self.n);
            let products = self.row(row).iter().zip(self.column(column));
            let sum: i64 = products.map(|(&a, &b)| i64::from(i32::from(a) * i32::from(b))).sum();
            *cell = T::narrow(sum + self.bias(row, column));
        }
    }

    #[inline(always)]
    fn row(&self, row: usize) -> &[i16] {
        &self.left[row * self.k..(row + 1) * self.k]
    }

    #[inline(always)]
    fn column(&self, column: usize) -> &[i16] {
        &self.right[column * self.k..(column + 1) * self.k]
    }

    #[inline(always)]
    fn bias(&self, row: usize, column: usize) -> i64 {
        self.bias.map_or(0, |bias| bias[if self.bias_by_row { row } else { column }])
    }

    #[inline(always)]
    fn tiles<T: Cell>(&self, start: usize, out: &mut [T]) {
        let (n, mut at) = (self.n, 0);
        while at < out.len() {
            let (row, column) = ((start + at) / n, (start + at) % n);
            let left = out.len() - at;
            if column == 0 && left >= ROWS * n {
                let mut column = 0;
                while column < n {
                    let width = (n - column).min(COLUMNS);
                    if width == COLUMNS {
                        self.tile::<T, ROWS, COLUMNS>(row, column, &mut out[at + column..]);
                    } else {
                        (0..width).for_each(|c| self.tile::<T, ROWS, 1>(row, column + c, &mut out[at + column + c..]));
                    }
                    column += width;
                }
                at += ROWS * n;
            } else {
                let width = left.min(n - column).min(COLUMNS);
                if width == COLUMNS {
                    self.tile::<T, 1, COLUMNS>(row, column, &mut out[at..]);
                } else {
                    (0..width).for_each(|c| self.tile::<T, 1, 1>(row, column + c, &mut out[at + c..]));
                }
                at += width;
            }
        }
    }

    /// `R` rows by `C` columns, written where the rows are `n` apart.
    #[inline(always)]
    fn tile<T: Cell, const R: usize, const C: usize>(&self, row: usize, column: usize, out: &mut [T]) {
        let k = self.k;
        let rows: [&[i16]; R] = std::array::from_fn(|r| &self.row(row + r)[..k]);
        let columns: [&[i16]; C] = std::array::from_fn(|c| &self.column(column + c)[..k]);
        let mut sums = [[0i32; C]; R];
        for t in 0..k {
            for r in 0..R {
                for c in 0..C {
                    sums[r][c] = sums[r][c].wrapping_add(i32::from(rows[r][t]) * i32::from(columns[c][t]));
                }
            }
        }
        for r in 0..R {
            for c in 0..C {
                let bias = self.bias(row + r, column + c) as i32;
                out[r * self.n + c] = T::narrow(i64::from(sums[r][c].wrapping_add(bias)));
            }
        }
    }
}
