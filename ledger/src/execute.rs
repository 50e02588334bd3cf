//! A block on a state: start of block, transactions, end of block.
//!
//! Each family of actions has a file below.

mod evidence;
mod governance;
mod jail;
mod judgement;
mod money;
mod price;
mod redelegation;
mod registry;
mod scores;
mod slashing;
mod stake;
mod usage;
mod work;

use assay_chain_spec::Params;
use assay_primitives::{AccountId, Amount, Hash32, ValidatorSet};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::Serialize;

pub use evidence::OPEN_CHALLENGES_PER_EPOCH;
pub use governance::{MAX_OPEN_PROPOSALS, MAX_UPGRADE_AHEAD, Standing, place, standing};
pub use registry::MAX_SUBNET_MODELS;
pub use usage::MAX_BILLS;
pub use work::{MAX_ANSWERS_PER_BLOCK, MAX_PROOFS_PER_BLOCK, MAX_REPLAYS_PER_BLOCK, WORK_BUDGET, least_fee};

pub(crate) use governance::words;
pub(crate) use jail::jail_absent;
pub(crate) use money::{burn, credit, mint};
pub(crate) use price::decay_prices;
pub(crate) use redelegation::forget_moved;
pub(crate) use registry::write_model;
pub(crate) use stake::{add as add_stake, release};

use crate::{
    ActionError, BlockError, Changes, Event, Refusal, SignedTransaction, StateRead, StoreError, audit, keys,
    overlay::Overlay,
    query,
    records::Role,
    settle,
    tx::{Action, Transaction},
};

/// How many times an action's least fee its operator may spend of its owner's money: a stolen operator key, which lies on a
/// machine that serves strangers, must not burn what the owner has.
const MOST_OPERATOR_FEE: u64 = 100;
/// Candidates in a row that may not stand before a proposer gives up looking.
const MOST_REFUSALS: u32 = 10_000;
/// With fewer bytes left than this a block is full: no transaction is smaller.
const SMALLEST_TRANSACTION: u64 = 120;

/// What the engine knows of the block that is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockContext {
    /// The chain.
    pub genesis: Hash32,
    /// Its height; one above the state's.
    pub height: u64,
    /// Milliseconds since the Unix epoch. The engine has checked that it lies above the parent's.
    pub time_ms: u64,
    /// The operator account of the proposer.
    pub proposer: AccountId,
    /// The parent's block id.
    pub parent: Hash32,
}

/// What became of one transaction.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct TxResult {
    /// Its id.
    pub id: Hash32,
    /// Whether its action took place.
    pub ok: bool,
    /// Why not, in words.
    pub error: Option<String>,
    /// The fee burned.
    pub fee: Amount,
}

/// What a block does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockOutcome {
    /// Writes to the state.
    pub changes: Changes,
    /// One for each transaction, in order.
    pub results: Vec<TxResult>,
    /// The set that votes on the next height.
    pub next_validators: ValidatorSet,
    /// What happened beside.
    pub events: Vec<Event>,
}

/// What an action knows beside the state.
pub(crate) struct Env<'a> {
    pub(crate) block: &'a BlockContext,
    pub(crate) params: &'a Params,
    /// The epoch of this block.
    pub(crate) epoch: u64,
}

/// Executes a block on the state of its parent.
///
/// # Errors
/// [`BlockError`]: a transaction that may not stand in the block, too many bytes, or a failing store.
pub fn execute(
    view: &dyn StateRead,
    ctx: &BlockContext,
    txs: &[SignedTransaction],
) -> Result<BlockOutcome, BlockError> {
    let mut open = Open::start(view, ctx)?;
    let found = txs.iter().try_fold(4u64, |sum, tx| sum.checked_add(encoded_len(tx))).unwrap_or(u64::MAX);
    if found > open.params.max_block_bytes {
        return Err(BlockError::TooLarge { limit: open.params.max_block_bytes, found });
    }
    for (index, tx) in (0u64..).zip(txs) {
        open.transaction(tx, encoded_len(tx)).map_err(|refusal| match refusal {
            Refusal::Store(error) => BlockError::Store(error),
            refusal => BlockError::Transaction { index, id: tx.id(&ctx.genesis), refusal },
        })?;
    }
    Ok(open.finish()?)
}

/// Where a proposer's transactions come from. Asked one by one, so that what may not stand takes nobody's place.
pub trait Candidates {
    /// The next transaction to try.
    fn next(&mut self) -> Option<SignedTransaction>;

    /// The last one from this signer did not stand: its later ones cannot either.
    fn pass_over(&mut self, signer: &AccountId);
}

impl<I: Iterator<Item = SignedTransaction>> Candidates for I {
    fn next(&mut self) -> Option<SignedTransaction> {
        Iterator::next(self)
    }

    fn pass_over(&mut self, _: &AccountId) {}
}

/// Builds a block from candidates in their order, leaving out what may not stand in it. At most `max_bytes` of encoded
/// transactions, and never more than the parameter `max_block_bytes`. Asks for candidates until there are none, the block
/// is full, or 10,000 in a row may not stand.
///
/// # Errors
/// [`StoreError`] only; a bad candidate is left out.
pub fn build(
    view: &dyn StateRead,
    ctx: &BlockContext,
    candidates: &mut dyn Candidates,
    max_bytes: usize,
) -> Result<(Vec<SignedTransaction>, BlockOutcome), StoreError> {
    let mut open = Open::start(view, ctx)?;
    let limit = open.params.max_block_bytes.min(max_bytes as u64);
    let mut size = 4u64; // the list's own length
    let mut chosen = Vec::new();
    let mut refusals = 0;
    while refusals < MOST_REFUSALS && limit.saturating_sub(size) >= SMALLEST_TRANSACTION {
        let Some(tx) = candidates.next() else { break };
        let len = encoded_len(&tx);
        let stood = match size.checked_add(len).is_some_and(|sum| sum <= limit) {
            true => open.transaction(&tx, len),
            false => Err(Refusal::TooLarge { limit: limit.saturating_sub(size), found: len }),
        };
        match stood {
            Ok(()) => {
                refusals = 0;
                size += len;
                chosen.push(tx);
            }
            Err(Refusal::Store(error)) => return Err(error),
            Err(_) => {
                refusals += 1;
                candidates.pass_over(&tx.body.signer);
            }
        }
    }
    Ok((chosen, open.finish()?))
}

/// Says whether a transaction may wait for a block: signed for this chain, next in its signer's order after
/// `pending_nonces` others that wait already, small enough, and with a fee its payer can pay now.
///
/// # Errors
/// [`Refusal`], to be shown to the sender.
pub fn admit(
    view: &dyn StateRead,
    genesis: &Hash32,
    tx: &SignedTransaction,
    encoded_len: usize,
    pending_nonces: u64,
) -> Result<(), Refusal> {
    stands(view, &query::params(view)?, genesis, tx, encoded_len as u64, pending_nonces).map(|_| ())
}

/// The last height at which the ledger still takes what it waits for from its signer: an answer to an open challenge, a
/// judgement of a challenged text, scores that can be committed or revealed now, the first vote of an account with stake on an
/// open proposal, or votes that convict a validator. `None` for anything else. Proposers do well to put these first: each can be
/// taken once, so that nobody crowds the others out with them.
///
/// # Errors
/// [`StoreError`].
pub fn awaited_until(view: &dyn StateRead, genesis: &Hash32, tx: &Transaction) -> Result<Option<u64>, StoreError> {
    let found = match &tx.action {
        Action::Answer { challenge, .. } => {
            // A challenge is long to read. Others than miners are refused without.
            let role = query::operator(view, &tx.signer)?.map(|operator| operator.role);
            if !matches!(role, Some(Role::Miner(_))) {
                return Ok(None);
            }
            evidence::may_answer(view, tx.signer, challenge).map(|waiting| waiting.deadline)
        }
        Action::Judge { challenge, .. } => {
            if query::validator(view, &tx.signer)?.is_none() {
                return Ok(None);
            }
            judgement::may_judge(view, tx.signer, challenge).map(|open| open.deadline)
        }
        Action::CommitScores { subnet, epoch, .. } => {
            let chain = query::chain(view)?;
            scores::may_commit(view, chain.epoch, tx.signer, *subnet, *epoch).map(|()| chain.epoch_end)
        }
        Action::RevealScores { sheet, .. } => {
            let chain = query::chain(view)?;
            scores::may_reveal(view, genesis, chain.epoch, tx.signer, sheet).map(|()| chain.epoch_end)
        }
        Action::DoubleSign { first, second } => {
            let (chain, params) = (query::chain(view)?, query::params(view)?);
            let at = (&params, chain.epoch, chain.height + 1);
            slashing::convicted(view, genesis, at, (first, second)).map(|_| u64::MAX)
        }
        Action::Vote { proposal, ballot } => {
            // Votes can be changed as often as one pays for it.
            if query::vote(view, *proposal, &tx.signer)?.is_some() {
                return Ok(None);
            }
            let next = query::chain(view)?.height + 1;
            governance::may_vote(view, next, tx.signer, *proposal, *ballot).map(|(open, _)| open.voting_end)
        }
        _ => return Ok(None),
    };
    match found {
        Ok(deadline) => Ok(Some(deadline)),
        Err(ActionError::Store(error)) => Err(error),
        Err(_) => Ok(None),
    }
}

fn encoded_len(tx: &SignedTransaction) -> u64 {
    borsh::object_length(tx).map_or(u64::MAX, |len| len as u64)
}

/// The checks that keep a transaction out of a block. Returns who pays its fee.
fn stands(
    view: &dyn StateRead,
    params: &Params,
    genesis: &Hash32,
    tx: &SignedTransaction,
    len: u64,
    pending: u64,
) -> Result<AccountId, Refusal> {
    let Transaction { signer, nonce, fee, action } = &tx.body;
    if len > params.max_tx_bytes {
        return Err(Refusal::TooLarge { limit: params.max_tx_bytes, found: len });
    }
    let least = least_fee(params, action);
    if *fee < least {
        return Err(Refusal::Fee { least, found: *fee });
    }
    let expected = query::account(view, signer)?.nonce.saturating_add(pending);
    if *nonce != expected || *nonce == u64::MAX {
        return Err(Refusal::Nonce { signer: *signer, expected, found: *nonce });
    }
    let payer = query::operator(view, signer)?.map_or(*signer, |operator| operator.owner);
    let most = Amount(least.0.saturating_mul(MOST_OPERATOR_FEE));
    if payer != *signer && *fee > most {
        return Err(Refusal::OperatorFee { most, found: *fee });
    }
    let found = query::account(view, &payer)?.balance;
    if found < *fee {
        return Err(Refusal::Funds { payer, needed: *fee, found });
    }
    tx.verify(genesis)?;
    Ok(payer)
}

/// A block in the making.
struct Open<'a> {
    ctx: &'a BlockContext,
    state: Overlay<'a>,
    params: Params,
    epoch: u64,
    room: work::Room,
    results: Vec<TxResult>,
}

impl<'a> Open<'a> {
    /// What happens before the transactions: due votes are counted, passed proposals executed, silent miners slashed.
    fn start(view: &'a dyn StateRead, ctx: &'a BlockContext) -> Result<Self, StoreError> {
        let mut state = Overlay::new(view);
        let mut chain = query::chain(&state)?;
        if chain.height.checked_add(1) != Some(ctx.height) {
            return Err(StoreError::Height { state: chain.height, block: ctx.height });
        }
        chain.height = ctx.height;
        chain.time_ms = ctx.time_ms;
        state.write(keys::chain(), &chain);
        state.write(keys::set_current(), &query::next_validator_set(view)?);
        audit::open(&mut state, ctx, &chain);

        governance::upgrade_due(&mut state, ctx.height)?;
        governance::count_due(&mut state, ctx.height)?;
        governance::execute_due(&mut state, ctx.height)?;
        let params = query::params(&state)?;
        evidence::expire_challenges(&mut state, &Env { block: ctx, params: &params, epoch: chain.epoch })?;
        Ok(Self { ctx, state, params, epoch: chain.epoch, room: work::Room::default(), results: Vec::new() })
    }

    fn transaction(&mut self, tx: &SignedTransaction, len: u64) -> Result<(), Refusal> {
        let payer = stands(&self.state, &self.params, &self.ctx.genesis, tx, len, 0)?;
        let env = Env { block: self.ctx, params: &self.params, epoch: self.epoch };
        if let Some(work) = work::Work::of(&tx.body.action)
            && let Some(cost) = work::cost(&self.state, &env, &payer, &tx.body)?
        {
            self.room.take(work, cost)?;
        }
        money::take_fee(&mut self.state, &payer, &tx.body)?;

        let mut overlay = Overlay::new(&self.state);
        let done = act(&mut overlay, &env, &tx.body);
        let parts = overlay.into_parts();
        let error = match done {
            Ok(()) => {
                self.state.merge(parts);
                None
            }
            Err(ActionError::Store(error)) => return Err(error.into()),
            Err(error) => Some(error.to_string()),
        };
        let id = tx.id(&self.ctx.genesis);
        self.results.push(TxResult { id, ok: error.is_none(), error, fee: tx.body.fee });
        Ok(())
    }

    /// What happens after the transactions: snapshots are taken, and in an epoch's last block the epoch ends.
    fn finish(mut self) -> Result<BlockOutcome, StoreError> {
        governance::fix_eligible(&mut self.state, self.ctx.height)?;
        let chain = query::chain(&self.state)?;
        if self.ctx.height >= chain.epoch_end {
            let env = Env { block: self.ctx, params: &self.params, epoch: self.epoch };
            settle::end_epoch(&mut self.state, &env)?;
        }
        let next_validators = query::next_validator_set(&self.state)?;
        let (changes, events) = self.state.into_effects()?;
        Ok(BlockOutcome { changes, results: self.results, next_validators, events })
    }
}

fn act(state: &mut Overlay<'_>, env: &Env<'_>, tx: &Transaction) -> Result<(), ActionError> {
    let signer = tx.signer;
    match &tx.action {
        Action::Transfer { to, amount } => money::transfer(state, signer, *to, *amount),
        Action::Stake { validator, amount } => stake::stake(state, env, signer, *validator, *amount),
        Action::Unstake { validator, amount } => stake::unstake(state, env, signer, *validator, *amount),
        Action::Redelegate { from, to, amount } => redelegation::redelegate(state, env, signer, (*from, *to), *amount),
        Action::RegisterValidator { operator, consent, stake, take, endpoint } => {
            let registration = registry::Registration { owner: signer, operator: *operator, consent, endpoint };
            registry::register_validator(state, env, registration, *stake, *take)
        }
        Action::Unjail { validator } => jail::unjail(state, env, signer, *validator),
        Action::RegisterMiner { subnet, most, operator, consent, endpoint } => {
            let registration = registry::Registration { owner: signer, operator: *operator, consent, endpoint };
            registry::register_miner(state, env, registration, *subnet, *most)
        }
        Action::RetireMiner { operator } => registry::retire_miner(state, env, signer, *operator),
        Action::SetEndpoint { operator, endpoint } => registry::set_endpoint(state, signer, *operator, endpoint),
        Action::RegisterModel { subnet, name, bytes } => {
            registry::register_model(state, env, signer, *subnet, name, bytes)
        }
        Action::CommitScores { subnet, epoch, commitment } => {
            scores::commit(state, env, signer, *subnet, *epoch, *commitment)
        }
        Action::RevealScores { sheet, exhibits } => scores::reveal(state, env, signer, sheet, exhibits),
        Action::Refute { request, response, proof } => {
            evidence::refute(state, env, request, response, proof.as_deref())
        }
        Action::Challenge { request, response } => evidence::challenge(state, env, signer, request, response),
        Action::Answer { challenge, proof } => evidence::answer(state, env, signer, challenge, proof),
        Action::Judge { challenge, holds } => judgement::judge(state, env, signer, challenge, *holds),
        Action::DoubleSign { first, second } => slashing::double_sign(state, env, first, second),
        Action::Propose { title, text, kind, urgent } => {
            governance::propose(state, env, signer, (title, text), kind, *urgent)
        }
        Action::Vote { proposal, ballot } => governance::vote(state, env, signer, *proposal, *ballot),
        Action::DelegateVote { to } => governance::delegate(state, env, signer, *to),
        Action::SetTariff { operator, tariff } => usage::set_tariff(state, env, signer, *operator, *tariff),
        Action::PayUsage { bills } => usage::pay(state, signer, bills),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
