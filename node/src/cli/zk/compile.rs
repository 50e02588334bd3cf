//! `assay zk compile`.

use std::path::PathBuf;

use assay_circuits::proof::Systems;
use clap::Args;
use eyre::{WrapErr as _, ensure, eyre};
use rand::{RngCore as _, rngs::OsRng};
use serde_json::json;

use super::{
    super::global::{Global, pairs},
    files::{self, Folder, Quantising, Source},
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
    /// Proof systems that the model's id tells the keys of. sumcheck is always among them; groth16 needs none, as its keys
    /// come from a ceremony.
    #[arg(long, value_name = "LIST", value_enum, value_delimiter = ',', default_value = "sumcheck")]
    systems: Vec<Committed>,
    /// Hide the weights: the id then lets nobody test a guess of them, and `sumcheck-hiding` proofs tell nothing of them.
    /// Such a model makes 32 of those proofs; compiled again it makes 32 more, under another id.
    #[arg(long)]
    secret: bool,
    #[command(flatten)]
    quantising: Quantising,
}

/// A system whose keys commit to the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Committed {
    /// At no cost.
    Sumcheck,
    /// Takes as long as deriving its parameters: see `assay zk estimate`.
    Halo2,
}

pub(super) fn run(global: &Global, command: &Compile) -> eyre::Result<()> {
    let folder = Folder::new(&command.out);
    folder.take(&[&command.model, &command.calibration])?;
    let systems = Systems { secret: command.secret, halo2: command.systems.contains(&Committed::Halo2) };
    let mut salt = [0; 32];
    if command.secret {
        OsRng.try_fill_bytes(&mut salt).wrap_err("no randomness from the operating system")?;
    }
    let (source, committed) = (Source::read(&command.model)?, files::Committing { systems, salt });
    let compiled = files::compile_onnx(global, &source, &command.calibration, &command.quantising, &committed)?;
    let (model, report) = (&compiled.model, &compiled.report);
    let bar = global.progress("writing");
    let outline = model.outline();
    if folder.model_path().exists() {
        let advice = "give another --out, or remove it";
        let shown = command.out.display();
        let kept = folder.model().wrap_err_with(|| format!("{shown} holds a model that cannot be read; {advice}"))?;
        ensure!(kept.id() == model.id(), "{shown} holds another model, whose keys and secrets would be lost; {advice}");
    }
    // Open models are for everybody to read.
    let write = if command.secret { files::write_secret } else { files::write };
    write(&folder.onnx_path(), &source.bytes)?;
    folder.keep_report(model, &source.bytes, report)?;
    files::write(&files::outline_path(&folder.verifier()), &outline.to_bytes())?;
    if command.secret {
        folder.count(model).start().map_err(|e| eyre!(e))?;
    }
    // Last, so that a folder with a model is whole.
    let bytes = model.to_bytes();
    write(&folder.model_path(), &bytes)?;
    bar.finish_and_clear();
    let value = json!({
        "model_id": model.id(), "out": command.out, "model_bytes": bytes.len(), "outline_bytes": outline.to_bytes().len(),
        "secret": command.secret, "report": report, "warning": report.warning(),
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
    if let Some(warning) = report.warning() {
        global.warn(warning);
    }
    global.hint(format!("prove with it: assay zk prove {} --input INPUT.json --out PROOF", command.out.display()));
    if command.secret {
        global.hint(format!(
            "the weights stay secret as long as {} but for verifier/ does; a copy that proves elsewhere gives them away, as the \
             proofs are counted in keys/",
            command.out.display()
        ));
    }
    Ok(())
}
