//! Tables as pieces: runs of consecutive arguments on which the function is a straight line.
//!
//! A clamp of 2^16 arguments has three pieces, a saturating function of eight bits a few hundred; a table without any
//! structure has a piece for every two arguments or so. The circuit's fixed table holds one row a piece.

use crate::relation::Table;

/// `y = base + slope * (x - start)` for `start <= x <= end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) base: i64,
    pub(super) slope: i64,
}

/// A table's pieces, in order and without gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pieces {
    pub(super) rows: Vec<Piece>,
    /// No piece is longer than `2^bits`.
    pub(super) bits: u8,
}

impl Pieces {
    /// The piece that covers `x`.
    pub(super) fn find(&self, x: i128) -> Option<&Piece> {
        let after = self.rows.partition_point(|p| i128::from(p.start) <= x);
        self.rows.get(after.checked_sub(1)?).filter(|p| x <= i128::from(p.end))
    }

    /// Cuts a table of pairs into the fewest pieces of at most `2^bits` arguments.
    fn cut(table: &Table, bits: u8) -> Self {
        let (low, len) = match table {
            Table::Range { bits } => (0, 1usize << bits),
            Table::Clamp { bits, .. } => (-(1i64 << (bits - 1)), 1usize << bits),
            Table::Map { low, values } => (i64::from(*low), values.len()),
        };
        let at = |i: usize| match table {
            Table::Range { .. } => 0,
            Table::Clamp { low: least, high, .. } => (low + i as i64).clamp(i64::from(*least), i64::from(*high)),
            Table::Map { values, .. } => i64::from(values[i]),
        };
        let mut rows = Vec::new();
        let mut first = 0;
        while first < len {
            let slope = if bits > 0 && first + 1 < len { at(first + 1) - at(first) } else { 0 };
            let limit = len.min(first + (1 << bits));
            let next = (first + 1..limit).find(|&i| at(i) != at(first) + slope * (i - first) as i64).unwrap_or(limit);
            rows.push(Piece { start: low + first as i64, end: low + next as i64 - 1, base: at(first), slope });
            first = next;
        }
        Self { rows, bits }
    }

    /// The cut that costs least for so many lookups: long pieces make a short table, but two ranges to check each time.
    pub(super) fn of(table: &Table, uses: usize) -> Self {
        let cost = |pieces: &Self| pieces.rows.len() + uses * 2 * super::layout::limbs(pieces.bits);
        let cuts = [0, 8, 16].map(|bits| Self::cut(table, bits));
        let [narrow, middle, wide] = cuts;
        let best = if cost(&middle) < cost(&narrow) { middle } else { narrow };
        if cost(&wide) < cost(&best) { wide } else { best }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn holds(table: &Table, low: i64, y: &[i64]) {
        for bits in [0, 8, 16] {
            let pieces = Pieces::cut(table, bits);
            for (i, &y) in y.iter().enumerate() {
                let x = low + i as i64;
                let piece = pieces.find(i128::from(x)).expect("covered");
                assert!(piece.end - piece.start < 1 << bits);
                assert_eq!(piece.base + piece.slope * (x - piece.start), y);
            }
            assert_eq!(pieces.find(i128::from(low) - 1), None);
            assert_eq!(pieces.find(i128::from(low) + y.len() as i128), None);
        }
    }

    #[test]
    fn pieces_of_any_length_compute_the_table_and_nothing_beyond() {
        let clamp = Table::Clamp { bits: 10, low: -128, high: 127 };
        holds(&clamp, -512, &(-512..512).map(|x: i64| x.clamp(-128, 127)).collect::<Vec<_>>());
        let values: Vec<i16> = (0..700i32).map(|i| (i * i % 301) as i16).collect();
        let y: Vec<i64> = values.iter().map(|&v| i64::from(v)).collect();
        holds(&Table::Map { low: -3, values: values.into() }, -3, &y);
    }

    #[test]
    fn a_clamp_of_two_to_the_sixteen_has_three_pieces() {
        assert_eq!(Pieces::of(&Table::Clamp { bits: 16, low: -128, high: 127 }, 10).rows.len(), 3);
    }
}
