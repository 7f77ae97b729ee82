//! Certificates in words: extensions, algorithms, key types, fingerprints, spans of time.
//!
//! What is read here is for people alone; nothing is decided by it but findings. An extension whose
//! content is not as it should be is shown in hex rather than refused.

use std::net::{Ipv4Addr, Ipv6Addr};

use aws_lc_rs::digest;
use const_oid::ObjectIdentifier;
use der::Tag;
use jiff::Timestamp;

use crate::{
    Certificate, DistinguishedName, ExtensionOid, KeyError, PodIdentity, PodIdentityWithUids,
    UnsupportedKey,
    asn1::{Fields, constructed, primitive},
    certificate::signed_parts,
};

/// An extension of a certificate, in words.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Extension {
    /// Its object identifier.
    pub oid: String,
    /// Its name, where we know it.
    pub name: Option<&'static str>,
    /// Whether verifiers must refuse the certificate if they do not know it.
    pub critical: bool,
    /// Whether the usual verifiers know it.
    pub verifiers_know: bool,
    /// What it says, one element per name or purpose.
    pub words: Vec<String>,
}

impl Extension {
    /// The name, or the object identifier where there is none.
    #[must_use]
    pub fn label(&self) -> &str {
        self.name.unwrap_or(&self.oid)
    }
}

/// The extensions of a certificate in their order.
#[must_use]
pub fn extensions(certificate: &Certificate) -> Vec<Extension> {
    read_extensions(certificate.der()).unwrap_or_default()
}

/// How the certificate is signed: `ECDSA with SHA-256`, or the object identifier.
#[must_use]
pub fn signature_algorithm(certificate: &Certificate) -> String {
    let read = || -> der::Result<String> {
        let (_, algorithm, _) = signed_parts(certificate.der())?;
        let oid = Fields::new(algorithm)?.value(Tag::ObjectIdentifier)?;
        let text = dotted(oid);
        Ok(named(SIGNATURES, &text).map_or(text, str::to_owned))
    };
    read().unwrap_or_else(|_| "unreadable".to_owned())
}

/// Whether a signature algorithm, as [`signature_algorithm`] names it, can be forged today.
pub(super) fn is_weak(algorithm: &str) -> bool {
    ["SHA-1", "MD5", "MD2"]
        .iter()
        .any(|digest| algorithm.ends_with(digest))
}

/// The type of the key, with Kubernetes' names where it has one.
#[must_use]
pub fn key_type(certificate: &Certificate) -> String {
    match certificate.public_key() {
        Ok(key) => key.key_type().to_string(),
        Err(KeyError::Unsupported(UnsupportedKey::RsaModulus { bits })) => format!("RSA{bits}"),
        Err(KeyError::Unsupported(
            UnsupportedKey::Algorithm { oid } | UnsupportedKey::Curve { oid },
        )) => named(KEYS, &oid).map_or(oid, str::to_owned),
        Err(_) => "malformed".to_owned(),
    }
}

/// The SHA-256 hash of the whole certificate, as `openssl x509 -fingerprint` shows it.
#[must_use]
pub fn fingerprint(certificate: &Certificate) -> String {
    hex(digest::digest(&digest::SHA256, certificate.der()).as_ref())
}

/// Bytes in hexadecimal, two digits each.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The length of the time between two dates, whichever is first, in its largest unit, cut down:
/// `45 s`, `12 min`, `21 h`, `364 d`, `9 years`.
#[must_use]
pub fn span(one: Timestamp, other: Timestamp) -> String {
    let seconds = one.as_second().abs_diff(other.as_second());
    match seconds {
        0..MINUTE => format!("{seconds} s"),
        MINUTE..TWO_HOURS => format!("{} min", seconds / MINUTE),
        TWO_HOURS..TWO_DAYS => format!("{} h", seconds / HOUR),
        TWO_DAYS..TWO_YEARS => format!("{} d", seconds / DAY),
        _ => format!("{} years", seconds / YEAR),
    }
}

fn read_extensions(der: &[u8]) -> der::Result<Vec<Extension>> {
    let mut tbs = Fields::of_sequence(signed_parts(der)?.0)?;
    let mut extensions = Vec::new();
    while !tbs.is_finished() {
        let (tag, content) = tbs.any()?;
        if tag != constructed(3) {
            continue;
        }
        let mut list = Fields::of_sequence(content)?;
        while !list.is_finished() {
            let mut fields = list.nested(Tag::Sequence)?;
            let oid = dotted(fields.value(Tag::ObjectIdentifier)?);
            let critical = fields
                .optional(Tag::Boolean)?
                .is_some_and(|value| value == [0xff]);
            let value = fields.value(Tag::OctetString)?;
            extensions.push(extension(oid, critical, value));
        }
    }
    Ok(extensions)
}

fn extension(oid: String, critical: bool, value: &[u8]) -> Extension {
    let ours = |known: ExtensionOid| known.to_string() == oid;
    let name = if ours(ExtensionOid::SUBSTRATE_POD_IDENTITY) {
        Some("podIdentity")
    } else if ours(ExtensionOid::SERVICE_ACCOUNT_ISSUER) {
        Some("serviceAccountIssuer")
    } else {
        named(EXTENSIONS, &oid)
    };
    let words = match name {
        // An operator may put it under an OID of their own.
        None | Some("podIdentity") => pod_identity(value),
        Some(name) => in_words(name, value).ok(),
    };
    Extension {
        verifiers_know: name.is_some_and(|name| KNOWN_TO_VERIFIERS.contains(&name)),
        words: words.unwrap_or_else(|| vec![bytes_in_words(value)]),
        name,
        oid,
        critical,
    }
}

pub(super) fn in_words(name: &str, value: &[u8]) -> der::Result<Vec<String>> {
    match name {
        "authorityKeyIdentifier" => {
            let id = Fields::of_sequence(value)?.optional(primitive(0))?;
            Ok(vec![id.map_or("no key identifier".to_owned(), hex)])
        }
        "basicConstraints" => basic_constraints(value),
        "extKeyUsage" => purposes(value),
        "keyUsage" => key_usage(value),
        "nameConstraints" => name_constraints(value),
        "subjectAltName" => general_names(Fields::of_sequence(value)?),
        "subjectKeyIdentifier" => Ok(vec![hex(Fields::new(value)?.value(Tag::OctetString)?)]),
        _ => Ok(vec![bytes_in_words(value)]),
    }
}

/// Whose pod it is, in either of the formats our signers write.
fn pod_identity(value: &[u8]) -> Option<Vec<String>> {
    let uids = PodIdentityWithUids::from_json(value).ok();
    let draft = || PodIdentity::from_draft_a(value).ok();
    let pod = uids.as_ref().map(|uids| uids.pod.clone()).or_else(draft)?;
    let uid = |uid: Option<&crate::ObjectUid>| {
        uid.map_or_else(String::new, |uid| format!(" (UID {uid})"))
    };
    let account = uid(uids.as_ref().map(|uids| &uids.service_account_uid));
    let node = uid(uids.as_ref().map(|uids| &uids.node_uid));
    Some(vec![
        format!(
            "pod {}/{} (UID {})",
            pod.namespace, pod.pod_name, pod.pod_uid
        ),
        format!("service account {}{account}", pod.service_account_name),
        format!("node {}{node}", pod.node_name),
    ])
}

fn basic_constraints(value: &[u8]) -> der::Result<Vec<String>> {
    let mut fields = Fields::of_sequence(value)?;
    let is_ca = fields.optional(Tag::Boolean)?.is_some_and(|b| b == [0xff]);
    let limit = fields.optional(Tag::Integer)?;
    Ok(vec![match (is_ca, limit) {
        (false, _) => "not a CA".to_owned(),
        (true, None) => "a CA".to_owned(),
        (true, Some([0])) => "a CA, of leaves only (pathLen 0)".to_owned(),
        (true, Some([number])) => format!("a CA, at most {number} CAs below it"),
        (true, Some(_)) => "a CA, many CAs below it".to_owned(),
    }])
}

fn key_usage(value: &[u8]) -> der::Result<Vec<String>> {
    let bits = Fields::new(value)?.value(Tag::BitString)?;
    let bits = match bits {
        [_, first] => u16::from_be_bytes([*first, 0]),
        [_, first, second, ..] => u16::from_be_bytes([*first, *second]),
        _ => 0,
    };
    let names = crate::KeyUsages::from_bits(bits).names();
    Ok(names.map(str::to_owned).collect())
}

fn purposes(value: &[u8]) -> der::Result<Vec<String>> {
    let mut list = Fields::of_sequence(value)?;
    let mut words = Vec::new();
    while !list.is_finished() {
        let oid = dotted(list.value(Tag::ObjectIdentifier)?);
        words.push(named(PURPOSES, &oid).map_or(oid, str::to_owned));
    }
    Ok(words)
}

fn name_constraints(value: &[u8]) -> der::Result<Vec<String>> {
    let mut sides = Fields::of_sequence(value)?;
    let mut words = Vec::new();
    while !sides.is_finished() {
        let (tag, content) = sides.any()?;
        let side = if tag == constructed(0) {
            "only"
        } else {
            "never"
        };
        let mut subtrees = Fields::new(content)?;
        while !subtrees.is_finished() {
            let (tag, base) = subtrees.nested(Tag::Sequence)?.any()?;
            words.push(format!("{side} {}", general_name(tag, base)));
        }
    }
    Ok(words)
}

fn general_names(mut names: Fields<'_>) -> der::Result<Vec<String>> {
    let mut words = Vec::new();
    while !names.is_finished() {
        let (tag, content) = names.any()?;
        words.push(general_name(tag, content));
    }
    Ok(words)
}

/// A GeneralName (RFC 5280 §4.2.1.6), with the prefixes OpenSSL and Go programs print.
fn general_name(tag: Tag, content: &[u8]) -> String {
    let text = || printable(content).unwrap_or_else(|| format!("#{}", hex(content)));
    if tag == primitive(1) {
        format!("email:{}", text())
    } else if tag == primitive(2) {
        format!("DNS:{}", text())
    } else if tag == constructed(4) {
        format!("directory:{}", DistinguishedName::new(content))
    } else if tag == primitive(6) {
        format!("URI:{}", text())
    } else if tag == primitive(7) {
        format!("IP:{}", address(content))
    } else {
        format!("other:#{}", hex(content))
    }
}

/// An address, or address and mask in name constraints.
fn address(bytes: &[u8]) -> String {
    let one = |bytes: &[u8]| {
        let v4 = <[u8; 4]>::try_from(bytes).map(|b| Ipv4Addr::from(b).to_string());
        let v6 = <[u8; 16]>::try_from(bytes).map(|b| Ipv6Addr::from(b).to_string());
        v4.or(v6).ok()
    };
    let (network, mask) = bytes.split_at(bytes.len() / 2);
    one(bytes)
        .or_else(|| Some(format!("{}/{}", one(network)?, one(mask)?)))
        .unwrap_or_else(|| format!("#{}", hex(bytes)))
}

/// What is known of the content of an extension nobody here knows.
fn bytes_in_words(value: &[u8]) -> String {
    let text = || -> Option<String> {
        let mut fields = Fields::new(value).ok()?;
        let (tag, content) = fields.any().ok()?;
        fields.finish().ok()?;
        matches!(tag, Tag::Utf8String | Tag::Ia5String | Tag::PrintableString)
            .then(|| printable(content))
            .flatten()
            .map(|text| format!("{text:?}"))
    };
    text().unwrap_or_else(|| {
        let shown = value.get(..SHOWN_BYTES).unwrap_or(value);
        let dots = if shown.len() < value.len() { "..." } else { "" };
        format!("{} bytes: {}{dots}", value.len(), hex(shown))
    })
}

/// The text, if a terminal shows it as it is: no control characters, nothing that is no text.
fn printable(content: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(content).ok()?;
    let shows = |c: char| !c.is_control() && !INVISIBLE.contains(&c);
    text.chars().all(shows).then(|| text.to_owned())
}

fn dotted(oid: &[u8]) -> String {
    ObjectIdentifier::from_bytes(oid)
        .map_or_else(|_| format!("#{}", hex(oid)), |oid| oid.to_string())
}

fn named(names: &[(&str, &'static str)], oid: &str) -> Option<&'static str> {
    names
        .iter()
        .find(|(known, _)| *known == oid)
        .map(|(_, name)| *name)
}

/// Characters that change the direction of what follows, or show nothing.
const INVISIBLE: &[char] = &[
    '\u{200b}', '\u{200e}', '\u{200f}', '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}',
    '\u{2066}', '\u{2067}', '\u{2068}', '\u{2069}', '\u{feff}',
];
const SHOWN_BYTES: usize = 24;
const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const TWO_HOURS: u64 = 2 * HOUR;
const DAY: u64 = 24 * HOUR;
const TWO_DAYS: u64 = 2 * DAY;
const YEAR: u64 = 365 * DAY;
const TWO_YEARS: u64 = 2 * YEAR;

/// RFC 5280 §4.2, and what is often seen.
const EXTENSIONS: &[(&str, &str)] = &[
    ("2.5.29.14", "subjectKeyIdentifier"),
    ("2.5.29.15", "keyUsage"),
    ("2.5.29.17", "subjectAltName"),
    ("2.5.29.18", "issuerAltName"),
    ("2.5.29.19", "basicConstraints"),
    ("2.5.29.30", "nameConstraints"),
    ("2.5.29.31", "cRLDistributionPoints"),
    ("2.5.29.32", "certificatePolicies"),
    ("2.5.29.33", "policyMappings"),
    ("2.5.29.35", "authorityKeyIdentifier"),
    ("2.5.29.36", "policyConstraints"),
    ("2.5.29.37", "extKeyUsage"),
    ("2.5.29.54", "inhibitAnyPolicy"),
    ("1.3.6.1.5.5.7.1.1", "authorityInfoAccess"),
    ("1.3.6.1.5.5.7.1.24", "tlsFeature"),
    ("1.3.6.1.4.1.11129.2.4.2", "signedCertificateTimestamps"),
];

/// Those that webpki, Go and OpenSSL all take when they are critical.
const KNOWN_TO_VERIFIERS: &[&str] = &[
    "authorityKeyIdentifier",
    "basicConstraints",
    "extKeyUsage",
    "keyUsage",
    "nameConstraints",
    "subjectAltName",
    "subjectKeyIdentifier",
];

/// RFC 5280 §4.2.1.12.
const PURPOSES: &[(&str, &str)] = &[
    ("2.5.29.37.0", "anyExtendedKeyUsage"),
    ("1.3.6.1.5.5.7.3.1", "serverAuth"),
    ("1.3.6.1.5.5.7.3.2", "clientAuth"),
    ("1.3.6.1.5.5.7.3.3", "codeSigning"),
    ("1.3.6.1.5.5.7.3.4", "emailProtection"),
    ("1.3.6.1.5.5.7.3.8", "timeStamping"),
    ("1.3.6.1.5.5.7.3.9", "OCSPSigning"),
];

/// RFC 3279, 4055, 5758, 8410.
const SIGNATURES: &[(&str, &str)] = &[
    ("1.2.840.113549.1.1.2", "RSA with MD2"),
    ("1.2.840.113549.1.1.4", "RSA with MD5"),
    ("1.2.840.113549.1.1.5", "RSA with SHA-1"),
    ("1.2.840.113549.1.1.10", "RSA-PSS"),
    ("1.2.840.113549.1.1.11", "RSA with SHA-256"),
    ("1.2.840.113549.1.1.12", "RSA with SHA-384"),
    ("1.2.840.113549.1.1.13", "RSA with SHA-512"),
    ("1.2.840.10040.4.3", "DSA with SHA-1"),
    ("1.2.840.10045.4.1", "ECDSA with SHA-1"),
    ("1.2.840.10045.4.3.2", "ECDSA with SHA-256"),
    ("1.2.840.10045.4.3.3", "ECDSA with SHA-384"),
    ("1.2.840.10045.4.3.4", "ECDSA with SHA-512"),
    ("1.3.101.112", "Ed25519"),
    ("1.3.101.113", "Ed448"),
];

/// Keys that are none of Kubernetes' types.
const KEYS: &[(&str, &str)] = &[
    ("1.2.840.10040.4.1", "DSA"),
    ("1.3.132.0.10", "ECDSA secp256k1"),
    ("1.3.132.0.33", "ECDSA P-224"),
    ("1.3.101.110", "X25519"),
    ("1.3.101.113", "Ed448"),
];
