//! The largest along the last axis: a tournament of pairs, `k - 1` of them whatever `k` is.
//!
//! For a pair `(a, b)` whose difference fits 15 bits, `(b - a, u)` lies in the table of `u = max(b - a, 0)`, and the larger
//! is `a + u`. Unique: `u` is a function of `b - a`.
//!
//! For wider ones the larger, `m`, is committed, `m - a` and `m - b` lie in a range of 16 bits and
//! `(m - a) * (m - b) = 0`. Unique: `m` is `a` or `b`; were both possible and different, `b - a` and `a - b` would both be in
//! `1 .. 2^16`, and their sum, under `2^17 < p`, would not be 0.

use super::halves::{flattened, round};
use crate::relation::{
    ColumnId, Hint, Table,
    builder::{Bounds, Builder, bits_of, width_of},
};

/// Adds the gadget; gives the result in the shape asked for.
pub(in crate::relation) fn build(b: &mut Builder, x: ColumnId, shape: Vec<usize>, bounds: Bounds) -> ColumnId {
    let mut current = flattened(b, x);
    let mut left = Vec::new();
    while b.shape(current)[1] > 1 {
        let pairs = round(b, current);
        left.extend(pairs.left_over);
        current = larger(b, pairs.first, pairs.second);
    }
    // What was left over last lies next to what has been compared.
    for other in left.into_iter().rev() {
        current = larger(b, current, other);
    }
    let column = b.reshaped(current, shape, "largest");
    let found = &mut b.relations.columns[column];
    (found.low, found.high) = (found.low.max(bounds.0), found.high.min(bounds.1));
    column
}

fn larger(b: &mut Builder, first: ColumnId, second: ColumnId) -> ColumnId {
    let ((al, ah), (bl, bh)) = (b.bounds(first), b.bounds(second));
    let bounds = (al.max(bl), ah.max(bh));
    let reach = (bh - al).max(ah - bl);
    if bits_of(reach) <= 15 {
        let width = width_of(reach).min(15);
        let difference = b.linear(vec![(1, second), (-1, first)], 0, "difference");
        let high = ((1_i32 << width) - 1) as i16;
        let table = Table::Clamp { bits: width + 1, low: 0, high };
        let rise = b.looked(table, difference, (0, (bh - al).max(0)), "rise");
        return b.linear_within(vec![(1, first), (1, rise)], 0, bounds, "larger");
    }
    let larger = b.witness(first, bounds, Hint::Larger { a: first, b: second }, "larger");
    for other in [first, second] {
        let over = b.linear(vec![(1, larger), (-1, other)], 0, "over");
        b.relations.columns[over].low = 0;
        b.range(over, 16);
    }
    // (m - a) * (m - b) = m^2 - m * b - a * m + a * b
    b.zero(
        vec![
            (1, vec![larger, larger]),
            (-1, vec![larger, second]),
            (-1, vec![first, larger]),
            (1, vec![first, second]),
        ],
        0,
    );
    larger
}
