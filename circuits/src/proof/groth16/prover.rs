//! From a trace to a proof: the witness, the quotient, five multi-scalar multiplications.

use std::collections::HashMap;

use ark_bn254::{Bn254, Fr, G1Projective, G2Projective};
use ark_ec::{CurveGroup, VariableBaseMSM};
use ark_ff::{AdditiveGroup, FftField, Field, PrimeField};
use ark_groth16::{Proof, ProvingKey};
use ark_poly::{EvaluationDomain, Radix2EvaluationDomain};
use rayon::prelude::*;

use super::{
    builder::Hint,
    circuit::Circuit,
    r1cs::{System, field, inverse},
};
use crate::relation::Trace;

/// The first constraint that a witness breaks, by the node it serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken {
    /// `u32::MAX` for the statement's own.
    pub(super) node: u32,
}

impl Circuit {
    /// All variables: the constant, the public ones, and the private ones as the trace has them. Says what the
    /// trace lacks.
    pub(super) fn assignment(&self, public: &[Fr], trace: &Trace) -> Result<Vec<Fr>, String> {
        let mut values = Vec::with_capacity(self.system.variables);
        values.push(Fr::ONE);
        values.extend_from_slice(public);
        let mut inverses: HashMap<Fr, Fr> = HashMap::new();
        let cell = |column: usize, cell: usize| -> Result<i128, String> {
            let value = trace.columns.get(column).and_then(|cells| cells.get(cell));
            value.map(|v| i128::from(*v)).ok_or_else(|| format!("column {column} has no cell {cell}"))
        };
        for zero in &self.defining {
            for at in 0..zero.shape.iter().product() {
                let mut sum = i128::from(zero.constant);
                for (coefficient, product) in &zero.terms {
                    let mut term = i128::from(*coefficient);
                    for column in product {
                        term = term.wrapping_mul(cell(*column, at)?);
                    }
                    sum = sum.wrapping_add(term);
                }
                if sum != 0 {
                    return Err(format!("it does not hold at node {}", zero.node));
                }
            }
        }
        for hint in &self.hints {
            match hint {
                Hint::Cells { column, count } => {
                    for at in 0..*count {
                        values.push(field(cell(*column, at)?));
                    }
                }
                Hint::Bits { of, base, count } => {
                    let mut value = cell(of.column, of.cell)? - i128::from(*base);
                    if let Some(other) = of.other {
                        value += cell(other, of.cell)?;
                    }
                    values.extend((1..*count).map(|bit| if value >> bit & 1 == 1 { Fr::ONE } else { Fr::ZERO }));
                }
                Hint::Product(row) => {
                    let a = self.system.evaluate(self.system.a.row(*row), &values);
                    let b = self.system.evaluate(self.system.b.row(*row), &values);
                    values.push(a * b);
                }
                Hint::Inverse(row) => {
                    let of = self.system.evaluate(self.system.b.row(*row), &values);
                    values.push(*inverses.entry(of).or_insert_with(|| inverse(of)));
                }
            }
        }
        Ok(values)
    }
}

impl System {
    /// The first constraint that the values break.
    #[cfg(test)]
    pub(super) fn broken(&self, values: &[Fr]) -> Option<Broken> {
        (0..self.constraints()).find_map(|row| {
            let [a, b, c] = [&self.a, &self.b, &self.c].map(|matrix| self.evaluate(matrix.row(row), values));
            (a * b != c).then(|| Broken { node: self.nodes[row] })
        })
    }
}

/// Proves, with `r` and `s` to blind the proof. With `strict` a broken constraint is an error, else it gives a proof that does not hold.
pub(super) fn prove(
    system: &System,
    key: &ProvingKey<Bn254>,
    values: &[Fr],
    [r, s]: [Fr; 2],
    strict: bool,
) -> Result<Proof<Bn254>, Broken> {
    let quotient = quotient(system, values, strict)?;
    let bigints = |values: &[Fr]| values.par_iter().map(|v| v.into_bigint()).collect::<Vec<_>>();
    let scalars = bigints(values);
    let a = G1Projective::msm_bigint(&key.a_query, &scalars) + key.vk.alpha_g1 + key.delta_g1 * r;
    let b_1 = G1Projective::msm_bigint(&key.b_g1_query, &scalars) + key.beta_g1 + key.delta_g1 * s;
    let b = G2Projective::msm_bigint(&key.b_g2_query, &scalars) + key.vk.beta_g2 + key.vk.delta_g2 * s;
    let own = G1Projective::msm_bigint(&key.l_query, &scalars[system.public + 1..]);
    let quotient = G1Projective::msm_bigint(&key.h_query, &bigints(&quotient[..key.h_query.len()]));
    let c = own + quotient + a * s + b_1 * r - key.delta_g1 * (r * s);
    Ok(Proof { a: a.into_affine(), b: b.into_affine(), c: c.into_affine() })
}

/// Coefficients of `(A * B - C) / Z` over the evaluation domain.
fn quotient(system: &System, values: &[Fr], strict: bool) -> Result<Vec<Fr>, Broken> {
    let size = system.domain_size();
    let domain = Radix2EvaluationDomain::<Fr>::new(size).expect("2^22 points are under the field's 2^28");
    let coset = domain.get_coset(Fr::GENERATOR).expect("a generator is not 0");
    let mut a = system.evaluate_all(&system.a, values);
    let mut b = system.evaluate_all(&system.b, values);
    let mut c = system.evaluate_all(&system.c, values);
    if strict && let Some(row) = (0..c.len()).into_par_iter().position_first(|row| a[row] * b[row] != c[row]) {
        return Err(Broken { node: system.nodes[row] });
    }
    // A row for each public variable keeps their polynomials independent of all others.
    a.extend_from_slice(&values[..=system.public]);
    for part in [&mut a, &mut b, &mut c] {
        part.resize(size, Fr::ZERO);
        domain.ifft_in_place(part);
        coset.fft_in_place(part);
    }
    let scale = inverse(domain.evaluate_vanishing_polynomial(Fr::GENERATOR));
    a.par_iter_mut().zip(b).zip(c).for_each(|((a, b), c)| *a = (*a * b - c) * scale);
    coset.ifft_in_place(&mut a);
    Ok(a)
}
