//! Ranges, pairs and zeros as constraints.

use std::{collections::HashMap, sync::Arc};

use super::Assembly;
use crate::{
    proof::groth16::{
        builder::{Full, Source},
        public::bits_of,
        r1cs::{ONE, Sum},
        table::Plan,
    },
    relation::{ColumnId, Lookup, Table, Zero},
};

impl Assembly<'_> {
    /// The same range of `u` and of `v` where `u * v = 0`: the first is done for both, the second not at all.
    pub(super) fn fused(&self) -> HashMap<usize, Option<usize>> {
        let mut ranges: HashMap<ColumnId, Vec<usize>> = HashMap::new();
        for (number, lookup) in self.relations.lookups.iter().enumerate() {
            if lookup.y.is_none() && !self.known[lookup.x] {
                ranges.entry(lookup.x).or_default().push(number);
            }
        }
        let mut fused = HashMap::new();
        for zero in &self.relations.zeros {
            let [(_, product)] = &zero.terms[..] else { continue };
            let [u, v] = product[..] else { continue };
            let (Some([u]), Some([v])) = (ranges.get(&u).map(Vec::as_slice), ranges.get(&v).map(Vec::as_slice)) else {
                continue;
            };
            let alike = self.relations.lookups[*u].table == self.relations.lookups[*v].table;
            if zero.constant == 0 && u != v && alike && !fused.contains_key(u) && !fused.contains_key(v) {
                fused.insert(*u, Some(*v));
                fused.insert(*v, None);
            }
        }
        fused
    }

    pub(super) fn range(&mut self, lookup: &Lookup, other: Option<&Lookup>) -> Result<(), Full> {
        let most = match self.relations.tables[lookup.table] {
            Table::Range { bits } => (1_i64 << bits) - 1,
            _ => 0,
        };
        let cells = self.cells(lookup.x);
        for cell in self.each(cells) {
            let mut x = self.sum(lookup.x, cell);
            let mut high = self.bounds[lookup.x].get(cell).1.clamp(0, most);
            if let Some(other) = other {
                x.add_sum(&self.sum(other.x, cell), 1);
                // One of them is zero, so the sum is the other.
                high = high.max(self.bounds[other.x].get(cell).1.clamp(0, most));
            }
            let count = bits_of(i128::from(high));
            let of = Source { column: lookup.x, other: other.map(|o| o.x), cell };
            self.builder.bits(&x, of, 0, count)?;
        }
        self.rest(cells)?;
        Ok(())
    }

    pub(super) fn pair(&mut self, lookup: &Lookup, y: ColumnId) -> Result<(), Full> {
        let cells = self.cells(lookup.x);
        let all = self.bounds[lookup.x].all();
        for cell in self.each(cells) {
            let (x, given) = (self.sum(lookup.x, cell), self.sum(y, cell));
            let (of, within) = (self.of(lookup.x, cell), self.bounds[lookup.x].get(cell));
            let value = match &self.relations.tables[lookup.table] {
                // A range has no second column.
                Table::Range { .. } => continue,
                Table::Clamp { bits, low, high } => {
                    let domain = (-(1_i64 << (bits - 1)), (1_i64 << (bits - 1)) - 1);
                    self.builder.clamp(&x, of, within, domain, (i64::from(*low), i64::from(*high)))?
                }
                Table::Map { low, values } => {
                    let plan = self
                        .plans
                        .entry((lookup.table, all))
                        .or_insert_with(|| Arc::new(Plan::new(i64::from(*low), values, all)));
                    Arc::clone(plan).apply(&mut self.builder, &x, of, within)?
                }
            };
            self.builder.equal(value, given)?;
        }
        self.rest(cells)?;
        Ok(())
    }

    pub(super) fn zero(&mut self, zero: &Zero) -> Result<(), Full> {
        let cells = zero.shape.iter().product();
        for cell in self.each(cells) {
            self.zero_at(zero, cell)?;
        }
        self.rest(cells)?;
        Ok(())
    }

    fn zero_at(&mut self, zero: &Zero, cell: usize) -> Result<(), Full> {
        let mut linear = Sum::constant(i128::from(zero.constant));
        // Products of two: the factors by name, columns first, then products of two columns of a third degree.
        let mut pairs: Vec<(usize, usize, i128)> = Vec::new();
        let mut squares: Vec<((ColumnId, ColumnId), Sum)> = Vec::new();
        let columns = self.relations.columns.len();
        for (coefficient, product) in &zero.terms {
            let mut scale = i128::from(*coefficient);
            let mut free = Vec::new();
            for of in product {
                if self.known[*of] {
                    scale = scale.saturating_mul(self.value(*of, cell));
                } else {
                    free.push(*of);
                }
            }
            free.sort_unstable();
            match free[..] {
                [] => linear.add(ONE, scale),
                [x] => {
                    if !self.builder.counting {
                        self.add(&mut linear, x, cell, scale);
                    }
                }
                [x, y] => pairs.push((x, y, scale)),
                [x, y, z] => {
                    let at = match squares.iter().position(|(name, _)| *name == (x, y)) {
                        Some(at) => at,
                        None => {
                            let (a, b) = (self.sum(x, cell), self.sum(y, cell));
                            squares.push(((x, y), self.builder.product(a, b)?));
                            squares.len() - 1
                        }
                    };
                    pairs.push((z, columns + at, scale));
                }
                // The relations have at most three factors.
                _ => return Err(Full::Entries),
            }
        }
        while let Some(shared) = most_shared(&pairs) {
            let mut other = Sum::default();
            pairs.retain(|(x, y, scale)| {
                if *x != shared && *y != shared {
                    return true;
                }
                let factor = self.factor(if *x == shared { *y } else { *x }, cell, &squares);
                other.add_sum(&factor, *scale);
                false
            });
            let shared = self.factor(shared, cell, &squares);
            if pairs.is_empty() {
                let mut rest = Sum::default();
                rest.add_sum(&linear, -1);
                return self.builder.constrain(shared, other, rest).map(|_| ());
            }
            let product = self.builder.product(shared, other)?;
            linear.add_sum(&product, 1);
        }
        self.builder.vanish(linear)
    }

    fn factor(&self, name: usize, cell: usize, squares: &[((ColumnId, ColumnId), Sum)]) -> Sum {
        match name.checked_sub(self.relations.columns.len()) {
            Some(at) => squares[at].1.clone(),
            None => self.sum(name, cell),
        }
    }
}

/// The factor that most products have.
fn most_shared(pairs: &[(usize, usize, i128)]) -> Option<usize> {
    let mut names: Vec<usize> =
        pairs.iter().flat_map(|(x, y, _)| if x == y { vec![*x] } else { vec![*x, *y] }).collect();
    names.sort_unstable();
    let runs = names.chunk_by(|a, b| a == b);
    runs.max_by_key(|run| run.len()).map(|run| run[0])
}
