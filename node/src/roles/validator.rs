//! The validator's scoring: what it asks, how it judges, and how it binds itself to the verdict.
//!
//! ```text
//! each epoch:  plan (every miner of every subnet with a model that canaries fit) ─> tasks, spread over its first part
//!              ─> verdicts ─> sheet, synced to disk ─> CommitScores      next epoch: RevealScores
//! on the way:  refuted answer or invalid proof ─> Refute     missing proof ─> Challenge (once a miner and epoch)
//!              one verified answer, drawn at the parameter `challenge_rate` ─> Challenge
//! ```
//!
//! A miner is scored from the first whole epoch after its registration on. All timing is in blocks ([`round`] says when), so validators whose clocks differ agree on the epoch. After a restart
//! the sheet on disk is committed and revealed; an epoch without a sheet is begun again where it stands, with fresh
//! nonces. Two validators with the same operator key are a fault of their operator: the chain takes one commitment.

mod judge;
mod round;
mod sheets;
mod task;
mod text;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use assay_chain_spec::Params;
use assay_ledger::{
    StateRead, StoreError, audit, query,
    records::{Chain, ModelKind},
    tx::{Action, ScoreSheet},
};
use assay_primitives::{AccountId, Hash32, Keypair, ModelId, domain, task::SubnetId};
use assay_scoring::{
    CanarySet, EpochSeed,
    tasks::TaskSource,
    text::{Models as Judges, Trained},
};
use rand::{Rng as _, RngCore as _, rngs::OsRng, seq::SliceRandom as _};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::{
    round::{Clock, Round},
    sheets::{Closed, Sheets},
    task::{Bench, Done, Exchange, Outcome, Subject},
};
use super::{Asker, ChainView, Models, RoleError, RoleMetrics, check::Finding};
use crate::texts::Texts;

/// Blocks after which a transaction that did not show on chain is sent again.
const RESEND_AFTER: u64 = 3;
/// Largest proof that is sent along in a refutation, in bytes; beyond it the miner is challenged for a sound one.
const MAX_REFUTED_PROOF: usize = 128 * 1024;

/// How a validator scores.
#[derive(Clone, Debug)]
pub struct ValidatorConfig {
    /// The operator key, which signs requests and scores.
    pub key: Keypair,
    /// Where sheets are kept; made if need be. No two validators may share it.
    pub dir: PathBuf,
    /// Proofs verified at once; each takes a core.
    pub verifiers: usize,
    /// Asks in flight.
    pub concurrency: usize,
    /// The language models that it has the files of.
    pub texts: Texts,
    /// The models that it judges texts by; criteria whose model is missing do not apply.
    pub judges: Judges,
}

impl ValidatorConfig {
    /// One verifier, eight asks in flight, no models to judge by.
    pub fn new(key: Keypair, dir: PathBuf, texts: Texts) -> Self {
        Self { key, dir, verifiers: 1, concurrency: 8, texts, judges: Judges::default() }
    }
}

struct Validator {
    chain: Arc<dyn ChainView>,
    bench: Arc<Bench>,
    models: Models,
    /// Known to nobody else; tasks are drawn from it.
    secret: Hash32,
    sheets: Sheets,
    /// When a sheet's commitment (false) or reveal (true) was last sent, by height.
    sent: BTreeMap<(u64, SubnetId, bool), u64>,
    round: Option<Round>,
}

/// Scores miners until `stop`.
///
/// # Errors
/// [`RoleError`] if its folder or this node's store cannot be used.
pub async fn run_validator(
    chain: Arc<dyn ChainView>,
    asker: Arc<dyn Asker>,
    canaries: CanarySet,
    config: ValidatorConfig,
    metrics: RoleMetrics,
    stop: CancellationToken,
) -> Result<(), RoleError> {
    let ValidatorConfig { key, dir, verifiers, concurrency, texts, judges } = config;
    let genesis = chain.genesis();
    let bench = Bench {
        asker,
        canaries,
        genesis,
        asks: Semaphore::new(concurrency.max(1)),
        verifiers: Semaphore::new(verifiers.max(1)),
        texts: texts.clone(),
        source: TaskSource::shipped(),
        asked: Default::default(),
        trained: Trained::shipped(),
        models: judges,
        metrics: metrics.clone(),
        key: key.clone(),
    };
    let judged = stop.child_token();
    let judging = tokio::spawn(judge::judge_texts(Arc::clone(&chain), texts, key, metrics, judged.clone()));
    let secret = domain::hash(domain::TASK_SEED, &genesis, &*bench.key.secret());
    let validator = Validator {
        sheets: Sheets::open(dir.join("sheets"))?,
        chain,
        bench: Arc::new(bench),
        models: Models::default(),
        secret,
        sent: BTreeMap::new(),
        round: None,
    };
    let done = validator.run(stop).await;
    judged.cancel();
    judging.await.map_err(|e| StoreError::backend(format!("judging texts failed: {e}")))?;
    done
}

impl Validator {
    fn account(&self) -> AccountId {
        self.bench.key.account()
    }

    async fn run(mut self, stop: CancellationToken) -> Result<(), RoleError> {
        let mut heights = self.chain.heights();
        loop {
            heights.borrow_and_update();
            self.on_block().await?;
            // Until the next block, verdicts come in as they are ready.
            loop {
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    changed = heights.changed() => match changed {
                        Ok(()) => break,
                        Err(_) => {
                            stop.cancelled().await;
                            return Ok(());
                        }
                    },
                    done = next_done(&mut self.round) => self.on_done(done).await?,
                }
            }
        }
    }

    async fn on_block(&mut self) -> Result<(), RoleError> {
        let snapshot = self.chain.snapshot()?;
        let view: &(dyn StateRead + Send + Sync) = &*snapshot;
        let chain = query::chain(view)?;
        if is_behind(&chain, &query::params(view)?) {
            tracing::debug!(height = chain.height, "catching up: what is asked or committed now would come too late");
            return Ok(());
        }
        let Some(me) = query::validator(view, &self.account())? else {
            tracing::debug!("not registered as a validator yet: nothing is scored");
            return Ok(());
        };
        if self.round.as_ref().is_none_or(|r| r.epoch != chain.epoch) {
            if let Some(jail) = me.jailed {
                let until = jail.until;
                tracing::warn!(
                    until,
                    epoch = chain.epoch,
                    "jailed for absence: run `assay validator unjail` from epoch {until} on"
                );
            }
            self.begin(view, &chain)?;
        }
        self.follow_up(view, &chain).await?;
        let clock = Clock::of(&chain);
        if self.round.as_ref().is_some_and(|r| !r.closed) {
            self.plan(view, clock, chain.epoch_start)?;
        }
        // Verdicts that are ready count, also if the block came first.
        while let Some(done) = self.round.as_mut().and_then(|r| r.ready()) {
            self.on_done(done).await?;
        }
        let Some(round) = self.round.as_mut().filter(|r| !r.closed) else { return Ok(()) };
        round.drop_retired(|subnet, model| {
            Ok(query::subnet(view, subnet)?.is_some_and(|subnet| subnet.models.contains(model)))
        })?;
        if clock.position < clock.closing() {
            round.launch(clock, &self.bench);
        }
        if round.is_due(clock) {
            self.close(view, &chain).await?;
        }
        Ok(())
    }

    /// Starts an epoch; the last one's unfinished tasks are given up with it.
    fn begin(&mut self, view: &dyn StateRead, chain: &Chain) -> Result<(), RoleError> {
        let seed = EpochSeed {
            genesis: self.bench.genesis,
            randomness: chain.randomness,
            secret: self.secret,
            epoch: chain.epoch,
        };
        let mut round = Round::new(query::params(view)?, seed);
        round.closed = self.sheets.has(chain.epoch);
        self.round = Some(round);
        self.sheets.forget_before(chain.epoch.saturating_sub(1))?;
        self.sent.retain(|(epoch, ..), _| epoch.saturating_add(1) >= chain.epoch);
        Ok(())
    }

    /// Plans the tasks of miners not planned yet. A miner is asked from the epoch after its registration on, so that all
    /// are asked alike.
    fn plan(&mut self, view: &dyn StateRead, clock: Clock, epoch_start: u64) -> Result<(), RoleError> {
        if self.round.is_none() {
            return Ok(());
        }
        if clock.position >= clock.sending() {
            return Ok(());
        }
        for subnet in query::subnets(view)? {
            let mut subject = None;
            for model in &subnet.models {
                subject = self.subject(view, model)?;
                if subject.is_some() {
                    break;
                }
            }
            let (Some(subject), Some(round)) = (subject, self.round.as_mut()) else { continue };
            let mut miners = query::miners(view, subnet.id)?;
            miners
                .retain(|m| m.retired.is_none() && m.registered < epoch_start && !round.knows(subnet.id, &m.operator));
            // Validators that all began with the same miner would make it slow.
            miners.shuffle(&mut OsRng);
            if !miners.is_empty() {
                tracing::debug!(epoch = round.epoch, subnet = subnet.id, miners = miners.len(), "planned tasks");
                round.plan(clock, subnet.id, &subject, &miners);
            }
        }
        Ok(())
    }

    /// What this validator can ask about a model, if anything.
    fn subject(&self, view: &dyn StateRead, model: &ModelId) -> Result<Option<Subject>, RoleError> {
        if let Some(engine) = self.models.engine(view, model)? {
            let fits = engine.model().input_len() == self.bench.canaries.input_len();
            return Ok(fits.then_some(Subject::Exact(engine)));
        }
        let text = query::model(view, model)?.filter(|record| record.kind == ModelKind::Text);
        if text.is_some() && !self.bench.texts.has(model) {
            tracing::warn!(%model, "this validator lacks the files of a language model: its miners are not scored");
        }
        Ok(text.filter(|_| self.bench.texts.has(model)).map(|_| Subject::Text(*model)))
    }

    async fn on_done(&mut self, done: Done) -> Result<(), RoleError> {
        let Some(round) = self.round.as_mut().filter(|r| !r.closed) else { return Ok(()) };
        let Done { subnet, miner, index, outcome } = done;
        match outcome {
            Outcome::LeftOut(reason) => {
                tracing::warn!(%miner, index, reason, "a task failed for a reason of this node's own and is left out");
            }
            Outcome::Judged { verdict, exchange } => {
                round.tally(subnet, miner, &verdict, exchange.as_deref());
                if let Some(exchange) = exchange {
                    self.act_on(*exchange).await?;
                }
            }
        }
        Ok(())
    }

    /// Brings what an answer showed before the chain, once a miner and epoch.
    async fn act_on(&mut self, exchange: Exchange) -> Result<(), RoleError> {
        let Some(round) = self.round.as_mut() else { return Ok(()) };
        let Exchange { request, response, proof, finding, .. } = exchange;
        let miner = request.body.miner;
        let action = match finding {
            Finding::Verified => {
                round.verified.push((request, response));
                return Ok(());
            }
            Finding::WrongOutput => Action::Refute { request, response, proof: None },
            Finding::InvalidProof(_) if proof.as_ref().is_some_and(|p| p.len() <= MAX_REFUTED_PROOF) => {
                Action::Refute { request, response, proof }
            }
            Finding::InvalidProof(_) | Finding::MissingProof | Finding::OtherText(_) => {
                Action::Challenge { request, response }
            }
        };
        if !round.accused.insert(miner) {
            return Ok(());
        }
        let epoch = round.epoch;
        let record = query::miner(&*self.chain.snapshot()?, &miner)?;
        if record.is_none_or(|m| m.retired.is_some() || m.slashed == Some(epoch)) {
            return Ok(());
        }
        tracing::info!(%miner, epoch, action = action.name(), "a miner's answer does not hold");
        self.send(action).await;
        Ok(())
    }

    async fn send(&self, action: Action) {
        let counter = match &action {
            Action::Refute { .. } => &self.bench.metrics.validator_refutations,
            Action::Challenge { .. } => &self.bench.metrics.validator_challenges,
            Action::CommitScores { .. } => &self.bench.metrics.validator_commits,
            _ => &self.bench.metrics.validator_reveals,
        };
        let name = action.name();
        match self.chain.submit(action, &self.bench.key).await {
            Ok(_) => drop(counter.inc()),
            Err(error) => tracing::warn!(action = name, %error, "a transaction of this validator was not submitted"),
        }
    }

    /// Closes the epoch's sheets, keeps them on disk, and commits.
    async fn close(&mut self, view: &(dyn StateRead + Send + Sync), chain: &Chain) -> Result<(), RoleError> {
        let Some(round) = self.round.as_mut() else { return Ok(()) };
        let (epoch, rate) = (round.epoch, round.params.challenge_rate);
        for (subnet, (scores, exchanges)) in round.close(&self.bench.genesis) {
            // Its share of the chain's public randomness too, so nobody may guess it: fresh for every sheet.
            let mut salt = [0; 32];
            OsRng.fill_bytes(&mut salt);
            let validator = self.bench.key.account();
            // Scores committed by an earlier run whose disk is gone cannot be revealed, nor replaced.
            if query::commitment(view, epoch, subnet, &validator)?.is_some() {
                tracing::error!(epoch, subnet, "the chain has a commitment of this validator that is not on this disk");
                continue;
            }
            tracing::info!(epoch, subnet, miners = scores.len(), "scores are closed");
            let sheet = ScoreSheet { validator, subnet, epoch, salt, scores };
            self.sheets.keep(Closed { sheet, exchanges })?;
        }
        let drawn = OsRng.gen_range(0..10_000) < rate;
        let challenged = round.verified.choose(&mut OsRng).filter(|_| drawn).cloned();
        // The scores first: they have a deadline.
        self.follow_up(view, chain).await?;
        if let Some((request, response)) = challenged {
            self.send(Action::Challenge { request, response }).await;
        }
        Ok(())
    }

    /// The reveal of a sheet with the exhibits that its audit asks for.
    fn reveal(&self, view: &(dyn StateRead + Send + Sync), closed: &Closed) -> Result<Option<Action>, RoleError> {
        let Closed { sheet, exchanges } = closed;
        let Some(seed) = query::audit_seed(view, sheet.epoch)? else { return Ok(None) };
        let drawn = audit::draw(&seed, sheet, query::params(view)?.audit_samples);
        let exhibits = audit::exhibits(&self.bench.genesis, sheet, &drawn, exchanges);
        if exhibits.is_none() {
            let (epoch, subnet) = (sheet.epoch, sheet.subnet);
            tracing::error!(
                epoch,
                subnet,
                "an exchange that the audit asks for is not on disk: the scores cannot be revealed"
            );
        }
        Ok(exhibits.map(|exhibits| Action::RevealScores { sheet: sheet.clone(), exhibits }))
    }

    /// Commits and reveals whatever is on disk and not yet on chain.
    async fn follow_up(&mut self, view: &(dyn StateRead + Send + Sync), chain: &Chain) -> Result<(), RoleError> {
        let me = self.account();
        let mut actions = Vec::new();
        for closed in self.sheets.iter() {
            let sheet = &closed.sheet;
            let (epoch, subnet) = (sheet.epoch, sheet.subnet);
            let hash = sheet.commitment(&self.bench.genesis);
            let committed = query::commitment(view, epoch, subnet, &me)?;
            let reveals = epoch.checked_add(1) == Some(chain.epoch);
            let wanted = match committed {
                None if epoch == chain.epoch => Some(Action::CommitScores { subnet, epoch, commitment: hash }),
                Some(c) if reveals && c.hash == hash && query::reveal(view, epoch, subnet, &me)?.is_none() => {
                    self.reveal(view, closed)?
                }
                Some(c) if c.hash != hash => {
                    tracing::error!(
                        epoch,
                        subnet,
                        "the chain holds another commitment of this validator than its disk: does it run twice?"
                    );
                    None
                }
                _ => None,
            };
            let key = (epoch, subnet, reveals);
            let recent = self.sent.get(&key).is_some_and(|at| chain.height < at.saturating_add(RESEND_AFTER));
            if let Some(action) = wanted.filter(|_| !recent) {
                actions.push((key, action));
            }
        }
        for (key, action) in actions {
            self.sent.insert(key, chain.height);
            self.send(action).await;
        }
        Ok(())
    }
}

/// Whether the last block is so old that the network must be ahead of this node.
fn is_behind(chain: &Chain, params: &Params) -> bool {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis());
    let patience = u128::from(params.block_interval_ms) * 10 + 5_000;
    chain.height > 0 && now > u128::from(chain.time_ms) + patience
}

/// The next task that ends; waits for ever while there is none.
async fn next_done(round: &mut Option<Round>) -> Done {
    let Some(round) = round else { return std::future::pending().await };
    loop {
        match round.tasks.join_next().await {
            Some(Ok(done)) => return done,
            Some(Err(error)) if error.is_cancelled() => {}
            Some(Err(error)) => tracing::error!(%error, "a task failed"),
            None => return std::future::pending().await,
        }
    }
}
