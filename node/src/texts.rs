//! The language models of a node: which it has the files of, and what is said about texts on the network.
//!
//! ```text
//! HOME/models/<id>/      a model's files, as its registration commits to them
//! ModelId ──Texts::llm──> Llm, loaded when first needed and shared by all nodes of a process
//! TextInput ──request──> what an engine is asked for
//! signed response ──look──> Verdict: is it what the model gives?
//! ```
//!
//! An engine's answer is a function of model and input to the last bit, so a text is right or wrong, with nothing between.

mod engines;
mod files;
mod look;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use assay_inference::llm::{
    Constraint, Finish, GenerateRequest, Grammar, Grammars, Llm, LlmShelf, LoadError, LoadOptions, Sampling,
};
use assay_primitives::{
    ModelId,
    text::{Draw, Ending, Form, NotFinite, Real, TextInput},
};

pub use engines::{Model, write_metrics};
pub use files::{FileError, check_files, keep, keep_bytes, kept};
pub use look::{Look, Verdict, look};

/// How long a model stays in memory that nobody asks for.
const KEEP_ALIVE: Duration = Duration::from_secs(600);

/// Why a model or a text cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// This node has not its files.
    #[error("this node has no files of model {model}; put them into {} with `assay model keep`", dir.display())]
    NotHere {
        /// The model.
        model: ModelId,
        /// Where they would lie.
        dir: PathBuf,
    },
    /// It does not load.
    #[error("model {model}: {source}")]
    Load {
        /// The model.
        model: ModelId,
        /// Why.
        source: LoadError,
    },
    /// Its files are others.
    #[error("{} holds model {found}, expected {expected}: a file was changed", dir.display())]
    OtherModel {
        /// Where.
        dir: PathBuf,
        /// What was to be there.
        expected: ModelId,
        /// What is.
        found: ModelId,
    },
    /// What is asked for makes no sense to the model.
    #[error("{0}")]
    Input(String),
    /// The engine's own trouble.
    #[error("{0}")]
    Engine(String),
}

impl TextError {
    /// Another request could have worked.
    pub fn is_callers_fault(&self) -> bool {
        matches!(self, TextError::Input(_))
    }
}

/// The language models that a node has. Clones share it.
#[derive(Clone, Debug)]
pub struct Texts {
    dir: Arc<Path>,
    shelf: LlmShelf,
}

impl Texts {
    /// Models below a home's folder; nothing is loaded yet.
    pub fn at(dir: PathBuf) -> Self {
        Self { dir: dir.into(), shelf: LlmShelf::new(LoadOptions::default(), Some(KEEP_ALIVE)) }
    }

    /// Where a model's files lie.
    pub fn dir(&self, model: &ModelId) -> PathBuf {
        self.dir.join(model.to_string())
    }

    /// Whether a model's files are here.
    pub fn has(&self, model: &ModelId) -> bool {
        self.dir(model).is_dir()
    }

    /// A model, loaded if it is not yet; call it where blocking is allowed.
    ///
    /// # Errors
    /// [`TextError`].
    pub fn llm(&self, model: &ModelId) -> Result<Arc<Llm>, TextError> {
        let llm = self.shelf.get(&self.entrance(model)?).map_err(|source| TextError::Load { model: *model, source })?;
        let found = llm.id();
        if found == *model {
            return Ok(llm);
        }
        Err(TextError::OtherModel { dir: self.dir(model), expected: *model, found })
    }

    /// What in a model's folder is opened: the one GGUF file, or the folder.
    ///
    /// # Errors
    /// [`TextError::NotHere`].
    pub fn entrance(&self, model: &ModelId) -> Result<PathBuf, TextError> {
        let dir = self.dir(model);
        if dir.is_dir() { Ok(files::entrance(&dir)) } else { Err(TextError::NotHere { model: *model, dir }) }
    }

    /// As [`Texts::llm`], on a thread where blocking is allowed.
    ///
    /// # Errors
    /// [`TextError`].
    pub async fn ready(&self, model: ModelId) -> Result<Arc<Llm>, TextError> {
        let texts = self.clone();
        let loaded = tokio::task::spawn_blocking(move || texts.llm(&model)).await;
        loaded.map_err(|e| TextError::Engine(format!("loading failed: {e}")))?
    }

    /// The models that are loaded.
    pub fn loaded(&self) -> Vec<Arc<Llm>> {
        self.shelf.all_loaded()
    }

    /// Where they lie once they are loaded.
    pub fn shelf(&self) -> &LlmShelf {
        &self.shelf
    }
}

/// Lets go of models that nobody asks for, looking every so often until `stop`.
///
/// # Errors
/// If a look panicked.
pub async fn sweep(
    shelf: LlmShelf,
    every: Duration,
    stop: tokio_util::sync::CancellationToken,
) -> Result<(), tokio::task::JoinError> {
    while stop.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
        let shelf = shelf.clone();
        // An engine's thread is waited for.
        tokio::task::spawn_blocking(move || shelf.sweep()).await?;
    }
    Ok(())
}

/// How tokens are drawn, as an engine has it.
pub fn sampling(draw: &Draw) -> Sampling {
    Sampling {
        temperature: draw.temperature.get(),
        top_p: draw.top_p.get(),
        top_k: draw.top_k,
        min_p: draw.min_p.get(),
        presence_penalty: draw.presence_penalty.get(),
        frequency_penalty: draw.frequency_penalty.get(),
        bias: draw.bias.iter().map(|(token, value)| (*token, value.get())).collect(),
        seed: draw.seed,
    }
}

/// The same for the network.
///
/// # Errors
/// [`NotFinite`], which [`Sampling::check`] finds as well.
pub fn draw(sampling: &Sampling) -> Result<Draw, NotFinite> {
    let bias = sampling.bias.iter().map(|(token, value)| Ok((*token, Real::new(*value)?)));
    Ok(Draw {
        temperature: Real::new(sampling.temperature)?,
        top_p: Real::new(sampling.top_p)?,
        top_k: sampling.top_k,
        min_p: Real::new(sampling.min_p)?,
        presence_penalty: Real::new(sampling.presence_penalty)?,
        frequency_penalty: Real::new(sampling.frequency_penalty)?,
        bias: bias.collect::<Result<_, _>>()?,
        seed: sampling.seed,
    })
}

/// What a text must be, as a constraint maker has it.
///
/// # Errors
/// In words, if a schema is no JSON.
pub fn grammar(form: &Form) -> Result<Grammar, String> {
    Ok(match form {
        Form::Object => Grammar::Object,
        Form::Regex(regex) => Grammar::Regex(regex.clone()),
        Form::Schema(text) => Grammar::Schema(serde_json::from_str(text).map_err(|e| format!("the schema: {e}"))?),
    })
}

/// The same for the network.
pub fn form(grammar: &Grammar) -> Form {
    match grammar {
        Grammar::Object => Form::Object,
        Grammar::Regex(regex) => Form::Regex(regex.clone()),
        Grammar::Schema(schema) => Form::Schema(schema.to_string()),
    }
}

fn constraint(grammars: Option<&Grammars>, form: Option<&Form>) -> Result<Option<Constraint>, String> {
    let Some(form) = form else { return Ok(None) };
    let grammars = grammars.ok_or("this model's tokenizer allows no constraints")?;
    grammars.constraint(&grammar(form)?).map(Some)
}

/// Most strings that end a text.
const MAX_STOPS: usize = 16;
/// Longest of them, in bytes.
const MAX_STOP_BYTES: usize = 1024;

/// What an engine is asked for.
///
/// # Errors
/// [`TextError::Input`].
pub fn request(llm: &Llm, text: &TextInput) -> Result<GenerateRequest, TextError> {
    if text.stop.len() > MAX_STOPS || text.stop.iter().any(|stop| stop.is_empty() || stop.len() > MAX_STOP_BYTES) {
        let words = format!("at most {MAX_STOPS} stop strings of 1 to {MAX_STOP_BYTES} bytes are taken");
        return Err(TextError::Input(words));
    }
    let ascending = text.draw.bias.windows(2).all(|pair| pair[0].0 < pair[1].0);
    if !ascending {
        return Err(TextError::Input("the biases' tokens do not ascend, each once".into()));
    }
    let constraint = constraint(llm.grammars.as_ref(), text.form.as_ref()).map_err(TextError::Input)?;
    Ok(GenerateRequest {
        prompt: text.prompt.clone(),
        sampling: sampling(&text.draw),
        max_tokens: text.max_tokens as usize,
        stop: text.stop.clone(),
        ignore_end: text.ignore_end,
        constraint,
        ..GenerateRequest::default()
    })
}

/// An engine's finish, as it is signed.
///
/// # Errors
/// In words, if it is none that was asked for.
pub fn ending(finish: &Finish, text: &TextInput) -> Result<Ending, String> {
    match finish {
        Finish::End => Ok(Ending::End),
        Finish::Length => Ok(Ending::Length),
        Finish::Stop(stop) => {
            let place = text.stop.iter().position(|s| s == stop).and_then(|at| u8::try_from(at).ok());
            place.map(Ending::Stop).ok_or_else(|| "the engine ended at a string that was not asked for".into())
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
