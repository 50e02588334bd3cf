//! Transfers as fast as validators take them: signed ahead, and sent in batches by many accounts at once.
//!
//! ```text
//! Stock::sign ──> a lane of signed transfers for each account ──> Load::start ──> a client for each lane, at one of the nodes
//!                                                    a node's backlog, asked now and then ──┘ clients of it wait while it is long
//! ```

use std::{num::NonZeroUsize, thread, time::Duration};

use assay::rpc::{ClientError, RpcClient, UNAVAILABLE};
use assay_ledger::tx::{Action, SignedTransaction, Transaction};
use assay_primitives::{AccountId, Amount, Hash32, Keypair, Signed, encode};
use eyre::{WrapErr as _, bail};
use tokio::{sync::watch, task::JoinSet};

/// Transactions that a node takes in one request.
const BATCH: usize = 32;
/// Transactions that wait at a node while clients send it more, at most: three blocks of a thousand.
pub const BACKLOG: u32 = 3000;
/// From one look at what waits to the next.
const LOOK: Duration = Duration::from_millis(50);
/// How long a client waits when a node says that it has no room.
const PAUSE: Duration = Duration::from_millis(100);

/// The processor's cores.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// A key of many, the same each time.
pub fn key(number: u64) -> Keypair {
    Keypair::from_secret(Hash32::digest(&[&b"load"[..], &number.to_be_bytes()].concat()).0)
}

/// A signed transfer of one grain to one of so many receivers.
pub fn transfer(key: &Keypair, nonce: u64, receivers: u64, genesis: &Hash32) -> SignedTransaction {
    let signer = key.account();
    // Accounts of one block go to different receivers.
    let first = u64::from_be_bytes([0, 0, 0, 0, 0, 0, signer.0[0], signer.0[1]]);
    let receiver = (first + nonce) % receivers.max(1);
    let to = AccountId(Hash32::digest(&[&b"receiver"[..], &receiver.to_be_bytes()].concat()).0);
    let action = Action::Transfer { to, amount: Amount(1) };
    Signed::new(Transaction { signer, nonce, fee: Amount(1000), action }, genesis, key)
}

/// Encoded signed transfers, for each account its own from nonce 0 on.
pub struct Stock(Vec<Vec<Vec<u8>>>);

impl Stock {
    /// Signs so many transfers for each key, on all cores.
    ///
    /// # Panics
    /// If signing does.
    pub fn sign(keys: &[Keypair], each: u64, receivers: u64, genesis: Hash32) -> Self {
        let lane = move |key: &Keypair| -> Vec<Vec<u8>> {
            (0..each).map(|nonce| encode(&transfer(key, nonce, receivers, &genesis))).collect()
        };
        thread::scope(|scope| {
            let parts = keys.chunks(keys.len().div_ceil(cores()).max(1));
            let parts: Vec<_> =
                parts.map(|keys| scope.spawn(move || keys.iter().map(lane).collect::<Vec<_>>())).collect();
            Self(parts.into_iter().flat_map(|part| part.join().expect("signing has no failing step")).collect())
        })
    }
}

/// Clients at work.
pub struct Load {
    stop: watch::Sender<bool>,
    clients: JoinSet<eyre::Result<usize>>,
    /// Those who look at what waits; they end with this.
    _looks: JoinSet<eyre::Result<()>>,
}

impl Load {
    /// Starts a client for each account, in turn at the nodes.
    pub fn start(nodes: &[RpcClient], stock: Stock) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (mut clients, mut looks) = (JoinSet::new(), JoinSet::new());
        let rooms: Vec<_> = nodes
            .iter()
            .map(|node| {
                let (waiting, room) = watch::channel(0);
                looks.spawn(look(node.clone(), waiting));
                (node, room)
            })
            .collect();
        for (lane, (node, room)) in stock.0.into_iter().zip(rooms.iter().cycle()) {
            clients.spawn(send((*node).clone(), lane, room.clone(), stopped.clone()));
        }
        Self { stop, clients, _looks: looks }
    }

    /// Lets the clients stop. Gives how many transfers of the stock are left.
    ///
    /// # Errors
    /// If a transfer was refused, or a node does not answer.
    pub async fn finish(mut self) -> eyre::Result<usize> {
        self.stop.send_replace(true);
        let mut left = 0;
        while let Some(client) = self.clients.join_next().await {
            left += client??;
        }
        Ok(left)
    }
}

async fn look(node: RpcClient, waiting: watch::Sender<u32>) -> eyre::Result<()> {
    loop {
        waiting.send_replace(node.status().await?.mempool);
        tokio::time::sleep(LOOK).await;
    }
}

/// Sends a lane, and gives how many are left of it.
async fn send(
    node: RpcClient,
    lane: Vec<Vec<u8>>,
    mut room: watch::Receiver<u32>,
    stopped: watch::Receiver<bool>,
) -> eyre::Result<usize> {
    let mut sent = 0;
    while sent < lane.len() && !*stopped.borrow() {
        if room.wait_for(|waiting| *waiting < BACKLOG).await.is_err() {
            bail!("the node at {} no longer says what waits there", node.url());
        }
        for answer in node.submit_all(&lane[sent..lane.len().min(sent + BATCH)]).await {
            match answer {
                Ok(_) => sent += 1,
                // Those that come after it are refused for their nonces, and sent again with it.
                Err(ClientError::Refused { code: UNAVAILABLE, .. } | ClientError::Busy { .. }) => {
                    tokio::time::sleep(PAUSE).await;
                    break;
                }
                Err(e) => return Err(e).wrap_err_with(|| format!("transfer {sent} of a client of {}", node.url())),
            }
        }
    }
    Ok(lane.len() - sent)
}
