//! Certificates as parsed bytes (RFC 5280 §4.1).
//!
//! Parsing walks the DER once, notes where each field lies and decodes the few that others ask
//! for. The bytes are kept as they came: what is published, compared or copied into an issuer
//! field is always the original. Unknown extensions are no obstacle here; whether a critical one
//! may be ignored is for the verifier to say.

mod name;
mod raw;

use std::{fmt, hash, ops::Range, sync::Arc};

use jiff::Timestamp;

pub use self::name::DistinguishedName;
pub(crate) use self::raw::{
    AltName, DNS_NAME, Known, RawCertificate, URI, alt_names, key_purposes, signed_parts,
};
use crate::{ExtKeyUsages, ExtensionOid, KeyError, PublicKey, Validity, pem, pem::PemError};

/// A certificate. Cheap to clone; equal when the bytes are.
#[derive(Clone)]
pub struct Certificate(Arc<Parsed>);

struct Parsed {
    der: Box<[u8]>,
    issuer: Range<usize>,
    subject: Range<usize>,
    spki: Range<usize>,
    serial: Range<usize>,
    subject_alt_name: Range<usize>,
    extensions: Range<usize>,
    ext_key_usage: Option<Range<usize>>,
    subject_key_id: Option<Range<usize>>,
    authority_key_id: Option<Range<usize>>,
    not_before: Timestamp,
    not_after: Timestamp,
    is_ca: bool,
    path_len: Option<u64>,
    key_usage: Option<KeyUsages>,
    has_uri_name_constraints: bool,
}

impl Certificate {
    /// Reads one DER certificate with nothing after it.
    ///
    /// # Errors
    /// [`CertificateError::Malformed`] and [`CertificateError::DuplicateExtension`].
    pub fn from_der(der: impl Into<Vec<u8>>) -> Result<Self, CertificateError> {
        Self::from_der_with(der.into(), |_| ()).map(|(certificate, ())| certificate)
    }

    /// Reads a certificate and lets `look` see the fields in the same walk.
    pub(crate) fn from_der_with<T>(
        der: Vec<u8>,
        look: impl FnOnce(&RawCertificate<'_>) -> T,
    ) -> Result<(Self, T), CertificateError> {
        let raw = RawCertificate::parse(&der)?;
        let seen = look(&raw);
        let range = |part: &[u8]| range_of(&der, part);
        let parsed = Parsed {
            issuer: range(raw.issuer),
            subject: range(raw.subject),
            spki: range(raw.spki),
            serial: range(raw.serial),
            subject_alt_name: range(raw.subject_alt_name.unwrap_or_default()),
            extensions: range(raw.all_extensions),
            ext_key_usage: raw.ext_key_usage.map(range),
            subject_key_id: raw.subject_key_id.map(range),
            authority_key_id: raw.authority_key_id.map(range),
            not_before: raw.not_before,
            not_after: raw.not_after,
            is_ca: raw.is_ca,
            path_len: raw.path_len,
            key_usage: raw.key_usage,
            has_uri_name_constraints: raw.has_uri_name_constraints(),
            der: der.into_boxed_slice(),
        };
        Ok((Self(Arc::new(parsed)), seen))
    }

    /// Reads every certificate of a PEM text, which may hold nothing but certificates; at least
    /// one.
    ///
    /// # Errors
    /// [`CertificateError::Pem`], or [`CertificateError::InBlock`] for the first bad one.
    pub fn from_pem_many(text: impl AsRef<[u8]>) -> Result<Vec<Self>, CertificateError> {
        let blocks = pem::blocks(text.as_ref())?;
        if blocks.is_empty() {
            return Err(PemError::Empty {
                expected: pem::CERTIFICATE,
            }
            .into());
        }
        blocks.into_iter().map(Self::from_block).collect()
    }

    pub(crate) fn from_block(block: pem::Block) -> Result<Self, CertificateError> {
        let number = block.number;
        Self::from_der(block.certificate()?).map_err(|source| CertificateError::InBlock {
            block: number,
            source: Box::new(source),
        })
    }

    /// The certificate as one PEM block.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let mut text = String::new();
        pem::append(&mut text, pem::CERTIFICATE, self.der());
        text
    }

    /// The exact bytes.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// Whose certificate it is.
    #[must_use]
    pub fn subject(&self) -> DistinguishedName<'_> {
        DistinguishedName::new(self.bytes(&self.0.subject))
    }

    /// Whose key signed it.
    #[must_use]
    pub fn issuer(&self) -> DistinguishedName<'_> {
        DistinguishedName::new(self.bytes(&self.0.issuer))
    }

    /// The first second in which it is valid.
    #[must_use]
    pub fn not_before(&self) -> Timestamp {
        self.0.not_before
    }

    /// The last second in which it is valid.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.0.not_after
    }

    /// Both ends of its validity, or `None` if they are the wrong way round.
    #[must_use]
    pub fn validity(&self) -> Option<Validity> {
        Validity::new(self.0.not_before, self.0.not_after).ok()
    }

    /// The key it certifies.
    ///
    /// # Errors
    /// [`KeyError`] when it is not of a type we know: such a certificate may still be published
    /// as an anchor.
    pub fn public_key(&self) -> Result<PublicKey, KeyError> {
        PublicKey::from_spki_der(self.spki_der())
    }

    /// The SubjectPublicKeyInfo, whatever its type.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        self.bytes(&self.0.spki)
    }

    /// The content octets of the serial number.
    #[must_use]
    pub fn serial(&self) -> &[u8] {
        self.bytes(&self.0.serial)
    }

    /// Whether basicConstraints says that it is a CA.
    #[must_use]
    pub fn is_ca(&self) -> bool {
        self.0.is_ca
    }

    /// How many intermediates may follow it, if limited.
    #[must_use]
    pub fn path_len(&self) -> Option<u64> {
        self.0.path_len
    }

    /// The keyUsage extension, if there.
    #[must_use]
    pub fn key_usage(&self) -> Option<KeyUsages> {
        self.0.key_usage
    }

    /// What of the extKeyUsage extension concerns TLS; `None` if the extension is not there.
    /// `anyExtendedKeyUsage` is not counted, as webpki does not count it.
    #[must_use]
    pub fn ext_key_usages(&self) -> Option<ExtKeyUsages> {
        self.0
            .ext_key_usage
            .as_ref()
            .map(|range| key_purposes(self.bytes(range)))
    }

    /// The subject key identifier, if there.
    #[must_use]
    pub fn subject_key_id(&self) -> Option<&[u8]> {
        self.0
            .subject_key_id
            .as_ref()
            .map(|range| self.bytes(range))
    }

    /// The issuer's key identifier from the authorityKeyIdentifier extension, if there.
    #[must_use]
    pub fn authority_key_id(&self) -> Option<&[u8]> {
        self.0
            .authority_key_id
            .as_ref()
            .map(|range| self.bytes(range))
    }

    /// The DNS names of the subjectAltName extension, as they stand there.
    pub fn dns_names(&self) -> impl Iterator<Item = &str> {
        self.alt_names().filter_map(|name| match name {
            AltName::Dns(name) => Some(name),
            _ => None,
        })
    }

    /// The URIs of the subjectAltName extension, as they stand there.
    pub fn uris(&self) -> impl Iterator<Item = &str> {
        self.alt_names().filter_map(|name| match name {
            AltName::Uri(name) => Some(name),
            _ => None,
        })
    }

    /// Whether it is its own issuer by name. The signature is not checked.
    #[must_use]
    pub fn is_self_issued(&self) -> bool {
        self.subject().der() == self.issuer().der()
    }

    /// Whether `self` may have issued `other`, by name and, where both have one, by key
    /// identifier. The signature is not checked.
    #[must_use]
    pub fn names_issuer_of(&self, other: &Self) -> bool {
        let by_key = match (self.subject_key_id(), other.authority_key_id()) {
            (Some(subject), Some(authority)) => subject == authority,
            _ => true,
        };
        by_key && self.subject().der() == other.issuer().der()
    }

    /// Whether it has name constraints on URIs. rustls-webpki refuses every SPIFFE certificate
    /// under such a CA, even one the constraint allows, so this deserves a warning.
    #[must_use]
    pub fn has_uri_name_constraints(&self) -> bool {
        self.0.has_uri_name_constraints
    }

    /// The value of one extension beside the profile of our leaves (what is inside its OCTET
    /// STRING), if there. An extension is there at most once.
    #[must_use]
    pub fn extension(&self, oid: ExtensionOid) -> Option<&[u8]> {
        raw::extensions(self.bytes(&self.0.extensions))
            .find(|extension| extension.oid == oid.as_bytes())
            .map(|extension| extension.value)
    }

    fn alt_names(&self) -> impl Iterator<Item = AltName<'_>> {
        raw::alt_names(self.bytes(&self.0.subject_alt_name)).filter_map(Result::ok)
    }

    fn bytes(&self, range: &Range<usize>) -> &[u8] {
        self.0.der.get(range.clone()).unwrap_or_default()
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.der() == other.der()
    }
}

impl Eq for Certificate {}

impl hash::Hash for Certificate {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.der().hash(state);
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("subject", &format_args!("{}", self.subject()))
            .field("issuer", &format_args!("{}", self.issuer()))
            .field("not_before", &self.0.not_before)
            .field("not_after", &self.0.not_after)
            .field("is_ca", &self.0.is_ca)
            .field("dns_names", &self.dns_names().collect::<Vec<_>>())
            .field("uris", &self.uris().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// The bits of a keyUsage extension (RFC 5280 §4.2.1.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeyUsages(u16);

impl KeyUsages {
    /// Only digitalSignature: what every leaf of ours has.
    pub const DIGITAL_SIGNATURE: Self = Self(1 << 15);
    /// keyCertSign and cRLSign: what every CA of ours has.
    pub const CA: Self = Self((1 << 10) | (1 << 9));

    /// Takes the bits in the order of the BIT STRING, the first one highest.
    pub(crate) fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// May sign handshakes.
    #[must_use]
    pub fn digital_signature(self) -> bool {
        self.has(0)
    }

    /// May sign certificates.
    #[must_use]
    pub fn key_cert_sign(self) -> bool {
        self.has(5)
    }

    /// May sign revocation lists.
    #[must_use]
    pub fn crl_sign(self) -> bool {
        self.has(6)
    }

    /// The names of the bits that are set, as RFC 5280 has them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        (0..)
            .zip(KEY_USAGE_NAMES)
            .filter(move |(bit, _)| self.has(*bit))
            .map(|(_, name)| name)
    }

    fn has(self, bit: u32) -> bool {
        self.0 & (1 << 15 >> bit) != 0
    }
}

/// RFC 5280 §4.2.1.3, in the order of the bits.
const KEY_USAGE_NAMES: [&str; 9] = [
    "digitalSignature",
    "contentCommitment",
    "keyEncipherment",
    "dataEncipherment",
    "keyAgreement",
    "keyCertSign",
    "cRLSign",
    "encipherOnly",
    "decipherOnly",
];

/// A certificate that cannot be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// An extension is there twice (RFC 5280 §4.2 forbids it).
    #[error("certificate has extension {oid} twice")]
    DuplicateExtension {
        /// The extension's object identifier.
        oid: String,
    },
    /// The certificate in one block of a PEM text is bad.
    #[error("block {block}")]
    InBlock {
        /// Which block, from 1.
        block: usize,
        /// What is wrong with it.
        #[source]
        source: Box<CertificateError>,
    },
    /// Not a DER certificate, or followed by other bytes.
    #[error("malformed certificate")]
    Malformed(#[from] der::Error),
    /// The PEM text around it is not right.
    #[error("certificates are not readable PEM")]
    Pem(#[from] PemError),
}

/// Where `part`, a slice of `whole`, lies in it.
fn range_of(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
    if part.is_empty() {
        0..0
    } else {
        start..start + part.len()
    }
}

#[cfg(test)]
mod tests;
