//! What blinds a model's commitment: drawn from its salt, so that who holds the model finds the same again.

use std::convert::Infallible;

use rand::TryRng;

const DOMAIN: &str = "assay/sumcheck-hiding-blinds/1";

/// Bytes that are made at once.
const BLOCK: usize = 4096;

/// BLAKE3's output over salt and weights. Both: equal blinds of two lists of weights would show their difference.
pub(super) struct Blinds {
    stream: blake3::OutputReader,
    block: Box<[u8; BLOCK]>,
    used: usize,
}

impl Blinds {
    pub(super) fn new(salt: &[u8; 32], weights: &[Vec<i64>]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(DOMAIN);
        hasher.update(salt);
        for tensor in weights {
            hasher.update(&(tensor.len() as u64).to_le_bytes());
            let bytes: Vec<u8> = tensor.iter().flat_map(|weight| weight.to_le_bytes()).collect();
            hasher.update(&bytes);
        }
        Self { stream: hasher.finalize_xof(), block: Box::new([0; BLOCK]), used: BLOCK }
    }
}

impl TryRng for Blinds {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, mut wanted: &mut [u8]) -> Result<(), Infallible> {
        while !wanted.is_empty() {
            if self.used == BLOCK {
                self.stream.fill(&mut self.block[..]);
                self.used = 0;
            }
            let count = wanted.len().min(BLOCK - self.used);
            let (now, later) = wanted.split_at_mut(count);
            now.copy_from_slice(&self.block[self.used..self.used + count]);
            self.used += count;
            wanted = later;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rand::Rng;

    use super::*;

    #[test]
    fn blinds_are_one_stream_that_salt_and_weights_decide() {
        let mut whole = vec![0; 3 * BLOCK];
        Blinds::new(&[1; 32], &[vec![5]]).fill_bytes(&mut whole);
        let mut pieces = Blinds::new(&[1; 32], &[vec![5]]);
        for piece in whole.chunks(1001) {
            let mut found = vec![0; piece.len()];
            pieces.fill_bytes(&mut found);
            assert_eq!(found, piece);
        }
        for (salt, weights) in [(2, vec![vec![5]]), (1, vec![vec![6]]), (1, vec![vec![5], vec![]])] {
            let mut other = vec![0; 64];
            Blinds::new(&[salt; 32], &weights).fill_bytes(&mut other);
            assert_ne!(other, whole[..64]);
        }
    }
}
