//! Weight matrices, and their products with rows of activations.
//!
//! A matrix of `outputs x inputs` is kept in *tiles* of sixteen outputs, input by input, so that one load brings the
//! next weight of sixteen outputs and each lane is one output's sum. Sums go over the inputs in order:
//!
//! - `f32` and `f16`: `sum = fma(weight, x, sum)`, input by input;
//! - quantised: activations are first rounded to eight bits in blocks of 32 with a scale of their own; within a block
//!   the products are summed in integers, which is exact; then `sum = fma(scales, block, sum)`, block by block.
//!
//! Nothing in that depends on how many rows are multiplied at once, on threads or on the processor, so neither does
//! any bit of the result.
//!
//! | form | bytes for a weight | blocks |
//! |---|---|---|
//! | [`Form::F32`] | 4 | |
//! | [`Form::F16`] | 2 | |
//! | [`Form::Q8`] | 1.06 | 32 weights with a scale in half precision (GGUF's `Q8_0`) |
//! | [`Form::Q6K`] | 0.82 | 256 weights of six bits, a scale of eight bits for each 16 (GGUF's `Q6_K`) |
//! | [`Form::Q4K`] | 0.58 | 256 weights of four bits, scale and minimum of six bits for each 32 (GGUF's `Q4_K`); unpacked to bytes |
//!
//! Results come as *panels*: `[outputs / 16][rows][16]`, so that threads that share the outputs write apart.

use std::ops::Range;

use half::f16;

use super::{
    lanes::{Kernel, LANES, Lanes},
    threads::Threads,
};

/// Inputs in a block of activations.
pub(crate) const BLOCK: usize = 32;
/// Inputs in a block of the `K` forms.
pub(crate) const SUPER: usize = 256;

/// How weights are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// Single precision.
    F32,
    /// Half precision.
    F16,
    /// Eight bits.
    Q8,
    /// Six bits.
    Q6K,
    /// Four bits.
    Q4K,
}

impl Form {
    /// Inputs must be a multiple of this.
    pub fn block(self) -> usize {
        match self {
            Form::F32 | Form::F16 => 1,
            Form::Q8 => BLOCK,
            Form::Q6K | Form::Q4K => SUPER,
        }
    }

    /// Bytes that `weights` weights take in memory, their number a multiple of the block.
    pub fn bytes(self, weights: u64) -> u64 {
        match self {
            Form::F32 => weights * 4,
            Form::F16 => weights * 2,
            Form::Q8 => weights + weights / 16,
            Form::Q6K => weights / 256 * 210,
            Form::Q4K => weights / 256 * 148,
        }
    }
}

/// Sixteen outputs' next weights, or bytes of them, on a cache line of their own.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line<T>(T);

type Floats = Line<[f32; LANES]>;
type Bytes = Line<[u8; 4 * LANES]>;

#[derive(Clone, Debug)]
struct SuperQ4 {
    d: [u16; LANES],
    dmin: [u16; LANES],
    scales: [[u8; LANES]; 8],
    mins: [[u8; LANES]; 8],
}

#[derive(Clone, Debug)]
struct SuperQ6 {
    d: [u16; LANES],
    scales: [[i8; LANES]; 16],
}

#[derive(Clone, Debug)]
enum Tiles {
    /// `[tile][input]`
    F32(Vec<Floats>),
    /// `[tile][input]`
    F16(Vec<[u16; LANES]>),
    /// Scales `[tile][block]`; weights plus 128, `[tile][block][8]`, four inputs a line.
    Q8 { scales: Vec<[u16; LANES]>, quants: Vec<Bytes> },
    /// `[tile][super]`; nibbles `[tile][super][32]`, a line the low and high nibble of four inputs each.
    Q4K { supers: Vec<SuperQ4>, quants: Vec<Bytes> },
    /// `[tile][super]`; nibbles `[tile][super][32]`, then pairs of bits `[tile][super][16]`.
    Q6K { supers: Vec<SuperQ6>, low: Vec<Bytes>, high: Vec<Bytes> },
}

/// Why bytes are no matrix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MatrixError {
    /// Bytes and shape do not agree.
    #[error("expected {expected} bytes for {outputs} x {inputs} {form:?} weights, found {found}")]
    Length {
        /// The form.
        form: Form,
        /// Rows.
        outputs: usize,
        /// Columns.
        inputs: usize,
        /// Bytes of such a matrix.
        expected: usize,
        /// Bytes there.
        found: usize,
    },
    /// Rows do not divide into blocks.
    #[error("{form:?} weights come in rows of a multiple of {}, found {inputs}", form.block())]
    Block {
        /// The form.
        form: Form,
        /// Columns.
        inputs: usize,
    },
    /// A weight or scale is infinite or no number.
    #[error("a weight of output {output} is infinite or not a number")]
    NotFinite {
        /// The row.
        output: usize,
    },
}

/// Weights of a linear map.
#[derive(Clone, Debug)]
pub(crate) struct Matrix {
    outputs: usize,
    inputs: usize,
    tiles: Tiles,
}

/// What becomes of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// It takes the place of what was there.
    Put,
    /// It is added to what was there.
    Add,
}

impl Matrix {
    /// A matrix without its weights, for networks that are looked at and not run.
    pub(crate) fn hollow(outputs: usize, inputs: usize) -> Self {
        Self { outputs, inputs, tiles: Tiles::F32(Vec::new()) }
    }

    /// Outputs.
    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }

    /// How its weights are kept.
    pub(crate) fn form(&self) -> Form {
        match self.tiles {
            Tiles::F32(_) => Form::F32,
            Tiles::F16(_) => Form::F16,
            Tiles::Q8 { .. } => Form::Q8,
            Tiles::Q4K { .. } => Form::Q4K,
            Tiles::Q6K { .. } => Form::Q6K,
        }
    }

    /// Whether it is multiplied with activations of eight bits.
    pub(crate) fn is_quantised(&self) -> bool {
        !matches!(self.form(), Form::F32 | Form::F16)
    }

    fn tile_count(outputs: usize) -> usize {
        outputs.div_ceil(LANES)
    }

    /// Single precision weights `[outputs][inputs]`, kept in `form`: as they are, in half precision, or rounded to
    /// eight bits.
    ///
    /// # Errors
    /// [`MatrixError`] on a wrong length, inputs that do not divide into blocks, a weight that is not finite, or a
    /// form that weights are only read in.
    pub(crate) fn from_floats(form: Form, outputs: usize, inputs: usize, weights: &[f32]) -> Result<Self, MatrixError> {
        if weights.len() != outputs * inputs {
            let (expected, found) = (outputs * inputs * 4, weights.len() * 4);
            return Err(MatrixError::Length { form, outputs, inputs, expected, found });
        }
        if let Some(at) = weights.iter().position(|w| !w.is_finite()) {
            return Err(MatrixError::NotFinite { output: at / inputs.max(1) });
        }
        if inputs == 0 || !inputs.is_multiple_of(form.block()) {
            return Err(MatrixError::Block { form, inputs });
        }
        let tiles = Self::tile_count(outputs);
        let at = |tile: usize, lane: usize, input: usize| {
            let output = tile * LANES + lane;
            if output < outputs { weights[output * inputs + input] } else { 0.0 }
        };
        let tiles = match form {
            Form::F32 => Tiles::F32(
                (0..tiles * inputs)
                    .map(|i| Line(std::array::from_fn(|lane| at(i / inputs, lane, i % inputs))))
                    .collect(),
            ),
            Form::F16 => Tiles::F16(
                (0..tiles * inputs)
                    .map(|i| std::array::from_fn(|lane| f16::from_f32(at(i / inputs, lane, i % inputs)).to_bits()))
                    .collect(),
            ),
            Form::Q8 => {
                let blocks = inputs / BLOCK;
                let mut scales = vec![[0; LANES]; tiles * blocks];
                let mut quants = vec![Line([128; 4 * LANES]); tiles * blocks * 8];
                for (row, values) in weights.chunks_exact(inputs).enumerate() {
                    for (b, values) in values.chunks_exact(BLOCK).enumerate() {
                        let at = row / LANES * blocks + b;
                        let largest = values.iter().fold(0f32, |m, v| m.max(v.abs()));
                        let scale = largest / 127.0;
                        let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
                        scales[at][row % LANES] = f16::from_f32(scale).to_bits();
                        for (i, v) in values.iter().enumerate() {
                            let q = (v * inverse).round_ties_even().clamp(-127.0, 127.0) as i16 + 128;
                            quants[at * 8 + i / 4].0[row % LANES * 4 + i % 4] = q as u8;
                        }
                    }
                }
                Tiles::Q8 { scales, quants }
            }
            Form::Q4K | Form::Q6K => return Err(MatrixError::Block { form, inputs }),
        };
        Ok(Self { outputs, inputs, tiles })
    }

    /// The blocks of a GGUF tensor `[outputs][inputs]`.
    ///
    /// # Errors
    /// [`MatrixError`] on a wrong length, inputs that do not divide into blocks, or a scale that is not finite.
    pub(crate) fn from_blocks(form: Form, outputs: usize, inputs: usize, bytes: &[u8]) -> Result<Self, MatrixError> {
        if inputs == 0 || !inputs.is_multiple_of(form.block()) {
            return Err(MatrixError::Block { form, inputs });
        }
        let row_bytes = match form {
            Form::F32 => inputs * 4,
            Form::F16 => inputs * 2,
            Form::Q8 => inputs / BLOCK * 34,
            Form::Q6K => inputs / SUPER * 210,
            Form::Q4K => inputs / SUPER * 144,
        };
        if bytes.len() != outputs * row_bytes {
            let (expected, found) = (outputs * row_bytes, bytes.len());
            return Err(MatrixError::Length { form, outputs, inputs, expected, found });
        }
        let tiles = Self::tile_count(outputs);
        let rows = || bytes.chunks_exact(row_bytes).enumerate();
        let half = |b: &[u8], output: usize| {
            let bits = u16::from_le_bytes([b[0], b[1]]);
            if f16::from_bits(bits).is_finite() { Ok(bits) } else { Err(MatrixError::NotFinite { output }) }
        };
        let tiles = match form {
            Form::F32 => {
                let words = bytes.as_chunks::<4>().0;
                let floats: Vec<f32> = words.iter().map(|w| f32::from_le_bytes(*w)).collect();
                return Self::from_floats(form, outputs, inputs, &floats);
            }
            Form::F16 => {
                let mut lines = vec![[0; LANES]; tiles * inputs];
                for (row, bytes) in rows() {
                    for (i, b) in bytes.chunks_exact(2).enumerate() {
                        lines[row / LANES * inputs + i][row % LANES] = half(b, row)?;
                    }
                }
                Tiles::F16(lines)
            }
            Form::Q8 => {
                let blocks = inputs / BLOCK;
                let mut scales = vec![[0; LANES]; tiles * blocks];
                let mut quants = vec![Line([128; 4 * LANES]); tiles * blocks * 8];
                for (row, bytes) in rows() {
                    for (b, block) in bytes.chunks_exact(34).enumerate() {
                        let at = row / LANES * blocks + b;
                        scales[at][row % LANES] = half(block, row)?;
                        for (i, q) in block[2..].iter().enumerate() {
                            quants[at * 8 + i / 4].0[row % LANES * 4 + i % 4] = q ^ 0x80;
                        }
                    }
                }
                Tiles::Q8 { scales, quants }
            }
            Form::Q4K => {
                let blocks = inputs / SUPER;
                let empty = SuperQ4 { d: [0; LANES], dmin: [0; LANES], scales: [[0; LANES]; 8], mins: [[0; LANES]; 8] };
                let mut supers = vec![empty; tiles * blocks];
                let mut quants = vec![Line([0; 4 * LANES]); tiles * blocks * 32];
                for (row, bytes) in rows() {
                    let lane = row % LANES;
                    for (b, block) in bytes.chunks_exact(144).enumerate() {
                        let at = row / LANES * blocks + b;
                        let tile = &mut supers[at];
                        tile.d[lane] = half(block, row)?;
                        tile.dmin[lane] = half(&block[2..], row)?;
                        for sub in 0..8 {
                            let (scale, min) = six_bits(&block[4..16], sub);
                            tile.scales[sub][lane] = scale;
                            tile.mins[sub][lane] = min;
                        }
                        for (i, q) in block[16..].iter().enumerate() {
                            quants[at * 32 + i / 4].0[lane * 4 + i % 4] = *q;
                        }
                    }
                }
                Tiles::Q4K { supers, quants }
            }
            Form::Q6K => {
                let blocks = inputs / SUPER;
                let mut supers = vec![SuperQ6 { d: [0; LANES], scales: [[0; LANES]; 16] }; tiles * blocks];
                let mut low = vec![Line([0; 4 * LANES]); tiles * blocks * 32];
                let mut high = vec![Line([0; 4 * LANES]); tiles * blocks * 16];
                for (row, bytes) in rows() {
                    let lane = row % LANES;
                    for (b, block) in bytes.chunks_exact(210).enumerate() {
                        let at = row / LANES * blocks + b;
                        supers[at].d[lane] = half(&block[208..], row)?;
                        for (i, scale) in block[192..208].iter().enumerate() {
                            supers[at].scales[i][lane] = *scale as i8;
                        }
                        for (i, q) in block[..128].iter().enumerate() {
                            low[at * 32 + i / 4].0[lane * 4 + i % 4] = *q;
                        }
                        for (i, q) in block[128..192].iter().enumerate() {
                            high[at * 16 + i / 4].0[lane * 4 + i % 4] = *q;
                        }
                    }
                }
                Tiles::Q6K { supers, low, high }
            }
        };
        Ok(Self { outputs, inputs, tiles })
    }

    /// One output's weights as floats: a row of an embedding.
    ///
    /// # Panics
    /// If there is no such output.
    pub(crate) fn row(&self, output: usize) -> Vec<f32> {
        assert!(output < self.outputs, "the matrix has {} rows", self.outputs);
        let (tile, lane) = (output / LANES, output % LANES);
        let half = |bits| f16::from_bits(bits).to_f32();
        let byte = |lines: &[Bytes], at: usize, i: usize| lines[at + i / 4].0[lane * 4 + i % 4];
        match &self.tiles {
            Tiles::F32(lines) => lines[tile * self.inputs..][..self.inputs].iter().map(|l| l.0[lane]).collect(),
            Tiles::F16(lines) => lines[tile * self.inputs..][..self.inputs].iter().map(|l| half(l[lane])).collect(),
            Tiles::Q8 { scales, quants } => {
                let first = tile * (self.inputs / BLOCK);
                let weight = |i: usize| {
                    let at = first + i / BLOCK;
                    half(scales[at][lane]) * (f32::from(byte(quants, at * 8, i % BLOCK)) - 128.0)
                };
                (0..self.inputs).map(weight).collect()
            }
            Tiles::Q4K { supers, quants } => {
                let first = tile * (self.inputs / SUPER);
                let weight = |i: usize| {
                    let (at, i) = (first + i / SUPER, i % SUPER);
                    let (tile, sub) = (&supers[at], i / 32);
                    let q = byte(quants, at * 32, sub / 2 * 32 + i % 32) >> (4 * (sub % 2)) & 15;
                    half(tile.d[lane]) * f32::from(tile.scales[sub][lane]) * f32::from(q)
                        - half(tile.dmin[lane]) * f32::from(tile.mins[sub][lane])
                };
                (0..self.inputs).map(weight).collect()
            }
            Tiles::Q6K { supers, low, high } => {
                let first = tile * (self.inputs / SUPER);
                let weight = |i: usize| {
                    let (at, i) = (first + i / SUPER, i % SUPER);
                    let (part, sub, i) = (i / 128, i % 128 / 32, i % 32);
                    let nibble = byte(low, at * 32, part * 64 + sub % 2 * 32 + i) >> (4 * (sub / 2)) & 15;
                    let pair = byte(high, at * 16, part * 32 + i) >> (2 * sub) & 3;
                    let scale = supers[at].scales[part * 8 + sub * 2 + i / 16][lane];
                    half(supers[at].d[lane]) * f32::from(scale) * (f32::from(nibble | pair << 4) - 32.0)
                };
                (0..self.inputs).map(weight).collect()
            }
        }
    }

    /// Copies one output's weights as floats into `to`: a row of an embedding.
    ///
    /// # Panics
    /// If there is no such output, or `to` is not as long as the inputs.
    pub(crate) fn read_row(&self, output: usize, to: &mut [f32]) {
        to.copy_from_slice(&self.row(output));
    }
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

/// Scale and minimum of a block of 32 within twelve bytes of six-bit numbers.
fn six_bits(packed: &[u8], sub: usize) -> (u8, u8) {
    if sub < 4 {
        (packed[sub] & 63, packed[sub + 4] & 63)
    } else {
        (packed[sub + 4] & 15 | (packed[sub - 4] >> 6) << 4, packed[sub + 4] >> 4 | (packed[sub] >> 6) << 4)
    }
}

/// Thirty-two activations in eight bits.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Quants {
    q: [[i8; 4]; BLOCK / 4],
    scale: f32,
    /// Of each half.
    sums: [i32; 2],
}

impl Quants {
    fn of(values: &[f32; BLOCK]) -> Self {
        let largest = values.iter().fold(0f32, |m, v| m.max(v.abs()));
        let scale = largest / 127.0;
        let inverse = if scale > 0.0 { 127.0 / largest } else { 0.0 };
        let mut q = [[0i8; 4]; BLOCK / 4];
        let mut sums = [0; 2];
        for (i, v) in values.iter().enumerate() {
            let rounded = (v * inverse).round_ties_even().clamp(-127.0, 127.0) as i8;
            q[i / 4][i % 4] = rounded;
            sums[i / 16] += i32::from(rounded);
        }
        Self { q, scale, sums }
    }

    fn sum(&self) -> i32 {
        self.sums[0] + self.sums[1]
    }
}

/// Rows of activations, as a product takes them: `[rows][width]`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    rows: usize,
    width: usize,
    floats: Vec<f32>,
    quants: Vec<Quants>,
}

impl Rows {
    /// Makes room for `rows x width`.
    pub(crate) fn reset(&mut self, rows: usize, width: usize) {
        (self.rows, self.width) = (rows, width);
        self.floats.clear();
        self.floats.resize(rows * width, 0.0);
        self.quants.clear();
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

    fn has_quants(&self) -> bool {
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
        // A row of a small model is not worth a thread.
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
    rows: usize,
    width: usize,
    values: Vec<f32>,
}

impl Panels {
    /// Makes room for `rows x width` zeros.
    pub(crate) fn reset(&mut self, rows: usize, width: usize) {
        (self.rows, self.width) = (rows, width);
        self.values.clear();
        self.values.resize(rows * width.div_ceil(LANES) * LANES, 0.0);
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

    /// One value.
    pub(crate) fn at(&self, row: usize, column: usize) -> f32 {
        self.lanes(row, column / LANES)[column % LANES]
    }

    /// Copies a row's values from `first` on.
    pub(crate) fn read(&self, row: usize, first: usize, to: &mut [f32]) {
        for (i, to) in to.iter_mut().enumerate() {
            *to = self.at(row, first + i);
        }
    }

    /// Sets a row's values.
    pub(crate) fn write(&mut self, row: usize, from: &[f32]) {
        for (panel, from) in from.chunks(LANES).enumerate() {
            self.lanes_mut(row, panel)[..from.len()].copy_from_slice(from);
        }
    }
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
            for tile in self.tiles.clone() {
                let mut row = 0;
                if L::WIDE {
                    row = self.quantised::<L, 8>(l, tile, row);
                }
                row = self.quantised::<L, 4>(l, tile, row);
                row = self.quantised::<L, 2>(l, tile, row);
                self.quantised::<L, 1>(l, tile, row);
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

    /// As many groups of `R` rows as are left from `row` on, with one quantised tile; the next row.
    #[inline(always)]
    fn quantised<L: Lanes, const R: usize>(&mut self, l: L, tile: usize, mut row: usize) -> usize {
        let blocks = self.matrix.inputs / BLOCK;
        while row + R <= self.rows.rows {
            let x: [&[Quants]; R] = std::array::from_fn(|r| &self.rows.quants[(row + r) * blocks..][..blocks]);
            let sums = match &self.matrix.tiles {
                Tiles::Q8 { scales, quants } => {
                    let scales = &scales[tile * blocks..][..blocks];
                    let quants = &quants.as_chunks::<8>().0[tile * blocks..][..blocks];
                    sum_q8::<L, R>(l, scales, quants, &x)
                }
                Tiles::Q4K { supers, quants } => {
                    let supers_in_row = blocks / 8;
                    let supers = &supers[tile * supers_in_row..][..supers_in_row];
                    let quants = &quants.as_chunks::<32>().0[tile * supers_in_row..][..supers_in_row];
                    sum_q4k::<L, R>(l, supers, quants, &x)
                }
                Tiles::Q6K { supers, low, high } => {
                    let supers_in_row = blocks / 8;
                    let supers = &supers[tile * supers_in_row..][..supers_in_row];
                    let low = &low.as_chunks::<32>().0[tile * supers_in_row..][..supers_in_row];
                    let high = &high.as_chunks::<16>().0[tile * supers_in_row..][..supers_in_row];
                    sum_q6k::<L, R>(l, supers, low, high, &x)
                }
                _ => unreachable!("matrices of floats go the other way"),
            };
            for (r, sum) in sums.into_iter().enumerate() {
                self.finish(l, tile, row + r, sum);
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

#[inline(always)]
fn sum_q8<L: Lanes, const R: usize>(
    l: L,
    scales: &[[u16; LANES]],
    quants: &[[Bytes; 8]],
    x: &[&[Quants]; R],
) -> [L::F; R] {
    let mut sums = [l.splat(0.0); R];
    for (b, (scale, lines)) in scales.iter().zip(quants).enumerate() {
        let x: [&Quants; R] = std::array::from_fn(|r| &x[r][b]);
        let mut dots: [L::I; R] = std::array::from_fn(|r| l.begin(x[r].sum()));
        for (g, line) in lines.iter().enumerate() {
            let w = l.weights(&line.0);
            for (dot, x) in dots.iter_mut().zip(x) {
                *dot = l.dot_signed(*dot, w, x.q[g]);
            }
        }
        let scale = l.load_half(scale);
        for r in 0..R {
            sums[r] = l.fma(l.mul(scale, l.splat(x[r].scale)), l.float(dots[r]), sums[r]);
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
