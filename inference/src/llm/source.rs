//! Weights in files: safetensors and GGUF.
//!
//! Only headers are read to know what is there; a tensor's bytes are read when it is asked for, and every shape is
//! checked against what the description says it must be. Nothing in a file is believed: a header that lies gives an
//! error that names the tensor.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::File,
    io::BufReader,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use candle_core::quantized::{GgmlDType, gguf_file};
use half::bf16;
use serde::Deserialize;

use super::{
    config::{self, Config, ConfigError},
    lanes::LANES,
    matrix::{Form, Matrix, MatrixError},
};
use crate::guard::guarded;

/// Why a model did not load.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file could not be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// From the system.
        source: std::io::Error,
    },
    /// A file is not of its format.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The description is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A tensor that the description needs is not there.
    #[error("the tensor `{0}` is missing")]
    Missing(String),
    /// Tensors are there that the description has no place for.
    #[error(
        "the tensor `{tensor}` belongs to no part of the network that the description tells of ({count} such tensors): are \
         `num_hidden_layers` and the architecture what they should be?"
    )]
    Stray {
        /// The first of them.
        tensor: String,
        /// How many there are.
        count: usize,
    },
    /// A tensor is of another shape than the description says.
    #[error("the tensor `{tensor}`: expected the shape {expected:?}, found {found:?}")]
    Shape {
        /// Its name.
        tensor: String,
        /// By the description.
        expected: Vec<usize>,
        /// In the file.
        found: Vec<usize>,
    },
    /// A tensor's weights are refused.
    #[error("the tensor `{tensor}`: {source}")]
    Weights {
        /// Its name.
        tensor: String,
        /// Why.
        source: MatrixError,
    },
    /// A tensor is kept in a form that the engine does not multiply.
    #[error("the tensor `{tensor}` is kept as {form}, which is not supported; use {}", SUPPORTED)]
    Form {
        /// Its name.
        tensor: String,
        /// As the file names it.
        form: String,
    },
    /// There is not enough memory.
    #[error("the model needs {needed_mib} MiB, {available_mib} MiB are free")]
    Memory {
        /// For weights and the smallest cache.
        needed_mib: u64,
        /// By the system.
        available_mib: u64,
    },
    /// The tokenizer is refused.
    #[error("the tokenizer: {0}")]
    Tokenizer(String),
}

const SUPPORTED: &str = "F32, F16, BF16, Q8_0, Q6_K or Q4_K";

/// An error's text without the backtrace that `candle` puts behind it where backtraces are on.
pub(crate) fn without_backtrace(text: &str) -> String {
    text.split_once("\n   0: ").map_or(text, |(words, _)| words).to_owned()
}

/// How a tensor is kept in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    F32,
    F16,
    Bf16,
    Q8,
    Q6K,
    Q4K,
}

impl Stored {
    fn of_gguf(dtype: GgmlDType) -> Option<Self> {
        match dtype {
            GgmlDType::F32 => Some(Self::F32),
            GgmlDType::F16 => Some(Self::F16),
            GgmlDType::BF16 => Some(Self::Bf16),
            GgmlDType::Q8_0 => Some(Self::Q8),
            GgmlDType::Q6K => Some(Self::Q6K),
            GgmlDType::Q4K => Some(Self::Q4K),
            _ => None,
        }
    }

    /// Values in a block, and its bytes.
    fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::Bf16 => (1, 2),
            Self::Q8 => (32, 34),
            Self::Q6K => (256, 210),
            Self::Q4K => (256, 144),
        }
    }

    pub(crate) fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::Bf16)
    }

    /// The form it has in memory, if it is kept as it is.
    pub(crate) fn form(self) -> Form {
        match self {
            // Half the bits of single precision, but none of the processors' conversions are as cheap.
            Self::F32 | Self::Bf16 => Form::F32,
            Self::F16 => Form::F16,
            Self::Q8 => Form::Q8,
            Self::Q6K => Form::Q6K,
            Self::Q4K => Form::Q4K,
        }
    }
}

/// Where a tensor is, and how.
#[derive(Clone, Debug)]
pub(crate) struct TensorEntry {
    file: usize,
    offset: u64,
    /// The slowest axis first.
    pub(crate) shape: Vec<usize>,
    /// As the file names it, and what it means here.
    form: String,
    stored: Option<Stored>,
}

impl TensorEntry {
    /// Values.
    pub(crate) fn values(&self) -> u64 {
        self.shape.iter().fold(1u64, |n, d| n.saturating_mul(*d as u64))
    }

    /// How it is kept, as the file names it.
    pub(crate) fn form(&self) -> &str {
        &self.form
    }

    /// How it is kept, if the engine knows it.
    pub(crate) fn stored(&self) -> Option<Stored> {
        self.stored
    }
}

/// What a model comes as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A folder with `config.json`, `tokenizer.json` and `*.safetensors`.
    Safetensors,
    /// One file with everything in it.
    Gguf,
}

/// A model's files, opened.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) format: Format,
    pub(crate) config: Config,
    pub(crate) tensors: Tensors,
    /// Of a GGUF file.
    pub(crate) metadata: HashMap<String, gguf_file::Value>,
}

/// Tensors in files, read when they are asked for.
#[derive(Debug)]
pub(crate) struct Tensors {
    pub(crate) files: Vec<(PathBuf, File)>,
    entries: BTreeMap<String, TensorEntry>,
    /// Names of those that were asked for.
    asked: Mutex<BTreeSet<String>>,
    /// In a survey nothing is read: shapes and forms are checked, and what matrices would take in memory is counted.
    surveyed: Option<AtomicU64>,
}

pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> LoadError {
    let path = path.to_owned();
    move |source| LoadError::Io { path, source }
}

pub(super) fn malformed(path: &Path, reason: impl ToString) -> LoadError {
    LoadError::Malformed { path: path.to_owned(), reason: reason.to_string() }
}

/// That a path is a file, or a folder of such: whoever opened a pipe would wait for ever.
///
/// # Errors
/// [`LoadError`], naming what is neither.
pub(crate) fn regular(path: &Path) -> Result<(), LoadError> {
    let kind = std::fs::metadata(path).map_err(io(path))?;
    if !kind.is_dir() {
        return if kind.is_file() { Ok(()) } else { Err(malformed(path, "neither a file nor a folder")) };
    }
    for entry in std::fs::read_dir(path).map_err(io(path))? {
        let path = entry.map_err(io(path))?.path();
        // A link to nothing is missed where it is needed.
        if std::fs::metadata(&path).is_ok_and(|kind| !kind.is_file() && !kind.is_dir()) {
            return Err(malformed(&path, "neither a file nor a folder"));
        }
    }
    Ok(())
}

impl Source {
    /// Opens a GGUF file, or a folder as Hugging Face has it.
    ///
    /// # Errors
    /// [`LoadError`], saying which file and why.
    pub(crate) fn open(path: &Path) -> Result<Self, LoadError> {
        regular(path)?;
        if path.is_dir() { Self::open_folder(path) } else { Self::open_gguf(path) }
    }

    fn open_gguf(path: &Path) -> Result<Self, LoadError> {
        let file = File::open(path).map_err(io(path))?;
        let length = file.metadata().map_err(io(path))?.len();
        // The reader divides by an alignment that the file may claim to be nothing.
        let content = guarded(|| gguf_file::Content::read(&mut BufReader::new(&file)))
            .map_err(|_| malformed(path, "the GGUF header makes no sense"))?
            .map_err(|e| malformed(path, format!("not a GGUF file: {}", without_backtrace(&e.to_string()))))?;
        let mut tensors = BTreeMap::new();
        for (name, info) in content.tensor_infos {
            let stored = Stored::of_gguf(info.ggml_dtype);
            let offset = content.tensor_data_offset.saturating_add(info.offset);
            let entry = TensorEntry {
                file: 0,
                offset,
                shape: info.shape.dims().to_vec(),
                form: form_name(info.ggml_dtype),
                stored,
            };
            if let Some(stored) = stored {
                let (values, bytes) = stored.block();
                let end = offset.saturating_add((entry.values() / values as u64).saturating_mul(bytes as u64));
                if end > length {
                    let reason = format!("the tensor `{name}` ends at byte {end}, the file has {length}");
                    return Err(malformed(path, reason));
                }
            }
            tensors.insert(name, entry);
        }
        let embedding =
            tensors.get("token_embd.weight").ok_or_else(|| LoadError::Missing("token_embd.weight".to_owned()))?;
        let vocabulary = embedding.shape.first().copied().unwrap_or(0);
        let tied = !tensors.contains_key("output.weight");
        let config = config::from_gguf(&content.metadata, vocabulary, tied)?;
        let tensors =
            Tensors { files: vec![(path.to_owned(), file)], entries: tensors, asked: Mutex::default(), surveyed: None };
        Ok(Self { format: Format::Gguf, config, tensors, metadata: content.metadata })
    }

    fn open_folder(folder: &Path) -> Result<Self, LoadError> {
        let path = folder.join("config.json");
        let text = std::fs::read_to_string(&path).map_err(io(&path))?;
        let mut config = config::from_json(&text)?;
        let tensors = Tensors::open(shards(folder)?)?;
        // Some files of tied models carry the output's matrix all the same, some untied ones do not say so.
        if !tensors.has("lm_head.weight") {
            config.tied = true;
        }
        Ok(Self { format: Format::Safetensors, config, tensors, metadata: HashMap::new() })
    }
}

impl Tensors {
    /// Opens files of safetensors, whose tensors have names of their own.
    ///
    /// # Errors
    /// [`LoadError`], naming the file.
    pub(crate) fn open(paths: Vec<PathBuf>) -> Result<Self, LoadError> {
        let mut files = Vec::new();
        let mut entries = BTreeMap::new();
        for path in paths {
            let file = File::open(&path).map_err(io(&path))?;
            for (name, mut entry) in read_header(&path, &file)? {
                entry.file = files.len();
                if entries.insert(name.clone(), entry).is_some() {
                    return Err(malformed(&path, format!("the tensor `{name}` is there twice")));
                }
            }
            files.push((path, file));
        }
        Ok(Self { files, entries, asked: Mutex::default(), surveyed: None })
    }

    /// Reads no more: see [`Tensors::surveyed`].
    pub(crate) fn survey(&mut self) {
        self.surveyed = Some(AtomicU64::new(0));
    }

    /// Bytes that the matrices asked for since [`Tensors::survey`] would take in memory.
    pub(crate) fn surveyed(&self) -> u64 {
        self.surveyed.as_ref().map_or(0, |bytes| bytes.load(Ordering::Relaxed))
    }

    /// Every tensor, by name.
    pub(crate) fn entries(&self) -> &BTreeMap<String, TensorEntry> {
        &self.entries
    }

    /// Whether there is a tensor of that name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// That every tensor was asked for but those that `spare` says may be there for nothing.
    ///
    /// # Errors
    /// [`LoadError::Stray`].
    pub(crate) fn all_asked(&self, spare: impl Fn(&str) -> bool) -> Result<(), LoadError> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stray = self.entries.keys().filter(|name| !asked.contains(*name) && !spare(name));
        match stray.next() {
            Some(first) => Err(LoadError::Stray { tensor: first.clone(), count: 1 + stray.count() }),
            None => Ok(()),
        }
    }

    fn entry(&self, name: &str) -> Result<&TensorEntry, LoadError> {
        self.entries.get(name).ok_or_else(|| LoadError::Missing(name.to_owned()))
    }

    /// A tensor of a shape with how it is kept, and the bytes of one of its rows.
    fn expect(&self, name: &str, shape: &[usize]) -> Result<(&TensorEntry, Stored, usize), LoadError> {
        let entry = self.entry(name)?;
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        if entry.shape != shape {
            let (expected, found) = (shape.to_vec(), entry.shape.clone());
            return Err(LoadError::Shape { tensor: name.to_owned(), expected, found });
        }
        let stored =
            entry.stored.ok_or_else(|| LoadError::Form { tensor: name.to_owned(), form: entry.form.clone() })?;
        let (values, bytes) = stored.block();
        let width: usize = shape[1..].iter().product();
        if !width.is_multiple_of(values) {
            let source = MatrixError::Block { form: stored.form(), inputs: width };
            return Err(LoadError::Weights { tensor: name.to_owned(), source });
        }
        Ok((entry, stored, width / values * bytes))
    }

    /// Rows `rows` of a tensor of a shape, and how they are kept.
    fn read(&self, name: &str, shape: &[usize], rows: std::ops::Range<usize>) -> Result<(Stored, Vec<u8>), LoadError> {
        let (entry, stored, row) = self.expect(name, shape)?;
        let mut data = vec![0; rows.len() * row];
        if self.surveyed.is_some() {
            return Ok((stored, data));
        }
        let (path, file) = &self.files[entry.file];
        file.read_exact_at(&mut data, entry.offset + (rows.start * row) as u64).map_err(io(path))?;
        Ok((stored, data))
    }

    /// All values of a tensor of a shape.
    ///
    /// # Errors
    /// [`LoadError`] if it is not there, of another shape, or not kept as floats.
    pub(crate) fn floats(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        let (stored, data) = self.read(name, shape, 0..shape[0])?;
        floats(stored, &data).ok_or_else(|| LoadError::Form {
            tensor: name.to_owned(),
            form: format!("{stored:?}, where floats are needed"),
        })
    }

    /// A vector of `len` values.
    ///
    /// # Errors
    /// As [`Tensors::floats`].
    pub(crate) fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>, LoadError> {
        self.floats(name, &[len])
    }

    /// A vector that need not be there.
    ///
    /// # Errors
    /// As [`Tensors::floats`].
    pub(crate) fn maybe_vector(&self, name: &str, len: usize) -> Result<Option<Vec<f32>>, LoadError> {
        self.has(name).then(|| self.vector(name, len)).transpose()
    }

    /// Rows of a matrix of `whole x inputs`, in the form asked for or as they are kept; `order` gives, for each row of
    /// the result, the row of the range that it is.
    ///
    /// # Errors
    /// [`LoadError`], naming the tensor.
    pub(crate) fn matrix(
        &self,
        name: &str,
        whole: usize,
        inputs: usize,
        rows: std::ops::Range<usize>,
        order: Option<&dyn Fn(usize) -> usize>,
        form: Option<Form>,
    ) -> Result<Matrix, LoadError> {
        let outputs = rows.len();
        if let Some(surveyed) = &self.surveyed {
            let (_, stored, _) = self.expect(name, &[whole, inputs])?;
            let form = form.filter(|_| stored.is_float()).unwrap_or(stored.form());
            let padded = (outputs.next_multiple_of(LANES) as u64).saturating_mul(inputs as u64);
            surveyed.fetch_add(form.bytes(padded), Ordering::Relaxed);
            return Ok(Matrix::hollow(outputs, inputs));
        }
        let (stored, mut data) = self.read(name, &[whole, inputs], rows)?;
        if let Some(order) = order {
            let row = data.len() / outputs.max(1);
            data = (0..outputs).flat_map(|to| &data[order(to) * row..][..row]).copied().collect();
        }
        let matrix = match (floats(stored, &data), form) {
            (Some(_), None) if stored == Stored::F16 => Matrix::from_blocks(Form::F16, outputs, inputs, &data),
            (Some(values), form) => Matrix::from_floats(form.unwrap_or(stored.form()), outputs, inputs, &values),
            // Quantised weights stay as they are: rounding them twice helps nobody.
            (None, _) => Matrix::from_blocks(stored.form(), outputs, inputs, &data),
        };
        matrix.map_err(|source| LoadError::Weights { tensor: name.to_owned(), source })
    }
}

fn floats(stored: Stored, data: &[u8]) -> Option<Vec<f32>> {
    match stored {
        Stored::F32 => Some(data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()),
        Stored::F16 => Some(data.as_chunks().0.iter().map(|b| half::f16::from_le_bytes(*b).to_f32()).collect()),
        Stored::Bf16 => Some(data.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect()),
        Stored::Q8 | Stored::Q6K | Stored::Q4K => None,
    }
}

/// The files that an index names, or the one there is.
fn shards(folder: &Path) -> Result<Vec<PathBuf>, LoadError> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let index = folder.join("model.safetensors.index.json");
    if !index.exists() {
        return Ok(vec![folder.join("model.safetensors")]);
    }
    let text = std::fs::read_to_string(&index).map_err(io(&index))?;
    let parsed: Index = serde_json::from_str(&text).map_err(|e| malformed(&index, e))?;
    let mut names: Vec<String> = parsed.weight_map.into_values().collect();
    names.sort();
    names.dedup();
    if let Some(outside) = names.iter().find(|n| Path::new(n).components().count() != 1 || n.starts_with("..")) {
        return Err(malformed(&index, format!("`{outside}` is outside the folder")));
    }
    Ok(names.iter().map(|n| folder.join(n)).collect())
}

/// Headers above this are no model's.
const HEADER_MAX: u64 = 64 << 20;

fn read_header(path: &Path, file: &File) -> Result<Vec<(String, TensorEntry)>, LoadError> {
    let length = file.metadata().map_err(io(path))?.len();
    let mut size = [0; 8];
    file.read_exact_at(&mut size, 0).map_err(|_| malformed(path, "too short for safetensors"))?;
    let size = u64::from_le_bytes(size);
    if size > HEADER_MAX || size.saturating_add(8) > length {
        return Err(malformed(path, format!("a safetensors header of {size} bytes in a file of {length}")));
    }
    let mut header = vec![0; size as usize];
    file.read_exact_at(&mut header, 8).map_err(io(path))?;
    let header: safetensors::tensor::Metadata =
        serde_json::from_slice(&header).map_err(|e| malformed(path, format!("not safetensors: {e}")))?;
    let start = 8 + size;
    let mut entries = Vec::new();
    for (name, info) in header.tensors() {
        let (from, to) = info.data_offsets;
        if start.saturating_add(to as u64) > length {
            return Err(malformed(path, format!("the tensor `{name}` ends beyond the file")));
        }
        let stored = match info.dtype {
            safetensors::Dtype::F32 => Some(Stored::F32),
            safetensors::Dtype::F16 => Some(Stored::F16),
            safetensors::Dtype::BF16 => Some(Stored::Bf16),
            _ => None,
        };
        let form = format!("{:?}", info.dtype);
        entries.push((
            name,
            TensorEntry { file: 0, offset: start + from as u64, shape: info.shape.clone(), form, stored },
        ));
    }
    Ok(entries)
}

/// A form's name as llama.cpp writes it.
fn form_name(form: GgmlDType) -> String {
    let name = format!("{form:?}");
    name.strip_suffix('K').map_or(name.clone(), |bits| format!("{bits}_K"))
}
