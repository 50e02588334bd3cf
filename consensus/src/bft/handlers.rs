//! One function for each thing the engine asks, with the duty and what stalls without it.

mod decided;
mod extensions;
mod finalized;
mod part;
mod ready;
mod restream;
mod round;
mod sync;
mod value;

use malachitebft_app_channel::AppMsg;

use super::{
    app::App,
    context::Ctx,
    executor::{Executor, Fault},
};

/// Does what one message asks. A [`Fault`] ends the loop, and with it the engine.
pub(crate) async fn handle<E: Executor>(app: &mut App<E>, message: AppMsg<Ctx>) -> Result<(), Fault> {
    match message {
        AppMsg::ConsensusReady { reply } => ready::handle(app, reply),
        AppMsg::StartedRound { height, round, role, reply_value, .. } => {
            round::handle(app, height, round, role, reply_value).await?
        }
        AppMsg::GetValue { height, round, reply, .. } => value::handle(app, height, round, reply).await?,
        AppMsg::ReceivedProposalPart { from, published_by, part, reply } => {
            part::handle(app, published_by.unwrap_or(from), part, reply).await?;
        }
        AppMsg::RestreamProposal { height, round, valid_round, address, value_id } => {
            restream::handle(app, height, round, valid_round, address, value_id).await?;
        }
        AppMsg::Decided { certificate, reply, .. } => decided::handle(app, certificate, reply).await?,
        AppMsg::Finalized { certificate, evidence, reply, .. } => {
            finalized::handle(app, certificate, evidence, reply).await?
        }
        AppMsg::GetHistoryMinHeight { reply } => sync::history_min_height(app, reply).await?,
        AppMsg::GetDecidedValues { range, reply } => sync::decided_values(app, range, reply).await?,
        AppMsg::ProcessSyncedValue { height, round, proposer, value_bytes, reply } => {
            sync::process(app, height, round, proposer, value_bytes, reply).await?;
        }
        AppMsg::ExtendVote { reply, .. } => extensions::extend(reply),
        AppMsg::VerifyVoteExtensions { extensions, reply, .. } => extensions::verify(extensions, reply),
    }
    Ok(())
}
