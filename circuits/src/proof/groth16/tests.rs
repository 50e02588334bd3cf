//! Circuits made by hand: every gadget over its whole range, every variable altered, whole proofs.

use std::sync::Arc;

use super::{circuit::Circuit, *};
use crate::{
    graph::{Index, Wire},
    relation::{Column, ColumnId, Definition, Lookup, Output, Table, Zero},
};

mod gadgets;
mod graphs;
mod measure;
mod proofs;

/// How a witness is found from the columns before it.
type Fill = Box<dyn Fn(&[Vec<i64>], usize) -> i64>;

/// Relations with a trace, built column by column.
#[derive(Default)]
pub(super) struct Hand {
    pub(super) relations: Relations,
    pub(super) weights: Vec<Vec<i64>>,
    fills: Vec<Option<Fill>>,
    inputs: usize,
}

impl Hand {
    fn column(&mut self, shape: &[usize], definition: Definition, low: i64, high: i64) -> ColumnId {
        self.relations.columns.push(Column { shape: shape.into(), definition, node: Some(0), role: "cell", low, high });
        self.fills.push(None);
        self.relations.columns.len() - 1
    }

    pub(super) fn input(&mut self, shape: &[usize], low: i64, high: i64) -> ColumnId {
        self.inputs += 1;
        self.column(shape, Definition::Input(self.inputs - 1), low, high)
    }

    pub(super) fn weight(&mut self, shape: &[usize], values: Vec<i64>) -> ColumnId {
        self.weights.push(values);
        self.column(shape, Definition::Weight(self.weights.len() - 1), -128, 127)
    }

    pub(super) fn witness(
        &mut self,
        shape: &[usize],
        low: i64,
        high: i64,
        fill: impl Fn(&[Vec<i64>], usize) -> i64 + 'static,
    ) -> ColumnId {
        let column = self.column(shape, Definition::Witness, low, high);
        self.fills[column] = Some(Box::new(fill));
        column
    }

    pub(super) fn linear(&mut self, terms: &[(i64, ColumnId)], constant: i64) -> ColumnId {
        let shape = self.relations.columns[terms[0].1].shape.clone();
        let wide = 1 << 40;
        self.column(&shape, Definition::Linear { terms: terms.into(), constant }, -wide, wide)
    }

    pub(super) fn wire(&mut self, shape: &[usize], sources: &[ColumnId], fan_in: u32, index: Index) -> ColumnId {
        let wire = Arc::new(Wire { fan_in, index });
        self.column(shape, Definition::Wire { sources: sources.into(), wire }, -32768, 32767)
    }

    pub(super) fn matmul(&mut self, left: ColumnId, right: ColumnId) -> ColumnId {
        let (l, r) = (&self.relations.columns[left].shape, &self.relations.columns[right].shape);
        let shape = [l[0], l[1], r[2]];
        self.column(&shape, Definition::MatMul { left, right }, -(1 << 40), 1 << 40)
    }

    pub(super) fn lookup(&mut self, table: Table, x: ColumnId, y: Option<ColumnId>) {
        let found = self.relations.tables.iter().position(|t| *t == table);
        let table = found.unwrap_or_else(|| {
            self.relations.tables.push(table);
            self.relations.tables.len() - 1
        });
        self.relations.lookups.push(Lookup { table, x, y, node: 0 });
    }

    pub(super) fn zero(&mut self, terms: &[(i64, &[ColumnId])], constant: i64) {
        let shape = self.relations.columns[terms[0].1[0]].shape.clone();
        let terms = terms.iter().map(|(c, p)| (*c, p.to_vec())).collect();
        self.relations.zeros.push(Zero { terms, constant, shape, node: 0 });
    }

    pub(super) fn output(&mut self, column: ColumnId) {
        self.relations.outputs.push(Output { column, tensor: 0 });
    }

    /// `clamp((x * M + 2^(s - 1)) >> s)`.
    pub(super) fn rescale(&mut self, x: ColumnId, multiplier: i64, shift: u8, low: i16, high: i16) -> ColumnId {
        let shape = self.relations.columns[x].shape.clone();
        let half = 1 << (shift - 1);
        let q = self.witness(&shape, -32768, 32767, move |c, i| (c[x][i] * multiplier + half) >> shift);
        let r = self.linear(&[(multiplier, x), (-(1 << shift), q)], half);
        self.lookup(Table::Range { bits: shift }, r, None);
        let (l, h) = (i64::from(low), i64::from(high));
        let y = self.witness(&shape, l, h, move |c, i| c[q][i].clamp(l, h));
        self.lookup(Table::Clamp { bits: 16, low, high }, q, Some(y));
        y
    }

    pub(super) fn trace(&self, inputs: &[Vec<i64>]) -> Trace {
        let mut columns: Vec<Vec<i64>> = Vec::new();
        for (at, column) in self.relations.columns.iter().enumerate() {
            let cells: usize = column.shape.iter().product();
            let one = |cell: usize| -> i64 {
                match &column.definition {
                    Definition::Input(n) => inputs[*n][cell],
                    Definition::Weight(n) => self.weights[*n][cell],
                    Definition::Witness => self.fills[at].as_ref().expect("a fill")(&columns, cell),
                    Definition::Linear { terms, constant } => {
                        constant + terms.iter().map(|(c, of)| c * columns[*of][cell]).sum::<i64>()
                    }
                    Definition::Wire { sources, wire } => {
                        let flat: Vec<i64> = sources.iter().flat_map(|of| columns[*of].clone()).collect();
                        let entries: Vec<usize> = match &wire.index {
                            Index::Explicit(entries) => entries.iter().map(|e| *e as usize).collect(),
                            _ => (0..cells * wire.fan_in as usize).collect(),
                        };
                        let part = &entries[cell * wire.fan_in as usize..(cell + 1) * wire.fan_in as usize];
                        part.iter().map(|e| flat[*e]).sum()
                    }
                    Definition::MatMul { left, right } => {
                        let product = bounds::Product::new(&self.relations, *left, *right);
                        let steps = (0..product.depth).map(|step| product.operands(cell, step));
                        steps.map(|(a, b)| columns[*left][a] * columns[*right][b]).sum()
                    }
                }
            };
            let cells = (0..cells).map(one).collect();
            columns.push(cells);
        }
        Trace { columns }
    }

    pub(super) fn outputs(&self, trace: &Trace) -> Vec<Vec<i64>> {
        self.relations.outputs.iter().map(|output| trace.columns[output.column].clone()).collect()
    }

    pub(super) fn circuit(&self) -> Circuit {
        Circuit::new(&self.relations, &self.weights).expect("a circuit")
    }
}

/// The variables of an honest prover, or of one whose trace is another; `None` when its statement is out of bounds.
pub(super) fn values(circuit: &Circuit, trace: &Trace, inputs: &[Vec<i64>], outputs: &[Vec<i64>]) -> Option<Vec<Fr>> {
    let public = circuit.layout.of(Statement { binding: &[3; 32], inputs, outputs }).ok()?;
    circuit.assignment(&public, trace).ok()
}

/// Whether the trace satisfies the circuit.
pub(super) fn holds(circuit: &Circuit, trace: &Trace, inputs: &[Vec<i64>], outputs: &[Vec<i64>]) -> bool {
    values(circuit, trace, inputs, outputs).is_some_and(|values| circuit.system.broken(&values).is_none())
}
