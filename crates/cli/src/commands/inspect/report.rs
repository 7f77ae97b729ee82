//! What was found, for scripts. The shape is stable and described in `docs/inspect.md`: fields may
//! be added, none is renamed or removed while `version` stays.

use jiff::Timestamp;
use podcert_pki::Certificate;
use podcert_pki::inspect::{Finding, Severity, describe};
use serde::Serialize;

use super::source::Item;

/// The whole answer.
#[derive(Debug, Serialize)]
pub(super) struct Report<'a> {
    version: u32,
    at: Timestamp,
    worst: Option<&'static str>,
    items: Vec<ItemReport<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ItemReport<'a> {
    source: &'a str,
    name: Option<&'a str>,
    kind: &'static str,
    refresh_at: Option<Timestamp>,
    private_key: Option<KeyReport<'a>>,
    certificates: Vec<CertificateReport>,
    findings: Vec<FindingReport<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct KeyReport<'a> {
    key_type: &'a str,
    matches_leaf: Option<bool>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CertificateReport {
    subject: String,
    issuer: String,
    issued_by: Option<usize>,
    serial: String,
    not_before: Timestamp,
    not_after: Timestamp,
    seconds_left: i64,
    ca: bool,
    dns_names: Vec<String>,
    uris: Vec<String>,
    key_type: String,
    signature: String,
    sha256: String,
    extensions: Vec<ExtensionReport>,
}

#[derive(Debug, Serialize)]
struct ExtensionReport {
    oid: String,
    name: Option<&'static str>,
    critical: bool,
    words: Vec<String>,
}

#[derive(Debug, Serialize)]
struct FindingReport<'a> {
    id: &'static str,
    severity: &'static str,
    certificate: Option<usize>,
    message: &'a str,
    cure: &'static str,
}

impl<'a> Report<'a> {
    /// Of these items.
    pub(super) fn new(items: &'a [Item], at: Timestamp) -> Self {
        let worst = items.iter().filter_map(|item| item.inspection.worst());
        Self {
            version: 1,
            at,
            worst: worst.max().map(Severity::as_str),
            items: items.iter().map(|item| of_item(item, at)).collect(),
        }
    }
}

fn of_item(item: &Item, at: Timestamp) -> ItemReport<'_> {
    let found = &item.inspection;
    ItemReport {
        source: &item.source,
        name: item.name.as_deref(),
        kind: found.kind.as_str(),
        refresh_at: item.refresh_at,
        private_key: found.private_key.as_ref().map(|key| KeyReport {
            key_type: &key.key_type,
            matches_leaf: key.matches_leaf,
        }),
        certificates: found
            .certificates
            .iter()
            .map(|one| of_certificate(one, &found.certificates, at))
            .collect(),
        findings: found.findings.iter().map(of_finding).collect(),
    }
}

fn of_certificate(one: &Certificate, all: &[Certificate], at: Timestamp) -> CertificateReport {
    let extensions = describe::extensions(one);
    CertificateReport {
        subject: one.subject().to_string(),
        issuer: one.issuer().to_string(),
        issued_by: all
            .iter()
            .position(|c| c.names_issuer_of(one))
            .map(|i| i + 1),
        serial: describe::hex(one.serial()),
        not_before: one.not_before(),
        not_after: one.not_after(),
        seconds_left: one.not_after().as_second().saturating_sub(at.as_second()),
        ca: one.is_ca(),
        dns_names: one.dns_names().map(str::to_owned).collect(),
        uris: one.uris().map(str::to_owned).collect(),
        key_type: describe::key_type(one),
        signature: describe::signature_algorithm(one),
        sha256: describe::fingerprint(one),
        extensions: extensions
            .into_iter()
            .map(|extension| ExtensionReport {
                oid: extension.oid,
                name: extension.name,
                critical: extension.critical,
                words: extension.words,
            })
            .collect(),
    }
}

fn of_finding(finding: &Finding) -> FindingReport<'_> {
    FindingReport {
        id: finding.check.as_str(),
        severity: finding.check.severity().as_str(),
        certificate: finding.certificate,
        message: &finding.message,
        cure: finding.check.cure(),
    }
}
