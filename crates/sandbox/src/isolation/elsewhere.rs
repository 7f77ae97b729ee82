//! Programs that know nothing of the sandbox need the namespaces of Linux; on other systems they are refused.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::pod_map::PodMap;

/// One run of a container; never made here.
#[derive(Clone, Debug)]
#[allow(dead_code, reason = "never run on this system")]
pub(crate) struct Run {
    pub(crate) map: PodMap,
    pub(crate) play: Play,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) control: PathBuf,
    pub(crate) folder: PathBuf,
}

/// What a run is for.
#[derive(Clone, Debug)]
#[allow(dead_code, reason = "never run on this system")]
pub(crate) enum Play {
    /// A program.
    Program { program: PathBuf, argv: Vec<String> },
}

/// Which of the processes that make a pod this one is; on this system there are none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// The first, started by the sandbox.
    Namespaces,
}

impl Stage {
    /// The stage of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        (name == "namespaces").then_some(Self::Namespaces)
    }
}

/// Plays no stage.
#[must_use]
pub fn play(_: &Path, _: Stage, _: &[OsString]) -> ExitCode {
    ExitCode::FAILURE
}

impl Run {
    pub(crate) fn write(&self) -> io::Result<PathBuf> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[allow(clippy::unused_async, reason = "as on Linux")]
pub(crate) async fn exec(_: &Path, _: Vec<String>) -> io::Result<i32> {
    Err(io::ErrorKind::Unsupported.into())
}

#[allow(clippy::unused_async, reason = "as on Linux")]
pub(crate) async fn probe(_: &Path, _: &Path) -> Result<(), String> {
    Err("programs run in namespaces, which only Linux has".to_owned())
}
