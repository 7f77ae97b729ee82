//! Path validation, and the X509-SVID rules for a peer's leaf.
//!
//! [`verify`] is rustls-webpki's answer in words, with two things added that Go and OpenSSL
//! look at and webpki does not: an anchor too must be within its validity, and a certificate
//! that signs another must be allowed to by its keyUsage. So all three give the same answer for
//! the same chain, which the conformance tests check. The leaf rules of SPIFFE that go beyond
//! path validation are in [`spiffe_id`]; [`verify_explained`] says for people which check failed
//! where. No verifier looks at the signature of a trust anchor; [`signature`] is for whoever loads
//! one and wants to know that it is whole.

mod explain;

use std::time::Duration;

use const_oid::ObjectIdentifier;
use der::Tag;
use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

pub use self::explain::{ExpectedId, Path, Place, Refusal, RefusedBy, expect_id, verify_explained};
use crate::{
    Certificate, Chain, DnsName, KeyUsages, NameError, SpiffeId, TrustBundle, asn1::Fields,
    certificate::signed_parts,
};

/// What a peer is about to do with its certificate.
#[derive(Clone, Copy, Debug)]
pub enum Purpose<'a> {
    /// Authenticate as a client.
    Client,
    /// Authenticate as a server, under this name if one is to be checked. Without a name (SPIFFE)
    /// the caller checks who it is by [`spiffe_id`].
    Server(Option<&'a DnsName>),
}

/// Checks that `chain` leads to one of `anchors`, at the time `at` and for `purpose`.
///
/// # Errors
/// [`VerifyError`] says why not.
pub fn verify(
    chain: &Chain,
    anchors: &TrustBundle,
    purpose: Purpose<'_>,
    at: Timestamp,
) -> Result<(), VerifyError> {
    verified(chain, anchors, purpose, at).map(drop)
}

/// As [`verify`], with the way that was found.
fn verified(
    chain: &Chain,
    anchors: &TrustBundle,
    purpose: Purpose<'_>,
    at: Timestamp,
) -> Result<Path, VerifyError> {
    let ders: Vec<_> = anchors
        .anchors()
        .iter()
        .map(|a| CertificateDer::from(a.der()))
        .collect();
    // An anchor webpki cannot read must not keep the others from being used.
    let (trusted, trust_anchors): (Vec<&Certificate>, Vec<TrustAnchor<'_>>) = anchors
        .anchors()
        .iter()
        .zip(&ders)
        .filter_map(|(anchor, der)| Some((anchor, webpki::anchor_from_trusted_cert(der).ok()?)))
        .unzip();
    let intermediates: Vec<_> = chain
        .intermediates()
        .iter()
        .map(|c| CertificateDer::from(c.der()))
        .collect();
    let leaf = CertificateDer::from(chain.leaf().der());
    let in_words = |error| VerifyError::of(error, chain, anchors);
    let leaf = EndEntityCert::try_from(&leaf).map_err(in_words)?;
    let usage = match purpose {
        Purpose::Client => KeyUsage::client_auth(),
        Purpose::Server(_) => KeyUsage::server_auth(),
    };
    let issuers_may_sign = |path: &VerifiedPath<'_>| {
        let used = |anchor: &TrustAnchor<'_>| std::ptr::eq(anchor, path.anchor());
        let anchor = trusted
            .iter()
            .zip(&trust_anchors)
            .find(|(_, anchor)| used(anchor));
        let anchor = anchor.map(|(certificate, _)| *certificate);
        let above = path.intermediate_certificates().filter_map(|issuer| {
            chain
                .intermediates()
                .iter()
                .find(|known| known.der() == issuer.der().as_ref())
        });
        if above.chain(anchor).any(|issuer| !may_sign(issuer)) {
            return Err(webpki::Error::EndEntityUsedAsCa);
        }
        anchor.map_or(Ok(()), |anchor| in_time(anchor, at))
    };
    let path = leaf.verify_for_usage(
        webpki::ALL_VERIFICATION_ALGS,
        &trust_anchors,
        &intermediates,
        unix_time(at),
        usage,
        None,
        Some(&issuers_may_sign),
    );
    let path = path.map_err(in_words)?;
    if let Purpose::Server(Some(name)) = purpose {
        let wrong_name = || VerifyError::WrongName {
            expected: name.clone(),
            found: chain.leaf().dns_names().map(str::to_owned).collect(),
        };
        let server = ServerName::try_from(name.as_str()).map_err(|_| wrong_name())?;
        leaf.verify_is_valid_for_subject_name(&server)
            .map_err(|_| wrong_name())?;
    }
    let below = path.intermediate_certificates().filter_map(|issuer| {
        let known = |c: &Certificate| c.der() == issuer.der().as_ref();
        chain.intermediates().iter().position(known)
    });
    // The leaf is number 1.
    let certificates = std::iter::once(1)
        .chain(below.map(|index| index + 2))
        .collect();
    let used = |anchor: &TrustAnchor<'_>| std::ptr::eq(anchor, path.anchor());
    let anchor = trusted
        .iter()
        .zip(&trust_anchors)
        .find(|(_, anchor)| used(anchor))
        .and_then(|(used, _)| anchors.anchors().iter().position(|a| a == *used));
    let anchor = anchor.expect("invariant: webpki was given no other anchors") + 1;
    Ok(Path {
        certificates,
        anchor,
    })
}

/// The identity in a leaf, after the leaf rules of X509-SVID §2 to §5 (the path to an anchor of
/// its trust domain is checked by [`verify`]).
///
/// # Errors
/// [`SvidError`] when the certificate is no SVID of a workload.
pub fn spiffe_id(leaf: &Certificate) -> Result<SpiffeId, SvidError> {
    if leaf.is_ca() {
        return Err(SvidError::Ca);
    }
    match leaf.key_usage() {
        // go-spiffe asks for digitalSignature too, and every handshake of TLS 1.3 needs it.
        Some(usage) if usage.key_cert_sign() || usage.crl_sign() => return Err(SvidError::MaySign),
        Some(usage) if usage.digital_signature() => {}
        _ => return Err(SvidError::NoDigitalSignature),
    }
    let mut uris = leaf.uris();
    let (Some(uri), 0) = (uris.next(), uris.count()) else {
        return Err(SvidError::Uris {
            count: leaf.uris().count(),
        });
    };
    let id: SpiffeId = uri.parse()?;
    if id.path().is_empty() {
        return Err(SvidError::NoPath(id));
    }
    Ok(id)
}

/// Checks that the key in `issuer` made the signature of `certificate` (RFC 5280 §4.1.1.3), and
/// nothing else: neither names nor times nor what `issuer` may sign. With the same certificate
/// twice, that it is self-signed.
///
/// # Errors
/// [`SignatureError::Wrong`], or [`SignatureError::Unsupported`] for an algorithm webpki does not
/// know, or one that is not the key's.
pub fn signature(certificate: &Certificate, issuer: &Certificate) -> Result<(), SignatureError> {
    let (message, algorithm, signature) = signed_parts(certificate.der())?;
    let mut spki = Fields::of_sequence(issuer.spki_der())?;
    let (kind, key) = (spki.value(Tag::Sequence)?, spki.bit_string()?);
    let mut known = webpki::ALL_VERIFICATION_ALGS.iter().filter(|known| {
        known.signature_alg_id().as_ref() == algorithm && known.public_key_alg_id().as_ref() == kind
    });
    let Some(known) = known.next() else {
        let oid = Fields::new(algorithm)?.value(Tag::ObjectIdentifier)?;
        let oid = ObjectIdentifier::from_bytes(oid).map(|oid| oid.to_string());
        return Err(SignatureError::Unsupported {
            oid: oid.unwrap_or_else(|_| "unreadable".to_owned()),
        });
    };
    known
        .verify_signature(key, message, signature)
        .map_err(|_| SignatureError::Wrong)
}

/// A signature that is not the one of the key it was held against.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// The issuer's key is no SubjectPublicKeyInfo.
    #[error("the key or the signature is malformed")]
    Malformed(#[from] der::Error),
    /// Made in a way we do not check (SHA-1 for instance), or that is not the key's.
    #[error("a signature with algorithm {oid} of such a key cannot be checked")]
    Unsupported {
        /// The signature algorithm's object identifier.
        oid: String,
    },
    /// Another key made it, or the certificate was changed afterwards.
    #[error("the signature is not that of the key, or the certificate was changed")]
    Wrong,
}

/// A chain that must not be trusted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// A CA certificate is presented as a leaf.
    #[error("the certificate of a CA is presented as a leaf")]
    CaAsLeaf,
    /// A certificate has ended.
    #[error("{certificate} has expired: it was valid until {not_after}, now is {at}")]
    Expired {
        /// Which one: the leaf, or a CA by its subject.
        certificate: String,
        /// Its last second.
        not_after: Timestamp,
        /// The time of the check.
        at: Timestamp,
    },
    /// Something else webpki found.
    #[error("the chain is not valid")]
    Invalid(#[source] webpki::Error),
    /// A certificate that is not a CA, or may not sign certificates, signed another.
    #[error("a certificate of the chain signed another one, but may not sign certificates")]
    MayNotSign,
    /// A certificate is from the future.
    #[error("{certificate} is not valid yet: only from {not_before}, now is {at}")]
    NotYetValid {
        /// Which one: the leaf, or a CA by its subject.
        certificate: String,
        /// Its first second.
        not_before: Timestamp,
        /// The time of the check.
        at: Timestamp,
    },
    /// A signature is not its issuer's.
    #[error("a signature in the chain is not its issuer's")]
    Signature,
    /// No anchor issued it.
    #[error("the chain does not lead to a trust anchor")]
    UnknownIssuer,
    /// It is for another server.
    #[error("the certificate is not for {expected} but for {}", listed(found))]
    WrongName {
        /// Whom the caller wants to talk to.
        expected: DnsName,
        /// The DNS names in the certificate.
        found: Vec<String>,
    },
    /// The extended key usage leaves out what the peer does.
    #[error("the certificate's extended key usage does not allow this purpose")]
    WrongUsage,
}

impl VerifyError {
    fn of(error: webpki::Error, chain: &Chain, anchors: &TrustBundle) -> Self {
        let first = |has: &dyn Fn(&Certificate) -> bool| {
            if has(chain.leaf()) {
                return "the leaf certificate".to_owned();
            }
            let mut cas = chain.intermediates().iter().chain(anchors.anchors());
            match cas.find(|ca| has(ca)) {
                Some(ca) => format!("the certificate of CA {}", ca.subject()),
                None => "a certificate of the chain".to_owned(),
            }
        };
        match error {
            webpki::Error::CaUsedAsEndEntity => Self::CaAsLeaf,
            webpki::Error::CertExpired { time, not_after } => {
                let not_after = timestamp(not_after);
                let certificate = first(&|c| c.not_after() == not_after);
                Self::Expired {
                    certificate,
                    not_after,
                    at: timestamp(time),
                }
            }
            webpki::Error::CertNotValidYet { time, not_before } => {
                let not_before = timestamp(not_before);
                let certificate = first(&|c| c.not_before() == not_before);
                Self::NotYetValid {
                    certificate,
                    not_before,
                    at: timestamp(time),
                }
            }
            webpki::Error::EndEntityUsedAsCa => Self::MayNotSign,
            webpki::Error::InvalidSignatureForPublicKey => Self::Signature,
            webpki::Error::RequiredEkuNotFoundContext(_) => Self::WrongUsage,
            webpki::Error::UnknownIssuer => Self::UnknownIssuer,
            other => Self::Invalid(other),
        }
    }
}

/// A certificate that is no X509-SVID of a workload.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SvidError {
    /// Signing certificates must not authenticate (X509-SVID §4.1).
    #[error("the certificate is one of a CA, not of a workload")]
    Ca,
    /// Its URI is not a SPIFFE ID.
    #[error("the certificate's URI is not a SPIFFE ID")]
    Id(#[from] NameError),
    /// Its key may sign certificates or revocation lists (X509-SVID §4.3).
    #[error("the certificate's key usage allows signing certificates")]
    MaySign,
    /// Its key may not sign handshakes.
    #[error("the certificate's key usage does not allow digital signatures")]
    NoDigitalSignature,
    /// The ID of a trust domain is not that of a workload (X509-SVID §2).
    #[error("the SPIFFE ID {0} has no path")]
    NoPath(SpiffeId),
    /// Exactly one URI is allowed (X509-SVID §2).
    #[error("the certificate has {count} URI names, expected exactly one")]
    Uris {
        /// How many there are.
        count: usize,
    },
}

fn may_sign(issuer: &Certificate) -> bool {
    issuer.key_usage().is_none_or(KeyUsages::key_cert_sign)
}

/// Whether an anchor is within its validity; webpki looks only at what is below it.
fn in_time(anchor: &Certificate, at: Timestamp) -> Result<(), webpki::Error> {
    let time = unix_time(at);
    if at < anchor.not_before() {
        let not_before = unix_time(anchor.not_before());
        Err(webpki::Error::CertNotValidYet { time, not_before })
    } else if at.as_second() > anchor.not_after().as_second() {
        let not_after = unix_time(anchor.not_after());
        Err(webpki::Error::CertExpired { time, not_after })
    } else {
        Ok(())
    }
}

fn unix_time(at: Timestamp) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(
        u64::try_from(at.as_second()).unwrap_or_default(),
    ))
}

fn timestamp(at: UnixTime) -> Timestamp {
    i64::try_from(at.as_secs())
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .unwrap_or(Timestamp::MAX)
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        "no DNS name at all".to_owned()
    } else {
        names.join(", ")
    }
}

#[cfg(test)]
mod tests;
