//! Places for what the verifier knows, and for what no row has placed.

use super::{
    Cells, DIGEST_ROWS, Demand, Given, Layout, NONE, Sum, Var,
    build::{Builder, refuse},
};
use crate::{
    proof::{
        Unsupported,
        halo2::{MIN_K, UNUSABLE_ROWS},
    },
    relation::Definition,
};

impl Builder<'_> {
    pub(super) fn public_inputs(&mut self) -> Result<(), Unsupported> {
        for (id, column) in self.relations.columns.iter().enumerate() {
            if let Definition::Input(position) = column.definition {
                if position != self.layout.inputs.len() {
                    return Err(refuse(format!("column {id} is input {position}, out of order")));
                }
                let len = self.len_of(id)?;
                self.layout.inputs.push(Given { len, low: column.low, high: column.high });
            }
        }
        Ok(())
    }

    pub(super) fn public_outputs(&mut self) -> Result<(), Unsupported> {
        let mut row = DIGEST_ROWS;
        let mut publish = |layout: &mut Layout, cells: &Cells| {
            layout.public.extend(cells.iter().enumerate().map(|(i, &var)| (row + i, var)));
            row += cells.len();
        };
        for (id, column) in self.relations.columns.iter().enumerate() {
            if let Definition::Input(_) = column.definition {
                let cells = self.cells(id);
                publish(&mut self.layout, &cells);
            }
        }
        for output in &self.relations.outputs {
            let cells = self.cells(output.column);
            self.layout.outputs.push(cells.len());
            publish(&mut self.layout, &cells);
        }
        Ok(())
    }

    /// Gives a place to what has none yet, and counts the rows.
    pub(super) fn finish(mut self) -> Result<Layout, Unsupported> {
        let (mut placed, mut in_weights) = (vec![false; self.layout.vars], vec![false; self.layout.vars]);
        let mark = |marks: &mut Vec<bool>, vars: &[Var]| {
            vars.iter().filter(|&&v| v != NONE).for_each(|&v| marks[v as usize] = true);
        };
        mark(&mut placed, &self.layout.a);
        mark(&mut placed, &self.layout.acc);
        mark(&mut placed, &self.layout.z);
        mark(&mut in_weights, &self.layout.w);
        self.layout.constants.iter().for_each(|&(_, v)| placed[v as usize] = true);

        let terms = self.layout.shape.terms;
        let mut parked: Vec<Var> = Vec::new();
        for &(_, var) in &self.layout.public {
            if !std::mem::replace(&mut placed[var as usize], true) {
                parked.push(var);
            }
        }
        for chunk in parked.chunks(terms) {
            let row = self.row(Demand::Idle);
            self.layout.a[row * terms..][..chunk.len()].copy_from_slice(chunk);
        }

        // A weight that is read elsewhere has its home among the weights, where the commitment holds it.
        let mut homeless = (0..self.layout.vars).filter(|&v| self.is_weight[v] && placed[v] && !in_weights[v]);
        let mut row = 0;
        while let Some(first) = homeless.next() {
            while matches!(self.layout.demands.get(row), Some(Demand::Dot { sum: Sum::Weights, .. })) {
                row += 1;
            }
            if row == self.layout.demands.len() {
                self.layout.demands.push(Demand::Idle);
                self.layout.a.resize(self.layout.a.len() + terms, NONE);
                self.layout.w.resize(self.layout.w.len() + terms, NONE);
                self.layout.acc.push(NONE);
            }
            for (slot, var) in std::iter::once(first).chain(homeless.by_ref().take(terms - 1)).enumerate() {
                self.layout.w[row * terms + slot] = var as Var;
            }
            row += 1;
        }
        drop(homeless);
        self.check_size(None)?;
        let needed = self.layout.rows().most() + UNUSABLE_ROWS;
        self.layout.k = needed.next_power_of_two().trailing_zeros().max(MIN_K);
        Ok(self.layout)
    }
}
