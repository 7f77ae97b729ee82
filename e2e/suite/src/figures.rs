//! How many certificates a second, beside a signer that does nothing.
//!
//! A closed loop: each slot makes a request, sees it issued, and makes the next. It is run against
//! podcert and against the [null signer](crate::null_signer) by turns, on the same server, for the
//! same pods and key, so that what the machine does meanwhile hits both; the figure is the median
//! of the turns' quotients.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use http::{Method, Request, header};
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::client::Body;
use kube::core::WatchEvent;
use podcert_authority::{Authority, Pool};
use podcert_cases::User;
use podcert_cases::material::KeyType;
use podcert_controller::DEFAULT_CONCURRENCY;
use podcert_pki::{ExtKeyUsages, LeafNames, LeafSpec, Validity};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::cluster::process::Process;
use crate::faults::{connect, request};
use crate::harness::{
    Ask, CaKind, CaPool, Plan, Pod, Population, Program, Setup, Source, Stage, WorkloadKey, now,
};
use crate::release::Skew;
use crate::report::Goal;
use crate::run::{Context, Outcome};
use crate::say;

/// podcert's share of what the null signer issues.
pub(crate) async fn step(context: Context) -> Result<Outcome> {
    let skew = Skew::none(context.release);
    let measured = Throughput::measure(&context.cluster.kubeconfig(), skew).await?;
    let (share, podcert, null) = (measured.share(), measured.podcert(), measured.null());
    for (podcert, null) in &measured.turns {
        say(&format!(
            "certificates per second: podcert {podcert:.0}, null signer {null:.0}"
        ));
    }
    Ok(Outcome::of(format!("{TURNS} turns"))
        .with(
            "e2e_issued_per_second_vs_null_signer",
            share,
            Goal::AtLeastWhenQuiet(0.95),
        )
        .with("e2e_issued_per_second", podcert, Goal::Shown)
        .with("e2e_issued_per_second_null_signer", null, Goal::Shown))
}

/// What was measured.
#[derive(Clone, Debug)]
pub(crate) struct Throughput {
    /// Certificates per second with podcert and with the null signer, turn by turn.
    pub(crate) turns: Vec<(f64, f64)>,
}

impl Throughput {
    /// podcert's share of what the null signer reaches: the median of the turns.
    pub(crate) fn share(&self) -> f64 {
        median(self.turns.iter().map(|(podcert, null)| podcert / null))
    }

    /// podcert's certificates per second.
    pub(crate) fn podcert(&self) -> f64 {
        median(self.turns.iter().map(|(podcert, _)| *podcert))
    }

    /// The null signer's.
    pub(crate) fn null(&self) -> f64 {
        median(self.turns.iter().map(|(_, null)| *null))
    }

    /// Measures on the server of an administrator's kubeconfig, which nobody else should use
    /// meanwhile.
    ///
    /// # Errors
    /// When anything is refused, or not answered in time.
    pub(crate) async fn measure(kubeconfig: &Path, skew: Skew) -> Result<Self> {
        let stage = Stage::open(kubeconfig, skew, "rate").await?;
        let signers = ["spiffe", "null"].map(|policy| stage.signer(policy));
        let plan = Plan {
            namespaces: 1,
            pods_per_namespace: PODS,
            sources: signers.iter().cloned().map(Source::of).collect(),
        };
        let population = Population::create(&stage, &plan).await?;
        let key = WorkloadKey::new(KeyType::P256)?;
        let setup = Setup::all(&stage, &CaPool::of(CaKind::USUAL)?).await?;
        let program = Program::start(&setup).await?;

        let pod = population.pods.first().context("a population of nobody")?;
        let status = prepare(&stage, &setup, pod, &key).await?;
        let arguments = [
            "null-signer".to_owned(),
            format!("--kubeconfig={}", setup.kubeconfig.display()),
            format!("--signer={}", stage.signer("null")),
            format!("--api={}", skew.api().as_str()),
            format!("--status={}", status.display()),
            format!("--concurrency={DEFAULT_CONCURRENCY}"),
        ];
        let us = std::env::current_exe()?;
        let log = stage.folder.join("null-signer.log");
        let null_signer = Process::spawn("null-signer", &us, &arguments, &log)?;

        let loads = signers.map(|signer| Load::new(&stage, &population, &signer, &key));
        let client = connect(kubeconfig, &User::node(&population.node.name)).await?;
        let admin = connect(kubeconfig, &User::admin()).await?;
        let mut turns = Vec::new();
        for turn in 0..TURNS {
            let [podcert, null] = &loads;
            // One at both ends, the other between: what changes steadily meanwhile hits both alike.
            let order = match turn % 2 {
                0 => [null, podcert, podcert, null],
                _ => [podcert, null, null, podcert],
            };
            let blocks = order.into_iter().cycle().take(2 * usize::from(BLOCKS));
            let (mut for_podcert, mut for_null) = (Duration::ZERO, Duration::ZERO);
            for load in blocks {
                let took = load.run(&client, &admin).await;
                let took = took.with_context(|| null_signer.log_end())?;
                if std::ptr::eq(load, podcert) {
                    for_podcert += took;
                } else {
                    for_null += took;
                }
            }
            let counted = f64::from(COUNTED) * f64::from(BLOCKS);
            let rate = |took: Duration| counted / took.as_secs_f64();
            turns.push((rate(for_podcert), rate(for_null)));
        }
        null_signer.kill().await;
        program.stop().await?;
        stage.close().await?;
        Ok(Self { turns })
    }
}

/// A status for every request of the null signer: a certificate for its key, from podcert's own
/// pool and as podcert makes it, in a file.
async fn prepare(stage: &Stage, setup: &Setup, pod: &Pod, key: &WorkloadKey) -> Result<PathBuf> {
    let authority = Authority::from_pool(Pool::from_json(&fs::read(&setup.pool)?)?);
    // As far ahead of the server's limit as it may be: five minutes are more than all turns need.
    let begin = Timestamp::from_second(now().as_second())?;
    let end = begin + SignedDuration::from_hours(24);
    let id = format!(
        "spiffe://{}/ns/{}/sa/{}",
        Setup::TRUST_DOMAIN,
        pod.namespace,
        pod.service_account
    );
    let spec = LeafSpec::new(
        key.public.clone(),
        LeafNames::Spiffe(id.parse()?),
        ExtKeyUsages::SERVER_AND_CLIENT,
        Validity::new(begin, end)?,
    )?;
    let status = json!({
        "conditions": [{
            "type": "Issued",
            "status": "True",
            "reason": "Issued",
            "message": "certificate issued",
            "lastTransitionTime": format!("{begin:.0}"),
        }],
        "certificateChain": authority.issue(&spec).await?.to_pem(),
        "notBefore": format!("{begin:.0}"),
        "beginRefreshAt": format!("{:.0}", begin + SignedDuration::from_hours(12)),
        "notAfter": format!("{end:.0}"),
    });
    let path = stage.folder.join("status.json");
    fs::write(&path, status.to_string())?;
    Ok(path)
}

/// The value in the middle.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Requests of some pods for one signer.
#[derive(Clone, Debug)]
struct Load {
    /// The path of their namespace's requests.
    path: String,
    /// Ready but for their names, made by turns.
    requests: Vec<Value>,
}

impl Load {
    fn new(stage: &Stage, population: &Population, signer: &str, key: &Arc<WorkloadKey>) -> Self {
        Self {
            path: format!(
                "/apis/certificates.k8s.io/{}/namespaces/{}/podcertificaterequests",
                stage.skew.api().as_str(),
                stage.scoped("0"),
            ),
            requests: population
                .pods
                .iter()
                .map(|pod| request(stage, &Ask::new(pod, signer, key)))
                .collect(),
        }
    }

    /// How long it takes to issue [`COUNTED`] certificates, once it has warmed up. What was made is
    /// deleted.
    async fn run(&self, node: &Client, admin: &Client) -> Result<Duration> {
        let issue = timeout(PATIENCE, self.issue(node, admin));
        let took = issue
            .await
            .context("the requests were not all answered")??;
        send(admin, Method::DELETE, self.path.clone(), None)
            .await
            .context("the answered requests are not deleted")?;
        Ok(took)
    }

    async fn issue(&self, node: &Client, admin: &Client) -> Result<Duration> {
        let path = format!("{}?watch=true&timeoutSeconds=600", self.path);
        let watch = async || {
            let request = Request::get(&path).body(Vec::new())?;
            let events = admin.request_events::<Asked>(request).await?;
            anyhow::Ok(events.boxed())
        };
        let mut events = watch().await?;
        let mut creations = FuturesUnordered::new();
        let mut open = HashSet::new();
        let mut requests = self.requests.iter().cycle();
        let (mut made, mut issued) = (0, 0);
        let mut began = Instant::now();
        let mut took = None;
        // After the last that counts the load goes on until it is seen, then it drains.
        while took.is_none() || !open.is_empty() || !creations.is_empty() {
            while took.is_none() && open.len() < SLOTS {
                made += 1;
                let name = format!("load-{made}");
                let mut request = requests.next().context("nobody asks")?.clone();
                request["metadata"]["name"] = name.clone().into();
                let body = request.to_string();
                creations.push(send(node, Method::POST, self.path.clone(), Some(body)));
                open.insert(name);
            }
            let event = tokio::select! {
                biased;
                Some(created) = creations.next(), if !creations.is_empty() => {
                    created?;
                    continue;
                }
                event = events.next() => event,
            };
            let asked = match event {
                // A server may end a watch at any time. The next begins with what there is.
                Some(Err(_)) | None => {
                    events = watch().await?;
                    continue;
                }
                Some(Ok(event)) => event,
            };
            let asked = match asked {
                WatchEvent::Added(asked) | WatchEvent::Modified(asked) => asked,
                WatchEvent::Error(status) => bail!("the watch broke: {}", status.message),
                _ => continue,
            };
            let Some(condition) = asked.status.conditions.first() else {
                continue;
            };
            ensure!(
                condition.type_ == "Issued",
                "{} was answered {}: {}",
                asked.metadata.name,
                condition.type_,
                condition.message
            );
            if open.remove(&asked.metadata.name) {
                issued += 1;
                if issued == WARM_UP {
                    began = Instant::now();
                }
                if issued == WARM_UP + COUNTED {
                    took = Some(began.elapsed());
                }
            }
        }
        took.context("nothing was measured")
    }
}

#[derive(Clone, Debug, Deserialize)]
struct Asked {
    metadata: Name,
    #[serde(default)]
    status: Status,
}

#[derive(Clone, Debug, Deserialize)]
struct Name {
    name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Status {
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    type_: String,
    #[serde(default)]
    message: String,
}

async fn send(client: &Client, method: Method, path: String, body: Option<String>) -> Result<()> {
    let line = format!("{method} {path}");
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.unwrap_or_default().into_bytes()))?;
    let response = client.send(request).await?;
    let code = response.status();
    let body = response.into_body().collect_bytes().await?;
    ensure!(
        code.is_success(),
        "{line}: {code}: {}",
        String::from_utf8_lossy(&body)
    );
    Ok(())
}

/// As many as podcert answers at a time.
const SLOTS: usize = 32;
const TURNS: usize = 5;
const PODS: usize = 20;
/// Blocks of each in a turn. Many short ones: what else the machine does comes and goes within seconds, and
/// with two blocks of four seconds each it moved the figure by a tenth either way.
const BLOCKS: u8 = 8;
const WARM_UP: u32 = 50;
const COUNTED: u32 = 250;
const PATIENCE: Duration = Duration::from_secs(120);
