//! `assay model`: what miners may serve.

use std::path::PathBuf;

use assay_ledger::tx::Action;
use assay_primitives::task::SubnetId;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    global::{Global, pairs, rows, table, text},
    send::Sending,
    zk::read_model,
};

#[derive(Debug, Subcommand)]
pub(super) enum Model {
    /// Register a model; the registration fee is burned.
    Add(Add),
    /// List the registered models.
    List,
    /// Show a registered model.
    Show {
        /// Its name or id.
        model: String,
    },
}

#[derive(Args, Debug)]
pub(super) struct Add {
    /// The name callers will use: 1 to 32 of a-z, 0-9 and -.
    name: String,
    /// A compiled model or the folder that `assay zk compile` made, or an ONNX file with --calibration.
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

pub(super) async fn run(global: &Global, command: &Model) -> eyre::Result<()> {
    match command {
        Model::Add(add) => {
            let model = read_model(&add.file, add.calibration.as_deref())?;
            let (name, bytes) = (add.name.clone(), model.to_bytes());
            let action = Action::RegisterModel { subnet: add.subnet, name, bytes };
            let what = format!("register model {} ({}) in subnet {}", add.name, model.id(), add.subnet);
            global.send(&add.sending, action, &what).await
        }
        Model::List => {
            let models: Value = global.client()?.call("assay_models", json!({})).await?;
            global.show(&models, || {
                let row =
                    |m: &Value| [text(&m["name"]), text(&m["subnet"]), serving(m), text(&m["bytes"]), text(&m["id"])];
                table(["model", "subnet", "state", "bytes", "id"], rows(&models).iter().map(row))
            });
            Ok(())
        }
        Model::Show { model } => {
            let found: Value = global.client()?.call("assay_model", json!({ "model": model })).await?;
            global.show(&found, || {
                pairs([
                    ("model", text(&found["name"])),
                    ("id", text(&found["id"])),
                    ("subnet", text(&found["subnet"])),
                    ("state", serving(&found)),
                    ("bytes", text(&found["bytes"])),
                    ("receipts", if found["groth16"].is_null() { "sumcheck" } else { "groth16" }.into()),
                    ("registered", format!("height {}", text(&found["registered"]))),
                    (
                        "registrant",
                        if found["registrant"].is_null() { "genesis".into() } else { text(&found["registrant"]) },
                    ),
                ])
            });
            Ok(())
        }
    }
}
