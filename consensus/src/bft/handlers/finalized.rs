//! `Finalized`: a height is done; the engine asks what comes next, and hands over evidence of misbehaviour.
//! Unanswered, the chain stalls here.
//!
//! The answer is always the next height with its validator set, never a restart of this one: that would
//! wipe the engine's log and risk a double signature. The answer waits for the beat: a height starts one
//! block interval after the proposal of the one before was first seen. Every node keeps that beat by itself,
//! a node that synced does not wait, and a late or failed height is not paced at all.
//!
//! If the application may not take part in the next height there is no answer: the chain stalls here for this node, which is
//! what it wants. What it has it still serves for [`LINGER`], so that peers a block behind come as far, and then it stops.

use std::time::{Duration, Instant};

use assay_primitives::Signed;
use malachitebft_app_channel::Reply;
use malachitebft_app_channel::app::types::MisbehaviorEvidence;
use malachitebft_core_types::CommitCertificate;
use malachitebft_engine::host::Next;

use crate::bft::{
    app::{App, Halted},
    context::{Ctx, Height},
    executor::{Executor, Fault, Misbehaviour},
};

/// How long a node that goes no further serves peers that are a block behind.
const LINGER: Duration = Duration::from_secs(5);

pub(crate) async fn handle<E: Executor>(
    app: &mut App<E>,
    certificate: CommitCertificate<Ctx>,
    evidence: MisbehaviorEvidence<Ctx>,
    reply: Reply<Next<Ctx>>,
) -> Result<(), Fault> {
    let height = certificate.height.0;
    if height != app.tip.height {
        return Err(Fault(format!("the engine finalized height {height}, but the tip is {}", app.tip.height)));
    }
    if !evidence.is_empty() {
        let found = misbehaviours(&evidence);
        tracing::warn!(height, count = found.len(), "validators signed conflicting messages");
        app.with(move |executor| found.into_iter().for_each(|one| executor.report(one))).await?;
    }
    if let Err(fault) = app.with(|executor| executor.may_go_on()).await? {
        tracing::error!(height, %fault, "the next height is not begun");
        app.halted = Some(Halted { until: Instant::now() + LINGER, fault, _unanswered: reply });
        return Ok(());
    }
    let next = Next::Start(Height(height + 1), app.params());
    let beat = app.first_seen.get(&height).map(|seen| *seen + app.block_interval);
    match beat {
        Some(beat) if beat > Instant::now() => {
            tokio::spawn(async move {
                tokio::time::sleep_until(beat.into()).await;
                let _ = reply.send(next);
            });
        }
        _ => {
            let _ = reply.send(next);
        }
    }
    Ok(())
}

fn misbehaviours(evidence: &MisbehaviorEvidence<Ctx>) -> Vec<Misbehaviour> {
    let votes = evidence.votes.iter().flat_map(|(_, pairs)| pairs).filter_map(|(first, second)| {
        let first = Signed { body: first.message.content()?, signature: first.signature };
        let second = Signed { body: second.message.content()?, signature: second.signature };
        Some(Misbehaviour::Votes { first, second })
    });
    let proposals = evidence.proposals.iter().flat_map(|(_, pairs)| pairs).filter_map(|(first, second)| {
        let first = Signed { body: first.message.content()?, signature: first.signature };
        let second = Signed { body: second.message.content()?, signature: second.signature };
        Some(Misbehaviour::Proposals { first, second })
    });
    votes.chain(proposals).collect()
}
