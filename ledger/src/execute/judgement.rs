//! Validators' judgement of challenged texts.
//!
//! A language model's answer is a function of model and request to the last bit, but too dear for a block to compute. So
//! each validator makes a challenged text again and says whether it is the one that the miner signed. Over two thirds of
//! the set's power against it condemn the miner; once a third or more is for it, it can no longer be condemned, and is
//! upheld. Those are the same shares as of blocks: who could lie here could as well write the chain.
//!
//! ```text
//! Challenge ─> Open ─Judge, Judge, …─┬─> Condemned (slash)
//!                                    ├─> Upheld
//!                                    └─> Lapsed at the deadline
//! ```

use assay_primitives::{AccountId, Hash32, ValidatorSet};

use super::{Env, scores::must_validate, slashing};
use crate::{
    ActionError, Event, StateRead, StoreError, keys,
    overlay::Overlay,
    query,
    records::{Challenge, ChallengeStatus, SlashReason},
};

/// A challenged text that may still be judged.
pub(super) struct Pending {
    challenge: Challenge,
    set: ValidatorSet,
    pub(super) deadline: u64,
}

/// The challenged text that `signer` may judge.
pub(super) fn may_judge(state: &dyn StateRead, signer: AccountId, id: &Hash32) -> Result<Pending, ActionError> {
    must_validate(state, signer, "a judgement")?;
    let set = query::validator_set(state)?;
    if set.power_of(&signer).is_none() {
        return Err(ActionError::not_now(format!("{signer} is not in the validator set, which alone judges texts")));
    }
    let challenge = query::challenge(state, id)?.ok_or(ActionError::unknown("challenge", id))?;
    if challenge.request.body.input.text().is_none() {
        return Err(ActionError::not_now(format!(
            "challenge {id} is about numbers, which its miner answers with a proof"
        )));
    }
    let ChallengeStatus::Open { deadline } = challenge.status else {
        return Err(ActionError::not_now(format!("challenge {id} is closed")));
    };
    if state.get(&keys::judgement(id, &signer))?.is_some() {
        return Err(ActionError::exists("a judgement of challenge", id));
    }
    Ok(Pending { challenge, set, deadline })
}

pub(super) fn judge(
    state: &mut Overlay<'_>,
    env: &Env<'_>,
    signer: AccountId,
    id: &Hash32,
    holds: bool,
) -> Result<(), ActionError> {
    let Pending { mut challenge, set, deadline } = may_judge(state, signer, id)?;
    state.write(keys::judgement(id, &signer), &holds);
    let (mut upheld, mut condemned, mut all) = (0u128, 0u128, 0u128);
    for validator in set.iter() {
        let power = u128::from(validator.power);
        all += power;
        match state.read::<bool>("judgement", &keys::judgement(id, &validator.account))? {
            Some(true) => upheld += power,
            Some(false) => condemned += power,
            None => {}
        }
    }
    let height = env.block.height;
    let holds = match (upheld * 3 >= all, condemned * 3 > all * 2) {
        (true, _) => true,
        (_, true) => false,
        _ => return Ok(()),
    };
    challenge.status = if holds { ChallengeStatus::Upheld { height } } else { ChallengeStatus::Condemned { height } };
    state.write(keys::challenge(id), &challenge);
    state.remove(keys::open_challenge(deadline, id));
    forget(state, id)?;
    let operator = challenge.response.body.miner;
    if !holds && state.read::<u64>("refuted response", &keys::refuted(id))?.is_none() {
        let missing = StoreError::Missing { what: "miner of a challenge" };
        let miner = query::miner(state, &operator)?.ok_or(missing)?;
        let basis_points = env.params.slash_invalid_response;
        let number = slashing::slash_miner(state, env, miner, SlashReason::WrongOutput, basis_points)?;
        state.write(keys::refuted(id), &number);
    }
    state.emit(Event::ChallengeJudged { id: *id, miner: operator, holds });
    Ok(())
}

/// Removes the judgements of a challenge that is closed.
pub(super) fn forget(state: &mut Overlay<'_>, id: &Hash32) -> Result<(), StoreError> {
    for (key, _) in state.scan(&keys::judgements(id))? {
        state.remove(key);
    }
    Ok(())
}
