//! What was found, for people: plain text of at most 80 columns where words allow it.
//!
//! Names come from whoever made the certificate, so they are shown [`clean`].

use std::fmt::Write as _;

use jiff::Timestamp;
use podcert_pki::Certificate;
use podcert_pki::inspect::{Finding, Kind, describe};

use super::source::Item;
use crate::page::{Ink, clean, date, distance, wrapped};

/// Everything, one item after the other.
pub(super) fn page(items: &[Item], at: Timestamp, ink: Ink) -> String {
    let pages: Vec<String> = items.iter().map(|item| of_item(item, at, ink)).collect();
    pages.join("\n")
}

fn of_item(item: &Item, at: Timestamp, ink: Ink) -> String {
    let found = &item.inspection;
    let count = found.certificates.len();
    let name = item.name.as_ref().map(|name| format!(", {name}"));
    let source = match item.source.as_str() {
        "-" => "standard input",
        source => source,
    };
    let kind = words_for(found.kind);
    let mut title = format!("{source}{}: {kind}", name.unwrap_or_default());
    if count != 1 || found.kind != Kind::Certificate {
        let _ = write!(
            title,
            ", {count} certificate{}",
            if count == 1 { "" } else { "s" }
        );
    }
    let mut page = format!("{}\n", ink.bold(None, &wrapped(&clean(&title), 0)));
    if let Some(key) = &found.private_key {
        let whose = match key.matches_leaf {
            Some(true) => ", the key of certificate 1",
            Some(false) => ", not the key of certificate 1",
            None => "",
        };
        row(
            &mut page,
            "private key",
            &format!("{}{whose}", key.key_type),
        );
    }
    for (number, certificate) in (1..).zip(&found.certificates) {
        page.push('\n');
        let title = format!(
            "certificate {number}: {} {}",
            role(certificate),
            shown_name(certificate)
        );
        let _ = writeln!(page, "  {}", ink.bold(None, &wrapped(&clean(&title), 2)));
        let refresh = item.refresh_at.filter(|_| number == 1);
        of_certificate(&mut page, certificate, &found.certificates, refresh, at);
    }
    page.push('\n');
    if found.findings.is_empty() {
        let _ = writeln!(page, "  {}", ink.green("nothing wrong"));
    }
    for finding in &found.findings {
        of_finding(&mut page, finding, ink);
    }
    page
}

fn of_certificate(
    page: &mut String,
    certificate: &Certificate,
    all: &[Certificate],
    refresh: Option<Timestamp>,
    at: Timestamp,
) {
    let issuer = if certificate.names_issuer_of(certificate) {
        "itself".to_owned()
    } else {
        let known = all.iter().position(|c| c.names_issuer_of(certificate));
        let number = known.map(|index| format!(", certificate {}", index + 1));
        format!("{}{}", certificate.issuer(), number.unwrap_or_default())
    };
    row(page, "subject", &certificate.subject().to_string());
    row(page, "issued by", &issuer);
    let (from, to) = (certificate.not_before(), certificate.not_after());
    row(
        page,
        "valid from",
        &format!("{}, {}", date(from), distance(at, from)),
    );
    row(
        page,
        "expires",
        &format!("{}, {}", date(to), distance(at, to)),
    );
    if let Some(refresh) = refresh {
        let words = format!("{}, {}", date(refresh), distance(at, refresh));
        row(page, "refresh", &words);
    } else if !certificate.is_ca()
        && let Ok(half) = Timestamp::from_second((from.as_second() + to.as_second()) / 2)
    {
        row(
            page,
            "half-life",
            &format!("{}, {}", date(half), distance(at, half)),
        );
    }
    row(page, "key", &describe::key_type(certificate));
    row(
        page,
        "signature",
        &describe::signature_algorithm(certificate),
    );
    row(page, "serial", &describe::hex(certificate.serial()));
    row(page, "sha256", &describe::fingerprint(certificate));
    for extension in describe::extensions(certificate) {
        let critical = if extension.critical { ", critical" } else { "" };
        let words = extension.words.join(", ");
        row(
            page,
            "extension",
            &format!("{}{critical}: {words}", extension.label()),
        );
    }
}

fn of_finding(page: &mut String, finding: &Finding, ink: Ink) {
    let severity = finding.check.severity();
    let place = match finding.certificate {
        Some(number) => format!("certificate {number}: "),
        None => String::new(),
    };
    let _ = writeln!(
        page,
        "  {}{} {}",
        ink.bold(Some(severity), severity.as_str()),
        " ".repeat(LABEL - 1 - severity.as_str().len()),
        ink.bold(None, finding.check.as_str()),
    );
    row(page, "", &format!("{place}{}", finding.message));
    row(page, "", &format!("-> {}", finding.check.cure()));
}

fn row(page: &mut String, label: &str, words: &str) {
    let indent = LABEL + 2;
    let _ = writeln!(page, "  {label:LABEL$}{}", wrapped(&clean(words), indent));
}

fn words_for(kind: Kind) -> &'static str {
    match kind {
        Kind::Certificate => "certificate",
        Kind::Chain => "chain",
        Kind::CredentialBundle => "credential bundle",
        Kind::TrustBundle => "trust bundle",
        Kind::Authority => "CA",
    }
}

fn role(certificate: &Certificate) -> &'static str {
    match (certificate.is_ca(), certificate.is_self_issued()) {
        (true, true) => "root",
        (true, false) => "intermediate",
        (false, _) => "leaf",
    }
}

/// The name people know it by.
fn shown_name(certificate: &Certificate) -> String {
    let name = certificate.uris().chain(certificate.dns_names()).next();
    let more = certificate.uris().chain(certificate.dns_names()).count();
    match (name, more) {
        (Some(name), 0..2) => name.to_owned(),
        (Some(name), more) => format!("{name} and {} more", more - 1),
        (None, _) => certificate.subject().to_string(),
    }
}

/// The width of the labels.
const LABEL: usize = 12;
