//! One pod: for each certificate and each set of anchors its volumes ask for, whether it is there, and if
//! not, why.

mod anchors;
mod certificate;

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, VolumeProjection};
use k8s_openapi::api::events::v1::Event;
use podcert_resources::ClusterTrustBundle;
use podcert_resources::event::REPORTING_CONTROLLER;
use serde::Serialize;

use crate::{Expectation, NotShown, Request, Shown};

/// What was read for one pod.
#[expect(missing_debug_implementations, reason = "closures have none")]
pub struct View<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// All requests of its namespace, at least those that name it.
    pub requests: Shown<&'a [Request]>,
    /// Events about it.
    pub events: Shown<&'a [Event]>,
    /// All ClusterTrustBundles.
    pub bundles: Shown<&'a [ClusterTrustBundle]>,
    /// What a controller would do with a request, as far as can be told; in words why it cannot.
    pub expected: &'a dyn Fn(&Request) -> Result<Expectation, String>,
    /// Whether anybody answers for a signer; nothing if that is not known.
    pub answered: &'a dyn Fn(&str) -> Option<bool>,
    /// What else could not be looked at.
    pub hidden: &'a [NotShown],
    /// The API server's time.
    pub now: Timestamp,
}

/// What there is to say about a pod.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodReport {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The node it is bound to.
    pub node: Option<String>,
    /// Its phase: `Pending`, `Running`, `Succeeded`, `Failed`, `Unknown`.
    pub phase: String,
    /// The service account it runs as.
    pub service_account: String,
    /// What its volumes ask for, in their order.
    pub sources: Vec<SourceReport>,
    /// What others than podcert warned of, as long as no container of it started: of each reason word the
    /// last.
    pub warnings: Vec<String>,
    /// What could not be looked at.
    pub not_shown: Vec<NotShown>,
}

/// One `podCertificate` or `clusterTrustBundle` source of a projected volume.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceReport {
    /// The volume's name.
    pub volume: String,
    /// The files in it, by their paths relative to the volume.
    pub paths: Vec<String>,
    /// What is asked for.
    #[serde(flatten)]
    pub wants: Wants,
    /// How it stands.
    pub state: State,
    /// That in words: one sentence.
    pub summary: String,
    /// The request it is about, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// The reason word of a wait or refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What was issued last, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateReport>,
    /// More, a sentence each.
    pub details: Vec<String>,
    /// What would help.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
}

/// A certificate that was issued, so that it can be told from others.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateReport {
    /// Its serial number, as `podcert inspect` writes it.
    pub serial: String,
    /// Its names, URIs first.
    pub names: Vec<String>,
    /// From when it is valid.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
}

/// What a source asks for.
#[derive(Clone, Debug, Serialize)]
#[serde(
    tag = "kind",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum Wants {
    /// A certificate and its key.
    Certificate {
        /// Of this signer.
        signer: String,
        /// For a key of this type.
        key_type: String,
    },
    /// Trust anchors.
    Anchors {
        /// What selects them, in words.
        selected_by: String,
    },
}

/// How a source stands, best first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// It is there.
    Present,
    /// It was there when the pod started; what is there now only the pod and its node can see.
    Assumed,
    /// It could not be found out.
    Unknown,
    /// It is there, but something about it wants attention.
    Attention,
    /// It is awaited, for less than a while.
    Underway,
    /// It is awaited, and something must change first.
    Waiting,
    /// It is not there, or no longer good.
    Missing,
    /// It was refused, for good.
    Refused,
}

impl PodReport {
    /// The worst state of what it asks for. Nothing if it asks for nothing.
    pub fn worst(&self) -> Option<State> {
        self.sources.iter().map(|source| source.state).max()
    }
}

impl SourceReport {
    fn new(volume: &str, paths: Vec<String>, wants: Wants) -> Self {
        Self {
            volume: volume.to_owned(),
            paths,
            wants,
            state: State::Unknown,
            summary: String::new(),
            request: None,
            reason: None,
            certificate: None,
            details: Vec::new(),
            cure: None,
        }
    }

    fn found(mut self, state: State, summary: impl Into<String>) -> Self {
        self.state = state;
        self.summary = summary.into();
        self
    }

    fn detail(mut self, detail: impl Into<String>) -> Self {
        self.details.push(detail.into());
        self
    }

    fn cure(mut self, cure: impl Into<String>) -> Self {
        self.cure = Some(cure.into());
        self
    }
}

/// Why the pod of `view` has, or has not, what its volumes ask for.
pub fn explain(view: &View<'_>) -> PodReport {
    let pod = view.pod;
    let spec = pod.spec.as_ref();
    let mut sources = Vec::new();
    for volume in spec
        .iter()
        .filter_map(|spec| spec.volumes.as_ref())
        .flatten()
    {
        let projected = volume.projected.as_ref();
        for source in projected
            .iter()
            .filter_map(|p| p.sources.as_ref())
            .flatten()
        {
            sources.extend(of_source(view, &volume.name, source));
        }
    }
    let mut not_shown = Vec::new();
    not_shown.extend(view.requests.as_ref().err().cloned());
    not_shown.extend(view.events.as_ref().err().cloned());
    not_shown.extend(view.bundles.as_ref().err().cloned());
    not_shown.extend_from_slice(view.hidden);
    let metadata = &pod.metadata;
    PodReport {
        namespace: metadata.namespace.clone().unwrap_or_default(),
        name: metadata.name.clone().unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
        node: spec.and_then(|spec| spec.node_name.clone()),
        phase: phase(pod).to_owned(),
        service_account: spec
            .and_then(|spec| spec.service_account_name.clone())
            .unwrap_or_default(),
        sources,
        warnings: if has_started(pod) {
            Vec::new()
        } else {
            warnings(view)
        },
        not_shown,
    }
}

fn of_source(view: &View<'_>, volume: &str, source: &VolumeProjection) -> Option<SourceReport> {
    let certificate = source.pod_certificate.as_ref();
    let anchors = source.cluster_trust_bundle.as_ref();
    certificate
        .map(|projection| certificate::explain(view, volume, projection))
        .or_else(|| anchors.map(|projection| anchors::explain(view, volume, projection)))
}

fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or("Unknown")
}

/// Whether a container of the pod ever started, which it does not before all volumes are there.
fn has_started(pod: &Pod) -> bool {
    let Some(status) = &pod.status else {
        return false;
    };
    let containers = status.container_statuses.iter().flatten();
    containers
        .chain(status.init_container_statuses.iter().flatten())
        .any(|container| {
            let state = container.state.as_ref();
            container.restart_count > 0
                || state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
        })
}

/// What others than podcert last warned of: the kubelet of volumes, the scheduler of nodes.
fn warnings(view: &View<'_>) -> Vec<String> {
    let at = |event: &Event| {
        let series = event.series.as_ref();
        let series = series.map(|series| series.last_observed_time.0);
        let last = event.deprecated_last_timestamp.as_ref().map(|at| at.0);
        series
            .or(event.event_time.as_ref().map(|at| at.0))
            .max(last)
    };
    let mut last: BTreeMap<&str, &Event> = BTreeMap::new();
    for event in view.events.as_ref().map_or(&[] as &[_], |events| events) {
        let is_own = event.reporting_controller.as_deref() == Some(REPORTING_CONTROLLER);
        if is_own || event.type_.as_deref() != Some("Warning") {
            continue;
        }
        let known = last
            .entry(event.reason.as_deref().unwrap_or_default())
            .or_insert(event);
        if at(known) < at(event) {
            *known = event;
        }
    }
    last.into_iter()
        .map(|(reason, event)| format!("{reason}: {}", event.note.as_deref().unwrap_or_default()))
        .collect()
}

#[cfg(test)]
mod tests;
