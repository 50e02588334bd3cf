//! The network between the machines: messages are delayed, overtake each other, come twice, are lost, or meet a cut link.
//!
//! What is lost is gone: nobody passes a message on, and no connection is told to be broken. That is harder than a real
//! network of connections and gossip, which repeat and relay.

use std::{
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use assay_consensus::bft::simulation::{Inbox, Kind, Parcel, Peer, Wire};
use assay_primitives::AccountId;
use bytes::Bytes;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tokio::sync::mpsc;

use super::{
    byzantine::{self, Shared},
    check::Checks,
    power::Power,
    trace::{Happening, Trace},
};

/// What travels.
#[derive(Clone)]
enum Message {
    /// Between engines.
    Engine(Parcel),
    /// An encoded transaction, gossiped.
    Transaction(Bytes),
}

impl Message {
    fn bytes(&self) -> &[u8] {
        match self {
            Message::Engine(parcel) => &parcel.bytes,
            Message::Transaction(bytes) => bytes,
        }
    }

    /// Its kind, in the trace.
    fn tag(&self) -> u8 {
        match self {
            Message::Engine(parcel) => match parcel.kind {
                Kind::Consensus => 0,
                Kind::Liveness => 1,
                Kind::Part => 2,
                Kind::Status => 3,
                Kind::Request(_) => 4,
                Kind::Response(_) => 5,
            },
            Message::Transaction(_) => 6,
        }
    }
}

/// How good the links are that are not cut.
#[derive(Clone, Debug)]
pub(super) struct Weather {
    /// Of 1000 messages, how many are lost.
    pub(super) lost: u32,
    /// Of 1000, how many come twice.
    pub(super) doubled: u32,
    /// How long one is on its way, in milliseconds.
    pub(super) delay: Range<u64>,
}

impl Weather {
    /// Nothing is lost, and nothing is late.
    pub(super) fn fair() -> Self {
        Self { lost: 0, doubled: 0, delay: 5..40 }
    }
}

/// A machine that hears.
pub(super) struct End {
    /// Its engine's.
    pub(super) inbox: Inbox,
    /// Where it takes transactions.
    pub(super) transactions: mpsc::UnboundedSender<Bytes>,
}

struct State {
    random: ChaCha8Rng,
    weather: Weather,
    /// By sender, then receiver.
    cut: Vec<Vec<bool>>,
    ends: Vec<Option<End>>,
    accounts: Vec<AccountId>,
    sent: u64,
    lost: u64,
}

/// The network. Clones are the same one.
#[derive(Clone)]
pub(super) struct Net {
    state: Arc<Mutex<State>>,
    trace: Arc<Mutex<Trace>>,
    checks: Arc<Mutex<Checks>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Net {
    /// A network of machines that nobody has started yet.
    pub(super) fn new(
        seed: u64,
        accounts: Vec<AccountId>,
        trace: Arc<Mutex<Trace>>,
        checks: Arc<Mutex<Checks>>,
    ) -> Self {
        let count = accounts.len();
        let state = State {
            random: ChaCha8Rng::seed_from_u64(seed),
            weather: Weather::fair(),
            cut: vec![vec![false; count]; count],
            ends: (0..count).map(|_| None).collect(),
            accounts,
            sent: 0,
            lost: 0,
        };
        Self { state: Arc::new(Mutex::new(state)), trace, checks }
    }

    /// Connects a machine, or with `None` takes it off.
    pub(super) fn connect(&self, number: u8, end: Option<End>) {
        if let Some(old) = std::mem::replace(&mut lock(&self.state).ends[usize::from(number)], end) {
            old.inbox.close();
        }
    }

    /// Changes how good the links are.
    pub(super) fn set_weather(&self, weather: Weather) {
        lock(&self.state).weather = weather;
    }

    /// Cuts the links from one machine to another for which `cut` says so, and heals all others.
    pub(super) fn set_links(&self, cut: impl Fn(usize, usize) -> bool) {
        let mut state = lock(&self.state);
        let count = state.ends.len();
        state.cut = (0..count).map(|from| (0..count).map(|to| cut(from, to)).collect()).collect();
        let bits = |row: &Vec<bool>| row.iter().rev().fold(0, |bits, cut| (bits << 1) | u64::from(*cut));
        let deaf: Vec<u64> = state.cut.iter().map(bits).collect();
        lock(&self.trace).add(&Happening::Links { deaf: &deaf });
    }

    /// Messages sent so far, and how many of them were lost.
    pub(super) fn counts(&self) -> (u64, u64) {
        let state = lock(&self.state);
        (state.sent, state.lost)
    }

    /// Gossips an encoded transaction.
    pub(super) fn spread(&self, from: u8, power: &Power, bytes: Bytes) {
        if power.step().is_done() {
            self.send(from, None, &Message::Transaction(bytes));
        }
    }

    fn send(&self, from: u8, to: Option<u8>, message: &Message) {
        let count = lock(&self.state).ends.len();
        let all = (0..count).filter_map(|to| u8::try_from(to).ok());
        for to in all.filter(|peer| *peer != from && to.is_none_or(|to| to == *peer)) {
            let (arrives, again) = self.fate(from, to);
            let (kind, bytes) = (message.tag(), message.bytes());
            lock(&self.trace).add(&Happening::Sent { from, to, kind, bytes, arrives });
            for delay in arrives.into_iter().chain(again) {
                let (net, message) = (self.clone(), message.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(delay)).await;
                    net.deliver(from, to, message);
                });
            }
        }
    }

    /// When a message arrives, and whether it does so again.
    fn fate(&self, from: u8, to: u8) -> (Option<u64>, Option<u64>) {
        let state = &mut *lock(&self.state);
        state.sent += 1;
        let Weather { lost, doubled, delay } = state.weather.clone();
        if state.cut[usize::from(from)][usize::from(to)] || state.random.gen_ratio(lost, 1000) {
            state.lost += 1;
            return (None, None);
        }
        let first = state.random.gen_range(delay.clone());
        let again = state.random.gen_ratio(doubled, 1000);
        (Some(first), again.then(|| state.random.gen_range(delay)))
    }

    fn deliver(&self, from: u8, to: u8, message: Message) {
        let state = lock(&self.state);
        // A link that was cut while the message was on its way loses it too.
        let cut = state.cut[usize::from(from)][usize::from(to)];
        let Some(end) = state.ends[usize::from(to)].as_ref().filter(|_| !cut) else { return };
        match message {
            Message::Engine(parcel) => {
                let inbox = end.inbox.clone();
                drop(state);
                inbox.deliver(from, &parcel);
            }
            Message::Transaction(bytes) => {
                // A machine that is just failing may not take it.
                let _ = end.transactions.send(bytes);
            }
        }
    }
}

/// One machine's end of the network, with which its engine sends.
pub(super) struct EngineWire {
    /// Its number.
    pub(super) number: u8,
    /// The network.
    pub(super) net: Net,
    /// Its power.
    pub(super) power: Power,
    /// What changes what it sends, if it is not honest.
    pub(super) vice: Option<Shared>,
}

impl Wire for EngineWire {
    fn peers(&self) -> Vec<Peer> {
        let state = lock(&self.net.state);
        let peers = (0u8..).zip(&state.accounts).filter(|(number, _)| *number != self.number);
        peers.map(|(number, account)| Peer { number, account: Some(*account) }).collect()
    }

    fn send(&self, to: Option<u8>, parcel: Parcel) {
        if !self.power.step().is_done() {
            return;
        }
        lock(&self.net.checks).said(&parcel);
        let Some(vice) = &self.vice else { return self.net.send(self.number, to, &Message::Engine(parcel)) };
        let peers: Vec<u8> = self.peers().iter().map(|peer| peer.number).collect();
        for (to, parcel) in byzantine::lock(vice).send(to, parcel, &peers) {
            self.net.send(self.number, to, &Message::Engine(parcel));
        }
    }
}
