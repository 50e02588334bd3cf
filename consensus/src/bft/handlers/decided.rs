//! `Decided`: two thirds precommitted a block. It is committed durably, and only then acknowledged: peers
//! learn from the acknowledgement that we can serve it, and a height that is lost after it could be signed
//! twice. Unacknowledged, nobody can sync from this node.

use std::time::Instant;

use assay_primitives::Certificate;
use malachitebft_app_channel::Reply;
use malachitebft_core_types::CommitCertificate;

use crate::bft::{
    app::{App, judge},
    context::Ctx,
    executor::{Executor, Fault, Verdict},
};

/// The engine's certificate as ours: the same signatures, sorted by account.
pub(crate) fn certificate(found: &CommitCertificate<Ctx>) -> Option<Certificate> {
    let mut signatures: Vec<_> = found.commit_signatures.iter().map(|s| (s.address.0, s.signature)).collect();
    signatures.sort();
    signatures.dedup_by_key(|(account, _)| *account);
    Some(Certificate { height: found.height.0, round: found.round.as_u32()?, block: found.value_id.0, signatures })
}

pub(crate) async fn handle<E: Executor>(
    app: &mut App<E>,
    found: CommitCertificate<Ctx>,
    reply: Reply<()>,
) -> Result<(), Fault> {
    let height = found.height.0;
    if height == app.tip.height && found.value_id.0 == app.tip.id {
        let _ = reply.send(());
        return Ok(());
    }
    if height != app.tip.height + 1 {
        return Err(Fault(format!(
            "the engine decided height {height} but the tip is {}; the store and the engine's log disagree",
            app.tip.height
        )));
    }
    let Some(certificate) = certificate(&found) else {
        return Err(Fault(format!("the engine decided height {height} in no round; report it")));
    };
    let block = certificate.block;
    let builders = app.builders(certificate.round, certificate.round.checked_sub(1));
    let judged = app.judged.contains(&block);
    let (tip, set, block_interval) = app
        .with(move |executor| {
            let bytes = executor
                .undecided_block(&block)?
                .ok_or_else(|| Fault(format!("block {block} of height {height} is decided but not in the store")))?;
            // After a restart the engine may decide from its log, on a block this run has not executed.
            if !judged && let Verdict::Invalid { reason } = judge(executor, height, &builders, &bytes, None)? {
                return Err(Fault(format!(
                    "two thirds of the validators committed block {block} of height {height}, and this node finds it invalid: \
                     {reason}. It runs other rules than they do, or its state is damaged: update it, or sync it afresh"
                )));
            }
            executor.commit(&bytes, &certificate)?;
            let tip = executor.tip();
            if (tip.height, tip.id) != (height, block) {
                return Err(Fault(format!("committed height {height}, but the tip says {}", tip.height)));
            }
            Ok((tip, executor.validators(height + 1)?, executor.block_interval()))
        })
        .await??;
    app.tip = tip;
    app.set = set;
    app.block_interval = block_interval;
    app.round = 0;
    app.judged.clear();
    app.openings.clear();
    app.streams.forget(height);
    app.future.retain(|block| block.init.body.height > height);
    app.first_seen.retain(|seen, _| *seen >= height);
    let validator = app.is_validator();
    app.status.send_modify(|status| {
        status.height = height;
        status.round = 0;
        status.validator = validator;
        status.last_progress = Instant::now();
    });
    let _ = reply.send(());
    Ok(())
}
