//! Sandboxes that stay: which ones of this user run, under which name, and how to reach them.
//!
//! ```text
//! $XDG_RUNTIME_DIR/podcert/        0700; without that variable podcert-<uid> in the temporary folder
//!   NAME.lock                      locked while the sandbox of that name lives, however it ends
//!   NAME.json                      its [`Record`], once it is ready
//!   NAME.kubeconfig                0600
//!   NAME.log                       what its process says
//!   pc-XXXXXX/                     its state
//! ```
//!
//! The lock is the truth: a record whose lock nobody holds is a dead sandbox's, and is swept when its name is claimed.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;
use std::{env, fmt};

use jiff::Timestamp;
use rustix::fs::{FlockOperation, OFlags, flock};
use serde::{Deserialize, Serialize};

use crate::state_dir::{StateDirError, check_private, make_private, safe_parent, write_private};

/// The name of a sandbox that stays: a DNS label (RFC 1123) of at most 32 characters.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct InstanceName(String);

/// What a running sandbox tells about itself.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Its process.
    pub pid: u32,
    /// Where its API server listens.
    pub address: SocketAddr,
    /// The administrator's kubeconfig.
    pub kubeconfig: PathBuf,
    /// Its folder.
    pub state_dir: PathBuf,
    /// What its process says; nowhere if it has the terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<PathBuf>,
    /// When it was ready, by the system's clock.
    pub started: Timestamp,
    /// How many of its seconds are one of the system's.
    pub speed: u32,
    /// Its clock in the words of `PODCERT_CLOCK`, if that is not the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<String>,
    /// Its nodes' names.
    pub nodes: Vec<String>,
}

/// The folder in which this user's sandboxes are known.
#[derive(Clone, Debug)]
pub struct Instances {
    folder: PathBuf,
}

/// A name that is taken by this process until this is dropped.
#[derive(Debug)]
pub struct Claim {
    files: Files,
    // Given back last.
    _lock: fs::File,
}

/// Why a sandbox cannot have its name, or not be looked up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstanceError {
    /// No kubeconfig below it could be named in `KUBECONFIG`.
    #[error(
        "{folder} has a ':' in its path, at which KUBECONFIG is split; set XDG_RUNTIME_DIR to another folder of yours"
    )]
    Colon {
        /// The folder of sandboxes.
        folder: PathBuf,
    },
    /// The folder of sandboxes is not safe or cannot be made.
    #[error("there is no safe folder for sandboxes; XDG_RUNTIME_DIR may name one of yours")]
    Folder(#[from] StateDirError),
    /// The name is taken.
    #[error("sandbox {name} is running or starting already")]
    Taken {
        /// The name.
        name: InstanceName,
    },
    /// A file of it cannot be used.
    #[error("cannot use {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// Words that are no [`InstanceName`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a sandbox's name is 1 to 32 lower-case letters, digits and inner hyphens")]
pub struct NotAName;

/// Where what is known of one sandbox lies.
#[derive(Debug)]
struct Files {
    lock: PathBuf,
    record: PathBuf,
    kubeconfig: PathBuf,
    log: PathBuf,
}

impl FromStr for InstanceName {
    type Err = NotAName;

    fn from_str(words: &str) -> Result<Self, NotAName> {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let good = (1..=32).contains(&words.len())
            && words.bytes().all(inner)
            && !words.starts_with('-')
            && !words.ends_with('-');
        good.then(|| Self(words.to_owned())).ok_or(NotAName)
    }
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Instances {
    /// Those of this user: in `$XDG_RUNTIME_DIR`, or where that is not set or not there, in the system's temporary
    /// folder. Where it is unsafe there is no second choice: a sandbox that is looked for elsewhere next time is lost.
    ///
    /// # Errors
    /// The folder lets others in, or cannot be made.
    pub fn of_this_user() -> Result<Self, InstanceError> {
        let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        match runtime.filter(|folder| folder.is_absolute() && folder.is_dir()) {
            Some(runtime) => Self::in_folder(&runtime.join(FOLDER)),
            None => {
                let user = rustix::process::geteuid().as_raw();
                Self::in_folder(&env::temp_dir().join(format!("{FOLDER}-{user}")))
            }
        }
    }

    /// Those in `folder`, which is made (0700) if it is not there.
    ///
    /// # Errors
    /// The folder, or one that it lies in, lets others in; or its path has a colon, which parts the files of `KUBECONFIG`.
    pub fn in_folder(folder: &Path) -> Result<Self, InstanceError> {
        if folder.as_os_str().as_encoded_bytes().contains(&b':') {
            return Err(InstanceError::Colon {
                folder: folder.to_path_buf(),
            });
        }
        let failed = |source| StateDirError::Create {
            parent: folder.to_path_buf(),
            source,
        };
        let parent = folder.parent().unwrap_or(Path::new("/"));
        let parent = safe_parent(parent).map_err(failed)??;
        let folder = parent.join(folder.file_name().unwrap_or_default());
        match make_private(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed(error))?,
            _ => check_private(&folder).map_err(failed)??,
        }
        Ok(Self { folder })
    }

    /// The folder: the sandboxes' own folders belong into it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Takes `name` for this process, and sweeps what a dead sandbox of that name left.
    ///
    /// # Errors
    /// It is taken, or the files cannot be made.
    pub fn claim(&self, name: &InstanceName) -> Result<Claim, InstanceError> {
        let files = self.files(name);
        let failed = |source| InstanceError::File {
            path: files.lock.clone(),
            source,
        };
        let mut refusals = 0;
        let lock = loop {
            let lock = open_lock(&files.lock, true).map_err(failed)?;
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
                // Who only asks whether it is held holds it for a moment.
                refusals += 1;
                if refusals == TRIES {
                    return Err(InstanceError::Taken { name: name.clone() });
                }
                std::thread::sleep(MOMENT);
                continue;
            }
            // Whoever held it may have removed the file between our two steps: then it locks nothing.
            if is_at(&lock, &files.lock) {
                break lock;
            }
        };
        let _ = fs::remove_file(&files.record);
        let _ = fs::remove_file(&files.kubeconfig);
        self.sweep();
        Ok(Claim { files, _lock: lock })
    }

    /// Removes what killed sandboxes of other names left. Who holds the lock here is alive, or a sweeper as we are.
    fn sweep(&self) {
        for name in self.locks() {
            let files = self.files(&name);
            let Ok(lock) = open_lock(&files.lock, false) else {
                continue;
            };
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok()
                && is_at(&lock, &files.lock)
            {
                drop(Claim { files, _lock: lock });
            }
        }
    }

    /// The names of which there is a lock, held or not.
    fn locks(&self) -> Vec<InstanceName> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| {
                entry
                    .file_name()
                    .to_str()?
                    .strip_suffix(".lock")?
                    .parse()
                    .ok()
            })
            .collect()
    }

    /// The sandbox of that name if it runs and is ready.
    ///
    /// # Errors
    /// Its files cannot be read.
    pub fn find(&self, name: &InstanceName) -> Result<Option<Record>, InstanceError> {
        let files = self.files(name);
        if !is_held(&files.lock) {
            return Ok(None);
        }
        match fs::read(&files.record) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes)
                    .map(Some)
                    .map_err(|error| InstanceError::File {
                        path: files.record,
                        source: error.into(),
                    })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(InstanceError::File {
                path: files.record,
                source,
            }),
        }
    }

    /// Whether a sandbox of that name lives, ready or not.
    #[must_use]
    pub fn is_alive(&self, name: &InstanceName) -> bool {
        is_held(&self.files(name).lock)
    }

    /// The names that are taken, in order.
    #[must_use]
    pub fn names(&self) -> Vec<InstanceName> {
        let mut names = self.locks();
        names.retain(|name| self.is_alive(name));
        names.sort();
        names
    }

    /// A new file for what a process says that is about to claim `name`; [`Claim::take_log`] makes it the
    /// sandbox's. Until then the log of one that runs stays as it is. For appending and reading.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn begin_log(&self, name: &InstanceName) -> Result<(PathBuf, fs::File), InstanceError> {
        let path = self
            .folder
            .join(format!("{name}.{}.starting", std::process::id()));
        // An earlier process of that number has left it behind.
        let _ = fs::remove_file(&path);
        let file = fs::OpenOptions::new()
            .create_new(true)
            .append(true)
            .read(true)
            .mode(0o600)
            .open(&path);
        match file {
            Ok(file) => Ok((path, file)),
            Err(source) => Err(InstanceError::File { path, source }),
        }
    }

    fn files(&self, name: &InstanceName) -> Files {
        let file = |kind: &str| self.folder.join(format!("{name}.{kind}"));
        Files {
            lock: file("lock"),
            record: file("json"),
            kubeconfig: file("kubeconfig"),
            log: file("log"),
        }
    }
}

/// Whether a folder has the name of one in which sandboxes are known, so that what lies in it is secret.
pub(crate) fn is_folder_of_instances(folder: &Path) -> bool {
    let name = folder.file_name().and_then(|name| name.to_str());
    let of_a_user = |name: &str| {
        name.strip_prefix("podcert-")
            .is_some_and(|user| user.parse::<u32>().is_ok())
    };
    name.is_some_and(|name| name == FOLDER || of_a_user(name))
}

impl Claim {
    /// Makes `begun` the log of this sandbox, in place of an earlier one's; answers where it is then. It stays
    /// when the sandbox is gone.
    ///
    /// # Errors
    /// It cannot be renamed.
    pub fn take_log(&self, begun: &Path) -> Result<PathBuf, InstanceError> {
        let path = self.files.log.clone();
        fs::rename(begun, &path).map_err(|source| InstanceError::File {
            path: begun.to_path_buf(),
            source,
        })?;
        Ok(path)
    }

    /// Puts the kubeconfig where it is found under the sandbox's name, 0600; answers where.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_kubeconfig(&self, bytes: &[u8]) -> Result<PathBuf, InstanceError> {
        let path = self.files.kubeconfig.clone();
        write_private(&path, bytes).map_err(|source| InstanceError::File {
            path: path.clone(),
            source,
        })?;
        Ok(path)
    }

    /// Tells everybody who asks that the sandbox is ready.
    ///
    /// # Errors
    /// The record cannot be written.
    pub fn publish(&self, record: &Record) -> Result<(), InstanceError> {
        let failed = |source| InstanceError::File {
            path: self.files.record.clone(),
            source,
        };
        let bytes = serde_json::to_vec_pretty(record).map_err(|error| failed(error.into()))?;
        write_private(&self.files.record, &bytes).map_err(failed)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // What cannot be removed hinders nobody: without the lock it says nothing.
        for file in [&self.files.record, &self.files.kubeconfig, &self.files.lock] {
            let _ = fs::remove_file(file);
        }
    }
}

/// A FIFO or a symlink in its place must not hold us up or lead us away.
fn open_lock(path: &Path, create: bool) -> io::Result<fs::File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    fs::OpenOptions::new()
        .write(true)
        .create(create)
        .truncate(false)
        .mode(0o600)
        .custom_flags(i32::try_from(flags).unwrap_or_default())
        .open(path)
}

/// Whether some process holds the lock in that file.
fn is_held(path: &Path) -> bool {
    // Shared, so that two who ask at the same time do not take each other for the sandbox.
    open_lock(path, false)
        .is_ok_and(|lock| flock(&lock, FlockOperation::NonBlockingLockShared).is_err())
}

/// Whether `path` still leads to this open file.
fn is_at(file: &fs::File, path: &Path) -> bool {
    let identity = |meta: fs::Metadata| (meta.dev(), meta.ino());
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(open), Ok(there)) => identity(open) == identity(there),
        _ => false,
    }
}

/// In `$XDG_RUNTIME_DIR`; elsewhere the user's number follows.
const FOLDER: &str = "podcert";
const TRIES: u32 = 40;
const MOMENT: Duration = Duration::from_millis(25);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn instances() -> (tempfile::TempDir, Instances) {
        let parent = tempfile::tempdir_in("/tmp").unwrap();
        let instances = Instances::in_folder(&parent.path().join("podcert")).unwrap();
        (parent, instances)
    }

    fn record() -> Record {
        Record {
            pid: 1,
            address: "127.0.0.1:1".parse().unwrap(),
            kubeconfig: "/k".into(),
            state_dir: "/s".into(),
            log: None,
            started: Timestamp::UNIX_EPOCH,
            speed: 1,
            clock: None,
            nodes: vec!["sandbox".into()],
        }
    }

    #[test]
    fn a_name_is_taken_until_its_sandbox_ends() {
        let (_parent, instances) = instances();
        let name: InstanceName = "default".parse().unwrap();
        assert!(instances.find(&name).unwrap().is_none());
        let claim = instances.claim(&name).unwrap();
        assert!(matches!(
            instances.claim(&name),
            Err(InstanceError::Taken { .. })
        ));
        assert!(instances.is_alive(&name));
        assert!(instances.find(&name).unwrap().is_none(), "not ready yet");
        claim.publish(&record()).unwrap();
        let kubeconfig = claim.write_kubeconfig(b"x").unwrap();
        let mode = fs::metadata(&kubeconfig).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(instances.find(&name).unwrap().unwrap().pid, 1);
        assert_eq!(instances.names(), std::slice::from_ref(&name));
        drop(claim);
        assert!(instances.find(&name).unwrap().is_none());
        assert_eq!(fs::read_dir(instances.folder()).unwrap().count(), 0);
        instances.claim(&name).unwrap();
    }

    #[test]
    fn a_dead_sandbox_is_not_there_and_its_name_is_free() {
        let (_parent, instances) = instances();
        let name: InstanceName = "old".parse().unwrap();
        let files = instances.files(&name);
        fs::write(&files.lock, "").unwrap();
        fs::write(&files.record, serde_json::to_vec(&record()).unwrap()).unwrap();
        fs::write(&files.kubeconfig, "old").unwrap();
        assert!(instances.find(&name).unwrap().is_none());
        assert_eq!(instances.names(), []);
        let claim = instances.claim(&name).unwrap();
        assert!(!files.record.exists() && !files.kubeconfig.exists());
        drop(claim);
        // Another one takes it away, too, and leaves the living alone.
        fs::write(&files.lock, "").unwrap();
        fs::write(&files.kubeconfig, "old").unwrap();
        let living = instances.claim(&"living".parse().unwrap()).unwrap();
        assert!(!files.lock.exists() && !files.kubeconfig.exists());
        let _other = instances.claim(&"other".parse().unwrap()).unwrap();
        assert!(instances.is_alive(&"living".parse().unwrap()));
        drop(living);
    }

    #[test]
    fn a_folder_that_lets_others_in_is_refused() {
        let (parent, instances) = instances();
        fs::set_permissions(instances.folder(), fs::Permissions::from_mode(0o755)).unwrap();
        let refused = Instances::in_folder(instances.folder()).unwrap_err();
        assert!(matches!(
            refused,
            InstanceError::Folder(StateDirError::Unsafe { .. })
        ));
        fs::set_permissions(parent.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let refused = Instances::in_folder(&parent.path().join("other")).unwrap_err();
        assert!(matches!(
            refused,
            InstanceError::Folder(StateDirError::Swappable { .. })
        ));
    }

    #[test]
    fn names_are_labels() {
        for good in ["a", "default", "ci-1"] {
            assert_eq!(good.parse::<InstanceName>().unwrap().to_string(), good);
        }
        for bad in ["", "-a", "a-", "A", "a.b", "../x", "a/b", &"a".repeat(33)] {
            assert_eq!(bad.parse::<InstanceName>(), Err(NotAName), "{bad}");
        }
    }
}
