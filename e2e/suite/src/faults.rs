//! What goes wrong on real clusters, done on purpose: to the program, the API server, etcd, the
//! clock and the requests themselves, each during a burst of requests.
//!
//! One rule holds for all: every request that still exists in the end is issued, once, for its own
//! key; none is ever denied or failed; and the program survives whatever is not done to itself.
//! [`burst`] checks it. Each fault is a step with a stage and a program of its own ([`Scene`]).

mod burst;
mod clocks;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use podcert_cases::material::KeyType;
use podcert_cases::{ApiVersion, Release, Server as _, User};
use podcert_runtime::SystemClock;
use podcert_runtime::api::{Connection, Options};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use self::burst::{Burst, Meddling};
use crate::cluster::{CertificatesApi, Cluster};
use crate::harness::{
    Ask, CaKind, CaPool, Metrics, PATIENCE, Plan, Population, Program, Setup, Source, Stage,
    WorkloadKey,
};
use crate::real::{Real, speaking_for};
use crate::release::{self, Skew};
use crate::run::{Context, Outcome, Step};

/// Every fault.
pub(crate) fn steps() -> Vec<Step> {
    let everywhere = |name, run| Step {
        name,
        releases: &release::ALL,
        run,
    };
    let from_1_36 = |name, run| Step {
        name,
        releases: &[Release::V1_36],
        run,
    };
    vec![
        everywhere("fault-clocks-skewed", |context| {
            Box::pin(clocks::skewed(context))
        }),
        everywhere("fault-requests-deleted", |context| {
            Box::pin(requests_deleted(context))
        }),
        everywhere("fault-requests-changed", |context| {
            Box::pin(requests_changed(context))
        }),
        everywhere("fault-sign-withdrawn", |context| {
            Box::pin(sign_withdrawn(context))
        }),
        everywhere("fault-program-killed", |context| {
            Box::pin(program_killed(context))
        }),
        everywhere("fault-apiserver-killed", |context| {
            Box::pin(apiserver_killed(context))
        }),
        everywhere("fault-watch-compacted", |context| {
            Box::pin(watch_compacted(context))
        }),
        everywhere("fault-etcd-paused", |context| {
            Box::pin(etcd_paused(context))
        }),
        Step {
            name: "fault-keys-not-shown",
            releases: &[Release::V1_37],
            run: |context| Box::pin(keys_not_shown(context)),
        },
        from_1_36("upgrade-to-1.37", |context| {
            Box::pin(async move { upgraded(&context.cluster).await })
        }),
        from_1_36("upgrade-to-1.37-without-v1beta1", |context| {
            Box::pin(async move {
                let cluster = Cluster::start(&context.options().stock()).await?;
                let outcome = upgraded(&cluster).await?;
                cluster.remove().await?;
                Ok(outcome)
            })
        }),
    ]
}

/// Requests are deleted while they are answered.
async fn requests_deleted(context: Context) -> Result<Outcome> {
    let scene = Scene::open(&context.cluster).await?;
    let burst = scene.burst(Meddling::Delete);
    let outcome = burst.clone().start().end(&burst).await?;
    let late = scene.refused_writes().await?;
    ensure!(late > 0.0, "no request was deleted while it was answered");
    scene.close(outcome).await
}

/// Somebody else changes requests while they are answered.
async fn requests_changed(context: Context) -> Result<Outcome> {
    let scene = Scene::open(&context.cluster).await?;
    let burst = Burst {
        // Each is changed five times.
        count: BURST / 5,
        ..scene.burst(Meddling::Label)
    };
    let outcome = burst.clone().start().end(&burst).await?;
    let late = scene.refused_writes().await?;
    ensure!(late > 0.0, "no request was changed while it was answered");
    scene.close(outcome).await
}

/// The program loses the right to sign for its signers. What is asked meanwhile waits for it.
async fn sign_withdrawn(context: Context) -> Result<Outcome> {
    let scene = Scene::open(&context.cluster).await?;
    scene.stage.let_sign(false).await?;
    let burst = Burst {
        count: HELD_UP,
        ..scene.burst(Meddling::None)
    };
    let mut running = burst.clone().start();
    running.open(burst.count).await?;
    scene.waits(burst.count, "StatusRefused").await?;
    running.goes_on()?;
    scene.stage.let_sign(true).await?;
    let outcome = running.end(&burst).await?;
    scene.close(outcome).await
}

/// The program is killed and started again, twice.
async fn program_killed(context: Context) -> Result<Outcome> {
    let mut scene = Scene::open(&context.cluster).await?;
    let burst = scene.burst(Meddling::None);
    let mut running = burst.clone().start();
    for issued in [BURST / 5, BURST / 2] {
        running.issued(issued).await?;
        scene.program.kill().await?;
        running.goes_on()?;
        scene.program = Program::start(&scene.setup).await?;
    }
    let outcome = running.end(&burst).await?;
    scene.close(outcome).await
}

/// The API server is killed and started again.
async fn apiserver_killed(context: Context) -> Result<Outcome> {
    let scene = Scene::open(&context.cluster).await?;
    let burst = scene.burst(Meddling::None);
    let mut running = burst.clone().start();
    running.issued(BURST / 5).await?;
    context.cluster.kill_apiserver().await;
    running.goes_on()?;
    context.cluster.restart_apiserver().await?;
    let outcome = running.end(&burst).await?;
    scene.close(outcome).await
}

/// While the program is held, history is compacted and the API server started again: its place in
/// every watch is gone.
async fn watch_compacted(context: Context) -> Result<Outcome> {
    let Context { cluster, .. } = &context;
    let scene = Scene::open(cluster).await?;
    let burst = scene.burst(Meddling::None);
    scene.signal(Signal::STOP)?;
    let mut running = burst.clone().start();
    running.open(BURST).await?;
    Real::connect(&cluster.kubeconfig(), &cluster.etcd_config())
        .await?
        .compact()
        .await;
    cluster.kill_apiserver().await;
    cluster.restart_apiserver().await?;
    let said = scene.log_length()?;
    scene.signal(Signal::CONT)?;
    let outcome = running.end(&burst).await?;
    scene
        .logged(said, "(410)")
        .await
        .context("no watch was gone")?;
    scene.close(outcome).await
}

/// etcd stands still for half a minute.
async fn etcd_paused(context: Context) -> Result<Outcome> {
    let scene = Scene::open(&context.cluster).await?;
    let burst = scene.burst(Meddling::None);
    let mut running = burst.clone().start();
    running.issued(BURST / 5).await?;
    context.cluster.pause_etcd()?;
    sleep(ETCD_PAUSE).await;
    running.goes_on()?;
    context.cluster.resume_etcd()?;
    let outcome = running.end(&burst).await?;
    scene.close(outcome).await
}

/// Requests of kubelets older than 1.36, and an API server that ceases to serve the one version
/// which shows their keys. They wait, and are issued when it serves that again.
async fn keys_not_shown(context: Context) -> Result<Outcome> {
    let Context { cluster, .. } = &context;
    let skew = Skew {
        server: context.release,
        kubelets: Release::V1_35,
    };
    let scene = Scene::with(cluster, skew, 1, &[]).await?;
    let burst = Burst {
        apis: vec![ApiVersion::V1beta1, ApiVersion::V1],
        count: HELD_UP,
        ..scene.burst(Meddling::None)
    };
    scene.signal(Signal::STOP)?;
    let mut running = burst.clone().start();
    running.open(burst.count).await?;
    cluster.serve(CertificatesApi::Stock).await?;
    scene.signal(Signal::CONT)?;
    scene.waits(burst.count, "KeyNotShown").await?;
    running.goes_on()?;
    cluster.serve(CertificatesApi::All).await?;
    let outcome = running.end(&burst).await?;
    scene.close(outcome).await
}

/// The API server becomes one of another release, which serves v1, and v1beta1 or not. Nodes and
/// the program find that out.
async fn upgraded(cluster: &Cluster) -> Result<Outcome> {
    let mut scene = Scene::open(cluster).await?;
    scene.speaks(ApiVersion::V1beta1).await?;
    let burst = Burst {
        apis: vec![ApiVersion::V1beta1, ApiVersion::V1],
        pace: UPGRADE_PACE,
        ..scene.burst(Meddling::None)
    };
    let mut running = burst.clone().start();
    running.issued(BURST / 10).await?;
    cluster.upgrade(Release::V1_37).await?;
    running.goes_on()?;
    let mut outcome = running.end(&burst).await?;
    scene.speaks(ApiVersion::V1).await?;
    let after = Burst {
        apis: vec![ApiVersion::V1],
        name: "after",
        ..scene.burst(Meddling::None)
    };
    outcome.issued += after.clone().start().end(&after).await?.issued;
    scene.rest().await?;
    scene.program.stop().await?;
    // Of the stage only its folder is left when the cluster ends, as it does now.
    std::fs::remove_dir_all(&scene.stage.folder)?;
    Ok(Outcome::of(format!("{} issued", outcome.issued)))
}

/// A stage with the program, and a namespace of pods.
struct Scene {
    stage: Arc<Stage>,
    population: Population,
    key: Arc<WorkloadKey>,
    setup: Setup,
    program: Program,
    admin: Client,
    node: Client,
}

impl Scene {
    async fn open(cluster: &Cluster) -> Result<Self> {
        Self::with(cluster, Skew::none(cluster.release()), 1, &[]).await
    }

    /// With so many namespaces, and pods that mount projections of further signers too.
    async fn with(
        cluster: &Cluster,
        skew: Skew,
        namespaces: usize,
        further: &[&str],
    ) -> Result<Self> {
        let file = cluster.kubeconfig();
        let stage = Stage::open(&file, skew, "fault").await?;
        let policies = SIGNERS.iter().chain(further);
        let plan = Plan {
            namespaces,
            pods_per_namespace: PODS,
            sources: policies
                .map(|policy| Source::of(stage.signer(policy)))
                .collect(),
        };
        let population = Population::create(&stage, &plan).await?;
        let setup = Setup::all(&stage, &CaPool::of(CaKind::USUAL)?).await?;
        let program = Program::start(&setup).await?;
        Ok(Self {
            key: WorkloadKey::new(KeyType::P256)?,
            admin: connect(&file, &User::admin()).await?,
            node: connect(&file, &User::node(&population.node.name)).await?,
            stage,
            population,
            setup,
            program,
        })
    }

    /// A burst for the pods of the only namespace, by turns for both signers.
    fn burst(&self, meddling: Meddling) -> Burst {
        self.burst_in(0, &SIGNERS, BURST, meddling)
    }

    fn burst_in(
        &self,
        namespace: usize,
        policies: &[&str],
        count: usize,
        meddling: Meddling,
    ) -> Burst {
        let namespace = self.stage.scoped(&namespace.to_string());
        let pods = self.population.pods.iter();
        let requests = pods
            .filter(|pod| pod.namespace == namespace)
            .flat_map(|pod| policies.iter().map(move |policy| (pod, policy)))
            .map(|(pod, policy)| Ask::new(pod, &self.stage.signer(policy), &self.key))
            .map(|ask| request(&self.stage, &ask))
            .collect();
        Burst {
            node: self.node.clone(),
            admin: self.admin.clone(),
            namespace,
            name: "burst",
            apis: vec![self.stage.skew.api()],
            requests,
            key: self.key.public.clone(),
            count,
            pace: Duration::ZERO,
            meddling,
        }
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(self.program.pid()?, signal)?)
    }

    /// How many writes of the program met a request that had changed or gone.
    async fn refused_writes(&self) -> Result<f64> {
        let metrics = self.program.metrics().await?;
        let count = |answer| {
            let labels = [("verb", "update"), ("answer", answer)];
            metrics.sum("podcert_api_requests_total", &labels)
        };
        Ok(count("conflict") + count("not_found"))
    }

    /// Waits until the program speaks this version.
    async fn speaks(&self, api: ApiVersion) -> Result<()> {
        self.counted(
            format!("the program does not speak {}", api.as_str()),
            |metrics| {
                let speaks = |version| {
                    let labels = [("resource", "podcertificaterequests"), ("version", version)];
                    metrics.sum("podcert_api_version", &labels)
                };
                let all = ["v1", "v1beta1"].map(|version| speaks(version) > 0.5);
                all == [api == ApiVersion::V1, api == ApiVersion::V1beta1]
            },
        )
        .await
    }

    /// Waits until so many requests wait for this reason.
    async fn waits(&self, count: usize, reason: &str) -> Result<()> {
        self.counted(
            format!("{count} requests should wait for {reason}"),
            |metrics| {
                let waiting = metrics.sum("podcert_requests_waiting", &[("reason", reason)]);
                waiting as usize == count
            },
        )
        .await
    }

    /// Waits until the program's metrics are as they should be.
    async fn counted(&self, otherwise: String, good: impl Fn(&Metrics) -> bool) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !good(&self.program.metrics().await?) {
            if Instant::now() > deadline {
                return Err(self.program.blame(anyhow::Error::msg(otherwise)));
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    fn log_length(&self) -> Result<usize> {
        Ok(std::fs::metadata(&self.setup.log)?.len().try_into()?)
    }

    /// Waits until the program's log has `words` behind its first `skip` bytes.
    async fn logged(&self, skip: usize, words: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = std::fs::read_to_string(&self.setup.log)?;
            if log.get(skip..).is_some_and(|new| new.contains(words)) {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "the program has not logged {words:?}"
            );
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the program, which has survived, holds no request any more.
    async fn rest(&mut self) -> Result<()> {
        self.program.runs()?;
        self.counted(
            "all is answered, and the program still waits".to_owned(),
            |metrics| metrics.sum("podcert_requests_waiting", &[]) < 0.5,
        )
        .await?;
        let metrics = self.program.metrics().await?;
        let denied = metrics.sum("podcert_requests_total", &[("outcome", "denied")]);
        ensure!(denied < 0.5, "the program denied {denied} requests");
        Ok(())
    }

    /// What it came to, once the program is at rest and ends as it should.
    async fn close(mut self, outcome: burst::Outcome) -> Result<Outcome> {
        self.rest().await?;
        self.program.stop().await?;
        self.stage.close().await?;
        Ok(Outcome::of(match outcome.deleted {
            0 => format!("{} issued", outcome.issued),
            deleted => format!("{} issued, {deleted} deleted", outcome.issued),
        }))
    }
}

/// The object that asks this, without a name.
pub(crate) fn request(stage: &Stage, ask: &Ask) -> Value {
    json!({
        "apiVersion": format!("certificates.k8s.io/{}", stage.skew.api().as_str()),
        "kind": "PodCertificateRequest",
        "metadata": {},
        "spec": ask.spec(stage.skew.kubelets),
    })
}

/// A client that calls as `user`, gives up soon, and tries again only what may be repeated.
pub(crate) async fn connect(kubeconfig: &Path, user: &User) -> Result<Client> {
    let file = Kubeconfig::read_from(kubeconfig)?;
    let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    let config = speaking_for(config, user);
    let options = Options {
        timeout: Duration::from_secs(10),
        ..Options::new(Arc::new(SystemClock))
    };
    Ok(Connection::from_config(&config, options)?.client().clone())
}

/// The program's.
const SIGNERS: [&str; 2] = ["service-dns", "spiffe"];
const BURST: usize = 500;
const PODS: usize = 10;
/// Requests that wait for a cure.
const HELD_UP: usize = 40;
const ETCD_PAUSE: Duration = Duration::from_secs(30);
/// So that a burst lasts longer than an upgrade.
const UPGRADE_PACE: Duration = Duration::from_millis(40);
