//! The network beside `candle-transformers`' on the same random weights, and the engine beside itself.

mod adapters;

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models as peer;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::{
    adapter::Adapter,
    arena::{Arena, PAGE},
    matrix::Panels,
    network::{Network, Run, Scratch},
    source::Source,
    threads::Threads,
    *,
};

const VOCABULARY: usize = 97;

#[test]
fn the_genesis_model_says_the_same_in_candle_transformers() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../assets/gloss");
    let llm =
        Llm::load(&folder, &LoadOptions { form: Some(Form::F32), kv_form: KvForm::F32, ..LoadOptions::default() })
            .unwrap();
    let text = std::fs::read_to_string(folder.join("config.json")).unwrap();
    let config = serde_json::from_str::<peer::llama::LlamaConfig>(&text).unwrap().into_config(false);
    let tensors = candle_core::safetensors::load(folder.join("model.safetensors"), &Device::Cpu).unwrap();
    let weights = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
    let model = peer::llama::Llama::load(weights, &config).unwrap();
    for question in ["What does \"river\" mean?", "What is 12 + 7?", "Define \"stone\"."] {
        let turn = json!({ "role": "user", "content": question });
        let prompt = llm.codec.template().unwrap().render::<_, ()>(&[turn], None).unwrap();
        let prompt = llm.codec.encode_as_is(&prompt).unwrap();
        let request =
            GenerateRequest { prompt: prompt.clone(), max_tokens: 24, ignore_end: true, ..GenerateRequest::default() };
        let mut answer = llm.engine.generate(request).unwrap();
        let mut ours = Vec::new();
        while let Some(event) = answer.wait() {
            if let Event::Piece(piece) = event {
                ours.push(piece.token);
            }
        }
        let mut cache = peer::llama::Cache::new(true, DType::F32, &config, &Device::Cpu).unwrap();
        let (mut next, mut at, mut theirs) = (prompt, 0, Vec::new());
        for _ in 0..24 {
            let input = Tensor::new(next.as_slice(), &Device::Cpu).unwrap().unsqueeze(0).unwrap();
            let logits = model.forward(&input, at, &mut cache).unwrap().flatten_all().unwrap();
            let token = logits.argmax(0).unwrap().to_scalar::<u32>().unwrap();
            at += next.len();
            next = vec![token];
            theirs.push(token);
        }
        assert_eq!(ours, theirs, "{question}");
    }
}

/// A folder with a description and random weights under the given names and shapes.
fn folder(config: &Value, shapes: &[(String, Vec<usize>)]) -> tempfile::TempDir {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let tensors: HashMap<String, Tensor> = shapes
        .iter()
        .map(|(name, shape)| {
            let norm = name.contains("norm");
            let size = if norm { 0.2 } else { (3.0 / *shape.last().unwrap() as f32).sqrt() };
            let values: Vec<f32> = (0..shape.iter().product::<usize>())
                .map(|_| rng.gen_range(-size..size) + if norm && name.ends_with("weight") { 1.0 } else { 0.0 })
                .collect();
            (name.clone(), Tensor::from_vec(values, shape.clone(), &Device::Cpu).unwrap())
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    candle_core::safetensors::save(&tensors, folder.path().join("model.safetensors")).unwrap();
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    folder
}

struct Case {
    name: &'static str,
    config: Value,
    /// Biases on queries, keys and values.
    qkv_bias: bool,
    head_norms: bool,
    post_norms: bool,
    tied: bool,
}

const HIDDEN: usize = 64;
const FEED: usize = 112;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const HEAD: usize = 24;
const LAYERS: usize = 3;

fn shapes(case: &Case, head: usize) -> Vec<(String, Vec<usize>)> {
    let (q, kv) = (HEADS * head, KV_HEADS * head);
    let mut all = vec![
        ("model.embed_tokens.weight".to_owned(), vec![VOCABULARY, HIDDEN]),
        ("model.norm.weight".to_owned(), vec![HIDDEN]),
    ];
    if !case.tied {
        all.push(("lm_head.weight".to_owned(), vec![VOCABULARY, HIDDEN]));
    }
    for layer in 0..LAYERS {
        let mut add = |name: &str, shape: &[usize]| all.push((format!("model.layers.{layer}.{name}"), shape.to_vec()));
        if case.name == "phi3" {
            add("self_attn.qkv_proj.weight", &[q + 2 * kv, HIDDEN]);
            add("mlp.gate_up_proj.weight", &[2 * FEED, HIDDEN]);
        } else {
            for (name, width) in [("q", q), ("k", kv), ("v", kv)] {
                add(&format!("self_attn.{name}_proj.weight"), &[width, HIDDEN]);
                if case.qkv_bias {
                    add(&format!("self_attn.{name}_proj.bias"), &[width]);
                }
            }
            add("mlp.gate_proj.weight", &[FEED, HIDDEN]);
            add("mlp.up_proj.weight", &[FEED, HIDDEN]);
        }
        add("self_attn.o_proj.weight", &[HIDDEN, q]);
        add("mlp.down_proj.weight", &[HIDDEN, FEED]);
        add("input_layernorm.weight", &[HIDDEN]);
        add("post_attention_layernorm.weight", &[HIDDEN]);
        if case.head_norms {
            add("self_attn.q_norm.weight", &[head]);
            add("self_attn.k_norm.weight", &[head]);
        }
        if case.post_norms {
            add("pre_feedforward_layernorm.weight", &[HIDDEN]);
            add("post_feedforward_layernorm.weight", &[HIDDEN]);
        }
    }
    all
}

fn common(kind: &str, more: Value) -> Value {
    let mut config = json!({
        "model_type": kind, "vocab_size": VOCABULARY, "hidden_size": HIDDEN, "intermediate_size": FEED,
        "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS,
        "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
        "use_flash_attn": false, "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": 2,
    });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    config
}

fn tokens(n: usize) -> Vec<u32> {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    (0..n).map(|_| rng.gen_range(0..VOCABULARY as u32)).collect()
}

fn network(folder: &std::path::Path, form: Option<Form>) -> Network {
    load::network(&Source::open(folder).unwrap(), form, 256).unwrap()
}

/// Logits of all tokens, computed `step` rows at a time.
fn logits(network: &Network, threads: &Threads, kv: KvForm, tokens: &[u32], step: usize) -> Vec<Vec<f32>> {
    adapted_logits(network, threads, kv, tokens, step, None)
}

fn adapted_logits(
    network: &Network,
    threads: &Threads,
    kv: KvForm,
    tokens: &[u32],
    step: usize,
    adapter: Option<&Arc<Adapter>>,
) -> Vec<Vec<f32>> {
    let c = &network.config;
    let mut arena = Arena::new(kv, 20, c.layers, c.kv_heads, c.head_dim);
    let pages: Vec<u32> = (0..tokens.len().div_ceil(PAGE)).map(|_| arena.take().unwrap()).collect();
    let mut all = Vec::new();
    let (mut scratch, mut out) = (Scratch::default(), Panels::default());
    for (i, tokens) in tokens.chunks(step).enumerate() {
        let run = Run { tokens, position: i * step, pages: &pages, wanted: 0..tokens.len(), adapter };
        network.forward(threads, &mut arena, &[run], &mut scratch, &mut out);
        all.extend((0..tokens.len()).map(|row| {
            let mut logits = vec![0.0; c.vocabulary];
            out.read(row, 0, &mut logits);
            logits
        }));
    }
    all
}

/// The largest difference to the peer's last logits, over their size.
fn apart(ours: &[f32], theirs: &Tensor) -> f32 {
    let theirs = theirs.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let theirs = &theirs[theirs.len() - ours.len()..];
    let size = theirs.iter().fold(0f32, |m, x| m.max(x.abs()));
    ours.iter().zip(theirs).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / size
}

#[test]
fn every_family_gives_the_logits_of_candle_transformers() {
    let head = json!({ "head_dim": HEAD });
    let case = |name, config, qkv_bias, head_norms, post_norms, tied| Case {
        name,
        config,
        qkv_bias,
        head_norms,
        post_norms,
        tied,
    };
    let gemma = |kind: &str, more: Value| {
        let mut config = common(
            kind,
            json!({ "head_dim": HEAD, "hidden_activation": "gelu_pytorch_tanh", "attention_bias": false, "tie_word_embeddings": true }),
        );
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        config.as_object_mut().unwrap().remove("hidden_act");
        config
    };
    let llama3 = json!({ "rope_scaling": { "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64 } });
    let cases = [
        case("llama", common("llama", llama3), false, false, false, false),
        case(
            "mistral",
            common("mistral", json!({ "head_dim": HEAD, "sliding_window": 14 })),
            false,
            false,
            false,
            false,
        ),
        case(
            "qwen2",
            common(
                "qwen2",
                json!({ "sliding_window": 128, "max_window_layers": 3, "use_sliding_window": false, "tie_word_embeddings": true }),
            ),
            true,
            false,
            false,
            true,
        ),
        case(
            "qwen3",
            common(
                "qwen3",
                json!({ "head_dim": HEAD, "attention_bias": false, "max_window_layers": 3, "use_sliding_window": false }),
            ),
            false,
            true,
            false,
            false,
        ),
        case("gemma", gemma("gemma", head.clone()), false, false, false, true),
        case(
            "gemma2",
            gemma(
                "gemma2",
                json!({ "attn_logit_softcapping": 20.0, "final_logit_softcapping": 10.0, "query_pre_attn_scalar": 24, "sliding_window": 256 }),
            ),
            false,
            false,
            true,
            true,
        ),
        case(
            "gemma3",
            gemma(
                "gemma3_text",
                json!({ "query_pre_attn_scalar": 24, "sliding_window": 256, "sliding_window_pattern": 3, "rope_local_base_freq": 5000.0 }),
            ),
            false,
            true,
            true,
            true,
        ),
        case("phi3", common("phi3", json!({})), false, false, false, false),
    ];
    let threads = Threads::new(2).unwrap();
    let tokens = tokens(37);
    let input = Tensor::new(&tokens[..], &Device::Cpu).unwrap().unsqueeze(0).unwrap();
    for case in &cases {
        let own_head = case.config["head_dim"].as_u64().map_or(HIDDEN / HEADS, |d| d as usize);
        let folder = folder(&case.config, &shapes(case, own_head));
        let tensors = candle_core::safetensors::load(folder.path().join("model.safetensors"), &Device::Cpu).unwrap();
        let weights = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
        let mut text = case.config.to_string();
        if case.name == "mistral" {
            // The peer's window has the position itself on top.
            text = text.replace("\"sliding_window\":14", "\"sliding_window\":13");
        }
        macro_rules! config {
            ($t:ty) => {
                serde_json::from_str::<$t>(&text).unwrap()
            };
        }
        let theirs = match case.name {
            "llama" => {
                let config = config!(peer::llama::LlamaConfig).into_config(false);
                let mut cache = peer::llama::Cache::new(false, DType::F32, &config, &Device::Cpu).unwrap();
                peer::llama::Llama::load(weights, &config).unwrap().forward(&input, 0, &mut cache)
            }
            "mistral" => {
                peer::mistral::Model::new(&config!(peer::mistral::Config), weights).unwrap().forward(&input, 0)
            }
            "qwen2" => {
                peer::qwen2::ModelForCausalLM::new(&config!(peer::qwen2::Config), weights).unwrap().forward(&input, 0)
            }
            "qwen3" => {
                peer::qwen3::ModelForCausalLM::new(&config!(peer::qwen3::Config), weights).unwrap().forward(&input, 0)
            }
            "gemma" => {
                peer::gemma::Model::new(false, &config!(peer::gemma::Config), weights).unwrap().forward(&input, 0)
            }
            "gemma2" => {
                peer::gemma2::Model::new(false, &config!(peer::gemma2::Config), weights).unwrap().forward(&input, 0)
            }
            "gemma3" => {
                // Token by token: the peer takes several heads' values of several tokens for contiguous.
                let mut model = peer::gemma3::Model::new(false, &config!(peer::gemma3::Config), weights).unwrap();
                let step = |(i, t): (usize, &u32)| model.forward(&Tensor::new(&[[*t]], &Device::Cpu).unwrap(), i);
                tokens.iter().enumerate().map(step).last().unwrap()
            }
            "phi3" => peer::phi3::Model::new(&config!(peer::phi3::Config), weights).unwrap().forward(&input, 0),
            other => unreachable!("{other}"),
        };
        let ours = logits(&network(folder.path(), None), &threads, KvForm::F32, &tokens, 37);
        let apart = apart(ours.last().unwrap(), &theirs.unwrap());
        assert!(apart < 2e-5, "{}: {apart}", case.name);
    }
}

#[test]
fn phi_gives_the_logits_of_candle_transformers() {
    let config = json!({
        "model_type": "phi", "vocab_size": VOCABULARY, "hidden_size": HIDDEN, "intermediate_size": FEED,
        "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": HEADS,
        "max_position_embeddings": 256, "layer_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "gelu_new",
        "partial_rotary_factor": 0.5, "qk_layernorm": false, "tie_word_embeddings": false,
    });
    let mut shapes = vec![
        ("model.embed_tokens.weight".to_owned(), vec![VOCABULARY, HIDDEN]),
        ("lm_head.weight".to_owned(), vec![VOCABULARY, HIDDEN]),
        ("lm_head.bias".to_owned(), vec![VOCABULARY]),
        ("model.final_layernorm.weight".to_owned(), vec![HIDDEN]),
        ("model.final_layernorm.bias".to_owned(), vec![HIDDEN]),
    ];
    for layer in 0..LAYERS {
        for (name, out, inputs) in [
            ("self_attn.q_proj", HIDDEN, HIDDEN),
            ("self_attn.k_proj", HIDDEN, HIDDEN),
            ("self_attn.v_proj", HIDDEN, HIDDEN),
            ("self_attn.dense", HIDDEN, HIDDEN),
            ("mlp.fc1", FEED, HIDDEN),
            ("mlp.fc2", HIDDEN, FEED),
        ] {
            shapes.push((format!("model.layers.{layer}.{name}.weight"), vec![out, inputs]));
            shapes.push((format!("model.layers.{layer}.{name}.bias"), vec![out]));
        }
        shapes.push((format!("model.layers.{layer}.input_layernorm.weight"), vec![HIDDEN]));
        shapes.push((format!("model.layers.{layer}.input_layernorm.bias"), vec![HIDDEN]));
    }
    let folder = folder(&config, &shapes);
    let tensors = candle_core::safetensors::load(folder.path().join("model.safetensors"), &Device::Cpu).unwrap();
    let weights = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
    let tokens = tokens(37);
    let input = Tensor::new(&tokens[..], &Device::Cpu).unwrap().unsqueeze(0).unwrap();
    let theirs =
        peer::phi::Model::new(&serde_json::from_value(config).unwrap(), weights).unwrap().forward(&input).unwrap();
    let ours = logits(&network(folder.path(), None), &Threads::new(2).unwrap(), KvForm::F32, &tokens, 37);
    let apart = apart(ours.last().unwrap(), &theirs);
    assert!(apart < 2e-5, "{apart}");
}

fn small_llama(window: Option<usize>) -> tempfile::TempDir {
    let config = common("mistral", json!({ "sliding_window": window, "head_dim": HEAD }));
    let case = Case {
        name: "mistral",
        config: config.clone(),
        qkv_bias: false,
        head_norms: false,
        post_norms: false,
        tied: false,
    };
    folder(&config, &shapes(&case, HEAD))
}

#[test]
fn a_description_that_lies_about_its_weights_is_refused() {
    let case = |kind: &'static str, more: Value| Case {
        name: kind,
        config: common(kind, more),
        qkv_bias: false,
        head_norms: false,
        post_norms: false,
        tied: false,
    };
    let refusal = |kind: &'static str, more: Value, stray: &[&str]| {
        let case = case(kind, more);
        let mut shapes = shapes(&case, HEAD);
        shapes.extend(stray.iter().map(|name| ((*name).to_owned(), vec![2])));
        let folder = folder(&case.config, &shapes);
        load::network(&Source::open(folder.path()).unwrap(), None, 1).map(drop).map_err(|e| e.to_string())
    };
    let head = json!({ "head_dim": HEAD });
    refusal("llama", head.clone(), &["model.layers.0.self_attn.rotary_emb.inv_freq"]).unwrap();
    let fewer = refusal("llama", json!({ "head_dim": HEAD, "num_hidden_layers": LAYERS - 1 }), &[]).unwrap_err();
    assert!(fewer.contains("`model.layers.2.") && fewer.contains("9 such tensors"), "{fewer}");
    let other = refusal("llama", head.clone(), &["vision.weight"]).unwrap_err();
    assert!(other.contains("`vision.weight` belongs to no part"), "{other}");
    for (kind, more) in [("qwen2", head), ("llama", json!({ "head_dim": HEAD, "attention_bias": true }))] {
        let bare = refusal(kind, more, &[]).unwrap_err();
        assert!(bare.contains("`model.layers.0.self_attn.q_proj.bias` is missing"), "{bare}");
    }
}

#[test]
fn what_is_neither_a_file_nor_a_folder_is_not_waited_for() {
    let folder = small_llama(None);
    regular(folder.path()).unwrap();
    // A socket stands in a folder as a pipe does.
    let socket = folder.path().join("generation_config.json");
    let _held = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for path in [folder.path(), &socket] {
        let error = Source::open(path).unwrap_err().to_string();
        assert!(error.contains("generation_config.json: neither a file nor a folder"), "{error}");
    }
}

#[test]
fn the_same_bits_token_by_token_in_chunks_and_on_any_lanes_and_threads() {
    let tokens = tokens(150);
    for (window, kv, form) in
        [(None, KvForm::F16, None), (Some(21), KvForm::F32, Some(Form::F16)), (Some(70), KvForm::F16, None)]
    {
        let folder = small_llama(window);
        let network = network(folder.path(), form);
        let reference = logits(&network, &Threads::with_level(1, Level::Portable).unwrap(), kv, &tokens, 150);
        for level in Level::all() {
            for threads in [1, 2] {
                for step in [1, 7, 64, 150] {
                    let threads = Threads::with_level(threads, *level).unwrap();
                    let found = logits(&network, &threads, kv, &tokens, step);
                    let same =
                        found.iter().flatten().zip(reference.iter().flatten()).all(|(a, b)| a.to_bits() == b.to_bits());
                    assert!(same, "{window:?} {kv:?} {level:?} {step}");
                }
            }
        }
    }
}

fn engine(folder: &std::path::Path, pages: usize, running: usize) -> Engine {
    let network = network(folder, None);
    let c = &network.config;
    let bytes = arena::page_bytes(KvForm::F16, c.layers, c.kv_heads, c.head_dim);
    let options = EngineOptions {
        threads: 2,
        context: 200,
        kv_bytes: bytes * pages as u64,
        kv_form: KvForm::F16,
        step_rows: 32,
        prompt_rows: 8,
        running,
        waiting: 100,
    };
    Engine::start(network, None, options).unwrap()
}

fn collect(answer: &mut Answer) -> (Vec<u32>, Option<Finish>, Option<engine::Usage>) {
    let mut tokens = Vec::new();
    while let Some(event) = answer.wait() {
        match event {
            Event::Piece(piece) => tokens.push(piece.token),
            Event::Done { finish, usage, .. } => return (tokens, Some(finish), Some(usage)),
            Event::Failed(error) => panic!("{error}"),
        }
    }
    (tokens, None, None)
}

fn request(seed: u64) -> GenerateRequest {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let n = rng.gen_range(1..90);
    GenerateRequest {
        prompt: (0..n).map(|_| rng.gen_range(3..VOCABULARY as u32)).collect(),
        sampling: Sampling { temperature: if seed.is_multiple_of(2) { 0.0 } else { 0.9 }, seed, ..Sampling::default() },
        max_tokens: rng.gen_range(1..100),
        ignore_end: true,
        priority: rng.gen_range(0..3),
        ..GenerateRequest::default()
    }
}

#[test]
fn sixty_four_mixed_requests_get_together_what_each_gets_alone() {
    let folder = small_llama(None);
    let alone = engine(folder.path(), 20, 1);
    let together = engine(folder.path(), 60, 20);
    let mut answers: Vec<Answer> = (0..64).map(|s| together.generate(request(s)).unwrap()).collect();
    for (seed, answer) in answers.iter_mut().enumerate() {
        let (expected, _, _) = collect(&mut alone.generate(request(seed as u64)).unwrap());
        assert_eq!(expected.len(), request(seed as u64).max_tokens);
        let (found, finish, _) = collect(answer);
        assert_eq!((found, finish), (expected, Some(Finish::Length)), "{seed}");
    }
    // Sixty pages are too few for twenty of them: some had to give way and be computed again.
    assert!(together.counters().preemptions.load(std::sync::atomic::Ordering::Relaxed) > 0);
    assert_eq!(pages_held(&together), 0);
}

#[test]
fn a_long_prompt_comes_in_small_pieces_beside_those_that_decode() {
    let folder = small_llama(None);
    let engine = engine(folder.path(), 60, 4);
    let ask = |prompt: usize, max_tokens: usize| {
        // No prompt begins as one shortly before, or it would come from the cache.
        static ASKED: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let asked = ASKED.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let first = 3 + asked % (VOCABULARY as u32 - 3);
        let request =
            GenerateRequest { prompt: vec![first; prompt], max_tokens, ignore_end: true, ..Default::default() };
        engine.generate(request).unwrap()
    };
    let steps = || engine.counters().steps.load(std::sync::atomic::Ordering::Relaxed);
    // The machine may be so busy that the first answer is over before the other is asked for.
    let beside = (0..50).find_map(|_| {
        let began = steps();
        let mut decoding = ask(1, 190);
        assert!(matches!(decoding.wait(), Some(Event::Piece(_))));
        let before = steps();
        assert_eq!(collect(&mut ask(80, 1)).0.len(), 1);
        let after = steps();
        assert_eq!(collect(&mut decoding).0.len(), 189);
        (after - began < 190).then_some(after - before)
    });
    let beside = beside.expect("one of fifty answers is still drawn when another has begun");
    assert!(beside >= 10, "80 rows in pieces of 8, found {beside} steps");
    let before = steps();
    collect(&mut ask(80, 1));
    assert_eq!(steps() - before, 3, "80 rows in pieces of 32");
}

#[test]
fn who_waits_for_the_first_step_takes_what_others_computed_meanwhile() {
    let folder = small_llama(None);
    let engine = engine(folder.path(), 60, 4);
    let count = |of: &std::sync::atomic::AtomicUsize| of.load(std::sync::atomic::Ordering::Relaxed);
    // Three at once, behind one that decodes, whose prompts differ at their ends alone. Five full pages are the same; a
    // step that ends the first prompt has begun the next page of the second, too.
    let prompt = |last: u32| (0..5 * arena::PAGE as u32 + 2).map(|i| 3 + i % 60).chain([last]).collect::<Vec<_>>();
    let ask = |prompt: Vec<u32>, max_tokens: usize| {
        let request = GenerateRequest { prompt, max_tokens, ignore_end: true, ..Default::default() };
        engine.generate(request).unwrap()
    };
    let mut before = ask(vec![90], 190);
    assert!(matches!(before.wait(), Some(Event::Piece(_))));
    let mut answers: Vec<Answer> = (70..73).map(|last| ask(prompt(last), 4)).collect();
    let usages: Vec<engine::Usage> = answers.iter_mut().map(|answer| collect(answer).2.unwrap()).collect();
    assert_eq!(usages[0].cached, 0);
    for usage in &usages[1..] {
        // Of the sixth page at most what one piece holds was computed first.
        assert!((5 * arena::PAGE - 8..=5 * arena::PAGE).contains(&usage.cached), "{usages:?}");
    }
    collect(&mut before);
    let counters = engine.counters();
    let prompts: usize = usages.iter().map(|usage| usage.prompt).sum();
    assert_eq!(count(&counters.prompt_tokens) + count(&counters.cached_tokens), 1 + prompts);
    assert_eq!(pages_held(&engine), 0);
}

#[test]
fn a_replay_draws_what_was_drawn_and_sees_what_was_not() {
    let folder = small_llama(None);
    let engine = engine(folder.path(), 40, 4);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for seed in 0..20 {
        let request = request(seed);
        let (answer, _, _) = collect(&mut engine.generate(request.clone()).unwrap());
        let replay = |tokens: Vec<u32>| {
            let request = ReplayRequest {
                tokens,
                answer: request.prompt.len(),
                sampling: request.sampling.clone(),
                constraint: None,
                adapter: None,
            };
            runtime.block_on(engine.replay(request)).unwrap()
        };
        let mut tokens: Vec<u32> = request.prompt.iter().chain(&answer).copied().collect();
        let drawn: Vec<u32> = replay(tokens.clone()).tokens.iter().map(|r| r.drawn).collect();
        assert_eq!(drawn, answer);
        let at = request.prompt.len() + answer.len() / 2;
        tokens[at] = (tokens[at] + 1) % VOCABULARY as u32;
        let replayed = replay(tokens);
        assert_ne!(replayed.tokens[answer.len() / 2].drawn, (answer[answer.len() / 2] + 1) % VOCABULARY as u32);
    }
}

/// Tokens and the hash of their activations, or why there are none.
fn told(engine: &Engine, request: GenerateRequest) -> Result<(Vec<u32>, [u8; 32]), GenerateError> {
    let mut answer = engine.generate(request)?;
    let mut tokens = Vec::new();
    while let Some(event) = answer.wait() {
        match event {
            Event::Piece(piece) => tokens.push(piece.token),
            Event::Done { activations, .. } => return Ok((tokens, activations)),
            Event::Failed(error) => return Err(error),
        }
    }
    Err(GenerateError::Stopped)
}

#[test]
fn an_answer_goes_on_from_any_token_as_if_it_had_never_stopped() {
    let folder = small_llama(None);
    let (one, other) = (engine(folder.path(), 20, 1), engine(folder.path(), 40, 4));
    for seed in 0..20 {
        let request = request(seed);
        let whole = told(&one, request.clone()).unwrap();
        for cut in [0, 1, whole.0.len() / 2, whole.0.len() - 1] {
            let resume = whole.0[..cut].to_vec();
            assert_eq!(told(&other, GenerateRequest { resume, ..request.clone() }).unwrap(), whole, "{seed} {cut}");
        }
        let mut bent = whole.0[..whole.0.len() - 1].to_vec();
        let Some(last) = bent.last_mut() else { continue };
        *last = (*last + 1) % VOCABULARY as u32;
        let at = bent.len() - 1;
        let error = told(&other, GenerateRequest { resume: bent, ..request }).unwrap_err();
        assert!(matches!(error, GenerateError::Resume { at: found, .. } if found == at), "{error}");
    }
}

#[test]
fn activations_tell_weights_and_prompts_apart_where_tokens_do_not() {
    let folder = small_llama(None);
    let engine = engine(folder.path(), 40, 4);
    let rounded = {
        let network = network(folder.path(), Some(Form::F16));
        Engine::start(network, None, engine.options().clone()).unwrap()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut alike = 0;
    for seed in 0..20 {
        let request = request(seed);
        let (tokens, activations) = told(&engine, request.clone()).unwrap();
        let (others, rounded) = told(&rounded, request.clone()).unwrap();
        alike += usize::from(tokens == others);
        assert_ne!(activations, rounded);
        let replay = |prompt: &[u32]| {
            let tokens = prompt.iter().chain(&tokens).copied().collect();
            let answer = prompt.len();
            let sampling = request.sampling.clone();
            runtime
                .block_on(engine.replay(ReplayRequest { tokens, answer, sampling, constraint: None, adapter: None }))
                .unwrap()
        };
        assert_eq!(replay(&request.prompt).activations, activations);
        let mut edited = request.prompt.clone();
        edited[0] = edited[0] % 90 + 4;
        assert_ne!(replay(&edited).activations, activations);
    }
    assert!(alike > 0, "tokens alone would tell them apart");
}

/// Pages in use once the engine has come to rest: the last answer is told before its pages are given back, and whoever
/// listens wakes before a thread in the background goes on.
fn pages_held(engine: &Engine) -> usize {
    let used = || engine.counters().pages_used.load(std::sync::atomic::Ordering::Relaxed);
    (0..1000).take_while(|_| used() > 0).for_each(|_| std::thread::sleep(std::time::Duration::from_millis(10)));
    used()
}

#[test]
fn a_text_has_one_vector_alone_beside_others_and_after_giving_way() {
    let folder = small_llama(None);
    // Twenty pages are too few for eight of these.
    let (alone, crowded) = (engine(folder.path(), 40, 1), engine(folder.path(), 20, 8));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let texts: Vec<Vec<u32>> = (0..12).map(|seed| request(seed).prompt).collect();
    let mut answers: Vec<Answer> = (0..8).map(|seed| crowded.generate(request(seed)).unwrap()).collect();
    let vectors = runtime.block_on(futures::future::join_all(texts.iter().map(|text| crowded.embed(text.clone()))));
    for (text, vector) in texts.iter().zip(vectors) {
        let vector = vector.unwrap();
        assert_eq!(vector, runtime.block_on(alone.embed(text.clone())).unwrap());
        let length: f32 = vector.iter().map(|x| x * x).sum();
        assert!((length - 1.0).abs() < 1e-5, "{length}");
    }
    assert!(texts.windows(2).all(|pair| pair[0] != pair[1]));
    answers.iter_mut().for_each(|answer| drop(collect(answer)));
    assert_eq!(pages_held(&crowded), 0);
    for wrong in [Vec::new(), vec![VOCABULARY as u32], vec![5; 201]] {
        assert!(runtime.block_on(alone.embed(wrong)).unwrap_err().is_callers_fault());
    }
    assert_eq!(runtime.block_on(alone.embed(vec![5; 200])).unwrap().len(), HIDDEN);
}

#[test]
fn a_prompt_that_was_seen_is_not_computed_again() {
    let folder = small_llama(None);
    let engine = engine(folder.path(), 40, 4);
    let request =
        GenerateRequest { prompt: tokens(100), max_tokens: 3, ignore_end: true, ..GenerateRequest::default() };
    let (first, _, usage) = collect(&mut engine.generate(request.clone()).unwrap());
    assert_eq!(usage.unwrap().cached, 0);
    let (second, _, usage) = collect(&mut engine.generate(request).unwrap());
    assert_eq!(usage.unwrap().cached, 96);
    assert_eq!(first, second);
}

#[test]
fn what_cannot_be_served_is_refused_at_once() {
    let folder = small_llama(None);
    let engine = engine(folder.path(), 40, 1);
    let base = GenerateRequest { prompt: vec![3], max_tokens: 1, ..GenerateRequest::default() };
    let error = |r: GenerateRequest| engine.generate(r).unwrap_err();
    assert_eq!(error(GenerateRequest { prompt: vec![], ..base.clone() }), GenerateError::Empty);
    assert!(matches!(
        error(GenerateRequest { prompt: vec![97], ..base.clone() }),
        GenerateError::Token { token: 97, .. }
    ));
    assert!(matches!(error(GenerateRequest { max_tokens: 200, ..base.clone() }), GenerateError::TooLong { .. }));
    assert!(matches!(error(GenerateRequest { max_tokens: usize::MAX, ..base.clone() }), GenerateError::TooLong { .. }));
    let hot = Sampling { temperature: 3.0, ..Sampling::default() };
    assert!(error(GenerateRequest { sampling: hot, ..base.clone() }).is_callers_fault());
    let mut answer = engine.generate(GenerateRequest { adapter: Some("none".to_owned()), ..base.clone() }).unwrap();
    assert_eq!(answer.wait(), Some(Event::Failed(GenerateError::Adapter("none".to_owned()))));
    let late = GenerateRequest { deadline: Some(std::time::Instant::now()), ..base.clone() };
    assert_eq!(engine.generate(late).unwrap().wait(), Some(Event::Failed(GenerateError::Deadline)));
    // The queue is bounded, and those who went away leave it.
    let long = GenerateRequest { max_tokens: 190, ignore_end: true, ..base };
    let answers: Vec<_> = (0..150).map(|_| engine.generate(long.clone())).collect();
    assert!(answers.iter().any(|a| matches!(a, Err(GenerateError::Busy { .. }))));
    drop(answers);
    let (tokens, _, _) =
        collect(&mut engine.generate(GenerateRequest { max_tokens: 5, ..long }).unwrap_or_else(|_| {
            std::thread::sleep(std::time::Duration::from_millis(500));
            engine
                .generate(GenerateRequest {
                    prompt: vec![3],
                    max_tokens: 5,
                    ignore_end: true,
                    ..GenerateRequest::default()
                })
                .unwrap()
        }));
    assert_eq!(tokens.len(), 5);
}

#[test]
fn broken_files_are_refused_by_name() {
    let folder = small_llama(None);
    let path: PathBuf = folder.path().join("model.safetensors");
    let whole = std::fs::read(&path).unwrap();
    let open = || Source::open(folder.path()).and_then(|s| load::network(&s, None, 16)).unwrap_err().to_string();
    std::fs::write(&path, &whole[..whole.len() - 100]).unwrap();
    assert!(open().contains("safetensors"), "{}", open());
    std::fs::write(&path, [0xff; 64]).unwrap();
    assert!(open().contains("header"), "{}", open());
    std::fs::write(&path, &whole).unwrap();
    let config = folder.path().join("config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("\"vocab_size\":97", "\"vocab_size\":98")).unwrap();
    assert!(open().contains("model.embed_tokens.weight"), "{}", open());
    std::fs::write(&config, text.replace("\"model_type\":\"mistral\"", "\"model_type\":\"mamba\"")).unwrap();
    assert!(open().contains("mamba"), "{}", open());
    std::fs::write(&config, "{").unwrap();
    assert!(open().contains("config.json"), "{}", open());
}
