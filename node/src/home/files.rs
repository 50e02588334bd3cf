//! Files that are either whole or not there: written beside their place under another name, synced, then renamed, so
//! that a full disk or a crash leaves nothing that the next try trips over.

use std::{
    fs::Permissions,
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use tempfile::NamedTempFile;

/// The whole content under a passing name in the folder of `path`; gone again when dropped.
fn beside(path: &Path, bytes: &[u8], mode: u32) -> io::Result<NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file =
        tempfile::Builder::new().prefix(".assay-").permissions(Permissions::from_mode(mode)).tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// Writes a file that must not exist yet, with `mode` less the umask.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`], or what the operating system refuses; then nothing is left behind.
pub(crate) fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    beside(path, bytes, mode)?.persist_noclobber(path).map(drop).map_err(|e| e.error)
}

/// Writes a file anybody may read, in the place of one that may be there.
///
/// # Errors
/// What the operating system refuses; then the old file stands.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    beside(path, bytes, 0o644)?.persist(path).map(drop).map_err(|e| e.error)
}

/// [`replace`], of a file that only its owner may read.
///
/// # Errors
/// What the operating system refuses; then the old file stands.
pub(crate) fn replace_secret(path: &Path, bytes: &[u8]) -> io::Result<()> {
    beside(path, bytes, 0o600)?.persist(path).map(drop).map_err(|e| e.error)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_refused_write_leaves_the_old_file_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write_new(&path, b"old", 0o600).unwrap();
        assert_eq!(write_new(&path, b"new", 0o600).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::create_dir(dir.path().join("folder")).unwrap();
        assert!(replace(&dir.path().join("folder"), b"new").is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        replace(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        replace_secret(&path, b"own").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
