//! Whether the chain has forked. Liars with no more than a third of the voting power cannot make it; with more they can, and then
//! this is how honest nodes find out.
//!
//! ```text
//! every few blocks: own certified header ──told──> peers, who compare it with theirs
//! a header of a peer ──judge──> ours: forwarded once; not certified: refused; certified, and not ours: a fork
//! a fork ──> fork.json ──> evidence to the ledger ──> told to peers, who do likewise ──> the node ends, with words for its operator
//! ```
//!
//! Validators tell, everybody listens and, having found a fork, tells of it. The topic is the data plane's, which connects nodes that
//! never exchange a vote: two sides of a fork do not hear each other's consensus. What is compared are headers of heights that
//! evidence still reaches back to: below, keys whose stake has long been paid out could sign another history at no cost, and end
//! nodes with it.
//!
//! | module | holds |
//! |---|---|
//! | `judge` | what a told header says about this node's chain, without IO |

mod judge;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use assay_ledger::{StoreError, query};
use assay_primitives::{Hash32, Header, Keypair, SignedHeader, ValidatorSet, decode, encode, light::Fork};
use borsh::{BorshDeserialize, BorshSerialize};
use eyre::eyre;
use prometheus_client::{metrics::counter::Counter, registry::Registry};
use tokio::{
    sync::{broadcast, mpsc},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use self::judge::{Judge, Judgement, OwnChain};
use super::{Shared, gossip};
use crate::{
    chain::Committed,
    home::{FoundFork, Home},
    net::{GossipVerdict, InboundGossip, PublishError, Topic},
    store::{Store, StoreFault},
};

/// Blocks between two headers that a validator tells.
const TELL_EVERY: u64 = 4;
/// How often a fork is told of: a node that ends must have been heard.
const TURNS: u8 = 3;
/// Pause after each turn.
const TURN: Duration = Duration::from_secs(1);

/// What is gossiped about headers.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) enum Told {
    /// A header of the teller's chain.
    Header(Box<SignedHeader>),
    /// The chain has forked.
    Fork {
        /// The proof.
        fork: Box<Fork>,
        /// Gossip takes the same bytes only once: the number of the turn makes them others.
        turn: u8,
    },
}

/// What was heard and found.
#[derive(Clone, Debug, Default)]
pub(super) struct ForkMetrics {
    heard: Counter,
    found: Counter,
}

impl ForkMetrics {
    /// Adds the counters to a registry, under `assay_forks_`.
    pub(super) fn register(&self, registry: &mut Registry) {
        let r = registry.sub_registry_with_prefix("assay_forks");
        r.register("headers_heard", "Certified headers, and proofs of forks, told by peers", self.heard.clone());
        r.register("found", "Forks of the chain found", self.found.clone());
    }
}

/// The watch that a node keeps for forks.
pub(super) struct Watch {
    shared: Arc<Shared>,
    home: PathBuf,
    /// A validator's key: it tells headers, and has those punished who signed two ways.
    validator: Option<Keypair>,
    judge: Judge,
    metrics: ForkMetrics,
}

impl OwnChain for Store {
    type Error = StoreFault;

    fn height(&self) -> Result<u64, StoreFault> {
        Ok(self.tip()?.height)
    }

    fn header(&self, height: u64) -> Result<Option<SignedHeader>, StoreFault> {
        self.signed_header(height)
    }

    fn set(&self, height: u64) -> Result<ValidatorSet, StoreFault> {
        self.validators(height)
    }

    fn evidence_from(&self) -> Result<u64, StoreFault> {
        let snapshot = self.snapshot();
        let from = || -> Result<u64, StoreError> {
            query::evidence_from(&snapshot, &query::params(&snapshot)?, query::chain(&snapshot)?.epoch)
        };
        from().map_err(|e| self.unreadable(&e))
    }
}

/// Whether validators tell of this header: every so often, and where another set takes over, which is the last that the two sides of
/// an earlier fork may have in common.
fn is_told(header: &Header) -> bool {
    header.height.is_multiple_of(TELL_EVERY) || header.next_validators_hash != header.validators_hash
}

/// The validator sets whose forks the operator of a home has settled.
///
/// # Errors
/// If a fork was found and is not settled: what the operator must know and do. Such a node does not start.
pub(super) fn settled(home: &Home) -> eyre::Result<BTreeSet<Hash32>> {
    if let Some(found) = FoundFork::read(&home.dir)? {
        return Err(eyre!("{}", found.words(&home.dir)));
    }
    Ok(FoundFork::settled(&home.dir)?.iter().map(|(_, found)| found.set()).collect())
}

impl Watch {
    /// The watch of the node in the folder `home`.
    pub(super) fn new(
        shared: Arc<Shared>,
        home: PathBuf,
        validator: Option<Keypair>,
        settled: BTreeSet<Hash32>,
        metrics: ForkMetrics,
    ) -> Self {
        let judge = Judge::new(shared.genesis, settled);
        Self { shared, home, validator, judge, metrics }
    }

    /// Tells and listens until `stop`.
    ///
    /// # Errors
    /// That the chain has forked, or that the store cannot be read.
    pub(super) async fn keep(
        mut self,
        mut told: mpsc::Receiver<InboundGossip>,
        mut committed: broadcast::Receiver<Arc<Committed>>,
        stop: CancellationToken,
    ) -> eyre::Result<()> {
        loop {
            let found = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                Some(inbound) = told.recv() => self.hear(inbound)?,
                block = committed.recv() => match block {
                    Ok(block) => {
                        self.tell(&block.header).await?;
                        self.judge.catch_up(&**self.shared.store())?
                    }
                    Err(broadcast::error::RecvError::Lagged(_)) => self.judge.catch_up(&**self.shared.store())?,
                    Err(broadcast::error::RecvError::Closed) => {
                        stop.cancelled().await;
                        return Ok(());
                    }
                },
            };
            if let Some(found) = found {
                return Err(self.end(found, &stop).await);
            }
        }
    }

    fn hear(&mut self, inbound: InboundGossip) -> Result<Option<FoundFork>, StoreFault> {
        self.metrics.heard.inc();
        let chain = &**self.shared.store();
        let Judgement { verdict, found } = match decode("told header", &inbound.bytes) {
            Ok(Told::Header(header)) => self.judge.header(chain, *header)?,
            Ok(Told::Fork { fork, .. }) => self.judge.fork(chain, *fork)?,
            Err(_) => GossipVerdict::Reject.into(),
        };
        if verdict == GossipVerdict::Reject {
            tracing::debug!(peer = %inbound.from, "refused what was told of a header");
        }
        inbound.report(verdict);
        Ok(found)
    }

    /// Tells peers of a block that this validator has just committed.
    async fn tell(&mut self, header: &Header) -> Result<(), StoreFault> {
        // While it catches up, what it would tell is old to everybody.
        if self.validator.is_none() || !is_told(header) || self.shared.engine.borrow().syncing {
            return Ok(());
        }
        let Some(signed) = self.shared.store.signed_header(header.height)? else { return Ok(()) };
        self.judge.tells(header.height);
        match self.shared.net.publish(Topic::Headers, encode(&Told::Header(Box::new(signed)))).await {
            Ok(()) | Err(PublishError::NoPeers | PublishError::Known) => {}
            Err(e) => tracing::debug!(height = header.height, "a header was not told: {e}"),
        }
        Ok(())
    }

    /// Keeps the proof, has those punished whom it convicts, tells everybody. What the node ends with.
    async fn end(&self, found: FoundFork, stop: &CancellationToken) -> eyre::Report {
        self.metrics.found.inc();
        let words = found.words(&self.home);
        tracing::error!("{words}");
        if let Err(e) = found.keep(&self.home) {
            tracing::error!("the proof that the chain has forked is in no file: {e}");
        }
        if let Some(reporter) = &self.validator {
            for (first, second) in found.fork.conflicting_votes() {
                if let Err(e) = gossip::convict(&self.shared, reporter, first, second).await {
                    tracing::warn!("evidence of a double signature was not submitted: {e}");
                }
            }
        }
        for turn in 0..TURNS {
            let told = Told::Fork { fork: Box::new(found.fork.clone()), turn };
            match timeout(TURN, self.shared.net.publish(Topic::Headers, encode(&told))).await {
                Ok(Ok(())) => {}
                Ok(Err(e)) => tracing::warn!(turn, "nobody was told that the chain has forked: {e}"),
                Err(_) => tracing::warn!(turn, "the network does not take it that the chain has forked"),
            }
            tokio::select! {
                () = tokio::time::sleep(TURN) => {}
                () = stop.cancelled() => break,
            }
        }
        eyre!("{words}")
    }
}
