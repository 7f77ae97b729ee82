//! Everything that is not a test: format, lints, dependencies, licences, arrows.

use anyhow::Result;

use crate::arrows;
use crate::run::{Step, cargo, installed};

/// Which checks to run; all of them without flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only the arrows between crates (no compiler needed)
    #[arg(long)]
    arrows: bool,
}

/// Runs the checks one after the other and stops at the first that fails.
pub(crate) fn run(args: &Args) -> Result<()> {
    arrows::check()?;
    if args.arrows {
        return Ok(());
    }
    cargo(&["fmt", "--all", "--check"]).status_ok()?;
    deny()?;
    cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ])
    .status_ok()
}

/// cargo-deny: bans, licences and sources. Installed at the pinned version when it is not there.
fn deny() -> Result<()> {
    installed("cargo-deny", CARGO_DENY)?;
    Step::new(
        "cargo-deny",
        &[
            "--locked",
            "--workspace",
            "check",
            "--hide-inclusion-graph",
            "bans",
            "licenses",
            "sources",
        ],
    )
    .status_ok()
}

const CARGO_DENY: &str = "0.20.2";
