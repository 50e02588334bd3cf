//! Damage to the files of a home whose node does not run, as failing disks and hasty hands do it.

use std::{
    ffi::OsStr,
    fs::{self, OpenOptions},
    io::Write as _,
    ops::Range,
    path::{Path, PathBuf},
};

use assay::home::Home;
use clap::ValueEnum;
use eyre::{WrapErr as _, ensure, eyre};
use rand::{Rng as _, RngCore as _};
use rand_chacha::ChaCha8Rng;

/// As far from the end of the engine's log a bit is flipped.
const NEAR: u64 = 256;
/// Where the copies in the watermark's slots lie, and how much of each is surely written.
const SLOTS: [u64; 4] = [0, 8192, 2 * 8192, 3 * 8192];
const SLOT: u64 = 256;

/// What is done to one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Damage {
    /// The end of the consensus engine's log is cut off.
    LogCut,
    /// A bit near the end of the consensus engine's log is flipped.
    LogFlip,
    /// Junk stands behind the consensus engine's log.
    LogJunk,
    /// The end of the store's newest log is cut off.
    StoreLogCut,
    /// A bit of the store's newest log is flipped.
    StoreLogFlip,
    /// A bit of an older log or of a table of the store is flipped.
    StoreOldFlip,
    /// The end of one of the store's tables is cut off.
    StoreTableCut,
    /// The store's manifest, or the file that names it, is cut off or emptied.
    StoreManifest,
    /// The end of the signer's watermark is cut off.
    MarkCut,
    /// A bit of the signer's watermark is flipped.
    MarkFlip,
    /// The signer's watermark is empty.
    MarkEmpty,
}

impl Damage {
    /// Its name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// What is damaged, and the words by which a node may call it.
    pub fn thing(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::LogCut | Self::LogFlip | Self::LogJunk => ("log", &["log"]),
            Self::MarkCut | Self::MarkFlip | Self::MarkEmpty => ("watermark", &["watermark"]),
            _ => ("store", &["store", "database", "state"]),
        }
    }

    /// Whether it may come out long after: what lies in an old file is not read at every start.
    pub fn lasts(self) -> bool {
        self.thing().0 == "store"
    }

    /// Does it; gives what was done, in words.
    ///
    /// # Errors
    /// The disk's, or if there is no such file.
    pub fn apply(self, home: &Home, random: &mut ChaCha8Rng) -> eyre::Result<String> {
        let (consensus, store) = (home.data_dir().join("consensus"), home.store_dir());
        let (log, mark) = (consensus.join("consensus.wal"), consensus.join("last_signed"));
        let done = match self {
            Self::LogCut => cut(&log, random),
            Self::LogFlip => {
                let length = length(&log)?;
                flip(&log, length.saturating_sub(NEAR)..length, random)
            }
            Self::LogJunk => append(&log, random),
            Self::StoreLogCut => cut(&newest_log(&store)?, random),
            Self::StoreLogFlip => flip_any(&newest_log(&store)?, random),
            Self::StoreOldFlip => {
                let newest = newest_log(&store)?;
                let mut old = numbered(&store, &["log", "sst"])?;
                old.retain(|path| *path != newest);
                flip_any(one(&old, random)?, random)
            }
            Self::StoreTableCut => cut(one(&numbered(&store, &["sst"])?, random)?, random),
            Self::StoreManifest => {
                let current = store.join("CURRENT");
                let path = match random.gen_bool(0.5) {
                    true => store.join(fs::read_to_string(&current)?.trim()),
                    false => current,
                };
                if random.gen_bool(0.5) { cut(&path, random) } else { empty(&path) }
            }
            Self::MarkCut => cut(&mark, random),
            Self::MarkFlip => {
                let slot = SLOTS[random.gen_range(0..SLOTS.len())];
                flip(&mark, slot..slot + SLOT, random)
            }
            Self::MarkEmpty => empty(&mark),
        };
        done.wrap_err_with(|| format!("cannot do {} to {}", self.name(), home.dir.display()))
    }
}

/// Files of a database that are numbered and not empty, the oldest first.
fn numbered(store: &Path, endings: &[&str]) -> eyre::Result<Vec<PathBuf>> {
    let mut found: Vec<(u64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(store)? {
        let path = entry?.path();
        let number = path.file_stem().and_then(OsStr::to_str).and_then(|stem| stem.parse().ok());
        let ending = path.extension().and_then(OsStr::to_str);
        if let (Some(number), Some(ending)) = (number, ending)
            && endings.contains(&ending)
            && length(&path)? > 0
        {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

fn newest_log(store: &Path) -> eyre::Result<PathBuf> {
    numbered(store, &["log"])?.pop().ok_or_else(|| eyre!("there is no log in {}", store.display()))
}

fn one<'a>(files: &'a [PathBuf], random: &mut ChaCha8Rng) -> eyre::Result<&'a Path> {
    ensure!(!files.is_empty(), "the database has no such file yet");
    Ok(&files[random.gen_range(0..files.len())])
}

fn length(path: &Path) -> eyre::Result<u64> {
    Ok(fs::metadata(path).wrap_err_with(|| path.display().to_string())?.len())
}

fn name(path: &Path) -> std::borrow::Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}

/// Cuts bytes off the end: a few, many, or all, as often.
fn cut(path: &Path, random: &mut ChaCha8Rng) -> eyre::Result<String> {
    let length = length(path)?;
    ensure!(length > 0, "{} is empty", path.display());
    let (most, part): (u64, u32) = (random.gen_range(1..=length), random.gen_range(0..10));
    let bytes = (most >> part).max(1);
    OpenOptions::new().write(true).open(path)?.set_len(length - bytes)?;
    Ok(format!("{bytes} of {length} bytes cut off {}", name(path)))
}

fn empty(path: &Path) -> eyre::Result<String> {
    OpenOptions::new().write(true).open(path)?.set_len(0)?;
    Ok(format!("{} emptied", name(path)))
}

fn append(path: &Path, random: &mut ChaCha8Rng) -> eyre::Result<String> {
    let mut junk = vec![0; random.gen_range(1..=512)];
    random.fill_bytes(&mut junk);
    OpenOptions::new().append(true).open(path)?.write_all(&junk)?;
    Ok(format!("{} bytes of junk behind {}", junk.len(), name(path)))
}

fn flip_any(path: &Path, random: &mut ChaCha8Rng) -> eyre::Result<String> {
    flip(path, 0..length(path)?, random)
}

fn flip(path: &Path, within: Range<u64>, random: &mut ChaCha8Rng) -> eyre::Result<String> {
    let mut bytes = fs::read(path)?;
    let length = bytes.len() as u64;
    let within = within.start..within.end.min(length);
    ensure!(!within.is_empty(), "{} has {length} bytes only", path.display());
    let (at, bit): (u64, u32) = (random.gen_range(within), random.gen_range(0..8));
    bytes[usize::try_from(at)?] ^= 1u8 << bit;
    // In its place: a new file would have other rights.
    OpenOptions::new().write(true).open(path)?.write_all(&bytes)?;
    Ok(format!("bit {bit} of byte {at} flipped in {} of {length} bytes", name(path)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn damage_is_what_it_says_and_the_same_for_a_seed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, whole) = (dir.path().join("000007.log"), vec![5; 1000]);
        for seed in 0..50 {
            let mut results = Vec::new();
            for _ in 0..2 {
                let mut random = ChaCha8Rng::seed_from_u64(seed);
                fs::write(&path, &whole).unwrap();
                flip(&path, 900..5000, &mut random).unwrap();
                let flipped = fs::read(&path).unwrap();
                let changed: Vec<usize> = (0..1000).filter(|i| flipped[*i] != 5).collect();
                assert!(changed.len() == 1 && changed[0] >= 900 && flipped.len() == 1000);
                append(&path, &mut random).unwrap();
                assert!(fs::read(&path).unwrap().starts_with(&flipped) && length(&path).unwrap() > 1000);
                let before = length(&path).unwrap();
                cut(&path, &mut random).unwrap();
                assert!(length(&path).unwrap() < before);
                results.push(fs::read(&path).unwrap());
            }
            assert_eq!(results[0], results[1]);
        }
        fs::write(&path, &whole).unwrap();
        for other in ["000012.log", "000009.sst", "MANIFEST-000005", "LOG"] {
            fs::write(dir.path().join(other), &whole).unwrap();
        }
        fs::write(dir.path().join("000013.log"), b"").unwrap();
        assert_eq!(newest_log(dir.path()).unwrap().file_name().unwrap(), "000012.log");
        assert_eq!(numbered(dir.path(), &["log", "sst"]).unwrap().len(), 3);
        assert!(flip(&path, 2000..3000, &mut ChaCha8Rng::seed_from_u64(0)).is_err());
    }
}
