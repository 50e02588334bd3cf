//! A subnet run epoch by epoch as upstream keeps one: what its scenarios set between epochs, and what it stores.
//!
//! ```text
//! set_weights, set_stake, register, ... ──> run(block): activity, permits, epoch ──> permits and bonds for the next
//! ```
//!
//! The ledger does not use it: it gathers a market's epoch from commitments and reveals. This is for whoever compares
//! with upstream, and for experiments on one machine.

use super::{Input, InputError, Output, Params, Row, epoch, max_upscale, permits};
use fixed::types::I32F32;

/// A subnet between epochs. Before the first one nobody holds a permit: it grants the first.
#[derive(Clone, Debug)]
pub struct Subnet {
    params: Params,
    input: Input,
    tempo: u64,
    activity_cutoff: u64,
    max_validators: u16,
}

/// What a subnet begins with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// What it has settled about rewards.
    pub params: Params,
    /// Stake of each uid, in grain.
    pub stake: Vec<u64>,
    /// Block each uid registered at.
    pub registered: Vec<u64>,
    /// Emission of each epoch, in grain.
    pub emission: u64,
    /// Blocks between epochs, from which each takes when the one before was.
    pub tempo: u64,
    /// For how many blocks a uid stays active after it set weights.
    pub activity_cutoff: u64,
    /// How many hold a permit at most.
    pub max_validators: u16,
}

impl Subnet {
    /// A subnet without weights, permits and bonds.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let n = setup.stake.len();
        let input = Input {
            permit: vec![false; n],
            last_update: vec![0; n],
            registered: setup.registered,
            weights: vec![vec![]; n],
            bonds: vec![vec![]; n],
            emission: setup.emission,
            stake: setup.stake,
            ..Input::default()
        };
        Self {
            params: setup.params,
            input,
            tempo: setup.tempo,
            activity_cutoff: setup.activity_cutoff,
            max_validators: setup.max_validators,
        }
    }

    /// How many uids there are.
    #[must_use]
    pub fn uids(&self) -> usize {
        self.input.stake.len()
    }

    /// What it shares out each epoch, in grain.
    #[must_use]
    pub fn emission(&self) -> u64 {
        self.input.emission
    }

    /// The row of a uid as it is stored: scaled so that its largest weight is 65535.
    #[must_use]
    pub fn weights(&self, uid: u16) -> Row<u16> {
        let row = self.input.weights.get(usize::from(uid)).map_or(&[][..], Vec::as_slice);
        row.iter().map(|(j, weight)| (*j, weight.to_num())).collect() // stored in 16 bits
    }

    /// Sets the weights of a uid at a block, zeros kept. The row is strictly ascending by uid.
    pub fn set_weights(&mut self, uid: u16, block: u64, row: &[(u16, u16)]) {
        let values: Vec<_> = row.iter().map(|(_, w)| I32F32::from_num(*w)).collect();
        let stored = max_upscale(&values).into_iter().map(I32F32::from_num);
        self.input.weights[usize::from(uid)] = row.iter().map(|(j, _)| *j).zip(stored).collect();
        self.input.last_update[usize::from(uid)] = block;
    }

    /// Lets a uid have been registered at a block.
    pub fn set_registered(&mut self, uid: u16, block: u64) {
        self.input.registered[usize::from(uid)] = block;
    }

    /// Sets the stake of a uid, in grain.
    pub fn set_stake(&mut self, uid: u16, stake: u64) {
        self.input.stake[usize::from(uid)] = stake;
    }

    /// Grants or takes the permit of a uid for the next epoch.
    pub fn set_permit(&mut self, uid: u16, permit: bool) {
        self.input.permit[usize::from(uid)] = permit;
    }

    /// Drops all bonds to a miner.
    pub fn clear_bonds_to(&mut self, miner: u16) {
        for row in &mut self.input.bonds {
            row.retain(|(j, _)| *j != miner);
        }
    }

    /// Runs an epoch at a block, and keeps its bonds and permits for the next.
    ///
    /// # Errors
    ///
    /// [`InputError`] if the setup or a row of weights is malformed.
    pub fn run(&mut self, block: u64) -> Result<Output, InputError> {
        let recent = |updated: &u64| updated.saturating_add(self.activity_cutoff) >= block;
        self.input.active = self.input.last_update.iter().map(recent).collect();
        self.input.new_permit = permits(&self.input.stake, self.max_validators);
        self.input.last_epoch = block.saturating_sub(self.tempo);
        let output = epoch(&self.params, &self.input)?;
        self.input.permit.clone_from(&self.input.new_permit);
        self.input.bonds.clone_from(&output.bonds);
        Ok(output)
    }
}
