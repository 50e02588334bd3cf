//! Products of rows with matrices.

use std::ops::Range;

use super::{
    BLOCK, Bytes, Floats, Matrix, SuperQ4, SuperQ6, Tiles,
    rows::{Panels, Quants, Rows},
};
use crate::llm::{
    lanes::{Kernel, LANES, Lanes},
    threads::Threads,
};

/// Weights of eight bits are prefetched so many bytes ahead of their sums: memory answers after as long as hundreds of
/// sums take, and a processor looks less far ahead by itself.
const AHEAD: usize = 4096;

/// What becomes of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// It takes the place of what was there.
    Put,
    /// It is added to what was there.
    Add,
}

/// A product to compute: where it goes and what becomes of it.
pub(crate) struct Output<'a> {
    /// The weights.
    pub(crate) matrix: &'a Matrix,
    /// Added to the product: one value for each output.
    pub(crate) bias: Option<&'a [f32]>,
    /// Whether it replaces what is in `out`.
    pub(crate) then: Then,
    /// `rows x outputs`.
    pub(crate) out: &'a mut Panels,
}

/// The products of the same rows with several matrices, shared among all threads at once.
///
/// # Panics
/// If shapes do not fit, or the rows are not quantised for a matrix that needs it.
pub(crate) fn products(threads: &Threads, rows: &Rows, outputs: &mut [Output<'_>]) {
    let mut jobs = Vec::new();
    for output in outputs {
        let (matrix, bias, then) = (output.matrix, output.bias, output.then);
        assert_eq!(rows.width, matrix.inputs, "the rows' width");
        assert_eq!((output.out.rows, output.out.width), (rows.rows, matrix.outputs), "the panels' shape");
        assert!(bias.is_none_or(|b| b.len() == matrix.outputs), "the bias has one value for each output");
        assert!(!matrix.is_quantised() || rows.has_quants(), "the rows are not quantised");
        // Some eight pieces for each thread, so that a slow one is waited for briefly; and four tiles at least, as
        // many streams of weights as there are sums under way.
        let tiles = Matrix::tile_count(matrix.outputs);
        let piece = tiles.div_ceil(threads.count() * 8).next_multiple_of(4);
        let pieces = output.out.values.chunks_mut(piece * rows.rows * LANES).enumerate();
        jobs.extend(pieces.map(|(at, out)| {
            let first = at * piece;
            Product { matrix, rows, bias, then, tiles: first..first + out.len() / (rows.rows * LANES), out }
        }));
    }
    let level = threads.level();
    threads.all(jobs, |job| level.run(job));
}

struct Product<'a> {
    matrix: &'a Matrix,
    rows: &'a Rows,
    bias: Option<&'a [f32]>,
    then: Then,
    tiles: Range<usize>,
    out: &'a mut [f32],
}

impl Kernel for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with<L: Lanes>(mut self, l: L) {
        if self.matrix.is_quantised() {
            let mut tile = self.tiles.start;
            while tile < self.tiles.end {
                let pair = L::WIDE && self.tiles.end - tile >= 2 && self.rows.rows >= 8;
                let (tiles, row) = match (pair, L::WIDE) {
                    (true, _) => (2, self.quantised::<L, 2, 8>(l, tile, 0)),
                    (false, true) => (1, self.quantised::<L, 1, 8>(l, tile, 0)),
                    (false, false) => (1, 0),
                };
                for tile in tile..tile + tiles {
                    let row = self.quantised::<L, 1, 4>(l, tile, row);
                    let row = self.quantised::<L, 1, 2>(l, tile, row);
                    self.quantised::<L, 1, 1>(l, tile, row);
                }
                tile += tiles;
            }
            return;
        }
        let mut tile = self.tiles.start;
        while tile < self.tiles.end {
            let left = self.tiles.end - tile;
            if L::WIDE && left >= 4 {
                let row = self.floats::<L, 4, 6>(l, tile, 0);
                let row = self.floats::<L, 4, 2>(l, tile, row);
                self.floats::<L, 4, 1>(l, tile, row);
                tile += 4;
            } else if left >= 2 {
                let row = self.floats::<L, 2, 3>(l, tile, 0);
                self.floats::<L, 2, 1>(l, tile, row);
                tile += 2;
            } else {
                let row = self.floats::<L, 1, 6>(l, tile, 0);
                self.floats::<L, 1, 1>(l, tile, row);
                tile += 1;
            }
        }
    }
}

impl Product<'_> {
    /// Adds the bias, if any, and puts or adds sixteen results.
    #[inline(always)]
    fn finish<L: Lanes>(&mut self, l: L, tile: usize, row: usize, mut result: L::F) {
        if let Some(bias) = self.bias {
            let bias = &bias[tile * LANES..];
            let mut padded = [0.0; LANES];
            let n = bias.len().min(LANES);
            padded[..n].copy_from_slice(&bias[..n]);
            result = l.add(result, l.load(&padded));
        }
        let at = ((tile - self.tiles.start) * self.rows.rows + row) * LANES;
        let out: &mut [f32; LANES] = (&mut self.out[at..at + LANES]).try_into().expect("sixteen values");
        if self.then == Then::Add {
            result = l.add(l.load(out), result);
        }
        l.store(result, out);
    }

    /// As many groups of `R` rows as are left from `row` on, with `T` tiles of floats; the next row.
    #[inline(always)]
    fn floats<L: Lanes, const T: usize, const R: usize>(&mut self, l: L, tile: usize, mut row: usize) -> usize {
        let k = self.matrix.inputs;
        while row + R <= self.rows.rows {
            let x: [&[f32]; R] = std::array::from_fn(|r| &self.rows.floats[(row + r) * k..][..k]);
            let sums = match &self.matrix.tiles {
                Tiles::F32(lines) => {
                    let w: [&[Floats]; T] = std::array::from_fn(|t| &lines[(tile + t) * k..][..k]);
                    sum_floats::<L, T, R>(l, k, &x, |t, i| l.load(&w[t][i].0))
                }
                Tiles::F16(lines) => {
                    let w: [&[[u16; LANES]]; T] = std::array::from_fn(|t| &lines[(tile + t) * k..][..k]);
                    sum_floats::<L, T, R>(l, k, &x, |t, i| l.load_half(&w[t][i]))
                }
                _ => unreachable!("quantised matrices go the other way"),
            };
            for (t, sums) in sums.into_iter().enumerate() {
                for (r, sum) in sums.into_iter().enumerate() {
                    self.finish(l, tile + t, row + r, sum);
                }
            }
            row += R;
        }
        row
    }

    /// As many groups of `R` rows as are left from `row` on, with `T` quantised tiles; the next row.
    #[inline(always)]
    fn quantised<L: Lanes, const T: usize, const R: usize>(&mut self, l: L, tile: usize, mut row: usize) -> usize {
        let blocks = self.matrix.inputs / BLOCK;
        let supers_in_row = blocks / 8;
        while row + R <= self.rows.rows {
            let x: [&[Quants]; R] = std::array::from_fn(|r| &self.rows.quants[(row + r) * blocks..][..blocks]);
            let sums: [[L::F; R]; T] = match &self.matrix.tiles {
                Tiles::Q8 { scales, quants } => {
                    let quants = quants.as_chunks::<8>().0;
                    let scales = std::array::from_fn(|t| &scales[(tile + t) * blocks..][..blocks]);
                    let quants = std::array::from_fn(|t| &quants[(tile + t) * blocks..][..blocks]);
                    sum_q8::<L, T, R>(l, scales, quants, &x)
                }
                Tiles::Q4K { supers, quants } => std::array::from_fn(|t| {
                    let supers = &supers[(tile + t) * supers_in_row..][..supers_in_row];
                    let quants = &quants.as_chunks::<32>().0[(tile + t) * supers_in_row..][..supers_in_row];
                    sum_q4k::<L, R>(l, supers, quants, &x)
                }),
                Tiles::Q6K { supers, low, high } => std::array::from_fn(|t| {
                    let supers = &supers[(tile + t) * supers_in_row..][..supers_in_row];
                    let low = &low.as_chunks::<32>().0[(tile + t) * supers_in_row..][..supers_in_row];
                    let high = &high.as_chunks::<16>().0[(tile + t) * supers_in_row..][..supers_in_row];
                    sum_q6k::<L, R>(l, supers, low, high, &x)
                }),
                _ => unreachable!("matrices of floats go the other way"),
            };
            for (t, sums) in sums.into_iter().enumerate() {
                for (r, sum) in sums.into_iter().enumerate() {
                    self.finish(l, tile + t, row + r, sum);
                }
            }
            row += R;
        }
        row
    }
}

#[inline(always)]
fn sum_floats<L: Lanes, const T: usize, const R: usize>(
    l: L,
    k: usize,
    x: &[&[f32]; R],
    weight: impl Fn(usize, usize) -> L::F,
) -> [[L::F; R]; T] {
    let mut sums = [[l.splat(0.0); R]; T];
    for i in 0..k {
        let x: [L::F; R] = std::array::from_fn(|r| l.splat(x[r][i]));
        for (t, sums) in sums.iter_mut().enumerate() {
            let w = weight(t, i);
            for (sum, x) in sums.iter_mut().zip(x) {
                *sum = l.fma(w, x, *sum);
            }
        }
    }
    sums
}

/// Two tiles at once halve the loads of the rows, and read two streams of weights.
#[allow(clippy::needless_range_loop, reason = "the same group of several streams")]
#[inline(always)]
fn sum_q8<L: Lanes, const T: usize, const R: usize>(
    l: L,
    scales: [&[[u16; LANES]]; T],
    quants: [&[[Bytes; 8]]; T],
    x: &[&[Quants]; R],
) -> [[L::F; R]; T] {
    let mut sums = [[l.splat(0.0); R]; T];
    for b in 0..x[0].len() {
        let x: [&Quants; R] = std::array::from_fn(|r| &x[r][b]);
        let mut dots: [[L::I; R]; T] = [std::array::from_fn(|r| l.begin(x[r].begin)); T];
        for g in 0..8 {
            let w: [L::W; T] = std::array::from_fn(|t| {
                let line = &quants[t][b][g];
                l.prefetch(line, AHEAD);
                l.weights(&line.0)
            });
            for (r, x) in x.iter().enumerate() {
                for (dots, w) in dots.iter_mut().zip(w) {
                    dots[r] = l.dot_signed(dots[r], w, x.q[g]);
                }
            }
        }
        for t in 0..T {
            let scale = l.load_half(&scales[t][b]);
            for (r, x) in x.iter().enumerate() {
                sums[t][r] = l.fma(l.mul(scale, l.splat(x.scale)), l.float(dots[t][r]), sums[t][r]);
            }
        }
    }
    sums
}

#[inline(always)]
fn sum_q4k<L: Lanes, const R: usize>(
    l: L,
    supers: &[SuperQ4],
    quants: &[[Bytes; 32]],
    x: &[&[Quants]; R],
) -> [L::F; R] {
    let mut sums = [l.splat(0.0); R];
    for (b, (tile, lines)) in supers.iter().zip(quants).enumerate() {
        let (d, dmin) = (l.load_half(&tile.d), l.load_half(&tile.dmin));
        for sub in 0..8 {
            let x: [&Quants; R] = std::array::from_fn(|r| &x[r][b * 8 + sub]);
            let mut dots = [l.ints(0); R];
            for g in 0..8 {
                let w = l.weights(&lines[sub / 2 * 8 + g].0);
                let w = if sub % 2 == 0 { l.low_nibbles(w) } else { l.high_nibbles(w) };
                for (dot, x) in dots.iter_mut().zip(x) {
                    *dot = l.dot_unsigned(*dot, w, x.q[g]);
                }
            }
            let scale = l.mul(d, l.load_bytes(&tile.scales[sub]));
            let min = l.mul(dmin, l.load_bytes(&tile.mins[sub]));
            for r in 0..R {
                sums[r] = l.fma(l.mul(scale, l.splat(x[r].scale)), l.float(dots[r]), sums[r]);
                let offset = l.mul(min, l.splat(-x[r].scale));
                sums[r] = l.fma(offset, l.splat(x[r].sum() as f32), sums[r]);
            }
        }
    }
    sums
}

#[inline(always)]
fn sum_q6k<L: Lanes, const R: usize>(
    l: L,
    supers: &[SuperQ6],
    low: &[[Bytes; 32]],
    high: &[[Bytes; 16]],
    x: &[&[Quants]; R],
) -> [L::F; R] {
    let mut sums = [l.splat(0.0); R];
    for (b, ((tile, low), high)) in supers.iter().zip(low).zip(high).enumerate() {
        let d = l.load_half(&tile.d);
        for sub in 0..8 {
            let (part, sub) = (sub / 4, sub % 4);
            let x: [&Quants; R] = std::array::from_fn(|r| &x[r][b * 8 + part * 4 + sub]);
            // Weights are six bits less 32; the two halves have scales of their own.
            let mut dots: [[L::I; 2]; R] = std::array::from_fn(|r| x[r].sums.map(|s| l.ints(-32 * s)));
            for g in 0..8 {
                let nibbles = l.weights(&low[part * 16 + sub % 2 * 8 + g].0);
                let nibbles = if sub < 2 { l.low_nibbles(nibbles) } else { l.high_nibbles(nibbles) };
                let pairs = l.pair_to_high(l.weights(&high[part * 8 + g].0), sub as u32);
                let w = l.or(nibbles, pairs);
                for (dots, x) in dots.iter_mut().zip(x) {
                    dots[g / 4] = l.dot_unsigned(dots[g / 4], w, x.q[g]);
                }
            }
            let at = part * 8 + sub * 2;
            for r in 0..R {
                let [a, b] = dots[r];
                let dot = l.plus(l.times(a, &tile.scales[at]), l.times(b, &tile.scales[at + 1]));
                sums[r] = l.fma(l.mul(d, l.splat(x[r].scale)), l.float(dot), sums[r]);
            }
        }
    }
    sums
}
