//! A request for a certificate, as the API server keeps it.
//!
//! Whatever API version a `PodCertificateRequest` came in, the controller turns it into a
//! [`Request`]. All of it is immutable from creation, so a verdict over these fields alone is final.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use podcert_pki::{CertificationRequest, CsrError, KeyError, PublicKey};

use crate::SignerName;

/// What `decide` needs of a `PodCertificateRequest`.
///
/// When a node created it, the `NodeRestriction` admission plug-in has compared these fields with
/// live objects. Other creators are not compared at all, so `decide` compares again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `metadata.namespace`, which is the pod's namespace too.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `spec.signerName`.
    pub signer: SignerName,
    /// `spec.podName`.
    pub pod_name: String,
    /// `spec.podUID`.
    pub pod_uid: String,
    /// `spec.serviceAccountName`.
    pub service_account_name: String,
    /// `spec.serviceAccountUID`.
    pub service_account_uid: String,
    /// `spec.nodeName`.
    pub node_name: String,
    /// `spec.nodeUID`.
    pub node_uid: String,
    /// `spec.maxExpirationSeconds`.
    pub max_expiration: Duration,
    /// The key to be certified, out of `spec.stubPKCS10Request` or, with Kubernetes 1.35,
    /// `spec.pkixPublicKey`.
    pub key: RequestedKey,
    /// `spec.unverifiedUserAnnotations`.
    pub annotations: BTreeMap<String, String>,
}

/// The key of a request, or why it cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestedKey {
    /// A key podcert can certify.
    Key(PublicKey),
    /// The request shows no key. In `certificates.k8s.io/v1` requests of a kubelet older than 1.36
    /// look like this: their key is in a field that only v1beta1 has.
    NotShown,
    /// A key of a type or size podcert does not certify.
    Unsupported {
        /// What it is, as far as could be told.
        key: String,
    },
    /// Bytes podcert cannot read although the API server could.
    Unreadable {
        /// What is wrong with them.
        problem: String,
    },
}

impl RequestedKey {
    /// The key of `spec.stubPKCS10Request` (DER). Only the key of the CSR counts: the API server
    /// neither demands that the rest be empty nor verifies it against anything. It has verified the
    /// CSR's signature, so this does not again.
    #[must_use]
    pub fn from_stub_pkcs10(der: &[u8]) -> Self {
        if der.is_empty() {
            return Self::NotShown;
        }
        match CertificationRequest::from_der(der) {
            Ok(csr) => Self::Key(csr.public_key().clone()),
            Err(CsrError::Key(error)) => Self::from_key_error(&error),
            Err(error) => Self::Unreadable {
                problem: with_sources(&error),
            },
        }
    }

    /// The key of `spec.pkixPublicKey` (a DER `SubjectPublicKeyInfo`), as 1.35 sends it.
    #[must_use]
    pub fn from_pkix_public_key(der: &[u8]) -> Self {
        if der.is_empty() {
            return Self::NotShown;
        }
        match PublicKey::from_spki_der(der) {
            Ok(key) => Self::Key(key),
            Err(error) => Self::from_key_error(&error),
        }
    }

    fn from_key_error(error: &KeyError) -> Self {
        match error {
            KeyError::Unsupported { .. } => Self::Unsupported {
                key: error.to_string(),
            },
            _ => Self::Unreadable {
                problem: with_sources(error),
            },
        }
    }
}

/// The whole story of an error in one line.
fn with_sources(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
