//! kubectl on a sandbox that stays: `podcert sandbox up`, through its own door.
//!
//! The transcripts in `e2e/kubectl/sandbox` are played there alone: a control plane without nodes runs
//! no pods. And the time from `sandbox up` to kubectl's first answer, beside the start of the program.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
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
    let played = sandbox.play(&kubectl).await;
    sandbox.down().await?;
    let played = played?;
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
    run(Command::new(&program)
        .arg("--version")
        .stdout(Stdio::null()))
    .await?;
    let version = begin.elapsed();
    let begin = Instant::now();
    let sandbox = Sandbox::up().await?;
    let asked = run(Command::new(kubectl)
        .args(["get", "namespaces", "--request-timeout=30s"])
        .env("KUBECONFIG", &sandbox.kubeconfig)
        .stdout(Stdio::null()))
    .await;
    let answered = begin.elapsed();
    sandbox.down().await?;
    asked.context("kubectl got no answer")?;
    Ok(answered.as_secs_f64() / version.as_secs_f64())
}

/// A sandbox of this user's, among none of their others.
pub(super) struct Sandbox {
    program: PathBuf,
    pub(super) kubeconfig: PathBuf,
    home: tempfile::TempDir,
    ended: bool,
}

impl Sandbox {
    /// Starts one with two nodes.
    pub(super) async fn up() -> Result<Self> {
        let program = beside_us()?;
        // Short, because UNIX sockets lie below it.
        let home = tempfile::tempdir_in("/tmp")?;
        // Whatever comes of it, what it has started ends with this.
        let mut sandbox = Self {
            program,
            kubeconfig: PathBuf::new(),
            home,
            ended: false,
        };
        let mut command = Command::new(&sandbox.program);
        command
            .args(["sandbox", "up", "--nodes=2", "--output=json"])
            .env_clear()
            .env("XDG_RUNTIME_DIR", sandbox.home.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        let printed = run(&mut command).await?;
        let record: Value = serde_json::from_slice(&printed)?;
        let kubeconfig = record["kubeconfig"].as_str().context("no kubeconfig")?;
        sandbox.kubeconfig = PathBuf::from(kubeconfig);
        Ok(sandbox)
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
    pub(super) async fn down(mut self) -> Result<()> {
        run(&mut self.end()).await?;
        self.ended = true;
        Ok(())
    }

    fn end(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(["sandbox", "down"])
            .env_clear()
            .env("XDG_RUNTIME_DIR", self.home.path())
            .stdout(Stdio::null());
        command
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        // After a failure nothing may stay. Its folder is needed until then, so somebody has to wait: not for ever.
        let mut end = self.end().into_std();
        end.stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let Ok(mut child) = end.spawn() else { return };
        let begin = Instant::now();
        while begin.elapsed() < LAST_PATIENCE && matches!(child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Runs a command, which has so long and no input, and answers with what it prints if it is asked to be piped.
async fn run(command: &mut Command) -> Result<Vec<u8>> {
    let words = format!("{:?}", command.as_std());
    let run = command.stdin(Stdio::null()).kill_on_drop(true).spawn()?;
    let output = tokio::time::timeout(PATIENCE, run.wait_with_output());
    let Ok(output) = output.await else {
        bail!("still running after {} s: {words}", PATIENCE.as_secs());
    };
    let output = output?;
    ensure!(output.status.success(), "{words}: {}", output.status);
    Ok(output.stdout)
}

const PATIENCE: Duration = Duration::from_secs(60);
const LAST_PATIENCE: Duration = Duration::from_secs(10);
const STARTS: usize = 5;
