//! The active CA of a pool, ready to issue, and the anchors that verify what the pool issued.

use std::fmt;

use jiff::Timestamp;
use podcert_pki::{
    Certificate, Chain, IssueError, IssuerContext, LeafSpec, Serial, SignatureAlgorithm,
    TbsCertificate, TrustBundle, Validity, check,
    verify::{Purpose, verify},
};

use crate::{BackendError, CaId, KeyInMemory, Pool, SignError, SigningBackend};

/// Issues leaves with the first CA of a pool.
///
/// Keeps the key of that CA only; those of the others are wiped with the pool.
pub struct Authority {
    ca_id: CaId,
    issuer: IssuerContext,
    issuer_certificate: Certificate,
    /// What a leaf is sent with: the issuer's certificate first, the root left out.
    intermediates: Vec<Certificate>,
    chain_validity: Validity,
    anchors: TrustBundle,
    backend: Box<dyn SigningBackend>,
}

impl Authority {
    /// Takes the active key out of a pool. Its first CA signs, the roots of all are anchors.
    #[must_use]
    pub fn from_pool(pool: Pool) -> Self {
        let (active, anchors) = pool.into_active();
        Self {
            ca_id: active.id().clone(),
            issuer: active.issuer_context().clone(),
            issuer_certificate: active.issuer_certificate().clone(),
            intermediates: active.chain().to_vec(),
            chain_validity: active.chain_validity(),
            anchors,
            backend: Box::new(KeyInMemory::new(active.into_key())),
        }
    }

    /// The ID of the CA that signs.
    #[must_use]
    pub fn ca_id(&self) -> &CaId {
        &self.ca_id
    }

    /// The certificate that holds the signing key.
    #[must_use]
    pub fn issuer_certificate(&self) -> &Certificate {
        &self.issuer_certificate
    }

    /// The roots of all CAs of the pool in its order, each once: what clients must trust.
    #[must_use]
    pub fn anchors(&self) -> &TrustBundle {
        &self.anchors
    }

    /// The time in which everything above a leaf is valid.
    #[must_use]
    pub fn chain_validity(&self) -> Validity {
        self.chain_validity
    }

    /// When the first certificate above a leaf expires. No leaf may outlive it.
    #[must_use]
    pub fn chain_not_after(&self) -> Timestamp {
        self.chain_validity.not_after()
    }

    /// How it signs.
    #[must_use]
    pub fn signature_algorithm(&self) -> SignatureAlgorithm {
        self.backend.signature_algorithm()
    }

    /// Signs a leaf. What comes out has been read again and compared with `spec`.
    ///
    /// # Cancel safety
    /// May be dropped at any time; at worst a certificate nobody sees was signed.
    ///
    /// # Errors
    /// What the back end says, or a leaf that would outlive its issuer.
    pub async fn issue(&self, spec: &LeafSpec) -> Result<Chain, SignError> {
        let tbs = self.prepare(spec)?;
        if let Some(signature) = self.backend.sign_now(tbs.to_be_signed()) {
            return self.finish(&tbs, signature, spec);
        }
        let signature = self.backend.sign(tbs.to_be_signed()).await;
        let chain = self.finish(&tbs, signature, spec)?;
        // A key in this process was proven when it was loaded. One far away may be another by now.
        let usages = spec.ext_key_usages();
        let purpose = if usages.server_auth {
            Purpose::Server(None)
        } else {
            Purpose::Client
        };
        verify(&chain, &self.anchors, purpose, spec.validity().not_before()).map_err(|source| {
            SignError::DoesNotVerify {
                ca: self.ca_id.clone(),
                source,
            }
        })?;
        Ok(chain)
    }

    /// Signs a leaf at once, or `None` if the back end takes its time: then use [`Self::issue`].
    ///
    /// # Errors
    /// As [`Self::issue`].
    #[must_use]
    pub fn issue_now(&self, spec: &LeafSpec) -> Option<Result<Chain, SignError>> {
        let tbs = match self.prepare(spec) {
            Ok(tbs) => tbs,
            Err(error) => return Some(Err(error)),
        };
        let signature = self.backend.sign_now(tbs.to_be_signed())?;
        Some(self.finish(&tbs, signature, spec))
    }

    #[cfg(test)]
    fn with_backend(self, backend: Box<dyn SigningBackend>) -> Self {
        Self { backend, ..self }
    }

    fn prepare(&self, spec: &LeafSpec) -> Result<TbsCertificate, SignError> {
        let not_after = spec.validity().not_after();
        if not_after > self.chain_not_after() {
            return Err(SignError::OutlivesChain {
                ca: self.ca_id.clone(),
                not_after,
                chain_not_after: self.chain_not_after(),
            });
        }
        let build = |source| self.build_error(source);
        let serial = Serial::random().map_err(build)?;
        self.issuer.leaf_tbs(spec, &serial).map_err(build)
    }

    fn finish(
        &self,
        tbs: &TbsCertificate,
        signature: Result<Vec<u8>, BackendError>,
        spec: &LeafSpec,
    ) -> Result<Chain, SignError> {
        let signature = signature.map_err(|source| SignError::Backend {
            ca: self.ca_id.clone(),
            source,
        })?;
        let der = tbs
            .assemble(&signature)
            .map_err(|source| self.build_error(source))?;
        let leaf = check::leaf(der, spec).map_err(|source| SignError::SelfCheck {
            ca: self.ca_id.clone(),
            source,
        })?;
        Ok(Chain::new(leaf, self.intermediates.clone()))
    }

    fn build_error(&self, source: IssueError) -> SignError {
        SignError::Build {
            ca: self.ca_id.clone(),
            source,
        }
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("ca_id", &self.ca_id)
            .field("issuer_certificate", &self.issuer_certificate)
            .field("chain_validity", &self.chain_validity)
            .field("backend", &self.backend)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
