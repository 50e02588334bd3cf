//! A trained model as files: a folder as Hugging Face has it, and GGUF.

use std::{collections::HashMap, fs::File, io::BufWriter, path::Path};

use candle_core::{
    DType, Tensor,
    quantized::{GgmlDType, QTensor, gguf_file},
};
use serde_json::{Value, json};
use tokenizers::Tokenizer;

use super::{
    trainer::{EPSILON, Shape, THETA, Trained},
    vocabulary::{ASSISTANT, END, SYSTEM, USER},
};
use crate::llm::Form;

/// The conversation's form, as Jinja.
const TEMPLATE: &str = "{{ bos_token }}{% for message in messages %}{{ '<|' + message.role + '|>' + message.content + '<|end|>' }}\
                        {% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";

/// Why files are not written.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The system's.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A tensor or the tokenizer cannot be written.
    #[error("{0}")]
    Format(String),
}

fn write(path: &Path, text: &str) -> Result<(), SaveError> {
    std::fs::write(path, text).map_err(|source| SaveError::Io { path: path.display().to_string(), source })
}

fn format(error: impl std::fmt::Display) -> SaveError {
    SaveError::Format(error.to_string())
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn config(shape: &Shape) -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.feed_forward,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads,
        "max_position_embeddings": shape.context,
        "rms_norm_eps": EPSILON,
        "rope_theta": THETA,
        "hidden_act": "silu",
        "tie_word_embeddings": true,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "torch_dtype": "float16",
    })
}

/// Writes a folder with `config.json`, `tokenizer.json`, `tokenizer_config.json` and `model.safetensors` in half
/// precision.
///
/// # Errors
/// [`SaveError`], naming the file.
pub fn save(trained: &Trained, tokenizer: &Tokenizer, folder: &Path) -> Result<(), SaveError> {
    std::fs::create_dir_all(folder).map_err(|source| SaveError::Io { path: folder.display().to_string(), source })?;
    let half = |(name, tensor): (&String, &Tensor)| Ok((name.clone(), tensor.to_dtype(DType::F16).map_err(format)?));
    let tensors = trained.tensors.iter().map(half).collect::<Result<HashMap<_, _>, SaveError>>()?;
    candle_core::safetensors::save(&tensors, folder.join("model.safetensors")).map_err(format)?;
    write(&folder.join("config.json"), &pretty(&config(&trained.shape)))?;
    let text = tokenizer.to_string(true).map_err(format)?;
    write(&folder.join("tokenizer.json"), &(text + "\n"))?;
    let special = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END,
        "eos_token": END,
        "add_bos_token": true,
        "additional_special_tokens": [SYSTEM, USER, ASSISTANT],
        "chat_template": TEMPLATE,
        "model_max_length": trained.shape.context,
        "clean_up_tokenization_spaces": false,
    });
    write(&folder.join("tokenizer_config.json"), &pretty(&special))
}

/// Writes a folder of the Llama family, such as [`save`] makes, as one GGUF file, with matrices in `form`.
///
/// # Errors
/// [`SaveError`], naming what is missing.
pub fn to_gguf(folder: &Path, form: Form, file: &Path) -> Result<(), SaveError> {
    let form = match form {
        Form::F32 => GgmlDType::F32,
        Form::F16 => GgmlDType::F16,
        Form::Q8 => GgmlDType::Q8_0,
        Form::Q6K => GgmlDType::Q6K,
        Form::Q4K => GgmlDType::Q4K,
    };
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read_to_string(&path).map_err(|source| SaveError::Io { path: path.display().to_string(), source })
    };
    let parse = |name: &str| serde_json::from_str::<Value>(&read(name)?).map_err(|e| format(format!("{name}: {e}")));
    let (config, tokenizer, special) =
        (parse("config.json")?, parse("tokenizer.json")?, parse("tokenizer_config.json")?);
    if config["model_type"] != "llama" {
        return Err(format(format!("expected a model of the Llama family, found `{}`", config["model_type"])));
    }
    let number = |key: &str| {
        let n = config[key].as_u64().and_then(|n| u32::try_from(n).ok());
        n.ok_or_else(|| format(format!("config.json: `{key}` is missing")))
    };
    let heads = number("num_attention_heads")?;
    let kv_heads = number("num_key_value_heads").unwrap_or(heads);
    let tensors =
        candle_core::safetensors::load(folder.join("model.safetensors"), &candle_core::Device::Cpu).map_err(format)?;
    let mut named = Vec::new();
    for (name, tensor) in &tensors {
        let tensor = tensor.to_dtype(DType::F32).map_err(format)?;
        let tensor = match name.as_str() {
            n if n.ends_with("q_proj.weight") => interleave(&tensor, heads as usize),
            n if n.ends_with("k_proj.weight") => interleave(&tensor, kv_heads as usize),
            _ => Ok(tensor),
        }
        .map_err(format)?;
        let form = if tensor.rank() == 1 { GgmlDType::F32 } else { form };
        named.push((gguf_name(name)?, QTensor::quantize(&tensor, form).map_err(format)?));
    }
    named.sort_by(|a, b| a.0.cmp(&b.0));

    use gguf_file::Value as V;
    let vocabulary = number("vocab_size")? as usize;
    let mut words: Vec<String> = (0..vocabulary).map(|i| format!("[unused-{i}]")).collect();
    let mut kinds = vec![5; vocabulary];
    let put = |words: &mut Vec<String>, kinds: &mut Vec<i32>, id: Option<u64>, word: &str, kind: i32| {
        if let Some(id) = id.and_then(|i| usize::try_from(i).ok()).filter(|i| *i < vocabulary) {
            word.clone_into(&mut words[id]);
            kinds[id] = kind;
        }
    };
    for (word, id) in tokenizer["model"]["vocab"].as_object().into_iter().flatten() {
        put(&mut words, &mut kinds, id.as_u64(), word, 1);
    }
    for token in tokenizer["added_tokens"].as_array().into_iter().flatten() {
        put(&mut words, &mut kinds, token["id"].as_u64(), token["content"].as_str().unwrap_or_default(), 3);
    }
    let merge = |m: &Value| match m {
        Value::String(pair) => pair.clone(),
        Value::Array(pair) => pair.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        _ => String::new(),
    };
    let merges = tokenizer["model"]["merges"].as_array().into_iter().flatten().map(|m| V::String(merge(m))).collect();
    let text = |s: &str| V::String(s.to_owned());
    let end = config["eos_token_id"].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    let metadata = [
        ("general.architecture", text("llama")),
        ("llama.vocab_size", V::U32(number("vocab_size")?)),
        ("llama.context_length", V::U32(number("max_position_embeddings")?)),
        ("llama.embedding_length", V::U32(number("hidden_size")?)),
        ("llama.block_count", V::U32(number("num_hidden_layers")?)),
        ("llama.feed_forward_length", V::U32(number("intermediate_size")?)),
        ("llama.attention.head_count", V::U32(heads)),
        ("llama.attention.head_count_kv", V::U32(kv_heads)),
        ("llama.attention.layer_norm_rms_epsilon", V::F32(config["rms_norm_eps"].as_f64().unwrap_or(EPSILON) as f32)),
        ("llama.rope.dimension_count", V::U32(number("hidden_size")? / heads.max(1))),
        ("llama.rope.freq_base", V::F32(config["rope_theta"].as_f64().map_or(THETA, |t| t as f32))),
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.pre", text("qwen2")),
        ("tokenizer.ggml.tokens", V::Array(words.into_iter().map(V::String).collect())),
        ("tokenizer.ggml.token_type", V::Array(kinds.into_iter().map(V::I32).collect())),
        ("tokenizer.ggml.merges", V::Array(merges)),
        ("tokenizer.ggml.bos_token_id", V::U32(end)),
        ("tokenizer.ggml.eos_token_id", V::U32(end)),
        ("tokenizer.ggml.add_bos_token", V::Bool(special["add_bos_token"].as_bool().unwrap_or(false))),
        ("tokenizer.chat_template", text(special["chat_template"].as_str().unwrap_or_default())),
    ];
    let metadata: Vec<(&str, &V)> = metadata.iter().map(|(k, v)| (*k, v)).collect();
    let named: Vec<(&str, &QTensor)> = named.iter().map(|(n, t)| (n.as_str(), t)).collect();
    let out = File::create(file).map_err(|source| SaveError::Io { path: file.display().to_string(), source })?;
    gguf_file::write(&mut BufWriter::new(out), &metadata, &named).map_err(format)
}

/// GGUF's Llamas turn neighbours: row `2 i + j` of a head is row `j half + i` here.
fn interleave(tensor: &Tensor, heads: usize) -> candle_core::Result<Tensor> {
    let (rows, width) = tensor.dims2()?;
    let half = rows / heads / 2;
    tensor.reshape((heads, 2, half, width))?.transpose(1, 2)?.contiguous()?.reshape((rows, width))
}

fn gguf_name(name: &str) -> Result<String, SaveError> {
    let top = match name {
        "model.embed_tokens.weight" => Some("token_embd.weight"),
        "model.norm.weight" => Some("output_norm.weight"),
        "lm_head.weight" => Some("output.weight"),
        _ => None,
    };
    if let Some(top) = top {
        return Ok(top.to_owned());
    }
    let unknown = || format(format!("the tensor `{name}` has no place in a GGUF file of a Llama"));
    let (layer, part) = name.strip_prefix("model.layers.").and_then(|n| n.split_once('.')).ok_or_else(unknown)?;
    let part = match part {
        "self_attn.q_proj.weight" => "attn_q",
        "self_attn.k_proj.weight" => "attn_k",
        "self_attn.v_proj.weight" => "attn_v",
        "self_attn.o_proj.weight" => "attn_output",
        "mlp.gate_proj.weight" => "ffn_gate",
        "mlp.up_proj.weight" => "ffn_up",
        "mlp.down_proj.weight" => "ffn_down",
        "input_layernorm.weight" => "attn_norm",
        "post_attention_layernorm.weight" => "ffn_norm",
        _ => return Err(unknown()),
    };
    Ok(format!("blk.{layer}.{part}.weight"))
}
