//! Rank-one constraints, kept small: one shared list of coefficients, eight bytes an entry.

use std::collections::HashMap;

use ark_bn254::Fr;
use ark_ff::{AdditiveGroup, Field, PrimeField};
use rayon::prelude::*;

/// A variable by number; 0 is the constant one, then come the public ones.
pub(super) type Variable = u32;

/// The constant one.
pub(super) const ONE: Variable = 0;

/// No coefficient comes near this; the field is far larger.
const COEFFICIENT_END: i128 = 1 << 120;

/// A linear combination with integer coefficients.
#[derive(Debug, Clone, Default)]
pub(super) struct Sum {
    /// Coefficients by variable; a variable may occur more than once.
    pub(super) terms: Vec<(Variable, i128)>,
}

impl Sum {
    /// A constant.
    pub(super) fn constant(value: i128) -> Self {
        Self { terms: vec![(ONE, value)] }
    }

    /// A variable.
    pub(super) fn of(variable: Variable) -> Self {
        Self { terms: vec![(variable, 1)] }
    }

    /// Adds a multiple of a variable.
    pub(super) fn add(&mut self, variable: Variable, coefficient: i128) {
        self.terms.push((variable, coefficient));
    }

    /// Adds a multiple of a sum.
    pub(super) fn add_sum(&mut self, other: &Self, coefficient: i128) {
        self.terms.extend(other.terms.iter().map(|(v, c)| (*v, c.saturating_mul(coefficient))));
    }

    /// With one more constant.
    pub(super) fn plus(mut self, constant: i128) -> Self {
        self.add(ONE, constant);
        self
    }

    /// Each variable once, in order, none with coefficient 0. `None` when a coefficient is past all bounds.
    fn canonical(mut self) -> Option<Vec<(Variable, i128)>> {
        self.terms.sort_unstable_by_key(|(v, _)| *v);
        let mut out: Vec<(Variable, i128)> = Vec::with_capacity(self.terms.len());
        for (variable, coefficient) in self.terms {
            match out.last_mut() {
                Some((last, sum)) if *last == variable => *sum = sum.saturating_add(coefficient),
                _ => out.push((variable, coefficient)),
            }
        }
        out.retain(|(_, c)| *c != 0);
        out.iter().all(|(_, c)| c.abs() < COEFFICIENT_END).then_some(out)
    }
}

/// Rows of linear combinations.
#[derive(Debug, Default)]
pub(super) struct Matrix {
    /// Where each row ends in `entries`.
    ends: Vec<u32>,
    /// Variable, and coefficient by position.
    entries: Vec<(Variable, u32)>,
}

impl Matrix {
    /// The entries of a row.
    pub(super) fn row(&self, row: usize) -> &[(Variable, u32)] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] as usize };
        &self.entries[start..self.ends[row] as usize]
    }

    /// How many entries all rows have.
    pub(super) fn entries(&self) -> usize {
        self.entries.len()
    }
}

/// Constraints `<A, z> <B, z> = <C, z>` over `z = (1, public, private)`.
#[derive(Debug, Default)]
pub(super) struct System {
    /// Left factors.
    pub(super) a: Matrix,
    /// Right factors.
    pub(super) b: Matrix,
    /// Products.
    pub(super) c: Matrix,
    /// Distinct coefficients.
    pub(super) coefficients: Vec<Fr>,
    /// Public variables, the constant one not counted.
    pub(super) public: usize,
    /// All variables, the constant one counted.
    pub(super) variables: usize,
    /// The node that each row serves; `u32::MAX` for the statement's own.
    pub(super) nodes: Vec<u32>,
    positions: HashMap<i128, u32>,
}

impl System {
    /// Number of constraints.
    pub(super) fn constraints(&self) -> usize {
        self.nodes.len()
    }

    /// The number of points of the evaluation domain: the constraints, and one for each public variable.
    pub(super) fn domain_size(&self) -> usize {
        domain_size(self.constraints(), self.public)
    }

    /// Appends a constraint. `None` when a coefficient or the number of entries is past all bounds.
    pub(super) fn push(&mut self, node: u32, a: Sum, b: Sum, c: Sum) -> Option<()> {
        let Self { positions, coefficients, .. } = self;
        for (matrix, sum) in [(&mut self.a, a), (&mut self.b, b), (&mut self.c, c)] {
            for (variable, coefficient) in sum.canonical()? {
                let position = *positions.entry(coefficient).or_insert_with(|| {
                    coefficients.push(field(coefficient));
                    u32::try_from(coefficients.len() - 1).expect("no more coefficients than entries, which are counted")
                });
                matrix.entries.push((variable, position));
            }
            matrix.ends.push(u32::try_from(matrix.entries.len()).ok()?);
        }
        self.nodes.push(node);
        Some(())
    }

    /// The value of a row.
    pub(super) fn evaluate(&self, row: &[(Variable, u32)], values: &[Fr]) -> Fr {
        let mut sum = Fr::ZERO;
        for (variable, coefficient) in row {
            sum += self.coefficients[*coefficient as usize] * values[*variable as usize];
        }
        sum
    }

    /// The values of every row of a matrix.
    pub(super) fn evaluate_all(&self, matrix: &Matrix, values: &[Fr]) -> Vec<Fr> {
        (0..matrix.ends.len()).into_par_iter().map(|row| self.evaluate(matrix.row(row), values)).collect()
    }

    /// Sums up, for each variable, its coefficients times the weight of their rows.
    pub(super) fn columns(&self, matrix: &Matrix, weights: &[Fr]) -> Vec<Fr> {
        let mut sums = vec![Fr::ZERO; self.variables];
        for (row, weight) in weights.iter().enumerate().take(matrix.ends.len()) {
            for (variable, coefficient) in matrix.row(row) {
                sums[*variable as usize] += self.coefficients[*coefficient as usize] * weight;
            }
        }
        sums
    }

    /// Hash of the constraints; it tells of the weights.
    pub(super) fn hash(&self) -> [u8; 32] {
        let mut hash = blake3::Hasher::new_derive_key("assay groth16 circuit 1");
        for count in [self.public, self.variables, self.constraints()] {
            hash.update(&(count as u64).to_le_bytes());
        }
        for matrix in [&self.a, &self.b, &self.c] {
            for row in 0..self.constraints() {
                let entries = matrix.row(row);
                hash.update(&(entries.len() as u64).to_le_bytes());
                for (variable, coefficient) in entries {
                    hash.update(&variable.to_le_bytes());
                    for limb in self.coefficients[*coefficient as usize].into_bigint().0 {
                        hash.update(&limb.to_le_bytes());
                    }
                }
            }
        }
        *hash.finalize().as_bytes()
    }

    /// Frees what only building needs.
    pub(super) fn finish(&mut self) {
        self.positions = HashMap::new();
    }
}

/// The number of points of the evaluation domain.
pub(super) fn domain_size(constraints: usize, public: usize) -> usize {
    (constraints + public + 1).next_power_of_two()
}

/// An integer in the field; negative ones are its negatives.
pub(super) fn field(value: i128) -> Fr {
    let magnitude = Fr::from(value.unsigned_abs());
    if value < 0 { -magnitude } else { magnitude }
}

/// One over a value, and 0 for 0.
pub(super) fn inverse(value: Fr) -> Fr {
    value.inverse().unwrap_or(Fr::ZERO)
}
