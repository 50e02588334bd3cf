//! Two votes in one round: some peers are told of a block, the others of nothing, or of a block that nobody has.

use assay_consensus::bft::simulation::{Parcel, Said};
use assay_primitives::{Hash32, Keypair, Signed, VoteContent};
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use super::{Sent, Vice};

/// The vice.
pub(super) struct Equivocation {
    pub(super) random: ChaCha8Rng,
    pub(super) key: Keypair,
    pub(super) genesis: Hash32,
}

impl Equivocation {
    fn other(&mut self, vote: &VoteContent) -> Option<Parcel> {
        let block = match vote.block {
            Some(_) if self.random.gen_bool(0.7) => None,
            _ => Some(Hash32(self.random.r#gen())),
        };
        let vote = Signed::new(VoteContent { block, ..vote.clone() }, &self.genesis, &self.key);
        Parcel::saying(Said::Vote(vote)).ok()
    }
}

impl Vice for Equivocation {
    fn name(&self) -> &'static str {
        "equivocation"
    }

    fn send(&mut self, to: Option<u8>, parcel: Parcel, peers: &[u8]) -> Vec<Sent> {
        let Some(Said::Vote(vote)) = parcel.said() else { return vec![(to, parcel)] };
        let Some(other) = self.other(&vote.body).filter(|_| self.random.gen_bool(0.5)) else {
            return vec![(to, parcel)];
        };
        peers
            .iter()
            .map(|peer| (Some(*peer), if self.random.gen_bool(0.5) { other.clone() } else { parcel.clone() }))
            .collect()
    }
}
