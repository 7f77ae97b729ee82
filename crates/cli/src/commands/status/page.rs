//! How podcert is, for people: plain text of at most 80 columns where words allow it.

use std::fmt::Write as _;

use jiff::Timestamp;
use podcert_diagnosis::cluster::{
    ClusterReport, ControllerReport, Finding, LeaseState, ReplicaReport, Severity, SignerReport,
    WaitingReport,
};
use podcert_pki::inspect::{self, describe::span};

use crate::page::{Ink, clean, distance, wrapped};

/// All of it.
pub(super) fn page(report: &ClusterReport, now: Timestamp, ink: Ink) -> String {
    let mut page = String::new();
    if let Some(version) = report.version {
        let title = format!("certificates.k8s.io/{}", version.as_str());
        let _ = writeln!(page, "{}", ink.bold(None, &title));
    }
    if report.controllers.is_empty() && report.controllers_are_shown {
        row(
            &mut page,
            "",
            "no controller shows itself, by a Lease or as a pod with podcert's labels (a sandbox's, or another \
             outside the cluster, does not)",
        );
    }
    for controller in &report.controllers {
        of_controller(&mut page, controller, now, ink);
    }
    for signer in &report.signers {
        of_signer(&mut page, signer, now, ink);
    }
    if !report.waiting.is_empty() {
        let _ = writeln!(
            page,
            "\n{}",
            ink.bold(None, &format!("waiting: {}", report.waiting.len()))
        );
    }
    for waiting in report.waiting.iter().take(SHOWN) {
        of_waiting(&mut page, waiting, now, ink);
    }
    if let Some(more) = report
        .waiting
        .len()
        .checked_sub(SHOWN)
        .filter(|more| *more > 0)
    {
        row(
            &mut page,
            "",
            &format!("and {more} more: --output json has all"),
        );
    }
    page.push('\n');
    for not_shown in &report.not_shown {
        row(&mut page, "hidden", &not_shown.to_string());
    }
    match (report.findings.is_empty(), report.not_shown.is_empty()) {
        (true, true) => {
            let _ = writeln!(page, "  {}", ink.green("nothing wants attention"));
        }
        (true, false) => row(
            &mut page,
            "",
            "of what can be seen, nothing wants attention",
        ),
        (false, _) => {}
    }
    for finding in &report.findings {
        of_finding(&mut page, finding, ink);
    }
    page
}

fn of_controller(page: &mut String, controller: &ControllerReport, now: Timestamp, ink: Ink) {
    let name = match &controller.application {
        Some(application) => format!("{}/{application}", controller.namespace),
        None => format!("in namespace {}, sharing no work", controller.namespace),
    };
    let _ = writeln!(
        page,
        "\n{}",
        ink.bold(None, &clean(&format!("controller {name}")))
    );
    let mut images = Vec::new();
    for replica in &controller.replicas {
        if replica.has_pod == Some(false) && matches!(replica.lease, LeaseState::RanOut { .. }) {
            row(
                page,
                "gone",
                &format!("{}, whose pod and time are over", replica.name),
            );
            continue;
        }
        let lives = match replica.lease {
            LeaseState::Held { renewed } => format!("Lease renewed {} ago", span(renewed, now)),
            LeaseState::RanOut { .. } => "Lease ran out".to_owned(),
            LeaseState::None => "no Lease".to_owned(),
            LeaseState::Unknown => "Lease hidden".to_owned(),
        };
        let node = replica.node.as_ref().map(|node| format!(", node {node}"));
        let restarts = match replica.restarts {
            0 => String::new(),
            count => format!(", restarted {count} times"),
        };
        let word = match (replica.has_pod, replica.ready) {
            (Some(true), Some(true)) => "ready",
            (Some(true), _) => "not ready",
            (Some(false), _) => "outside",
            (None, _) => "replica",
        };
        row(
            page,
            word,
            &format!(
                "{}, {lives}{}{restarts}",
                replica.name,
                node.unwrap_or_default()
            ),
        );
        if let Some(image) = &replica.image
            && !images.contains(&image)
        {
            images.push(image);
        }
    }
    for image in images {
        row(page, "image", image);
    }
    let has_pod = |replica: &ReplicaReport| replica.has_pod == Some(true);
    if controller.signers.is_none() && controller.replicas.iter().any(has_pod) {
        row(
            page,
            "signers",
            "its flags cannot be read here, so what it answers for is not known",
        );
    }
}

fn of_signer(page: &mut String, signer: &SignerReport, now: Timestamp, ink: Ink) {
    let by = match signer.answered {
        Some(false) => ", which no controller above answers for",
        _ => "",
    };
    let _ = writeln!(
        page,
        "\n{}",
        ink.bold(
            None,
            &wrapped(&clean(&format!("signer {}{by}", signer.name)), 0)
        )
    );
    match &signer.bundle {
        None if signer.bundle_is_shown => row(page, "bundle", "none"),
        None => row(page, "bundle", "hidden"),
        Some(own) => {
            row(page, "bundle", &own.name);
            for anchor in &own.anchors {
                let signs = if anchor.signs { ", it signs" } else { "" };
                row(
                    page,
                    "anchor",
                    &format!(
                        "{}, expires {}{signs}",
                        anchor.subject,
                        distance(now, anchor.not_after)
                    ),
                );
            }
        }
    }
    let last = signer
        .last_issued
        .map(|at| format!(", the last {}", distance(now, at)));
    if let Some(expires) = signer.signing_expires {
        row(
            page,
            "signs",
            &format!("under a CA that expires {}", distance(now, expires)),
        );
    }
    let (Some(issued), Some(waiting), Some(refused)) =
        (signer.issued, signer.waiting, signer.refused)
    else {
        row(page, "requests", "hidden");
        return;
    };
    row(
        page,
        "requests",
        &format!(
            "{issued} issued{}, {waiting} waiting, {refused} refused",
            last.unwrap_or_default()
        ),
    );
}

fn of_waiting(page: &mut String, waiting: &WaitingReport, now: Timestamp, ink: Ink) {
    let age = waiting
        .since
        .map(|since| format!(" for {}", span(since, now)));
    let _ = writeln!(
        page,
        "  {}",
        ink.bold(
            None,
            &wrapped(
                &clean(&format!(
                    "{}/{}{}, {}",
                    waiting.namespace,
                    waiting.pod,
                    age.unwrap_or_default(),
                    waiting.signer
                )),
                2
            )
        )
    );
    let why = match &waiting.reason {
        Some(word) => format!("{word}: {}", waiting.message),
        None => waiting.message.clone(),
    };
    row(page, "", &why);
    if let Some(cure) = &waiting.cure {
        row(page, "", &format!("-> {cure}"));
    }
}

fn of_finding(page: &mut String, finding: &Finding, ink: Ink) {
    let (word, severity) = match finding.severity {
        Severity::Error => ("error", inspect::Severity::Error),
        Severity::Warning => ("warning", inspect::Severity::Warning),
    };
    let _ = writeln!(
        page,
        "  {}{} {}",
        ink.bold(Some(severity), word),
        " ".repeat(LABEL - 1 - word.len()),
        wrapped(&clean(&finding.message), LABEL + 2)
    );
    row(page, "", &format!("-> {}", finding.cure));
}

fn row(page: &mut String, label: &str, words: &str) {
    let _ = writeln!(
        page,
        "  {label:LABEL$}{}",
        wrapped(&clean(words), LABEL + 2)
    );
}

/// The width of the labels.
const LABEL: usize = 10;
/// How many waiting requests a screen takes.
const SHOWN: usize = 20;
