//! The integer graph: the one meaning of a model, for who runs, proves and audits it.
//!
//! Tensors hold integers, row-major, with public bounds that no input in range can make them leave. An *act* is
//! a tensor within `i16` (int8 or int16 activations); any other is *wide*, within 2^47. There is one rounding rule,
//! [`Op::Rescale`]. The graph itself is public and holds no weights: those are the data of its constants.

mod bounds;
mod check;
mod describe;
mod draw;
mod interval;
#[cfg(any(test, feature = "testing"))]
pub mod sample;
mod shape;
mod wire;

pub use bounds::Analysis;
pub use check::{GraphError, Work};
pub use describe::{Description, Line, Step};
pub use wire::Entries;
pub(crate) use {
    interval::Interval,
    shape::{axes4, size},
};

use borsh::{BorshDeserialize, BorshSerialize};

/// A tensor of the graph, by position in [`Graph::tensors`].
pub type TensorId = u32;

/// In [`Index::Explicit`]: nothing is taken, which counts as 0.
pub const VOID: u32 = u32::MAX;

/// Magnitudes of a tensor's values stay under this.
pub const WIDE_END: i64 = 1 << 47;

/// Magnitudes within an operation stay under this.
pub const INTERMEDIATE_END: i64 = 1 << 62;

/// Most nodes.
pub const MAX_NODES: usize = 1 << 14;

/// Most tensors.
pub const MAX_TENSORS: usize = 1 << 16;

/// Most tables.
pub const MAX_TABLES: usize = 1 << 12;

/// Most axes of a tensor.
pub const MAX_AXES: usize = 16;

/// Most values of one tensor.
pub const MAX_ELEMENTS: usize = 1 << 24;

/// Most values of all tensors together.
pub const MAX_TOTAL: usize = 1 << 28;

/// Most entries of a wire, and most values that it takes from.
pub const MAX_ENTRIES: usize = 1 << 26;

/// Most products of two values that one run adds up.
pub const MAX_MACS: u64 = 1 << 37;

/// Most values that the nodes of one run read, move and give: what checking a graph takes time for.
pub const MAX_MOVES: u64 = 1 << 29;

/// Longest name of a node or table, in bytes.
pub const MAX_NAME: usize = 256;

/// Shape, bounds and scale of a tensor.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Tensor {
    /// Sizes of the axes; empty for a scalar.
    pub shape: Vec<u32>,
    /// Smallest value on any input in range.
    pub low: i64,
    /// Largest value on any input in range.
    pub high: i64,
    /// What one step is worth, as the bits of an `f32`: positive and normal.
    pub scale: u32,
}

impl Tensor {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().fold(1usize, |all, &axis| all.saturating_mul(axis as usize))
    }

    /// Whether it has no values, which a checked graph's never has.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether its bounds make it an act: all within `i16`.
    pub fn is_act(&self) -> bool {
        Interval { low: self.low, high: self.high }.is_act()
    }
}

/// A function on consecutive integers.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Table {
    /// What it computes, for people.
    pub name: String,
    /// The first integer.
    pub low: i32,
    /// Its value, and those of the integers after it; at most 2^16.
    pub values: Vec<i16>,
}

/// Which of the operands' values are taken.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Index {
    /// All, in order: a change of shape.
    Identity,
    /// Nested loops, the last innermost: value `offset + sum(step * stride)`, for each step under its size.
    Strided {
        /// Where the loops start.
        offset: i64,
        /// Size and stride of each loop.
        loops: Vec<(u32, i64)>,
    },
    /// Position by position; [`VOID`] takes nothing.
    Explicit(Vec<u32>),
}

/// A rewiring: each output is the sum of `fan_in` values of the operands, which count as one flat list.
///
/// With `fan_in` 1 it moves (transpose, slice, concatenate, pad, gather, broadcast, pooling windows); with more it adds up
/// (sums along axes). Output `i` adds entries `i * fan_in .. (i + 1) * fan_in` of the index.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Wire {
    /// Values added for each output, at least 1.
    pub fan_in: u32,
    /// `fan_in` times the output's size entries.
    pub index: Index,
}

/// Where a convolution's kernel lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Geometry {
    /// Steps of the kernel, down and across.
    pub strides: [u32; 2],
    /// Distance between the kernel's taps.
    pub dilations: [u32; 2],
    /// Zeros around the input: top, left, bottom, right.
    pub pads: [u32; 4],
    /// Groups of channels that do not see one another.
    pub groups: u32,
}

/// What a wide value is multiplied by before its shift.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Multiplier {
    /// One public number, 1 to 2^31 - 1.
    Uniform(u32),
    /// The second operand, a constant with one number for each index of this axis, each 0 to 2^31 - 1.
    PerAxis(u8),
}

/// An operation on integers. Operands have the output's shape unless it is said otherwise.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Op {
    /// See [`Wire`].
    Wire(Wire),
    /// `[b, m, k]` by `[b, k, n]` to `[b, m, n]`, and a third operand `[n]` added, if there is one. Both are acts.
    MatMul,
    /// `[n, c, h, w]` by `[m, c / groups, kh, kw]` to `[n, m, oh, ow]`, and a third operand `[m]` added, if there is one. Both are acts.
    Conv(Geometry),
    /// `constant + sum(coefficient * operand)`.
    Linear {
        /// One for each operand.
        coefficients: Vec<i64>,
        /// Added to each value.
        constant: i64,
    },
    /// The product of two acts.
    Mul,
    /// `clamp((x * M + 2^(shift - 1)) >> shift, low, high)`, where `>>` floors: the one rounding rule. Gives an act.
    Rescale {
        /// `M`.
        multiplier: Multiplier,
        /// 1 to 40. `|x * M| + 2^(shift - 1) < 2^62`.
        shift: u8,
        /// Smallest value given.
        low: i16,
        /// Largest value given.
        high: i16,
    },
    /// A function of an act: table by position in [`Graph::tables`], which covers the operand's bounds.
    Lookup {
        /// Which.
        table: u32,
    },
    /// The largest along the last axis, `[.., k]` to `[..]`, of an act.
    ReduceMax,
    /// The first position of the largest along the last axis, `[.., k]` to `[..]`, of an act; `k <= 2^15`.
    ArgMax,
    /// 1 where the first act is greater than the second, else 0.
    Greater,
    /// `floor((2 * n * 2^shift + d) / (2 * d))` for operands `n` and `d`: the quotient rounded, halves up. `1 <= d`; in
    /// magnitude `2 * n * 2^shift` and `d` are together under 2^62, and so is `2 * d` times any two quotients' difference.
    Divide {
        /// 0 to 40.
        shift: u8,
    },
    /// The integer square root, `s^2 <= v < (s + 1)^2`, of a value that is nowhere negative. Gives an act: `v < 2^30`.
    Sqrt,
}

/// One step of the graph.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Node {
    /// The ONNX node it comes from, for messages.
    pub name: String,
    /// What it does.
    pub op: Op,
    /// Its operands.
    pub inputs: Vec<TensorId>,
    /// Its one result.
    pub output: TensorId,
}

/// A public integer graph, operations in the order of their data.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Graph {
    /// All tensors.
    pub tensors: Vec<Tensor>,
    /// Tables of [`Op::Lookup`].
    pub tables: Vec<Table>,
    /// What is fed: acts.
    pub inputs: Vec<TensorId>,
    /// What is committed: weights, biases, multipliers.
    pub constants: Vec<TensorId>,
    /// Each reads only inputs, constants and results of earlier ones.
    pub nodes: Vec<Node>,
    /// What is given.
    pub outputs: Vec<TensorId>,
}
