//! Score sheets on disk: a sheet is written and synced before its commitment is sent, so that a crash can neither lose
//! what must be revealed nor make this validator commit to two different sheets. With it lie the exchanges that it was
//! made from, of which the chain asks to see some when the sheet is revealed.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use assay_ledger::tx::ScoreSheet;
use assay_primitives::{
    Signed,
    task::{Request, Response, SubnetId},
};
use borsh::{BorshDeserialize, BorshSerialize};

use crate::roles::RoleError;

/// One exchange behind a score.
pub(super) type Kept = (Signed<Request>, Signed<Response>);

/// A sheet with what it was made from.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct Closed {
    pub(super) sheet: ScoreSheet,
    pub(super) exchanges: Vec<Kept>,
}

/// The sheets of the epochs that are not settled, by epoch and subnet.
#[derive(Debug)]
pub(super) struct Sheets {
    dir: PathBuf,
    sheets: BTreeMap<(u64, SubnetId), Closed>,
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RoleError {
    let path = path.to_owned();
    move |source| RoleError::Io { doing, path, source }
}

impl Sheets {
    /// Reads what an earlier run left in `dir`, which is made if need be.
    pub(super) fn open(dir: PathBuf) -> Result<Self, RoleError> {
        fs::create_dir_all(&dir).map_err(failed("create", &dir))?;
        let mut sheets = BTreeMap::new();
        for entry in fs::read_dir(&dir).map_err(failed("list", &dir))? {
            let path = entry.map_err(failed("list", &dir))?.path();
            // What a crash left half written has another ending and was never committed.
            if path.extension().is_none_or(|e| e != "sheet") {
                continue;
            }
            let bytes = fs::read(&path).map_err(failed("read", &path))?;
            let closed: Closed = assay_primitives::decode("score sheet", &bytes)
                .map_err(|e| RoleError::Damaged { path: path.clone(), reason: e.to_string() })?;
            sheets.insert((closed.sheet.epoch, closed.sheet.subnet), closed);
        }
        Ok(Self { dir, sheets })
    }

    fn path(&self, epoch: u64, subnet: SubnetId) -> PathBuf {
        self.dir.join(format!("{epoch}-{subnet}.sheet"))
    }

    /// Keeps a sheet for good. The first one for an epoch and subnet stands; a second is not written.
    pub(super) fn keep(&mut self, closed: Closed) -> Result<(), RoleError> {
        let key = (closed.sheet.epoch, closed.sheet.subnet);
        if self.sheets.contains_key(&key) {
            return Ok(());
        }
        let path = self.path(key.0, key.1);
        let unfinished = path.with_extension("writing");
        let write = || {
            let mut file = File::create(&unfinished)?;
            file.write_all(&assay_primitives::encode(&closed))?;
            file.sync_all()?;
            fs::rename(&unfinished, &path)?;
            File::open(&self.dir)?.sync_all()
        };
        write().map_err(failed("write", &path))?;
        self.sheets.insert(key, closed);
        Ok(())
    }

    /// Whether anything was committed to for an epoch.
    pub(super) fn has(&self, epoch: u64) -> bool {
        self.sheets.keys().any(|(e, _)| *e == epoch)
    }

    /// All sheets kept.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Closed> {
        self.sheets.values()
    }

    /// Deletes the sheets of epochs before `oldest`.
    pub(super) fn forget_before(&mut self, oldest: u64) -> Result<(), RoleError> {
        while let Some(entry) = self.sheets.first_entry().filter(|e| e.key().0 < oldest) {
            let (epoch, subnet) = *entry.key();
            entry.remove();
            let path = self.path(epoch, subnet);
            fs::remove_file(&path).map_err(failed("delete", &path))?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use assay_primitives::AccountId;

    use super::*;

    fn sheet(epoch: u64, salt: u8) -> Closed {
        let validator = AccountId([1; 32]);
        let sheet = ScoreSheet { validator, subnet: 1, epoch, salt: [salt; 32], scores: Vec::new() };
        Closed { sheet, exchanges: Vec::new() }
    }

    #[test]
    fn the_first_sheet_of_an_epoch_stands_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let mut sheets = Sheets::open(dir.path().join("sheets")).unwrap();
        sheets.keep(sheet(4, 1)).unwrap();
        sheets.keep(sheet(4, 2)).unwrap();
        let mut sheets = Sheets::open(dir.path().join("sheets")).unwrap();
        assert!(sheets.has(4) && !sheets.has(5));
        sheets.keep(sheet(4, 3)).unwrap();
        assert_eq!(sheets.iter().collect::<Vec<_>>(), [&sheet(4, 1)]);
        sheets.forget_before(5).unwrap();
        assert!(!Sheets::open(dir.path().join("sheets")).unwrap().has(4));
    }

    #[test]
    fn a_half_written_sheet_is_no_sheet_and_a_damaged_one_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("4-1.writing"), b"half").unwrap();
        assert!(!Sheets::open(dir.path().into()).unwrap().has(4));
        fs::write(dir.path().join("5-1.sheet"), b"damaged").unwrap();
        let error = Sheets::open(dir.path().into()).unwrap_err().to_string();
        assert!(error.contains("5-1.sheet") && error.contains("damaged"), "{error}");
    }
}
