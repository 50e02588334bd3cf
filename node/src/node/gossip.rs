//! Transactions between this node and the others.

use std::{sync::Arc, time::Duration};

use assay_consensus::bft::Misbehaviour;
use assay_ledger::{query, tx::Action};
use assay_primitives::{Keypair, decode};
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::{
    chain::Committed,
    net::{InboundTx, TxVerdict},
    roles::ChainView as _,
};

/// Blocks between two looks for transactions that can no longer stand in a block.
const SWEEP_EVERY: u64 = 16;
/// Pause before a transaction that found no peer is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Takes gossiped transactions; what is malformed or badly signed counts against the peer that passed it on.
pub(super) async fn receive(
    shared: Arc<Shared>,
    mut transactions: mpsc::Receiver<InboundTx>,
    stop: CancellationToken,
) -> eyre::Result<()> {
    while let Some(inbound) = next(&mut transactions, &stop).await {
        let verdict = match shared.mempool.submit_gossiped(|| shared.store.snapshot(), &inbound.bytes) {
            Ok(_) => TxVerdict::Accept,
            Err(e) if e.is_senders_fault() => {
                tracing::debug!(peer = %inbound.from, "refused a gossiped transaction: {e}");
                TxVerdict::Reject
            }
            Err(e) => {
                tracing::trace!("ignored a gossiped transaction: {e}");
                TxVerdict::Ignore
            }
        };
        inbound.report(verdict);
    }
    Ok(())
}

/// Publishes again what found no peer.
pub(super) async fn retry(
    shared: Arc<Shared>,
    mut unsent: mpsc::Receiver<Vec<u8>>,
    stop: CancellationToken,
) -> eyre::Result<()> {
    while let Some(bytes) = next(&mut unsent, &stop).await {
        tokio::time::sleep(RETRY_PAUSE).await;
        // Only while it still waits: what reached a block some other way needs no gossip.
        let waiting = decode("transaction", &bytes).is_ok_and(|tx| shared.mempool.contains(&tx));
        if waiting {
            shared.spread(bytes).await;
        }
    }
    Ok(())
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
            Misbehaviour::Votes { first, second } => {
                let culprit = first.body.validator;
                // A key that runs twice signs conflicting votes at every height; the first pair in a block is enough.
                let record = query::validator(&shared.store.snapshot(), &culprit)?;
                if record.is_none_or(|record| record.tombstoned) {
                    tracing::debug!(%culprit, "a validator that is out for good signed conflicting votes");
                    continue;
                }
                match shared.submit(Action::DoubleSign { first, second }, &reporter).await {
                    Ok(id) => {
                        tracing::warn!(%culprit, tx = %id, "a validator signed two conflicting votes; evidence submitted")
                    }
                    Err(e) => tracing::warn!(%culprit, "evidence of a double signature was not taken: {e}"),
                }
            }
            // The votes that follow conflicting proposals are what slashes; the proposals alone are reported to people.
            Misbehaviour::Proposals { first, .. } => {
                tracing::warn!(culprit = %first.body.proposer, height = first.body.height, "a validator proposed two blocks in one round");
            }
        }
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
