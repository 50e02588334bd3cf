//! What some peers never get: parts of blocks most of all.

use assay_consensus::bft::simulation::{Kind, Parcel};
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use super::{Sent, Vice};

/// The vice.
pub(super) struct Withholding {
    pub(super) random: ChaCha8Rng,
}

impl Vice for Withholding {
    fn name(&self) -> &'static str {
        "withholding"
    }

    fn send(&mut self, to: Option<u8>, parcel: Parcel, peers: &[u8]) -> Vec<Sent> {
        let told = if parcel.kind == Kind::Part { 0.5 } else { 0.7 };
        let peers = peers.iter().copied().filter(|peer| to.is_none_or(|to| to == *peer));
        let peers: Vec<u8> = peers.filter(|_| self.random.gen_bool(told)).collect();
        peers.into_iter().map(|peer| (Some(peer), parcel.clone())).collect()
    }
}
