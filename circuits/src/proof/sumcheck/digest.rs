//! The canonical hash of relations: every number in order, each list after its length.

use crate::graph::{Index, Wire};
use crate::relation::{Definition, Relations, Table};

const DOMAIN: &[u8] = b"assay/relations/1";

struct Writer(blake3::Hasher);

impl Writer {
    fn number(&mut self, n: i64) -> &mut Self {
        self.0.update(&n.to_le_bytes());
        self
    }

    fn size(&mut self, n: usize) -> &mut Self {
        self.0.update(&(n as u64).to_le_bytes());
        self
    }

    fn sizes(&mut self, list: &[usize]) -> &mut Self {
        self.size(list.len());
        list.iter().fold(self, |w, &n| w.size(n))
    }

    fn wire(&mut self, wire: &Wire) {
        self.size(wire.fan_in as usize);
        match &wire.index {
            Index::Identity => {
                self.size(0);
            }
            Index::Strided { offset, loops } => {
                self.size(1).number(*offset).size(loops.len());
                for &(size, stride) in loops {
                    self.size(size as usize).number(stride);
                }
            }
            Index::Explicit(taken) => {
                self.size(2).size(taken.len());
                let bytes: Vec<u8> = taken.iter().flat_map(|at| at.to_le_bytes()).collect();
                self.0.update(&bytes);
            }
        }
    }

    fn definition(&mut self, definition: &Definition) {
        match definition {
            Definition::Input(i) => {
                self.size(0).size(*i);
            }
            Definition::Weight(i) => {
                self.size(1).size(*i);
            }
            Definition::Witness => {
                self.size(2);
            }
            Definition::Linear { terms, constant } => {
                self.size(3).number(*constant).size(terms.len());
                for &(coefficient, column) in terms {
                    self.number(coefficient).size(column);
                }
            }
            Definition::Wire { sources, wire } => {
                self.size(4).sizes(sources).wire(wire);
            }
            Definition::MatMul { left, right } => {
                self.size(5).size(*left).size(*right);
            }
        }
    }

    fn table(&mut self, table: &Table) {
        match table {
            Table::Range { bits } => {
                self.size(0).size(usize::from(*bits));
            }
            Table::Clamp { bits, low, high } => {
                self.size(1).size(usize::from(*bits)).number(i64::from(*low)).number(i64::from(*high));
            }
            Table::Map { low, values } => {
                self.size(2).number(i64::from(*low)).size(values.len());
                let bytes: Vec<u8> = values.iter().flat_map(|y| y.to_le_bytes()).collect();
                self.0.update(&bytes);
            }
        }
    }
}

/// BLAKE3 of everything that the relations say; nodes and roles, which are for people, and
/// hints, which are for the prover, are left out.
pub(super) fn relations(relations: &Relations) -> [u8; 32] {
    let mut w = Writer(blake3::Hasher::new());
    w.0.update(DOMAIN);
    w.size(relations.columns.len());
    for column in &relations.columns {
        w.sizes(&column.shape).number(column.low).number(column.high).definition(&column.definition);
    }
    w.size(relations.zeros.len());
    for zero in &relations.zeros {
        w.sizes(&zero.shape).number(zero.constant).size(zero.terms.len());
        for (coefficient, columns) in &zero.terms {
            w.number(*coefficient).sizes(columns);
        }
    }
    w.size(relations.tables.len());
    relations.tables.iter().for_each(|table| w.table(table));
    w.size(relations.lookups.len());
    for lookup in &relations.lookups {
        w.size(lookup.table).size(lookup.x).size(lookup.y.map_or(0, |y| y + 1));
    }
    w.size(relations.outputs.len());
    for output in &relations.outputs {
        w.size(output.column).size(output.tensor as usize);
    }
    *w.0.finalize().as_bytes()
}
