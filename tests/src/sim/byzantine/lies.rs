//! A liar to those who catch up: it claims heights that nobody has, and serves blocks that are damaged, late or missing.

use assay_consensus::bft::simulation::{Kind, Parcel};
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use super::{Sent, Vice, junk::damaged};

/// The vice.
pub(super) struct Lies {
    pub(super) random: ChaCha8Rng,
}

impl Vice for Lies {
    fn name(&self) -> &'static str {
        "lies"
    }

    fn send(&mut self, to: Option<u8>, parcel: Parcel, _: &[u8]) -> Vec<Sent> {
        match parcel.kind {
            Kind::Status => {
                let claimed = parcel.claiming(self.random.gen_range(1..200)).unwrap_or(parcel);
                vec![(to, claimed)]
            }
            Kind::Response(_) => match self.random.gen_range(0..3) {
                0 => Vec::new(),
                1 => vec![(to, damaged(&parcel, &mut self.random))],
                _ => vec![(to, parcel)],
            },
            _ => vec![(to, parcel)],
        }
    }
}
