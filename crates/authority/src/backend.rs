//! Where keys are: in this process, or far away.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use podcert_pki::{PrivateKey, SignatureAlgorithm};

use crate::Retry;

/// Something that signs with one key and never gives it away.
#[async_trait]
pub trait SigningBackend: Send + Sync + fmt::Debug {
    /// How it signs.
    fn signature_algorithm(&self) -> SignatureAlgorithm;

    /// Signs the whole message (not a digest of it).
    ///
    /// # Cancel safety
    /// May be dropped at any time; at worst a signature nobody sees was made.
    ///
    /// # Errors
    /// What the back end says, and whether it may pass.
    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, BackendError>;

    /// Signs at once, if that takes microseconds and no I/O; `None` if only [`Self::sign`] can. Saves
    /// a boxed future per certificate.
    fn sign_now(&self, _message: &[u8]) -> Option<Result<Vec<u8>, BackendError>> {
        None
    }
}

/// A key in the memory of this process, wiped when dropped.
#[derive(Debug)]
pub struct KeyInMemory(PrivateKey);

impl KeyInMemory {
    /// Signs with this key.
    #[must_use]
    pub fn new(key: PrivateKey) -> Self {
        Self(key)
    }
}

#[async_trait]
impl SigningBackend for KeyInMemory {
    fn signature_algorithm(&self) -> SignatureAlgorithm {
        self.0.signature_algorithm()
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, BackendError> {
        self.sign_with_key(message)
    }

    fn sign_now(&self, message: &[u8]) -> Option<Result<Vec<u8>, BackendError>> {
        Some(self.sign_with_key(message))
    }
}

impl KeyInMemory {
    fn sign_with_key(&self, message: &[u8]) -> Result<Vec<u8>, BackendError> {
        self.0
            .sign(message)
            .map_err(|error| BackendError::Refused(error.into()))
    }
}

/// Why a back end did not sign.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// It is not there now.
    #[error("the signing back end is not available")]
    Unavailable {
        /// When to try again.
        retry_after: Duration,
        /// What happened.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It will not sign with this key.
    #[error("the signing back end refused")]
    Refused(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl BackendError {
    /// When to try again.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Unavailable { retry_after, .. } => Retry::After(*retry_after),
            Self::Refused(_) => Retry::OnChange,
        }
    }

    /// The word for the Event and the metric label.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "SigningBackendUnavailable",
            Self::Refused(_) => "SigningBackendRefused",
        }
    }
}
