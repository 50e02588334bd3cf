//! What a machine keeps when it fails: a store's disk, the engine's log, the signer's watermark.
//!
//! | what | a write that was not brought to disk | the write at which the machine fails |
//! |---|---|---|
//! | store | lost from some batch on, drawn from the seed | there whole, or not at all |
//! | log | lost from some entry on, drawn from the seed | as any other entry that was not flushed |
//! | watermark | there is none: every write is brought to disk | the front of it is there |

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use assay::store::disk::{Batch, Change, Disk, DiskError, View};
use assay_consensus::bft::simulation::{Journal, Mark};
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use super::power::{Fate, Power};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// All families; a clone shares what neither changes.
#[derive(Clone, Default)]
struct Content(BTreeMap<&'static str, Arc<Map>>);

impl Content {
    fn apply(&mut self, batch: Batch) {
        for (family, change) in batch.into_changes() {
            let map = Arc::make_mut(self.0.entry(family).or_default());
            match change {
                Change::Put { key, value } => {
                    map.insert(key, value);
                }
                Change::Delete { key } => {
                    map.remove(&key);
                }
                Change::DeleteRange { from, to } => {
                    let doomed: Vec<_> = map.range(from..to).map(|(key, _)| key.clone()).collect();
                    for key in doomed {
                        map.remove(&key);
                    }
                }
            }
        }
    }
}

impl View for Content {
    fn get(&self, family: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
        Ok(self.0.get(family).and_then(|map| map.get(key)).cloned())
    }

    fn ascend(
        &self,
        family: &'static str,
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), DiskError> {
        let Some(map) = self.0.get(family) else { return Ok(()) };
        for (key, value) in map.range(from.to_vec()..) {
            if !visit(key, value) {
                break;
            }
        }
        Ok(())
    }

    fn last(&self, family: &'static str, most: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
        let Some(map) = self.0.get(family) else { return Ok(None) };
        Ok(map.range(..=most.to_vec()).next_back().map(|(_, value)| value.clone()))
    }
}

/// What lies on a store's disk.
#[derive(Default)]
struct Platter {
    /// As a running machine sees it.
    now: Content,
    /// What is safe and what came after it, if anything did.
    unsafe_tail: Option<(Content, Vec<Batch>)>,
}

/// The log's file.
#[derive(Default)]
struct LogFile {
    height: u64,
    entries: Vec<Vec<u8>>,
    flushed: usize,
}

#[derive(Default)]
struct Kept {
    platter: Platter,
    log: LogFile,
    mark: Option<Vec<u8>>,
}

/// A machine's disks, which outlive its failures.
#[derive(Clone, Default)]
pub(super) struct Disks(Arc<Mutex<Kept>>);

/// What a machine that has failed tells a process that does not know it yet.
fn off() -> io::Error {
    io::Error::other("the machine is off")
}

impl Disks {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Loses what a failure of the power may lose.
    pub(super) fn lose(&self, random: &mut ChaCha8Rng) {
        let mut kept = self.kept();
        if let Some((safe, tail)) = kept.platter.unsafe_tail.take() {
            let left = random.gen_range(0..=tail.len());
            kept.platter.now = safe;
            for batch in tail.into_iter().take(left) {
                kept.platter.now.apply(batch);
            }
        }
        let log = &mut kept.log;
        let left = random.gen_range(log.flushed..=log.entries.len());
        log.entries.truncate(left);
        log.flushed = left;
    }

    /// Loses the log and the watermark whole, as no honest operator may.
    pub(super) fn forget(&self) {
        let mut kept = self.kept();
        kept.log = LogFile::default();
        kept.mark = None;
    }

    /// The disk of the store, on a machine with this power.
    pub(super) fn store(&self, power: &Power) -> StoreDisk {
        StoreDisk { disks: self.clone(), power: power.clone() }
    }

    /// The log of the engine.
    pub(super) fn journal(&self, power: &Power) -> LogDisk {
        LogDisk { disks: self.clone(), power: power.clone() }
    }

    /// The disk of the watermark.
    pub(super) fn mark(&self, power: &Power) -> MarkDisk {
        MarkDisk { disks: self.clone(), power: power.clone() }
    }
}

/// A [`Disk`] for a store.
pub(super) struct StoreDisk {
    disks: Disks,
    power: Power,
}

impl StoreDisk {
    fn reading<T>(&self, read: impl FnOnce(&Content) -> Result<T, DiskError>) -> Result<T, DiskError> {
        if self.power.is_off() {
            return Err(DiskError(off().to_string()));
        }
        read(&self.disks.kept().platter.now)
    }
}

impl View for StoreDisk {
    fn get(&self, family: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
        self.reading(|now| now.get(family, key))
    }

    fn ascend(
        &self,
        family: &'static str,
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), DiskError> {
        self.reading(|now| now.ascend(family, from, visit))
    }

    fn last(&self, family: &'static str, most: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
        self.reading(|now| now.last(family, most))
    }
}

impl Disk for StoreDisk {
    fn view(&self) -> Box<dyn View> {
        Box::new(self.disks.kept().platter.now.clone())
    }

    fn write(&self, batch: Batch, sync: bool) -> Result<(), DiskError> {
        let fate = self.power.step();
        if fate.is_done() {
            let platter = &mut self.disks.kept().platter;
            if sync && fate.is_heard() {
                platter.unsafe_tail = None;
            } else if !sync {
                let safe = &platter.now;
                platter.unsafe_tail.get_or_insert_with(|| (safe.clone(), Vec::new())).1.push(batch.clone());
            }
            platter.now.apply(batch);
        }
        if fate.is_heard() { Ok(()) } else { Err(DiskError(off().to_string())) }
    }
}

/// A [`Journal`].
pub(super) struct LogDisk {
    disks: Disks,
    power: Power,
}

impl LogDisk {
    fn write(&self, change: impl FnOnce(&mut LogFile)) -> io::Result<()> {
        let fate = self.power.step();
        if fate.is_done() {
            change(&mut self.disks.kept().log);
        }
        if fate.is_heard() { Ok(()) } else { Err(off()) }
    }
}

impl Journal for LogDisk {
    fn height(&self) -> u64 {
        self.disks.kept().log.height
    }

    fn entries(&self) -> Vec<Vec<u8>> {
        self.disks.kept().log.entries.clone()
    }

    fn reset(&mut self, height: u64) -> io::Result<()> {
        self.write(|log| *log = LogFile { height, ..LogFile::default() })
    }

    fn append(&mut self, entry: Vec<u8>) -> io::Result<()> {
        self.write(|log| log.entries.push(entry))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write(|log| log.flushed = log.entries.len())
    }
}

/// A [`Mark`].
pub(super) struct MarkDisk {
    disks: Disks,
    power: Power,
}

impl Mark for MarkDisk {
    fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        Ok(self.disks.kept().mark.clone())
    }

    fn flush_log(&mut self) -> io::Result<()> {
        self.disks.journal(&self.power).flush()
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let fate = self.power.step();
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        let mark = &mut self.disks.kept().mark;
        match &mut *mark {
            _ if fate == Fate::Off => {}
            Some(old) => {
                let written = if fate == Fate::Cut { &bytes[..bytes.len() / 2] } else { bytes };
                old.resize(old.len().max(at + bytes.len()), 0);
                old[at..at + written.len()].copy_from_slice(written);
            }
            // A new one is made beside its place and moved there.
            None => *mark = fate.is_done().then(|| bytes.to_vec()),
        }
        if fate.is_heard() { Ok(()) } else { Err(off()) }
    }
}
