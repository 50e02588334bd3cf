//! Rows of activations as products take them, and panels of results as they give them.

use super::BLOCK;
use crate::llm::{
    lanes::{Kernel, LANES, Lanes},
    threads::Threads,
};

/// So many values are sooner done by one thread than shared with another.
const ALONE: usize = 8192;

/// Thirty-two activations in eight bits.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Quants {
    pub(super) q: [[i8; 4]; BLOCK / 4],
    pub(super) scale: f32,
    /// Of each half.
    pub(super) sums: [i32; 2],
    /// What a sum over weights plus 128 is less, once and for all weights that it meets.
    pub(super) begin: i32,
}

impl Quants {
    // Loops over plain arrays become instructions of the caller's processor; what they would call is compiled for any.
    #[allow(clippy::needless_range_loop)]
    #[inline(always)]
    pub(super) fn of(values: &[f32; BLOCK]) -> Self {
        // A value that is no number is passed over.
        let mut most = [0f32; LANES];
        for half in values.as_chunks::<LANES>().0 {
            for i in 0..LANES {
                let v = half[i].abs();
                most[i] = if v > most[i] { v } else { most[i] };
            }
        }
        let mut width = LANES / 2;
        while width > 0 {
            for i in 0..width {
                most[i] = if most[i + width] > most[i] { most[i + width] } else { most[i] };
            }
            width /= 2;
        }
        let largest = most[0];
        let scale = largest / 127.0;
        let inverse = if scale > 0.0 { 127.0 / largest } else { 0.0 };
        let mut rounded = [0i32; BLOCK];
        for i in 0..BLOCK {
            let v = (values[i] * inverse).round_ties_even().clamp(-127.0, 127.0);
            let v = if v.is_nan() { 0.0 } else { v };
            // Integers as small as these are the low bits of their sum with 1.5 * 2^23.
            rounded[i] = (v + 12_582_912.0).to_bits().wrapping_sub(0x4b40_0000) as i32;
        }
        // At most 16 times 127.
        let mut sums = [0i32; 2];
        for i in 0..LANES {
            sums[0] = sums[0].wrapping_add(rounded[i]);
            sums[1] = sums[1].wrapping_add(rounded[LANES + i]);
        }
        let mut q = [[0i8; 4]; BLOCK / 4];
        for i in 0..BLOCK {
            q[i / 4][i % 4] = rounded[i] as i8;
        }
        Self { q, scale, sums, begin: -128 * (sums[0] + sums[1]) }
    }

    pub(super) fn sum(&self) -> i32 {
        self.sums[0] + self.sums[1]
    }
}

/// Rows of activations, as a product takes them: `[rows][width]`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    pub(super) rows: usize,
    pub(super) width: usize,
    pub(super) floats: Vec<f32>,
    pub(super) quants: Vec<Quants>,
}

impl Rows {
    /// Makes room for `rows x width`, whatever was there, to be filled.
    pub(crate) fn reset(&mut self, rows: usize, width: usize) {
        (self.rows, self.width) = (rows, width);
        self.floats.resize(rows * width, 0.0);
        self.quants.clear();
    }

    /// Makes rows of `width` values, each by `fill`, and rounds them to eight bits if that is what the next product
    /// needs.
    ///
    /// # Panics
    /// If they are to be rounded and the width is no multiple of [`BLOCK`].
    pub(crate) fn fill(
        &mut self,
        threads: &Threads,
        (rows, width): (usize, usize),
        quantised: bool,
        fill: impl Fn(usize, &mut [f32]) + Sync,
    ) {
        self.reset(rows, width);
        if !quantised {
            if rows * width <= ALONE {
                self.floats.chunks_mut(width).enumerate().for_each(|(row, floats)| fill(row, floats));
            } else {
                threads.each(&mut self.floats, width, fill);
            }
            return;
        }
        assert!(width.is_multiple_of(BLOCK), "rows of a quantised product come in blocks");
        self.quants.resize(rows * width / BLOCK, Quants::default());
        let level = threads.level();
        let floats = self.floats.chunks_mut(width);
        let jobs = floats.zip(self.quants.chunks_mut(width / BLOCK)).enumerate();
        let run = |(row, (floats, out)): (usize, (&mut [f32], &mut [Quants]))| {
            fill(row, floats);
            level.run(Quantise { from: floats.as_chunks().0, out });
        };
        if rows * width <= ALONE {
            jobs.for_each(run);
        } else {
            threads.all(jobs.collect(), run);
        }
    }

    /// Rows.
    pub(crate) fn count(&self) -> usize {
        self.rows
    }

    /// Values in a row.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// All values.
    pub(crate) fn floats(&self) -> &[f32] {
        &self.floats
    }

    /// All values, to fill.
    pub(crate) fn floats_mut(&mut self) -> &mut [f32] {
        &mut self.floats
    }

    /// Whether the values that are there were rounded.
    pub(super) fn has_quants(&self) -> bool {
        self.quants.len() * BLOCK == self.rows * self.width
    }

    /// Some of the rows, as floats.
    pub(crate) fn chosen(&self, rows: &[usize]) -> Self {
        let floats = rows.iter().flat_map(|r| &self.floats[r * self.width..][..self.width]).copied().collect();
        Self { rows: rows.len(), width: self.width, floats, quants: Vec::new() }
    }

    /// Rounds the values to eight bits if that is what the next product needs.
    pub(crate) fn quantise_if(&mut self, threads: &Threads, needed: bool) {
        if needed {
            self.quantise(threads);
        }
    }

    /// Rounds the values to eight bits, for products with quantised matrices.
    ///
    /// # Panics
    /// If the width is no multiple of [`BLOCK`].
    pub(crate) fn quantise(&mut self, threads: &Threads) {
        assert!(self.width.is_multiple_of(BLOCK), "rows of a quantised product come in blocks");
        self.quants.resize(self.rows * self.width / BLOCK, Quants::default());
        let level = threads.level();
        let floats = self.floats.as_chunks::<BLOCK>().0;
        if floats.len() * BLOCK <= ALONE {
            level.run(Quantise { from: floats, out: &mut self.quants });
            return;
        }
        let piece = 64;
        threads.each(&mut self.quants, piece, |at, out| {
            let from = &floats[at * piece..][..out.len()];
            level.run(Quantise { from, out });
        });
    }
}

struct Quantise<'a> {
    from: &'a [[f32; BLOCK]],
    out: &'a mut [Quants],
}

impl Kernel for Quantise<'_> {
    type Output = ();

    #[inline(always)]
    fn with<L: Lanes>(self, _: L) {
        for (from, out) in self.from.iter().zip(self.out) {
            *out = Quants::of(from);
        }
    }
}

/// Results of products: `[width / 16][rows][16]`; lanes beyond the width hold zeros.
#[derive(Clone, Debug, Default)]
pub(crate) struct Panels {
    pub(super) rows: usize,
    pub(super) width: usize,
    pub(super) values: Vec<f32>,
}

impl Panels {
    /// Makes room for `rows x width`, whatever was there, to be filled.
    pub(crate) fn reset(&mut self, rows: usize, width: usize) {
        if (self.rows, self.width) != (rows, width) {
            (self.rows, self.width) = (rows, width);
            self.values.clear();
            self.values.resize(rows * width.div_ceil(LANES) * LANES, 0.0);
        }
    }

    /// Rows.
    pub(crate) fn count(&self) -> usize {
        self.rows
    }

    /// Values in a row.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Sixteen values of a row.
    #[inline(always)]
    pub(crate) fn lanes(&self, row: usize, panel: usize) -> &[f32; LANES] {
        let at = (panel * self.rows + row) * LANES;
        self.values[at..at + LANES].try_into().expect("sixteen values")
    }

    /// Sixteen values of a row, to change.
    #[inline(always)]
    pub(crate) fn lanes_mut(&mut self, row: usize, panel: usize) -> &mut [f32; LANES] {
        let at = (panel * self.rows + row) * LANES;
        (&mut self.values[at..at + LANES]).try_into().expect("sixteen values")
    }

    /// All values.
    pub(crate) fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// The same values, row by row.
    pub(crate) fn rows(&self) -> Rows {
        let mut rows = Rows::default();
        rows.reset(self.rows, self.width);
        for (row, to) in rows.floats.chunks_exact_mut(self.width).enumerate() {
            self.read(row, 0, to);
        }
        rows
    }

    /// Copies a row's values from `first` on.
    pub(crate) fn read(&self, row: usize, first: usize, to: &mut [f32]) {
        let (mut at, mut rest) = (first, to);
        while !rest.is_empty() {
            let from = &self.lanes(row, at / LANES)[at % LANES..];
            let (to, after) = rest.split_at_mut(from.len().min(rest.len()));
            to.copy_from_slice(&from[..to.len()]);
            (at, rest) = (at + to.len(), after);
        }
    }

    /// Sets a row's values.
    pub(crate) fn write(&mut self, row: usize, from: &[f32]) {
        for (panel, from) in from.chunks(LANES).enumerate() {
            let (to, beyond) = self.lanes_mut(row, panel).split_at_mut(from.len());
            to.copy_from_slice(from);
            beyond.fill(0.0);
        }
    }
}
