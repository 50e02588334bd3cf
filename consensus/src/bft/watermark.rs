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
//! below the highest of its height is recorded late. The file holds two slots, written in turn, each
//! `sequence | state | checksum`; a torn write spoils one slot, and the other still stands.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use assay_primitives::{AccountId, Hash32, VoteContent, VoteKind, domain};
use borsh::{BorshDeserialize, BorshSerialize};

use super::executor::ProposalContent;

const SLOT: usize = 8192;
const MAGIC: [u8; 8] = *b"ASYMARK2";
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
    /// Neither slot of the file can be read.
    #[error(
        "the signer's watermark {path} is corrupt: neither of its two slots holds. Restore the disk; only if you are sure that \
         this key signed nothing above the chain's tip may you delete the file"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
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
        let mut bytes = Vec::with_capacity(2 * SLOT);
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
        let record = match slots.read().map_err(io)? {
            Some(bytes) => {
                let newest = bytes.chunks(SLOT).filter_map(Self::read_slot).max_by_key(|record| record.sequence);
                newest.ok_or_else(|| WatermarkError::Corrupt { path: path.clone() })?
            }
            None => {
                let fresh = Record { sequence: 0, genesis, account, signed: Default::default() };
                let mut bytes = Self::slot(&fresh);
                bytes.resize(2 * SLOT, 0);
                slots.create(&bytes).map_err(io)?;
                fresh
            }
        };
        if record.genesis != genesis || record.account != account {
            return Err(WatermarkError::Foreign { path });
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

    fn slot(record: &Record) -> Vec<u8> {
        let body = assay_primitives::encode(record);
        let mut bytes = Vec::with_capacity(48 + body.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&body);
        bytes.extend_from_slice(&checksum(&bytes).0);
        bytes
    }

    fn read_slot(bytes: &[u8]) -> Option<Record> {
        let rest = bytes.strip_prefix(&MAGIC)?;
        let (length, rest) = rest.split_first_chunk::<8>()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok().filter(|n| *n <= SLOT)?;
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
        assert!(Watermark::slot(&mark.record).len() <= SLOT);
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
        std::fs::write(&path, &bytes).unwrap();
        let mut mark = open(&path, GENESIS, ACCOUNT).unwrap();
        assert!(mark.record(&vote(VoteKind::Prevote, 3, 0, Some(2))).is_err());

        std::fs::write(&path, vec![0; 2 * SLOT]).unwrap();
        assert!(matches!(open(&path, GENESIS, ACCOUNT), Err(WatermarkError::Corrupt { .. })));
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
