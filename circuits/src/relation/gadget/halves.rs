//! The last axis in neighbouring pairs, for tournaments.

use crate::{
    graph::Index,
    relation::{ColumnId, builder::Builder},
};

/// One round of a tournament over the last axis of `[rest, k]`, `k >= 2`.
pub(super) struct Round {
    /// The first of each pair, `[rest, k / 2]`.
    pub(super) first: ColumnId,
    /// The second of each pair.
    pub(super) second: ColumnId,
    /// The last one, `[rest, 1]`, where `k` is odd.
    pub(super) left_over: Option<ColumnId>,
}

/// The column with all axes but the last in one: `[rest, k]`.
pub(super) fn flattened(b: &mut Builder, x: ColumnId) -> ColumnId {
    let shape = b.shape(x);
    let k = shape[shape.len() - 1];
    let rest = shape[..shape.len() - 1].iter().product();
    b.reshaped(x, vec![rest, k], "candidates")
}

/// Pairs up neighbours.
pub(super) fn round(b: &mut Builder, x: ColumnId) -> Round {
    let &[rest, k] = b.shape(x) else { unreachable!("flattened gives two axes") };
    let mut every = |offset: usize, count: usize, role| {
        let loops = vec![(rest as u32, k as i64), (count as u32, 2)];
        b.moved(x, Index::Strided { offset: offset as i64, loops }, vec![rest, count], role)
    };
    let first = every(0, k / 2, "first");
    let second = every(1, k / 2, "second");
    let left_over = (k % 2 == 1).then(|| every(k - 1, 1, "left over"));
    Round { first, second, left_over }
}
