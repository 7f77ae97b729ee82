//! What a pod costs in a sandbox that starts no processes: one Deployment of many, each with a
//! certificate. API server, kubelet and controllers are this process; podcert's is another.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::runtime::{WatchStreamExt as _, watcher};
use podcert_authority::{CaId, CaOptions, Pool};
use podcert_runtime::{Clock as _, SystemClock};
use podcert_sandbox::{
    Door, Exit, Images, Launch, Options, PodRunner, Runner, Sandbox, StopSignal, User,
};
use rustix::time::{ClockId, clock_gettime};
use tokio::process::Command;

use crate::program::PROGRAM;
use crate::{Figure, Goal};

/// Starts `pods` pods and measures.
pub(crate) async fn figures(pods: u32) -> Result<Vec<Figure>> {
    let clock = Arc::new(SystemClock);
    let images = Images::new().with("img", "/none");
    let mut options = Options::new(clock.clone(), images);
    options.door = Door::Loopback;
    // A node takes 110 pods, as upstream.
    options.nodes = (0..=pods / 100)
        .map(|number| format!("node-{number}"))
        .collect();
    options.runner = Runner::Custom(Arc::new(Idle));
    let sandbox = Sandbox::start(options).await?;
    sandbox.apply(RBAC).await?;
    let pool = Pool::generate(&CaOptions::new(CaId::new("1")), clock.now())?;
    let file = sandbox.state_dir().join("pool.json");
    std::fs::write(&file, pool.to_json())?;
    // A process of its own, so that its work is not counted.
    let user = User::service_account("podcert", "podcert-controller");
    let _controller = Command::new(PROGRAM)
        .args(["controller", "--listen=", "--enable-spiffe-signer=true"])
        .args(["--spiffe-trust-domain=cluster.local"])
        .arg(format!("--spiffe-ca-pool={}", file.display()))
        .arg(format!(
            "--kubeconfig={}",
            sandbox.kubeconfig(&user)?.display()
        ))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;

    // Warm: connections open, watches there.
    settle(&sandbox, "warm", 10).await?;
    let (bytes, cpu, began) = (resident()?, cpu_seconds(), Instant::now());
    settle(&sandbox, "many", pods).await?;
    let wall = began.elapsed();
    let count = f64::from(pods);
    let (bytes, cpu) = ((resident()? - bytes) / count, (cpu_seconds() - cpu) / count);
    println!(
        "{pods} pods with certificates in {:.1} s",
        wall.as_secs_f64()
    );
    sandbox.shutdown().await?;
    Ok(vec![
        Figure {
            name: "sandbox_kib_per_pod",
            value: bytes / 1024.0,
            goal: Goal::Shown,
        },
        Figure {
            name: "sandbox_cpu_ms_per_pod",
            value: cpu * 1e3,
            goal: Goal::Shown,
        },
    ])
}

/// Applies a Deployment and waits until each of its pods is ready, and so has its certificate.
async fn settle(sandbox: &Sandbox, name: &str, pods: u32) -> Result<()> {
    use futures::TryStreamExt as _;
    let api: Api<Pod> = Api::namespaced(sandbox.admin(), "default");
    let ours = watcher::Config::default().labels(&format!("app={name}"));
    let mut changes = Box::pin(watcher(api, ours).default_backoff().applied_objects());
    sandbox
        .apply(
            &DEPLOYMENT
                .replace("NAME", name)
                .replace("PODS", &pods.to_string()),
        )
        .await?;
    let mut ready = std::collections::BTreeSet::new();
    let all = async {
        while ready.len() < pods as usize {
            let Some(pod) = changes.try_next().await? else {
                bail!("the watch of pods has ended");
            };
            if podcert_sandbox::is_ready(&pod) {
                ready.insert(pod.metadata.uid);
            }
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, all)
        .await
        .with_context(|| format!("not every one of {pods} pods became ready"))?
}

/// Containers that do nothing until they are stopped.
#[derive(Debug)]
struct Idle;

impl PodRunner for Idle {
    fn start(&self, _: Launch, mut stop: StopSignal) -> Result<BoxFuture<'static, Exit>, String> {
        Ok(async move {
            stop.requested().await;
            Exit::Signal(15)
        }
        .boxed())
    }

    fn exec(&self, _: &Launch, _: Vec<String>) -> Result<BoxFuture<'static, Exit>, String> {
        Err("nothing runs here".to_owned())
    }
}

/// Bytes of this process in memory (`proc(5)`, `statm`).
fn resident() -> Result<f64> {
    let statm = std::fs::read_to_string("/proc/self/statm").context("no /proc")?;
    let pages: f64 = statm
        .split_whitespace()
        .nth(1)
        .context("statm has one word")?
        .parse()?;
    let page = rustix::param::page_size();
    ensure!(page > 0, "pages of no size");
    #[expect(clippy::cast_precision_loss, reason = "a page is small")]
    Ok(pages * page as f64)
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    #[expect(
        clippy::cast_precision_loss,
        reason = "years of CPU are not measured here"
    )]
    let seconds = time.tv_sec as f64 + time.tv_nsec as f64 / 1e9;
    seconds
}

const PATIENCE: Duration = Duration::from_secs(300);
const RBAC: &str = include_str!("../../../../deploy/controller/rbac.yaml");
const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME, namespace: default}
spec:
  replicas: PODS
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec:
      automountServiceAccountToken: false
      containers:
      - name: c
        image: img
        command: [c]
        volumeMounts: [{name: tls, mountPath: /tls}]
      volumes:
      - name: tls
        projected:
          sources:
          - podCertificate: {signerName: row-major.net/spiffe, keyType: ED25519, credentialBundlePath: creds.pem}
";
