//! Pods of programs that know nothing of the sandbox: Linux namespaces, made without privileges.
//!
//! ```text
//! sandbox ─▶ namespaces: makes user, mount, PID, network, UTS and IPC namespaces, passes signals and the exit code on
//!              └▶ pod: process 1 of the pod and its network; sees the machine's files
//!                   ├▶ program: builds the pod's root, gives up every capability, becomes the container's program
//!                   └▶ exec: enters that root, gives up every capability, becomes a probe's command
//! ```
//!
//! Each box is a process, `<runner> sandbox exec-pod --isolated FILE --stage …`, that does its part while it has one
//! thread, since namespaces belong to threads; no code runs between fork and exec. Between the pod and the program lies
//! a pair of network devices: in the pod's network namespace is nothing but `lo` and `eth0` with the pod's address, and
//! what leaves by `eth0` arrives in the other one, where process 1 listens on the addresses of Services and pods and
//! hands each connection to a UNIX socket, as mapped pods do by themselves ([`fabric`]).
//!
//! Nothing outlives its parent: process 1 dies with the first box, and the kernel ends a PID namespace with its process
//! 1.

mod fabric;
mod listening;
mod mount_table;
mod names;
mod namespaces;
mod netlink;
mod network;
mod pod;
mod probe;
mod program;
mod root;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

pub(crate) use self::pod::exec;
pub(crate) use self::probe::probe;
use crate::pod_map::PodMap;
use crate::state_dir::{make_private, write_private};

/// One run of a container, as the sandbox writes it (0600) for the processes that make it.
/// Its environment may hold secrets: it has no `Debug`.
#[derive(Clone, Deserialize, Serialize)]
pub(crate) struct Run {
    /// The pod's view of the sandbox.
    pub(crate) map: PodMap,
    /// What to run.
    pub(crate) play: Play,
    /// The whole environment.
    pub(crate) environment: BTreeMap<String, String>,
    /// The socket at which commands for this container are accepted.
    pub(crate) control: PathBuf,
    /// The folder that the processes of this run keep to themselves.
    pub(crate) folder: PathBuf,
}

/// What a run is for.
#[derive(Clone, Deserialize, Serialize)]
pub(crate) enum Play {
    /// To see whether it can be done at all: everything but the program.
    Nothing,
    /// A program.
    Program {
        /// The one that plays the image.
        program: PathBuf,
        /// The container's command and arguments.
        argv: Vec<String>,
    },
}

/// Which of the processes that make a pod this one is; see the [module](self).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// The first, started by the sandbox.
    Namespaces,
    /// Process 1 of the pod.
    Pod,
    /// What becomes the container's program.
    Program,
    /// What becomes another command in the container.
    Exec,
}

/// Why a pod's namespaces could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step}")]
pub(crate) struct Error {
    step: String,
    #[source]
    source: io::Error,
}

impl Stage {
    /// The stage by the name that [`Stage::name`] gives it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Namespaces, Self::Pod, Self::Program, Self::Exec]
            .into_iter()
            .find(|stage| stage.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Pod => "pod",
            Self::Program => "program",
            Self::Exec => "exec",
        }
    }
}

/// Plays `stage` of the run that `file` describes, until it is over. Called by `sandbox exec-pod --isolated`, before any
/// thread is started; the process does nothing else. `argv` is the command of [`Stage::Exec`].
#[must_use]
pub fn play(file: &Path, stage: Stage, argv: &[OsString]) -> ExitCode {
    let played = Run::read(file).and_then(|run| match stage {
        Stage::Namespaces => namespaces::play(&run, file),
        Stage::Pod => pod::play(run, file),
        Stage::Program => program::play(&run),
        Stage::Exec => program::exec(&run, argv),
    });
    played.unwrap_or_else(|error| {
        // The container's own log; nobody is left to tell if it is closed.
        let _ = writeln!(io::stderr(), "podcert: {}", sentence(&error));
        ExitCode::from(NOT_STARTED)
    })
}

impl Run {
    /// Writes it into its folder, which is made if it is not there, and answers with the file for `--isolated`.
    pub(crate) fn write(&self) -> io::Result<PathBuf> {
        match make_private(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let file = self.folder.join("run.json");
        write_private(&file, &serde_json::to_vec(self)?)?;
        Ok(file)
    }

    fn read(file: &Path) -> Result<Self, Error> {
        let text = std::fs::read(file).step(|| format!("read {}", file.display()))?;
        let run = serde_json::from_slice(&text).map_err(io::Error::from);
        run.step(|| format!("understand {}", file.display()))
    }
}

/// Names what was done when a call failed.
trait Step<T> {
    fn step<S: Into<String>>(self, step: impl FnOnce() -> S) -> Result<T, Error>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step<S: Into<String>>(self, step: impl FnOnce() -> S) -> Result<T, Error> {
        self.map_err(|source| Error {
            step: step().into(),
            source: source.into(),
        })
    }
}

/// The error and its cause.
fn sentence(error: &Error) -> String {
    format!("{error}: {}", error.source)
}

/// A process of the same program that plays another stage of the run, with nothing inherited but its output.
fn stage_command(file: &Path, stage: Stage) -> std::process::Command {
    let mut command = std::process::Command::new("/proc/self/exe");
    command
        .args(["sandbox", "exec-pod", "--isolated"])
        .arg(file)
        .args(["--stage", stage.name()])
        .env_clear()
        .current_dir("/");
    command
}

/// The exit code of a container whose program could not be started; containerd's, too.
const NOT_STARTED: u8 = 128;
