//! Deployments become pods, on the one node there is.
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
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use podcert_runtime::SharedClock;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What to do for a Deployment now.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Plan {
    /// How many pods of the present template to create.
    create: usize,
    /// Which pods to delete, by name.
    delete: Vec<String>,
}

/// Runs until `stop`. `node` is where every pod goes.
pub(crate) async fn run(client: Client, node: String, clock: SharedClock, stop: CancellationToken) {
    let (bell, mut rung) = mpsc::channel(1);
    let deployments = super::ring::<Deployment>(client.clone(), bell.clone(), stop.clone());
    let pods = super::ring::<Pod>(client.clone(), bell, stop.clone());
    let work = async {
        while rung.recv().await.is_some() {
            while let Err(error) = reconcile(&client, &node, &clock).await {
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

async fn reconcile(client: &Client, node: &str, clock: &SharedClock) -> kube::Result<()> {
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
                owner(pod).is_some_and(|owner| Some(&owner.uid) == deployment.metadata.uid.as_ref())
            })
            .collect();
        if deployment.metadata.deletion_timestamp.is_none() {
            execute(client, node, deployment, &plan(deployment, &owned)).await?;
            report(client, deployment, &owned, clock.now()).await?;
        }
    }
    for pod in &pods {
        let orphaned = owner(pod).is_some_and(|owner| !there.contains(&owner.uid));
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

async fn execute(
    client: &Client,
    node: &str,
    deployment: &Deployment,
    plan: &Plan,
) -> kube::Result<()> {
    let namespace = deployment.namespace().unwrap_or_default();
    for name in &plan.delete {
        delete(client, &namespace, name).await?;
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    for _ in 0..plan.create {
        match pods
            .create(&PostParams::default(), &pod(deployment, node))
            .await
        {
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

async fn delete(client: &Client, namespace: &str, name: &str) -> kube::Result<()> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    match pods.delete(name, &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        deleted => deleted.map(|_| ()),
    }
}

/// A pod of the Deployment's present template.
fn pod(deployment: &Deployment, node: &str) -> Pod {
    let template = deployment.spec.template.clone();
    let hash = template_hash(&template);
    let template_meta = template.metadata.unwrap_or_default();
    let mut labels = template_meta.labels.unwrap_or_default();
    labels.insert(HASH_LABEL.to_owned(), hash.clone());
    let mut spec = template.spec.unwrap_or_default();
    bind(&mut spec, node);
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-{hash}-", deployment.name_any())),
            namespace: deployment.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: template_meta.annotations,
            owner_references: Some(vec![OwnerReference {
                api_version: "apps/v1".to_owned(),
                kind: KIND.to_owned(),
                name: deployment.name_any(),
                uid: deployment.uid().unwrap_or_default(),
                controller: Some(true),
                block_owner_deletion: Some(true),
            }]),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        status: None,
    }
}

/// What scheduler and ServiceAccount admission would fill in: the node, and the service account `default`.
pub(crate) fn bind(spec: &mut k8s_openapi::api::core::v1::PodSpec, node: &str) {
    spec.node_name.get_or_insert_with(|| node.to_owned());
    let account = spec
        .service_account_name
        .clone()
        .or_else(|| spec.service_account.clone());
    let account = account
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "default".to_owned());
    spec.service_account_name = Some(account.clone());
    spec.service_account = Some(account);
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
    let available = if ready >= desired { "True" } else { "False" };
    let old = deployment.status.clone().unwrap_or_default();
    let held =
        old.conditions.iter().flatten().find(|c| {
            c.type_.as_deref() == Some(AVAILABLE) && c.status.as_deref() == Some(available)
        });
    let condition = held.cloned().unwrap_or_else(|| DeploymentCondition {
        type_: Some(AVAILABLE.to_owned()),
        status: Some(available.to_owned()),
        reason: Some(
            if ready >= desired {
                "MinimumReplicasAvailable"
            } else {
                "MinimumReplicasUnavailable"
            }
            .to_owned(),
        ),
        last_transition_time: Some(Time(now)),
        last_update_time: Some(Time(now)),
        message: None,
    });
    let status = DeploymentStatus {
        available_replicas: Some(ready),
        conditions: Some(vec![condition]),
        observed_generation: deployment.metadata.generation,
        ready_replicas: Some(ready),
        replicas: Some(count(&|_| true)),
        unavailable_replicas: Some(desired.saturating_sub(ready).max(0)),
        updated_replicas: Some(count(&|pod| pod.labels().get(HASH_LABEL) == Some(&hash))),
        ..DeploymentStatus::default()
    };
    if Some(&status) == deployment.status.as_ref() {
        return Ok(());
    }
    let deployments: Api<Deployment> =
        Api::namespaced(client.clone(), &deployment.namespace().unwrap_or_default());
    let patch = Patch::Merge(serde_json::json!({ "status": status }));
    let name = deployment.name_any();
    match deployments
        .patch_status(&name, &PatchParams::default(), &patch)
        .await
    {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        patched => patched.map(|_| ()),
    }
}

fn owner(pod: &Pod) -> Option<&OwnerReference> {
    pod.owner_references()
        .iter()
        .find(|owner| owner.kind == KIND && owner.controller == Some(true))
}

fn is_active(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    pod.metadata.deletion_timestamp.is_none() && !matches!(phase, Some("Failed" | "Succeeded"))
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
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

/// Ten characters that change with the template, in the alphabet that Kubernetes uses so that no words come out.
fn template_hash(template: &PodTemplateSpec) -> String {
    let text = serde_json::to_string(template).unwrap_or_default();
    // FNV-1a, 64 bits.
    let mut hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mut name = String::new();
    for _ in 0..10 {
        let place = usize::try_from(hash % ALPHABET.len() as u64).unwrap_or_default();
        name.extend(ALPHABET.chars().nth(place));
        hash /= ALPHABET.len() as u64;
    }
    name
}

const ALPHABET: &str = "bcdfghjklmnpqrstvwxz2456789";
const AVAILABLE: &str = "Available";
const HASH_LABEL: &str = "pod-template-hash";
const KIND: &str = "Deployment";
/// What a node takes by default. Each pod is a process on somebody's laptop.
const MAX_PODS: usize = 110;
const RETRY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
