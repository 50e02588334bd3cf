//! `RestreamProposal`: peers may have missed a block that two thirds prevoted; send it again. Without it a
//! later round could not agree on the block that some are locked on.

use malachitebft_core_types::Round;

use crate::bft::{
    app::App,
    context::{Address, BlockId, Height},
    executor::{Executor, Fault, Undecided},
};

pub(crate) async fn handle<E: Executor>(
    app: &mut App<E>,
    height: Height,
    round: Round,
    valid_round: Round,
    proposer: Address,
    block: BlockId,
) -> Result<(), Fault> {
    let Some(round) = round.as_u32().filter(|_| height.0 == app.tip.height + 1) else { return Ok(()) };
    let Some(bytes) = app.with(move |executor| executor.undecided_block(&block.0)).await?? else {
        tracing::warn!(height = height.0, round, %block, "asked to send again a block that is not in the store");
        return Ok(());
    };
    if proposer.0 == app.account {
        let undecided = Undecided {
            height: height.0,
            round,
            valid_round: valid_round.as_u32(),
            proposer: proposer.0,
            block: block.0,
            bytes,
            valid: true,
        };
        app.publish_own(&undecided).await;
    } else if let Some(opening) = app.opening(round, &block.0).cloned() {
        // Only its proposer can sign an opening: pass on the one we got.
        app.publish(opening, &bytes).await;
    }
    Ok(())
}
