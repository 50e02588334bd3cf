//! Whether one is greater than another: a bit `g` and one range.
//!
//! `g * g = g`, and `a - b - 1 + 2^w * (1 - g)` lies in `0 .. 2^w`, with `w <= 16`. Unique: `g = 1` asks for `a - b` in
//! `1 ..= 2^w`, `g = 0` for `a - b` in `1 - 2^w ..= 0`; as `2^(w + 1) < p` no element of the field is in both.

use crate::relation::{
    ColumnId, Hint,
    builder::{Builder, width_of},
};

/// Adds the gadget.
pub(in crate::relation) fn build(b: &mut Builder, left: ColumnId, right: ColumnId, role: &'static str) -> ColumnId {
    let ((al, ah), (bl, bh)) = (b.bounds(left), b.bounds(right));
    let width = width_of((ah - bl).max(bh - al));
    let bit = b.witness(left, (0, 1), Hint::Greater { a: left, b: right }, role);
    b.zero(vec![(1, vec![bit, bit]), (-1, vec![bit])], 0);
    let end = 1_i64 << width;
    let over = b.linear_within(vec![(1, left), (-1, right), (-end, bit)], end - 1, (0, end - 1), "over");
    b.range(over, width);
    bit
}
