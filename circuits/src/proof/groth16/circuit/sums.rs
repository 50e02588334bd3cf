//! Which columns get variables, and the cells of the others as linear combinations.

use super::{Assembly, Kind};
use crate::{
    proof::groth16::{
        bounds::{Product, source},
        r1cs::{ONE, Sum, Variable},
    },
    relation::{ColumnId, Definition},
};

/// Derived columns nested deeper than this get variables.
const DEEPEST: usize = 40;

/// A sum gets a variable once it would be repeated with more terms than this, all told: what a constraint costs to prove.
const REPEATED_TERMS: f64 = 600.0;

impl Assembly<'_> {
    /// Witnesses that a linear demand can define, in place of the demand; gives the demands spent so.
    pub(super) fn choose(&mut self) -> Vec<usize> {
        let mut spent = Vec::new();
        let mut pinned = vec![false; self.relations.columns.len()];
        for (number, zero) in self.relations.zeros.iter().enumerate() {
            let free: Option<Vec<(i64, bool, ColumnId)>> = zero
                .terms
                .iter()
                .filter_map(|(coefficient, product)| {
                    let mut free = product.iter().filter(|column| !self.known[**column]);
                    let first = free.next()?;
                    Some((free.next().is_none()).then_some((*coefficient, product.len() == 1, *first)))
                })
                .collect();
            let Some(free) = free else { continue };
            let witness = |column: ColumnId| self.relations.columns[column].definition == Definition::Witness;
            let defined = free.iter().find(|(coefficient, alone, column)| {
                *alone
                    && coefficient.abs() == 1
                    && witness(*column)
                    && !pinned[*column]
                    && matches!(self.kinds[*column], Kind::Derived)
                    && free.iter().filter(|(_, _, other)| other == column).count() == 1
                    && free.iter().all(|(_, _, other)| {
                        other <= column || (witness(*other) && matches!(self.kinds[*other], Kind::Derived))
                    })
            });
            let Some((coefficient, _, column)) = defined.copied() else { continue };
            self.kinds[column] = Kind::Defined { zero: number, sign: -i128::from(coefficient) };
            for (_, _, other) in &free {
                pinned[*other] |= *other > column;
            }
            spent.push(number);
        }
        spent
    }

    /// Which derived columns get variables: those whose sums would be spelt out too often, or are nested too deep.
    pub(super) fn flat(&self) -> Vec<bool> {
        let columns = &self.relations.columns;
        let (lengths, depths) = self.lengths();
        let mut uses = vec![0.0_f64; columns.len()];
        for lookup in &self.relations.lookups {
            uses[lookup.x] += 2.0;
        }
        for zero in &self.relations.zeros {
            for column in zero.terms.iter().flat_map(|(_, product)| product) {
                uses[*column] += 1.0;
            }
        }
        for output in &self.relations.outputs {
            uses[output.column] += 1.0;
        }
        let mut flat = vec![false; columns.len()];
        for column in (0..columns.len()).rev() {
            let derived = matches!(self.kinds[column], Kind::Derived | Kind::Defined { .. });
            if !derived || self.known[column] || uses[column] == 0.0 {
                continue;
            }
            let definition = &columns[column].definition;
            let moves = matches!(definition, Definition::Wire { wire, .. } if wire.fan_in == 1);
            let varied =
                matches!(definition, Definition::MatMul { left, right } if !self.known[*left] && !self.known[*right]);
            flat[column] = !varied
                && ((!moves && (lengths[column] - 1.0) * (uses[column] - 1.0) > REPEATED_TERMS)
                    || depths[column] % DEEPEST == DEEPEST - 1);
            let each = if flat[column] { 1.0 } else { uses[column] };
            let cells = self.cells(column) as f64;
            match (definition, &self.kinds[column]) {
                (Definition::Linear { terms, .. }, _) => terms.iter().for_each(|(_, of)| uses[*of] += each),
                (Definition::Wire { sources, wire }, _) => {
                    let all: f64 = sources.iter().map(|of| self.cells(*of) as f64).sum();
                    sources.iter().for_each(|of| uses[*of] += each * cells * f64::from(wire.fan_in) / all.max(1.0));
                }
                (Definition::MatMul { left, right }, _) => {
                    let product = Product::new(self.relations, *left, *right);
                    let each = if varied { 1.0 } else { each };
                    for of in [left, right] {
                        uses[*of] += each * cells * product.depth as f64 / (self.cells(*of) as f64).max(1.0);
                    }
                }
                (_, Kind::Defined { zero, .. }) => {
                    for of in self.relations.zeros[*zero].terms.iter().flat_map(|(_, product)| product) {
                        uses[*of] += each;
                    }
                }
                _ => {}
            }
        }
        flat
    }

    /// How long each column's sums would be if nothing got variables, and how deep they are nested.
    fn lengths(&self) -> (Vec<f64>, Vec<usize>) {
        let columns = &self.relations.columns;
        let mut lengths = vec![1.0_f64; columns.len()];
        let mut depths = vec![0_usize; columns.len()];
        for column in 0..columns.len() {
            if self.known[column] || matches!(self.kinds[column], Kind::Variables(_)) {
                continue;
            }
            let mut operands = Vec::new();
            lengths[column] = match (&columns[column].definition, &self.kinds[column]) {
                (Definition::Linear { terms, .. }, _) => {
                    operands.extend(terms.iter().map(|(_, of)| *of));
                    terms.iter().map(|(_, of)| lengths[*of]).sum()
                }
                (Definition::Wire { sources, wire }, _) => {
                    operands.extend(sources);
                    let all: f64 = sources.iter().map(|of| self.cells(*of) as f64).sum();
                    let terms: f64 = sources.iter().map(|of| lengths[*of] * self.cells(*of) as f64).sum();
                    f64::from(wire.fan_in) * terms / all.max(1.0)
                }
                (Definition::MatMul { left, right }, _) => {
                    operands.extend([left, right]);
                    Product::new(self.relations, *left, *right).depth as f64 * lengths[*left] * lengths[*right]
                }
                (_, Kind::Defined { zero, .. }) => {
                    let of = self.relations.zeros[*zero].terms.iter().flat_map(|(_, product)| product);
                    operands.extend(of.filter(|of| **of < column));
                    operands.iter().map(|of| lengths[*of]).sum()
                }
                _ => 1.0,
            };
            depths[column] = operands.iter().map(|of| depths[*of] + 1).max().unwrap_or(0);
        }
        (lengths, depths)
    }

    /// A cell as a linear combination of variables; nothing when only counting.
    pub(super) fn sum(&self, column: ColumnId, cell: usize) -> Sum {
        let mut sum = Sum::default();
        if !self.builder.counting {
            self.add(&mut sum, column, cell, 1);
        }
        sum
    }

    pub(super) fn add(&self, out: &mut Sum, column: ColumnId, cell: usize, scale: i128) {
        if scale == 0 {
            return;
        }
        let variable = |first: Variable, at: usize| first + u32::try_from(at).unwrap_or(u32::MAX);
        match (&self.kinds[column], &self.relations.columns[column].definition) {
            (Kind::Known, _) => out.add(ONE, scale.saturating_mul(self.value(column, cell))),
            (Kind::Variables(first), _) => out.add(variable(*first, cell), scale),
            (Kind::Products(first), Definition::MatMul { left, right }) => {
                let depth = Product::new(self.relations, *left, *right).depth;
                (0..depth).for_each(|step| out.add(variable(*first, cell * depth + step), scale));
            }
            (Kind::Defined { zero, sign }, _) => {
                let zero = &self.relations.zeros[*zero];
                out.add(ONE, scale.saturating_mul(sign * i128::from(zero.constant)));
                for (coefficient, product) in &zero.terms {
                    let mut scale = scale.saturating_mul(sign * i128::from(*coefficient));
                    let mut free = None;
                    for of in product {
                        if self.known[*of] {
                            scale = scale.saturating_mul(self.value(*of, cell));
                        } else {
                            free = Some(*of);
                        }
                    }
                    match free {
                        Some(of) if of == column => {}
                        Some(of) => self.add(out, of, cell, scale),
                        None => out.add(ONE, scale),
                    }
                }
            }
            (_, Definition::Linear { terms, constant }) => {
                out.add(ONE, scale.saturating_mul(i128::from(*constant)));
                for (coefficient, of) in terms {
                    self.add(out, *of, cell, scale.saturating_mul(i128::from(*coefficient)));
                }
            }
            (_, Definition::Wire { sources, wire }) => {
                let fan_in = wire.fan_in as usize;
                let entries = self.wires[column].as_deref().unwrap_or_default();
                for entry in &entries[cell * fan_in..(cell + 1) * fan_in] {
                    if let Some((of, at)) = source(self.relations, sources, *entry) {
                        self.add(out, of, at, scale);
                    }
                }
            }
            (_, Definition::MatMul { left, right }) => {
                let product = Product::new(self.relations, *left, *right);
                for step in 0..product.depth {
                    let (a, b) = product.operands(cell, step);
                    if self.known[*left] {
                        self.add(out, *right, b, scale.saturating_mul(self.value(*left, a)));
                    } else {
                        self.add(out, *left, a, scale.saturating_mul(self.value(*right, b)));
                    }
                }
            }
            // Inputs, weights and witnesses are all of the kinds above.
            (_, Definition::Input(_) | Definition::Weight(_) | Definition::Witness) => {}
        }
    }

    pub(super) fn value(&self, column: ColumnId, cell: usize) -> i128 {
        self.values[column].as_ref().map_or(0, |values| i128::from(values[cell]))
    }
}
