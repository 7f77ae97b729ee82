//! What a leaf certificate shall say, as issuance decides it.
//!
//! A [`LeafSpec`] exists only if a certificate can be made of it that verifiers take: it names
//! somebody, for some purpose, for some time. How it becomes bytes is in `issuer`.

use jiff::Timestamp;

use crate::{DnsName, ExtensionOid, LeafExtension, PublicKey, SpiffeId};

/// What a leaf certificate shall say. Made by issuance, signed by an authority.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LeafSpec {
    public_key: PublicKey,
    names: LeafNames,
    ext_key_usages: ExtKeyUsages,
    validity: Validity,
    extensions: Vec<LeafExtension>,
}

impl LeafSpec {
    /// Puts the parts together.
    ///
    /// # Errors
    /// [`SpecError`] when there is no name or no purpose, or when a SPIFFE leaf breaks the
    /// X509-SVID rules (an ID without path, or not both purposes).
    pub fn new(
        public_key: PublicKey,
        names: LeafNames,
        ext_key_usages: ExtKeyUsages,
        validity: Validity,
    ) -> Result<Self, SpecError> {
        match &names {
            LeafNames::Dns(names) if names.is_empty() => return Err(SpecError::NoName),
            LeafNames::Dns(_) => {}
            LeafNames::Spiffe(id) if id.path().is_empty() => {
                return Err(SpecError::SpiffeIdWithoutPath(id.clone()));
            }
            LeafNames::Spiffe(_) if ext_key_usages != ExtKeyUsages::SERVER_AND_CLIENT => {
                return Err(SpecError::SpiffeUsages);
            }
            LeafNames::Spiffe(_) => {}
        }
        if !ext_key_usages.server_auth && !ext_key_usages.client_auth {
            return Err(SpecError::NoUsage);
        }
        Ok(Self {
            public_key,
            names,
            ext_key_usages,
            validity,
            extensions: Vec::new(),
        })
    }

    /// The same with these extensions after those of the profile, in this order.
    ///
    /// # Errors
    /// [`SpecError::ExtensionTwice`] when two stand under one OID (RFC 5280 §4.2).
    pub fn with_extensions(self, extensions: Vec<LeafExtension>) -> Result<Self, SpecError> {
        let mut rest = extensions.as_slice();
        while let [first, others @ ..] = rest {
            if others.iter().any(|other| other.oid() == first.oid()) {
                return Err(SpecError::ExtensionTwice { oid: first.oid() });
            }
            rest = others;
        }
        Ok(Self { extensions, ..self })
    }

    /// The key to certify.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The names to certify it for.
    #[must_use]
    pub fn names(&self) -> &LeafNames {
        &self.names
    }

    /// What it may be used for.
    #[must_use]
    pub fn ext_key_usages(&self) -> ExtKeyUsages {
        self.ext_key_usages
    }

    /// From when to when.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// What it says beside the profile; nothing unless an operator asked for it.
    #[must_use]
    pub fn extensions(&self) -> &[LeafExtension] {
        &self.extensions
    }
}

/// Whom a leaf names. The two kinds are never mixed in one certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LeafNames {
    /// The DNS names of a server, in the order they shall stand in; at least one.
    Dns(Vec<DnsName>),
    /// The one identity of an X509-SVID.
    Spiffe(SpiffeId),
}

/// The TLS purposes of a leaf (extKeyUsage, RFC 5280 §4.2.1.12).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ExtKeyUsages {
    /// id-kp-serverAuth.
    pub server_auth: bool,
    /// id-kp-clientAuth.
    pub client_auth: bool,
}

impl ExtKeyUsages {
    /// serverAuth alone.
    pub const SERVER: Self = Self {
        server_auth: true,
        client_auth: false,
    };
    /// clientAuth alone.
    pub const CLIENT: Self = Self {
        server_auth: false,
        client_auth: true,
    };
    /// Both, as X509-SVIDs have it.
    pub const SERVER_AND_CLIENT: Self = Self {
        server_auth: true,
        client_auth: true,
    };
}

/// From when to when a certificate is valid, both ends included, in whole seconds.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Validity {
    not_before: Timestamp,
    not_after: Timestamp,
}

impl Validity {
    /// Cuts both times down to the second, as certificates have them.
    ///
    /// # Errors
    /// [`SpecError::Validity`] unless `not_before` is before `not_after`, both from 1970 on.
    pub fn new(not_before: Timestamp, not_after: Timestamp) -> Result<Self, SpecError> {
        let whole = |at: Timestamp| Timestamp::from_second(at.as_second()).ok();
        match (whole(not_before), whole(not_after)) {
            (Some(from), Some(to)) if Timestamp::UNIX_EPOCH <= from && from < to => Ok(Self {
                not_before: from,
                not_after: to,
            }),
            _ => Err(SpecError::Validity {
                not_before,
                not_after,
            }),
        }
    }

    /// The first second.
    #[must_use]
    pub fn not_before(self) -> Timestamp {
        self.not_before
    }

    /// The last second.
    #[must_use]
    pub fn not_after(self) -> Timestamp {
        self.not_after
    }

    /// Whether `at` lies inside.
    #[must_use]
    pub fn contains(self, at: Timestamp) -> bool {
        self.not_before.as_second() <= at.as_second()
            && at.as_second() <= self.not_after.as_second()
    }
}

/// A [`LeafSpec`] that makes no sense.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// Two extensions under one OID.
    #[error("leaf with the extension {oid} twice")]
    ExtensionTwice {
        /// The OID.
        oid: ExtensionOid,
    },
    /// A leaf without a name would identify nobody (RFC 5280 §4.1.2.6 forbids it).
    #[error("leaf without any name")]
    NoName,
    /// Neither server nor client.
    #[error("leaf for neither server nor client authentication")]
    NoUsage,
    /// X509-SVID §2: the ID of a leaf has a path.
    #[error("leaf with the SPIFFE ID {0}, which has no path")]
    SpiffeIdWithoutPath(SpiffeId),
    /// X509-SVID §4.4: both purposes.
    #[error("leaf with a SPIFFE ID but not for both server and client authentication")]
    SpiffeUsages,
    /// The times are the wrong way round, equal or before 1970.
    #[error("validity from {not_before} to {not_after} is not a span of time from 1970 on")]
    Validity {
        /// The start.
        not_before: Timestamp,
        /// The end.
        not_after: Timestamp,
    },
}

#[cfg(test)]
mod tests;
