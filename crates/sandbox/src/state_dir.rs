//! The sandbox's folder: 0700, ours, short enough for UNIX sockets below it, and gone at the end.
//!
//! A sandbox that is killed cannot take its folder, with the keys in it, away. So each holds a lock on the file `lock`
//! in its folder, which the system gives back however the process ends, and each new one removes the folders beside its
//! own whose lock nobody holds.

use std::env;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};
use tempfile::TempDir;

/// The folder and everything below it; removed when dropped.
#[derive(Debug)]
pub(crate) struct StateDir {
    // Removed before the lock is given back.
    dir: TempDir,
    _lock: fs::File,
}

/// Why there is no folder to keep state in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateDirError {
    /// The system refused.
    #[error("cannot create a private folder in {parent}")]
    Create {
        /// Where.
        parent: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// UNIX sockets below it would have names that are too long for the system.
    #[error("{parent} is too long a path for UNIX sockets below it (at most {MAX_ROOT} bytes)")]
    TooLong {
        /// Where.
        parent: PathBuf,
    },
    /// Somebody else could put another folder in the place of ours.
    #[error(
        "{folder} belongs to user {owner} with mode {mode:o}: others could swap the folders in it"
    )]
    Swappable {
        /// Where: the parent, or a folder that it lies in.
        folder: PathBuf,
        /// Its owner's number.
        owner: u32,
        /// Its permission bits.
        mode: u32,
    },
    /// Somebody else could change files below it.
    #[error("{path} belongs to user {owner} with mode {mode:o}; it must be ours with mode 700")]
    Unsafe {
        /// The folder.
        path: PathBuf,
        /// Its owner's number.
        owner: u32,
        /// Its permission bits.
        mode: u32,
    },
}

impl StateDir {
    /// A fresh folder in `parent`, or in the first of `$XDG_RUNTIME_DIR`, the system's temporary folder and `/tmp`
    /// that is short enough and takes it.
    pub(crate) fn create(parent: Option<&Path>) -> Result<Self, StateDirError> {
        match parent {
            Some(parent) => Self::create_in(parent),
            None => Self::create_in_first(&default_parents()),
        }
    }

    fn create_in_first(parents: &[PathBuf]) -> Result<Self, StateDirError> {
        let Some((last, others)) = parents.split_last() else {
            return Self::create_in(Path::new("/tmp"));
        };
        let made = others
            .iter()
            .find_map(|parent| Self::create_in(parent).ok());
        made.map_or_else(|| Self::create_in(last), Ok)
    }

    fn create_in(parent: &Path) -> Result<Self, StateDirError> {
        let failed = |source| StateDirError::Create {
            parent: parent.to_path_buf(),
            source,
        };
        let parent = &safe_parent(parent).map_err(failed)??;
        if parent.as_os_str().len() > MAX_ROOT {
            return Err(StateDirError::TooLong {
                parent: parent.clone(),
            });
        }
        sweep(parent);
        // mkdtemp semantics: the folder is created by us alone, with mode 0700, or not at all.
        let dir = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(PermissionsExt::from_mode(0o700))
            .tempdir_in(parent)
            .map_err(failed)?;
        check_private(dir.path()).map_err(failed)??;
        let lock = live_in(dir.path()).map_err(failed)?;
        Ok(Self { dir, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Removes the folder now and says whether that worked.
    pub(crate) fn remove(self) -> io::Result<()> {
        // Kept open, and with it the lock, until all is gone: what is left is found by the next one.
        remove_tree(self.dir.path())
    }
}

/// `parent` without symlinks in its path, where only we and the system can rename what we make there, or any folder on
/// the way: nobody else may write to one, unless the sticky bit keeps each one's entries apart.
pub(crate) fn safe_parent(parent: &Path) -> io::Result<Result<PathBuf, StateDirError>> {
    let parent = fs::canonicalize(parent)?;
    // Whoever owns the root folder is the system, also where a user namespace shows it under another number.
    let trusted = [
        rustix::process::geteuid().as_raw(),
        fs::metadata("/")?.uid(),
    ];
    for folder in parent.ancestors() {
        let meta = fs::metadata(folder)?;
        let (owner, mode) = (meta.uid(), meta.mode() & 0o7777);
        if !trusted.contains(&owner) || (mode & 0o022 != 0 && mode & 0o1000 == 0) {
            return Ok(Err(StateDirError::Swappable {
                folder: folder.to_path_buf(),
                owner,
                mode,
            }));
        }
    }
    Ok(Ok(parent))
}

/// Takes the lock that says that somebody lives in `folder`. It appears there already locked.
fn live_in(folder: &Path) -> io::Result<fs::File> {
    let unfinished = folder.join("lock.new");
    let lock = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    fs::rename(&unfinished, folder.join(LOCK))?;
    Ok(lock)
}

/// Removes what killed sandboxes of ours left in `parent`. What cannot be removed stays: it hinders nobody.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if !entry.file_name().to_str().is_some_and(is_name) {
            continue;
        }
        let folder = entry.path();
        match remove_abandoned(&folder) {
            Ok(true) => {
                tracing::info!(folder = %folder.display(), "removed what a killed sandbox left");
            }
            Ok(false) => {}
            Err(error) => tracing::debug!(%error, folder = %folder.display(), "cannot sweep"),
        }
    }
}

/// Whether this is a name that [`StateDir::create`] gives.
fn is_name(name: &str) -> bool {
    name.strip_prefix(PREFIX).is_some_and(|rest| {
        rest.len() == 6 && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

/// Removes `folder` if it is a private one of ours in which nobody lives any more. A folder without a lock is left: its
/// owner may be about to move in.
fn remove_abandoned(folder: &Path) -> io::Result<bool> {
    if check_private(folder)?.is_err() {
        return Ok(false);
    }
    // A FIFO or a symlink in its place must not hold us up or lead us away.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let lock = fs::OpenOptions::new()
        .write(true)
        .custom_flags(i32::try_from(flags).unwrap_or_default())
        .open(folder.join(LOCK))?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(false);
    }
    remove_tree(folder)?;
    Ok(true)
}

/// Removes a sandbox's folder: its keys first and its lock last, so that what cannot be removed is the least of it and is
/// tried again by the next sandbox. Folders that a pod has closed to their owner are opened.
fn remove_tree(folder: &Path) -> io::Result<()> {
    let below = |name: &str| folder.join(name);
    for keys in SECRETS {
        remove_closed(&below(keys))?;
    }
    let mut failed = None;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name() != LOCK
            && let Err(error) = remove_closed(&entry.path())
        {
            failed = Some(error);
        }
    }
    match failed {
        Some(error) => Err(error),
        None => fs::remove_dir_all(folder),
    }
}

/// Removes a file, or a folder with everything in it, whatever the modes of the folders; nothing there is no failure.
pub(crate) fn remove_closed(path: &Path) -> io::Result<()> {
    let kind = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        meta => meta?.file_type(),
    };
    if !kind.is_dir() {
        return fs::remove_file(path);
    }
    // Nobody is left who could put a symlink in its place: every process of the pod has ended.
    fs::set_permissions(path, PermissionsExt::from_mode(0o700))?;
    let mut removed = Ok(());
    for entry in fs::read_dir(path)? {
        // One that stays does not keep the others, some of which are keys.
        let one = entry.and_then(|entry| remove_closed(&entry.path()));
        removed = removed.and(one);
    }
    removed?;
    fs::remove_dir(path)
}

/// Whether `path` is a folder (no symlink) of ours that nobody else can enter.
pub(crate) fn check_private(path: &Path) -> io::Result<Result<(), StateDirError>> {
    let meta = fs::symlink_metadata(path)?;
    let (owner, mode) = (meta.uid(), meta.mode() & 0o777);
    if meta.is_dir() && owner == rustix::process::geteuid().as_raw() && mode == 0o700 {
        Ok(Ok(()))
    } else {
        Ok(Err(StateDirError::Unsafe {
            path: path.to_path_buf(),
            owner,
            mode,
        }))
    }
}

/// Makes a folder that only we may enter.
///
/// # Errors
/// Something of that name is there, or the system refuses.
pub fn make_private(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(path)
}

/// Writes a file that only we may read, in one step for those who read it: a rename of a finished file.
///
/// # Errors
/// The system refuses.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write;
    let parent = path.parent().unwrap_or(Path::new("."));
    let fresh = tempfile::Builder::new()
        .prefix(".new-")
        .make_in(parent, |path| {
            fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)
        })?;
    fresh.as_file().write_all(bytes)?;
    fresh.persist(path).map_err(|error| error.error)?;
    Ok(())
}

fn default_parents() -> Vec<PathBuf> {
    let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let candidates = [runtime, Some(env::temp_dir()), Some(PathBuf::from("/tmp"))];
    let absolute = candidates
        .into_iter()
        .flatten()
        .filter(|dir| dir.is_absolute());
    absolute.collect()
}

const LOCK: &str = "lock";
/// The folders in which keys lie.
const SECRETS: [&str; 2] = ["credentials", "controller"];
const PREFIX: &str = "pc-";

/// `<root>/pc-XXXXXX/p/NNNNNN/l/65535.sock` must stay below 100 bytes: macOS allows 104 for a socket, Linux 108.
const MAX_ROOT: usize = 100 - "/pc-XXXXXX/p/NNNNNN/l/65535.sock".len() - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_private_and_goes_away() {
        let parent = tempfile::tempdir_in("/tmp").unwrap();
        let dir = StateDir::create(Some(parent.path())).unwrap();
        let path = dir.path().to_path_buf();
        assert!(check_private(&path).unwrap().is_ok());
        write_private(&path.join("secret"), b"x").unwrap();
        let mode = fs::metadata(path.join("secret"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        dir.remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn folders_that_a_pod_has_closed_go_too() {
        let parent = tempfile::tempdir_in("/tmp").unwrap();
        let dir = StateDir::create(Some(parent.path())).unwrap();
        let path = dir.path().to_path_buf();
        for folder in ["credentials", "p/1/v/a/b/c"] {
            fs::create_dir_all(path.join(folder)).unwrap();
        }
        write_private(&path.join("credentials/key"), b"x").unwrap();
        for closed in ["p/1/v/a/b", "p/1/v/a", "p/1/v"] {
            fs::set_permissions(path.join(closed), fs::Permissions::from_mode(0o000)).unwrap();
        }
        dir.remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_folder_others_can_enter_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for mode in [0o755, 0o770, 0o701] {
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
            assert!(check_private(dir.path()).unwrap().is_err(), "{mode:o}");
        }
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        assert!(
            check_private(&link).unwrap().is_err(),
            "a symlink is not a folder of ours"
        );
    }

    #[test]
    fn a_place_below_one_that_others_can_write_to_is_refused() {
        let open = tempfile::tempdir_in("/tmp").unwrap();
        let ours = open.path().join("ours");
        fs::create_dir(&ours).unwrap();
        fs::set_permissions(&ours, fs::Permissions::from_mode(0o700)).unwrap();
        fs::set_permissions(open.path(), fs::Permissions::from_mode(0o770)).unwrap();
        let elsewhere = tempfile::tempdir_in("/tmp").unwrap();
        let link = elsewhere.path().join("link");
        std::os::unix::fs::symlink(&ours, &link).unwrap();
        for parent in [&ours, &link] {
            let refused = StateDir::create(Some(parent)).unwrap_err();
            let StateDirError::Swappable { folder, mode, .. } = refused else {
                panic!("{refused}")
            };
            assert_eq!((folder.as_path(), mode), (open.path(), 0o770));
        }
        fs::set_permissions(open.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        let dir = StateDir::create(Some(&link)).unwrap();
        assert_eq!(dir.path().parent(), Some(ours.as_path()), "not by the link");
    }

    #[test]
    fn the_first_place_that_takes_it_is_taken() {
        let parent = tempfile::tempdir_in("/tmp").unwrap();
        let nowhere = parent.path().join("missing");
        let long = parent.path().join("x".repeat(80));
        fs::create_dir(&long).unwrap();
        let good = parent.path().to_path_buf();
        let dir = StateDir::create_in_first(&[nowhere.clone(), long, good.clone()]).unwrap();
        assert_eq!(dir.path().parent(), Some(good.as_path()));
        let failed = StateDir::create_in_first(&[nowhere]).unwrap_err();
        assert!(matches!(failed, StateDirError::Create { .. }));
    }

    /// A folder as a sandbox that was killed leaves it.
    fn leave(parent: &Path, name: &str, mode: u32) -> PathBuf {
        let path = parent.join(name);
        fs::create_dir(&path).unwrap();
        fs::write(path.join("lock"), "").unwrap();
        fs::create_dir(path.join("credentials")).unwrap();
        fs::write(path.join("credentials/key"), "secret").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn what_a_killed_sandbox_left_goes_at_the_next_start() {
        let parent = tempfile::tempdir_in("/tmp").unwrap();
        let living = StateDir::create(Some(parent.path())).unwrap();
        let abandoned = leave(parent.path(), "pc-Ab3xYz", 0o700);
        let next = StateDir::create(Some(parent.path())).unwrap();
        assert!(!abandoned.exists(), "nobody lives there any more");
        assert!(living.path().is_dir(), "somebody lives there");
        drop(living);
        assert!(next.path().is_dir());
    }

    #[test]
    fn what_may_not_be_ours_is_not_swept() {
        let parent = tempfile::tempdir_in("/tmp").unwrap();
        let elsewhere = leave(parent.path(), "elsewhere", 0o700);
        let kept = [
            leave(parent.path(), "pc-toolong", 0o700),
            leave(parent.path(), "pc-a.c..f", 0o700),
            leave(parent.path(), "pc-Ab3xYz", 0o755),
        ];
        let unlocked = leave(parent.path(), "pc-Fresh1", 0o700);
        fs::remove_file(unlocked.join("lock")).unwrap();
        let link = parent.path().join("pc-Linked");
        std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
        let trap = leave(parent.path(), "pc-Trap00", 0o700);
        fs::remove_file(trap.join("lock")).unwrap();
        std::os::unix::fs::symlink(elsewhere.join("lock"), trap.join("lock")).unwrap();
        StateDir::create(Some(parent.path())).unwrap();
        for path in kept.iter().chain([&unlocked, &trap]) {
            assert!(path.join("credentials/key").exists(), "{}", path.display());
        }
        assert!(elsewhere.join("credentials/key").exists() && link.exists());
    }

    #[test]
    fn a_place_where_others_could_swap_the_folder_is_refused() {
        let parent = tempfile::tempdir_in("/tmp").unwrap();
        for (mode, safe) in [
            (0o777, false),
            (0o770, false),
            (0o1777, true),
            (0o755, true),
        ] {
            fs::set_permissions(parent.path(), fs::Permissions::from_mode(mode)).unwrap();
            let made = StateDir::create(Some(parent.path()));
            assert_eq!(made.is_ok(), safe, "{mode:o}");
        }
    }

    #[test]
    fn a_path_too_long_for_sockets_is_refused_before_anything_is_made() {
        let parent = tempfile::tempdir_in("/tmp").unwrap();
        let long = parent.path().join("x".repeat(80));
        fs::create_dir(&long).unwrap();
        let refused = StateDir::create(Some(&long)).unwrap_err();
        assert!(matches!(refused, StateDirError::TooLong { .. }));
        assert_eq!(fs::read_dir(&long).unwrap().count(), 0);
    }
}
