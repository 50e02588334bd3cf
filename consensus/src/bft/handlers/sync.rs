//! The three messages of catching up: what we can serve, serving it, and judging what we are served.

use std::ops::RangeInclusive;

use bytes::Bytes;
use malachitebft_app_channel::Reply;
use malachitebft_app_channel::app::types::sync::RawDecidedValue;
use malachitebft_core_types::{CommitCertificate, CommitSignature, Round};
use malachitebft_engine::host::SyncedValueOutcome;

use crate::bft::{
    app::{App, judge, proposed},
    codec::extended,
    context::{Address, BlockId, Ctx, Height},
    executor::{Executor, Fault, Undecided, Verdict},
};

/// Blocks in one answer.
const MOST_BLOCKS: u64 = 32;
/// Bytes of blocks in one answer, unless a single block is larger.
const MOST_BYTES: usize = 6 * 1024 * 1024;

/// `GetHistoryMinHeight`: the lowest height we serve. Unanswered, peers never hear of us and cannot sync.
pub(crate) async fn history_min_height<E: Executor>(app: &App<E>, reply: Reply<Height>) -> Result<(), Fault> {
    let earliest = app.with(|executor| executor.earliest()).await??;
    let _ = reply.send(Height(earliest));
    Ok(())
}

/// `GetDecidedValues`: a peer asks for committed blocks. The engine does not check the range; we do.
/// Unanswered, the peer asks somebody else.
pub(crate) async fn decided_values<E: Executor>(
    app: &App<E>,
    range: RangeInclusive<Height>,
    reply: Reply<Vec<RawDecidedValue<Ctx>>>,
) -> Result<(), Fault> {
    let (start, end) = (range.start().0.max(1), range.end().0.min(app.tip.height));
    let values = app
        .with(move |executor| {
            let (mut values, mut bytes) = (Vec::new(), 0);
            for height in (start..=end).take(usize::try_from(MOST_BLOCKS).unwrap_or(usize::MAX)) {
                let Some((block, certificate)) = executor.decided(height)? else { break };
                bytes += block.len();
                if bytes > MOST_BYTES && !values.is_empty() {
                    break;
                }
                values.push(raw(block, certificate));
            }
            Ok::<_, Fault>(values)
        })
        .await??;
    let _ = reply.send(values);
    Ok(())
}

fn raw(block: Vec<u8>, certificate: assay_primitives::Certificate) -> RawDecidedValue<Ctx> {
    let signatures = certificate
        .signatures
        .into_iter()
        .map(|(account, signature)| CommitSignature::new(Address(account), signature));
    let found = CommitCertificate {
        height: Height(certificate.height),
        round: Round::new(certificate.round),
        value_id: BlockId(certificate.block),
        commit_signatures: signatures.collect(),
    };
    RawDecidedValue::new(block.into(), extended(found))
}

/// `ProcessSyncedValue`: a peer served a block with a certificate that holds. Unanswered, the sync of this
/// height hangs until it is asked again.
///
/// The clock plays no part: the block may be old. Bytes that are no block are the peer's fault; a block that
/// this node finds invalid is told to the engine, which blames the peer if the certificate is for another one.
pub(crate) async fn process<E: Executor>(
    app: &mut App<E>,
    height: Height,
    round: Round,
    proposer: Address,
    bytes: Bytes,
    reply: Reply<SyncedValueOutcome<Ctx>>,
) -> Result<(), Fault> {
    let Some(number) = round.as_u32().filter(|_| height.0 == app.tip.height + 1 && app.halted.is_none()) else {
        let _ = reply.send(SyncedValueOutcome::LocalTransientError);
        return Ok(());
    };
    if bytes.is_empty() || bytes.len() > app.max_block_bytes {
        let _ = reply.send(SyncedValueOutcome::PeerFault);
        return Ok(());
    }
    let builders = app.builders(number, number.checked_sub(1));
    let judged = app.judged.clone();
    let saved = app
        .with(move |executor| {
            let Some(block) = executor.block_id(&bytes) else { return Ok(None) };
            let valid = judged.contains(&block)
                || match judge(executor, height.0, &builders, &bytes, None)? {
                    Verdict::Valid(id) => id == block,
                    Verdict::Invalid { reason } => {
                        tracing::error!(height = height.0, %block, %reason, "a synced block is invalid here: its peer lies, or this node runs other rules");
                        false
                    }
                };
            let (height, bytes) = (height.0, bytes.to_vec());
            let undecided = Undecided { height, round: number, valid_round: None, proposer: proposer.0, block, bytes, valid };
            if valid {
                // The engine may decide on it from its log after a crash.
                executor.save_undecided(&undecided)?;
            }
            Ok::<_, Fault>(Some(undecided))
        })
        .await??;
    let outcome = match saved {
        None => SyncedValueOutcome::PeerFault,
        Some(undecided) => {
            if undecided.valid {
                app.judged.insert(undecided.block);
                app.status.send_modify(|status| status.syncing = true);
            }
            SyncedValueOutcome::Verdict(proposed(&undecided))
        }
    };
    let _ = reply.send(outcome);
    Ok(())
}
