//! X.509 and SPIFFE in bytes and types, with no clock, no network and no Kubernetes.
//!
//! What lives where:
//!
//! - `names`: [`TrustDomain`], [`SpiffeId`], [`DnsName`], [`ObjectName`], [`ObjectUid`],
//!   [`IssuerUrl`]: the only strings that may stand in a certificate, each with its standard's
//!   grammar and limits.
//! - `keys`: [`PublicKey`] and [`PrivateKey`] over aws-lc-rs, the one provider.
//! - `csr`: [`CertificationRequest`], of which only the key counts.
//! - `certificate`: [`Certificate`], a parsed certificate that keeps its exact bytes.
//! - `extension`: [`LeafExtension`], what a leaf may say beside its profile, written and read.
//! - `leaf`: [`LeafSpec`], what issuance decides; `issuer`: [`IssuerContext`], which turns it
//!   into bytes to be signed (the signature may come from far away).
//! - [`ca`]: root and intermediate certificates.
//! - `chain`, `bundle`: [`Chain`], [`TrustBundle`], [`CredentialBundle`] as PEM, both ways.
//! - [`check`]: the structural look at a leaf that was just signed.
//! - [`inspect`]: what certificates say in words, and what is wrong with them.
//! - [`verify`]: path validation by rustls-webpki, and the X509-SVID leaf rules.
//!
//! Times are [`jiff::Timestamp`] in whole seconds, as X.509 has them.

mod asn1;
mod bundle;
pub mod ca;
mod certificate;
mod chain;
pub mod check;
mod csr;
mod extension;
#[cfg(test)]
mod fixtures;
mod hash;
pub mod inspect;
mod issuer;
mod keys;
mod leaf;
mod names;
mod pem;
pub mod verify;

pub use crate::{
    bundle::{BundleError, CredentialBundle, CredentialError, TrustBundle},
    certificate::{Certificate, CertificateError, DistinguishedName, KeyUsages},
    chain::{Chain, ChainError},
    csr::{CertificationRequest, CsrError, empty_csr},
    extension::{
        ExtensionError, ExtensionOid, LeafExtension, OidError, PodIdentity, PodIdentityWithUids,
    },
    hash::sha256,
    issuer::{IssueError, IssuerContext, Serial, TbsCertificate},
    keys::{KeyError, KeyType, PrivateKey, PublicKey, SignatureAlgorithm, UnsupportedKey},
    leaf::{ExtKeyUsages, LeafNames, LeafSpec, SpecError, Validity},
    names::{DnsName, IssuerUrl, NameError, ObjectName, ObjectUid, SpiffeId, TrustDomain},
    pem::PemError,
};
