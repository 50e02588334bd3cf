//! Contributions: proofs that their makers know what they multiplied by, chained by hashes.

use ark_bn254::{Bn254, Fq, Fr, G1Affine, G2Affine};
use ark_ec::{AffineRepr, CurveGroup, pairing::Pairing};
use ark_ff::PrimeField;

use super::{CeremonyError, invalid};
use crate::proof::groth16::key::point;

/// What a contributor did to one number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Share {
    /// The number after it, in the first group.
    pub(super) after: G1Affine,
    /// What it was multiplied by, in the second group.
    pub(super) factor: G2Affine,
    /// The factor times a point that depends on all before: only who knows the factor can make it.
    pub(super) proof: G1Affine,
}

/// One contributor's part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Contribution {
    /// As the contributor gave it.
    pub(super) name: String,
    /// One for each number of the phase.
    pub(super) shares: Vec<Share>,
}

impl Share {
    /// The shares of a contribution on top of all that the digest covers.
    pub(super) fn all(digest: &[u8; 32], name: &str, secrets: &[Fr], after: &[G1Affine]) -> Vec<Self> {
        let shares = secrets.iter().zip(after).enumerate();
        shares
            .map(|(at, (secret, after))| {
                let factor = (G2Affine::generator() * secret).into_affine();
                let proof = (challenge(digest, name, at, after, &factor) * secret).into_affine();
                Self { after: *after, factor, proof }
            })
            .collect()
    }

    fn write(&self, out: &mut Vec<u8>) {
        point(&self.after, out);
        point(&self.factor, out);
        point(&self.proof, out);
    }
}

impl Contribution {
    /// The digest of all up to this one.
    pub(super) fn digest(&self, before: &[u8; 32]) -> [u8; 32] {
        let mut bytes = before.to_vec();
        self.write(&mut bytes);
        blake3::derive_key("assay groth16 ceremony chain 1", &bytes)
    }

    /// Its bytes.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::try_from(self.name.len()).expect("a name is at most 64 bytes"));
        out.extend_from_slice(self.name.as_bytes());
        self.shares.iter().for_each(|share| share.write(out));
    }
}

/// Checks a chain from the numbers before it to those after it, and gives its digest.
pub(super) fn verify(
    mut digest: [u8; 32],
    contributions: &[Contribution],
    first: &[G1Affine],
    last: &[G1Affine],
) -> Result<[u8; 32], CeremonyError> {
    let mut before = first.to_vec();
    let one = G2Affine::generator();
    for contribution in contributions {
        for (at, (share, number)) in contribution.shares.iter().zip(&mut before).enumerate() {
            let challenge = challenge(&digest, &contribution.name, at, &share.after, &share.factor);
            if !same(*number, share.factor, share.after, one) || !same(challenge, share.factor, share.proof, one) {
                return Err(invalid(format!(
                    "{}'s contribution does not follow from what was before (its number {} of {})",
                    contribution.name,
                    at + 1,
                    contribution.shares.len()
                )));
            }
            *number = share.after;
        }
        digest = contribution.digest(&digest);
    }
    if before != last {
        return Err(invalid("the numbers are not those that the last contribution left"));
    }
    Ok(digest)
}

/// Whether `a * b = c * d` in the exponents.
pub(super) fn same(a: G1Affine, b: G2Affine, c: G1Affine, d: G2Affine) -> bool {
    Bn254::multi_pairing([a, -c], [b, d]).0 == ark_ff::Field::ONE
}

/// A point that nobody knows the logarithm of. It depends on the name too: another than its maker's spoils a contribution.
fn challenge(digest: &[u8; 32], name: &str, at: usize, after: &G1Affine, factor: &G2Affine) -> G1Affine {
    let mut hash = blake3::Hasher::new_derive_key("assay groth16 ceremony challenge 2");
    let mut bytes = digest.to_vec();
    bytes.extend_from_slice(&(name.len() as u64).to_le_bytes());
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(&(at as u64).to_le_bytes());
    point(after, &mut bytes);
    point(factor, &mut bytes);
    hash.update(&bytes);
    let mut stream = hash.finalize_xof();
    loop {
        let mut candidate = [0; 64];
        stream.fill(&mut candidate);
        // Every other coordinate is on the curve, and every point of the curve is in the group.
        if let Some(found) =
            G1Affine::get_point_from_x_unchecked(Fq::from_le_bytes_mod_order(&candidate), candidate[63] & 1 == 1)
        {
            return found;
        }
    }
}
