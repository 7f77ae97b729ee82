//! The project's own commands, the only entry point beside plain cargo.
//!
//! `cargo xtask check` is what `.ci/run` calls for everything that is not a test: format, lints,
//! dependencies, licences and the arrows between crates. `cargo xtask bench` prints the project's
//! figures, `cargo xtask fuzz` fuzzes the parsers, `cargo xtask doc` builds the documentation with warnings denied, `cargo xtask
//! image` makes the container image, `cargo xtask e2e` runs podcert on real Kubernetes API servers, which `cargo xtask cluster` starts for people. Each
//! command is a file beside this one.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod arrows;
mod bench;
mod check;
mod e2e;
mod fuzz;
mod image;
mod run;

/// The project's own commands.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Format, lints, dependencies, licences, and the arrows between crates
    Check(check::Args),
    /// Print the project's figures, each a ratio measured side by side in one run
    Bench(bench::Args),
    /// Build the documentation of our crates, warnings denied
    Doc,
    /// Fuzz every parser that takes bytes from outside
    Fuzz(fuzz::Args),
    /// Make podcert's container image and its SBOM, without a container engine
    Image(image::Args),
    /// Run podcert and the behaviour cases on real Kubernetes API servers
    #[command(disable_help_flag = true)]
    E2e(e2e::Args),
    /// Start, end and show real Kubernetes control planes on this machine
    #[command(disable_help_flag = true)]
    Cluster(e2e::Args),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Check(args) => check::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Doc => doc(),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Image(args) => image::run(&args),
        Command::E2e(args) => e2e::run(&args),
        Command::Cluster(args) => e2e::cluster(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            run::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn doc() -> Result<()> {
    run::cargo(&[
        "doc",
        "--workspace",
        "--no-deps",
        "--locked",
        // Most pages are for maintainers: their links must lead somewhere too.
        "--document-private-items",
    ])
    .env(
        "RUSTDOCFLAGS",
        "-D warnings -A rustdoc::private-intra-doc-links",
    )
    .status_ok()
}
