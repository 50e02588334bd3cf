//! Verification: one product of pairings, or one for a whole batch.

use ark_bn254::{Bn254, Fr, G1Affine, G1Projective, G2Affine};
use ark_ec::{CurveGroup, VariableBaseMSM, pairing::Pairing};
use ark_ff::{AdditiveGroup, Field, PrimeField};
use ark_groth16::Proof;

use super::{
    NAME,
    key::{VerifierKey, point, take_point},
    random,
};
use crate::proof::{Statement, VerifyError};

/// Length of a proof.
pub const PROOF_BYTES: usize = 128;

/// The proof as bytes: three compressed points.
pub(super) fn to_bytes(proof: &Proof<Bn254>) -> Vec<u8> {
    let mut out = Vec::with_capacity(PROOF_BYTES);
    point(&proof.a, &mut out);
    point(&proof.b, &mut out);
    point(&proof.c, &mut out);
    out
}

/// Reads exactly what [`to_bytes`] writes.
pub(super) fn from_bytes(bytes: &[u8]) -> Result<Proof<Bn254>, VerifyError> {
    let malformed = |reason: String| VerifyError::Malformed { system: NAME, reason };
    if bytes.len() != PROOF_BYTES {
        return Err(malformed(format!("expected {PROOF_BYTES} bytes, found {}", bytes.len())));
    }
    let mut rest = bytes;
    let a: G1Affine = take_point(&mut rest).map_err(malformed)?;
    let b: G2Affine = take_point(&mut rest).map_err(malformed)?;
    let c: G1Affine = take_point(&mut rest).map_err(malformed)?;
    Ok(Proof { a, b, c })
}

/// The sum of the key's points, weighted by the one and the public elements.
fn weighted(key: &VerifierKey, elements: &[Fr]) -> G1Projective {
    let scalars: Vec<_> = elements.iter().map(|e| e.into_bigint()).collect();
    G1Projective::msm_bigint(&key.prepared.vk.gamma_abc_g1, &scalars)
}

fn elements(key: &VerifierKey, statement: Statement<'_>) -> Result<Vec<Fr>, VerifyError> {
    let mut all = vec![Fr::ONE];
    all.extend(key.layout.of(statement).map_err(|reason| VerifyError::Statement { reason })?);
    Ok(all)
}

/// Verifies one proof.
pub(super) fn verify(key: &VerifierKey, statement: Statement<'_>, proof: &[u8]) -> Result<(), VerifyError> {
    let elements = elements(key, statement)?;
    let proof = from_bytes(proof)?;
    let public = weighted(key, &elements).into_affine();
    let product = Bn254::multi_miller_loop(
        [proof.a, public, proof.c],
        [proof.b.into(), key.prepared.gamma_g2_neg_pc.clone(), key.prepared.delta_g2_neg_pc.clone()],
    );
    match Bn254::final_exponentiation(product) {
        Some(found) if found.0 == key.prepared.alpha_g1_beta_g2 => Ok(()),
        _ => Err(VerifyError::Invalid { reason: "the pairings do not agree".into() }),
    }
}

/// Verifies many proofs by one random combination of their equations; one that does not hold is then looked for.
pub(super) fn verify_batch(key: &VerifierKey, batch: &[(Statement<'_>, &[u8])]) -> Result<(), (usize, VerifyError)> {
    if batch.len() < 2 {
        return batch.iter().try_for_each(|(statement, proof)| verify(key, *statement, proof)).map_err(|e| (0, e));
    }
    let mut sums = vec![Fr::ZERO; key.layout.elements() + 1];
    let (mut left, mut right) = (Vec::with_capacity(batch.len() + 2), Vec::with_capacity(batch.len() + 2));
    let mut last = G1Projective::ZERO;
    for (at, (statement, proof)) in batch.iter().enumerate() {
        let all = elements(key, *statement).map_err(|e| (at, e))?;
        let proof = from_bytes(proof).map_err(|e| (at, e))?;
        // 128 random bits: a false equation survives with a chance of 2^-128.
        let weight = random().map_err(|reason| (at, VerifyError::Invalid { reason }))?.into_bigint();
        let weight = ark_ff::BigInt([weight.0[0], weight.0[1] | 1, 0, 0]);
        let scalar = Fr::from(weight);
        all.iter().zip(&mut sums).for_each(|(element, sum)| *sum += scalar * element);
        left.push(ark_ec::AffineRepr::mul_bigint(&proof.a, weight).into_affine());
        right.push(proof.b.into());
        last += ark_ec::AffineRepr::mul_bigint(&proof.c, weight);
    }
    left.extend([weighted(key, &sums).into_affine(), last.into_affine()]);
    right.extend([key.prepared.gamma_g2_neg_pc.clone(), key.prepared.delta_g2_neg_pc.clone()]);
    let found = Bn254::final_exponentiation(Bn254::multi_miller_loop(left, right));
    if found.is_some_and(|found| found.0 == key.prepared.alpha_g1_beta_g2.pow(sums[0].into_bigint())) {
        return Ok(());
    }
    for (at, (statement, proof)) in batch.iter().enumerate() {
        verify(key, *statement, proof).map_err(|e| (at, e))?;
    }
    Err((0, VerifyError::Invalid { reason: "the batch does not hold".into() }))
}
