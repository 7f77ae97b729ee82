//! Process 1 of a pod: it starts the program, is the network around it, and runs commands beside it.
//!
//! Its main thread stays where connections from other pods arrive. A second thread is in the pod's network namespace: what
//! it starts is there too, and it looks which ports are listened on. A third collects children, also those that the
//! program left behind, as a process 1 must.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, kill_process, kill_process_group,
    set_parent_process_death_signal, setsid, wait,
};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::fabric::{self, Surroundings};
use super::namespaces::forwarded;
use super::network::{self, Namespace};
use super::root::make_folder;
use super::{Error, Play, Run, Stage, Step, listening, names, stage_command};
use crate::pod_map::{PodMap, Services};

/// Asks process 1 for a command beside the program: one line of JSON on the control socket, answered with its exit code
/// as decimal digits when it has ended. Closing the connection ends the command.
#[derive(Debug, Deserialize, Serialize)]
struct ExecRequest {
    argv: Vec<String>,
}

/// Runs a command in the container whose process 1 listens at `control`, and answers with its exit code. Dropping the
/// future ends the command.
pub(crate) async fn exec(control: &Path, argv: Vec<String>) -> io::Result<i32> {
    let mut stream = UnixStream::connect(control).await?;
    let mut request = serde_json::to_vec(&ExecRequest { argv })?;
    request.push(b'\n');
    stream.write_all(&request).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    answer.parse().map_err(io::Error::other)
}

pub(super) fn play(run: Run, file: &Path) -> Result<ExitCode, Error> {
    set_parent_process_death_signal(Some(Signal::KILL)).step(|| "guard against being left")?;
    // The terminal of whoever started the sandbox is none of the pod's.
    setsid().step(|| "leave the terminal")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .step(|| "start the runtime")?;
    // From now on: the kernel drops signals for which a process 1 has no handler.
    let signals = {
        let _inside = runtime.enter();
        forwarded().step(|| "listen for signals")?
    };
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).step(|| "keep mounts to this pod")?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "/proc", "proc", flags, None).step(|| "mount /proc")?;
    let inside = network::create(run.map.address)?;
    let hostname: String = run.map.pod.name.chars().take(HOST_NAME).collect();
    rustix::system::sethostname(hostname.as_bytes()).step(|| "set the host's name")?;
    let folder = names::folder(&run);
    make_folder(&folder).step(|| "make the folder of the pod's files in /etc")?;
    names::write_fixed(&folder, &run.map).step(|| "write the pod's files in /etc")?;

    guard();
    let (seen, surroundings) = watch::channel(Surroundings::default());
    let (orders, queue) = mpsc::channel();
    let (started, program) = mpsc::channel();
    let children = Children::default();
    let scout = Scout {
        children: children.clone(),
        file: file.to_owned(),
        map: run.map.clone(),
        folder,
        queue,
        seen,
        last_services: None,
    };
    spawn("pod-network", move || scout.run(&inside, &started))?;
    let (pid, ended) = match program.recv() {
        Ok(started) => started?,
        // It says on the way out why it could not start.
        Err(_) => return Ok(ExitCode::from(super::NOT_STARTED)),
    };
    spawn("pod-children", move || children.collect())?;
    if matches!(run.play, Play::Nothing) {
        let code = ended.blocking_recv().unwrap_or(LOST);
        return Ok(exit_code(code));
    }
    runtime.block_on(accompany(run, pid, ended, signals, surroundings, orders))
}

/// Serves the program until it ends.
async fn accompany(
    run: Run,
    program: Pid,
    mut ended: oneshot::Receiver<i32>,
    mut signals: UnboundedReceiver<Signal>,
    surroundings: watch::Receiver<Surroundings>,
    orders: mpsc::Sender<Order>,
) -> Result<ExitCode, Error> {
    let control = fabric::bind(&run.control).step(|| "listen for commands")?;
    let mut commands = JoinSet::new();
    let network = fabric::run(&run.map, surroundings);
    tokio::pin!(network);
    loop {
        tokio::select! {
            biased;
            code = &mut ended => return Ok(exit_code(code.unwrap_or(LOST))),
            Some(signal) = signals.recv() => {
                // One that is gone needs none.
                let _ = kill_process(program, signal);
            }
            Ok((stream, _)) = control.accept() => {
                let orders = orders.clone();
                commands.spawn(serve(stream, orders, program));
            }
            Some(_) = commands.join_next() => {}
            never = &mut network => match never {},
        }
    }
}

/// Runs one command for whoever asks.
async fn serve(stream: UnixStream, orders: mpsc::Sender<Order>, program: Pid) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read.take(REQUEST));
    let mut line = String::new();
    read.read_line(&mut line).await?;
    let ExecRequest { argv } = serde_json::from_str(&line)?;
    let (reply, started) = oneshot::channel();
    let order = Order {
        argv,
        program,
        reply,
    };
    orders.send(order).map_err(io::Error::other)?;
    let (pid, ended) = started.await.map_err(io::Error::other)??;
    let mut nothing = [0];
    let code = tokio::select! {
        biased;
        code = ended => code.unwrap_or(LOST),
        _ = read.read(&mut nothing) => {
            // Nobody waits for it any more.
            kill_process_group(pid, Signal::KILL)?;
            return Ok(());
        }
    };
    write.write_all(code.to_string().as_bytes()).await
}

/// A command to be started in the pod.
#[derive(Debug)]
struct Order {
    argv: Vec<String>,
    program: Pid,
    reply: oneshot::Sender<io::Result<Started>>,
}

/// A process, and its exit code once it has ended.
type Started = (Pid, oneshot::Receiver<i32>);

/// The thread in the pod's network namespace.
struct Scout {
    children: Children,
    file: PathBuf,
    map: PodMap,
    folder: PathBuf,
    queue: mpsc::Receiver<Order>,
    seen: watch::Sender<Surroundings>,
    /// Which version of the file was read last.
    last_services: Option<Option<(u64, i64, i64)>>,
}

impl Scout {
    /// Starts the program, then looks around and starts what is ordered, for ever.
    fn run(mut self, inside: &Namespace, started: &mpsc::Sender<Result<Started, Error>>) {
        let entered = inside.enter().and_then(|()| {
            // Ports below 1024 are as free as in containers.
            fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")
                .step(|| "free the ports below 1024")?;
            self.look();
            self.start_program()
        });
        // The main thread waits for this.
        let _ = started.send(entered);
        let mut changed = Instant::now();
        loop {
            let pause = if changed.elapsed() < LIVELY {
                LOOK
            } else {
                LOOK_SELDOM
            };
            match self.queue.recv_timeout(pause) {
                Ok(order) => {
                    let Order {
                        argv,
                        program,
                        reply,
                    } = order;
                    // Whoever asked may have gone.
                    let _ = reply.send(self.start_command(&argv, program));
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
            if self.look() {
                changed = Instant::now();
            }
        }
    }

    /// Looks at what the pod's network follows; answers whether anything changed.
    fn look(&mut self) -> bool {
        let table = |name: &str| fs::read_to_string(format!("/proc/thread-self/net/{name}"));
        // Without IPv6 there is only one.
        let tables: Vec<String> = ["tcp", "tcp6"]
            .iter()
            .filter_map(|n| table(n).ok())
            .collect();
        let ports = listening::ports(&tables, self.map.address);
        let services = self.services();
        self.seen.send_if_modified(|seen| {
            let mut changed = false;
            if let Some(services) = services {
                seen.services = Arc::new(services);
                changed = true;
            }
            if seen.ports != ports {
                seen.ports = ports;
                changed = true;
            }
            changed
        })
    }

    /// The list of Services, if there is a new one. The pod knows the names before anything else follows them.
    fn services(&mut self) -> Option<Services> {
        let meta = fs::metadata(&self.map.services_file).ok();
        // It is replaced, not rewritten; without it there are no Services.
        let version = meta.map(|meta| (meta.ino(), meta.mtime(), meta.mtime_nsec()));
        if self.last_services == Some(version) {
            return None;
        }
        let services = self.map.services().unwrap_or_default();
        if names::write_hosts(&self.folder, &self.map, &services).is_ok() {
            self.last_services = Some(version);
        }
        Some(services)
    }

    fn start_program(&self) -> Result<Started, Error> {
        let mut command = stage_command(&self.file, Stage::Program);
        command.stdin(Stdio::null());
        self.children
            .start(&mut command)
            .step(|| "start the program's process")
    }

    fn start_command(&self, argv: &[String], program: Pid) -> io::Result<Started> {
        let mut command = stage_command(&self.file, Stage::Exec);
        let program = program.as_raw_nonzero().to_string();
        command.args(["--", &program]).args(argv);
        command.stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.children.start(&mut command)
    }
}

/// The children that somebody waits for.
#[derive(Clone, Debug, Default)]
struct Children(Arc<Mutex<HashMap<Pid, oneshot::Sender<i32>>>>);

impl Children {
    /// Starts a child in a process group of its own.
    fn start(&self, command: &mut std::process::Command) -> io::Result<Started> {
        use std::os::unix::process::CommandExt;
        // Held until the child is known: it may end at once.
        let mut children = self.lock();
        let child = command.process_group(0).spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or(io::ErrorKind::InvalidData)?;
        let (sender, receiver) = oneshot::channel();
        children.insert(pid, sender);
        Ok((pid, receiver))
    }

    /// Waits for children, known or not, until there are none.
    fn collect(&self) {
        loop {
            let (pid, status) = match wait(WaitOptions::empty()) {
                Ok(Some(ended)) => ended,
                Ok(None) | Err(rustix::io::Errno::INTR) => continue,
                Err(_) => return,
            };
            if let Some(waiting) = self.lock().remove(&pid) {
                // Nobody may wait any more.
                let _ = waiting.send(code_of(status));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Pid, oneshot::Sender<i32>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends this process, and with it the pod, when the first process has gone.
fn guard() {
    let watch = || {
        let mut bytes = [0; 8];
        while matches!(io::stdin().lock().read(&mut bytes), Ok(1..)) {}
        std::process::exit(1);
    };
    // Without the thread there is still the signal.
    let _ = spawn("pod-guard", watch);
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(work);
    thread.map(drop).step(|| format!("start thread {name}"))
}

/// As a shell tells it.
fn code_of(status: WaitStatus) -> i32 {
    let signal = status.terminating_signal().map(|signal| 128 + signal);
    status.exit_status().or(signal).unwrap_or(LOST)
}

fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}

/// `HOST_NAME_MAX`.
const HOST_NAME: usize = 64;
/// For this long after a change the pod is looked at often.
const LIVELY: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(25);
const LOOK_SELDOM: Duration = Duration::from_millis(250);
/// What container runtimes report when they do not know.
const LOST: i32 = 255;
/// A command's longest request.
const REQUEST: u64 = 1024 * 1024;
