//! A node whose disk fills up ends while everything it knows is still written down.
//!
//! It does not wait for the first write that fails: databases and logs have room set aside, so that a node would go on
//! for a while after nobody else can write a byte, and stop in the middle of something.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

/// Free space under which a running node ends, in bytes.
const LEAST_FREE: u64 = 32 << 20;
/// Between two looks.
const PERIOD: Duration = Duration::from_secs(5);

/// Why a node cannot go on with its disk.
#[derive(Debug, thiserror::Error)]
pub(super) enum DiskTrouble {
    /// It fills up.
    #[error(
        "{left} MiB are left on the disk under {dir}, and a node ends below {}: nothing is lost; make room and start it again",
        LEAST_FREE >> 20
    )]
    Full {
        /// The folder.
        dir: PathBuf,
        /// Free space, in MiB.
        left: u64,
    },
    /// It does not answer.
    #[error("cannot ask for free space in {dir}: {source}; check that the disk is mounted")]
    Unknown {
        /// The folder.
        dir: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

fn look(dir: &Path, least: u64) -> Result<(), DiskTrouble> {
    let dir = || dir.to_owned();
    let free = fs4::available_space(dir()).map_err(|source| DiskTrouble::Unknown { dir: dir(), source })?;
    if free < least { Err(DiskTrouble::Full { dir: dir(), left: free >> 20 }) } else { Ok(()) }
}

/// Looks at the disk under a folder until it is told to stop.
///
/// # Errors
/// [`DiskTrouble`], when the node must end.
pub(super) async fn watch(dir: PathBuf, stop: CancellationToken) -> Result<(), DiskTrouble> {
    loop {
        look(&dir, LEAST_FREE)?;
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => (),
            () = stop.cancelled() => return Ok(()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_with_less_than_the_least_and_one_that_is_not_there_end_a_node() {
        let here = tempfile::tempdir().unwrap();
        look(here.path(), 1).unwrap();
        let full = look(here.path(), u64::MAX).unwrap_err().to_string();
        assert!(full.contains("are left on the disk") && full.contains("make room"), "{full}");
        assert!(look(&here.path().join("gone"), 1).unwrap_err().to_string().contains("mounted"));
    }
}
