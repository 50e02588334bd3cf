//! A node whose disk fills up, or takes no more writes, ends with the reason.
//!
//! It does not wait for the first write that fails: databases and logs have room set aside, so that a node would go on
//! for a while after nobody else can write a byte, and stop in the middle of something. Nor does it wait for one that never ends: a
//! disk that stands still keeps whoever writes to it, who then says nothing more. A thread of its own writes a little and brings it to
//! disk, again and again, and is missed when it does not come back. Another thread misses it: those that run the node's parts may
//! all wait for that disk themselves, and then the process is ended without them.

use std::{
    fs::File,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{LAST_LIMIT, end_now};

/// Free space under which a running node ends, in bytes.
const LEAST_FREE: u64 = 32 << 20;
/// Between two looks.
const PERIOD: Duration = Duration::from_secs(5);
/// A disk that has brought nothing down for so long stands still.
const STANDSTILL: Duration = Duration::from_secs(30);
/// A wait for the disk is counted in so many pieces.
const PIECES: u32 = 30;
/// What is written to see whether it can be.
const PROBE: &str = "probe";

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
    /// It takes nothing more.
    #[error(
        "cannot write to the disk under {dir}: {source}; nothing committed is lost: make it writable and start the node again"
    )]
    Unwritable {
        /// The folder.
        dir: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It stands still.
    #[error(
        "the disk under {dir} has brought nothing down for {} s: it stands still; nothing committed is lost: mend it and start the node again",
        STANDSTILL.as_secs()
    )]
    Still {
        /// The folder.
        dir: PathBuf,
    },
}

/// Writes a little and brings it to disk, which may take for ever.
fn probe(dir: &Path) -> io::Result<()> {
    let mut file = File::create(dir.join(PROBE))?;
    file.write_all(b"this is written over and over to see whether the disk takes it\n")?;
    file.sync_all()
}

type Look = Result<(), DiskTrouble>;

/// Looks at a disk every so often on a thread of its own, and tells what it found, until nobody listens.
fn prober(dir: PathBuf) -> io::Result<Receiver<Look>> {
    let (found, looks) = mpsc::sync_channel(1);
    let look_again = move || {
        loop {
            let look = look(&dir, LEAST_FREE)
                .and_then(|()| probe(&dir).map_err(|source| DiskTrouble::Unwritable { dir: dir.clone(), source }));
            if found.send(look).is_err() {
                return;
            }
            thread::sleep(PERIOD);
        }
    };
    thread::Builder::new().name("disk".into()).spawn(look_again)?;
    Ok(looks)
}

/// Waits for trouble, until nobody asks any more. Time is counted and not read off a clock: a process that was stopped itself for
/// a while, or whose machine was, has not waited for its disk.
fn await_trouble(dir: &Path, looks: &Receiver<Look>, standstill: Duration, asked: impl Fn() -> bool) -> Look {
    let mut waited = 0;
    while asked() {
        match looks.recv_timeout(standstill / PIECES) {
            Ok(look) => {
                look?;
                waited = 0;
            }
            Err(RecvTimeoutError::Timeout) => {
                waited += 1;
                if waited >= PIECES {
                    return Err(DiskTrouble::Still { dir: dir.to_owned() });
                }
            }
            Err(RecvTimeoutError::Disconnected) => {
                let source = io::Error::other("the thread that looks at it has ended");
                return Err(DiskTrouble::Unknown { dir: dir.to_owned(), source });
            }
        }
    }
    Ok(())
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
    let unknown = |source| DiskTrouble::Unknown { dir: dir.clone(), source };
    let looks = prober(dir.clone()).map_err(unknown)?;
    let (told, trouble) = oneshot::channel();
    let heard = CancellationToken::new();
    let (place, hears) = (dir.clone(), heard.clone());
    // However this one ends, it was not kept from it.
    let _heard = heard.drop_guard();
    let wait = move || {
        let Err(trouble) = await_trouble(&place, &looks, STANDSTILL, || !told.is_closed()) else { return };
        let words = trouble.to_string();
        if told.send(trouble).is_ok() {
            thread::sleep(LAST_LIMIT);
            if !hears.is_cancelled() {
                end_now(words);
            }
        }
    };
    thread::Builder::new().name("disk watch".into()).spawn(wait).map_err(unknown)?;
    let found = tokio::select! {
        found = trouble => found,
        () = stop.cancelled() => return Ok(()),
    };
    Err(found.unwrap_or_else(|_| unknown(io::Error::other("the thread that watches it has ended"))))
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

    #[tokio::test]
    async fn a_disk_that_takes_writes_is_looked_at_until_the_node_stops_and_one_that_is_gone_is_told() {
        let here = tempfile::tempdir().unwrap();
        prober(here.path().to_owned()).unwrap().recv().unwrap().unwrap();
        assert!(here.path().join(PROBE).exists());
        let stop = CancellationToken::new();
        stop.cancel();
        watch(here.path().to_owned(), stop).await.unwrap();
        let gone = watch(here.path().join("gone"), CancellationToken::new()).await.unwrap_err();
        assert!(gone.to_string().contains("mounted"), "{gone}");
        let file = here.path().join("file");
        File::create(&file).unwrap();
        assert!(probe(&file).is_err());
    }

    #[test]
    fn a_disk_that_does_not_answer_stands_still_and_one_that_answers_now_and_then_does_not() {
        let dir = Path::new("here");
        let (found, looks) = mpsc::sync_channel(1);
        let still = await_trouble(dir, &looks, Duration::from_millis(60), || true).unwrap_err().to_string();
        assert!(still.contains("stands still") && still.contains("here"), "{still}");
        // Each look begins the count anew.
        let answers = thread::spawn(move || {
            for _ in 0..8 {
                thread::sleep(Duration::from_millis(300));
                found.send(Ok(())).unwrap();
            }
        });
        let gone = await_trouble(dir, &looks, Duration::from_millis(1500), || true).unwrap_err().to_string();
        assert!(gone.contains("has ended"), "{gone}");
        answers.join().unwrap();
        await_trouble(dir, &looks, STANDSTILL, || false).unwrap();
    }
}
