//! Key and chain, and trust anchors, as files hold them and TLS uses them.
//!
//! Both are proven usable when they are parsed, not when the first peer comes: a file that TLS
//! could not use never replaces one that it can.

use jiff::Timestamp;
use podcert_pki::{
    BundleError, Certificate, CertificateError, Chain, ChainError, CredentialBundle, KeyError,
    PemError, PrivateKey, TrustBundle,
};

use crate::files::Contents;
use crate::tls::{Identity, Roots, Unusable};

/// What a workload presents: a private key and the certificate chain of its public half.
#[derive(Debug)]
pub struct Credential {
    bundle: CredentialBundle,
    identity: Identity,
}

impl Credential {
    /// Reads a credential bundle: the PKCS #8 key, then the chain.
    ///
    /// # Errors
    /// [`CredentialError`], named after what is missing or does not fit.
    pub fn from_bundle_pem(pem: &[u8]) -> Result<Self, CredentialError> {
        Self::new(CredentialBundle::from_pem(pem)?)
    }

    /// Reads key and chain from two texts.
    ///
    /// # Errors
    /// [`CredentialError`], named after what is missing or does not fit.
    pub fn from_key_and_chain_pem(key: &[u8], chain: &[u8]) -> Result<Self, CredentialError> {
        let key = PrivateKey::from_pkcs8_pem(key).map_err(podcert_pki::CredentialError::from)?;
        let chain = Chain::from_pem(chain).map_err(podcert_pki::CredentialError::from)?;
        Self::new(CredentialBundle::new(key, chain)?)
    }

    /// Makes a credential that TLS has accepted of one that is only well formed.
    ///
    /// # Errors
    /// [`CredentialError::Tls`], for instance for a kind of key that no cipher suite uses.
    pub fn new(bundle: CredentialBundle) -> Result<Self, CredentialError> {
        let identity = Identity::new(&bundle)?;
        Ok(Self { bundle, identity })
    }

    /// The key and chain themselves.
    pub fn bundle(&self) -> &CredentialBundle {
        &self.bundle
    }

    /// When it ends: the earliest notAfter of the chain.
    pub fn not_after(&self) -> Timestamp {
        self.bundle.chain().not_after()
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }
}

/// The certificates under which a workload accepts its peers.
#[derive(Debug)]
pub struct Anchors {
    bundle: TrustBundle,
    roots: Roots,
}

impl Anchors {
    /// Reads a PEM text of CA certificates.
    ///
    /// # Errors
    /// [`AnchorsError`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, AnchorsError> {
        Self::new(TrustBundle::from_pem(pem)?)
    }

    /// Takes those anchors of a bundle that TLS can use.
    ///
    /// # Errors
    /// [`AnchorsError::Tls`] when it can use none.
    pub fn new(bundle: TrustBundle) -> Result<Self, AnchorsError> {
        let roots = Roots::new(&bundle)?;
        Ok(Self { bundle, roots })
    }

    /// The certificates themselves.
    pub fn bundle(&self) -> &TrustBundle {
        &self.bundle
    }

    /// When the last of them ends.
    pub fn not_after(&self) -> Option<Timestamp> {
        self.bundle
            .anchors()
            .iter()
            .map(Certificate::not_after)
            .max()
    }

    pub(crate) fn roots(&self) -> &Roots {
        &self.roots
    }

    /// One bundle of what several files hold; an anchor may stand in more than one of them.
    pub(crate) fn from_files(contents: &Contents) -> Result<Self, AnchorsError> {
        let mut anchors: Vec<Certificate> = Vec::new();
        for (_path, pem) in contents.iter() {
            for anchor in TrustBundle::from_pem(pem)?.anchors() {
                if !anchors.contains(anchor) {
                    anchors.push(anchor.clone());
                }
            }
        }
        Self::new(TrustBundle::new(anchors)?)
    }
}

/// Why PEM text is no credential.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// Key or chain are bad, or do not belong together. With two files, one of them may not have
    /// been replaced yet.
    #[error(transparent)]
    Bundle(podcert_pki::CredentialError),
    /// No certificate follows the key.
    #[error("credential bundle had no certificates")]
    NoCertificates,
    /// The text does not begin with a private key.
    #[error("credential bundle had no private key")]
    NoPrivateKey,
    /// TLS cannot use the key or the chain.
    #[error(transparent)]
    Tls(#[from] Unusable),
}

impl From<podcert_pki::CredentialError> for CredentialError {
    fn from(error: podcert_pki::CredentialError) -> Self {
        use podcert_pki::CredentialError as Pki;
        let no_key = |error: &PemError| match error {
            PemError::Empty { .. } => true,
            // The first block is where the key belongs.
            PemError::UnexpectedLabel { block, .. } => *block == 1,
            _ => false,
        };
        match error {
            Pki::Pem(error) | Pki::Key(KeyError::Pem(error)) if no_key(&error) => {
                Self::NoPrivateKey
            }
            Pki::Chain(
                ChainError::Empty
                | ChainError::Certificate(CertificateError::Pem(PemError::Empty { .. })),
            ) => Self::NoCertificates,
            error => Self::Bundle(error),
        }
    }
}

/// Why PEM text is no set of trust anchors.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnchorsError {
    /// The text is no trust bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// TLS can use none of the anchors.
    #[error(transparent)]
    Tls(#[from] Unusable),
}

#[cfg(test)]
mod tests;
