//! The swarm's event loop: one task that owns it. Everything else reaches it by [`Command`].

use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures::{Future, StreamExt, stream::FuturesUnordered};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use libp2p::{
    Multiaddr, PeerId, Swarm, gossipsub, identify,
    multiaddr::Protocol,
    request_response::{self, Message, OutboundFailure, OutboundRequestId, ResponseChannel},
    swarm::{ConnectionId, DialError, SwarmEvent, dial_opts::DialOpts},
};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::{
    Ask, AskError, Frame, InboundAsk, InboundSnapshotAsk, InboundText, InboundTx, NetConfig, PublishError, RefusalCode,
    Reply, SnapshotAsk, SnapshotReply, TextAsk, TxVerdict,
    behaviour::{Behaviour, BehaviourEvent, topic},
    texts::{Asked, FRAMES_WAITING, Heard, Said},
};

/// How often lost peers are dialled again.
const REDIAL: Duration = Duration::from_secs(5);
/// Most addresses that are kept of what one peer says about itself.
const ADDRESSES_PER_PEER: usize = 8;
/// Most addresses that are redialled.
const MAX_KNOWN: usize = 256;

/// What the handle asks of the loop.
#[derive(Debug)]
pub(super) enum Command {
    Listening(oneshot::Sender<Vec<Multiaddr>>),
    Connect(Multiaddr),
    Publish(Vec<u8>, oneshot::Sender<Result<(), PublishError>>),
    Ask { peer: PeerId, addresses: Vec<Multiaddr>, ask: Box<Ask>, reply: oneshot::Sender<Result<Reply, AskError>> },
    Tell { peer: PeerId, addresses: Vec<Multiaddr>, ask: Box<TextAsk>, heard: Heard },
    AskSnapshot { peer: PeerId, ask: SnapshotAsk, reply: oneshot::Sender<Result<SnapshotReply, AskError>> },
    Connected(oneshot::Sender<Vec<PeerId>>),
    Ban(PeerId),
    Stop(oneshot::Sender<()>),
}

/// Where the node takes what peers send.
pub(super) struct Inbound {
    pub(super) transactions: mpsc::Sender<InboundTx>,
    pub(super) asks: mpsc::Sender<InboundAsk>,
    pub(super) texts: mpsc::Sender<InboundText>,
    pub(super) snapshots: mpsc::Sender<InboundSnapshotAsk>,
}

/// A peer to stay connected with.
struct Known {
    address: Multiaddr,
    /// Who answers there, once known.
    peer: Option<PeerId>,
    /// A dial that has not ended yet.
    dialling: Option<ConnectionId>,
    /// It is this node itself.
    is_self: bool,
}

/// Something the node is at work on: its verdict on a transaction or its reply to an ask.
type Pending<T> = FuturesUnordered<Pin<Box<dyn Future<Output = T> + Send>>>;

pub(super) struct Running {
    swarm: Swarm<Behaviour>,
    config: NetConfig,
    commands: mpsc::Receiver<Command>,
    inbound: Inbound,
    peers: Arc<AtomicU32>,
    known: Vec<Known>,
    rates: DefaultKeyedRateLimiter<PeerId>,
    text_rates: DefaultKeyedRateLimiter<PeerId>,
    snapshot_rates: DefaultKeyedRateLimiter<PeerId>,
    waiting: BTreeMap<OutboundRequestId, oneshot::Sender<Result<Reply, AskError>>>,
    hearing: BTreeMap<OutboundRequestId, Heard>,
    /// Places for texts being told.
    places: Arc<Semaphore>,
    verdicts: Pending<(gossipsub::MessageId, PeerId, TxVerdict)>,
    replies: Pending<(ResponseChannel<Reply>, Reply)>,
    fetching: BTreeMap<OutboundRequestId, oneshot::Sender<Result<SnapshotReply, AskError>>>,
    parts: Pending<(ResponseChannel<SnapshotReply>, SnapshotReply)>,
}

fn outbound_failure(error: OutboundFailure) -> AskError {
    match error {
        OutboundFailure::DialFailure => AskError::Unreachable("no address answers".into()),
        OutboundFailure::Timeout => AskError::Timeout { ms: 600_000 },
        OutboundFailure::UnsupportedProtocols => {
            AskError::Protocol("the peer is on another chain or takes no asks".into())
        }
        other => AskError::Protocol(other.to_string()),
    }
}

impl Running {
    pub(super) fn new(
        swarm: Swarm<Behaviour>,
        config: NetConfig,
        commands: mpsc::Receiver<Command>,
        inbound: Inbound,
        peers: Arc<AtomicU32>,
    ) -> Self {
        let limiter =
            |per_minute| RateLimiter::keyed(Quota::per_minute(NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN)));
        let mut running = Self {
            swarm,
            commands,
            inbound,
            peers,
            known: Vec::new(),
            rates: limiter(config.limits.asks_per_minute),
            text_rates: limiter(config.limits.texts_per_minute),
            snapshot_rates: limiter(config.limits.snapshot_parts_per_minute),
            waiting: BTreeMap::new(),
            hearing: BTreeMap::new(),
            places: Arc::new(Semaphore::new(config.limits.open_texts)),
            verdicts: FuturesUnordered::new(),
            replies: FuturesUnordered::new(),
            fetching: BTreeMap::new(),
            parts: FuturesUnordered::new(),
            config,
        };
        for address in running.config.bootstrap.clone() {
            running.remember(address);
        }
        running
    }

    pub(super) async fn run(mut self) {
        let mut redial = tokio::time::interval(REDIAL);
        redial.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_event(event),
                command = self.commands.recv() => match command {
                    Some(Command::Stop(stopped)) => {
                        self.peers.store(0, Ordering::Relaxed);
                        drop(self);
                        let _ = stopped.send(());
                        return;
                    }
                    Some(command) => self.on_command(command),
                    // Every handle is gone: nobody can be served.
                    None => return,
                },
                Some((id, source, verdict)) = self.verdicts.next() => self.on_verdict(&id, &source, verdict),
                Some((channel, reply)) = self.replies.next() => {
                    // The asker may have gone or given up.
                    let _ = self.swarm.behaviour_mut().infer.send_response(channel, reply);
                }
                Some((channel, part)) = self.parts.next() => {
                    let _ = self.swarm.behaviour_mut().snapshots.send_response(channel, part);
                }
                _ = redial.tick() => {
                    self.redial();
                    self.rates.retain_recent();
                    self.text_rates.retain_recent();
                    self.snapshot_rates.retain_recent();
                    self.waiting.retain(|_, reply| !reply.is_closed());
                    self.hearing.retain(|_, heard| !heard.is_closed());
                    self.fetching.retain(|_, part| !part.is_closed());
                }
            }
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Listening(reply) => {
                let _ = reply.send(self.swarm.listeners().cloned().collect());
            }
            Command::Connect(address) => self.remember(address),
            Command::Publish(bytes, reply) => {
                let topic = topic(&self.config.genesis);
                let published = self.swarm.behaviour_mut().gossip.publish(topic, bytes);
                let _ = reply.send(published.map(drop).map_err(|e| match e {
                    gossipsub::PublishError::Duplicate => PublishError::Known,
                    gossipsub::PublishError::NoPeersSubscribedToTopic => PublishError::NoPeers,
                    other => PublishError::Refused(other.to_string()),
                }));
            }
            Command::Ask { peer, addresses, ask, reply } => {
                let id = self.swarm.behaviour_mut().infer.send_request_with_addresses(&peer, *ask, addresses);
                self.waiting.insert(id, reply);
            }
            Command::Tell { peer, addresses, ask, heard } => {
                let asked = Asked { ask: *ask, heard: Some(heard.clone()) };
                let id = self.swarm.behaviour_mut().texts.send_request_with_addresses(&peer, asked, addresses);
                self.hearing.insert(id, heard);
            }
            Command::AskSnapshot { peer, ask, reply } => {
                let id = self.swarm.behaviour_mut().snapshots.send_request(&peer, ask);
                self.fetching.insert(id, reply);
            }
            Command::Connected(reply) => {
                let _ = reply.send(self.swarm.connected_peers().copied().collect());
            }
            Command::Ban(peer) => {
                self.swarm.behaviour_mut().banned.block_peer(peer);
            }
            Command::Stop(_) => unreachable!("handled by the loop"),
        }
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Gossip(gossipsub::Event::Message {
                propagation_source,
                message_id,
                message,
            })) => self.on_transaction(propagation_source, message_id, message.data),
            SwarmEvent::Behaviour(BehaviourEvent::Infer(event)) => self.on_exchange(event),
            SwarmEvent::Behaviour(BehaviourEvent::Texts(event)) => self.on_text(event),
            SwarmEvent::Behaviour(BehaviourEvent::Snapshots(event)) => self.on_snapshot(event),
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. })) => {
                self.on_identified(peer_id, info);
            }
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, .. } => {
                for known in self.known.iter_mut().filter(|k| k.dialling == Some(connection_id)) {
                    (known.dialling, known.peer) = (None, Some(peer_id));
                }
                self.count_peers();
            }
            SwarmEvent::ConnectionClosed { .. } => self.count_peers(),
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                for known in self.known.iter_mut().filter(|k| k.dialling == Some(connection_id)) {
                    known.dialling = None;
                    known.is_self = matches!(error, DialError::LocalPeerId { .. });
                    tracing::debug!(address = %known.address, %error, "dialling a peer failed");
                }
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "a listener reports trouble"),
            SwarmEvent::ListenerClosed { addresses, reason, .. } => {
                tracing::error!(?addresses, ?reason, "a listener closed: this node is no longer reached there");
            }
            _ => {}
        }
    }

    fn count_peers(&self) {
        let peers = self.swarm.connected_peers().count();
        self.peers.store(u32::try_from(peers).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    fn remember(&mut self, address: Multiaddr) {
        if self.known.len() < MAX_KNOWN && !self.known.iter().any(|k| k.address == address) {
            let peer = address.iter().find_map(|part| match part {
                Protocol::P2p(peer) => Some(peer),
                _ => None,
            });
            let is_self = peer == Some(*self.swarm.local_peer_id());
            self.known.push(Known { address, peer, dialling: None, is_self });
        }
        self.redial();
    }

    fn redial(&mut self) {
        for known in &mut self.known {
            let connected = known.peer.is_some_and(|peer| self.swarm.is_connected(&peer));
            if known.is_self || known.dialling.is_some() || connected {
                continue;
            }
            let dial = DialOpts::unknown_peer_id().address(known.address.clone()).build();
            let id = dial.connection_id();
            match self.swarm.dial(dial) {
                Ok(()) => known.dialling = Some(id),
                Err(error) => tracing::debug!(address = %known.address, %error, "a peer cannot be dialled"),
            }
        }
    }

    /// Peers of this chain enter the routing table, so that others find them through us.
    fn on_identified(&mut self, peer: PeerId, info: identify::Info) {
        let ours = self.swarm.behaviour().kad.protocol_names().to_vec();
        if !info.protocols.iter().any(|p| ours.contains(p)) {
            return;
        }
        for address in info.listen_addrs.into_iter().take(ADDRESSES_PER_PEER) {
            self.swarm.behaviour_mut().kad.add_address(&peer, address);
        }
    }

    fn on_transaction(&mut self, from: PeerId, id: gossipsub::MessageId, bytes: Vec<u8>) {
        let (verdict, judged) = oneshot::channel();
        if self.verdicts.len() >= self.config.limits.pending_transactions
            || self.inbound.transactions.try_send(InboundTx { from, bytes, verdict }).is_err()
        {
            return self.on_verdict(&id, &from, TxVerdict::Ignore);
        }
        self.verdicts.push(Box::pin(async move { (id, from, judged.await.unwrap_or(TxVerdict::Ignore)) }));
    }

    fn on_verdict(&mut self, id: &gossipsub::MessageId, from: &PeerId, verdict: TxVerdict) {
        let acceptance = match verdict {
            TxVerdict::Accept => gossipsub::MessageAcceptance::Accept,
            TxVerdict::Ignore => gossipsub::MessageAcceptance::Ignore,
            TxVerdict::Reject => gossipsub::MessageAcceptance::Reject,
        };
        self.swarm.behaviour_mut().gossip.report_message_validation_result(id, from, acceptance);
    }

    fn on_exchange(&mut self, event: request_response::Event<Ask, Reply>) {
        match event {
            request_response::Event::Message { peer, message: Message::Request { request, channel, .. }, .. } => {
                self.on_ask(peer, request, channel);
            }
            request_response::Event::Message { message: Message::Response { request_id, response }, .. } => {
                self.finish(request_id, Ok(response));
            }
            request_response::Event::OutboundFailure { request_id, error, .. } => {
                self.finish(request_id, Err(outbound_failure(error)));
            }
            request_response::Event::InboundFailure { peer, error, .. } => {
                tracing::debug!(%peer, %error, "an ask could not be read or answered");
            }
            request_response::Event::ResponseSent { .. } => {}
        }
    }

    fn on_text(&mut self, event: request_response::Event<Asked, Said>) {
        match event {
            request_response::Event::Message { peer, message: Message::Request { request, channel, .. }, .. } => {
                self.on_text_ask(peer, request.ask, channel);
            }
            request_response::Event::Message { message: Message::Response { request_id, .. }, .. } => {
                self.hearing.remove(&request_id);
            }
            request_response::Event::OutboundFailure { request_id, error, .. } => {
                if let Some(heard) = self.hearing.remove(&request_id) {
                    // Whoever listens may be slow; the loop waits for nobody.
                    tokio::spawn(async move { heard.send(Err(outbound_failure(error))).await });
                }
            }
            request_response::Event::InboundFailure { peer, error, .. } => {
                tracing::debug!(%peer, %error, "a text could not be asked for or told");
            }
            request_response::Event::ResponseSent { .. } => {}
        }
    }

    fn on_text_ask(&mut self, from: PeerId, ask: TextAsk, channel: ResponseChannel<Said>) {
        let (frames, said) = mpsc::channel(FRAMES_WAITING);
        let place = Arc::clone(&self.places).try_acquire_owned().ok();
        let busy = || (RefusalCode::Busy, "too many texts are being told already; try again in a moment".to_owned());
        let refused = if self.text_rates.check_key(&from).is_err() {
            let limit = self.config.limits.texts_per_minute;
            Some((RefusalCode::RateLimited, format!("at most {limit} texts a minute are taken from one peer")))
        } else if place.is_none() {
            Some(busy())
        } else {
            match self.inbound.texts.try_send(InboundText { from, ask, frames: frames.clone() }) {
                Ok(()) => None,
                Err(mpsc::error::TrySendError::Full(_)) => Some(busy()),
                Err(mpsc::error::TrySendError::Closed(_)) => {
                    Some((RefusalCode::Unavailable, "this node tells no texts".into()))
                }
            }
        };
        if let Some((code, reason)) = refused {
            // The channel is new, so there is room.
            let _ = frames.try_send(Frame::refused(code, reason));
        }
        // The peer may be gone already.
        let said = Said { frames: Some(said), _place: place };
        let _ = self.swarm.behaviour_mut().texts.send_response(channel, said);
    }

    fn on_snapshot(&mut self, event: request_response::Event<SnapshotAsk, SnapshotReply>) {
        match event {
            request_response::Event::Message { peer, message: Message::Request { request, channel, .. }, .. } => {
                self.on_snapshot_ask(peer, request, channel);
            }
            request_response::Event::Message { message: Message::Response { request_id, response }, .. } => {
                if let Some(fetching) = self.fetching.remove(&request_id) {
                    let _ = fetching.send(Ok(response));
                }
            }
            request_response::Event::OutboundFailure { request_id, error, .. } => {
                if let Some(fetching) = self.fetching.remove(&request_id) {
                    let _ = fetching.send(Err(outbound_failure(error)));
                }
            }
            request_response::Event::InboundFailure { peer, error, .. } => {
                tracing::debug!(%peer, %error, "a part of a snapshot could not be asked for or given");
            }
            request_response::Event::ResponseSent { .. } => {}
        }
    }

    fn on_snapshot_ask(&mut self, from: PeerId, ask: SnapshotAsk, channel: ResponseChannel<SnapshotReply>) {
        let (reply, replied) = oneshot::channel();
        let later = self.snapshot_rates.check_key(&from).is_err()
            || self.parts.len() >= self.config.limits.pending_snapshot_parts
            || self.inbound.snapshots.try_send(InboundSnapshotAsk { ask, reply }).is_err();
        if later {
            let _ = self.swarm.behaviour_mut().snapshots.send_response(channel, SnapshotReply::Later);
            return;
        }
        self.parts.push(Box::pin(async move { (channel, replied.await.unwrap_or(SnapshotReply::Later)) }));
    }

    fn finish(&mut self, id: OutboundRequestId, result: Result<Reply, AskError>) {
        if let Some(waiting) = self.waiting.remove(&id) {
            let _ = waiting.send(result);
        }
    }

    fn on_ask(&mut self, from: PeerId, ask: Ask, channel: ResponseChannel<Reply>) {
        let (reply, replied) = oneshot::channel();
        let refused = if self.rates.check_key(&from).is_err() {
            let limit = self.config.limits.asks_per_minute;
            Some((RefusalCode::RateLimited, format!("at most {limit} asks a minute are taken from one peer")))
        } else if self.replies.len() >= self.config.limits.pending_asks {
            Some((RefusalCode::Busy, "too many asks wait already; try again in a moment".into()))
        } else {
            match self.inbound.asks.try_send(InboundAsk { from, ask, reply }) {
                Ok(()) => None,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    Some((RefusalCode::Busy, "too many asks wait already; try again in a moment".into()))
                }
                Err(mpsc::error::TrySendError::Closed(_)) => {
                    Some((RefusalCode::Unavailable, "this node takes no asks".into()))
                }
            }
        };
        if let Some((code, reason)) = refused {
            let _ = self.swarm.behaviour_mut().infer.send_response(channel, Reply::refused(code, reason));
            return;
        }
        self.replies.push(Box::pin(async move {
            let dropped = |_| Reply::refused(RefusalCode::Unavailable, "the node gave up the work");
            (channel, replied.await.unwrap_or_else(dropped))
        }));
    }
}
