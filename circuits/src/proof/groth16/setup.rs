//! Keys from the numbers that nobody may know: single-party, for development.

use ark_bn254::{Bn254, Fr, G1Projective, G2Projective};
use ark_ec::{CurveGroup, PrimeGroup, scalar_mul::BatchMulPreprocessing};
use ark_ff::{Field, Zero};
use ark_groth16::{ProvingKey, VerifyingKey};
use ark_poly::{EvaluationDomain, Radix2EvaluationDomain};

use super::r1cs::{System, inverse};

/// The numbers that nobody may know.
pub(super) struct Secrets {
    /// The point at which polynomials are evaluated.
    pub(super) tau: Fr,
    /// Ties the left factors.
    pub(super) alpha: Fr,
    /// Ties the right factors.
    pub(super) beta: Fr,
    /// Ties private variables to one another.
    pub(super) delta: Fr,
}

/// The keys that the secrets give. Public variables are tied by 1, as ceremonies do.
pub(super) fn keys(system: &System, secrets: &Secrets) -> ProvingKey<Bn254> {
    let size = system.domain_size();
    let domain = Radix2EvaluationDomain::<Fr>::new(size).expect("2^22 points are under the field's 2^28");
    let lagrange = domain.evaluate_all_lagrange_coefficients(secrets.tau);
    let mut a = system.columns(&system.a, &lagrange);
    let b = system.columns(&system.b, &lagrange);
    let c = system.columns(&system.c, &lagrange);
    for (variable, weight) in lagrange[system.constraints()..=system.constraints() + system.public].iter().enumerate() {
        a[variable] += weight;
    }
    let tied = |variable: usize| secrets.beta * a[variable] + secrets.alpha * b[variable] + c[variable];
    let public = system.public + 1;
    let delta_inverse = inverse(secrets.delta);
    let abc: Vec<Fr> = (0..public).map(tied).collect();
    let l: Vec<Fr> = (public..system.variables).map(|variable| tied(variable) * delta_inverse).collect();
    let vanishing = domain.evaluate_vanishing_polynomial(secrets.tau) * delta_inverse;
    let h: Vec<Fr> = powers(secrets.tau, size - 1).into_iter().map(|power| power * vanishing).collect();

    let (one_1, one_2) = (G1Projective::generator(), G2Projective::generator());
    let table_1 = BatchMulPreprocessing::new(one_1, a.len() + b.len() + l.len() + h.len());
    let table_2 = BatchMulPreprocessing::new(one_2, b.iter().filter(|v| !v.is_zero()).count());
    ProvingKey {
        vk: VerifyingKey {
            alpha_g1: (one_1 * secrets.alpha).into_affine(),
            beta_g2: (one_2 * secrets.beta).into_affine(),
            gamma_g2: one_2.into_affine(),
            delta_g2: (one_2 * secrets.delta).into_affine(),
            gamma_abc_g1: table_1.batch_mul(&abc),
        },
        beta_g1: (one_1 * secrets.beta).into_affine(),
        delta_g1: (one_1 * secrets.delta).into_affine(),
        a_query: table_1.batch_mul(&a),
        b_g1_query: table_1.batch_mul(&b),
        b_g2_query: table_2.batch_mul(&b),
        h_query: table_1.batch_mul(&h),
        l_query: table_1.batch_mul(&l),
    }
}

/// `1, x, x^2, ..`.
fn powers(x: Fr, count: usize) -> Vec<Fr> {
    std::iter::successors(Some(Fr::ONE), |power| Some(*power * x)).take(count).collect()
}
