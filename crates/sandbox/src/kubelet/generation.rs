//! One generation of a volume's files, flipped into place as a whole.
//!
//! The kubelet's AtomicWriter (`pkg/volume/util/atomic_writer.go`): the files go into a new folder named after the
//! time, the symlink `..data` is pointed at it by one rename, and what the pod sees are symlinks through `..data`:
//!
//! ```text
//! volume/..2027_01_15_08_00_00.1234567/creds.pem
//! volume/..data -> ..2027_01_15_08_00_00.1234567
//! volume/creds.pem -> ..data/creds.pem
//! ```
//!
//! A reader that resolves `..data` once reads one generation or, if the folder vanished meanwhile, an error; never a
//! mixture.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use zeroize::Zeroizing;

/// A volume's files by their path below it. The paths come from [`RelativePath`] and cannot leave the volume.
pub(crate) type Payload = BTreeMap<RelativePath, File>;

/// One file: its bytes, wiped when dropped since they may hold a key, and its mode.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct File {
    /// The content.
    pub(crate) bytes: Zeroizing<Vec<u8>>,
    /// The permission bits.
    pub(crate) mode: u32,
}

/// A path below a volume: relative, without `..`, not starting with `..` (those names are the writer's own).
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct RelativePath(PathBuf);

/// What a write did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// A new generation is in place.
    Replaced,
    /// The files were right already; nothing was touched.
    Unchanged,
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "File({} bytes, mode {:o})", self.bytes.len(), self.mode)
    }
}

impl TryFrom<&str> for RelativePath {
    type Error = String;

    fn try_from(text: &str) -> Result<Self, String> {
        let clean = !text.is_empty()
            && !text.starts_with("..")
            && text
                .split('/')
                .all(|part| !part.is_empty() && part != "." && part != "..");
        if clean {
            Ok(Self(PathBuf::from(text)))
        } else {
            Err(format!(
                "path {text:?} must be relative, without empty parts, \".\" or \"..\", and not \
                 start with \"..\"",
            ))
        }
    }
}

/// Puts `payload` in place under `volume`, a folder that exists. `now` names the new folder.
///
/// # Guarantees
/// Until the rename of `..data` nothing a reader sees has changed; after it everything has. A failure before that point
/// leaves the old generation in place.
///
/// # Errors
/// Whatever the file system says.
pub(crate) fn write(volume: &Path, payload: &Payload, now: Timestamp) -> io::Result<Outcome> {
    let data = volume.join(DATA);
    let old = match fs::read_link(&data) {
        // A pod may have bent it: what it leads to is read and removed below, so only our own names count.
        Ok(target) => Some(target).filter(|target| is_generation(target)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let stale = match &old {
        Some(old) => {
            let held = held(&volume.join(old))?;
            if is_current(&volume.join(old), &held, payload) {
                link_visible(volume, payload)?;
                return Ok(Outcome::Unchanged);
            }
            held
        }
        None => BTreeSet::new(),
    };

    let prefix = now.strftime("..%Y_%m_%d_%H_%M_%S.").to_string();
    let fresh = tempfile::Builder::new()
        .prefix(&prefix)
        .tempdir_in(volume)?;
    fs::set_permissions(fresh.path(), fs::Permissions::from_mode(0o755))?;
    for (path, file) in payload {
        write_file(fresh.path(), &path.0, file)?;
    }

    let Some(name) = fresh.path().file_name() else {
        return Err(io::Error::other("a new folder has no name"));
    };
    let swap = volume.join(DATA_TMP);
    remove_if_there(&swap)?;
    symlink(name, &swap)?;
    fs::rename(&swap, &data)?;
    // From here on the folder is in use: it must outlive its guard.
    let _in_use = fresh.keep();

    link_visible(volume, payload)?;
    unlink_stale(volume, &stale, payload)?;
    match old.map(|old| fs::remove_dir_all(volume.join(old))) {
        Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(Outcome::Replaced),
    }
}

/// Whether this is a name that [`write()`] gives: one path element, two dots, and more than these.
fn is_generation(target: &Path) -> bool {
    target.to_str().is_some_and(|name| {
        name.len() > 2 && name.starts_with("..") && name != DATA && !name.contains('/')
    })
}

fn write_file(folder: &Path, path: &Path, file: &File) -> io::Result<()> {
    let path = folder.join(path);
    if let Some(parent) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(parent)?;
    }
    // Created 0600 and opened up afterwards, so a key is never readable for longer than its mode says.
    let mut out = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    out.write_all(&file.bytes)?;
    out.set_permissions(fs::Permissions::from_mode(file.mode))
}

/// Whether `folder` holds exactly `payload`.
fn is_current(folder: &Path, held: &BTreeSet<PathBuf>, payload: &Payload) -> bool {
    held.iter().eq(payload.keys().map(|path| &path.0))
        && payload.iter().all(|(path, file)| {
            let path = folder.join(&path.0);
            let mode = fs::metadata(&path).map(|meta| meta.permissions().mode() & 0o777);
            mode.is_ok_and(|mode| mode == file.mode)
                && fs::read(&path)
                    .map(Zeroizing::new)
                    .is_ok_and(|bytes| bytes == file.bytes)
        })
}

/// Every file below `folder`, by its path in it.
fn held(folder: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut open = vec![PathBuf::new()];
    while let Some(below) = open.pop() {
        let entries = match fs::read_dir(folder.join(&below)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let path = below.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                open.push(path);
            } else {
                found.insert(path);
            }
        }
    }
    Ok(found)
}

/// Gives each first path element of the payload its symlink through `..data`.
fn link_visible(volume: &Path, payload: &Payload) -> io::Result<()> {
    for name in first_elements(payload.keys().map(|path| path.0.as_path())) {
        let link = volume.join(name);
        let target = Path::new(DATA).join(name);
        match fs::read_link(&link) {
            Ok(there) if there == target => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => symlink(&target, &link)?,
            Ok(_) | Err(_) => {
                fs::remove_file(&link)?;
                symlink(&target, &link)?;
            }
        }
    }
    Ok(())
}

/// Takes away the symlinks of what only the last generation held.
fn unlink_stale(volume: &Path, held: &BTreeSet<PathBuf>, payload: &Payload) -> io::Result<()> {
    let wanted = first_elements(payload.keys().map(|path| path.0.as_path()));
    for name in first_elements(held.iter().map(PathBuf::as_path)).difference(&wanted) {
        remove_if_there(&volume.join(name))?;
    }
    Ok(())
}

fn first_elements<'a>(paths: impl Iterator<Item = &'a Path>) -> BTreeSet<&'a Path> {
    paths
        .filter_map(|path| path.iter().next().map(Path::new))
        .collect()
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

const DATA: &str = "..data";
const DATA_TMP: &str = "..data_tmp";

#[cfg(test)]
mod tests;
