//! The child's side of a pod: what `sandbox exec-pod` does before it becomes the container's command.
//!
//! A pod's process must not outlive the sandbox, whatever ends that: the sandbox stops its pods when it can, and when
//! it is killed, each process ends itself. Its input is a pipe from the sandbox that never carries anything; reading
//! its end means the sandbox is gone. On Linux the kernel is asked to kill the process too, which also catches one
//! that no longer runs its threads.

use std::io::{self, Read};
use std::path::Path;

use crate::pod_map::{PodMap, PodMapError};

/// Why a pod's process cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecPodError {
    /// The guard against outliving the sandbox could not be set up.
    #[error("cannot guard against outliving the sandbox")]
    Guard(#[source] io::Error),
    /// The map is unreadable.
    #[error(transparent)]
    Map(#[from] PodMapError),
}

/// Reads the map at `file`, gives up the right to gain privileges, and from then on ends this process when the sandbox
/// ends. Called once, first thing, by `sandbox exec-pod`; the process' standard input is no longer its own afterwards.
///
/// # Errors
/// The map cannot be read, or the guard cannot be set up; the process must then not go on.
pub fn enter(file: &Path) -> Result<PodMap, ExecPodError> {
    let map = PodMap::read(file)?;
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, set_parent_process_death_signal};
        let guard = |error: rustix::io::Errno| ExecPodError::Guard(error.into());
        set_parent_process_death_signal(Some(Signal::KILL)).map_err(guard)?;
        rustix::thread::set_no_new_privs(true).map_err(guard)?;
    }
    std::thread::Builder::new()
        .name("sandbox-guard".to_owned())
        .spawn(|| {
            wait_for_end(io::stdin().lock());
            std::process::exit(ORPHANED);
        })
        .map_err(ExecPodError::Guard)?;
    Ok(map)
}

/// Reads until there is nothing to come.
fn wait_for_end(mut input: impl Read) {
    let mut ignored = [0; 64];
    loop {
        match input.read(&mut ignored) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

/// Exit code of a pod's process that ended because its sandbox did; nobody is left to see it.
const ORPHANED: i32 = 143;
