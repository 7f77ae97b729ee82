//! From a decision to the bytes of a leaf certificate.
//!
//! [`IssuerContext`] is one CA, made ready to issue: every part of a leaf that is the same for
//! all of its leaves (issuer name, algorithm, authority key identifier, basicConstraints,
//! keyUsage, the extKeyUsage variants) is encoded once and copied from then on. So building and
//! checking a leaf costs an eighth of its P-256 signature (`examples/issue_cost.rs` measures
//! it); x509-cert's builder, which decodes and encodes names and boxes every extension each
//! time, was measured at almost half of one.
//!
//! Signing is in two phases so that the key can be anywhere:
//!
//! ```text
//! LeafSpec ──IssuerContext::leaf_tbs──▶ TbsCertificate ──to_be_signed──▶ key, Vault, HSM
//!                                             │                               │ signature
//!                                             └───────────assemble◀───────────┘ ──▶ DER
//! ```
//!
//! The profile, with the reasons where there was a choice:
//!
//! - Subject empty, subjectAltName critical (RFC 5280 §4.1.2.6).
//! - basicConstraints critical and present though not a CA: X509-SVID §4.1 wants it said. DER
//!   leaves out a default, so `cA=FALSE` is an empty SEQUENCE.
//! - keyUsage critical, digitalSignature only, for RSA too: keyEncipherment serves only the RSA
//!   key exchange of TLS 1.2, which rustls never had, Go switched off in 1.22 and OpenSSL takes
//!   only when nothing better is offered.
//! - extKeyUsage as decided, not critical.
//! - authorityKeyIdentifier whenever the issuer has a subjectKeyIdentifier, so that a verifier
//!   with many anchors finds the right one, even below a legacy root with an empty name.
//! - No subjectKeyIdentifier: it serves to find a certificate's issuer, and a leaf issues none. But
//!   below a legacy root with an empty name, issuer and subject are the same, and OpenSSL takes a leaf
//!   for its own issuer whose key is of the CA's type, unless its two key identifiers differ.
//! - Serial number random, 20 octets.
//! - After these the extensions the spec asks for, none of them critical (see `extension`).

use std::fmt;

use aws_lc_rs::rand;
use const_oid::{
    AssociatedOid,
    db::rfc5280::{ID_KP_CLIENT_AUTH, ID_KP_SERVER_AUTH},
};
use der::{
    Encode, Tag,
    asn1::{ObjectIdentifier, OctetString},
};
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages,
    SubjectAltName, SubjectKeyIdentifier,
};

use crate::{
    Certificate, CertificateError, ExtKeyUsages, KeyError, LeafNames, LeafSpec, SignatureAlgorithm,
    Validity,
    asn1::{self, constructed},
    certificate,
};

/// A certificate's serial number: positive, at most 20 octets (RFC 5280 §4.1.2.2).
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct Serial([u8; 20]);

impl Serial {
    /// A new one with 158 random bits.
    ///
    /// # Errors
    /// [`IssueError::Random`] when the system has no randomness to give.
    pub fn random() -> Result<Self, IssueError> {
        let mut octets = [0; 20];
        rand::fill(&mut octets).map_err(|_| IssueError::Random)?;
        Ok(Self::from_octets(octets))
    }

    /// The serial number made of these octets, the first of which is changed to lie between
    /// 0x40 and 0x7f so that it is positive and always as long. For replays in tests.
    #[must_use]
    pub fn from_octets(mut octets: [u8; 20]) -> Self {
        let [first, ..] = &mut octets;
        *first = *first & 0x3f | 0x40;
        Self(octets)
    }

    /// The content octets of the INTEGER.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serial({self})")
    }
}

/// One CA, ready to issue leaves: what all of them share, already encoded.
#[derive(Clone, Debug)]
pub struct IssuerContext {
    algorithm: SignatureAlgorithm,
    /// The Name of the issuer, byte for byte its certificate's subject.
    issuer: Vec<u8>,
    /// The extensions before extKeyUsage.
    head: Vec<u8>,
    server: Vec<u8>,
    client: Vec<u8>,
    server_and_client: Vec<u8>,
    /// The authorityKeyIdentifier extension, or nothing.
    authority_key_id: Vec<u8>,
    /// Whether the issuer has no name, as a leaf has none.
    nameless: bool,
}

impl IssuerContext {
    /// Prepares issuing under `issuer`, the certificate of the key that will sign.
    ///
    /// # Errors
    /// [`IssueError`] when that certificate is not one of a CA, may not sign certificates, or
    /// holds a key that does not sign with `algorithm`.
    pub fn new(issuer: &Certificate, algorithm: SignatureAlgorithm) -> Result<Self, IssueError> {
        let subject = || issuer.subject().to_string();
        if !issuer.is_ca() {
            return Err(IssueError::NotCa { issuer: subject() });
        }
        if issuer
            .key_usage()
            .is_some_and(|usage| !usage.key_cert_sign())
        {
            return Err(IssueError::MayNotSign { issuer: subject() });
        }
        let key_type = issuer.public_key()?.key_type();
        if key_type.signature_algorithm() != algorithm {
            return Err(IssueError::Algorithm {
                issuer: subject(),
                algorithm,
            });
        }
        let usages = |purposes: &[ObjectIdentifier]| {
            extension(Critical::No, &ExtendedKeyUsage(purposes.to_vec()))
        };
        Ok(Self {
            algorithm,
            issuer: issuer.subject().der().to_vec(),
            head: [
                extension(
                    Critical::Yes,
                    &BasicConstraints {
                        ca: false,
                        path_len_constraint: None,
                    },
                )?,
                extension(Critical::Yes, &KeyUsage(KeyUsages::DigitalSignature.into()))?,
            ]
            .concat(),
            server: usages(&[ID_KP_SERVER_AUTH])?,
            client: usages(&[ID_KP_CLIENT_AUTH])?,
            server_and_client: usages(&[ID_KP_SERVER_AUTH, ID_KP_CLIENT_AUTH])?,
            authority_key_id: authority_key_id(issuer)?,
            nameless: issuer.subject().is_empty(),
        })
    }

    /// How the signature over [`TbsCertificate::to_be_signed`] must be made.
    #[must_use]
    pub fn signature_algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// Builds everything of the leaf but its signature.
    ///
    /// # Errors
    /// [`IssueError::Encode`] for what DER cannot hold (times before 1970, gigabytes of names).
    pub fn leaf_tbs(&self, spec: &LeafSpec, serial: &Serial) -> Result<TbsCertificate, IssueError> {
        let ext_key_usage = match spec.ext_key_usages() {
            ExtKeyUsages {
                server_auth: true,
                client_auth: true,
            } => &self.server_and_client,
            ExtKeyUsages {
                server_auth: false, ..
            } => &self.client,
            ExtKeyUsages {
                client_auth: false, ..
            } => &self.server,
        };
        let names = subject_alt_name(spec.names())?;
        let mut asked_for = Vec::new();
        for asked in spec.extensions() {
            let oid = asked.oid().identifier();
            asked_for.extend(extension_of(oid, Critical::No, &asked.value()?)?);
        }
        let mut subject_key_id = Vec::new();
        if self.nameless {
            let key_id = SubjectKeyIdentifier(OctetString::new(spec.public_key().key_id())?);
            subject_key_id = extension(Critical::No, &key_id)?;
        }
        let extensions: [&[u8]; 6] = [
            &self.head,
            ext_key_usage,
            &self.authority_key_id,
            &subject_key_id,
            &names,
            &asked_for,
        ];
        Tbs {
            serial,
            algorithm: self.algorithm,
            issuer: &self.issuer,
            validity: spec.validity(),
            subject: EMPTY_NAME,
            spki: spec.public_key().spki_der(),
            extensions: &extensions,
        }
        .encode()
    }
}

/// The part of a certificate that is signed (RFC 5280 §4.1.2), encoded.
#[derive(Clone, Debug)]
pub struct TbsCertificate {
    der: Vec<u8>,
    algorithm: SignatureAlgorithm,
}

impl TbsCertificate {
    /// The bytes to sign (not their digest).
    #[must_use]
    pub fn to_be_signed(&self) -> &[u8] {
        &self.der
    }

    /// How to sign them.
    #[must_use]
    pub fn signature_algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// Adds the signature: the DER of the finished certificate.
    ///
    /// # Errors
    /// [`IssueError::Encode`] for a signature of gigabytes.
    pub fn assemble(&self, signature: &[u8]) -> Result<Vec<u8>, IssueError> {
        let signature = asn1::bit_string(signature)?;
        Ok(asn1::sequence(&[
            &self.der,
            self.algorithm.identifier_der(),
            &signature,
        ])?)
    }
}

/// A certificate that cannot be made.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum IssueError {
    /// The issuer's key signs in another way.
    #[error("issuer {issuer} holds a key that does not sign with {algorithm}")]
    Algorithm {
        /// The issuer's subject.
        issuer: String,
        /// What was asked for.
        algorithm: SignatureAlgorithm,
    },
    /// Something cannot be written as DER.
    #[error("certificate cannot be encoded")]
    Encode(#[from] der::Error),
    /// A key cannot be used.
    #[error("certificate cannot be made with this key")]
    Key(#[from] KeyError),
    /// The issuer's key usage leaves out keyCertSign.
    #[error("issuer {issuer} may not sign certificates: its key usage lacks keyCertSign")]
    MayNotSign {
        /// The issuer's subject.
        issuer: String,
    },
    /// The issuer is not a CA.
    #[error("issuer {issuer} is not a CA: its basic constraints do not say CA")]
    NotCa {
        /// The issuer's subject.
        issuer: String,
    },
    /// The key that shall sign is not the one in the issuer's certificate.
    #[error("the signing key is not the key of issuer {issuer}")]
    WrongKey {
        /// The issuer's subject.
        issuer: String,
    },
    /// No randomness for a serial number.
    #[error("no randomness for a serial number")]
    Random,
    /// The finished bytes do not parse, so they were not made by this crate.
    #[error("made a certificate that cannot be read")]
    Unreadable(#[from] CertificateError),
}

/// The fields of a TBSCertificate, borrowed, in their order.
pub(crate) struct Tbs<'a> {
    pub(crate) serial: &'a Serial,
    pub(crate) algorithm: SignatureAlgorithm,
    pub(crate) issuer: &'a [u8],
    pub(crate) validity: Validity,
    pub(crate) subject: &'a [u8],
    pub(crate) spki: &'a [u8],
    pub(crate) extensions: &'a [&'a [u8]],
}

impl Tbs<'_> {
    pub(crate) fn encode(&self) -> Result<TbsCertificate, IssueError> {
        let serial = asn1::tlv(Tag::Integer, &[self.serial.as_bytes()])?;
        let not_before = asn1::time(self.validity.not_before())?;
        let not_after = asn1::time(self.validity.not_after())?;
        let validity = asn1::sequence(&[&not_before, &not_after])?;
        let extensions = asn1::sequence(self.extensions)?;
        let extensions = asn1::tlv(constructed(3), &[&extensions])?;
        let der = asn1::sequence(&[
            VERSION_3,
            &serial,
            self.algorithm.identifier_der(),
            self.issuer,
            &validity,
            self.subject,
            self.spki,
            &extensions,
        ])?;
        Ok(TbsCertificate {
            der,
            algorithm: self.algorithm,
        })
    }
}

/// Whether a verifier that does not know an extension must refuse the certificate.
#[derive(Clone, Copy)]
pub(crate) enum Critical {
    No,
    Yes,
}

/// Encodes an Extension (RFC 5280 §4.1) around one of x509-cert's types.
pub(crate) fn extension<T>(critical: Critical, value: &T) -> der::Result<Vec<u8>>
where
    T: AssociatedOid + Encode,
{
    extension_of(T::OID, critical, &value.to_der()?)
}

/// The authorityKeyIdentifier extension below `issuer`: its key identifier, or nothing at all
/// if it has none to point to.
pub(crate) fn authority_key_id(issuer: &Certificate) -> der::Result<Vec<u8>> {
    let Some(key_id) = issuer.subject_key_id() else {
        return Ok(Vec::new());
    };
    let value = AuthorityKeyIdentifier {
        key_identifier: Some(OctetString::new(key_id)?),
        authority_cert_issuer: None,
        authority_cert_serial_number: None,
    };
    extension(Critical::No, &value)
}

fn extension_of(oid: ObjectIdentifier, critical: Critical, value: &[u8]) -> der::Result<Vec<u8>> {
    let oid = oid.to_der()?;
    let critical: &[u8] = match critical {
        Critical::No => &[],
        Critical::Yes => &[0x01, 0x01, 0xff],
    };
    let value = asn1::tlv(Tag::OctetString, &[value])?;
    asn1::sequence(&[&oid, critical, &value])
}

/// The subjectAltName extension, critical because the subject is empty.
fn subject_alt_name(names: &LeafNames) -> der::Result<Vec<u8>> {
    let names = match names {
        LeafNames::Dns(names) => {
            let mut encoded = Vec::with_capacity(names.iter().map(|n| n.as_str().len() + 4).sum());
            for name in names {
                asn1::append(
                    &mut encoded,
                    certificate::DNS_NAME,
                    name.as_str().as_bytes(),
                )?;
            }
            encoded
        }
        LeafNames::Spiffe(id) => asn1::tlv(certificate::URI, &[id.as_str().as_bytes()])?,
    };
    let oid = SubjectAltName::OID;
    extension_of(oid, Critical::Yes, &asn1::sequence(&[&names])?)
}

/// `[0] EXPLICIT INTEGER 2`.
const VERSION_3: &[u8] = &[0xa0, 3, 0x02, 1, 2];
const EMPTY_NAME: &[u8] = &[0x30, 0];

#[cfg(test)]
mod tests;
