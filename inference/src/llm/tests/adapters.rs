//! Adapters beside networks whose weights were changed by hand, and requests with one, another and none beside each other.

use std::path::Path;

use super::*;

const RANK: usize = 4;
const ALPHA: f32 = 6.0;

/// Outputs and inputs of the maps of a layer that this adapter changes: all kinds of them but one.
const PLACES: [(&str, usize, usize); 6] = [
    ("self_attn.q_proj", HEADS * HEAD, HIDDEN),
    ("self_attn.v_proj", KV_HEADS * HEAD, HIDDEN),
    ("self_attn.o_proj", HIDDEN, HEADS * HEAD),
    ("mlp.gate_proj", FEED, HIDDEN),
    ("mlp.up_proj", FEED, HIDDEN),
    ("mlp.down_proj", HIDDEN, FEED),
];

/// Random `A` and `B` by the names that `peft` gives them.
fn parts(seed: u64) -> HashMap<String, Tensor> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut random = |rows: usize, columns: usize| {
        let values: Vec<f32> = (0..rows * columns).map(|_| rng.gen_range(-0.25..0.25)).collect();
        Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap()
    };
    let mut parts = HashMap::new();
    // The first layer stays as it is.
    for layer in 1..LAYERS {
        for (name, outputs, inputs) in PLACES {
            let name = format!("base_model.model.model.layers.{layer}.{name}");
            parts.insert(format!("{name}.lora_A.weight"), random(RANK, inputs));
            parts.insert(format!("{name}.lora_B.weight"), random(outputs, RANK));
        }
    }
    parts
}

fn saved(parts: &HashMap<String, Tensor>, config: &Value) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    candle_core::safetensors::save(parts, folder.path().join("adapter_model.safetensors")).unwrap();
    std::fs::write(folder.path().join("adapter_config.json"), config.to_string()).unwrap();
    folder
}

fn described() -> Value {
    json!({ "peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "bias": "none", "base_model_name_or_path": "small" })
}

/// The model's folder with `B A` times the scale in its weights.
fn merged(model: &Path, parts: &HashMap<String, Tensor>, scale: f64) -> tempfile::TempDir {
    let mut tensors = candle_core::safetensors::load(model.join("model.safetensors"), &Device::Cpu).unwrap();
    for layer in 1..LAYERS {
        for (name, ..) in PLACES {
            let part = |of: &str| &parts[&format!("base_model.model.model.layers.{layer}.{name}.lora_{of}.weight")];
            let change = (part("B").matmul(part("A")).unwrap() * scale).unwrap();
            let weights = tensors.get_mut(&format!("model.layers.{layer}.{name}.weight")).unwrap();
            *weights = (&*weights + change).unwrap();
        }
    }
    let folder = tempfile::tempdir().unwrap();
    candle_core::safetensors::save(&tensors, folder.path().join("model.safetensors")).unwrap();
    std::fs::copy(model.join("config.json"), folder.path().join("config.json")).unwrap();
    folder
}

#[test]
fn an_adapter_gives_the_logits_of_weights_that_were_changed() {
    let model = small_llama(None);
    let parts = parts(1);
    let threads = Threads::new(2).unwrap();
    let tokens = tokens(37);
    for (rank_stabilised, scale) in [(false, ALPHA / RANK as f32), (true, ALPHA / (RANK as f32).sqrt())] {
        let mut config = described();
        config["use_rslora"] = rank_stabilised.into();
        let folder = saved(&parts, &config);
        let unchanged = network(model.path(), None);
        let adapter = Arc::new(Adapter::load(folder.path(), &unchanged.config).unwrap());
        let ours = adapted_logits(&unchanged, &threads, KvForm::F32, &tokens, 10, Some(&adapter));
        let changed = network(merged(model.path(), &parts, f64::from(scale)).path(), None);
        let theirs = logits(&changed, &threads, KvForm::F32, &tokens, 37);
        let before = logits(&unchanged, &threads, KvForm::F32, &tokens, 37);
        let size = theirs.iter().flatten().fold(0f32, |m, x| m.max(x.abs()));
        let apart = |a: &[Vec<f32>]| {
            let pairs = a.iter().flatten().zip(theirs.iter().flatten());
            pairs.fold(0f32, |m, (a, b)| m.max((a - b).abs())) / size
        };
        assert!(apart(&ours) < 2e-5, "{}", apart(&ours));
        assert!(apart(&before) > 0.01, "{}", apart(&before));
    }
}

#[test]
fn a_place_may_have_an_alpha_of_its_own() {
    let model = small_llama(None);
    let network = network(model.path(), None);
    let mut parts = parts(1);
    let mut config = described();
    config["alpha_pattern"] = json!({ "self_attn.q_proj": 2.0 * ALPHA, "roj": 99.0 });
    let own = Adapter::load(saved(&parts, &config).path(), &network.config).unwrap();
    // The same as a query's part of twice the size.
    for (name, part) in &mut parts {
        if name.contains("q_proj.lora_B") {
            *part = (&*part * 2.0).unwrap();
        }
    }
    let expected = Adapter::load(saved(&parts, &described()).path(), &network.config).unwrap();
    let threads = Threads::new(1).unwrap();
    let with = |adapter| adapted_logits(&network, &threads, KvForm::F32, &tokens(9), 9, Some(&Arc::new(adapter)));
    assert_eq!(with(own), with(expected));
}

#[test]
fn requests_with_one_adapter_another_and_none_do_not_touch_each_other() {
    let model = small_llama(None);
    let (first, second) = (saved(&parts(1), &described()), saved(&parts(2), &described()));
    let with_both = |pages, running| {
        let engine = engine(model.path(), pages, running);
        let config = network(model.path(), None).config;
        engine.add_adapter("first", Adapter::load(first.path(), &config).unwrap()).unwrap();
        engine.add_adapter("second", Adapter::load(second.path(), &config).unwrap()).unwrap();
        engine
    };
    // Forty pages are too few for twenty of them, so that some are computed again.
    let (alone, together) = (with_both(20, 1), with_both(40, 20));
    let asked = |seed: u64| {
        let adapter = [None, Some("first"), Some("second")][seed as usize % 3].map(str::to_owned);
        // Three of them have each prompt: a page of one must never be another's.
        GenerateRequest { adapter, sampling: Sampling { seed, ..Sampling::default() }, ..request(seed / 3) }
    };
    let answers: Vec<Answer> = (0..48).map(|seed| together.generate(asked(seed)).unwrap()).collect();
    let told: Vec<Vec<u32>> = answers.into_iter().map(|mut answer| collect(&mut answer).0).collect();
    for (seed, found) in told.iter().enumerate() {
        assert_eq!(*found, collect(&mut alone.generate(asked(seed as u64)).unwrap()).0, "{seed}");
    }
    let differ = |a: usize, b: usize| told.chunks(3).filter(|three| three[a] != three[b]).count();
    assert!(differ(0, 1) > 8 && differ(1, 2) > 8 && differ(0, 2) > 8);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let GenerateRequest { prompt, sampling, adapter, .. } = asked(1);
    let tokens: Vec<u32> = prompt.iter().chain(&told[1]).copied().collect();
    let replay = ReplayRequest { tokens, answer: prompt.len(), sampling, constraint: None, adapter };
    let drawn: Vec<u32> = runtime.block_on(together.replay(replay)).unwrap().tokens.iter().map(|t| t.drawn).collect();
    assert_eq!(drawn, told[1]);
    together.remove_adapter("first").unwrap();
    let mut answer = together.generate(asked(1)).unwrap();
    assert_eq!(answer.wait(), Some(Event::Failed(GenerateError::Adapter("first".to_owned()))));
}

#[test]
fn what_is_no_adapter_for_this_model_is_refused_by_name() {
    let config = network(small_llama(None).path(), None).config;
    let error = |parts: &HashMap<String, Tensor>, described: Value| {
        Adapter::load(saved(parts, &described).path(), &config).unwrap_err().to_string()
    };
    let with = |key: &str, value: Value| {
        let mut config = described();
        config[key] = value;
        config
    };
    let right = parts(1);
    for (key, value, expected) in [
        ("r", json!(0), "`r` lies in 1 to 1024"),
        ("r", json!(1 << 20), "`r` lies in 1 to 1024"),
        ("r", json!(5), "lora_A"),
        ("use_dora", json!(true), "no DoRA"),
        ("bias", json!("all"), "biases"),
        ("lora_bias", json!(true), "biases"),
        ("peft_type", json!("IA3"), "expected `peft_type` LORA"),
        ("rank_pattern", json!({ "q_proj": 5 }), "q_proj.lora_A"),
        ("rank_pattern", json!({ "q_proj": 0 }), "`r` lies in 1 to 1024"),
        ("alpha_pattern", json!({ ".*q_proj": 5 }), "the end of a name"),
        ("alpha_pattern", json!({ "q_proj": 5, "self_attn.q_proj": 6 }), "two things"),
        ("modules_to_save", json!(["lm_head"]), "saved modules"),
        ("lora_alpha", json!("much"), "adapter_config.json"),
    ] {
        let error = error(&right, with(key, value));
        assert!(error.contains(expected), "{key}: {error}");
    }
    let mut other = right.clone();
    let key = "base_model.model.model.layers.1.mlp.up_proj.lora_B.weight";
    let half = other.remove(key).unwrap();
    assert!(error(&other, described()).contains(key), "{}", error(&other, described()));
    other.insert(key.replace("layers.1", "layers.9"), half);
    assert!(error(&other, described()).contains("lora_B"), "{}", error(&other, described()));
    let mut stray = right.clone();
    stray.insert(
        "base_model.model.lm_head.lora_A.weight".to_owned(),
        Tensor::zeros((RANK, HIDDEN), DType::F32, &Device::Cpu).unwrap(),
    );
    assert!(error(&stray, described()).contains("25 tensors are there, 24 of them"), "{}", error(&stray, described()));
    assert!(error(&HashMap::new(), json!({})).contains("adapter_config.json"));
}
