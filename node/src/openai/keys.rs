//! Keys of the API: who may ask, how often, and for how much.
//!
//! A key is told once, when it is made; the file holds its hash. The file is read again when it has changed, so that keys
//! come and go without a restart. Where there is no file, nobody needs a key; from the first one on a key is needed, even when
//! the last is gone or the file itself: a door that was shut is not opened by a mistake.

use std::{
    collections::BTreeMap,
    fs, io,
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use rand::{RngCore as _, rngs::OsRng};
use serde::{Deserialize, Serialize};

use super::{
    error::ApiError,
    usage::{self, Usage, UsageBook},
};
use crate::home::{self, KeptError};

/// What a key begins with.
const PREFIX: &str = "asy-";
/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// One key, as the file has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Its name: 1 to 64 characters, unique in the file.
    pub name: String,
    /// BLAKE3 of the key, in hexadecimal.
    pub hash: String,
    /// Requests a minute; none is no limit.
    #[serde(default)]
    pub per_minute: Option<NonZeroU32>,
    /// Tokens a day (UTC), of prompts and answers together; none is no limit.
    #[serde(default)]
    pub tokens_per_day: Option<u64>,
    /// Models that it may ask for; none is all.
    #[serde(default)]
    pub models: Option<Vec<String>>,
    /// Higher goes first where requests wait. -10..=10.
    #[serde(default)]
    pub priority: i8,
    /// When it was made, in seconds since 1970.
    pub created: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    keys: Vec<Key>,
}

/// Why the file of keys was not read or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The operating system refused.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// `read` or `write`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no file of keys.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// What the keys have used.
    #[error(transparent)]
    Usage(#[from] KeptError),
    /// A key's settings make no sense.
    #[error("{0}")]
    Settings(String),
}

fn hash(key: &str) -> String {
    blake3::hash(key.as_bytes()).to_hex().to_string()
}

fn until_midnight() -> Duration {
    Duration::from_secs(86_400 - seconds() % 86_400)
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// Reads the keys of a file; one that is not there has none.
///
/// # Errors
/// [`KeysError`].
pub fn read(path: &Path) -> Result<Vec<Key>, KeysError> {
    load(path).map(Option::unwrap_or_default)
}

/// The keys of a file; none if there is no file.
fn load(path: &Path) -> Result<Option<Vec<Key>>, KeysError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(KeysError::Io { doing: "read", path: path.to_owned(), source }),
    };
    let malformed = |reason: String| KeysError::Malformed { path: path.to_owned(), reason };
    let File { keys } = serde_json::from_str(&text).map_err(|e| malformed(e.to_string()))?;
    if let Some(key) = keys.iter().find(|key| key.hash.len() != 64 || !key.hash.bytes().all(|b| b.is_ascii_hexdigit()))
    {
        return Err(malformed(format!("the key {:?} has no hash of 64 hexadecimal digits", key.name)));
    }
    Ok(Some(keys))
}

fn write(path: &Path, keys: Vec<Key>) -> Result<(), KeysError> {
    let text = serde_json::to_string_pretty(&File { keys }).expect("keys are strings and numbers") + "\n";
    home::replace_secret(path, text.as_bytes()).map_err(|source| KeysError::Io {
        doing: "write",
        path: path.to_owned(),
        source,
    })
}

/// Adds a key and gives it, for the only time. `made` has its settings; its hash and time are filled in.
///
/// # Errors
/// [`KeysError`]; the file is unchanged then.
pub fn add(path: &Path, made: Key) -> Result<String, KeysError> {
    if made.name.is_empty() || made.name.chars().count() > 64 || made.name.chars().any(char::is_control) {
        return Err(KeysError::Settings("a key's name has 1 to 64 characters, none of control".into()));
    }
    if !(-10..=10).contains(&made.priority) {
        return Err(KeysError::Settings(format!("a key's priority lies in -10 to 10, found {}", made.priority)));
    }
    let mut keys = read(path)?;
    if keys.iter().any(|key| key.name == made.name) {
        return Err(KeysError::Settings(format!(
            "there is a key named {:?} already; remove it, or choose another name",
            made.name
        )));
    }
    let mut secret = [0; 24];
    OsRng.fill_bytes(&mut secret);
    let key = format!("{PREFIX}{}", hex::encode(secret));
    keys.push(Key { hash: hash(&key), created: seconds(), ..made });
    write(path, keys)?;
    Ok(key)
}

/// Removes a key by name; whether it was there.
///
/// # Errors
/// [`KeysError`]; the file is unchanged then.
pub fn remove(path: &Path, name: &str) -> Result<bool, KeysError> {
    let mut keys = read(path)?;
    let before = keys.len();
    keys.retain(|key| key.name != name);
    let removed = keys.len() < before;
    if removed {
        write(path, keys)?;
    }
    Ok(removed)
}

/// A key in use.
#[derive(Debug)]
struct Known {
    key: Key,
    rate: Option<DefaultDirectRateLimiter>,
    /// Tokens that answers under way may still take.
    reserved: Mutex<u64>,
}

/// Tokens of a key's quota that are kept for an answer under way, until this is dropped.
#[derive(Debug)]
pub struct Reservation {
    known: Option<Arc<Known>>,
    tokens: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(known) = &self.known {
            let mut reserved = locked(&known.reserved);
            *reserved = reserved.saturating_sub(self.tokens);
        }
    }
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Its key; none where nobody needs one.
    known: Option<Arc<Known>>,
    book: UsageBook,
}

/// The doorkeeper. Clones share it.
#[derive(Clone, Debug)]
pub struct Keys(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: Option<PathBuf>,
    book: UsageBook,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    looked: Option<Instant>,
    changed: Option<SystemTime>,
    /// Whether a key is needed: there was a file once.
    shut: bool,
    by_hash: BTreeMap<String, Arc<Known>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Keys {
    /// Nobody needs a key.
    pub fn none() -> Self {
        Self::of(None, UsageBook::default())
    }

    /// Those of a file, which need not be there yet; what they have used lies beside it.
    ///
    /// # Errors
    /// [`KeysError`] if one of the two is there and cannot be used.
    pub fn open(path: PathBuf) -> Result<Self, KeysError> {
        read(&path)?;
        let book = UsageBook::open(usage::beside(&path))?;
        Ok(Self::of(Some(path), book))
    }

    fn of(path: Option<PathBuf>, book: UsageBook) -> Self {
        let seen = Seen { looked: None, changed: None, shut: false, by_hash: BTreeMap::new() };
        Self(Arc::new(Inner { path, book, seen: Mutex::new(seen) }))
    }

    /// What the keys have used.
    pub fn book(&self) -> &UsageBook {
        &self.0.book
    }

    /// Reads the file again if it has changed. Keys that stay keep their counts. A file that cannot be read changes nothing.
    fn look(&self) -> MutexGuard<'_, Seen> {
        let mut seen = locked(&self.0.seen);
        let Some(path) = self.0.path.as_ref().filter(|_| seen.looked.is_none_or(|at| at.elapsed() > LOOK)) else {
            return seen;
        };
        let changed = fs::metadata(path).and_then(|m| m.modified()).ok();
        if seen.looked.is_none() || changed != seen.changed {
            match load(path) {
                Ok(None) if seen.shut => {
                    let path = path.display();
                    tracing::error!(%path, "the file of keys is gone; those known before stay, and a key is needed still");
                    seen.changed = changed;
                }
                Ok(None) => seen.changed = changed,
                Ok(Some(keys)) => {
                    let known = |key: Key| {
                        let old = seen.by_hash.get(&key.hash).filter(|known| known.key == key).cloned();
                        let rate = key.per_minute.map(|n| RateLimiter::direct(Quota::per_minute(n)));
                        let hash = key.hash.clone();
                        (hash, old.unwrap_or_else(|| Arc::new(Known { key, rate, reserved: Mutex::default() })))
                    };
                    seen.by_hash = keys.into_iter().map(known).collect();
                    (seen.shut, seen.changed) = (true, changed);
                }
                Err(error) => tracing::error!(%error, "the file of keys cannot be read; those known before stay"),
            }
        }
        seen.looked = Some(Instant::now());
        seen
    }

    /// Who asks, by the header `Authorization`.
    ///
    /// # Errors
    /// [`ApiError`] of status 401 without a known key where one is needed, 429 beyond the key's rate or quota.
    pub fn admit(&self, authorization: Option<&str>) -> Result<Caller, ApiError> {
        let seen = self.look();
        if !seen.shut {
            return Ok(Caller { known: None, book: self.0.book.clone() });
        }
        let bearer = authorization.and_then(|header| header.split_once(' '));
        let given = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, given)| given.trim());
        let given = given.ok_or_else(|| ApiError::unauthorised("a key is needed: send `Authorization: Bearer KEY`"))?;
        // Looked up by hash: how long it takes says nothing of the key.
        let known = seen.by_hash.get(&hash(given)).cloned();
        drop(seen);
        let known = known.ok_or_else(|| ApiError::unauthorised("this key is not known here"))?;
        if let Some(Err(until)) = known.rate.as_ref().map(DefaultDirectRateLimiter::check) {
            let wait = until.wait_time_from(governor::clock::Clock::now(&governor::clock::DefaultClock::default()));
            let limit = known.key.per_minute.map_or(0, NonZeroU32::get);
            return Err(ApiError::busy(format!("this key may ask {limit} times a minute"), wait));
        }
        let caller = Caller { known: Some(known), book: self.0.book.clone() };
        if caller.left() == Some(0) {
            let words = "this key's tokens of the day are used up; they are renewed at midnight UTC";
            return Err(ApiError::quota(words, until_midnight()));
        }
        Ok(caller)
    }
}

impl Caller {
    /// Its name; empty where nobody needs a key.
    pub fn name(&self) -> &str {
        self.known.as_ref().map_or("", |known| &known.key.name)
    }

    /// Higher goes first.
    pub fn priority(&self) -> i32 {
        self.known.as_ref().map_or(0, |known| i32::from(known.key.priority))
    }

    /// Whether it may ask for a model.
    ///
    /// # Errors
    /// [`ApiError`] of status 403.
    pub fn may_ask(&self, model: &str) -> Result<(), ApiError> {
        let allowed = self.known.as_ref().and_then(|known| known.key.models.as_ref());
        if allowed.is_none_or(|models| models.iter().any(|m| m == model)) {
            return Ok(());
        }
        Err(ApiError::forbidden("this key may not ask for this model"))
    }

    /// Tokens that are left of the day; none where there is no quota.
    pub fn left(&self) -> Option<u64> {
        let key = &self.known.as_ref()?.key;
        Some(key.tokens_per_day?.saturating_sub(self.book.today(&key.hash).tokens()))
    }

    /// Keeps tokens for an answer: as many as it can take, of its prompt and itself.
    ///
    /// # Errors
    /// [`ApiError`] of status 429 if so many are not left of the day beside those that other answers under way may take.
    pub fn reserve(&self, tokens: u64) -> Result<Reservation, ApiError> {
        let limited = self.known.as_ref().zip(self.left());
        let Some((known, left)) = limited else { return Ok(Reservation { known: None, tokens: 0 }) };
        let mut reserved = locked(&known.reserved);
        let left = left.saturating_sub(*reserved);
        if tokens > left {
            let words = format!(
                "this request may take {tokens} tokens and this key has {left} left today, without those that its answers under \
                 way may take; ask for fewer (`max_tokens`), or after midnight UTC"
            );
            return Err(ApiError::quota(words, until_midnight()));
        }
        *reserved += tokens;
        Ok(Reservation { known: Some(known.clone()), tokens })
    }

    /// Books an answer, whole or broken off.
    pub fn used(&self, usage: &Usage) {
        let account = self.known.as_ref().map_or(("", ""), |known| (&known.key.hash, &known.key.name));
        self.book.book(account, usage);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn named(name: &str) -> Key {
        Key { name: name.into(), ..Key::default() }
    }

    fn status(result: Result<Caller, ApiError>) -> u16 {
        result.map_or_else(|e| e.status.as_u16(), |_| 200)
    }

    #[test]
    fn a_key_opens_the_door_and_its_file_does_not_hold_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.json");
        let keys = Keys::open(path.clone()).unwrap();
        assert_eq!(keys.admit(None).unwrap().name(), "", "without keys nobody needs one");
        let key = add(&path, named("ana")).unwrap();
        assert!(!fs::read_to_string(&path).unwrap().contains(&key));
        let keys = Keys::open(path.clone()).unwrap();
        assert_eq!(keys.admit(Some(&format!("Bearer {key}"))).unwrap().name(), "ana");
        for wrong in [None, Some(key.clone()), Some(format!("Bearer {key}x")), Some("Bearer ".into())] {
            assert_eq!(status(keys.admit(wrong.as_deref())), 401, "{wrong:?}");
        }
        assert!(add(&path, named("ana")).unwrap_err().to_string().contains("already"));
        assert!(remove(&path, "ana").unwrap() && !remove(&path, "ana").unwrap());
    }

    #[test]
    fn rates_quotas_and_models_are_the_keys_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.json");
        let often = add(&path, Key { per_minute: NonZeroU32::new(2), ..named("often") }).unwrap();
        let much =
            add(&path, Key { tokens_per_day: Some(10), models: Some(vec!["gloss".into()]), ..named("much") }).unwrap();
        let keys = Keys::open(path).unwrap();
        let ask = |key: &str| keys.admit(Some(&format!("Bearer {key}")));
        assert_eq!([ask(&often), ask(&often), ask(&often)].map(status), [200, 200, 429]);
        let caller = ask(&much).unwrap();
        assert_eq!((caller.left(), caller.may_ask("other").unwrap_err().status.as_u16()), (Some(10), 403));
        caller.may_ask("gloss").unwrap();
        // Answers under way count, together.
        let first = caller.reserve(6).unwrap();
        assert!(ask(&much).unwrap().reserve(5).unwrap_err().message.contains("4 left"));
        caller.reserve(4).unwrap();
        drop(first);
        drop(caller.reserve(10).unwrap());
        caller.used(&Usage { prompt: 10, completion: 2, ..Usage::default() });
        let error = ask(&much).unwrap_err();
        assert_eq!((error.status.as_u16(), error.code), (429, Some("insufficient_quota")));
    }

    #[test]
    fn a_door_that_was_shut_stays_shut_without_keys_and_without_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.json");
        let keys = Keys::open(path.clone()).unwrap();
        let later = || locked(&keys.0.seen).looked = Some(Instant::now().checked_sub(LOOK * 2).unwrap());
        assert_eq!(status(keys.admit(None)), 200);
        let key = add(&path, named("ana")).unwrap();
        let header = format!("bearer {key}");
        later();
        assert_eq!((status(keys.admit(None)), status(keys.admit(Some(&header)))), (401, 200));
        fs::remove_file(&path).unwrap();
        later();
        assert_eq!((status(keys.admit(None)), status(keys.admit(Some(&header)))), (401, 200), "a lost file");
        let other = add(&path, named("ben")).unwrap();
        remove(&path, "ben").unwrap();
        later();
        for header in [None, Some(header), Some(format!("Bearer {other}"))] {
            assert_eq!(status(keys.admit(header.as_deref())), 401);
        }
        assert_eq!(status(Keys::open(path).unwrap().admit(None)), 401, "a file without keys");
    }

    #[test]
    fn a_file_that_is_none_is_refused_and_one_that_changes_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.json");
        fs::write(&path, "{").unwrap();
        assert!(Keys::open(path.clone()).is_err());
        fs::write(&path, r#"{"keys":[{"name":"a","hash":"zz","created":1}]}"#).unwrap();
        assert!(Keys::open(path.clone()).unwrap_err().to_string().contains("64 hexadecimal"));
        fs::remove_file(&path).unwrap();
        let key = add(&path, named("ana")).unwrap();
        let keys = Keys::open(path.clone()).unwrap();
        let header = format!("Bearer {key}");
        assert_eq!(status(keys.admit(Some(&header))), 200);
        let other = add(&path, named("ben")).unwrap();
        remove(&path, "ana").unwrap();
        locked(&keys.0.seen).looked = Some(Instant::now().checked_sub(LOOK * 2).unwrap());
        assert_eq!(status(keys.admit(Some(&header))), 401);
        assert_eq!(status(keys.admit(Some(&format!("Bearer {other}")))), 200);
    }
}
