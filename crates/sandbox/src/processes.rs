//! Containers as child processes.
//!
//! Each is `<program> sandbox exec-pod --map FILE -- <command and args>`, or `<runner> sandbox exec-pod --isolated FILE`
//! for a program that knows nothing of the sandbox ([`crate::isolation`]), in a process group of its own (so that Ctrl-C
//! in a terminal reaches the sandbox alone, which then stops its pods in order), with nothing inherited: a clean
//! environment, `/` as its folder, and a pipe as its input whose closing tells it that the sandbox is gone
//! ([`crate::exec_pod`] watches it).

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use podcert_runtime::SharedClock;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::containers::{Exit, Launch, PodRunner, StopSignal};
use crate::images::Program;
use crate::isolation::{self, Play, Run};
use crate::logs::{LogLine, PodLogs, Stream};
use crate::sockets::is_served;

/// Runs containers as child processes of this one.
#[derive(Debug)]
pub struct Processes {
    logs: PodLogs,
    clock: SharedClock,
    environment: BTreeMap<String, String>,
    running: Arc<Mutex<Running>>,
    starts: AtomicU32,
}

/// The containers that run, and the socket at which commands for each of them are taken.
type Running = HashMap<ContainerKey, PathBuf>;

/// A pod's UID and a container's name.
type ContainerKey = (String, String);

/// A container that runs, or is about to, until this is dropped.
#[derive(Debug)]
struct Place {
    key: ContainerKey,
    control: PathBuf,
    running: Arc<Mutex<Running>>,
}

impl Processes {
    /// Every container has `environment`, unless its pod says otherwise.
    pub(crate) fn new(
        logs: PodLogs,
        clock: SharedClock,
        environment: BTreeMap<String, String>,
    ) -> Self {
        Self {
            logs,
            clock,
            environment,
            running: Arc::default(),
            starts: AtomicU32::new(0),
        }
    }

    /// With the variables that every container has.
    fn complete(&self, mut launch: Launch) -> Launch {
        let own = std::mem::take(&mut launch.environment);
        launch.environment = self.environment.clone();
        launch.environment.extend(own);
        launch
    }

    /// Takes a place among the containers that run.
    fn place(&self, launch: &Launch) -> Place {
        // Short, and another one than that of every container that still runs.
        let number = self.starts.fetch_add(1, Ordering::Relaxed) % 10_000;
        let place = Place {
            key: key(launch),
            control: launch.map.listen_dir.join(format!("x{number}.sock")),
            running: self.running.clone(),
        };
        self.running()
            .insert(place.key.clone(), place.control.clone());
        place
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn follow<R>(&self, output: R, stream: Stream, launch: &Launch) -> BoxFuture<'static, ()>
    where
        R: AsyncRead + Send + Unpin + 'static,
    {
        let (logs, clock) = (self.logs.clone(), self.clock.clone());
        let (pod, container) = (launch.map.pod.clone(), launch.container.clone());
        async move {
            let mut reader = BufReader::new(output);
            let mut lines = 0_u32;
            while let Some(text) = next_line(&mut reader).await {
                lines = lines.wrapping_add(1);
                if lines.is_multiple_of(BREATH_LINES) {
                    // A pod that floods its log waits; the API server on the same thread must not.
                    tokio::time::sleep(BREATH).await;
                }
                logs.push(LogLine {
                    namespace: pod.namespace.clone(),
                    pod: pod.name.clone(),
                    container: container.clone(),
                    stream,
                    text,
                    at: clock.now(),
                });
            }
        }
        .boxed()
    }
}

impl PodRunner for Processes {
    fn start(&self, launch: Launch, stop: StopSignal) -> Result<BoxFuture<'static, Exit>, String> {
        let launch = self.complete(launch);
        clear_sockets(&launch.map.listen_dir)
            .map_err(|error| format!("cannot clear old sockets: {error}"))?;
        let place = self.place(&launch);
        let command = match &launch.program {
            Program::Mapped(program) => mapped(program, &launch, &launch.argv),
            Program::Isolated { program, runner } => {
                isolated(runner, program, &launch, place.control.clone())?
            }
        };
        let mut child = spawn(command, Stdio::piped).map_err(|error| {
            let program = launch.program.path().display();
            format!("cannot start {program}: {error}")
        })?;

        let mut output = JoinSet::new();
        if let Some(stdout) = child.stdout.take() {
            output.spawn(self.follow(stdout, Stream::Stdout, &launch));
        }
        if let Some(stderr) = child.stderr.take() {
            output.spawn(self.follow(stderr, Stream::Stderr, &launch));
        }
        let group = Group::of(&child);
        let sockets = launch.map.listen_dir.clone();
        Ok(async move {
            let _place = place;
            let exit = supervise(child, stop).await;
            // In a container everything ends with its first process.
            drop(group);
            let drained = async { while output.join_next().await.is_some() {} };
            // What escaped into another group may hold the pipe for ever: its lines are not waited for.
            let _ = timeout(DRAIN, drained).await;
            if let Err(error) = clear_sockets(&sockets) {
                tracing::warn!(%error, folder = %sockets.display(), "cannot clear sockets");
            }
            exit
        }
        .boxed())
    }

    fn exec(&self, launch: &Launch, argv: Vec<String>) -> Result<BoxFuture<'static, Exit>, String> {
        let program = match &launch.program {
            Program::Mapped(program) => program,
            Program::Isolated { .. } => {
                let control = self.running().get(&key(launch)).cloned();
                let control = control.ok_or("the container does not run")?;
                return Ok(exec_isolated(control, argv).boxed());
            }
        };
        let launch = self.complete(launch.clone());
        let mut child = spawn(mapped(program, &launch, &argv), Stdio::null)
            .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
        let group = Group::of(&child);
        Ok(async move {
            // Held until the end, as for the container itself.
            let _guard = child.stdin.take();
            let exit = exit_of(child.wait().await);
            drop(group);
            exit
        }
        .boxed())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        // The container's next run may have begun.
        if running.get(&self.key) == Some(&self.control) {
            running.remove(&self.key);
        }
    }
}

fn key(launch: &Launch) -> ContainerKey {
    (launch.map.pod.uid.clone(), launch.container.clone())
}

/// A program that knows of the sandbox.
fn mapped(program: &Path, launch: &Launch, argv: &[String]) -> Command {
    let mut command = Command::new(program);
    command
        .args(["sandbox", "exec-pod", "--map"])
        .arg(&launch.map_file)
        .arg("--")
        .args(argv)
        .env_clear()
        .envs(&launch.environment);
    command
}

/// A program that does not. Its environment is in a file, so that it changes nothing for what sets up the namespaces.
fn isolated(
    runner: &Path,
    program: &Path,
    launch: &Launch,
    control: PathBuf,
) -> Result<Command, String> {
    let folder = launch.map_file.with_extension("run");
    let run = Run {
        map: launch.map.clone(),
        play: Play::Program {
            program: program.to_owned(),
            argv: launch.argv.clone(),
        },
        environment: launch.environment.clone(),
        control,
        folder,
    };
    let file = run.write().map_err(|error| {
        let folder = run.folder.display();
        format!("cannot write what to run in {folder}: {error}")
    })?;
    let mut command = Command::new(runner);
    command
        .args(["sandbox", "exec-pod", "--isolated"])
        .arg(file)
        .env_clear();
    Ok(command)
}

/// Asks process 1 of a pod for a command.
async fn exec_isolated(control: PathBuf, argv: Vec<String>) -> Exit {
    match isolation::exec(&control, argv).await {
        Ok(code) => Exit::Code(code),
        Err(error) => {
            tracing::debug!(%error, control = %control.display(), "a command did not run");
            Exit::Code(UNKNOWN)
        }
    }
}

/// Starts it with what all have in common.
fn spawn(mut command: Command, output: fn() -> Stdio) -> std::io::Result<Child> {
    command
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(output())
        .stderr(output())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// Waits for the end of the process; when asked to stop: SIGTERM, the grace period, SIGKILL.
async fn supervise(mut child: Child, mut stop: StopSignal) -> Exit {
    // Held until the end: its closing is what tells the child that the sandbox is gone.
    let _guard = child.stdin.take();
    let mut deadline: Option<Instant> = None;
    loop {
        let late = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        // Cancel safe: waiting for a child is, and the rest holds no state.
        tokio::select! {
            biased;
            ended = child.wait() => return exit_of(ended),
            grace = stop.requested() => {
                if deadline.is_none() && let Some(pid) = pid_of(&child) {
                    // A process that is gone already needs no signal.
                    let _ = kill_process(pid, Signal::TERM);
                }
                // A grace period that leads beyond the end of time never ends.
                deadline = Instant::now().checked_add(grace);
            }
            () = late => {
                // Fails only for a process that has ended, which `wait` then reports.
                let _ = child.start_kill();
                deadline = Some(Instant::now() + KILL_AGAIN);
            }
        }
    }
}

/// A child's process group, killed as a whole when dropped.
#[derive(Debug)]
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(pid_of(child))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // No such group is the usual case: nothing was left of it.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

fn pid_of(child: &Child) -> Option<Pid> {
    child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw)
}

fn exit_of(status: std::io::Result<ExitStatus>) -> Exit {
    use std::os::unix::process::ExitStatusExt;
    match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => Exit::Code(code),
            (None, Some(signal)) => Exit::Signal(signal),
            (None, None) => Exit::Code(UNKNOWN),
        },
        Err(error) => {
            tracing::warn!(%error, "cannot learn how a pod's process ended");
            Exit::Code(UNKNOWN)
        }
    }
}

/// The next line without its end, cut at [`LINE`] bytes as container runtimes do; `None` at the end.
async fn next_line<R: AsyncBufRead + Unpin>(reader: &mut R) -> Option<String> {
    let mut line = Vec::new();
    loop {
        let chunk = reader.fill_buf().await.ok()?;
        if chunk.is_empty() {
            return (!line.is_empty()).then(|| String::from_utf8_lossy(&line).into_owned());
        }
        let room = chunk
            .get(..chunk.len().min(LINE - line.len()))
            .unwrap_or_default();
        let (taken, ended) = match room.iter().position(|byte| *byte == b'\n') {
            Some(end) => (end, true),
            None => (room.len(), line.len() + room.len() == LINE),
        };
        line.extend_from_slice(room.get(..taken).unwrap_or_default());
        // A cut line has no newline to consume; a full one does.
        let newline = usize::from(room.get(taken) == Some(&b'\n'));
        reader.consume(taken + newline);
        if ended {
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            return Some(String::from_utf8_lossy(&line).into_owned());
        }
    }
}

/// A socket of a process that is gone would refuse both connections and its successor. Those that answer belong to
/// another container of the pod.
fn clear_sockets(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        // One that is just being made has another name.
        let is_socket = path
            .extension()
            .is_some_and(|extension| extension == "sock");
        if !is_socket || is_served(&path)? {
            continue;
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// After the end of a process its last lines are waited for this long.
const DRAIN: Duration = Duration::from_secs(1);
/// After so many lines of a container the others have their turn.
const BREATH_LINES: u32 = 256;
const BREATH: Duration = Duration::from_millis(2);
const KILL_AGAIN: Duration = Duration::from_secs(1);
const LINE: usize = 16 * 1024;
/// What container runtimes report when they do not know.
const UNKNOWN: i32 = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_grace_period_without_end_is_one() {
        let child = Command::new("cat")
            .stdin(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (stop, asked) = tokio::sync::watch::channel(None);
        stop.send_replace(Some(Duration::MAX));
        let exit = supervise(child, StopSignal::new(asked)).await;
        assert_eq!(exit, Exit::Signal(15));
    }

    #[tokio::test]
    async fn lines_are_cut_and_never_lost() {
        let long = "x".repeat(LINE + 5);
        let text = format!("one\r\n\n{long}\nlast \u{fffd}");
        let mut reader = BufReader::with_capacity(7, text.as_bytes());
        let mut lines = Vec::new();
        while let Some(line) = next_line(&mut reader).await {
            lines.push(line);
        }
        let cut = [&long[..LINE], "xxxxx"];
        assert_eq!(lines, ["one", "", cut[0], cut[1], "last \u{fffd}"]);
    }
}
