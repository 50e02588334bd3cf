//! The engine on a simulated machine: a network, a log and a watermark's disk that a test makes up.
//!
//! ```text
//! engine ──> network actor ──> Wire::send ── the test's network ──> Inbox::deliver ──> the other's engine
//!        ──> log actor ──────> Journal                 (what was not flushed may be lost in a crash)
//!        ──> signer's watermark ──> Mark               (a write is there when it returns)
//! ```
//!
//! Everything else is the engine and the adapter of a real node. It runs on one thread, without a thread of its own for
//! anything: with the clock and the randomness of that thread given, it does the same things in the same order every time.
//!
//! One limit is off: on requests for blocks in a time. The engine measures it by the processor's own counter, which no test
//! can give. The limits on requests at once hold.
//!
//! Messages are encoded as they are on a real wire; the test sees bytes, and through [`Parcel::said`] what was signed.

mod log;
mod network;

use std::{io, path::PathBuf};

use assay_primitives::{AccountId, Signed, VoteContent};
use bytes::Bytes;
use malachitebft_app_channel::{EngineBuilder, RequestContext, SyncContext, app::config::NodeConfig as _};
use malachitebft_codec::Codec as _;
use malachitebft_core_consensus::{LivenessMsg, SignedConsensusMsg};
use malachitebft_core_types::SignedMessage;
use malachitebft_sync::Status;

use super::{
    Engine, EngineConfig, Executor, ProposalContent, StartError, WatermarkError,
    blocking::Blocking,
    codec::BorshCodec,
    context::{Ctx, Height, Proposal, Vote},
    engine::start_on,
    machine::{Held, Machine, Parts, REQUESTS, Running, consensus},
    watermark::Slots,
};

pub use network::Inbox;

/// What errors call a simulated file.
const SIMULATED: &str = "(simulated)";

/// More requests in a time than ever come.
const UNLIMITED: u32 = 1_000_000;

/// Another node, as the test's network knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its number, below 256.
    pub number: u8,
    /// The account that it has shown to have the key of.
    pub account: Option<AccountId>,
}

/// What a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, borsh::BorshSerialize)]
pub enum Kind {
    /// A vote or a proposal.
    Consensus,
    /// A vote or a certificate, sent again to whoever has missed it.
    Liveness,
    /// A part of a block.
    Part,
    /// How far its sender has come.
    Status,
    /// Asks for blocks; with a number of the asker's.
    Request(u64),
    /// Answers a request of that number.
    Response(u64),
}

/// One message on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// What it is for.
    pub kind: Kind,
    /// Its encoding.
    pub bytes: Bytes,
}

/// What a validator signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// A prevote or a precommit.
    Vote(Signed<VoteContent>),
    /// A proposal.
    Proposal(Signed<ProposalContent>),
}

impl Parcel {
    /// The vote or proposal in it, if it is one.
    pub fn said(&self) -> Option<Said> {
        let message = match self.kind {
            Kind::Consensus => network::read::<SignedConsensusMsg<Ctx>>(self)?,
            Kind::Liveness => match network::read::<LivenessMsg<Ctx>>(self)? {
                LivenessMsg::Vote(vote) => SignedConsensusMsg::Vote(vote),
                _ => return None,
            },
            _ => return None,
        };
        Some(match message {
            SignedConsensusMsg::Vote(vote) => {
                Said::Vote(Signed { body: vote.message.content()?, signature: vote.signature })
            }
            SignedConsensusMsg::Proposal(proposal) => {
                Said::Proposal(Signed { body: proposal.message.content()?, signature: proposal.signature })
            }
        })
    }

    /// A message that says this.
    ///
    /// # Errors
    /// If it does not encode.
    pub fn saying(said: Said) -> io::Result<Self> {
        let message = match said {
            Said::Vote(vote) => {
                SignedConsensusMsg::<Ctx>::Vote(SignedMessage::new(Vote::from(vote.body), vote.signature))
            }
            Said::Proposal(proposal) => {
                SignedConsensusMsg::Proposal(SignedMessage::new(Proposal::from(proposal.body), proposal.signature))
            }
        };
        Ok(Self { kind: Kind::Consensus, bytes: BorshCodec.encode(&message)? })
    }

    /// The same status with another height; `None` if this is none.
    pub fn claiming(&self, height: u64) -> Option<Self> {
        let mut status = network::read::<Status<Ctx>>(self).filter(|_| self.kind == Kind::Status)?;
        status.tip_height = Height(height);
        Some(Self { kind: Kind::Status, bytes: BorshCodec.encode(&status).ok()? })
    }
}

/// A node's end of the test's network.
pub trait Wire: Send + Sync + 'static {
    /// The other nodes, reachable or not.
    fn peers(&self) -> Vec<Peer>;

    /// Sends to one peer, or to all. It may come late, or never.
    fn send(&self, to: Option<u8>, parcel: Parcel);
}

/// The entries of a write-ahead log for one height.
pub trait Journal: Send + 'static {
    /// Its height; 0 if it was never reset.
    fn height(&self) -> u64;

    /// Its entries, oldest first.
    fn entries(&self) -> Vec<Vec<u8>>;

    /// Begins a height without entries. On disk when it returns.
    ///
    /// # Errors
    /// If it may not survive a crash.
    fn reset(&mut self, height: u64) -> io::Result<()>;

    /// Adds an entry, which may be lost in a crash.
    ///
    /// # Errors
    /// If it is not added.
    fn append(&mut self, entry: Vec<u8>) -> io::Result<()>;

    /// Brings all entries to disk.
    ///
    /// # Errors
    /// If one may not survive a crash.
    fn flush(&mut self) -> io::Result<()>;
}

/// The disk of a signer's watermark.
pub trait Mark: Send + 'static {
    /// All bytes, or `None` if nothing was written yet.
    ///
    /// # Errors
    /// If the disk fails.
    fn read(&mut self) -> io::Result<Option<Vec<u8>>>;

    /// Brings the entries of the log to disk, as [`Journal::flush`] does.
    ///
    /// # Errors
    /// If one may not survive a crash.
    fn flush_log(&mut self) -> io::Result<()>;

    /// Writes bytes at an offset. On disk when it returns.
    ///
    /// # Errors
    /// If it may not survive a crash.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
}

/// A simulated machine.
pub struct Simulated<W, J, M> {
    /// The node's own number among its peers.
    pub number: u8,
    /// Its network.
    pub wire: W,
    /// Its write-ahead log.
    pub journal: J,
    /// The disk of its signer's watermark; opened once, and only with a signer.
    pub mark: M,
}

/// Starts the engine on a simulated machine. Of `config`, the addresses, the folder and the network's key are not used. What
/// peers send comes through the inbox.
///
/// # Errors
/// See [`StartError`].
pub async fn start(
    machine: Simulated<impl Wire, impl Journal, impl Mark>,
    config: EngineConfig,
    executor: impl Executor,
) -> Result<(Engine, Inbox), StartError> {
    let inbox = Inbox::default();
    let Simulated { number, wire, journal, mark } = machine;
    let machine = Bench { number, wire, journal, mark: Some(Box::new(mark)), inbox: inbox.clone() };
    let engine = start_on(machine, config, executor).await?;
    Ok((engine, inbox))
}

struct Bench<W, J> {
    number: u8,
    wire: W,
    journal: J,
    /// Until it is opened.
    mark: Option<Box<dyn Mark>>,
    inbox: Inbox,
}

struct MarkSlots(Box<dyn Mark>);

impl Slots for MarkSlots {
    fn path(&self) -> PathBuf {
        PathBuf::from(SIMULATED)
    }

    fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.0.read()
    }

    fn create(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write(0, bytes)
    }

    fn flush_log(&mut self) -> io::Result<()> {
        self.0.flush_log()
    }

    fn write(&mut self, offset: u64, slot: &[u8]) -> io::Result<()> {
        self.0.write(offset, slot)
    }
}

/// Nothing is left in use: all of it was given.
struct Nothing;

impl Held for Nothing {
    async fn released(self) {}
}

impl<W: Wire, J: Journal> Machine for Bench<W, J> {
    type Held = Nothing;

    fn blocking(&self) -> Blocking {
        Blocking::InPlace
    }

    fn slots(&mut self) -> Result<Box<dyn Slots>, WatermarkError> {
        let missing = || WatermarkError::Io { path: SIMULATED.into(), source: io::ErrorKind::NotFound.into() };
        Ok(Box::new(MarkSlots(self.mark.take().ok_or_else(missing)?)))
    }

    async fn build(self, parts: Parts) -> Result<Running<Nothing>, StartError> {
        let engine = |e: &dyn std::fmt::Display| StartError::Engine(format!("{e:#}"));
        let Parts { genesis, mut settings, account, signer } = parts;
        settings.value_sync_mut().max_inbound_requests_per_window = UNLIMITED;
        let (network, outgoing) =
            network::spawn(self.number, self.wire, self.inbox, account).await.map_err(|e| engine(&e))?;
        let log = log::spawn(self.journal).await.map_err(|e| engine(&e))?;
        let (channels, handle) = EngineBuilder::new(Ctx { genesis }, settings)
            .with_custom_wal(log)
            .with_custom_network(network, outgoing)
            .with_default_sync(SyncContext::new(BorshCodec))
            .with_default_consensus(consensus(signer, account, genesis))
            .with_default_request(RequestContext::new(REQUESTS))
            .build()
            .await
            .map_err(|e| engine(&e))?;
        Ok(Running { channels, handle, held: Nothing })
    }
}
