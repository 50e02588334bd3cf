//! Clients that send transfers without a break and remember what they were told.

use std::{collections::VecDeque, time::Duration};

use assay::rpc::RpcClient;
use assay_ledger::tx::{Action, Transaction};
use assay_primitives::{AccountId, Amount, Hash32, Keypair, Signed, encode};
use eyre::bail;
use tokio::{sync::watch, task::JoinSet, time::Instant};

/// Transfers of one client that are not in a block yet, at most.
const WINDOW: usize = 64;
/// How long a client waits for a block before it sends again what is missing.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long it takes at the end until all that was sent is in blocks.
const LAST: Duration = Duration::from_secs(120);

/// A transfer that a node has said is in a block.
#[derive(Clone, Copy, Debug)]
pub struct Acknowledged {
    /// The transaction.
    pub id: Hash32,
    /// The block's height.
    pub height: u64,
}

/// Clients at work, each with a key and a connection of its own.
pub struct Clients {
    stop: watch::Sender<bool>,
    tasks: JoinSet<eyre::Result<Vec<Acknowledged>>>,
}

impl Clients {
    /// Starts a client for each key. Each sends so many transfers a second, to one node as long as that answers.
    ///
    /// # Errors
    /// None in practice: nodes' addresses are well formed.
    pub fn start(keys: Vec<Keypair>, nodes: &[String], genesis: Hash32, each_second: u32) -> eyre::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for (at, key) in keys.into_iter().enumerate() {
            let nodes = nodes.iter().map(|url| RpcClient::new(url)).collect::<Result<_, _>>()?;
            let client = Client { key, nodes, at, genesis, next: 0, sent: VecDeque::new(), told: Vec::new() };
            tasks.spawn(client.work(Duration::from_secs(1) / each_second, stopped.clone()));
        }
        Ok(Self { stop, tasks })
    }

    /// Lets the clients stop sending, and waits until all that they have sent is in blocks.
    ///
    /// # Errors
    /// If something is in no block two minutes later.
    pub async fn finish(mut self) -> eyre::Result<Vec<Acknowledged>> {
        self.stop.send_replace(true);
        let mut all = Vec::new();
        while let Some(told) = self.tasks.join_next().await {
            all.extend(told??);
        }
        Ok(all)
    }
}

struct Client {
    key: Keypair,
    nodes: Vec<RpcClient>,
    /// The node that it talks to.
    at: usize,
    genesis: Hash32,
    next: u64,
    /// What is in no block yet, as far as it knows: nonce and id.
    sent: VecDeque<(u64, Hash32)>,
    told: Vec<Acknowledged>,
}

impl Client {
    fn node(&self) -> &RpcClient {
        &self.nodes[self.at % self.nodes.len()]
    }

    fn transfer(&self, nonce: u64) -> (Hash32, Vec<u8>) {
        let action = Action::Transfer { to: AccountId([9; 32]), amount: Amount(1) };
        let body = Transaction { signer: self.key.account(), nonce, fee: Amount(1000), action };
        let signed = Signed::new(body, &self.genesis, &self.key);
        (signed.id(&self.genesis), encode(&signed))
    }

    async fn work(mut self, interval: Duration, stopped: watch::Receiver<bool>) -> eyre::Result<Vec<Acknowledged>> {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut moved, mut ended) = (Instant::now(), None);
        loop {
            ticks.tick().await;
            let last = *stopped.borrow();
            if last && self.sent.is_empty() {
                return Ok(self.told);
            }
            if last && ended.get_or_insert_with(Instant::now).elapsed() > LAST {
                bail!("{} transfers of {} are in no block", self.sent.len(), self.key.account());
            }
            if !last && self.sent.len() < WINDOW {
                let (id, bytes) = self.transfer(self.next);
                self.sent.push_back((self.next, id));
                self.next += 1;
                if self.node().submit(bytes).await.is_err() {
                    self.at += 1;
                }
            }
            if self.hear().await {
                moved = Instant::now();
            } else if moved.elapsed() > PATIENCE && !self.sent.is_empty() {
                self.at += 1;
                self.send_again().await;
                moved = Instant::now();
            }
        }
    }

    /// Asks for the oldest that is missing; whether something new is in a block.
    async fn hear(&mut self) -> bool {
        let mut heard = false;
        while let Some((_, id)) = self.sent.front().copied() {
            match self.node().transaction(&id).await {
                Ok(Some(status)) => {
                    self.told.push(Acknowledged { id, height: status.height });
                    self.sent.pop_front();
                    heard = true;
                }
                Ok(None) => break,
                Err(_) => {
                    self.at += 1;
                    break;
                }
            }
        }
        heard
    }

    /// A node that died has forgotten what was in no block. What is in one already is refused, and heard of later.
    async fn send_again(&self) {
        for (nonce, _) in &self.sent {
            let (_, bytes) = self.transfer(*nonce);
            let _known_or_down = self.node().submit(bytes).await;
        }
    }
}
