//! DaemonSets become one pod on each node that their template selects.
//!
//! As with Deployments the pods belong to their DaemonSet directly and it has no history. A pod of an old template goes
//! when the new one may take its place: `maxUnavailable` at a time, with `maxSurge` when the new one beside it is Ready,
//! or with `OnDelete` when somebody deletes it. [`plan`] decides from one look; the loop looks again after each change,
//! as that of Deployments does.

use std::collections::HashSet;

use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{Api, Client, ResourceExt};
use podcert_runtime::SharedClock;
use tokio_util::sync::CancellationToken;

use super::cache::{Cache, fresh};
use super::pods::{
    PodId, by_owner, collect, controller_of, is_active, is_over, is_ready, list_owned, pod_of,
    replace, template_hash, write_status,
};
use super::retries::{Retries, Trouble};
use super::scheduler::selects;
use crate::events::Events;

/// What to do for a DaemonSet now.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Plan {
    /// The nodes that get a pod of the present template.
    create: Vec<String>,
    /// Which pods to delete.
    delete: Vec<PodId>,
}

/// Runs until `stop`.
pub(crate) async fn run(
    client: Client,
    clock: SharedClock,
    sets: Cache<DaemonSet>,
    pods: Cache<Pod>,
    nodes: Cache<Node>,
    stop: CancellationToken,
) {
    let mut controller = Controller {
        events: Events::new(client.clone(), clock, "daemonset-controller", String::new()),
        client,
        sets,
        pods,
        nodes,
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
    sets: Cache<DaemonSet>,
    pods: Cache<Pod>,
    nodes: Cache<Node>,
    /// DaemonSets whose pods could not be made or taken away, and pods.
    retries: Retries,
    /// DaemonSets whose status could not be written.
    reports: Retries,
}

impl Controller {
    async fn run(&mut self) {
        tokio::join!(self.sets.ready(), self.pods.ready(), self.nodes.ready());
        loop {
            self.pass().await;
            tokio::select! {
                () = self.sets.changed() => {}
                () = self.pods.changed() => {}
                () = self.nodes.changed() => {}
                () = self.retries.next() => {}
                () = self.reports.next() => {}
            }
        }
    }

    async fn pass(&mut self) {
        let (sets, pods, nodes) = (self.sets.look(), self.pods.look(), self.nodes.look());
        let nodes: Vec<&Node> = nodes.iter().map(AsRef::as_ref).collect();
        let mut owned = by_owner::<DaemonSet>(&pods);
        let there: HashSet<&str> = sets
            .iter()
            .filter_map(|set| set.metadata.uid.as_deref())
            .chain(pods.iter().filter_map(|pod| pod.metadata.uid.as_deref()))
            .collect();
        self.retries.retain(|uid| there.contains(uid));
        self.reports.retain(|uid| there.contains(uid));
        for set in &sets {
            let uid = set.metadata.uid.as_deref().unwrap_or_default();
            let owned = owned.remove(uid).unwrap_or_default();
            if set.metadata.deletion_timestamp.is_none() {
                self.reconcile(set, &nodes, &owned).await;
            }
        }
        let orphans = owned.into_values().flatten();
        collect::<DaemonSet>(&self.client, orphans, &mut self.retries).await;
    }

    async fn reconcile(&mut self, set: &DaemonSet, nodes: &[&Node], owned: &[&Pod]) {
        if self.retries.is_due(set) {
            let mut outcome = Ok(());
            if plan(set, nodes, owned) != Plan::default() {
                outcome = self.act(set, nodes).await;
            }
            if let Err(error) = &outcome {
                let (namespace, name) = (set.namespace(), set.name_any());
                tracing::warn!(namespace, name, %error, "a DaemonSet is tried again later");
            }
            self.retries.note(set, &outcome);
        }
        if self.reports.is_due(set) {
            let outcome = self.report(set, nodes, owned).await.map_err(Trouble::from);
            self.reports.note(set, &outcome);
        }
    }

    /// Does what is to do by what the API says now.
    async fn act(&self, set: &DaemonSet, nodes: &[&Node]) -> Result<(), Trouble> {
        let Some(set) = fresh(&self.api(set), set).await? else {
            return Ok(());
        };
        let owned = list_owned(&self.client, &set).await?;
        let plan = plan(&set, nodes, &owned.iter().collect::<Vec<_>>());
        let create = plan.create.iter().map(|node| pod(&set, node)).collect();
        replace(&self.client, &self.events, &set, &plan.delete, create).await
    }

    /// Writes the status if it is to be another one.
    async fn report(&self, set: &DaemonSet, nodes: &[&Node], owned: &[&Pod]) -> kube::Result<()> {
        let status = status(set, nodes, owned);
        if Some(&status) == set.status.as_ref() {
            return Ok(());
        }
        write_status(&self.api(set), set, &status).await
    }

    fn api(&self, set: &DaemonSet) -> Api<DaemonSet> {
        Api::namespaced(self.client.clone(), &set.namespace().unwrap_or_default())
    }
}

/// What brings the DaemonSet's pods nearer to what it wants.
fn plan(set: &DaemonSet, nodes: &[&Node], owned: &[&Pod]) -> Plan {
    let mut plan = Plan::default();
    let wanted = wanted(set, nodes);
    let misplaced = |pod: &&&Pod| {
        let placed = node_of(pod).is_some_and(|node| wanted.iter().any(|it| it == node));
        pod.metadata.deletion_timestamp.is_none() && (!placed || is_over(pod))
    };
    let misplaced = owned.iter().filter(misplaced);
    plan.delete.extend(misplaced.map(|pod| PodId::of(pod)));

    let strategy = set.spec.update_strategy.as_ref();
    let on_delete = strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete");
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref());
    let surge = surge.map_or(0, |surge| share(surge, wanted.len()));
    let unavailable = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
    let unavailable = unavailable.map_or(1, |most| share(most, wanted.len()));

    let hash = hash(set);
    // What is not there or not Ready, and the old pods in whose place a new one comes.
    let (mut missing, mut old): (usize, Vec<&Pod>) = (0, Vec::new());
    // How many nodes have a new pod that is not Ready beside an old one, and which would have one next.
    let (mut surging, mut next): (usize, Vec<&String>) = (0, Vec::new());
    for node in &wanted {
        let on_node = owned.iter().filter(|pod| node_of(pod) == Some(node));
        let active = on_node.clone().filter(|pod| is_active(pod));
        let is_new = |pod: &&&Pod| pod.labels().get(HASH_LABEL) == Some(&hash);
        let (mut news, mut olds): (Vec<&Pod>, Vec<&Pod>) = active.partition(is_new);
        if on_delete || surge == 0 {
            // One of either kind has the place.
            let surplus = if news.is_empty() {
                &mut olds
            } else {
                &mut news
            };
            let surplus = surplus.split_off(surplus.len().min(1));
            plan.delete.extend(surplus.into_iter().map(PodId::of));
            if !news.is_empty() {
                plan.delete.extend(olds.drain(..).map(PodId::of));
            }
        } else {
            for surplus in [&mut news, &mut olds] {
                let surplus = surplus.split_off(surplus.len().min(1));
                plan.delete.extend(surplus.into_iter().map(PodId::of));
            }
        }
        match (news.first(), olds.first()) {
            // A pod that is going has the place until it is gone.
            (None, None) if on_node.clone().any(|pod| !is_over(pod)) => missing += 1,
            (None, None) => {
                plan.create.push(node.clone());
                missing += 1;
            }
            (Some(new), None) => missing += usize::from(!is_ready(new)),
            (None, Some(_)) if on_delete => {}
            (None, Some(it)) if surge == 0 => {
                missing += usize::from(!is_ready(it));
                old.push(it);
            }
            // An old pod that is not Ready costs nothing.
            (None, Some(old)) if !is_ready(old) => plan.create.push(node.clone()),
            (None, Some(_)) => next.push(node),
            (Some(new), Some(old)) if is_ready(new) => plan.delete.push(PodId::of(old)),
            (Some(_), Some(_)) => surging += 1,
        }
    }
    let room = surge.saturating_sub(surging);
    plan.create.extend(next.into_iter().take(room).cloned());
    // Here, too.
    let (ready, unready): (Vec<&Pod>, Vec<&Pod>) = old.into_iter().partition(|pod| is_ready(pod));
    plan.delete.extend(unready.into_iter().map(PodId::of));
    let spare = unavailable.max(1).saturating_sub(missing);
    plan.delete
        .extend(ready.into_iter().take(spare).map(PodId::of));
    plan
}

/// A count, or a percentage of so many nodes.
fn share(value: &IntOrString, nodes: usize) -> usize {
    match value {
        IntOrString::Int(count) => usize::try_from(*count).unwrap_or_default(),
        IntOrString::String(text) => {
            let percent = text.strip_suffix('%').and_then(|p| p.parse::<usize>().ok());
            nodes.saturating_mul(percent.unwrap_or(0)).div_ceil(100)
        }
    }
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

/// The status by what its pods are. Of several on a node the oldest counts.
fn status(set: &DaemonSet, nodes: &[&Node], owned: &[&Pod]) -> DaemonSetStatus {
    let wanted = wanted(set, nodes);
    let hash = hash(set);
    let active = |node: &str| {
        let pods = owned.iter().filter(|pod| is_active(pod));
        pods.filter(|pod| node_of(pod) == Some(node))
            .min_by_key(|pod| pod.creation_timestamp())
    };
    let oldest: Vec<&Pod> = wanted
        .iter()
        .filter_map(|node| active(node).copied())
        .collect();
    let count = |holds: &dyn Fn(&Pod) -> bool| {
        let pods = oldest.iter().filter(|pod| holds(pod)).count();
        i32::try_from(pods).unwrap_or(i32::MAX)
    };
    let elsewhere: HashSet<Option<&str>> = owned
        .iter()
        .filter(|pod| is_active(pod))
        .map(|pod| node_of(pod))
        .filter(|node| !wanted.iter().any(|it| Some(it.as_str()) == *node))
        .collect();
    let desired = i32::try_from(wanted.len()).unwrap_or(i32::MAX);
    let ready = count(&is_ready);
    let updated = count(&|pod| pod.labels().get(HASH_LABEL) == Some(&hash));
    DaemonSetStatus {
        current_number_scheduled: count(&|_| true),
        desired_number_scheduled: desired,
        number_available: Some(ready),
        number_misscheduled: i32::try_from(elsewhere.len()).unwrap_or(i32::MAX),
        number_ready: ready,
        number_unavailable: Some(desired.saturating_sub(ready)),
        observed_generation: set.metadata.generation,
        updated_number_scheduled: Some(updated),
        ..DaemonSetStatus::default()
    }
}

/// The nodes that are to have a pod.
fn wanted(set: &DaemonSet, nodes: &[&Node]) -> Vec<String> {
    let spec = set.spec.template.spec.as_ref();
    let named = spec.and_then(|spec| spec.node_name.as_deref());
    nodes
        .iter()
        .filter(|node| selects(spec, node))
        .map(|node| node.name_any())
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

#[cfg(test)]
mod tests;
