//! A table that is kept in a file: changed in memory, and written as JSON where something changed.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use tokio_util::sync::CancellationToken;

use super::files;

/// How often changes are written: as much is forgotten at most by a process that is killed.
const SAVE: Duration = Duration::from_secs(1);

/// Why a kept table was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// The operating system refused.
    #[error("cannot {doing} {}: {source}; check that the disk has room and the folder is writable", path.display())]
    Io {
        /// `read`, `write` or the like.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds something else than was written.
    #[error("{} is damaged: {reason}; move it away to begin anew", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// The table of a file; one that is not there is empty.
///
/// # Errors
/// [`KeptError`].
pub(crate) fn read<T: Default + DeserializeOwned>(path: &Path) -> Result<T, KeptError> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map_err(|e| KeptError::Damaged { path: path.to_owned(), reason: e.to_string() }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(T::default()),
        Err(source) => Err(KeptError::Io { doing: "read", path: path.to_owned(), source }),
    }
}

/// A table and its file, which only its owner may read. Clones share them.
#[derive(Debug, Default)]
pub(crate) struct Kept<T>(Arc<Inner<T>>);

#[derive(Debug, Default)]
struct Inner<T> {
    /// `None` for a table of the memory alone.
    path: Option<PathBuf>,
    state: Mutex<State<T>>,
}

#[derive(Debug, Default)]
struct State<T> {
    table: T,
    /// Whether it is another than the file's.
    changed: bool,
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Default + Serialize + DeserializeOwned + Send + 'static> Kept<T> {
    /// The table of a file, which need not be there yet.
    ///
    /// # Errors
    /// [`KeptError`].
    pub(crate) fn open(path: PathBuf) -> Result<Self, KeptError> {
        let state = State { table: read(&path)?, changed: false };
        Ok(Self(Arc::new(Inner { path: Some(path), state: Mutex::new(state) })))
    }

    /// [`Kept::open`] in a folder, which is made if need be.
    ///
    /// # Errors
    /// [`KeptError`].
    pub(crate) fn open_in(dir: &Path, name: &str) -> Result<Self, KeptError> {
        let made = fs::create_dir_all(dir);
        made.map_err(|source| KeptError::Io { doing: "create", path: dir.to_owned(), source })?;
        Self::open(dir.join(name))
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the table.
    pub(crate) fn look<R>(&self, at: impl FnOnce(&T) -> R) -> R {
        at(&self.state().table)
    }

    /// Changes the table.
    pub(crate) fn change<R>(&self, by: impl FnOnce(&mut T) -> R) -> R {
        let mut state = self.state();
        state.changed = true;
        by(&mut state.table)
    }

    /// Writes what changed.
    ///
    /// # Errors
    /// [`KeptError`]; the next call tries again.
    pub(crate) fn save(&self) -> Result<(), KeptError> {
        let Some(path) = &self.0.path else { return Ok(()) };
        let text = {
            let mut state = self.state();
            if !std::mem::replace(&mut state.changed, false) {
                return Ok(());
            }
            serde_json::to_string_pretty(&state.table).expect("tables are of strings and numbers") + "\n"
        };
        files::replace_secret(path, text.as_bytes()).map_err(|source| {
            self.state().changed = true;
            KeptError::Io { doing: "write", path: path.clone(), source }
        })
    }

    /// [`Kept::save`], away from the threads that others wait for; the error is logged, as that of `what`. Whether it was
    /// written.
    pub(crate) async fn saved(&self, what: &str) -> bool {
        let table = self.clone();
        let saved = tokio::task::spawn_blocking(move || table.save()).await;
        match saved {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::error!(%error, "{what} is not written down; it is tried again");
                false
            }
            Err(error) => {
                tracing::error!(%error, "{what} is not written down");
                false
            }
        }
    }

    /// Writes what changes, until `stop`, and then once more.
    pub(crate) async fn keep(&self, what: &str, stop: &CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(SAVE)).await.is_some() {
            self.saved(what).await;
        }
        self.saved(what).await;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    type Table = Kept<BTreeMap<String, u64>>;

    fn put(table: &Table, name: &str, n: u64) {
        table.change(|t| t.insert(name.into(), n));
    }

    #[test]
    fn what_was_changed_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let table = Table::open_in(&folder.path().join("sub"), "a.json").unwrap();
        let path = folder.path().join("sub/a.json");
        table.save().unwrap();
        assert!(!path.exists(), "nothing changed");
        put(&table, "a", 1);
        put(&table.clone(), "b", 2);
        table.save().unwrap();
        assert_eq!(Table::open(path.clone()).unwrap().look(|t| t["a"] + t["b"]), 3);
        fs::write(&path, "{").unwrap();
        assert!(Table::open(path).unwrap_err().to_string().contains("move it away"));
    }

    #[test]
    fn what_could_not_be_written_is_written_later() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sub/a.json");
        let table = Table::open(path.clone()).unwrap();
        put(&table, "a", 1);
        assert!(matches!(table.save(), Err(KeptError::Io { doing: "write", .. })));
        fs::create_dir(folder.path().join("sub")).unwrap();
        table.save().unwrap();
        assert_eq!(read::<BTreeMap<String, u64>>(&path).unwrap()["a"], 1);
    }

    #[tokio::test]
    async fn what_changed_last_is_written_at_the_stop() {
        let folder = tempfile::tempdir().unwrap();
        let table = Table::open_in(folder.path(), "a.json").unwrap();
        let (stop, kept) = (CancellationToken::new(), table.clone());
        let keeping = tokio::spawn({
            let stop = stop.clone();
            async move { kept.keep("a table", &stop).await }
        });
        put(&table, "a", 7);
        stop.cancel();
        keeping.await.unwrap();
        assert_eq!(Table::open(folder.path().join("a.json")).unwrap().look(|t| t["a"]), 7);
    }

    #[test]
    fn a_table_of_the_memory_is_written_nowhere() {
        let table = Table::default();
        put(&table, "a", 1);
        table.save().unwrap();
        assert_eq!(table.look(|t| t["a"]), 1);
    }
}
