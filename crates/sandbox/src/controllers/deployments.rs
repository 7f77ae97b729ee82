//! Deployments become pods.
//!
//! The pods belong to their Deployment directly: there are no ReplicaSets, since a sandbox has no history to roll back
//! to. Names, labels and the hash of the template look as in a cluster (`<deployment>-<hash>-<5 characters>`,
//! `pod-template-hash`), and updates roll with `maxSurge` and `maxUnavailable`. [`plan`] decides from one look at a
//! Deployment and its pods; the loop looks again after each change. It reads the API, not a cache: a pod it has just
//! created is never created twice.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use podcert_runtime::SharedClock;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::pods::{controller_of, delete, is_active, is_ready, owner, pod_of, template_hash};

/// What to do for a Deployment now.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Plan {
    /// How many pods of the present template to create.
    create: usize,
    /// Which pods to delete, by name.
    delete: Vec<String>,
}

/// Runs until `stop`.
pub(crate) async fn run(client: Client, clock: SharedClock, stop: CancellationToken) {
    let (bell, mut rung) = mpsc::channel(1);
    let deployments = super::ring::<Deployment>(client.clone(), bell.clone(), stop.clone());
    let pods = super::ring::<Pod>(client.clone(), bell, stop.clone());
    let work = async {
        while rung.recv().await.is_some() {
            while let Err(error) = reconcile(&client, &clock).await {
                tracing::debug!(%error, "Deployments are looked at again");
                tokio::time::sleep(RETRY).await;
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        ((), (), ()) = async { tokio::join!(deployments, pods, work) } => {}
    }
}

async fn reconcile(client: &Client, clock: &SharedClock) -> kube::Result<()> {
    let everything = ListParams::default();
    let deployments = Api::<Deployment>::all(client.clone())
        .list(&everything)
        .await?;
    let pods = Api::<Pod>::all(client.clone()).list(&everything).await?;
    let mut there = BTreeSet::new();
    for deployment in &deployments {
        there.extend(deployment.uid());
        let owned: Vec<&Pod> = pods
            .iter()
            .filter(|pod| {
                owner::<Deployment>(pod)
                    .is_some_and(|owner| Some(&owner.uid) == deployment.metadata.uid.as_ref())
            })
            .collect();
        if deployment.metadata.deletion_timestamp.is_none() {
            execute(client, deployment, &plan(deployment, &owned)).await?;
            report(client, deployment, &owned, clock.now()).await?;
        }
    }
    for pod in &pods {
        let orphaned = owner::<Deployment>(pod).is_some_and(|owner| !there.contains(&owner.uid));
        if orphaned && pod.metadata.deletion_timestamp.is_none() {
            delete(
                client,
                &pod.namespace().unwrap_or_default(),
                &pod.name_any(),
            )
            .await?;
        }
    }
    Ok(())
}

/// What brings the Deployment's pods nearer to what it wants, without ever having more than `replicas + maxSurge` of
/// them or fewer than `replicas - maxUnavailable` Ready ones on its own account.
fn plan(deployment: &Deployment, owned: &[&Pod]) -> Plan {
    let spec = &deployment.spec;
    let desired = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or_default();
    if desired > MAX_PODS {
        tracing::warn!(
            deployment = deployment.name_any(),
            "only {MAX_PODS} of its {desired} replicas are made"
        );
    }
    let desired = desired.min(MAX_PODS);
    let hash = template_hash(&spec.template);
    let is_new = |pod: &&&Pod| pod.labels().get(HASH_LABEL) == Some(&hash);
    let (new, old): (Vec<&Pod>, Vec<&Pod>) = owned
        .iter()
        .filter(|pod| is_active(pod))
        .partition(|pod| is_new(pod));

    let mut plan = Plan::default();
    // The surplus of new ones: what is not Ready goes first, then the youngest.
    let mut surplus = new.clone();
    surplus.sort_by_key(|pod| {
        (
            is_ready(pod),
            std::cmp::Reverse(pod.creation_timestamp()),
            pod.name_any(),
        )
    });
    let too_many = new.len().saturating_sub(desired);
    plan.delete
        .extend(surplus.iter().take(too_many).map(|pod| pod.name_any()));

    let strategy = spec.strategy.as_ref();
    if strategy.is_some_and(|strategy| strategy.type_.as_deref() == Some("Recreate")) {
        plan.delete.extend(old.iter().map(|pod| pod.name_any()));
        let old_there = owned.iter().any(|pod| !is_new(&pod));
        if !old_there {
            plan.create = desired.saturating_sub(new.len());
        }
        return plan;
    }

    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    let surge = share(
        rolling.and_then(|r| r.max_surge.as_ref()),
        desired,
        Round::Up,
    );
    let unavailable = share(
        rolling.and_then(|r| r.max_unavailable.as_ref()),
        desired,
        Round::Down,
    );
    // Both zero would never move; the real controller takes one as unavailable then.
    let unavailable = if surge == 0 {
        unavailable.max(1)
    } else {
        unavailable
    };

    let room = desired
        .saturating_add(surge)
        .saturating_sub(new.len() + old.len());
    plan.create = desired.saturating_sub(new.len()).min(room);

    let (ready, unready): (Vec<&Pod>, Vec<&Pod>) = old.iter().partition(|pod| is_ready(pod));
    plan.delete.extend(unready.iter().map(|pod| pod.name_any()));
    let available = ready.len() + new.iter().filter(|pod| is_ready(pod)).count();
    let spare = available.saturating_sub(desired.saturating_sub(unavailable));
    plan.delete
        .extend(ready.iter().take(spare).map(|pod| pod.name_any()));
    plan
}

async fn execute(client: &Client, deployment: &Deployment, plan: &Plan) -> kube::Result<()> {
    let namespace = deployment.namespace().unwrap_or_default();
    for name in &plan.delete {
        delete(client, &namespace, name).await?;
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    for _ in 0..plan.create {
        match pods.create(&PostParams::default(), &pod(deployment)).await {
            // A pod the API server refuses is refused again until the Deployment changes.
            Err(kube::Error::Api(status)) if status.is_invalid() || status.code == 400 => {
                let name = deployment.name_any();
                tracing::warn!(%namespace, name, message = status.message, "its pods are invalid");
                return Ok(());
            }
            created => created?,
        };
    }
    Ok(())
}

/// A pod of the Deployment's present template.
fn pod(deployment: &Deployment) -> Pod {
    let hash = template_hash(&deployment.spec.template);
    let owner = controller_of(deployment);
    let name = format!("{}-{hash}-", deployment.name_any());
    pod_of(
        &deployment.spec.template,
        owner,
        &name,
        deployment.metadata.namespace.clone(),
        [(HASH_LABEL, hash)],
    )
}

async fn report(
    client: &Client,
    deployment: &Deployment,
    owned: &[&Pod],
    now: Timestamp,
) -> kube::Result<()> {
    let spec = &deployment.spec;
    let hash = template_hash(&spec.template);
    let count = |holds: &dyn Fn(&Pod) -> bool| {
        let pods = owned
            .iter()
            .filter(|pod| is_active(pod) && holds(pod))
            .count();
        i32::try_from(pods).unwrap_or(i32::MAX)
    };
    let ready = count(&is_ready);
    let desired = spec.replicas.unwrap_or(1);
    let updated = count(&|pod| pod.labels().get(HASH_LABEL) == Some(&hash));
    let (ready_enough, complete) = (
        ready >= desired,
        updated >= desired && ready >= desired && count(&|_| true) == updated,
    );
    let old = deployment.status.clone().unwrap_or_default();
    let condition = |type_: &str, holds: bool, reason: &str, message: String| {
        let status = if holds { "True" } else { "False" };
        let held = old.conditions.iter().flatten().find(|c| {
            c.type_.as_deref() == Some(type_)
                && c.status.as_deref() == Some(status)
                && c.reason.as_deref() == Some(reason)
        });
        held.cloned().unwrap_or_else(|| DeploymentCondition {
            type_: Some(type_.to_owned()),
            status: Some(status.to_owned()),
            reason: Some(reason.to_owned()),
            last_transition_time: Some(Time(now)),
            last_update_time: Some(Time(now)),
            message: Some(message),
        })
    };
    let name = deployment.name_any();
    let conditions = vec![
        if ready_enough {
            let message = "Deployment has minimum availability.".to_owned();
            condition("Available", true, "MinimumReplicasAvailable", message)
        } else {
            let message = "Deployment does not have minimum availability.".to_owned();
            condition("Available", false, "MinimumReplicasUnavailable", message)
        },
        if complete {
            let message = format!("Deployment {name:?} has successfully progressed.");
            condition("Progressing", true, "NewReplicaSetAvailable", message)
        } else {
            let message = format!("Deployment {name:?} is progressing.");
            condition("Progressing", true, "ReplicaSetUpdated", message)
        },
    ];
    let status = DeploymentStatus {
        available_replicas: Some(ready),
        conditions: Some(conditions),
        observed_generation: deployment.metadata.generation,
        ready_replicas: Some(ready),
        replicas: Some(count(&|_| true)),
        unavailable_replicas: Some(desired.saturating_sub(ready).max(0)),
        updated_replicas: Some(updated),
        ..DeploymentStatus::default()
    };
    if Some(&status) == deployment.status.as_ref() {
        return Ok(());
    }
    let deployments: Api<Deployment> =
        Api::namespaced(client.clone(), &deployment.namespace().unwrap_or_default());
    let patch = Patch::Merge(serde_json::json!({ "status": status }));
    match deployments
        .patch_status(&name, &PatchParams::default(), &patch)
        .await
    {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        patched => patched.map(|_| ()),
    }
}

/// Which way a percentage is rounded.
#[derive(Clone, Copy)]
enum Round {
    Down,
    Up,
}

/// A count or a percentage of `whole`; a quarter when it is not given.
fn share(value: Option<&IntOrString>, whole: usize, round: Round) -> usize {
    let percent = match value {
        Some(IntOrString::Int(count)) => return usize::try_from(*count).unwrap_or_default(),
        Some(IntOrString::String(text)) => text
            .strip_suffix('%')
            .and_then(|p| p.parse().ok())
            .unwrap_or(25),
        None => 25,
    };
    let scaled = whole.saturating_mul(percent);
    match round {
        Round::Down => scaled / 100,
        Round::Up => scaled.div_ceil(100),
    }
}

const HASH_LABEL: &str = "pod-template-hash";
/// No manifest fills the memory with pods. How many of them become processes is up to the nodes, which take 110 each.
const MAX_PODS: usize = 2000;
const RETRY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
