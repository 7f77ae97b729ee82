//! The `podcert` command: parses the command line, sets up logging, the clock and the shutdown
//! token, and calls the subcommand. Each subcommand is a file in [`commands`].
//!
//! Results go to standard output, everything else to standard error. Exit codes: 0 for success, 1
//! for failure, 2 for wrong usage; a command that has others says so in its `--help`.

mod commands;
mod go_flags;
mod host;
mod kubeconfig;
mod observed;
mod output;
mod page;

use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand, ValueEnum};
use podcert_runtime::{ScaledClock, SharedClock, SystemClock, shutdown};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

use crate::commands::sandbox::exec_pod::Entered;
use crate::commands::{
    controller, demo, demo_server, explain, https_client, inspect, install, make_ca_pool_secret,
    sandbox, status, verify,
};
use crate::host::Host;

/// Workload certificates for Kubernetes.
#[derive(Debug, Parser)]
#[command(
    name = "podcert",
    version,
    about = "Workload certificates for Kubernetes: every pod its own short-lived certificate",
    after_help = "See it work on this machine, without a cluster: podcert demo\n\n\
        Exit codes: 0 success, 1 failure, 2 wrong usage. A boolean flag takes its value with `=`, \
        and -flag means --flag, as meshtool has it.",
    subcommand_required = true,
    arg_required_else_help = true,
    args_override_self = true
)]
struct Cli {
    /// What to log, such as info, debug or podcert_controller=debug
    // kube warns of each refused watch, and with the whole of each answer that it cannot read; podcert says it
    // once, and what follows from it.
    #[arg(
        long,
        global = true,
        env = "PODCERT_LOG",
        value_name = "FILTER",
        default_value = "info,kube_runtime=error,kube_client=error",
        help_heading = "Logging"
    )]
    log: String,

    /// How to log
    #[arg(
        long,
        global = true,
        env = "PODCERT_LOG_FORMAT",
        value_enum,
        default_value = "text",
        hide_possible_values = true,
        help_heading = "Logging",
        value_name = "text|json"
    )]
    log_format: LogFormat,

    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    /// One line per event, for people
    Text,
    /// One JSON object per event
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(about = "Watch pods get certificates and talk over them: no cluster, no root")]
    Demo(demo::Args),
    #[command(about = "Run the signing controller")]
    Controller(Box<controller::Args>),
    #[command(
        about = "Make a new secret that contains a CA pool to be used by a signing controller"
    )]
    MakeCaPoolSecret(make_ca_pool_secret::Args),
    #[command(about = "Run an HTTP server that supports standard and mutual TLS")]
    DemoServer(demo_server::Args),
    #[command(about = "Run an HTTPS client that polls a server")]
    HttpsClient(https_client::Args),
    #[command(
        about = "Say what is in certificates, chains, bundles and CA pools, and what is wrong"
    )]
    Inspect(inspect::Args),
    #[command(about = "Say whether a chain verifies against a bundle, and if not, why")]
    Verify(verify::Args),
    #[command(about = "Install the controller on a cluster, or print its manifests")]
    Install(install::Args),
    #[command(about = "Say how podcert is in a cluster, and who waits for a certificate")]
    Status(status::Args),
    #[command(about = "Say why a pod has, or has not, its certificates")]
    Explain(explain::Args),
    Sandbox(sandbox::Args),
}

fn main() -> ExitCode {
    let cli = parse(std::env::args_os());
    match enter(cli) {
        Ok(code) => code,
        Err(error) => {
            // It may repeat what others wrote. Nothing is left to do if standard error is closed.
            for line in format!("error: {error:#}").lines() {
                let _ = writeln!(std::io::stderr(), "{}", page::clean(line));
            }
            ExitCode::FAILURE
        }
    }
}

/// Parses a command line; wrong usage and requests for help end the process as clap has it.
fn parse(argv: impl IntoIterator<Item = OsString>) -> Cli {
    Cli::parse_from(go_flags::normalize(argv))
}

/// Becomes a sandbox pod where the command line says so, then runs the command.
fn enter(cli: Cli) -> Result<ExitCode> {
    let Command::Sandbox(sandbox::Args {
        command: sandbox::Command::ExecPod(pod),
    }) = cli.command
    else {
        return start(&cli.log, cli.log_format, cli.command, &Host::Real);
    };
    // Before any other thread: what the pod gives up, its threads inherit.
    let (host, argv) = match pod.enter()? {
        Entered::Mapped(host, argv) => (host, argv),
        Entered::Done(code) => return Ok(code),
    };
    let inner = parse(argv);
    // The manifest wrote these words, so no command that acts with the caller's own rights.
    let plays = matches!(
        inner.command,
        Command::Controller(_) | Command::DemoServer(_) | Command::HttpsClient(_)
    );
    anyhow::ensure!(
        plays,
        "a sandbox pod runs only controller, demo-server and https-client"
    );
    start(&cli.log, cli.log_format, inner.command, &host)
}

fn start(log: &str, format: LogFormat, command: Command, host: &Host) -> Result<ExitCode> {
    start_logging(log, format)?;
    // One thread drives everything: what podcert waits for is the network, and wake-ups across
    // threads are what costs. Work that takes long goes to tokio's blocking threads.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the asynchronous runtime")?;
    runtime.block_on(run(command, host))
}

async fn run(command: Command, host: &Host) -> Result<ExitCode> {
    let clock = clock(&command, host)?;
    let shutdown = shutdown::signal().context("cannot listen for signals")?;
    match command {
        Command::Controller(args) => controller::run(*args, clock, shutdown).await,
        Command::Demo(args) => demo::run(args, clock, shutdown).await,
        Command::DemoServer(args) => demo_server::run(args, host, clock, shutdown).await,
        Command::HttpsClient(args) => https_client::run(args, host, clock, shutdown).await,
        Command::Inspect(args) => inspect::run(args, clock).await,
        Command::Explain(args) => explain::run(args, clock).await,
        Command::Status(args) => status::run(args, clock).await,
        Command::Install(args) => install::run(args, clock).await,
        Command::Verify(args) => verify::run(args, clock).await,
        Command::MakeCaPoolSecret(args) => make_ca_pool_secret::run(args, clock).await,
        Command::Sandbox(args) => sandbox::run(args.command, clock, shutdown).await,
    }
}

/// The system's clock, or the sandbox's where its pods, or who evaluated `podcert sandbox env`, are
/// told of one.
fn clock(command: &Command, host: &Host) -> Result<SharedClock> {
    match std::env::var(ScaledClock::VARIABLE) {
        Ok(words) => {
            let clock: ScaledClock = words
                .parse()
                .with_context(|| format!("environment variable {}", ScaledClock::VARIABLE))?;
            if let Host::Real = host {
                match command {
                    Command::MakeCaPoolSecret(args) => {
                        sandbox::clock::check(&clock, args.kubeconfig.as_deref())?;
                    }
                    Command::Controller(args) => controller::check_clock(args, &clock)?,
                    // They make a clock of their own.
                    Command::Demo(_) | Command::Sandbox(_) => return Ok(Arc::new(SystemClock)),
                    _ => {}
                }
                tracing::info!(%clock, "dates are those of the sandbox's clock");
            }
            Ok(Arc::new(clock))
        }
        Err(std::env::VarError::NotPresent) => Ok(Arc::new(SystemClock)),
        Err(error) => {
            Err(error).with_context(|| format!("environment variable {}", ScaledClock::VARIABLE))
        }
    }
}

/// The filter is `Targets`, not `EnvFilter`: levels per module are all that is needed, and the
/// latter brings a regular-expression engine.
fn start_logging(filter: &str, format: LogFormat) -> Result<()> {
    let filter: Targets = filter
        .parse()
        .with_context(|| format!("--log {filter:?}"))?;
    let lines = fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(|| output::LogWriter);
    let lines = match format {
        LogFormat::Json => lines.json().with_filter(filter).boxed(),
        LogFormat::Text => lines.with_target(false).with_filter(filter).boxed(),
    };
    tracing_subscriber::registry().with(lines).init();
    Ok(())
}
