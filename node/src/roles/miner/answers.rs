//! What a miner has answered: so that no nonce is answered twice, and so that a challenge finds its proof.
//!
//! One file an epoch, `<epoch>.answers`, appended to and synced before an answer leaves: `u32` length, little endian,
//! then a borsh [`Record`]. A record torn by a crash was never spoken of, and is cut off when the file is opened.
//! Bounded: [`MAX_ANSWERS_PER_EPOCH`] records a file, and files older than evidence may be are deleted.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use assay_primitives::{AccountId, Hash32};
use borsh::{BorshDeserialize, BorshSerialize};

use crate::roles::RoleError;

/// Most answers in one epoch.
pub(super) const MAX_ANSWERS_PER_EPOCH: usize = 16_384;
/// Largest record on disk, in bytes.
const MAX_RECORD: u32 = 2 * 1024 * 1024;

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct Record {
    pub(super) requester: AccountId,
    pub(super) nonce: [u8; 16],
    /// The response's id.
    pub(super) response: Hash32,
    pub(super) proof: Vec<u8>,
}

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
    file: File,
    /// End of the last whole record.
    end: u64,
    /// Nonces answered or being worked on.
    nonces: BTreeSet<(AccountId, [u8; 16])>,
    /// Where the record of a response starts.
    records: BTreeMap<Hash32, u64>,
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

/// Reads the record at the reader's place; `None` at the end or where it is torn.
fn read_record(reader: &mut impl Read) -> io::Result<Option<(Record, u64)>> {
    let mut prefix = [0; 4];
    match reader.read_exact(&mut prefix) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = u32::from_le_bytes(prefix);
    if length > MAX_RECORD {
        return Ok(None);
    }
    let mut bytes = vec![0; length as usize];
    match reader.read_exact(&mut bytes) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    Ok(assay_primitives::decode("answer", &bytes).ok().map(|record| (record, 4 + u64::from(length))))
}

impl EpochFile {
    fn open(path: PathBuf) -> Result<Self, RoleError> {
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = opened.map_err(failed("open", &path))?;
        let mut this = Self { path, file, end: 0, nonces: BTreeSet::new(), records: BTreeMap::new() };
        let mut reader = io::BufReader::new(&this.file);
        while let Some((record, length)) = read_record(&mut reader).map_err(failed("read", &this.path))? {
            this.nonces.insert((record.requester, record.nonce));
            this.records.insert(record.response, this.end);
            this.end += length;
        }
        this.file.set_len(this.end).map_err(failed("cut", &this.path))?;
        Ok(this)
    }

    fn append(&mut self, record: &Record) -> io::Result<()> {
        let bytes = assay_primitives::encode(record);
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        self.file.seek(SeekFrom::Start(self.end))?;
        self.file.write_all(&length.to_le_bytes())?;
        self.file.write_all(&bytes)?;
        self.file.sync_data()?;
        self.records.insert(record.response, self.end);
        self.end += 4 + u64::from(length);
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

    /// Writes an answer down. Only then may it leave.
    pub(super) fn record(&mut self, epoch: u64, record: &Record) -> Result<(), RoleError> {
        // An epoch that was forgotten meanwhile is too old for its answer to be taken anywhere.
        let Some(file) = self.epochs.get_mut(&epoch) else { return Ok(()) };
        file.append(record).map_err(failed("write", &file.path))
    }

    /// The proof given with a response.
    pub(super) fn proof(&mut self, epoch: u64, response: &Hash32) -> Result<Option<Vec<u8>>, RoleError> {
        let Some(file) = self.epochs.get_mut(&epoch) else { return Ok(None) };
        let Some(start) = file.records.get(response) else { return Ok(None) };
        file.file.seek(SeekFrom::Start(*start)).map_err(failed("read", &file.path))?;
        let record = read_record(&mut file.file).map_err(failed("read", &file.path))?;
        Ok(record.filter(|(r, _)| r.response == *response).map(|(r, _)| r.proof))
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

    fn record(n: u8) -> Record {
        Record { requester: AccountId([n; 32]), nonce: [n; 16], response: Hash32([n; 32]), proof: vec![n; 100] }
    }

    #[test]
    fn a_nonce_is_taken_once_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = AnswerLog::open(dir.path().join("answers")).unwrap();
        let one = record(1);
        assert_eq!(log.reserve(5, one.requester, one.nonce).unwrap(), Ok(()));
        assert_eq!(log.reserve(5, one.requester, one.nonce).unwrap(), Err(Taken::Replay));
        assert_eq!(log.reserve(5, one.requester, [9; 16]).unwrap(), Ok(()));
        log.release(5, one.requester, [9; 16]);
        assert_eq!(log.reserve(5, one.requester, [9; 16]).unwrap(), Ok(()));
        log.record(5, &one).unwrap();
        let mut log = AnswerLog::open(dir.path().join("answers")).unwrap();
        assert_eq!(log.reserve(5, one.requester, one.nonce).unwrap(), Err(Taken::Replay));
        // Worked on but never answered: nothing was told, so it may be asked again.
        assert_eq!(log.reserve(5, one.requester, [9; 16]).unwrap(), Ok(()));
        assert_eq!(log.proof(5, &one.response).unwrap(), Some(one.proof));
        assert_eq!(log.proof(5, &Hash32([8; 32])).unwrap(), None);
    }

    #[test]
    fn a_torn_record_is_cut_off_and_the_ones_before_it_stand() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = AnswerLog::open(dir.path().into()).unwrap();
        for n in [1, 2] {
            log.reserve(3, record(n).requester, record(n).nonce).unwrap().unwrap();
            log.record(3, &record(n)).unwrap();
        }
        let path = dir.path().join("3.answers");
        let length = fs::metadata(&path).unwrap().len();
        for cut in [1, 50, 100, 170] {
            fs::copy(&path, dir.path().join("4.answers")).unwrap();
            OpenOptions::new().write(true).open(dir.path().join("4.answers")).unwrap().set_len(length - cut).unwrap();
            let mut log = AnswerLog::open(dir.path().into()).unwrap();
            assert_eq!(log.proof(4, &record(1).response).unwrap(), Some(vec![1; 100]), "cut {cut}");
            assert_eq!(log.proof(4, &record(2).response).unwrap(), None);
            log.reserve(4, record(3).requester, record(3).nonce).unwrap().unwrap();
            log.record(4, &record(3)).unwrap();
            assert_eq!(log.proof(4, &record(3).response).unwrap(), Some(vec![3; 100]));
        }
    }

    #[test]
    fn old_epochs_are_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = AnswerLog::open(dir.path().into()).unwrap();
        for epoch in [1, 2, 3] {
            log.reserve(epoch, record(1).requester, record(1).nonce).unwrap().unwrap();
        }
        log.forget_before(3).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        log.record(1, &record(1)).unwrap();
    }
}
