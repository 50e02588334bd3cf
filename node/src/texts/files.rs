//! A language model's files in a home.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use assay_inference::llm::{LoadError, TextFiles};
use assay_primitives::{ModelId, text::TextModel};

/// Why files were not kept.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// They are no model.
    #[error(transparent)]
    Model(#[from] LoadError),
    /// The operating system refused.
    #[error("cannot {doing} {}: {source}; nothing was kept", path.display())]
    Io {
        /// `copy` or the like.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not the one that was committed to.
    #[error(
        "{}: expected the file that model {model} commits to, found another; `assay model rm {model}` makes room for it",
        path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// The model.
        model: ModelId,
    },
}

/// What in a model's folder an engine opens: the one GGUF file, or the folder.
pub(super) fn entrance(dir: &Path) -> PathBuf {
    let only = fs::read_dir(dir).ok().and_then(|mut all| {
        let first = all.next()?.ok()?.path();
        all.next().is_none().then_some(first)
    });
    only.filter(|file| file.extension().is_some_and(|e| e == "gguf")).unwrap_or_else(|| dir.to_owned())
}

/// Keeps copies of a model's files below `dir`, in a folder named by the model's id. Nobody who writes to the files later
/// changes what is kept. One that is kept already stays as it is, if it is whole.
///
/// # Errors
/// [`FileError`]; nothing is left behind then.
pub fn keep(dir: &Path, files: &TextFiles) -> Result<PathBuf, FileError> {
    let to = place(dir, &files.model, files.paths.iter().map(|path| move |to: &Path| fs::copy(path, to).map(drop)))?;
    match check_files(&to, &files.model) {
        Ok(()) => Ok(to),
        // Whatever is wrong with it, it is with what was kept.
        Err(_) => Err(FileError::Changed { path: to, model: files.model.id() }),
    }
}

/// Keeps a model that this program carries.
///
/// # Errors
/// [`FileError`]; nothing is left behind then.
pub fn keep_bytes(dir: &Path, model: &TextModel, files: &[&[u8]]) -> Result<PathBuf, FileError> {
    place(dir, model, files.iter().map(|bytes| move |to: &Path| fs::write(to, bytes)))
}

fn place<W: Fn(&Path) -> io::Result<()>>(
    dir: &Path,
    model: &TextModel,
    writers: impl Iterator<Item = W>,
) -> Result<PathBuf, FileError> {
    let to = dir.join(model.id().to_string());
    if to.is_dir() {
        return Ok(to);
    }
    let failed = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| FileError::Io { doing, path, source }
    };
    fs::create_dir_all(dir).map_err(failed("make", dir))?;
    // Under another name until all is there: a model that is half kept is none.
    let passing =
        tempfile::Builder::new().prefix(".keeping-").tempdir_in(dir).map_err(failed("make a folder in", dir))?;
    for (file, write) in model.files.iter().zip(writers) {
        let path = passing.path().join(&file.name);
        write(&path).map_err(failed("write", &path))?;
    }
    match fs::rename(passing.path(), &to) {
        Ok(()) => {
            // Its name is gone, and with it what was to be removed.
            let _ = passing.keep();
            Ok(to)
        }
        // Another process was faster.
        Err(_) if to.is_dir() => Ok(to),
        Err(e) => Err(failed("keep", &to)(e)),
    }
}

/// The models that are kept below `dir`, by ascending id.
pub fn kept(dir: &Path) -> Vec<(ModelId, PathBuf)> {
    let Ok(all) = fs::read_dir(dir) else { return Vec::new() };
    let named = |path: PathBuf| Some((path.file_name()?.to_str()?.parse::<ModelId>().ok()?, path));
    let mut found: Vec<_> = all.flatten().filter_map(|entry| named(entry.path())).collect();
    found.sort();
    found
}

/// Hashes a kept model's files, and says which is not what the model commits to.
///
/// # Errors
/// [`FileError::Changed`], or what keeps the files from being read.
pub fn check_files(dir: &Path, model: &TextModel) -> Result<(), FileError> {
    let found = TextFiles::read(&entrance(dir))?;
    let changed = model.files.iter().find(|file| !found.model.files.contains(file));
    match changed {
        Some(file) => Err(FileError::Changed { path: dir.join(&file.name), model: model.id() }),
        None if found.model.id() == model.id() => Ok(()),
        None => Err(FileError::Changed { path: dir.to_owned(), model: model.id() }),
    }
}
