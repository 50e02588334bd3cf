//! Secret keys in files that only their owner can read.
//!
//! ```text
//! Keypair --create--> {"account": "asy1…", "secret": "<64 hex>"}, mode 0600, fsynced --read--> Keypair
//! ```
//!
//! A file that others can read is refused, because its secret must be taken for known. The account stands beside
//! the secret so that people can see whose file it is; a file where the two differ is refused.

use std::{
    fs::File,
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use assay_primitives::{AccountId, Keypair};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Larger files are no key files.
const MAX_BYTES: u64 = 4096;

/// Why a key file was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// There is none.
    #[error("there is no key file {}; make one with `assay wallet create` or `assay init`", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Other users of the machine can read or change it.
    #[error(
        "key file {} can be read by others (mode {mode:03o}, expected 600); run `chmod 600 {}`, and if others use this machine, move the money to a new key",
        path.display(), path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not the JSON of a key file.
    #[error("{} is not a key file: {reason}; expected {{\"account\": \"asy1…\", \"secret\": \"64 hexadecimal digits\"}}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The account beside the secret is another one.
    #[error("key file {} names {named}, but its secret is that of {found}; restore it from a backup", path.display())]
    OtherAccount {
        /// The file.
        path: PathBuf,
        /// What the file says.
        named: AccountId,
        /// What the secret gives.
        found: AccountId,
    },
    /// It exists already.
    #[error("key file {} exists already and is never overwritten; choose another name", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// `read` or `write`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    account: AccountId,
    secret: String,
}

/// A fresh key from the operating system's randomness.
pub fn generate() -> Keypair {
    Keypair::generate(&mut rand::rngs::OsRng)
}

/// The key of a secret written as 64 hexadecimal digits; `None` if the text is something else.
pub fn from_secret_text(text: &str) -> Option<Keypair> {
    let mut secret = Zeroizing::new([0u8; 32]);
    hex::decode_to_slice(text.trim(), secret.as_mut()).ok()?;
    Some(Keypair::from_secret(*secret))
}

/// Reads a key file.
///
/// # Errors
/// [`KeyFileError`]: missing, readable by others, malformed, or with an account that is not its secret's.
pub fn read(path: &Path) -> Result<Keypair, KeyFileError> {
    let io = |source| KeyFileError::Io { doing: "read", path: path.to_owned(), source };
    let file = File::open(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => KeyFileError::Missing { path: path.to_owned() },
        _ => io(e),
    })?;
    // Asked of the open file, so that no other file can take its place between the check and the reading.
    let mode = file.metadata().map_err(io)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Exposed { path: path.to_owned(), mode });
    }
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_BYTES).read_to_string(&mut text).map_err(io)?;
    let malformed = |reason: String| KeyFileError::Malformed { path: path.to_owned(), reason };
    let stored: KeyFile = serde_json::from_str(&text).map_err(|e| malformed(e.to_string()))?;
    let secret = Zeroizing::new(stored.secret);
    let key = from_secret_text(&secret).ok_or_else(|| malformed("its secret is not 64 hexadecimal digits".into()))?;
    if key.account() != stored.account {
        return Err(KeyFileError::OtherAccount { path: path.to_owned(), named: stored.account, found: key.account() });
    }
    Ok(key)
}

/// Writes a key file with mode 0600, and its folder with mode 0700 if it does not exist. Never overwrites, and leaves no
/// empty folder where it cannot write.
///
/// # Errors
/// [`KeyFileError::Exists`], or what the operating system refuses.
pub fn create(path: &Path, key: &Keypair) -> Result<(), KeyFileError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let io = |source| KeyFileError::Io { doing: "write", path: path.to_owned(), source };
    let new: Vec<&Path> = path.ancestors().skip(1).take_while(|folder| !folder.exists()).collect();
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(io)?;
    }
    let stored = KeyFile { account: key.account(), secret: hex::encode(*key.secret()) };
    let mut text = Zeroizing::new(serde_json::to_string_pretty(&stored).expect("two strings are JSON"));
    let _wiped = Zeroizing::new(stored.secret);
    text.push('\n');
    crate::home::write_new(path, text.as_bytes(), 0o600).map_err(|e| {
        // Those that are no longer empty stay.
        new.iter().for_each(|folder| drop(std::fs::remove_dir(folder)));
        match e.kind() {
            std::io::ErrorKind::AlreadyExists => KeyFileError::Exists { path: path.to_owned() },
            _ => io(e),
        }
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;

    fn written() -> (tempfile::TempDir, PathBuf, Keypair) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys/owner.json");
        let key = generate();
        create(&path, &key).unwrap();
        (dir, path, key)
    }

    #[test]
    fn a_key_comes_back_from_its_file_which_only_its_owner_can_read() {
        let (_dir, path, key) = written();
        assert_eq!(read(&path).unwrap().account(), key.account());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_key_file_that_others_can_read_is_refused_with_the_command_that_mends_it() {
        let (_dir, path, _) = written();
        for mode in [0o640, 0o604, 0o620, 0o666] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = read(&path).unwrap_err();
            assert!(matches!(error, KeyFileError::Exposed { .. }), "{error}");
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
    }

    #[test]
    fn an_existing_key_file_is_never_overwritten() {
        let (_dir, path, key) = written();
        assert!(matches!(create(&path, &generate()), Err(KeyFileError::Exists { .. })));
        assert_eq!(read(&path).unwrap().account(), key.account());
    }

    #[test]
    fn a_foreign_account_an_unknown_field_and_a_short_secret_are_refused() {
        let (_dir, path, key) = written();
        let secret = hex::encode(*key.secret());
        let other = generate().account();
        for (text, expected) in [
            (format!(r#"{{"account":"{other}","secret":"{secret}"}}"#), "restore it"),
            (format!(r#"{{"account":"{other}","secret":"{secret}","x":1}}"#), "unknown field"),
            (format!(r#"{{"account":"{other}","secret":"{}"}}"#, &secret[2..]), "64 hexadecimal"),
            (String::new(), "not a key file"),
        ] {
            fs::write(&path, text).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains(&secret), "an error must not tell the secret");
        }
    }
}
