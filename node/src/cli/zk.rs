//! `assay zk`: models compiled, run, proved and verified on this machine, without a chain.
//!
//! ```text
//! MODEL.onnx + samples ──compile──> DIR/{model.assay, network.onnx, report.json, verifier/outline.assay}
//! DIR + input ──prove──> proof, DIR/keys/, DIR/verifier/SYSTEM.key      DIR/verifier + input + output + proof ──verify──> yes or no
//! ```
//!
//! `DIR/verifier` holds no weights: it is what is handed to whoever is to verify.

mod bench;
mod ceremony;
mod compile;
mod count;
mod files;
mod prove;
mod show;

use std::path::Path;

use assay_circuits::{model::Model, proof::Systems};
use clap::Subcommand;
use eyre::{WrapErr as _, ensure};

use super::global::Global;

#[derive(Debug, Subcommand)]
pub(super) enum Zk {
    /// Quantise an ONNX network and commit to it.
    Compile(compile::Compile),
    /// Print a model's integer graph with its shapes, scales, ranges and costs.
    Show(show::Show),
    /// Print what quantisation cost in accuracy, and draw it.
    Report(show::Report),
    /// Say what proving would cost, before it is done.
    Estimate(show::Estimate),
    /// List the ONNX operations that can be compiled.
    Ops,
    /// Run a model exactly, without a proof.
    Run(prove::Run),
    /// Run a model and prove it.
    Prove(prove::Prove),
    /// Check a proof, without the weights.
    Verify(prove::Verify),
    /// Measure set-up, proof and verification.
    Bench(bench::Bench),
    /// Make groth16 keys together, so that no single party can forge.
    #[command(subcommand)]
    Ceremony(ceremony::Ceremony),
}

/// Reads a model for a chain: a compiled one, the folder that `assay zk compile` made, or ONNX with calibration.
pub(super) fn read_model(global: &Global, path: &Path, calibration: Option<&Path>) -> eyre::Result<Model> {
    if path.extension().is_some_and(|extension| extension == "onnx") {
        let samples =
            calibration.ok_or_else(|| eyre::eyre!("{}: an ONNX file needs --calibration FILE", path.display()))?;
        let how = files::Quantising::default();
        let source = files::Source::read(path)?;
        return Ok(files::compile_onnx(global, &source, samples, &how, &files::Committing::default())?.model);
    }
    let model = if path.is_dir() {
        files::Folder::new(path).model()?
    } else {
        Model::from_bytes(&files::read(path)?).wrap_err_with(|| format!("{}", path.display()))?
    };
    // Said here, before the bytes and with them the weights leave the machine.
    ensure!(
        model.outline().commitments().systems() == Systems::default(),
        "{}: a chain takes models that are neither secret nor committed for halo2; compile it without --secret and --systems",
        path.display()
    );
    Ok(model)
}

/// `Ok(false)`: a proof that does not hold, already told.
pub(super) fn run(global: &Global, command: &Zk) -> eyre::Result<bool> {
    match command {
        Zk::Compile(c) => compile::run(global, c)?,
        Zk::Show(c) => show::show(global, c)?,
        Zk::Report(c) => show::report(global, c)?,
        Zk::Estimate(c) => show::estimate(global, c)?,
        Zk::Ops => show::ops(global),
        Zk::Run(c) => prove::run(global, c)?,
        Zk::Prove(c) => prove::prove(global, c)?,
        Zk::Verify(c) => return prove::verify(global, c),
        Zk::Bench(c) => bench::run(global, c)?,
        Zk::Ceremony(c) => return ceremony::run(global, c),
    }
    Ok(true)
}
