//! Answers to rewards, by a DeBERTa v2 or v3 classifier with one output, such as OpenAssistant's reward models.

use std::path::Path;

use candle_core::{Device, Tensor};
use candle_transformers::models::debertav2::{Config, DebertaV2SeqClassificationModel, Id2Label};
use tokenizers::Tokenizer;

use super::{EncoderError, epsilon, guarded, read_json, tokenizer, weights};
use crate::guard;

/// A reward model.
pub struct RewardModel {
    model: DebertaV2SeqClassificationModel,
    tokenizer: Tokenizer,
}

impl std::fmt::Debug for RewardModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RewardModel")
    }
}

impl RewardModel {
    /// Loads a folder with `config.json`, `tokenizer.json` and `model.safetensors`.
    ///
    /// # Errors
    /// [`EncoderError`], naming the file.
    pub fn load(folder: &Path) -> Result<Self, EncoderError> {
        let config: Config = read_json(&folder.join("config.json"))?;
        epsilon(config.layer_norm_eps)?;
        let weights = weights(folder)?;
        let labels: Id2Label = [(0, "reward".to_owned())].into_iter().collect();
        let model =
            guarded(|| DebertaV2SeqClassificationModel::load(weights.set_prefix("deberta"), &config, Some(labels)))?;
        let tokenizer = tokenizer(folder, Some(config.max_position_embeddings))?;
        Ok(Self { model, tokenizer })
    }

    /// The reward of an answer to a prompt; larger is better, without a scale of its own.
    ///
    /// # Errors
    /// [`EncoderError`] if the texts cannot be taken.
    pub fn reward(&self, prompt: &str, answer: &str) -> Result<f32, EncoderError> {
        let wrong = |reason| EncoderError::Text { at: 0, reason };
        // Not the faster way: that forgets which of the two texts a token is of.
        let encoded = guard::guarded(|| self.tokenizer.encode((prompt, answer), true));
        let encoded = encoded.map_err(|_| wrong("the tokenizer fails on it".to_owned()))?;
        let encoded = encoded.map_err(|e| wrong(e.to_string()))?;
        guarded(|| {
            let row = |values: &[u32]| Tensor::new(values, &Device::Cpu)?.unsqueeze(0);
            let ids = row(encoded.get_ids())?;
            let (kinds, mask) = (row(encoded.get_type_ids())?, row(encoded.get_attention_mask())?);
            let logits = self.model.forward(&ids, Some(kinds), Some(mask))?;
            logits.flatten_all()?.get(0)?.to_scalar::<f32>()
        })
    }
}
