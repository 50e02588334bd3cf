//! The cells of a table of lookups.
//!
//! A table has a power of two of cells; a shorter one repeats its last, which adds nothing to what is in it.

use p3_field::PrimeCharacteristicRing;

use super::commitment::{Base, Ext};
use super::multilinear::{dot, log2_ceil};
use crate::relation::Table;

/// The cells of a table.
#[derive(Debug)]
pub(super) struct TableCells {
    /// The first `x`; those after it follow by ones.
    low: i64,
    /// How many there are before the last is repeated.
    length: usize,
    /// The `y` of each, repeats included; none in a range.
    y: Option<Vec<Base>>,
}

impl TableCells {
    /// Of a table whose parameters are in bounds.
    pub(super) fn new(table: &Table) -> Result<Self, String> {
        match table {
            Table::Range { bits } if (1..=16).contains(bits) => Ok(Self { low: 0, length: 1 << bits, y: None }),
            Table::Range { bits } => Err(format!("a range of {bits} bits, expected 1 to 16")),
            Table::Clamp { bits, low, high } if (1..=16).contains(bits) && low <= high => {
                let first = -1_i64 << (bits - 1);
                let clamped = |x: i64| x.clamp(i64::from(*low), i64::from(*high));
                let y = (first..-first).map(|x| Base::from_i64(clamped(x))).collect();
                Ok(Self { low: first, length: 1 << bits, y: Some(y) })
            }
            Table::Clamp { bits, low, high } => Err(format!("a clamp of {bits} bits to {low} .. {high}")),
            Table::Map { low, values } if (1..=1 << 16).contains(&values.len()) => {
                let last = values.last().copied().unwrap_or_default();
                let mut y: Vec<Base> = values.iter().map(|&y| Base::from_i16(y)).collect();
                y.resize(values.len().next_power_of_two(), Base::from_i16(last));
                Ok(Self { low: i64::from(*low), length: values.len(), y: Some(y) })
            }
            Table::Map { values, .. } => Err(format!("a function on {} values, expected 1 to 65536", values.len())),
        }
    }

    /// Log of the number of cells.
    pub(super) const fn log(&self) -> usize {
        log2_ceil(self.length)
    }

    /// Where `x` is, if it is there.
    pub(super) fn position(&self, x: i64) -> Option<usize> {
        x.checked_sub(self.low).and_then(|at| usize::try_from(at).ok()).filter(|&at| at < self.length)
    }

    /// The cell at a position: `x` and `y`, 0 for none.
    pub(super) fn cell(&self, at: usize) -> (Base, Base) {
        let x = self.low + at.min(self.length - 1) as i64;
        (Base::from_i64(x), self.y.as_ref().map_or(Base::ZERO, |y| y[at]))
    }

    /// The multilinear extensions of `x` and `y` at the point whose `eq` table this is.
    pub(super) fn evaluate(&self, point: &[Ext], eq: &[Ext]) -> (Ext, Ext) {
        // x + low is the position itself, but for the repeats.
        let position: Ext = point.iter().fold(Ext::ZERO, |sum, &bit| sum.double() + bit);
        let repeats: Ext = eq[self.length..].iter().zip(1_u64..).map(|(&e, over)| e * Base::from_u64(over)).sum();
        let y = self.y.as_ref().map_or(Ext::ZERO, |y| dot(eq, y));
        (position - repeats + Base::from_i64(self.low), y)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::multilinear::eq_table;
    use super::*;

    #[test]
    fn the_extension_of_a_table_is_the_sum_over_its_cells() {
        let map = Table::Map { low: -5, values: (0..21).map(|i| i * i - 40).collect() };
        for table in [Table::Range { bits: 4 }, map, Table::Clamp { bits: 8, low: -9, high: 70 }] {
            let cells = TableCells::new(&table).expect("in bounds");
            let point: Vec<Ext> = (0..cells.log()).map(|i| Ext::from_u64(i as u64 * 77 + 3)).collect();
            let eq = eq_table(&point);
            let sum = |f: &dyn Fn(usize) -> Base| eq.iter().enumerate().map(|(at, &e)| e * f(at)).sum::<Ext>();
            let expected = (sum(&|at| cells.cell(at).0), sum(&|at| cells.cell(at).1));
            assert_eq!(cells.evaluate(&point, &eq), expected);
        }
    }
}
