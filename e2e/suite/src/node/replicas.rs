//! Two replicas, as `podcert install` runs them, of which one is lost.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use super::polls::Clients;
use super::world::{Example, NAMESPACE, World};
use super::{PATIENCE, PAUSE, run_examples};
use crate::report::Goal;
use crate::run::{Context, Outcome};

/// How a replica is lost.
#[derive(Clone, Copy, Debug)]
enum Loss {
    /// Its pod is deleted without grace, as `kubectl delete --force --grace-period=0` does.
    Pod,
    /// Its process is killed; the kubelet starts another in the same pod.
    Process,
}

/// Clients go on, and new ones get their certificates in time.
pub(super) async fn lost(context: Context) -> Result<Outcome> {
    let world = World::on(Arc::clone(&context.cluster), &context).await?;
    run_examples(&world).await?;
    world.install().await?;
    let (mut watched, mut longest) = (0, Duration::ZERO);
    for loss in [Loss::Pod, Loss::Process] {
        let (polls, wait) = lose(&world, loss)
            .await
            .with_context(|| format!("a replica's {loss:?} lost"))?;
        watched += polls;
        longest = longest.max(wait);
    }
    // The next step starts its own, by another manifest.
    world.remove_controller().await?;
    Ok(
        Outcome::of(format!("{watched} calls, 0 failed; new clients served")).with(
            "node_replica_lost_certificate_seconds",
            longest.as_secs_f64(),
            Goal::AtMost(30.0),
        ),
    )
}

/// How many calls were watched, and how long a new certificate took at most.
async fn lose(world: &World, loss: Loss) -> Result<(u64, Duration)> {
    let stays = Clients::of(&world.client, Example::Unauthenticated.namespace());
    let comes = Clients::of(&world.client, Example::Spiffe.namespace());
    let clients = Example::Spiffe.clients();
    stays.settled(Example::Unauthenticated.clients()).await?;
    let known = known(&world.client, Example::Spiffe.namespace()).await?;
    let losing = async {
        loss.happen(world).await?;
        comes.replace_all().await?;
        comes.settled(clients).await?;
        comes.none_fails(clients).await
    };
    let (old, new) = tokio::try_join!(
        stays.none_fails_for(Example::Unauthenticated.clients(), WHILE_LOST),
        losing
    )?;
    let waits = waits(&world.client, Example::Spiffe.namespace(), &known).await?;
    ensure!(
        waits.len() >= clients,
        "{} requests of {clients} new clients",
        waits.len()
    );
    world.controllers_are_back().await?;
    Ok((old + new, waits.into_iter().max().unwrap_or_default()))
}

impl Loss {
    /// Returns when the API server has noticed.
    async fn happen(self, world: &World) -> Result<()> {
        let controllers = world.controllers().await?;
        ensure!(
            controllers.len() == 2,
            "{} replicas, not 2",
            controllers.len()
        );
        let victim = controllers.first().context("no replica")?;
        let pods: Api<Pod> = Api::namespaced(world.client.clone(), NAMESPACE);
        let name = victim.name_any();
        match self {
            Self::Pod => {
                pods.delete(&name, &DeleteParams::default().grace_period(0))
                    .await?;
            }
            Self::Process => {
                let before = restarts(victim);
                let process = process_in(&victim.uid().context("a pod without UID")?)?;
                kill_process(process, Signal::KILL)?;
                let deadline = Instant::now() + PATIENCE;
                while restarts(&pods.get(&name).await?) == before {
                    ensure!(Instant::now() < deadline, "{name} is not started again");
                    sleep(PAUSE).await;
                }
            }
        }
        Ok(())
    }
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref());
    statuses
        .into_iter()
        .flatten()
        .map(|status| status.restart_count)
        .sum()
}

/// The controller of the pod with this UID, among the processes of this machine.
fn process_in(pod: &str) -> Result<Pid> {
    for process in std::fs::read_dir("/proc")? {
        let process = process?;
        let read = |file: &str| std::fs::read(process.path().join(file)).unwrap_or_default();
        let number = process.file_name().to_string_lossy().parse().ok();
        if let Some(pid) = number.and_then(Pid::from_raw)
            && String::from_utf8_lossy(&read("cgroup")).contains(pod)
            && read("cmdline").starts_with(b"/podcert\0controller")
        {
            return Ok(pid);
        }
    }
    anyhow::bail!("no process of pod {pod}")
}

/// Requests at v1, as they are.
pub(super) fn requests(client: &Client, namespace: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("certificates.k8s.io", "v1", "PodCertificateRequest");
    Api::namespaced_with(client.clone(), namespace, &ApiResource::from_gvk(&kind))
}

/// The names of the requests there are.
async fn known(client: &Client, namespace: &str) -> Result<BTreeSet<String>> {
    let requests = requests(client, namespace);
    let requests = requests.list_metadata(&ListParams::default()).await?;
    Ok(requests.iter().map(ResourceExt::name_any).collect())
}

/// How long each request took that is not one of `known`, by the API server's clock.
async fn waits(
    client: &Client,
    namespace: &str,
    known: &BTreeSet<String>,
) -> Result<Vec<Duration>> {
    let mut waits = Vec::new();
    let requests = requests(client, namespace);
    for request in requests.list(&ListParams::default()).await? {
        if known.contains(&request.name_any()) {
            continue;
        }
        let made = request.creation_timestamp().context("no date")?.0;
        let condition = &request.data["status"]["conditions"][0];
        ensure!(
            condition["type"] == "Issued",
            "{} is not issued: {condition}",
            request.name_any()
        );
        let answered = condition["lastTransitionTime"].as_str().unwrap_or_default();
        let answered: Timestamp = answered.parse().context("no date of the answer")?;
        waits.push(Duration::try_from(answered.duration_since(made)).unwrap_or_default());
    }
    Ok(waits)
}

/// Polls of clients that go on, one a second: longer than a Lease lasts and is taken over.
const WHILE_LOST: u64 = 40;
