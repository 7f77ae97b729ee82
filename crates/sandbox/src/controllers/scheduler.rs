//! Gives pods without a node the one with the fewest pods, among those that their `nodeSelector` matches, that are not
//! cordoned and not full.
//!
//! A pod that the API server refuses to bind waits longer each time, and nobody waits for it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod, PodCondition};
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::Status;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use podcert_runtime::SharedClock;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;
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
        refused: HashMap::new(),
    };
    let work = async {
        while rung.recv().await.is_some() {
            // Whoever waits is looked at again when its time comes, or when anything changes.
            while let Some(due) = scheduler.pass().await {
                let ended = tokio::select! {
                    biased;
                    changed = rung.recv() => changed.is_none(),
                    () = tokio::time::sleep_until(due) => false,
                };
                if ended {
                    return;
                }
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
    /// Pods of which the API server wanted to know nothing, by UID.
    refused: HashMap<String, Refused>,
}

/// When a pod is tried again.
#[derive(Clone, Copy, Debug)]
struct Refused {
    due: Instant,
    wait: Duration,
}

impl Scheduler {
    /// Looks at every pod without a node. The answer is when to look again, if not only when something changes.
    async fn pass(&mut self) -> Option<Instant> {
        let pods = self.pods.state();
        let waiting: HashSet<&String> = pods
            .iter()
            .filter(|pod| node_of(pod).is_none())
            .filter_map(|pod| pod.metadata.uid.as_ref())
            .collect();
        self.bound.retain(|uid, _| waiting.contains(uid));
        self.told.retain(|uid, _| waiting.contains(uid));
        self.refused.retain(|uid, _| waiting.contains(uid));
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
            let uid = pod.uid().unwrap_or_default();
            if self
                .refused
                .get(&uid)
                .is_some_and(|it| it.due > Instant::now())
            {
                continue;
            }
            let done = match choose(pod, &nodes, &loads) {
                Ok(node) => {
                    let bound = self.bind(pod, &node).await;
                    if bound.is_ok() {
                        *loads.entry(node).or_default() += 1;
                    }
                    bound
                }
                Err(message) => self.tell(pod, message).await,
            };
            match done {
                Ok(()) => drop(self.refused.remove(&uid)),
                Err(error) => self.wait(pod, uid, &error),
            }
        }
        self.refused.values().map(|it| it.due).min()
    }

    /// Sets a pod back: by a second, then two, and so on to ten, as the real scheduler does.
    fn wait(&mut self, pod: &Pod, uid: String, error: &kube::Error) {
        let before = self.refused.get(&uid).map(|it| it.wait);
        let wait = before.map_or(FIRST_WAIT, |wait| (wait * 2).min(LONGEST_WAIT));
        let due = Instant::now() + wait;
        let (name, namespace) = (pod.name_any(), pod.namespace().unwrap_or_default());
        tracing::debug!(%error, %namespace, pod = %name, ?wait, "a pod is scheduled later");
        self.refused.insert(uid, Refused { due, wait });
    }

    fn is_mine(&self, pod: &Pod) -> bool {
        let spec = pod.spec.as_ref();
        let scheduler = spec.and_then(|spec| spec.scheduler_name.as_deref());
        node_of(pod).is_none()
            && pod.metadata.deletion_timestamp.is_none()
            && spec.is_none_or(|spec| spec.scheduling_gates.as_ref().is_none_or(Vec::is_empty))
            && scheduler.is_none_or(|name| name == "default-scheduler")
            && !self.bound.contains_key(&pod.uid().unwrap_or_default())
    }

    async fn bind(&mut self, pod: &Pod, node: &str) -> kube::Result<()> {
        let (name, namespace) = (pod.name_any(), pod.namespace().unwrap_or_default());
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
        let binding = json!({
            "kind": "Binding",
            "apiVersion": "v1",
            "metadata": { "name": name, "namespace": namespace, "uid": pod.uid() },
            "target": { "kind": "Node", "name": node },
        });
        let options = PostParams::default();
        let bound = api
            .create_subresource::<_, Status>("binding", &name, &options, &binding)
            .await;
        match bound {
            // It goes or went, or another of its name came: the watch will show it.
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
        let mut condition = json!({
            "type": SCHEDULED, "status": "False", "reason": "Unschedulable", "message": message,
        });
        let before = condition_of(pod, SCHEDULED);
        let is_news = before.is_none_or(|before| before.status != "False");
        if let (true, Some(condition)) = (is_news, condition.as_object_mut()) {
            condition.insert("lastTransitionTime".to_owned(), json!(self.events.now()));
        }
        // Conditions are told apart by their types: the others stay.
        let patch = json!({
            "metadata": { "uid": pod.uid() }, "status": { "conditions": [condition] },
        });
        match api
            .patch_status(
                &pod.name_any(),
                &PatchParams::default(),
                &Patch::Strategic(patch),
            )
            .await
        {
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {
                return Ok(());
            }
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

fn condition_of<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// What a node takes that does not say.
const PODS_PER_NODE: usize = 110;
const SCHEDULED: &str = "PodScheduled";
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
