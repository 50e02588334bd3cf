//! The graph as columns and relations between them: what every proof system proves.
//!
//! ```text
//! Graph --arithmetise--> Relations          Graph, weights, inputs --trace--> Trace (one vector a column)
//! ```
//!
//! A column is a tensor of integers. Some are *given* (inputs by the verifier, weights by the commitment), some are
//! *committed* by the prover (witnesses), the rest are *derived*: defined by the ones before them. The prover is held to
//! two kinds of demands at every cell: a [`Zero`] (a polynomial of degree at most 3 vanishes) and a [`Lookup`]
//! (the cell lies in a table). The soundness of each gadget rests on these and the public graph alone, never on the
//! weights being what they should: every value that must be small for uniqueness is looked up in a range.
//!
//! Soundness rule: given the weights and inputs, at most one choice of witnesses satisfies all demands.

#[cfg(any(test, feature = "testing"))]
mod adversary;
mod arithmetise;
mod builder;
mod cost;
mod error;
mod gadget;
mod hint;
mod satisfied;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod trace;

use std::sync::Arc;

use crate::graph::{TensorId, Wire};

#[cfg(any(test, feature = "testing"))]
pub use adversary::{COVERS, Cover};
pub use cost::Cost;
pub use error::{ArithmetiseError, TraceError, Unsatisfied};
pub use hint::{Factor, Hint};

/// A column, by position in [`Relations::columns`].
pub type ColumnId = usize;

/// Where a column's values come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Definition {
    /// The graph's input of this position: the verifier knows it.
    Input(usize),
    /// The graph's constant of this position: committed with the model.
    Weight(usize),
    /// Committed by the prover, for this proof.
    Witness,
    /// `constant + sum(coefficient * column)`, columns of the same shape.
    Linear {
        /// Coefficients and columns.
        terms: Vec<(i64, ColumnId)>,
        /// Added to each cell.
        constant: i64,
    },
    /// The columns, one after another as one flat list, rewired.
    Wire {
        /// The columns.
        sources: Vec<ColumnId>,
        /// How.
        wire: Arc<Wire>,
    },
    /// `[b, m, k]` by `[b, k, n]` to `[b, m, n]`. A convolution is a wire to windows and this.
    MatMul {
        /// Left operand.
        left: ColumnId,
        /// Right operand.
        right: ColumnId,
    },
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Sizes of its axes.
    pub shape: Vec<usize>,
    /// Where its values come from; reads only earlier columns.
    pub definition: Definition,
    /// The node of the graph it serves, for messages and costs; inputs and weights have none.
    pub node: Option<usize>,
    /// What it is there, for people: "quotient", "remainder", "limb 1".
    pub role: &'static str,
    /// Smallest value of any cell, on any input in range: of an input, what the verifier must see kept; of a witness, what an honest
    /// prover keeps. A proof system may demand these bounds, or not.
    pub low: i64,
    /// Largest value of any cell, likewise.
    pub high: i64,
}

impl Column {
    /// Its cells.
    #[allow(clippy::len_without_is_empty)] // No column is empty.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

/// `sum(coefficient * product(columns)) + constant = 0` at every cell; at most three columns a product, all of one shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zero {
    /// Coefficients and products.
    pub terms: Vec<(i64, Vec<ColumnId>)>,
    /// Added.
    pub constant: i64,
    /// The shape of its columns.
    pub shape: Vec<usize>,
    /// The node of the graph it serves.
    pub node: usize,
}

/// What a lookup looks in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Table {
    /// `0 <= x < 2^bits`; bits 1 to 16.
    Range {
        /// How many.
        bits: u8,
    },
    /// Pairs `(x, clamp(x, low, high))` for `x` in `-2^(bits - 1) .. 2^(bits - 1)`.
    Clamp {
        /// 1 to 16.
        bits: u8,
        /// Smallest value.
        low: i16,
        /// Largest value.
        high: i16,
    },
    /// Pairs `(x, values[x - low])`.
    Map {
        /// The first `x`.
        low: i32,
        /// The values, 1 to 2^16 of them.
        values: Arc<[i16]>,
    },
}

/// Every cell of `x`, or pair of cells of `x` and `y`, lies in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// Table by position in [`Relations::tables`].
    pub table: usize,
    /// What is looked up.
    pub x: ColumnId,
    /// What it gives; none for a range.
    pub y: Option<ColumnId>,
    /// The node of the graph it serves.
    pub node: usize,
}

/// A column that must equal what the statement gives as output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The column.
    pub column: ColumnId,
    /// The graph's tensor.
    pub tensor: TensorId,
}

/// Everything a proof system needs to know about a graph. Public; holds no weights.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Relations {
    /// Columns, each defined by earlier ones.
    pub columns: Vec<Column>,
    /// Demands of degree at most 3.
    pub zeros: Vec<Zero>,
    /// Tables, each once.
    pub tables: Vec<Table>,
    /// Demands of lookup.
    pub lookups: Vec<Lookup>,
    /// One for each output of the graph.
    pub outputs: Vec<Output>,
    /// How an honest prover fills its witnesses: one for each [`Definition::Witness`], in order. No demand rests on it.
    pub hints: Vec<Hint>,
}

/// The values of every column, in the order of [`Relations::columns`], row-major.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// One vector a column.
    pub columns: Vec<Vec<i64>>,
}
