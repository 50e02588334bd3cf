//! Transactions between this node and the others.

use std::{sync::Arc, time::Duration};

use assay_consensus::bft::Misbehaviour;
use assay_ledger::{StoreError, query, tx::Action};
use assay_primitives::{Keypair, Signed, VoteContent, decode, encode};
use tokio::{
    sync::{broadcast, mpsc},
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::{
    chain::Committed,
    net::{Bundle, GossipVerdict, InboundGossip, MAX_BUNDLE_BYTES, PublishError, Topic},
    roles::ChainView as _,
};

/// Blocks between two looks for transactions that can no longer stand in a block.
const SWEEP_EVERY: u64 = 16;
/// How long a transaction waits for others to travel with.
const GATHER: Duration = Duration::from_millis(10);
/// Pause before transactions that found no peer are tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Takes gossiped transactions; what is malformed or badly signed counts against the peer that passed it on.
pub(super) async fn receive(
    shared: Arc<Shared>,
    mut bundles: mpsc::Receiver<InboundGossip>,
    stop: CancellationToken,
) -> eyre::Result<()> {
    while let Some(inbound) = next(&mut bundles, &stop).await {
        let verdict = take(&shared, &inbound);
        inbound.report(verdict);
    }
    Ok(())
}

/// Takes what it can of a bundle. One that is forwarded must be new in all its parts, or it would carry what is old round again;
/// what is new in another travels on in this node's own bundles.
fn take(shared: &Shared, inbound: &InboundGossip) -> GossipVerdict {
    let Ok(Bundle(transactions)) = decode("bundle", &inbound.bytes) else {
        tracing::debug!(peer = %inbound.from, "refused a gossiped bundle that is none");
        return GossipVerdict::Reject;
    };
    let mut new = Vec::new();
    let all = transactions.len();
    for bytes in transactions {
        match shared.mempool.submit_gossiped(|| shared.store.snapshot(), &bytes) {
            Ok(_) => new.push(bytes),
            Err(e) if e.is_senders_fault() => {
                tracing::debug!(peer = %inbound.from, "refused a gossiped transaction: {e}");
                new.into_iter().for_each(|bytes| shared.spread(bytes));
                return GossipVerdict::Reject;
            }
            Err(e) => tracing::trace!("ignored a gossiped transaction: {e}"),
        }
    }
    if all > 0 && new.len() == all {
        return GossipVerdict::Accept;
    }
    new.into_iter().for_each(|bytes| shared.spread(bytes));
    GossipVerdict::Ignore
}

/// Publishes what is to be spread, what comes within a moment together.
pub(super) async fn send(
    shared: Arc<Shared>,
    mut outbox: mpsc::Receiver<Vec<u8>>,
    stop: CancellationToken,
) -> eyre::Result<()> {
    let mut waiting = None;
    loop {
        let first = match waiting.take() {
            Some(first) => first,
            None => match next(&mut outbox, &stop).await {
                Some(first) => first,
                None => return Ok(()),
            },
        };
        let mut bundle = Bundle::default();
        let (mut size, until) = (encoded_len(&first), Instant::now() + GATHER);
        bundle.0.push(first);
        while let Ok(Some(bytes)) = timeout_at(until, outbox.recv()).await {
            size += encoded_len(&bytes);
            if size > MAX_BUNDLE_BYTES {
                waiting = Some(bytes);
                break;
            }
            bundle.0.push(bytes);
        }
        publish(&shared, bundle, &stop).await;
    }
}

/// Of a bundle, with its own.
fn encoded_len(transaction: &[u8]) -> usize {
    transaction.len() + 4
}

/// Publishes a bundle, as soon as there is a peer.
async fn publish(shared: &Shared, mut bundle: Bundle, stop: &CancellationToken) {
    while shared.net.publish(Topic::Transactions, encode(&bundle)).await == Err(PublishError::NoPeers) {
        tokio::select! {
            () = tokio::time::sleep(RETRY_PAUSE) => {}
            () = stop.cancelled() => return,
        }
        // Only what still waits: what reached a block some other way needs no gossip.
        bundle.0.retain(|bytes| decode("transaction", bytes).is_ok_and(|tx| shared.mempool.contains(&tx)));
        if bundle.0.is_empty() {
            return;
        }
    }
}

/// Drops transactions that became impossible.
pub(super) async fn sweep(
    shared: Arc<Shared>,
    mut committed: broadcast::Receiver<Arc<Committed>>,
    stop: CancellationToken,
) -> eyre::Result<()> {
    loop {
        let block = tokio::select! {
            block = committed.recv() => block,
            () = stop.cancelled() => return Ok(()),
        };
        match block {
            Ok(block) if block.header.height % SWEEP_EVERY == 0 => shared.mempool.sweep(&shared.store.snapshot()),
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => {
                stop.cancelled().await;
                return Ok(());
            }
        }
    }
}

/// Turns conflicting votes into evidence transactions.
pub(super) async fn report(
    shared: Arc<Shared>,
    reporter: Keypair,
    mut misbehaviour: mpsc::Receiver<Misbehaviour>,
    stop: CancellationToken,
) -> eyre::Result<()> {
    while let Some(found) = next(&mut misbehaviour, &stop).await {
        match found {
            Misbehaviour::Votes { first, second } => convict(&shared, &reporter, first, second).await?,
            // The votes that follow conflicting proposals are what slashes; the proposals alone are reported to people.
            Misbehaviour::Proposals { first, .. } => {
                tracing::warn!(culprit = %first.body.proposer, height = first.body.height, "a validator proposed two blocks in one round");
            }
        }
    }
    Ok(())
}

/// Has a validator punished for two conflicting votes.
pub(super) async fn convict(
    shared: &Shared,
    reporter: &Keypair,
    first: Signed<VoteContent>,
    second: Signed<VoteContent>,
) -> Result<(), StoreError> {
    let culprit = first.body.validator;
    // A key that runs twice signs conflicting votes at every height; the first pair in a block is enough.
    let record = query::validator(&shared.store.snapshot(), &culprit)?;
    if record.is_none_or(|record| record.tombstoned) {
        tracing::debug!(%culprit, "a validator that is out for good signed conflicting votes");
        return Ok(());
    }
    match shared.submit(Action::DoubleSign { first, second }, reporter).await {
        Ok(id) => tracing::warn!(%culprit, tx = %id, "a validator signed two conflicting votes; evidence submitted"),
        Err(e) => tracing::warn!(%culprit, "evidence of a double signature was not taken: {e}"),
    }
    Ok(())
}

/// The next item, or `None` when the node stops. A channel whose senders are gone waits for the stop.
async fn next<T>(channel: &mut mpsc::Receiver<T>, stop: &CancellationToken) -> Option<T> {
    tokio::select! {
        item = channel.recv() => match item {
            Some(item) => Some(item),
            None => {
                stop.cancelled().await;
                None
            }
        },
        () = stop.cancelled() => None,
    }
}
