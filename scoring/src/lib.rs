//! How one validator judges one miner: from a task and what came back to a score with its reasons.
//!
//! ```text
//! CanarySet + seed ──> task (pixels, label) ──asked──> Evidence (answer, its proof's fate, latency)
//! Evidence ──criteria──> marks ──weights, gates──> Verdict ──Tally──> EpochScore (score, confidence, counts)
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`canary`] | inputs whose answer is known, and the seeded tasks made of them |
//! | [`criteria`] | what can be marked about an answer: one small type each |
//! | [`verdict`] | criteria weighed into one score; gates that no other merit outweighs |
//! | [`tally`] | the average over an epoch's tasks, with how sure it is |
//! | [`normalise`] | scores of many miners on one scale |
//! | [`text`] | criteria and methods for text answers |
//! | [`tasks`] | text tasks whose answers are known |
//!
//! Marks of classifiers are integer arithmetic on [`assay_primitives::Score`], rounded down: two validators with the same
//! evidence reach the same score. What models say of a text differs in its last digits between processors, so those
//! marks are rounded down to coarse steps. Nothing here reads a clock, a network or a chain: latency is measured by the
//! caller, and models come in through the traits of [`text::models`].

pub mod canary;
pub mod criteria;
pub mod normalise;
pub mod tally;
pub mod tasks;
pub mod text;
pub mod verdict;

pub use canary::{CanaryError, CanarySet, CanaryTask, EpochSeed};
pub use criteria::{Answered, Case, Correct, Criterion, Evidence, Exact, Latency, ProofOutcome, ProofVerdict, Timed};
pub use normalise::Normalisation;
pub use tally::{EpochScore, MeanMark, Tally};
pub use verdict::{CriterionMark, Mean, Scorer, Verdict};
