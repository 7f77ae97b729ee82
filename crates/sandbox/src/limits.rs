//! What the system lets this process have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Lets this process, and the programs that it starts, open as many files as container runtimes let theirs, if whoever
/// runs it may: a container alone needs four here, and the usual limit is 1024.
pub(crate) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(MOST, |hard| hard.min(MOST));
    if limit.current.is_none_or(|soft| soft >= wanted) {
        return;
    }
    let raised = Rlimit {
        current: Some(wanted),
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files stays: with many pods, see `ulimit -n`");
    }
}

/// containerd's.
const MOST: u64 = 1 << 20;
