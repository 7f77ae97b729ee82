//! Those who answer: replicas by their Leases and pods.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use podcert_pki::inspect::describe::span;
use podcert_resources::event::REPORTING_CONTROLLER;
use podcert_resources::lease::APPLICATION_LABEL;
use serde::Serialize;

use super::{Finding, View};
use crate::reason;

/// The replicas of one application.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ControllerReport {
    /// Their namespace.
    pub namespace: String,
    /// The application whose work they share; nothing for a pod that shares none.
    pub application: Option<String>,
    /// Them.
    pub replicas: Vec<ReplicaReport>,
    /// The signers they answer for; nothing if that cannot be read.
    pub signers: Option<Vec<String>>,
}

/// One replica.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaReport {
    /// The pod's name.
    pub name: String,
    /// Whether it holds its share of the work.
    pub lease: LeaseState,
    /// Whether its pod is there; nothing if pods are hidden.
    pub has_pod: Option<bool>,
    /// Whether its pod is ready, which says that it has its pools, has read the cluster and has published
    /// its bundles; nothing if pods are hidden.
    pub ready: Option<bool>,
    /// The pod's node.
    pub node: Option<String>,
    /// The image it runs.
    pub image: Option<String>,
    /// How often its container was started again.
    pub restarts: i32,
    /// When its pod was made.
    #[serde(skip)]
    created: Option<Timestamp>,
}

/// What the command line of a controller's pod says.
#[derive(Clone, Debug, Default)]
pub struct Configured {
    /// The signers it answers for.
    pub signers: Vec<String>,
    /// The application whose work it shares.
    pub application: Option<String>,
}

/// What a replica's Lease says.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "camelCase")]
pub enum LeaseState {
    /// It holds.
    Held {
        /// Since its last renewal.
        renewed: Timestamp,
    },
    /// It ran out: others do its share.
    RanOut {
        /// When it was renewed last.
        renewed: Option<Timestamp>,
    },
    /// There is none: it shares no work.
    None,
    /// Leases are hidden.
    Unknown,
}

impl ReplicaReport {
    fn lives(&self) -> bool {
        match self.lease {
            LeaseState::Held { .. } => true,
            LeaseState::RanOut { .. } => false,
            LeaseState::None | LeaseState::Unknown => self.ready == Some(true),
        }
    }
}

/// Whether somebody that lives answers for `signer`. Nothing if it cannot be told.
pub fn answers(controllers: &[ControllerReport], all_shown: bool, signer: &str) -> Option<bool> {
    let mut unsure = !all_shown;
    for controller in controllers {
        if !controller.replicas.iter().any(ReplicaReport::lives) {
            continue;
        }
        match &controller.signers {
            Some(signers) if signers.iter().any(|own| own == signer) => return Some(true),
            Some(_) => {}
            None => unsure = true,
        }
    }
    // A controller outside the cluster that shares no work shows itself nowhere.
    let somebody = controllers
        .iter()
        .any(|controller| !controller.replicas.is_empty());
    (!unsure && somebody).then_some(false)
}

pub(super) fn assess(view: &View<'_>, findings: &mut Vec<Finding>) -> Vec<ControllerReport> {
    let leases = view.leases.as_ref().ok().copied();
    let pods = view.pods.as_ref().ok().copied();
    let controllers = controllers(leases, pods, view.configured, view.leases_read);
    for controller in &controllers {
        judge(view, controller, findings);
    }
    own_events(view, pods.unwrap_or_default(), findings);
    controllers
}

/// Those whose replicas hold `leases`, which were read at `now`, and those in `pods` that hold none.
/// What is hidden is nothing. `configured` says what a pod's controller is told to do, if its flags can be read.
pub fn controllers(
    leases: Option<&[Lease]>,
    pods: Option<&[Pod]>,
    configured: &dyn Fn(&Pod) -> Option<Configured>,
    now: Timestamp,
) -> Vec<ControllerReport> {
    let mut groups = Groups::default();
    let mut with_lease = Vec::new();
    let without_lease = match leases {
        Some(_) => LeaseState::None,
        None => LeaseState::Unknown,
    };
    for lease in leases.unwrap_or_default() {
        let Some(application) = label(lease) else {
            continue;
        };
        let metadata = &lease.metadata;
        let namespace = metadata.namespace.clone().unwrap_or_default();
        let name = metadata.name.clone().unwrap_or_default();
        let pod = pods.map(|pods| find(pods, &namespace, &name));
        with_lease.push((namespace.clone(), name.clone()));
        let replica = replica(name, state(lease, now), pod);
        add(
            &mut groups,
            (namespace, Some(application)),
            replica,
            pod.flatten().and_then(configured),
        );
    }
    for pod in pods.unwrap_or_default() {
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let name = pod.metadata.name.clone().unwrap_or_default();
        if with_lease.contains(&(namespace.clone(), name.clone())) || has_ended(pod) {
            continue;
        }
        let replica = replica(name, without_lease, Some(Some(pod)));
        let configured = configured(pod);
        // One that has no Lease yet is still one of its application.
        let application = configured
            .as_ref()
            .and_then(|found| found.application.clone());
        add(&mut groups, (namespace, application), replica, configured);
    }
    groups.into_values().collect()
}

/// By namespace and application.
type Groups = BTreeMap<(String, Option<String>), ControllerReport>;

fn add(
    groups: &mut Groups,
    key: (String, Option<String>),
    replica: ReplicaReport,
    configured: Option<Configured>,
) {
    let group = groups
        .entry(key.clone())
        .or_insert_with(|| ControllerReport {
            namespace: key.0,
            application: key.1,
            replicas: Vec::new(),
            signers: None,
        });
    group.replicas.push(replica);
    if let Some(configured) = configured {
        let known = group.signers.get_or_insert_default();
        known.extend(configured.signers);
        known.sort();
        known.dedup();
    }
}

/// A replica whose pod may be hidden, or not there.
fn replica(name: String, lease: LeaseState, pod: Option<Option<&Pod>>) -> ReplicaReport {
    let shown = pod.is_some();
    let pod = pod.flatten();
    let spec = pod.and_then(|pod| pod.spec.as_ref());
    let status = pod.and_then(|pod| pod.status.as_ref());
    let ready = status
        .and_then(|status| status.conditions.as_ref())
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let container = spec.and_then(|spec| spec.containers.first());
    let containers = status.and_then(|status| status.container_statuses.as_ref());
    ReplicaReport {
        name,
        lease,
        has_pod: shown.then_some(pod.is_some()),
        ready: shown.then_some(ready),
        created: pod
            .and_then(|pod| pod.metadata.creation_timestamp.as_ref())
            .map(|at| at.0),
        node: spec.and_then(|spec| spec.node_name.clone()),
        image: container.and_then(|container| container.image.clone()),
        restarts: containers
            .into_iter()
            .flatten()
            .map(|container| container.restart_count)
            .sum(),
    }
}

fn judge(view: &View<'_>, controller: &ControllerReport, findings: &mut Vec<Finding>) {
    let namespace = &controller.namespace;
    let who = match &controller.application {
        Some(application) => format!("controller {namespace}/{application}"),
        None => format!("the controller in namespace {namespace}"),
    };
    let expected: Vec<&ReplicaReport> = controller
        .replicas
        .iter()
        .filter(|replica| replica.has_pod == Some(true) || replica.lives())
        .collect();
    if !expected.iter().any(|replica| replica.lives()) {
        findings.push(Finding::error(
            format!("{who} has no replica that lives: nobody answers"),
            format!("kubectl -n {namespace} get pods; their logs"),
        ));
        return;
    }
    for replica in expected {
        let name = &replica.name;
        if let LeaseState::RanOut { renewed } = replica.lease {
            let since = renewed.map(|at| format!(" {} ago", span(at, view.now)));
            findings.push(Finding::warning(
                format!(
                    "replica {namespace}/{name} renewed its Lease last{}: others do its share",
                    since.unwrap_or_default()
                ),
                format!("kubectl -n {namespace} logs {name}"),
            ));
        }
        let is_new = replica
            .created
            .is_some_and(|at| view.now.duration_since(at).as_secs() < STARTS_WITHIN_SECONDS);
        if replica.has_pod == Some(true) && replica.ready == Some(false) && !is_new {
            findings.push(Finding::warning(
                format!("replica {namespace}/{name} is not ready"),
                format!(
                    "what is missing, it says itself: its log, or kubectl -n {namespace} port-forward \
                     pod/{name} 8080 and curl localhost:8080/readyz"
                ),
            ));
        }
    }
}

/// What controllers said about themselves in the last hour: of each reason the newest.
fn own_events(view: &View<'_>, pods: &[Pod], findings: &mut Vec<Finding>) {
    let events = view.events.as_ref().map_or(&[] as &[_], |all| all);
    let mut newest: BTreeMap<(&str, &str), &Event> = BTreeMap::new();
    for event in events {
        if event.reporting_controller.as_deref() != Some(REPORTING_CONTROLLER) {
            continue;
        }
        let Some(regarding) = &event.regarding else {
            continue;
        };
        let uid = regarding.uid.as_deref();
        let own = pods
            .iter()
            .find(|pod| uid.is_some() && pod.metadata.uid.as_deref() == uid);
        // An Event about a workload has its request as the related object.
        let Some(pod) = own.filter(|_| event.related.is_none()) else {
            continue;
        };
        let key = (
            pod.metadata.name.as_deref().unwrap_or_default(),
            event.reason.as_deref().unwrap_or_default(),
        );
        let known = newest.entry(key).or_insert(event);
        if at(known) <= at(event) {
            *known = event;
        }
    }
    for ((pod, word), event) in newest {
        let since = at(event).map(|at| format!("{} ago ", span(at, view.now)));
        let cure = reason(word).map(|known| known.cure);
        findings.push(Finding::warning(
            format!(
                "{}replica {pod} said {word}: {}",
                since.unwrap_or_default(),
                event.note.as_deref().unwrap_or_default()
            ),
            cure.unwrap_or("as it says"),
        ));
    }
}

fn at(event: &Event) -> Option<Timestamp> {
    event.event_time.as_ref().map(|at| at.0)
}

fn find<'a>(pods: &'a [Pod], namespace: &str, name: &str) -> Option<&'a Pod> {
    pods.iter().find(|pod| {
        pod.metadata.namespace.as_deref() == Some(namespace)
            && pod.metadata.name.as_deref() == Some(name)
    })
}

/// Whether it does no work any more, or is about to do none.
fn has_ended(pod: &Pod) -> bool {
    if pod.metadata.deletion_timestamp.is_some() {
        return true;
    }
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn label(lease: &Lease) -> Option<String> {
    lease
        .metadata
        .labels
        .as_ref()?
        .get(APPLICATION_LABEL)
        .cloned()
}

fn state(lease: &Lease, now: Timestamp) -> LeaseState {
    let spec = lease.spec.as_ref();
    let renewed = spec
        .and_then(|spec| spec.renew_time.as_ref())
        .map(|at| at.0);
    let duration = spec
        .and_then(|spec| spec.lease_duration_seconds)
        .unwrap_or(0);
    let held = SignedDuration::from_secs(i64::from(duration));
    match renewed {
        Some(renewed) if now.duration_since(renewed) <= held => LeaseState::Held { renewed },
        renewed => LeaseState::RanOut { renewed },
    }
}

/// A replica that is made during a rollout is ready by then.
const STARTS_WITHIN_SECONDS: i64 = 60;
