//! `assay infer` and `assay verify`: an answer with its receipt, and the receipt's check.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use assay_circuits::{answer::argmax, model::Outline};
use assay_inference::llm::{Llm, LoadOptions};
use assay_ledger::records::ModelRecord;
use assay_primitives::{Hash32, ModelId, receipt::Receipt};
use clap::Args;
use eyre::{ensure, eyre};
use serde::Deserialize;
use serde_json::json;

use super::{
    batch::{self, Batch},
    files,
    global::{Global, pairs, table},
    model::is_language_model,
    zk::read_model,
};
use crate::{
    roles::ReceiptSystem,
    rpc::Answer,
    verify::{self, Check, Demands, Whole},
};

/// Larger files are no receipts.
const MAX_RECEIPT_BYTES: u64 = 64 * 1024 * 1024;
/// Nor inputs.
const MAX_INPUT_BYTES: u64 = 64 * 1024 * 1024;

#[derive(Args, Debug)]
pub(super) struct Infer {
    /// The model's name or id.
    #[arg(long, required_unless_present = "batch")]
    model: Option<String>,
    /// The input in the model's own units: a JSON list of numbers, {"pixels": [0, 12, ...]}, or {"input_data": [[...], ...]}.
    #[arg(long, value_name = "FILE", required_unless_present = "batch")]
    input: Option<PathBuf>,
    /// Many requests to a gateway or server in the place of one, in OpenAI's batch format: {"custom_id", "url", "body"} a line.
    #[arg(long, value_name = "FILE", requires = "out", conflicts_with_all = ["model", "input", "receipt", "proof"])]
    batch: Option<PathBuf>,
    /// Where the results of a batch go, a line each; what stands there already is not asked again.
    #[arg(long, value_name = "FILE", requires = "batch")]
    out: Option<PathBuf>,
    /// Requests of a batch that are under way at once.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256), requires = "batch")]
    workers: u16,
    /// The key of a gateway that asks for one.
    #[arg(long, value_name = "KEY", env = "ASSAY_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
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
    /// The compiled model with its weights, the folder of `assay zk compile`, or a language model: the input is then run again too.
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
pub(super) fn about_our_question(receipt: &Receipt, model: &str, input: &[f32]) -> eyre::Result<()> {
    let outline = Outline::from_bytes(&receipt.outline.0)?;
    let record: ModelRecord = assay_primitives::decode("model record", &receipt.model_fact.value.0)?;
    let named = model.parse::<ModelId>().map_or(record.name == model, |id| record.id == id);
    ensure!(named, "the answer is of model {} ({}), asked was {model}", record.name, record.id);
    let ours = outline.quantise_flat(input)?;
    ensure!(
        receipt.request.body.input.numbers() == Some(&ours[..]),
        "the answer is for another input than ours; do not use it"
    );
    Ok(())
}

/// Asks once, or for a whole batch; false if some of that failed.
pub(super) async fn infer(global: &Global, command: &Infer) -> eyre::Result<bool> {
    match (&command.batch, &command.out, &command.model, &command.input) {
        (Some(requests), Some(results), ..) => {
            let (workers, key) = (usize::from(command.workers), command.api_key.as_deref());
            batch::run(global, &Batch { requests, results, workers, genesis: command.genesis, key }).await
        }
        (_, _, Some(model), Some(input)) => one(global, command, model, input).await.map(|()| true),
        _ => eyre::bail!("give --model and --input, or --batch and --out"),
    }
}

async fn one(global: &Global, command: &Infer, model: &str, input: &Path) -> eyre::Result<()> {
    files::apart(&[("--input", Some(input)), ("--receipt", command.receipt.as_deref())])?;
    let input = Input::read(input)?;
    let client = global.client_with(command.api_key.as_deref())?;
    let bar = global.progress("asking");
    let genesis = match command.genesis {
        Some(genesis) => genesis,
        None => client.status().await?.genesis_hash,
    };
    let Answer { class, receipt } = client.infer(model, &input, command.proof).await?;
    bar.set_message("checking the receipt");
    let text = receipt.to_json();
    let checks = verify::verify_text(&text, &genesis, &Demands::default())?;
    about_our_question(&receipt, model, &input)?;
    bar.finish_and_clear();
    let response = &receipt.response.body;
    let output = response.output.numbers().ok_or_else(|| eyre::eyre!("the receipt is of a text; expected numbers"))?;
    ensure!(
        usize::try_from(class).is_ok_and(|class| class == argmax(output)),
        "the node says class {class}, the proven output says {}",
        argmax(output)
    );
    if let Some(path) = &command.receipt {
        files::write(path, text.as_bytes())?;
    }
    let value = json!({
        "class": class, "output": output, "model_id": response.model, "miner": response.miner,
        "receipt": command.receipt, "genesis_hash": genesis, "checks": checks,
    });
    global.show(&value, || {
        let mut lines = vec![
            ("class", class.to_string()),
            ("miner", response.miner.to_string()),
            ("model", format!("{model} ({})", response.model)),
        ];
        if let Some(path) = &command.receipt {
            lines.push(("receipt", format!("{} (check it: assay verify {0} --genesis {genesis})", path.display())));
        }
        pairs(lines)
    });
    Ok(())
}

/// What a receipt that holds is about: the prompt and the answer, without special tokens.
fn said(llm: &Llm, receipt: &[u8]) -> eyre::Result<(String, String)> {
    let receipt = Receipt::from_json(std::str::from_utf8(receipt)?)?;
    let (asked, told) = (receipt.request.body.input.text(), receipt.response.body.output.text());
    let read = |tokens: &[u32]| llm.codec.decode(tokens).map_err(|e| eyre!(e));
    let (asked, told) = asked.zip(told).ok_or_else(|| eyre!("the receipt is not about a text"))?;
    Ok((read(&asked.prompt)?, read(&told.tokens)?))
}

fn lines(checks: &[Check]) -> impl Iterator<Item = [String; 3]> {
    checks.iter().map(|check| [check.name.to_owned(), "ok".to_owned(), check.detail.clone()])
}

pub(super) fn verify(global: &Global, command: &Verify) -> eyre::Result<bool> {
    let path = &command.receipt;
    let whole = |path: &PathBuf| match is_language_model(path) {
        true => Ok::<_, eyre::Report>(Whole::Text(Arc::new(Llm::load(path, &LoadOptions::default())?))),
        false => read_model(global, path, None).map(Whole::Exact),
    };
    let model = command.model.as_ref().map(whole).transpose()?;
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
            let mut value = json!({ "ok": true, "checks": checks, "milliseconds": millis });
            let said = match &demands.model {
                Some(Whole::Text(llm)) => Some(said(llm, &bytes)?),
                _ => None,
            };
            if let Some((asked, told)) = &said {
                (value["asked"], value["told"]) = (json!(asked), json!(told));
            }
            global.show(&value, || {
                let held =
                    format!("{}\nthe receipt holds ({millis} ms)", table(["check", "", "found"], lines(&checks)));
                match said {
                    Some((asked, told)) => format!("{held}\n\nasked:\n{asked}\n\ntold:\n{told}"),
                    None => held,
                }
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
