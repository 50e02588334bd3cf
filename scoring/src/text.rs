//! Scoring text answers.
//!
//! ```text
//! TextTask, Arrived ──read──> TextCase ──ask(Models)──> vectors, likelihood, reward
//! TextCase ──criteria──> marks ──gates, weights of the chain──> Verdict ──Method──> Judgement ──compare──> Standing
//! ```
//!
//! One measure of merit can be charmed: the cosine between prompt and answer alone prefers an echo of the prompt to any
//! answer. So there are many, they multiply, and each is full at what honest answers usually reach:
//!
//! | module | criteria |
//! |---|---|
//! | [`surface`] | length, repetition, echo, plainness, language: form, most of them gates |
//! | [`known`] | match, format: answers known exactly |
//! | [`fluency`] | words in an order in which words come |
//! | [`relation`] | relevance: a learned form on embeddings of prompt and answer |
//! | [`meaning`] | nearness to a known meaning; information and end under the validator's language model; reward |
//! | [`head`] | a reward head on embeddings |
//! | [`service`] | replay, cost; latency is [`crate::Latency`] |
//!
//! [`judge`] puts them together, [`mod@compare`] compares miners. [`models`] are the questions to the validator's own
//! models, [`case`] what is judged, [`reading`] a text without tricks of writing, [`calibration`] measures to marks,
//! [`corruption`] ways to spoil a text, for training and measuring.

pub mod calibration;
pub mod case;
pub mod compare;
pub mod corruption;
pub mod fluency;
pub mod head;
pub mod judge;
pub mod known;
pub mod meaning;
pub mod models;
pub mod reading;
pub mod relation;
pub mod service;
pub mod surface;

pub use calibration::Calibration;
pub use case::{Arrived, Known, ReplayOutcome, TextAnswer, TextCase, TextTask, WordRange};
pub use compare::{Standing, compare};
pub use corruption::Corruption;
pub use fluency::{Fluency, FluencyTraining};
pub use head::{HeadTraining, Preference, RewardHead};
pub use judge::{Judgement, Method, TextJudge, Trained, scorer};
pub use meaning::MeaningCalibrations;
pub use models::{Embedder, LanguageModel, Likelihood, ModelError, Models, RewardModel};
pub use reading::Reading;
pub use relation::{Relation, RelationTraining};
pub use surface::added;
