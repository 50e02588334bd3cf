//! What kind of transformer a model is, read from a Hugging Face `config.json` or from GGUF's metadata.
//!
//! One description covers every family: they differ in norms, activation, biases, rotary embedding, windows and caps,
//! not in what a layer is. What a description asks for and the engine does not have is refused here, by name.

pub(crate) mod gguf;
mod hugging_face;

use serde::Serialize;

pub(crate) use gguf::from_gguf;
pub(crate) use hugging_face::from_json;

/// Families of models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Llama 1 to 3, and what shares its graph.
    Llama,
    /// Mistral: Llama with a sliding window.
    Mistral,
    /// Qwen 2: Llama with biases on queries, keys and values.
    Qwen2,
    /// Qwen 3: with norms on queries and keys.
    Qwen3,
    /// Gemma 1.
    Gemma,
    /// Gemma 2: with norms after each part, soft caps and alternating windows.
    Gemma2,
    /// Gemma 3, its text part: five windowed layers for each full one.
    Gemma3,
    /// Phi 1 and 2: attention and feed-forward side by side, with layer norms and biases.
    Phi2,
    /// Phi 3: Llama with joined projections.
    Phi3,
}

/// What is done to a layer's input.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// Divided by its root mean square, times a weight (Zhang and Sennrich, 2019).
    Rms {
        /// Whether one is added to the weights.
        plus_one: bool,
        /// Added to the mean square.
        epsilon: f32,
    },
    /// Less its mean, divided by its deviation, times a weight, plus a bias (Ba et al., 2016).
    Layer {
        /// Added to the variance.
        epsilon: f32,
    },
}

/// The nonlinearity of the feed-forward part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x / (1 + e^-x)`
    Silu,
    /// Gaussian error linear unit, by its hyperbolic tangent.
    GeluTanh,
}

/// How positions stretch beyond those a model was trained on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scaling {
    /// Positions are divided by the factor.
    Linear {
        /// At least 1.
        factor: f32,
    },
    /// Low frequencies are divided by the factor, high ones stay, those between are blended (Llama 3.1).
    Llama3 {
        /// At least 1.
        factor: f32,
        /// Wavelengths over `original / low` are low frequencies.
        low: f32,
        /// Wavelengths under `original / high` are high frequencies.
        high: f32,
        /// Positions of the training.
        original: f32,
    },
}

/// Rotary position embedding (Su et al., 2021): pairs `(i, i + dims / 2)` turn with the position.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rope {
    /// How many of a head's values turn; even.
    pub dims: usize,
    /// The base of the frequencies.
    pub theta: f32,
    /// Stretching, if any.
    pub scaling: Option<Scaling>,
    /// The base in windowed layers, where they have one of their own; unscaled.
    pub local_theta: Option<f32>,
}

/// A transformer's shape and kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Config {
    /// Whose it is.
    pub family: Family,
    /// Its family, as its own files name it.
    pub architecture: String,
    /// Rows of the embedding.
    pub vocabulary: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides the query heads.
    pub kv_heads: usize,
    /// Values in a head.
    pub head_dim: usize,
    /// Width of the feed-forward part.
    pub feed_forward: usize,
    /// Positions it was trained for; 2 at least, for one token and the next.
    pub context: usize,
    /// Norms.
    pub norm: Norm,
    /// Positions.
    pub rope: Rope,
    /// Nonlinearity.
    pub activation: Activation,
    /// Whether queries and keys are normed by head.
    pub head_norms: bool,
    /// Whether queries, keys and values must have biases.
    pub biased: bool,
    /// Whether attention and feed-forward have norms after them too.
    pub post_norms: bool,
    /// Embeddings are multiplied by this.
    pub embedding_scale: f32,
    /// Attention scores are multiplied by this.
    pub attention_scale: f32,
    /// `cap * tanh(score / cap)`
    pub attention_cap: Option<f32>,
    /// The same for logits.
    pub logit_cap: Option<f32>,
    /// Positions that a layer looks back, itself included, by layer; `None` is all.
    pub windows: Vec<Option<usize>>,
    /// Whether the embedding is the output's matrix too.
    pub tied: bool,
    /// Begins a text, if anything does.
    pub bos: Option<u32>,
    /// Any of these ends one.
    pub eos: Vec<u32>,
}

/// Why a description is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not a description at all.
    #[error("{what}: {reason}")]
    Malformed {
        /// The file or table.
        what: &'static str,
        /// From the reader.
        reason: String,
    },
    /// A field that must be there is not, or is of another type.
    #[error("{0} is missing or not of its type")]
    Missing(String),
    /// A number that no model has.
    #[error("{field}: expected {expected}, found {found}")]
    Absurd {
        /// The field.
        field: &'static str,
        /// In words.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A family or feature that the engine does not run.
    #[error("{0} is not supported")]
    Unsupported(String),
}

impl Config {
    /// Checks that the numbers can belong to a model: later arithmetic relies on it.
    ///
    /// # Errors
    /// [`ConfigError::Absurd`], naming the field.
    pub(crate) fn check(self) -> Result<Self, ConfigError> {
        let range = |field, found: usize, low: usize, high: usize| {
            if (low..=high).contains(&found) {
                return Ok(());
            }
            Err(ConfigError::Absurd { field, expected: format!("{low} to {high}"), found: found.to_string() })
        };
        range("vocabulary", self.vocabulary, 1, 1 << 20)?;
        range("hidden size", self.hidden, 1, 1 << 16)?;
        range("layers", self.layers, 1, 512)?;
        range("attention heads", self.heads, 1, 1024)?;
        range("key and value heads", self.kv_heads, 1, self.heads)?;
        range("head size", self.head_dim, 2, 1024)?;
        range("feed-forward size", self.feed_forward, 1, 1 << 19)?;
        range("context", self.context, 2, 1 << 24)?;
        range("rotary dimensions", self.rope.dims, 2, self.head_dim)?;
        range("windows", self.windows.len(), self.layers, self.layers)?;
        let wrong = |field, expected: &str, found: String| {
            Err(ConfigError::Absurd { field, expected: expected.to_owned(), found })
        };
        if !self.heads.is_multiple_of(self.kv_heads) {
            let expected = format!("a divisor of the {} attention heads", self.heads);
            return wrong("key and value heads", &expected, self.kv_heads.to_string());
        }
        if !self.rope.dims.is_multiple_of(2) {
            return wrong("rotary dimensions", "an even number", self.rope.dims.to_string());
        }
        if self.windows.contains(&Some(0)) {
            return wrong("sliding window", "at least 1", "0".to_owned());
        }
        let epsilon = match self.norm {
            Norm::Rms { epsilon, .. } | Norm::Layer { epsilon } => epsilon,
        };
        let positive = |field, x: f32| {
            if x.is_finite() && x > 0.0 {
                Ok(())
            } else {
                wrong(field, "a positive number", x.to_string()).map(|_: Self| ())
            }
        };
        positive("norm epsilon", epsilon)?;
        positive("rope theta", self.rope.theta)?;
        positive("embedding scale", self.embedding_scale)?;
        positive("attention scale", self.attention_scale)?;
        for (field, value) in [
            ("local rope theta", self.rope.local_theta),
            ("attention soft cap", self.attention_cap),
            ("logit soft cap", self.logit_cap),
        ] {
            value.map_or(Ok(()), |v| positive(field, v))?;
        }
        match self.rope.scaling {
            Some(Scaling::Linear { factor }) => positive("rope scaling factor", factor)?,
            Some(Scaling::Llama3 { factor, low, high, original }) => {
                positive("rope scaling factor", factor)?;
                positive("rope low frequency factor", low)?;
                positive("rope original context", original)?;
                if !(high.is_finite() && high > low) {
                    return wrong("rope high frequency factor", "more than the low one", high.to_string());
                }
            }
            None => {}
        }
        if let Some(id) = self.eos.iter().chain(&self.bos).find(|id| **id as usize >= self.vocabulary) {
            return wrong(
                "special tokens",
                &format!("less than the vocabulary of {}", self.vocabulary),
                id.to_string(),
            );
        }
        Ok(self)
    }

    /// Width of all queries.
    pub fn query_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of all keys, and of all values.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Whether the feed-forward part is gated.
    pub fn is_gated(&self) -> bool {
        self.family != Family::Phi2
    }

    /// Weights of all matrices.
    pub fn weights(&self) -> u64 {
        let (h, f) = (self.hidden as u64, self.feed_forward as u64);
        let attention = h * (2 * self.query_width() as u64 + 2 * self.kv_width() as u64);
        let layer = attention + h * f * if self.is_gated() { 3 } else { 2 };
        let embedding = self.vocabulary as u64 * h;
        self.layers as u64 * layer + embedding * if self.tied { 1 } else { 2 }
    }
}
