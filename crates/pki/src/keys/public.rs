//! Public keys as SubjectPublicKeyInfo (RFC 5280 §4.1.2.7, RFC 5480, RFC 8410).

use std::{fmt, ops::Range, sync::Arc};

use aws_lc_rs::{digest, signature};
use const_oid::{
    ObjectIdentifier,
    db::{rfc5912, rfc8410},
};
use der::Tag;

use super::{KeyError, KeyType, UnsupportedKey};
use crate::asn1::{self, Fields};

/// A public key of one of the supported types, as its exact SubjectPublicKeyInfo.
///
/// Two keys are equal when their bytes are: only canonical encodings parse. Cheap to clone.
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct PublicKey {
    key_type: KeyType,
    spki: Arc<[u8]>,
    /// Where in `spki` the content of the BIT STRING lies.
    key: Range<usize>,
}

impl PublicKey {
    /// Reads a DER SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// [`KeyError::Unsupported`] for a key of another kind, [`KeyError::Malformed`] for what is
    /// no SubjectPublicKeyInfo or has bytes after it, [`KeyError::MalformedPublicKey`] for one
    /// whose key is not a key (a point off its curve).
    pub fn from_spki_der(der: &[u8]) -> Result<Self, KeyError> {
        let (key_type, key) = parse_spki(der)?;
        validate(key_type, key)?;
        // `key` is the last field, so it ends where the whole ends.
        let key = der.len() - key.len()..der.len();
        Ok(Self {
            key_type,
            spki: der.into(),
            key,
        })
    }

    /// The SubjectPublicKeyInfo.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// What kind of key it is.
    #[must_use]
    pub fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// The key identifier (RFC 7093 §2 method 1): the leftmost 160 bits of the SHA-256 hash of
    /// the key's bits. Go's crypto/x509 makes the same one.
    #[must_use]
    pub fn key_id(&self) -> [u8; 20] {
        let hash = digest::digest(&digest::SHA256, self.key_bytes());
        let mut id = [0; 20];
        for (to, from) in id.iter_mut().zip(hash.as_ref()) {
            *to = *from;
        }
        id
    }

    /// The content of the BIT STRING: point, RSAPublicKey or Ed25519 key.
    pub(crate) fn key_bytes(&self) -> &[u8] {
        self.spki.get(self.key.clone()).unwrap_or_default()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({}, ", self.key_type)?;
        for byte in self.key_id() {
            write!(f, "{byte:02x}")?;
        }
        f.write_str(")")
    }
}

/// The SubjectPublicKeyInfo of an Ed25519 key, of which aws-lc gives only the 32 bytes.
pub(super) fn ed25519_spki(key: &[u8]) -> Vec<u8> {
    [
        b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00".as_slice(),
        key,
    ]
    .concat()
}

/// What an AlgorithmIdentifier of a key says, before the key itself is looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Algorithm {
    Ecdsa(KeyType),
    Ed25519,
    Rsa,
}

impl Algorithm {
    /// Reads the fields of an AlgorithmIdentifier; `what` names the structure it is part of.
    pub(super) fn read(mut fields: Fields<'_>, what: &'static str) -> Result<Self, KeyError> {
        let malformed = |source| KeyError::Malformed { what, source };
        let oid = fields.value(Tag::ObjectIdentifier).map_err(malformed)?;
        let algorithm = if oid == rfc5912::ID_EC_PUBLIC_KEY.as_bytes() {
            Self::Ecdsa(read_curve(&mut fields).map_err(malformed)??)
        } else if oid == rfc8410::ID_ED_25519.as_bytes() {
            Self::Ed25519
        } else if oid == rfc5912::RSA_ENCRYPTION.as_bytes() {
            let null = fields.value(Tag::Null).map_err(malformed)?;
            if !null.is_empty() {
                return Err(malformed(Tag::Null.length_error().into()));
            }
            Self::Rsa
        } else {
            let oid = oid_text(oid);
            return Err(KeyError::Unsupported(UnsupportedKey::Algorithm { oid }));
        };
        fields.finish().map_err(malformed)?;
        Ok(algorithm)
    }
}

fn parse_spki(der: &[u8]) -> Result<(KeyType, &[u8]), KeyError> {
    let malformed = |source| KeyError::Malformed { what: SPKI, source };
    let mut fields = Fields::of_sequence(der).map_err(malformed)?;
    let algorithm = fields.nested(Tag::Sequence).map_err(malformed)?;
    let key = fields.bit_string().map_err(malformed)?;
    fields.finish().map_err(malformed)?;
    let key_type = match Algorithm::read(algorithm, SPKI)? {
        Algorithm::Ecdsa(key_type) => key_type,
        Algorithm::Ed25519 => KeyType::Ed25519,
        Algorithm::Rsa => match modulus_bits(key).map_err(malformed)? {
            2048 => KeyType::Rsa2048,
            3072 => KeyType::Rsa3072,
            4096 => KeyType::Rsa4096,
            bits => return Err(KeyError::Unsupported(UnsupportedKey::RsaModulus { bits })),
        },
    };
    Ok((key_type, key))
}

/// Outer error: not DER. Inner error: DER, but not one of our curves.
fn read_curve(fields: &mut Fields<'_>) -> der::Result<Result<KeyType, KeyError>> {
    let (tag, value) = fields.any()?;
    let unsupported = |oid| KeyError::Unsupported(UnsupportedKey::Curve { oid });
    if tag != Tag::ObjectIdentifier {
        return Ok(Err(unsupported("given by explicit parameters".to_owned())));
    }
    let curves = [
        (rfc5912::SECP_256_R_1, KeyType::EcdsaP256),
        (rfc5912::SECP_384_R_1, KeyType::EcdsaP384),
        (rfc5912::SECP_521_R_1, KeyType::EcdsaP521),
    ];
    let known = curves.into_iter().find(|(oid, _)| oid.as_bytes() == value);
    Ok(known
        .map(|(_, key_type)| key_type)
        .ok_or_else(|| unsupported(oid_text(value))))
}

/// The size of the modulus of an RSAPublicKey (RFC 8017 §A.1.1) in its canonical form.
fn modulus_bits(key: &[u8]) -> der::Result<usize> {
    let mut fields = Fields::of_sequence(key)?;
    let modulus = positive(fields.value(Tag::Integer)?)?;
    positive(fields.value(Tag::Integer)?)?;
    fields.finish()?;
    let leading = modulus
        .first()
        .map_or(0, |first| first.leading_zeros() as usize);
    Ok(modulus.len() * 8 - leading)
}

/// The magnitude of a DER INTEGER that must be positive and encoded in the fewest bytes.
fn positive(integer: &[u8]) -> der::Result<&[u8]> {
    match integer {
        [0, rest @ ..] if rest.first().is_some_and(|first| *first >= 0x80) => Ok(rest),
        [1..=0x7f, ..] => Ok(integer),
        _ => Err(asn1::invalid(Tag::Integer)),
    }
}

/// Has aws-lc look at the key: is the point on the curve, is the RSA key one.
fn validate(key_type: KeyType, key: &[u8]) -> Result<(), KeyError> {
    let malformed = KeyError::MalformedPublicKey(key_type);
    let algorithm: &'static dyn signature::VerificationAlgorithm = match key_type {
        // Any 32 bytes are taken as an Ed25519 public key; verifying is what finds a bad one.
        KeyType::Ed25519 if key.len() == signature::ED25519_PUBLIC_KEY_LEN => return Ok(()),
        KeyType::Ed25519 => return Err(malformed),
        KeyType::EcdsaP256 => &signature::ECDSA_P256_SHA256_ASN1,
        KeyType::EcdsaP384 => &signature::ECDSA_P384_SHA384_ASN1,
        KeyType::EcdsaP521 => &signature::ECDSA_P521_SHA512_ASN1,
        KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096 => {
            &signature::RSA_PKCS1_2048_8192_SHA256
        }
    };
    let is_point = matches!(
        key_type,
        KeyType::EcdsaP256 | KeyType::EcdsaP384 | KeyType::EcdsaP521
    );
    // RFC 5480 §2.2 allows compressed points; Go, and so Kubernetes, does not read them.
    if is_point && key.first() != Some(&UNCOMPRESSED) {
        return Err(malformed);
    }
    match signature::ParsedPublicKey::new(algorithm, key) {
        Ok(_) => Ok(()),
        Err(_) => Err(malformed),
    }
}

fn oid_text(value: &[u8]) -> String {
    ObjectIdentifier::from_bytes(value)
        .map_or_else(|_| "unreadable".to_owned(), |oid| oid.to_string())
}

const SPKI: &str = "SubjectPublicKeyInfo";
/// SEC 1 §2.3.3: the first byte of an uncompressed point.
const UNCOMPRESSED: u8 = 4;
