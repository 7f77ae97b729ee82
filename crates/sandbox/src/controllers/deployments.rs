//! Deployments become pods.
//!
//! The pods belong to their Deployment directly: there are no ReplicaSets, since a sandbox has no history to roll back
//! to. Names, labels and the hash of the template look as in a cluster (`<deployment>-<hash>-<5 characters>`,
//! `pod-template-hash`), and updates roll with `maxSurge` and `maxUnavailable`. [`plan`] decides from one look at a
//! Deployment and its pods; the loop looks again after each change. What it decides from the caches it decides once more
//! from the API before it does it: a pod it has just created is never created twice.

use std::collections::HashSet;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{Api, Client, ResourceExt};
use podcert_runtime::SharedClock;
use tokio_util::sync::CancellationToken;

use super::cache::{Cache, fresh};
use super::pods::{
    FAILED_CREATE, PodId, by_owner, collect, controller_of, is_active, is_ready, list_owned,
    pod_of, replace, template_hash, write_status,
};
use super::retries::{Retries, Trouble};
use crate::events::Events;

/// What to do for a Deployment now.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Plan {
    /// How many pods of the present template to create.
    create: usize,
    /// Which pods to delete.
    delete: Vec<PodId>,
}

/// Runs until `stop`.
pub(crate) async fn run(
    client: Client,
    clock: SharedClock,
    deployments: Cache<Deployment>,
    pods: Cache<Pod>,
    stop: CancellationToken,
) {
    let mut controller = Controller {
        events: Events::new(
            client.clone(),
            clock,
            "deployment-controller",
            String::new(),
        ),
        client,
        deployments,
        pods,
        retries: Retries::default(),
        reports: Retries::default(),
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = controller.run() => {}
    }
}

struct Controller {
    client: Client,
    events: Events,
    deployments: Cache<Deployment>,
    pods: Cache<Pod>,
    /// Deployments whose pods could not be made or taken away, and pods.
    retries: Retries,
    /// Deployments whose status could not be written.
    reports: Retries,
}

impl Controller {
    async fn run(&mut self) {
        tokio::join!(self.deployments.ready(), self.pods.ready());
        loop {
            self.pass().await;
            tokio::select! {
                () = self.deployments.changed() => {}
                () = self.pods.changed() => {}
                () = self.retries.next() => {}
                () = self.reports.next() => {}
            }
        }
    }

    async fn pass(&mut self) {
        let (deployments, pods) = (self.deployments.look(), self.pods.look());
        let mut owned = by_owner::<Deployment>(&pods);
        let there: HashSet<&str> = deployments
            .iter()
            .filter_map(|deployment| deployment.metadata.uid.as_deref())
            .chain(pods.iter().filter_map(|pod| pod.metadata.uid.as_deref()))
            .collect();
        self.retries.retain(|uid| there.contains(uid));
        self.reports.retain(|uid| there.contains(uid));
        for deployment in &deployments {
            let uid = deployment.metadata.uid.as_deref().unwrap_or_default();
            let owned = owned.remove(uid).unwrap_or_default();
            if deployment.metadata.deletion_timestamp.is_none() {
                self.reconcile(deployment, &owned).await;
            }
        }
        let orphans = owned.into_values().flatten();
        collect::<Deployment>(&self.client, orphans, &mut self.retries).await;
    }

    async fn reconcile(&mut self, deployment: &Deployment, owned: &[&Pod]) {
        if self.retries.is_due(deployment) {
            let mut outcome = Ok(());
            if plan(deployment, owned) != Plan::default() {
                outcome = self.act(deployment).await;
            }
            if let Err(error) = &outcome {
                let (namespace, name) = (deployment.namespace(), deployment.name_any());
                tracing::warn!(namespace, name, %error, "a Deployment is tried again later");
            }
            self.retries.note(deployment, &outcome);
        }
        if self.reports.is_due(deployment) {
            let outcome = self.report(deployment, owned).await.map_err(Trouble::from);
            self.reports.note(deployment, &outcome);
        }
    }

    /// Does what is to do by what the API says now.
    async fn act(&self, deployment: &Deployment) -> Result<(), Trouble> {
        let Some(deployment) = fresh(&self.api(deployment), deployment).await? else {
            return Ok(());
        };
        let owned = list_owned(&self.client, &deployment).await?;
        let plan = plan(&deployment, &owned.iter().collect::<Vec<_>>());
        let create = (0..plan.create).map(|_| pod(&deployment)).collect();
        replace(
            &self.client,
            &self.events,
            &deployment,
            &plan.delete,
            create,
        )
        .await
    }

    /// Writes the status if it is to be another one.
    async fn report(&self, deployment: &Deployment, owned: &[&Pod]) -> kube::Result<()> {
        let now = self.events.now().0;
        let refused = self.retries.refusal(deployment);
        if Some(&status(deployment, owned, refused, now)) == deployment.status.as_ref() {
            return Ok(());
        }
        let deployments = self.api(deployment);
        // Its own last status may not have come back yet.
        let Some(deployment) = fresh(&deployments, deployment).await? else {
            return Ok(());
        };
        let status = status(&deployment, owned, refused, now);
        if Some(&status) == deployment.status.as_ref() {
            return Ok(());
        }
        write_status(&deployments, &deployment, &status).await
    }

    fn api(&self, deployment: &Deployment) -> Api<Deployment> {
        Api::namespaced(
            self.client.clone(),
            &deployment.namespace().unwrap_or_default(),
        )
    }
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
        .extend(surplus.iter().take(too_many).map(|pod| PodId::of(pod)));

    let strategy = spec.strategy.as_ref();
    if strategy.is_some_and(|strategy| strategy.type_.as_deref() == Some("Recreate")) {
        plan.delete.extend(old.iter().map(|pod| PodId::of(pod)));
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

    // As upstream: old pods that are not Ready go first, but no more of them than if they were, since they may become it.
    let floor = desired.saturating_sub(unavailable);
    let new_ready = new.iter().filter(|pod| is_ready(pod)).count();
    let spare = old.len().saturating_sub(floor.saturating_sub(new_ready));
    let (ready, unready): (Vec<&Pod>, Vec<&Pod>) = old.iter().partition(|pod| is_ready(pod));
    plan.delete
        .extend(unready.iter().take(spare).map(|pod| PodId::of(pod)));
    let spare = (ready.len() + new_ready).saturating_sub(floor);
    plan.delete
        .extend(ready.iter().take(spare).map(|pod| PodId::of(pod)));
    plan
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

/// The status by what its pods are; `refused` is why the last try to do something for it failed.
fn status(
    deployment: &Deployment,
    owned: &[&Pod],
    refused: Option<&str>,
    now: Timestamp,
) -> DeploymentStatus {
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
        let mut held = old.conditions.iter().flatten();
        let held = held.find(|c| c.type_.as_deref() == Some(type_));
        let since = held
            .filter(|c| c.status.as_deref() == Some(status))
            .and_then(|c| c.last_transition_time.clone());
        let updated = held
            .filter(|c| {
                let said = (
                    c.status.as_deref(),
                    c.reason.as_deref(),
                    c.message.as_deref(),
                );
                said == (Some(status), Some(reason), Some(&message))
            })
            .and_then(|c| c.last_update_time.clone());
        DeploymentCondition {
            type_: Some(type_.to_owned()),
            status: Some(status.to_owned()),
            reason: Some(reason.to_owned()),
            last_transition_time: since.or(Some(Time(now))),
            last_update_time: updated.or(Some(Time(now))),
            message: Some(message),
        }
    };
    let name = deployment.name_any();
    let mut conditions = vec![
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
    if let Some(message) = refused {
        conditions.push(condition(
            "ReplicaFailure",
            true,
            FAILED_CREATE,
            message.to_owned(),
        ));
    }
    DeploymentStatus {
        available_replicas: Some(ready),
        conditions: Some(conditions),
        observed_generation: deployment.metadata.generation,
        ready_replicas: Some(ready),
        replicas: Some(count(&|_| true)),
        unavailable_replicas: Some(desired.saturating_sub(ready).max(0)),
        updated_replicas: Some(updated),
        ..DeploymentStatus::default()
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

#[cfg(test)]
mod tests;
