//! DaemonSets become one pod on each node that their template selects.
//!
//! As with Deployments the pods belong to their DaemonSet directly and it has no history. A pod of an old template goes
//! when the new one may take its place: `maxUnavailable` at a time, or with `OnDelete` when somebody deletes it.
//! [`plan`] decides from one look; the loop looks again after each change.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::pods::{
    controller_of, delete, is_active, is_over, is_ready, owner, pod_of, template_hash,
};
use super::scheduler::selects;

/// What to do for a DaemonSet now.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Plan {
    /// The nodes that get a pod of the present template.
    create: Vec<String>,
    /// Which pods to delete, by name.
    delete: Vec<String>,
}

/// Runs until `stop`.
pub(crate) async fn run(client: Client, stop: CancellationToken) {
    let (bell, mut rung) = mpsc::channel(1);
    let watching = async {
        tokio::join!(
            super::ring::<DaemonSet>(client.clone(), bell.clone(), stop.clone()),
            super::ring::<Pod>(client.clone(), bell.clone(), stop.clone()),
            super::ring::<Node>(client.clone(), bell.clone(), stop.clone()),
        )
    };
    let work = async {
        let mut any = false;
        while rung.recv().await.is_some() {
            while let Err(error) = reconcile(&client, &mut any).await {
                tracing::debug!(%error, "DaemonSets are looked at again");
                tokio::time::sleep(RETRY).await;
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        _ = async { tokio::join!(watching, work) } => {}
    }
}

/// `any` is whether there has ever been a DaemonSet: without, nothing is read whenever a pod changes.
async fn reconcile(client: &Client, any: &mut bool) -> kube::Result<()> {
    let everything = ListParams::default();
    let sets = Api::<DaemonSet>::all(client.clone())
        .list(&everything)
        .await?;
    *any |= !sets.items.is_empty();
    if !*any {
        return Ok(());
    }
    let pods = Api::<Pod>::all(client.clone()).list(&everything).await?;
    let nodes = Api::<Node>::all(client.clone()).list(&everything).await?;
    let mut there = BTreeSet::new();
    for set in &sets {
        there.extend(set.uid());
        let owned: Vec<&Pod> = pods
            .iter()
            .filter(|pod| {
                owner::<DaemonSet>(pod)
                    .is_some_and(|owner| Some(&owner.uid) == set.metadata.uid.as_ref())
            })
            .collect();
        if set.metadata.deletion_timestamp.is_none() {
            execute(client, set, &plan(set, &nodes.items, &owned)).await?;
            report(client, set, &nodes.items, &owned).await?;
        }
    }
    for pod in &pods {
        let orphaned = owner::<DaemonSet>(pod).is_some_and(|owner| !there.contains(&owner.uid));
        if orphaned && pod.metadata.deletion_timestamp.is_none() {
            let namespace = pod.namespace().unwrap_or_default();
            delete(client, &namespace, &pod.name_any()).await?;
        }
    }
    Ok(())
}

/// What brings the DaemonSet's pods nearer to what it wants.
fn plan(set: &DaemonSet, nodes: &[Node], owned: &[&Pod]) -> Plan {
    let mut plan = Plan::default();
    let wanted = wanted(set, nodes);
    let hash = hash(set);
    let mut unavailable = 0;
    let mut old: Vec<&Pod> = Vec::new();
    for node in &wanted {
        let on_node = owned.iter().filter(|pod| node_of(pod) == Some(node));
        let mut active = on_node.clone().filter(|pod| is_active(pod));
        match active.next() {
            // A pod that is going has the place until it is gone.
            None if on_node.clone().any(|pod| !is_over(pod)) => unavailable += 1,
            None => {
                plan.create.push(node.clone());
                unavailable += 1;
            }
            Some(pod) => {
                unavailable += usize::from(!is_ready(pod));
                if pod.labels().get(HASH_LABEL) != Some(&hash) {
                    old.push(pod);
                }
            }
        }
        plan.delete.extend(active.map(|pod| pod.name_any()));
    }
    let misplaced = |pod: &&&Pod| {
        let placed = node_of(pod).is_some_and(|node| wanted.iter().any(|it| it == node));
        pod.metadata.deletion_timestamp.is_none() && (!placed || is_over(pod))
    };
    let misplaced = owned.iter().filter(misplaced);
    plan.delete.extend(misplaced.map(|pod| pod.name_any()));

    let strategy = set.spec.update_strategy.as_ref();
    if strategy.is_some_and(|strategy| strategy.type_.as_deref() == Some("OnDelete")) {
        return plan;
    }
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    let most = match rolling.and_then(|rolling| rolling.max_unavailable.as_ref()) {
        Some(IntOrString::Int(count)) => usize::try_from(*count).unwrap_or(1),
        Some(IntOrString::String(text)) => {
            let percent = text.strip_suffix('%').and_then(|p| p.parse::<usize>().ok());
            (wanted.len() * percent.unwrap_or(0)).div_ceil(100)
        }
        None => 1,
    };
    // An old pod that is not Ready costs nothing.
    let (ready, unready): (Vec<&Pod>, Vec<&Pod>) = old.into_iter().partition(|pod| is_ready(pod));
    plan.delete.extend(unready.iter().map(|pod| pod.name_any()));
    let spare = most.max(1).saturating_sub(unavailable);
    plan.delete
        .extend(ready.iter().take(spare).map(|pod| pod.name_any()));
    plan
}

async fn execute(client: &Client, set: &DaemonSet, plan: &Plan) -> kube::Result<()> {
    let namespace = set.namespace().unwrap_or_default();
    for name in &plan.delete {
        delete(client, &namespace, name).await?;
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    for node in &plan.create {
        match pods.create(&PostParams::default(), &pod(set, node)).await {
            // A pod the API server refuses is refused again until the DaemonSet changes.
            Err(kube::Error::Api(status)) if status.is_invalid() || status.code == 400 => {
                let name = set.name_any();
                tracing::warn!(%namespace, name, message = status.message, "its pods are invalid");
                return Ok(());
            }
            created => drop(created?),
        }
    }
    Ok(())
}

/// A pod of the DaemonSet's present template, on this node.
fn pod(set: &DaemonSet, node: &str) -> Pod {
    let mut made = pod_of(
        &set.spec.template,
        controller_of(set),
        &format!("{}-", set.name_any()),
        set.metadata.namespace.clone(),
        [(HASH_LABEL, hash(set))],
    );
    made.spec.get_or_insert_default().node_name = Some(node.to_owned());
    made
}

async fn report(
    client: &Client,
    set: &DaemonSet,
    nodes: &[Node],
    owned: &[&Pod],
) -> kube::Result<()> {
    let wanted = wanted(set, nodes);
    let hash = hash(set);
    let count = |holds: &dyn Fn(&Pod) -> bool| {
        let pods = owned.iter().filter(|pod| is_active(pod) && holds(pod));
        i32::try_from(pods.count()).unwrap_or(i32::MAX)
    };
    let placed = |pod: &Pod| node_of(pod).is_some_and(|node| wanted.iter().any(|it| it == node));
    let desired = i32::try_from(wanted.len()).unwrap_or(i32::MAX);
    let ready = count(&|pod| placed(pod) && is_ready(pod));
    let updated = count(&|pod| placed(pod) && pod.labels().get(HASH_LABEL) == Some(&hash));
    let status = DaemonSetStatus {
        current_number_scheduled: count(&placed),
        desired_number_scheduled: desired,
        number_available: Some(ready),
        number_misscheduled: count(&|pod| !placed(pod)),
        number_ready: ready,
        number_unavailable: Some(desired.saturating_sub(ready)),
        observed_generation: set.metadata.generation,
        updated_number_scheduled: Some(updated),
        ..DaemonSetStatus::default()
    };
    if Some(&status) == set.status.as_ref() {
        return Ok(());
    }
    let sets: Api<DaemonSet> =
        Api::namespaced(client.clone(), &set.namespace().unwrap_or_default());
    let patch = Patch::Merge(serde_json::json!({ "status": status }));
    match sets
        .patch_status(&set.name_any(), &PatchParams::default(), &patch)
        .await
    {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        patched => patched.map(|_| ()),
    }
}

/// The nodes that are to have a pod.
fn wanted(set: &DaemonSet, nodes: &[Node]) -> Vec<String> {
    let spec = set.spec.template.spec.as_ref();
    let named = spec.and_then(|spec| spec.node_name.as_deref());
    nodes
        .iter()
        .filter(|node| selects(spec, node))
        .map(ResourceExt::name_any)
        .filter(|name| named.is_none_or(|named| named == name))
        .collect()
}

fn hash(set: &DaemonSet) -> String {
    template_hash(&set.spec.template)
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

const HASH_LABEL: &str = "controller-revision-hash";
const RETRY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
