//! PKCS #10 certification requests (RFC 2986), of which only the key counts.
//!
//! The API server accepts requests with any subject and any requested extensions, and nobody
//! vouches for those; so this type does not even keep them. The API server has also checked the
//! request's own signature; [`CertificationRequest::verify`] is for whoever has no API server
//! in front.

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use const_oid::{
    ObjectIdentifier,
    db::{rfc5912, rfc8410},
};
use der::Tag;

use crate::{
    KeyError, KeyType, PrivateKey, PublicKey,
    asn1::{self, Fields},
};

/// A certification request: a public key and its holder's signature.
#[derive(Clone, Debug)]
pub struct CertificationRequest {
    public_key: PublicKey,
    /// The CertificationRequestInfo, which is what was signed.
    info: Vec<u8>,
    algorithm: Vec<u8>,
    signature: Vec<u8>,
}

impl CertificationRequest {
    /// Reads a DER request. Bytes after it are refused, as the API server does.
    ///
    /// # Errors
    /// [`CsrError::Malformed`], or [`CsrError::Key`] when the request is sound but its key is
    /// not one we issue for.
    pub fn from_der(der: &[u8]) -> Result<Self, CsrError> {
        let mut request = Fields::of_sequence(der)?;
        let info = request.tlv(Tag::Sequence)?;
        let algorithm = request.tlv(Tag::Sequence)?;
        let signature = request.bit_string()?;
        request.finish()?;

        let mut fields = Fields::of_sequence(info)?;
        if fields.value(Tag::Integer)? != VERSION_1 {
            return Err(asn1::invalid(Tag::Integer).into());
        }
        fields.value(Tag::Sequence)?;
        let spki = fields.tlv(Tag::Sequence)?;
        // RFC 2986 has the attributes mandatory; some writers leave out an empty set.
        fields.optional(asn1::constructed(0))?;
        fields.finish()?;
        Ok(Self {
            public_key: PublicKey::from_spki_der(spki)?,
            info: info.to_vec(),
            algorithm: algorithm.to_vec(),
            signature: signature.to_vec(),
        })
    }

    /// The key a certificate is asked for.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// Checks that whoever made the request holds the key (proof of possession).
    ///
    /// # Errors
    /// [`CsrError::Signature`] when the signature is not the key's,
    /// [`CsrError::UnsupportedSignature`] when it is made in a way we do not check.
    pub fn verify(&self) -> Result<(), CsrError> {
        let algorithm = self.verification_algorithm()?;
        UnparsedPublicKey::new(algorithm, self.public_key.key_bytes())
            .verify(&self.info, &self.signature)
            .map_err(|_| CsrError::Signature)
    }

    fn verification_algorithm(&self) -> Result<&'static dyn VerificationAlgorithm, CsrError> {
        let mut fields = Fields::of_sequence(&self.algorithm)?;
        let oid = fields.value(Tag::ObjectIdentifier)?;
        let oid =
            ObjectIdentifier::from_bytes(oid).map_err(|_| asn1::invalid(Tag::ObjectIdentifier))?;
        // Parameters are absent or NULL for all of these.
        fields.optional(Tag::Null)?;
        fields.finish()?;
        let key_type = self.public_key.key_type();
        let found = VERIFICATION
            .iter()
            .find(|(of, with, _)| *with == oid && of.contains(&key_type));
        match found {
            Some((_, _, algorithm)) => Ok(*algorithm),
            None => Err(CsrError::UnsupportedSignature {
                oid: oid.to_string(),
                key_type,
            }),
        }
    }
}

/// Makes the request a kubelet makes: no subject, no attributes, signed by `key`.
///
/// # Errors
/// [`CsrError::Key`] when signing fails.
pub fn empty_csr(key: &PrivateKey) -> Result<Vec<u8>, CsrError> {
    let spki = key.public_key().spki_der();
    let version = asn1::tlv(Tag::Integer, &[VERSION_1])?;
    let no_subject = asn1::sequence(&[])?;
    let no_attributes = asn1::tlv(asn1::constructed(0), &[])?;
    let info = asn1::sequence(&[&version, &no_subject, spki, &no_attributes])?;
    let signature = asn1::bit_string(&key.sign(&info)?)?;
    Ok(asn1::sequence(&[
        &info,
        key.signature_algorithm().identifier_der(),
        &signature,
    ])?)
}

/// A certification request that cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CsrError {
    /// Its key cannot be used (or, for [`empty_csr`], cannot sign).
    #[error("certification request with an unusable key")]
    Key(#[from] KeyError),
    /// Not a DER CertificationRequest, or followed by other bytes.
    #[error("malformed certification request")]
    Malformed(#[from] der::Error),
    /// Its signature was not made with its key.
    #[error("certification request whose signature is not its key's")]
    Signature,
    /// It is signed in a way we do not check, or that its key cannot sign.
    #[error("certification request signed with algorithm {oid}, unsupported for {key_type}")]
    UnsupportedSignature {
        /// The signature algorithm's object identifier.
        oid: String,
        /// The type of the request's key.
        key_type: KeyType,
    },
}

type Verification = (
    &'static [KeyType],
    ObjectIdentifier,
    &'static dyn VerificationAlgorithm,
);

const RSA: &[KeyType] = &[KeyType::Rsa2048, KeyType::Rsa3072, KeyType::Rsa4096];
const P256: &[KeyType] = &[KeyType::EcdsaP256];
const P384: &[KeyType] = &[KeyType::EcdsaP384];
const P521: &[KeyType] = &[KeyType::EcdsaP521];

/// Which keys may have signed with which algorithm, and what checks it.
static VERIFICATION: &[Verification] = &[
    (
        P256,
        rfc5912::ECDSA_WITH_SHA_256,
        &signature::ECDSA_P256_SHA256_ASN1,
    ),
    (
        P256,
        rfc5912::ECDSA_WITH_SHA_384,
        &signature::ECDSA_P256_SHA384_ASN1,
    ),
    (
        P256,
        rfc5912::ECDSA_WITH_SHA_512,
        &signature::ECDSA_P256_SHA512_ASN1,
    ),
    (
        P384,
        rfc5912::ECDSA_WITH_SHA_256,
        &signature::ECDSA_P384_SHA256_ASN1,
    ),
    (
        P384,
        rfc5912::ECDSA_WITH_SHA_384,
        &signature::ECDSA_P384_SHA384_ASN1,
    ),
    (
        P384,
        rfc5912::ECDSA_WITH_SHA_512,
        &signature::ECDSA_P384_SHA512_ASN1,
    ),
    (
        P521,
        rfc5912::ECDSA_WITH_SHA_256,
        &signature::ECDSA_P521_SHA256_ASN1,
    ),
    (
        P521,
        rfc5912::ECDSA_WITH_SHA_384,
        &signature::ECDSA_P521_SHA384_ASN1,
    ),
    (
        P521,
        rfc5912::ECDSA_WITH_SHA_512,
        &signature::ECDSA_P521_SHA512_ASN1,
    ),
    (
        &[KeyType::Ed25519],
        rfc8410::ID_ED_25519,
        &signature::ED25519,
    ),
    (
        RSA,
        rfc5912::SHA_256_WITH_RSA_ENCRYPTION,
        &signature::RSA_PKCS1_2048_8192_SHA256,
    ),
    (
        RSA,
        rfc5912::SHA_384_WITH_RSA_ENCRYPTION,
        &signature::RSA_PKCS1_2048_8192_SHA384,
    ),
    (
        RSA,
        rfc5912::SHA_512_WITH_RSA_ENCRYPTION,
        &signature::RSA_PKCS1_2048_8192_SHA512,
    ),
];

const VERSION_1: &[u8] = &[0];

#[cfg(test)]
mod tests;
