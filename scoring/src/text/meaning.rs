//! What an answer means, by models: relevance, nearness to a known meaning, information, preference.

use assay_primitives::Score;
use borsh::{BorshDeserialize, BorshSerialize};

use super::{
    calibration::Calibration,
    case::{TextAnswer, TextCase},
    models::cosine,
};
use crate::criteria::Criterion;

/// Measures to marks, of the criteria here.
#[derive(Clone, Copy, Debug, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct MeaningCalibrations {
    /// Of the cosine between prompt and answer.
    pub relevance: Calibration,
    /// Of the cosine between answer and known meaning.
    pub nearness: Calibration,
    /// Of information for each token, in nats.
    pub information: Calibration,
    /// Of the reward model's reward.
    pub reward: Calibration,
}

impl MeaningCalibrations {
    /// Those that come with the node: for `all-MiniLM-L6-v2`, the genesis language model and OpenAssistant's rewards.
    pub fn shipped() -> Self {
        borsh::from_slice(include_bytes!("../../../assets/text-scorers/calibrations.bin"))
            .expect("the committed file is the one that was written with this code")
    }
}

/// The answer is about what was asked: the cosine of their embeddings (Reimers and Gurevych, 2019). An echo is more
/// about it than any answer, so this stands beside other criteria only.
#[derive(Clone, Copy, Debug)]
pub struct Relevance(pub Calibration);

impl Criterion<TextCase> for Relevance {
    fn name(&self) -> &'static str {
        "relevance"
    }
    fn mark(&self, case: &TextCase, answer: &TextAnswer) -> Option<Score> {
        Some(self.0.mark(cosine(case.prompt_vector.as_ref()?, answer.vector.as_ref()?)))
    }
}

/// The answer means what is known to be right.
#[derive(Clone, Copy, Debug)]
pub struct Nearness(pub Calibration);

impl Criterion<TextCase> for Nearness {
    fn name(&self) -> &'static str {
        "nearness"
    }
    fn mark(&self, case: &TextCase, answer: &TextAnswer) -> Option<Score> {
        Some(self.0.mark(cosine(case.known_vector.as_ref()?, answer.vector.as_ref()?)))
    }
}

/// The prompt makes the answer likelier than it is alone: pointwise mutual information under the validator's own
/// language model, for each token, in nats. What would answer anything has none.
#[derive(Clone, Copy, Debug)]
pub struct Information(pub Calibration);

impl Criterion<TextCase> for Information {
    fn name(&self) -> &'static str {
        "information"
    }
    fn mark(&self, _case: &TextCase, answer: &TextAnswer) -> Option<Score> {
        Some(self.0.mark(answer.likelihood?.information()))
    }
}

/// A reward model's reward, such as OpenAssistant's on DeBERTa.
#[derive(Clone, Copy, Debug)]
pub struct Rewarded(pub Calibration);

impl Criterion<TextCase> for Rewarded {
    fn name(&self) -> &'static str {
        "reward"
    }
    fn mark(&self, _case: &TextCase, answer: &TextAnswer) -> Option<Score> {
        Some(self.0.mark(answer.reward?))
    }
}
