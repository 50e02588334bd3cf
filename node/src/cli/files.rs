//! Files that a person names on the command line: read up to a size, written whole, and never over what is no plain file.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use eyre::{WrapErr as _, bail, ensure};

use crate::home;

/// Larger files are no models, inputs or proofs.
const MAX_BYTES: u64 = 1 << 30;

/// Reads a whole file, pipe or device of at most [`MAX_BYTES`].
pub(super) fn read(path: &Path) -> eyre::Result<Vec<u8>> {
    read_at_most(path, MAX_BYTES)
}

/// Reads a whole file, pipe or device of at most so many bytes.
pub(super) fn read_at_most(path: &Path, most: u64) -> eyre::Result<Vec<u8>> {
    let file = File::open(path).wrap_err_with(|| format!("cannot read {}", path.display()))?;
    whole(file, &path.display().to_string(), most)
}

/// The same, where `-` is stdin.
pub(super) fn read_or_stdin(path: &Path, most: u64) -> eyre::Result<Vec<u8>> {
    if path == Path::new("-") { whole(io::stdin().lock(), "stdin", most) } else { read_at_most(path, most) }
}

fn whole(from: impl io::Read, name: &str, most: u64) -> eyre::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more tells a file that is too large, whatever it says of its size.
    from.take(most + 1).read_to_end(&mut bytes).wrap_err_with(|| format!("cannot read {name}"))?;
    ensure!(bytes.len() as u64 <= most, "{name} has more than {most} bytes, the most that are read");
    Ok(bytes)
}

/// Writes a whole file or none, and the folder before it. A device or pipe is written to, a link is followed.
pub(super) fn write(path: &Path, bytes: &[u8]) -> eyre::Result<()> {
    put(path, bytes, home::replace)
}

/// [`write()`], for the owner's eyes only.
pub(super) fn write_secret(path: &Path, bytes: &[u8]) -> eyre::Result<()> {
    put(path, bytes, home::replace_secret)
}

/// Finds out whether a file could be written, so that it is known before work is done for it.
pub(super) fn try_out(path: &Path) -> eyre::Result<()> {
    let Target::File(place) = target(path)? else { return Ok(()) };
    let folder = place.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    tempfile::tempfile_in(folder).map(drop).wrap_err_with(|| format!("cannot write {}", path.display()))
}

/// Refuses devices and pipes, for a file that is read again and replaced.
pub(super) fn is_plain(path: &Path) -> eyre::Result<()> {
    match target(path)? {
        Target::File(_) => Ok(()),
        Target::Stream => bail!("{} is a device or a pipe; expected a plain file, there or not", path.display()),
    }
}

/// Keeps other processes from what a file stands for, until what is given is dropped. Makes the file.
pub(super) fn lock(path: &Path) -> eyre::Result<File> {
    let locked = File::create(path).and_then(|file| file.lock().map(|()| file));
    locked.wrap_err_with(|| format!("cannot lock {}", path.display()))
}

/// What a path to write leads to.
enum Target {
    /// A plain file, there already or not.
    File(PathBuf),
    /// A device or pipe, which is never replaced.
    Stream,
}

/// Follows links, and makes the folder before the file.
fn target(path: &Path) -> eyre::Result<Target> {
    let folder_named = path.as_os_str().as_encoded_bytes().ends_with(b"/");
    ensure!(!folder_named && !path.is_dir(), "{} is a folder; expected a file to write", path.display());
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).wrap_err_with(|| format!("cannot make {}", folder.display()))?;
    }
    Ok(match fs::metadata(path) {
        Ok(found) if found.is_file() => Target::File(place(path)),
        Ok(_) => Target::Stream,
        Err(_) if path.is_symlink() => bail!("{} is a link to nothing", path.display()),
        Err(_) => Target::File(path.to_owned()),
    })
}

fn put(path: &Path, bytes: &[u8], replace: impl FnOnce(&Path, &[u8]) -> io::Result<()>) -> eyre::Result<()> {
    match target(path)? {
        Target::File(place) => replace(&place, bytes),
        Target::Stream => OpenOptions::new().write(true).open(path).and_then(|mut file| file.write_all(bytes)),
    }
    .wrap_err_with(|| format!("cannot write {}", path.display()))
}

/// Where a path leads: links resolved as far as there is something.
pub(super) fn place(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let resolved = |above: &Path| {
        let (there, rest) = (above.canonicalize().ok()?, path.strip_prefix(above).ok()?);
        Some(if rest.as_os_str().is_empty() { there } else { there.join(rest) })
    };
    path.ancestors().find_map(resolved).unwrap_or(path.clone())
}

/// Refuses flags that name one file, of which one would be lost.
pub(super) fn apart(named: &[(&str, Option<&Path>)]) -> eyre::Result<()> {
    let named: Vec<_> = named.iter().filter_map(|(flag, path)| Some((flag, place((*path)?)))).collect();
    for (at, (flag, path)) in named.iter().enumerate() {
        if let Some((other, _)) = named[..at].iter().find(|(_, before)| before == path) {
            bail!("{other} and {flag} both name {}", path.display());
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_is_written_harms_no_folder_link_or_device() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        write(&at("new/file"), b"one").unwrap();
        symlink(at("new/file"), at("link")).unwrap();
        write(&at("link"), b"two").unwrap();
        assert!(at("link").is_symlink());
        assert_eq!(fs::read(at("new/file")).unwrap(), b"two");

        assert!(write(&at("new"), b"x").unwrap_err().to_string().contains("is a folder"));
        symlink(at("nothing"), at("dangling")).unwrap();
        assert!(write(&at("dangling"), b"x").unwrap_err().to_string().contains("link to nothing"));
        write(Path::new("/dev/null"), b"x").unwrap();
        assert!(is_plain(Path::new("/dev/null")).unwrap_err().to_string().contains("a device or a pipe"));
        is_plain(&at("link")).unwrap();
        for (name, why) in [("new", "is a folder"), ("other/", "is a folder"), ("new/file/x", "cannot")] {
            assert!(format!("{:#}", try_out(&at(name)).unwrap_err()).contains(why), "{name}");
        }
        try_out(&at("new/other")).unwrap();
        assert!(!at("new/other").exists());
        assert_eq!(fs::read(at("new/file")).unwrap(), b"two");
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn what_is_read_has_an_end() {
        let error = read_at_most(Path::new("/dev/zero"), 1000).unwrap_err().to_string();
        assert!(error.contains("more than 1000 bytes"), "{error}");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, [7; 1000]).unwrap();
        assert_eq!(read_at_most(&path, 1000).unwrap(), [7; 1000]);
        assert!(read_at_most(&path, 999).is_err());
    }

    #[test]
    fn two_flags_do_not_name_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        apart(&[("--out", Some(&a)), ("--output", Some(&b)), ("--input", None)]).unwrap();
        let roundabout = dir.path().join("../").join(dir.path().file_name().unwrap()).join("a");
        for same in [&a, &roundabout] {
            let error = apart(&[("--out", Some(&a)), ("--output", Some(same))]).unwrap_err().to_string();
            assert!(error.starts_with("--out and --output both name"), "{error}");
        }
    }
}
