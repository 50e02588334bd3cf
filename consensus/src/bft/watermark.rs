//! The messages that this key signed last, on disk before a signature leaves the signer.
//!
//! The engine's write-ahead log already keeps a restarted node from contradicting itself. This file is
//! the second lock: it holds when the log is lost, or when an old database is restored beside a newer one.
//!
//! What led to a message stands in the log before the message stands here. Otherwise a failure of the power could leave
//! this file with a vote whose reasons the log has lost: the node would decide anew, refuse to sign what it decides, and
//! stop again at every start, for good if the others cannot pass that height without it.
//!
//! Kept are, per kind (proposal, prevote, precommit), the digests of what was signed in the rounds of the last height: an engine
//! that starts again goes through all rounds of its height once more, and asks for each signature a second time.
//!
//! Invariant: per kind, for one (height, round) only one content is ever recorded; the height never decreases, and no round
//! below the highest of its height is recorded late. The file holds two slots, written in turn, each twice
//! `sequence | state | checksum`. A torn write spoils one slot, and the other still stands: what was being written was not signed.
//! A slot that was written holds two copies, so that damage to one of them, which looks the same, makes no signed message forgotten.
//! The file never changes its length: one of another length has lost something, and is refused.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use assay_primitives::{AccountId, Hash32, VoteContent, VoteKind, domain};
use borsh::{BorshDeserialize, BorshSerialize};

use super::executor::ProposalContent;

/// Room for one copy of a record.
const COPY: usize = 8192;
const SLOT: usize = 2 * COPY;
const FILE: usize = 2 * SLOT;
const MAGIC: [u8; 8] = *b"ASYMARK3";
/// Of files whose two slots hold one copy each. They are written anew when they are opened.
const SINGLE: [u8; 8] = *b"ASYMARK2";
/// Rounds of a height that are kept of each kind; those before are refused as lower.
const ROUNDS: usize = 64;

/// Something the key signs once per height and round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// A proposal.
    Proposal(ProposalContent),
    /// A prevote or precommit.
    Vote(VoteContent),
}

impl Message {
    /// The bytes to sign.
    pub(crate) fn preimage(&self, genesis: &Hash32) -> Vec<u8> {
        match self {
            Self::Proposal(content) => domain::preimage(domain::PROPOSAL, genesis, content),
            Self::Vote(content) => domain::preimage(domain::VOTE, genesis, content),
        }
    }

    fn position(&self) -> (u64, u32) {
        match self {
            Self::Proposal(content) => (content.height, content.round),
            Self::Vote(content) => (content.height, content.round),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Proposal(_) => Kind::Proposal,
            Self::Vote(VoteContent { kind: VoteKind::Prevote, .. }) => Kind::Prevote,
            Self::Vote(VoteContent { kind: VoteKind::Precommit, .. }) => Kind::Precommit,
        }
    }

    fn digest(&self) -> Hash32 {
        match self {
            Self::Proposal(content) => Hash32::digest(&assay_primitives::encode(content)),
            Self::Vote(content) => Hash32::digest(&assay_primitives::encode(content)),
        }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (height, round) = self.position();
        write!(f, "{} {height} {round} {}", self.kind().name(), self.digest())
    }
}

/// Kinds of messages, in the order in which they are recorded.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Proposal,
    Prevote,
    Precommit,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Proposal => "proposal",
            Self::Prevote => "prevote",
            Self::Precommit => "precommit",
        }
    }
}

/// Why a message must not be signed.
#[derive(Debug, thiserror::Error)]
pub enum WatermarkError {
    /// Another content was signed for the same height and round.
    #[error(
        "refusing to sign a second, different {kind} for height {height} round {round}: that is a slashable double signature. \
         Another node may be running with this key, or the engine's write-ahead log was lost; stop the other node, \
         keep this one's home as it is, and restart it after the network has passed this height"
    )]
    Conflict {
        /// Proposal, prevote or precommit.
        kind: &'static str,
        /// The height of both.
        height: u64,
        /// The round of both.
        round: u32,
    },
    /// A later height or round was already signed.
    #[error(
        "refusing to sign a {kind} for height {height} round {round}: height {last_height} round {last_round} was already signed. \
         An old database was probably restored, or lost. Let this home catch up without signing, with `assay node run`, \
         and start the validator again once it is past that height"
    )]
    Lower {
        /// Proposal, prevote or precommit.
        kind: &'static str,
        /// The height asked for.
        height: u64,
        /// The round asked for.
        round: u32,
        /// The height of the last one signed.
        last_height: u64,
        /// The round of the last one signed.
        last_round: u32,
    },
    /// Neither slot of the file can be read, or a part of it is missing.
    #[error(
        "the signer's watermark {path} is corrupt: {reason}. Restore the disk; only if you are sure that \
         this key signed nothing above the chain's tip may you delete the file"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It belongs to another key or chain.
    #[error("the signer's watermark {path} belongs to another key or chain; give each validator key a home of its own")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The disk failed.
    #[error(
        "cannot keep the signer's watermark {path}: {source}; nothing was signed. Check the disk and restart the node"
    )]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// What was signed of one kind in the last height of which anything was.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct Signed {
    height: u64,
    /// Rounds with the digests of what was signed in them, in ascending order.
    rounds: Vec<(u32, Hash32)>,
}

/// What may come of a message.
enum Outcome {
    Known,
    New,
    Conflict,
    Lower { last_round: u32 },
}

impl Signed {
    fn add(&mut self, height: u64, round: u32, digest: Hash32) -> Outcome {
        let last_round = self.rounds.last().map_or(0, |(round, _)| *round);
        if height > self.height || self.rounds.is_empty() {
            *self = Self { height, rounds: vec![(round, digest)] };
            return Outcome::New;
        }
        if height < self.height {
            return Outcome::Lower { last_round };
        }
        match self.rounds.iter().find(|(known, _)| *known == round) {
            Some((_, known)) if *known == digest => Outcome::Known,
            Some(_) => Outcome::Conflict,
            None if round < last_round => Outcome::Lower { last_round },
            None => {
                if self.rounds.len() == ROUNDS {
                    self.rounds.remove(0);
                }
                self.rounds.push((round, digest));
                Outcome::New
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct Record {
    sequence: u64,
    genesis: Hash32,
    account: AccountId,
    /// By [`Kind`].
    signed: [Signed; 3],
}

/// Where the two slots lie.
pub(crate) trait Slots: Send + 'static {
    /// What errors call it.
    fn path(&self) -> PathBuf;

    /// All bytes, or `None` if nothing was ever written.
    fn read(&mut self) -> io::Result<Option<Vec<u8>>>;

    /// Writes both slots of a new watermark, whole or not at all: an empty file would look corrupt. On disk when it returns.
    fn create(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Brings the engine's log to disk, as far as the engine has written it.
    fn flush_log(&mut self) -> io::Result<()>;

    /// Writes one slot. On disk when it returns; a crash before may leave it spoilt, but no other.
    fn write(&mut self, offset: u64, slot: &[u8]) -> io::Result<()>;
}

/// The slots in a file.
pub(crate) struct FileSlots {
    path: PathBuf,
    file: Option<File>,
    /// The engine's log, which need not exist yet.
    log: PathBuf,
}

impl FileSlots {
    /// Opens the file if there is one. `log` is the engine's.
    pub(crate) fn open(path: &Path, log: &Path) -> Result<Self, WatermarkError> {
        let found = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => Ok(Some(file)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(WatermarkError::Io { path: path.to_owned(), source }),
        };
        Ok(Self { path: path.to_owned(), file: found?, log: log.to_owned() })
    }
}

impl Slots for FileSlots {
    fn path(&self) -> PathBuf {
        self.path.clone()
    }

    fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(file) = &mut self.file else { return Ok(None) };
        let mut bytes = Vec::with_capacity(FILE);
        file.read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    fn create(&mut self, bytes: &[u8]) -> io::Result<()> {
        let temporary = self.path.with_extension("new");
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &self.path)?;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()?;
        self.file = Some(file);
        Ok(())
    }

    fn flush_log(&mut self) -> io::Result<()> {
        // What the engine wrote through its own handle is brought to disk through any.
        match File::open(&self.log) {
            Ok(log) => log.sync_all(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
        }
    }

    fn write(&mut self, offset: u64, slot: &[u8]) -> io::Result<()> {
        let file = self.file.as_mut().ok_or(io::ErrorKind::NotFound)?;
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(slot)?;
        file.sync_data()
    }
}

/// The open slots, with what they hold.
pub(crate) struct Watermark {
    slots: Box<dyn Slots>,
    record: Record,
}

fn checksum(bytes: &[u8]) -> Hash32 {
    Hash32::digest(bytes)
}

impl Watermark {
    /// Reads the slots, or writes them for a key that never signed.
    pub(crate) fn open(mut slots: Box<dyn Slots>, genesis: Hash32, account: AccountId) -> Result<Self, WatermarkError> {
        let path = slots.path();
        let io = |source| WatermarkError::Io { path: path.clone(), source };
        let Some(bytes) = slots.read().map_err(io)? else {
            let record = Record { sequence: 0, genesis, account, signed: Default::default() };
            slots.create(&Self::file(&record)).map_err(io)?;
            return Ok(Self { slots, record });
        };
        let corrupt = |reason: String| WatermarkError::Corrupt { path: path.clone(), reason };
        let magic = match bytes.len() {
            FILE => MAGIC,
            SLOT => SINGLE,
            other => return Err(corrupt(format!("it has {other} bytes and not {FILE}, so that something is missing"))),
        };
        let copies: Vec<Record> = bytes.chunks(COPY).filter_map(|copy| Self::read_copy(magic, copy)).collect();
        let spoilt = bytes.len() / COPY - copies.len();
        let newest = copies.into_iter().max_by_key(|record| record.sequence);
        let record = newest.ok_or_else(|| corrupt("neither of its two slots holds".into()))?;
        if record.genesis != genesis || record.account != account {
            return Err(WatermarkError::Foreign { path });
        }
        if magic == SINGLE {
            slots.create(&Self::file(&record)).map_err(io)?;
        } else if spoilt > 0 {
            tracing::warn!(
                path = %path.display(), spoilt,
                "the signer's watermark holds, but not all copies of it do: a crash in the middle of a write does that, or a failing disk"
            );
        }
        Ok(Self { slots, record })
    }

    /// Allows a message, and records it on disk before it returns.
    ///
    /// The identical message of the last height may be recorded again; a conflicting or lower one is refused.
    pub(crate) fn record(&mut self, message: &Message) -> Result<(), WatermarkError> {
        let mut record = self.record.clone();
        record.sequence += 1;
        let (height, round) = message.position();
        let signed = &mut record.signed[message.kind() as usize];
        let (kind, last_height) = (message.kind().name(), signed.height);
        match signed.add(height, round, message.digest()) {
            Outcome::Known => return Ok(()),
            Outcome::Conflict => return Err(WatermarkError::Conflict { kind, height, round }),
            Outcome::Lower { last_round } => {
                return Err(WatermarkError::Lower { kind, height, round, last_height, last_round });
            }
            Outcome::New => {}
        }
        let offset = (record.sequence % 2) * SLOT as u64;
        let slot = Self::slot(&record);
        let written = self.slots.flush_log().and_then(|()| self.slots.write(offset, &slot));
        written.map_err(|source| WatermarkError::Io { path: self.slots.path(), source })?;
        self.record = record;
        Ok(())
    }

    /// A whole file, with the same in both slots.
    fn file(record: &Record) -> Vec<u8> {
        let mut bytes = Self::slot(record);
        bytes.resize(SLOT, 0);
        bytes.repeat(2)
    }

    /// What is written of a slot: two copies, the second one without what pads it.
    fn slot(record: &Record) -> Vec<u8> {
        let copy = Self::copy(record);
        let mut bytes = copy.clone();
        bytes.resize(COPY, 0);
        bytes.extend_from_slice(&copy);
        bytes
    }

    fn copy(record: &Record) -> Vec<u8> {
        let body = assay_primitives::encode(record);
        let mut bytes = Vec::with_capacity(48 + body.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&body);
        bytes.extend_from_slice(&checksum(&bytes).0);
        bytes
    }

    fn read_copy(magic: [u8; 8], bytes: &[u8]) -> Option<Record> {
        let rest = bytes.strip_prefix(&magic)?;
        let (length, rest) = rest.split_first_chunk::<8>()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok().filter(|n| *n <= COPY)?;
        let (body, rest) = rest.split_at_checked(length)?;
        let (sum, _) = rest.split_first_chunk::<32>()?;
        if checksum(&bytes[..16 + length]).0 != *sum {
            return None;
        }
        Record::try_from_slice(body).ok()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;

    use super::*;

    const GENESIS: Hash32 = Hash32([5; 32]);
    const ACCOUNT: AccountId = AccountId([6; 32]);

    fn open(path: &Path, genesis: Hash32, account: AccountId) -> Result<Watermark, WatermarkError> {
        Watermark::open(Box::new(FileSlots::open(path, &path.with_extension("wal"))?), genesis, account)
    }

    fn vote(kind: VoteKind, height: u64, round: u32, block: Option<u8>) -> Message {
        let block = block.map(|b| Hash32([b; 32]));
        Message::Vote(VoteContent { kind, height, round, block, validator: ACCOUNT })
    }

    fn proposal(height: u64, round: u32, block: u8) -> Message {
        let block = Hash32([block; 32]);
        Message::Proposal(ProposalContent { height, round, block, valid_round: Some(0), proposer: ACCOUNT })
    }

    #[test]
    fn a_conflicting_or_lower_vote_is_refused_after_reopening_and_the_same_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last_signed");
        let mut mark = open(&path, GENESIS, ACCOUNT).unwrap();
        mark.record(&vote(VoteKind::Prevote, 7, 1, Some(1))).unwrap();
        mark.record(&vote(VoteKind::Precommit, 7, 0, None)).unwrap();
        mark.record(&proposal(7, 1, 1)).unwrap();
        drop(mark);

        let mut mark = open(&path, GENESIS, ACCOUNT).unwrap();
        mark.record(&vote(VoteKind::Prevote, 7, 1, Some(1))).unwrap();
        let conflict = mark.record(&vote(VoteKind::Prevote, 7, 1, None)).unwrap_err();
        assert!(matches!(conflict, WatermarkError::Conflict { kind: "prevote", height: 7, round: 1 }), "{conflict}");
        let lower = mark.record(&vote(VoteKind::Prevote, 7, 0, Some(1))).unwrap_err();
        assert!(matches!(lower, WatermarkError::Lower { last_height: 7, last_round: 1, .. }), "{lower}");
        assert!(mark.record(&vote(VoteKind::Prevote, 6, 9, Some(1))).is_err());
        assert!(mark.record(&proposal(7, 1, 2)).is_err());
        mark.record(&vote(VoteKind::Precommit, 7, 1, Some(1))).unwrap();
        mark.record(&proposal(8, 0, 2)).unwrap();
        mark.record(&vote(VoteKind::Prevote, 8, 0, None)).unwrap();
    }

    #[test]
    fn all_rounds_of_the_last_height_may_be_gone_through_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last_signed");
        let mut mark = open(&path, GENESIS, ACCOUNT).unwrap();
        let votes =
            |height| (0..70).step_by(2).map(move |r| vote(VoteKind::Precommit, height, r, (r % 3 == 0).then_some(1)));
        votes(7).for_each(|v| mark.record(&v).unwrap());
        let mut mark = open(&path, GENESIS, ACCOUNT).unwrap();
        votes(7).for_each(|v| mark.record(&v).unwrap());
        let late = mark.record(&vote(VoteKind::Precommit, 7, 5, None)).unwrap_err();
        assert!(matches!(late, WatermarkError::Lower { last_round: 68, .. }), "{late}");
        let other = mark.record(&vote(VoteKind::Precommit, 7, 2, Some(3))).unwrap_err();
        assert!(matches!(other, WatermarkError::Conflict { round: 2, .. }), "{other}");
        mark.record(&vote(VoteKind::Precommit, 8, 0, None)).unwrap();
        assert!(votes(7).all(|v| mark.record(&v).is_err()));
    }

    #[test]
    fn more_rounds_than_are_kept_fit_the_slot_and_the_first_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last_signed");
        let mut mark = open(&path, GENESIS, ACCOUNT).unwrap();
        for round in 0..ROUNDS as u32 + 5 {
            for kind in [VoteKind::Prevote, VoteKind::Precommit] {
                mark.record(&vote(kind, 3, round, Some(1))).unwrap();
            }
            mark.record(&proposal(3, round, 1)).unwrap();
        }
        assert!(Watermark::copy(&mark.record).len() <= COPY);
        let mut mark = open(&path, GENESIS, ACCOUNT).unwrap();
        assert!(mark.record(&vote(VoteKind::Prevote, 3, 4, Some(1))).is_err());
        mark.record(&vote(VoteKind::Prevote, 3, 5, Some(1))).unwrap();
    }

    #[test]
    fn a_torn_last_write_leaves_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last_signed");
        let mut mark = open(&path, GENESIS, ACCOUNT).unwrap();
        for height in 1..=4 {
            mark.record(&vote(VoteKind::Prevote, height, 0, Some(1))).unwrap();
        }
        let newest = (mark.record.sequence % 2) as usize * SLOT;
        drop(mark);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[newest + 40] ^= 1;
        bytes[newest + COPY + 40] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let mut mark = open(&path, GENESIS, ACCOUNT).unwrap();
        assert!(mark.record(&vote(VoteKind::Prevote, 3, 0, Some(2))).is_err());
        // What was being written was not signed.
        mark.record(&vote(VoteKind::Prevote, 4, 0, Some(2))).unwrap();

        std::fs::write(&path, vec![0; FILE]).unwrap();
        assert!(matches!(open(&path, GENESIS, ACCOUNT), Err(WatermarkError::Corrupt { .. })));
    }

    #[test]
    fn damage_anywhere_in_one_copy_makes_no_signed_message_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last_signed");
        for height in 1..=3 {
            open(&path, GENESIS, ACCOUNT).unwrap().record(&vote(VoteKind::Prevote, height, 0, Some(1))).unwrap();
            let whole = std::fs::read(&path).unwrap();
            for copy in (0..FILE).step_by(COPY) {
                for place in (0..300).step_by(7) {
                    let mut bytes = whole.clone();
                    bytes[copy + place] ^= 4;
                    std::fs::write(&path, &bytes).unwrap();
                    let mut mark = open(&path, GENESIS, ACCOUNT).unwrap();
                    let other = mark.record(&vote(VoteKind::Prevote, height, 0, Some(2)));
                    assert!(
                        matches!(other, Err(WatermarkError::Conflict { .. })),
                        "byte {place} of the copy at {copy}"
                    );
                }
            }
            std::fs::write(&path, &whole).unwrap();
        }
    }

    #[test]
    fn a_file_that_was_cut_off_is_refused_wherever() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last_signed");
        open(&path, GENESIS, ACCOUNT).unwrap().record(&vote(VoteKind::Prevote, 1, 0, Some(1))).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for length in [0, 1, COPY, SLOT, SLOT + COPY, FILE - 1] {
            std::fs::write(&path, &whole[..length]).unwrap();
            let cut = open(&path, GENESIS, ACCOUNT);
            assert!(matches!(cut, Err(WatermarkError::Corrupt { .. })), "{length} bytes of {FILE}");
        }
    }

    #[test]
    fn a_file_with_one_copy_a_slot_is_written_anew_with_what_it_holds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last_signed");
        let mut mark = open(&path, GENESIS, ACCOUNT).unwrap();
        let single = |record: &Record| {
            let mut bytes = Watermark::copy(record);
            bytes[..8].copy_from_slice(&SINGLE);
            let end = bytes.len() - 32;
            let sum = checksum(&bytes[..end]);
            bytes[end..].copy_from_slice(&sum.0);
            bytes.resize(COPY, 0);
            bytes
        };
        mark.record(&vote(VoteKind::Prevote, 7, 0, Some(1))).unwrap();
        let older = single(&mark.record);
        mark.record(&vote(VoteKind::Prevote, 8, 0, Some(1))).unwrap();
        std::fs::write(&path, [single(&mark.record), older].concat()).unwrap();
        for _ in 0..2 {
            let mut mark = open(&path, GENESIS, ACCOUNT).unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().len(), FILE as u64);
            assert!(mark.record(&vote(VoteKind::Prevote, 8, 0, Some(2))).is_err());
        }
    }

    /// A disk that notes what is brought to it, and whose log cannot be written any more at some point.
    struct Noted {
        notes: Arc<Mutex<Vec<&'static str>>>,
        log_fails: Arc<Mutex<bool>>,
    }

    impl Slots for Noted {
        fn path(&self) -> PathBuf {
            "(noted)".into()
        }

        fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
            Ok(None)
        }

        fn create(&mut self, _: &[u8]) -> io::Result<()> {
            Ok(())
        }

        fn flush_log(&mut self) -> io::Result<()> {
            if *self.log_fails.lock().unwrap() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.notes.lock().unwrap().push("log");
            Ok(())
        }

        fn write(&mut self, _: u64, _: &[u8]) -> io::Result<()> {
            self.notes.lock().unwrap().push("slot");
            Ok(())
        }
    }

    #[test]
    fn what_led_to_a_message_is_on_disk_before_the_message_is() {
        let (notes, log_fails) = (Arc::default(), Arc::default());
        let slots = Noted { notes: Arc::clone(&notes), log_fails: Arc::clone(&log_fails) };
        let mut mark = Watermark::open(Box::new(slots), GENESIS, ACCOUNT).unwrap();
        mark.record(&vote(VoteKind::Prevote, 7, 0, Some(1))).unwrap();
        assert_eq!(*notes.lock().unwrap(), ["log", "slot"]);
        // The same again is there already.
        mark.record(&vote(VoteKind::Prevote, 7, 0, Some(1))).unwrap();
        assert_eq!(notes.lock().unwrap().len(), 2);
        *log_fails.lock().unwrap() = true;
        let failed = mark.record(&vote(VoteKind::Precommit, 7, 0, Some(1))).unwrap_err();
        assert!(matches!(failed, WatermarkError::Io { .. }), "{failed}");
        assert_eq!(notes.lock().unwrap().len(), 2, "a message whose reasons are not there is not noted either");
    }

    #[test]
    fn another_key_may_not_use_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last_signed");
        open(&path, GENESIS, ACCOUNT).unwrap();
        let other = open(&path, GENESIS, AccountId([7; 32]));
        assert!(matches!(other, Err(WatermarkError::Foreign { .. })));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn no_two_different_votes_of_a_round_ever_pass(asked in prop::collection::vec((1u64..4, 0u32..3, prop::option::of(0u8..2), any::<bool>()), 1..40)) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("last_signed");
            let mut mark = open(&path, GENESIS, ACCOUNT).unwrap();
            let mut signed = std::collections::BTreeMap::new();
            for (height, round, block, reopen) in asked {
                if reopen {
                    mark = open(&path, GENESIS, ACCOUNT).unwrap();
                }
                if mark.record(&vote(VoteKind::Precommit, height, round, block)).is_ok() {
                    prop_assert_eq!(*signed.entry((height, round)).or_insert(block), block);
                }
            }
        }
    }
}
