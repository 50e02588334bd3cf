//! Actions that take long to execute: their price, and their room in a block.
//!
//! Each kind has room of its own, so that one cannot crowd out another: what a miner must post before its deadline, above
//! all, never waits behind what anyone may send. What the state alone shows to be vain takes no room; it fails fast.

use assay_chain_spec::Params;
use assay_primitives::{AccountId, Amount};

use super::{Env, evidence, registry};
use crate::{
    ActionError, Refusal, StoreError,
    overlay::Overlay,
    tx::{Action, Transaction},
};

/// Most answers to open challenges that one block verifies.
pub const MAX_ANSWERS_PER_BLOCK: u32 = 64;
/// Most other proofs and models that one block verifies: `Refute` with a proof, and `RegisterModel`.
pub const MAX_PROOFS_PER_BLOCK: u32 = 16;
/// Most re-executions in one block: `Refute` without a proof, and `Challenge`.
pub const MAX_REPLAYS_PER_BLOCK: u32 = 64;

/// How many times the parameter `min_fee` a proof or a model costs.
const PROOF_FEE: u64 = 100;

/// The least fee of an action under these parameters: `min_fee`, or 100 times that for `RegisterModel` and for `Refute`
/// with a proof, which take every validator long to check.
pub fn least_fee(params: &Params, action: &Action) -> Amount {
    match Work::of(action) {
        Some(Work::Proof) => Amount(params.min_fee.saturating_mul(PROOF_FEE)),
        _ => Amount(params.min_fee),
    }
}

/// A kind of work with room of its own.
#[derive(Clone, Copy)]
pub(super) enum Work {
    Answer,
    Proof,
    Replay,
}

impl Work {
    pub(super) fn of(action: &Action) -> Option<Self> {
        match action {
            Action::Answer { .. } => Some(Work::Answer),
            Action::RegisterModel { .. } | Action::Refute { proof: Some(_), .. } => Some(Work::Proof),
            Action::Refute { proof: None, .. } | Action::Challenge { .. } => Some(Work::Replay),
            _ => None,
        }
    }
}

/// Whether a transaction's work will be done, as far as that can be told without doing it. Its action begins with the same
/// checks, so that where this says no it fails before the work.
pub(super) fn will_be_done(
    state: &Overlay<'_>,
    env: &Env<'_>,
    payer: &AccountId,
    tx: &Transaction,
) -> Result<bool, StoreError> {
    let signer = tx.signer;
    let checked = match &tx.action {
        Action::Answer { challenge, .. } => evidence::may_answer(state, signer, challenge).map(|_| ()),
        Action::RegisterModel { subnet, name, bytes } => {
            let fee = if *payer == signer { tx.fee } else { Amount::ZERO };
            registry::model_is_welcome(state, env, signer, fee, (*subnet, name, bytes)).map(|_| ())
        }
        Action::Refute { request, response, .. } => evidence::examine(state, env, request, response).map(|_| ()),
        Action::Challenge { request, response } => {
            evidence::may_challenge(state, env, signer, request, response).map(|_| ())
        }
        _ => Ok(()),
    };
    match checked {
        Ok(()) => Ok(true),
        Err(ActionError::Store(error)) => Err(error),
        Err(_) => Ok(false),
    }
}

/// What a block has done so far.
#[derive(Default)]
pub(super) struct Room {
    answers: u32,
    proofs: u32,
    replays: u32,
}

impl Room {
    /// Takes the room of one piece of work, if there is any.
    pub(super) fn take(&mut self, work: Work) -> Result<(), Refusal> {
        let (done, limit, what) = match work {
            Work::Answer => (&mut self.answers, MAX_ANSWERS_PER_BLOCK, "answers"),
            Work::Proof => (&mut self.proofs, MAX_PROOFS_PER_BLOCK, "proofs and models"),
            Work::Replay => (&mut self.replays, MAX_REPLAYS_PER_BLOCK, "refutations and challenges"),
        };
        if *done >= limit {
            return Err(Refusal::NoRoom { what, limit });
        }
        *done += 1;
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn no_kind_of_work_takes_the_room_of_another() {
        let mut room = Room::default();
        for (work, limit) in [(Work::Proof, 16), (Work::Replay, 64), (Work::Answer, 64)] {
            (0..limit).for_each(|_| room.take(work).unwrap());
            assert!(matches!(room.take(work), Err(Refusal::NoRoom { .. })));
        }
    }
}
