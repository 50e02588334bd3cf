//! The engine's network on a [`Wire`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use assay_primitives::AccountId;
use async_trait::async_trait;
use malachitebft_app_channel::{
    NetworkMsg,
    app::{
        net::{Multiaddr, PeerId as DumpId},
        types::PeerId,
    },
};
use malachitebft_codec::Codec;
use malachitebft_core_consensus::{LivenessMsg, SignedConsensusMsg};
use malachitebft_engine::network::{Msg, NetworkEvent, NetworkRef, NetworkStateDump, Subscriber};
use malachitebft_network::{Channel, LocalNodeInfo, PeerInfo, PeerType};
use malachitebft_sync::{InboundRequestId, OutboundRequestId, Status};
use ractor::{Actor, ActorProcessingErr, ActorRef, SpawnErr};
use tokio::sync::mpsc;

use super::{Kind, Parcel, Wire};
use crate::bft::{codec::BorshCodec, context::Ctx};

type Subscribers = Vec<Box<dyn Subscriber<NetworkEvent<Ctx>>>>;

/// Where what peers send comes in.
#[derive(Clone, Default)]
pub struct Inbox {
    subscribers: Arc<Mutex<Subscribers>>,
}

impl Inbox {
    /// Hands a peer's message to the engine. False if it is none, or if the engine does not run: then it is dropped.
    pub fn deliver(&self, from: u8, parcel: &Parcel) -> bool {
        let Some(event) = event(from, parcel) else { return false };
        let subscribers = self.subscribers();
        for subscriber in subscribers.iter() {
            subscriber.send(event.clone());
        }
        !subscribers.is_empty()
    }

    /// Lets nothing through any more.
    pub fn close(&self) {
        self.subscribers().clear();
    }

    fn subscribers(&self) -> MutexGuard<'_, Subscribers> {
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Decodes a message, if it is one of that type.
pub(super) fn read<T>(parcel: &Parcel) -> Option<T>
where
    BorshCodec: Codec<T>,
{
    BorshCodec.decode(parcel.bytes.clone()).ok()
}

fn write<T>(kind: Kind, message: &T) -> Result<Parcel, ActorProcessingErr>
where
    BorshCodec: Codec<T, Error = std::io::Error>,
{
    Ok(Parcel { kind, bytes: BorshCodec.encode(message)? })
}

/// What the engine is told when a message comes; nothing of one that a real network would refuse.
fn event(from: u8, parcel: &Parcel) -> Option<NetworkEvent<Ctx>> {
    let peer = peer_id(from)?;
    Some(match parcel.kind {
        Kind::Consensus => match read(parcel)? {
            SignedConsensusMsg::<Ctx>::Vote(vote) => NetworkEvent::Vote(peer, vote),
            SignedConsensusMsg::Proposal(proposal) => NetworkEvent::Proposal(peer, proposal),
        },
        Kind::Liveness => match read(parcel)? {
            LivenessMsg::<Ctx>::Vote(vote) => NetworkEvent::Vote(peer, vote),
            LivenessMsg::PolkaCertificate(certificate) => NetworkEvent::PolkaCertificate(peer, certificate),
            LivenessMsg::SkipRoundCertificate(certificate) => NetworkEvent::RoundCertificate(peer, certificate),
        },
        Kind::Part => NetworkEvent::ProposalPart(peer, Some(peer), read(parcel)?),
        Kind::Status => {
            let Status::<Ctx> { peer_id, tip_height, history_min_height } = read(parcel)?;
            let status = malachitebft_engine::network::Status { tip_height, history_min_height };
            (peer_id == peer).then_some(NetworkEvent::Status(peer, status))?
        }
        Kind::Request(id) => {
            NetworkEvent::SyncRequest(InboundRequestId::new(format!("{from}/{id}")), peer, read(parcel)?)
        }
        Kind::Response(id) => NetworkEvent::SyncResponse(OutboundRequestId::new(id), peer, Some(read(parcel)?)),
    })
}

/// The network identity of a node, by its number: as if that were its key, 32 times.
fn peer_id(number: u8) -> Option<PeerId> {
    // An identity holds its ed25519 key: multihash code and length, then the key's type and length.
    PeerId::from_bytes(&[&[0, 36, 8, 1, 18, 32][..], &[number; 32]].concat()).ok()
}

/// The number of a node, by its network identity.
fn number_of(peer: PeerId) -> Option<u8> {
    peer.to_bytes().last().copied()
}

/// Starts the actor, with the end that our own side publishes through.
pub(super) async fn spawn(
    number: u8,
    wire: impl Wire,
    inbox: Inbox,
    account: AccountId,
) -> Result<(NetworkRef<Ctx>, mpsc::Sender<NetworkMsg<Ctx>>), SpawnErr> {
    let state = State { number, wire: Box::new(wire), inbox, account, requests: 0 };
    let (network, _) = Actor::spawn(None, Network, state).await?;
    let (sender, mut receiver) = mpsc::channel::<NetworkMsg<Ctx>>(1);
    let to = network.clone();
    tokio::spawn(async move {
        while let Some(message) = receiver.recv().await {
            if to.cast(message.into()).is_err() {
                break;
            }
        }
    });
    Ok((network, sender))
}

struct Network;

pub(super) struct State {
    number: u8,
    wire: Box<dyn Wire>,
    inbox: Inbox,
    account: AccountId,
    requests: u64,
}

impl State {
    /// Tells a part of the engine who is there, and from then on what comes in.
    fn subscribe(&self, subscriber: Box<dyn Subscriber<NetworkEvent<Ctx>>>) {
        subscriber.send(NetworkEvent::Listening(Multiaddr::empty()));
        for peer in self.wire.peers() {
            let Some(id) = peer_id(peer.number) else { continue };
            subscriber.send(NetworkEvent::PeerConnected(id));
            subscriber.send(NetworkEvent::PeerSubscribed(id, Channel::Sync));
        }
        self.inbox.subscribers().push(subscriber);
    }

    fn dump(&self) -> Option<NetworkStateDump> {
        let info = |number: u8, account: Option<AccountId>| PeerInfo {
            moniker: number.to_string(),
            address: Multiaddr::empty(),
            consensus_address: None,
            consensus_public_key: account.map(|account| account.0.to_vec()),
            peer_type: PeerType::new(true, account.is_some()),
            connection_direction: None,
            score: 0.0,
            topics: Default::default(),
            is_explicit: false,
        };
        let dump_id = |number| DumpId::from_bytes(&peer_id(number)?.to_bytes()).ok();
        let peers = self.wire.peers().into_iter();
        Some(NetworkStateDump {
            local_node: LocalNodeInfo {
                moniker: self.number.to_string(),
                peer_id: dump_id(self.number)?,
                listen_addr: Multiaddr::empty(),
                consensus_address: Some(self.account.to_string()),
                proof_bytes: None,
                is_validator: true,
                persistent_peers_only: true,
                subscribed_topics: Default::default(),
            },
            peers: peers.filter_map(|peer| Some((dump_id(peer.number)?, info(peer.number, peer.account)))).collect(),
            validator_set: Vec::new(),
            persistent_peer_ids: Vec::new(),
            persistent_peer_addrs: Vec::new(),
        })
    }
}

/// Who asked, and under which number, from the id that [`event`] made.
fn asker(id: &InboundRequestId) -> Option<(u8, u64)> {
    let text = id.to_string();
    let (from, id) = text.split_once('/')?;
    Some((from.parse().ok()?, id.parse().ok()?))
}

#[async_trait]
impl Actor for Network {
    type Msg = Msg<Ctx>;
    type State = State;
    type Arguments = State;

    async fn pre_start(&self, _: ActorRef<Msg<Ctx>>, state: State) -> Result<State, ActorProcessingErr> {
        Ok(state)
    }

    async fn handle(
        &self,
        _: ActorRef<Msg<Ctx>>,
        message: Msg<Ctx>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Msg::Subscribe(subscriber) => state.subscribe(subscriber),
            Msg::PublishConsensusMsg(message) => state.wire.send(None, write(Kind::Consensus, &message)?),
            Msg::PublishLivenessMsg(message) => state.wire.send(None, write(Kind::Liveness, &message)?),
            Msg::PublishProposalPart(part) => state.wire.send(None, write(Kind::Part, &part)?),
            Msg::BroadcastStatus(status) => {
                let Some(peer_id) = peer_id(state.number) else { return Ok(()) };
                let status = Status::<Ctx> {
                    peer_id,
                    tip_height: status.tip_height,
                    history_min_height: status.history_min_height,
                };
                state.wire.send(None, write(Kind::Status, &status)?);
            }
            Msg::OutgoingRequest(peer, request, reply) => {
                state.requests += 1;
                let id = state.requests;
                let _ = reply.send(OutboundRequestId::new(id));
                if let Some(number) = number_of(peer) {
                    state.wire.send(Some(number), write(Kind::Request(id), &request)?);
                }
            }
            Msg::OutgoingResponse(id, response) => {
                if let Some((number, id)) = asker(&id) {
                    state.wire.send(Some(number), write(Kind::Response(id), &response)?);
                }
            }
            Msg::DumpState(reply) => {
                let _ = reply.send(state.dump());
            }
            Msg::UpdatePersistentPeers(_, reply) => {
                let _ = reply.send(Ok(()));
            }
            // Nothing waits for an answer to these, and this network keeps nothing that they would change.
            Msg::CancelRequest(_)
            | Msg::CancelInboundRequest(_)
            | Msg::UpdateValidatorSet(_)
            | Msg::ValidatorProofVerified { .. }
            | Msg::NewEvent(_) => {}
        }
        Ok(())
    }
}
