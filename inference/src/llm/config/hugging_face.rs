//! `config.json` of the `transformers` library.

use serde::{Deserialize, de::IgnoredAny};

use super::{Activation, Config, ConfigError, Family, Norm, Rope, Scaling};

/// One or several tokens.
#[derive(Deserialize)]
#[serde(untagged)]
enum Tokens {
    One(u32),
    Many(Vec<u32>),
}

#[derive(Deserialize)]
struct RopeScaling {
    #[serde(alias = "type")]
    rope_type: Option<String>,
    rope_theta: Option<f32>,
    factor: Option<f32>,
    low_freq_factor: Option<f32>,
    high_freq_factor: Option<f32>,
    original_max_position_embeddings: Option<f32>,
    partial_rotary_factor: Option<f32>,
}

#[derive(Deserialize)]
struct Raw {
    model_type: Option<String>,
    vocab_size: Option<usize>,
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    max_position_embeddings: Option<usize>,
    rms_norm_eps: Option<f32>,
    layer_norm_eps: Option<f32>,
    rope_theta: Option<f32>,
    rope_local_base_freq: Option<f32>,
    rope_scaling: Option<RopeScaling>,
    rope_parameters: Option<RopeScaling>,
    partial_rotary_factor: Option<f32>,
    hidden_act: Option<String>,
    hidden_activation: Option<String>,
    sliding_window: Option<usize>,
    use_sliding_window: Option<bool>,
    sliding_window_pattern: Option<usize>,
    layer_types: Option<Vec<String>>,
    query_pre_attn_scalar: Option<f32>,
    attn_logit_softcapping: Option<f32>,
    final_logit_softcapping: Option<f32>,
    tie_word_embeddings: Option<bool>,
    qk_layernorm: Option<bool>,
    attention_bias: Option<bool>,
    bos_token_id: Option<u32>,
    eos_token_id: Option<Tokens>,
    quantization_config: Option<IgnoredAny>,
}

/// Reads a `config.json`.
///
/// # Errors
/// [`ConfigError`], naming the field.
pub(crate) fn from_json(text: &str) -> Result<Config, ConfigError> {
    let raw: Raw = serde_json::from_str(text)
        .map_err(|e| ConfigError::Malformed { what: "config.json", reason: e.to_string() })?;
    let missing = |field: &str| ConfigError::Missing(format!("config.json: `{field}`"));
    let kind = raw.model_type.ok_or_else(|| missing("model_type"))?;
    let family = match kind.as_str() {
        "llama" => Family::Llama,
        "mistral" => Family::Mistral,
        "qwen2" => Family::Qwen2,
        "qwen3" => Family::Qwen3,
        "gemma" => Family::Gemma,
        "gemma2" => Family::Gemma2,
        "gemma3_text" => Family::Gemma3,
        "phi" => Family::Phi2,
        "phi3" => Family::Phi3,
        other => return Err(ConfigError::Unsupported(format!("the architecture `{other}`"))),
    };
    let gemma = matches!(family, Family::Gemma | Family::Gemma2 | Family::Gemma3);
    if raw.quantization_config.is_some() {
        return Err(ConfigError::Unsupported("quantisation inside safetensors (GPTQ, AWQ and the like)".to_owned()));
    }
    if raw.qk_layernorm == Some(true) {
        return Err(ConfigError::Unsupported("`qk_layernorm`".to_owned()));
    }
    let hidden = raw.hidden_size.ok_or_else(|| missing("hidden_size"))?;
    let heads = raw.num_attention_heads.ok_or_else(|| missing("num_attention_heads"))?;
    let layers = raw.num_hidden_layers.ok_or_else(|| missing("num_hidden_layers"))?;
    let head_dim = match raw.head_dim {
        Some(dim) => dim,
        None if heads > 0 && hidden % heads == 0 && !gemma => hidden / heads,
        None if gemma => 256,
        None => {
            let expected = format!("a divisor of the hidden size of {hidden}");
            return Err(ConfigError::Absurd { field: "attention heads", expected, found: heads.to_string() });
        }
    };
    let epsilon = if family == Family::Phi2 { raw.layer_norm_eps } else { raw.rms_norm_eps };
    let norm = match family {
        Family::Phi2 => Norm::Layer { epsilon: epsilon.unwrap_or(1e-5) },
        _ => Norm::Rms { plus_one: gemma, epsilon: epsilon.unwrap_or(1e-6) },
    };
    let activation = match raw.hidden_activation.or(raw.hidden_act).as_deref() {
        Some("silu") => Activation::Silu,
        Some("gelu_pytorch_tanh" | "gelu_new") => Activation::GeluTanh,
        // Gemma's first files say `gelu` and mean its approximation.
        Some("gelu") | None if gemma => Activation::GeluTanh,
        None if family == Family::Phi2 => Activation::GeluTanh,
        None => Activation::Silu,
        Some(other) => return Err(ConfigError::Unsupported(format!("the activation `{other}`"))),
    };
    let scaling_field = raw.rope_parameters.or(raw.rope_scaling);
    let theta = scaling_field.as_ref().and_then(|s| s.rope_theta).or(raw.rope_theta);
    let partial = scaling_field.as_ref().and_then(|s| s.partial_rotary_factor).or(raw.partial_rotary_factor);
    let partial = partial.unwrap_or(if family == Family::Phi2 { 0.5 } else { 1.0 });
    let rope = Rope {
        dims: (head_dim as f32 * partial) as usize,
        theta: theta.unwrap_or(10_000.0),
        scaling: scaling_field.map_or(Ok(None), scaling)?,
        local_theta: (family == Family::Gemma3).then(|| raw.rope_local_base_freq.unwrap_or(10_000.0)),
    };
    let window = if raw.use_sliding_window == Some(false) { None } else { raw.sliding_window };
    let is_windowed = |layer: usize| match (&raw.layer_types, family) {
        (Some(types), _) => types.get(layer).is_some_and(|t| t == "sliding_attention"),
        (None, Family::Gemma2) => layer.is_multiple_of(2),
        (None, Family::Gemma3) => !(layer + 1).is_multiple_of(raw.sliding_window_pattern.unwrap_or(6).max(1)),
        (None, Family::Mistral | Family::Phi3) => true,
        (None, _) => false,
    };
    let scale = match family {
        Family::Gemma2 | Family::Gemma3 => raw.query_pre_attn_scalar.unwrap_or(256.0),
        _ => head_dim as f32,
    };
    Config {
        family,
        architecture: kind,
        vocabulary: raw.vocab_size.ok_or_else(|| missing("vocab_size"))?,
        hidden,
        layers,
        heads,
        kv_heads: raw.num_key_value_heads.unwrap_or(heads),
        head_dim,
        feed_forward: raw.intermediate_size.ok_or_else(|| missing("intermediate_size"))?,
        context: raw.max_position_embeddings.ok_or_else(|| missing("max_position_embeddings"))?,
        norm,
        rope,
        activation,
        head_norms: matches!(family, Family::Qwen3 | Family::Gemma3),
        biased: raw.attention_bias == Some(true) || matches!(family, Family::Qwen2 | Family::Phi2),
        post_norms: matches!(family, Family::Gemma2 | Family::Gemma3),
        embedding_scale: if gemma { (hidden as f32).sqrt() } else { 1.0 },
        attention_scale: 1.0 / scale.sqrt(),
        attention_cap: raw.attn_logit_softcapping,
        logit_cap: raw.final_logit_softcapping,
        windows: (0..layers.min(512)).map(|l| if is_windowed(l) { window } else { None }).collect(),
        tied: raw.tie_word_embeddings.unwrap_or(gemma),
        bos: raw.bos_token_id,
        eos: match raw.eos_token_id {
            Some(Tokens::One(id)) => vec![id],
            Some(Tokens::Many(ids)) => ids,
            None => Vec::new(),
        },
    }
    .check()
}

fn scaling(raw: RopeScaling) -> Result<Option<Scaling>, ConfigError> {
    let need = |value: Option<f32>, field: &str| {
        value.ok_or_else(|| ConfigError::Missing(format!("config.json: `{field}` of the rope's scaling")))
    };
    match raw.rope_type.as_deref() {
        None | Some("default") => Ok(None),
        Some("linear") => Ok(Some(Scaling::Linear { factor: need(raw.factor, "factor")? })),
        Some("llama3") => Ok(Some(Scaling::Llama3 {
            factor: need(raw.factor, "factor")?,
            low: need(raw.low_freq_factor, "low_freq_factor")?,
            high: need(raw.high_freq_factor, "high_freq_factor")?,
            original: need(raw.original_max_position_embeddings, "original_max_position_embeddings")?,
        })),
        Some(other) => Err(ConfigError::Unsupported(format!("the rope scaling `{other}`"))),
    }
}
