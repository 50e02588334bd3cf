//! `GetValue`: it is our turn to propose. Unanswered within the propose timeout, the round is lost.
//!
//! The block is saved before the answer, and a block built before for the same round is given again: two
//! different ones would be a double proposal.

use malachitebft_app_channel::Reply;
use malachitebft_app_channel::app::types::LocallyProposedValue;
use malachitebft_core_types::Round;

use crate::bft::{
    app::{App, now_ms},
    context::{BlockId, Ctx, Height},
    executor::{Executor, Fault, Undecided},
};

pub(crate) async fn handle<E: Executor>(
    app: &mut App<E>,
    height: Height,
    round: Round,
    reply: Reply<LocallyProposedValue<Ctx>>,
) -> Result<(), Fault> {
    let Some(number) = round.as_u32().filter(|_| height.0 == app.tip.height + 1) else {
        tracing::warn!(height = height.0, %round, tip = app.tip.height, "asked for a block that does not come next");
        return Ok(());
    };
    app.see(height.0);
    app.status.send_modify(|status| status.syncing = false);
    let (account, limit) = (app.account, app.max_block_bytes);
    let undecided = app.with(move |executor| build(executor, height.0, number, account, limit)).await??;
    app.judged.insert(undecided.block);
    let _ = reply.send(LocallyProposedValue::new(height, round, BlockId(undecided.block)));
    app.publish_own(&undecided).await;
    Ok(())
}

fn build<E: Executor>(
    executor: &mut E,
    height: u64,
    round: u32,
    proposer: assay_primitives::AccountId,
    limit: usize,
) -> Result<Undecided, Fault> {
    let saved = executor.undecided(height, round)?;
    if let Some(own) = saved.into_iter().find(|u| u.proposer == proposer && u.valid_round.is_none()) {
        return Ok(own);
    }
    let bytes = executor.prepare(height, round, proposer, now_ms())?;
    if bytes.is_empty() || bytes.len() > limit {
        return Err(Fault(format!(
            "a block has 1..={limit} bytes, this node's application built one of {}; report it",
            bytes.len()
        )));
    }
    let block = executor
        .block_id(&bytes)
        .ok_or_else(|| Fault("this node's application built a block it cannot read; report it".into()))?;
    let undecided = Undecided { height, round, valid_round: None, proposer, block, bytes, valid: true };
    executor.save_undecided(&undecided)?;
    Ok(undecided)
}
