//! A prover that cheats: traces with one cell altered, and all that a clever one would do to hide it.
//!
//! For tests only. Every trace made here differs from the honest one in a witness, so nothing may accept it.

use p3_field::{Field, PrimeCharacteristicRing};
use p3_goldilocks::Goldilocks;

use super::{ColumnId, Definition, Relations, Trace, Zero, satisfied};

/// What is done to the columns after an altered one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cover {
    /// Nothing.
    Left,
    /// Derived columns follow from the altered one.
    Derived,
    /// Derived columns follow, and later witnesses are what an honest prover would take from them.
    Honest,
    /// Derived columns follow, and other witnesses are altered so that every [`Zero`] holds that one can make hold.
    Balanced,
}

/// Every cover.
pub const COVERS: [Cover; 4] = [Cover::Left, Cover::Derived, Cover::Honest, Cover::Balanced];

impl Relations {
    /// The trace with another value in one cell, covered up; over the Goldilocks field.
    ///
    /// # Panics
    /// On a trace of other relations.
    pub fn altered(&self, trace: &Trace, column: ColumnId, cell: usize, value: i64, cover: Cover) -> Trace {
        let mut altered = trace.clone();
        altered.columns[column][cell] = value;
        match cover {
            Cover::Left => {}
            Cover::Derived => self.follow(&mut altered, Some(column), false),
            Cover::Honest => self.follow(&mut altered, Some(column), true),
            Cover::Balanced => {
                self.follow(&mut altered, Some(column), false);
                for zero in &self.zeros {
                    if let Some(mended) = self.balance(&mut altered, zero, column) {
                        self.follow(&mut altered, Some(mended), false);
                    }
                }
            }
        }
        altered
    }

    /// The trace with all its derived columns as they follow from the others; over the Goldilocks field.
    ///
    /// # Panics
    /// On a trace of other relations.
    pub fn followed(&self, trace: &Trace) -> Trace {
        let mut followed = trace.clone();
        self.follow(&mut followed, None, false);
        followed
    }

    /// Fills the derived columns after one, and the witnesses if an honest prover is to be followed.
    fn follow(&self, trace: &mut Trace, after: Option<ColumnId>, witnesses: bool) {
        let mut hints = self.hints.iter();
        let mut cells = trace.columns.iter().map(|column| satisfied::elements(column)).collect::<Vec<_>>();
        for (at, column) in self.columns.iter().enumerate() {
            let hint = if column.definition == Definition::Witness { hints.next() } else { None };
            if Some(at) <= after {
                continue;
            }
            match (&column.definition, hint) {
                (Definition::Input(_) | Definition::Weight(_), _) => continue,
                (Definition::Witness, Some(hint)) if witnesses => {
                    trace.columns[at] =
                        self.witness(hint, &trace.columns, column.len()).expect("relations of the trace");
                    cells[at] = satisfied::elements(&trace.columns[at]);
                }
                (Definition::Witness, _) => {}
                (derived, _) => {
                    cells[at] = self.derived(derived, column.len(), &cells);
                    let narrow = |&element| satisfied::signed(element) as i64;
                    trace.columns[at] = cells[at].iter().map(narrow).collect();
                }
            }
        }
    }

    /// Alters a witness other than `kept` so that the sum of products vanishes; says which.
    fn balance(&self, trace: &mut Trace, zero: &Zero, kept: ColumnId) -> Option<ColumnId> {
        let free = |&column: &ColumnId| column != kept && self.columns[column].definition == Definition::Witness;
        let mut mended = None;
        for cell in 0..zero.shape.iter().product() {
            let with = |other: Option<(ColumnId, Goldilocks)>| {
                let of = |&c: &ColumnId| match other {
                    Some((column, value)) if c == column => value,
                    _ => Goldilocks::from_i64(trace.columns[c][cell]),
                };
                let product = |(k, columns): &(i64, Vec<ColumnId>)| {
                    Goldilocks::from_i64(*k) * columns.iter().map(of).product::<Goldilocks>()
                };
                zero.terms.iter().map(product).sum::<Goldilocks>() + Goldilocks::from_i64(zero.constant)
            };
            let solve = |column: ColumnId| {
                let at = [Goldilocks::ZERO, Goldilocks::ONE, Goldilocks::TWO].map(|value| with(Some((column, value))));
                let slope = at[1] - at[0];
                // Of the first degree in the column, and not by chance.
                (at[2] - at[1] == slope && slope != Goldilocks::ZERO).then(|| -at[0] * slope.inverse())
            };
            if with(None) == Goldilocks::ZERO {
                continue;
            }
            // The last one first: the quotient is altered, the remainder makes up for it.
            let mut columns: Vec<ColumnId> = zero.terms.iter().flat_map(|(_, c)| c).copied().filter(free).collect();
            columns.sort_unstable();
            let found = columns.into_iter().rev().find_map(|column| solve(column).map(|value| (column, value)));
            if let Some((column, value)) = found {
                trace.columns[column][cell] = satisfied::signed(value) as i64;
                mended = Some(mended.map_or(column, |known: ColumnId| known.min(column)));
            }
        }
        mended
    }
}
