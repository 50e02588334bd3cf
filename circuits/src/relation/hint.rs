//! How an honest prover finds its witnesses. Nothing here is a demand: a wrong hint makes proofs that fail, no more.

use super::ColumnId;

/// What a rescaled value is multiplied by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Factor {
    /// One public number.
    Constant(i64),
    /// Cell by cell.
    Column(ColumnId),
}

/// A witness from the columns before it, cell by cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// `clamp((x * factor + 2^(shift - 1)) >> shift, low, high)`.
    Rescaled {
        /// What is rescaled.
        x: ColumnId,
        /// What it is multiplied by.
        factor: Factor,
        /// Bits dropped.
        shift: u8,
        /// Smallest value given.
        low: i64,
        /// Largest value given.
        high: i64,
    },
    /// `max(0, ((x * factor + 2^(shift - 1)) >> shift) - high)`.
    Above {
        /// What is rescaled.
        x: ColumnId,
        /// What it is multiplied by.
        factor: Factor,
        /// Bits dropped.
        shift: u8,
        /// Where the clamp ends.
        high: i64,
    },
    /// `max(0, low - ((x * factor + 2^(shift - 1)) >> shift))`.
    Below {
        /// What is rescaled.
        x: ColumnId,
        /// What it is multiplied by.
        factor: Factor,
        /// Bits dropped.
        shift: u8,
        /// Where the clamp begins.
        low: i64,
    },
    /// `(x * factor + 2^(shift - 1)) mod 2^shift`.
    Dropped {
        /// What is rescaled.
        x: ColumnId,
        /// What it is multiplied by.
        factor: Factor,
        /// Bits dropped.
        shift: u8,
    },
    /// `(of >> at) mod 2^bits`.
    Limb {
        /// What is cut in limbs.
        of: ColumnId,
        /// The limb's lowest bit.
        at: u8,
        /// Its bits.
        bits: u8,
    },
    /// What the table gives for `x`.
    Looked {
        /// Table by position in [`super::Relations::tables`].
        table: usize,
        /// What is looked up.
        x: ColumnId,
    },
    /// `a * b`.
    Product {
        /// One.
        a: ColumnId,
        /// The other.
        b: ColumnId,
    },
    /// The larger of both.
    Larger {
        /// One.
        a: ColumnId,
        /// The other.
        b: ColumnId,
    },
    /// 1 where `a > b`, else 0.
    Greater {
        /// One.
        a: ColumnId,
        /// The other.
        b: ColumnId,
    },
    /// `otherwise`, or 0, where `bit` is 0; `then + offset`, with `then` 0 if there is none, where it is 1.
    Position {
        /// What decides.
        bit: ColumnId,
        /// The position in the first part.
        otherwise: Option<ColumnId>,
        /// The position in the second part.
        then: Option<ColumnId>,
        /// Where the second part begins.
        offset: i64,
    },
    /// `floor((2 * n * 2^shift + d) / (2 * d))`.
    Quotient {
        /// Numerator.
        n: ColumnId,
        /// Denominator.
        d: ColumnId,
        /// Bits added.
        shift: u8,
    },
    /// `(2 * n * 2^shift + d) mod (2 * d)`.
    Remainder {
        /// Numerator.
        n: ColumnId,
        /// Denominator.
        d: ColumnId,
        /// Bits added.
        shift: u8,
    },
    /// `s` with `s^2 <= v < (s + 1)^2`.
    Root {
        /// The square, and what remains.
        v: ColumnId,
    },
    /// `v - s^2`.
    RootRemainder {
        /// The square, and what remains.
        v: ColumnId,
        /// The root.
        s: ColumnId,
    },
}
