//! What requesters owe for texts: what was billed to each, against what the chain says it paid.
//!
//! Kept in memory and written once a second where something changed: a miner that is killed forgets a second of its bills
//! at most. Of a requester that it has not met, or whose account was lost, it takes all that was paid to be all that was
//! owed.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use assay_primitives::{AccountId, Amount};
use tokio_util::sync::CancellationToken;

use crate::{home, roles::RoleError};

/// What a requester may owe that never paid: accounts cost nothing, so strangers get little.
const STRANGER: Amount = Amount(10_000_000);
/// The part of all it ever paid that a requester may always owe. An answer that was on its way when the requester hung up
/// stands in this book and not in the requester's: such differences are never paid, and must never shut an old customer out.
const DIFFERENCE: u64 = 50;
/// How often changes are written.
const SAVE: Duration = Duration::from_secs(1);
/// Most requesters that are remembered; beyond it those who were billed least are forgotten.
const MOST: usize = 65_536;

/// The most that a requester may owe that has paid so much: at first what a stranger may, then as much as it paid, up to
/// `most` or a fiftieth of all it ever paid.
pub(super) fn limit(most: Amount, paid: Amount) -> Amount {
    Amount(paid.0.saturating_add(STRANGER.0)).min(most.max(Amount(paid.0 / DIFFERENCE)))
}

#[derive(Debug)]
pub(super) struct CreditBook {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// By requester, all that it was ever billed.
    billed: BTreeMap<AccountId, Amount>,
    changed: bool,
}

impl CreditBook {
    /// The book in `dir`, which is made if need be.
    pub(super) fn open(dir: &Path) -> Result<Self, RoleError> {
        let path = dir.join("billed.json");
        let io = |doing| {
            let path = path.clone();
            move |source| RoleError::Io { doing, path, source }
        };
        fs::create_dir_all(dir).map_err(io("create"))?;
        let billed = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|e| RoleError::Damaged { path: path.clone(), reason: e.to_string() })?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(e) => return Err(io("read")(e)),
        };
        Ok(Self { path, state: Mutex::new(State { billed, changed: false }) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a requester owes that has paid so much.
    pub(super) fn owed(&self, requester: &AccountId, paid: Amount) -> Amount {
        let mut state = self.state();
        if !state.billed.contains_key(requester) && state.billed.len() >= MOST {
            let least = state.billed.iter().min_by_key(|(_, billed)| **billed).map(|(id, _)| *id);
            least.map(|id| state.billed.remove(&id));
        }
        let billed = *state.billed.entry(*requester).or_insert(paid);
        Amount(billed.0.saturating_sub(paid.0))
    }

    /// Bills a requester that [`CreditBook::owed`] has looked at.
    pub(super) fn bill(&self, requester: &AccountId, cost: Amount) {
        let mut state = self.state();
        let billed = state.billed.entry(*requester).or_insert(Amount::ZERO);
        *billed = Amount(billed.0.saturating_add(cost.0));
        state.changed = true;
    }

    fn save(&self) -> io::Result<()> {
        let text = {
            let mut state = self.state();
            if !std::mem::replace(&mut state.changed, false) {
                return Ok(());
            }
            serde_json::to_vec_pretty(&state.billed).expect("accounts and amounts are strings and numbers")
        };
        home::replace(&self.path, &text).inspect_err(|_| self.state().changed = true)
    }

    /// Writes what changes, until `stop`, and then once more.
    pub(super) async fn keep(&self, stop: &CancellationToken) {
        loop {
            let stopping = tokio::select! {
                () = stop.cancelled() => true,
                () = tokio::time::sleep(SAVE) => false,
            };
            if let Err(error) = self.save() {
                tracing::error!(path = %self.path.display(), %error, "what requesters owe is not written down; it is tried again");
            }
            if stopping {
                return;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn requester(n: u32) -> AccountId {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&n.to_be_bytes());
        AccountId(id)
    }

    #[test]
    fn debts_outlive_a_restart_and_payments_take_them_away() {
        let folder = tempfile::tempdir().unwrap();
        let book = CreditBook::open(folder.path()).unwrap();
        assert_eq!(book.owed(&requester(1), Amount(50)), Amount::ZERO, "of a stranger all was paid");
        book.bill(&requester(1), Amount(7));
        assert_eq!(book.owed(&requester(1), Amount(50)), Amount(7));
        book.save().unwrap();
        let book = CreditBook::open(folder.path()).unwrap();
        assert_eq!(book.owed(&requester(1), Amount(52)), Amount(5));
        assert_eq!(book.owed(&requester(1), Amount(90)), Amount::ZERO);
        fs::write(folder.path().join("billed.json"), "[").unwrap();
        assert!(matches!(CreditBook::open(folder.path()), Err(RoleError::Damaged { .. })));
    }

    #[test]
    fn trust_grows_with_what_was_paid_up_to_a_limit() {
        let most = Amount::asy(1);
        assert_eq!(limit(most, Amount::ZERO), STRANGER);
        assert_eq!(limit(most, Amount(5)), Amount(STRANGER.0 + 5));
        assert_eq!(limit(most, Amount::asy(20)), most);
        assert_eq!(limit(most, Amount::asy(500)), Amount::asy(10));
        assert_eq!(limit(most, Amount(u64::MAX)), Amount(u64::MAX / 50));
        assert_eq!(limit(Amount::ZERO, Amount::ZERO), Amount::ZERO);
    }

    #[test]
    fn a_crowd_of_strangers_fills_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let book = CreditBook::open(folder.path()).unwrap();
        book.owed(&requester(0), Amount::ZERO);
        book.bill(&requester(0), Amount(9));
        for n in 1..=MOST as u32 + 10 {
            book.owed(&requester(n), Amount::ZERO);
        }
        assert_eq!(book.state().billed.len(), MOST);
        assert_eq!(book.owed(&requester(0), Amount::ZERO), Amount(9), "who owes is remembered");
    }
}
