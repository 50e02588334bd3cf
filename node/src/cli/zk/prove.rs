//! `assay zk run`, `prove` and `verify`.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use assay_circuits::{
    Binding,
    binding::{OutOfRange, hash_inputs, hash_outputs},
    compile::{read_outputs, write_outputs},
    model::{Model, Outline},
    proof::{
        ProofSystem, Statement,
        groth16::{self, Groth16},
        halo2::Halo2,
        sumcheck::{
            Sumcheck,
            hiding::{HidingProverKey, SumcheckHiding},
        },
    },
    relation::Relations,
};
use assay_primitives::{AccountId, Hash32, ModelId};
use clap::Args;
use eyre::{WrapErr as _, bail, ensure};
use serde_json::json;

use super::{
    super::global::{Global, pairs},
    bench::{Distance, Figures, warning},
    files::{self, Folder, Loaded, Quantising, System},
};

/// What a proof is bound to beside model, input and output; the same must be given to verify it.
#[derive(Args, Debug, Clone)]
pub(super) struct Bound {
    /// The chain's genesis hash.
    #[arg(long, value_name = "HASH", default_value_t = Hash32::ZERO, hide_default_value = true)]
    genesis: Hash32,
    /// The request's id.
    #[arg(long, value_name = "HASH", default_value_t = Hash32::ZERO, hide_default_value = true)]
    request: Hash32,
    /// The miner's operator account.
    #[arg(long, value_name = "ACCOUNT")]
    miner: Option<AccountId>,
    /// The request's epoch.
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    epoch: u64,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct Run {
    /// A folder that `assay zk compile` made, or an ONNX file.
    model: PathBuf,
    /// The input: JSON {"input_data": [[...], ...]} or .npz.
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Samples to quantise an ONNX file with; without, the input itself.
    #[arg(long, value_name = "FILE")]
    calibration: Option<PathBuf>,
    /// Write the output: JSON {"output_data": [[...], ...]}.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    quantising: Quantising,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct Prove {
    /// A folder that `assay zk compile` made.
    folder: PathBuf,
    /// The input: JSON {"input_data": [[...], ...]} or .npz.
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// The proof system; without, sumcheck, or sumcheck-hiding for a secret model.
    #[arg(long, value_enum)]
    system: Option<System>,
    /// Where to write the proof.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Write the output too: JSON {"output_data": [[...], ...]}.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    bound: Bound,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct Verify {
    /// The `verifier` folder of a compiled model.
    verifier: PathBuf,
    /// The input: JSON {"input_data": [[...], ...]} or .npz.
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// The output: JSON {"output_data": [[...], ...]}, as `prove` prints it.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// The proof.
    #[arg(long, value_name = "FILE")]
    proof: PathBuf,
    /// Refuse groth16 keys that say that a single party made them.
    #[arg(long)]
    require_ceremony: bool,
    /// Refuse any model but the one of this id.
    #[arg(long, value_name = "ID")]
    model: Option<ModelId>,
    /// Refuse any verifier's key but the one of this hash, as `zk ceremony verify` prints it.
    #[arg(long, value_name = "HASH")]
    key: Option<Hash32>,
    #[command(flatten)]
    bound: Bound,
}

/// First bytes of a proof file, then the system's name and a zero byte, then the proof.
const MAGIC: &[u8] = b"assay-proof/1/";

impl Bound {
    /// The digest that a proof of these values is bound to.
    pub(super) fn digest(
        &self,
        outline: &Outline,
        inputs: &[Vec<i64>],
        outputs: &[Vec<i64>],
    ) -> Result<Hash32, OutOfRange> {
        let binding = Binding {
            genesis: self.genesis,
            model: outline.id(),
            request: self.request,
            miner: self.miner.unwrap_or(AccountId([0; 32])),
            epoch: self.epoch,
            input: hash_inputs(inputs)?,
            output: hash_outputs(outputs)?,
        };
        Ok(binding.digest())
    }
}

/// A model's inputs: as they were given, and as its integers.
type Inputs = (Vec<Vec<f64>>, Vec<Vec<i64>>);

/// The one sample of an input file.
pub(super) fn one_input(path: &Path, outline: &Outline) -> eyre::Result<Inputs> {
    let values = files::samples(path)?.one(&outline.input_shapes()).wrap_err_with(|| format!("{}", path.display()))?;
    let integers = outline.quantise_inputs(&values).wrap_err_with(|| format!("{}", path.display()))?;
    Ok((values, integers))
}

fn write_output(path: Option<&Path>, outputs: &[Vec<f64>]) -> eyre::Result<()> {
    path.map_or(Ok(()), |path| files::write(path, write_outputs(outputs).as_bytes()))
}

fn words(outputs: &[Vec<f64>]) -> String {
    let brief = |values: &Vec<f64>| {
        let shown: Vec<String> = values.iter().take(16).map(|v| format!("{v:.6}")).collect();
        let more = values.len().saturating_sub(16);
        if more > 0 { format!("[{}, and {more} more]", shown.join(", ")) } else { format!("[{}]", shown.join(", ")) }
    };
    outputs.iter().map(brief).collect::<Vec<_>>().join(" ")
}

pub(super) fn run(global: &Global, command: &Run) -> eyre::Result<()> {
    let output = command.output.as_deref();
    let read = [("MODEL", Some(&*command.model)), ("--calibration", command.calibration.as_deref())];
    for (flag, path) in read.into_iter().chain([("--input", Some(&*command.input))]) {
        files::apart(&[(flag, path), ("--output", output)])?;
    }
    output.map_or(Ok(()), |path| Folder::new(&command.model).spare(path))?;
    let Loaded { model, network, .. } =
        files::load(global, &command.model, command.calibration.as_deref(), Some(&command.input), &command.quantising)?;
    let outline = model.outline();
    let (values, inputs) = one_input(&command.input, &outline)?;
    let outputs = outline.dequantise_outputs(&model.run(&inputs)?);
    write_output(output, &outputs)?;
    let distance = Distance::find(&network, &values, &outputs)?;
    let error = distance.as_ref().ok().map(|distance| distance.most);
    let warning = warning(&distance);
    let value = json!({ "model_id": model.id(), "output": outputs, "max_abs_err_vs_float": error, "warning": warning });
    global.show(&value, || words(&outputs));
    if let Some(warning) = warning {
        global.warn(warning);
    }
    Ok(())
}

/// The keys of a system for a folder's model: read, or made and kept.
trait Keyed: ProofSystem {
    const SYSTEM: System;

    /// Both keys, and a warning for whoever relies on them.
    fn keys(relations: &Arc<Relations>, model: &Model, folder: &Folder) -> eyre::Result<Keys<Self>>;

    /// Proofs that the key may still make, where they are counted.
    fn proofs_left(_: &Self::ProverKey) -> eyre::Result<Option<usize>> {
        Ok(None)
    }
}

/// A prover's and a verifier's key, and what must be said about them.
pub(super) struct Keys<S: ProofSystem + ?Sized> {
    prover: S::ProverKey,
    verifier: S::VerifierKey,
    warning: Option<String>,
}

const DEV_KEYS: &str = "these groth16 keys were made by a single party, which could forge proofs: good for development only. \
                        Make them together with `assay zk ceremony`";

/// What groth16 does with a secret model.
pub(super) const SECRET_CONSTANTS: &str = "the weights are secret, and constants of groth16's circuit: its proofs tell nothing of \
                                           them, but whoever takes part in its ceremony, or sees a transcript or the prover's \
                                           key, learns them";

impl Keyed for Sumcheck {
    const SYSTEM: System = System::Sumcheck;

    fn keys(relations: &Arc<Relations>, model: &Model, _: &Folder) -> eyre::Result<Keys<Self>> {
        let (prover, verifier) = Self::set_up(Arc::clone(relations), model.weights())?;
        Ok(Keys { prover, verifier, warning: None })
    }
}

impl Keyed for SumcheckHiding {
    const SYSTEM: System = System::SumcheckHiding;

    fn keys(relations: &Arc<Relations>, model: &Model, folder: &Folder) -> eyre::Result<Keys<Self>> {
        let count = Box::new(folder.count(model));
        let (prover, verifier) = Self::set_up_counted(Arc::clone(relations), model.weights(), model.salt(), count)?;
        Ok(Keys { prover, verifier, warning: None })
    }

    fn proofs_left(key: &HidingProverKey) -> eyre::Result<Option<usize>> {
        Ok(Some(key.proofs_left()?))
    }
}

impl Keyed for Halo2 {
    const SYSTEM: System = System::Halo2;

    fn keys(relations: &Arc<Relations>, model: &Model, _: &Folder) -> eyre::Result<Keys<Self>> {
        let (prover, verifier) = Self::set_up_salted(Arc::clone(relations), model.weights(), model.salt())?;
        Ok(Keys { prover, verifier, warning: None })
    }
}

impl Keyed for Groth16 {
    const SYSTEM: System = System::Groth16;

    fn keys(relations: &Arc<Relations>, model: &Model, folder: &Folder) -> eyre::Result<Keys<Self>> {
        let (kept, public) =
            (folder.key_path(System::Groth16), files::verifier_key_path(&folder.verifier(), System::Groth16));
        let _lock = folder.lock()?;
        let (prover, verifier) = if kept.exists() {
            let prover = groth16::ProverKey::from_bytes(relations, model.weights(), &files::read(&kept)?)
                .wrap_err_with(|| format!("{}", kept.display()))?;
            let verifier = prover.verifier_key();
            (prover, verifier)
        } else {
            ensure!(
                !public.exists(),
                "{} stands without its prover's key {}; put that back, or remove this one to begin anew",
                public.display(),
                kept.display()
            );
            let (prover, verifier) = Self::set_up(Arc::clone(relations), model.weights())?;
            files::write_secret(&kept, &prover.to_bytes())?;
            (prover, verifier)
        };
        let bytes = Self::verifier_key_to_bytes(&verifier);
        if public.exists() {
            ensure!(
                files::read(&public)? == bytes,
                "{} and {} are of two set-ups; `assay zk ceremony finish` writes both, or remove the wrong ones",
                kept.display(),
                public.display()
            );
        } else {
            files::write(&public, &bytes)?;
        }
        let dev = verifier.provenance().is_single_party();
        let secret = model.outline().commitments().systems().secret;
        let said = [(secret, SECRET_CONSTANTS), (dev, DEV_KEYS)].into_iter().filter(|(said, _)| *said);
        let said: Vec<&str> = said.map(|(_, text)| text).collect();
        Ok(Keys { prover, verifier, warning: (!said.is_empty()).then(|| said.join("; ")) })
    }
}

pub(super) fn prove(global: &Global, command: &Prove) -> eyre::Result<()> {
    let folder = Folder::new(&command.folder);
    let model = folder.model()?;
    let (input, out, output) = (command.input.as_path(), command.out.as_path(), command.output.as_deref());
    files::apart(&[("--input", Some(input)), ("--out", Some(out)), ("--output", output)])?;
    // Before anything is proved: a secret model's proofs are counted.
    [Some(out), output]
        .into_iter()
        .flatten()
        .try_for_each(|path| folder.spare(path).and_then(|()| files::try_out(path)))?;
    match command.system.unwrap_or_else(|| System::of(&model)) {
        System::Sumcheck => prove_with::<Sumcheck>(global, command, &folder, &model),
        System::SumcheckHiding => prove_with::<SumcheckHiding>(global, command, &folder, &model),
        System::Groth16 => prove_with::<Groth16>(global, command, &folder, &model),
        System::Halo2 => prove_with::<Halo2>(global, command, &folder, &model),
    }
}

fn prove_with<S: Keyed>(global: &Global, command: &Prove, folder: &Folder, model: &Model) -> eyre::Result<()> {
    let outline = model.outline();
    S::committed(outline.commitments()).wrap_err_with(|| format!("{}", command.folder.display()))?;
    let (values, inputs) = one_input(&command.input, &outline)?;
    let mut figures = Figures::begin(S::NAME);
    let bar = global.progress("keys");
    let relations = Arc::new(Relations::of(model.graph())?);
    S::supports(&relations)?;
    let keys = figures.setup(|| S::keys(&relations, model, folder))?;
    S::check_key(&keys.verifier, outline.commitments())?;
    let key = S::verifier_key_to_bytes(&keys.verifier);
    let public = files::verifier_key_path(&folder.verifier(), S::SYSTEM);
    if files::read(&public).ok().as_ref() != Some(&key) {
        files::write(&public, &key)?;
    }
    bar.set_message("running");
    let trace = figures.witness(|| relations.trace(model.graph(), model.weights(), &inputs))?;
    let outputs = relations.outputs_of(&trace);
    let binding = command.bound.digest(&outline, &inputs, &outputs)?;
    let statement = Statement { binding: &binding.0, inputs: &inputs, outputs: &outputs };
    bar.set_message("proving");
    let proof = figures.prove(|| S::prove(&keys.prover, &trace, statement))?;
    bar.set_message("checking the proof");
    figures.verify(|| S::verify(&keys.verifier, statement, &proof))?;
    files::write(&command.out, &[MAGIC, S::NAME.as_bytes(), &[0], &proof].concat())?;
    bar.finish_and_clear();
    if let Some(warning) = &keys.warning {
        global.warn(warning);
    }
    let outputs = outline.dequantise_outputs(&outputs);
    write_output(command.output.as_deref(), &outputs)?;
    let distance = Distance::find(&folder.network(model), &values, &outputs)?;
    let error = distance.as_ref().ok().map(|distance| distance.most);
    let mut value = figures.to_json(model.id(), &outputs, proof.len(), key.len(), None, error);
    let said: Vec<String> = keys.warning.iter().cloned().chain(warning(&distance)).collect();
    value["warning"] = json!((!said.is_empty()).then(|| said.join("; ")));
    value["proof"] = json!(command.out);
    let left = S::proofs_left(&keys.prover)?;
    value["proofs_left"] = json!(left);
    if let Some(left) = left {
        global.hint(format!("{left} more proofs hide the weights; then compile the model again, for a new id"));
    }
    global.show(&value, || {
        pairs([
            ("output", words(&outputs)),
            ("model", model.id().to_string()),
            (
                "proof",
                format!("{} ({} bytes, {} in {:.3} s)", command.out.display(), proof.len(), S::NAME, figures.prove_s()),
            ),
        ])
    });
    if let Some(warning) = warning(&distance) {
        global.warn(warning);
    }
    Ok(())
}

/// What tells one verifier's key from others: the BLAKE3 hash of its file.
pub(super) fn key_hash(bytes: &[u8]) -> Hash32 {
    Hash32(*blake3::hash(bytes).as_bytes())
}

/// The system that a proof file names, and the proof.
fn open(bytes: &[u8]) -> eyre::Result<(System, &[u8])> {
    let rest = bytes
        .strip_prefix(MAGIC)
        .ok_or_else(|| eyre::eyre!("not a proof that `assay zk prove` of this version wrote"))?;
    for system in [System::Sumcheck, System::SumcheckHiding, System::Groth16, System::Halo2] {
        if let Some(proof) = rest.strip_prefix(system.to_string().as_bytes()).and_then(|r| r.strip_prefix(&[0])) {
            return Ok((system, proof));
        }
    }
    bail!("the proof names a system that this version does not know")
}

pub(super) fn verify(global: &Global, command: &Verify) -> eyre::Result<bool> {
    let bytes = files::read(&command.proof)?;
    let (system, proof) = open(&bytes).wrap_err_with(|| format!("{}", command.proof.display()))?;
    match system {
        System::Sumcheck => verify_with::<Sumcheck>(global, command, proof, |_| Ok(None)),
        System::SumcheckHiding => verify_with::<SumcheckHiding>(global, command, proof, |_| Ok(None)),
        System::Halo2 => verify_with::<Halo2>(global, command, proof, |_| Ok(None)),
        System::Groth16 => verify_with::<Groth16>(global, command, proof, |key| {
            let dev = key.provenance().is_single_party();
            ensure!(!(dev && command.require_ceremony), "{DEV_KEYS}");
            Ok(dev.then_some(DEV_KEYS))
        }),
    }
}

fn verify_with<S: Keyed>(
    global: &Global,
    command: &Verify,
    proof: &[u8],
    judge: impl FnOnce(&S::VerifierKey) -> eyre::Result<Option<&'static str>>,
) -> eyre::Result<bool> {
    let outline = files::outline(&command.verifier)?;
    if let Some(expected) = command.model.filter(|expected| *expected != outline.id()) {
        bail!("{} is of another model: expected {expected}, found {}", command.verifier.display(), outline.id());
    }
    let (_, inputs) = one_input(&command.input, &outline)?;
    let outputs = read_outputs(&files::read(&command.output)?)
        .map_err(eyre::Report::from)
        .and_then(|values| Ok(outline.quantise_outputs(&values)?))
        .wrap_err_with(|| format!("{}", command.output.display()))?;
    S::committed(outline.commitments()).wrap_err_with(|| format!("{}", command.verifier.display()))?;
    let path = files::verifier_key_path(&command.verifier, S::SYSTEM);
    ensure!(
        path.exists(),
        "{} is missing: it comes with the first `assay zk prove --system {}`",
        path.display(),
        S::NAME
    );
    let bytes = files::read(&path)?;
    let hash = key_hash(&bytes);
    if let Some(expected) = command.key.filter(|expected| *expected != hash) {
        bail!("{} is another key: expected {expected}, found {hash}", path.display());
    }
    let key = outline.verifier_key::<S>(&bytes).wrap_err_with(|| format!("{}", path.display()))?;
    let warning = judge(&key).wrap_err_with(|| format!("{}", command.verifier.display()))?;
    let binding = command.bound.digest(&outline, &inputs, &outputs)?;
    let statement = Statement { binding: &binding.0, inputs: &inputs, outputs: &outputs };
    let mut figures = Figures::begin(S::NAME);
    let verdict = figures.verify(|| S::verify(&key, statement, proof));
    if let (Some(warning), Ok(())) = (warning, &verdict) {
        global.warn(warning);
    }
    let reason = verdict.err().map(|e| e.to_string());
    let value = json!({
        "verified": reason.is_none(), "system": S::NAME, "model_id": outline.id(), "verify_s": figures.verify_s(),
        "reason": reason, "warning": warning, "key": hash,
    });
    global.show(&value, || match &reason {
        None => format!(
            "the proof holds: model {} gives this output on this input ({}, {:.1} ms)",
            outline.id(),
            S::NAME,
            figures.verify_s() * 1e3
        ),
        Some(reason) => format!("REFUSED: {reason}"),
    });
    Ok(reason.is_none())
}
