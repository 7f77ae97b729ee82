//! Those who answer: replicas by their Leases and pods.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use podcert_pki::inspect::describe::span;
use podcert_resources::event::REPORTING_CONTROLLER;
use serde::Serialize;

use super::candidates::Judged;
use super::{Candidate, Configured, Finding, Lease, Rights, View};
use crate::{NotShown, Shown, reason};

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
    /// How often its containers were started again.
    pub restarts: i64,
    /// When its pod was made.
    #[serde(skip)]
    created: Option<Timestamp>,
}

/// What shows itself as a controller.
#[derive(Clone, Debug)]
pub struct Found<'a> {
    /// Leases labelled as replicas' are.
    pub leases: Shown<&'a [Lease]>,
    /// The API server's time when they were read: each is good for some seconds.
    pub read: Timestamp,
    /// The pods that these Leases name, and others that say they are controllers.
    pub candidates: Shown<&'a [Candidate]>,
    /// Which of these may sign.
    pub rights: Shown<&'a Rights>,
    /// What was not looked at because there is too much of it.
    pub left_out: &'a [NotShown],
}

impl<'a> Found<'a> {
    /// The pods, by whether they are controllers; nothing if they are hidden.
    pub fn judged(&self) -> Option<Judged<'a>> {
        let candidates = self.candidates.as_ref().ok()?;
        Some(Judged::new(candidates, self.rights.as_ref().ok().copied()))
    }

    /// What could not be looked at.
    pub fn not_shown(&self) -> Vec<NotShown> {
        let hidden = [
            self.leases.as_ref().err(),
            self.candidates.as_ref().err(),
            self.rights.as_ref().err(),
        ];
        let unasked = self.judged().and_then(|judged| judged.not_shown());
        let hidden = hidden.into_iter().flatten().chain(self.left_out);
        hidden.cloned().chain(unasked).collect()
    }

    /// Whether there are no others but such as show themselves neither by a Lease nor as a pod.
    pub fn is_all(&self) -> bool {
        let hidden = self.leases.is_err() || self.candidates.is_err();
        let unasked = self.judged().is_some_and(|one| !one.unasked.is_empty());
        !hidden && !unasked && self.left_out.is_empty()
    }
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

impl ControllerReport {
    /// Whether a replica has a pod, which may sign, as was asked; a Lease alone anybody may have written.
    pub(super) fn has_pod(&self) -> bool {
        let mut replicas = self.replicas.iter();
        replicas.any(|replica| replica.has_pod == Some(true))
    }

    /// Whether a replica does its work.
    pub(super) fn lives(&self) -> bool {
        self.replicas.iter().any(ReplicaReport::lives)
    }
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
        if !controller.lives() {
            continue;
        }
        match &controller.signers {
            Some(signers) if signers.iter().any(|own| own == signer) => return Some(true),
            Some(_) => {}
            None => unsure = true,
        }
    }
    // A controller outside the cluster that shares no work shows itself nowhere, and a Lease alone says nothing
    // of who does or does not answer.
    let somebody = controllers.iter().any(ControllerReport::has_pod);
    (!unsure && somebody).then_some(false)
}

pub(super) fn assess(view: &View<'_>, findings: &mut Vec<Finding>) -> Vec<ControllerReport> {
    let controllers = controllers(&view.found);
    for controller in &controllers {
        judge(view, controller, findings);
    }
    if let Some(judged) = view.found.judged() {
        findings.extend(judged.finding());
        own_events(view, &judged, findings);
    }
    controllers
}

/// The controllers in `found`: those whose replicas hold Leases, and pods that hold none. What is hidden is
/// nothing.
pub fn controllers(found: &Found<'_>) -> Vec<ControllerReport> {
    let judged = found.judged();
    let mut groups = Groups::default();
    let mut with_lease = Vec::new();
    let without_lease = match found.leases {
        Ok(_) => LeaseState::None,
        Err(_) => LeaseState::Unknown,
    };
    for lease in found.leases.as_ref().map_or(&[] as &[_], |leases| leases) {
        let (namespace, name) = (&lease.namespace, &lease.name);
        if judged
            .as_ref()
            .is_some_and(|judged| judged.is_none(namespace, name))
        {
            continue;
        }
        let controller = judged
            .as_ref()
            .map(|judged| judged.controller(namespace, name));
        with_lease.push((namespace, name));
        let pod = controller.map(|controller| controller.map(|controller| controller.pod));
        add(
            &mut groups,
            (namespace.clone(), Some(lease.application.clone())),
            replica(name.clone(), state(lease, found.read), pod),
            controller.flatten().and_then(|one| one.configured.clone()),
        );
    }
    for controller in judged.iter().flat_map(|judged| &judged.controllers) {
        let pod = controller.pod;
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let name = pod.metadata.name.clone().unwrap_or_default();
        if with_lease.contains(&(&namespace, &name)) || has_ended(pod) {
            continue;
        }
        let replica = replica(name, without_lease, Some(Some(pod)));
        let configured = controller.configured.clone();
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
            .map(|container| i64::from(container.restart_count))
            .fold(0, i64::saturating_add),
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
    if !controller.lives() && !controller.has_pod() {
        let end = match view.found.candidates {
            Ok(_) => "and it has no pod",
            Err(_) => "and pods are hidden",
        };
        findings.push(Finding::warning(
            format!(
                "the Leases of {who} ran out, {end}: if it is a controller, it does not answer"
            ),
            format!(
                "kubectl -n {namespace} get leases; they are there until somebody deletes them"
            ),
        ));
        return;
    }
    if !controller.lives() {
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
fn own_events(view: &View<'_>, judged: &Judged<'_>, findings: &mut Vec<Finding>) {
    let events = view.events.as_ref().map_or(&[] as &[_], |all| all);
    let mut newest: BTreeMap<(&str, &str, &str), &Event> = BTreeMap::new();
    for event in events {
        if event.reporting_controller.as_deref() != Some(REPORTING_CONTROLLER) {
            continue;
        }
        let Some(regarding) = &event.regarding else {
            continue;
        };
        let uid = regarding.uid.as_deref();
        // Who may write Events in another namespace says nothing of this one's pods.
        let own = judged.controllers.iter().map(|one| &one.pod.metadata);
        let mut own = own.filter(|pod| uid.is_some() && pod.uid.as_deref() == uid);
        let own = own.find(|pod| pod.namespace == event.metadata.namespace);
        // An Event about a workload has its request as the related object.
        let Some(pod) = own.filter(|_| event.related.is_none()) else {
            continue;
        };
        let key = (
            pod.namespace.as_deref().unwrap_or_default(),
            pod.name.as_deref().unwrap_or_default(),
            event.reason.as_deref().unwrap_or_default(),
        );
        let known = newest.entry(key).or_insert(event);
        if at(known) <= at(event) {
            *known = event;
        }
    }
    for ((namespace, pod, word), event) in newest {
        let since = at(event).map(|at| format!("{} ago ", span(at, view.now)));
        let cure = reason(word).map(|known| known.cure.to_owned());
        findings.push(Finding::warning(
            format!(
                "{}replica {namespace}/{pod} said {word}: {}",
                since.unwrap_or_default(),
                event.note.as_deref().unwrap_or_default()
            ),
            cure.unwrap_or_else(|| format!("kubectl -n {namespace} logs {pod}")),
        ));
    }
}

fn at(event: &Event) -> Option<Timestamp> {
    event.event_time.as_ref().map(|at| at.0)
}

/// Whether it does no work any more, or is about to do none.
pub(super) fn has_ended(pod: &Pod) -> bool {
    if pod.metadata.deletion_timestamp.is_some() {
        return true;
    }
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn state(lease: &Lease, now: Timestamp) -> LeaseState {
    let Some(held) = &lease.held else {
        return LeaseState::RanOut { renewed: None };
    };
    let renewed = held.renewed;
    let duration = SignedDuration::try_from(held.duration).unwrap_or_default();
    if now.duration_since(renewed) <= duration {
        LeaseState::Held { renewed }
    } else {
        LeaseState::RanOut {
            renewed: Some(renewed),
        }
    }
}

/// A replica that is made during a rollout is ready by then.
const STARTS_WITHIN_SECONDS: i64 = 60;
