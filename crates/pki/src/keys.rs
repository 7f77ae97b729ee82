//! Keys: the seven types Kubernetes names, all through aws-lc-rs.
//!
//! A [`PublicKey`] is a SubjectPublicKeyInfo that was parsed and found to be one of them in its
//! one canonical form, so its bytes can be compared and copied into certificates. A
//! [`PrivateKey`] cannot be cloned, printed or serialized by accident; aws-lc wipes its memory.

mod private;
mod public;

use std::{fmt, str::FromStr};

pub use self::{private::PrivateKey, public::PublicKey};

/// A type of key, with the names Kubernetes uses (`keyType` of a podCertificate projection).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum KeyType {
    /// ECDSA on NIST P-256.
    EcdsaP256,
    /// ECDSA on NIST P-384.
    EcdsaP384,
    /// ECDSA on NIST P-521.
    EcdsaP521,
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// RSA with a modulus of 2048 bits. Kubernetes does not offer it to pods; CAs may have it.
    Rsa2048,
    /// RSA with a modulus of 3072 bits.
    Rsa3072,
    /// RSA with a modulus of 4096 bits.
    Rsa4096,
}

impl KeyType {
    /// Every key type, in the order of their names.
    pub const ALL: [Self; 7] = [
        Self::EcdsaP256,
        Self::EcdsaP384,
        Self::EcdsaP521,
        Self::Ed25519,
        Self::Rsa2048,
        Self::Rsa3072,
        Self::Rsa4096,
    ];

    /// The name Kubernetes uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EcdsaP256 => "ECDSAP256",
            Self::EcdsaP384 => "ECDSAP384",
            Self::EcdsaP521 => "ECDSAP521",
            Self::Ed25519 => "ED25519",
            Self::Rsa2048 => "RSA2048",
            Self::Rsa3072 => "RSA3072",
            Self::Rsa4096 => "RSA4096",
        }
    }

    /// The algorithm a CA key of this type signs with.
    #[must_use]
    pub fn signature_algorithm(self) -> SignatureAlgorithm {
        match self {
            Self::EcdsaP256 => SignatureAlgorithm::EcdsaSha256,
            Self::EcdsaP384 => SignatureAlgorithm::EcdsaSha384,
            Self::EcdsaP521 => SignatureAlgorithm::EcdsaSha512,
            Self::Ed25519 => SignatureAlgorithm::Ed25519,
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => SignatureAlgorithm::RsaPkcs1Sha256,
        }
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for KeyType {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let found = Self::ALL
            .into_iter()
            .find(|key_type| key_type.as_str() == text);
        found.ok_or_else(|| KeyError::Name {
            text: text.chars().take(40).collect(),
        })
    }
}

/// How a certificate is signed: the key's algorithm and the digest that goes with it.
///
/// One per kind of key, the same as Go's crypto/x509 picks.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum SignatureAlgorithm {
    /// ecdsa-with-SHA256, for P-256.
    EcdsaSha256,
    /// ecdsa-with-SHA384, for P-384.
    EcdsaSha384,
    /// ecdsa-with-SHA512, for P-521.
    EcdsaSha512,
    /// Ed25519 (RFC 8410).
    Ed25519,
    /// sha256WithRSAEncryption (PKCS #1 v1.5).
    RsaPkcs1Sha256,
}

impl SignatureAlgorithm {
    /// The AlgorithmIdentifier as DER (RFC 5758 §3.2, RFC 8410 §3, RFC 4055 §5).
    #[must_use]
    pub fn identifier_der(self) -> &'static [u8] {
        match self {
            Self::EcdsaSha256 => b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02",
            Self::EcdsaSha384 => b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03",
            Self::EcdsaSha512 => b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x04",
            Self::Ed25519 => b"\x30\x05\x06\x03\x2b\x65\x70",
            Self::RsaPkcs1Sha256 => b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00",
        }
    }

    /// The name in words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EcdsaSha256 => "ECDSA with SHA-256",
            Self::EcdsaSha384 => "ECDSA with SHA-384",
            Self::EcdsaSha512 => "ECDSA with SHA-512",
            Self::Ed25519 => "Ed25519",
            Self::RsaPkcs1Sha256 => "RSA PKCS #1 v1.5 with SHA-256",
        }
    }
}

impl fmt::Display for SignatureAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A key that could not be read, made or used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// aws-lc could not generate a key.
    #[error("generating a key of type {0} failed")]
    Generate(KeyType),
    /// The structure around the key is not DER of the expected kind.
    #[error("malformed {what}")]
    Malformed {
        /// Which structure: `SubjectPublicKeyInfo` or `PKCS#8 private key`.
        what: &'static str,
        /// Where decoding stopped.
        #[source]
        source: der::Error,
    },
    /// The bytes say they are a public key of this type but are not one: a point that is not on
    /// the curve or not in uncompressed form, a modulus that is even.
    #[error("malformed public key: not a valid key of type {0}")]
    MalformedPublicKey(KeyType),
    /// The text is not the name of a key type.
    #[error(
        "unknown key type {text:?}: expected ECDSAP256, ECDSAP384, ECDSAP521, ED25519, RSA2048, \
         RSA3072 or RSA4096"
    )]
    Name {
        /// The text, cut short.
        text: String,
    },
    /// The PEM text around the private key is not right.
    #[error("private key is not readable PEM")]
    Pem(#[from] crate::PemError),
    /// aws-lc refused the private key, for instance because its halves do not match.
    #[error("private key rejected: {reason}")]
    Rejected {
        /// aws-lc's word for it; never holds key material.
        reason: &'static str,
    },
    /// aws-lc could not sign.
    #[error("signing with {0} failed")]
    Sign(SignatureAlgorithm),
    /// A well-formed key of a type we do not sign for or with.
    #[error("unsupported key: {0}")]
    Unsupported(UnsupportedKey),
}

/// Why a well-formed key is not one of ours.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum UnsupportedKey {
    /// Neither RSA, ECDSA nor Ed25519.
    #[error("algorithm {oid}, expected RSA, ECDSA or Ed25519")]
    Algorithm {
        /// The algorithm's object identifier.
        oid: String,
    },
    /// An elliptic curve other than the three.
    #[error("curve {oid}, expected P-256, P-384 or P-521")]
    Curve {
        /// The curve's object identifier, or what stands in its place.
        oid: String,
    },
    /// RSA with another modulus size.
    #[error("RSA modulus of {bits} bits, expected 2048, 3072 or 4096")]
    RsaModulus {
        /// The modulus size found.
        bits: usize,
    },
}

#[cfg(test)]
mod tests;
