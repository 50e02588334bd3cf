//! Text tasks: asked, made again and judged.

use std::time::{Duration, Instant};

use assay_primitives::{
    ModelId, Signed,
    task::{Input, Request, Response},
    text::{Draw, TextInput},
};
use assay_scoring::{
    ProofOutcome, Verdict,
    text::{Arrived, ReplayOutcome, TextJudge, TextTask},
};
use serde_json::json;

use super::task::{Bench, Board, Exchange, Outcome, Stage, Task, silence};
use crate::{
    net::{AskError, Frame, TextAsk},
    roles::check::Finding,
    texts::{self, Look},
};

/// Pause before a miner that was busy for a moment is asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// Most tokens of an answer.
const MAX_TOKENS: u32 = 96;

impl Bench {
    /// Draws a question, asks it, makes the answer again and judges it.
    pub(super) async fn attempt_text(&self, task: &Task, model: ModelId, board: &Board) -> Result<Outcome, String> {
        let drawn = {
            let mut asked = self.asked.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            self.source.draw(&task.seed, Some(&task.miner), task.index, &mut asked).map_err(|e| e.to_string())?
        };
        let turn = self.asks.acquire().await.map_err(|e| e.to_string())?;
        let llm = self.texts.ready(model).await.map_err(|e| e.to_string())?;
        let template = llm.codec.template().ok_or("the model has no chat template to ask by")?;
        let prompt = template
            .render::<_, ()>(&[json!({ "role": "user", "content": drawn.task.prompt })], None)
            .map_err(|e| e.to_string())?;
        let prompt = llm.codec.encode_as_is(&prompt)?;
        let room = (llm.committed.context as usize).saturating_sub(prompt.len());
        let max_tokens = MAX_TOKENS.min(u32::try_from(room).unwrap_or(u32::MAX));
        if max_tokens == 0 {
            return Err("a drawn question leaves no room in the model's context".into());
        }
        let text =
            TextInput { prompt, max_tokens, draw: Draw::greedy(), stop: Vec::new(), ignore_end: false, form: None };
        let request = self.request(task, Input::Text(text.clone()));
        board.set(task, Stage::Asked(Instant::now()));
        self.metrics.validator_tasks.inc();
        let silent = Outcome::Judged { verdict: silence(), exchange: None };
        let (response, latency_ms) = match self.hear(task, &request).await {
            Ok(heard) => heard,
            Err(Unheard::Mine(reason)) => return Err(reason),
            Err(Unheard::Miner(reason)) => {
                tracing::debug!(miner = %task.miner, reason, "a text task was not answered");
                return Ok(silent);
            }
        };
        board.set(task, Stage::Checking);
        drop(turn);
        let Some(told) = response.body.output.text() else {
            // Signed, and no text: refutable on its face.
            return Ok(self.concluded(task, silence(), request, response, Finding::WrongOutput));
        };
        let _core = self.verifiers.acquire().await.map_err(|e| e.to_string())?;
        let honest = response.body.model == request.body.model && response.body.input == request.body.input.hash();
        let Look { verdict: found, .. } = texts::look(&llm, &text, told).await.map_err(|e| e.to_string())?;
        let finding = match (honest, found.is_right()) {
            (false, _) => Finding::WrongOutput,
            (true, true) => Finding::Verified,
            (true, false) => Finding::OtherText(found.to_string()),
        };
        let said = llm.codec.decode(&told.tokens).unwrap_or_default();
        let replay = if finding == Finding::Verified { ReplayOutcome::Confirmed } else { ReplayOutcome::Refuted };
        let arrived = Arrived { text: said, replay, latency_ms, price: None };
        let verdict = self.judge_text(task, drawn.task, arrived).await?;
        Ok(self.concluded(task, verdict, request, response, finding))
    }

    async fn judge_text(&self, task: &Task, question: TextTask, arrived: Arrived) -> Result<Verdict, String> {
        let judge = TextJudge::new(&task.params, &self.trained, self.models.clone());
        let judged = tokio::task::spawn_blocking(move || judge.judge(question, Some(arrived)));
        let judgement = judged.await.map_err(|e| format!("judging a text failed: {e}"))?.map_err(|e| e.to_string())?;
        Ok(judgement.verdict)
    }

    fn concluded(
        &self,
        task: &Task,
        verdict: Verdict,
        request: Signed<Request>,
        response: Signed<Response>,
        finding: Finding,
    ) -> Outcome {
        let outcome = if finding == Finding::Verified { ProofOutcome::Verified } else { ProofOutcome::Invalid };
        self.metrics.validator_responses.inc();
        match outcome {
            ProofOutcome::Verified => self.metrics.validator_proofs_verified.inc(),
            _ => self.metrics.validator_proofs_rejected.inc(),
        };
        tracing::debug!(miner = %task.miner, index = task.index, score = %verdict.score, gate = ?verdict.gate, ?finding, "judged a text");
        let exchange = Exchange { request, response, proof: None, finding, outcome };
        Outcome::Judged { verdict, exchange: Some(Box::new(exchange)) }
    }

    /// Hears a whole text, with the milliseconds that it took. A miner that is busy is asked again until the deadline.
    async fn hear(&self, task: &Task, request: &Signed<Request>) -> Result<(Signed<Response>, u64), Unheard> {
        let sent = Instant::now();
        let deadline = sent + Duration::from_millis(task.params.latency_zero_ms);
        let late = || Unheard::Miner("it was not done in time".into());
        loop {
            let heard =
                tokio::time::timeout_at(deadline.into(), self.hear_once(task, request)).await.map_err(|_| late())??;
            match heard {
                Frame::Done { response, .. } => {
                    let took = u64::try_from(sent.elapsed().as_millis()).unwrap_or(u64::MAX);
                    return self.is_answer(request, &response).map(|()| (*response, took)).map_err(Unheard::Miner);
                }
                Frame::Refused { code, .. } if code.is_passing() && Instant::now() + RETRY_PAUSE < deadline => {
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                Frame::Refused { reason, .. } | Frame::Unpaid { reason, .. } => return Err(Unheard::Miner(reason)),
                Frame::Tokens(_) => return Err(late()),
            }
        }
    }

    /// The last frame of one exchange.
    async fn hear_once(&self, task: &Task, request: &Signed<Request>) -> Result<Frame, Unheard> {
        let unheard = |error: AskError| match error.is_bad_peer() {
            true => Unheard::Miner(error.to_string()),
            false => Unheard::Mine(error.to_string()),
        };
        let ask = TextAsk { request: request.clone(), resume: Vec::new(), logprobs: None, together_ms: u16::MAX };
        let mut telling = self.asker.tell(&task.endpoint, ask).await.map_err(unheard)?;
        loop {
            match telling.recv().await {
                Some(Ok(Frame::Tokens(_))) => {}
                Some(Ok(last)) => return Ok(last),
                Some(Err(error)) => return Err(unheard(error)),
                None => return Err(Unheard::Miner("it ended in the middle".into())),
            }
        }
    }

    /// Whether a response carries the miner's signature over this very request.
    fn is_answer(&self, request: &Signed<Request>, response: &Signed<Response>) -> Result<(), String> {
        let (asked, said) = (&request.body, &response.body);
        if said.miner != asked.miner || said.request != request.id(&self.genesis) {
            return Err("it is no answer to this request of this miner".into());
        }
        response.verify(&self.genesis).map_err(|e| e.to_string())
    }
}

/// Why there is no answer.
enum Unheard {
    /// The miner is to blame, or its connection.
    Miner(String),
    /// This node is.
    Mine(String),
}
