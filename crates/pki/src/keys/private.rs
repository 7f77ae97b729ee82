//! Private keys as PKCS #8 (RFC 5958), held by aws-lc.

use std::fmt;

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    error::{KeyRejected, Unspecified},
    rand::SystemRandom,
    rsa::KeySize,
    signature::{self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RsaKeyPair},
};
use der::Tag;
use zeroize::Zeroizing;

use super::{
    KeyError, KeyType, PublicKey, SignatureAlgorithm,
    public::{Algorithm, ed25519_spki},
};
use crate::{asn1::Fields, pem};

/// A private key. Not `Clone`, and its `Debug` shows only the public half.
pub struct PrivateKey {
    pair: Pair,
    public: PublicKey,
}

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl PrivateKey {
    /// Makes a new key. RSA takes from tens of milliseconds to seconds.
    ///
    /// # Errors
    /// [`KeyError::Generate`] when aws-lc cannot.
    pub fn generate(key_type: KeyType) -> Result<Self, KeyError> {
        let failed = |_| KeyError::Generate(key_type);
        let pair = match key_type {
            KeyType::EcdsaP256 | KeyType::EcdsaP384 | KeyType::EcdsaP521 => {
                Pair::Ecdsa(EcdsaKeyPair::generate(ecdsa(key_type)).map_err(failed)?)
            }
            KeyType::Ed25519 => Pair::Ed25519(Ed25519KeyPair::generate().map_err(failed)?),
            KeyType::Rsa2048 => Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?),
            KeyType::Rsa3072 => Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa3072).map_err(failed)?),
            KeyType::Rsa4096 => Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa4096).map_err(failed)?),
        };
        Self::from_pair(pair)
    }

    /// Reads an unencrypted PKCS #8 key, as Go's `x509.MarshalPKCS8PrivateKey` and
    /// `openssl genpkey` write it.
    ///
    /// # Errors
    /// [`KeyError::Malformed`], [`KeyError::Unsupported`], or [`KeyError::Rejected`] when the
    /// key itself is no good. None of them holds key material.
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, KeyError> {
        let rejected = |reason: KeyRejected| KeyError::Rejected {
            reason: description(&reason),
        };
        let pair = match pkcs8_algorithm(der)? {
            Algorithm::Ecdsa(key_type) => {
                Pair::Ecdsa(EcdsaKeyPair::from_pkcs8(ecdsa(key_type), der).map_err(rejected)?)
            }
            Algorithm::Ed25519 => Pair::Ed25519(Ed25519KeyPair::from_pkcs8(der).map_err(rejected)?),
            Algorithm::Rsa => Pair::Rsa(RsaKeyPair::from_pkcs8(der).map_err(rejected)?),
        };
        Self::from_pair(pair)
    }

    /// Reads the one `PRIVATE KEY` block of a PEM text.
    ///
    /// # Errors
    /// [`KeyError::Pem`] when there is not exactly one such block, and what
    /// [`Self::from_pkcs8_der`] says of its content.
    pub fn from_pkcs8_pem(text: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        let mut blocks = pem::blocks(text.as_ref())?.into_iter();
        let block = blocks.next().ok_or(crate::PemError::Empty {
            expected: pem::PRIVATE_KEY,
        })?;
        let der = block.expect(pem::PRIVATE_KEY)?;
        if let Some(extra) = blocks.next() {
            return Err(extra.unexpected("nothing more").into());
        }
        Self::from_pkcs8_der(&der)
    }

    /// The key as PKCS #8 (version 1, which every reader takes).
    ///
    /// # Errors
    /// [`KeyError::Rejected`] should aws-lc be unable to write it.
    pub fn to_pkcs8_der(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let document = match &self.pair {
            Pair::Ecdsa(pair) => pair.to_pkcs8v1(),
            Pair::Ed25519(pair) => pair.to_pkcs8v1(),
            Pair::Rsa(pair) => {
                let der = AsDer::<Pkcs8V1Der<'_>>::as_der(pair);
                return der
                    .map(|der| Zeroizing::new(der.as_ref().to_vec()))
                    .map_err(|_| UNWRITABLE);
            }
        };
        document
            .map(|der| Zeroizing::new(der.as_ref().to_vec()))
            .map_err(|_| UNWRITABLE)
    }

    /// The key as one PEM `PRIVATE KEY` block.
    ///
    /// # Errors
    /// As [`Self::to_pkcs8_der`].
    pub fn to_pkcs8_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        let mut text = Zeroizing::new(String::new());
        pem::append(&mut text, pem::PRIVATE_KEY, &self.to_pkcs8_der()?);
        Ok(text)
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// What [`Self::sign`] makes.
    #[must_use]
    pub fn signature_algorithm(&self) -> SignatureAlgorithm {
        self.public.key_type().signature_algorithm()
    }

    /// Signs `message` (not a digest of it) with [`Self::signature_algorithm`].
    ///
    /// # Errors
    /// [`KeyError::Sign`] when aws-lc fails, which it has no reason to.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let failed = |_| KeyError::Sign(self.signature_algorithm());
        // aws-lc takes its own randomness; the argument is there for compatibility with ring.
        let unused = SystemRandom::new();
        match &self.pair {
            Pair::Ecdsa(pair) => pair
                .sign(&unused, message)
                .map(|s| s.as_ref().to_vec())
                .map_err(failed),
            Pair::Ed25519(pair) => pair
                .try_sign(message)
                .map(|s| s.as_ref().to_vec())
                .map_err(failed),
            Pair::Rsa(pair) => {
                let mut out = vec![0; pair.public_modulus_len()];
                pair.sign(&signature::RSA_PKCS1_SHA256, &unused, message, &mut out)
                    .map_err(failed)?;
                Ok(out)
            }
        }
    }

    fn from_pair(pair: Pair) -> Result<Self, KeyError> {
        let spki = match &pair {
            Pair::Ecdsa(pair) => spki_of(pair.public_key()),
            Pair::Ed25519(pair) => Ok(ed25519_spki(pair.public_key().as_ref())),
            Pair::Rsa(pair) => spki_of(pair.public_key()),
        };
        let public = PublicKey::from_spki_der(&spki.map_err(|_| UNWRITABLE)?)?;
        Ok(Self { pair, public })
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({}, <redacted>)", self.public.key_type())
    }
}

/// Reads the head of a PKCS #8 key, so that a key we do not take gets its own error.
fn pkcs8_algorithm(der: &[u8]) -> Result<Algorithm, KeyError> {
    let malformed = |source| KeyError::Malformed {
        what: PKCS8,
        source,
    };
    let mut fields = Fields::of_sequence(der).map_err(malformed)?;
    fields.value(Tag::Integer).map_err(malformed)?;
    let algorithm = fields.nested(Tag::Sequence).map_err(malformed)?;
    let algorithm = Algorithm::read(algorithm, PKCS8)?;
    fields.value(Tag::OctetString).map_err(malformed)?;
    Ok(algorithm)
}

fn spki_of(key: &impl AsDer<PublicKeyX509Der<'static>>) -> Result<Vec<u8>, Unspecified> {
    key.as_der().map(|der| der.as_ref().to_vec())
}

fn ecdsa(key_type: KeyType) -> &'static EcdsaSigningAlgorithm {
    match key_type {
        KeyType::EcdsaP384 => &signature::ECDSA_P384_SHA384_ASN1_SIGNING,
        KeyType::EcdsaP521 => &signature::ECDSA_P521_SHA512_ASN1_SIGNING,
        _ => &signature::ECDSA_P256_SHA256_ASN1_SIGNING,
    }
}

/// aws-lc's reasons are a closed set of short words (`InvalidEncoding`, ...).
fn description(reason: &KeyRejected) -> &'static str {
    reason.description_()
}

const PKCS8: &str = "PKCS#8 private key";
const UNWRITABLE: KeyError = KeyError::Rejected {
    reason: "it cannot be encoded",
};
