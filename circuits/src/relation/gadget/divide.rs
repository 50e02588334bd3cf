//! The rounded quotient `q` of `n * 2^shift` by `d`: `2 * n * 2^shift + d = q * 2 * d + r` with `0 <= r < 2 * d`.
//!
//! `r` and `2 * d - 1 - r` lie in ranges of `k` bits, `q - low` in one of `w` bits, and `w + k <= 62`.
//! Unique, whatever `n` and `d` are: the two ranges of `r` make `D = 2 * d` an integer in `1 .. 2^(k + 1)` and `0 <= r < D`. Of two
//! choices, `(q - q') * D = r' - r`, where `|q - q'| < 2^w` and `|r' - r| < D`: both sides and their difference are under
//! `2^(w + k + 1) <= 2^63 < p`, so it holds as integers, and then `|q - q'| * D < D` leaves `q = q'` and `r = r'`.

use crate::relation::{
    ColumnId, Hint,
    builder::{Bounds, Builder, bits_of, width_of},
};

/// Adds the gadget.
pub(in crate::relation) fn build(
    b: &mut Builder,
    n: ColumnId,
    d: ColumnId,
    shift: u8,
    bounds: Bounds,
) -> Result<ColumnId, String> {
    let (low, high) = bounds;
    let last = 2 * b.bounds(d).1 - 1;
    let k = bits_of(last);
    let w = width_of(high - low).min(62_u8.saturating_sub(k));
    if w < bits_of(high - low) {
        return Err(format!(
            "a quotient from {low} to {high} by up to {}: these must fit 61 bits together",
            b.bounds(d).1
        ));
    }
    let quotient = b.witness(n, bounds, Hint::Quotient { n, d, shift }, "quotient");
    let remainder = b.witness(n, (0, last), Hint::Remainder { n, d, shift }, "remainder");
    let terms = vec![(1_i64 << (shift + 1), vec![n]), (1, vec![d]), (-2, vec![quotient, d]), (-1, vec![remainder])];
    b.zero(terms, 0);
    b.range(remainder, k);
    let under = b.linear_within(vec![(2, d), (-1, remainder)], -1, (0, last), "under");
    b.range(under, k);
    let over = b.linear_within(vec![(1, quotient)], -low, (0, high - low), "over");
    b.range(over, w);
    Ok(quotient)
}
