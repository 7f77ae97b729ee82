//! podcert in a cluster: who answers, for which signers, with which CAs, and who waits for what.

mod candidates;
mod controllers;
mod signers;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use podcert_pki::inspect::describe::span;
use podcert_resources::{ApiVersion, CERTIFICATES_GROUP, ClusterTrustBundle};
use serde::Serialize;

pub use self::candidates::{
    Candidate, Configured, Controller, Judged, Lease, MOST_QUESTIONS, Question, Rights, in_turns,
    questions,
};
use self::controllers::has_ended;
pub use self::controllers::{
    ControllerReport, Found, LeaseState, ReplicaReport, answers, controllers,
};
pub use self::signers::{AnchorReport, BundleReport, SignerReport};
use crate::{Answer, Expectation, NotShown, Request, Said, Shown, Told, Unread, reason};

/// What was read of a cluster.
#[expect(missing_debug_implementations, reason = "closures have none")]
pub struct View<'a> {
    /// The version of certificates.k8s.io that is served; nothing if none is.
    pub version: Option<ApiVersion>,
    /// What shows itself as a controller.
    pub found: Found<'a>,
    /// All requests.
    pub requests: Shown<&'a [Request]>,
    /// All Events of podcert.
    pub events: Shown<&'a [Event]>,
    /// All ClusterTrustBundles.
    pub bundles: Shown<&'a [ClusterTrustBundle]>,
    /// What a controller would do with a request, as far as can be told; in words why it cannot.
    pub expected: &'a dyn Fn(&Request) -> Result<Expectation, String>,
    /// What could not be read, and is nowhere above.
    pub unread: &'a [Unread],
    /// The API server's time.
    pub now: Timestamp,
}

/// How podcert is.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterReport {
    /// The version of certificates.k8s.io in use.
    pub version: Option<ApiVersion>,
    /// Those who answer, as far as Leases and pods are shown.
    pub controllers: Vec<ControllerReport>,
    /// Whether both are shown, all of them, so that there are no others but such as show themselves by neither.
    #[serde(skip)]
    pub controllers_are_shown: bool,
    /// Those answered for.
    pub signers: Vec<SignerReport>,
    /// Requests that are not answered, the oldest first.
    pub waiting: Vec<WaitingReport>,
    /// What wants attention, the worst first.
    pub findings: Vec<Finding>,
    /// What could not be looked at.
    pub not_shown: Vec<NotShown>,
}

/// A request that waits.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WaitingReport {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The request.
    pub request: String,
    /// The signer asked.
    pub signer: String,
    /// Since when.
    pub since: Option<Timestamp>,
    /// The reason word, if it is known.
    pub reason: Option<String>,
    /// Whether a controller said so, in an Event; else it follows from the objects that can be seen.
    pub told: bool,
    /// In words why.
    pub message: String,
    /// What would help.
    pub cure: Option<String>,
}

/// Something that wants attention.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What is the matter.
    pub message: String,
    /// What would help.
    pub cure: String,
}

/// How bad a finding is, worst first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// Pods have no certificates, or will not be able to verify any.
    Error,
    /// They soon may not.
    Warning,
}

impl Finding {
    fn error(message: impl Into<String>, cure: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            cure: cure.into(),
        }
    }

    fn warning(message: impl Into<String>, cure: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(message, cure)
        }
    }
}

/// How podcert is in the cluster of `view`.
pub fn assess(view: &View<'_>) -> ClusterReport {
    let mut findings = Vec::new();
    if view.version.is_none() {
        findings.push(Finding::error(
            format!("the API server serves no PodCertificateRequests ({CERTIFICATES_GROUP})"),
            "Kubernetes 1.37, or 1.36 or 1.35 with the gates and versions of docs/compatibility.md",
        ));
    }
    let controllers = controllers::assess(view, &mut findings);
    let signers = signers::assess(view, &controllers, &mut findings);
    let ours: BTreeSet<&str> = signers.iter().map(|signer| signer.name.as_str()).collect();
    let waiting = waiting(view, &ours);
    of_waiting(view, &waiting, &controllers, &mut findings);
    of_refused(view, &ours, &mut findings);
    findings.extend(view.unread.iter().map(|unread| {
        let cure = "kubectl get on it shows what podcert cannot read, such as a date at the end of the year 9999";
        Finding::warning(unread.to_string(), cure)
    }));
    findings.sort_by_key(|finding| finding.severity);
    let mut not_shown = view.found.not_shown();
    not_shown.extend(view.requests.as_ref().err().cloned());
    not_shown.extend(view.events.as_ref().err().cloned());
    not_shown.extend(view.bundles.as_ref().err().cloned());
    ClusterReport {
        version: view.version,
        controllers,
        controllers_are_shown: view.found.is_all(),
        signers,
        waiting,
        findings,
        not_shown,
    }
}

fn waiting(view: &View<'_>, ours: &BTreeSet<&str>) -> Vec<WaitingReport> {
    let requests = view.requests.as_ref().map_or(&[] as &[_], |all| all);
    let events = view.events.as_ref().map_or(&[] as &[_], |all| all);
    let said = Said::in_events(events);
    let mut waiting: Vec<WaitingReport> = requests
        .iter()
        .filter(|request| ours.contains(request.signer()))
        .filter(|request| matches!(request.answer(), Answer::None))
        .map(|request| why(request, said.of(request), (view.expected)(request)))
        .collect();
    waiting.sort_by_key(|request| request.since);
    waiting
}

/// Why `request` waits: what an Event said, unless the objects say something else by now.
fn why(
    request: &Request,
    event: Option<Told>,
    expected: Result<Expectation, String>,
) -> WaitingReport {
    let told = event.is_some();
    let clear = "nothing in the objects that can be seen stands in its way";
    let (word, message) = match (event, expected) {
        (Some(said), Ok(Expectation::Wait(now))) if now.reason != said.reason => (
            Some(now.reason),
            format!("{} (an Event said before: {})", now.message, said.reason),
        ),
        (Some(said), Ok(Expectation::Issue)) => (
            Some(said.reason),
            format!(
                "{} (when the Event was written; by now {clear})",
                said.message
            ),
        ),
        (Some(said), _) => (Some(said.reason), said.message),
        (None, Ok(Expectation::Wait(now))) => (Some(now.reason), now.message),
        (None, Ok(Expectation::Deny(now))) => (
            None,
            format!("it will be denied: {}: {}", now.reason, now.message),
        ),
        (None, Ok(Expectation::Issue)) => (None, clear.to_owned()),
        (None, Err(unknown)) => (None, unknown),
    };
    let known = word.as_deref().and_then(reason);
    WaitingReport {
        namespace: request.namespace().to_owned(),
        pod: request.pod().to_owned(),
        request: request.name().to_owned(),
        signer: request.signer().to_owned(),
        since: request.created(),
        reason: word,
        told,
        message,
        cure: known.map(|known| format!("{} ({})", known.cure, known.who)),
    }
}

fn of_waiting(
    view: &View<'_>,
    waiting: &[WaitingReport],
    controllers: &[ControllerReport],
    findings: &mut Vec<Finding>,
) {
    let is_long = |request: &&WaitingReport| {
        request
            .since
            .is_none_or(|since| view.now.duration_since(since).as_secs() >= LONG_SECONDS)
    };
    let long: Vec<&WaitingReport> = waiting.iter().filter(is_long).collect();
    let Some(oldest) = long.first() else {
        return;
    };
    let requests = match long.len() {
        1 => "a request waits".to_owned(),
        count => format!("{count} requests wait"),
    };
    let age = oldest.since.map(|since| {
        format!(
            ", the oldest of pod {}/{} for {}",
            oldest.namespace,
            oldest.pod,
            span(since, view.now)
        )
    });
    findings.push(Finding::warning(
        format!("{requests}{}", age.unwrap_or_default()),
        format!(
            "as each says; podcert explain pod {}/{}",
            oldest.namespace, oldest.pod
        ),
    ));
    // One outside the cluster that shares no work shows itself by its Events alone.
    let silent = waiting.iter().all(|request| !request.told) && view.events.is_ok();
    if controllers.iter().any(ControllerReport::has_pod) || !silent || !view.found.is_all() {
        return;
    }
    findings.push(match controllers.iter().find(|one| one.lives()) {
        None => Finding::error(
            "no controller shows itself, by a Lease that holds, as a pod that may sign or by Events, and \
             requests wait",
            "podcert install, or see why its pods are not there",
        ),
        // It may be one outside the cluster; anybody may write a Lease in a namespace of theirs.
        Some(alone) => Finding::warning(
            format!(
                "requests wait, and no controller shows itself but by Leases without pods, in namespace {}",
                alone.namespace
            ),
            "see whether that is a controller of yours; podcert install",
        ),
    });
}

/// One finding for each signer and reason: a Deployment with a wrong annotation is one thing to correct.
fn of_refused(view: &View<'_>, ours: &BTreeSet<&str>, findings: &mut Vec<Finding>) {
    let requests = view.requests.as_ref().map_or(&[] as &[_], |all| all);
    let mut refused: BTreeMap<(String, String), (usize, Finding)> = BTreeMap::new();
    for request in requests {
        let Answer::Refused {
            condition,
            reason: word,
            message,
        } = request.answer()
        else {
            continue;
        };
        if !ours.contains(request.signer()) {
            continue;
        }
        let known = refused
            .entry((request.signer().to_owned(), word.clone()))
            .or_insert_with(|| {
                let cure = reason(&word).map(|known| known.cure);
                let finding = Finding::warning(
                    format!(
                        "pod {}/{} was refused a certificate of {}: {condition}, {word}: {message}",
                        request.namespace(),
                        request.pod(),
                        request.signer()
                    ),
                    cure.unwrap_or("correct what the message names, and make the pod anew"),
                );
                (0, finding)
            });
        known.0 += 1;
    }
    for (count, mut finding) in refused.into_values() {
        if count > 1 {
            finding.message = format!(
                "{count} requests were refused, one of them: {}",
                finding.message
            );
        }
        findings.push(finding);
    }
}

/// A wait that is worth telling: others are under way.
const LONG_SECONDS: i64 = 30;

#[cfg(test)]
mod tests;
