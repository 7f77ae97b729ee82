//! podcert against real Kubernetes API servers: what `cargo xtask e2e` and `cargo xtask cluster`
//! build and become. `e2e/README.md` tells how to use it and what to change for a new release.
//!
//! ```text
//! run ─▶ cluster: a control plane of each release, built, started, ended
//!     ─▶ cases: the rules of podcert-cases, on it
//!     ─▶ steps: matrix, forged, rights, dropin, figures, faults; each plays on a stage of harness
//!     ─▶ report ─▶ lines, figures, JSON; document: the table of docs/compatibility.md
//! ```
#![allow(
    clippy::indexing_slicing,
    reason = "JSON answers null for what it lacks"
)]

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};
use podcert_cases::Release;

use crate::cluster::progress::Progress;

mod cases;
mod cluster;
mod diagnosis;
mod document;
mod dropin;
mod failures;
mod faults;
mod figures;
mod forged;
mod harness;
mod install;
mod kubectl;
mod manifests;
mod matrix;
mod monitoring;
mod node;
mod null_signer;
mod rates;
mod real;
mod release;
mod replicas;
mod report;
mod rights;
mod run;
mod steps;

/// podcert against real Kubernetes API servers.
#[derive(Debug, Parser)]
// People come here by xtask: help and complaints name the commands as they typed them.
#[command(name = "podcert-e2e", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a cluster of each release and run the behaviour cases and every other step on it
    #[command(name = "e2e", alias = "run", after_help = run::AFTER_HELP)]
    Run(run::RunArgs),
    /// Run the behaviour cases against a server that is already there
    #[command(override_usage = "cargo run -p podcert-e2e -- cases [OPTIONS] [FILTER]")]
    Cases(CasesArgs),
    /// Run the transcripts of kubectl against podcert's own server, or another
    #[command(
        override_usage = "cargo run -p podcert-e2e -- kubectl [--kubeconfig <FILE>] [--record] \
                          [FILTER]"
    )]
    Kubectl(kubectl::Args),
    /// Start, end and show real control planes on this machine
    #[command(subcommand, after_help = cluster::command::AFTER_HELP)]
    Cluster(cluster::command::Command),
    /// Hold a cluster for `cluster up`
    #[command(hide = true)]
    Supervise(cluster::command::SuperviseArgs),
    /// Answer requests with a prepared status, to be compared with
    #[command(hide = true)]
    NullSigner(null_signer::Args),
    /// Be podcert's own API server, to be compared with
    #[command(hide = true)]
    EmbeddedServer(rates::server::Args),
    /// Find or install what a node needs of this machine
    #[command(hide = true)]
    NodeHost,
    #[command(flatten)]
    Node(NodeCommand),
    /// Become a part of a cluster, to end with the process that started it
    #[command(hide = true)]
    Part {
        parent: i32,
        program: OsString,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

/// What the supervisor of a node starts this program as.
#[derive(Debug, Subcommand)]
enum NodeCommand {
    /// Hold a node's namespaces
    #[command(name = "node-space", hide = true)]
    Space { init: PathBuf },
    /// Be process 1 of a node
    #[command(name = "node-init", hide = true)]
    Init,
    /// Run a program in a node's namespaces
    #[command(name = "node-enter", hide = true)]
    Enter {
        init: i32,
        program: OsString,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

#[derive(Debug, clap::Args)]
struct CasesArgs {
    /// An administrator's kubeconfig
    #[arg(long, value_name = "FILE")]
    kubeconfig: PathBuf,
    /// How to reach the server's etcd, in the form of a kubeconfig: for cases about forgotten history
    #[arg(long, value_name = "FILE")]
    etcd: PathBuf,
    /// The server's release
    #[arg(long, value_name = "RELEASE", value_parser = release::release())]
    kubernetes: Release,
    /// Only cases whose name contains this
    filter: Option<String>,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        // On the main thread, which lives as long as the process.
        Command::Part {
            parent,
            program,
            args,
        } => Err(cluster::process::turn_into(parent, &program, &args)),
        // Namespaces are made and entered by a process with one thread.
        Command::Node(command) => return node(&command),
        // On threads of its own.
        Command::EmbeddedServer(args) => rates::server::run(&args).map(|()| true),
        command => run(command),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Whether what was asked for is green.
#[tokio::main(flavor = "current_thread")]
async fn run(command: Command) -> Result<bool> {
    match command {
        Command::Run(args) => args.run().await,
        Command::Cases(args) => run_cases(args).await,
        Command::Kubectl(args) => args.run().await,
        Command::Cluster(command) => command.run().await.map(|()| true),
        Command::Supervise(args) => args.run().await.map(|()| true),
        Command::NodeHost => {
            let progress = Progress::to_stderr();
            cluster::node::Host::prepare(&progress).await.map(|_| true)
        }
        Command::NullSigner(args) => null_signer::run(args).await.map(|()| true),
        Command::EmbeddedServer(_) | Command::Node(_) | Command::Part { .. } => Ok(false),
    }
}

/// Ends as what it runs does.
fn node(command: &NodeCommand) -> ExitCode {
    use cluster::node::inside;
    let ended = match command {
        NodeCommand::Space { init } => inside::space(init),
        NodeCommand::Init => inside::init(),
        NodeCommand::Enter {
            init,
            program,
            args,
        } => inside::enter(*init, program, args),
    };
    ended.unwrap_or_else(|error| {
        say(&format!("error: {error:#}"));
        ExitCode::FAILURE
    })
}

async fn run_cases(args: CasesArgs) -> Result<bool> {
    let server = real::Real::connect(&args.kubeconfig, &args.etcd).await?;
    failures::keep();
    let progress = Progress::to_stderr();
    let mut chosen: Vec<_> = release::targets(args.kubernetes)
        .into_iter()
        .map(cases::Chosen::all)
        .collect();
    if let Some(filter) = &args.filter {
        for chosen in &mut chosen {
            chosen.cases.retain(|case| case.name.contains(filter));
        }
    }
    chosen.retain(|chosen| !chosen.cases.is_empty());
    // What runs nothing must not look like success.
    ensure!(!chosen.is_empty(), run::NOTHING_CHOSEN);
    let mut green = true;
    for chosen in chosen {
        let target = chosen.target;
        let report = chosen
            .run(server.clone(), cases::Namespaces::Removed, &progress)
            .await;
        let lines = report.lines(target.release);
        lines.iter().for_each(|line| say(line));
        green &= report.passed() == report.cases.len();
    }
    Ok(green)
}

/// A line for whoever started it.
#[allow(clippy::print_stderr, reason = "the one place that prints")]
fn say(line: &str) {
    eprintln!("{line}");
}
