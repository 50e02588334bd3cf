//! The product of two columns. Unique: it is a function of them.

use crate::relation::{
    ColumnId, Hint,
    builder::{Bounds, Builder},
};

/// Adds the gadget.
pub(in crate::relation) fn build(b: &mut Builder, left: ColumnId, right: ColumnId, bounds: Bounds) -> ColumnId {
    let product = b.witness(left, bounds, Hint::Product { a: left, b: right }, "product");
    b.zero(vec![(1, vec![product]), (-1, vec![left, right])], 0);
    product
}
