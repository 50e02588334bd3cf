//! Texts to vectors of unit length, by BERT and the mean over its tokens (Reimers and Gurevych, 2019).

use std::path::Path;

use candle_core::{Device, Tensor};
use candle_transformers::models::bert::{BertModel, Config};
use serde::Deserialize;
use tokenizers::Tokenizer;

use super::{EncoderError, epsilon, guarded, read_json, tokenizer, weights};
use crate::llm::encode;

/// A sentence encoder.
pub struct Embedder {
    model: BertModel,
    tokenizer: Tokenizer,
    vocabulary: usize,
    dimensions: usize,
    positions: usize,
}

impl std::fmt::Debug for Embedder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedder").field("dimensions", &self.dimensions).field("positions", &self.positions).finish()
    }
}

/// A text's vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedded {
    /// Of length 1.
    pub vector: Vec<f32>,
    /// Tokens of the text.
    pub tokens: usize,
}

/// `sentence_bert_config.json`
#[derive(Default, Deserialize)]
struct Sentence {
    max_seq_length: Option<usize>,
}

impl Embedder {
    /// Loads a folder with `config.json`, `tokenizer.json` and `model.safetensors`.
    ///
    /// # Errors
    /// [`EncoderError`], naming the file.
    pub fn load(folder: &Path) -> Result<Self, EncoderError> {
        let config: Config = read_json(&folder.join("config.json"))?;
        epsilon(config.layer_norm_eps)?;
        let sentence = folder.join("sentence_bert_config.json");
        let sentence: Sentence = if sentence.exists() { read_json(&sentence)? } else { Sentence::default() };
        let positions =
            sentence.max_seq_length.unwrap_or(config.max_position_embeddings).min(config.max_position_embeddings);
        let weights = weights(folder)?;
        let model = guarded(|| BertModel::load(weights, &config))?;
        let tokenizer = tokenizer(folder, None)?;
        Ok(Self { model, tokenizer, vocabulary: config.vocab_size, dimensions: config.hidden_size, positions })
    }

    /// Numbers in a vector.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// The vector of a text, which is the one `at` in its caller's list.
    ///
    /// # Errors
    /// [`EncoderError::Text`] on a text without tokens, or with more than the model has positions.
    pub fn embed(&self, at: usize, text: &str) -> Result<Embedded, EncoderError> {
        self.embed_tokens(at, &self.tokens(at, text)?)
    }

    /// The vector of a text, or of as much of its beginning as the model has positions for.
    ///
    /// # Errors
    /// [`EncoderError::Text`] on a text without tokens.
    pub fn embed_beginning(&self, text: &str) -> Result<Embedded, EncoderError> {
        let mut tokens = self.tokens(0, text)?;
        // The last one says that the text ends.
        if let Some(last) = tokens.get(self.positions..).and_then(<[u32]>::last).copied() {
            tokens.truncate(self.positions - 1);
            tokens.push(last);
        }
        self.embed_tokens(0, &tokens)
    }

    /// The vector of a text's tokens, special ones among them where the model wants them.
    ///
    /// # Errors
    /// [`EncoderError::Text`] on no tokens, ones that the model does not have, or more than it has positions.
    pub fn embed_tokens(&self, at: usize, tokens: &[u32]) -> Result<Embedded, EncoderError> {
        self.check(at, tokens)?;
        self.one(tokens)
    }

    /// A text's tokens, with the special ones that the model wants.
    ///
    /// # Errors
    /// [`EncoderError::Text`] if the tokenizer fails on it.
    pub fn tokens(&self, at: usize, text: &str) -> Result<Vec<u32>, EncoderError> {
        let encoded = encode(&self.tokenizer, text, true).map_err(|reason| EncoderError::Text { at, reason })?;
        Ok(encoded.get_ids().to_vec())
    }

    /// Whether a text's tokens can be embedded.
    ///
    /// # Errors
    /// As [`Embedder::embed_tokens`].
    pub fn check(&self, at: usize, tokens: &[u32]) -> Result<(), EncoderError> {
        if tokens.is_empty() {
            return Err(EncoderError::Text { at, reason: "it has no tokens".to_owned() });
        }
        if tokens.len() > self.positions {
            let reason = format!(
                "it has {} tokens, the model's positions are {}; cut it into parts",
                tokens.len(),
                self.positions
            );
            return Err(EncoderError::Text { at, reason });
        }
        if let Some(token) = tokens.iter().find(|t| **t as usize >= self.vocabulary) {
            let reason = format!("the token {token} is not in the vocabulary of {}", self.vocabulary);
            return Err(EncoderError::Text { at, reason });
        }
        Ok(())
    }

    /// One text at a time: what a text is beside does not change its vector by a bit.
    fn one(&self, tokens: &[u32]) -> Result<Embedded, EncoderError> {
        let vector = guarded(|| {
            let ids = Tensor::new(tokens, &Device::Cpu)?.unsqueeze(0)?;
            let kinds = ids.zeros_like()?;
            let hidden = self.model.forward(&ids, &kinds, None)?;
            hidden.mean(1)?.squeeze(0)?.to_vec1::<f32>()
        })?;
        let length = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt().max(1e-12);
        let vector = vector.into_iter().map(|x| (f64::from(x) / length) as f32).collect();
        Ok(Embedded { vector, tokens: tokens.len() })
    }
}
