//! What can go wrong while signing, and what to do about it.

use std::time::Duration;

use jiff::Timestamp;
use podcert_pki::{IssueError, check::CheckError, verify::VerifyError};

use crate::{BackendError, CaId};

/// When it is worth trying again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// After this long: the obstacle may pass by itself.
    After(Duration),
    /// Never: the same input fails the same way.
    Never,
    /// When the input changes, such as a pool file.
    OnChange,
}

/// Why a certificate could not be issued.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The back end did not sign.
    #[error("the key of CA {ca} did not sign")]
    Backend {
        /// The CA.
        ca: CaId,
        /// What the back end said.
        #[source]
        source: BackendError,
    },
    /// The certificate could not be put together.
    #[error("CA {ca} could not build the certificate")]
    Build {
        /// The CA.
        ca: CaId,
        /// What was wrong.
        #[source]
        source: IssueError,
    },
    /// A back end far away signed with something else than the CA's key.
    #[error("what the back end of CA {ca} signed does not verify")]
    DoesNotVerify {
        /// The CA.
        ca: CaId,
        /// What the verification said.
        #[source]
        source: VerifyError,
    },
    /// The certificate asked for outlives the CA, or one above it.
    #[error(
        "the certificate would be valid until {not_after}, CA {ca} only until {chain_not_after}"
    )]
    OutlivesChain {
        /// The CA.
        ca: CaId,
        /// What was asked for.
        not_after: Timestamp,
        /// When the first certificate of the chain expires.
        chain_not_after: Timestamp,
    },
    /// The signed certificate does not say what was decided. A defect of podcert or of the back end.
    #[error("what CA {ca} signed is not what was decided")]
    SelfCheck {
        /// The CA.
        ca: CaId,
        /// What differs.
        #[source]
        source: CheckError,
    },
}

impl SignError {
    /// When to try again.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Backend { source, .. } => source.retry(),
            Self::Build {
                source: IssueError::Random,
                ..
            } => Retry::After(FOR_RANDOMNESS),
            // The pool may have changed between the decision and the signature: decide again.
            Self::OutlivesChain { .. } | Self::DoesNotVerify { .. } => Retry::OnChange,
            Self::Build { .. } | Self::SelfCheck { .. } => Retry::Never,
        }
    }

    /// The word for the Event and the metric label.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Backend { source, .. } => source.reason(),
            Self::Build { .. } => "CertificateNotBuilt",
            Self::DoesNotVerify { .. } => "SignatureDoesNotVerify",
            Self::OutlivesChain { .. } => "CertificateOutlivesCa",
            Self::SelfCheck { .. } => "SelfCheckFailed",
        }
    }
}

/// How long to wait for a system without randomness.
const FOR_RANDOMNESS: Duration = Duration::from_secs(10);
