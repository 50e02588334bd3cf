//! Encoders: texts to vectors, and answers to rewards.
//!
//! The models are `candle-transformers`' BERT and DeBERTa v2 (whose graph v3 shares), read from folders as Hugging Face
//! has them. They are loaded and run behind a guard: a file that makes them panic gives an error.

mod embedder;
mod reward;

use std::path::Path;

use candle_core::{DType, Device};
use candle_nn::VarBuilder;
use serde::de::DeserializeOwned;
use tokenizers::Tokenizer;

pub use embedder::{Embedded, Embedder};
pub use reward::RewardModel;

use crate::{
    guard,
    llm::{parse_tokenizer, without_backtrace},
};

/// Why an encoder does not load, or does not run.
#[derive(Debug, thiserror::Error)]
pub enum EncoderError {
    /// A file could not be read.
    #[error("{file}: {reason}")]
    File {
        /// Its path.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The model cannot be built of these files.
    #[error("the model: {0}")]
    Model(String),
    /// A text that cannot be taken.
    #[error("text {at}: {reason}")]
    Text {
        /// Its position, from 0.
        at: usize,
        /// Why.
        reason: String,
    },
}

impl EncoderError {
    /// True if another text could have worked.
    pub fn is_callers_fault(&self) -> bool {
        matches!(self, Self::Text { .. })
    }
}

/// Runs what might panic on malformed weights.
fn guarded<T>(f: impl FnOnce() -> candle_core::Result<T>) -> Result<T, EncoderError> {
    guard::guarded(f)
        .map_err(|_| EncoderError::Model("its tensors make no sense together".to_owned()))?
        .map_err(|e| EncoderError::Model(without_backtrace(&e.to_string())))
}

/// Refuses what would make norms of nothing by a root of less than nothing.
fn epsilon(found: f64) -> Result<(), EncoderError> {
    if found > 0.0 && found < 1.0 {
        return Ok(());
    }
    Err(EncoderError::Model(format!("config.json: `layer_norm_eps` is a number between 0 and 1, found {found}")))
}

fn read(path: &Path) -> Result<Vec<u8>, EncoderError> {
    std::fs::read(path).map_err(|e| EncoderError::File { file: path.display().to_string(), reason: e.to_string() })
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, EncoderError> {
    serde_json::from_slice(&read(path)?)
        .map_err(|e| EncoderError::File { file: path.display().to_string(), reason: e.to_string() })
}

fn weights(folder: &Path) -> Result<VarBuilder<'static>, EncoderError> {
    let bytes = read(&folder.join("model.safetensors"))?;
    guarded(|| VarBuilder::from_buffered_safetensors(bytes, DType::F32, &Device::Cpu))
}

/// The folder's tokenizer, which cuts longer texts, if so it shall.
fn tokenizer(folder: &Path, cut_at: Option<usize>) -> Result<Tokenizer, EncoderError> {
    let path = folder.join("tokenizer.json");
    let wrong = |reason: String| EncoderError::File { file: path.display().to_string(), reason };
    let mut tokenizer = parse_tokenizer(&read(&path)?).map_err(wrong)?;
    tokenizer
        .with_truncation(cut_at.map(|max_length| tokenizers::TruncationParams { max_length, ..Default::default() }))
        .map_err(|e| wrong(e.to_string()))?;
    Ok(tokenizer)
}
