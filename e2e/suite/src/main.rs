//! podcert against real Kubernetes API servers. `cargo xtask e2e` builds and starts it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use podcert_cases::Release;

mod cases;
#[allow(dead_code, reason = "the steps that use it come one by one")]
mod cluster;
#[allow(dead_code, reason = "the checks that use it come one by one")]
mod harness;
mod real;
mod release;

/// podcert against real Kubernetes API servers.
#[derive(Debug, Parser)]
#[command(name = "podcert-e2e")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the behaviour cases against a server that is already there
    Cases(CasesArgs),
    /// Start, end and show real control planes on this machine
    #[command(subcommand)]
    Cluster(cluster::command::Command),
    /// Hold a cluster for `cluster up`
    #[command(hide = true)]
    Supervise(cluster::command::SuperviseArgs),
    /// Become a part of a cluster, to end with the process that started it
    #[command(hide = true)]
    Part {
        parent: i32,
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
    /// Where the server's etcd listens, for cases about forgotten history
    #[arg(long, value_name = "URL")]
    etcd: String,
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
        Command::Cases(args) => run_cases(args).await,
        Command::Cluster(command) => command.run().await.map(|()| true),
        Command::Supervise(args) => args.run().await.map(|()| true),
        Command::Part { .. } => Ok(false),
    }
}

async fn run_cases(args: CasesArgs) -> Result<bool> {
    let server = real::Real::connect(&args.kubeconfig, &args.etcd).await?;
    let mut green = true;
    for target in release::targets(args.kubernetes) {
        let tally = cases::run(server.clone(), target, args.filter.as_deref()).await;
        green &= tally.failed == 0;
    }
    Ok(green)
}

/// A line for whoever started it.
#[allow(clippy::print_stderr, reason = "the one place that prints")]
fn say(line: &str) {
    eprintln!("{line}");
}
