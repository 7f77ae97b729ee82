//! Pools of CAs: meshtool's file format, and the proof at load that a pool can sign.
//!
//! A pool file is a list of CAs, each with an ID, a private key, a root and the intermediates below
//! the root. The CA's *issuer* is the certificate that holds the private key: the root, or one of the
//! intermediates. (meshtool always puts the root's name into leaves, so none of its leaves from an
//! intermediate verifies.) Which one it is, and which certificates lead from it to the root, is found
//! when the pool is loaded, in whatever order the file has them.
//!
//! Loading proves of every CA that the key is in one of its certificates, that the certificates lead
//! to the root and may sign, that a self-signed root is signed by its own key, and that a leaf signed
//! with the key verifies against the root. A root that another CA signed (cross-signed) is an anchor
//! like any other: its own signature is the other CA's business, and a warning says so. A CA that
//! has expired loads: its root stays published until someone removes it, and requests wait with a
//! reason of their own. What does not hinder signing, and should be changed some day, is a
//! [`Warning`].

mod error;
mod generate;
mod json;
mod load;
mod warning;

use std::fmt;

use jiff::Timestamp;
use podcert_pki::{Certificate, IssuerContext, PrivateKey, TrustBundle, Validity};
use zeroize::Zeroizing;

pub use error::{CaPlace, PoolError};
pub use generate::{CaOptions, GenerateError};
pub use json::JsonError;
pub use warning::Warning;

/// One or more CAs with their keys, the active one first.
///
/// `Debug` shows certificates and no keys; keys are wiped when the pool is dropped.
#[derive(Debug)]
pub struct Pool {
    /// Never empty.
    cas: Vec<Ca>,
    anchors: TrustBundle,
}

impl Pool {
    /// Reads the content of a pool file and proves that every CA in it can sign.
    ///
    /// # Errors
    /// Names the CA by index and ID, and the field. Holds nothing of the keys.
    pub fn from_json(json: &[u8]) -> Result<Self, PoolError> {
        let raw = json::decode(json)?;
        Self::new(load::cas(raw)?)
    }

    /// The content of a pool file, byte for byte what meshtool writes for the same CAs.
    #[must_use]
    pub fn to_json(&self) -> Zeroizing<Vec<u8>> {
        let cas = self.cas.iter().map(Ca::to_write).collect::<Vec<_>>();
        json::encode(&cas)
    }

    /// A new pool of one new CA, with its self-signed root. The key and the serial number are
    /// random; everything else follows from the arguments.
    ///
    /// # Errors
    /// Options no certificate can be made of.
    pub fn generate(options: &CaOptions, now: Timestamp) -> Result<Self, GenerateError> {
        Ok(Self::new(vec![generate::ca(options, now)?])?)
    }

    /// The CAs, the active one first; at least one.
    #[must_use]
    pub fn cas(&self) -> &[Ca] {
        &self.cas
    }

    /// What should be changed about this pool some day, though it works.
    #[must_use]
    pub fn warnings(&self, now: Timestamp) -> Vec<Warning> {
        self.cas
            .iter()
            .enumerate()
            .flat_map(|(index, ca)| warning::of(ca, index, now))
            .collect()
    }

    /// The roots of all CAs in their order, each once: what clients must trust.
    #[must_use]
    pub fn anchors(&self) -> &TrustBundle {
        &self.anchors
    }

    pub(crate) fn into_active(self) -> (Ca, TrustBundle) {
        let active = self.cas.into_iter().next();
        (
            active.expect("invariant: Pool::new refuses an empty list"),
            self.anchors,
        )
    }

    fn new(cas: Vec<Ca>) -> Result<Self, PoolError> {
        if cas.is_empty() {
            return Err(PoolError::Empty);
        }
        for (second, ca) in cas.iter().enumerate() {
            let earlier = cas.iter().take(second);
            if let Some(first) = earlier.into_iter().position(|other| other.id == ca.id) {
                return Err(PoolError::DuplicateId {
                    id: ca.id.clone(),
                    first,
                    second,
                });
            }
        }
        let mut roots: Vec<Certificate> = Vec::with_capacity(cas.len());
        for ca in &cas {
            // Two intermediates below one root are two CAs with one anchor.
            if !roots.contains(&ca.root) {
                roots.push(ca.root.clone());
            }
        }
        let anchors = TrustBundle::new(roots).map_err(|source| PoolError::Anchors { source })?;
        Ok(Self { cas, anchors })
    }
}

/// One CA of a pool: its key, and the certificates from the one that holds the key to the root.
pub struct Ca {
    id: CaId,
    key: PrivateKey,
    /// As it came, so that a pool that is read and written again does not change.
    pkcs8: Zeroizing<Vec<u8>>,
    root: Certificate,
    /// All of the file's, in its order.
    intermediates: Vec<Certificate>,
    /// Of those, the ones that lead to the root, the issuer first. Empty if the root is the issuer.
    chain: Vec<Certificate>,
    chain_validity: Validity,
    issuer: IssuerContext,
}

impl Ca {
    /// Its ID.
    #[must_use]
    pub fn id(&self) -> &CaId {
        &self.id
    }

    /// Its root, to be published as an anchor.
    #[must_use]
    pub fn root(&self) -> &Certificate {
        &self.root
    }

    /// The intermediates of the file, in its order.
    #[must_use]
    pub fn intermediates(&self) -> &[Certificate] {
        &self.intermediates
    }

    /// The certificates a leaf is sent with: from the issuer up to below the root.
    #[must_use]
    pub fn chain(&self) -> &[Certificate] {
        &self.chain
    }

    /// The certificate that holds the signing key, whose subject is the issuer of leaves.
    #[must_use]
    pub fn issuer_certificate(&self) -> &Certificate {
        self.chain.first().unwrap_or(&self.root)
    }

    /// The time in which the issuer, the root and every certificate between are valid.
    #[must_use]
    pub fn chain_validity(&self) -> Validity {
        self.chain_validity
    }

    /// When the first certificate of the chain expires. No leaf may outlive it.
    #[must_use]
    pub fn chain_not_after(&self) -> Timestamp {
        self.chain_validity.not_after()
    }

    /// The signing key.
    #[must_use]
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    pub(crate) fn issuer_context(&self) -> &IssuerContext {
        &self.issuer
    }

    pub(crate) fn into_key(self) -> PrivateKey {
        self.key
    }

    fn to_write(&self) -> json::CaToWrite<'_> {
        json::CaToWrite {
            id: self.id.as_str(),
            signing_key_pkcs8: &self.pkcs8,
            root_certificate_der: self.root.der(),
            intermediate_certificates_der: self
                .intermediates
                .iter()
                .map(Certificate::der)
                .collect(),
        }
    }
}

impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ca")
            .field("id", &self.id)
            .field("key", &self.key)
            .field("root", &self.root)
            .field("chain", &self.chain)
            .finish_non_exhaustive()
    }
}

/// The ID of a CA in its pool. Any text: meshtool takes what `--ca-id` says, nothing included.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CaId(String);

impl CaId {
    /// This text as an ID.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// In quotes, since an ID may be empty or hold anything; and cut short, since someone may have put a
/// key in its place.
impl fmt::Debug for CaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.chars().count() <= LONGEST_ID_SHOWN {
            return fmt::Debug::fmt(&self.0, f);
        }
        let start: String = self.0.chars().take(8).collect();
        write!(f, "{start:?}...")
    }
}

/// As `Debug`.
impl fmt::Display for CaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The shortest key, of Ed25519, has 64 characters in base64.
const LONGEST_ID_SHOWN: usize = 40;

#[cfg(test)]
mod tests;
