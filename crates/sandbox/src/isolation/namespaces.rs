//! The first process: it makes the namespaces, waits for the pod's process 1, and tells it what it is told.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{ExitCode, ExitStatus, Stdio};

use nix::sched::{CloneFlags, unshare};
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, getegid, geteuid, kill_process, set_parent_process_death_signal,
};
use rustix::thread::{capabilities, configure_capability_in_ambient_set, set_capabilities};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::{Error, Run, Stage, Step, stage_command};

pub(super) fn play(run: &Run, file: &Path) -> Result<ExitCode, Error> {
    close_inherited().step(|| "close what was inherited")?;
    enter(run)?;
    // The kernel takes it back when the credentials change, so it is set after that.
    set_parent_process_death_signal(Some(Signal::KILL)).step(|| "guard against being left")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .step(|| "start the runtime")?;
    runtime.block_on(wait(file))
}

/// Closes every file but input and output. Nothing of this process is open yet: it has only read what to run.
fn close_inherited() -> io::Result<()> {
    let names = fs::read_dir("/proc/self/fd")?.flatten();
    let numbers = names.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    for number in numbers.collect::<Vec<_>>() {
        if number > 2 {
            // The list's own is closed already.
            let _ = nix::unistd::close(number);
        }
    }
    Ok(())
}

/// Moves this process, and its children's PIDs, into namespaces of their own, in which it may do everything.
fn enter(run: &Run) -> Result<(), Error> {
    // Files keep their owner; only the number that the pod knows him by may be another.
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    let shown_user = run.map.run_as.user.unwrap_or(user);
    let shown_group = run.map.run_as.group.unwrap_or(group);
    let flags = CloneFlags::CLONE_NEWUSER
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC;
    unshare(flags).step(|| "make namespaces")?;
    let write = |file: &str, text: String| {
        fs::write(format!("/proc/self/{file}"), text).step(|| format!("write {file}"))
    };
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("{shown_user} {user} 1"))?;
    write("gid_map", format!("{shown_group} {group} 1"))?;
    keep_privileges().step(|| "keep the privileges of a namespace")
}

/// Lets the next stages, whatever user they are, have what this process has in its namespaces; the last one gives it up.
fn keep_privileges() -> rustix::io::Result<()> {
    let mut sets = capabilities(None)?;
    sets.inheritable = sets.permitted;
    set_capabilities(None, sets)?;
    for capability in sets.permitted.iter() {
        match configure_capability_in_ambient_set(capability, true) {
            // One that this kernel does not know.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Runs process 1 and answers with its exit code. No thread may be started here: the PID namespace of this process is
/// not that of its children.
async fn wait(file: &Path) -> Result<ExitCode, Error> {
    let stdin = io::stdin().as_fd().try_clone_to_owned();
    let guard = stdin.and_then(pipe::Receiver::from_owned_fd);
    let mut guard = guard.step(|| "watch the sandbox's pipe")?;
    let mut signals = forwarded().step(|| "listen for signals")?;
    let mut command = stage_command(file, Stage::Pod);
    // Its own pipe, so that it sees the end of this process.
    command.stdin(Stdio::piped());
    let mut child = tokio::process::Command::from(command)
        .spawn()
        .step(|| "start the pod")?;
    let _guards_child = child.stdin.take();
    let pid = child
        .id()
        .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let mut byte = [0];
    loop {
        tokio::select! {
            biased;
            ended = child.wait() => return Ok(code(ended.step(|| "wait for the pod")?)),
            Some(signal) = signals.recv() => {
                // One that is gone needs none.
                let _ = pid.map(|pid| kill_process(pid, signal));
            }
            read = guard.read(&mut byte) => {
                // Nothing is ever written: this is the end of the sandbox.
                if !matches!(read, Ok(1..)) {
                    let _ = child.start_kill();
                    let _ = child.wait().await;
                    return Ok(ExitCode::FAILURE);
                }
            }
        }
    }
}

/// The signals that a container's program may be meant to see, as they come.
pub(super) fn forwarded() -> io::Result<mpsc::UnboundedReceiver<Signal>> {
    let (sender, receiver) = mpsc::unbounded_channel();
    for forwarded in [
        Signal::TERM,
        Signal::INT,
        Signal::HUP,
        Signal::QUIT,
        Signal::USR1,
        Signal::USR2,
    ] {
        let mut stream = signal(SignalKind::from_raw(forwarded.as_raw()))?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while stream.recv().await.is_some() && sender.send(forwarded).is_ok() {}
        });
    }
    Ok(receiver)
}

/// As a shell tells it; process 1 of a PID namespace can be ended by no signal but SIGKILL.
fn code(status: ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt;
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(255))
}
