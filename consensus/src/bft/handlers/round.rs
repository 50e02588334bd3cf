//! `StartedRound`: a round begins, and the engine asks which of its proposals we know. It waits for the
//! answer before anything else, so unanswered, consensus stands still.
//!
//! After a crash this is how the engine gets its proposals back; and blocks that came before their parent
//! was committed here are judged now. A proposer that had built its block before the crash sends it again.

use malachitebft_app_channel::Reply;
use malachitebft_app_channel::app::{consensus::Role, types::ProposedValue};
use malachitebft_core_types::Round;

use crate::bft::{
    app::{App, proposed},
    context::{Ctx, Height},
    executor::{Executor, Fault},
};

pub(crate) async fn handle<E: Executor>(
    app: &mut App<E>,
    height: Height,
    round: Round,
    role: Role,
    reply: Reply<Vec<ProposedValue<Ctx>>>,
) -> Result<(), Fault> {
    let round = round.as_u32().unwrap_or(0);
    app.round = round;
    app.status.send_modify(|status| status.round = round);
    let mut values = Vec::new();
    if height.0 == app.tip.height + 1 {
        let (now, later) =
            std::mem::take(&mut app.future).into_iter().partition(|block| block.init.body.height <= height.0);
        app.future = later;
        for block in now {
            values.extend(app.assess(block).await?);
        }
    }
    let saved = app.with(move |executor| executor.undecided(height.0, round)).await??;
    for undecided in &saved {
        let value = proposed(undecided);
        if !values.iter().any(|known| (known.round, known.value) == (value.round, value.value)) {
            values.push(value);
        }
    }
    let _ = reply.send(values);
    if role == Role::Proposer {
        let account = app.account;
        for own in saved.into_iter().filter(|saved| saved.proposer == account && saved.valid) {
            app.publish_own(&own).await;
        }
    }
    Ok(())
}
