//! What goes wrong on real clusters, done on purpose: to the program, the API server, etcd, the
//! clock and the requests themselves, each during a burst of requests.
//!
//! One rule holds for all: every request that still exists in the end is issued, once, for its own
//! key; none is ever denied or failed; and the program survives whatever is not done to itself.
//! [`burst`] checks it. The faults share a cluster of their own ([`Scene`]) and come one after the
//! other, but for the clocks, which need a minute and disturb nobody.

mod burst;
mod clocks;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use podcert_cases::material::KeyType;
use podcert_cases::{ApiVersion, Policies, Release, Server as _, Target, User};
use podcert_runtime::SystemClock;
use podcert_runtime::api::{Connection, Options};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use self::burst::{Burst, Meddling};
use crate::cluster::{self, Cluster};
use crate::harness::{
    Ask, CaKind, CaPool, Metrics, PATIENCE, Plan, Population, Program, Setup, Source, Stage,
    WorkloadKey,
};
use crate::real::Real;

/// The faults that are done to one server, in their order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    /// The program is killed and started again, twice.
    ProgramKilled,
    /// Requests are deleted while they are answered.
    Deleted,
    /// Somebody else changes requests while they are answered.
    Conflicts,
    /// The API server is killed and started again.
    ApiserverKilled,
    /// While the program is held, history is compacted and the API server started again: the
    /// program's place in every watch is gone.
    Compacted,
    /// etcd stands still for half a minute.
    EtcdPaused,
}

impl Fault {
    const ALL: [Self; 6] = [
        Self::ProgramKilled,
        Self::Deleted,
        Self::Conflicts,
        Self::ApiserverKilled,
        Self::Compacted,
        Self::EtcdPaused,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::ProgramKilled => "program-killed",
            Self::Deleted => "requests-deleted",
            Self::Conflicts => "requests-changed",
            Self::ApiserverKilled => "apiserver-killed",
            Self::Compacted => "watch-compacted",
            Self::EtcdPaused => "etcd-paused",
        }
    }
}

/// One check, and what came of it.
#[derive(Debug)]
pub(crate) struct Check {
    /// What was done.
    pub(crate) name: &'static str,
    /// What it came to, in words; or what went wrong.
    pub(crate) result: Result<String>,
    /// How long it took.
    pub(crate) took: Duration,
}

/// Does every fault to servers of a release whose name contains `filter`.
///
/// # Errors
/// When a cluster cannot be had; a fault that is not survived is a failed check.
pub(crate) async fn run(options: &cluster::Options, filter: Option<&str>) -> Result<Vec<Check>> {
    let wanted = |name: &str| filter.is_none_or(|filter| name.contains(filter));
    let mut checks = Vec::new();
    if Fault::ALL.iter().any(|fault| wanted(fault.name())) || wanted(clocks::NAME) {
        let cluster = Cluster::start(options).await?;
        let mut scene = Scene::open(&cluster, "faults").await?;
        let clocks = wanted(clocks::NAME).then(|| {
            let skewed = scene.clocks();
            tokio::spawn(timed(clocks::NAME, async { clocks::run(skewed?).await }))
        });
        for fault in Fault::ALL {
            if fault == Fault::ApiserverKilled
                && let Some(clocks) = &clocks
            {
                // The clocks' controllers are to have peace.
                while !clocks.is_finished() {
                    sleep(Duration::from_millis(50)).await;
                }
            }
            if wanted(fault.name()) {
                checks.push(timed(fault.name(), scene.suffer(fault)).await);
            }
        }
        if let Some(clocks) = clocks {
            checks.push(clocks.await?);
        }
        scene.close().await?;
        cluster.remove().await?;
    }
    Ok(checks)
}

async fn timed(name: &'static str, check: impl Future<Output = Result<String>>) -> Check {
    let began = Instant::now();
    let result = check.await;
    Check {
        name,
        result,
        took: began.elapsed(),
    }
}

/// A cluster with the program, and a namespace of pods for each fault.
struct Scene<'a> {
    cluster: &'a Cluster,
    stage: Arc<Stage>,
    population: Population,
    key: Arc<WorkloadKey>,
    setup: Setup,
    program: Option<Program>,
    admin: Client,
    node: Client,
}

impl<'a> Scene<'a> {
    async fn open(cluster: &'a Cluster, label: &str) -> Result<Self> {
        let target = Target {
            release: cluster.release(),
            api: newest(cluster.release()),
            policies: Policies::Evaluated,
        };
        let file = cluster.kubeconfig();
        let stage = Stage::open(&file, target, label).await?;
        let mut sources = vec![
            Source::of(stage.signer("service-dns")),
            Source::of(stage.signer("spiffe")),
        ];
        sources.extend(clocks::signers(&stage).map(Source::of));
        let plan = Plan {
            namespaces: Fault::ALL.len() + clocks::NAMESPACES,
            pods_per_namespace: PODS,
            sources,
        };
        let population = Population::create(&stage, &plan).await?;
        let setup = Setup::both(&stage, &CaPool::of(CaKind::USUAL)?).await?;
        let program = Program::start(&setup).await?;
        Ok(Self {
            cluster,
            key: WorkloadKey::new(KeyType::P256)?,
            admin: connect(&file, &User::admin()).await?,
            node: connect(&file, &User::node(&population.node.name)).await?,
            stage,
            population,
            setup,
            program: Some(program),
        })
    }

    /// Does it, and says what it came to.
    async fn suffer(&mut self, fault: Fault) -> Result<String> {
        let burst = |scene: &Self, count, meddling| scene.burst(fault as usize, count, meddling);
        let outcome = match fault {
            Fault::ProgramKilled => {
                let burst = burst(self, BURST, Meddling::None);
                let mut running = burst.clone().start();
                for issued in [BURST / 5, BURST / 2] {
                    running.issued(issued).await?;
                    self.kill_program().await?;
                    running.goes_on()?;
                    self.program = Some(Program::start(&self.setup).await?);
                }
                running.end(&burst).await?
            }
            Fault::Deleted => {
                let before = self.metrics().await?;
                let burst = burst(self, BURST, Meddling::Delete);
                let outcome = burst.clone().start().end(&burst).await?;
                let late = self.refused_writes(&before).await?;
                ensure!(late > 0.0, "no request was deleted while it was answered");
                outcome
            }
            Fault::Conflicts => {
                let before = self.metrics().await?;
                let burst = burst(self, BURST / 2, Meddling::Label);
                let outcome = burst.clone().start().end(&burst).await?;
                let conflicts = self.refused_writes(&before).await?;
                ensure!(
                    conflicts > 0.0,
                    "no request was changed while it was answered"
                );
                outcome
            }
            Fault::ApiserverKilled => {
                let burst = burst(self, BURST, Meddling::None);
                let mut running = burst.clone().start();
                running.issued(BURST / 5).await?;
                self.cluster.kill_apiserver().await;
                running.goes_on()?;
                self.cluster.restart_apiserver().await?;
                running.end(&burst).await?
            }
            Fault::Compacted => {
                let burst = burst(self, BURST / 2, Meddling::None);
                self.signal_program(Signal::STOP)?;
                let mut running = burst.clone().start();
                running.open(BURST / 2).await?;
                let etcd = self.cluster.etcd_url();
                Real::connect(&self.cluster.kubeconfig(), &etcd)
                    .await?
                    .compact()
                    .await;
                self.cluster.kill_apiserver().await;
                self.cluster.restart_apiserver().await?;
                let said = self.log_length()?;
                self.signal_program(Signal::CONT)?;
                let outcome = running.end(&burst).await?;
                self.logged(said, "(410)")
                    .await
                    .context("no watch was gone")?;
                outcome
            }
            Fault::EtcdPaused => {
                let burst = burst(self, BURST, Meddling::None);
                let mut running = burst.clone().start();
                running.issued(BURST / 5).await?;
                self.cluster.pause_etcd()?;
                sleep(ETCD_PAUSE).await;
                running.goes_on()?;
                self.cluster.resume_etcd()?;
                running.end(&burst).await?
            }
        };
        self.at_rest().await?;
        let mut words = format!("{} issued", outcome.issued);
        if outcome.deleted > 0 {
            words.push_str(&format!(", {} deleted", outcome.deleted));
        }
        Ok(words)
    }

    fn burst(&self, namespace: usize, count: usize, meddling: Meddling) -> Burst {
        let signers = ["service-dns", "spiffe"].map(|policy| self.stage.signer(policy));
        burst(self, namespace, &signers, count, meddling)
    }

    async fn metrics(&self) -> Result<Metrics> {
        let program = self.program.as_ref().context("the program does not run")?;
        program.metrics().await
    }

    /// How many writes of the program met a request that had changed or gone.
    async fn refused_writes(&self, before: &Metrics) -> Result<f64> {
        let now = self.metrics().await?;
        let count = |metrics: &Metrics| -> f64 {
            ["conflict", "not_found"]
                .map(|answer| {
                    let labels = [("verb", "update"), ("answer", answer)];
                    metrics.sum("podcert_api_requests_total", &labels)
                })
                .iter()
                .sum()
        };
        Ok(count(&now) - count(before))
    }

    /// Waits until the program holds no request any more; it has denied none.
    async fn at_rest(&mut self) -> Result<()> {
        self.program
            .as_mut()
            .context("the program does not run")?
            .runs()?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let metrics = self.metrics().await?;
            let denied = metrics.sum("podcert_requests_total", &[("outcome", "denied")]);
            ensure!(denied == 0.0, "the program denied {denied} requests");
            let waiting = metrics.sum("podcert_requests_waiting", &[]);
            if waiting == 0.0 {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "all is answered, and the program still waits for {waiting} requests"
            );
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn kill_program(&mut self) -> Result<()> {
        self.program
            .take()
            .context("the program does not run")?
            .kill()
            .await
    }

    fn signal_program(&self, signal: Signal) -> Result<()> {
        let program = self.program.as_ref().context("the program does not run")?;
        Ok(kill_process(program.pid()?, signal)?)
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

    async fn close(mut self) -> Result<()> {
        if let Some(program) = self.program.take() {
            program.stop().await?;
        }
        // The cluster is going anyway.
        Ok(std::fs::remove_dir_all(&self.stage.folder)?)
    }
}

/// A burst of requests for the pods of a namespace, by turns for each of these signers.
fn burst(
    scene: &Scene<'_>,
    namespace: usize,
    signers: &[String],
    count: usize,
    meddling: Meddling,
) -> Burst {
    let Scene {
        stage,
        population,
        key,
        ..
    } = scene;
    let namespace = stage.scoped(&namespace.to_string());
    let api = stage.target.api.as_str();
    let requests = population
        .pods
        .iter()
        .filter(|pod| pod.namespace == namespace)
        .flat_map(|pod| signers.iter().map(move |signer| Ask::new(pod, signer, key)))
        .map(|ask| request(stage, &ask))
        .collect();
    Burst {
        node: scene.node.clone(),
        admin: scene.admin.clone(),
        path: format!(
            "/apis/certificates.k8s.io/{api}/namespaces/{namespace}/podcertificaterequests"
        ),
        requests,
        key: key.public.clone(),
        count,
        meddling,
    }
}

/// The object that asks this, without a name.
pub(crate) fn request(stage: &Stage, ask: &Ask) -> Value {
    json!({
        "apiVersion": format!("certificates.k8s.io/{}", stage.target.api.as_str()),
        "kind": "PodCertificateRequest",
        "metadata": {},
        "spec": ask.spec(stage.target.release),
    })
}

/// A client that calls as `user`, gives up soon, and tries again only what may be repeated.
pub(crate) async fn connect(kubeconfig: &Path, user: &User) -> Result<Client> {
    let file = Kubeconfig::read_from(kubeconfig)?;
    let mut config =
        kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    if *user != User::admin() {
        config.auth_info.impersonate = Some(user.name.clone());
        config.auth_info.impersonate_groups = Some(user.groups.clone());
    }
    let options = Options {
        timeout: Duration::from_secs(10),
        ..Options::new(Arc::new(SystemClock))
    };
    Ok(Connection::from_config(&config, options)?.client().clone())
}

/// The version that requests are made in.
pub(crate) fn newest(release: Release) -> ApiVersion {
    if release >= Release::V1_37 {
        ApiVersion::V1
    } else {
        ApiVersion::V1beta1
    }
}

const BURST: usize = 500;
const PODS: usize = 10;
const ETCD_PAUSE: Duration = Duration::from_secs(30);
