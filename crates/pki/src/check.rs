//! The look at a leaf before it leaves the house.
//!
//! Verifying each new leaf by webpki would cost three more signatures' worth of time, and the
//! chain above the leaf has been verified once when its CA was loaded. What can still go wrong
//! per leaf is its content; so its finished bytes are parsed again, by code that shares nothing
//! with the encoder but the tags, and compared with what was decided.

use std::fmt;

use crate::{
    Certificate, CertificateError, KeyUsages, LeafNames, LeafSpec,
    certificate::{AltName, Known, RawCertificate, alt_names, key_purposes},
};

/// Checks that `der` is a leaf that says what `spec` decided and nothing beyond it, and returns
/// it parsed.
///
/// # Errors
/// [`CheckError`] names the first field that differs. Any such error is a bug in this crate or
/// in a remote signer, never a fault of the request.
pub fn leaf(der: impl Into<Vec<u8>>, spec: &LeafSpec) -> Result<Certificate, CheckError> {
    let (leaf, differs) =
        Certificate::from_der_with(der.into(), |raw| first_difference(raw, spec))?;
    match differs {
        Some(field) => Err(CheckError::Differs(field)),
        None => Ok(leaf),
    }
}

/// A leaf that is not what was decided.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// A field says something else.
    #[error("signed leaf differs from what was decided in its {0}")]
    Differs(Field),
    /// It cannot even be read.
    #[error("signed leaf cannot be read")]
    Unreadable(#[from] CertificateError),
}

/// A field of a certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Field {
    /// basicConstraints: it must be there, be critical and not say CA.
    BasicConstraints,
    /// extKeyUsage.
    ExtKeyUsage,
    /// The extensions beside the profile: those decided, saying what was decided, not critical, and
    /// no other.
    Extensions,
    /// keyUsage.
    KeyUsage,
    /// notAfter.
    NotAfter,
    /// notBefore.
    NotBefore,
    /// subjectPublicKeyInfo.
    PublicKey,
    /// serialNumber: positive and at most 20 octets.
    Serial,
    /// subject: empty.
    Subject,
    /// subjectAltName.
    SubjectAltName,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BasicConstraints => "basic constraints",
            Self::ExtKeyUsage => "extended key usage",
            Self::Extensions => "further extensions",
            Self::KeyUsage => "key usage",
            Self::NotAfter => "notAfter",
            Self::NotBefore => "notBefore",
            Self::PublicKey => "public key",
            Self::Serial => "serial number",
            Self::Subject => "subject",
            Self::SubjectAltName => "subject alternative names",
        })
    }
}

fn first_difference(raw: &RawCertificate<'_>, spec: &LeafSpec) -> Option<Field> {
    let usages = raw.ext_key_usage.map(key_purposes);
    let holds = [
        (Field::PublicKey, raw.spki == spec.public_key().spki_der()),
        (
            Field::NotBefore,
            raw.not_before == spec.validity().not_before(),
        ),
        (
            Field::NotAfter,
            raw.not_after == spec.validity().not_after(),
        ),
        (Field::Subject, raw.subject == EMPTY_NAME),
        (
            Field::BasicConstraints,
            !raw.is_ca && raw.is_critical(Known::BasicConstraints),
        ),
        (Field::KeyUsage, raw.is_critical(Known::KeyUsage)),
        (
            Field::KeyUsage,
            raw.key_usage == Some(KeyUsages::DIGITAL_SIGNATURE),
        ),
        (Field::ExtKeyUsage, usages == Some(spec.ext_key_usages())),
        (
            Field::SubjectAltName,
            raw.is_critical(Known::SubjectAltName),
        ),
        (Field::SubjectAltName, same_names(raw, spec.names())),
        (Field::Extensions, same_extensions(raw, spec)),
        (
            Field::Extensions,
            raw.subject_key_id
                .is_none_or(|found| found == spec.public_key().key_id()),
        ),
        (
            Field::Serial,
            matches!(raw.serial, [0x01..=0x7f, ..]) && raw.serial.len() <= 20,
        ),
    ];
    holds
        .into_iter()
        .find(|(_, holds)| !holds)
        .map(|(field, _)| field)
}

fn same_names(raw: &RawCertificate<'_>, names: &LeafNames) -> bool {
    let found = alt_names(raw.subject_alt_name.unwrap_or_default());
    match names {
        LeafNames::Dns(names) => found.eq(names.iter().map(|name| Ok(AltName::Dns(name.as_str())))),
        LeafNames::Spiffe(id) => found.eq([Ok(AltName::Uri(id.as_str()))]),
    }
}

/// Read again by the parsers, which share nothing with the writers.
fn same_extensions(raw: &RawCertificate<'_>, spec: &LeafSpec) -> bool {
    let mut decided = spec.extensions().iter();
    let same = raw.extensions().all(|found| match Known::of(found.oid) {
        Some(known) => PROFILE.contains(&known),
        None => decided.next().is_some_and(|decided| {
            found.oid == decided.oid().as_bytes()
                && !found.critical
                && decided.is_said_by(found.value)
        }),
    });
    same && decided.next().is_none()
}

/// What the profile has; the authority key identifier only below a CA that has one, the subject's only
/// below a CA without a name.
const PROFILE: [Known; 6] = [
    Known::AuthorityKeyId,
    Known::BasicConstraints,
    Known::ExtKeyUsage,
    Known::KeyUsage,
    Known::SubjectAltName,
    Known::SubjectKeyId,
];
const EMPTY_NAME: &[u8] = &[0x30, 0];

#[cfg(test)]
mod tests;
