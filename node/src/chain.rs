//! The chain as this node sees it: builds, checks and commits blocks for the engine.
//!
//! ```text
//! mempool ──> prepare ──> block bytes ──engine──> process (execute, compare roots) ──vote──> commit (one fsynced batch)
//! ```
//!
//! A verdict on a block depends on its parent's state and the block alone, plus one check of its time against this
//! node's clock when it is first received. Trouble with this node's own disk is a [`Fault`], never a verdict.

mod block;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests;
mod verdict;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use assay_chain_spec::ChainSpec;
use assay_consensus::bft::{Executor, Fault, Misbehaviour, Tip, Undecided, Verdict};
use assay_ledger::{
    BlockContext, BlockOutcome, Event, TxResult, query,
    records::{AppVersion, Upgrade},
    tree,
};
use assay_primitives::{AccountId, Certificate, Hash32, Header, ValidatorSet};
use jmt::storage::TreeUpdateBatch;
use tokio::sync::{broadcast, mpsc, watch};

pub use block::Block;

use crate::{
    mempool::Mempool,
    store::{Commit, Store, StoreFault, TipRecord, TransactionRecord},
};

/// The newest version of the rules that this program knows: it executes `1..=APP_VERSION`. Headers carry the one in force.
pub const APP_VERSION: u32 = 1;

/// How far a proposer's clock may run ahead of this node's, in milliseconds.
const CLOCK_DRIFT_MS: u64 = 10_000;

/// A block executed on top of the tip, not committed yet.
struct Executed {
    outcome: BlockOutcome,
    state_root: Hash32,
    tree: TreeUpdateBatch,
}

/// What one committed block did, for whoever watches the chain.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The block's header.
    pub header: Header,
    /// Its id.
    pub id: Hash32,
    /// How its transactions went.
    pub results: Vec<TxResult>,
    /// What happened.
    pub events: Vec<Event>,
}

/// The chain's state machine behind the engine.
pub struct Chain {
    store: Arc<Store>,
    mempool: Arc<Mempool>,
    spec: Arc<ChainSpec>,
    genesis: Hash32,
    tip: TipRecord,
    /// The newest version of the rules that is known here.
    known: u32,
    /// What governance has settled for the next block.
    next: Next,
    /// Blocks executed on top of the tip; emptied by every commit.
    executed: VecDeque<(Hash32, Executed)>,
    heights: watch::Sender<u64>,
    committed: broadcast::Sender<Arc<Committed>>,
    misbehaviour: mpsc::Sender<Misbehaviour>,
}

/// Where others hear from the chain.
pub struct ChainFeeds {
    /// The last committed height.
    pub heights: watch::Receiver<u64>,
    /// Every committed block. A slow reader loses the oldest.
    pub committed: broadcast::Sender<Arc<Committed>>,
    /// Conflicting messages that the engine has seen.
    pub misbehaviour: mpsc::Receiver<Misbehaviour>,
}

/// What governance has settled for the block after the tip.
#[derive(Clone, Copy)]
struct Next {
    /// The parameter `block_interval_ms`.
    interval: Duration,
    /// The version of the rules.
    version: u32,
}

impl Next {
    fn read(store: &Store, tip: u64) -> Result<Self, StoreFault> {
        let snapshot = store.snapshot();
        let params = query::params(&snapshot).map_err(|e| store.unreadable(&e))?;
        let version = query::app_version(&snapshot).map_err(|e| store.unreadable(&e))?.at(tip.saturating_add(1));
        Ok(Self { interval: Duration::from_millis(params.block_interval_ms), version })
    }
}

/// What a program that knows versions up to `known` can do at the block after `tip`.
///
/// # Errors
/// In words: which version is needed from where on, and what to do.
pub fn knows_rules(version: &AppVersion, tip: u64, known: u32) -> Result<(), String> {
    let needed = version.at(tip.saturating_add(1));
    if needed <= known {
        return Ok(());
    }
    let from =
        version.planned.filter(|planned| planned.version == needed).map_or(version.since, |planned| planned.height);
    Err(format!(
        "from block {from} on this chain goes by version {needed} of its rules, and this program knows versions up to {known}: \
         it stopped before that block, and nothing is lost. Install a program that knows version {needed} and start it on the same home"
    ))
}

/// What a program that knows versions up to `known` has to know of an upgrade that is ahead; nothing if none is.
pub fn upgrade_ahead(version: &AppVersion, tip: u64, known: u32) -> Option<String> {
    let Upgrade { version, height, proposal } = version.planned.filter(|planned| planned.height > tip)?;
    let what = format!("version {version} of the rules from block {height} on (proposal {proposal})");
    Some(match version <= known {
        true => format!("{what}; this program knows it"),
        false => format!(
            "{what}; this program knows versions up to {known} and stops before that block: install one that knows version \
             {version}, before or then"
        ),
    })
}

impl From<StoreFault> for Fault {
    fn from(fault: StoreFault) -> Self {
        Fault(fault.to_string())
    }
}

impl Chain {
    /// The chain at the store's tip.
    pub fn new(
        store: Arc<Store>,
        mempool: Arc<Mempool>,
        spec: Arc<ChainSpec>,
    ) -> Result<(Self, ChainFeeds), StoreFault> {
        let tip = store.tip()?;
        let next = Next::read(&store, tip.height)?;
        let (heights, heights_out) = watch::channel(tip.height);
        let (committed, _) = broadcast::channel(256);
        let (misbehaviour, misbehaviour_out) = mpsc::channel(64);
        let feeds = ChainFeeds { heights: heights_out, committed: committed.clone(), misbehaviour: misbehaviour_out };
        let genesis = store.genesis();
        Ok((
            Self {
                store,
                mempool,
                spec,
                genesis,
                tip,
                known: APP_VERSION,
                next,
                executed: VecDeque::new(),
                heights,
                committed,
                misbehaviour,
            },
            feeds,
        ))
    }

    fn context(&self, time_ms: u64, proposer: AccountId) -> BlockContext {
        BlockContext { genesis: self.genesis, height: self.tip.height + 1, time_ms, proposer, parent: self.tip.id }
    }

    /// The tree's root and changes after an outcome.
    fn apply(&self, outcome: BlockOutcome) -> Result<Executed, Fault> {
        let (state_root, tree) = tree::apply(&self.store.snapshot(), self.tip.height + 1, &outcome.changes)
            .map_err(|e| Fault(format!("computing the state root: {e}")))?;
        Ok(Executed { outcome, state_root, tree })
    }

    fn build(&mut self, proposer: AccountId, now_ms: u64) -> Result<Vec<u8>, Fault> {
        let store = |e: assay_ledger::StoreError| Fault(format!("building a block: {e}"));
        let snapshot = self.store.snapshot();
        let params = query::params(&snapshot).map_err(store)?;
        let time_ms = now_ms.max(self.tip.time_ms + 1);
        // The header and the list's own length need a little of the block.
        let room = usize::try_from(params.max_block_bytes).unwrap_or(usize::MAX).saturating_sub(1024);
        let context = self.context(time_ms, proposer);
        let mut candidates = self.mempool.selection(&snapshot).map_err(store)?;
        let (transactions, outcome) = assay_ledger::build(&snapshot, &context, &mut candidates, room).map_err(store)?;
        let executed = self.apply(outcome)?;
        let header = Header {
            chain_id: self.spec.chain_id.clone(),
            height: context.height,
            time_ms,
            parent: self.tip.id,
            proposer,
            tx_root: Block::tx_root(&self.genesis, &transactions),
            state_root: executed.state_root,
            validators_hash: self.store.validators(context.height)?.hash(&self.genesis),
            next_validators_hash: executed.outcome.next_validators.hash(&self.genesis),
            evidence_root: Block::evidence_root(&self.genesis, &transactions),
            app_version: self.next.version,
        };
        self.remember(header.id(&self.genesis), executed);
        Ok(Block { header, transactions }.encode())
    }

    /// Keeps an executed block for its commit. Few blocks compete for one height; more than that is somebody's attack
    /// on memory, and the oldest is executed again if it wins.
    fn remember(&mut self, id: Hash32, executed: Executed) {
        if self.executed.len() >= 8 {
            self.executed.pop_front();
        }
        self.executed.push_back((id, executed));
    }
}

impl Executor for Chain {
    fn tip(&self) -> Tip {
        Tip { height: self.tip.height, id: self.tip.id, time_ms: self.tip.time_ms }
    }

    fn validators(&self, height: u64) -> Result<ValidatorSet, Fault> {
        Ok(self.store.validators(height)?)
    }

    fn may_go_on(&self) -> Result<(), Fault> {
        // The state is read again for the words alone.
        if self.next.version <= self.known {
            return Ok(());
        }
        let version = query::app_version(&self.store.snapshot()).map_err(|e| Fault(e.to_string()))?;
        knows_rules(&version, self.tip.height, self.known).map_err(Fault)
    }

    fn prepare(&mut self, height: u64, _round: u32, proposer: AccountId, now_ms: u64) -> Result<Vec<u8>, Fault> {
        self.may_go_on()?;
        if height != self.tip.height + 1 {
            return Err(Fault(format!("asked to build height {height} on top of height {}", self.tip.height)));
        }
        self.build(proposer, now_ms)
    }

    fn process(
        &mut self,
        height: u64,
        proposer: AccountId,
        bytes: &[u8],
        now_ms: Option<u64>,
    ) -> Result<Verdict, Fault> {
        match self.judge(height, proposer, bytes, now_ms)? {
            Ok(id) => Ok(Verdict::Valid(id)),
            Err(reason) => Ok(Verdict::Invalid { reason }),
        }
    }

    fn block_id(&self, bytes: &[u8]) -> Option<Hash32> {
        let block = Block::decode(bytes).ok()?;
        block.binds_its_body(&self.genesis).then(|| block.header.id(&self.genesis))
    }

    fn save_undecided(&mut self, proposal: &Undecided) -> Result<(), Fault> {
        Ok(self.store.save_undecided(proposal)?)
    }

    fn undecided(&self, height: u64, round: u32) -> Result<Vec<Undecided>, Fault> {
        Ok(self.store.undecided(height, round)?)
    }

    fn undecided_block(&self, id: &Hash32) -> Result<Option<Vec<u8>>, Fault> {
        let proposals = self.store.undecided_at(self.tip.height + 1)?;
        Ok(proposals.into_iter().find(|p| p.block == *id).map(|p| p.bytes))
    }

    fn commit(&mut self, bytes: &[u8], certificate: &Certificate) -> Result<(), Fault> {
        let block = Block::decode(bytes).map_err(|e| Fault(format!("the decided block does not decode: {e}")))?;
        let id = block.header.id(&self.genesis);
        if certificate.block != id || certificate.height != self.tip.height + 1 {
            return Err(Fault(format!(
                "asked to commit block {id} at height {} with a certificate for {} at height {}",
                self.tip.height + 1,
                certificate.block,
                certificate.height
            )));
        }
        self.may_go_on()?;
        let kept = self.executed.iter().position(|(kept, _)| *kept == id).and_then(|at| self.executed.remove(at));
        let executed = match kept {
            Some((_, executed)) => executed,
            None => self.execute(&block)?.map_err(|reason| {
                Fault(format!("two thirds decided a block that this node finds invalid: {reason}"))
            })?,
        };
        self.write(&block, bytes, certificate, &executed)?;
        self.executed.clear();
        self.next = Next::read(&self.store, self.tip.height)?;
        let outcome = executed.outcome;
        self.mempool.committed(&self.store.snapshot(), &block.transactions);
        let committed = Committed { header: block.header, id, results: outcome.results, events: outcome.events };
        // Nobody may be listening; the store holds the truth.
        let _ = self.committed.send(Arc::new(committed));
        self.heights.send_replace(self.tip.height);
        Ok(())
    }

    fn decided(&self, height: u64) -> Result<Option<(Vec<u8>, Certificate)>, Fault> {
        let (block, certificate) = (self.store.block(height)?, self.store.certificate(height)?);
        Ok(block.zip(certificate))
    }

    fn block_interval(&self) -> Duration {
        self.next.interval
    }

    fn earliest(&self) -> Result<u64, Fault> {
        Ok(self.store.earliest()?)
    }

    fn report(&mut self, misbehaviour: Misbehaviour) {
        if self.misbehaviour.try_send(misbehaviour).is_err() {
            tracing::warn!("evidence of misbehaviour arrives faster than it can be submitted; some is dropped");
        }
    }
}

impl Chain {
    /// Everything the decided block changes goes down in one batch; the tip moves only after it.
    fn write(
        &mut self,
        block: &Block,
        bytes: &[u8],
        certificate: &Certificate,
        executed: &Executed,
    ) -> Result<(), Fault> {
        let header = &block.header;
        let tip = TipRecord {
            height: header.height,
            id: certificate.block,
            time_ms: header.time_ms,
            state_root: executed.state_root,
        };
        let record = |(index, result): (usize, &TxResult)| {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            (
                result.id,
                TransactionRecord { height: header.height, index, error: result.error.clone(), fee: result.fee },
            )
        };
        let changed = header.validators_hash != header.next_validators_hash;
        self.store.commit(&Commit {
            tip,
            block: bytes,
            header,
            certificate,
            changes: &executed.outcome.changes,
            tree: &executed.tree,
            transactions: executed.outcome.results.iter().enumerate().map(record).collect(),
            next_set: changed.then_some(&executed.outcome.next_validators),
        })?;
        self.tip = tip;
        Ok(())
    }
}
