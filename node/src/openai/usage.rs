//! What each key has used: by day, against its quota, and in all, for its bill.
//!
//! A gateway that is killed forgets a second of it at most, in its callers' favour. A key that is removed keeps its account.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use assay_primitives::Amount;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::home::{
    KeptError,
    kept::{self, Kept},
};

/// A quota's period, in seconds.
const DAY: u64 = 86_400;

/// Sums over answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// Answers.
    pub answers: u64,
    /// Tokens of their prompts.
    pub prompt: u64,
    /// Tokens of theirs.
    pub completion: u64,
    /// What the miners are paid for them.
    pub cost: Amount,
}

impl Usage {
    /// Tokens of prompts and answers together.
    pub fn tokens(&self) -> u64 {
        self.prompt.saturating_add(self.completion)
    }

    fn add(&mut self, other: &Self) {
        self.answers = self.answers.saturating_add(other.answers);
        self.prompt = self.prompt.saturating_add(other.prompt);
        self.completion = self.completion.saturating_add(other.completion);
        self.cost = Amount(self.cost.0.saturating_add(other.cost.0));
    }
}

/// One key's account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// The key's name; empty for those who ask without one.
    pub name: String,
    /// The last day on which it was used, since 1970 (UTC).
    pub day: u64,
    /// Of that day.
    pub today: Usage,
    /// Of all days.
    pub ever: Usage,
}

impl Account {
    /// What was used on a day.
    pub fn on(&self, day: u64) -> Usage {
        if self.day == day { self.today } else { Usage::default() }
    }
}

/// Today, in days since 1970 (UTC).
pub fn today() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()) / DAY
}

/// The accounts of all keys, by the keys' hashes.
pub type Accounts = BTreeMap<String, Account>;

/// The accounts of a file; one that is not there has none.
///
/// # Errors
/// [`KeptError`].
pub fn read(path: &Path) -> Result<Accounts, KeptError> {
    kept::read(path)
}

/// Where the accounts of a file of keys lie: beside it.
pub fn beside(keys: &Path) -> PathBuf {
    keys.with_extension("usage.json")
}

/// The accounts in use. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct UsageBook(Kept<Accounts>);

impl UsageBook {
    /// The accounts of a file, which need not be there yet.
    ///
    /// # Errors
    /// [`KeptError`].
    pub fn open(path: PathBuf) -> Result<Self, KeptError> {
        Kept::open(path).map(Self)
    }

    /// What a key has used today.
    pub fn today(&self, hash: &str) -> Usage {
        self.0.look(|accounts| accounts.get(hash).map_or_else(Usage::default, |account| account.on(today())))
    }

    /// Books an answer.
    pub fn book(&self, (hash, name): (&str, &str), usage: &Usage) {
        self.0.change(|accounts| {
            let account = accounts.entry(hash.to_owned()).or_default();
            name.clone_into(&mut account.name);
            let day = today();
            if account.day != day {
                (account.day, account.today) = (day, Usage::default());
            }
            account.today.add(usage);
            account.ever.add(usage);
        });
    }

    /// Writes what changes, until `stop`, and then once more.
    pub async fn keep(self, stop: CancellationToken) {
        self.0.keep("what was used", &stop).await;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const ONE: Usage = Usage { answers: 1, prompt: 10, completion: 2, cost: Amount(3) };

    #[test]
    fn what_was_used_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = beside(&folder.path().join("api-keys.json"));
        let book = UsageBook::open(path.clone()).unwrap();
        book.book(("aa", "ann"), &ONE);
        book.book(("aa", "ann"), &ONE);
        book.book(("", ""), &ONE);
        book.0.save().unwrap();
        let again = UsageBook::open(path.clone()).unwrap();
        assert_eq!(again.today("aa"), Usage { answers: 2, prompt: 20, completion: 4, cost: Amount(6) });
        assert_eq!(again.today("aa").tokens(), 24);
        assert_eq!(again.today("bb"), Usage::default());
        again.book(("aa", "ann"), &ONE);
        again.0.save().unwrap();
        assert_eq!(read(&path).unwrap()["aa"].ever.answers, 3);
    }

    #[test]
    fn a_new_day_begins_at_nothing_and_sums_stay() {
        let book = UsageBook::default();
        book.book(("aa", "ann"), &ONE);
        book.0.change(|accounts| accounts.get_mut("aa").unwrap().day -= 1);
        assert_eq!(book.today("aa"), Usage::default());
        book.book(("aa", "ann"), &ONE);
        assert_eq!(book.today("aa"), ONE);
        assert_eq!(book.0.look(|accounts| accounts["aa"].ever.answers), 2);
    }
}
