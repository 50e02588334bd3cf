//! What `assay zk` keeps on disk, and reads with an error that names the file.

use std::{
    fmt,
    fs::{self, File},
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use assay_circuits::{
    compile::{CompileError, Compiled, Samples, compile},
    model::{Model, Outline},
    network::Network,
    onnx,
    proof::Systems,
    quantise::{self, QuantiseError},
};
use assay_primitives::{Hash32, ModelId};
use eyre::{WrapErr as _, bail, ensure, eyre};
use serde::{Deserialize, Serialize};

pub(super) use super::super::files::{apart, lock, place, read, try_out, write, write_secret};
use super::{super::global::Global, count::CountFile};

/// The proof systems by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum System {
    /// Sumchecks over a multilinear commitment: fast, no set-up.
    Sumcheck,
    /// The same for models compiled with --secret: nothing is learned of the weights, in 32 proofs.
    SumcheckHiding,
    /// 128-byte proofs, after a set-up for each model.
    Groth16,
    /// Small proofs without a trusted set-up.
    Halo2,
}

impl System {
    /// The one to take for a model where none is named.
    pub(super) fn of(model: &Model) -> Self {
        if model.outline().commitments().systems().secret { Self::SumcheckHiding } else { Self::Sumcheck }
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            System::Sumcheck => "sumcheck",
            System::SumcheckHiding => "sumcheck-hiding",
            System::Groth16 => "groth16",
            System::Halo2 => "halo2",
        })
    }
}

/// How a network is turned into integers.
#[derive(clap::Args, Debug, Clone)]
pub(super) struct Quantising {
    /// Size of the named batch dimension, fixed in the model.
    #[arg(long, value_name = "N", default_value = "1", value_parser = at_least_one)]
    batch: usize,
    /// Bits of activations: 8, 16, or auto, which chooses for each tensor.
    #[arg(long, value_name = "BITS", default_value = "auto", value_parser = quantise::Precision::from_str)]
    precision: quantise::Precision,
    /// How ranges are chosen: max, percentile:P or mse.
    #[arg(long, value_name = "METHOD", default_value = "max", value_parser = quantise::Method::from_str)]
    method: quantise::Method,
    /// Refuse a model that names the float network's class on fewer than this share of the samples.
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = share)]
    min_agreement: f64,
}

pub(super) fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&size| size > 0).ok_or_else(|| "expected a whole number of at least 1".into())
}

fn share(text: &str) -> Result<f64, String> {
    let share: Option<f64> = text.parse().ok();
    share.filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| "expected a share from 0 to 1".into())
}

impl Default for Quantising {
    fn default() -> Self {
        // As the flags' defaults say.
        Self { batch: 1, precision: quantise::Precision::Auto, method: quantise::Method::Max, min_agreement: 0.0 }
    }
}

/// Reads inputs.
pub(super) fn samples(path: &Path) -> eyre::Result<Samples> {
    Samples::read(&read(path)?).wrap_err_with(|| format!("{}", path.display()))
}

/// The tensors of an ONNX file that lie in files beside it, and nowhere else.
fn beside(model: &Path) -> impl Fn(&str, u64, u64) -> Result<Vec<u8>, String> + use<> {
    let folder = model.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
    move |name, offset, length| {
        use std::io::{Read as _, Seek as _, SeekFrom};
        let folder = folder.canonicalize().map_err(|e| e.to_string())?;
        let path = folder.join(name).canonicalize().map_err(|e| format!("{name}: {e}"))?;
        // The reader has refused `..`; a link may still lead outside.
        if !path.starts_with(&folder) {
            return Err(format!("{name} lies outside the model's folder"));
        }
        // Opening a pipe would wait for its writer.
        if !path.is_file() {
            return Err(format!("{name} is no plain file"));
        }
        let mut file = fs::File::open(&path).map_err(|e| format!("{name}: {e}"))?;
        let size = file.metadata().map_err(|e| format!("{name}: {e}"))?.len();
        if offset.checked_add(length).is_none_or(|end| end > size) {
            return Err(format!("{name} has {size} bytes; bytes {offset} to {offset} + {length} are asked for"));
        }
        let wanted = usize::try_from(length).map_err(|e| e.to_string())?;
        let mut bytes = vec![0; wanted];
        file.seek(SeekFrom::Start(offset)).and_then(|_| file.read_exact(&mut bytes)).map_err(|e| e.to_string())?;
        Ok(bytes)
    }
}

/// An ONNX file, read once.
pub(super) struct Source<'a> {
    pub(super) path: &'a Path,
    pub(super) bytes: Vec<u8>,
}

impl<'a> Source<'a> {
    pub(super) fn read(path: &'a Path) -> eyre::Result<Self> {
        Ok(Self { path, bytes: read(path)? })
    }
}

/// What a model is to commit to its weights for.
#[derive(Default)]
pub(super) struct Committing {
    pub(super) systems: Systems,
    /// Random where the weights are secret.
    pub(super) salt: [u8; 32],
}

/// Compiles an ONNX file on the samples of another.
pub(super) fn compile_onnx(
    global: &Global,
    source: &Source<'_>,
    from: &Path,
    how: &Quantising,
    committed: &Committing,
) -> eyre::Result<Compiled> {
    let bar = global.progress("quantising");
    let told =
        |done: usize, all: usize| bar.set_message(format!("quantising: {} % of the samples", 100 * done / all.max(1)));
    let Source { path, bytes } = source;
    let samples = samples(from)?;
    let external = beside(path);
    let options = assay_circuits::compile::Options {
        onnx: onnx::Options { batch: how.batch, external: Some(&external), ..onnx::Options::default() },
        quantise: quantise::Options {
            precision: how.precision,
            method: how.method,
            minimum_agreement: how.min_agreement,
        },
        systems: committed.systems,
        salt: committed.salt,
        told: Some(&told),
    };
    let compiled = compile(bytes, &samples, &options).map_err(|e| {
        let of_samples =
            matches!(e, CompileError::Samples(_) | CompileError::Quantise(QuantiseError::Calibration { .. }));
        let file = if of_samples { from } else { *path };
        eyre::Report::from(e).wrap_err(format!("{}", file.display()))
    })?;
    let Network { inputs, values, .. } = &compiled.network;
    ensure!(
        how.batch == 1 || inputs.iter().any(|&id| values[id].shape.first() == Some(&how.batch)),
        "{}: --batch {}, but the model names no batch dimension",
        path.display(),
        how.batch
    );
    bar.finish_and_clear();
    Ok(compiled)
}

/// What `report.json` holds: a report, and of what.
#[derive(Serialize, Deserialize)]
pub(super) struct Kept {
    model_id: ModelId,
    /// BLAKE3 of `network.onnx`.
    network: Hash32,
    pub(super) report: quantise::Report,
}

/// A folder that `assay zk compile` made.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub(super) fn model_path(&self) -> PathBuf {
        self.0.join("model.assay")
    }

    pub(super) fn onnx_path(&self) -> PathBuf {
        self.0.join("network.onnx")
    }

    pub(super) fn report_path(&self) -> PathBuf {
        self.0.join("report.json")
    }

    pub(super) fn verifier(&self) -> PathBuf {
        self.0.join("verifier")
    }

    /// What a prover keeps beside the model.
    pub(super) fn keys(&self) -> PathBuf {
        self.0.join("keys")
    }

    /// A prover's key.
    pub(super) fn key_path(&self, system: System) -> PathBuf {
        self.keys().join(format!("{system}.key"))
    }

    /// Keeps others from making keys here at the same time, until it is dropped.
    pub(super) fn lock(&self) -> eyre::Result<File> {
        let keys = self.keys();
        fs::create_dir_all(&keys).wrap_err_with(|| format!("cannot make {}", keys.display()))?;
        lock(&keys.join("lock"))
    }

    /// Refuses a place for an output where part of the model or of its keys lies.
    pub(super) fn spare(&self, path: &Path) -> eyre::Result<()> {
        let place = place(path);
        let files = [self.model_path(), self.onnx_path(), self.report_path()];
        let folders = [self.keys(), self.verifier()];
        let own = files.iter().any(|own| place == self::place(own))
            || folders.iter().any(|own| place.starts_with(self::place(own)));
        ensure!(!own, "{} is a place of the model's own; write elsewhere", path.display());
        Ok(())
    }

    /// How many proofs of a secret model were begun.
    pub(super) fn count(&self, model: &Model) -> CountFile {
        CountFile::of(&self.keys(), model.id())
    }

    /// The model, which must be the one that verifiers have the outline of.
    pub(super) fn model(&self) -> eyre::Result<Model> {
        let path = self.model_path();
        ensure!(
            path.exists(),
            "{} is no folder that `assay zk compile` made: {} is missing",
            self.0.display(),
            path.display()
        );
        let model = Model::from_bytes(&read(&path)?).wrap_err_with(|| format!("{}", path.display()))?;
        let outline = outline(&self.verifier())?;
        ensure!(
            outline == model.outline(),
            "{} and {} are of different models: one of them is damaged or from elsewhere. Compile the model again",
            path.display(),
            outline_path(&self.verifier()).display()
        );
        Ok(model)
    }

    /// Refuses to compile into this folder where that would write over what is no model's, or over what is read for it.
    pub(super) fn take(&self, read: &[&Path]) -> eyre::Result<()> {
        for path in read {
            let own = self.spare(path).is_err();
            ensure!(!own, "{} would be written over; give another --out", path.display());
        }
        ensure!(!self.0.exists() || self.0.is_dir(), "{} is a file; expected a folder for --out", self.0.display());
        if !self.model_path().exists() {
            let own = [self.onnx_path(), self.report_path(), self.keys(), self.verifier()];
            if let Some(found) = own.iter().find(|own| own.exists()) {
                bail!("{} is there and of no whole model; give another --out, or remove it", found.display());
            }
        }
        let place = place(&self.0);
        let there = place.ancestors().find(|above| above.exists()).unwrap_or(Path::new("/"));
        tempfile::tempfile_in(there).map(drop).wrap_err_with(|| format!("cannot write to {}", there.display()))
    }

    /// Writes what quantisation cost.
    pub(super) fn keep_report(&self, model: &Model, onnx: &[u8], report: &quantise::Report) -> eyre::Result<()> {
        let kept = Kept { model_id: model.id(), network: Hash32::digest(onnx), report: report.clone() };
        write(&self.report_path(), &serde_json::to_vec_pretty(&kept).wrap_err("the report")?)
    }

    /// The report of this very model.
    pub(super) fn report(&self, model: &Model) -> eyre::Result<Kept> {
        let path = self.report_path();
        let kept: Kept = serde_json::from_slice(&read(&path)?).wrap_err_with(|| format!("{}", path.display()))?;
        ensure!(
            kept.model_id == model.id(),
            "{} is the report of {}; the model is {}",
            path.display(),
            kept.model_id,
            model.id()
        );
        Ok(kept)
    }

    /// The float network that the model was made of.
    pub(super) fn network(&self, model: &Model) -> eyre::Result<Network> {
        let path = self.onnx_path();
        let bytes = read(&path)?;
        let found = Hash32::digest(&bytes);
        ensure!(found == self.report(model)?.network, "{} is not what the model was made of", path.display());
        let external = beside(&path);
        // The named batch dimension is the first axis wherever there is one.
        let first = model.graph().inputs.first().and_then(|&id| model.graph().tensors[id as usize].shape.first());
        let batch = first.map_or(1, |&size| size as usize);
        let options = onnx::Options { batch, external: Some(&external), ..onnx::Options::default() };
        onnx::read(&bytes, &options).wrap_err_with(|| format!("{}", path.display()))
    }
}

/// Where the public part of a model lies in a verifier's folder.
pub(super) fn outline_path(verifier: &Path) -> PathBuf {
    verifier.join("outline.assay")
}

/// Where a system's key lies in a verifier's folder.
pub(super) fn verifier_key_path(verifier: &Path, system: System) -> PathBuf {
    verifier.join(format!("{system}.key"))
}

/// The public part of a model.
pub(super) fn outline(verifier: &Path) -> eyre::Result<Outline> {
    let path = outline_path(verifier);
    ensure!(path.exists(), "{} is no verifier's folder: {} is missing", verifier.display(), path.display());
    Outline::from_bytes(&read(&path)?).wrap_err_with(|| format!("{}", path.display()))
}

/// A model to run: a compiled folder, or an ONNX file that is compiled on the way.
pub(super) struct Loaded {
    pub(super) model: Arc<Model>,
    /// The float network, or why there is none to compare with.
    pub(super) network: eyre::Result<Network>,
}

/// Reads a folder, or compiles an ONNX file on `calibration`, or on the input where there is none.
pub(super) fn load(
    global: &Global,
    path: &Path,
    calibration: Option<&Path>,
    input: Option<&Path>,
    how: &Quantising,
) -> eyre::Result<Loaded> {
    if path.is_dir() {
        let folder = Folder::new(path);
        let model = folder.model()?;
        let network = folder.network(&model);
        return Ok(Loaded { model: Arc::new(model), network });
    }
    ensure!(path.exists(), "{}: there is no such file or folder", path.display());
    if path.extension().is_none_or(|extension| extension != "onnx") {
        bail!("{}: expected a folder that `assay zk compile` made, or an .onnx file", path.display());
    }
    let given = calibration.or(input);
    let given = given.ok_or_else(|| eyre!("{}: an ONNX file needs --calibration FILE", path.display()))?;
    let Compiled { model, network, .. } =
        compile_onnx(global, &Source::read(path)?, given, how, &Committing::default())?;
    Ok(Loaded { model: Arc::new(model), network: Ok(network) })
}
