//! The extensions a leaf may have beside its profile: written, read and compared.
//!
//! None is there unless an operator asked for it, and none is critical: a verifier that does not
//! know it must be able to ignore it (webpki and Go refuse a certificate with a critical extension
//! they do not know). What each says byte by byte, with worked examples, is `docs/extensions.md`.
//!
//! [`LeafExtension`] is what issuance puts into a [`crate::LeafSpec`]. Each kind holds only typed
//! values, so there is none with an empty or ill-formed field. Its bytes are written here and in
//! `pod_identity`; the parsers beside them share nothing with the writers, and the check of a leaf
//! that was just signed ([`crate::check`]) compares what they read with what was decided.
//!
//! To add an extension: a variant here with its OID, its bytes and its parser, an accessor on
//! [`crate::Certificate`], a section of the page.

mod oid;
mod pod_identity;

use der::Tag;

pub use self::{
    oid::{ExtensionOid, OidError},
    pod_identity::{PodIdentity, PodIdentityWithUids},
};
use crate::{
    Certificate, IssuerUrl, NameError,
    asn1::{self, Fields},
};

/// One extension of a leaf beside its profile; never critical.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LeafExtension {
    /// The pod, its service account and its node, in JSON: agent-substrate's format, under its own
    /// OID ([`ExtensionOid::SUBSTRATE_POD_IDENTITY`]) or another one.
    PodIdentityJson {
        /// Under which OID.
        oid: ExtensionOid,
        /// Who.
        identity: PodIdentityWithUids,
    },
    /// The pod, its service account and its node, as the first draft of Kubernetes' own extension
    /// (KEP-4317) had it.
    PodIdentityDraftA {
        /// Under which OID.
        oid: ExtensionOid,
        /// Who.
        identity: PodIdentity,
    },
    /// The issuer of the cluster's service account tokens, in the format of Fulcio's `Issuer (V2)`
    /// and under its OID ([`ExtensionOid::SERVICE_ACCOUNT_ISSUER`]): which cluster this is.
    ServiceAccountIssuer(IssuerUrl),
}

impl LeafExtension {
    /// The OID it stands under.
    #[must_use]
    pub fn oid(&self) -> ExtensionOid {
        match self {
            Self::PodIdentityJson { oid, .. } | Self::PodIdentityDraftA { oid, .. } => *oid,
            Self::ServiceAccountIssuer(_) => ExtensionOid::SERVICE_ACCOUNT_ISSUER,
        }
    }

    /// What is inside the OCTET STRING `extnValue`.
    pub(crate) fn value(&self) -> der::Result<Vec<u8>> {
        match self {
            Self::PodIdentityJson { identity, .. } => Ok(identity.to_json().into_bytes()),
            Self::PodIdentityDraftA { identity, .. } => identity.to_draft_a(),
            Self::ServiceAccountIssuer(issuer) => {
                asn1::tlv(Tag::Utf8String, &[issuer.as_str().as_bytes()])
            }
        }
    }

    /// Whether `value`, read again, says the same.
    pub(crate) fn is_said_by(&self, value: &[u8]) -> bool {
        match self {
            Self::PodIdentityJson { identity, .. } => {
                PodIdentityWithUids::from_json(value).as_ref() == Ok(identity)
            }
            Self::PodIdentityDraftA { identity, .. } => {
                PodIdentity::from_draft_a(value).as_ref() == Ok(identity)
            }
            Self::ServiceAccountIssuer(issuer) => issuer_from(value).as_ref() == Ok(issuer),
        }
    }
}

impl Certificate {
    /// The pod identity under `oid`, read as JSON; `None` if the extension is not there.
    ///
    /// # Errors
    /// When it is there and says something else.
    pub fn pod_identity_json(
        &self,
        oid: ExtensionOid,
    ) -> Result<Option<PodIdentityWithUids>, ExtensionError> {
        let value = self.extension(oid);
        value.map(PodIdentityWithUids::from_json).transpose()
    }

    /// The pod identity under `oid`, read as KEP-4317's first draft; `None` if the extension is not
    /// there.
    ///
    /// # Errors
    /// When it is there and says something else.
    pub fn pod_identity_draft_a(
        &self,
        oid: ExtensionOid,
    ) -> Result<Option<PodIdentity>, ExtensionError> {
        let value = self.extension(oid);
        value.map(PodIdentity::from_draft_a).transpose()
    }

    /// The issuer of the service account tokens of the cluster the leaf was issued in; `None` if
    /// the extension is not there.
    ///
    /// # Errors
    /// When it is there and holds no issuer URL.
    pub fn service_account_issuer(&self) -> Result<Option<IssuerUrl>, ExtensionError> {
        let value = self.extension(ExtensionOid::SERVICE_ACCOUNT_ISSUER);
        value.map(issuer_from).transpose()
    }
}

/// An extension that does not say what its OID promises.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ExtensionError {
    /// Not the DER it should be.
    #[error("extension is not the ASN.1 structure it should be")]
    Der(#[from] der::Error),
    /// Not the JSON object it should be.
    #[error("extension is not the JSON object it should be: {problem}")]
    Json {
        /// What is wrong.
        problem: String,
    },
    /// A field holds what it cannot.
    #[error("extension holds a field that cannot be")]
    Name(#[from] NameError),
    /// A text is not UTF-8.
    #[error("extension holds a text that is not UTF-8")]
    NotUtf8,
}

/// One UTF8String, alone.
fn issuer_from(value: &[u8]) -> Result<IssuerUrl, ExtensionError> {
    let mut fields = Fields::new(value)?;
    let issuer = utf8(&mut fields)?.parse()?;
    fields.finish()?;
    Ok(issuer)
}

/// The next field, which must be a UTF8String.
fn utf8<'a>(fields: &mut Fields<'a>) -> Result<&'a str, ExtensionError> {
    let content = fields.value(Tag::Utf8String)?;
    std::str::from_utf8(content).map_err(|_| ExtensionError::NotUtf8)
}

#[cfg(test)]
mod tests;
