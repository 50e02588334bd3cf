//! How many proofs of a secret model were begun: a number in a file, which no crash sets back.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use assay_circuits::proof::sumcheck::hiding::{Count, PROOFS};
use assay_primitives::ModelId;

use super::files::lock;

/// The count of one model's proofs.
///
/// It is written and synced, folder and all, before a proof is begun, under a lock that holds for every process of this
/// machine. A count that is not there is not taken for zero: it may have been lost.
#[derive(Debug, Clone)]
pub(super) struct CountFile(PathBuf);

impl CountFile {
    /// In the folder of a model's keys.
    pub(super) fn of(keys: &Path, model: ModelId) -> Self {
        Self(keys.join(format!("hiding-{model}.count")))
    }

    /// Starts at zero, for a model whose salt was drawn just now.
    pub(super) fn start(&self) -> Result<(), String> {
        if let Some(folder) = self.0.parent() {
            fs::create_dir_all(folder).map_err(|e| format!("cannot make {}: {e}", folder.display()))?;
        }
        self.write(0)
    }

    fn read(&self) -> Result<usize, String> {
        let shown = self.0.display();
        let remedy =
            "how many proofs were made is not known, and one too many would tell of the weights. Compile it again";
        let text = fs::read_to_string(&self.0).map_err(|e| format!("{shown}: {e}: {remedy}"))?;
        let begun = text.trim_end().parse::<usize>().ok().filter(|begun| begun.to_string() == text.trim_end());
        begun.ok_or_else(|| format!("{shown} holds no number: {remedy}"))
    }

    fn write(&self, begun: usize) -> Result<(), String> {
        let failed = |e: std::io::Error| format!("cannot write {}: {e}", self.0.display());
        crate::home::replace(&self.0, format!("{begun}\n").as_bytes()).map_err(failed)?;
        // The new name must last too, or a crash brings the old number back.
        let folder = self.0.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
    }
}

impl Count for CountFile {
    fn begun(&self) -> Result<usize, String> {
        self.read()
    }

    fn begin(&self) -> Result<usize, String> {
        let _lock = lock(&self.0.with_extension("lock")).map_err(|e| format!("{e:#}"))?;
        let begun = self.read()?;
        if begun < PROOFS {
            self.write(begun + 1)?;
        }
        Ok(begun)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn count(folder: &Path) -> CountFile {
        CountFile::of(&folder.join("keys"), ModelId([7; 32]))
    }

    #[test]
    fn a_count_goes_on_after_a_restart_and_ends() {
        let folder = tempfile::tempdir().unwrap();
        count(folder.path()).start().unwrap();
        for before in 0..PROOFS {
            assert_eq!(count(folder.path()).begun(), Ok(before));
            assert_eq!(count(folder.path()).begin(), Ok(before));
        }
        assert_eq!(count(folder.path()).begin(), Ok(PROOFS));
        assert_eq!(count(folder.path()).begun(), Ok(PROOFS));
    }

    #[test]
    fn two_that_prove_at_once_get_different_numbers() {
        let folder = tempfile::tempdir().unwrap();
        count(folder.path()).start().unwrap();
        let mut numbers: Vec<usize> = std::thread::scope(|scope| {
            let prove = || (0..8).map(|_| count(folder.path()).begin().unwrap()).collect::<Vec<_>>();
            let threads = [scope.spawn(prove), scope.spawn(prove), scope.spawn(prove)];
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        numbers.sort_unstable();
        assert_eq!(numbers, (0..24).collect::<Vec<_>>());
    }

    #[test]
    fn a_count_that_is_lost_spoilt_or_another_models_is_not_taken_for_zero() {
        let folder = tempfile::tempdir().unwrap();
        let file = count(folder.path());
        assert!(file.begin().is_err());
        file.start().unwrap();
        let other = CountFile::of(&folder.path().join("keys"), ModelId([8; 32]));
        assert!(other.begin().unwrap_err().contains("Compile it again"));
        for spoilt in ["", "-1", "+3", "03", "x"] {
            fs::write(&file.0, spoilt).unwrap();
            assert!(file.begin().unwrap_err().contains("holds no number"));
        }
    }
}
