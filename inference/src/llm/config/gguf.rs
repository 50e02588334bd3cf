//! Metadata of a GGUF file.

use std::collections::HashMap;

use candle_core::quantized::gguf_file::Value;

use super::{Activation, Config, ConfigError, Family, Norm, Rope, Scaling};

/// Metadata by key.
pub(crate) type Metadata = HashMap<String, Value>;

/// A whole number under a key, whatever its width.
pub(crate) fn number(metadata: &Metadata, key: &str) -> Option<u64> {
    match metadata.get(key)? {
        Value::U8(v) => Some((*v).into()),
        Value::U16(v) => Some((*v).into()),
        Value::U32(v) => Some((*v).into()),
        Value::U64(v) => Some(*v),
        Value::I8(v) => u64::try_from(*v).ok(),
        Value::I16(v) => u64::try_from(*v).ok(),
        Value::I32(v) => u64::try_from(*v).ok(),
        Value::I64(v) => u64::try_from(*v).ok(),
        _ => None,
    }
}

/// A text under a key.
pub(crate) fn text<'a>(metadata: &'a Metadata, key: &str) -> Option<&'a str> {
    metadata.get(key)?.to_string().ok().map(String::as_str)
}

fn float(metadata: &Metadata, key: &str) -> Option<f32> {
    match metadata.get(key)? {
        Value::F32(v) => Some(*v),
        Value::F64(v) => Some(*v as f32),
        _ => None,
    }
}

/// Reads the description out of metadata; `vocabulary` are the embedding's rows, `tied` says that the file has no
/// matrix for the output.
///
/// # Errors
/// [`ConfigError`], naming the key.
pub(crate) fn from_gguf(metadata: &Metadata, vocabulary: usize, tied: bool) -> Result<Config, ConfigError> {
    let missing = |key: &str| ConfigError::Missing(format!("GGUF metadata `{key}`"));
    let architecture = text(metadata, "general.architecture").ok_or_else(|| missing("general.architecture"))?;
    let family = match architecture {
        "llama" => Family::Llama,
        "qwen2" => Family::Qwen2,
        "qwen3" => Family::Qwen3,
        "gemma" => Family::Gemma,
        "gemma2" => Family::Gemma2,
        "gemma3" => Family::Gemma3,
        "phi2" => Family::Phi2,
        "phi3" => Family::Phi3,
        other => return Err(ConfigError::Unsupported(format!("the architecture `{other}`"))),
    };
    let key = |name: &str| format!("{architecture}.{name}");
    let size = |name: &str| number(metadata, &key(name)).and_then(|n| usize::try_from(n).ok());
    let need = |name: &str| size(name).ok_or_else(|| missing(&key(name)));
    let real = |name: &str| float(metadata, &key(name));
    let gemma = matches!(family, Family::Gemma | Family::Gemma2 | Family::Gemma3);
    let (hidden, heads, layers) = (need("embedding_length")?, need("attention.head_count")?, need("block_count")?);
    if size("expert_count").unwrap_or(0) > 0 {
        return Err(ConfigError::Unsupported("a mixture of experts".to_owned()));
    }
    let head_dim = match size("attention.key_length") {
        Some(dim) => dim,
        None if heads > 0 && hidden % heads == 0 => hidden / heads,
        None => {
            let expected = format!("a divisor of the hidden size of {hidden}");
            return Err(ConfigError::Absurd { field: "attention heads", expected, found: heads.to_string() });
        }
    };
    if size("attention.value_length").is_some_and(|v| v != head_dim) {
        return Err(ConfigError::Unsupported("values of another width than keys".to_owned()));
    }
    let norm = match family {
        Family::Phi2 => Norm::Layer { epsilon: real("attention.layer_norm_epsilon").unwrap_or(1e-5) },
        // The converter has added Gemma's one to the weights.
        _ => Norm::Rms { plus_one: false, epsilon: real("attention.layer_norm_rms_epsilon").unwrap_or(1e-6) },
    };
    let scaling = match text(metadata, &key("rope.scaling.type")) {
        None | Some("none") => None,
        Some("linear") => {
            let factor = real("rope.scaling.factor").ok_or_else(|| missing(&key("rope.scaling.factor")))?;
            (factor != 1.0).then_some(Scaling::Linear { factor })
        }
        Some(other) => return Err(ConfigError::Unsupported(format!("the rope scaling `{other}`"))),
    };
    let window = size("attention.sliding_window").filter(|w| *w > 0);
    let is_windowed = |layer: usize| match family {
        Family::Gemma2 => layer.is_multiple_of(2),
        Family::Gemma3 => !(layer + 1).is_multiple_of(6),
        _ => true,
    };
    let scale = match family {
        // Of the two sizes that have one of their own, the scale is the width over the heads.
        Family::Gemma2 if layers == 46 => hidden as f32 / heads as f32,
        Family::Gemma3 if layers == 62 => hidden as f32 / heads as f32,
        _ => head_dim as f32,
    };
    let token = |name: &str| number(metadata, &format!("tokenizer.ggml.{name}")).and_then(|n| u32::try_from(n).ok());
    Config {
        family,
        architecture: architecture.to_owned(),
        vocabulary,
        hidden,
        layers,
        heads,
        kv_heads: size("attention.head_count_kv").unwrap_or(heads),
        head_dim,
        feed_forward: need("feed_forward_length")?,
        context: need("context_length")?,
        norm,
        rope: Rope {
            dims: size("rope.dimension_count").unwrap_or(head_dim),
            theta: real("rope.freq_base").unwrap_or(10_000.0),
            scaling,
            local_theta: (family == Family::Gemma3).then_some(10_000.0),
        },
        activation: if gemma || family == Family::Phi2 { Activation::GeluTanh } else { Activation::Silu },
        head_norms: matches!(family, Family::Qwen3 | Family::Gemma3),
        biased: matches!(family, Family::Qwen2 | Family::Phi2),
        post_norms: matches!(family, Family::Gemma2 | Family::Gemma3),
        embedding_scale: if gemma { (hidden as f32).sqrt() } else { 1.0 },
        attention_scale: 1.0 / scale.sqrt(),
        attention_cap: real("attn_logit_softcapping"),
        logit_cap: real("final_logit_softcapping"),
        windows: (0..layers.min(512)).map(|l| if is_windowed(l) { window } else { None }).collect(),
        tied,
        bos: token("bos_token_id"),
        eos: ["eos_token_id", "eot_token_id", "eom_token_id"].iter().filter_map(|t| token(t)).collect(),
    }
    .check()
}
