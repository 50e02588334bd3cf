//! The integer square root `s` of `v`: `v = s^2 + r`, with `r` and `2 * s - r` in ranges of `k <= 16` bits.
//!
//! Unique, whatever `v` is: let `S = 2 * s`. The two ranges make `S` an integer in `0 .. 2^17` and `0 <= r <= S`, and
//! `4 * v = S^2 + 4 * r`, whose right side is under `2^35 < p`: so `4 * v` is one integer `N`, with `S^2 <= N <= S^2 + 4 * S`.
//! `S` and `S + 2` cannot both do, for `S^2 + 4 * S < (S + 2)^2`; nor can `S` and `S + 1`, for `N` and `S^2` agree modulo 4 and
//! neighbouring squares do not. Where `v` is an integer under `2^30`, `N` is a multiple of 4 and `S` is even: `s` is the root.

use crate::relation::{
    ColumnId, Hint,
    builder::{Bounds, Builder, width_of},
};

/// Adds the gadget.
pub(in crate::relation) fn build(b: &mut Builder, v: ColumnId, bounds: Bounds) -> ColumnId {
    let most = 2 * b.bounds(v).1.max(0).isqrt();
    let width = width_of(most).min(16);
    let root = b.witness(v, bounds, Hint::Root { v }, "root");
    let remainder = b.witness(v, (0, most), Hint::RootRemainder { v, s: root }, "remainder");
    b.zero(vec![(1, vec![v]), (-1, vec![root, root]), (-1, vec![remainder])], 0);
    b.range(remainder, width);
    let under = b.linear_within(vec![(2, root), (-1, remainder)], 0, (0, most), "under");
    b.range(under, width);
    root
}
