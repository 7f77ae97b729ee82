//! Side by side with a replica in Go, as while one takes the other's place.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use super::crowd::{APPLICATION, Crowd, LOOK, longest};
use super::{A, B, PACE, PACED, Scene, new_pool};
use crate::cluster::process::Process;
use crate::harness::rendezvous::{BUNDLES, owner};
use crate::harness::{CaPool, PATIENCE, Setup};
use crate::report::Goal;
use crate::run::Context;

/// podcert's.
const OURS: &str = A;
/// The Go replica's, which bundles are of.
const GOS: &str = B;
/// The one signer that both have.
const SHARED: [&str; 1] = ["spiffe"];

/// They share the work; the Go replica is killed, and comes back.
pub(super) async fn beside(context: &Context) -> Result<Scene> {
    let mut scene = Scene::default();
    let crowd = Crowd::open(context, "go", &[OURS, GOS]).await?;
    crowd.stage.let_share().await?;
    let (old, new, newest) = (new_pool()?, new_pool()?, new_pool()?);
    let program = build(&crowd).await?;
    let go = Go::start(&crowd, &program, &old).await?;
    go.says(0, &format!("live: {GOS}\n")).await?;
    let ours = crowd.start(OURS, &old).await?;
    crowd.share(&[&ours], 2).await?;
    let both = format!("live: {GOS} {OURS}\n");
    go.says(0, &both).await?;

    let twice = ours.count("podcert_double_writes_total").await?;
    let settled = go.log()?.len();
    let answers = crowd.divided(&SHARED, PACED, &[OURS, GOS]).await?;
    scene.answered += answers.len();
    let twice = ours.count("podcert_double_writes_total").await? - twice;
    let refused = go.count(settled, "refused: ")?;
    ensure!(
        twice < 0.5 && refused == 0,
        "beside a Go replica {twice} writes of podcert and {refused} of the other were refused"
    );
    let answered = go.count(settled, "answered: ")?;
    let by_go = answers.iter().filter(|answer| answer.by == GOS).count();
    ensure!(answered == by_go, "Go says {answered}, not {by_go}");

    ensure!(owner(BUNDLES, &[OURS, GOS]) == GOS, "bundles are podcert's");
    crowd.rotate(&new)?;
    crowd.published("spiffe", &new, &old).await?;
    sleep(Duration::from_secs(1)).await;
    let writes = ours.bundle_writes().await?;
    ensure!(writes < 0.5, "podcert made {writes} writes of Go's bundles");

    let asking = crowd.ask(&SHARED, PACED, PACE);
    sleep(PACE * 50).await;
    go.process.kill().await;
    let answers = crowd.answered(asking).await?;
    scene.figure(
        "replica_takeover_from_go_seconds",
        longest(&answers),
        Goal::AtMost(30.0),
    );
    scene.answered += answers.len();
    crowd.share(&[&ours], 1).await?;
    crowd.rotate(&newest)?;
    crowd.published("spiffe", &newest, &new).await?;

    let again = go.log()?.len();
    let go = go.again()?;
    go.says(again, &both).await?;
    crowd.share(&[&ours], 2).await?;
    let answers = crowd.divided(&SHARED, PACED / 2, &[OURS, GOS]).await?;
    scene.answered += answers.len();
    go.process.kill().await;
    ours.program.stop().await?;
    crowd.stage.close().await?;
    Ok(scene)
}

/// The Go replica under way.
struct Go {
    process: Process,
    program: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
}

impl Go {
    async fn start(crowd: &Crowd, program: &Path, more: &CaPool) -> Result<Self> {
        let (pod, setup) = crowd.place(GOS, more).await?;
        let arguments = vec![
            format!("--kubeconfig={}", setup.kubeconfig.display()),
            format!("--api={}", crowd.stage.skew.api().as_str()),
            format!("--namespace={}", pod.namespace),
            format!("--name={}", pod.name),
            format!("--uid={}", pod.uid),
            format!("--application={APPLICATION}"),
            format!("--signer={}", crowd.stage.signer(SHARED[0])),
            format!("--trust-domain={}", Setup::TRUST_DOMAIN),
            format!("--pool={}", setup.pool.display()),
        ];
        Ok(Self {
            process: Process::spawn("go-replica", program, &arguments, &setup.log)?,
            program: program.to_owned(),
            arguments,
            log: setup.log,
        })
    }

    /// Starts it once more, in the same place.
    fn again(self) -> Result<Self> {
        let process = Process::spawn("go-replica", &self.program, &self.arguments, &self.log)?;
        Ok(Self { process, ..self })
    }

    fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(&self.log)?)
    }

    /// How often it said this behind the first `skip` bytes of its log.
    fn count(&self, skip: usize, words: &str) -> Result<usize> {
        let log = self.log()?;
        Ok(log.get(skip..).unwrap_or_default().matches(words).count())
    }

    /// Waits until it said this.
    async fn says(&self, skip: usize, words: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.count(skip, words)? == 0 {
            ensure!(
                Instant::now() < deadline,
                "the Go replica does not say {words:?}: {}",
                self.process.log_end()
            );
            sleep(LOOK).await;
        }
        Ok(())
    }
}

async fn build(crowd: &Crowd) -> Result<PathBuf> {
    let program = crowd.stage.folder.join("go-replica");
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(SOURCE)
        .env("GOFLAGS", "-mod=mod")
        .env("GOTOOLCHAIN", "local")
        .env("GOWORK", "off")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("cannot run go")?;
    if !built.status.success() {
        let said = String::from_utf8_lossy(&built.stderr);
        bail!("go build: {}: {said}", built.status);
    }
    Ok(program)
}

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/go/replica");
