//! `podcert controller` on a sandbox: its CA pools, its rights, and itself as a process of its own.

use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use podcert_pki::KeyType;
use podcert_runtime::{Clock, ScaledClock, SharedClock};
use podcert_sandbox::pod_map::{PodMap, PodName, RunAs};
use podcert_sandbox::{Sandbox, User, Verb, make_private, write_private};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::commands::make_ca_pool_secret::{self as pool_secret, POOL_KEY};

/// `podcert controller`, running.
#[derive(Debug)]
pub(crate) struct Controller {
    start: Start,
    running: Running,
}

/// How its process is started.
#[derive(Debug)]
struct Start {
    /// Looked up once: an upgrade may put another file in its place.
    program: PathBuf,
    map_file: PathBuf,
    arguments: Vec<String>,
    scaled: Option<ScaledClock>,
    echo: fn(&str),
}

/// Its process.
#[derive(Debug)]
struct Running {
    child: Child,
    /// Its end tells the process that the sandbox is gone, whatever became of it.
    _guard: Option<ChildStdin>,
    log: watch::Receiver<Log>,
}

/// What the controller has said so far: its address and its last lines.
#[derive(Clone, Debug, Default)]
struct Log {
    address: Option<String>,
    last: Vec<String>,
}

/// Says what happens: who, and what.
pub(crate) type Tell<'a> = &'a (dyn Fn(&str, &str) + Sync);

impl Controller {
    /// Makes the pools with `make-ca-pool-secret`, starts the controller on them, by the sandbox's
    /// clock, and waits until it says that it is ready. Each line that it logs is given to `echo`.
    pub(crate) async fn start(
        sandbox: &Sandbox,
        clock: &SharedClock,
        scaled: Option<&ScaledClock>,
        tell: Tell<'_>,
        echo: fn(&str),
    ) -> Result<Self> {
        let folder = sandbox.state_dir().join("controller");
        make_private(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        sandbox.apply(RBAC).await?;
        let mut arguments = vec!["controller".to_owned()];
        for signer in ["service-dns", "spiffe", "pod-identity"] {
            let pool = pool(sandbox, clock.as_ref(), tell, &folder, signer).await?;
            arguments.push(format!("--enable-{signer}-signer=true"));
            arguments.push(format!("--{signer}-ca-pool={}", pool.display()));
        }
        let kubeconfig = sandbox.kubeconfig(&controller_user())?;
        arguments.extend([
            "--spiffe-trust-domain=cluster.local".to_owned(),
            format!("--kubeconfig={}", kubeconfig.display()),
            "--listen=127.0.0.1:0".to_owned(),
        ]);
        let start = Start {
            program: std::env::current_exe().context("cannot find this program's own file")?,
            map_file: write_map(&folder)?,
            arguments,
            scaled: scaled.copied(),
            echo,
        };
        let mut running = start.spawn()?;
        match timeout(READY, running.ready()).await {
            Ok(ready) => ready?,
            Err(_elapsed) => return Err(running.failure("the controller did not become ready")),
        }
        tell(
            "controller",
            "ready, as a process of its own: signers row-major.net/service-dns, spiffe and pod-identity",
        );
        Ok(Self { start, running })
    }

    /// An error once the controller has ended by itself.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.running.check()
    }

    /// Starts it again whenever it has ended by itself, on the same pools, after ever longer pauses; for good.
    pub(crate) async fn look_after(&mut self) -> Infallible {
        let mut pause = AGAIN;
        let mut started = Instant::now();
        loop {
            sleep(LOOK_AFTER).await;
            let Err(error) = self.check() else {
                if started.elapsed() > LONGEST_PAUSE {
                    pause = AGAIN;
                }
                continue;
            };
            tracing::error!("{error:#}; it is started again in {} s", pause.as_secs());
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            started = Instant::now();
            match self.start.spawn() {
                Ok(running) => self.running = running,
                Err(error) => tracing::error!("{error:#}"),
            }
        }
    }

    /// Ends it as Kubernetes would: SIGTERM, and it has some seconds.
    pub(crate) async fn stop(self) -> Result<()> {
        self.running.stop().await
    }
}

impl Start {
    /// Starts it as a pod's process is started, so that it cannot outlive the sandbox.
    fn spawn(&self) -> Result<Running> {
        let mut child = Command::new(&self.program)
            .args(["--log-format=json", "sandbox", "exec-pod", "--map"])
            .arg(&self.map_file)
            .args(["--", "/podcert"])
            .args(&self.arguments)
            .env_clear()
            .envs(
                self.scaled
                    .map(|clock| (ScaledClock::VARIABLE, clock.to_string())),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // A Ctrl-C at the terminal is for the sandbox, which then ends this in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the controller")?;
        let echo = self.echo;
        let (sender, log) = watch::channel(Log::default());
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(async move {
                let mut lines = BufReader::new(stderr).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    echo(&line);
                    sender.send_modify(|log| log.note(line));
                }
            });
        }
        Ok(Running {
            _guard: child.stdin.take(),
            child,
            log,
        })
    }
}

impl Running {
    /// An error once the controller has ended by itself.
    fn check(&mut self) -> Result<()> {
        match self
            .child
            .try_wait()
            .context("cannot ask for the controller's process")?
        {
            None => Ok(()),
            Some(status) => Err(self.failure(&format!("the controller has ended ({status})"))),
        }
    }

    async fn stop(mut self) -> Result<()> {
        self.check()?;
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)
                .map_err(io::Error::from)
                .context("cannot end the controller")?;
        }
        match timeout(GRACE, self.child.wait()).await {
            Ok(status) => {
                let status = status.context("cannot wait for the controller")?;
                if status.success() {
                    return Ok(());
                }
                Err(self.failure(&format!("the controller did not end well ({status})")))
            }
            Err(_elapsed) => Err(self.failure("the controller does not end")),
        }
    }

    /// Waits until `/readyz` answers 200.
    async fn ready(&mut self) -> Result<()> {
        let address = loop {
            self.check()?;
            let said = self.log.borrow_and_update().address.clone();
            if let Some(address) = said {
                break address;
            }
            // A log that ended means that the process did: `check` says so.
            let _ = timeout(LOOK, self.log.changed()).await;
        };
        loop {
            self.check()?;
            if is_ready(&address).await {
                return Ok(());
            }
            sleep(LOOK).await;
        }
    }

    fn failure(&self, what: &str) -> anyhow::Error {
        let log = self.log.borrow();
        anyhow!("{what}; its last lines:\n  {}", log.last.join("\n  "))
    }
}

impl Log {
    fn note(&mut self, line: String) {
        let parsed: Option<Value> = serde_json::from_str(&line).ok();
        let address = parsed
            .as_ref()
            .and_then(|line| line.pointer("/fields/address")?.as_str());
        if let Some(address) = address {
            self.address.get_or_insert_with(|| address.to_owned());
        }
        if self.last.len() == LAST_LINES {
            self.last.remove(0);
        }
        self.last.push(line);
    }
}

/// What the controller asked of the API server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Calls {
    /// Writes of request statuses.
    pub(crate) status_writes: u64,
    /// Single objects that were read. Watches, and the lists that begin them, are not.
    pub(crate) reads: u64,
}

/// What it asked so far.
pub(crate) fn controller_calls(sandbox: &Sandbox) -> Calls {
    let stats = sandbox.api().stats().of_user(&controller_user().name);
    Calls {
        status_writes: stats.of_resource("podcertificaterequests/status").writes(),
        reads: stats.of_verb(Verb::Get).total(),
    }
}

/// The controller's view of the sandbox: it has no mounts and calls no Services.
fn write_map(folder: &Path) -> Result<PathBuf> {
    let map = PodMap {
        pod: PodName {
            namespace: CONTROLLER_NAMESPACE.to_owned(),
            uid: CONTROLLER.to_owned(),
            name: CONTROLLER.to_owned(),
        },
        address: Ipv4Addr::UNSPECIFIED,
        run_as: RunAs::default(),
        mounts: Vec::new(),
        listen_dir: folder.to_owned(),
        services_file: folder.join("services.json"),
    };
    let file = folder.join("map.json");
    write(&file, &serde_json::to_vec(&map)?)?;
    Ok(file)
}

/// Makes a pool's Secret in the sandbox and lays its content where kubelet would.
async fn pool(
    sandbox: &Sandbox,
    clock: &dyn Clock,
    tell: Tell<'_>,
    folder: &Path,
    signer: &str,
) -> Result<PathBuf> {
    let args = pool_secret::Args {
        kubeconfig: None,
        ca_id: "1".to_owned(),
        namespace: CONTROLLER_NAMESPACE.to_owned(),
        name: format!("{signer}-ca-pool"),
        key_type: KeyType::EcdsaP256,
        lifetime: Duration::from_secs(365 * 24 * 3600),
        subject: None,
        dry_run: false,
        output: None,
    };
    let (secret, made) = pool_secret::make(&args, clock)?;
    pool_secret::create(&sandbox.admin(), &secret).await?;
    tell(
        "pool",
        &format!(
            "secret {}/{}: {}",
            args.namespace,
            args.name,
            made.subject()
        ),
    );

    let secrets: Api<Secret> = Api::namespaced(sandbox.admin(), &args.namespace);
    let stored = secrets
        .get(&args.name)
        .await
        .context("reading the pool back")?;
    let data = stored.data.unwrap_or_default();
    let Some(pool) = data.get(POOL_KEY) else {
        bail!("secret {} has no {POOL_KEY}", args.name)
    };
    let file = folder.join(format!("{signer}-pool.json"));
    write(&file, &pool.0)?;
    Ok(file)
}

fn write(file: &Path, content: &[u8]) -> Result<()> {
    write_private(file, content).with_context(|| format!("cannot write {}", file.display()))
}

fn controller_user() -> User {
    User::service_account(CONTROLLER_NAMESPACE, CONTROLLER)
}

async fn is_ready(address: &str) -> bool {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let ask = async {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        let request = format!("GET /readyz HTTP/1.0\r\nHost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(64).read_to_end(&mut answer).await?;
        io::Result::Ok(answer)
    };
    ask.await.is_ok_and(|answer| {
        answer.starts_with(b"HTTP/1.0 200") || answer.starts_with(b"HTTP/1.1 200")
    })
}

/// As `deploy/controller` names them.
const CONTROLLER_NAMESPACE: &str = "podcert";
const CONTROLLER: &str = "podcert-controller";
const RBAC: &str = include_str!("../../../../../deploy/controller/rbac.yaml");
const READY: Duration = Duration::from_secs(10);
const GRACE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(50);
const LOOK_AFTER: Duration = Duration::from_millis(500);
const AGAIN: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
const LAST_LINES: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_gives_the_address_and_keeps_the_last_lines() {
        let mut log = Log::default();
        log.note("no JSON".to_owned());
        log.note(r#"{"fields":{"message":"serving","address":"127.0.0.1:1"}}"#.to_owned());
        for number in 0..LAST_LINES {
            log.note(number.to_string());
        }
        assert_eq!(log.address.as_deref(), Some("127.0.0.1:1"));
        assert_eq!(log.last.len(), LAST_LINES);
        assert_eq!(log.last.last().map(String::as_str), Some("19"));
    }
}
