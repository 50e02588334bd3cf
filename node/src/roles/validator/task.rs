//! One task: drawn, asked, checked and judged.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use assay_chain_spec::Params;
use assay_inference::{ExactEngine, class_of};
use assay_ledger::tx::Endpoint;
use assay_primitives::{
    AccountId, Hash32, Keypair, ModelId, Score, Signed,
    task::{Input, Request, Response, SubnetId},
};
use assay_scoring::{
    Answered, CanarySet, EpochSeed, Evidence, ProofOutcome, Scorer, Verdict,
    tasks::{Asked, TaskSource},
    text::{Models, Trained},
};
use rand::{RngCore as _, rngs::OsRng};
use tokio::sync::Semaphore;

use crate::{
    net::{Ask, AskError, Reply},
    roles::{
        Asker, RoleMetrics,
        check::{Checked, Finding, Unusable, check},
    },
    texts::Texts,
};

/// Pause before a miner that was busy for a moment is asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// What a task has at hand.
pub(super) struct Bench {
    pub(super) asker: Arc<dyn Asker>,
    pub(super) canaries: CanarySet,
    pub(super) key: Keypair,
    pub(super) genesis: Hash32,
    /// Asks in flight.
    pub(super) asks: Semaphore,
    /// Verifications at once.
    pub(super) verifiers: Semaphore,
    /// The language models that this node has the files of.
    pub(super) texts: Texts,
    /// What text tasks are drawn from, and what was drawn before.
    pub(super) source: TaskSource,
    pub(super) asked: Mutex<Asked>,
    /// What texts are judged by.
    pub(super) trained: Trained,
    pub(super) models: Models,
    pub(super) metrics: RoleMetrics,
}

/// What a miner is asked about.
#[derive(Clone)]
pub(super) enum Subject {
    /// A canary, by an exact model.
    Exact(Arc<ExactEngine>),
    /// A question with a known answer, by a language model.
    Text(ModelId),
}

impl Subject {
    pub(super) fn model(&self) -> ModelId {
        match self {
            Subject::Exact(engine) => engine.model().id(),
            Subject::Text(model) => *model,
        }
    }
}

/// One question to one miner.
pub(super) struct Task {
    pub(super) subnet: SubnetId,
    pub(super) miner: AccountId,
    pub(super) endpoint: Endpoint,
    pub(super) subject: Subject,
    /// Its number among the miner's tasks of the epoch.
    pub(super) index: u32,
    pub(super) params: Arc<Params>,
    pub(super) seed: Arc<EpochSeed>,
}

/// Where the tasks in flight stand, by miner and index.
#[derive(Clone, Debug, Default)]
pub(super) struct Board(Arc<Mutex<Entries>>);

type Entries = BTreeMap<(AccountId, u32), (SubnetId, Stage)>;

/// Where a task stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stage {
    /// Waits for its turn to be sent.
    Queued,
    /// The miner has it since then.
    Asked(Instant),
    /// Answered; being checked.
    Checking,
}

impl Board {
    fn entries(&self) -> std::sync::MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves a task on.
    pub(super) fn set(&self, task: &Task, stage: Stage) {
        self.entries().insert((task.miner, task.index), (task.subnet, stage));
    }

    /// Takes a finished task off.
    pub(super) fn clear(&self, miner: AccountId, index: u32) {
        self.entries().remove(&(miner, index));
    }

    /// Whether answers are being checked: their miners have done their part.
    pub(super) fn is_checking(&self) -> bool {
        self.entries().values().any(|(_, stage)| matches!(stage, Stage::Checking))
    }

    /// Miners that have held a task for longer than `patience`, once for each such task.
    pub(super) fn overdue(&self, patience: Duration) -> Vec<(SubnetId, AccountId)> {
        let late = |stage: &Stage| matches!(stage, Stage::Asked(since) if since.elapsed() > patience);
        self.entries().iter().filter(|(_, (_, stage))| late(stage)).map(|((m, _), (s, _))| (*s, *m)).collect()
    }
}

/// How a task ended.
pub(super) struct Done {
    pub(super) subnet: SubnetId,
    pub(super) miner: AccountId,
    pub(super) index: u32,
    pub(super) outcome: Outcome,
}

/// What a task showed.
pub(super) enum Outcome {
    /// A verdict. `exchange` is there if the miner signed an answer.
    Judged { verdict: Verdict, exchange: Option<Box<Exchange>> },
    /// Nothing about the miner: the trouble was this node's own.
    LeftOut(String),
}

/// A signed answer with what was found.
pub(super) struct Exchange {
    pub(super) request: Signed<Request>,
    pub(super) response: Signed<Response>,
    pub(super) proof: Option<Vec<u8>>,
    pub(super) finding: Finding,
    pub(super) outcome: ProofOutcome,
}

/// The verdict on silence.
pub(super) fn silence() -> Verdict {
    Verdict { score: Score::ZERO, breakdown: Vec::new(), gate: None }
}

impl Bench {
    pub(super) fn request(&self, task: &Task, input: Input) -> Signed<Request> {
        let mut nonce = [0; 16];
        OsRng.fill_bytes(&mut nonce);
        let body = Request {
            requester: self.key.account(),
            miner: task.miner,
            subnet: task.subnet,
            model: task.subject.model(),
            epoch: task.seed.epoch,
            nonce,
            input,
        };
        Signed::new(body, &self.genesis, &self.key)
    }

    /// Asks until the miner answers, refuses for good, or the deadline has passed. Gives the latency too.
    async fn ask(&self, task: &Task, request: &Signed<Request>) -> Result<(Reply, u64), AskError> {
        let sent = Instant::now();
        let deadline = Duration::from_millis(task.params.latency_zero_ms);
        loop {
            let left = deadline.saturating_sub(sent.elapsed());
            let ask = Ask { request: request.clone(), want_proof: true, want_compact: false };
            let reply = self.asker.ask(&task.endpoint, ask, left).await?;
            let latency = u64::try_from(sent.elapsed().as_millis()).unwrap_or(u64::MAX);
            match &reply {
                Reply::Refused { code, .. } if code.is_passing() && sent.elapsed() + RETRY_PAUSE < deadline => {
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                _ => return Ok((reply, latency)),
            }
        }
    }

    /// Runs a task to its end.
    pub(super) async fn run(self: Arc<Self>, task: Task, board: Board) -> Done {
        let attempt = async {
            match &task.subject {
                Subject::Exact(engine) => self.attempt(&task, engine, &board).await,
                Subject::Text(model) => self.attempt_text(&task, *model, &board).await,
            }
        };
        let outcome = match attempt.await {
            Ok(outcome) => outcome,
            Err(reason) => Outcome::LeftOut(reason),
        };
        board.clear(task.miner, task.index);
        Done { subnet: task.subnet, miner: task.miner, index: task.index, outcome }
    }

    async fn attempt(&self, task: &Task, engine: &Arc<ExactEngine>, board: &Board) -> Result<Outcome, String> {
        let turn = self.asks.acquire().await.map_err(|e| e.to_string())?;
        let canary = self.canaries.task(&task.seed, &task.miner, task.index);
        let pixels: Vec<f32> = canary.pixels.iter().map(|p| f32::from(*p)).collect();
        let input = engine.quantise(&pixels).map_err(|e| e.to_string())?;
        let request = self.request(task, Input::Numbers(input));
        board.set(task, Stage::Asked(Instant::now()));
        self.metrics.validator_tasks.inc();
        let silent = Outcome::Judged { verdict: silence(), exchange: None };
        let (reply, latency_ms) = match self.ask(task, &request).await {
            Ok(replied) => replied,
            Err(error) if error.is_bad_peer() => {
                tracing::debug!(miner = %task.miner, %error, "a task was not answered");
                return Ok(silent);
            }
            Err(error) => return Err(error.to_string()),
        };
        board.set(task, Stage::Checking);
        drop(turn);
        let checked = match self.check(engine, &request, reply).await? {
            Ok(checked) => checked,
            Err(Unusable::Input(reason)) => return Err(reason),
            Err(unusable) => {
                tracing::debug!(miner = %task.miner, %unusable, "a task was not answered");
                return Ok(silent);
            }
        };
        Ok(self.judge(task, canary.label, request, checked, latency_ms))
    }

    async fn check(
        &self,
        engine: &Arc<ExactEngine>,
        request: &Signed<Request>,
        reply: Reply,
    ) -> Result<Result<Checked, Unusable>, String> {
        let _core = self.verifiers.acquire().await.map_err(|e| e.to_string())?;
        let (genesis, engine, request) = (self.genesis, Arc::clone(engine), request.clone());
        let checked = tokio::task::spawn_blocking(move || check(&genesis, &engine, &request, reply));
        checked.await.map_err(|e| format!("checking an answer failed: {e}"))
    }

    fn judge(&self, task: &Task, label: u32, request: Signed<Request>, checked: Checked, latency_ms: u64) -> Outcome {
        let Checked { response, proof, expected, finding, .. } = checked;
        let outcome = match finding {
            Finding::Verified => ProofOutcome::Verified,
            Finding::InvalidProof(_) => ProofOutcome::Invalid,
            Finding::MissingProof => ProofOutcome::Missing,
            // No proof of a false statement holds; there is no need to try.
            Finding::WrongOutput if proof.is_some() => ProofOutcome::Invalid,
            Finding::WrongOutput | Finding::OtherText(_) => ProofOutcome::Missing,
        };
        let output = response.body.output.numbers().unwrap_or_default().to_vec();
        let answer = Some(Answered { class: class_of(&output), output, proof: outcome, latency_ms });
        let verdict = Scorer::from_params(&task.params).judge(&Evidence { label: Some(label), expected, answer });
        self.metrics.validator_responses.inc();
        match outcome {
            ProofOutcome::Verified => self.metrics.validator_proofs_verified.inc(),
            _ => self.metrics.validator_proofs_rejected.inc(),
        };
        tracing::debug!(miner = %task.miner, index = task.index, score = %verdict.score, gate = ?verdict.gate, latency_ms, ?finding, "judged an answer");
        let exchange = Exchange { request, response, proof, finding, outcome };
        Outcome::Judged { verdict, exchange: Some(Box::new(exchange)) }
    }
}
