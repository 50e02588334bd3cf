//! Responses before the court of the chain: refutations, challenges and their answers.
//!
//! A response is signed by its miner and names the request it answers, so whether it is wrong can be computed by
//! anyone. Anyone may therefore refute, whoever asked; there is no reward for it. A challenge costs the miner a proof,
//! so only validators may open one, and only a few in an epoch.
//!
//! No block runs a language model. A challenged text is judged by the validators, each of whom makes it again: see
//! `judgement`.

use std::sync::Arc;

use assay_circuits::{
    Binding,
    answer::{self, RefusedAnswer},
    exec::ExecError,
    model::Model,
};
use assay_primitives::{
    AccountId, Hash32, ModelId, Signed,
    task::{Input, Output, Request, Response},
    text::TextOutput,
};

use super::{Env, judgement, scores::must_validate, slashing};
use crate::{
    ActionError, Event, StateRead, StoreError, keys,
    overlay::Overlay,
    query,
    records::{Challenge, ChallengeStatus, MinerRecord, ModelKind, ModelRecord, SlashReason, WorkCost},
};

/// Most challenges that one validator opens in one epoch.
pub const OPEN_CHALLENGES_PER_EPOCH: u64 = 8;

/// A request and its response whose signatures hold and that belong together.
pub(super) struct Exchange {
    response: Hash32,
    miner: MinerRecord,
    binding: Binding,
    kind: ModelKind,
    /// What checking an answer of this model takes.
    pub(super) cost: WorkCost,
}

/// What can be said against evidence without the model: whether it belongs together, is signed, recent, not yet booked,
/// and against a miner that still has something to lose.
pub(super) fn examine(
    state: &Overlay<'_>,
    env: &Env<'_>,
    request: &Signed<Request>,
    response: &Signed<Response>,
) -> Result<Exchange, ActionError> {
    let (ask, reply) = (&request.body, &response.body);
    let genesis = &env.block.genesis;
    if ask.miner != reply.miner || reply.request != request.id(genesis) {
        return Err(ActionError::evidence("the response does not answer this request of this miner"));
    }
    let oldest = env.epoch.saturating_sub(env.params.evidence_epochs);
    if !(oldest..=env.epoch).contains(&ask.epoch) {
        let (found, now) = (ask.epoch, env.epoch);
        return Err(ActionError::not_now(format!(
            "evidence is taken from epochs {oldest} to {now}, the request is of epoch {found}"
        )));
    }
    let miner = query::miner(state, &ask.miner)?.ok_or(ActionError::unknown("miner", ask.miner))?;
    let record = query::model(state, &ask.model)?.ok_or(ActionError::unknown("model", ask.model))?;
    if ask.subnet != miner.subnet || ask.subnet != record.subnet {
        let (found, its) = (ask.subnet, miner.subnet);
        return Err(ActionError::evidence(format!(
            "the request is for subnet {found}, the miner serves subnet {its}, the model belongs to subnet {}",
            record.subnet
        )));
    }
    request.verify(genesis)?;
    response.verify(genesis)?;
    let binding = Binding {
        genesis: *genesis,
        model: ask.model,
        request: reply.request,
        miner: ask.miner,
        epoch: ask.epoch,
        input: ask.input.hash(),
        output: reply.output.hash(),
    };
    let (id, bond) = (response.id(genesis), slashing::has_bond(state, &miner)?);
    if state.read::<u64>("refuted response", &keys::refuted(&id))?.is_some() {
        return Err(ActionError::exists("a slash for response", id));
    }
    if !bond {
        return Err(ActionError::not_now(format!("{} has no bond left to slash", miner.operator)));
    }
    let ModelRecord { kind, cost, .. } = record;
    Ok(Exchange { response: id, miner, binding, kind, cost })
}

/// Input of a kind that the model does not take.
fn other_kind(kind: ModelKind) -> ActionError {
    let takes = match kind {
        ModelKind::Exact => "numbers",
        ModelKind::Text => "text",
    };
    ActionError::evidence(format!("the request's input is none of the model's, which takes {takes}"))
}

fn is_of_kind(kind: ModelKind, input: &Input) -> bool {
    matches!((kind, input), (ModelKind::Exact, Input::Numbers(_)) | (ModelKind::Text, Input::Text(_)))
}

/// What of a response to a text shows to be false without the model, if anything: the rest is for validators to judge.
fn text_fault(binding: &Binding, request: &Request, response: &Response) -> Option<SlashReason> {
    let text = request.input.text()?;
    let told = response.output.text();
    let fits = |o: &TextOutput| !o.tokens.is_empty() && o.tokens.len() as u64 <= u64::from(text.max_tokens);
    let honest = response.model == request.model && response.input == binding.input && told.is_some_and(fits);
    (!honest).then_some(SlashReason::WrongOutput)
}

fn load(state: &Overlay<'_>, id: &ModelId) -> Result<Arc<Model>, StoreError> {
    let bytes = query::model_bytes(state, id)?.ok_or(StoreError::Missing { what: "bytes of a model" })?;
    let corrupt = |reason: String| StoreError::Corrupt { what: "model", key: id.to_string(), reason };
    let model = answer::model(*id, &bytes).map_err(|e| corrupt(e.to_string()))?;
    if model.id() == *id { Ok(model) } else { Err(corrupt(format!("its bytes are of {}", model.id()))) }
}

pub(super) fn refute(
    state: &mut Overlay<'_>,
    env: &Env<'_>,
    request: &Signed<Request>,
    response: &Signed<Response>,
    proof: Option<&[u8]>,
) -> Result<(), ActionError> {
    let exchange = examine(state, env, request, response)?;
    if !is_of_kind(exchange.kind, &request.body.input) {
        return Err(other_kind(exchange.kind));
    }
    let reason = match exchange.kind {
        ModelKind::Exact => {
            let model = load(state, &request.body.model)?;
            fault(&model, &exchange.binding, &request.body, &response.body, proof)?
        }
        ModelKind::Text => text_fault(&exchange.binding, &request.body, &response.body).ok_or_else(|| {
            ActionError::evidence("only validators can tell whether this text is the model's: challenge it instead")
        })?,
    };
    let basis_points = env.params.slash_invalid_response;
    let number = slashing::slash_miner(state, env, exchange.miner, reason, basis_points)?;
    state.write(keys::refuted(&exchange.response), &number);
    Ok(())
}

/// What is wrong with a response, if anything.
fn fault(
    model: &Model,
    binding: &Binding,
    request: &Request,
    response: &Response,
    proof: Option<&[u8]>,
) -> Result<SlashReason, ActionError> {
    let wrong = |e: ExecError| ActionError::evidence(format!("the request's input is none of the model's: {e}"));
    let input = request.input.numbers().ok_or_else(|| other_kind(ModelKind::Exact))?;
    let output = model.run_flat(input).map_err(wrong)?;
    if response.model != request.model
        || response.input != binding.input
        || response.output.numbers() != Some(output.as_slice())
    {
        return Ok(SlashReason::WrongOutput);
    }
    let Some(proof) = proof else {
        return Err(ActionError::evidence(
            "exact re-execution gives the output that the miner signed: nothing is refuted",
        ));
    };
    if response.proof != Some(Hash32::digest(proof)) {
        return Err(ActionError::evidence("this is not the proof whose hash the miner signed"));
    }
    match answer::verify(&model.outline(), binding, input, &output, proof) {
        Ok(()) => Err(ActionError::evidence("the output is exact and the proof holds: nothing is refuted")),
        Err(RefusedAnswer::Setup(e)) => {
            Err(ActionError::evidence(format!("no proof of this model can be checked: {e}")))
        }
        Err(_) => Ok(SlashReason::InvalidProof),
    }
}

/// What can be said against a challenge without running the model.
pub(super) fn may_challenge(
    state: &Overlay<'_>,
    env: &Env<'_>,
    signer: AccountId,
    request: &Signed<Request>,
    response: &Signed<Response>,
) -> Result<Exchange, ActionError> {
    must_validate(state, signer, "a challenge")?;
    // A seat is what makes a challenger answerable: anyone with enough money for a while may register.
    if query::validator_set(state)?.power_of(&signer).is_none() {
        return Err(ActionError::not_now(format!(
            "{signer} is not in the validator set, which alone opens challenges"
        )));
    }
    if challenges_opened(state, env, &signer)? >= OPEN_CHALLENGES_PER_EPOCH {
        return Err(ActionError::not_now(format!(
            "a validator opens at most {OPEN_CHALLENGES_PER_EPOCH} challenges in an epoch"
        )));
    }
    let exchange = examine(state, env, request, response)?;
    let id = exchange.response;
    if query::challenge(state, &id)?.is_some() {
        return Err(ActionError::exists("a challenge of response", id));
    }
    // An honest miner must always be able to answer, so what no proof can be about is no challenge.
    let (ask, reply) = (&request.body, &response.body);
    if !is_of_kind(exchange.kind, &ask.input) {
        return Err(other_kind(exchange.kind));
    }
    let provable = match exchange.kind {
        ModelKind::Exact => {
            reply.model == ask.model
                && reply.input == exchange.binding.input
                && matches!(reply.output, Output::Numbers(_))
        }
        ModelKind::Text => text_fault(&exchange.binding, ask, reply).is_none(),
    };
    if !provable {
        return Err(ActionError::evidence("the response is about another model or input: refute it instead"));
    }
    Ok(exchange)
}

fn challenges_opened(state: &Overlay<'_>, env: &Env<'_>, challenger: &AccountId) -> Result<u64, StoreError> {
    Ok(state.read("count of challenges", &keys::challenge_count(env.epoch, challenger))?.unwrap_or(0))
}

pub(super) fn challenge(
    state: &mut Overlay<'_>,
    env: &Env<'_>,
    signer: AccountId,
    request: &Signed<Request>,
    response: &Signed<Response>,
) -> Result<(), ActionError> {
    let exchange = may_challenge(state, env, signer, request, response)?;
    let id = exchange.response;
    if let Some(numbers) = request.body.input.numbers()
        && let Err(e) = load(state, &request.body.model)?.run_flat(numbers)
    {
        return Err(ActionError::evidence(format!("the request's input is none of the model's: {e}")));
    }
    let deadline = env.block.height.checked_add(env.params.challenge_window);
    let deadline = deadline.ok_or(ActionError::Overflow("the challenge's deadline"))?;
    let record = Challenge {
        challenger: signer,
        request: request.clone(),
        response: response.clone(),
        status: ChallengeStatus::Open { deadline },
    };
    let count = challenges_opened(state, env, &signer)?;
    state.write(keys::challenge_count(env.epoch, &signer), &(count + 1));
    state.write(keys::challenge(&id), &record);
    state.write_bytes(keys::open_challenge(deadline, &id), Vec::new());
    state.emit(Event::ChallengeOpened { id, challenger: signer, miner: exchange.miner.operator, deadline });
    Ok(())
}

/// A challenge that waits for its answer.
pub(super) struct Waiting {
    challenge: Challenge,
    pub(super) deadline: u64,
    /// What checking an answer of its model takes.
    pub(super) cost: WorkCost,
}

/// The open challenge that `signer` may answer.
pub(super) fn may_answer(state: &dyn StateRead, signer: AccountId, id: &Hash32) -> Result<Waiting, ActionError> {
    let challenge = query::challenge(state, id)?.ok_or(ActionError::unknown("challenge", id))?;
    let miner = challenge.response.body.miner;
    if signer != miner {
        return Err(ActionError::NotYours { what: "an answer", expected: miner.to_string(), found: signer });
    }
    let ChallengeStatus::Open { deadline } = challenge.status else {
        return Err(ActionError::not_now(format!("challenge {id} is closed")));
    };
    let model = &challenge.request.body.model;
    let record = query::model(state, model)?.ok_or(StoreError::Missing { what: "model of a challenge" })?;
    if record.kind == ModelKind::Text {
        return Err(ActionError::not_now(format!("challenge {id} is about a text, which validators judge")));
    }
    Ok(Waiting { challenge, deadline, cost: record.cost })
}

pub(super) fn answer(
    state: &mut Overlay<'_>,
    env: &Env<'_>,
    signer: AccountId,
    id: &Hash32,
    proof: &[u8],
) -> Result<(), ActionError> {
    let Waiting { mut challenge, deadline, .. } = may_answer(state, signer, id)?;
    let miner = signer;
    let (request, output) = (&challenge.request.body, &challenge.response.body.output);
    let (Some(input), Some(output)) = (request.input.numbers(), output.numbers()) else {
        return Err(StoreError::Missing { what: "numbers of a challenged response" }.into());
    };
    let model = load(state, &request.model)?;
    let binding = Binding {
        genesis: env.block.genesis,
        model: request.model,
        request: challenge.response.body.request,
        miner,
        epoch: request.epoch,
        input: request.input.hash(),
        output: challenge.response.body.output.hash(),
    };
    answer::verify(&model.outline(), &binding, input, output, proof)
        .map_err(|e| ActionError::evidence(format!("the proof does not answer the challenge: {e}")))?;
    challenge.status = ChallengeStatus::Answered { height: env.block.height };
    state.write(keys::challenge(id), &challenge);
    state.remove(keys::open_challenge(deadline, id));
    state.emit(Event::ChallengeAnswered { id: *id, miner });
    Ok(())
}

/// Closes challenges whose deadline was the block before. Miners that owe a proof are slashed; a response refuted meanwhile
/// was slashed for that already. A text that too few validators judged is left alone: its miner owes nothing.
pub(super) fn expire_challenges(state: &mut Overlay<'_>, env: &Env<'_>) -> Result<(), StoreError> {
    for (index, _) in state.scan(&keys::open_challenges(env.block.height.saturating_sub(1)))? {
        let id = keys::last_hash(&index).ok_or(StoreError::Missing { what: "id of an open challenge" })?;
        let missing = StoreError::Missing { what: "challenge of an index entry" };
        let mut challenge = query::challenge(state, &id)?.ok_or(missing)?;
        let operator = challenge.response.body.miner;
        state.remove(index);
        if challenge.request.body.input.text().is_some() {
            challenge.status = ChallengeStatus::Lapsed { height: env.block.height };
            state.write(keys::challenge(&id), &challenge);
            judgement::forget(state, &id)?;
            state.emit(Event::ChallengeLapsed { id, miner: operator });
            continue;
        }
        challenge.status = ChallengeStatus::Silent { height: env.block.height };
        state.write(keys::challenge(&id), &challenge);
        if state.read::<u64>("refuted response", &keys::refuted(&id))?.is_none() {
            let missing = StoreError::Missing { what: "miner of a challenge" };
            let miner = query::miner(state, &operator)?.ok_or(missing)?;
            slashing::slash_miner(state, env, miner, SlashReason::Silence, env.params.slash_silence)?;
        }
        state.emit(Event::ChallengeExpired { id, miner: operator });
    }
    Ok(())
}
