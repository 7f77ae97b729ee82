//! `podcert sandbox`: a cluster on a laptop that stays, without a container runtime and without root.
//!
//! `up` starts it as a process of its own that outlives the terminal ([`serve`] is that process);
//! `status` and `down` find it by its name, under which [`podcert_sandbox::instance`] keeps what
//! there is to know; `run` applies an example to it. `exec-pod` is its inside: with it the sandbox's
//! kubelet starts each container.

pub(crate) mod clock;
mod down;
pub(crate) mod exec_pod;
mod images;
mod kept;
mod run;
mod serve;
mod status;
mod up;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use podcert_runtime::{ScaledClock, SharedClock};
use podcert_sandbox::instance::{InstanceName, Instances, Record};
use tokio_util::sync::CancellationToken;

pub(crate) use self::kept::Kept;
pub(crate) use self::up::speed;
use crate::commands::INTERRUPTED;

/// The flags of `sandbox`.
#[derive(Debug, clap::Args)]
#[command(
    about = "A Kubernetes on this machine that stays: pods as processes, no root, no containers",
    long_about = "A Kubernetes on this machine that stays: API server, kubelet and podcert's signers in one \
        process of yours, pods as its children. No root, no container runtime; nothing listens beyond \
        the loopback interface, and only you can use it.\n\n\
        docs/sandbox.md says what it is and what it is not.",
    after_help = "  podcert sandbox up\n  podcert sandbox run service-dns-unauth-client\n  \
        eval \"$(podcert sandbox env)\" && kubectl get pods -A\n  podcert sandbox down\n\n\
        Exit codes: 0 success, 1 failure, 2 wrong usage, 3 it does not run (status), 130 stopped by Ctrl-C."
)]
pub(crate) struct Args {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands below `sandbox`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Start a sandbox
    Up(Box<up::Args>),
    /// End a sandbox, with everything in it
    Down(down::Args),
    /// Say whether a sandbox runs, and what is in it
    Status(status::Args),
    /// Apply one of the example applications and wait until it runs
    Run(run::Args),
    /// Print the shell line that points kubectl at a sandbox
    Env(NameArgs),
    /// Play a container of a sandbox pod (started by the sandbox's kubelet)
    #[command(hide = true)]
    ExecPod(exec_pod::ExecPod),
}

/// Which sandbox.
#[derive(Debug, clap::Args)]
pub(crate) struct NameArgs {
    /// The sandbox's name: several can run side by side
    #[arg(long, default_value = "default", value_name = "NAME")]
    pub(crate) name: InstanceName,
}

/// Does what the command line says.
///
/// # Errors
/// As each command documents.
pub(crate) async fn run(
    command: Command,
    clock: SharedClock,
    shutdown: CancellationToken,
) -> Result<ExitCode> {
    // What it starts it ends in order, so it looks at the token itself.
    if let Command::Up(args) = command {
        return up::run(*args, shutdown).await;
    }
    let work = async {
        match command {
            Command::Down(args) => down::run(&args).await,
            Command::Status(args) => status::run(&args, clock).await,
            Command::Run(args) => run::run(&args, clock).await,
            Command::Env(args) => {
                let record = running(&args.name)?;
                crate::output::text(&env_line(&record))?;
                Ok(ExitCode::SUCCESS)
            }
            Command::Up(_) | Command::ExecPod(_) => {
                anyhow::bail!("sandbox exec-pod stands first on a command line")
            }
        }
    };
    tokio::select! {
        biased;
        () = shutdown.cancelled() => Ok(ExitCode::from(INTERRUPTED)),
        done = work => done,
    }
}

/// The sandbox of that name.
///
/// # Errors
/// It does not run, or is not ready yet.
fn running(name: &InstanceName) -> Result<Record> {
    let instances = Instances::of_this_user()?;
    match instances.find(name)? {
        Some(record) => Ok(record),
        None if instances.is_alive(name) => {
            anyhow::bail!("sandbox {name} is starting: try again in a moment")
        }
        None => anyhow::bail!(
            "sandbox {name} does not run; start it with: podcert sandbox up{}",
            name_flag(name)
        ),
    }
}

/// What a shell is to evaluate to use the sandbox, with podcert's own commands by its clock. Another
/// sandbox's clock that the shell may still have is taken back.
fn env_line(record: &Record) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let kubeconfig = quoted(&record.kubeconfig.display().to_string());
    let variable = ScaledClock::VARIABLE;
    match record.clock.as_deref() {
        Some(clock) => format!(
            "export KUBECONFIG={kubeconfig} {variable}={}",
            quoted(clock)
        ),
        None => format!("export KUBECONFIG={kubeconfig}; unset {variable}"),
    }
}

/// Where to read on, as the end of a sentence.
fn log_hint(record: &Record) -> String {
    let log = record.log.as_ref();
    log.map_or_else(String::new, |log| format!("; its log: {}", log.display()))
}

/// How to name the sandbox on another command line.
fn name_flag(name: &InstanceName) -> String {
    if name.to_string() == DEFAULT {
        String::new()
    } else {
        format!(" --name {name}")
    }
}

/// A client of the sandbox, as its administrator.
async fn client(record: &Record, clock: SharedClock) -> Result<kube::Client> {
    let path = record
        .kubeconfig
        .to_str()
        .context("the sandbox's kubeconfig has a path that is no UTF-8")?;
    crate::kubeconfig::client(Some(path), clock).await
}

const DEFAULT: &str = "default";
