//! Where everything lies: relations laid out in rows, once for a model, with or without weights at hand.
//!
//! ```text
//!        w (weights)   a (everything else)         acc      z (ranges)       fixed
//! dot    w0 .. wT      a0 .. aT                    sum                       which sum, chained or not
//! quad                 p q r s | p q r s | ..                                m p q + l.(p q r s) + k = 0
//! piece                x y start end base slope    ..       (other rows)     tag of the table
//! range                (other rows)                         x, x >> 8        tag of the range
//! ```
//!
//! A *variable* is one cell of one column of the relations, or a value in between. All places of a variable are tied
//! by copy constraints, so a wire costs nothing but the copy at its reader. The `w` columns hold weights and zeros
//! only: that is what the model's commitment commits to.

mod build;
mod lookups;
mod places;
mod zeros;

pub(super) use build::lay_out;

use std::{collections::BTreeMap, sync::Arc};

use halo2_proofs::pasta::Fp;

use super::pieces::Pieces;
use crate::relation::ColumnId;

/// Bits of a range's limb.
pub(super) const LIMB_BITS: u8 = 8;
/// Cells of a quad.
pub(super) const QUAD: usize = 4;
/// Cells of a piece: `x`, `y`, start, end, base, slope, `x - start`, `end - x`.
pub(super) const PIECE: usize = 8;
/// Columns of the lookup table: the tag and four values.
pub(super) const TABLE_WIDTH: usize = 5;
/// Tags of pieces come after those of ranges; 0 is the row of zeros.
pub(super) const FIRST_PIECE_TAG: i64 = 32;
/// Rows of the public column before the inputs.
pub(super) const DIGEST_ROWS: usize = 2;

/// A variable, by number.
pub(super) type Var = u32;
/// No variable: a cell that holds zero, or what the row computes.
pub(super) const NONE: Var = u32::MAX;
/// One variable for each cell of a column.
pub(super) type Cells = Arc<[Var]>;

/// Range lookups that a range of so many bits takes.
pub(super) const fn limbs(bits: u8) -> usize {
    bits.div_ceil(LIMB_BITS) as usize
}

/// How many columns of each kind a circuit has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    /// Columns of `w` and of `a`: products a row.
    pub(super) terms: usize,
    /// Columns of `z`: range lookups a row.
    pub(super) ranges: usize,
    /// Pieces a row.
    pub(super) pieces: usize,
}

/// The shapes there are, the narrowest first.
pub(super) const SHAPES: [Shape; 3] = [
    Shape { terms: 8, ranges: 1, pieces: 1 },
    Shape { terms: 16, ranges: 2, pieces: 1 },
    Shape { terms: 32, ranges: 4, pieces: 2 },
];

/// What a row's accumulator sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sum {
    /// `w_i * a_i`.
    Weights,
    /// `a_2i * a_2i+1`.
    Pairs,
    /// `a_i`.
    Plain,
}

/// What a row demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Demand {
    /// Nothing.
    Idle,
    /// `acc = sum`, plus the accumulator above if `chained`.
    Dot { sum: Sum, chained: bool },
    /// A [`Quad`], by number.
    Quad(u32),
    /// A lookup in the pieces of this table of the relations.
    Piece(usize),
}

/// `product * p * q + linear . (p, q, r, s) + constant = 0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quad {
    pub(super) product: Fp,
    pub(super) linear: [Fp; QUAD],
    pub(super) constant: Fp,
}

/// How the values of consecutive variables come about.
#[derive(Debug, Clone)]
pub(super) enum How {
    /// Cells of this column of the trace.
    Trace(ColumnId),
    /// Public numbers of the circuit.
    Constant(i64),
    /// A half of the binding's digest.
    Digest(usize),
    /// `coefficient * left * right + sum(coefficient * cells) + constant`.
    Sum { product: Option<(Fp, Cells, Cells)>, terms: Vec<(Fp, Cells)>, constant: Fp },
    /// What is over the lowest limb.
    Upper(Cells),
    /// `x - start` of the piece that covers `x`, or `end - x`.
    Distance { x: Cells, table: usize, to_end: bool },
}

/// Consecutive variables.
#[derive(Debug, Clone)]
pub(super) struct Block {
    pub(super) first: Var,
    pub(super) len: usize,
    pub(super) how: How,
}

/// The whole plan of a circuit. Public: depends on the relations alone.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) shape: Shape,
    /// The circuit has `2^k` rows.
    pub(super) k: u32,
    /// Variables in the order of their computation.
    pub(super) blocks: Vec<Block>,
    /// Number of variables.
    pub(super) vars: usize,
    /// One a row.
    pub(super) demands: Vec<Demand>,
    /// [`Shape::terms`] a row.
    pub(super) a: Vec<Var>,
    /// [`Shape::terms`] a row.
    pub(super) w: Vec<Var>,
    /// One a row.
    pub(super) acc: Vec<Var>,
    /// [`Shape::ranges`] a row.
    pub(super) z: Vec<Var>,
    /// For each row of `z`: bits, and whether the row below holds what is over the limb.
    pub(super) z_rows: Vec<(u8, bool)>,
    pub(super) quads: Vec<Quad>,
    /// Tables of pairs, by their number in the relations.
    pub(super) pieces: BTreeMap<usize, Pieces>,
    /// Rows of the lookup table, the row of zeros first.
    pub(super) table: Vec<[i64; TABLE_WIDTH]>,
    /// Variables of [`How::Constant`].
    pub(super) constants: Vec<(i64, Var)>,
    /// Public rows and what must equal them.
    pub(super) public: Vec<(usize, Var)>,
    /// Lengths of the inputs, with their bounds, and of the outputs.
    pub(super) inputs: Vec<Given>,
    pub(super) outputs: Vec<usize>,
    /// Columns that no row computes: the prover compares them with their definition.
    pub(super) unlaid: Vec<ColumnId>,
    /// Columns of the weights, by their number.
    pub(super) weights: Vec<ColumnId>,
}

/// What an input may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) len: usize,
    pub(super) low: i64,
    pub(super) high: i64,
}

/// Rows that a circuit needs, by what needs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) arithmetic: usize,
    pub(super) ranges: usize,
    pub(super) table: usize,
    pub(super) public: usize,
}

impl Layout {
    /// Rows of the public column.
    pub(super) fn public_rows(&self) -> usize {
        DIGEST_ROWS + self.inputs.iter().map(|g| g.len).sum::<usize>() + self.outputs.iter().sum::<usize>()
    }

    pub(super) fn rows(&self) -> Rows {
        Rows {
            arithmetic: self.demands.len(),
            ranges: self.z_rows.len(),
            table: self.table.len(),
            public: self.public_rows().max(self.constants.len()),
        }
    }
}

impl Rows {
    /// The most.
    pub(super) fn most(&self) -> usize {
        self.arithmetic.max(self.ranges).max(self.table).max(self.public)
    }
}
