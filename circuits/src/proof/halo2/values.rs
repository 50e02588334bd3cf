//! The value of every variable, from a trace.

use halo2_proofs::pasta::{Fp, group::ff::Field};

use super::{
    field::{digest_halves, field, integer},
    layout::{How, LIMB_BITS, Layout},
    pieces::Piece,
};
use crate::{
    graph::VOID,
    proof::ProveError,
    relation::{Definition, Relations, Trace},
};

/// One value a variable.
#[derive(Debug)]
pub(super) struct Values(pub(super) Vec<Fp>);

fn untrue(reason: String) -> ProveError {
    ProveError::Trace { reason }
}

/// A field of a piece that covers `x`; anything where there is none, as nothing then satisfies the lookup.
pub(super) fn piece_at(layout: &Layout, table: usize, x: Fp) -> Option<&Piece> {
    layout.pieces.get(&table)?.find(integer(x)?)
}

impl Values {
    /// Takes committed cells as they are.
    ///
    /// # Errors
    /// [`ProveError::Trace`] for another number of cells than the relations have, and for a derived column that the
    /// circuit does not hold and that is not as defined.
    pub(super) fn of(
        layout: &Layout,
        relations: &Relations,
        trace: &Trace,
        binding: &[u8; 32],
    ) -> Result<Self, ProveError> {
        check_lengths(relations, trace)?;
        for &column in &layout.unlaid {
            check_derived(relations, trace, column)?;
        }
        let mut values: Vec<Fp> = Vec::with_capacity(layout.vars);
        let at = |values: &[Fp], var: u32| values[var as usize];
        for block in &layout.blocks {
            for i in 0..block.len {
                let value = match &block.how {
                    How::Trace(column) => field(i128::from(trace.columns[*column][i])),
                    How::Constant(number) => field(i128::from(*number)),
                    How::Digest(half) => digest_halves(binding)[*half],
                    How::Sum { product, terms, constant } => {
                        let product =
                            product.as_ref().map_or(Fp::ZERO, |(c, x, y)| *c * at(&values, x[i]) * at(&values, y[i]));
                        terms.iter().fold(product + constant, |sum, (c, cells)| sum + *c * at(&values, cells[i]))
                    }
                    How::Upper(cells) => field(integer(at(&values, cells[i])).unwrap_or(0) >> LIMB_BITS),
                    How::Distance { x, table, to_end } => {
                        let x = at(&values, x[i]);
                        match piece_at(layout, *table, x) {
                            Some(piece) if *to_end => field(i128::from(piece.end)) - x,
                            Some(piece) => x - field(i128::from(piece.start)),
                            None => Fp::ZERO,
                        }
                    }
                };
                values.push(value);
            }
        }
        Ok(Self(values))
    }
}

fn check_lengths(relations: &Relations, trace: &Trace) -> Result<(), ProveError> {
    if relations.columns.len() != trace.columns.len() {
        let (expected, found) = (relations.columns.len(), trace.columns.len());
        return Err(untrue(format!("{found} columns; the relations have {expected}")));
    }
    for (id, (column, cells)) in relations.columns.iter().zip(&trace.columns).enumerate() {
        let expected: usize = column.shape.iter().product();
        if cells.len() != expected {
            return Err(untrue(format!("column {id} has {} cells; the relations have {expected}", cells.len())));
        }
    }
    Ok(())
}

fn check_derived(relations: &Relations, trace: &Trace, column: usize) -> Result<(), ProveError> {
    let cells = &trace.columns[column];
    let mut expected = vec![0i128; cells.len()];
    match &relations.columns[column].definition {
        Definition::Linear { terms, constant } => {
            expected.fill(i128::from(*constant));
            for (coefficient, of) in terms {
                let product = |cell: i64| i128::from(*coefficient) * i128::from(cell);
                expected.iter_mut().zip(&trace.columns[*of]).for_each(|(sum, &cell)| *sum += product(cell));
            }
        }
        Definition::Wire { sources, wire } => {
            let flat: Vec<i64> = sources.iter().flat_map(|&s| &trace.columns[s]).copied().collect();
            for (taken, entry) in wire.entries(cells.len()).enumerate() {
                let cell = if entry == VOID { 0 } else { flat[entry as usize] };
                expected[taken / wire.fan_in as usize] += i128::from(cell);
            }
        }
        _ => return Ok(()),
    }
    match cells.iter().zip(&expected).position(|(&found, &expected)| i128::from(found) != expected) {
        None => Ok(()),
        Some(cell) => Err(untrue(format!(
            "column {column}, cell {cell}: {} found, {} by its definition",
            cells[cell], expected[cell]
        ))),
    }
}
