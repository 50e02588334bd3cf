//! Bytes that are nothing, and damaged copies of real messages, among the real ones.

use assay_consensus::bft::simulation::{Kind, Parcel};
use rand::{Rng as _, RngCore as _};
use rand_chacha::ChaCha8Rng;

use super::{Sent, Vice};

/// The longest run of random bytes.
const LONGEST: usize = 100_000;

/// The vice.
pub(super) struct Junk {
    pub(super) random: ChaCha8Rng,
}

/// A copy with a byte changed, or with its end missing.
pub(super) fn damaged(parcel: &Parcel, random: &mut ChaCha8Rng) -> Parcel {
    let mut bytes = parcel.bytes.to_vec();
    if !bytes.is_empty() {
        let at = random.gen_range(0..bytes.len());
        match random.gen_bool(0.8) {
            true => bytes[at] ^= 1 << random.gen_range(0..8),
            false => bytes.truncate(at),
        }
    }
    Parcel { bytes: bytes.into(), ..parcel.clone() }
}

impl Vice for Junk {
    fn name(&self) -> &'static str {
        "junk"
    }

    fn send(&mut self, to: Option<u8>, parcel: Parcel, _: &[u8]) -> Vec<Sent> {
        let mut sent = vec![(to, damaged(&parcel, &mut self.random))];
        if self.random.gen_bool(0.1) {
            let longest = if self.random.gen_bool(0.1) { LONGEST } else { 300 };
            let mut bytes = vec![0; self.random.gen_range(0..longest)];
            self.random.fill_bytes(&mut bytes);
            let kinds =
                [Kind::Consensus, Kind::Liveness, Kind::Part, Kind::Status, Kind::Request(1), Kind::Response(1)];
            let kind = kinds[self.random.gen_range(0..kinds.len())];
            sent.push((None, Parcel { kind, bytes: bytes.into() }));
        }
        sent.push((to, parcel));
        sent
    }
}
