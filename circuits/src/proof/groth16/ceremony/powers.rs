//! The first phase's points: powers of `tau`, plain and times `alpha` and `beta`.

use ark_bn254::{Fr, G1Affine, G1Projective, G2Affine, G2Projective};
use ark_ec::{AffineRepr, CurveGroup, VariableBaseMSM, scalar_mul::ScalarMul};
use ark_ff::{Field, PrimeField};
use rayon::prelude::*;

use super::{CeremonyError, chain::same, invalid};
use crate::proof::groth16::random;

/// The points, for an evaluation domain of `n`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Powers {
    /// `tau^i`, `2 n - 1` of them.
    pub(super) tau_1: Vec<G1Affine>,
    /// `tau^i`, `n` of them.
    pub(super) tau_2: Vec<G2Affine>,
    /// `alpha tau^i`, `n` of them.
    pub(super) alpha_1: Vec<G1Affine>,
    /// `beta tau^i`, `n` of them.
    pub(super) beta_1: Vec<G1Affine>,
    /// `beta`.
    pub(super) beta_2: G2Affine,
}

impl Powers {
    /// Where everybody starts: all numbers are 1.
    pub(super) fn start(size: usize) -> Self {
        let (one_1, one_2) = (G1Affine::generator(), G2Affine::generator());
        Self {
            tau_1: vec![one_1; 2 * size - 1],
            tau_2: vec![one_2; size],
            alpha_1: vec![one_1; size],
            beta_1: vec![one_1; size],
            beta_2: one_2,
        }
    }

    /// `tau`, `alpha` and `beta`.
    pub(super) fn heads(&self) -> [G1Affine; 3] {
        [self.tau_1[1], self.alpha_1[0], self.beta_1[0]]
    }

    /// Multiplies the numbers.
    pub(super) fn multiply(&mut self, [tau, alpha, beta]: [Fr; 3]) {
        let powers: Vec<Fr> =
            std::iter::successors(Some(Fr::ONE), |power| Some(*power * tau)).take(self.tau_1.len()).collect();
        self.tau_1 = scaled::<G1Projective>(&self.tau_1, |at| powers[at]);
        self.tau_2 = scaled::<G2Projective>(&self.tau_2, |at| powers[at]);
        self.alpha_1 = scaled::<G1Projective>(&self.alpha_1, |at| powers[at] * alpha);
        self.beta_1 = scaled::<G1Projective>(&self.beta_1, |at| powers[at] * beta);
        self.beta_2 = (self.beta_2 * beta).into_affine();
    }

    /// Checks that the points are powers of their heads.
    pub(super) fn verify(&self) -> Result<(), CeremonyError> {
        let (one_1, one_2) = (G1Affine::generator(), G2Affine::generator());
        let (tau_1, tau_2) = (self.tau_1[1], self.tau_2[1]);
        let scalars = weights(self.tau_1.len())?;
        let steps = |points: &[G1Affine]| {
            let (low, high) = (&points[..points.len() - 1], &points[1..]);
            let sum = |part: &[G1Affine]| G1Projective::msm_bigint(part, &scalars[..part.len()]).into_affine();
            same(sum(low), tau_2, sum(high), one_2)
        };
        let (low, high) = (&self.tau_2[..self.tau_2.len() - 1], &self.tau_2[1..]);
        let sum = |part: &[G2Affine]| G2Projective::msm_bigint(part, &scalars[..part.len()]).into_affine();
        let checks = [
            (self.tau_1[0] == one_1 && self.tau_2[0] == one_2, "powers do not start with 1"),
            (same(tau_1, one_2, one_1, tau_2), "tau differs between the groups"),
            (same(self.beta_1[0], one_2, one_1, self.beta_2), "beta differs between the groups"),
            (steps(&self.tau_1), "powers of tau do not go by tau"),
            (steps(&self.alpha_1), "powers times alpha do not go by tau"),
            (steps(&self.beta_1), "powers times beta do not go by tau"),
            (same(tau_1, sum(low), one_1, sum(high)), "powers of tau in the second group do not go by tau"),
        ];
        match checks.iter().find(|(holds, _)| !holds) {
            Some((_, reason)) => Err(invalid(*reason)),
            None => Ok(()),
        }
    }
}

/// Each point times its factor.
pub(super) fn scaled<G>(points: &[G::Affine], factor: impl Fn(usize) -> Fr + Sync) -> Vec<G::Affine>
where
    G: CurveGroup<ScalarField = Fr> + ScalarMul<MulBase = G::Affine>,
{
    let products: Vec<G> = points.par_iter().enumerate().map(|(at, point)| *point * factor(at)).collect();
    G::batch_convert_to_mul_base(&products)
}

/// Random weights of 128 bits, to check many equations as one.
pub(super) fn weights(count: usize) -> Result<Vec<<Fr as PrimeField>::BigInt>, CeremonyError> {
    let seed = random().map_err(|reason| CeremonyError::Randomness { reason })?;
    let mut key = [0; 32];
    for (chunk, limb) in key.chunks_mut(8).zip(seed.into_bigint().0) {
        chunk.copy_from_slice(&limb.to_le_bytes());
    }
    let mut stream = blake3::Hasher::new_keyed(&key).finalize_xof();
    let mut weight = || {
        let mut bytes = [0; 8];
        stream.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    };
    Ok((0..count).map(|_| ark_ff::BigInt([weight(), weight(), 0, 0])).collect())
}
