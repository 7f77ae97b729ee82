//! kubectl on a sandbox that stays: `podcert sandbox up`, through its own door.
//!
//! The transcripts in `e2e/kubectl/sandbox` are played there alone: a control plane without nodes runs
//! no pods. And the time from `sandbox up` to kubectl's first answer, beside the start of the program.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::process::Command;

use super::transcript::On;
use super::{Scripts, Shell};
use crate::harness::beside_us;
use crate::report::Goal;
use crate::run::{Context, Outcome};

/// The step of a whole run.
pub(crate) async fn step(context: Context) -> Result<Outcome> {
    let kubectl = super::kubectl(&context.progress).await?;
    let mut quotients = Vec::with_capacity(STARTS);
    for _ in 0..STARTS {
        quotients.push(start_quotient(&kubectl).await?);
    }
    let sandbox = Sandbox::up().await?;
    let played = sandbox.play(&kubectl).await?;
    sandbox.down().await?;
    ensure!(
        played.differences.is_empty(),
        "{}",
        played.differences.join("\n")
    );
    let quotient = crate::figures::median(quotients.into_iter());
    Ok(
        Outcome::of(format!("{} commands as written", played.commands)).with(
            "e2e_sandbox_up_to_kubectl_vs_version",
            quotient,
            Goal::Shown,
        ),
    )
}

/// From `sandbox up` to kubectl's first answer, divided by the time of `podcert --version`.
async fn start_quotient(kubectl: &Path) -> Result<f64> {
    let program = beside_us()?;
    let begin = Instant::now();
    run(Command::new(&program).arg("--version")).await?;
    let version = begin.elapsed();
    let begin = Instant::now();
    let sandbox = Sandbox::up().await?;
    let asked = Command::new(kubectl)
        .args(["get", "namespaces"])
        .env("KUBECONFIG", &sandbox.kubeconfig)
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .status();
    ensure!(asked.await?.success(), "kubectl got no answer");
    let answered = begin.elapsed();
    sandbox.down().await?;
    Ok(answered.as_secs_f64() / version.as_secs_f64())
}

/// A sandbox of this user's, among none of their others.
pub(super) struct Sandbox {
    program: PathBuf,
    pub(super) kubeconfig: PathBuf,
    home: tempfile::TempDir,
}

impl Sandbox {
    /// Starts one with two nodes.
    pub(super) async fn up() -> Result<Self> {
        let program = beside_us()?;
        // Short, because UNIX sockets lie below it.
        let home = tempfile::tempdir_in("/tmp")?;
        let up = Command::new(&program)
            .args(["sandbox", "up", "--nodes=2", "--output=json"])
            .env_clear()
            .env("XDG_RUNTIME_DIR", home.path())
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .await?;
        ensure!(up.status.success(), "podcert sandbox up: {}", up.status);
        let record: Value = serde_json::from_slice(&up.stdout)?;
        let kubeconfig = record["kubeconfig"].as_str().context("no kubeconfig")?;
        Ok(Self {
            program,
            kubeconfig: PathBuf::from(kubeconfig),
            home,
        })
    }

    /// Plays the sandbox's transcripts.
    pub(super) async fn play(&self, kubectl: &Path) -> Result<super::Played> {
        let scripts = Scripts::read_in(&super::folder().join("sandbox"), None)?;
        let mut shell = Shell::new(kubectl, &self.kubeconfig)?;
        let beside = self
            .program
            .parent()
            .context("the program is in no folder")?;
        shell.add_path(beside)?;
        shell.set("XDG_RUNTIME_DIR", self.home.path());
        shell.folder = super::folder().join("sandbox");
        scripts.play(&shell, On::Embedded).await
    }

    /// Ends it.
    pub(super) async fn down(self) -> Result<()> {
        let ended = tokio::time::timeout(PATIENCE, run(&mut self.end())).await;
        ended.context("podcert sandbox down takes for ever")?
    }

    fn end(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(["sandbox", "down"])
            .env_clear()
            .env("XDG_RUNTIME_DIR", self.home.path());
        command
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // After `down` it finds nothing to do; after a failure nothing may stay.
        let _ = self
            .end()
            .into_std()
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

async fn run(command: &mut Command) -> Result<()> {
    let status = command.stdout(Stdio::null()).status().await?;
    ensure!(
        status.success(),
        "{:?}: {status}",
        command.as_std().get_program()
    );
    Ok(())
}

const PATIENCE: Duration = Duration::from_secs(60);
const STARTS: usize = 5;
