//! Path validation, and the X509-SVID rules for a peer's leaf.
//!
//! [`verify`] is rustls-webpki's answer, in words. webpki looks neither at keyUsage nor at key
//! identifiers; the leaf rules of SPIFFE that go beyond it are in [`spiffe_id`].

use std::time::Duration;

use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use crate::{Certificate, Chain, DnsName, NameError, SpiffeId, TrustBundle};

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
    let anchors: Vec<_> = anchors
        .anchors()
        .iter()
        .map(|a| CertificateDer::from(a.der()))
        .collect();
    // An anchor webpki cannot read must not keep the others from being used.
    let anchors: Vec<TrustAnchor<'_>> = anchors
        .iter()
        .filter_map(|a| webpki::anchor_from_trusted_cert(a).ok())
        .collect();
    let intermediates: Vec<_> = chain
        .intermediates()
        .iter()
        .map(|c| CertificateDer::from(c.der()))
        .collect();
    let leaf = CertificateDer::from(chain.leaf().der());
    let leaf = EndEntityCert::try_from(&leaf).map_err(VerifyError::from)?;
    let seconds = u64::try_from(at.as_second()).unwrap_or_default();
    let usage = match purpose {
        Purpose::Client => KeyUsage::client_auth(),
        Purpose::Server(_) => KeyUsage::server_auth(),
    };
    leaf.verify_for_usage(
        webpki::ALL_VERIFICATION_ALGS,
        &anchors,
        &intermediates,
        UnixTime::since_unix_epoch(Duration::from_secs(seconds)),
        usage,
        None,
        None,
    )?;
    if let Purpose::Server(Some(name)) = purpose {
        let wrong_name = || VerifyError::WrongName {
            expected: name.clone(),
            found: chain.leaf().dns_names().map(str::to_owned).collect(),
        };
        let server = ServerName::try_from(name.as_str()).map_err(|_| wrong_name())?;
        leaf.verify_is_valid_for_subject_name(&server)
            .map_err(|_| wrong_name())?;
    }
    Ok(())
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

/// A chain that must not be trusted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// A CA certificate is presented as a leaf.
    #[error("the certificate of a CA is presented as a leaf")]
    CaAsLeaf,
    /// A certificate has ended.
    #[error("a certificate of the chain has expired: it was valid until {not_after}, now is {at}")]
    Expired {
        /// Its last second.
        not_after: Timestamp,
        /// The time of the check.
        at: Timestamp,
    },
    /// Something else webpki found.
    #[error("the chain is not valid")]
    Invalid(#[source] webpki::Error),
    /// A certificate is from the future.
    #[error("a certificate of the chain is not valid yet: only from {not_before}, now is {at}")]
    NotYetValid {
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

impl From<webpki::Error> for VerifyError {
    fn from(error: webpki::Error) -> Self {
        match error {
            webpki::Error::CaUsedAsEndEntity => Self::CaAsLeaf,
            webpki::Error::CertExpired { time, not_after } => Self::Expired {
                not_after: timestamp(not_after),
                at: timestamp(time),
            },
            webpki::Error::CertNotValidYet { time, not_before } => Self::NotYetValid {
                not_before: timestamp(not_before),
                at: timestamp(time),
            },
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
