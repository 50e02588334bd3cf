//! What a miner has answered, so that no nonce is answered twice.
//!
//! One file an epoch, `<epoch>.answers`, appended to and synced before a signed answer leaves: 48 bytes each, requester and
//! nonce. That of a text is appended while the text is made.
//! Answers that leave together share a sync: while one is under way, those that come wait for the next.
//! An entry torn by a crash was never spoken of, and is cut off when the file is opened. Bounded: [`MAX_ANSWERS_PER_EPOCH`]
//! entries a file, and files older than evidence may be are deleted. Proofs are not kept: a challenge brings its request
//! along, and to prove that again takes less than to keep a proof of every answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use assay_primitives::AccountId;

use crate::roles::RoleError;

/// Most answers in one epoch.
pub(super) const MAX_ANSWERS_PER_EPOCH: usize = 65_536;
/// Bytes of an entry.
const ENTRY: usize = 48;

/// Why a request may not be worked on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// This nonce was used.
    Replay,
    /// The epoch's bound is reached.
    Full,
}

#[derive(Debug)]
struct EpochFile {
    path: PathBuf,
    file: Arc<File>,
    /// Bytes that are on the disk for good; held while more are brought there.
    synced: Arc<tokio::sync::Mutex<u64>>,
    /// End of the last whole entry.
    end: u64,
    /// Nonces answered or being worked on.
    nonces: BTreeSet<(AccountId, [u8; 16])>,
}

/// The log over all epochs that matter.
#[derive(Debug)]
pub(super) struct AnswerLog {
    dir: PathBuf,
    epochs: BTreeMap<u64, EpochFile>,
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RoleError {
    let path = path.to_owned();
    move |source| RoleError::Io { doing, path, source }
}

impl EpochFile {
    fn open(path: PathBuf) -> Result<Self, RoleError> {
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = opened.map_err(failed("open", &path))?;
        let mut bytes = Vec::new();
        (&file).take((MAX_ANSWERS_PER_EPOCH * ENTRY) as u64).read_to_end(&mut bytes).map_err(failed("read", &path))?;
        let (entries, _) = bytes.as_chunks::<ENTRY>();
        let nonces = entries.iter().map(|entry| {
            let (requester, nonce) = entry.split_first_chunk::<32>().expect("an entry has 48 bytes");
            (AccountId(*requester), nonce.try_into().expect("48 less 32 are 16"))
        });
        let end = (entries.len() * ENTRY) as u64;
        file.set_len(end).map_err(failed("cut", &path))?;
        let (nonces, synced) = (nonces.collect(), Arc::new(tokio::sync::Mutex::new(end)));
        Ok(Self { nonces, path, file: Arc::new(file), synced, end })
    }

    fn append(&mut self, requester: &AccountId, nonce: &[u8; 16]) -> io::Result<()> {
        let mut file = &*self.file;
        file.seek(SeekFrom::Start(self.end))?;
        file.write_all(&[&requester.0[..], nonce].concat())?;
        self.end += ENTRY as u64;
        Ok(())
    }
}

/// An entry that is written and may not be on the disk yet.
#[must_use = "nothing may leave before it is synced"]
pub(super) struct Written {
    path: PathBuf,
    file: Arc<File>,
    synced: Arc<tokio::sync::Mutex<u64>>,
    end: u64,
}

impl Written {
    /// Waits until it is there for good.
    pub(super) async fn sync(self) -> Result<(), RoleError> {
        let Self { path, file, synced, end } = self;
        let mut synced = synced.lock().await;
        if *synced >= end {
            return Ok(());
        }
        let sync = move || {
            // What others have written by now is brought there too.
            let length = file.metadata()?.len();
            file.sync_data()?;
            Ok(length)
        };
        let done = tokio::task::spawn_blocking(sync).await.unwrap_or_else(|e| Err(io::Error::other(e)));
        *synced = done.map_err(failed("write", &path))?;
        Ok(())
    }
}

impl AnswerLog {
    /// Opens the log in `dir`, which is made if need be.
    pub(super) fn open(dir: PathBuf) -> Result<Self, RoleError> {
        fs::create_dir_all(&dir).map_err(failed("create", &dir))?;
        let mut epochs = BTreeMap::new();
        for entry in fs::read_dir(&dir).map_err(failed("list", &dir))? {
            let path = entry.map_err(failed("list", &dir))?.path();
            let name = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_suffix(".answers"));
            if let Some(epoch) = name.and_then(|n| n.parse().ok()) {
                epochs.insert(epoch, EpochFile::open(path)?);
            }
        }
        Ok(Self { dir, epochs })
    }

    /// Marks a nonce as used, in memory until its answer is recorded: nothing is told before that.
    pub(super) fn reserve(
        &mut self,
        epoch: u64,
        requester: AccountId,
        nonce: [u8; 16],
    ) -> Result<Result<(), Taken>, RoleError> {
        if !self.epochs.contains_key(&epoch) {
            let opened = EpochFile::open(self.dir.join(format!("{epoch}.answers")))?;
            self.epochs.insert(epoch, opened);
        }
        let file = self.epochs.get_mut(&epoch).expect("inserted above");
        if file.nonces.contains(&(requester, nonce)) {
            return Ok(Err(Taken::Replay));
        }
        if file.nonces.len() >= MAX_ANSWERS_PER_EPOCH {
            return Ok(Err(Taken::Full));
        }
        file.nonces.insert((requester, nonce));
        Ok(Ok(()))
    }

    /// Gives a nonce back whose request was not answered.
    pub(super) fn release(&mut self, epoch: u64, requester: AccountId, nonce: [u8; 16]) {
        if let Some(file) = self.epochs.get_mut(&epoch) {
            file.nonces.remove(&(requester, nonce));
        }
    }

    /// Writes down that a nonce was answered. Once that is synced, and only then, the answer may leave. `None` for an epoch
    /// that was forgotten meanwhile: it is too old for its answer to be taken anywhere.
    pub(super) fn record(
        &mut self,
        epoch: u64,
        requester: &AccountId,
        nonce: &[u8; 16],
    ) -> Result<Option<Written>, RoleError> {
        let Some(of) = self.epochs.get_mut(&epoch) else { return Ok(None) };
        of.append(requester, nonce).map_err(failed("write", &of.path))?;
        Ok(Some(Written {
            path: of.path.clone(),
            file: Arc::clone(&of.file),
            synced: Arc::clone(&of.synced),
            end: of.end,
        }))
    }

    /// Forgets epochs before `oldest`.
    pub(super) fn forget_before(&mut self, oldest: u64) -> Result<(), RoleError> {
        while let Some(entry) = self.epochs.first_entry().filter(|e| *e.key() < oldest) {
            let file = entry.remove();
            fs::remove_file(&file.path).map_err(failed("delete", &file.path))?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const ONE: AccountId = AccountId([1; 32]);

    fn recorded(log: &mut AnswerLog, epoch: u64, nonce: u8) {
        let written = log.record(epoch, &ONE, &[nonce; 16]).unwrap().unwrap();
        tokio::runtime::Runtime::new().unwrap().block_on(written.sync()).unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn answers_that_leave_together_are_all_there() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = AnswerLog::open(dir.path().into()).unwrap();
        let mut waiting = tokio::task::JoinSet::new();
        for n in 0..50 {
            log.reserve(3, ONE, [n; 16]).unwrap().unwrap();
            waiting.spawn(log.record(3, &ONE, &[n; 16]).unwrap().unwrap().sync());
        }
        let all = waiting.join_all().await;
        assert!(all.iter().all(Result::is_ok));
        let mut log = AnswerLog::open(dir.path().into()).unwrap();
        assert!((0..50).all(|n| log.reserve(3, ONE, [n; 16]).unwrap() == Err(Taken::Replay)));
    }

    #[test]
    fn a_nonce_is_taken_once_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = AnswerLog::open(dir.path().join("answers")).unwrap();
        assert_eq!(log.reserve(5, ONE, [1; 16]).unwrap(), Ok(()));
        assert_eq!(log.reserve(5, ONE, [1; 16]).unwrap(), Err(Taken::Replay));
        assert_eq!(log.reserve(5, ONE, [9; 16]).unwrap(), Ok(()));
        log.release(5, ONE, [9; 16]);
        assert_eq!(log.reserve(5, ONE, [9; 16]).unwrap(), Ok(()));
        recorded(&mut log, 5, 1);
        let mut log = AnswerLog::open(dir.path().join("answers")).unwrap();
        assert_eq!(log.reserve(5, ONE, [1; 16]).unwrap(), Err(Taken::Replay));
        assert_eq!(log.reserve(6, ONE, [1; 16]).unwrap(), Ok(()), "another epoch");
        // Worked on but never answered: nothing was told, so it may be asked again.
        assert_eq!(log.reserve(5, ONE, [9; 16]).unwrap(), Ok(()));
    }

    #[test]
    fn a_torn_entry_is_cut_off_and_the_ones_before_it_stand() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = AnswerLog::open(dir.path().into()).unwrap();
        for n in [1, 2] {
            log.reserve(3, ONE, [n; 16]).unwrap().unwrap();
            recorded(&mut log, 3, n);
        }
        let (whole, torn) = (dir.path().join("3.answers"), dir.path().join("4.answers"));
        let length = fs::metadata(&whole).unwrap().len();
        for cut in [1, 17, 47] {
            fs::copy(&whole, &torn).unwrap();
            OpenOptions::new().write(true).open(&torn).unwrap().set_len(length - cut).unwrap();
            let mut log = AnswerLog::open(dir.path().into()).unwrap();
            assert_eq!(log.reserve(4, ONE, [1; 16]).unwrap(), Err(Taken::Replay), "cut {cut}");
            assert_eq!(log.reserve(4, ONE, [2; 16]).unwrap(), Ok(()));
            recorded(&mut log, 4, 2);
            let mut log = AnswerLog::open(dir.path().into()).unwrap();
            assert_eq!(log.reserve(4, ONE, [2; 16]).unwrap(), Err(Taken::Replay));
        }
    }

    #[test]
    fn old_epochs_are_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = AnswerLog::open(dir.path().into()).unwrap();
        for epoch in [1, 2, 3] {
            log.reserve(epoch, ONE, [1; 16]).unwrap().unwrap();
        }
        log.forget_before(3).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(log.record(1, &ONE, &[1; 16]).unwrap().is_none());
    }
}
