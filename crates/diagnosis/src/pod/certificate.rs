//! A `podCertificate` source: the newest request made for it tells how it stands.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCertificateProjection};
use podcert_pki::inspect::describe::{hex, span};
use podcert_pki::{Certificate, Chain};

use super::{CertificateReport, SourceReport, State, View, Wants, has_started, phase};
use crate::{
    Answer, Expectation, REFRESH_TAKES_MINUTES, REQUEST_KEPT_MINUTES, Request, Said, Told, reason,
};

pub(super) fn explain(
    view: &View<'_>,
    volume: &str,
    projection: &PodCertificateProjection,
) -> SourceReport {
    let paths = [
        &projection.credential_bundle_path,
        &projection.key_path,
        &projection.certificate_chain_path,
    ];
    let report = SourceReport::new(
        volume,
        paths.into_iter().flatten().cloned().collect(),
        Wants::Certificate {
            signer: projection.signer_name.clone(),
            key_type: projection.key_type.clone(),
        },
    );
    let Ok(requests) = &view.requests else {
        return report.found(State::Unknown, "its requests cannot be looked at");
    };
    let pod = view.pod.metadata.uid.as_deref().unwrap_or_default();
    let mut own: Vec<&Request> = requests
        .iter()
        .filter(|request| {
            request.pod_uid() == pod
                && request.signer() == projection.signer_name
                && request.has_annotations(projection.user_annotations.as_ref())
                && request
                    .key_type()
                    .is_none_or(|key| key.as_str() == projection.key_type)
        })
        .collect();
    own.sort_by_key(|request| std::cmp::Reverse(request.created()));
    let Some((newest, earlier)) = own.split_first() else {
        return without_request(view, report);
    };
    let mut report = report;
    report.request = Some(newest.name().to_owned());
    let report = match newest.answer() {
        Answer::Issued {
            chain,
            begin_refresh_at,
        } => return issued(report, chain.as_ref(), begin_refresh_at, view.now),
        Answer::Refused {
            condition,
            reason,
            message,
        } => refused(report, &condition, reason, message),
        Answer::None => waiting(view, report, newest),
    };
    still_good(report, earlier, view.now)
}

fn issued(
    mut report: SourceReport,
    chain: Option<&Chain>,
    refresh: Option<Timestamp>,
    now: Timestamp,
) -> SourceReport {
    let Some(chain) = chain else {
        let summary = "it was issued, but what the request holds is no certificate chain";
        return report.found(State::Attention, summary);
    };
    let leaf = chain.leaf();
    let (since, until) = (leaf.not_before(), leaf.not_after());
    let told = report.certificate.insert(of_leaf(leaf));
    let named = told.names.join(", ");
    if until <= now {
        return report
            .found(
                State::Missing,
                format!(
                    "it expired {} ago, and the kubelet has not asked for another",
                    span(until, now)
                ),
            )
            .detail(format!("it was for {named}"))
            .cure("see what the node's kubelet says: its log, and whether the node is Ready");
    }
    let told = format!(
        "issued {} ago for {named}, expires in {}",
        span(since, now),
        span(now, until)
    );
    match refresh {
        Some(refresh) if now.duration_since(refresh).as_mins() >= REFRESH_TAKES_MINUTES => report
            .found(State::Attention, told)
            .detail(format!(
                "the kubelet should have replaced it {} ago",
                span(refresh, now)
            ))
            .cure("see what the node's kubelet says: its log, and whether the node is Ready"),
        Some(refresh) if refresh <= now => report
            .found(State::Present, told)
            .detail("the kubelet replaces it in the next minutes"),
        Some(refresh) => report
            .found(State::Present, told)
            .detail(format!("the kubelet replaces it in {}", span(now, refresh))),
        None => report.found(State::Present, told),
    }
}

fn of_leaf(leaf: &Certificate) -> CertificateReport {
    let names = leaf.uris().chain(leaf.dns_names());
    CertificateReport {
        serial: hex(leaf.serial()),
        names: names.map(str::to_owned).collect(),
        not_before: leaf.not_before(),
        not_after: leaf.not_after(),
    }
}

fn refused(report: SourceReport, condition: &str, word: String, message: String) -> SourceReport {
    let cure = match reason(&word) {
        Some(known) => format!("{} ({})", known.cure, known.who),
        None => "correct what the message names, and make the pod anew".to_owned(),
    };
    let mut report = report
        .found(State::Refused, format!("{condition} for good: {word}"))
        .detail(message)
        .detail("the kubelet takes that as final: this pod gets no other answer")
        .cure(cure);
    report.reason = Some(word);
    report
}

fn waiting(view: &View<'_>, report: SourceReport, request: &Request) -> SourceReport {
    let age = request.created().map(|at| span(at, view.now));
    let since = match &age {
        Some(age) => format!("asked {age} ago, not answered"),
        None => "asked, not answered".to_owned(),
    };
    let events = view.events.as_ref().map_or(&[] as &[_], |events| events);
    let report = match Said::in_events(events).of(request) {
        Some(told) => told_so(view, report, request, &since, told),
        None => untold(view, report, request, &since),
    };
    let left = request
        .created()
        .map(|at| REQUEST_KEPT_MINUTES - view.now.duration_since(at).as_mins());
    match left {
        Some(left) if report.state == State::Waiting && left > 0 => report.detail(format!(
            "Kubernetes deletes the request in {left} min; the kubelet then asks anew"
        )),
        _ => report,
    }
}

/// An Event says why it waits. It is written once for each reason, so what is the matter now may be
/// something else.
fn told_so(
    view: &View<'_>,
    report: SourceReport,
    request: &Request,
    since: &str,
    told: Told,
) -> SourceReport {
    let report = match (view.expected)(request) {
        Ok(Expectation::Wait(now)) if now.reason != told.reason => {
            because(report.found(State::Waiting, ""), since, now).detail(format!(
                "an Event said before: {}: {}",
                told.reason, told.message
            ))
        }
        Ok(Expectation::Issue) => because(report.found(State::Waiting, ""), since, told).detail(
            "that was when the Event was written; nothing in the objects that can be seen stands in its way now",
        ),
        _ => because(report.found(State::Waiting, ""), since, told),
    };
    match (view.answered)(request.signer()) {
        Some(false) => nobody(report, Some(false), false),
        _ => report,
    }
}

/// It waits, and no Event says why: what would be decided now, as far as the person who asks may see.
fn untold(view: &View<'_>, report: SourceReport, request: &Request, since: &str) -> SourceReport {
    let young = request
        .created()
        .is_some_and(|at| view.now.duration_since(at).as_secs() < ANSWERED_WITHIN_SECONDS);
    let answered = (view.answered)(request.signer());
    match (view.expected)(request) {
        Ok(Expectation::Wait(told)) => {
            let report = because(report.found(State::Waiting, ""), since, told);
            report.detail(if view.events.is_ok() {
                "no Event says so (yet); it follows from the objects that can be seen"
            } else {
                "it follows from the objects that can be seen; what Events say is hidden"
            })
        }
        Ok(Expectation::Deny(Told { reason, message })) => {
            let state = if young {
                State::Underway
            } else {
                State::Waiting
            };
            let mut report = report
                .found(state, format!("{since}; it will be denied: {reason}"))
                .detail(message);
            report.reason = Some(reason);
            nobody(report, answered, young)
        }
        Ok(Expectation::Issue) if young && answered != Some(false) => {
            report.found(State::Underway, format!("{since} yet"))
        }
        Ok(Expectation::Issue) => {
            let report = report
                .found(State::Waiting, since)
                .detail("nothing in the objects that can be seen stands in its way");
            nobody(report, answered, false)
        }
        Err(unknown) => {
            let state = if young {
                State::Underway
            } else {
                State::Waiting
            };
            let report = report.found(state, since).detail(unknown);
            nobody(report, answered, young)
        }
    }
}

fn nobody(report: SourceReport, answered: Option<bool>, young: bool) -> SourceReport {
    match answered {
        Some(false) => report
            .detail("no controller that lives answers for this signer")
            .cure("run one, or see why it is not well: podcert status"),
        Some(true) if !young => {
            report.cure("see why the controller does not answer: podcert status, and its log")
        }
        None if !young => report.cure(
            "see whether a controller answers for this signer, and what its log says: podcert status",
        ),
        _ => report,
    }
}

fn because(mut report: SourceReport, since: &str, told: Told) -> SourceReport {
    report.summary = format!("{since}: {}", told.reason);
    if let Some(known) = reason(&told.reason) {
        report.cure = Some(format!("{} ({})", known.cure, known.who));
    }
    if !told.message.is_empty() {
        report.details.push(told.message);
    }
    report.reason = Some(told.reason);
    report
}

/// Nobody asked for it, or the request is deleted by now.
fn without_request(view: &View<'_>, report: SourceReport) -> SourceReport {
    let pod = view.pod;
    if matches!(phase(pod), "Succeeded" | "Failed") {
        return report.found(
            State::Present,
            "the pod has ended; nobody asks for it any more",
        );
    }
    if has_started(pod) {
        return report
            .found(
                State::Assumed,
                "it was issued, as the pod's containers started, and they do not before",
            )
            .detail(format!(
                "Kubernetes keeps requests for {REQUEST_KEPT_MINUTES} minutes, so whether it was replaced \
                 since, and until when it is good, only the pod and its node can see"
            ));
    }
    let spec = pod.spec.as_ref();
    let node = spec.and_then(|spec| spec.node_name.as_deref());
    let Some(node) = node.filter(|node| !node.is_empty()) else {
        let report = report.found(
            State::Waiting,
            "nobody asked for it: the pod is on no node yet",
        );
        return match unschedulable(pod) {
            Some(message) => report.detail(format!("the scheduler says: {message}")),
            None => report.detail("it is asked for by the kubelet of the node"),
        }
        .cure("a node that takes the pod");
    };
    let age = pod.metadata.creation_timestamp.as_ref().map(|at| at.0);
    if age.is_some_and(|at| view.now.duration_since(at).as_secs() < ANSWERED_WITHIN_SECONDS) {
        return report.found(
            State::Underway,
            format!("the kubelet of node {node} has not asked for it yet"),
        );
    }
    report
        .found(
            State::Waiting,
            format!("the kubelet of node {node} has not asked for it"),
        )
        .detail(
            "either it did and the request was deleted unanswered after fifteen minutes (it then asks \
             anew), or it cannot: the node is not Ready, its kubelet is older than 1.35 or has the gate \
             PodCertificateRequest off, the API server does not serve the version it speaks, or an \
             admission policy refuses it",
        )
        .cure(format!(
            "kubectl get node {node} -o wide; kubectl describe pod; the kubelet's log on {node}"
        ))
}

fn unschedulable(pod: &Pod) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let scheduled = conditions
        .iter()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")?;
    scheduled.message.clone()
}

/// Adds what the pod has meanwhile.
fn still_good(mut report: SourceReport, earlier: &[&Request], now: Timestamp) -> SourceReport {
    report.certificate = earlier.iter().find_map(|request| match request.answer() {
        Answer::Issued {
            chain: Some(chain), ..
        } => Some(of_leaf(chain.leaf())),
        _ => None,
    });
    match report.certificate.as_ref().map(|known| known.not_after) {
        Some(until) if until > now => report.detail(format!(
            "the pod has an earlier certificate, for another {}",
            span(now, until)
        )),
        _ => report,
    }
}

/// A healthy controller answers in less than a second, and tells of a wait after ten.
const ANSWERED_WITHIN_SECONDS: i64 = 15;
