//! `cargo xtask e2e` and `cargo xtask cluster`: build podcert-e2e, then become it.
//!
//! Everything they do is in that crate, which has dependencies that xtask is spared; `--help` after
//! either is its help.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use clap::Parser;

use crate::image::{Arch, static_program};
use crate::run::{Step, cargo, target};

/// Words for podcert-e2e.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// See `--help` after the command
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// The words of `cargo xtask e2e`, as podcert-e2e has them (`RunArgs` in its `run.rs`): read here too,
/// so that a mistyped one is told before minutes of building.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask e2e", bin_name = "cargo xtask e2e")]
struct Words {
    #[arg(long, value_name = "RELEASE", value_parser = ["1.37", "1.36", "1.35"])]
    kubernetes: Vec<String>,
    filter: Option<String>,
    #[arg(long, conflicts_with = "write_docs")]
    node: bool,
    /// The profile of the podcert that goes into the node's images.
    #[arg(long, requires = "node", default_value = "release")]
    profile: String,
    #[arg(long, conflicts_with_all = ["kubernetes", "filter"])]
    write_docs: bool,
    #[arg(long, value_parser = ["text", "json"])]
    output: Option<String>,
}

/// Runs cases and steps on real servers.
pub(crate) fn run(args: &Args) -> Result<()> {
    let asks = |word: &String| ["--help", "-h", "--list"].contains(&word.as_str());
    if args.words.iter().any(asks) {
        return become_debug("e2e", args);
    }
    let name = "cargo xtask e2e".to_owned();
    let words = match Words::try_parse_from(std::iter::once(&name).chain(&args.words)) {
        Ok(words) => words,
        Err(error) => error.exit(),
    };
    if words.node {
        return node(args, &words.profile);
    }
    // Both in one call: so the dependencies that they share are those of the usual release build.
    cargo(&[
        "build",
        "--release",
        "--locked",
        "--package",
        "podcert-cli",
        "--package",
        "podcert-e2e",
    ])
    .status_ok()?;
    become_it("release", "e2e", args)
}

/// On a node podcert comes in images; nothing is measured there, so the suite may be a debug build.
fn node(args: &Args, profile: &str) -> Result<()> {
    build_debug()?;
    // What the machine lacks is told before minutes of building.
    Step::new(debug()?, &["node-host"]).status_ok_quietly()?;
    let podcert = static_program(Arch::host(), profile)?;
    let mut words: Vec<String> = Vec::new();
    let mut given = args.words.iter();
    while let Some(word) = given.next() {
        // Of xtask alone.
        if word == "--profile" {
            given.next();
        } else if !word.starts_with("--profile=") {
            words.push(word.clone());
        }
    }
    words.push(format!("--podcert={}", podcert.display()));
    become_debug("e2e", &Args { words })
}

/// Starts, ends and shows clusters.
pub(crate) fn cluster(args: &Args) -> Result<()> {
    become_debug("cluster", args)
}

/// For what needs no program of the release build.
fn become_debug(command: &str, args: &Args) -> Result<()> {
    build_debug()?;
    become_it("debug", command, args)
}

fn build_debug() -> Result<()> {
    cargo(&["build", "--quiet", "--locked", "--package", "podcert-e2e"]).status_ok_quietly()
}

fn debug() -> Result<PathBuf> {
    Ok(target()?.join("debug/podcert-e2e"))
}

/// Only a failure comes back.
fn become_it(profile: &str, command: &str, args: &Args) -> Result<()> {
    let program = target()?.join(profile).join("podcert-e2e");
    let error = Command::new(&program).arg(command).args(&args.words).exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_before_anything_is_built() {
        let read = |words: &str| Words::try_parse_from(words.split(' ')).is_ok();
        for good in [
            "e2e",
            "e2e --kubernetes 1.37 --kubernetes=1.36 sign/ --output json",
            "e2e --write-docs",
            "e2e --node",
            "e2e --node --profile dev node-examples",
        ] {
            assert!(read(good), "{good}");
        }
        for bad in [
            "e2e --kubernets 1.37",
            "e2e --kubernetes 1.3",
            "e2e --write-docs sign/",
            "e2e one two",
            "e2e --node --write-docs",
            "e2e --profile dev",
        ] {
            assert!(!read(bad), "{bad}");
        }
    }
}
