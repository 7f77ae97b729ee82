//! The stage: the example manifests, the CA pools, and the controller as a process of its own.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use podcert_pki::KeyType;
use podcert_runtime::Clock;
use podcert_sandbox::pod_map::{PodMap, PodName};
use podcert_sandbox::{Sandbox, User, Verb};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio::time::timeout;

use super::story::Story;
use crate::commands::make_ca_pool_secret::{self as pool_secret, POOL_KEY};

/// The example applications.
#[derive(Debug)]
pub(super) struct Examples(Vec<Manifest>);

/// One manifest, as it is applied.
#[derive(Debug)]
pub(super) struct Manifest {
    file: &'static str,
    documents: Vec<Value>,
    yaml: String,
}

impl Examples {
    /// Reads the manifests this program was built with; each client is told to call every
    /// `interval`, which is the only thing that differs from the files.
    pub(super) fn load(interval: SignedDuration) -> Result<Self> {
        let manifests = EXAMPLES.iter().map(|(file, text)| {
            let mut documents: Vec<Value> =
                serde_saphyr::from_multiple(text).with_context(|| format!("{file} is no YAML"))?;
            for document in &mut documents {
                set_interval(document, interval);
            }
            let texts: Result<Vec<String>, _> =
                documents.iter().map(serde_saphyr::to_string).collect();
            let yaml = texts
                .with_context(|| format!("{file} cannot be written"))?
                .join("---\n");
            Ok(Manifest {
                file,
                documents,
                yaml,
            })
        });
        manifests.collect::<Result<_>>().map(Self)
    }

    /// The manifests, in the order they are applied.
    pub(super) fn manifests(&self) -> impl Iterator<Item = &Manifest> {
        self.0.iter()
    }

    /// The images their containers name, which this program plays.
    pub(super) fn images(&self) -> impl Iterator<Item = String> + '_ {
        let images: BTreeSet<String> = self
            .containers()
            .filter_map(|(_, container)| container.get("image")?.as_str().map(str::to_owned))
            .collect();
        images.into_iter()
    }

    /// How many pods call a server.
    pub(super) fn clients(&self) -> usize {
        self.containers()
            .filter(|(_, container)| words(container).any(|word| word == CLIENT))
            .map(|(replicas, _)| replicas)
            .sum()
    }

    /// How many certificates their pods need: one per pod and projection.
    pub(super) fn credentials(&self) -> usize {
        self.deployments()
            .map(|(replicas, spec)| {
                let volumes = array(spec, "/volumes");
                let sources = volumes.flat_map(|volume| array(volume, "/projected/sources"));
                replicas
                    * sources
                        .filter(|source| source.get("podCertificate").is_some())
                        .count()
            })
            .sum()
    }

    fn deployments(&self) -> impl Iterator<Item = (usize, &Value)> {
        let documents = self.0.iter().flat_map(|manifest| &manifest.documents);
        documents
            .filter(|document| {
                document
                    .get("kind")
                    .is_some_and(|kind| kind == "Deployment")
            })
            .filter_map(|document| {
                let replicas = document.pointer("/spec/replicas").and_then(Value::as_u64);
                let replicas = usize::try_from(replicas.unwrap_or(1)).ok()?;
                Some((replicas, document.pointer("/spec/template/spec")?))
            })
    }

    fn containers(&self) -> impl Iterator<Item = (usize, &Value)> {
        self.deployments().flat_map(|(replicas, spec)| {
            array(spec, "/containers").map(move |container| (replicas, container))
        })
    }
}

impl Manifest {
    /// The text to apply.
    pub(super) fn yaml(&self) -> &str {
        &self.yaml
    }
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.file)
    }
}

fn array<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn words(container: &Value) -> impl Iterator<Item = &str> {
    array(container, "/command").filter_map(Value::as_str)
}

fn set_interval(document: &mut Value, interval: SignedDuration) {
    let containers = document.pointer_mut("/spec/template/spec/containers");
    for container in containers
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if !words(container).any(|word| word == CLIENT) {
            continue;
        }
        if let Some(command) = container
            .pointer_mut("/command")
            .and_then(Value::as_array_mut)
        {
            command.push(Value::String(format!("--interval={interval:#}")));
        }
    }
}

/// `podcert controller`, running.
#[derive(Debug)]
pub(super) struct Controller {
    child: Child,
    /// Its end tells the process that the demo is gone, whatever became of it.
    _guard: Option<ChildStdin>,
    log: watch::Receiver<Log>,
}

/// What the controller has said so far: its address and its last lines.
#[derive(Clone, Debug, Default)]
struct Log {
    address: Option<String>,
    last: Vec<String>,
}

impl Controller {
    /// Makes the pools with `make-ca-pool-secret`, starts the controller on them and waits until
    /// it says that it is ready.
    pub(super) async fn start(
        sandbox: &Sandbox,
        clock: &dyn Clock,
        story: &Arc<Story>,
    ) -> Result<Self> {
        let folder = sandbox.state_dir().join("controller");
        make_private(&folder)?;
        let namespace =
            format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {CONTROLLER_NAMESPACE}\n");
        sandbox.apply(&namespace).await?;
        let service_dns = pool(sandbox, clock, story, &folder, "service-dns").await?;
        let spiffe = pool(sandbox, clock, story, &folder, "spiffe").await?;
        let kubeconfig = sandbox.kubeconfig(&controller_user())?;

        let arguments = [
            "controller".to_owned(),
            format!("--kubeconfig={}", kubeconfig.display()),
            "--enable-service-dns-signer=true".to_owned(),
            format!("--service-dns-ca-pool={}", service_dns.display()),
            "--enable-spiffe-signer=true".to_owned(),
            "--spiffe-trust-domain=cluster.local".to_owned(),
            format!("--spiffe-ca-pool={}", spiffe.display()),
            "--listen=127.0.0.1:0".to_owned(),
        ];
        let mut controller = Self::spawn(&folder, &arguments)?;
        let started = timeout(READY, controller.ready()).await;
        match started {
            Ok(ready) => ready?,
            Err(_elapsed) => {
                return Err(controller.failure("the controller did not become ready"));
            }
        }
        story.line(
            "controller",
            "ready, as a process of its own: signers row-major.net/service-dns and row-major.net/spiffe",
        );
        Ok(controller)
    }

    /// An error once the controller has ended by itself.
    pub(super) fn check(&mut self) -> Result<()> {
        match self
            .child
            .try_wait()
            .context("cannot ask for the controller's process")?
        {
            None => Ok(()),
            Some(status) => Err(self.failure(&format!("the controller has ended ({status})"))),
        }
    }

    /// Ends it as Kubernetes would: SIGTERM, and it has some seconds.
    pub(super) async fn stop(mut self) -> Result<()> {
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

    /// Starts it as a pod's process is started, so that it cannot outlive the demo.
    fn spawn(folder: &Path, arguments: &[String]) -> Result<Self> {
        let name = "mesh-controller".to_owned();
        let map = PodMap {
            pod: PodName {
                namespace: CONTROLLER_NAMESPACE.to_owned(),
                uid: name.clone(),
                name,
            },
            address: Ipv4Addr::UNSPECIFIED,
            mounts: Vec::new(),
            listen_dir: folder.to_owned(),
            services_file: folder.join("services.json"),
        };
        let map_file = folder.join("map.json");
        write_private(&map_file, &serde_json::to_vec(&map)?)?;
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let mut child = Command::new(program)
            .args(["--log-format=json", "sandbox", "exec-pod", "--map"])
            .arg(&map_file)
            .args(["--", "/podcert"])
            .args(arguments)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // A Ctrl-C at the terminal is for the demo, which then ends this in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the controller")?;
        let (sender, log) = watch::channel(Log::default());
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(async move {
                let mut lines = BufReader::new(stderr).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    sender.send_modify(|log| log.note(line));
                }
            });
        }
        Ok(Self {
            _guard: child.stdin.take(),
            child,
            log,
        })
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
            tokio::time::sleep(LOOK).await;
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
pub(super) struct Calls {
    /// Writes of request statuses.
    pub(super) status_writes: u64,
    /// Single objects that were read. Watches, and the lists that begin them, are not.
    pub(super) reads: u64,
}

/// What it asked so far.
pub(super) fn controller_calls(sandbox: &Sandbox) -> Calls {
    let stats = sandbox.api().stats().of_user(&controller_user().name);
    Calls {
        status_writes: stats.of_resource("podcertificaterequests/status").writes(),
        reads: stats.of_verb(Verb::Get).total(),
    }
}

/// Makes a pool's Secret in the sandbox and lays its content where kubelet would.
async fn pool(
    sandbox: &Sandbox,
    clock: &dyn Clock,
    story: &Story,
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
    story.line(
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
    write_private(&file, &pool.0)?;
    Ok(file)
}

fn controller_user() -> User {
    User::service_account(CONTROLLER_NAMESPACE, "default")
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

fn make_private(folder: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("cannot make {}", folder.display()))
}

fn write_private(file: &Path, content: &[u8]) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .and_then(|mut opened| opened.write_all(content))
        .with_context(|| format!("cannot write {}", file.display()))
}

const EXAMPLES: &[(&str, &str)] = &[
    (
        "deploy/examples/service-dns-unauth-client.yaml",
        include_str!("../../../../../deploy/examples/service-dns-unauth-client.yaml"),
    ),
    (
        "deploy/examples/service-dns-spiffe-client.yaml",
        include_str!("../../../../../deploy/examples/service-dns-spiffe-client.yaml"),
    ),
];
/// The subcommand whose pods call a server.
const CLIENT: &str = "https-client";
const CONTROLLER_NAMESPACE: &str = "mesh-controller";
const READY: Duration = Duration::from_secs(10);
const GRACE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(50);
const LAST_LINES: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_are_what_the_demo_counts_on() {
        let examples = Examples::load(SignedDuration::from_millis(500)).unwrap();
        // A server and a client; three servers and three clients with an identity each.
        assert_eq!(examples.clients(), 4);
        assert_eq!(examples.credentials(), 7);
        assert_eq!(examples.images().count(), 1);
        for manifest in examples.manifests() {
            assert_eq!(
                manifest.yaml().matches("--interval=500ms").count(),
                1,
                "{manifest}"
            );
        }
    }

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
