//! What proposals do: checked when they are made, and again when their time has come.
//!
//! What is not possible then leaves its proposal `Failed`, with the reason in its outcome, and changes nothing.

use assay_chain_spec::Params;
use assay_primitives::{ModelId, task::SubnetId};

use super::{MISSING, put};
use crate::{
    ActionError, Event, StateRead, StoreError,
    execute::{credit, money::debit, registry::MAX_SUBNET_MODELS},
    keys,
    overlay::Overlay,
    query,
    records::{ModelRecord, Outcome, Proposal, ProposalStatus, SubnetRecord, Upgrade},
    treasury,
    tx::{ModelAction, ProposalKind},
};

/// How many blocks after its earliest execution an upgrade may be set for, at most: nearly two years of blocks of six seconds.
pub const MAX_UPGRADE_AHEAD: u64 = 10_000_000;

/// Whether doing it twice makes no sense, so that one such proposal at a time is enough.
pub(super) fn happens_once(kind: &ProposalKind) -> bool {
    matches!(kind, ProposalKind::Model { .. } | ProposalKind::Upgrade { .. })
}

/// What can be said against a proposal when it is made at height `now`, to be executed at `execute_at` at the earliest.
pub(super) fn check(view: &dyn StateRead, kind: &ProposalKind, now: u64, execute_at: u64) -> Result<(), ActionError> {
    match kind {
        ProposalKind::Choice | ProposalKind::Text | ProposalKind::Parameter { .. } => Ok(()),
        ProposalKind::Model { action, model } => sensible(view, *action, model).map(|_| ()),
        ProposalKind::Treasury { to, amount } => {
            ActionError::limit("the amount in grain", 1, u64::MAX, amount.0)?;
            match *to == treasury() {
                true => Err(ActionError::malformed("the recipient", "is the treasury itself")),
                false => Ok(()),
            }
        }
        ProposalKind::Upgrade { version, height } => {
            next_version(view, *version, now)?;
            let least = execute_at.saturating_add(1);
            ActionError::limit("the upgrade's height", least, least.saturating_add(MAX_UPGRADE_AHEAD), *height)
        }
    }
}

fn next_version(view: &dyn StateRead, version: u32, now: u64) -> Result<(), ActionError> {
    let in_force = query::app_version(view)?.at(now);
    let next = u64::from(in_force) + 1;
    ActionError::limit("the version, which is the next one", next, next, u64::from(version))
}

/// The records of a model and its subnet, if the action changes something and can be done.
fn sensible(
    view: &dyn StateRead,
    action: ModelAction,
    id: &ModelId,
) -> Result<(ModelRecord, SubnetRecord), ActionError> {
    let model = query::model(view, id)?.ok_or(ActionError::unknown("model", id))?;
    let subnet = query::subnet(view, model.subnet)?.ok_or(StoreError::Missing { what: "subnet of a model" })?;
    let name = &model.name;
    let against = match (action, model.retired) {
        (ModelAction::Retire, Some(since)) => Some(format!("model {name} is retired since height {since}")),
        (ModelAction::Retire, None) => None,
        (ModelAction::Promote, None) => (subnet.models.first() == Some(id))
            .then(|| format!("model {name} is the first of subnet {} already", subnet.id)),
        (ModelAction::Promote, Some(_)) if subnet.models.len() as u64 >= MAX_SUBNET_MODELS => {
            Some(format!("subnet {} serves {MAX_SUBNET_MODELS} models, which is the most; retire one first", subnet.id))
        }
        (ModelAction::Promote, Some(_)) => {
            let (limit, needed) = (query::params(view)?.max_tx_bytes, model.answer_bytes);
            (needed > limit).then(|| {
                format!("a challenge to model {name} is answered in up to {needed} bytes, and max_tx_bytes is {limit}")
            })
        }
    };
    against.map_or(Ok((model, subnet)), |reason| Err(ActionError::NotNow(reason)))
}

/// At the start of a block: passed proposals whose timelock ended come into force, or fail.
pub(in crate::execute) fn execute_due(state: &mut Overlay<'_>, height: u64) -> Result<(), StoreError> {
    let mut agenda = query::agenda(state)?;
    for id in agenda.passed.iter().copied().collect::<Vec<_>>() {
        let mut proposal = query::proposal(state, id)?.ok_or(MISSING)?;
        if proposal.execute_at > height {
            continue;
        }
        agenda.passed.remove(&id);
        let mut overlay = Overlay::new(&*state);
        let done = enact(&mut overlay, &proposal, height);
        let parts = overlay.into_parts();
        proposal.status = match done {
            Ok(()) => {
                state.merge(parts);
                ProposalStatus::Executed
            }
            Err(ActionError::Store(error)) => return Err(error),
            Err(error) => {
                if let Some(Outcome::Choice { refused, .. } | Outcome::Parameter { refused, .. }) =
                    &mut proposal.outcome
                {
                    *refused = Some(error.to_string());
                }
                ProposalStatus::Failed
            }
        };
        put(state, &proposal);
    }
    state.write(keys::agenda(), &agenda);
    Ok(())
}

fn enact(state: &mut Overlay<'_>, proposal: &Proposal, height: u64) -> Result<(), ActionError> {
    match &proposal.kind {
        ProposalKind::Choice | ProposalKind::Text => {}
        ProposalKind::Parameter { name, subnet } => {
            let Some(Outcome::Parameter { value: Some(value), .. }) = proposal.outcome else {
                return Err(StoreError::Books("a passed vote on a parameter has no value").into());
            };
            // Others may have changed since the vote was counted, so the whole set is checked again.
            let params = changed(state, name, *subnet, value)?.map_err(ActionError::NotNow)?;
            match subnet {
                None => state.write(keys::params(), &params),
                Some(id) => {
                    let mut record = query::subnet(state, *id)?.ok_or(ActionError::unknown("subnet", id))?;
                    record.params.insert(name.clone(), value);
                    state.write(keys::subnet(*id), &record);
                }
            }
        }
        ProposalKind::Model { action, model } => {
            let (mut record, mut subnet) = sensible(state, *action, model)?;
            subnet.models.retain(|served| served != model);
            record.retired = match action {
                ModelAction::Retire => Some(height),
                ModelAction::Promote => {
                    subnet.models.insert(0, *model);
                    None
                }
            };
            state.write(keys::model(model), &record);
            state.write(keys::subnet(subnet.id), &subnet);
            state.emit(Event::ModelVoted { model: *model, subnet: subnet.id, action: *action });
        }
        ProposalKind::Treasury { to, amount } => {
            let found = query::account(state, &treasury())?.balance;
            if found < *amount {
                return Err(ActionError::not_now(format!("the treasury has {found}, {amount} were to be paid")));
            }
            debit(state, &treasury(), *amount, "the payment from the treasury")?;
            credit(state, to, *amount)?;
            state.emit(Event::TreasuryPaid { proposal: proposal.id, to: *to, amount: *amount });
        }
        ProposalKind::Upgrade { version, height: from } => {
            next_version(state, *version, height)?;
            if *from <= height {
                return Err(ActionError::not_now(format!(
                    "height {from} had passed when this was executed at height {height}"
                )));
            }
            let upgrade = Upgrade { version: *version, height: *from, proposal: proposal.id };
            let mut version = query::app_version(state)?;
            version.planned = Some(upgrade);
            state.write(keys::upgrade(), &version);
            state.emit(Event::UpgradePlanned { upgrade });
        }
    }
    Ok(())
}

/// At the start of a block: an upgrade planned for this height is in force from here on.
pub(in crate::execute) fn upgrade_due(state: &mut Overlay<'_>, height: u64) -> Result<(), StoreError> {
    let mut version = query::app_version(state)?;
    if let Some(planned) = version.planned.filter(|planned| planned.height <= height) {
        (version.version, version.since, version.planned) = (planned.version, planned.height, None);
        state.write(keys::upgrade(), &version);
        state.emit(Event::Upgraded { version: planned.version });
    }
    Ok(())
}

/// The parameters with one changed, of the chain or of a subnet, if they go together and with the models that a challenge can
/// be about; else why not. The same rules as a chain spec's.
pub(super) fn changed(
    view: &dyn StateRead,
    name: &str,
    subnet: Option<SubnetId>,
    value: u64,
) -> Result<Result<Params, String>, StoreError> {
    let mut p = subnet.map_or_else(|| query::params(view), |subnet| query::params_of(view, subnet))?;
    if let Err(e) = p.set(name, value) {
        return Ok(Err(e.to_string()));
    }
    if let Err(e) = p.check_together() {
        return Ok(Err(format!("{name} = {value} is not possible now: {e}")));
    }
    // The chain's value must go with what subnets have of their own.
    for record in query::subnets(view)?.into_iter().filter(|_| subnet.is_none()) {
        let mut own = p.clone();
        let set = record.params.iter().try_for_each(|(name, value)| own.set(name, *value));
        if let Err(e) = set.map_err(|e| e.to_string()).and_then(|()| own.check_together().map_err(|e| e.to_string())) {
            return Ok(Err(format!("{name} = {value} is not possible now: in subnet {}, {e}", record.id)));
        }
    }
    for ModelRecord { name: model, answer_bytes, retired, .. } in query::models(view)? {
        if answer_bytes > p.max_tx_bytes && may_be_challenged(view, &p, retired)? {
            return Ok(Err(format!(
                "{name} = {value} is not possible now: a challenge to model {model} is answered in up to {answer_bytes} bytes"
            )));
        }
    }
    Ok(Ok(p))
}

/// Whether a challenge to an answer of a model may still be opened or be open. Evidence and challenges together reach no
/// further back than `unbonding_epochs`; one epoch more is left for the one in which it was retired.
fn may_be_challenged(view: &dyn StateRead, params: &Params, retired: Option<u64>) -> Result<bool, StoreError> {
    let Some(retired) = retired else { return Ok(true) };
    let span = params.unbonding_epochs.saturating_add(1);
    let Some(oldest) = query::chain(view)?.epoch.checked_sub(span) else { return Ok(true) };
    Ok(query::epoch_start(view, oldest)?.is_none_or(|start| retired >= start))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::world::World;

    #[test]
    fn parameters_that_do_not_go_together_are_refused() {
        let p = Params::dev();
        let world = World::with(p.clone());
        let changed = |name, value| changed(&world.state, name, None, value).unwrap();
        assert!(changed("evidence_epochs", p.unbonding_epochs + 1).unwrap_err().contains("slashing"));
        assert!(changed("latency_full_ms", p.latency_zero_ms).is_err());
        assert!(changed("tempo", 3).is_err());
        assert!(changed("gov_threshold", p.gov_urgent_threshold + 1).is_err());
        assert_eq!(changed("tempo", 30).unwrap().tempo, 30);
    }
}
