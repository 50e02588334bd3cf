//! Language models: many requests at once, the same bits on every machine.
//!
//! ```text
//! files ──source──> Config, tensors ──load──> Network (tiles) ─┐
//! text, chat ──TextCodec──> tokens ──Engine::generate──> steps of the engine's thread ──> Answer (pieces of text)
//!                                   ──Engine::replay ──> what would have been drawn at each token of an answer
//! ```
//!
//! | module | holds |
//! |---|---|
//! | `lanes`, `matrix`, `attention`, `rope` | arithmetic, in one order |
//! | `config`, `source`, `load` | what a model is, and its weights |
//! | `network` | the forward pass over a batch |
//! | `arena`, `pages` | keys and values, in pages that sequences share |
//! | `engine` | who is computed when |
//! | `sampler`, `constraint` | logits to tokens |
//! | `tokenizer`, `template`, `text` | text to tokens and back |
//! | `survey`, `speed`, `commit` | what a model is and needs, and the hashes that a chain keeps of it |
//! | `shelf` | several models, loaded when they are asked for |

mod adapter;
mod arena;
mod attention;
mod commit;
mod config;
mod constraint;
mod engine;
mod lanes;
mod load;
mod matrix;
mod network;
mod pages;
mod rope;
mod sampler;
mod shelf;
mod source;
mod speed;
mod survey;
mod template;
mod text;
mod threads;
mod tokenizer;

use std::path::Path;

use assay_primitives::{ModelId, text::TextModel};

use crate::memory::available_memory;

pub use adapter::{KnownAdapter, survey_adapter};
pub use arena::KvForm;
pub use commit::TextFiles;
pub use config::{Activation, Config, ConfigError, Family, Norm, Rope, Scaling};
pub use constraint::{Constraint, Grammar, Grammars};
pub use engine::{
    Answer, Counters, Engine, EngineOptions, Event, Finish, GenerateError, GenerateRequest, Piece, ReplayRequest,
    Replayed, ReplayedToken, TokenLogprob, Usage,
};
pub use lanes::Level;
pub use matrix::Form;
pub use sampler::{Sampling, SamplingError};
pub use shelf::LlmShelf;
pub use source::{Format, LoadError};
pub(crate) use source::{regular, without_backtrace};
pub use speed::Speed;
pub use survey::{Known, survey, tensor_forms};
pub use template::{ChatTemplate, TemplateError};
pub use text::{Step, TextStream};
pub use tokenizer::TextCodec;
pub(crate) use tokenizer::{encode, parse as parse_tokenizer};

/// How a model is loaded.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Rounds weights that are kept as floats to this form; `None` keeps them.
    pub form: Option<Form>,
    /// Threads; `None` leaves one core to others.
    pub threads: Option<usize>,
    /// Positions; `None` is as many as the model was trained for, up to 8192.
    pub context: Option<usize>,
    /// Memory for keys and values, in bytes; `None` is a quarter of what is free, up to 1 GiB.
    pub kv_bytes: Option<u64>,
    /// How they are kept.
    pub kv_form: KvForm,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { form: None, threads: None, context: None, kv_bytes: None, kv_form: KvForm::F16 }
    }
}

impl LoadOptions {
    /// Threads on this machine.
    pub(crate) fn threads_here(&self) -> usize {
        let all_but_one = || std::thread::available_parallelism().map_or(1, |n| n.get().saturating_sub(1)).max(1);
        self.threads.unwrap_or_else(all_but_one)
    }
}

/// A loaded language model.
#[derive(Clone, Debug)]
pub struct Llm {
    /// What it is.
    pub config: Config,
    /// Where its answers are made.
    pub engine: Engine,
    /// Its tokenizer.
    pub codec: TextCodec,
    /// Makes constraints, where the tokenizer allows.
    pub grammars: Option<Grammars>,
    /// What a chain keeps of it.
    pub committed: TextModel,
    /// Short, of everything that a seed's text depends on.
    fingerprint: String,
}

/// Changes whenever the same weights and seed would give other tokens.
pub const ARITHMETIC: u32 = 1;

/// Short, of all that an answer depends on.
fn fingerprint(used: &str) -> String {
    format!("fp_{}", &blake3::hash(used.as_bytes()).to_hex()[..10])
}

impl Llm {
    /// Bytes that a model takes in memory with these options, while it is loaded.
    ///
    /// # Errors
    /// As [`Llm::load`], but for what only reading the weights shows.
    pub fn memory(path: &Path, options: &LoadOptions) -> Result<u64, LoadError> {
        Ok(survey::needs(path, options)?.bytes)
    }

    /// Loads a model from a folder or a GGUF file and starts its engine. Nothing is loaded that has no room.
    ///
    /// # Errors
    /// [`LoadError`], saying what is wrong with which file.
    pub fn load(path: &Path, options: &LoadOptions) -> Result<Self, LoadError> {
        let survey::Needs { context, kv_bytes, bytes } = survey::needs(path, options)?;
        if let Some(free) = available_memory().filter(|free| *free < bytes) {
            return Err(LoadError::Memory { needed_mib: bytes >> 20, available_mib: free >> 20 });
        }
        let mut source = source::Source::open(path)?;
        let codec = TextCodec::load(path, &source)?;
        for end in &codec.ends {
            if !source.config.eos.contains(end) && (*end as usize) < source.config.vocabulary {
                source.config.eos.push(*end);
            }
        }
        let config = source.config.clone();
        let network = load::network(&source, options.form, context)?;
        let engine_options = EngineOptions {
            threads: options.threads_here(),
            context,
            kv_bytes,
            kv_form: options.kv_form,
            step_rows: 256,
            prompt_rows: 32,
            running: 64,
            waiting: 256,
        };
        let grammars = codec.grammars(&config);
        let tokenizer = Some(codec.tokenizer().clone());
        let engine = Engine::start(network, tokenizer, engine_options)
            .map_err(|source| LoadError::Io { path: path.to_owned(), source })?;
        let committed = TextFiles::of(path, &source)?.model;
        let fingerprint = fingerprint(&format!("{} {:?} {:?}", committed.id(), options.form, options.kv_form));
        Ok(Self { config, engine, codec, grammars, committed, fingerprint })
    }

    /// Loads a low-rank adapter from a folder and makes it known under a name; gives the fingerprint of the model with it.
    ///
    /// # Errors
    /// [`LoadError`] if it is none for this model.
    pub fn add_adapter(&self, name: &str, folder: &Path) -> Result<String, LoadError> {
        let adapter = adapter::Adapter::load(folder, &self.config)?;
        let fingerprint = fingerprint(&format!("{} {}", self.fingerprint, adapter.digest));
        self.engine
            .add_adapter(name, adapter)
            .map_err(|e| LoadError::Malformed { path: folder.to_owned(), reason: e.to_string() })?;
        Ok(fingerprint)
    }

    /// A short name of everything that a seed's text depends on: weights, tokenizer, arithmetic, forms.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Its id on a chain.
    pub fn id(&self) -> ModelId {
        self.committed.id()
    }

    /// Bytes of keys and values for each position of a sequence.
    pub fn kv_bytes_per_position(&self) -> u64 {
        let (c, form) = (&self.config, self.engine.options().kv_form);
        arena::page_bytes(form, c.layers, c.kv_heads, c.head_dim) / arena::PAGE as u64
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
