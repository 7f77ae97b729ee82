//! What can be wrong with a pool file.

use std::fmt;

use podcert_pki::{
    BundleError, CertificateError, IssueError, KeyError,
    verify::{SignatureError, VerifyError},
};

use super::{CaId, JsonError};
use crate::Retry;

/// Why a pool cannot be used. None of it holds key material.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// The file is no JSON, or not of the right shape.
    #[error("CA pool is not readable")]
    Json(#[from] JsonError),
    /// No CA is in it.
    #[error("CA pool is empty: CAs must hold at least one CA")]
    Empty,
    /// Two CAs have the same ID.
    #[error("CA pool has the ID {id} twice, in CAs[{first}] and CAs[{second}]")]
    DuplicateId {
        /// The ID.
        id: CaId,
        /// The index of the first CA.
        first: usize,
        /// The index of the second one.
        second: usize,
    },
    /// A field is missing or empty.
    #[error("CA pool: {ca} has no {field}")]
    MissingField {
        /// The CA.
        ca: CaPlace,
        /// The field.
        field: &'static str,
    },
    /// The key cannot be read.
    #[error("CA pool: SigningKeyPKCS8 of {ca} is no usable private key")]
    Key {
        /// The CA.
        ca: CaPlace,
        /// What is wrong with it.
        #[source]
        source: KeyError,
    },
    /// A certificate cannot be read.
    #[error("CA pool: {field} of {ca} is no certificate")]
    Certificate {
        /// The CA.
        ca: CaPlace,
        /// The field, such as `IntermediateCertificatesDER[0]`.
        field: String,
        /// What is wrong with it.
        #[source]
        source: CertificateError,
    },
    /// The key is in none of the CA's certificates.
    #[error("CA pool: SigningKeyPKCS8 of {ca} is the key of none of its certificates")]
    KeyMismatch {
        /// The CA.
        ca: CaPlace,
    },
    /// The root names itself as its issuer, but its key did not sign it: it is forged or damaged.
    #[error(
        "CA pool: RootCertificateDER of {ca} says that it is self-signed, and its signature is not \
         its key's"
    )]
    RootSignature {
        /// The CA.
        ca: CaPlace,
        /// What the check said.
        #[source]
        source: SignatureError,
    },
    /// The certificate that holds the key was not issued by the root, nor by way of intermediates.
    #[error(
        "CA pool: no way leads from certificate {subject} of {ca}, which holds the key, to its root {root}"
    )]
    BrokenChain {
        /// The CA.
        ca: CaPlace,
        /// The subject of the certificate that holds the key.
        subject: String,
        /// The root's subject.
        root: String,
    },
    /// A certificate may not sign others.
    #[error("CA pool: a certificate of {ca} may not sign")]
    MayNotSign {
        /// The CA.
        ca: CaPlace,
        /// Which one, and why.
        #[source]
        source: IssueError,
    },
    /// A certificate allows fewer intermediates below it than there are.
    #[error(
        "CA pool: certificate {subject} of {ca} allows {allowed} intermediates below it, there are \
         {found}"
    )]
    PathTooLong {
        /// The CA.
        ca: CaPlace,
        /// The certificate's subject.
        subject: String,
        /// Its pathLenConstraint.
        allowed: u64,
        /// How many there are.
        found: usize,
    },
    /// At no time are all certificates valid.
    #[error("CA pool: the certificates of {ca} are never valid all at once")]
    NeverValid {
        /// The CA.
        ca: CaPlace,
    },
    /// A leaf signed with the key does not verify against the root.
    #[error("CA pool: what {ca} signs does not verify against its root")]
    DoesNotVerify {
        /// The CA.
        ca: CaPlace,
        /// What the verification said.
        #[source]
        source: VerifyError,
    },
    /// The roots cannot be published together.
    #[error("the roots of the CA pool are no trust bundle")]
    Anchors {
        /// Why.
        #[source]
        source: BundleError,
    },
    /// No certificate could be made for the trial.
    #[error("CA pool: {ca} could not sign a certificate on trial")]
    Trial {
        /// The CA.
        ca: CaPlace,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl PoolError {
    /// When to try again: a pool is read anew when its file changes.
    #[must_use]
    pub fn retry(&self) -> Retry {
        Retry::OnChange
    }

    /// One stable word for it. The controller's Event says `CaPoolRefused` for all of them, with the
    /// message as its note.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Json(JsonError::Truncated { .. }) => "PoolTruncated",
            Self::Json(_) => "PoolUnreadable",
            Self::Empty => "PoolEmpty",
            Self::DuplicateId { .. } => "PoolDuplicateId",
            Self::MissingField { .. } => "PoolFieldMissing",
            Self::Key { .. } => "PoolKeyUnusable",
            Self::Certificate { .. } => "PoolCertificateUnreadable",
            Self::KeyMismatch { .. } => "PoolKeyMismatch",
            Self::RootSignature { .. } => "PoolRootSignature",
            Self::BrokenChain { .. } => "PoolChainBroken",
            Self::MayNotSign { .. } => "PoolCertificateMayNotSign",
            Self::PathTooLong { .. } => "PoolPathTooLong",
            Self::NeverValid { .. } => "PoolNeverValid",
            Self::DoesNotVerify { .. } => "PoolDoesNotVerify",
            Self::Anchors { .. } => "PoolAnchorsUnusable",
            Self::Trial { .. } => "PoolTrialFailed",
        }
    }
}

/// Which CA of a pool is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaPlace {
    /// Its place in the file, from 0.
    pub index: usize,
    /// Its ID.
    pub id: CaId,
}

impl fmt::Display for CaPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CAs[{}] (ID {})", self.index, self.id)
    }
}
