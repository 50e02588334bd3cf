//! A language model as a chain knows it: the hashes of its files.

use std::{
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
};

use assay_primitives::{
    Hash32,
    text::{ModelFile, TextModel},
};

use super::{
    ARITHMETIC,
    source::{Format, LoadError, Source, io, malformed},
};

/// Most positions of a model on a chain: keys and values of a sequence must have room with every miner.
const MOST_CONTEXT: usize = 8192;

/// Files of a folder, beside its weights, on which answers depend where they are there.
const BESIDE: [&str; 5] =
    ["chat_template.jinja", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"];

/// The files that an opened model is made of, by ascending name.
fn files(path: &Path, source: &Source) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = source.tensors.files.iter().map(|(path, _)| path.clone()).collect();
    if source.format == Format::Safetensors {
        all.extend(BESIDE.map(|name| path.join(name)).into_iter().filter(|file| file.exists()));
    }
    all.sort();
    all
}

fn hashed(path: &Path) -> Result<ModelFile, LoadError> {
    let file = File::open(path).map_err(io(path))?;
    let bytes = file.metadata().map_err(io(path))?.len();
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(BufReader::with_capacity(1 << 20, file)).map_err(io(path))?;
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| malformed(path, "its name is no text"))?;
    Ok(ModelFile { name: name.to_owned(), bytes, hash: Hash32(*hasher.finalize().as_bytes()) })
}

impl TextFiles {
    /// Reads the headers and hashes the files of the model at `path`: a folder, or a GGUF file.
    ///
    /// # Errors
    /// [`LoadError`], naming the file.
    pub fn read(path: &Path) -> Result<Self, LoadError> {
        Self::of(path, &Source::open(path)?)
    }

    pub(super) fn of(path: &Path, source: &Source) -> Result<Self, LoadError> {
        let paths = files(path, source);
        let files = paths.iter().map(|path| hashed(path)).collect::<Result<Vec<_>, _>>()?;
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let model = TextModel {
            files,
            context: number(source.config.context.min(MOST_CONTEXT)),
            vocabulary: number(source.config.vocabulary),
            arithmetic: ARITHMETIC,
        };
        // By its own rules, so that what cannot be registered is found before anything is sent.
        TextModel::from_bytes(&model.to_bytes()).map_err(|e| malformed(path, e.reason))?;
        Ok(Self { paths, model })
    }
}

/// The files of a language model and their commitment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextFiles {
    /// Where they lie, in the order of [`TextModel::files`].
    pub paths: Vec<PathBuf>,
    /// What a chain keeps of them.
    pub model: TextModel,
}
