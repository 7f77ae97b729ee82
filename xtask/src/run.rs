//! Running other programs from the workspace root, saying what is run, failing when it fails.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// One program to run, with its words.
#[derive(Debug)]
pub(crate) struct Step(Command);

impl Step {
    /// A program with its arguments, in the workspace root.
    pub(crate) fn new(program: impl AsRef<OsStr>, args: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(args).current_dir(root());
        Self(command)
    }

    /// Sets an environment variable for it.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.0.env(name, value);
        self
    }

    /// Runs it; anything but exit status 0 is an error that names the command.
    pub(crate) fn status_ok(self) -> Result<()> {
        say(&format!("$ {}", self.words()));
        self.status_ok_quietly()
    }

    /// The same without saying what is run: for what is not what was asked for.
    pub(crate) fn status_ok_quietly(mut self) -> Result<()> {
        let words = self.words();
        let status = self
            .0
            .status()
            .with_context(|| format!("cannot start `{words}`"))?;
        if !status.success() {
            bail!("`{words}` failed: {status}");
        }
        Ok(())
    }

    /// Runs it quietly and returns what it printed.
    pub(crate) fn output(mut self) -> Result<String> {
        let words = self.words();
        let out = self
            .0
            .output()
            .with_context(|| format!("cannot start `{words}`"))?;
        if !out.status.success() {
            bail!(
                "`{words}` failed: {}\n{}",
                out.status,
                String::from_utf8_lossy(&out.stderr)
            );
        }
        String::from_utf8(out.stdout).with_context(|| format!("`{words}` printed no UTF-8"))
    }

    fn words(&self) -> String {
        let program = Path::new(self.0.get_program());
        let name = program.file_name().unwrap_or(program.as_os_str());
        std::iter::once(name)
            .chain(self.0.get_args())
            .map(|word| word.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// Sees to it that a program of crates.io is there, at this version.
pub(crate) fn installed(program: &str, version: &str) -> Result<()> {
    let pinned = format!("{program} {version}");
    let found = Command::new(program).arg("--version").output();
    let there = found.is_ok_and(|out| String::from_utf8_lossy(&out.stdout).trim() == pinned);
    if there {
        return Ok(());
    }
    say(&format!("installing {pinned} (once; a few minutes)"));
    // A debug build: it runs for a second, and compiling it is what takes time.
    cargo(&[
        "install",
        program,
        "--version",
        version,
        "--locked",
        "--debug",
    ])
    .status_ok()
}

/// The cargo that runs this xtask.
pub(crate) fn cargo(args: &[&str]) -> Step {
    Step::new(
        std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()),
        args,
    )
}

/// The workspace root: the folder above this crate.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> Result<PathBuf> {
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .context("cargo metadata")?;
    Ok(metadata.target_directory.into_std_path_buf())
}

/// One line for the person who watches; figures alone go to standard output.
pub(crate) fn say(line: &str) {
    // A closed terminal is no reason to stop a check.
    let _ = writeln!(std::io::stderr(), "{line}");
}
