//! Everything that is not a test: format, lints, dependencies, licences, arrows.

use anyhow::Result;

use crate::arrows;
use crate::run::{Step, cargo, say};

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
    let pinned = format!("cargo-deny {CARGO_DENY}");
    let found = std::process::Command::new("cargo-deny")
        .arg("--version")
        .output();
    let there = found.is_ok_and(|out| String::from_utf8_lossy(&out.stdout).trim() == pinned);
    if !there {
        say(&format!("installing {pinned} (once; a few minutes)"));
        // A debug build: it runs for a second, and compiling it is what takes time.
        cargo(&[
            "install",
            "cargo-deny",
            "--version",
            CARGO_DENY,
            "--locked",
            "--debug",
        ])
        .status_ok()?;
    }
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
