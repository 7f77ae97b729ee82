//! Certificates of CAs: roots and the intermediates below them.
//!
//! The profile is that of decision 10 in docs/architecture.md: a subject that is not empty and
//! not shared with another CA (OpenSSL takes a leaf for self-signed when subject and issuer are
//! both empty), subjectKeyIdentifier, critical basicConstraints, critical keyUsage with
//! keyCertSign and cRLSign and nothing else, and never a name constraint on URIs
//! (rustls-webpki refuses any SPIFFE leaf below one). Roots leave the path length open, so that
//! intermediates can be put below them later; our intermediates sign leaves only, pathLen 0.

use const_oid::{ObjectIdentifier, db::rfc4519};
use der::{Encode, Tag, asn1::OctetString};
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, KeyUsages, SubjectKeyIdentifier};

use crate::{
    Certificate, IssueError, PrivateKey, PublicKey, Serial, Validity, asn1,
    issuer::{Critical, Tbs, authority_key_id, extension},
};

/// What a CA's certificate shall say beside its key.
#[derive(Clone, Debug)]
pub struct CaSpec {
    /// Its name.
    pub subject: SubjectName,
    /// From when to when.
    pub validity: Validity,
    /// Its serial number.
    pub serial: Serial,
}

/// The name of a CA: a common name and, if wanted, an organization.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SubjectName {
    common_name: String,
    organization: Option<String>,
}

impl SubjectName {
    /// Takes the name as given. Whoever gives it sees to it that no other CA has it; see
    /// [`Self::for_key`].
    ///
    /// # Errors
    /// [`SubjectError`] for an empty part, one over 64 characters or one with control characters.
    pub fn new(common_name: &str, organization: Option<&str>) -> Result<Self, SubjectError> {
        let organization = organization.map(|o| check("organization", o)).transpose()?;
        Ok(Self {
            common_name: check("common name", common_name)?,
            organization,
        })
    }

    /// A name no other CA has: the first bytes of the key's identifier follow the common name.
    ///
    /// # Errors
    /// As [`Self::new`], the limit counting the addition.
    pub fn for_key(
        common_name: &str,
        organization: Option<&str>,
        key: &PublicKey,
    ) -> Result<Self, SubjectError> {
        let [a, b, c, d, ..] = key.key_id();
        Self::new(
            &format!("{common_name} {a:02x}{b:02x}{c:02x}{d:02x}"),
            organization,
        )
    }

    fn to_der(&self) -> der::Result<Vec<u8>> {
        let mut name = Vec::new();
        if let Some(organization) = &self.organization {
            name.extend(attribute(rfc4519::O, organization)?);
        }
        name.extend(attribute(rfc4519::CN, &self.common_name)?);
        asn1::sequence(&[&name])
    }
}

/// A text that cannot be part of a CA's name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{part} of the subject must have 1 to {MAX_CHARS} characters and no control characters")]
pub struct SubjectError {
    part: &'static str,
}

/// Makes the self-signed certificate of a root CA.
///
/// # Errors
/// [`IssueError`] when signing or encoding fails.
pub fn new_root(key: &PrivateKey, spec: &CaSpec) -> Result<Certificate, IssueError> {
    let subject = spec.subject.to_der()?;
    let unlimited = None;
    let extensions = ca_extensions(key.public_key(), unlimited)?;
    sign(
        key,
        &subject,
        &subject,
        key.public_key(),
        spec,
        &[&extensions],
    )
}

/// Makes the certificate of an intermediate CA for `subject_key`, signed by `issuer_key`, which
/// must be the key of `issuer`.
///
/// # Errors
/// [`IssueError`] when `issuer` may not do that, or when signing or encoding fails.
pub fn new_intermediate(
    issuer_key: &PrivateKey,
    issuer: &Certificate,
    subject_key: &PublicKey,
    spec: &CaSpec,
) -> Result<Certificate, IssueError> {
    let name = || issuer.subject().to_string();
    if !issuer.is_ca() {
        return Err(IssueError::NotCa { issuer: name() });
    }
    let may_sign = issuer
        .key_usage()
        .is_none_or(super::certificate::KeyUsages::key_cert_sign);
    if !may_sign || issuer.path_len() == Some(0) {
        return Err(IssueError::MayNotSign { issuer: name() });
    }
    if issuer.spki_der() != issuer_key.public_key().spki_der() {
        return Err(IssueError::WrongKey { issuer: name() });
    }
    let subject = spec.subject.to_der()?;
    let leaves_only = Some(0);
    let extensions = ca_extensions(subject_key, leaves_only)?;
    let authority = authority_key_id(issuer)?;
    let extensions: [&[u8]; 2] = [&extensions, &authority];
    sign(
        issuer_key,
        issuer.subject().der(),
        &subject,
        subject_key,
        spec,
        &extensions,
    )
}

fn sign(
    key: &PrivateKey,
    issuer: &[u8],
    subject: &[u8],
    subject_key: &PublicKey,
    spec: &CaSpec,
    extensions: &[&[u8]],
) -> Result<Certificate, IssueError> {
    let tbs = Tbs {
        serial: &spec.serial,
        algorithm: key.signature_algorithm(),
        issuer,
        validity: spec.validity,
        subject,
        spki: subject_key.spki_der(),
        extensions,
    }
    .encode()?;
    let der = tbs.assemble(&key.sign(tbs.to_be_signed())?)?;
    Ok(Certificate::from_der(der)?)
}

fn ca_extensions(key: &PublicKey, path_len: Option<u8>) -> der::Result<Vec<u8>> {
    let constraints = BasicConstraints {
        ca: true,
        path_len_constraint: path_len,
    };
    let usage = KeyUsage(KeyUsages::KeyCertSign | KeyUsages::CRLSign);
    let key_id = SubjectKeyIdentifier(OctetString::new(key.key_id())?);
    Ok([
        extension(Critical::Yes, &constraints)?,
        extension(Critical::Yes, &usage)?,
        extension(Critical::No, &key_id)?,
    ]
    .concat())
}

/// A RelativeDistinguishedName of one attribute (RFC 5280 §4.1.2.4).
fn attribute(oid: ObjectIdentifier, value: &str) -> der::Result<Vec<u8>> {
    let value = asn1::tlv(Tag::Utf8String, &[value.as_bytes()])?;
    let attribute = asn1::sequence(&[&oid.to_der()?, &value])?;
    asn1::tlv(Tag::Set, &[&attribute])
}

fn check(part: &'static str, text: &str) -> Result<String, SubjectError> {
    let fits = (1..=MAX_CHARS).contains(&text.chars().count());
    if fits && !text.chars().any(char::is_control) && !text.trim().is_empty() {
        Ok(text.to_owned())
    } else {
        Err(SubjectError { part })
    }
}

/// ub-common-name and ub-organization-name, RFC 5280 appendix A.1.
const MAX_CHARS: usize = 64;

#[cfg(test)]
mod tests;
