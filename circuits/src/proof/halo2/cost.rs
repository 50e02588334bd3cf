//! What a circuit of a shape costs.

use super::{
    MIN_K,
    layout::{Layout, Shape},
    link::LINK_BYTES,
};
use crate::proof::Estimate;

/// Fixed columns that gates and lookups read, those of the table among them.
const FIXED: usize = 20;
/// The constant column and the public one are under copy constraints too.
const COPIED_BESIDES: usize = 2;
/// Columns that one permutation product covers, at degree 5.
const COPIED_A_PRODUCT: usize = 3;

impl Shape {
    /// Advice columns: `w`, `a`, `acc`, `z`.
    pub(super) fn advice(self) -> usize {
        2 * self.terms + 1 + self.ranges
    }

    fn lookups(self) -> usize {
        self.ranges + self.pieces
    }

    fn copied(self) -> usize {
        self.advice() + COPIED_BESIDES
    }

    fn products(self) -> usize {
        self.copied().div_ceil(COPIED_A_PRODUCT)
    }

    /// Exact length of a proof of 2^k rows: what the library writes, in its order, and the link. A test compares.
    pub(super) fn proof_len(self, k: u32) -> usize {
        // Advice, permuted columns and products of lookups, permutation products, random, quotient in four parts.
        let committed = self.advice() + 3 * self.lookups() + self.products() + 1 + 4;
        // Public column, advice (the accumulator above and each range below as well), fixed, random, copies, products, lookups.
        let evaluated = 1
            + (self.advice() + 1 + self.ranges)
            + FIXED
            + 1
            + self.copied()
            + (3 * self.products() - 1)
            + 5 * self.lookups();
        // A point and four scalars join the openings; the inner-product argument has a point, two a round, two scalars.
        let opened = 1 + 4 + 1 + 2 * k as usize + 2;
        32 * (committed + evaluated + opened) + LINK_BYTES
    }

    /// Polynomials that a prover commits to: advice, three a lookup, one for three columns under copy constraints.
    fn committed(self) -> usize {
        self.advice() + 3 * self.lookups() + self.products()
    }
}

/// Seconds of processor for each cell of a committed column, times `k`; this and what follows fits runs of 2^9 to 2^14 rows.
const PROVE_CELL: f64 = 8e-5;
/// Columns' worth of what a row costs besides.
const PROVE_BESIDES: f64 = 50.0;
/// Seconds of processor to derive the parameters of a row, and to commit to a cell of the key.
const PARAMETERS_ROW: f64 = 5e-4;
const KEY_CELL: f64 = 1.7e-5;
/// Seconds of processor for each point of the sum that a verifier computes.
const VERIFY_POINT: f64 = 8.2e-6;
/// How much faster two cores are than one.
const TWO_CORES: f64 = 1.7;

/// Seconds of proving on two cores.
pub(super) fn prove_seconds(layout: &Layout) -> f64 {
    let cells = f64::from(1u32 << layout.k) * (layout.shape.committed() as f64 + PROVE_BESIDES);
    PROVE_CELL / f64::from(layout.k) * cells / TWO_CORES
}

/// The whole estimate.
pub(super) fn estimate(layout: &Layout) -> Estimate {
    let Layout { shape, k, .. } = *layout;
    let rows = f64::from(1u32 << k);
    let keyed = (FIXED + shape.copied()) as f64;
    let parameters = if k == MIN_K { 0.0 } else { rows * PARAMETERS_ROW };
    let proof_bytes = shape.proof_len(k);
    let points = rows + layout.public_rows() as f64 + proof_bytes as f64 / 64.0;
    // A column is kept as values, coefficients and, four times as long, on a coset.
    let cells = rows * (6.0 * keyed + 7.0 * shape.committed() as f64);
    Estimate {
        setup_s: (parameters + rows * keyed * KEY_CELL) / TWO_CORES,
        prove_s: prove_seconds(layout),
        verify_s: points * VERIFY_POINT / TWO_CORES,
        memory_mib: 42.0 + cells * 48.5 / f64::from(1u32 << 20),
        proof_bytes,
    }
}
