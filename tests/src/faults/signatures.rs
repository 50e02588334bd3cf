//! What keys have signed, from the logs of their nodes.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead as _, BufReader},
    path::Path,
};

use assay_consensus::bft::SIGNED;
use eyre::{WrapErr as _, bail, ensure};

/// All signatures of one key: what was signed, by kind, height and round.
#[derive(Debug, Default)]
pub struct Signatures {
    signed: BTreeMap<(String, u64, u32), String>,
    /// How often the same was signed once more, as after a start.
    pub again: usize,
}

impl Signatures {
    /// Reads a log. The node has to log [`SIGNED`] at `debug`.
    ///
    /// # Errors
    /// If two messages were signed for one height and round, or the log tells of none.
    pub fn read(log: &Path) -> eyre::Result<Self> {
        let mut all = Self::default();
        let mark = format!("{SIGNED}: ");
        let file = File::open(log).wrap_err_with(|| log.display().to_string())?;
        for line in BufReader::new(file).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            if let Some((_, rest)) = line.split_once(&mark) {
                all.add(rest.trim())?;
            }
        }
        ensure!(!all.signed.is_empty(), "{} tells of no signature", log.display());
        Ok(all)
    }

    fn add(&mut self, line: &str) -> eyre::Result<()> {
        let [kind, height, round, digest] = line.split(' ').collect::<Vec<_>>()[..] else {
            // A kill in the middle of a line: the signature did not get out, for it is logged first.
            return Ok(());
        };
        let (Ok(height), Ok(round)) = (height.parse(), round.parse()) else { return Ok(()) };
        match self.signed.insert((kind.to_owned(), height, round), digest.to_owned()) {
            Some(before) if before == digest => self.again += 1,
            Some(before) => bail!("two {kind}s were signed at height {height} round {round}: {before} and {digest}"),
            None => {}
        }
        Ok(())
    }

    /// How many different messages were signed.
    pub fn count(&self) -> usize {
        self.signed.len()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(lines: &str) -> eyre::Result<Signatures> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("log");
        std::fs::write(&path, lines)?;
        Signatures::read(&path)
    }

    #[test]
    fn the_same_twice_is_counted_and_two_different_are_an_error() {
        let line = |digest: &str| format!("2026-11-30T00:00:00Z DEBUG {SIGNED}: prevote 7 0 {digest}\n");
        let all = read(&format!("INFO started\n{}{}", line("aa"), line("aa"))).unwrap();
        assert_eq!((all.count(), all.again), (1, 1));
        let error = read(&format!("{}{}", line("aa"), line("bb"))).unwrap_err().to_string();
        assert!(error.contains("two prevotes were signed at height 7 round 0"), "{error}");
        assert!(read("INFO started\n").is_err());
    }
}
