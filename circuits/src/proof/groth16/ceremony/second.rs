//! The second phase: the circuit's points from the powers, and `delta`.

use ark_bn254::{Bn254, Fr, G1Affine, G1Projective, G2Affine, G2Projective};
use ark_ec::{AffineRepr, CurveGroup, VariableBaseMSM, scalar_mul::ScalarMul};
use ark_ff::PrimeField;
use ark_groth16::{ProvingKey, VerifyingKey};
use ark_poly::{EvaluationDomain, Radix2EvaluationDomain};

use super::{
    CeremonyError, chain,
    chain::{Contribution, same},
    invalid,
    powers::{Powers, scaled, weights},
};
use crate::proof::groth16::r1cs::{Matrix, System, inverse};

/// The circuit's points where `delta` is 1: they follow from the first phase.
#[derive(Debug)]
pub(super) struct Initial {
    a_1: Vec<G1Affine>,
    b_1: Vec<G1Affine>,
    b_2: Vec<G2Affine>,
    public: Vec<G1Affine>,
    h: Vec<G1Affine>,
    l: Vec<G1Affine>,
}

/// The points that `delta` divides, and who contributed to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Second {
    /// In order.
    pub(super) contributions: Vec<Contribution>,
    /// `delta`.
    pub(super) delta_1: G1Affine,
    /// `delta`.
    pub(super) delta_2: G2Affine,
    /// `tau^i (tau^n - 1) / delta`.
    pub(super) h: Vec<G1Affine>,
    /// `(beta a + alpha b + c) / delta`, for each private variable.
    pub(super) l: Vec<G1Affine>,
}

impl Initial {
    /// Of a circuit.
    pub(super) fn new(system: &System, powers: &Powers) -> Self {
        let size = system.domain_size();
        let tau_1 = lagrange::<G1Projective>(&powers.tau_1[..size]);
        let mut a_1 = combined(system, &system.a, &tau_1);
        let b_1 = combined(system, &system.b, &tau_1);
        let mut tied = combined(system, &system.c, &tau_1);
        let alpha_1 = lagrange::<G1Projective>(&powers.alpha_1);
        add(&mut tied, &combined(system, &system.b, &alpha_1));
        let beta_1 = lagrange::<G1Projective>(&powers.beta_1);
        add(&mut tied, &combined(system, &system.a, &beta_1));
        // The row that each public variable has to itself.
        for variable in 0..=system.public {
            a_1[variable] += tau_1[system.constraints() + variable];
            tied[variable] += beta_1[system.constraints() + variable];
        }
        let b_2 = combined(system, &system.b, &lagrange::<G2Projective>(&powers.tau_2));
        let h: Vec<G1Projective> =
            (0..size - 1).map(|at| powers.tau_1[at + size].into_group() - powers.tau_1[at]).collect();
        let affine = |points: &[G1Projective]| G1Projective::batch_convert_to_mul_base(points);
        Self {
            a_1: affine(&a_1),
            b_1: affine(&b_1),
            b_2: G2Projective::batch_convert_to_mul_base(&b_2),
            public: affine(&tied[..=system.public]),
            l: affine(&tied[system.public + 1..]),
            h: affine(&h),
        }
    }
}

impl Second {
    /// Where the second phase starts: `delta` is 1.
    pub(super) fn start(initial: &Initial) -> Self {
        Self {
            contributions: Vec::new(),
            delta_1: G1Affine::generator(),
            delta_2: G2Affine::generator(),
            h: initial.h.clone(),
            l: initial.l.clone(),
        }
    }

    /// Multiplies `delta`.
    pub(super) fn multiply(&mut self, delta: Fr) {
        let less = inverse(delta);
        self.delta_1 = (self.delta_1 * delta).into_affine();
        self.delta_2 = (self.delta_2 * delta).into_affine();
        self.h = scaled::<G1Projective>(&self.h, |_| less);
        self.l = scaled::<G1Projective>(&self.l, |_| less);
    }

    /// Checks the contributions, from the digest of the first phase on.
    pub(super) fn verify_chain(&self, digest: &[u8; 32]) -> Result<(), CeremonyError> {
        let (one_1, one_2) = (G1Affine::generator(), G2Affine::generator());
        chain::verify(*digest, &self.contributions, &[one_1], &[self.delta_1])?;
        if !same(self.delta_1, one_2, one_1, self.delta_2) {
            return Err(invalid("delta differs between the groups"));
        }
        Ok(())
    }

    /// Checks the contributions, and the points against the circuit's.
    pub(super) fn verify(&self, digest: &[u8; 32], initial: &Initial) -> Result<(), CeremonyError> {
        self.verify_chain(digest)?;
        if self.h.len() != initial.h.len() || self.l.len() != initial.l.len() {
            return Err(invalid("a circuit of another size"));
        }
        let scalars = weights(self.h.len() + self.l.len())?;
        let sum = |h: &[G1Affine], l: &[G1Affine]| {
            let (left, right) = scalars.split_at(h.len());
            (G1Projective::msm_bigint(h, left) + G1Projective::msm_bigint(l, right)).into_affine()
        };
        if !same(sum(&self.h, &self.l), self.delta_2, sum(&initial.h, &initial.l), G2Affine::generator()) {
            return Err(invalid("the points are not the circuit's over delta"));
        }
        Ok(())
    }

    /// The keys.
    pub(super) fn key(&self, initial: Initial, powers: &Powers) -> ProvingKey<Bn254> {
        ProvingKey {
            vk: VerifyingKey {
                alpha_g1: powers.alpha_1[0],
                beta_g2: powers.beta_2,
                gamma_g2: G2Affine::generator(),
                delta_g2: self.delta_2,
                gamma_abc_g1: initial.public,
            },
            beta_g1: powers.beta_1[0],
            delta_g1: self.delta_1,
            a_query: initial.a_1,
            b_g1_query: initial.b_1,
            b_g2_query: initial.b_2,
            h_query: self.h.clone(),
            l_query: self.l.clone(),
        }
    }
}

/// The Lagrange polynomials of the domain at `tau`, from its powers.
fn lagrange<G: CurveGroup<ScalarField = Fr>>(powers: &[G::Affine]) -> Vec<G> {
    let domain = Radix2EvaluationDomain::<Fr>::new(powers.len()).expect("2^22 points are under the field's 2^28");
    let mut points: Vec<G> = powers.iter().map(|point| (*point).into()).collect();
    domain.ifft_in_place(&mut points);
    points
}

/// For each variable, its coefficients times the points of their rows.
fn combined<G: CurveGroup<ScalarField = Fr>>(system: &System, matrix: &Matrix, rows: &[G]) -> Vec<G> {
    let coefficients: Vec<(bool, <Fr as PrimeField>::BigInt)> = system
        .coefficients
        .iter()
        .map(|coefficient| {
            // The shorter of a coefficient and its negative is quick to multiply by.
            let (plain, negated) = (coefficient.into_bigint(), (-*coefficient).into_bigint());
            if negated < plain { (true, negated) } else { (false, plain) }
        })
        .collect();
    let mut sums = vec![G::zero(); system.variables];
    for (row, point) in rows.iter().enumerate().take(system.constraints()) {
        for (variable, coefficient) in matrix.row(row) {
            let (negative, magnitude) = &coefficients[*coefficient as usize];
            let product = point.mul_bigint(magnitude);
            let sum = &mut sums[*variable as usize];
            if *negative { *sum -= product } else { *sum += product }
        }
    }
    sums
}

fn add(sums: &mut [G1Projective], others: &[G1Projective]) {
    sums.iter_mut().zip(others).for_each(|(sum, other)| *sum += other);
}
