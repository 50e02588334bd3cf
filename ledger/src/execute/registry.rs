//! Who runs what: validators, miners, their endpoints, and models.

use assay_chain_spec::MAX_MODEL_BYTES;
use assay_primitives::{AccountId, Amount, Score, Signature, domain, task::SubnetId};

use super::{Env, burn, money::debit, price, stake};
use crate::{
    ActionError, Event, StoreError, keys,
    model::{Examined, ModelFault},
    overlay::Overlay,
    query,
    records::{Attendance, MinerRecord, ModelRecord, Operator, Role, SubnetRecord, ValidatorRecord},
    tx::{Consent, Endpoint, OPERATOR_CONSENT},
};

/// Most models in one subnet.
pub const MAX_SUBNET_MODELS: u64 = 64;

/// What both registrations have in common.
pub(super) struct Registration<'a> {
    pub(super) owner: AccountId,
    pub(super) operator: AccountId,
    pub(super) consent: &'a Signature,
    pub(super) endpoint: &'a Endpoint,
}

impl Registration<'_> {
    /// Checks the operator's consent and that its key has no role yet, and gives it one.
    fn take_role(&self, state: &mut Overlay<'_>, env: &Env<'_>, role: Role) -> Result<(), ActionError> {
        check_endpoint(self.endpoint)?;
        if self.operator != self.owner {
            let consent = Consent { operator: self.operator, owner: self.owner };
            let message = domain::preimage(OPERATOR_CONSENT, &env.block.genesis, &consent);
            self.consent.verify("operator's consent", &self.operator, &message)?;
        } else if *self.consent != Signature::EMPTY {
            return Err(ActionError::malformed("consent", "must be empty where the operator signs itself"));
        }
        if query::operator(state, &self.operator)?.is_some() {
            return Err(ActionError::exists("a role of operator", self.operator));
        }
        state.write(keys::operator(&self.operator), &Operator { owner: self.owner, role });
        Ok(())
    }
}

fn check_endpoint(endpoint: &Endpoint) -> Result<(), ActionError> {
    ActionError::limit("bytes in the endpoint's peer_id", 0, 64, endpoint.peer_id.len() as u64)?;
    ActionError::limit("the number of the endpoint's addresses", 0, 4, endpoint.addresses.len() as u64)?;
    let mut lengths = endpoint.addresses.iter().map(String::len);
    lengths.try_for_each(|len| ActionError::limit("bytes in an address of the endpoint", 1, 128, len as u64))
}

pub(super) fn register_validator(
    state: &mut Overlay<'_>,
    env: &Env<'_>,
    registration: Registration<'_>,
    own: Amount,
    take: u64,
) -> Result<(), ActionError> {
    ActionError::limit("take in basis points", 0, 10_000, take)?;
    ActionError::limit("the stake in grain", env.params.min_validator_stake, u64::MAX, own.0)?;
    registration.take_role(state, env, Role::Validator)?;
    let Registration { owner, operator, endpoint, .. } = registration;
    debit(state, &owner, own, "the validator's stake")?;
    let record = ValidatorRecord {
        operator,
        owner,
        stake: Amount::ZERO,
        take,
        endpoint: endpoint.clone(),
        registered: env.block.height,
        tombstoned: false,
        jailed: None,
        attendance: Attendance::default(),
    };
    stake::add(state, env.block.height, record, &owner, own)?;
    state.emit(Event::ValidatorRegistered { validator: operator, owner });
    Ok(())
}

fn known_subnet(state: &Overlay<'_>, subnet: SubnetId) -> Result<SubnetRecord, ActionError> {
    query::subnet(state, subnet)?.ok_or(ActionError::unknown("subnet", subnet))
}

pub(super) fn register_miner(
    state: &mut Overlay<'_>,
    env: &Env<'_>,
    registration: Registration<'_>,
    subnet: SubnetId,
    most: Amount,
) -> Result<(), ActionError> {
    known_subnet(state, subnet)?;
    let fee = query::registration_price(state, subnet)?;
    if fee > most {
        return Err(ActionError::not_now(format!(
            "a registration in subnet {subnet} burns {fee} now, more than the {most} that this one allows; wait until the \
             price has fallen, or allow more"
        )));
    }
    registration.take_role(state, env, Role::Miner(subnet))?;
    let Registration { owner, operator, endpoint, .. } = registration;
    let bond = Amount(env.params.miner_bond);
    let needed = bond.checked_add(fee).ok_or(ActionError::Overflow("bond and registration price"))?;
    debit(state, &owner, needed, "the miner's bond and registration")?;
    burn(state, fee)?;
    price::rise(state, env.params, subnet)?;
    let score = newcomers_score(state, subnet)?;
    if mining(state, subnet)? >= env.params.max_miners {
        make_room(state, env, subnet, operator)?;
    }
    let record = MinerRecord {
        operator,
        owner,
        subnet,
        bond,
        endpoint: endpoint.clone(),
        registered: env.block.height,
        retired: None,
        slashed: None,
        score,
        scored: None,
        emission: Amount::ZERO,
        immune_until: env.epoch.saturating_add(env.params.immunity_epochs),
    };
    let count = mining(state, subnet)?;
    state.write(keys::miner(&operator), &record);
    state.write_bytes(keys::mines(subnet, &operator), Vec::new());
    state.write(keys::mining(subnet), &(count + 1));
    state.emit(Event::MinerRegistered { miner: operator, owner, subnet });
    Ok(())
}

/// Miners in the market now.
fn active(state: &Overlay<'_>, subnet: SubnetId) -> Result<Vec<MinerRecord>, StoreError> {
    let mut miners = query::miners(state, subnet)?;
    miners.retain(|miner| miner.retired.is_none());
    Ok(miners)
}

/// The 25th percentile (the lower one) of the settled scores in the market; 0 where none is settled.
fn newcomers_score(state: &Overlay<'_>, subnet: SubnetId) -> Result<Score, StoreError> {
    let miners = active(state, subnet)?;
    let mut scores: Vec<_> = miners.iter().filter(|m| m.scored.is_some()).map(|m| m.score).collect();
    scores.sort_unstable();
    Ok(scores.get(scores.len().saturating_sub(1) / 4).copied().unwrap_or(Score::ZERO))
}

/// Takes the miner that earned least, among equals the oldest, out of a full market; what is left of its bond is on its
/// way to its owner. Immune miners stay.
fn make_room(state: &mut Overlay<'_>, env: &Env<'_>, subnet: SubnetId, newcomer: AccountId) -> Result<(), ActionError> {
    let miners = active(state, subnet)?;
    let free_at = miners.iter().map(|miner| miner.immune_until).min();
    let count = miners.len();
    let out = miners
        .into_iter()
        .filter(|miner| miner.immune_until <= env.epoch)
        .min_by_key(|miner| (miner.emission, miner.registered, miner.operator));
    let Some(out) = out else {
        return Err(ActionError::not_now(format!(
            "subnet {subnet} is full with {count} miners, and all are too new to be replaced; the first may be from epoch \
             {} on",
            free_at.unwrap_or(env.epoch)
        )));
    };
    let (miner, emission) = (out.operator, out.emission);
    retire(state, env, out)?;
    state.emit(Event::MinerPruned { miner, subnet, emission, newcomer });
    Ok(())
}

fn mining(state: &Overlay<'_>, subnet: SubnetId) -> Result<u64, StoreError> {
    Ok(state.read("count of miners", &keys::mining(subnet))?.unwrap_or(0))
}

pub(super) fn retire_miner(
    state: &mut Overlay<'_>,
    env: &Env<'_>,
    signer: AccountId,
    operator: AccountId,
) -> Result<(), ActionError> {
    let miner = query::miner(state, &operator)?.ok_or(ActionError::unknown("miner", operator))?;
    if miner.owner != signer {
        let expected = format!("its owner {}", miner.owner);
        return Err(ActionError::NotYours { what: "a miner's retirement", expected, found: signer });
    }
    if let Some(height) = miner.retired {
        return Err(ActionError::not_now(format!("{operator} is out of its market since height {height}")));
    }
    Ok(retire(state, env, miner)?)
}

/// Takes a miner out of its market; what is left of its bond is on its way to the owner.
pub(super) fn retire(state: &mut Overlay<'_>, env: &Env<'_>, mut miner: MinerRecord) -> Result<(), StoreError> {
    stake::unbond(state, env, &miner.owner, &miner.operator, miner.bond)?;
    miner.bond = Amount::ZERO;
    miner.retired = Some(env.block.height);
    state.write(keys::miner(&miner.operator), &miner);
    let count = mining(state, miner.subnet)?;
    let count = count.checked_sub(1).ok_or(StoreError::Books("a miner retires from a subnet without miners"))?;
    state.write(keys::mining(miner.subnet), &count);
    state.emit(Event::MinerRetired { miner: miner.operator, subnet: miner.subnet });
    Ok(())
}

pub(super) fn set_endpoint(
    state: &mut Overlay<'_>,
    signer: AccountId,
    operator: AccountId,
    endpoint: &Endpoint,
) -> Result<(), ActionError> {
    check_endpoint(endpoint)?;
    let role = query::operator(state, &operator)?.ok_or(ActionError::unknown("operator", operator))?;
    if signer != operator && signer != role.owner {
        let expected = format!("{operator} or its owner {}", role.owner);
        return Err(ActionError::NotYours { what: "an endpoint", expected, found: signer });
    }
    match role.role {
        Role::Validator => {
            let missing = StoreError::Missing { what: "validator of an operator" };
            let mut record = query::validator(state, &operator)?.ok_or(missing)?;
            record.endpoint = endpoint.clone();
            state.write(keys::validator(&operator), &record);
        }
        Role::Miner(_) => {
            let missing = StoreError::Missing { what: "miner of an operator" };
            let mut record = query::miner(state, &operator)?.ok_or(missing)?;
            record.endpoint = endpoint.clone();
            state.write(keys::miner(&operator), &record);
        }
    }
    Ok(())
}

/// What can be said against a model without reading it: name, size, room in the subnet, and the fee of its registration,
/// which `signer` must have beside `other_fee`. Returns the subnet.
pub(super) fn model_is_welcome(
    state: &Overlay<'_>,
    env: &Env<'_>,
    signer: AccountId,
    other_fee: Amount,
    (subnet, name, bytes): (SubnetId, &str, &[u8]),
) -> Result<SubnetRecord, ActionError> {
    ActionError::limit("characters in the model's name", 1, 32, name.len() as u64)?;
    if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return Err(ActionError::malformed("the model's name", format!("only a-z, 0-9 and -, found {name:?}")));
    }
    ActionError::limit("bytes of the model", 1, MAX_MODEL_BYTES as u64, bytes.len() as u64)?;
    let market = known_subnet(state, subnet)?;
    ActionError::limit("the number of the subnet's models", 1, MAX_SUBNET_MODELS, market.models.len() as u64 + 1)?;
    if query::model_by_name(state, name)?.is_some() {
        return Err(ActionError::exists("a model named", name));
    }
    let fee = Amount(env.params.registration_fee);
    let needed = fee.checked_add(other_fee).ok_or(ActionError::Overflow("registration and transaction fee"))?;
    let found = query::account(state, &signer)?.balance;
    if found < needed {
        return Err(ActionError::Funds { what: "the model's registration", account: signer, needed, found });
    }
    Ok(market)
}

pub(super) fn register_model(
    state: &mut Overlay<'_>,
    env: &Env<'_>,
    signer: AccountId,
    subnet: SubnetId,
    name: &str,
    bytes: &[u8],
) -> Result<(), ActionError> {
    let mut market = model_is_welcome(state, env, signer, Amount::ZERO, (subnet, name, bytes))?;
    let fault = |e: ModelFault| ActionError::malformed("the model", e.to_string());
    let model = Examined::new(bytes, None, env.params.max_tx_bytes).map_err(fault)?;
    let id = model.id;
    if query::model(state, &id)?.is_some() {
        return Err(ActionError::exists("model", id));
    }
    let fee = Amount(env.params.registration_fee);
    debit(state, &signer, fee, "the model's registration")?;
    burn(state, fee)?;
    write_model(state, &mut market, &model, name, (bytes, None), Some(signer), env.block.height);
    state.emit(Event::ModelRegistered { model: id, name: name.into(), subnet });
    Ok(())
}

/// Writes a checked model into its subnet.
pub(crate) fn write_model(
    state: &mut Overlay<'_>,
    market: &mut SubnetRecord,
    model: &Examined,
    name: &str,
    (bytes, groth16): (&[u8], Option<&[u8]>),
    registrant: Option<AccountId>,
    height: u64,
) {
    let id = model.id;
    market.models.push(id);
    let record = ModelRecord {
        id,
        name: name.into(),
        subnet: market.id,
        kind: model.kind,
        bytes: model.size,
        groth16: model.groth16,
        cost: model.cost,
        answer_bytes: model.answer_bytes,
        registrant,
        registered: height,
        retired: None,
    };
    state.write(keys::subnet(market.id), market);
    state.write(keys::model(&id), &record);
    state.write(keys::model_name(name), &id);
    state.write_bytes(keys::model_bytes(&id), bytes.to_vec());
    if let Some(key) = groth16 {
        state.write_bytes(keys::model_groth16(&id), key.to_vec());
    }
}
