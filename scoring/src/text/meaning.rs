//! What an answer means, by models: nearness to a known meaning, information, an end, preference.

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
    /// Of the cosine between answer and known meaning.
    pub nearness: Calibration,
    /// Of information for each token, in nats.
    pub information: Calibration,
    /// Of the mean log-probability of an answer's tokens, in nats.
    pub likely: Calibration,
    /// Of the log-probability that an answer ends where it does, in nats.
    pub ending: Calibration,
    /// Of the reward model's reward.
    pub reward: Calibration,
    /// Of the weighted mean of all marks, where the right answer is not known exactly.
    pub whole: Calibration,
}

impl MeaningCalibrations {
    /// Those that come with the node: for `all-MiniLM-L6-v2`, the genesis language model and OpenAssistant's rewards.
    pub fn shipped() -> Self {
        borsh::from_slice(include_bytes!("../../../assets/text-scorers/calibrations.bin"))
            .expect("the committed file is the one that was written with this code")
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

/// The answer could have been said: the mean log-probability of its tokens, after the prompt, under the validator's own
/// language model. Whoever edits a text towards other criteria leaves words that could not follow what goes before them.
#[derive(Clone, Copy, Debug)]
pub struct Likely(pub Calibration);

impl Criterion<TextCase> for Likely {
    fn name(&self) -> &'static str {
        "likely"
    }
    fn mark(&self, _case: &TextCase, answer: &TextAnswer) -> Option<Score> {
        Some(self.0.mark(answer.likelihood?.of_a_token()))
    }
}

/// The answer is finished: how likely the validator's own language model finds it that it ends where it does. Half of an
/// answer can read well and be about what was asked; what gives it away is that more should come.
#[derive(Clone, Copy, Debug)]
pub struct Ending(pub Calibration);

impl Criterion<TextCase> for Ending {
    fn name(&self) -> &'static str {
        "ending"
    }
    fn mark(&self, _case: &TextCase, answer: &TextAnswer) -> Option<Score> {
        Some(self.0.mark(answer.likelihood?.end?))
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
