//! What a file or folder is, before anything of it is loaded.
//!
//! Headers and descriptions are read, weights are not. A model that can be run is told with what it needs and about how
//! fast it will be here; one that cannot is told with the reason.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use assay_primitives::text::ModelFile;
use serde::Serialize;

use crate::{
    llm::{self, Format, LoadOptions, Speed},
    memory::available_memory,
    onnx::{OnnxModel, Port},
};

/// What a model does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Text from text.
    LanguageModel,
    /// A change to a language model.
    Adapter,
    /// Vectors from texts.
    Embedder,
    /// A number from a text and its answer.
    RewardModel,
    /// A network of ONNX.
    Onnx,
    /// A compiled network whose answers are proved.
    Exact,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inspection {
    /// Where.
    pub path: PathBuf,
    /// How it is written.
    pub format: String,
    /// What it does.
    pub kind: Kind,
    /// Its family, as its own files name it.
    pub architecture: String,
    /// Weights.
    pub parameters: Option<u64>,
    /// Positions, if it has any.
    pub context: Option<usize>,
    /// Tokens, if it has any.
    pub vocabulary: Option<usize>,
    /// Its tokenizer, if it needs one.
    pub tokenizer: Option<String>,
    /// Whether it knows conversations.
    pub chat: Option<bool>,
    /// Weights by how they are kept, the most first.
    pub precision: Vec<(String, u64)>,
    /// Bytes on disk.
    pub file_bytes: u64,
    /// Bytes that it needs in memory, with room for one sequence.
    pub memory_bytes: Option<u64>,
    /// Of them, for each position of a sequence.
    pub position_bytes: Option<u64>,
    /// What this machine has free.
    pub available_bytes: Option<u64>,
    /// About how fast it will be here.
    pub speed: Option<Speed>,
    /// Why it cannot be run, if it cannot.
    pub refusal: Option<String>,
}

/// Why nothing can be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct InspectError {
    /// Where.
    pub path: PathBuf,
    /// What was expected and found.
    pub reason: String,
}

/// Looks at a file or folder.
///
/// # Errors
/// [`InspectError`] if it is no model, or too broken to tell.
pub fn inspect(path: &Path) -> Result<Inspection, InspectError> {
    let fail = |reason: String| {
        // What says its place itself says it within this path.
        let place = path.display().to_string();
        let within = reason.strip_prefix(&place).and_then(|rest| rest.strip_prefix(": ").or(rest.strip_prefix('/')));
        InspectError { path: path.to_owned(), reason: within.map_or(reason.clone(), str::to_owned) }
    };
    let metadata = fs::metadata(path).map_err(|e| fail(e.to_string()))?;
    llm::regular(path).map_err(|e| fail(e.to_string()))?;
    if metadata.is_dir() { folder(path) } else { file(path, metadata.len()) }.map_err(fail)
}

fn base(path: &Path, format: &str, kind: Kind, architecture: String) -> Inspection {
    Inspection {
        path: path.to_owned(),
        format: format.to_owned(),
        kind,
        architecture,
        parameters: None,
        context: None,
        vocabulary: None,
        tokenizer: None,
        chat: None,
        precision: Vec::new(),
        file_bytes: size(path),
        memory_bytes: None,
        position_bytes: None,
        available_bytes: available_memory(),
        speed: None,
        refusal: None,
    }
}

fn size(path: &Path) -> u64 {
    match fs::metadata(path) {
        Ok(m) if m.is_dir() => {
            fs::read_dir(path).map_or(0, |all| all.flatten().map(|e| e.metadata().map_or(0, |m| m.len())).sum())
        }
        Ok(m) => m.len(),
        Err(_) => 0,
    }
}

fn file(path: &Path, length: u64) -> Result<Inspection, String> {
    let mut head = [0u8; 16];
    let mut opened = fs::File::open(path).map_err(|e| e.to_string())?;
    let mut read = 0;
    while read < head.len() {
        match opened.read(&mut head[read..]).map_err(|e| e.to_string())? {
            0 => break,
            n => read += n,
        }
    }
    let head = &head[..read];
    if length == 0 {
        return Err("the file is empty".to_owned());
    }
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
    if head.starts_with(b"GGUF") {
        return language_model(path);
    }
    if [b"lmgg", b"tjgg", b"fmgg", b"algg"].iter().any(|m| head.starts_with(*m)) {
        return Err("a GGML file older than GGUF; convert it with llama.cpp's tools".to_owned());
    }
    if head.starts_with(b"ASYM") {
        return exact(path);
    }
    if head.starts_with(b"\x89HDF") {
        return Err("a Keras file (HDF5); export it to ONNX".to_owned());
    }
    if head.get(4..8) == Some(b"TFL3") {
        return Err("a TensorFlow Lite file; export the model to ONNX".to_owned());
    }
    // A pickle of protocol 2 or later, or a zip: `torch.save` in its two forms.
    if head.starts_with(b"PK\x03\x04")
        || (head.first() == Some(&0x80) && head.get(1).is_some_and(|v| (2..=5).contains(v)))
    {
        return Err("a PyTorch file, which can run code when it is loaded; save the model as safetensors".to_owned());
    }
    if extension == "safetensors" {
        let folder = path.parent().filter(|f| f.join("config.json").exists());
        return Err(match folder {
            Some(folder) => format!("weights of a folder; inspect {} instead", folder.display()),
            None => "weights without a config.json beside them, which says what they are".to_owned(),
        });
    }
    if extension == "onnx" || head.first() == Some(&0x08) {
        return onnx(path);
    }
    Err("not a model that is known here; expected a GGUF or ONNX file, a compiled model, or a folder with config.json"
        .to_owned())
}

fn folder(path: &Path) -> Result<Inspection, String> {
    let has = |name: &str| path.join(name).exists();
    if has("adapter_config.json") {
        return adapter(path);
    }
    if has("model.assay") {
        return exact(&path.join("model.assay"));
    }
    if !has("config.json") {
        let names: Vec<String> = fs::read_dir(path)
            .map_err(|e| e.to_string())?
            .flatten()
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .collect();
        if let Some(one) = names.iter().find(|n| n.ends_with(".gguf") || n.ends_with(".onnx")) {
            return Err(format!("a folder without config.json; inspect {} instead", path.join(one).display()));
        }
        return Err("a folder without config.json, which says what a model is".to_owned());
    }
    let text = fs::read_to_string(path.join("config.json")).map_err(|e| format!("config.json: {e}"))?;
    let value: serde_json::Value = serde_json::from_str(&text).map_err(|e| format!("config.json: {e}"))?;
    let kind = value["model_type"].as_str().ok_or("config.json: `model_type` is missing")?;
    match kind {
        "bert" => encoder(path, Kind::Embedder, kind, &value),
        "deberta-v2" => encoder(path, Kind::RewardModel, kind, &value),
        _ => language_model(path),
    }
}

/// The weights' forms, the most first.
fn forms<'a>(tensors: impl Iterator<Item = (&'a str, u64)>) -> Vec<(String, u64)> {
    let mut sums: BTreeMap<String, u64> = BTreeMap::new();
    for (form, values) in tensors {
        *sums.entry(form.to_owned()).or_default() += values;
    }
    let mut sums: Vec<(String, u64)> = sums.into_iter().collect();
    sums.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    sums
}

fn language_model(path: &Path) -> Result<Inspection, String> {
    let known = llm::survey(path, &LoadOptions::default()).map_err(|e| e.to_string())?;
    let format = match known.format {
        Format::Safetensors => "safetensors",
        Format::Gguf => "gguf",
    };
    let mut found = base(path, format, Kind::LanguageModel, known.config.architecture.clone());
    found.parameters = Some(known.parameters);
    found.context = Some(known.config.context);
    found.vocabulary = Some(known.config.vocabulary);
    found.precision = forms(known.forms.iter().map(|(f, n)| (f.as_str(), *n)));
    found.position_bytes = Some(known.position_bytes);
    match &known.weights {
        Ok(weights) => {
            let sequence = known.position_bytes.saturating_mul(known.config.context.min(8192) as u64);
            found.memory_bytes = Some(weights.saturating_add(sequence));
        }
        Err(error) => found.refusal = Some(error.to_string()),
    }
    match &known.codec {
        Ok(codec) => {
            found.tokenizer = Some(format!("{} tokens", codec.size()));
            found.chat = Some(codec.template().is_some());
        }
        Err(error) => {
            found.refusal.get_or_insert(error.to_string());
        }
    }
    found.refusal = found.refusal.take().or_else(|| unspeakable(path)).or_else(|| short_of_memory(&found));
    if found.refusal.is_none() {
        found.speed = known.speed(&LoadOptions::default());
    }
    Ok(found)
}

/// Why a file cannot go by its name: a model's id is of its files' names too.
fn unspeakable(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_string_lossy();
    let spoken = ModelFile::is_name(&name);
    (path.is_file() && !spoken)
        .then(|| format!("its name {name:?} has more than letters, digits, `-`, `_` and `.`; rename it"))
}

fn short_of_memory(found: &Inspection) -> Option<String> {
    let (needed, free) = (found.memory_bytes?, found.available_bytes?);
    (needed > free).then(|| format!("it needs {} MiB of memory, {} MiB are free", needed >> 20, free >> 20))
}

fn adapter(path: &Path) -> Result<Inspection, String> {
    let known = llm::survey_adapter(path).map_err(|e| e.to_string())?;
    let base_model = known.base_model.as_deref().unwrap_or("a model that it does not name");
    let mut found = base(path, "safetensors", Kind::Adapter, format!("LoRA of rank {} for {base_model}", known.rank));
    found.parameters = Some(known.forms.iter().map(|(_, n)| n).sum());
    found.precision = forms(known.forms.iter().map(|(f, n)| (f.as_str(), *n)));
    Ok(found)
}

fn encoder(path: &Path, kind: Kind, architecture: &str, config: &serde_json::Value) -> Result<Inspection, String> {
    let mut found = base(path, "safetensors", kind, architecture.to_owned());
    let number = |key: &str| config[key].as_u64().and_then(|n| usize::try_from(n).ok());
    found.context = number("max_position_embeddings");
    found.vocabulary = number("vocab_size");
    let tensors = llm::tensor_forms(&path.join("model.safetensors")).map_err(|e| e.to_string())?;
    let weights: u64 = tensors.iter().map(|(_, n)| n).sum();
    found.parameters = Some(weights);
    found.precision = forms(tensors.iter().map(|(f, n)| (f.as_str(), *n)));
    // They are computed in single precision, from a copy of the file that is let go when they are loaded.
    found.memory_bytes = Some(4 * weights + found.file_bytes);
    found.refusal = short_of_memory(&found);
    // Small enough to build, which is the one sure way to know.
    let built = match kind {
        Kind::Embedder => crate::encoders::Embedder::load(path).map(drop),
        _ => crate::encoders::RewardModel::load(path).map(drop),
    };
    if let (None, Err(error)) = (&found.refusal, built) {
        found.refusal = Some(error.to_string());
    }
    Ok(found)
}

fn exact(path: &Path) -> Result<Inspection, String> {
    let bytes = fs::read(path).map_err(|e| e.to_string())?;
    let model = assay_circuits::model::Model::from_bytes(&bytes).map_err(|e| e.to_string())?;
    let mut found = base(path, "compiled", Kind::Exact, format!("integer graph, {}", model.id()));
    let weights = model.weights().iter().map(|w| w.len() as u64).sum();
    found.parameters = Some(weights);
    found.precision = vec![("integers".to_owned(), weights)];
    found.memory_bytes = Some(8 * weights + found.file_bytes);
    found.refusal = short_of_memory(&found);
    Ok(found)
}

fn onnx(path: &Path) -> Result<Inspection, String> {
    let bytes = fs::read(path).map_err(|e| e.to_string())?;
    let mut found = base(path, "onnx", Kind::Onnx, "ONNX graph".to_owned());
    // It is built to be looked at: beside the file there are its tensors, and those of the optimised graph.
    found.memory_bytes = Some(found.file_bytes.saturating_mul(3));
    found.refusal = short_of_memory(&found);
    if found.refusal.is_some() {
        return Ok(found);
    }
    match OnnxModel::load(&bytes) {
        Ok(known) => {
            let ports =
                |all: &[Port]| all.iter().map(|p| format!("{} {:?}", p.name, p.shape)).collect::<Vec<_>>().join(", ");
            found.architecture =
                format!("{} nodes, {} -> {}", known.nodes, ports(&known.inputs), ports(&known.outputs));
            found.parameters = Some(known.weights);
        }
        Err(error) => found.refusal = Some(error.to_string()),
    }
    Ok(found)
}
