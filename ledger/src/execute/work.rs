//! Actions that take long to execute: their price, and their room in a block.
//!
//! Each kind has room of its own, so that one cannot crowd out another: the work of what a miner must post before its deadline,
//! above all, never waits for that of what anyone may send; and proposers put it first (see [`awaited_until`](super::awaited_until)),
//! to spare it the wait for bytes. Room is metered twice, in pieces and in nanoseconds that are reckoned from
//! what a model takes to verify and to run; so a block of the dearest models takes no longer than one of the cheapest. What
//! the state alone shows to be vain takes no room; it fails fast.

use assay_chain_spec::Params;
use assay_primitives::{AccountId, Amount};

use super::{Env, evidence, registry};
use crate::{
    ActionError, Refusal, StoreError,
    overlay::Overlay,
    tx::{Action, Transaction},
};

/// Most answers to open challenges that one block verifies.
pub const MAX_ANSWERS_PER_BLOCK: u64 = 64;
/// Most other proofs and models that one block verifies: `Refute` with a proof, and `RegisterModel`.
pub const MAX_PROOFS_PER_BLOCK: u64 = 16;
/// Most re-executions in one block: `Refute` without a proof, and `Challenge`.
pub const MAX_REPLAYS_PER_BLOCK: u64 = 64;

/// Nanoseconds, reckoned, that one block spends on each kind of work.
pub const WORK_BUDGET: u64 = 400_000_000;

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

/// What a transaction's work will cost, in nanoseconds, reckoned; `None` if it will not be done, as far as that can be told
/// without doing it. Its action begins with the same checks, so that where this says none it fails before the work.
pub(super) fn cost(
    state: &Overlay<'_>,
    env: &Env<'_>,
    payer: &AccountId,
    tx: &Transaction,
) -> Result<Option<u64>, StoreError> {
    let signer = tx.signer;
    let found = match &tx.action {
        Action::Answer { challenge, .. } => evidence::may_answer(state, signer, challenge).map(|open| open.cost.verify),
        Action::RegisterModel { subnet, name, bytes } => {
            let fee = if *payer == signer { tx.fee } else { Amount::ZERO };
            registry::model_is_welcome(state, env, signer, fee, (*subnet, name, bytes)).map(|_| reading(bytes))
        }
        Action::Refute { request, response, proof } => {
            let verify = |cost: u64| if proof.is_some() { cost } else { 0 };
            evidence::examine(state, env, request, response).map(|e| e.cost.replay + verify(e.cost.verify))
        }
        Action::Challenge { request, response } => {
            evidence::may_challenge(state, env, signer, request, response).map(|e| e.cost.replay)
        }
        _ => Ok(0),
    };
    match found {
        Ok(cost) => Ok(Some(cost)),
        Err(ActionError::Store(error)) => Err(error),
        Err(_) => Ok(None),
    }
}

/// What examining a model of so many bytes costs: a weight is checked, committed to and written.
fn reading(bytes: &[u8]) -> u64 {
    const EVERY: u64 = 5_000_000;
    const BYTE: u64 = 150;
    EVERY + BYTE * bytes.len() as u64
}

/// What a block has done so far: pieces and nanoseconds of each kind.
#[derive(Default)]
pub(super) struct Room {
    answers: (u64, u64),
    proofs: (u64, u64),
    replays: (u64, u64),
}

impl Room {
    /// Takes the room of one piece of work at its cost, if there is any.
    pub(super) fn take(&mut self, work: Work, cost: u64) -> Result<(), Refusal> {
        let ((pieces, spent), limit, what, time) = match work {
            Work::Answer => (&mut self.answers, MAX_ANSWERS_PER_BLOCK, "answers", "nanoseconds of answers"),
            Work::Proof => {
                (&mut self.proofs, MAX_PROOFS_PER_BLOCK, "proofs and models", "nanoseconds of proofs and models")
            }
            Work::Replay => (
                &mut self.replays,
                MAX_REPLAYS_PER_BLOCK,
                "refutations and challenges",
                "nanoseconds of refutations and challenges",
            ),
        };
        if *pieces >= limit {
            return Err(Refusal::NoRoom { what, limit });
        }
        let sum = spent.saturating_add(cost);
        if sum > WORK_BUDGET {
            return Err(Refusal::NoRoom { what: time, limit: WORK_BUDGET });
        }
        (*pieces, *spent) = (*pieces + 1, sum);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model::MAX_WORK_COST;

    #[test]
    fn no_kind_of_work_takes_the_room_of_another() {
        let mut room = Room::default();
        for (work, limit) in [(Work::Proof, 16), (Work::Replay, 64), (Work::Answer, 64)] {
            (0..limit).for_each(|_| room.take(work, 1).unwrap());
            assert!(matches!(room.take(work, 1), Err(Refusal::NoRoom { .. })));
        }
    }

    #[test]
    fn a_block_stops_at_its_budget_and_has_room_for_some_of_the_dearest_models() {
        let mut room = Room::default();
        (0..4).for_each(|_| room.take(Work::Answer, MAX_WORK_COST).unwrap());
        let refused = room.take(Work::Answer, 1).unwrap_err();
        assert!(matches!(refused, Refusal::NoRoom { limit: WORK_BUDGET, .. }), "{refused}");
        room.take(Work::Proof, 2 * MAX_WORK_COST).unwrap();
        assert!(reading(&[0; assay_chain_spec::MAX_MODEL_BYTES]) < WORK_BUDGET);
    }
}
