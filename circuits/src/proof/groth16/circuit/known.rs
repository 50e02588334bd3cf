//! Columns known with the weights.

use super::BuildError;
use crate::{
    proof::groth16::bounds::{Product, source},
    relation::{ColumnId, Definition, Relations},
};

/// The entries of every wire.
pub(super) fn wires(relations: &Relations) -> Result<Vec<Option<Vec<u32>>>, BuildError> {
    let mut out = Vec::with_capacity(relations.columns.len());
    for (number, column) in relations.columns.iter().enumerate() {
        out.push(match &column.definition {
            Definition::Wire { sources, wire } => {
                let sources = sources.iter().map(|of| relations.columns[*of].shape.iter().product::<usize>()).sum();
                let cells = column.shape.iter().product();
                let entries = wire.resolve(sources, cells);
                Some(entries.map_err(|e| BuildError::Unsupported(format!("column {number}: {e}")))?.into_owned())
            }
            _ => None,
        });
    }
    Ok(out)
}

/// Which columns are weights or derived from weights alone.
pub(super) fn known(relations: &Relations) -> Vec<bool> {
    let mut known: Vec<bool> = Vec::with_capacity(relations.columns.len());
    for column in &relations.columns {
        known.push(match &column.definition {
            Definition::Input(_) | Definition::Witness => false,
            Definition::Weight(_) => true,
            Definition::Linear { terms, .. } => terms.iter().all(|(_, of)| known[*of]),
            Definition::Wire { sources, .. } => sources.iter().all(|of| known[*of]),
            Definition::MatMul { left, right } => known[*left] && known[*right],
        });
    }
    known
}

/// The cells of the known columns.
pub(super) fn values(
    relations: &Relations,
    weights: &[Vec<i64>],
    wires: &[Option<Vec<u32>>],
    known: &[bool],
) -> Result<Vec<Option<Vec<i64>>>, BuildError> {
    let mut values: Vec<Option<Vec<i64>>> = vec![None; relations.columns.len()];
    for (number, column) in relations.columns.iter().enumerate() {
        if !known[number] {
            continue;
        }
        let cells: usize = column.shape.iter().product();
        if let Definition::Weight(weight) = column.definition {
            let given = weights
                .get(weight)
                .ok_or_else(|| BuildError::Weights(format!("expected weight {weight}, found {}", weights.len())))?;
            if given.len() != cells {
                let found = given.len();
                return Err(BuildError::Weights(format!("weight {weight}: expected {cells} values, found {found}")));
            }
            if let Some(value) = given.iter().find(|v| **v < column.low || **v > column.high) {
                let (low, high) = (column.low, column.high);
                return Err(BuildError::Weights(format!("weight {weight}: {value} is outside {low} to {high}")));
            }
            values[number] = Some(given.clone());
            continue;
        }
        let get = |of: ColumnId, cell: usize| values[of].as_ref().map_or(0, |v| i128::from(v[cell]));
        let one = |cell: usize| -> i128 {
            match &column.definition {
                Definition::Linear { terms, constant } => {
                    let sum: i128 = terms.iter().map(|(c, of)| i128::from(*c).saturating_mul(get(*of, cell))).sum();
                    sum + i128::from(*constant)
                }
                Definition::Wire { sources, wire } => {
                    let fan_in = wire.fan_in as usize;
                    let entries = wires[number].as_deref().unwrap_or_default();
                    let entries = entries[cell * fan_in..(cell + 1) * fan_in].iter();
                    entries.filter_map(|e| source(relations, sources, *e)).map(|(of, at)| get(of, at)).sum()
                }
                Definition::MatMul { left, right } => {
                    let product = Product::new(relations, *left, *right);
                    let operands = (0..product.depth).map(|step| product.operands(cell, step));
                    operands.map(|(a, b)| get(*left, a).saturating_mul(get(*right, b))).sum()
                }
                Definition::Input(_) | Definition::Weight(_) | Definition::Witness => 0,
            }
        };
        let all: Result<Vec<i64>, _> = (0..cells).map(|cell| i64::try_from(one(cell))).collect();
        values[number] = Some(all.map_err(|_| BuildError::Weights(format!("column {number} leaves 64 bits")))?);
    }
    Ok(values)
}
