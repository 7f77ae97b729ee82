//! podcert against real Kubernetes API servers. `cargo xtask e2e` builds and starts it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};
use podcert_cases::{ApiVersion, Release, Target};

mod cases;
mod real;

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
    #[arg(long, value_enum)]
    kubernetes: Kubernetes,
    /// Only cases whose name contains this
    filter: Option<String>,
}

/// A release that podcert is checked against.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kubernetes {
    /// v1beta1 with public key and proof of possession
    #[value(name = "1.35")]
    V1_35,
    /// v1beta1 with a CSR
    #[value(name = "1.36")]
    V1_36,
    /// v1, and v1beta1 on request
    #[value(name = "1.37")]
    V1_37,
}

impl Kubernetes {
    /// The release and the API versions it serves here.
    fn targets(self) -> Vec<Target> {
        let target = |release, api| Target { release, api };
        match self {
            Self::V1_35 => vec![target(Release::V1_35, ApiVersion::V1beta1)],
            Self::V1_36 => vec![target(Release::V1_36, ApiVersion::V1beta1)],
            Self::V1_37 => vec![
                target(Release::V1_37, ApiVersion::V1),
                target(Release::V1_37, ApiVersion::V1beta1),
            ],
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Cases(args) => run_cases(args).await,
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

async fn run_cases(args: CasesArgs) -> Result<bool> {
    let server = real::Real::connect(&args.kubeconfig, &args.etcd).await?;
    let mut green = true;
    for target in args.kubernetes.targets() {
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
