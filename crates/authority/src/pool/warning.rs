//! What works and should be changed some day.

use jiff::{SignedDuration, Timestamp};
use podcert_pki::{
    Certificate, KeyUsages,
    verify::{SignatureError, signature},
};

use super::{Ca, CaPlace, load::says_self_signed};

/// Something about a CA its owner should know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// A certificate has an empty subject, as all that meshtool makes.
    #[error(
        "{ca}: a certificate has an empty subject, which RFC 5280 forbids for a CA and some TLS \
         libraries refuse: rotate to a new CA"
    )]
    EmptySubject {
        /// The CA.
        ca: CaPlace,
    },
    /// A certificate may also sign handshakes, as all that meshtool makes.
    #[error(
        "{ca}: certificate {subject} has the key usage digitalSignature, which X509-SVID forbids \
         for signing certificates: rotate to a new CA"
    )]
    DigitalSignature {
        /// The CA.
        ca: CaPlace,
        /// The certificate's subject.
        subject: String,
    },
    /// A certificate constrains URIs.
    #[error(
        "{ca}: certificate {subject} has name constraints on URIs, under which rustls refuses \
         every SPIFFE certificate, even a matching one"
    )]
    UriNameConstraints {
        /// The CA.
        ca: CaPlace,
        /// The certificate's subject.
        subject: String,
    },
    /// The issuer has no subjectKeyIdentifier.
    #[error(
        "{ca}: certificate {subject} has no subjectKeyIdentifier, so that leaves cannot point to \
         their issuer's key"
    )]
    NoSubjectKeyId {
        /// The CA.
        ca: CaPlace,
        /// The certificate's subject.
        subject: String,
    },
    /// The root was issued by another certificate, or by another key of the same name. It is an
    /// anchor all the same: of an anchor, name and key count (RFC 5280 §6.1.1 d).
    #[error(
        "{ca}: root {subject} was issued by another certificate, and OpenSSL wants self-signed \
         roots unless told otherwise"
    )]
    RootNotSelfSigned {
        /// The CA.
        ca: CaPlace,
        /// The root's subject.
        subject: String,
    },
    /// The root is signed with an algorithm podcert does not check, as old roots with SHA-1 are.
    #[error("{ca}: the signature of root {subject} was not checked")]
    RootSignatureUnchecked {
        /// The CA.
        ca: CaPlace,
        /// The root's subject.
        subject: String,
        /// Why not.
        #[source]
        source: SignatureError,
    },
    /// An intermediate does not lead from the issuer to the root.
    #[error(
        "{ca}: IntermediateCertificatesDER[{index}], {subject}, is not between the signing \
         certificate and the root, and is left out of chains"
    )]
    UnusedIntermediate {
        /// The CA.
        ca: CaPlace,
        /// Its index.
        index: usize,
        /// Its subject.
        subject: String,
    },
    /// A certificate has expired.
    #[error("{ca}: it expired at {not_after}")]
    Expired {
        /// The CA.
        ca: CaPlace,
        /// When the first certificate of the chain expired.
        not_after: Timestamp,
    },
    /// A certificate will expire soon.
    #[error("{ca}: it expires at {not_after}: put a new CA into the pool before")]
    ExpiresSoon {
        /// The CA.
        ca: CaPlace,
        /// When the first certificate of the chain expires.
        not_after: Timestamp,
    },
    /// A certificate is not valid yet.
    #[error("{ca}: it is not valid before {not_before}")]
    NotYetValid {
        /// The CA.
        ca: CaPlace,
        /// When the last certificate of the chain becomes valid.
        not_before: Timestamp,
    },
}

impl Warning {
    /// One stable word for it. The controller logs the message, once for each pool it loads.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::EmptySubject { .. } => "CaEmptySubject",
            Self::DigitalSignature { .. } => "CaDigitalSignature",
            Self::UriNameConstraints { .. } => "CaUriNameConstraints",
            Self::NoSubjectKeyId { .. } => "CaNoSubjectKeyId",
            Self::RootNotSelfSigned { .. } => "CaRootNotSelfSigned",
            Self::RootSignatureUnchecked { .. } => "CaRootSignatureUnchecked",
            Self::UnusedIntermediate { .. } => "CaUnusedIntermediate",
            Self::Expired { .. } => "CaExpired",
            Self::ExpiresSoon { .. } => "CaExpiresSoon",
            Self::NotYetValid { .. } => "CaNotYetValid",
        }
    }
}

pub(super) fn of(ca: &Ca, index: usize, now: Timestamp) -> Vec<Warning> {
    let place = || CaPlace {
        index,
        id: ca.id().clone(),
    };
    let subject = |certificate: &Certificate| certificate.subject().to_string();
    let mut warnings = Vec::new();

    for certificate in ca.chain().iter().chain([ca.root()]) {
        if certificate.subject().is_empty() {
            warnings.push(Warning::EmptySubject { ca: place() });
        }
        let subject = || subject(certificate);
        if certificate
            .key_usage()
            .is_some_and(KeyUsages::digital_signature)
        {
            warnings.push(Warning::DigitalSignature {
                ca: place(),
                subject: subject(),
            });
        }
        if certificate.has_uri_name_constraints() {
            warnings.push(Warning::UriNameConstraints {
                ca: place(),
                subject: subject(),
            });
        }
    }
    if ca.issuer_certificate().subject_key_id().is_none() {
        let subject = subject(ca.issuer_certificate());
        warnings.push(Warning::NoSubjectKeyId {
            ca: place(),
            subject,
        });
    }
    if !says_self_signed(ca.root()) {
        warnings.push(Warning::RootNotSelfSigned {
            ca: place(),
            subject: subject(ca.root()),
        });
    } else if let Err(source) = signature(ca.root(), ca.root()) {
        warnings.push(Warning::RootSignatureUnchecked {
            ca: place(),
            subject: subject(ca.root()),
            source,
        });
    }
    for (index, unused) in ca.intermediates().iter().enumerate() {
        if !ca.chain().contains(unused) {
            let subject = subject(unused);
            warnings.push(Warning::UnusedIntermediate {
                ca: place(),
                index,
                subject,
            });
        }
    }

    let (not_before, not_after) = (ca.chain_validity().not_before(), ca.chain_not_after());
    let sixth = not_after.duration_since(not_before) / 6;
    if now > not_after {
        warnings.push(Warning::Expired {
            ca: place(),
            not_after,
        });
    } else if not_after.duration_since(now) < sixth.min(SOON) {
        warnings.push(Warning::ExpiresSoon {
            ca: place(),
            not_after,
        });
    }
    if now < not_before {
        warnings.push(Warning::NotYetValid {
            ca: place(),
            not_before,
        });
    }
    warnings
}

/// Or when a sixth of the lifetime is left, if that is later.
const SOON: SignedDuration = SignedDuration::from_hours(30 * 24);
