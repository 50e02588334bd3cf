//! `assay infer` and `assay verify`: an answer with its receipt, and the receipt's check.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use assay_circuits::{answer::argmax, model::Outline};
use assay_ledger::records::ModelRecord;
use assay_primitives::{Hash32, ModelId, receipt::Receipt};
use clap::Args;
use eyre::ensure;
use serde::Deserialize;
use serde_json::json;

use super::{
    files,
    global::{Global, pairs, table},
    zk::read_model,
};
use crate::{
    roles::ReceiptSystem,
    rpc::Answer,
    verify::{self, Check, Demands},
};

/// Larger files are no receipts.
const MAX_RECEIPT_BYTES: u64 = 64 * 1024 * 1024;
/// Nor inputs.
const MAX_INPUT_BYTES: u64 = 64 * 1024 * 1024;

#[derive(Args, Debug)]
pub(super) struct Infer {
    /// The model's name or id.
    #[arg(long)]
    model: String,
    /// The input in the model's own units: a JSON list of numbers, {"pixels": [0, 12, ...]}, or {"input_data": [[...], ...]}.
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Where to write the receipt.
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
    /// The chain's genesis hash, if the node is not to be believed about it.
    #[arg(long, value_name = "HASH")]
    genesis: Option<Hash32>,
    /// The proof system of the receipt [default: groth16 where the model has a key, else sumcheck].
    #[arg(long, value_name = "SYSTEM")]
    proof: Option<ReceiptSystem>,
}

#[derive(Args, Debug)]
pub(super) struct Verify {
    /// The receipt.
    receipt: PathBuf,
    /// The genesis hash of the chain it must be of.
    #[arg(long, value_name = "HASH")]
    genesis: Hash32,
    /// The compiled model with its weights, or the folder of `assay zk compile`: the input is then run again too.
    #[arg(long, value_name = "FILE|DIR")]
    model: Option<PathBuf>,
    /// Refuse a groth16 key that a single party made.
    #[arg(long)]
    require_ceremony: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Input {
    Bare(Vec<f32>),
    Scan { pixels: Vec<f32> },
    Lists { input_data: Vec<Vec<f32>> },
}

impl Input {
    fn read(path: &Path) -> eyre::Result<Vec<f32>> {
        let bytes = files::read_at_most(path, MAX_INPUT_BYTES)?;
        let input = serde_json::from_slice(&bytes).map_err(|_| {
            eyre::eyre!(
                "{}: expected a JSON list of numbers, {{\"pixels\": [numbers]}} or {{\"input_data\": [[numbers], ...]}}",
                path.display()
            )
        })?;
        Ok(match input {
            Input::Bare(values) | Input::Scan { pixels: values } => values,
            // One list an input, flat as a request has them.
            Input::Lists { input_data } => input_data.concat(),
        })
    }
}

/// What the receipt's own checks cannot know: that it is about what *we* asked.
fn about_our_question(receipt: &Receipt, model: &str, input: &[f32]) -> eyre::Result<()> {
    let outline = Outline::from_bytes(&receipt.outline.0)?;
    let record: ModelRecord = assay_primitives::decode("model record", &receipt.model_fact.value.0)?;
    let named = model.parse::<ModelId>().map_or(record.name == model, |id| record.id == id);
    ensure!(named, "the answer is of model {} ({}), asked was {model}", record.name, record.id);
    let ours = outline.quantise_flat(input)?;
    ensure!(ours == receipt.request.body.input, "the answer is for another input than ours; do not use it");
    Ok(())
}

pub(super) async fn infer(global: &Global, command: &Infer) -> eyre::Result<()> {
    files::apart(&[("--input", Some(&command.input)), ("--receipt", command.receipt.as_deref())])?;
    let input = Input::read(&command.input)?;
    let client = global.client()?;
    let bar = global.progress("asking");
    let genesis = match command.genesis {
        Some(genesis) => genesis,
        None => client.status().await?.genesis_hash,
    };
    let Answer { class, receipt } = client.infer(&command.model, &input, command.proof).await?;
    bar.set_message("checking the receipt");
    let text = receipt.to_json();
    let checks = verify::verify_text(&text, &genesis, &Demands::default())?;
    about_our_question(&receipt, &command.model, &input)?;
    bar.finish_and_clear();
    let response = &receipt.response.body;
    ensure!(
        usize::try_from(class).is_ok_and(|class| class == argmax(&response.output)),
        "the node says class {class}, the proven output says {}",
        argmax(&response.output)
    );
    if let Some(path) = &command.receipt {
        files::write(path, text.as_bytes())?;
    }
    let value = json!({
        "class": class, "output": response.output, "model_id": response.model, "miner": response.miner,
        "receipt": command.receipt, "genesis_hash": genesis, "checks": checks,
    });
    global.show(&value, || {
        let mut lines = vec![
            ("class", class.to_string()),
            ("miner", response.miner.to_string()),
            ("model", format!("{} ({})", command.model, response.model)),
        ];
        if let Some(path) = &command.receipt {
            lines.push(("receipt", format!("{} (check it: assay verify {0} --genesis {genesis})", path.display())));
        }
        pairs(lines)
    });
    Ok(())
}

fn lines(checks: &[Check]) -> impl Iterator<Item = [String; 3]> {
    checks.iter().map(|check| [check.name.to_owned(), "ok".to_owned(), check.detail.clone()])
}

pub(super) fn verify(global: &Global, command: &Verify) -> eyre::Result<bool> {
    let path = &command.receipt;
    let model = command.model.as_ref().map(|path| read_model(path, None)).transpose()?;
    let demands = Demands { model, ceremony: command.require_ceremony };
    let start = Instant::now();
    let bytes = files::read_at_most(path, MAX_RECEIPT_BYTES)?;
    // A byte that makes the text no text is one of the changes that must be found and named.
    let outcome = match std::str::from_utf8(&bytes) {
        Ok(text) => verify::verify_text(text, &command.genesis, &demands),
        Err(e) => Err(verify::VerifyFailure { passed: Vec::new(), name: "canonical form", reason: e.to_string() }),
    };
    let millis = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    match outcome {
        Ok(checks) => {
            for warning in checks.iter().filter_map(|check| check.warning) {
                global.warn(warning);
            }
            global.show(&json!({ "ok": true, "checks": checks, "milliseconds": millis }), || {
                format!("{}\nthe receipt holds ({millis} ms)", table(["check", "", "found"], lines(&checks)))
            });
            Ok(true)
        }
        Err(failure) => {
            let value = json!({
                "ok": false, "checks": failure.passed, "failed": failure.name, "reason": failure.reason,
                "milliseconds": millis,
            });
            global.show(&value, || {
                let failed = [failure.name.to_owned(), "FAILED".to_owned(), failure.reason.clone()];
                let all = lines(&failure.passed).chain(std::iter::once(failed));
                format!(
                    "{}\nthe receipt does NOT hold: {}: {}",
                    table(["check", "", "found"], all),
                    failure.name,
                    failure.reason
                )
            });
            Ok(false)
        }
    }
}
