//! Integers and hashes as elements of the scalar field of Vesta.

use halo2_proofs::pasta::{
    Fp,
    group::ff::{FromUniformBytes, PrimeField},
};

/// A signed integer.
pub(super) fn field(value: i128) -> Fp {
    let magnitude = Fp::from_u128(value.unsigned_abs());
    if value < 0 { -magnitude } else { magnitude }
}

/// The integer of smallest magnitude, where it is under 2^120.
pub(super) fn integer(value: Fp) -> Option<i128> {
    let small = |v: Fp| {
        let bytes = v.to_repr();
        let (low, high) = bytes.split_at(15);
        let mut magnitude = [0u8; 16];
        magnitude[..15].copy_from_slice(low);
        high.iter().all(|&b| b == 0).then(|| i128::from_le_bytes(magnitude))
    };
    small(value).or_else(|| small(-value).map(|v| -v))
}

/// A hash as a uniform element.
pub(super) fn uniform(hasher: &blake3::Hasher) -> Fp {
    let mut wide = [0u8; 64];
    hasher.finalize_xof().fill(&mut wide);
    Fp::from_uniform_bytes(&wide)
}

/// The binding's digest as two elements of 128 bits, low half first.
pub(super) fn digest_halves(digest: &[u8; 32]) -> [Fp; 2] {
    let mut halves = [[0u8; 16]; 2];
    halves[0].copy_from_slice(&digest[..16]);
    halves[1].copy_from_slice(&digest[16..]);
    halves.map(|half| Fp::from_u128(u128::from_le_bytes(half)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn integers_come_back() {
        for v in [0, 1, -1, i128::from(i64::MAX), i128::from(i64::MIN), -(1 << 119)] {
            assert_eq!(integer(field(v)), Some(v));
        }
        assert_eq!(integer(field(1 << 121)), None);
    }
}
