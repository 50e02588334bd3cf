//! Chance that repeats: every draw has a name and numbers of its own, so that what one party draws never shifts what
//! another does, and an attack meets the very world that honest play met.

use assay_primitives::Hash32;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// All chance of one run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draw(u64);

impl Draw {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The bytes of a secret, named and numbered.
    pub(super) fn secret(self, what: &str, numbers: [u64; 3]) -> [u8; 32] {
        let mut bytes = self.0.to_le_bytes().to_vec();
        numbers.iter().for_each(|n| bytes.extend_from_slice(&n.to_le_bytes()));
        bytes.extend_from_slice(what.as_bytes());
        Hash32::digest(&bytes).0
    }

    /// A stream of its own for each name and numbers.
    pub(super) fn stream(self, what: &str, numbers: [u64; 3]) -> ChaCha8Rng {
        ChaCha8Rng::from_seed(self.secret(what, numbers))
    }
}

/// Even in 0..1.
pub(super) fn unit(stream: &mut ChaCha8Rng) -> f64 {
    stream.gen_range(0.0..1.0)
}

/// Nearly normal with mean 0 and deviation 1, by additions alone, so that every machine draws the same.
pub(super) fn bell(stream: &mut ChaCha8Rng) -> f64 {
    (0..12).map(|_| unit(stream)).sum::<f64>() - 6.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_its_numbers_always_draw_the_same_and_others_draw_otherwise() {
        let first = |draw: Draw, what, n| unit(&mut draw.stream(what, [n, 0, 0]));
        let draw = Draw::new(7);
        assert_eq!(first(draw, "a", 1), first(draw, "a", 1));
        let others = [first(draw, "b", 1), first(draw, "a", 2), first(Draw::new(8), "a", 1)];
        assert!(others.iter().all(|x| *x != first(draw, "a", 1)));
        let mut stream = draw.stream("bell", [0; 3]);
        let mean = (0..1000).map(|_| bell(&mut stream)).sum::<f64>() / 1000.0;
        assert!(mean.abs() < 0.1, "{mean}");
    }
}
