//! Gives pods without a node the one with the fewest pods, among those that their `nodeSelector` matches, that are not
//! cordoned and not full.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Patch, PatchParams};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use podcert_runtime::SharedClock;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::pods::is_over;
use crate::events::{Events, Severity};

/// Runs until `stop`.
pub(crate) async fn run(client: Client, clock: SharedClock, stop: CancellationToken) {
    let (bell, mut rung) = mpsc::channel(1);
    let (pods, pods_writer) = reflector::store();
    let (nodes, nodes_writer) = reflector::store();
    let all = watcher::Config::default;
    let pods_stream = watcher(Api::<Pod>::all(client.clone()), all()).default_backoff();
    let nodes_stream = watcher(Api::<Node>::all(client.clone()), all()).default_backoff();
    let pods_stream = reflector::reflector(pods_writer, pods_stream);
    let nodes_stream = reflector::reflector(nodes_writer, nodes_stream);
    let watching = async {
        tokio::join!(
            super::ring_for(pods_stream, bell.clone(), stop.clone()),
            super::ring_for(nodes_stream, bell.clone(), stop.clone()),
        )
    };
    let mut scheduler = Scheduler {
        events: Events::new(client.clone(), clock, "default-scheduler", String::new()),
        client: client.clone(),
        pods,
        nodes,
        bound: HashMap::new(),
        told: HashMap::new(),
    };
    let work = async {
        while rung.recv().await.is_some() {
            if let Err(error) = scheduler.pass().await {
                tracing::debug!(%error, "pods are scheduled again");
                tokio::time::sleep(RETRY).await;
                // A full bell rings already.
                let _ = bell.try_send(());
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        _ = async { tokio::join!(watching, work) } => {}
    }
}

struct Scheduler {
    client: Client,
    events: Events,
    pods: Store<Pod>,
    nodes: Store<Node>,
    /// Where pods went that the watch still shows without a node, by UID.
    bound: HashMap<String, String>,
    /// Why pods have no node, as their status says.
    told: HashMap<String, String>,
}

impl Scheduler {
    async fn pass(&mut self) -> kube::Result<()> {
        let pods = self.pods.state();
        let waiting: HashSet<&String> = pods
            .iter()
            .filter(|pod| node_of(pod).is_none())
            .filter_map(|pod| pod.metadata.uid.as_ref())
            .collect();
        self.bound.retain(|uid, _| waiting.contains(uid));
        self.told.retain(|uid, _| waiting.contains(uid));
        let mut loads: BTreeMap<String, usize> = BTreeMap::new();
        for pod in pods.iter().filter(|pod| !is_over(pod)) {
            let assumed = pod
                .metadata
                .uid
                .as_ref()
                .and_then(|uid| self.bound.get(uid));
            if let Some(node) = node_of(pod).or(assumed.map(String::as_str)) {
                *loads.entry(node.to_owned()).or_default() += 1;
            }
        }
        let mut queue: Vec<&Arc<Pod>> = pods.iter().filter(|pod| self.is_mine(pod)).collect();
        queue.sort_by_key(|pod| (pod.creation_timestamp(), pod.name_any()));
        let nodes = self.nodes.state();
        for pod in queue {
            match choose(pod, &nodes, &loads) {
                Ok(node) => {
                    self.bind(pod, &node).await?;
                    *loads.entry(node).or_default() += 1;
                }
                Err(message) => self.tell(pod, message).await?,
            }
        }
        Ok(())
    }

    fn is_mine(&self, pod: &Pod) -> bool {
        let spec = pod.spec.as_ref();
        let scheduler = spec.and_then(|spec| spec.scheduler_name.as_deref());
        node_of(pod).is_none()
            && pod.metadata.deletion_timestamp.is_none()
            && scheduler.is_none_or(|name| name == "default-scheduler")
            && !self.bound.contains_key(&pod.uid().unwrap_or_default())
    }

    async fn bind(&mut self, pod: &Pod, node: &str) -> kube::Result<()> {
        let (name, namespace) = (pod.name_any(), pod.namespace().unwrap_or_default());
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
        let patch = json!({ "metadata": { "uid": pod.uid() }, "spec": { "nodeName": node } });
        match api
            .patch(&name, &PatchParams::default(), &Patch::Merge(patch))
            .await
        {
            // It went, or another of its name came: the watch will show it.
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {
                return Ok(());
            }
            bound => drop(bound?),
        }
        self.bound
            .insert(pod.uid().unwrap_or_default(), node.to_owned());
        let message = format!("Successfully assigned {namespace}/{name} to {node}");
        self.events
            .emit(pod, Severity::Normal, "Scheduled", &message)
            .await;
        Ok(())
    }

    /// Says why the pod has no node, once.
    async fn tell(&mut self, pod: &Pod, message: String) -> kube::Result<()> {
        let uid = pod.uid().unwrap_or_default();
        if self.told.get(&uid) == Some(&message) {
            return Ok(());
        }
        let api: Api<Pod> =
            Api::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
        let condition = json!({
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": message, "lastTransitionTime": self.events.now(),
        });
        let patch = json!({ "status": { "conditions": [condition] } });
        match api
            .patch_status(
                &pod.name_any(),
                &PatchParams::default(),
                &Patch::Merge(patch),
            )
            .await
        {
            Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
            patched => drop(patched?),
        }
        self.events
            .emit(pod, Severity::Warning, "FailedScheduling", &message)
            .await;
        self.told.insert(uid, message);
        Ok(())
    }
}

/// The node for the pod, or why there is none, in the scheduler's words.
fn choose(
    pod: &Pod,
    nodes: &[Arc<Node>],
    loads: &BTreeMap<String, usize>,
) -> Result<String, String> {
    let (mut unmatched, mut cordoned, mut full) = (0, 0, 0);
    let mut best: Option<(usize, String)> = None;
    for node in nodes {
        let spec = node.spec.as_ref();
        if !selects(pod.spec.as_ref(), node) {
            unmatched += 1;
        } else if spec.and_then(|spec| spec.unschedulable) == Some(true) {
            cordoned += 1;
        } else {
            let name = node.name_any();
            let load = loads.get(&name).copied().unwrap_or_default();
            if load >= capacity(node) {
                full += 1;
                continue;
            }
            let candidate = (load, name);
            if best.as_ref().is_none_or(|best| candidate < *best) {
                best = Some(candidate);
            }
        }
    }
    best.map(|(_, name)| name).ok_or_else(|| {
        let mut reasons = Vec::new();
        if unmatched > 0 {
            let why = "node(s) didn't match Pod's node affinity/selector";
            reasons.push(format!("{unmatched} {why}"));
        }
        if cordoned > 0 {
            reasons.push(format!("{cordoned} node(s) were unschedulable"));
        }
        if full > 0 {
            reasons.push(format!("{full} Too many pods"));
        }
        match reasons.as_slice() {
            [] => "no nodes available to schedule pods".to_owned(),
            reasons => format!(
                "0/{} nodes are available: {}.",
                nodes.len(),
                reasons.join(", ")
            ),
        }
    })
}

/// How many pods the node says it takes.
fn capacity(node: &Node) -> usize {
    let status = node.status.as_ref();
    let pods = status.and_then(|status| status.allocatable.as_ref()?.get("pods"));
    pods.and_then(|pods| pods.0.parse().ok())
        .unwrap_or(PODS_PER_NODE)
}

/// Whether the pod's `nodeSelector` matches the node.
pub(super) fn selects(spec: Option<&k8s_openapi::api::core::v1::PodSpec>, node: &Node) -> bool {
    let selector = spec.and_then(|spec| spec.node_selector.as_ref());
    selector
        .into_iter()
        .flatten()
        .all(|(key, value)| node.labels().get(key) == Some(value))
}

fn node_of(pod: &Pod) -> Option<&str> {
    let spec = pod.spec.as_ref()?;
    spec.node_name.as_deref().filter(|name| !name.is_empty())
}

/// What a node takes that does not say.
const PODS_PER_NODE: usize = 110;
const RETRY: Duration = Duration::from_secs(1);
