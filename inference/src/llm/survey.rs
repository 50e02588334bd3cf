//! What a language model is and needs, from its headers: no weight is read.

use std::path::Path;

use super::{
    Config, Form, LoadError, LoadOptions, Speed, TextCodec,
    arena::{self, KvForm},
    load,
    source::{Format, Source, Tensors},
    speed,
};
use crate::memory::available_memory;

/// Most of the free memory that keys and values take where nothing else is said.
const KV_SHARE: u64 = 4;
/// And never more, in bytes.
const KV_MOST: u64 = 1 << 30;
/// Most positions where nothing else is said.
const CONTEXT_MOST: usize = 8192;

/// A language model, looked at.
#[derive(Debug)]
pub struct Known {
    /// How it is written.
    pub format: Format,
    /// Its description.
    pub config: Config,
    /// Weights.
    pub parameters: u64,
    /// Weights by how they are kept, as the files name it.
    pub forms: Vec<(String, u64)>,
    /// Weights of matrices, by the form in which they are multiplied.
    pub matrices: Vec<(Form, u64)>,
    /// Bytes of the weights in memory; or why the network cannot be built.
    pub weights: Result<u64, LoadError>,
    /// Bytes of keys and values for each position of a sequence.
    pub position_bytes: u64,
    /// Its tokenizer; or why it cannot be used.
    pub codec: Result<TextCodec, LoadError>,
}

/// What loading a model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Needs {
    /// Positions of a sequence.
    pub(super) context: usize,
    /// For keys and values.
    pub(super) kv_bytes: u64,
    /// With weights and the buffer that the largest of them is read by.
    pub(super) bytes: u64,
}

/// Looks at a model: a folder as Hugging Face has it, or a GGUF file.
///
/// # Errors
/// [`LoadError`] if it is none, or its headers are broken.
pub fn survey(path: &Path, options: &LoadOptions) -> Result<Known, LoadError> {
    let mut source = Source::open(path)?;
    let codec = TextCodec::load(path, &source);
    let entries = || source.tensors.entries().values();
    let parameters = entries().fold(0u64, |sum, entry| sum.saturating_add(entry.values()));
    let forms = entries().map(|entry| (entry.form().to_owned(), entry.values())).collect();
    let mut matrices: Vec<(Form, u64)> = Vec::new();
    for entry in entries().filter(|entry| entry.shape.len() == 2) {
        let Some(stored) = entry.stored() else { continue };
        let form = options.form.filter(|_| stored.is_float()).unwrap_or(stored.form());
        match matrices.iter_mut().find(|(known, _)| *known == form) {
            Some((_, sum)) => *sum = sum.saturating_add(entry.values()),
            None => matrices.push((form, entry.values())),
        }
    }
    let position_bytes = position_bytes(&source.config, options.kv_form);
    let weights = weights(&mut source, options);
    Ok(Known {
        format: source.format,
        config: source.config,
        parameters,
        forms,
        matrices,
        weights,
        position_bytes,
        codec,
    })
}

impl Known {
    /// About how fast it will be here; takes some tenths of a second to find out.
    pub fn speed(&self, options: &LoadOptions) -> Option<Speed> {
        speed::estimate(&self.matrices, options.threads_here())
    }
}

fn position_bytes(c: &Config, form: KvForm) -> u64 {
    arena::page_bytes(form, c.layers, c.kv_heads, c.head_dim) / arena::PAGE as u64
}

/// Builds the network without its weights, so that every tensor is looked for.
fn weights(source: &mut Source, options: &LoadOptions) -> Result<u64, LoadError> {
    source.tensors.survey();
    load::network(source, options.form, 1)?;
    Ok(source.tensors.surveyed())
}

/// What a model takes with these options.
///
/// # Errors
/// [`LoadError`], naming what is wrong with the model.
pub(super) fn needs(path: &Path, options: &LoadOptions) -> Result<Needs, LoadError> {
    let mut source = Source::open(path)?;
    let context = options.context.unwrap_or(CONTEXT_MOST).min(source.config.context);
    let position = position_bytes(&source.config, options.kv_form);
    // One sequence must have room, and a page to draw into.
    let least = position.saturating_mul((context + 2 * arena::PAGE) as u64);
    let free = available_memory().unwrap_or(u64::MAX);
    let kv_bytes = options.kv_bytes.unwrap_or((free / KV_SHARE).min(KV_MOST)).max(least);
    let largest = largest(&source.tensors);
    let bytes = weights(&mut source, options)?.saturating_add(kv_bytes).saturating_add(largest);
    Ok(Needs { context, kv_bytes, bytes })
}

/// Bytes that reading the largest tensor takes, as it is and as floats.
fn largest(tensors: &Tensors) -> u64 {
    tensors.entries().values().map(|entry| entry.values().saturating_mul(8)).max().unwrap_or(0)
}

/// How each tensor of a file of safetensors is kept, and how many values it has.
///
/// # Errors
/// [`LoadError`] if it is no such file.
pub fn tensor_forms(path: &Path) -> Result<Vec<(String, u64)>, LoadError> {
    let tensors = Tensors::open(vec![path.to_owned()])?;
    Ok(tensors.entries().values().map(|entry| (entry.form().to_owned(), entry.values())).collect())
}
