//! The answers made of accounts, members, parameters and the lists that grow with the chain.

use assay_chain_spec::Params as ChainParams;
use assay_ledger::{
    Standing, keys, query,
    records::{
        ModelRecord, Operator, Proposal, ProposalStatus, Redelegation, Slash, SubnetRecord, Unbonding, VoteDelegation,
    },
};
use assay_primitives::{AccountId, Amount, ModelId, task::SubnetId};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    BackendError, RpcBackend,
    methods::{Page, Reply},
};

/// Most records of a growing list in one answer.
pub(super) const MOST: u64 = 100;

#[derive(Clone, Serialize)]
pub(super) struct AccountView {
    account: AccountId,
    balance: Amount,
    nonce: u64,
    operator: Option<Operator>,
    stake: Amount,
    unbonding: Vec<Unbonding>,
    moved: Vec<Redelegation>,
    /// Whose votes its stake follows, and since when.
    votes_follow: Option<VoteDelegation>,
    /// How many accounts' stake follows its votes.
    votes_followed_by: usize,
}

pub(super) fn account(b: &dyn RpcBackend, id: &AccountId) -> Reply<AccountView> {
    let view = b.snapshot()?;
    let account = query::account(&*view, id)?;
    Ok(AccountView {
        account: *id,
        balance: account.balance,
        nonce: account.nonce,
        operator: query::operator(&*view, id)?,
        stake: query::stake_of(&*view, id)?,
        unbonding: query::unbondings_of(&*view, id)?,
        moved: query::redelegations_of(&*view, id)?,
        votes_follow: query::vote_delegation(&*view, id)?,
        votes_followed_by: query::vote_delegators(&*view, id)?.len(),
    })
}

pub(super) fn delegations(b: &dyn RpcBackend, id: &AccountId) -> Reply<Vec<Value>> {
    let list = query::delegations_of(&*b.snapshot()?, id)?;
    Ok(list.into_iter().map(|(validator, amount)| json!({ "validator": validator, "amount": amount })).collect())
}

/// What slashes took of an account's stake: the validator at fault, the account's own part, and the slash.
pub(super) fn losses(b: &dyn RpcBackend, id: &AccountId) -> Reply<Vec<Value>> {
    let line = |(number, amount, slash): (u64, Amount, Slash)| {
        json!({
            "validator": slash.account, "amount": amount, "reason": slash.reason,
            "height": slash.height, "epoch": slash.epoch, "number": number,
        })
    };
    Ok(query::losses_of(&*b.snapshot()?, id)?.into_iter().map(line).collect())
}

/// All subnets, each with what a miner's registration burns there now.
pub(super) fn subnets(b: &dyn RpcBackend) -> Reply<Vec<Value>> {
    let view = b.snapshot()?;
    let line = |record: SubnetRecord| {
        let price = query::registration_price(&*view, record.id)?;
        let mut line = serde_json::to_value(&record).map_err(|e| BackendError::Internal(e.to_string()))?;
        line["registration_price"] = json!(price);
        Ok(line)
    };
    query::subnets(&*view)?.into_iter().map(line).collect()
}

/// A subnet's miners, each with what its texts cost in this epoch and from the next one on.
pub(super) fn miners(b: &dyn RpcBackend, subnet: SubnetId) -> Reply<Vec<Value>> {
    let view = b.snapshot()?;
    let epoch = query::chain(&*view)?.epoch;
    let line = |record: assay_ledger::records::MinerRecord| {
        let asking = query::asking(&*view, &record.operator)?;
        let mut line = serde_json::to_value(&record).map_err(|e| BackendError::Internal(e.to_string()))?;
        line["tariff"] = json!(asking.at(epoch));
        line["next_tariff"] = json!(asking.at(epoch.saturating_add(1)));
        Ok(line)
    };
    query::miners(&*view, subnet)?.into_iter().map(line).collect()
}

/// What an account has paid miners for texts, ever.
pub(super) fn payments(b: &dyn RpcBackend, payer: &AccountId) -> Reply<Vec<Value>> {
    let list = query::payments(&*b.snapshot()?, payer)?;
    Ok(list.into_iter().map(|(miner, amount)| json!({ "miner": miner, "amount": amount })).collect())
}

pub(super) fn validators(b: &dyn RpcBackend) -> Reply<Vec<Value>> {
    let view = b.snapshot()?;
    let set = query::next_validator_set(&*view)?;
    let line = |record: assay_ledger::records::ValidatorRecord| {
        let power = set.power_of(&record.operator);
        let mut line = serde_json::to_value(&record).map_err(|e| BackendError::Internal(e.to_string()))?;
        line["power"] = json!(power);
        Ok(line)
    };
    query::validators(&*view)?.into_iter().map(line).collect()
}

/// The parameters in force, of the chain or in a subnet.
pub(super) fn params(b: &dyn RpcBackend, subnet: Option<SubnetId>) -> Reply<Vec<Value>> {
    let view = b.snapshot()?;
    let values = match subnet {
        None => query::params(&*view)?,
        Some(subnet) => {
            known_subnet(b, subnet)?;
            query::params_of(&*view, subnet)?
        }
    };
    let line = |name: &&'static str| {
        let internal = |e: assay_chain_spec::ParamError| BackendError::Internal(e.to_string());
        let (value, bounds) = (values.get(name).map_err(internal)?, ChainParams::bounds(name).map_err(internal)?);
        Ok(json!({
            "name": name, "value": value, "low": bounds.low, "high": bounds.high,
            "description": ChainParams::describe(name),
        }))
    };
    ChainParams::NAMES.iter().map(line).collect()
}

pub(super) fn proposal(b: &dyn RpcBackend, id: u64) -> Reply<Value> {
    let view = b.snapshot()?;
    let proposal = query::proposal(&*view, id)?
        .ok_or_else(|| BackendError::NotFound(format!("there is no proposal {id}; `assay gov list` lists them")))?;
    let vote = |(account, vote): (AccountId, assay_ledger::records::VoteRecord)| json!({ "account": account, "ballot": vote.ballot, "stake": vote.stake, "height": vote.height, "via": vote.via });
    let (votes, now) = match proposal.status {
        ProposalStatus::Voting => {
            let Standing { votes, voted, quorum, status, outcome } = assay_ledger::standing(&*view, &proposal)?;
            let now = json!({ "status": status, "outcome": outcome, "voted": voted, "quorum_reached": quorum });
            (votes, now)
        }
        _ => (query::votes(&*view, id)?, Value::Null),
    };
    let votes: Vec<Value> = votes.into_iter().map(vote).collect();
    Ok(json!({ "proposal": proposal, "votes": votes, "now": now }))
}

pub(super) fn known_subnet(b: &dyn RpcBackend, id: SubnetId) -> Reply<()> {
    match query::subnet(&*b.snapshot()?, id)? {
        Some(_) => Ok(()),
        None => Err(BackendError::NotFound(format!("there is no subnet {id}; `assay subnet list` lists them"))),
    }
}

/// The latest records with numbers in `0..next` that the page asks for, by ascending number.
fn latest<T>(next: u64, page: Page, read: impl Fn(u64) -> Reply<Option<T>>) -> Reply<Vec<T>> {
    let most = usize::try_from(page.limit.unwrap_or(MOST).min(MOST)).unwrap_or(usize::MAX);
    let mut found = Vec::new();
    let mut missing = 0;
    for number in (0..page.before.unwrap_or(next).min(next)).rev() {
        if found.len() >= most || missing >= MOST {
            break;
        }
        match read(number)? {
            Some(record) => found.push(record),
            // Not settled yet, never given, or no longer kept.
            None => missing += 1,
        }
    }
    found.reverse();
    Ok(found)
}

pub(super) fn epochs(b: &dyn RpcBackend, subnet: SubnetId, page: Page) -> Reply<Vec<Value>> {
    known_subnet(b, subnet)?;
    let view = b.snapshot()?;
    let line =
        |r: assay_ledger::records::EpochReport| json!({ "epoch": r.epoch, "height": r.height, "emission": r.emission });
    latest(query::chain(&*view)?.epoch, page, |epoch| Ok(query::epoch_report(&*view, epoch, subnet)?.map(line)))
}

pub(super) fn explain(
    b: &dyn RpcBackend,
    account: &AccountId,
    subnet: SubnetId,
    epoch: u64,
) -> Reply<assay_ledger::explain::Explanation> {
    known_subnet(b, subnet)?;
    assay_ledger::explain::explain(&*b.snapshot()?, epoch, subnet, account)?.ok_or_else(|| {
        BackendError::NotFound(format!(
            "{account} has no line in epoch {epoch} of subnet {subnet}: it took no part, or the epoch is not settled; \
             `assay_epochs` lists those that are"
        ))
    })
}

pub(super) fn proposals(b: &dyn RpcBackend, page: Page) -> Reply<Vec<Proposal>> {
    let view = b.snapshot()?;
    latest(query::chain(&*view)?.next_proposal, page, |id| Ok(query::proposal(&*view, id)?))
}

pub(super) fn slashes(b: &dyn RpcBackend, page: Page) -> Reply<Vec<Value>> {
    let view = b.snapshot()?;
    latest(query::chain(&*view)?.next_slash, page, |number| {
        let Some(bytes) = view.get(&keys::slash(number))? else { return Ok(None) };
        let slash: Slash =
            assay_primitives::decode("stored slash", &bytes).map_err(|e| BackendError::Internal(e.to_string()))?;
        let mut line = serde_json::to_value(&slash).map_err(|e| BackendError::Internal(e.to_string()))?;
        line["number"] = json!(number);
        Ok(Some(line))
    })
}

pub(super) fn supply(b: &dyn RpcBackend) -> Reply<Value> {
    let view = b.snapshot()?;
    let (supply, held) = (query::supply(&*view)?, query::holdings(&*view)?);
    let parts = [held.balances, held.stakes, held.bonds, held.unbonding, held.deposits];
    let total: u128 = parts.into_iter().map(u128::from).sum();
    let expected = u128::from(supply.genesis) + u128::from(supply.minted);
    let conserved = expected.checked_sub(u128::from(supply.burned)) == Some(total);
    let total = u64::try_from(total).map_err(|_| BackendError::Internal("holdings exceed 2^64 grain".into()))?;
    Ok(json!({
        "genesis": supply.genesis, "minted": supply.minted, "burned": supply.burned,
        "total": total, "conserved": conserved, "holdings": held,
    }))
}

pub(super) fn model(b: &dyn RpcBackend, named: &str) -> Reply<ModelRecord> {
    let view = b.snapshot()?;
    let found = match named.parse::<ModelId>() {
        Ok(id) => query::model(&*view, &id)?,
        Err(_) => query::model_by_name(&*view, named)?,
    };
    let shown: String = named.chars().take(80).collect();
    found.ok_or_else(|| BackendError::NotFound(format!("there is no model {shown:?}; `assay model list` lists them")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_growing_list_is_read_in_pages_from_its_end() {
        // Numbers 10..250 are kept, those before are not, and the last is not there yet.
        let read = |n: u64| Ok((10..250).contains(&n).then_some(n));
        let page = |before, limit| latest(251, Page { before, limit }, read).unwrap();
        assert_eq!(page(None, None), (150..250).collect::<Vec<_>>());
        assert_eq!(page(Some(150), None), (50..150).collect::<Vec<_>>());
        assert_eq!(page(Some(50), None), (10..50).collect::<Vec<_>>());
        assert!(page(Some(10), None).is_empty());
        assert_eq!(page(None, Some(1)), [249]);
        assert_eq!(page(None, Some(1000)).len(), 100);
    }
}
