//! The two files of a workload: what it trusts, and what it is.
//!
//! [`TrustBundle`] follows the rules the API server has for a ClusterTrustBundle, so that what
//! we make is what it takes. [`CredentialBundle`] is the file the kubelet writes for
//! `credentialBundlePath` (and SPIFFE's Filesystem Delivery draft describes): the key, then the
//! chain.

use std::collections::HashSet;

use zeroize::Zeroizing;

use crate::{
    Certificate, CertificateError, Chain, ChainError, KeyError, PemError, PrivateKey, pem,
};

/// Trust anchors in the order they are published: at least one, all CAs, none twice.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TrustBundle(Vec<Certificate>);

impl TrustBundle {
    /// Checks the anchors and keeps their order. Expired ones are taken, as the API server
    /// takes them: dropping an anchor is a decision, not a parser's business.
    ///
    /// # Errors
    /// [`BundleError`] when there is none, one is not a CA or one is there twice.
    pub fn new(anchors: Vec<Certificate>) -> Result<Self, BundleError> {
        if anchors.is_empty() {
            return Err(BundleError::Empty);
        }
        let mut seen = HashSet::new();
        for (number, anchor) in (1..).zip(&anchors) {
            if !anchor.is_ca() {
                let subject = anchor.subject().to_string();
                return Err(BundleError::NotCa { number, subject });
            }
            if !seen.insert(anchor.der()) {
                let subject = anchor.subject().to_string();
                return Err(BundleError::Duplicate { number, subject });
            }
        }
        Ok(Self(anchors))
    }

    /// Reads a PEM text of CERTIFICATE blocks only, without headers.
    ///
    /// # Errors
    /// [`BundleError`].
    pub fn from_pem(text: impl AsRef<[u8]>) -> Result<Self, BundleError> {
        let blocks = pem::blocks(text.as_ref()).map_err(CertificateError::from)?;
        let anchors = blocks
            .into_iter()
            .map(Certificate::from_block)
            .collect::<Result<_, _>>()?;
        Self::new(anchors)
    }

    /// Reads what can be read of a text that [`Self::from_pem`] may refuse, for whoever must neither
    /// trust it nor lose what is in it: the certificates of CAs in it, each once, if any, and why that
    /// is not all. A text without anything like a block lacks nothing.
    pub fn readable_part(text: impl AsRef<[u8]>) -> (Option<Self>, Option<BundleError>) {
        let text = text.as_ref();
        let error = match Self::from_pem(text) {
            Ok(whole) => return (Some(whole), None),
            Err(BundleError::Empty) => return (None, None),
            Err(error) => error,
        };
        let mut seen = HashSet::new();
        let anchors: Vec<_> = pem::readable_certificates(text)
            .into_iter()
            .filter_map(|der| Certificate::from_der(der).ok())
            .filter(|anchor| anchor.is_ca() && seen.insert(anchor.clone()))
            .collect();
        (Self::new(anchors).ok(), Some(error))
    }

    /// The bundle as PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let mut text = String::new();
        for anchor in &self.0 {
            pem::append(&mut text, pem::CERTIFICATE, anchor.der());
        }
        text
    }

    /// The anchors in order.
    #[must_use]
    pub fn anchors(&self) -> &[Certificate] {
        &self.0
    }

    /// Whether both trust the same certificates, in whatever order (the kubelet shuffles them).
    #[must_use]
    pub fn same_anchors(&self, other: &Self) -> bool {
        let set = |bundle: &Self| bundle.0.iter().cloned().collect::<HashSet<_>>();
        set(self) == set(other)
    }
}

/// A text that is not a trust bundle.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// One of the certificates, or the PEM around them, is bad.
    #[error("trust bundle has a bad certificate")]
    Certificate(#[from] CertificateError),
    /// A certificate is there twice.
    #[error("trust bundle has certificate {number} ({subject}) twice")]
    Duplicate {
        /// Which one, from 1.
        number: usize,
        /// Its subject.
        subject: String,
    },
    /// There is no certificate.
    #[error("trust bundle without a certificate")]
    Empty,
    /// A certificate is not one of a CA.
    #[error("certificate {number} ({subject}) of the trust bundle is not a CA")]
    NotCa {
        /// Which one, from 1.
        number: usize,
        /// Its subject.
        subject: String,
    },
}

/// A private key and the chain for it.
#[derive(Debug)]
pub struct CredentialBundle {
    key: PrivateKey,
    chain: Chain,
}

impl CredentialBundle {
    /// Puts the parts together.
    ///
    /// # Errors
    /// [`CredentialError::WrongKey`] when the leaf is not for this key.
    pub fn new(key: PrivateKey, chain: Chain) -> Result<Self, CredentialError> {
        if chain.leaf().spki_der() == key.public_key().spki_der() {
            Ok(Self { key, chain })
        } else {
            Err(CredentialError::WrongKey)
        }
    }

    /// Reads the file the kubelet writes: one PRIVATE KEY block (PKCS #8), then CERTIFICATE
    /// blocks, the leaf first.
    ///
    /// # Errors
    /// [`CredentialError`]; none of its kinds holds key material.
    pub fn from_pem(text: impl AsRef<[u8]>) -> Result<Self, CredentialError> {
        let mut blocks = pem::blocks(text.as_ref())?.into_iter();
        let first = blocks.next().ok_or(PemError::Empty {
            expected: pem::PRIVATE_KEY,
        })?;
        let key = PrivateKey::from_pkcs8_der(&first.expect(pem::PRIVATE_KEY)?)?;
        Self::new(key, Chain::from_blocks(blocks)?)
    }

    /// The bundle as the kubelet writes it.
    ///
    /// # Errors
    /// [`CredentialError::Key`] should the key not be writable.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, CredentialError> {
        let (key, chain) = (self.key.to_pkcs8_pem()?, self.chain.to_pem());
        // Of its full size at once: growing would leave a copy of the key behind.
        let mut text = Zeroizing::new(String::with_capacity(key.len() + chain.len()));
        text.push_str(&key);
        text.push_str(&chain);
        Ok(text)
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// The chain.
    #[must_use]
    pub fn chain(&self) -> &Chain {
        &self.chain
    }
}

/// A text that is not a credential bundle.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// The chain is bad.
    #[error("credential bundle with a bad chain")]
    Chain(#[from] ChainError),
    /// The key is bad.
    #[error("credential bundle with a bad private key")]
    Key(#[from] KeyError),
    /// The PEM text is bad, or does not start with a private key.
    #[error("credential bundle is not a private key followed by certificates")]
    Pem(#[from] PemError),
    /// Key and leaf do not belong together, for instance after half a file swap.
    #[error("credential bundle whose leaf certificate is for another key")]
    WrongKey,
}

#[cfg(test)]
mod tests;
