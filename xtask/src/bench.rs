//! The project's figures. Each is a ratio of two things measured side by side in one run, so that
//! a slow or busy machine moves both; they print as `figure NAME VALUE goal OP GOAL`.

use anyhow::Result;

use crate::run::{cargo, say};

/// How much to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Certificates issued by the separate controller process
    #[arg(long, default_value_t = 20_000)]
    certificates: u32,
}

/// Runs every benchmark of the workspace; a figure off its goal is an error.
pub(crate) fn run(args: &Args) -> Result<()> {
    let certificates = args.certificates.to_string();
    say("building as it is shipped, then measuring (some ten minutes the first time)");
    cargo(&[
        "bench",
        "--profile",
        "dist",
        "--locked",
        "--package",
        "podcert-cli",
        "--bench",
        "figures",
    ])
    .env("PODCERT_BENCH_CERTIFICATES", &certificates)
    .status_ok()
}
