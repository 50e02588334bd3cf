//! Every demand, checked one by one over the Goldilocks field: what a proof of a trace stands for, without the proof.

use p3_field::{PrimeCharacteristicRing, PrimeField64};
use p3_goldilocks::Goldilocks;

use super::{Column, ColumnId, Definition, Lookup, Relations, Trace, Unsatisfied, Zero};
use crate::graph::VOID;

impl Relations {
    /// Whether a trace meets every demand, with these weights, inputs and outputs. Nothing in the trace is trusted.
    ///
    /// # Errors
    /// The first demand that is not met.
    pub fn satisfied(
        &self,
        trace: &Trace,
        weights: &[Vec<i64>],
        inputs: &[Vec<i64>],
        outputs: &[Vec<i64>],
    ) -> Result<(), Unsatisfied> {
        let sized = |what: String, expected: usize, found: usize| match expected == found {
            true => Ok(()),
            false => Err(Unsatisfied::Size { what, expected, found }),
        };
        sized("trace".to_owned(), self.columns.len(), trace.columns.len())?;
        for (at, column) in self.columns.iter().enumerate() {
            sized(self.name(at), column.len(), trace.columns[at].len())?;
        }
        let cells: Vec<Vec<Goldilocks>> = trace.columns.iter().map(|column| elements(column)).collect();
        let count = |of: fn(&Definition) -> bool| self.columns.iter().filter(|c| of(&c.definition)).count();
        sized("inputs".to_owned(), count(|d| matches!(d, Definition::Input(_))), inputs.len())?;
        sized("weights".to_owned(), count(|d| matches!(d, Definition::Weight(_))), weights.len())?;
        sized("outputs".to_owned(), self.outputs.len(), outputs.len())?;
        for (at, column) in self.columns.iter().enumerate() {
            let expected = match &column.definition {
                Definition::Input(number) => elements(inputs.get(*number).map_or(&[], Vec::as_slice)),
                Definition::Weight(number) => elements(weights.get(*number).map_or(&[], Vec::as_slice)),
                Definition::Witness => continue,
                derived => self.derived(derived, column.len(), &cells),
            };
            self.equal(at, &expected, &cells[at])?;
        }
        for (output, given) in self.outputs.iter().zip(outputs) {
            self.equal(output.column, &elements(given), &cells[output.column])?;
        }
        for (at, zero) in self.zeros.iter().enumerate() {
            self.vanishes(at, zero, &cells)?;
        }
        self.lookups.iter().enumerate().try_for_each(|(at, lookup)| self.found(at, lookup, &cells))
    }

    fn equal(&self, column: ColumnId, expected: &[Goldilocks], found: &[Goldilocks]) -> Result<(), Unsatisfied> {
        if expected.len() != found.len() {
            return Err(Unsatisfied::Size { what: self.name(column), expected: expected.len(), found: found.len() });
        }
        match expected.iter().zip(found).position(|(e, f)| e != f) {
            None => Ok(()),
            Some(cell) => Err(Unsatisfied::Cell {
                column: self.name(column),
                cell,
                expected: signed(expected[cell]),
                found: signed(found[cell]),
            }),
        }
    }

    pub(super) fn derived(&self, definition: &Definition, len: usize, cells: &[Vec<Goldilocks>]) -> Vec<Goldilocks> {
        match definition {
            Definition::Linear { terms, constant } => {
                let terms: Vec<_> =
                    terms.iter().map(|&(c, column)| (Goldilocks::from_i64(c), &cells[column])).collect();
                let constant = Goldilocks::from_i64(*constant);
                (0..len)
                    .map(|at| terms.iter().map(|&(c, column)| c * column[at]).sum::<Goldilocks>() + constant)
                    .collect()
            }
            Definition::Wire { sources, wire } => {
                let joined: Vec<Goldilocks> =
                    sources.iter().flat_map(|&column| cells[column].iter().copied()).collect();
                let mut entries = wire.entries(len);
                let mut next = || match entries.next() {
                    None | Some(VOID) => Goldilocks::ZERO,
                    Some(at) => joined[at as usize],
                };
                (0..len).map(|_| (0..wire.fan_in).map(|_| next()).sum()).collect()
            }
            Definition::MatMul { left, right } => {
                let &[_, m, k] = self.columns[*left].shape.as_slice() else { return Vec::new() };
                let n = self.columns[*right].shape[2];
                let (left, right) = (&cells[*left], &cells[*right]);
                let cell = |at: usize| {
                    let (row, column) = (at / n, at % n);
                    let batch = row / m;
                    (0..k).map(|step| left[row * k + step] * right[(batch * k + step) * n + column]).sum()
                };
                (0..len).map(cell).collect()
            }
            Definition::Input(_) | Definition::Weight(_) | Definition::Witness => Vec::new(),
        }
    }

    fn vanishes(&self, at: usize, zero: &Zero, cells: &[Vec<Goldilocks>]) -> Result<(), Unsatisfied> {
        // Over the cells of several columns at once.
        #[allow(clippy::needless_range_loop)]
        for cell in 0..zero.shape.iter().product() {
            let product = |(coefficient, columns): &(i64, Vec<ColumnId>)| {
                Goldilocks::from_i64(*coefficient) * columns.iter().map(|&c| cells[c][cell]).product::<Goldilocks>()
            };
            let sum = zero.terms.iter().map(product).sum::<Goldilocks>() + Goldilocks::from_i64(zero.constant);
            if sum != Goldilocks::ZERO {
                return Err(Unsatisfied::Zero { zero: at, node: zero.node, cell, found: signed(sum) });
            }
        }
        Ok(())
    }

    fn found(&self, at: usize, lookup: &Lookup, cells: &[Vec<Goldilocks>]) -> Result<(), Unsatisfied> {
        let table = &self.tables[lookup.table];
        for (cell, &x) in cells[lookup.x].iter().enumerate() {
            let value = i64::try_from(signed(x)).ok().and_then(|x| table.value(x));
            let y = lookup.y.map(|y| cells[y][cell]);
            if value.is_none_or(|value| y.is_some_and(|y| y != Goldilocks::from_i64(value))) {
                let found = match y {
                    Some(y) => format!("({}, {})", signed(x), signed(y)),
                    None => signed(x).to_string(),
                };
                return Err(Unsatisfied::Lookup { lookup: at, node: lookup.node, cell, found });
            }
        }
        Ok(())
    }

    fn name(&self, column: ColumnId) -> String {
        let Some(Column { role, node, .. }) = self.columns.get(column) else { return format!("column {column}") };
        match node {
            Some(node) => format!("column {column} ({role}) of node {node}"),
            None => format!("column {column} ({role})"),
        }
    }
}

pub(super) fn elements(values: &[i64]) -> Vec<Goldilocks> {
    values.iter().map(|&value| Goldilocks::from_i64(value)).collect()
}

/// The number of least magnitude that the element stands for.
pub(super) fn signed(element: Goldilocks) -> i128 {
    let value = element.as_canonical_u64();
    if value > Goldilocks::ORDER_U64 / 2 {
        i128::from(value) - i128::from(Goldilocks::ORDER_U64)
    } else {
        i128::from(value)
    }
}
