//! What is to be said about a pod, for people: plain text of at most 80 columns where words allow it.

use std::fmt::Write as _;

use podcert_diagnosis::pod::{PodReport, SourceReport, State, Wants};
use podcert_pki::inspect::Severity;

use crate::page::{Ink, clean, wrapped};

/// All of it.
pub(super) fn page(report: &PodReport, ink: Ink) -> String {
    let place = match report.node.as_deref() {
        Some(node) if !node.is_empty() => format!("on node {node}"),
        _ => "on no node".to_owned(),
    };
    let title = format!(
        "pod {}/{}: {} {place}, as service account {}",
        report.namespace, report.name, report.phase, report.service_account
    );
    let mut page = format!("{}\n", ink.bold(None, &wrapped(&clean(&title), 0)));
    if report.sources.is_empty() {
        row(
            &mut page,
            "",
            "its volumes ask for no certificates and no trust anchors",
        );
    }
    for source in &report.sources {
        page.push('\n');
        of_source(&mut page, source, ink);
    }
    for warning in &report.warnings {
        page.push('\n');
        row(&mut page, "event", warning);
    }
    for not_shown in &report.not_shown {
        page.push('\n');
        row(&mut page, "hidden", &not_shown.to_string());
    }
    page
}

fn of_source(page: &mut String, source: &SourceReport, ink: Ink) {
    let (word, severity) = match source.state {
        State::Present => ("there", None),
        State::Assumed => ("likely", None),
        State::Attention => ("look", Some(Severity::Warning)),
        State::Unknown => ("unknown", Some(Severity::Warning)),
        State::Underway => ("asked", Some(Severity::Warning)),
        State::Waiting => ("waits", Some(Severity::Error)),
        State::Missing => ("missing", Some(Severity::Error)),
        State::Refused => ("refused", Some(Severity::Error)),
    };
    let coloured = match severity {
        None => ink.green(word),
        severity => ink.bold(severity, word),
    };
    let what = match &source.wants {
        Wants::Certificate { signer, key_type } => format!("certificate of {signer}, {key_type}"),
        Wants::Anchors { selected_by } => format!("trust anchors by {selected_by}"),
    };
    let title = format!("{}, {what}", path(source));
    let _ = writeln!(
        page,
        "  {coloured}{} {}",
        " ".repeat(LABEL - 1 - word.len()),
        ink.bold(None, &wrapped(&clean(&title), LABEL + 2)),
    );
    row(page, "", &source.summary);
    for detail in &source.details {
        row(page, "", detail);
    }
    if let Some(cure) = &source.cure {
        row(page, "", &format!("-> {cure}"));
    }
    if let Some(request) = source
        .request
        .as_ref()
        .filter(|_| source.state > State::Assumed)
    {
        row(page, "", &format!("request {request}"));
    }
}

fn path(source: &SourceReport) -> String {
    format!("{}: {}", source.volume, source.paths.join(", "))
}

fn row(page: &mut String, label: &str, words: &str) {
    let _ = writeln!(
        page,
        "  {label:LABEL$}{}",
        wrapped(&clean(words), LABEL + 2)
    );
}

/// The width of the labels.
const LABEL: usize = 9;
