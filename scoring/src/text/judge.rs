//! Criteria put together: five ways to judge a text answer.
//!
//! | method | the score |
//! |---|---|
//! | `simple` | the match, where the answer is known exactly; else as `weighted`, for no other mark stands alone |
//! | `weighted` | the geometric mean of all marks under the chain's weights; where the right answer is not known exactly, that on a curve which is flat where honest answers lie |
//! | `ensemble` | the median of the three others; its confidence falls as they part |
//! | `reward_model` | the mean of the reward model's mark and the head's |
//! | `comparative` | as `weighted`, and then each miner's strength among those with the same tasks: see [`mod@super::compare`] |
//!
//! Gates hold under every method. Cheap criteria come first: an answer that they refute reaches no model.

use std::fmt;

use assay_chain_spec::Params;
use assay_primitives::Score;
use serde::Serialize;

use super::{
    calibration::Calibration,
    case::{Arrived, TextCase, TextTask},
    fluency::{Fluency, Fluent},
    head::{Preferred, RewardHead},
    known::{Format, Match},
    meaning::{Ending, Information, Likely, MeaningCalibrations, Nearness, Rewarded},
    models::{ModelError, Models},
    relation::{Relation, Relevance},
    service::{Cost, Replay},
    surface::{Echo, Language, Length, Plain, Repetition},
};
use crate::{
    criteria::Latency,
    verdict::{CriterionMark, Mean, Scorer, Verdict, combine},
};

/// A way to judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// The match alone, where there is one.
    Simple,
    /// All marks, weighed.
    Weighted,
    /// The median of the others.
    Ensemble,
    /// Rewards alone.
    RewardModel,
    /// Weighed, then compared with other miners.
    Comparative,
}

impl Method {
    /// All of them, in the order of the parameter `text_method`.
    pub const ALL: [Self; 5] = [Self::Simple, Self::Weighted, Self::Ensemble, Self::RewardModel, Self::Comparative];

    /// The one that the chain has in force.
    pub fn from_params(params: &Params) -> Self {
        let at = usize::try_from(params.text_method).unwrap_or(usize::MAX);
        Self::ALL.get(at).copied().unwrap_or(Self::Weighted)
    }

    /// Its name in parameters and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Weighted => "weighted",
            Self::Ensemble => "ensemble",
            Self::RewardModel => "reward_model",
            Self::Comparative => "comparative",
        }
    }
}

/// A verdict, how it came about and how sure it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Judgement {
    /// The method.
    pub method: Method,
    /// Score, gate, and every criterion's mark with its weight, whatever the method made of it.
    pub verdict: Verdict,
    /// `applied / all weights * (1 - min(2 * variance of the marks, 1/2))`; of an ensemble, 1 less its members' range.
    /// Full for a gate.
    pub confidence: Score,
    /// The scores of an ensemble's members.
    pub members: Vec<(Method, Score)>,
}

/// Trained parts of the scorer.
#[derive(Clone, Debug)]
pub struct Trained {
    /// Of language.
    pub fluency: Fluency,
    /// Of what belongs together.
    pub relation: Relation,
    /// Of preference.
    pub head: RewardHead,
    /// Of measures.
    pub calibrations: MeaningCalibrations,
}

impl Trained {
    /// Those that come with the node.
    pub fn shipped() -> Self {
        Self {
            fluency: Fluency::shipped(),
            relation: Relation::shipped(),
            head: RewardHead::shipped(),
            calibrations: MeaningCalibrations::shipped(),
        }
    }
}

/// Judges text answers.
pub struct TextJudge {
    method: Method,
    models: Models,
    scorer: Scorer<TextCase>,
    whole: Option<Calibration>,
}

impl fmt::Debug for TextJudge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextJudge").field("method", &self.method).field("scorer", &self.scorer).finish_non_exhaustive()
    }
}

/// The criteria of text with the weights that the chain has in force.
pub fn scorer(params: &Params, trained: &Trained) -> Scorer<TextCase> {
    let c = &trained.calibrations;
    Scorer::default()
        .by(Mean::Geometric)
        .with(Replay, params.weight_replay)
        .with(Length, params.weight_length)
        .with(Plain, params.weight_plain)
        .with(Repetition, params.weight_repetition)
        .with(Echo, params.weight_echo)
        .with(Language, params.weight_language)
        .with(Format, params.weight_format)
        .with(Match, params.weight_match)
        .with(Fluent(trained.fluency.clone()), params.weight_fluency)
        .with(Nearness(c.nearness), params.weight_nearness)
        .with(Relevance(trained.relation.clone()), params.weight_relevance)
        .with(Preferred(trained.head.clone()), params.weight_head)
        .with(Information(c.information), params.weight_information)
        .with(Likely(c.likely), params.weight_likely)
        .with(Ending(c.ending), params.weight_ending)
        .with(Rewarded(c.reward), params.weight_reward)
        .with(Latency { full_ms: params.latency_full_ms, zero_ms: params.latency_zero_ms }, params.weight_text_latency)
        .with(Cost { full: params.price_full, zero: params.price_zero }, params.weight_cost)
}

impl TextJudge {
    /// Judges by the method and weights that the chain has in force.
    pub fn new(params: &Params, trained: &Trained, models: Models) -> Self {
        let all = models.embedder.is_some() && models.language_model.is_some();
        let judge = Self::with_scorer(Method::from_params(params), scorer(params, trained), models);
        if all { judge.whole(trained.calibrations.whole) } else { judge }
    }

    /// Judges with a scorer of one's own.
    pub fn with_scorer(method: Method, scorer: Scorer<TextCase>, models: Models) -> Self {
        Self { method, models, scorer, whole: None }
    }

    /// Puts the mean of the marks on a curve. It keeps the order of answers, is flat where honest ones usually lie, so that
    /// who polishes one gains little, and steep where they part from bad ones.
    pub fn whole(mut self, calibration: Calibration) -> Self {
        self.whole = Some(calibration);
        self
    }

    /// Judges what came back for a task; `None` is silence, which scores 0.
    ///
    /// # Errors
    /// [`ModelError`] if a model of the validator's own failed: it says nothing about the miner.
    pub fn judge(&self, task: TextTask, arrived: Option<Arrived>) -> Result<Judgement, ModelError> {
        let whole = self.whole.filter(|_| !task.known.is_exact());
        let mut case = TextCase::read(task, arrived);
        let mut verdict = self.scorer.judge(&case);
        if verdict.gate.is_none() && case.answer.is_some() {
            case.ask(&self.models)?;
            verdict = self.scorer.judge(&case);
        }
        if let Some(whole) = whole.filter(|_| verdict.gate.is_none()) {
            let steps = f64::from(1 << 24);
            let share = libm::round(whole.share(verdict.score.to_f64()) * steps) as u64;
            verdict.score = if verdict.score == Score::ZERO { Score::ZERO } else { Score::ratio(share, 1 << 24) };
        }
        Ok(conclude(self.method, verdict, self.scorer.weights().map(|(_, weight)| weight).sum()))
    }
}

/// What a method makes of a verdict by weights; `all` is the sum of the weights that could have applied.
fn conclude(method: Method, verdict: Verdict, all: u64) -> Judgement {
    if verdict.gate.is_some() || verdict.breakdown.is_empty() {
        return Judgement { method, verdict, confidence: Score::ONE, members: Vec::new() };
    }
    let by = |method| score(method, &verdict);
    let mut members = Vec::new();
    let mut confidence = sureness(&verdict.breakdown, all);
    if method == Method::Ensemble {
        members = [Method::Simple, Method::Weighted, Method::RewardModel].map(|m| (m, by(m))).to_vec();
        let scores = || members.iter().map(|(_, score)| score.bits());
        let range = scores().max().unwrap_or(0) - scores().min().unwrap_or(0);
        confidence = Score::ratio((1 << 32) - range, 1 << 32);
    }
    let score = by(method);
    Judgement { method, verdict: Verdict { score, ..verdict }, confidence, members }
}

fn score(method: Method, verdict: &Verdict) -> Score {
    let found = |name| verdict.breakdown.iter().find(|m| m.name == name);
    match method {
        Method::Weighted | Method::Comparative => verdict.score,
        Method::Simple => found("match").map_or(verdict.score, |m| m.mark),
        Method::RewardModel => {
            let rewards: Vec<CriterionMark> = ["reward", "head"]
                .into_iter()
                .filter_map(found)
                .map(|m| CriterionMark { weight: 1, ..m.clone() })
                .collect();
            if rewards.is_empty() { verdict.score } else { combine(&rewards, Mean::Arithmetic) }
        }
        Method::Ensemble => {
            let mut all = [Method::Simple, Method::Weighted, Method::RewardModel].map(|m| score(m, verdict));
            all.sort();
            all[1]
        }
    }
}

/// How sure a mean of marks is.
fn sureness(marks: &[CriterionMark], all: u64) -> Score {
    let applied: u128 = marks.iter().map(|m| u128::from(m.weight)).sum();
    let Some(mean) =
        marks.iter().map(|m| u128::from(m.weight) * u128::from(m.mark.bits())).sum::<u128>().checked_div(applied)
    else {
        return Score::ZERO;
    };
    let squares: u128 =
        marks.iter().map(|m| u128::from(m.weight) * u128::from(m.mark.bits()).abs_diff(mean).pow(2)).sum();
    let variance = (squares / applied) >> 32;
    let doubt = (2 * variance).min(1 << 31) as u64;
    let applied = u64::try_from(applied).unwrap_or(u64::MAX);
    Score::ratio(applied, all.max(applied)).times(Score::ratio((1 << 32) - doubt, 1 << 32))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
