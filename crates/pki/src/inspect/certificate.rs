//! What one certificate can have wrong.

use jiff::Timestamp;

use super::{Check, Finding, Kind, describe};
use crate::{
    Certificate, DnsName, KeyError, KeyUsages, SpiffeId, UnsupportedKey,
    verify::{SignatureError, signature},
};

/// Looks at the certificate of this number, from 1.
pub(super) fn look(
    certificate: &Certificate,
    number: usize,
    kind: Kind,
    at: Timestamp,
    findings: &mut Vec<Finding>,
) {
    let mut add = |check, message: String| {
        findings.push(Finding::new(check, Some(number), message));
    };
    times(certificate, kind, at, &mut add);
    key(certificate, &mut add);
    own_signature(certificate, &mut add);
    names(certificate, &mut add);
    if certificate.is_ca() {
        authority(certificate, &mut add);
    } else {
        leaf(certificate, &mut add);
    }
    identifiers(certificate, &mut add);
    for extension in describe::extensions(certificate) {
        if extension.critical && !extension.verifiers_know {
            add(
                Check::UnknownCriticalExtension,
                format!(
                    "extension {} is critical and unknown to verifiers",
                    extension.label()
                ),
            );
        }
    }
}

fn times(
    certificate: &Certificate,
    kind: Kind,
    at: Timestamp,
    add: &mut impl FnMut(Check, String),
) {
    let (from, to) = (certificate.not_before(), certificate.not_after());
    if to < from {
        add(
            Check::ValidityReversed,
            format!("it begins at {from} and ends at {to}"),
        );
    } else if at < from {
        add(
            Check::NotYetValid,
            format!(
                "it is valid only from {from} on, in {}",
                describe::span(at, from)
            ),
        );
    } else if at.as_second() > to.as_second() && kind != Kind::TrustBundle {
        add(
            Check::Expired,
            format!("it expired at {to}, {} ago", describe::span(to, at)),
        );
    }
}

fn key(certificate: &Certificate, add: &mut impl FnMut(Check, String)) {
    match certificate.public_key() {
        Ok(_) => {}
        Err(KeyError::Unsupported(UnsupportedKey::RsaModulus { bits })) if bits < 2048 => {
            add(Check::WeakKey, format!("its key is RSA with {bits} bits"));
        }
        Err(KeyError::Unsupported(why)) => add(Check::UnusualKey, format!("its key: {why}")),
        Err(error) => add(Check::MalformedKey, format!("its key: {error}")),
    }
}

fn own_signature(certificate: &Certificate, add: &mut impl FnMut(Check, String)) {
    let algorithm = describe::signature_algorithm(certificate);
    let self_signed = certificate.names_issuer_of(certificate);
    if describe::is_weak(&algorithm) {
        let check = if self_signed {
            Check::WeakRootSignature
        } else {
            Check::WeakSignature
        };
        add(check, format!("it is signed with {algorithm}"));
    }
    if self_signed && signature(certificate, certificate) == Err(SignatureError::Wrong) {
        add(
            Check::WrongSignature,
            "it names itself as its issuer, and its signature is not its key's".to_owned(),
        );
    }
}

fn names(certificate: &Certificate, add: &mut impl FnMut(Check, String)) {
    let empty_subject = certificate.subject().is_empty();
    let san = describe::extensions(certificate)
        .into_iter()
        .find(|extension| extension.name == Some("subjectAltName"));
    match san {
        None if !certificate.is_ca() => add(
            Check::NoName,
            "it has no subjectAltName, so that it names nobody".to_owned(),
        ),
        Some(san) if empty_subject && !san.critical => add(
            Check::SanNotCritical,
            "its subject is empty and its subjectAltName is not critical".to_owned(),
        ),
        _ => {}
    }
    for name in certificate.dns_names() {
        let host = name.strip_prefix("*.").unwrap_or(name);
        if let Err(error) = host.to_ascii_lowercase().parse::<DnsName>() {
            add(Check::BadDnsName, error.to_string());
        }
    }
    spiffe(certificate, add);
}

fn spiffe(certificate: &Certificate, add: &mut impl FnMut(Check, String)) {
    let uris: Vec<&str> = certificate.uris().collect();
    let is_spiffe = |uri: &str| {
        uri.get(..7)
            .is_some_and(|s| s.eq_ignore_ascii_case("spiffe:"))
    };
    if !uris.iter().any(|uri| is_spiffe(uri)) {
        return;
    }
    if let count @ 2.. = uris.len() {
        add(
            Check::MultipleUris,
            format!("it has {count} URIs, an X509-SVID has exactly one"),
        );
    }
    for uri in uris.iter().filter(|uri| is_spiffe(uri)) {
        match uri.parse::<SpiffeId>() {
            Err(error) => add(Check::BadSpiffeId, error.to_string()),
            Ok(id) if certificate.is_ca() && !id.path().is_empty() => add(
                Check::SpiffeCaPath,
                format!("its SPIFFE ID {id} has a path, though it is a CA"),
            ),
            Ok(id) if !certificate.is_ca() && id.path().is_empty() => add(
                Check::SpiffeIdWithoutPath,
                format!("its SPIFFE ID {id} has no path"),
            ),
            Ok(_) => {}
        }
    }
    if certificate.is_ca() {
        return;
    }
    if !certificate
        .key_usage()
        .is_some_and(KeyUsages::digital_signature)
    {
        add(
            Check::SpiffeKeyUsage,
            "its keyUsage does not have digitalSignature".to_owned(),
        );
    }
    if let Some(usages) = certificate.ext_key_usages()
        && usages.server_auth != usages.client_auth
    {
        let only = if usages.server_auth {
            "serverAuth"
        } else {
            "clientAuth"
        };
        add(
            Check::SpiffeExtKeyUsage,
            format!("its extended key usage has {only} alone"),
        );
    }
}

fn authority(certificate: &Certificate, add: &mut impl FnMut(Check, String)) {
    if certificate.subject().is_empty() {
        add(Check::EmptyCaSubject, "its subject is empty".to_owned());
    }
    match certificate.key_usage() {
        None => add(Check::NoKeyUsage, "it has no keyUsage".to_owned()),
        Some(usage) => {
            if !usage.key_cert_sign() {
                add(
                    Check::CaMayNotSign,
                    "it is a CA, and its keyUsage lacks keyCertSign".to_owned(),
                );
            }
            if usage.digital_signature() {
                add(
                    Check::CaDigitalSignature,
                    "its keyUsage has digitalSignature".to_owned(),
                );
            }
        }
    }
    let critical = describe::extensions(certificate)
        .iter()
        .any(|extension| extension.name == Some("basicConstraints") && extension.critical);
    if !critical {
        add(
            Check::ConstraintsNotCritical,
            "its basicConstraints are not critical".to_owned(),
        );
    }
    if certificate.has_uri_name_constraints() {
        add(
            Check::UriConstraints,
            "it constrains the URIs of what it issues".to_owned(),
        );
    }
    if certificate.subject_key_id().is_none() {
        add(
            Check::NoSubjectKeyId,
            "it is a CA without subjectKeyIdentifier".to_owned(),
        );
    }
}

fn leaf(certificate: &Certificate, add: &mut impl FnMut(Check, String)) {
    if let Some(usage) = certificate.key_usage()
        && (usage.key_cert_sign() || usage.crl_sign())
    {
        add(
            Check::LeafMaySign,
            "it is no CA, and its keyUsage allows signing certificates or CRLs".to_owned(),
        );
    }
    if let Some(usages) = certificate.ext_key_usages()
        && !usages.server_auth
        && !usages.client_auth
    {
        add(
            Check::NoTlsUsage,
            "its extended key usage has neither serverAuth nor clientAuth".to_owned(),
        );
    }
}

fn identifiers(certificate: &Certificate, add: &mut impl FnMut(Check, String)) {
    if !certificate.is_self_issued() && certificate.authority_key_id().is_none() {
        add(
            Check::NoAuthorityKeyId,
            "it has no authorityKeyIdentifier".to_owned(),
        );
    }
    // DER puts a zero before a number whose first bit is set.
    let serial = match certificate.serial() {
        [0, rest @ ..] => rest,
        serial => serial,
    };
    if serial.iter().all(|byte| *byte == 0) {
        add(Check::BadSerial, "its serial number is zero".to_owned());
    } else if serial.len() > MAX_SERIAL {
        add(
            Check::BadSerial,
            format!("its serial number has {} bytes", serial.len()),
        );
    }
}

/// RFC 5280 §4.1.2.2.
const MAX_SERIAL: usize = 20;
