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

mod product;
mod rows;

use half::f16;

use super::lanes::LANES;

pub(crate) use product::{Output, Then, products};
pub(crate) use rows::{Panels, Rows};

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

/// Scale and minimum of a block of 32 within twelve bytes of six-bit numbers.
fn six_bits(packed: &[u8], sub: usize) -> (u8, u8) {
    if sub < 4 {
        (packed[sub] & 63, packed[sub + 4] & 63)
    } else {
        (packed[sub + 4] & 15 | (packed[sub - 4] >> 6) << 4, packed[sub + 4] >> 4 | (packed[sub] >> 6) << 4)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
