//! `assay model`: what miners may serve.

use std::{
    fs,
    path::{Path, PathBuf},
};

use assay_inference::{
    inspect,
    llm::{Form, TextFiles},
    train,
};
use assay_ledger::tx::Action;
use assay_primitives::{ModelId, task::SubnetId};
use clap::{Args, Subcommand, ValueEnum};
use eyre::{WrapErr as _, bail};
use serde_json::{Value, json};

use super::{
    files,
    global::{Global, pairs, rows, table, text},
    send::Sending,
    zk::read_model,
};
use crate::texts;

#[derive(Debug, Subcommand)]
pub(super) enum Model {
    /// Register a model; the registration fee is burned.
    Add(Add),
    /// List the registered models; with --here those whose files lie in the home.
    List {
        /// What the home keeps, without asking a node.
        #[arg(long)]
        here: bool,
    },
    /// Say what a file or folder is: format, kind, size, the memory it needs and about how fast it will be here.
    Inspect {
        /// A folder as Hugging Face has it, or a GGUF, ONNX or compiled file.
        path: PathBuf,
    },
    /// Keep a language model's files in the home, so that its miner, validator or gateway has them.
    Keep {
        /// A folder as Hugging Face has it, or a GGUF file.
        path: PathBuf,
    },
    /// Remove a kept model's files from the home.
    Rm {
        /// Its id.
        model: ModelId,
    },
    /// Write a language model of the Llama family as one GGUF file, for llama.cpp and the like.
    Gguf {
        /// A folder as Hugging Face has it.
        path: PathBuf,
        /// The file to write.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// How matrices are kept.
        #[arg(long, value_enum, default_value_t = GgufForm::F16)]
        form: GgufForm,
    },
    /// Show a registered model.
    Show {
        /// Its name or id.
        model: String,
    },
}

/// Forms of a GGUF file's matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum GgufForm {
    /// Single precision.
    F32,
    /// Half precision.
    F16,
    /// Eight bits with a scale for each 32.
    #[value(name = "q8_0")]
    Q8,
}

#[derive(Args, Debug)]
pub(super) struct Add {
    /// The name callers will use: 1 to 32 of a-z, 0-9 and -.
    name: String,
    /// A compiled model or the folder that `assay zk compile` made, an ONNX file with --calibration, or a language model: a folder
    /// as Hugging Face has it, or a GGUF file, of which the chain keeps the hashes.
    file: PathBuf,
    /// Sample inputs to quantise an ONNX file with.
    #[arg(long, value_name = "FILE")]
    calibration: Option<PathBuf>,
    /// The subnet whose miners serve it.
    #[arg(long, value_name = "ID", default_value_t = 1)]
    subnet: SubnetId,
    #[command(flatten)]
    sending: Sending,
}

/// Whether a model is served, for people.
fn serving(model: &Value) -> String {
    match model["retired"].as_u64() {
        Some(since) => format!("retired since height {since}"),
        None => "served".into(),
    }
}

/// Runs the command; false if it looked at a model that cannot run here.
pub(super) async fn run(global: &Global, command: &Model) -> eyre::Result<bool> {
    let done = match command {
        Model::Add(add) => {
            let (id, bytes) = if is_language_model(&add.file) {
                let files = TextFiles::read(&add.file)?;
                (files.model.id(), files.model.to_bytes())
            } else {
                let model = read_model(global, &add.file, add.calibration.as_deref())?;
                (model.id(), model.to_bytes())
            };
            let action = Action::RegisterModel { subnet: add.subnet, name: add.name.clone(), bytes };
            let what = format!("register model {} ({id}) in subnet {}", add.name, add.subnet);
            global.send(&add.sending, action, &what).await
        }
        Model::Inspect { path } => return inspect(global, path),
        Model::Gguf { path, out, form } => gguf(global, path, out, *form),
        Model::Keep { path } => keep(global, path),
        Model::Rm { model } => remove(global, model),
        Model::List { here: true } => kept(global),
        Model::List { here: false } => {
            let models: Value = global.client()?.call("assay_models", json!({})).await?;
            global.show(&models, || {
                let row = |m: &Value| {
                    [
                        text(&m["name"]),
                        text(&m["kind"]),
                        text(&m["subnet"]),
                        serving(m),
                        text(&m["bytes"]),
                        text(&m["id"]),
                    ]
                };
                table(["model", "kind", "subnet", "state", "bytes", "id"], rows(&models).iter().map(row))
            });
            Ok(())
        }
        Model::Show { model } => {
            let found: Value = global.client()?.call("assay_model", json!({ "model": model })).await?;
            global.show(&found, || {
                pairs([
                    ("model", text(&found["name"])),
                    ("id", text(&found["id"])),
                    ("kind", text(&found["kind"])),
                    ("subnet", text(&found["subnet"])),
                    ("state", serving(&found)),
                    ("bytes", text(&found["bytes"])),
                    (
                        "receipts",
                        match (text(&found["kind"]).as_str(), found["groth16"].is_null()) {
                            ("text", _) => "the text is made again (`assay verify --model`)",
                            (_, true) => "sumcheck",
                            (_, false) => "groth16",
                        }
                        .into(),
                    ),
                    ("registered", format!("height {}", text(&found["registered"]))),
                    (
                        "registrant",
                        if found["registrant"].is_null() { "genesis".into() } else { text(&found["registrant"]) },
                    ),
                ])
            });
            Ok(())
        }
    };
    done.map(|()| true)
}

/// Whether a path is a language model's, by its looks: what is inside is looked at by whoever loads it.
pub(super) fn is_language_model(path: &Path) -> bool {
    path.join("config.json").exists() || path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf"))
}

fn gguf(global: &Global, path: &Path, out: &Path, form: GgufForm) -> eyre::Result<()> {
    files::try_out(out)?;
    let form = match form {
        GgufForm::F32 => Form::F32,
        GgufForm::F16 => Form::F16,
        GgufForm::Q8 => Form::Q8,
    };
    train::to_gguf(path, form, out)?;
    let length = fs::metadata(out)?.len();
    global.show(&json!({ "out": out, "bytes": length }), || format!("wrote {} ({})", out.display(), bytes(length)));
    Ok(())
}

/// A number of bytes, for people.
fn bytes(n: u64) -> String {
    match n {
        0..10_000 => format!("{n} bytes"),
        10_000..10_000_000 => format!("{} KiB", n >> 10),
        10_000_000..10_000_000_000 => format!("{} MiB", n >> 20),
        _ => format!("{:.1} GiB", n as f64 / (1u64 << 30) as f64),
    }
}

/// Says what a path is; whether it can run here.
fn inspect(global: &Global, path: &Path) -> eyre::Result<bool> {
    let found = inspect::inspect(path)?;
    let value = serde_json::to_value(&found)?;
    global.show(&value, || {
        let mut lines = vec![("path", found.path.display().to_string()), ("format", found.format.clone())];
        lines.push(("kind", text(&value["kind"]).replace('_', " ")));
        lines.push(("architecture", found.architecture.clone()));
        lines.extend(found.parameters.map(|n| ("parameters", n.to_string())));
        lines.extend(found.context.map(|n| ("context", format!("{n} positions"))));
        lines.extend(found.vocabulary.map(|n| ("vocabulary", format!("{n} tokens"))));
        lines.extend(found.tokenizer.clone().map(|t| ("tokenizer", t)));
        lines.extend(found.chat.map(|chat| ("conversations", if chat { "by its template" } else { "no" }.to_owned())));
        let precision = found.precision.iter().map(|(form, n)| format!("{n} {form}")).collect::<Vec<_>>().join(", ");
        lines.push(("precision", precision));
        lines.push(("on disk", bytes(found.file_bytes)));
        lines.extend(found.memory_bytes.map(|n| ("memory", bytes(n))));
        lines.extend(found.position_bytes.map(|n| ("for a position", bytes(n))));
        lines.extend(found.available_bytes.map(|n| ("free here", bytes(n))));
        lines.extend(found.speed.map(|s| {
            ("speed here", format!("about {:.0} tokens/s of an answer, {:.0} of a prompt", s.decode, s.prefill))
        }));
        lines.push(("runs here", found.refusal.clone().map_or_else(|| "yes".to_owned(), |why| format!("no: {why}"))));
        pairs(lines)
    });
    Ok(found.refusal.is_none())
}

fn keep(global: &Global, path: &Path) -> eyre::Result<()> {
    let bar = global.progress("hashing");
    let files = TextFiles::read(path).wrap_err_with(|| format!("{} is no language model", path.display()))?;
    let kept = texts::keep(&global.home_dir()?.join("models"), &files)?;
    bar.finish_and_clear();
    let value = json!({ "model": files.model.id(), "folder": kept, "bytes": files.model.bytes() });
    global.show(&value, || {
        pairs([
            ("model", files.model.id().to_string()),
            ("folder", kept.display().to_string()),
            ("files", files.model.files.len().to_string()),
            ("size", bytes(files.model.bytes())),
        ])
    });
    Ok(())
}

fn kept(global: &Global) -> eyre::Result<()> {
    let all = texts::kept(&global.home_dir()?.join("models"));
    let sizes: Vec<(ModelId, PathBuf, u64)> = all
        .into_iter()
        .map(|(id, dir)| {
            let size =
                fs::read_dir(&dir).map_or(0, |all| all.flatten().map(|e| e.metadata().map_or(0, |m| m.len())).sum());
            (id, dir, size)
        })
        .collect();
    let value: Vec<Value> =
        sizes.iter().map(|(id, dir, n)| json!({ "model": id, "folder": dir, "bytes": n })).collect();
    global.show(&json!(value), || {
        let row = |(id, dir, n): &(ModelId, PathBuf, u64)| [id.to_string(), bytes(*n), dir.display().to_string()];
        table(["model", "size", "folder"], sizes.iter().map(row))
    });
    Ok(())
}

fn remove(global: &Global, model: &ModelId) -> eyre::Result<()> {
    let dir = global.home_dir()?.join("models").join(model.to_string());
    if !dir.is_dir() {
        bail!("the home keeps no model {model}; `assay model list --here` shows those that it keeps");
    }
    fs::remove_dir_all(&dir).wrap_err_with(|| format!("cannot remove {}", dir.display()))?;
    global.show(&json!({ "model": model, "removed": dir }), || format!("removed {}", dir.display()));
    Ok(())
}
