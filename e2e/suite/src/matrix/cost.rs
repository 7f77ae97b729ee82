//! How many requests to the API server a certificate costs, by the server's own count.
//!
//! The server does not say who made a request. So nobody else may be busy on it, and only such
//! requests count as the program's role allows: what is left then can only be its own. That the
//! node's kubelet creates a request, for one, is not among them.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use podcert_cases::material::KeyType;
use tokio::time::{Duration, Instant, sleep};

use super::Policy;
use crate::cluster::Cluster;
use crate::harness::{
    Answers, Ask, CaKind, CaPool, Kubelet, Metrics, PATIENCE, Plan, Population, Program, Setup,
    Source, Stage, WorkloadKey,
};
use crate::release::Skew;
use crate::report::Goal;
use crate::run::{Context, Outcome};

/// What certificates cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cost {
    /// How many were issued.
    pub(crate) certificates: usize,
    /// Writes for each.
    pub(crate) writes: f64,
    /// Reads for each; watches go on and count as none.
    pub(crate) reads: f64,
}

/// The cost of some hundred certificates, on a cluster of its own.
///
/// # Errors
/// When it could not be measured.
pub(crate) async fn step(context: Context) -> Result<Outcome> {
    let cluster = Cluster::start(&context.options()).await?;
    let skew = Skew::none(context.release);
    let cost = measure(&cluster.kubeconfig(), skew, CERTIFICATES_ISSUED).await?;
    cluster.remove().await?;
    Ok(
        Outcome::of(format!("of {} certificates", cost.certificates))
            .with("e2e_writes_per_certificate", cost.writes, Goal::AtMost(1.0))
            .with("e2e_reads_per_certificate", cost.reads, Goal::AtMost(0.0)),
    )
}

/// Issues this many certificates on the server of an administrator's kubeconfig, where nobody
/// else is busy: no other stage, and no namespace that is about to end.
///
/// # Errors
/// When it could not be measured.
pub(crate) async fn measure(kubeconfig: &Path, skew: Skew, certificates: usize) -> Result<Cost> {
    let stage = Stage::open(kubeconfig, skew, "cost").await?;
    let pool = tokio::task::spawn_blocking(|| CaPool::of(CaKind::USUAL)).await??;
    let program = Program::start(&Setup::all(&stage, &pool).await?).await?;
    let sources = Policy::ALL.map(|policy| Source::of(stage.signer(policy.as_str())));
    let plan = Plan {
        namespaces: 2,
        pods_per_namespace: 10,
        sources: sources.to_vec(),
    };
    let people = Population::create(&stage, &plan).await?;
    let answers = Answers::watch(&stage).await?;
    let kubelet = Kubelet::of(&stage, &people.node)?;
    let key = WorkloadKey::of(KeyType::P256)?;
    let asks: Vec<Ask> = people
        .pods
        .iter()
        .flat_map(|pod| {
            Policy::ALL.map(|policy| Ask::new(pod, &stage.signer(policy.as_str()), &key))
        })
        .collect();
    let issue = async |count: usize| {
        let asks = asks.iter().cycle().take(count).cloned().collect();
        for answered in kubelet.closed_loop(&answers, asks, AT_ONCE).await? {
            answered.outcome.issued()?;
        }
        anyhow::Ok(())
    };
    let measured = async {
        issue(asks.len()).await?;
        let before = settled(&stage, &program, asks.len()).await?;
        issue(certificates).await?;
        let after = settled(&stage, &program, asks.len() + certificates).await?;
        anyhow::Ok((before, after))
    };
    let (before, after) = measured.await.map_err(|error| program.blame(error))?;
    program.stop().await?;
    stage.close().await?;
    let of = |kind: &[Allowed]| {
        let count = |metrics: &Metrics| kind.iter().map(|it| it.count(metrics)).sum::<f64>();
        #[allow(clippy::cast_precision_loss, reason = "some hundreds")]
        let each = (count(&after) - count(&before)) / certificates as f64;
        each
    };
    let (writes, reads) = (of(WRITES), of(READS));
    ensure!(
        writes >= 1.0,
        "the server counts {writes} writes for each certificate, so it counts something else"
    );
    Ok(Cost {
        certificates,
        writes,
        reads,
    })
}

/// What the server counts once the program knows of all its answers: a request counts when its
/// answer has been sent, which may be after the watch has shown what it did.
async fn settled(stage: &Stage, program: &Program, issued: usize) -> Result<Metrics> {
    let started = Instant::now();
    loop {
        #[allow(clippy::cast_precision_loss, reason = "some hundreds")]
        let known = program.metrics().await?.sum("podcert_requests_total", &[]) >= issued as f64;
        if known {
            return stage.server_metrics().await;
        }
        if started.elapsed() > PATIENCE {
            bail!("the program does not count all of {issued} answers");
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// A kind of request that the program's role allows: group, resource, subresource, verb.
struct Allowed(&'static str, &'static str, &'static str, &'static str);

impl Allowed {
    fn count(&self, metrics: &Metrics) -> f64 {
        let Self(group, resource, subresource, verb) = self;
        let labels = [
            ("group", *group),
            ("resource", resource),
            ("subresource", subresource),
            ("verb", verb),
        ];
        metrics.sum("apiserver_request_total", &labels)
    }
}

const CERTIFICATES: &str = "certificates.k8s.io";
const WRITES: &[Allowed] = &[
    Allowed(CERTIFICATES, "podcertificaterequests", "", "PUT"),
    Allowed(CERTIFICATES, "podcertificaterequests", "status", "PUT"),
    Allowed(CERTIFICATES, "clustertrustbundles", "", "POST"),
    Allowed(CERTIFICATES, "clustertrustbundles", "", "PUT"),
    Allowed(CERTIFICATES, "clustertrustbundles", "", "DELETE"),
    Allowed("events.k8s.io", "events", "", "POST"),
];
const READS: &[Allowed] = &[
    Allowed(CERTIFICATES, "podcertificaterequests", "", "GET"),
    Allowed(CERTIFICATES, "podcertificaterequests", "", "LIST"),
    Allowed(CERTIFICATES, "clustertrustbundles", "", "GET"),
    Allowed(CERTIFICATES, "clustertrustbundles", "", "LIST"),
    Allowed("", "pods", "", "GET"),
    Allowed("", "pods", "", "LIST"),
    Allowed("", "services", "", "GET"),
    Allowed("", "services", "", "LIST"),
];
const CERTIFICATES_ISSUED: usize = 500;
/// Requests not answered yet.
const AT_ONCE: usize = 16;
