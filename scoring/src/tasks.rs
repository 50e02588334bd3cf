//! Text tasks whose answers are known, drawn so that nobody foresees them.
//!
//! ```text
//! EpochSeed (chain's randomness, validator's secret, epoch) ──index──> family, level: the same for all miners
//!                                                           ──miner, index, attempt──> Drawn (prompt, known answer)
//! ```
//!
//! | family | asks | known |
//! |---|---|---|
//! | `definition` | what a word means | a text of the same meaning |
//! | `word` | which word means this | words |
//! | `arithmetic` | a calculation | a number |
//! | `extraction` | a text's facts as JSON | a record, and its schema |
//! | `span` | one fact that a text tells | words, with rivals |
//! | `classification` | which of some kinds a thing is | words, with rivals |
//!
//! The randomness of the chain keeps a validator from choosing its tasks, its secret keeps miners from knowing them.
//! Tasks are drawn for a miner of its own, so that answers cannot be passed around, or for all miners alike, so that
//! they can be compared. A validator's [`Asked`] remembers what it asked: no prompt is drawn twice. A miner that has the
//! dictionary can look definitions up; that its *model* made the answer is for the replay to show.

mod asked;
mod families;
mod glossary;

use std::fmt;

use assay_primitives::{AccountId, Hash32, domain};
use rand::{Rng as _, SeedableRng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::{canary::EpochSeed, text::TextTask};

pub use asked::Asked;
pub use glossary::{Entry, Glossary, GlossaryError, KINDS};

/// What kind of question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// What a word means.
    Definition,
    /// Which word means this.
    Word,
    /// A calculation.
    Arithmetic,
    /// Facts of a text as JSON.
    Extraction,
    /// One fact of a text.
    Span,
    /// Which of some kinds a thing is.
    Classification,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Definition, Self::Word, Self::Arithmetic, Self::Extraction, Self::Span, Self::Classification];
}

/// How hard a question is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Familiar words, small numbers, one person.
    Easy,
    /// Less familiar words, larger numbers, two persons.
    Medium,
    /// Rare words, several operations, three persons.
    Hard,
}

impl Level {
    /// All of them, by ascending difficulty.
    pub const ALL: [Self; 3] = [Self::Easy, Self::Medium, Self::Hard];

    /// The next harder one; the hardest stays.
    fn harder(self) -> Self {
        match self {
            Self::Easy => Self::Medium,
            Self::Medium | Self::Hard => Self::Hard,
        }
    }
}

/// A drawn task.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawn {
    /// What kind of question.
    pub family: Family,
    /// How hard.
    pub level: Level,
    /// Draws before this one that gave what had been asked before; with it the task can be drawn again.
    pub attempt: u32,
    /// The question, what is known of its answer, and how that is judged.
    pub task: TextTask,
}

/// Nothing new can be drawn.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{tries} draws of task {index} gave only what was asked before; let the oldest of the asked tasks be forgotten"
)]
pub struct Exhausted {
    /// The task's number.
    pub index: u32,
    /// Draws.
    pub tries: u32,
}

/// What tasks are drawn from.
#[derive(Clone)]
pub struct TaskSource {
    glossary: Glossary,
    families: Vec<Family>,
}

impl fmt::Debug for TaskSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskSource")
            .field("entries", &self.glossary.entries().len())
            .field("families", &self.families)
            .finish()
    }
}

impl TaskSource {
    /// Draws of one task before it is given up; from half of them on, the level is the next harder one.
    pub const TRIES: u32 = 64;

    /// Draws from all families, with the words that come with the node.
    pub fn shipped() -> Self {
        Self::new(Glossary::shipped(), &Family::ALL)
    }

    /// Draws from some families; from all of them where none is given.
    pub fn new(glossary: Glossary, families: &[Family]) -> Self {
        let families = if families.is_empty() { Family::ALL.to_vec() } else { families.to_vec() };
        Self { glossary, families }
    }

    /// Task `index` of the epoch, for one miner or for all alike, in the attempt that gives what was not asked before;
    /// it counts as asked from now on.
    ///
    /// # Errors
    /// [`Exhausted`] if [`Self::TRIES`] attempts gave nothing new.
    pub fn draw(
        &self,
        seed: &EpochSeed,
        miner: Option<&AccountId>,
        index: u32,
        asked: &mut Asked,
    ) -> Result<Drawn, Exhausted> {
        let fresh = |attempt| Some(self.attempt(seed, miner, index, attempt)).filter(|d| asked.add(&d.task.prompt));
        let mut fresh = fresh;
        (0..Self::TRIES).find_map(&mut fresh).ok_or(Exhausted { index, tries: Self::TRIES })
    }

    /// One attempt at a task: the same arguments give the same task.
    pub fn attempt(&self, seed: &EpochSeed, miner: Option<&AccountId>, index: u32, attempt: u32) -> Drawn {
        let mut shared = stream(seed, None, index, "difficulty", 0);
        let family = self.families.choose(&mut shared).copied().unwrap_or(Family::Definition);
        let level = Level::ALL[shared.gen_range(0..Level::ALL.len())];
        let level = if attempt < Self::TRIES / 2 { level } else { level.harder() };
        let mut own = stream(seed, miner, index, "text", attempt);
        let task = families::task(family, level, &self.glossary, &mut own);
        Drawn { family, level, attempt, task }
    }
}

/// Random numbers for one purpose.
fn stream(seed: &EpochSeed, miner: Option<&AccountId>, index: u32, purpose: &str, attempt: u32) -> ChaCha8Rng {
    let value = (seed.of(miner, index), purpose, attempt);
    let Hash32(bytes) = domain::hash(domain::TASK_SEED, &seed.genesis, &value);
    ChaCha8Rng::from_seed(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
