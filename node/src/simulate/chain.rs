//! The real ledger, block by block, on a state in memory.

use std::collections::BTreeMap;

use assay_chain_spec::{ChainSpec, Params};
use assay_ledger::{
    BlockContext, MemoryState, SignedTransaction, TxResult, execute,
    genesis::genesis,
    least_fee, query,
    records::Chain as ChainRecord,
    tx::{Action, Transaction},
};
use assay_primitives::{AccountId, Hash32, Keypair, Signed};

use super::{SimulationError, population::SUBNET};

/// A chain whose blocks are made when the simulation says so.
pub(super) struct Chain {
    pub(super) genesis: Hash32,
    pub(super) state: MemoryState,
    pub(super) params: Params,
    proposers: Vec<AccountId>,
    /// Transactions for the next block, with the nonces they use up.
    waiting: Vec<SignedTransaction>,
    nonces: BTreeMap<AccountId, u64>,
}

impl Chain {
    pub(super) fn new(spec: &ChainSpec) -> Result<Self, SimulationError> {
        let mut state = MemoryState::default();
        state.apply(&genesis(spec).map_err(|e| SimulationError::Genesis(Box::new(e)))?);
        Ok(Self {
            genesis: spec.genesis_hash(),
            state,
            params: spec.params.clone(),
            proposers: spec.validators.iter().map(|v| v.operator).collect(),
            waiting: Vec::new(),
            nonces: BTreeMap::new(),
        })
    }

    pub(super) fn now(&self) -> Result<ChainRecord, SimulationError> {
        Ok(query::chain(&self.state)?)
    }

    /// Signs an action at the least fee and puts it into the next block.
    pub(super) fn send(&mut self, key: &Keypair, action: Action) -> Result<(), SimulationError> {
        let signer = key.account();
        let used = self.nonces.entry(signer).or_insert(0);
        let nonce = query::account(&self.state, &signer)?.nonce + *used;
        *used += 1;
        let fee = least_fee(&self.params, &action);
        self.waiting.push(Signed::new(Transaction { signer, nonce, fee, action }, &self.genesis, key));
        Ok(())
    }

    /// Executes a block of all that waits and keeps it. What its transactions did is for the caller to judge: an attack's
    /// often fail. In an epoch's last block the books are checked.
    pub(super) fn block(&mut self) -> Result<Vec<TxResult>, SimulationError> {
        let chain = self.now()?;
        let height = chain.height + 1;
        let at = usize::try_from(height).unwrap_or(0) % self.proposers.len();
        let context = BlockContext {
            genesis: self.genesis,
            height,
            time_ms: chain.time_ms + self.params.block_interval_ms,
            proposer: self.proposers[at],
            parent: Hash32::digest(&height.to_le_bytes()),
        };
        let outcome = execute(&self.state, &context, &self.waiting)?;
        self.waiting.clear();
        self.nonces.clear();
        self.state.apply(&outcome.changes);
        self.params = query::params(&self.state)?;
        if height >= chain.epoch_end {
            self.check_books()?;
        }
        Ok(outcome.results)
    }

    /// A block in which every transaction must take effect.
    pub(super) fn sound_block(&mut self) -> Result<(), SimulationError> {
        match self.block()?.into_iter().find_map(|result| result.error) {
            Some(error) => Err(SimulationError::Refused(error)),
            None => Ok(()),
        }
    }

    /// `genesis + minted - burned` is what everybody holds.
    fn check_books(&self) -> Result<(), SimulationError> {
        let supply = query::supply(&self.state)?;
        let held = query::holdings(&self.state)?;
        let parts = [held.balances, held.stakes, held.bonds, held.unbonding, held.deposits];
        let found: u128 = parts.iter().map(|part| u128::from(*part)).sum();
        let expected = u128::from(supply.genesis) + u128::from(supply.minted) - u128::from(supply.burned);
        if expected != found {
            return Err(SimulationError::Books { height: self.now()?.height, expected, found });
        }
        Ok(())
    }

    /// Everything an owner has: free, staked, bonded to its miners, on its way out, and in deposits of open proposals.
    pub(super) fn wealth(&self, owner: &AccountId) -> Result<u64, SimulationError> {
        let view = &self.state;
        let mut sum = query::account(view, owner)?.balance.0;
        sum += query::stake_of(view, owner)?.0;
        sum += query::unbondings_of(view, owner)?.iter().map(|u| u.amount.0).sum::<u64>();
        sum += query::miners(view, SUBNET)?.iter().filter(|m| m.owner == *owner).map(|m| m.bond.0).sum::<u64>();
        let open = query::agenda(view)?.voting;
        for (id, _) in open {
            let proposal = query::proposal(view, id)?.filter(|p| p.proposer == *owner);
            sum += proposal.map_or(0, |p| p.deposit.0);
        }
        Ok(sum)
    }
}
