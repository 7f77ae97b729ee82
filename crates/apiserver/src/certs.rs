//! Certificates, requests and PEM, read as Go's `crypto/x509` and `encoding/pem` read them.
//!
//! Only what the rules of the certificates API look at. Parsed with x509-parser, while the rest of
//! podcert uses x509-cert and rustls-webpki: a mistake would have to be made twice to go unseen.

mod names;
mod pss;

use aws_lc_rs::signature::{self, ParsedPublicKey, UnparsedPublicKey};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use jiff::Timestamp;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::{
    FromDer, GeneralName, ParsedExtension, SubjectPublicKeyInfo, X509Certificate,
};
use x509_parser::public_key::PublicKey;

/// One block of PEM.
#[derive(Debug)]
pub(crate) struct PemBlock {
    pub(crate) label: String,
    pub(crate) headers: Headers,
    pub(crate) der: Vec<u8>,
}

/// Whether a PEM block has headers (`Proc-Type: ...`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Headers {
    None,
    Some,
}

/// The next block and what follows it: `encoding/pem.Decode`, whose leniency decides what the
/// real server takes for a block. Text around blocks is skipped, malformed blocks too.
pub(crate) fn next_pem(data: &str) -> Option<(PemBlock, &str)> {
    let mut rest = data;
    loop {
        // The first END line, and the last BEGIN before it.
        let end = rest.find(PEM_END)?;
        let before = rest.get(..end)?;
        let after_end = rest.get(end + PEM_END.len()..)?;
        let begin = before.rfind(PEM_BEGIN);
        let at_line_start = begin
            .is_some_and(|begin| begin == 0 || before.as_bytes().get(begin - 1) == Some(&b'\n'));
        if let (Some(begin), true) = (begin, at_line_start)
            && let Some(body) = before.get(begin + PEM_BEGIN.len()..)
            && let Some(found) = read_block(body, after_end)
        {
            return Some(found);
        }
        rest = after_end;
    }
}

/// A block whose text between `-----BEGIN ` and `\n-----END ` is `body`.
fn read_block<'a>(body: &str, after_end: &'a str) -> Option<(PemBlock, &'a str)> {
    let (first, mut body) = body.split_once('\n').unwrap_or((body, ""));
    let label = trim_line(first).strip_suffix(DASHES)?;
    let mut headers = Headers::None;
    while let Some((key_line, next)) = body.split_once('\n').or(Some((body, "")))
        && key_line.contains(':')
    {
        headers = Headers::Some;
        body = next;
    }
    let trailer = after_end.strip_prefix(label)?.strip_prefix(DASHES)?;
    let (end_of_line, rest) = trailer.split_once('\n').unwrap_or((trailer, ""));
    if !trim_line(end_of_line).is_empty() {
        return None;
    }
    let base64: Vec<u8> = body
        .bytes()
        .filter(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
        .collect();
    let der = LENIENT_BASE64.decode(base64).ok()?;
    let block = PemBlock {
        label: label.to_owned(),
        headers,
        der,
    };
    Some((block, rest))
}

fn trim_line(line: &str) -> &str {
    line.strip_suffix('\r')
        .unwrap_or(line)
        .trim_end_matches([' ', '\t'])
}

/// Whether Go's `mail.ParseAddress` takes this for an e-mail address.
pub(crate) fn is_mailbox(text: &str) -> bool {
    names::is_mailbox(text)
}

/// Base64 as Go's standard decoder takes it, line breaks and stray bits included; what is none
/// counts as nothing.
pub(crate) fn lenient_base64(text: &str) -> Vec<u8> {
    let text: Vec<u8> = text
        .bytes()
        .filter(|byte| !matches!(byte, b'\r' | b'\n'))
        .collect();
    LENIENT_BASE64.decode(text).unwrap_or_default()
}

/// A public key: what kind, and the bytes that make it this key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Key {
    pub(crate) kind: KeyKind,
    bytes: Vec<u8>,
}

/// Which keys the certificates API tells apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum KeyKind {
    /// A NIST curve, by its name in Go.
    Ecdsa(&'static str),
    Ed25519,
    /// The size of the modulus in bits, in whole bytes.
    Rsa(usize),
    /// Anything else that parses.
    Unknown,
}

impl Key {
    /// `None` for keys that Go's parser refuses.
    fn read(spki: &SubjectPublicKeyInfo<'_>) -> Option<Self> {
        let bytes = spki.subject_public_key.data.to_vec();
        let kind = match spki.algorithm.algorithm.as_bytes() {
            RSA => {
                let Ok(PublicKey::RSA(key)) = spki.parsed() else {
                    return None;
                };
                let leading = key.modulus.iter().take_while(|&&byte| byte == 0).count();
                KeyKind::Rsa((key.modulus.len() - leading) * 8)
            }
            EC => {
                let curve = spki.algorithm.parameters.as_ref()?.as_oid().ok()?;
                let (name, size) = match curve.as_bytes() {
                    P224 => ("P-224", 28),
                    P256 => ("P-256", 32),
                    P384 => ("P-384", 48),
                    P521 => ("P-521", 66),
                    _ => return None,
                };
                // Uncompressed points on their curve are all Go reads.
                if bytes.first() != Some(&4) || bytes.len() != 1 + 2 * size {
                    return None;
                }
                let curve: Option<&'static dyn signature::VerificationAlgorithm> = match name {
                    "P-256" => Some(&signature::ECDSA_P256_SHA256_ASN1),
                    "P-384" => Some(&signature::ECDSA_P384_SHA384_ASN1),
                    "P-521" => Some(&signature::ECDSA_P521_SHA512_ASN1),
                    // aws-lc-rs has no P-224, and nobody else gets far with it.
                    _ => None,
                };
                if let Some(curve) = curve {
                    ParsedPublicKey::new(curve, &bytes).ok()?;
                }
                KeyKind::Ecdsa(name)
            }
            ED25519 if bytes.len() == 32 => KeyKind::Ed25519,
            ED25519 => return None,
            _ => KeyKind::Unknown,
        };
        Some(Self { kind, bytes })
    }
}

impl Key {
    /// Whether `proof` is this key's signature over `message`, as kubelets of 1.35 make it:
    /// Ed25519, ECDSA over SHA-256 whatever the curve, RSA-PSS over SHA-256 with salt of any length.
    pub(crate) fn verifies_proof(&self, message: &[u8], proof: &[u8]) -> bool {
        let algorithm: &dyn signature::VerificationAlgorithm = match self.kind {
            KeyKind::Ed25519 => &signature::ED25519,
            KeyKind::Ecdsa("P-256") => &signature::ECDSA_P256_SHA256_ASN1,
            KeyKind::Ecdsa("P-384") => &signature::ECDSA_P384_SHA256_ASN1,
            KeyKind::Ecdsa("P-521") => &signature::ECDSA_P521_SHA256_ASN1,
            KeyKind::Rsa(_) => return pss::verify(&self.bytes, message, proof),
            _ => return false,
        };
        UnparsedPublicKey::new(algorithm, &self.bytes)
            .verify(message, proof)
            .is_ok()
    }
}

/// A SubjectPublicKeyInfo; `None` if Go's `x509.ParsePKIXPublicKey` would refuse it.
pub(crate) fn read_public_key(der: &[u8]) -> Option<Key> {
    let (rest, spki) = SubjectPublicKeyInfo::from_der(der).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let key = Key::read(&spki)?;
    // Of the keys that are neither RSA, ECDSA nor Ed25519 it knows two kinds, and no others.
    let known =
        key.kind != KeyKind::Unknown || matches!(spki.algorithm.algorithm.as_bytes(), DSA | X25519);
    known.then_some(key)
}

/// What a certificate request shows.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) key: Key,
    pub(crate) signature: SignatureCheck,
}

/// Whether a request is signed by its own key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SignatureCheck {
    Invalid,
    Unchecked,
    Valid,
}

/// How much of a request to look at: the signature costs a verification.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Depth {
    KeyOnly,
    Signature,
}

/// A PKCS#10 request; `None` if it does not parse to its last byte.
pub(crate) fn read_request(der: &[u8], depth: Depth) -> Option<Request> {
    if !is_framed(der) {
        return None;
    }
    let (rest, request) = X509CertificationRequest::from_der(der).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let key = Key::read(&request.certification_request_info.subject_pki)?;
    let signature = match depth {
        Depth::KeyOnly => SignatureCheck::Unchecked,
        Depth::Signature if is_self_signed(&request, &key) => SignatureCheck::Valid,
        Depth::Signature => SignatureCheck::Invalid,
    };
    Some(Request { key, signature })
}

fn is_self_signed(request: &X509CertificationRequest<'_>, key: &Key) -> bool {
    let algorithm = request.signature_algorithm.algorithm.as_bytes();
    let ecdsa: &dyn signature::VerificationAlgorithm = match (key.kind, algorithm) {
        (KeyKind::Ecdsa("P-256"), ECDSA_SHA256) => &signature::ECDSA_P256_SHA256_ASN1,
        (KeyKind::Ecdsa("P-256"), ECDSA_SHA384) => &signature::ECDSA_P256_SHA384_ASN1,
        (KeyKind::Ecdsa("P-384"), ECDSA_SHA256) => &signature::ECDSA_P384_SHA256_ASN1,
        (KeyKind::Ecdsa("P-384"), ECDSA_SHA384) => &signature::ECDSA_P384_SHA384_ASN1,
        (KeyKind::Ecdsa("P-384"), ECDSA_SHA512) => &signature::ECDSA_P384_SHA512_ASN1,
        (KeyKind::Ecdsa("P-521"), ECDSA_SHA256) => &signature::ECDSA_P521_SHA256_ASN1,
        (KeyKind::Ecdsa("P-521"), ECDSA_SHA384) => &signature::ECDSA_P521_SHA384_ASN1,
        (KeyKind::Ecdsa("P-521"), ECDSA_SHA512) => &signature::ECDSA_P521_SHA512_ASN1,
        // x509-parser knows RSA and Ed25519, but not P-521.
        _ => return request.verify_signature().is_ok(),
    };
    UnparsedPublicKey::new(ecdsa, &key.bytes)
        .verify(
            request.certification_request_info.raw,
            &request.signature_value.data,
        )
        .is_ok()
}

/// What the rules look at in a certificate.
#[derive(Debug)]
pub(crate) struct Certificate {
    pub(crate) key: Key,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
    pub(crate) dns_names: Vec<String>,
    pub(crate) emails: Vec<String>,
    pub(crate) authority: Authority,
}

/// Whether a certificate's basic constraints make it a CA.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Authority {
    Ca,
    EndEntity,
}

/// A certificate; `None` if Go's `x509.ParseCertificate` would refuse it.
pub(crate) fn read_certificate(der: &[u8]) -> Option<Certificate> {
    if !is_framed(der) {
        return None;
    }
    let (rest, certificate) = X509Certificate::from_der(der).ok()?;
    let negative_serial = certificate
        .raw_serial()
        .first()
        .is_some_and(|byte| byte & 0x80 != 0);
    let algorithms_agree = certificate.signature_algorithm == certificate.tbs_certificate.signature;
    if !rest.is_empty() || negative_serial || !algorithms_agree {
        return None;
    }
    let key = Key::read(certificate.public_key())?;
    let mut read = Certificate {
        key,
        not_before: instant(certificate.validity().not_before.timestamp())?,
        not_after: instant(certificate.validity().not_after.timestamp())?,
        dns_names: Vec::new(),
        emails: Vec::new(),
        authority: Authority::EndEntity,
    };
    let mut seen = Vec::new();
    for extension in certificate.extensions() {
        if seen.contains(&&extension.oid) {
            return None;
        }
        seen.push(&extension.oid);
        match extension.parsed_extension() {
            ParsedExtension::ParseError { .. } => return None,
            ParsedExtension::BasicConstraints(constraints) if constraints.ca => {
                read.authority = Authority::Ca;
            }
            ParsedExtension::SubjectAlternativeName(names) => {
                for name in &names.general_names {
                    match name {
                        GeneralName::DNSName(name) if name.is_ascii() => {
                            read.dns_names.push((*name).to_owned());
                        }
                        GeneralName::RFC822Name(email) if email.is_ascii() => {
                            read.emails.push((*email).to_owned());
                        }
                        GeneralName::IPAddress(address) if matches!(address.len(), 4 | 16) => {}
                        GeneralName::URI(uri) if uri.is_ascii() && names::is_uri(uri) => {}
                        GeneralName::DNSName(_)
                        | GeneralName::RFC822Name(_)
                        | GeneralName::IPAddress(_)
                        | GeneralName::URI(_)
                        | GeneralName::Invalid(..) => return None,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some(read)
}

/// Whether the frame of a certificate or request has the exact tags of
/// `SEQUENCE { SEQUENCE, SEQUENCE { OBJECT IDENTIFIER ... }, BIT STRING }` and no unused bits. No
/// signature covers it, and x509-parser overlooks bits of it that Go checks.
fn is_framed(der: &[u8]) -> bool {
    let frame = || {
        let (outer, content, rest) = next_element(der)?;
        let (signed, _, content) = next_element(content)?;
        let (algorithm, identifier, content) = next_element(content)?;
        let (object_identifier, _, _) = next_element(identifier)?;
        let (signature, bits, end) = next_element(content)?;
        let tags = [outer, signed, algorithm, object_identifier, signature];
        let whole_bytes = bits.first() == Some(&0);
        let complete = rest.is_empty() && end.is_empty() && whole_bytes;
        Some(complete && tags == [0x30, 0x30, 0x30, 0x06, 0x03])
    };
    frame().unwrap_or(false)
}

/// Tag, content and what follows of a DER element with a length of up to four bytes.
fn next_element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first >= 0x80 {
        let (bytes, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if bytes.len() > 4 {
            return None;
        }
        length = bytes
            .iter()
            .fold(0, |sum, &byte| (sum << 8) | usize::from(byte));
        rest = after;
    }
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

fn instant(seconds: i64) -> Option<Timestamp> {
    Timestamp::from_second(seconds).ok()
}

const PEM_BEGIN: &str = "-----BEGIN ";
const PEM_END: &str = "\n-----END ";
const DASHES: &str = "-----";
// Object identifiers as their bytes: in dotted form x509-parser shows truncated ones like whole ones.
/// 1.2.840.113549.1.1.1
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
/// 1.2.840.10045.2.1
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
/// 1.3.101.112
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
/// 1.3.101.110
const X25519: &[u8] = &[0x2b, 0x65, 0x6e];
/// 1.2.840.10040.4.1
const DSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x38, 4, 1];
/// 1.3.132.0.33
const P224: &[u8] = &[0x2b, 0x81, 4, 0, 33];
/// 1.2.840.10045.3.1.7
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
/// 1.3.132.0.34
const P384: &[u8] = &[0x2b, 0x81, 4, 0, 34];
/// 1.3.132.0.35
const P521: &[u8] = &[0x2b, 0x81, 4, 0, 35];
/// 1.2.840.10045.4.3.2
const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
/// 1.2.840.10045.4.3.3
const ECDSA_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3];
/// 1.2.840.10045.4.3.4
const ECDSA_SHA512: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4];
/// Go ignores stray bits in the last character, but wants the padding.
const LENIENT_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

#[cfg(test)]
mod tests;
