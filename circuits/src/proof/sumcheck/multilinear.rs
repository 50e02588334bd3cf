//! Multilinear extensions of lists: bit 0 of a point belongs to the most significant bit of the position.

use p3_field::PrimeCharacteristicRing;
use rayon::prelude::*;

use super::commitment::{Base, Ext};

/// Lists shorter than this are worked on by one thread.
pub(super) const PARALLEL_FROM: usize = 1 << 12;

/// The least `n` with `length <= 2^n`.
pub(super) const fn log2_ceil(length: usize) -> usize {
    length.next_power_of_two().trailing_zeros() as usize
}

/// `eq(point, i)` for each `i` in `0 .. 2^n`.
pub(super) fn eq_table(point: &[Ext]) -> Vec<Ext> {
    let mut table = Vec::with_capacity(1 << point.len());
    table.push(Ext::ONE);
    for &x in point {
        // Position i becomes 2i and 2i + 1; written from the back so that it can be done in place.
        let before = table.len();
        table.resize(2 * before, Ext::ZERO);
        for i in (0..before).rev() {
            let one = table[i] * x;
            table[2 * i] = table[i] - one;
            table[2 * i + 1] = one;
        }
    }
    table
}

/// `eq(a, b)` for points of one length.
pub(super) fn eq(a: &[Ext], b: &[Ext]) -> Ext {
    debug_assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(&x, &y)| {
            let both = x * y;
            both + both - x - y + Ext::ONE
        })
        .product()
}

/// `eq(point, i)` for the position `i`.
pub(super) fn eq_at(point: &[Ext], i: usize) -> Ext {
    let n = point.len();
    point.iter().enumerate().map(|(at, &x)| if i >> (n - 1 - at) & 1 == 1 { x } else { Ext::ONE - x }).product()
}

/// `sum(eq(point, i) for i < length)`, for `length <= 2^n`.
pub(super) fn prefix(point: &[Ext], length: usize) -> Ext {
    if length >> point.len() != 0 {
        return Ext::ONE;
    }
    let n = point.len();
    let (mut sum, mut on_path) = (Ext::ZERO, Ext::ONE);
    for (at, &x) in point.iter().enumerate() {
        if length >> (n - 1 - at) & 1 == 1 {
            // Everything with a 0 here lies under `length`.
            sum += on_path * (Ext::ONE - x);
            on_path *= x;
        } else {
            on_path *= Ext::ONE - x;
        }
    }
    sum
}

/// Binds the first variable to `r`, in place.
pub(super) fn fold(cells: &mut Vec<Ext>, r: Ext) {
    let half = cells.len() / 2;
    let (low, high) = cells.split_at_mut(half);
    let bind = |(a, b): (&mut Ext, &Ext)| *a += r * (*b - *a);
    if half >= PARALLEL_FROM {
        low.par_iter_mut().zip(high.par_iter()).with_min_len(PARALLEL_FROM / 4).for_each(bind);
    } else {
        low.iter_mut().zip(high.iter()).for_each(bind);
    }
    cells.truncate(half);
}

/// Binds the first variable of a list over the base field to `r`.
pub(super) fn fold_base(cells: &[Base], r: Ext) -> Vec<Ext> {
    let (low, high) = cells.split_at(cells.len() / 2);
    let bind = |(&a, &b): (&Base, &Base)| r * (b - a) + a;
    if low.len() >= PARALLEL_FROM {
        low.par_iter().zip(high).with_min_len(PARALLEL_FROM / 4).map(bind).collect()
    } else {
        low.iter().zip(high).map(bind).collect()
    }
}

/// `sum(weights[i] * cells[i])`, to the end of the shorter.
pub(super) fn dot(weights: &[Ext], cells: &[Base]) -> Ext {
    let piece = |(w, c): (&[Ext], &[Base])| w.iter().zip(c).map(|(&w, &c)| w * c).sum::<Ext>();
    if weights.len().min(cells.len()) >= PARALLEL_FROM {
        weights.par_chunks(PARALLEL_FROM / 2).zip(cells.par_chunks(PARALLEL_FROM / 2)).map(piece).sum()
    } else {
        piece((weights, cells))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn point(n: u64) -> Vec<Ext> {
        (0..n).map(|i| Ext::from(Base::from_u64(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(i + 3) >> 1))).collect()
    }

    #[test]
    fn the_table_the_single_value_and_the_prefix_agree() {
        for n in 0..6 {
            let p = point(n);
            let table = eq_table(&p);
            let mut sum = Ext::ZERO;
            for (i, &t) in table.iter().enumerate() {
                assert_eq!(t, eq_at(&p, i));
                assert_eq!(prefix(&p, i), sum);
                sum += t;
            }
            assert_eq!(sum, Ext::ONE);
            assert_eq!(prefix(&p, 1 << n), Ext::ONE);
        }
    }

    #[test]
    fn folding_a_list_to_one_cell_evaluates_it() {
        let p = point(5);
        let cells: Vec<Base> = (0..32).map(|i| Base::from_u64(i * i + 7)).collect();
        let mut folded = fold_base(&cells, p[0]);
        for &r in &p[1..] {
            fold(&mut folded, r);
        }
        assert_eq!(folded, [dot(&eq_table(&p), &cells)]);
        assert_eq!(eq(&p, &p), eq_table(&p).iter().map(|&x| x * x).sum::<Ext>());
    }
}
