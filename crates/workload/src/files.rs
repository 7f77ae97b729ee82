//! Follow a set of files that somebody else replaces.
//!
//! The kubelet writes a projected volume into a new timestamped folder and then renames the
//! symlink `..data` onto it, so every file of the volume changes at one instant. Other writers
//! rename single files, or write in place. [`follow`] serves them all: it wakes on inotify
//! events of the folders that hold the files (the folders, because the swap replaces the files
//! under their watch), and, whether or not events work, on a slow poll. It then reads the whole
//! set between two looks at `..data` and at each file's inode, size and modification time, and
//! reads again when those differ: what it publishes never mixes two generations of a volume.
//! Contents are compared, so rewriting the same bytes wakes nobody.
//!
//! A missing file is a state ([`Reading::Missing`]), not an end: files vanish and return.
//! With [`Wake::PollOnly`] the follower uses nothing but tokio's timer and blocking reads, so a
//! test can run it under paused time.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::Watcher as _;
use notify::event::{AccessKind, AccessMode};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

/// Starts to follow `paths` as one set and returns the latest [`Reading`] of it.
///
/// The first reading is complete when this returns. The task behind it ends with `shutdown`, or
/// when every receiver is dropped.
///
/// # Cancel safety
/// Nothing is left behind when the returned future is dropped.
pub async fn follow(
    paths: impl IntoIterator<Item = PathBuf>,
    options: Options,
    shutdown: CancellationToken,
) -> watch::Receiver<Reading> {
    let paths: Arc<[PathBuf]> = paths.into_iter().collect();
    let events = Events::watch(&paths, options.wake);
    let first = read(&paths, options.max_file_size).await;
    let (sender, receiver) = watch::channel(first);
    tokio::spawn(run(paths, options, events, sender, shutdown));
    receiver
}

/// How a set of files is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The slow poll: the longest a change stays unseen where events do not work.
    pub poll: Duration,
    /// The poll while a file is missing or unreadable; its folder may not exist yet either.
    pub poll_absent: Duration,
    /// How long the folders must be quiet after an event before the files are read. A busy folder
    /// delays the read by at most ten times this.
    pub debounce: Duration,
    /// What wakes the follower.
    pub wake: Wake,
    /// A larger file counts as unreadable, in bytes.
    pub max_file_size: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(30),
            poll_absent: Duration::from_secs(1),
            debounce: Duration::from_millis(50),
            wake: Wake::EventsAndPoll,
            max_file_size: 16 << 20,
        }
    }
}

impl Options {
    /// The defaults without file system events: every `poll`, the files are read.
    ///
    /// For file systems without events, and for tests under paused time.
    pub fn poll_only(poll: Duration) -> Self {
        let defaults = Self::default();
        Self {
            poll,
            poll_absent: poll.min(defaults.poll_absent),
            wake: Wake::PollOnly,
            ..defaults
        }
    }
}

/// What makes a follower read its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// File system events of the folders, and the poll behind them.
    EventsAndPoll,
    /// The poll alone.
    PollOnly,
}

/// The state of a set of files at its latest change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Every file was there, all of one generation.
    Present(Contents),
    /// A file was not there.
    Missing {
        /// The first that was missing.
        path: PathBuf,
    },
    /// A file was there and could not be read.
    Unreadable {
        /// The first that could not be read.
        path: PathBuf,
        /// Why, in words.
        why: String,
    },
}

/// The bytes of a set of files, all of one generation. Cheap to clone; zeroed when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Contents(Arc<[(PathBuf, Zeroizing<Vec<u8>>)]>);

impl Contents {
    /// The bytes of `path`, as it was spelled when it was given to [`follow`].
    pub fn bytes(&self, path: &Path) -> Option<&[u8]> {
        self.iter()
            .find_map(|(known, bytes)| (known == path).then_some(bytes))
    }

    /// Each file and its bytes, in the order of [`follow`]'s argument.
    pub fn iter(&self) -> impl Iterator<Item = (&Path, &[u8])> {
        self.0
            .iter()
            .map(|(path, bytes)| (path.as_path(), bytes.as_slice()))
    }
}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The bytes are keys as often as not.
        f.debug_map()
            .entries(
                self.iter()
                    .map(|(path, bytes)| (path, format!("<{} bytes>", bytes.len()))),
            )
            .finish()
    }
}

/// The follower's loop: wake, read, publish what differs.
async fn run(
    paths: Arc<[PathBuf]>,
    options: Options,
    mut events: Events,
    sender: watch::Sender<Reading>,
    shutdown: CancellationToken,
) {
    loop {
        let poll = match *sender.borrow() {
            Reading::Present(_) => options.poll,
            Reading::Missing { .. } | Reading::Unreadable { .. } => options.poll_absent,
        };
        // Cancel safe: nothing is held across these but the wish to read.
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = sender.closed() => return,
            () = events.happened() => events.quiet(options.debounce).await,
            () = sleep(poll) => {}
        }
        // A folder that was replaced or has appeared carries no watch yet.
        events.renew(&paths);
        let reading = read(&paths, options.max_file_size).await;
        sender.send_if_modified(|published| {
            let differs = *published != reading;
            if differs {
                *published = reading;
            }
            differs
        });
    }
}

/// Reads the set until one generation of it was caught whole.
async fn read(paths: &Arc<[PathBuf]>, max_file_size: u64) -> Reading {
    for pause in RETRY_PAUSES {
        let set = Arc::clone(paths);
        let attempt = tokio::task::spawn_blocking(move || read_once(&set, max_file_size)).await;
        match attempt {
            Ok(Some(reading)) => return reading,
            Ok(None) => sleep(pause).await,
            Err(_stopping) => break,
        }
    }
    Reading::Unreadable {
        path: paths.first().cloned().unwrap_or_default(),
        why: "the files kept changing while they were read".to_owned(),
    }
}

/// One look at the set; `None` when it changed meanwhile.
fn read_once(paths: &[PathBuf], max_file_size: u64) -> Option<Reading> {
    let before = stamp(paths);
    let reading = read_all(paths, max_file_size);
    (before == stamp(paths)).then_some(reading)
}

fn read_all(paths: &[PathBuf], max_file_size: u64) -> Reading {
    let mut contents = Vec::with_capacity(paths.len());
    for path in paths {
        match read_file(path, max_file_size) {
            Ok(bytes) => contents.push((path.clone(), bytes)),
            Err(error) if is_absence(&error) => return Reading::Missing { path: path.clone() },
            Err(error) => {
                return Reading::Unreadable {
                    path: path.clone(),
                    why: error.to_string(),
                };
            }
        }
    }
    Reading::Present(Contents(contents.into()))
}

fn read_file(path: &Path, max_file_size: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    // Looked at before it is opened: opening a FIFO would wait for its writer.
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let too_large = || io::Error::other(format!("it is larger than {max_file_size} bytes"));
    if metadata.len() > max_file_size {
        return Err(too_large());
    }
    // Room for all of it at once: a vector that grows leaves copies of a key behind.
    let capacity = usize::try_from(metadata.len())
        .unwrap_or(0)
        .saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    File::open(path)?
        .take(max_file_size.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|read| read > max_file_size) {
        return Err(too_large());
    }
    Ok(bytes)
}

/// A path below something that is no folder is as absent as one that was never made.
fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// What tells two generations of a set apart: where `..data` points beside each file (the
/// kubelet's generation), and which inode each path reaches, how long and how old.
fn stamp(paths: &[PathBuf]) -> Vec<(Option<PathBuf>, Option<FileStamp>)> {
    paths
        .iter()
        .map(|path| {
            let generation = fs::read_link(folder_of(path).join("..data")).ok();
            let file = fs::metadata(path).ok().map(|metadata| FileStamp {
                device: metadata.dev(),
                inode: metadata.ino(),
                size: metadata.size(),
                modified: (metadata.mtime(), metadata.mtime_nsec()),
            });
            (generation, file)
        })
        .collect()
}

#[derive(Debug, PartialEq, Eq)]
struct FileStamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

/// The folder whose events tell of `path`.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// File system events of the folders of a set, as far as the system gives any.
struct Events {
    watcher: Option<notify::RecommendedWatcher>,
    seen: Arc<Notify>,
}

impl Events {
    fn watch(paths: &[PathBuf], wake: Wake) -> Self {
        let seen = Arc::new(Notify::new());
        let watcher = match wake {
            Wake::PollOnly => None,
            Wake::EventsAndPoll => {
                let seen = Arc::clone(&seen);
                let on_event = move |event: notify::Result<notify::Event>| {
                    // An error is an event too: after a lost one the files must be read.
                    if event.map_or(true, |event| tells_of_change(event.kind)) {
                        seen.notify_one();
                    }
                };
                notify::recommended_watcher(on_event)
                    .inspect_err(|error| {
                        tracing::warn!(%error, "no file system events: files are polled only");
                    })
                    .ok()
            }
        };
        let mut events = Self { watcher, seen };
        events.renew(paths);
        events
    }

    /// Puts a watch on each folder that can carry one; on one that has it, this changes nothing.
    fn renew(&mut self, paths: &[PathBuf]) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        for path in paths {
            let folder = folder_of(path);
            if let Err(error) = watcher.watch(folder, notify::RecursiveMode::NonRecursive) {
                tracing::debug!(folder = %folder.display(), %error, "folder is polled only");
            }
        }
    }

    /// Waits for an event; for ever where there are none.
    async fn happened(&self) {
        self.seen.notified().await;
    }

    /// Waits until no event came for `debounce`, with a bound so that a busy folder is read too.
    async fn quiet(&self, debounce: Duration) {
        let settled = async { while timeout(debounce, self.seen.notified()).await.is_ok() {} };
        // Running into the bound is one of the two ways this is meant to end.
        let _ = timeout(debounce.saturating_mul(10), settled).await;
    }
}

/// Our own reads raise access events: answering those would read for ever.
fn tells_of_change(kind: notify::EventKind) -> bool {
    !kind.is_access() || kind == notify::EventKind::Access(AccessKind::Close(AccessMode::Write))
}

/// Pauses between the attempts to catch a set that changes while it is read.
const RETRY_PAUSES: [Duration; 6] = [
    Duration::ZERO,
    Duration::ZERO,
    Duration::from_millis(5),
    Duration::from_millis(20),
    Duration::from_millis(100),
    Duration::from_millis(100),
];

#[cfg(test)]
mod tests;
