//! Typed reads of the state, for the RPC, the roles and the rules themselves.
//!
//! Every function takes any [`StateRead`]; a list ascends by key. An absent account is an empty one.

use assay_chain_spec::Params;
use assay_primitives::{AccountId, Amount, Hash32, ModelId, ValidatorSet, task::SubnetId};
use borsh::BorshDeserialize;

use crate::{
    keys::{self, all, last_account, last_hash, last_number},
    records::{
        Account, AccountStake, Agenda, AppVersion, Asking, Chain, Challenge, Commitment, EpochReport, Holdings,
        MinerRecord, ModelRecord, Operator, Proposal, ProposalStatus, Redelegation, Reveal, Slash, SubnetRecord,
        Supply, Unbonding, ValidatorRecord, VoteDelegation, VoteRecord,
    },
    state::{StateRead, StoreError, decode, read},
};

type Result<T> = std::result::Result<T, StoreError>;

fn must<T: BorshDeserialize>(view: &dyn StateRead, what: &'static str, key: &[u8]) -> Result<T> {
    read(view, what, key)?.ok_or(StoreError::Missing { what })
}

fn list<T: BorshDeserialize>(view: &dyn StateRead, what: &'static str, prefix: &[u8]) -> Result<Vec<T>> {
    view.scan(prefix)?.into_iter().map(|(key, value)| decode(what, &key, &value)).collect()
}

fn keyed<K, T: BorshDeserialize>(
    view: &dyn StateRead,
    what: &'static str,
    prefix: &[u8],
    field: impl Fn(&[u8]) -> Option<K>,
) -> Result<Vec<(K, T)>> {
    let entry = |(key, value): (Vec<u8>, Vec<u8>)| {
        let field = field(&key).ok_or(StoreError::Missing { what })?;
        Ok((field, decode(what, &key, &value)?))
    };
    view.scan(prefix)?.into_iter().map(entry).collect()
}

/// The chain's counters.
pub fn chain(view: &dyn StateRead) -> Result<Chain> {
    must(view, "chain record", &keys::chain())
}

/// The parameters in force.
pub fn params(view: &dyn StateRead) -> Result<Params> {
    must(view, "parameters", &keys::params())
}

/// The supply.
pub fn supply(view: &dyn StateRead) -> Result<Supply> {
    must(view, "supply", &keys::supply())
}

/// Open proposals.
pub fn agenda(view: &dyn StateRead) -> Result<Agenda> {
    must(view, "agenda", &keys::agenda())
}

/// Sums over everything held. Reads the whole state: for checks, not for every request.
pub fn holdings(view: &dyn StateRead) -> Result<Holdings> {
    fn sum(mut amounts: impl Iterator<Item = u64>) -> Result<u64> {
        amounts.try_fold(0, u64::checked_add).ok_or(StoreError::Books("a sum of holdings does not fit 64 bits"))
    }
    let accounts: Vec<Account> = list(view, "account", all::ACCOUNTS)?;
    let stakes: Vec<Amount> = list(view, "delegation", all::DELEGATIONS)?;
    let miners: Vec<MinerRecord> = list(view, "miner", all::MINERS)?;
    let open = proposals(view)?.into_iter().filter(|p| p.status == ProposalStatus::Voting);
    Ok(Holdings {
        balances: sum(accounts.iter().map(|a| a.balance.0))?,
        stakes: sum(stakes.iter().map(|a| a.0))?,
        bonds: sum(miners.iter().map(|m| m.bond.0))?,
        unbonding: sum(unbondings(view)?.iter().map(|u| u.amount.0))?,
        deposits: sum(open.map(|p| p.deposit.0))?,
    })
}

/// An account; empty if it was never paid.
pub fn account(view: &dyn StateRead, id: &AccountId) -> Result<Account> {
    Ok(read(view, "account", &keys::account(id))?.unwrap_or_default())
}

/// The role of an operator key.
pub fn operator(view: &dyn StateRead, id: &AccountId) -> Result<Option<Operator>> {
    read(view, "operator", &keys::operator(id))
}

/// A validator, by its operator account.
pub fn validator(view: &dyn StateRead, id: &AccountId) -> Result<Option<ValidatorRecord>> {
    read(view, "validator", &keys::validator(id))
}

/// All validators ever registered.
pub fn validators(view: &dyn StateRead) -> Result<Vec<ValidatorRecord>> {
    list(view, "validator", all::VALIDATORS)
}

/// A miner, by its operator account.
pub fn miner(view: &dyn StateRead, id: &AccountId) -> Result<Option<MinerRecord>> {
    read(view, "miner", &keys::miner(id))
}

/// What a miner asks for its texts; nothing where it never said.
pub fn asking(view: &dyn StateRead, miner: &AccountId) -> Result<Asking> {
    Ok(read(view, "tariff", &keys::asking(miner))?.unwrap_or_default())
}

/// What a payer has paid a miner for texts, ever.
pub fn paid(view: &dyn StateRead, payer: &AccountId, miner: &AccountId) -> Result<Amount> {
    Ok(read(view, "payment", &keys::paid(payer, miner))?.unwrap_or(Amount::ZERO))
}

/// What a payer has paid each miner for texts, ever; by ascending miner.
pub fn payments(view: &dyn StateRead, payer: &AccountId) -> Result<Vec<(AccountId, Amount)>> {
    keyed(view, "payment", &keys::paid_by(payer), last_account)
}

/// Miners of a subnet; those out of the market say so in `retired`, and are listed while their settlement or evidence
/// against them may be due. [`miner`] knows them for good.
pub fn miners(view: &dyn StateRead, subnet: SubnetId) -> Result<Vec<MinerRecord>> {
    let ids = view.scan(&keys::mines_in(subnet))?;
    let record = |(key, _): (Vec<u8>, Vec<u8>)| {
        let id = last_account(&key).ok_or(StoreError::Missing { what: "miner of an index entry" })?;
        must(view, "miner", &keys::miner(&id))
    };
    ids.into_iter().map(record).collect()
}

/// A subnet.
pub fn subnet(view: &dyn StateRead, id: SubnetId) -> Result<Option<SubnetRecord>> {
    read(view, "subnet", &keys::subnet(id))
}

/// All subnets.
pub fn subnets(view: &dyn StateRead) -> Result<Vec<SubnetRecord>> {
    list(view, "subnet", all::SUBNETS)
}

/// A model.
pub fn model(view: &dyn StateRead, id: &ModelId) -> Result<Option<ModelRecord>> {
    read(view, "model", &keys::model(id))
}

/// All models, retired ones included; a subnet's record lists those that are served.
pub fn models(view: &dyn StateRead) -> Result<Vec<ModelRecord>> {
    list(view, "model", all::MODELS)
}

/// A model, by the name callers use.
pub fn model_by_name(view: &dyn StateRead, name: &str) -> Result<Option<ModelRecord>> {
    match read(view, "model name", &keys::model_name(name))? {
        Some(id) => model(view, &id),
        None => Ok(None),
    }
}

/// The compiled bytes of a model.
pub fn model_bytes(view: &dyn StateRead, id: &ModelId) -> Result<Option<Vec<u8>>> {
    view.get(&keys::model_bytes(id))
}

/// The `groth16` verifier's key of a model, where the genesis has one.
pub fn model_groth16(view: &dyn StateRead, id: &ModelId) -> Result<Option<Vec<u8>>> {
    view.get(&keys::model_groth16(id))
}

/// What a validator said of a challenged text, until the challenge is closed.
pub fn judgement(view: &dyn StateRead, challenge: &Hash32, validator: &AccountId) -> Result<Option<bool>> {
    read(view, "judgement", &keys::judgement(challenge, validator))
}

/// What a delegator has with a validator.
pub fn delegation(view: &dyn StateRead, validator: &AccountId, delegator: &AccountId) -> Result<Amount> {
    Ok(read(view, "delegation", &keys::delegation(validator, delegator))?.unwrap_or_default())
}

/// An account's delegations: validator and amount.
pub fn delegations_of(view: &dyn StateRead, delegator: &AccountId) -> Result<Vec<(AccountId, Amount)>> {
    let entry = |(key, _): (Vec<u8>, Vec<u8>)| {
        let validator = last_account(&key).ok_or(StoreError::Missing { what: "validator of an index entry" })?;
        Ok((validator, delegation(view, &validator, delegator)?))
    };
    view.scan(&keys::delegated_by(delegator))?.into_iter().map(entry).collect()
}

/// A validator's delegations: delegator and amount, the owner's own included.
pub fn delegators_of(view: &dyn StateRead, validator: &AccountId) -> Result<Vec<(AccountId, Amount)>> {
    keyed(view, "delegation", &keys::delegations_to(validator), last_account)
}

/// Sum of an account's delegations now.
pub fn stake_of(view: &dyn StateRead, id: &AccountId) -> Result<Amount> {
    Ok(read::<AccountStake>(view, "stake", &keys::stake(id))?.unwrap_or_default().amount)
}

/// Sum of an account's delegations at the end of block `height`, in grain. Exact for the snapshots of proposals under
/// vote and for now; what no vote needs is not kept.
pub fn stake_at(view: &dyn StateRead, id: &AccountId, height: u64) -> Result<u64> {
    let now: AccountStake = read(view, "stake", &keys::stake(id))?.unwrap_or_default();
    if now.since <= height {
        return Ok(now.amount.0);
    }
    let history: Vec<(u64, u64)> = keyed(view, "past stake", &keys::stake_history(id), last_number)?;
    Ok(history.iter().rev().find(|(since, _)| *since <= height).map_or(0, |(_, amount)| *amount))
}

/// Money on its way out, by the epoch of its release.
pub fn unbondings(view: &dyn StateRead) -> Result<Vec<Unbonding>> {
    list(view, "unbonding", all::UNBONDINGS)
}

/// Money on its way to an account.
pub fn unbondings_of(view: &dyn StateRead, account: &AccountId) -> Result<Vec<Unbonding>> {
    Ok(unbondings(view)?.into_iter().filter(|u| u.account == *account).collect())
}

/// An account's stake that moved not long ago, by the epoch of its release.
pub fn redelegations_of(view: &dyn StateRead, account: &AccountId) -> Result<Vec<Redelegation>> {
    let all: Vec<Redelegation> = list(view, "redelegation", all::REDELEGATIONS)?;
    Ok(all.into_iter().filter(|r| r.account == *account).collect())
}

/// What an account's stake lost by slashes, with their numbers and records; the latest.
pub fn losses_of(view: &dyn StateRead, account: &AccountId) -> Result<Vec<(u64, Amount, Slash)>> {
    let lost: Vec<(u64, Amount)> = keyed(view, "loss", &keys::lost_by(account), last_number)?;
    let with = |(number, amount)| Ok((number, amount, must(view, "slash of a loss", &keys::slash(number))?));
    lost.into_iter().map(with).collect()
}

/// What a miner's registration in a subnet burns now.
pub fn registration_price(view: &dyn StateRead, subnet: SubnetId) -> Result<Amount> {
    let floor = Amount(params(view)?.registration_fee);
    let price: Option<Amount> = read(view, "price of a registration", &keys::price(subnet))?;
    Ok(price.unwrap_or_default().max(floor))
}

/// The report of a settled epoch; the last [`crate::REPORTS_KEPT`] are kept.
pub fn epoch_report(view: &dyn StateRead, epoch: u64, subnet: SubnetId) -> Result<Option<EpochReport>> {
    read(view, "epoch report", &keys::report(epoch, subnet))
}

/// All kept reports of a subnet, by ascending epoch.
pub fn epoch_reports(view: &dyn StateRead, subnet: SubnetId) -> Result<Vec<EpochReport>> {
    list(view, "epoch report", &keys::reports(subnet))
}

/// A challenge, open or not, by the response's id.
pub fn challenge(view: &dyn StateRead, response: &Hash32) -> Result<Option<Challenge>> {
    read(view, "challenge", &keys::challenge(response))
}

/// Open challenges with their ids, by ascending deadline.
pub fn challenges(view: &dyn StateRead) -> Result<Vec<(Hash32, Challenge)>> {
    let entry = |(key, _): (Vec<u8>, Vec<u8>)| {
        let id = last_hash(&key).ok_or(StoreError::Missing { what: "challenge of an index entry" })?;
        Ok((id, must(view, "challenge", &keys::challenge(&id))?))
    };
    view.scan(all::OPEN_CHALLENGES)?.into_iter().map(entry).collect()
}

/// A proposal.
pub fn proposal(view: &dyn StateRead, id: u64) -> Result<Option<Proposal>> {
    read(view, "proposal", &keys::proposal(id))
}

/// All proposals.
pub fn proposals(view: &dyn StateRead) -> Result<Vec<Proposal>> {
    list(view, "proposal", all::PROPOSALS)
}

/// The version of the rules, and the next one if it is decided.
pub fn app_version(view: &dyn StateRead) -> Result<AppVersion> {
    Ok(read(view, "version of the rules", &keys::upgrade())?.unwrap_or_default())
}

/// Whose votes an account's stake follows where it does not vote itself.
pub fn vote_delegation(view: &dyn StateRead, id: &AccountId) -> Result<Option<VoteDelegation>> {
    read(view, "delegation of votes", &keys::vote_delegation(id))
}

/// The accounts whose stake follows a delegate's votes.
pub fn vote_delegators(view: &dyn StateRead, delegate: &AccountId) -> Result<Vec<AccountId>> {
    let missing = StoreError::Missing { what: "account of an index entry" };
    let entries = view.scan(&keys::vote_delegators(delegate))?.into_iter();
    entries.map(|(key, _)| last_account(&key).ok_or(missing.clone())).collect()
}

/// One account's vote on a proposal: its own, or the one that its stake followed when the votes were counted.
pub fn vote(view: &dyn StateRead, proposal: u64, voter: &AccountId) -> Result<Option<VoteRecord>> {
    read(view, "vote", &keys::vote(proposal, voter))
}

/// The votes on a proposal, by ascending account. While votes are taken, those cast only; once they are counted, also
/// those of accounts whose stake followed a delegate. [`crate::standing`] tells both at any time.
pub fn votes(view: &dyn StateRead, proposal: u64) -> Result<Vec<(AccountId, VoteRecord)>> {
    keyed(view, "vote", &keys::votes(proposal), last_account)
}

/// All slashes, in the order they happened.
pub fn slashes(view: &dyn StateRead) -> Result<Vec<Slash>> {
    list(view, "slash", all::SLASHES)
}

/// A validator's commitment, until its epoch is settled.
pub fn commitment(
    view: &dyn StateRead,
    epoch: u64,
    subnet: SubnetId,
    validator: &AccountId,
) -> Result<Option<Commitment>> {
    read(view, "commitment", &keys::commitment(epoch, subnet, validator))
}

/// The parameters that hold in a subnet: the chain's, and its own in their place. The chain's where there is no such subnet.
pub fn params_of(view: &dyn StateRead, subnet: SubnetId) -> Result<Params> {
    let mut params = params(view)?;
    for (name, value) in self::subnet(view, subnet)?.map(|record| record.params).unwrap_or_default() {
        params.set(&name, value).map_err(|_| StoreError::Books("a subnet has a parameter out of its bounds"))?;
    }
    Ok(params)
}

/// Validators whose scores of an epoch count, with the stake they began it with, by ascending account; until it is settled.
pub fn permits(view: &dyn StateRead, epoch: u64) -> Result<Vec<(AccountId, Amount)>> {
    must(view, "permits", &keys::permits(epoch))
}

/// A validator's revealed scores; those of the last [`crate::REVEALS_KEPT`] settled epochs are kept.
pub fn reveal(view: &dyn StateRead, epoch: u64, subnet: SubnetId, validator: &AccountId) -> Result<Option<Reveal>> {
    read(view, "reveal", &keys::reveal(epoch, subnet, validator))
}

/// The seed of the audit of an epoch's scores; `None` before the epoch ended, and once it is settled.
pub fn audit_seed(view: &dyn StateRead, epoch: u64) -> Result<Option<Hash32>> {
    read(view, "audit seed", &keys::audit(epoch))
}

/// All revealed scores of an epoch in a subnet, by ascending validator; kept as [`reveal`] says.
pub fn reveals(view: &dyn StateRead, epoch: u64, subnet: SubnetId) -> Result<Vec<(AccountId, Reveal)>> {
    keyed(view, "reveal", &keys::reveals(epoch, subnet), last_account)
}

/// The set that voted on the last executed block (of genesis: the first block's).
pub fn validator_set(view: &dyn StateRead) -> Result<ValidatorSet> {
    must(view, "validator set", &keys::set_current())
}

/// The set that votes on the next block.
pub fn next_validator_set(view: &dyn StateRead) -> Result<ValidatorSet> {
    must(view, "validator set", &keys::set_next())
}

/// Where the set changed: `(h, set of h + 1)` for each header `h` that announces another set than its own. The first
/// entry, `(0, …)`, is the genesis set.
pub fn set_changes(view: &dyn StateRead) -> Result<Vec<(u64, ValidatorSet)>> {
    keyed(view, "validator set", all::SET_CHANGES, last_number)
}

/// The set that votes, or voted, on block `height` (from 1; at most one above the state's height).
pub fn validator_set_at(view: &dyn StateRead, height: u64) -> Result<ValidatorSet> {
    let changes = set_changes(view)?;
    let set = changes.into_iter().rev().find(|(after, _)| *after < height.max(1));
    set.map(|(_, set)| set).ok_or(StoreError::Missing { what: "genesis validator set" })
}

/// The first height of an epoch, if it has begun and lies within the time evidence can reach.
pub fn epoch_start(view: &dyn StateRead, epoch: u64) -> Result<Option<u64>> {
    read(view, "epoch start", &keys::epoch_start(epoch))
}
