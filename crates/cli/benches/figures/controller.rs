//! `podcert controller` as a process of its own, against the sandbox's API over TLS: what it costs
//! per certificate in CPU, and how often it asks the API server.
//!
//! Pods and requests are made in this process. Requests come in a closed loop, so that the
//! controller sees a steady stream and not one burst it could answer in bulk.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{PodCertificateRequest, PodCertificateRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, ServiceAccount};
use kube::api::{Api, ObjectMeta, PostParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};
use podcert_authority::{CaId, CaOptions, Pool};
use podcert_pki::{KeyType, PrivateKey, empty_csr};
use podcert_runtime::{Clock as _, SystemClock};
use podcert_sandbox::{Images, Options, Sandbox, User, Verb};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::program::PROGRAM;
use crate::yardstick::{Yardstick, median};
use crate::{Figure, Goal};

/// Issues `certificates` and measures.
pub(crate) async fn figures(certificates: u32) -> Result<Vec<Figure>> {
    let clock = Arc::new(SystemClock);
    let sandbox = Sandbox::start(Options::new(clock.clone(), Images::new())).await?;
    let admin = sandbox.admin();
    let workloads = stage(&admin).await?;

    let pool = Pool::generate(&CaOptions::new(CaId::new("1")), clock.now())?;
    let pool_file = sandbox.state_dir().join("pool.json");
    std::fs::write(&pool_file, pool.to_json())?;
    sandbox.apply(RBAC).await?;
    let user = User::service_account("podcert", "podcert-controller");
    let controller = Controller::start(&sandbox.kubeconfig(&user)?, &pool_file).await?;
    let start_to_version = version_time().await?;

    let stats = || sandbox.api().stats().of_user(&user.name);
    let issued = Issued::watch(admin.clone());
    // Warm: connections open, allocator grown.
    load(&admin, &workloads, &issued, 500).await?;
    let yardstick = Yardstick::new()?;
    let mut unit = vec![yardstick.sign_and_verify(YARDSTICK)?];
    let (before, cpu_before) = (stats(), controller.cpu_seconds()?);
    let began = Instant::now();
    for _ in 0..PARTS {
        load(&admin, &workloads, &issued, certificates / PARTS).await?;
        unit.push(yardstick.sign_and_verify(YARDSTICK)?);
    }
    let wall = began.elapsed();
    let (after, cpu) = (stats(), controller.cpu_seconds()? - cpu_before);
    let start_to_ready = controller.start_to_ready;
    drop(controller);
    sandbox.shutdown().await?;

    let count = f64::from(certificates / PARTS * PARTS);
    let difference = |of: &dyn Fn(&podcert_sandbox::Stats) -> u64| {
        f64::from(u32::try_from(of(&after) - of(&before)).unwrap_or(u32::MAX)) / count
    };
    let unit = median(unit);
    println!(
        "issued {count} in {:.1} s; {:.0} us of CPU each, the yardstick being {:.0} us",
        wall.as_secs_f64(),
        cpu / count * 1e6,
        unit * 1e6
    );
    let reads = |stats: &podcert_sandbox::Stats| {
        stats.of_verb(Verb::Get).total() + stats.of_verb(Verb::List).total()
    };
    Ok(vec![
        Figure {
            name: "controller_cpu_per_verify_and_sign",
            value: cpu / count / unit,
            goal: Goal::AtMost(3.0),
        },
        Figure {
            name: "api_writes_per_certificate",
            value: difference(&podcert_sandbox::Stats::writes),
            goal: Goal::AtMost(1.0),
        },
        Figure {
            name: "api_reads_per_certificate",
            value: difference(&reads),
            goal: Goal::AtMost(0.0),
        },
        Figure {
            name: "start_to_ready_per_version",
            value: start_to_ready.as_secs_f64() / start_to_version,
            goal: Goal::Shown,
        },
    ])
}

/// The controller's process.
struct Controller {
    child: Child,
    start_to_ready: Duration,
}

impl Controller {
    /// Starts it and waits until it is ready.
    async fn start(kubeconfig: &Path, pool: &Path) -> Result<Self> {
        let started = Instant::now();
        let mut child = Command::new(PROGRAM)
            .args(["--log-format=json", "controller", "--listen=127.0.0.1:0"])
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .args([
                "--enable-spiffe-signer=true",
                "--spiffe-trust-domain=cluster.local",
            ])
            .arg(format!("--spiffe-ca-pool={}", pool.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stderr = child
            .stderr
            .take()
            .context("the controller's standard error")?;
        let mut lines = BufReader::new(stderr).lines();
        let address = loop {
            let line = lines
                .next_line()
                .await?
                .context("the controller ended early")?;
            let line: serde_json::Value = serde_json::from_str(&line).context(line)?;
            if let Some(address) = line.pointer("/fields/address").and_then(|a| a.as_str()) {
                break address.to_owned();
            }
        };
        // Its log must be read, or the pipe fills up.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        while !is_ready(&address).await {
            if started.elapsed() > PATIENCE {
                bail!("the controller did not become ready");
            }
            sleep(Duration::from_millis(1)).await;
        }
        Ok(Self {
            child,
            start_to_ready: started.elapsed(),
        })
    }

    /// User and system time so far, of all its threads.
    fn cpu_seconds(&self) -> Result<f64> {
        let pid = self.child.id().context("the controller has ended")?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // Behind the name in parentheses, which may hold anything: field 3 and on.
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let ticks = |field: usize| -> Result<f64> {
            Ok(fields
                .get(field - 3)
                .context("a field of /proc/PID/stat")?
                .parse::<f64>()?)
        };
        let per_second = u32::try_from(rustix::param::clock_ticks_per_second())?;
        Ok((ticks(14)? + ticks(15)?) / f64::from(per_second))
    }
}

/// Seconds from the start of `podcert --version` to its end.
async fn version_time() -> Result<f64> {
    let mut times = Vec::new();
    for _ in 0..9 {
        let started = Instant::now();
        let status = Command::new(PROGRAM)
            .arg("--version")
            .stdout(Stdio::null())
            .status()
            .await?;
        times.push(started.elapsed().as_secs_f64());
        if !status.success() {
            bail!("podcert --version: {status}");
        }
    }
    Ok(median(times))
}

async fn is_ready(address: &str) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        stream
            .write_all(b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n")
            .await?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await?;
        std::io::Result::Ok(answer.ends_with(b"200"))
    };
    ask.await.unwrap_or(false)
}

/// A pod, and the UIDs that its kubelet knows.
struct Workload {
    pod: Pod,
    service_account_uid: String,
    node_uid: String,
}

/// Namespaces and pods that mount a projection of the signer, on a node nobody plays.
async fn stage(admin: &Client) -> Result<Vec<Workload>> {
    let nodes: Api<Node> = Api::all(admin.clone());
    let node = serde_json::from_value(json!({"metadata": {"name": NODE}}))?;
    let node = nodes.create(&PostParams::default(), &node).await?;
    let namespaces: Api<Namespace> = Api::all(admin.clone());
    let mut workloads = Vec::new();
    for number in 0..NAMESPACES {
        let namespace = format!("bench-{number}");
        let object = serde_json::from_value(json!({"metadata": {"name": namespace}}))?;
        namespaces.create(&PostParams::default(), &object).await?;
        // It comes with its namespace.
        let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), &namespace);
        let account = accounts.get("default").await?;
        let api: Api<Pod> = Api::namespaced(admin.clone(), &namespace);
        for pod in 0..PODS_PER_NAMESPACE {
            let object = serde_json::from_value(json!({
                "metadata": {"name": format!("web-{pod}"), "labels": {"app": "web"}},
                "spec": {
                    "nodeName": NODE,
                    "serviceAccountName": "default",
                    "containers": [{"name": "main", "image": "example.com/web:1"}],
                    "volumes": [{"name": "tls", "projected": {"sources": [{"podCertificate": {
                        "signerName": SIGNER,
                        "keyType": "ECDSAP256",
                        "credentialBundlePath": "credentials.pem",
                    }}]}}],
                },
            }))?;
            workloads.push(Workload {
                pod: api.create(&PostParams::default(), &object).await?,
                service_account_uid: account.uid().unwrap_or_default(),
                node_uid: node.uid().unwrap_or_default(),
            });
        }
    }
    Ok(workloads)
}

/// Makes `count` requests for `workloads` in turn, never more than [`AT_ONCE`] of them unanswered,
/// and waits for the last.
async fn load(admin: &Client, workloads: &[Workload], issued: &Issued, count: u32) -> Result<()> {
    let goal = issued.count() + count;
    stream::iter((0..count).zip(workloads.iter().cycle()))
        .map(|(_, workload)| async move {
            let place = issued.places.clone().acquire_owned().await?;
            let namespace = workload.pod.namespace().unwrap_or_default();
            let api: Api<PodCertificateRequest> = Api::namespaced(admin.clone(), &namespace);
            api.create(&PostParams::default(), &request(workload)?)
                .await?;
            // Given back by the watch.
            place.forget();
            anyhow::Ok(())
        })
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    let began = Instant::now();
    while issued.count() < goal {
        if began.elapsed() > PATIENCE {
            bail!("{} of {goal} requests were answered", issued.count());
        }
        sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// What a kubelet asks: a new key, in an empty CSR.
fn request(workload: &Workload) -> Result<PodCertificateRequest> {
    let Workload {
        pod,
        service_account_uid,
        node_uid,
    } = workload;
    let csr = empty_csr(&PrivateKey::generate(KeyType::EcdsaP256)?)?;
    Ok(PodCertificateRequest {
        metadata: ObjectMeta {
            generate_name: Some("req-".to_owned()),
            namespace: pod.namespace(),
            ..ObjectMeta::default()
        },
        spec: PodCertificateRequestSpec {
            signer_name: SIGNER.to_owned(),
            pod_name: pod.name_any(),
            pod_uid: pod.uid().unwrap_or_default(),
            service_account_name: "default".to_owned(),
            service_account_uid: service_account_uid.clone(),
            node_name: NODE.to_owned(),
            node_uid: node_uid.clone(),
            max_expiration_seconds: Some(86_400),
            stub_pkc_s10_request: ByteString(csr),
            ..PodCertificateRequestSpec::default()
        },
        status: None,
    })
}

/// Counts answered requests, and gives back their places.
struct Issued {
    count: Arc<AtomicU32>,
    places: Arc<Semaphore>,
}

impl Issued {
    fn watch(admin: Client) -> Self {
        let count = Arc::new(AtomicU32::new(0));
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let issued = Self {
            count: count.clone(),
            places: places.clone(),
        };
        tokio::spawn(async move {
            let requests: Api<PodCertificateRequest> = Api::all(admin);
            let mut changes = watcher(requests, watcher::Config::default())
                .touched_objects()
                .boxed();
            while let Ok(Some(request)) = changes.try_next().await {
                let status = request.status.unwrap_or_default();
                if status.certificate_chain.is_some() {
                    count.fetch_add(1, Ordering::Relaxed);
                    places.add_permits(1);
                }
            }
        });
        issued
    }

    fn count(&self) -> u32 {
        self.count.load(Ordering::Relaxed)
    }
}

/// What the controller may do.
const RBAC: &str = include_str!("../../../../deploy/controller/rbac.yaml");
const SIGNER: &str = "row-major.net/spiffe";
const NODE: &str = "elsewhere";
const NAMESPACES: u32 = 20;
const PODS_PER_NAMESPACE: u32 = 50;
/// Requests that wait for their answer at any moment.
const AT_ONCE: usize = 32;
const PARTS: u32 = 5;
const YARDSTICK: u32 = 2_000;
const PATIENCE: Duration = Duration::from_secs(60);
