//! What certificates say, in words, and what is wrong with them.
//!
//! For people and scripts who hold a file and want to know what is in it (`podcert inspect`); nothing
//! that issues or verifies depends on this. [`text`] reads PEM or DER and guesses what it is;
//! [`certificates`] looks at certificates that came another way, from a pool or a TLS server. Both
//! answer with an [`Inspection`]: the certificates in their order, whether a private key belongs to
//! the first of them (of the key itself nothing is kept), and [`Finding`]s, each of a [`Check`] that
//! has a stable name, a severity and words on what to do.
//!
//! Where things are: `check`, the table of checks; `certificate`, what one certificate can have
//! wrong; `order`, what several can; [`mod@describe`], certificates in words. To add a check: a line in
//! `check`, the code that finds it, a test, and a row in `docs/inspect.md`, which a test asks for.
//!
//! Reading is laxer here than where certificates are used: a block with headers or a key in a trust
//! bundle is a finding, not the end. What cannot be read at all is an [`InspectError`].

mod certificate;
mod check;
pub mod describe;
mod order;

use jiff::Timestamp;

pub use self::check::{Check, Severity};
use crate::{Certificate, CertificateError, KeyError, PemError, PrivateKey, pem};

/// What a set of certificates is meant to be, which decides what is wrong with it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// One certificate, whatever it is for.
    Certificate,
    /// What a TLS server or client presents: the leaf, then each one's issuer, the root left out.
    Chain,
    /// A private key and the chain of its public half, as the kubelet writes them.
    CredentialBundle,
    /// Trust anchors, under the rules the API server has for a ClusterTrustBundle.
    TrustBundle,
    /// The certificates of a CA: the one that signs, then each one's issuer up to the root.
    Authority,
}

impl Kind {
    /// Its name in output for scripts.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Chain => "chain",
            Self::CredentialBundle => "credential-bundle",
            Self::TrustBundle => "trust-bundle",
            Self::Authority => "ca",
        }
    }
}

/// What was found in one file, answer or object.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// What it was taken for.
    pub kind: Kind,
    /// The certificates in their order.
    pub certificates: Vec<Certificate>,
    /// The private key, if there is one.
    pub private_key: Option<PrivateKeyFacts>,
    /// What is wrong, in the order of the certificates; what concerns the whole comes last.
    pub findings: Vec<Finding>,
}

impl Inspection {
    /// The worst of the findings.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|f| f.check.severity()).max()
    }
}

/// What may be told of a private key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PrivateKeyFacts {
    /// Its type, such as `ECDSAP256`, or `unreadable`.
    pub key_type: String,
    /// Whether the first certificate is for this key; `None` if that cannot be told.
    pub matches_leaf: Option<bool>,
}

/// Something that is wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// Which check found it.
    pub check: Check,
    /// Which certificate it concerns, from 1; `None` for the whole.
    pub certificate: Option<usize>,
    /// What was found, in words.
    pub message: String,
}

impl Finding {
    /// A finding about the certificate of this number (from 1), or about the whole.
    #[must_use]
    pub fn new(check: Check, certificate: Option<usize>, message: impl Into<String>) -> Self {
        Self {
            check,
            certificate,
            message: message.into(),
        }
    }
}

/// Looks at PEM text or at one DER certificate, as if it were `at`. Without a `kind`, a text with a
/// private key is a credential bundle; several certificates that are all CAs are a trust bundle,
/// others a chain.
///
/// # Errors
/// [`InspectError`] when there is nothing that can be read. None of them holds key material.
pub fn text(bytes: &[u8], kind: Option<Kind>, at: Timestamp) -> Result<Inspection, InspectError> {
    if bytes.first() == Some(&DER_SEQUENCE) {
        let certificate = Certificate::from_der(bytes)?;
        return Ok(certificates(
            kind.unwrap_or(Kind::Certificate),
            vec![certificate],
            at,
        ));
    }
    let mut found = Vec::new();
    let mut keys = Vec::new();
    let mut early = Vec::new();
    for lax in pem::blocks_with_headers(bytes)? {
        let (number, label) = (lax.block.number, lax.block.label().to_owned());
        let is_certificate = label == pem::CERTIFICATE;
        if is_certificate {
            found.push(Certificate::from_block(lax.block)?);
        } else if label.ends_with(pem::PRIVATE_KEY) {
            keys.push(key_facts(&label, &lax, found.len(), &mut early));
        } else {
            early.push(Finding::new(
                Check::OtherPemBlock,
                None,
                format!("block {number} is {label}, neither a certificate nor a private key"),
            ));
        }
        if lax.has_headers && is_certificate {
            let message = format!("block {number} (certificate {}) has headers", found.len());
            early.push(Finding::new(Check::PemHeaders, Some(found.len()), message));
        }
    }
    if found.is_empty() && keys.is_empty() {
        return Err(InspectError::NothingThere);
    }
    let kind = kind.unwrap_or_else(|| guess(&found, !keys.is_empty()));
    if kind == Kind::CredentialBundle && keys.is_empty() {
        early.push(Finding::new(
            Check::NoPrivateKey,
            None,
            "there is no private key",
        ));
    }
    let mut inspection = certificates(kind, found, at);
    inspection.private_key = join_keys(keys, &mut inspection);
    inspection.findings.extend(early);
    inspection
        .findings
        .sort_by_key(|f| f.certificate.unwrap_or(usize::MAX));
    Ok(inspection)
}

/// Looks at certificates in their order, as if it were `at`.
#[must_use]
pub fn certificates(kind: Kind, certificates: Vec<Certificate>, at: Timestamp) -> Inspection {
    let mut findings = Vec::new();
    for (number, one) in (1..).zip(&certificates) {
        // An anchor is trusted for its name and key: its dates are judged as a set.
        certificate::look(one, number, kind, at, &mut findings);
    }
    order::look(kind, &certificates, at, &mut findings);
    findings.sort_by_key(|f| f.certificate.unwrap_or(usize::MAX));
    Inspection {
        kind,
        certificates,
        private_key: None,
        findings,
    }
}

/// What one certificate, or several, most likely are.
fn guess(certificates: &[Certificate], with_key: bool) -> Kind {
    match certificates {
        _ if with_key => Kind::CredentialBundle,
        [_] => Kind::Certificate,
        several if several.iter().all(Certificate::is_ca) => Kind::TrustBundle,
        _ => Kind::Chain,
    }
}

/// A private key's block, reduced to what may be told of it.
struct KeyBlock {
    key_type: String,
    spki: Option<Vec<u8>>,
    /// How many certificates stand before it.
    certificates_before: usize,
    block: usize,
}

fn key_facts(
    label: &str,
    lax: &pem::LaxBlock,
    certificates_before: usize,
    findings: &mut Vec<Finding>,
) -> KeyBlock {
    let block = lax.block.number;
    let mut facts = KeyBlock {
        key_type: "unreadable".to_owned(),
        spki: None,
        certificates_before,
        block,
    };
    let mut wrong = |message| findings.push(Finding::new(Check::KeyFormat, None, message));
    if lax.has_headers || label.starts_with("ENCRYPTED") {
        wrong(format!(
            "the private key of block {block} ({label}) is encrypted or has headers"
        ));
        return facts;
    }
    if label != pem::PRIVATE_KEY {
        wrong(format!(
            "the private key of block {block} is {label}, expected PRIVATE KEY (PKCS #8)"
        ));
        return facts;
    }
    match PrivateKey::from_pkcs8_der(lax.block.der()) {
        Ok(key) => {
            facts.key_type = key.public_key().key_type().to_string();
            facts.spki = Some(key.public_key().spki_der().to_owned());
        }
        Err(error) => wrong(format!(
            "the private key of block {block} cannot be used: {}",
            key_error(&error)
        )),
    }
    facts
}

/// The error with its source; it holds no key material.
fn key_error(error: &KeyError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn join_keys(keys: Vec<KeyBlock>, inspection: &mut Inspection) -> Option<PrivateKeyFacts> {
    let count = keys.len();
    let first = keys.into_iter().next()?;
    let mut wrong = |check, certificate, message: String| {
        inspection
            .findings
            .push(Finding::new(check, certificate, message));
    };
    if inspection.kind != Kind::CredentialBundle {
        let message = format!(
            "block {} is a private key, in what is meant to be a {}",
            first.block,
            inspection.kind.as_str()
        );
        wrong(Check::UnexpectedPrivateKey, None, message);
    } else {
        if count > 1 {
            wrong(
                Check::SeveralPrivateKeys,
                None,
                format!("there are {count} private keys, expected one"),
            );
        }
        if first.certificates_before > 0 {
            wrong(
                Check::KeyNotFirst,
                None,
                "the private key stands after a certificate".to_owned(),
            );
        }
        if inspection.certificates.is_empty() {
            wrong(
                Check::NoCertificate,
                None,
                "there is a private key and no certificate".to_owned(),
            );
        }
    }
    let leaf = inspection.certificates.first();
    let matches_leaf = match (&first.spki, leaf) {
        (Some(spki), Some(leaf)) => Some(spki == leaf.spki_der()),
        _ => None,
    };
    if inspection.kind == Kind::CredentialBundle && matches_leaf == Some(false) {
        let other = first.spki.as_deref().and_then(|spki| {
            inspection
                .certificates
                .iter()
                .position(|other| other.spki_der() == spki)
        });
        let message = match other {
            Some(index) => format!(
                "the private key is not that of the leaf but of certificate {}",
                index + 1
            ),
            None => "the private key is not that of the leaf".to_owned(),
        };
        inspection
            .findings
            .push(Finding::new(Check::KeyMismatch, Some(1), message));
    }
    Some(PrivateKeyFacts {
        key_type: first.key_type,
        matches_leaf,
    })
}

/// Input in which nothing can be looked at.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// A certificate cannot be read.
    #[error("a certificate cannot be read")]
    Certificate(#[from] CertificateError),
    /// Neither PEM blocks nor DER.
    #[error("there is no certificate: expected PEM text (-----BEGIN CERTIFICATE-----) or DER")]
    NothingThere,
    /// The PEM text is damaged.
    #[error("the PEM text cannot be read")]
    Pem(#[from] PemError),
}

/// The first byte of each DER certificate, and of no PEM text.
const DER_SEQUENCE: u8 = 0x30;

#[cfg(test)]
mod tests;
