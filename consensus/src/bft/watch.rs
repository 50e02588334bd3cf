//! What is wrong with the engine while it looks alive: its own supervisor only logs it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use malachitebft_app_channel::app::net::Multiaddr;
use malachitebft_app_channel::app::types::core::ValueOrigin;
use malachitebft_app_channel::{ConsensusRequest, NetworkRequest};
use malachitebft_engine::util::events::Event;
use tokio::{
    sync::{broadcast, broadcast::error::RecvError, mpsc, watch},
    time::{sleep, timeout},
};

use super::{
    context::Ctx,
    engine::{EngineStatus, Failure, StopReason},
    executor::Fault,
    links::{Link, Links},
};

/// How long a height may take before the stall is logged with the engine's state.
const STALL: Duration = Duration::from_secs(30);
/// How long the engine's network may leave questions unanswered. It never comes back.
const SILENCE: Duration = Duration::from_secs(10);
/// How long this node may find the next block invalid that the network has decided. Until then another peer
/// may bring what this node lacks.
const DISAGREEMENT: Duration = if cfg!(test) { Duration::from_secs(2) } else { Duration::from_secs(60) };
/// Between two looks.
const PERIOD: Duration = Duration::from_millis(500);

/// The last height whose decided block was found invalid here, and since when.
pub(super) type Refused = Arc<Mutex<Option<(u64, Instant)>>>;

/// Notes why the engine is about to hang, and which decided block this node refuses.
pub(super) async fn watch_events(mut events: broadcast::Receiver<Event<Ctx>>, failure: Failure, refused: Refused) {
    loop {
        let text = match events.recv().await {
            Ok(Event::WalCorrupted(e)) => {
                format!("the engine's log is corrupt: {e}; restore the disk, never delete the log of a validator")
            }
            Ok(Event::WalReplayError(e)) => format!("the engine's log cannot be applied: {e}"),
            Ok(Event::WalResetError(e)) => format!("the engine's log cannot be opened: {e:#}; check the disk"),
            // A synced value is told of only when it is the one that its certificate names.
            Ok(Event::ReceivedProposedValue(value, ValueOrigin::Sync)) => {
                note(&refused, value.height.0, value.validity.is_valid());
                continue;
            }
            Ok(_) | Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        // What came first is the reason: a refusal to sign while the log is applied is told of as a log that cannot be.
        failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(text);
    }
}

fn note(refused: &Refused, height: u64, valid: bool) {
    let mut refused = refused.lock().unwrap_or_else(PoisonError::into_inner);
    match *refused {
        _ if valid => *refused = None,
        Some((known, _)) if known == height => (),
        _ => *refused = Some((height, Instant::now())),
    }
}

/// Drops a peer's connections and dials it.
async fn dial_anew(network: &mpsc::Sender<NetworkRequest>, address: Multiaddr) {
    let removed = timeout(SILENCE, NetworkRequest::remove_persistent_peer(network, address.clone())).await;
    if !matches!(removed, Ok(Ok(Ok(())))) {
        tracing::warn!(%address, ?removed, "a peer could not be let go");
        return;
    }
    // One that is not dialled from here any more could be lost for good. A network that does not answer ends the node.
    let began = Instant::now();
    while began.elapsed() < SILENCE {
        let added = timeout(SILENCE, NetworkRequest::add_persistent_peer(network, address.clone())).await;
        if matches!(added, Ok(Ok(Ok(())))) {
            return;
        }
        tracing::warn!(%address, ?added, "a peer could not be dialled anew");
        sleep(PERIOD).await;
    }
}

/// Counts peers, logs the engine's state when heights stand still, and returns why the node must stop.
pub(super) async fn watch_network(
    status: watch::Sender<EngineStatus>,
    network: mpsc::Sender<NetworkRequest>,
    consensus: mpsc::Sender<ConsensusRequest<Ctx>>,
    refused: Refused,
) -> StopReason {
    let (mut reported, mut answered) = (Instant::now(), Instant::now());
    let mut links = Links::default();
    loop {
        if let Ok(Ok(Some(dump))) = timeout(SILENCE, NetworkRequest::dump_state(&network)).await {
            answered = Instant::now();
            let peers = dump.peers.len();
            status.send_if_modified(|status| std::mem::replace(&mut status.peers, peers) != peers);
            let all: Vec<Link> = dump
                .peers
                .iter()
                .map(|(peer, info)| Link {
                    peer: *peer,
                    address: info.address.clone(),
                    meshed: !info.topics.is_empty(),
                })
                .collect();
            for address in links.dead(&all, &dump.persistent_peer_addrs, Instant::now()) {
                tracing::info!(%address, "a peer is connected and hears nothing from here; dialling it anew");
                dial_anew(&network, address).await;
            }
        } else if answered.elapsed() >= SILENCE {
            let seconds = answered.elapsed().as_secs();
            status.send_modify(|status| status.peers = 0);
            return StopReason::Engine(format!(
                "the consensus network stopped and has not answered for {seconds} s; see the log above, check that its port is free, and start the node again"
            ));
        }
        let (height, peers, still) = {
            let status = status.borrow();
            (status.height, status.peers, status.last_progress.elapsed())
        };
        let disagrees = *refused.lock().unwrap_or_else(PoisonError::into_inner);
        if disagrees.is_some_and(|(refused, since)| refused == height + 1 && since.elapsed() >= DISAGREEMENT) {
            return StopReason::Fault(Fault(format!(
                "this node finds block {} invalid that the network has decided; its state or program differs: \
                 update it, or sync it afresh (the log above says what is wrong with the block)",
                height + 1
            )));
        }
        if still > STALL && reported.elapsed() > STALL {
            reported = Instant::now();
            let state = ConsensusRequest::dump_state(&consensus);
            let state = timeout(SILENCE, state).await.ok().and_then(Result::ok).flatten();
            let (round, step) = state.map_or((None, None), |s| (s.consensus.round.as_u32(), Some(s.consensus.step)));
            tracing::warn!(height, peers, ?round, ?step, seconds = still.as_secs(), "no block was committed for long");
        }
        sleep(PERIOD).await;
    }
}
