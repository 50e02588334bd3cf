//! Matrices and their bias: derived columns, no witness.

use crate::{
    graph::Index,
    relation::{
        ColumnId,
        builder::{Bounds, Builder},
    },
};

/// Adds the columns.
pub(in crate::relation) fn build(
    b: &mut Builder,
    left: ColumnId,
    right: ColumnId,
    bias: Option<ColumnId>,
    bounds: Bounds,
) -> ColumnId {
    let Some(bias) = bias else { return b.mat_mul(left, right, bounds, "product") };
    let (least, most) = b.bounds(bias);
    let product = b.mat_mul(left, right, less(bounds, (least, most)), "product");
    let shape = b.shape(product).to_vec();
    let loops = vec![((shape[0] * shape[1]) as u32, 0), (shape[2] as u32, 1)];
    let bias = b.moved(bias, Index::Strided { offset: 0, loops }, shape, "bias");
    b.linear_within(vec![(1, product), (1, bias)], 0, bounds, "sum")
}

/// Bounds of what gives `sum` when something within `added` is added.
pub(super) fn less(sum: Bounds, added: Bounds) -> Bounds {
    (sum.0.saturating_sub(added.1), sum.1.saturating_sub(added.0))
}
