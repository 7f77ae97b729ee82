//! `podcert controller` as a process.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::{CaPool, Metrics, PATIENCE, Stage};
use crate::matrix::Policy;

/// How the program is started.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// The program.
    pub(crate) program: PathBuf,
    /// Its kubeconfig.
    pub(crate) kubeconfig: PathBuf,
    /// What it logs, one file for all starts.
    pub(crate) log: PathBuf,
    /// The file of the pool that all signers use.
    pub(crate) pool: PathBuf,
    /// Further flags.
    pub(crate) flags: Vec<String>,
    /// The names of the signers, each behind that of its policy.
    signers: [(&'static str, String); 3],
}

/// The program under way. Dropped, or when this process dies, it is killed.
pub(crate) struct Program {
    log: PathBuf,
    child: Child,
    address: String,
    http: Client<HttpConnector, Empty<bytes::Bytes>>,
}

impl Setup {
    /// The trust domain of the signers spiffe and pod-identity.
    pub(crate) const TRUST_DOMAIN: &str = "cluster.local";
    /// What every certificate says of the cluster.
    pub(crate) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
    /// Where the signer pod-identity says a pod's facts, in the encoding without UIDs, as a stage's
    /// RBAC shows none.
    pub(crate) const POD_IDENTITY_OID: &str = "1.3.6.1.4.1.99999.1";

    /// All signers on `stage`, with one pool; a service account's kubeconfig; and the program
    /// that was built beside this one.
    ///
    /// # Errors
    /// When the stage cannot be set.
    pub(crate) async fn all(stage: &Stage, pool: &CaPool) -> Result<Self> {
        let kubeconfig = stage.controller_kubeconfig().await?;
        Self::with(stage, pool, kubeconfig)
    }

    /// The same with a kubeconfig that is there.
    ///
    /// # Errors
    /// When the pool cannot be written.
    pub(crate) fn with(stage: &Stage, pool: &CaPool, kubeconfig: PathBuf) -> Result<Self> {
        // In a folder of its own, as a Secret is mounted: podcert watches it, and logs lie beside it.
        let folder = stage.folder.join("pool");
        std::fs::create_dir_all(&folder)?;
        let file = folder.join("pool.json");
        pool.write(&file)?;
        Ok(Self {
            program: beside_us()?,
            kubeconfig,
            log: stage.folder.join("controller.log"),
            pool: file,
            // One signer may get a pool after the other, of which no controller saw the change.
            flags: vec!["--remove-unknown-anchors=true".to_owned()],
            signers: Policy::ALL.map(|policy| (policy.as_str(), stage.signer(policy.as_str()))),
        })
    }

    /// The command line.
    fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            "controller".to_owned(),
            "--listen=127.0.0.1:0".to_owned(),
            format!("--kubeconfig={}", self.kubeconfig.display()),
        ];
        for (policy, signer) in &self.signers {
            arguments.push(format!("--enable-{policy}-signer=true"));
            arguments.push(format!("--{policy}-ca-pool={}", self.pool.display()));
            arguments.push(format!("--{policy}-signer-name={signer}"));
        }
        arguments.extend_from_slice(&self.flags);
        // It is pod-identity's too.
        arguments.push(format!("--spiffe-trust-domain={}", Self::TRUST_DOMAIN));
        arguments.push(format!("--service-account-issuer={}", Self::ISSUER));
        arguments.push(format!(
            "--pod-identity-extension-oid={}",
            Self::POD_IDENTITY_OID
        ));
        arguments.push("--pod-identity-extension-encoding=asn1-draft-a".to_owned());
        arguments
    }
}

impl Program {
    /// Starts the program and waits until it is ready.
    ///
    /// # Errors
    /// When it ends, or is not ready in time; with its log.
    pub(crate) async fn start(setup: &Setup) -> Result<Self> {
        let program = Self::spawn(setup).await?;
        program.ready(PATIENCE).await?;
        Ok(program)
    }

    /// Starts the program and waits until it can be asked.
    ///
    /// # Errors
    /// When it ends; with its log.
    pub(crate) async fn spawn(setup: &Setup) -> Result<Self> {
        Self::launch(&setup.program, &setup.arguments(), &setup.log).await
    }

    /// The same with a command line of the caller's, and what it logs behind what is in `log`.
    ///
    /// # Errors
    /// When it ends; with its log.
    pub(crate) async fn launch(program: &Path, arguments: &[String], log: &Path) -> Result<Self> {
        let path = log;
        let log = File::options()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("log {}", path.display()))?;
        let begin = log.metadata()?.len();
        // setpriv becomes the program, which then dies with the thread that started it.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(arguments)
            .env("PODCERT_LOG_FORMAT", "json")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut program = Self {
            log: path.to_owned(),
            child,
            address: String::new(),
            // No connection is kept: a program that was held closes those that are.
            http: Client::builder(TokioExecutor::new())
                .pool_max_idle_per_host(0)
                .build_http(),
        };
        let started = Instant::now();
        loop {
            let said = fs::read_to_string(path)?;
            let said = said.get(usize::try_from(begin)?..).unwrap_or_default();
            if let Some(address) = said.lines().find_map(listens_on) {
                program.address = address;
                return Ok(program);
            }
            if let Some(status) = program.child.try_wait()? {
                return Err(program.blame(anyhow!("the controller ended: {status}")));
            }
            if started.elapsed() > PATIENCE {
                return Err(program.blame(anyhow!("the controller listens nowhere")));
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// When it is not after this long; with what is missing and its log.
    pub(crate) async fn ready(&self, patience: Duration) -> Result<()> {
        let started = Instant::now();
        loop {
            let (ready, body) = self.readiness().await?;
            if ready {
                return Ok(());
            }
            if started.elapsed() > patience {
                return Err(self.blame(anyhow!("the controller is not ready: {body}")));
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Whether it is ready, and its report on that.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub(crate) async fn readiness(&self) -> Result<(bool, String)> {
        let (status, body) = self.get("/readyz").await?;
        Ok((status == 200, body))
    }

    /// What it counts.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub(crate) async fn metrics(&self) -> Result<Metrics> {
        Metrics::parse(&self.metrics_text().await?)
    }

    /// The same as it is served.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub(crate) async fn metrics_text(&self) -> Result<String> {
        Ok(self.get("/metrics").await?.1)
    }

    async fn get(&self, path: &str) -> Result<(u16, String)> {
        let url = format!("http://{}{path}", self.address).parse()?;
        let answer = async {
            let answer = self.http.get(url).await?;
            let status = answer.status().as_u16();
            let body = answer.into_body().collect().await?.to_bytes();
            Ok((status, String::from_utf8_lossy(&body).into_owned()))
        };
        let answer: Result<_> = timeout(PATIENCE, answer)
            .await
            .map_err(Into::into)
            .flatten();
        answer.map_err(|error| self.blame(error.context(format!("GET {path}"))))
    }

    /// Its process.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn pid(&self) -> Result<Pid> {
        let pid = self
            .child
            .id()
            .and_then(|pid| Pid::from_raw(pid.try_into().ok()?));
        pid.context("the controller has ended")
    }

    /// Ends it as Kubernetes does: SIGTERM. It must end well.
    ///
    /// # Errors
    /// When it does not; with its log.
    pub(crate) async fn stop(mut self) -> Result<()> {
        kill_process(self.pid()?, Signal::TERM)?;
        match timeout(PATIENCE, self.child.wait()).await {
            Ok(status) if status.as_ref().is_ok_and(std::process::ExitStatus::success) => Ok(()),
            Ok(status) => Err(self.blame(anyhow!("the controller ended badly: {:?}", status?))),
            Err(_) => Err(self.blame(anyhow!("the controller does not end"))),
        }
    }

    /// Ends it without a word: SIGKILL.
    ///
    /// # Errors
    /// When it had ended before; with its log.
    pub(crate) async fn kill(mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            return Err(self.blame(anyhow!("the controller ended by itself: {status}")));
        }
        Ok(self.child.kill().await?)
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// That it does not; with its log.
    pub(crate) fn runs(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!(self.blame(anyhow!("the controller ended by itself: {status}"))),
        }
    }

    /// An error with the end of the program's log.
    pub(crate) fn blame(&self, error: anyhow::Error) -> anyhow::Error {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines
            .get(lines.len().saturating_sub(TAIL)..)
            .unwrap_or_default();
        let path = self.log.display();
        error.context(format!("end of {path}:\n{}\n", tail.join("\n")))
    }
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// The program that was built together with this one.
pub(crate) fn beside_us() -> Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name("podcert");
    if !Path::new(&program).exists() {
        bail!(
            "{} is not built: `cargo xtask e2e` builds both programs",
            program.display()
        );
    }
    Ok(program)
}

/// The address in the line that says where health is served.
fn listens_on(line: &str) -> Option<String> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let address = line.pointer("/fields/address")?.as_str()?;
    Some(address.to_owned())
}

/// Lines of the log that an error shows.
const TAIL: usize = 25;
