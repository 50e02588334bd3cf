//! Transactions between this node and the others.

mod budget;

use std::{sync::Arc, time::Duration};

use assay_consensus::bft::Misbehaviour;
use assay_ledger::{SignedTransaction, StoreError, query, tx::Action};
use assay_primitives::{Keypair, Signed, VoteContent, decode, encode};
use prometheus_client::{metrics::counter::Counter, registry::Registry};
use tokio::{
    sync::{broadcast, mpsc},
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use self::budget::Budgets;
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
/// Pause before transactions that no peer took are tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// What became of transactions that were to be gossiped.
#[derive(Clone, Debug, Default)]
pub(super) struct GossipMetrics {
    unsent: Counter,
    unread: Counter,
}

impl GossipMetrics {
    /// Adds the counters to a registry, under `assay_gossip_`, and that of what the network loses ([`crate::net::NetHandle::lost`]).
    pub(super) fn register(&self, lost: &Counter, registry: &mut Registry) {
        let r = registry.sub_registry_with_prefix("assay_gossip");
        r.register("unsent", "Transactions that stayed with this node alone", self.unsent.clone());
        r.register("unread", "Bundles left unread, of peers that had sent too much of no use", self.unread.clone());
        r.register("lost", "Messages that a peer was too slow to take, one for each peer", lost.clone());
    }

    /// Counts transactions that stay with this node alone. Says so now and then: they may be many.
    pub(super) fn count_unsent(&self, transactions: usize, why: &str) {
        let before = self.unsent.inc_by(transactions as u64);
        if before.checked_ilog2() != self.unsent.get().checked_ilog2() {
            tracing::warn!(in_all = self.unsent.get(), "transactions stay with this node alone: {why}");
        }
    }
}

/// Takes gossiped transactions; what is malformed or badly signed counts against the peer that passed it on, and so does much that is
/// of no use.
pub(super) async fn receive(
    shared: Arc<Shared>,
    mut bundles: mpsc::Receiver<InboundGossip>,
    stop: CancellationToken,
) -> eyre::Result<()> {
    let mut budgets = Budgets::default();
    while let Some(inbound) = next(&mut bundles, &stop).await {
        let from = inbound.from;
        if let Some(verdict) = budgets.unread(from, inbound.bytes.len(), Instant::now()) {
            shared.gossip.unread.inc();
            inbound.report(verdict);
            continue;
        }
        let shared = Arc::clone(&shared);
        // A bundle may hold thousands of signatures to check: not where others wait for their turn.
        let judging = move || {
            let (verdict, cost) = take(&shared, &inbound);
            inbound.report(verdict);
            cost
        };
        let cost = tokio::task::spawn_blocking(judging).await?;
        budgets.charge(from, cost, Instant::now());
    }
    Ok(())
}

/// Takes what it can of a bundle. One that is forwarded must be new in all its parts, or it would carry what is old round again;
/// what is new in another travels on in this node's own bundles. Gives what the rest costs the peer, too.
fn take(shared: &Shared, inbound: &InboundGossip) -> (GossipVerdict, Duration) {
    let mut cost = Duration::ZERO;
    let Ok(Bundle { transactions, .. }) = decode("bundle", &inbound.bytes) else {
        tracing::debug!(peer = %inbound.from, "refused a gossiped bundle that is none");
        return (GossipVerdict::Reject, cost);
    };
    let mut new = Vec::new();
    let all = transactions.len();
    for bytes in transactions {
        match shared.mempool.submit_gossiped(|| shared.store.snapshot(), &bytes) {
            Ok(_) => new.push(bytes),
            Err(e) if e.is_senders_fault() => {
                tracing::debug!(peer = %inbound.from, "refused a gossiped transaction: {e}");
                new.into_iter().for_each(|bytes| shared.spread(bytes));
                return (GossipVerdict::Reject, cost);
            }
            Err(e) => {
                cost += budget::charge(&e, || stands(shared, &bytes));
                tracing::trace!("ignored a gossiped transaction: {e}");
            }
        }
    }
    if all > 0 && new.len() == all {
        return (GossipVerdict::Accept, cost);
    }
    new.into_iter().for_each(|bytes| shared.spread(bytes));
    (GossipVerdict::Ignore, cost)
}

/// Whether an encoded transaction stands in a block that this node has.
fn stands(shared: &Shared, bytes: &[u8]) -> bool {
    let stands = |tx: SignedTransaction| shared.store.transaction(&tx.id(&shared.genesis)).is_ok_and(|at| at.is_some());
    decode("transaction", bytes).is_ok_and(stands)
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
        let (mut size, until) = (encode(&bundle).len() + encoded_len(&first), Instant::now() + GATHER);
        bundle.transactions.push(first);
        while let Ok(Some(bytes)) = timeout_at(until, outbox.recv()).await {
            size += encoded_len(&bytes);
            if size > MAX_BUNDLE_BYTES {
                waiting = Some(bytes);
                break;
            }
            bundle.transactions.push(bytes);
        }
        publish(&shared, bundle, &stop).await;
    }
}

/// What a transaction takes of a bundle: its length stands before it.
fn encoded_len(transaction: &[u8]) -> usize {
    transaction.len() + 4
}

/// Publishes a bundle, as soon as there is a peer that takes it.
async fn publish(shared: &Shared, mut bundle: Bundle, stop: &CancellationToken) {
    loop {
        match shared.net.publish(Topic::Transactions, encode(&bundle)).await {
            Ok(()) | Err(PublishError::Known | PublishError::Stopped) => return,
            Err(PublishError::NoPeers | PublishError::Busy) => {}
            Err(e @ PublishError::Refused(_)) => {
                return shared.gossip.count_unsent(bundle.transactions.len(), &e.to_string());
            }
        }
        tokio::select! {
            () = tokio::time::sleep(RETRY_PAUSE) => {}
            () = stop.cancelled() => return,
        }
        // Only what still waits: what reached a block some other way needs no gossip.
        bundle.transactions.retain(|bytes| decode("transaction", bytes).is_ok_and(|tx| shared.mempool.contains(&tx)));
        if bundle.transactions.is_empty() {
            return;
        }
        bundle.turn = bundle.turn.wrapping_add(1);
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
