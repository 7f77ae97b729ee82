//! `podcert sandbox up`: starts a sandbox in the background and answers when it is ready.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use podcert_runtime::ScaledClock;
use podcert_sandbox::instance::{InstanceError, Instances, Record};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::images::ImageProgram;
use super::{NameArgs, env_line, name_flag, serve};
use crate::commands::INTERRUPTED;
use crate::output::{self, Format};

/// The flags of `sandbox up`.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "EXIT CODES\n  0  it is ready (or, with --foreground, has ended in order)\n  \
    1  it could not start, or runs already\n  2  wrong usage\n  130  stopped by Ctrl-C before it was ready"
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) name: NameArgs,

    /// Let a program of this machine play an image: NAME=PROGRAM; repeatable
    ///
    /// NAME is a full reference, or one without tag, which stands for all of them. podcert's own
    /// images are there already. The program sees its pod's volumes and addresses where Linux lets
    /// users make namespaces.
    #[arg(long = "image", value_name = "NAME=PROGRAM")]
    pub(super) images: Vec<ImageProgram>,

    /// How many nodes there are
    #[arg(long, default_value = "1", value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(super) nodes: u32,

    /// Let the sandbox's clock run so many times faster, to see in minutes what takes days
    ///
    /// Pods are told in the variable PODCERT_CLOCK. Programs that do not read it take certificates
    /// made by this clock for ones of the future.
    #[arg(long, default_value = "1", value_name = "FACTOR", value_parser = speed)]
    pub(super) speed: NonZeroU32,

    /// Plan of what is to go wrong with the API server, YAML (docs/sandbox.md)
    #[arg(long, value_name = "FILE")]
    pub(super) faults: Option<PathBuf>,

    /// Only the cluster: no podcert controller, no CA pools
    #[arg(long)]
    pub(super) without_controller: bool,

    /// Stay in this terminal until Ctrl-C, and log to it
    #[arg(long)]
    pub(super) foreground: bool,

    /// Print what was started in this format
    #[arg(long, value_enum, default_value = "text")]
    pub(super) output: Format,

    /// Tell the process that started this one that the sandbox is ready; standard error is this file
    #[arg(long, hide = true, requires = "foreground", value_name = "FILE")]
    pub(super) announce: Option<PathBuf>,
}

/// Starts the sandbox.
///
/// # Errors
/// It runs already, or does not become ready; the message has the last lines of its log.
pub(super) async fn run(args: Args, shutdown: CancellationToken) -> Result<ExitCode> {
    for image in &args.images {
        image.check()?;
    }
    if args.foreground {
        return serve::run(args, shutdown).await;
    }
    let instances = Instances::of_this_user()?;
    let name = &args.name.name;
    if instances.is_alive(name) {
        return Err(InstanceError::Taken { name: name.clone() }.into());
    }
    let (path, log) = instances.begin_log(name)?;
    let started = start(&path, &log, &shutdown).await;
    // Gone already if it became the sandbox's.
    let _ = std::fs::remove_file(&path);
    let Some(record) = started? else {
        return Ok(ExitCode::from(INTERRUPTED));
    };
    print(&args, &record)?;
    Ok(ExitCode::SUCCESS)
}

/// Starts this program again, in the background, and waits until it says that it is ready. Nothing if
/// `shutdown` came first: then it has ended.
async fn start(
    path: &Path,
    mut log: &File,
    shutdown: &CancellationToken,
) -> Result<Option<Record>> {
    let said = log
        .try_clone()
        .with_context(|| format!("cannot write {}", path.display()))?;
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let mut child = Command::new(program)
        .args(std::env::args_os().skip(1))
        .args(["--foreground", "--announce"])
        .arg(path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(said)
        // In this process's group until it has a session of its own: setsid(2) refuses the leader of one.
        .spawn()
        .context("cannot start the sandbox's process")?;
    let mut line = String::new();
    let announced = async {
        match child.stdout.take() {
            Some(stdout) => BufReader::new(stdout).read_line(&mut line).await,
            None => Ok(0),
        }
    };
    tokio::select! {
        biased;
        () = shutdown.cancelled() => {
            end(&mut child).await?;
            return Ok(None);
        }
        read = announced => read.context("cannot listen to the sandbox's process")?,
    };
    if let Ok(record) = serde_json::from_str(&line) {
        return Ok(Some(record));
    }
    let status = child
        .wait()
        .await
        .context("cannot wait for the sandbox's process")?;
    let mut said = String::new();
    // Without its words the status is all there is to tell.
    let _ = log
        .seek(SeekFrom::Start(0))
        .and_then(|_| log.read_to_string(&mut said));
    let lines: Vec<&str> = said.lines().collect();
    let last = lines
        .get(lines.len().saturating_sub(LAST_LINES)..)
        .unwrap_or_default();
    bail!(
        "the sandbox did not start ({status}):\n  {}",
        last.join("\n  ")
    )
}

/// Ends a sandbox that is just starting: in order, or at least for sure.
async fn end(child: &mut Child) -> Result<()> {
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    if let Some(pid) = pid.and_then(Pid::from_raw) {
        // It may have ended by itself, also by the same Ctrl-C.
        let _ = kill_process(pid, Signal::TERM);
    }
    if timeout(GRACE, child.wait()).await.is_err() {
        child
            .kill()
            .await
            .context("cannot end the sandbox's process")?;
    }
    Ok(())
}

/// Says what runs now and how to use it.
pub(super) fn print(args: &Args, record: &Record) -> Result<()> {
    if args.output != Format::Text {
        return output::object(args.output, record);
    }
    let name = &args.name.name;
    let flag = name_flag(name);
    let address = record.address;
    let mut text = format!("sandbox {name} is up: Kubernetes API on https://{address}");
    if record.nodes.len() > 1 {
        text.push_str(&format!(", {} nodes", record.nodes.len()));
    }
    if record.speed > 1 {
        text.push_str(&format!(", its clock {} times as fast", record.speed));
    }
    let env = env_line(record);
    text.push_str(&format!(
        "\n\n  {env}\n  kubectl get pods -A\n  podcert sandbox run service-dns-unauth-client{flag}\n  \
         podcert sandbox down{flag}"
    ));
    if let Some(log) = &record.log {
        text.push_str(&format!("\n\nlog: {}", log.display()));
    }
    output::text(&text)
}

/// A factor of `--speed`.
pub(crate) fn speed(words: &str) -> Result<NonZeroU32, String> {
    words
        .parse()
        .ok()
        .filter(|factor: &NonZeroU32| factor.get() <= ScaledClock::MAX_FACTOR)
        .ok_or_else(|| {
            format!(
                "expected a whole number from 1 to {}",
                ScaledClock::MAX_FACTOR
            )
        })
}

const LAST_LINES: usize = 12;
const GRACE: Duration = Duration::from_secs(10);
