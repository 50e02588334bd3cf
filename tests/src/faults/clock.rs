//! A clock of its own for one process: `libfaketime`, loaded before everything else.

use std::{
    fs,
    path::{Path, PathBuf},
};

use eyre::{WrapErr as _, eyre};

/// Where distributions keep the library, below the folder of an architecture's.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// The time of day of one process; how long things take stays as it is.
#[derive(Clone, Debug)]
pub struct Clock {
    library: PathBuf,
    /// What it is set by.
    file: PathBuf,
}

impl Clock {
    /// One that is set by a file, which is made when it is [`set`](Self::set).
    ///
    /// # Errors
    /// If the library is not installed.
    pub fn new(file: PathBuf) -> eyre::Result<Self> {
        let folders =
            fs::read_dir("/usr/lib")?.flatten().map(|folder| folder.path()).chain([PathBuf::from("/usr/lib")]);
        let found = folders.map(|folder| folder.join(LIBRARY)).find(|path| path.is_file());
        let library = found.ok_or_else(|| eyre!("there is no {LIBRARY} below /usr/lib; install faketime"))?;
        Ok(Self { library, file })
    }

    /// Sets it so many seconds before the machine's, or behind it; within a second the process knows.
    ///
    /// # Errors
    /// The disk's.
    pub fn set(&self, seconds: i64) -> eyre::Result<()> {
        // At once: half a number would be another time.
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{seconds:+}\n")).wrap_err("cannot set a clock")?;
        Ok(fs::rename(&new, &self.file)?)
    }

    /// What a process must be told that is to have it.
    pub(crate) fn environment(&self) -> [(&'static str, &Path); 4] {
        [
            ("LD_PRELOAD", &self.library),
            ("FAKETIME_TIMESTAMP_FILE", &self.file),
            ("FAKETIME_CACHE_DURATION", Path::new("1")),
            ("FAKETIME_DONT_FAKE_MONOTONIC", Path::new("1")),
        ]
    }
}
