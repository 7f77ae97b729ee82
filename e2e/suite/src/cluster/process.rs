//! One program of a cluster, running, that ends when this process ends.
//!
//! A part is not started directly: this program starts itself again as `podcert-e2e part`
//! ([`turn_into`]), which asks the kernel for SIGKILL at its parent's death, makes sure that the
//! parent is not dead already, and then becomes the part. The kernel means the *thread* that
//! started it, so each part has a thread of its own here, which starts it and waits for its end.

use std::ffi::OsString;
use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, PidfdFlags};
use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};

pub(crate) use rustix::process::Signal;

/// A running program. Dropping it kills it.
pub(crate) struct Process {
    name: String,
    log: PathBuf,
    identity: Identity,
    handle: OwnedFd,
    ended: watch::Receiver<Option<ExitStatus>>,
}

/// A process that cannot be taken for a later one with the same number.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Identity {
    /// Its number.
    pub(crate) pid: i32,
    /// When it was started, in the kernel's ticks since the machine was.
    started: u64,
    /// Which start of the machine.
    boot: String,
}

impl Process {
    /// Starts `program`, both its outputs at the end of the file `log`.
    pub(crate) fn spawn(name: &str, program: &Path, args: &[String], log: &Path) -> Result<Self> {
        let output = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(log)
            .with_context(|| format!("cannot open {}", log.display()))?;
        let mut command = with_parent(program)?;
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let (started, mut hears) = oneshot::channel();
        let (ends, ended) = watch::channel(None);
        std::thread::Builder::new()
            .name(format!("runs {name}"))
            .spawn(move || {
                let mut child = match command.spawn() {
                    Ok(child) => child,
                    Err(error) => {
                        let _ = started.send(Err(anyhow::Error::from(error)));
                        return;
                    }
                };
                // Nobody has waited for it yet, so the number is still its own.
                let identity = i32::try_from(child.id())
                    .context("a process number that is none")
                    .and_then(|pid| Ok((Identity::of(pid)?, open(pid)?)));
                let alive = identity.is_ok();
                if started.send(identity).is_err() || !alive {
                    let _ = child.kill();
                }
                let _ = ends.send(child.wait().ok());
            })?;
        let (identity, handle) = loop {
            // The thread answers as soon as fork and exec are done: a millisecond.
            match hears.try_recv() {
                Ok(outcome) => break outcome,
                Err(oneshot::error::TryRecvError::Empty) => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(oneshot::error::TryRecvError::Closed) => bail!("its thread is gone"),
            }
        }
        .with_context(|| format!("cannot start {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            log: log.to_path_buf(),
            identity,
            handle,
            ended,
        })
    }

    /// The part's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Where its outputs go.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// Which process it is.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Sends it a signal; that it has ended already is an error.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        rustix::process::pidfd_send_signal(&self.handle, signal)
            .with_context(|| format!("cannot send {signal:?} to {}", self.name))
    }

    /// Whether it has not ended.
    pub(crate) fn is_running(&self) -> bool {
        self.ended.borrow().is_none()
    }

    /// Waits for its end and says how it was.
    pub(crate) async fn exited(&self) -> String {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(status) => status.map_or_else(String::new, |status| status.to_string()),
            Err(_) => "nobody knows how".to_owned(),
        }
    }

    /// Kills it and waits until it is gone.
    pub(crate) async fn kill(&self) {
        // One that has ended already is what was wanted.
        let _ = self.signal(Signal::KILL);
        self.exited().await;
    }

    /// Asks it to end, kills it when it has not after `grace`, and waits until it is gone.
    pub(crate) async fn terminate(&self, grace: Duration) {
        // A stopped process would not hear the question.
        let _ = self.signal(Signal::TERM).and(self.signal(Signal::CONT));
        if tokio::time::timeout(grace, self.exited()).await.is_err() {
            self.kill().await;
        }
    }

    /// For an error message: the end of its log, and where the rest is.
    pub(crate) fn log_end(&self) -> String {
        let lines = tail(&self.log).unwrap_or_default();
        if lines.is_empty() {
            return format!("its log {} is empty", self.log.display());
        }
        let mut text = format!("the end of its log {}:", self.log.display());
        for line in lines {
            text.push_str("\n  ");
            text.push_str(&line);
        }
        text
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.signal(Signal::KILL);
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("name", &self.name)
            .field("pid", &self.identity.pid)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// This process.
    pub(crate) fn own() -> Result<Self> {
        Self::of(i32::try_from(std::process::id())?)
    }

    /// Whoever has this number now.
    pub(crate) fn of(pid: i32) -> Result<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .with_context(|| format!("there is no process {pid}"))?;
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .context("cannot read the machine's boot_id")?;
        Ok(Self {
            pid,
            started: started(&stat).context("/proc/<pid>/stat has no start time")?,
            boot: boot.trim().to_owned(),
        })
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid));
        // One that has ended and that nobody has waited for is dead all the same.
        let zombie = stat.is_ok_and(|stat| state(&stat) == Some('Z'));
        !zombie && Self::of(self.pid).is_ok_and(|now| now == *self)
    }

    /// Sends it a signal, and nobody else: false when it is gone.
    pub(crate) fn signal(&self, signal: Signal) -> Result<bool> {
        let Ok(handle) = open(self.pid) else {
            return Ok(false);
        };
        // The handle is of whoever has the number now, and stays his.
        if !self.is_alive() {
            return Ok(false);
        }
        match rustix::process::pidfd_send_signal(handle, signal) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(error) => Err(error).with_context(|| format!("cannot signal process {}", self.pid)),
        }
    }
}

/// A command that runs `program` so that it dies with the thread that starts it.
pub(crate) fn with_parent(program: impl Into<OsString>) -> Result<Command> {
    // The program that runs, even where another was built in its place.
    let mut command = Command::new("/proc/self/exe");
    command
        .arg("part")
        .arg(std::process::id().to_string())
        .arg(program.into());
    Ok(command)
}

/// What `podcert-e2e part` does: becomes `program`, to be killed when `parent` ends. Returns only
/// the reason why it cannot.
pub(crate) fn turn_into(parent: i32, program: &OsString, args: &[OsString]) -> anyhow::Error {
    let dies_too = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    if let Err(error) = dies_too {
        return anyhow::Error::new(error).context("cannot ask for a signal at the parent's death");
    }
    // It may have died before there was anything to ask.
    if rustix::process::getppid() != Pid::from_raw(parent) {
        return anyhow::anyhow!("process {parent} is gone");
    }
    let error = Command::new(program).args(args).exec();
    anyhow::Error::new(error).context(format!("cannot run {}", Path::new(program).display()))
}

/// A file that one process holds at a time; the kernel lets go of it when that process ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// The lock, unless someone else has it.
    pub(crate) fn try_take(path: &Path) -> Result<Option<Self>> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", path.display()))
            }
        }
    }

    /// The lock, as soon as nobody else has it.
    pub(crate) async fn take(path: PathBuf) -> Result<Self> {
        loop {
            if let Some(lock) = Self::try_take(&path)? {
                return Ok(lock);
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

fn open(pid: i32) -> Result<OwnedFd> {
    let pid = Pid::from_raw(pid).context("process 0 is nobody's")?;
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

/// The fields of `/proc/<pid>/stat` after the program's name, which may itself contain anything.
fn fields(stat: &str) -> impl Iterator<Item = &str> {
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    after.split_whitespace()
}

fn state(stat: &str) -> Option<char> {
    fields(stat).next()?.chars().next()
}

/// Field 22, as proc(5) counts.
fn started(stat: &str) -> Option<u64> {
    fields(stat).nth(22 - 3)?.parse().ok()
}

/// The last lines of a file that may be long.
fn tail(path: &Path) -> Result<Vec<String>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut lines: Vec<&str> = text.lines().collect();
    if length > TAIL_BYTES && !lines.is_empty() {
        // It begins anywhere.
        lines.remove(0);
    }
    let from = lines.len().saturating_sub(TAIL_LINES);
    Ok(lines
        .into_iter()
        .skip(from)
        .map(|line| match line.char_indices().nth(LINE_CHARS) {
            Some((end, _)) => format!("{}…", line.get(..end).unwrap_or(line)),
            None => line.to_owned(),
        })
        .collect())
}

const TAIL_BYTES: u64 = 64 * 1024;
const TAIL_LINES: usize = 20;
const LINE_CHARS: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_any_shape_hides_no_field() {
        let stat = "7 (a) S 1 (b)) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(state(stat), Some('S'));
        assert_eq!(started(stat), Some(4711));
        assert_eq!(started("7 (short) S 1"), None);
        assert_eq!(started(""), None);
    }

    #[test]
    fn a_number_with_another_start_is_another_process() {
        let own = Identity::own().unwrap();
        assert!(own.is_alive());
        let earlier = Identity {
            started: own.started - 1,
            ..own.clone()
        };
        let other_boot = Identity {
            boot: "another".to_owned(),
            ..own
        };
        for gone in [earlier, other_boot] {
            assert!(!gone.is_alive());
            // Were it sent, this test would be over.
            assert!(!gone.signal(Signal::KILL).unwrap());
        }
    }

    #[test]
    fn the_end_of_a_long_log_is_whole_short_lines() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut text = String::new();
        for number in 0..10_000 {
            text.push_str(&format!("line {number}\n"));
        }
        text.push_str(&"ä".repeat(1_000));
        std::fs::write(file.path(), text).unwrap();
        let lines = tail(file.path()).unwrap();
        assert_eq!(lines.len(), TAIL_LINES);
        assert_eq!(lines[0], "line 9981");
        assert_eq!(lines[18], "line 9999");
        assert_eq!(lines[19].chars().count(), LINE_CHARS + 1);
    }

    #[test]
    fn a_short_log_is_shown_from_its_first_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "one\ntwo\n").unwrap();
        assert_eq!(tail(file.path()).unwrap(), ["one", "two"]);
    }

    #[test]
    fn a_lock_is_held_by_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let lock = Lock::try_take(&path).unwrap();
        assert!(lock.is_some());
        assert!(Lock::try_take(&path).unwrap().is_none());
        drop(lock);
        assert!(Lock::try_take(&path).unwrap().is_some());
    }
}
