//! The real ledger, block by block, on a state in memory.

use std::collections::BTreeMap;

use assay_chain_spec::{ChainSpec, Params};
use assay_ledger::{
    BlockContext, BlockOutcome, MemoryState, SignedTransaction, TxResult, build, execute,
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

    /// Signs an action at the least fee and puts it into the next block. Gives the transaction's id.
    pub(super) fn send(&mut self, key: &Keypair, action: Action) -> Result<Hash32, SimulationError> {
        let signer = key.account();
        let used = self.nonces.entry(signer).or_insert(0);
        let nonce = query::account(&self.state, &signer)?.nonce + *used;
        *used += 1;
        let fee = least_fee(&self.params, &action);
        let tx = Signed::new(Transaction { signer, nonce, fee, action }, &self.genesis, key);
        let id = tx.id(&self.genesis);
        self.waiting.push(tx);
        Ok(id)
    }

    /// A block of what waits, as a proposer builds it: what finds no room in it is forgotten. What its transactions did is
    /// for the caller to judge: an attack's often fail.
    pub(super) fn block(&mut self) -> Result<Vec<TxResult>, SimulationError> {
        let (context, chain) = self.context()?;
        let mut waiting = std::mem::take(&mut self.waiting).into_iter();
        let (_, outcome) = build(&self.state, &context, &mut waiting, usize::MAX)?;
        self.keep(&chain, outcome)
    }

    /// A block in which every transaction must stand and take effect.
    pub(super) fn sound_block(&mut self) -> Result<(), SimulationError> {
        let (context, chain) = self.context()?;
        let waiting = std::mem::take(&mut self.waiting);
        let outcome = execute(&self.state, &context, &waiting)?;
        match self.keep(&chain, outcome)?.into_iter().find_map(|result| result.error) {
            Some(error) => Err(SimulationError::Refused(error)),
            None => Ok(()),
        }
    }

    /// What the next block is, and the chain before it.
    fn context(&self) -> Result<(BlockContext, ChainRecord), SimulationError> {
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
        Ok((context, chain))
    }

    /// Keeps a block; after an epoch's last one the books are checked.
    fn keep(&mut self, before: &ChainRecord, outcome: BlockOutcome) -> Result<Vec<TxResult>, SimulationError> {
        self.nonces.clear();
        self.state.apply(&outcome.changes);
        self.params = query::params(&self.state)?;
        if before.height + 1 >= before.epoch_end {
            self.check_books()?;
        }
        Ok(outcome.results)
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
