//! Fuzzing of every parser that takes bytes from outside: docs/fuzzing.md.

use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::run::{Step, installed, root, say};

/// What to fuzz, and how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this target; all of them without it
    target: Option<String>,
    /// For how long each
    #[arg(long, default_value_t = 30, value_name = "N")]
    seconds: u32,
}

/// Fuzzes; what makes a target panic, or costs it more memory or time than it should, is an error
/// that says where the input is.
pub(crate) fn run(args: &Args) -> Result<()> {
    installed("cargo-fuzz", CARGO_FUZZ)?;
    let all = targets()?;
    let chosen: Vec<&String> = all
        .iter()
        .filter(|name| args.target.as_ref().is_none_or(|wanted| wanted == *name))
        .collect();
    if chosen.is_empty() {
        bail!("there is no such target; there are {}", all.join(", "));
    }
    fuzz(&["build", "--sanitizer", "none"]).status_ok()?;
    for target in chosen {
        // What is found new stays out of the checkout; a person adds what is worth it.
        let found = format!("fuzz/target/corpus/{target}");
        fs::create_dir_all(root().join(&found)).with_context(|| found.clone())?;
        let given = format!("fuzz/corpus/{target}");
        let time = format!("-max_total_time={}", args.seconds);
        say(&format!("fuzzing {target} for {} s", args.seconds));
        let words = [
            "run",
            "--sanitizer",
            "none",
            target,
            &found,
            &given,
            "--",
            &time,
            "-max_len=16384",
            "-rss_limit_mb=1024",
            "-timeout=10",
            // One line a second is for people who look on, not for logs.
            "-verbosity=0",
            "-print_final_stats=1",
        ];
        fuzz(&words).status_ok_quietly()?;
    }
    Ok(())
}

/// cargo-fuzz on the toolchain of the project. Our crates have no unsafe code, so a sanitizer would
/// find nothing in them, and without one no nightly compiler is needed.
fn fuzz(words: &[&str]) -> Step {
    Step::new("cargo-fuzz", &[&["fuzz"], words].concat())
}

/// Each has a driver.
fn targets() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root().join("fuzz/fuzz_targets")).context("fuzz/fuzz_targets")? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|name| name.to_str());
        names.push(name.context("a driver without a name")?.to_owned());
    }
    names.sort();
    Ok(names)
}

const CARGO_FUZZ: &str = "0.13.2";
