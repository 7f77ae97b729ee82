//! One walk over the DER of a certificate, without copying.
//!
//! Shared by [`super::Certificate`] and by the check of a leaf that was just signed; the latter
//! must not trust what the encoder believed it wrote, so this reads from nothing but the bytes.

use std::collections::BTreeSet;

use const_oid::{
    AssociatedOid, ObjectIdentifier,
    db::rfc5280::{ID_KP_CLIENT_AUTH, ID_KP_SERVER_AUTH},
};
use der::Tag;
use jiff::Timestamp;
use x509_cert::ext::pkix;

use super::{CertificateError, KeyUsages};
use crate::{
    ExtKeyUsages,
    asn1::{self, Fields, constructed, primitive},
};

/// The fields of a certificate, as slices of it.
#[derive(Debug)]
pub(crate) struct RawCertificate<'a> {
    pub(crate) serial: &'a [u8],
    pub(crate) issuer: &'a [u8],
    pub(crate) subject: &'a [u8],
    pub(crate) spki: &'a [u8],
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
    pub(crate) is_ca: bool,
    pub(crate) path_len: Option<u64>,
    pub(crate) key_usage: Option<KeyUsages>,
    /// The purposes inside the extKeyUsage extension.
    pub(crate) ext_key_usage: Option<&'a [u8]>,
    /// The names inside the subjectAltName extension.
    pub(crate) subject_alt_name: Option<&'a [u8]>,
    pub(crate) subject_key_id: Option<&'a [u8]>,
    pub(crate) authority_key_id: Option<&'a [u8]>,
    name_constraints: Option<&'a [u8]>,
    /// Which extensions were there, and which of them critical: one bit each, see [`KNOWN`].
    seen: u8,
    critical: u8,
    /// All extensions, inside the SEQUENCE around them.
    pub(crate) all_extensions: &'a [u8],
}

/// One extension, whatever it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawExtension<'a> {
    /// The content octets of its OBJECT IDENTIFIER.
    pub(crate) oid: &'a [u8],
    pub(crate) critical: bool,
    /// Inside the OCTET STRING.
    pub(crate) value: &'a [u8],
}

impl<'a> RawCertificate<'a> {
    /// Reads `der`, which must be one certificate and nothing else.
    pub(crate) fn parse(der: &'a [u8]) -> Result<Self, CertificateError> {
        let mut outer = Fields::of_sequence(der)?;
        let mut tbs = outer.nested(Tag::Sequence)?;
        let outer_algorithm = outer.tlv(Tag::Sequence)?;
        outer.bit_string()?;
        outer.finish()?;

        let version = match tbs.optional(constructed(0))? {
            Some(version) => Fields::new(version)?.value(Tag::Integer)?,
            None => VERSION_1,
        };
        let serial = serial(tbs.value(Tag::Integer)?)?;
        let algorithm = tbs.tlv(Tag::Sequence)?;
        if algorithm != outer_algorithm {
            return Err(asn1::invalid(Tag::Sequence).into());
        }
        let issuer = tbs.tlv(Tag::Sequence)?;
        let mut validity = tbs.nested(Tag::Sequence)?;
        let (not_before, not_after) = (validity.time()?, validity.time()?);
        validity.finish()?;
        let subject = tbs.tlv(Tag::Sequence)?;
        let spki = tbs.tlv(Tag::Sequence)?;
        // Unique identifiers of version 2: obsolete, and nobody asks for them.
        tbs.optional(primitive(1))?;
        tbs.optional(primitive(2))?;
        let mut raw = Self {
            serial,
            issuer,
            subject,
            spki,
            not_before,
            not_after,
            is_ca: false,
            path_len: None,
            key_usage: None,
            ext_key_usage: None,
            subject_alt_name: None,
            subject_key_id: None,
            authority_key_id: None,
            name_constraints: None,
            seen: 0,
            critical: 0,
            all_extensions: &[],
        };
        if let Some(extensions) = tbs.optional(constructed(3))? {
            if version != VERSION_3 {
                return Err(asn1::invalid(Tag::Integer).into());
            }
            raw.all_extensions = sequence_content(extensions)?;
            let mut extensions = Fields::new(raw.all_extensions)?;
            let mut others = BTreeSet::new();
            while !extensions.is_finished() {
                let extension = extension(extensions.nested(Tag::Sequence)?)?;
                if !raw.take_in(extension)? && !others.insert(extension.oid) {
                    return Err(duplicate(extension.oid));
                }
            }
        }
        tbs.finish()?;
        Ok(raw)
    }

    /// Whether an extension is there and marked critical.
    pub(crate) fn is_critical(&self, extension: Known) -> bool {
        self.critical & extension.bit() != 0
    }

    /// Whether the nameConstraints extension has a subtree of URIs, permitted or excluded.
    pub(crate) fn has_uri_name_constraints(&self) -> bool {
        self.name_constraints
            .is_some_and(|content| uri_subtree(content).unwrap_or(false))
    }

    /// All extensions, in their order.
    pub(crate) fn extensions(&self) -> impl Iterator<Item = RawExtension<'a>> {
        extensions(self.all_extensions)
    }

    /// Notes what is known of an extension; `false` for one this module does not know.
    fn take_in(&mut self, extension: RawExtension<'a>) -> Result<bool, CertificateError> {
        let RawExtension {
            oid,
            critical,
            value,
        } = extension;
        let Some(known) = Known::of(oid) else {
            return Ok(false);
        };
        if self.seen & known.bit() != 0 {
            return Err(duplicate(oid));
        }
        self.seen |= known.bit();
        if critical {
            self.critical |= known.bit();
        }
        match known {
            Known::AuthorityKeyId => {
                self.authority_key_id = Fields::of_sequence(value)?.optional(primitive(0))?;
            }
            Known::BasicConstraints => {
                let mut fields = Fields::of_sequence(value)?;
                self.is_ca = fields
                    .optional(Tag::Boolean)?
                    .map(boolean)
                    .transpose()?
                    .unwrap_or(false);
                self.path_len = fields.optional(Tag::Integer)?.map(path_len).transpose()?;
                fields.finish()?;
            }
            Known::ExtKeyUsage => self.ext_key_usage = Some(sequence_content(value)?),
            Known::KeyUsage => self.key_usage = Some(key_usage(value)?),
            Known::NameConstraints => self.name_constraints = Some(sequence_content(value)?),
            Known::SubjectAltName => {
                let names = sequence_content(value)?;
                // Names are given out as iterators later, so faults must show now.
                alt_names(names).try_for_each(|name| name.map(drop))?;
                self.subject_alt_name = Some(names);
            }
            Known::SubjectKeyId => {
                let mut fields = Fields::new(value)?;
                self.subject_key_id = Some(fields.value(Tag::OctetString)?);
                fields.finish()?;
            }
        }
        Ok(true)
    }
}

/// The extensions in `content`, which was parsed before; ends where it could not have been.
pub(crate) fn extensions(content: &[u8]) -> impl Iterator<Item = RawExtension<'_>> {
    let mut fields = Fields::new(content).ok();
    std::iter::from_fn(move || {
        let fields = fields.as_mut().filter(|fields| !fields.is_finished())?;
        extension(fields.nested(Tag::Sequence).ok()?).ok()
    })
}

fn extension<'a>(mut fields: Fields<'a>) -> der::Result<RawExtension<'a>> {
    let oid = fields.value(Tag::ObjectIdentifier)?;
    let critical = fields
        .optional(Tag::Boolean)?
        .map(boolean)
        .transpose()?
        .unwrap_or(false);
    let value = fields.value(Tag::OctetString)?;
    fields.finish()?;
    Ok(RawExtension {
        oid,
        critical,
        value,
    })
}

fn duplicate(oid: &[u8]) -> CertificateError {
    let oid = ObjectIdentifier::from_bytes(oid).map(|oid| oid.to_string());
    CertificateError::DuplicateExtension {
        oid: oid.unwrap_or_default(),
    }
}

/// What is signed of a certificate, how (the content of its AlgorithmIdentifier), and the
/// signature.
pub(crate) fn signed_parts(der: &[u8]) -> der::Result<(&[u8], &[u8], &[u8])> {
    let mut outer = Fields::of_sequence(der)?;
    let tbs = outer.tlv(Tag::Sequence)?;
    let algorithm = outer.value(Tag::Sequence)?;
    let signature = outer.bit_string()?;
    outer.finish()?;
    Ok((tbs, algorithm, signature))
}

/// The extensions this module reads.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Known {
    AuthorityKeyId,
    BasicConstraints,
    ExtKeyUsage,
    KeyUsage,
    NameConstraints,
    SubjectAltName,
    SubjectKeyId,
}

impl Known {
    /// The extension with these content octets of an OBJECT IDENTIFIER, if this module reads it.
    pub(crate) fn of(oid: &[u8]) -> Option<Self> {
        let found = KNOWN.iter().find(|(known, _)| known.as_bytes() == oid);
        found.map(|(_, known)| *known)
    }

    fn bit(self) -> u8 {
        1 << (self as u8)
    }
}

/// One name of a subjectAltName extension.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum AltName<'a> {
    Dns(&'a str),
    Uri(&'a str),
    /// An address, a directory name or another kind we never write.
    Other,
}

/// The names inside a subjectAltName extension; ends after the first fault.
pub(crate) fn alt_names(content: &[u8]) -> impl Iterator<Item = der::Result<AltName<'_>>> {
    let mut fields = Fields::new(content).ok();
    std::iter::from_fn(move || {
        let reader = fields.as_mut().filter(|fields| !fields.is_finished())?;
        let name = alt_name(reader);
        if name.is_err() {
            fields = None;
        }
        Some(name)
    })
}

/// Which of the two TLS purposes are among those of an extKeyUsage extension.
pub(crate) fn key_purposes(content: &[u8]) -> ExtKeyUsages {
    let mut usages = ExtKeyUsages {
        server_auth: false,
        client_auth: false,
    };
    let Ok(mut fields) = Fields::new(content) else {
        return usages;
    };
    while let Ok(oid) = fields.value(Tag::ObjectIdentifier) {
        usages.server_auth |= oid == ID_KP_SERVER_AUTH.as_bytes();
        usages.client_auth |= oid == ID_KP_CLIENT_AUTH.as_bytes();
    }
    usages
}

fn alt_name<'a>(fields: &mut Fields<'a>) -> der::Result<AltName<'a>> {
    let (tag, content) = fields.any()?;
    let text = || match std::str::from_utf8(content) {
        Ok(text) if text.is_ascii() => Ok(text),
        _ => Err(asn1::invalid(Tag::Ia5String)),
    };
    match tag {
        DNS_NAME => text().map(AltName::Dns),
        URI => text().map(AltName::Uri),
        _ => Ok(AltName::Other),
    }
}

fn sequence_content(value: &[u8]) -> der::Result<&[u8]> {
    let mut fields = Fields::new(value)?;
    let content = fields.value(Tag::Sequence)?;
    fields.finish()?;
    Ok(content)
}

/// Neither negative nor longer than it needs to be: Go, and so kube-apiserver, parses no certificate
/// with such a serial number, so a root that has one could never be published.
fn serial(integer: &[u8]) -> der::Result<&[u8]> {
    match integer {
        [] | [0x80..=0xff, ..] | [0, 0..=0x7f, ..] => Err(asn1::invalid(Tag::Integer)),
        _ => Ok(integer),
    }
}

/// DER leaves out a value that is the default, but CAs exist that write FALSE.
fn boolean(content: &[u8]) -> der::Result<bool> {
    match content {
        [0] => Ok(false),
        [0xff] => Ok(true),
        _ => Err(asn1::invalid(Tag::Boolean)),
    }
}

fn path_len(integer: &[u8]) -> der::Result<u64> {
    match integer {
        [] | [0x80..=0xff, ..] => Err(asn1::invalid(Tag::Integer)),
        bytes if bytes.len() <= 8 => Ok(bytes
            .iter()
            .fold(0, |sum, byte| (sum << 8) | u64::from(*byte))),
        // More than any chain has: as good as unlimited, but still a limit.
        _ => Ok(u64::MAX),
    }
}

fn key_usage(value: &[u8]) -> der::Result<KeyUsages> {
    let mut fields = Fields::new(value)?;
    let content = fields.value(Tag::BitString)?;
    fields.finish()?;
    match content {
        [0..=7, first] => Ok(KeyUsages::from_bits(u16::from(*first) << 8)),
        [0..=7, first, second] => Ok(KeyUsages::from_bits(u16::from_be_bytes([*first, *second]))),
        _ => Err(asn1::invalid(Tag::BitString)),
    }
}

/// `NameConstraints ::= SEQUENCE { [0] permitted, [1] excluded }`, each a SEQUENCE OF
/// GeneralSubtree whose first field is a GeneralName.
fn uri_subtree(content: &[u8]) -> der::Result<bool> {
    let mut sides = Fields::new(content)?;
    while !sides.is_finished() {
        let mut subtrees = Fields::new(sides.any()?.1)?;
        while !subtrees.is_finished() {
            if subtrees.nested(Tag::Sequence)?.any()?.0 == URI {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// The content of the version field when it is left out, and when there are extensions.
const VERSION_1: &[u8] = &[0];
const VERSION_3: &[u8] = &[2];

/// GeneralName `dNSName [2]`, RFC 5280 §4.2.1.6.
pub(crate) const DNS_NAME: Tag = primitive(2);
/// GeneralName `uniformResourceIdentifier [6]`.
pub(crate) const URI: Tag = primitive(6);

const KNOWN: [(ObjectIdentifier, Known); 7] = [
    (pkix::BasicConstraints::OID, Known::BasicConstraints),
    (pkix::KeyUsage::OID, Known::KeyUsage),
    (pkix::ExtendedKeyUsage::OID, Known::ExtKeyUsage),
    (pkix::AuthorityKeyIdentifier::OID, Known::AuthorityKeyId),
    (pkix::SubjectKeyIdentifier::OID, Known::SubjectKeyId),
    (pkix::SubjectAltName::OID, Known::SubjectAltName),
    (pkix::NameConstraints::OID, Known::NameConstraints),
];
