//! Zeros and sums as quads: rows with one product and four linear terms.

use std::sync::Arc;

use halo2_proofs::pasta::{Fp, group::ff::Field};

use super::{
    Cells, Demand, How, NONE, QUAD, Quad,
    build::{Builder, refuse},
};
use crate::{
    proof::{Unsupported, halo2::field::field},
    relation::Zero,
};

/// `sum(coefficient * cells) + constant`, cell by cell.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    pub(super) terms: Vec<(Fp, Cells)>,
    pub(super) constant: Fp,
}

/// `coefficient * left * right`, cell by cell.
type Product = (Fp, Cells, Cells);

impl Terms {
    pub(super) fn constant(constant: Fp) -> Self {
        Self { terms: Vec::new(), constant }
    }

    pub(super) fn add(&mut self, coefficient: Fp, cells: &Cells) {
        match self.terms.iter().position(|(_, known)| Arc::ptr_eq(known, cells)) {
            Some(at) => {
                self.terms[at].0 += coefficient;
                if self.terms[at].0 == Fp::ZERO {
                    self.terms.swap_remove(at);
                }
            }
            None if coefficient == Fp::ZERO => {}
            None => self.terms.push((coefficient, Arc::clone(cells))),
        }
    }

    /// The cells, if the sum is nothing but them.
    pub(super) fn alone(&self) -> Option<Cells> {
        match &self.terms[..] {
            [(one, cells)] if *one == Fp::ONE && self.constant == Fp::ZERO => Some(Arc::clone(cells)),
            _ => None,
        }
    }

    /// Takes the coefficient of these cells out.
    fn take(&mut self, cells: &Cells) -> Fp {
        match self.terms.iter().position(|(_, known)| Arc::ptr_eq(known, cells)) {
            Some(at) => self.terms.swap_remove(at).0,
            None => Fp::ZERO,
        }
    }
}

impl Builder<'_> {
    pub(super) fn zero(&mut self, zero: &Zero) -> Result<(), Unsupported> {
        let mut products: Vec<Product> = Vec::new();
        let mut sum = Terms::constant(field(i128::from(zero.constant)));
        let len = zero.shape.iter().product();
        for (coefficient, factors) in &zero.terms {
            let coefficient = field(i128::from(*coefficient));
            match factors[..] {
                [] => sum.constant += coefficient,
                [x] => self.add_to(&mut sum, coefficient, x),
                [x, y] => {
                    let (x, y) = (self.cells(x), self.cells(y));
                    products.push((coefficient, x, y));
                }
                [x, y, z] => {
                    let (x, y, z) = (self.cells(x), self.cells(y), self.cells(z));
                    let xy = self.between(Some((Fp::ONE, x, y)), Terms::constant(Fp::ZERO), len);
                    products.push((coefficient, xy, z));
                }
                _ => return Err(refuse(format!("node {} demands a product of more than three", zero.node))),
            }
        }
        let whole = |cells: &Cells| cells.len() == len;
        let fits = sum.terms.iter().all(|(_, c)| whole(c)) && products.iter().all(|(_, x, y)| whole(x) && whole(y));
        if !fits {
            return Err(refuse(format!("node {} demands a zero of columns of two shapes", zero.node)));
        }
        self.demand(products, sum, len);
        Ok(())
    }

    /// Demands `sum(products) + sum = 0` at each of `len` cells.
    pub(super) fn demand(&mut self, mut products: Vec<Product>, mut sum: Terms, len: usize) {
        while products.len() > 1 {
            let (c, x, y) = products.remove(0);
            let mut inner = Terms::constant(Fp::ZERO);
            let (of_x, of_y) = (sum.take(&x), sum.take(&y));
            inner.add(of_x, &x);
            inner.add(of_y, &y);
            let value = self.between(Some((c, x, y)), inner, len);
            sum.add(Fp::ONE, &value);
        }
        let product = products.pop();
        // What does not fit beside the product is summed before, three at a time.
        loop {
            let beside = |(_, cells): &&(Fp, Cells)| {
                product.as_ref().is_none_or(|(_, x, y)| !Arc::ptr_eq(x, cells) && !Arc::ptr_eq(y, cells))
            };
            let others: Vec<(Fp, Cells)> = sum.terms.iter().filter(beside).cloned().collect();
            let room = if product.is_some() { QUAD - 2 } else { QUAD };
            if others.len() <= room {
                break;
            }
            let mut inner = Terms::constant(Fp::ZERO);
            for (c, cells) in &others[..QUAD - 1] {
                sum.take(cells);
                inner.add(*c, cells);
            }
            let value = self.between(None, inner, len);
            sum.add(Fp::ONE, &value);
        }
        self.quad(product, sum, len);
    }

    /// New variables that are `product + sum`, which must leave room in a quad.
    fn between(&mut self, product: Option<Product>, sum: Terms, len: usize) -> Cells {
        let how = How::Sum { product: product.clone(), terms: sum.terms.clone(), constant: sum.constant };
        let cells = self.block(len, how);
        let mut demand = sum;
        demand.add(-Fp::ONE, &cells);
        self.quad(product, demand, len);
        cells
    }

    /// Rows of one quad's demand. The terms fit.
    fn quad(&mut self, product: Option<Product>, mut sum: Terms, len: usize) {
        let mut slots: [Option<Cells>; QUAD] = Default::default();
        let mut quad = Quad { product: Fp::ZERO, linear: [Fp::ZERO; QUAD], constant: sum.constant };
        let mut free = 0;
        if let Some((coefficient, x, y)) = product {
            quad.product = coefficient;
            quad.linear[0] = sum.take(&x);
            quad.linear[1] = sum.take(&y);
            (slots[0], slots[1]) = (Some(x), Some(y));
            free = 2;
        }
        for (slot, (coefficient, cells)) in (free..QUAD).zip(sum.terms) {
            quad.linear[slot] = coefficient;
            slots[slot] = Some(cells);
        }
        let number = self.number(quad);
        let terms = self.layout.shape.terms;
        let groups = terms / QUAD;
        for first in (0..len).step_by(groups) {
            let row = self.row(Demand::Quad(number));
            for group in 0..groups {
                // A group more than there is repeats the first of its row.
                let i = if first + group < len { first + group } else { first };
                let cells = slots.iter().map(|slot| slot.as_ref().map_or(NONE, |cells| cells[i]));
                let at = row * terms + group * QUAD;
                self.layout.a[at..at + QUAD].iter_mut().zip(cells).for_each(|(to, var)| *to = var);
            }
        }
    }

    fn number(&mut self, quad: Quad) -> u32 {
        let quads = &mut self.layout.quads;
        let at = quads.iter().position(|known| *known == quad).unwrap_or_else(|| {
            quads.push(quad);
            quads.len() - 1
        });
        at as u32
    }
}
