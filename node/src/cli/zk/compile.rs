//! `assay zk compile`.

use std::path::PathBuf;

use clap::Args;
use eyre::WrapErr as _;
use serde_json::json;

use super::{
    super::global::{Global, pairs},
    files::{self, Folder, Quantising},
};

#[derive(Args, Debug)]
pub(in crate::cli) struct Compile {
    /// The network, as ONNX.
    model: PathBuf,
    /// Sample inputs that choose the integers' scales: JSON {"input_data": [[...], ...]} or .npz.
    #[arg(long, value_name = "FILE")]
    calibration: PathBuf,
    /// The folder to write.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    quantising: Quantising,
}

pub(super) fn run(global: &Global, command: &Compile) -> eyre::Result<()> {
    let bar = global.progress("quantising");
    let samples = files::samples(&command.calibration)?;
    let compiled = files::compile_onnx(&command.model, &samples, &command.quantising)?;
    let (model, report) = (&compiled.model, &compiled.report);
    bar.set_message("writing");
    let folder = Folder::new(&command.out);
    let outline = model.outline();
    files::write(&folder.onnx_path(), &files::read(&command.model)?)?;
    files::write(&folder.report_path(), &serde_json::to_vec_pretty(report).wrap_err("the report")?)?;
    files::write(&files::outline_path(&folder.verifier()), &outline.to_bytes())?;
    // Last, so that a folder with a model is whole.
    let bytes = model.to_bytes();
    files::write(&folder.model_path(), &bytes)?;
    bar.finish_and_clear();
    let value = json!({
        "model_id": model.id(), "out": command.out, "model_bytes": bytes.len(), "outline_bytes": outline.to_bytes().len(),
        "report": report,
    });
    global.show(&value, || {
        let mut lines = pairs([
            ("model", model.id().to_string()),
            ("folder", format!("{} ({} bytes; verifier/ holds no weights)", command.out.display(), bytes.len())),
        ]);
        lines.push_str("\n\n");
        lines.push_str(&report.to_string());
        lines
    });
    global.hint(format!("prove with it: assay zk prove {} --input INPUT.json --out PROOF", command.out.display()));
    Ok(())
}
