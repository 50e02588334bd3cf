//! Measures the engine on a language model, and makes one to measure on.
//!
//! ```sh
//! bench_llm make MODEL.gguf q8     # 110 million random weights in the shape of a small Llama; q8 or f32
//! bench_llm run MODEL.gguf 2       # prefill, decode, eight streams and a cached prefix, on two threads; JSON
//! ```

use std::{fs::File, io::BufWriter, path::Path};

use assay_inference::llm::{Event, Form, GenerateRequest, Llm, LoadOptions, Sampling, Usage};
use candle_core::{
    Device, Tensor,
    quantized::{GgmlDType, QTensor, gguf_file},
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const VOCABULARY: usize = 32_000;
const HIDDEN: usize = 768;
const LAYERS: usize = 12;
const HEADS: usize = 12;
const FEED: usize = 2048;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["make", path, form] => make(Path::new(path), form),
        ["run", path, threads] => run(Path::new(path), threads.parse()?),
        _ => Err("usage: bench_llm make MODEL.gguf q8|f32, or bench_llm run MODEL.gguf THREADS".into()),
    }
}

fn make(path: &Path, form: &str) -> Result<()> {
    let dtype = match form {
        "q8" => GgmlDType::Q8_0,
        "f32" => GgmlDType::F32,
        other => return Err(format!("expected q8 or f32, found {other}").into()),
    };
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut tensors = Vec::new();
    let mut add = |name: String, shape: &[usize]| -> Result<()> {
        let size = if shape.len() == 1 { 0.0 } else { (3.0 / shape[1] as f32).sqrt() };
        let base = if shape.len() == 1 { 1.0 } else { 0.0 };
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| base + size * rng.gen_range(-1.0f32..1.0)).collect();
        let tensor = Tensor::from_vec(values, shape, &Device::Cpu)?;
        tensors.push((name, QTensor::quantize(&tensor, if shape.len() == 1 { GgmlDType::F32 } else { dtype })?));
        Ok(())
    };
    add("token_embd.weight".into(), &[VOCABULARY, HIDDEN])?;
    add("output_norm.weight".into(), &[HIDDEN])?;
    for layer in 0..LAYERS {
        for (name, shape) in [
            ("attn_norm", &[HIDDEN][..]),
            ("attn_q", &[HIDDEN, HIDDEN]),
            ("attn_k", &[HIDDEN, HIDDEN]),
            ("attn_v", &[HIDDEN, HIDDEN]),
            ("attn_output", &[HIDDEN, HIDDEN]),
            ("ffn_norm", &[HIDDEN]),
            ("ffn_gate", &[FEED, HIDDEN]),
            ("ffn_up", &[FEED, HIDDEN]),
            ("ffn_down", &[HIDDEN, FEED]),
        ] {
            add(format!("blk.{layer}.{name}.weight"), shape)?;
        }
    }
    use gguf_file::Value;
    let text = |s: &str| Value::String(s.to_owned());
    // A vocabulary of single bytes, the end, one pair, and words that no text has.
    let mut words: Vec<String> = byte_names();
    words.extend(["<|end|>", "ab"].map(str::to_owned));
    words.extend((words.len()..VOCABULARY).map(|i| format!("<word-{i}>")));
    let kinds = (0..VOCABULARY).map(|i| Value::I32(if i == 256 { 3 } else { 1 })).collect();
    let metadata = [
        ("general.architecture", text("llama")),
        ("llama.context_length", Value::U32(2048)),
        ("llama.embedding_length", Value::U32(HIDDEN as u32)),
        ("llama.block_count", Value::U32(LAYERS as u32)),
        ("llama.feed_forward_length", Value::U32(FEED as u32)),
        ("llama.attention.head_count", Value::U32(HEADS as u32)),
        ("llama.attention.head_count_kv", Value::U32(HEADS as u32)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
        ("llama.rope.dimension_count", Value::U32((HIDDEN / HEADS) as u32)),
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.pre", text("gpt-2")),
        ("tokenizer.ggml.tokens", Value::Array(words.into_iter().map(Value::String).collect())),
        ("tokenizer.ggml.token_type", Value::Array(kinds)),
        ("tokenizer.ggml.merges", Value::Array(vec![text("a b")])),
        ("tokenizer.ggml.eos_token_id", Value::U32(256)),
        ("tokenizer.ggml.bos_token_id", Value::U32(256)),
        ("tokenizer.ggml.add_bos_token", Value::Bool(false)),
    ];
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(k, v)| (*k, v)).collect();
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(n, t)| (n.as_str(), t)).collect();
    gguf_file::write(&mut BufWriter::new(File::create(path)?), &metadata, &tensors)?;
    Ok(())
}

/// GPT-2's names of the bytes.
fn byte_names() -> Vec<String> {
    let printable = |b: u32| (0x21..=0x7e).contains(&b) || (0xa1..=0xac).contains(&b) || (0xae..=0xff).contains(&b);
    let mut next = 0x100;
    let name = |b: u32| {
        let code = if printable(b) {
            b
        } else {
            next += 1;
            next - 1
        };
        char::from_u32(code).map(String::from).unwrap_or_default()
    };
    (0..256).map(name).collect()
}

fn prompt(seed: u64, n: usize) -> Vec<u32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..n).map(|_| rng.gen_range(300..VOCABULARY as u32)).collect()
}

/// Times of requests that come together.
fn serve(llm: &Llm, prompts: Vec<Vec<u32>>, tokens: usize) -> Result<Vec<Usage>> {
    let mut answers = Vec::new();
    for prompt in prompts {
        let sampling = Sampling::default();
        answers.push(llm.engine.generate(GenerateRequest {
            prompt,
            sampling,
            max_tokens: tokens,
            ignore_end: true,
            ..GenerateRequest::default()
        })?);
    }
    let mut usages = Vec::new();
    for answer in &mut answers {
        while let Some(event) = answer.wait() {
            match event {
                Event::Done { usage, .. } => usages.push(usage),
                Event::Failed(error) => return Err(error.into()),
                Event::Piece(_) => {}
            }
        }
    }
    Ok(usages)
}

/// Seconds to the first token of one request alone.
fn first(llm: &Llm, prompt: Vec<u32>) -> Result<f64> {
    Ok(serve(llm, vec![prompt], 1)?.iter().map(|usage| usage.first.as_secs_f64()).sum())
}

fn run(path: &Path, threads: usize) -> Result<()> {
    let options =
        LoadOptions { threads: Some(threads), context: Some(2048), form: None::<Form>, ..LoadOptions::default() };
    let llm = Llm::load(path, &options)?;
    serve(&llm, vec![prompt(0, 64)], 8)?;
    let best = |f: &dyn Fn(u64) -> Result<f64>| -> Result<f64> {
        (0..5).map(f).try_fold(0f64, |best, rate| Ok(best.max(rate?)))
    };
    let prefill = best(&|i| Ok(512.0 / first(&llm, prompt(100 + i, 512))?))?;
    let decode = |streams: u64, i: u64| -> Result<f64> {
        let prompts = (0..streams).map(|s| prompt(1000 + 100 * i + s, 16)).collect();
        // Each stream by its own first and last token: they begin some steps apart.
        let rates = serve(&llm, prompts, 129)?.into_iter().map(|u| 128.0 / (u.total - u.first).as_secs_f64());
        Ok(rates.sum::<f64>())
    };
    // One after the other, so that each ratio is of the same moment.
    let (mut one, mut eight, mut ratios) = (0f64, 0f64, Vec::new());
    for i in 0..5 {
        let (alone, together) = (decode(1, i)?, decode(8, i)?);
        (one, eight) = (one.max(alone), eight.max(together));
        ratios.push(together / alone);
    }
    ratios.sort_unstable_by(f64::total_cmp);
    let cold = first(&llm, prompt(7, 528))?;
    let cached = first(&llm, prompt(7, 528))?;
    println!(
        "{{\"prefill_tok_s\": {prefill:.1}, \"decode_tok_s\": {one:.1}, \"decode_8_tok_s\": {eight:.1}, \
         \"eight_over_one\": {:.2}, \"cold_ms\": {:.1}, \"cached_ms\": {:.1}, \"kv_bytes_per_token\": {}}}",
        ratios[ratios.len() / 2],
        cold * 1e3,
        cached * 1e3,
        llm.kv_bytes_per_position(),
    );
    Ok(())
}
