//! A leaf and the intermediates that lead from it to a root, the root left out.

use jiff::Timestamp;

use crate::{Certificate, CertificateError, pem};

/// What a TLS server or client presents: its leaf first, then each one's issuer.
///
/// A chain is not known to be sound; [`crate::verify::verify`] says so.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Chain {
    leaf: Certificate,
    intermediates: Vec<Certificate>,
}

impl Chain {
    /// Puts the parts together.
    #[must_use]
    pub fn new(leaf: Certificate, intermediates: Vec<Certificate>) -> Self {
        Self {
            leaf,
            intermediates,
        }
    }

    /// Reads a PEM text of certificates only, the leaf first.
    ///
    /// # Errors
    /// [`ChainError`].
    pub fn from_pem(text: impl AsRef<[u8]>) -> Result<Self, ChainError> {
        Self::from_blocks(pem::blocks(text.as_ref()).map_err(CertificateError::from)?)
    }

    pub(crate) fn from_blocks(
        blocks: impl IntoIterator<Item = pem::Block>,
    ) -> Result<Self, ChainError> {
        let mut certificates = blocks.into_iter().map(Certificate::from_block);
        let leaf = certificates.next().ok_or(ChainError::Empty)??;
        let intermediates = certificates.collect::<Result<_, _>>()?;
        Ok(Self {
            leaf,
            intermediates,
        })
    }

    /// The chain as PEM, the leaf first: a `certificateChain` as Kubernetes has it.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let mut text = String::new();
        self.append_pem(&mut text);
        text
    }

    pub(crate) fn append_pem(&self, text: &mut String) {
        for certificate in self.certificates() {
            pem::append(text, pem::CERTIFICATE, certificate.der());
        }
    }

    /// The certificate of the workload itself.
    #[must_use]
    pub fn leaf(&self) -> &Certificate {
        &self.leaf
    }

    /// The CAs between the leaf and the root, the leaf's issuer first.
    #[must_use]
    pub fn intermediates(&self) -> &[Certificate] {
        &self.intermediates
    }

    /// All of it in order.
    pub fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        std::iter::once(&self.leaf).chain(&self.intermediates)
    }

    /// When the first of its certificates ends.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        let others = self.intermediates.iter().map(Certificate::not_after);
        others.fold(self.leaf.not_after(), Timestamp::min)
    }
}

/// A text that is not a chain.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// One of the certificates, or the PEM around them, is bad.
    #[error("chain has a bad certificate")]
    Certificate(#[from] CertificateError),
    /// There is no certificate.
    #[error("chain without a certificate")]
    Empty,
}

#[cfg(test)]
mod tests;
