//! Validators that do what they like: one node of a run runs the honest program, and something between it and the world
//! changes what leaves it.
//!
//! | vice | what it does |
//! |---|---|
//! | [`equivocation`] | tells some peers another vote than the others |
//! | [`blocks`] | proposes blocks with a wrong state root, a repeated, a forged or an impossible transaction, and blocks that are too large |
//! | [`junk`] | sends bytes that are nothing, and damaged copies of its own messages |
//! | [`withholding`] | keeps parts, proposals and votes from some peers |
//! | [`lies`] | claims heights that it does not have, and serves damaged blocks to those who catch up |
//! | [`amnesia`] | forgets its log and its watermark whenever it fails |
//! | [`accusations`] | sends evidence without end: against itself, and against nobody |
//! | twins | its key runs on two machines |
//!
//! With less than a third of the power among them all invariants hold, and once all is healed the others go on.

mod accusations;
mod amnesia;
mod blocks;
mod equivocation;
mod junk;
mod lies;
mod withholding;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use assay_consensus::bft::simulation::Parcel;
use assay_ledger::tx::Action;
use assay_primitives::{AccountId, Hash32, Keypair};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// A message and its receiver; none for all.
pub(super) type Sent = (Option<u8>, Parcel);

/// Something between a node and the world.
pub(super) trait Vice: Send {
    /// Its name, in reports.
    fn name(&self) -> &'static str;

    /// What leaves the machine in place of a message to one of the peers, or to all.
    fn send(&mut self, to: Option<u8>, parcel: Parcel, _peers: &[u8]) -> Vec<Sent> {
        vec![(to, parcel)]
    }

    /// What is proposed in place of an encoded block.
    fn propose(&mut self, block: Vec<u8>) -> Vec<u8> {
        block
    }

    /// What it sends through its own node, whose last block has this height.
    fn submit(&mut self, _height: u64) -> Vec<Action> {
        Vec::new()
    }

    /// Whether a failure of the machine loses what only kept it from contradicting itself.
    fn forgets(&self) -> bool {
        false
    }
}

/// A vice that its machine's parts share.
pub(super) type Shared = Arc<Mutex<Box<dyn Vice>>>;

/// Locks a vice.
pub(super) fn lock(vice: &Shared) -> MutexGuard<'_, Box<dyn Vice>> {
    vice.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is wrong with a network.
pub(super) enum Evil {
    /// Nothing: machines and links fail, but nobody lies.
    None,
    /// The last validator has a vice.
    Vice(Box<dyn Vice>),
    /// The last validator's key runs on one machine more.
    Twins,
}

impl Evil {
    /// What a seed makes of a network: in half of all runs nothing. `victim` is an honest validator.
    pub(super) fn draw(seed: u64, key: Keypair, victim: AccountId, genesis: Hash32) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let kind = random.gen_range(0..16);
        Self::Vice(match kind {
            0 => Box::new(equivocation::Equivocation { random, key, genesis }),
            1 => Box::new(blocks::Blocks { random, genesis }),
            2 => Box::new(junk::Junk { random }),
            3 => Box::new(withholding::Withholding { random }),
            4 => Box::new(lies::Lies { random }),
            5 => Box::new(amnesia::Amnesia),
            6 => Box::new(accusations::Accusations { random, key, genesis, victim, last: None }),
            7 => return Self::Twins,
            _ => return Self::None,
        })
    }

    /// Its name, in reports.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Vice(vice) => vice.name(),
            Self::Twins => "twins",
        }
    }
}
