//! One epoch of one validator: its plan of tasks, and what they came to.
//!
//! ```text
//! position in the epoch   1 ........ 60 % ........ 75 % ...... +10 % ........ end
//!                         tasks are sent  answers   the sheet is  last call for
//!                                         come in   closed        answers being checked
//! ```

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque, btree_map::Entry},
    sync::Arc,
    time::Duration,
};

use assay_chain_spec::Params;
use assay_ledger::{
    StoreError, audit,
    records::{Chain, MinerRecord},
    tx::{Endpoint, Mark, ScoreEntry},
};
use assay_primitives::{
    AccountId, Hash32, ModelId, Signed,
    task::{Request, Response, SubnetId},
};
use assay_scoring::{EpochSeed, MeanMark, Tally, Verdict};
use tokio::task::JoinSet;

use super::{
    sheets::Kept,
    task::{Bench, Board, Done, Exchange, Stage, Subject, Task, silence},
};

/// Where in an epoch the next block stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clock {
    /// Blocks of the epoch that are committed.
    pub(super) position: u64,
    /// Blocks in the epoch.
    pub(super) length: u64,
}

impl Clock {
    pub(super) fn of(chain: &Chain) -> Self {
        let position = (chain.height + 1).saturating_sub(chain.epoch_start);
        Self { position, length: (chain.epoch_end + 1).saturating_sub(chain.epoch_start) }
    }

    /// The position from which the sheet is closed: at three quarters, and with two blocks left for the commitment.
    pub(super) fn closing(self) -> u64 {
        (self.length * 3 / 4).min(self.length.saturating_sub(2)).max(1)
    }

    /// The position from which answers being checked are waited for no longer.
    pub(super) fn last_call(self) -> u64 {
        (self.closing() + self.length / 10).min(self.length.saturating_sub(2)).max(self.closing())
    }

    /// The position from which no more tasks are sent.
    pub(super) fn sending(self) -> u64 {
        (self.length * 3 / 5).clamp(1, self.closing())
    }
}

/// A task with the position from which it may be sent.
struct Planned {
    due: u64,
    subnet: SubnetId,
    miner: AccountId,
    endpoint: Endpoint,
    subject: Subject,
    index: u32,
}

/// An epoch under way.
pub(super) struct Round {
    pub(super) epoch: u64,
    pub(super) params: Arc<Params>,
    seed: Arc<EpochSeed>,
    planned: VecDeque<Planned>,
    known: BTreeSet<(SubnetId, AccountId)>,
    tallies: BTreeMap<(SubnetId, AccountId), Tally>,
    /// What each miner signed, for the audit of the scores.
    exchanges: BTreeMap<(SubnetId, AccountId), Vec<Kept>>,
    pub(super) tasks: JoinSet<Done>,
    board: Board,
    /// Miners accused on chain in this epoch.
    pub(super) accused: BTreeSet<AccountId>,
    /// Verified exchanges, for random challenges.
    pub(super) verified: Vec<(Signed<Request>, Signed<Response>)>,
    /// The sheet is closed.
    pub(super) closed: bool,
}

impl Round {
    pub(super) fn new(params: Params, seed: EpochSeed) -> Self {
        Self {
            epoch: seed.epoch,
            params: Arc::new(params),
            seed: Arc::new(seed),
            planned: VecDeque::new(),
            known: BTreeSet::new(),
            tallies: BTreeMap::new(),
            exchanges: BTreeMap::new(),
            tasks: JoinSet::new(),
            board: Board::default(),
            accused: BTreeSet::new(),
            verified: Vec::new(),
            closed: false,
        }
    }

    /// Whether a miner has its tasks already.
    pub(super) fn knows(&self, subnet: SubnetId, miner: &AccountId) -> bool {
        self.known.contains(&(subnet, *miner))
    }

    /// Plans the tasks of newly seen miners, spread over what is left of the time for sending, the miners taking turns.
    pub(super) fn plan(&mut self, clock: Clock, subnet: SubnetId, subject: &Subject, miners: &[MinerRecord]) {
        // The first block of an epoch is news to some miners a moment later than to this node.
        let from = clock.position.max(1);
        let span = clock.sending().saturating_sub(from);
        let per_miner = self.params.tasks_per_epoch;
        let slots = (per_miner * miners.len() as u64).max(1);
        let mut planned: Vec<Planned> = self.planned.drain(..).collect();
        for (turn, miner) in miners.iter().enumerate() {
            self.known.insert((subnet, miner.operator));
            self.tallies.entry((subnet, miner.operator)).or_default();
            for index in 0..per_miner {
                let slot = index * miners.len() as u64 + turn as u64;
                planned.push(Planned {
                    due: from + slot * span / slots,
                    subnet,
                    miner: miner.operator,
                    endpoint: miner.endpoint.clone(),
                    subject: subject.clone(),
                    index: u32::try_from(index).unwrap_or(u32::MAX),
                });
            }
        }
        planned.sort_by_key(|p| p.due);
        self.planned = planned.into();
    }

    /// Gives up the planned tasks of models that are no longer served. What was asked already is answered.
    pub(super) fn drop_retired(
        &mut self,
        served: impl Fn(SubnetId, &ModelId) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let mut asked = BTreeMap::new();
        for planned in &self.planned {
            let model = planned.subject.model();
            if let Entry::Vacant(entry) = asked.entry((planned.subnet, model)) {
                entry.insert(served(planned.subnet, &model)?);
            }
        }
        self.planned.retain(|planned| asked[&(planned.subnet, planned.subject.model())]);
        Ok(())
    }

    /// Starts the tasks that are due.
    pub(super) fn launch(&mut self, clock: Clock, bench: &Arc<Bench>) {
        while let Some(next) = self.planned.pop_front_if(|p| p.due <= clock.position) {
            let task = Task {
                subnet: next.subnet,
                miner: next.miner,
                endpoint: next.endpoint,
                subject: next.subject,
                index: next.index,
                params: Arc::clone(&self.params),
                seed: Arc::clone(&self.seed),
            };
            self.board.set(&task, Stage::Queued);
            self.tasks.spawn(Arc::clone(bench).run(task, self.board.clone()));
        }
    }

    /// Takes in a verdict, with the answer it is about if one was signed.
    pub(super) fn tally(&mut self, subnet: SubnetId, miner: AccountId, verdict: &Verdict, exchange: Option<&Exchange>) {
        let tally = self.tallies.entry((subnet, miner)).or_default();
        tally.add(verdict, exchange.map(|e| e.outcome));
        if let Some(Exchange { request, response, .. }) = exchange {
            self.exchanges.entry((subnet, miner)).or_default().push((request.clone(), response.clone()));
        }
    }

    /// Whether the sheet is to be closed now.
    pub(super) fn is_due(&self, clock: Clock) -> bool {
        let past = clock.position >= clock.closing();
        !self.closed && past && (!self.board.is_checking() || clock.position >= clock.last_call())
    }

    /// A task that has ended, without waiting.
    pub(super) fn ready(&mut self) -> Option<Done> {
        loop {
            match self.tasks.try_join_next()? {
                Ok(done) => return Some(done),
                Err(error) if error.is_cancelled() => {}
                Err(error) => tracing::error!(%error, "a task failed"),
            }
        }
    }

    /// How long a miner may hold a task at the close of the epoch: what earns the full latency mark, but never more than
    /// half an epoch, so that a miner that never replies is always found out.
    fn patience(&self) -> Duration {
        let epoch = self.params.tempo.saturating_mul(self.params.block_interval_ms);
        Duration::from_millis(self.params.latency_full_ms.min(epoch / 2))
    }

    /// Closes the epoch: a miner that has held a task for longer than [`Self::patience`] gets 0 for it; tasks younger, and those that are not the miner's turn, are left out. Entries ascend by miner; with them the exchanges they were made from.
    pub(super) fn close(&mut self, genesis: &Hash32) -> BTreeMap<SubnetId, (Vec<ScoreEntry>, Vec<Kept>)> {
        self.closed = true;
        for key in self.board.overdue(self.patience()) {
            self.tallies.entry(key).or_default().add(&silence(), None);
        }
        self.tasks.abort_all();
        self.planned.clear();
        let mut sheets: BTreeMap<SubnetId, (Vec<ScoreEntry>, Vec<Kept>)> = BTreeMap::new();
        for ((subnet, miner), tally) in &self.tallies {
            let Some(score) = tally.finish(self.params.tasks_per_epoch) else { continue };
            let mark = |mean: MeanMark| Mark { criterion: mean.name.into(), mark: mean.mark, tasks: mean.tasks };
            let kept = self.exchanges.remove(&(*subnet, *miner)).unwrap_or_default();
            let (entries, exchanges) = sheets.entry(*subnet).or_default();
            entries.push(ScoreEntry {
                miner: *miner,
                score: score.score,
                confidence: score.confidence,
                tasks: score.tasks,
                responses: score.responses,
                refuted: score.refuted,
                proofs_verified: score.proofs_verified,
                proofs_rejected: score.proofs_rejected,
                evidence: audit::evidence_of(genesis, kept.iter().map(|(_, response)| response)),
                marks: score.marks.into_iter().map(mark).collect(),
            });
            exchanges.extend(kept);
        }
        sheets
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use assay_ledger::query;
    use assay_primitives::Hash32;
    use proptest::prelude::*;

    use super::*;
    use crate::roles::tests::{SUBNET, TestChain, digits, key};

    #[tokio::test]
    async fn planned_tasks_of_a_model_that_is_served_no_more_are_given_up() {
        let chain = TestChain::new(Params::dev());
        chain.register(&key(10)).await;
        let miners = query::miners(&*chain.view(), SUBNET).unwrap();
        let subject = Subject::Exact(Arc::new(assay_inference::ExactEngine::from(digits().clone())));
        let seed = EpochSeed { genesis: Hash32::ZERO, randomness: Hash32::ZERO, secret: Hash32::ZERO, epoch: 1 };
        let mut round = Round::new(Params::dev(), seed);
        round.plan(Clock { position: 1, length: 20 }, SUBNET, &subject, &miners);
        let planned = round.planned.len();
        assert_eq!(planned as u64, Params::dev().tasks_per_epoch);
        round.drop_retired(|subnet, model| Ok(subnet == SUBNET && *model == subject.model())).unwrap();
        assert_eq!(round.planned.len(), planned);
        round.drop_retired(|_, _| Ok(false)).unwrap();
        assert!(round.planned.is_empty());
    }

    proptest! {
        #[test]
        fn sending_ends_before_closing_and_a_commitment_has_blocks_left(length in 4u64..100_000, position in 0u64..100_000) {
            let clock = Clock { position, length };
            prop_assert!(clock.sending() <= clock.closing());
            prop_assert!(clock.closing() <= clock.last_call());
            prop_assert!(clock.last_call() + 2 <= length);
        }
    }

    #[test]
    fn an_epoch_of_twenty_blocks_sends_until_12_and_closes_at_15() {
        let clock = Clock { position: 0, length: 20 };
        assert_eq!((clock.sending(), clock.closing(), clock.last_call()), (12, 15, 17));
    }
}
