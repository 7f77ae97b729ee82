//! The namespaces that a node lives in, and how a program gets into them.
//!
//! ```text
//! supervisor ─▶ space: makes mount, PID, network, UTS and IPC namespaces, waits
//!                └▶ init: process 1 in there; mounts what is a node's own, reaps, ends with `space`
//! supervisor ─▶ enter: goes into them, passes SIGTERM on, ends as the program does
//!                └▶ the program: dies with `enter`
//! ```
//!
//! Everything that a node makes is made in there: containers, shims, mounts, interfaces, rules of iptables.
//! The kernel ends a PID namespace with its process 1, and the other namespaces with their last process, so
//! nothing of it outlives the supervisor, however that ends. Cgroups alone have no such owner
//! ([`super::cgroups`]).
//!
//! Namespaces belong to threads, so each of these is a process that has one.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitCode, ExitStatus, Stdio};

use anyhow::{Context as _, Result, bail};
use nix::sched::{CloneFlags, setns, unshare};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use super::host;

/// What `podcert-e2e node-space` does: holds the namespaces until SIGTERM. The file `init` then has the
/// number of process 1, as it is outside.
pub(crate) fn space(init: &Path) -> Result<ExitCode> {
    unshare(NAMESPACES).context("cannot make namespaces; this needs root")?;
    alone(async {
        let mut child = itself("node-init")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start process 1 of the node")?;
        // Waiting would close it.
        let _held = child.stdin.take();
        let output = child.stdout.take().context("invariant: piped")?;
        let mut said = String::new();
        BufReader::new(output).read_line(&mut said).await?;
        if said.trim() != READY {
            bail!("process 1 of the node is not ready");
        }
        let number = child.id().context("process 1 of the node has ended")?;
        let unfinished = init.with_extension("unfinished");
        std::fs::write(&unfinished, number.to_string())?;
        std::fs::rename(unfinished, init)?;
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            status = child.wait() => Ok(code(status?)),
            _ = terminate.recv() => {
                // It is gone only when everything in there is.
                child.kill().await?;
                Ok(ExitCode::SUCCESS)
            }
        }
    })
}

/// What `podcert-e2e node-init` does, process 1 of the node: never ends by itself.
pub(crate) fn init() -> Result<ExitCode> {
    mounts()?;
    writeln!(std::io::stdout(), "{READY}")?;
    // The pipe ends with `space`, should that die before the kernel was asked to tell us.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    loop {
        // Without children there is nothing to wait for yet.
        if rustix::process::wait(WaitOptions::empty()).is_err() {
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
}

/// What is a node's own: nothing that is mounted in there is seen outside, and what the parts write to
/// places that are the same for all nodes goes with the namespace.
fn mounts() -> Result<()> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).context("cannot make mounts private")?;
    let usual = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "/proc", "proc", usual, None).context("cannot mount /proc")?;
    for folder in super::OWN_FOLDERS {
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        mount("podcert-e2e", folder, "tmpfs", flags, c"mode=0755")
            .with_context(|| format!("cannot mount a tmpfs at {folder}"))?;
    }
    // So says the file hierarchy, and iptables keeps its lock there.
    std::fs::create_dir_all("/run/lock")?;
    Ok(())
}

/// What `podcert-e2e node-enter` does: runs a program where process `init` is.
pub(crate) fn enter(init: i32, program: &OsString, args: &[OsString]) -> Result<ExitCode> {
    let init = Pid::from_raw(init).context("process 0 is nobody's")?;
    let handle = rustix::process::pidfd_open(init, PidfdFlags::empty())
        .context("process 1 of the node is gone")?;
    setns(handle, NAMESPACES).context("cannot enter the node's namespaces")?;
    alone(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut child = itself("part")
            .arg("0")
            .arg(program)
            .args(args)
            .env("PATH", host::path())
            .spawn()
            .with_context(|| format!("cannot start {}", Path::new(program).display()))?;
        loop {
            tokio::select! {
                status = child.wait() => return Ok(code(status?)),
                _ = terminate.recv() => pass_on(&child)?,
            }
        }
    })
}

fn pass_on(child: &Child) -> Result<()> {
    let number = child.id().and_then(|number| i32::try_from(number).ok());
    if let Some(pid) = number.and_then(Pid::from_raw) {
        rustix::process::kill_process(pid, Signal::TERM)?;
    }
    Ok(())
}

/// This program, as another of its commands, killed with this process.
fn itself(command: &str) -> Command {
    let mut itself = Command::new("/proc/self/exe");
    if command == "part" {
        itself.arg(command);
    } else {
        // From outside the namespace process 0 is what the parent of process 1 looks like.
        itself.args(["part", "0", "/proc/self/exe", command]);
    }
    itself
}

/// On one thread: none can be started once the namespace of children is another.
fn alone<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(work)
}

/// The same end.
fn code(status: ExitStatus) -> ExitCode {
    let number = status.code().or(status.signal().map(|signal| 128 + signal));
    number
        .and_then(|number| u8::try_from(number).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from)
}

const NAMESPACES: CloneFlags = CloneFlags::CLONE_NEWNS
    .union(CloneFlags::CLONE_NEWPID)
    .union(CloneFlags::CLONE_NEWNET)
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWIPC);

const READY: &str = "ready";
