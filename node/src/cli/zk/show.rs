//! `assay zk show`, `report`, `estimate` and `ops`: what a model is, what it lost, what it will cost.

use std::path::PathBuf;

use assay_circuits::{
    model::Model,
    onnx,
    proof::{
        Estimate as Cost, ProofSystem,
        groth16::Groth16,
        halo2::Halo2,
        sumcheck::{Sumcheck, hiding::SumcheckHiding},
    },
    relation::Relations,
};
use clap::Args;
use serde_json::{Value, json};

use super::{
    super::global::{Global, table},
    files::{self, Folder, Loaded, Quantising, System},
};

#[derive(Args, Debug)]
pub(in crate::cli) struct Show {
    /// A folder that `assay zk compile` made, or an ONNX file.
    model: PathBuf,
    /// Samples to quantise an ONNX file with.
    #[arg(long, value_name = "FILE")]
    calibration: Option<PathBuf>,
    /// Print the graph in Graphviz' language instead.
    #[arg(long)]
    dot: bool,
    /// Print a drawing of the graph as SVG instead.
    #[arg(long, conflicts_with = "dot")]
    svg: bool,
    #[command(flatten)]
    quantising: Quantising,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct Report {
    /// A folder that `assay zk compile` made.
    folder: PathBuf,
    /// Draw the error of each layer into this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct Estimate {
    /// A folder that `assay zk compile` made, or an ONNX file.
    model: PathBuf,
    /// Samples to quantise an ONNX file with.
    #[arg(long, value_name = "FILE")]
    calibration: Option<PathBuf>,
    #[command(flatten)]
    quantising: Quantising,
}

/// What a verifier of each system learns and what it rests on; as the modules' own documents say.
const LEARNS: [(System, &str); 4] = [
    (System::Sumcheck, "sound; weights never sent, but a proof's messages tell linear functionals of them. No set-up."),
    (
        System::SumcheckHiding,
        "sound; nothing is learned of the weights, in 32 proofs of a model compiled with --secret. No set-up.",
    ),
    (System::Groth16, "zero-knowledge; who makes the keys sees the weights, and alone could forge: hold a ceremony."),
    (
        System::Halo2,
        "zero-knowledge, weights included, of a model compiled with --systems sumcheck,halo2. No trusted set-up.",
    ),
];

/// What the model's id tells of its weights, and for which systems it tells the key.
fn committed(model: &Model) -> (Vec<System>, &'static str) {
    let systems = model.outline().commitments().systems();
    let mut list = vec![System::of(model)];
    list.extend(systems.halo2.then_some(System::Halo2));
    let told = match systems.secret {
        true => "secret: outline and id tell of the weights only what shapes, scales, tables and bounds do",
        false => "open: who can guess all weights can test the guess against the outline",
    };
    (list, told)
}

pub(super) fn show(global: &Global, command: &Show) -> eyre::Result<()> {
    let Loaded { model, .. } =
        files::load(global, &command.model, command.calibration.as_deref(), None, &command.quantising)?;
    let graph = model.graph();
    if command.dot {
        global.show(&json!({ "model_id": model.id(), "dot": graph.to_dot() }), || graph.to_dot());
        return Ok(());
    }
    if command.svg {
        global.show(&json!({ "model_id": model.id(), "svg": graph.to_svg() }), || graph.to_svg());
        return Ok(());
    }
    let relations = Relations::of(graph)?;
    let learns: Value =
        LEARNS.iter().map(|(s, text)| (s.to_string(), json!(text))).collect::<serde_json::Map<_, _>>().into();
    let (systems, weights) = committed(&model);
    let systems: Vec<String> = systems.iter().map(System::to_string).collect();
    let value = json!({
        "model_id": model.id(), "graph": graph.describe(&relations), "committed_for": systems, "weights": weights,
        "who_learns_what": learns,
    });
    global.show(&value, || {
        let learned: Vec<String> = LEARNS.iter().map(|(system, text)| format!("  {system:<16} {text}")).collect();
        format!(
            "model {}, committed for {}\nweights {weights}\n\n{}\n\nwho learns what\n{}",
            model.id(),
            systems.join(" and "),
            graph.show(&relations),
            learned.join("\n")
        )
    });
    Ok(())
}

pub(super) fn report(global: &Global, command: &Report) -> eyre::Result<()> {
    let folder = Folder::new(&command.folder);
    command.svg.as_deref().map_or(Ok(()), |svg| folder.spare(svg))?;
    let report = folder.report(&folder.model()?)?.report;
    if let Some(svg) = &command.svg {
        files::write(svg, report.to_svg().as_bytes())?;
    }
    global.show(&serde_json::to_value(&report)?, || report.to_string());
    Ok(())
}

/// What a system says before any work: its costs, or why not.
fn ask<S: ProofSystem>(relations: &Relations) -> Result<Cost, String> {
    S::supports(relations).map_err(|e| e.to_string())?;
    Ok(S::estimate(relations))
}

pub(super) fn estimate(global: &Global, command: &Estimate) -> eyre::Result<()> {
    let Loaded { model, .. } =
        files::load(global, &command.model, command.calibration.as_deref(), None, &command.quantising)?;
    let relations = Relations::of(model.graph())?;
    let answers = [
        (System::Sumcheck, ask::<Sumcheck>(&relations)),
        (System::SumcheckHiding, ask::<SumcheckHiding>(&relations)),
        (System::Groth16, ask::<Groth16>(&relations)),
        (System::Halo2, ask::<Halo2>(&relations)),
    ];
    let value: serde_json::Map<String, Value> = answers
        .iter()
        .map(|(system, answer)| {
            let said = match answer {
                Ok(cost) => json!(cost),
                Err(reason) => json!({ "refused": reason }),
            };
            (system.to_string(), said)
        })
        .collect();
    global.show(&json!({ "model_id": model.id(), "estimate": value }), || {
        let row = |(system, answer): &(System, Result<Cost, String>)| match answer {
            Ok(c) => [
                system.to_string(),
                format!("{:.2} s", c.setup_s),
                format!("{:.3} s", c.prove_s),
                format!("{:.1} ms", c.verify_s * 1e3),
                format!("{:.0} MiB", c.memory_mib),
                format!("{} B", c.proof_bytes),
            ],
            Err(reason) => {
                [system.to_string(), reason.clone(), String::new(), String::new(), String::new(), String::new()]
            }
        };
        table(["system", "set-up", "prove", "verify", "memory", "proof"], answers.iter().map(row))
    });
    Ok(())
}

pub(super) fn ops(global: &Global) {
    let listed: Vec<Value> = onnx::SUPPORTED
        .iter()
        .map(|op| json!({ "name": op.name, "opsets": op.opsets, "becomes": op.lowering, "restrictions": op.restrictions }))
        .collect();
    global.show(&json!(listed), || {
        let row = |op: &onnx::Supported| {
            [op.name.to_owned(), op.opsets.to_owned(), op.lowering.to_owned(), op.restrictions.to_owned()]
        };
        table(["operation", "opsets", "becomes", "restrictions"], onnx::SUPPORTED.iter().map(row))
    });
}
