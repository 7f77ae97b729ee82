//! Reading and writing DER, one field at a time.
//!
//! Tags, lengths and times are the `der` crate's; what this adds is access to the exact bytes
//! of a field. A certificate's issuer must be a byte-exact copy of its CA's subject (repeated
//! and multi-valued attributes, odd string types and all), which decoding into a structure and
//! encoding again does not promise. It is also what makes building a leaf cheap: pieces that
//! are the same for every leaf of a CA are kept as bytes and only copied.

use std::time::Duration;

use der::{
    DateTime, Decode, Encode, Header, Length, Reader, SliceReader, Tag, TagNumber,
    asn1::{GeneralizedTime, UtcTime},
};
use jiff::Timestamp;

/// The fields inside a SEQUENCE (or other constructed value), read in order.
#[derive(Clone)]
pub(crate) struct Fields<'a>(SliceReader<'a>);

impl<'a> Fields<'a> {
    /// Starts reading the fields that `content` holds.
    pub(crate) fn new(content: &'a [u8]) -> der::Result<Self> {
        SliceReader::new(content).map(Self)
    }

    /// Reads `der` as one SEQUENCE with nothing after it.
    pub(crate) fn of_sequence(der: &'a [u8]) -> der::Result<Self> {
        let mut outer = Self::new(der)?;
        let content = outer.value(Tag::Sequence)?;
        outer.finish()?;
        Self::new(content)
    }

    /// The next field, whatever it is: its tag and its content.
    pub(crate) fn any(&mut self) -> der::Result<(Tag, &'a [u8])> {
        let header = Header::decode(&mut self.0)?;
        let content = self.0.read_slice(header.length())?;
        Ok((header.tag(), content))
    }

    /// The content of the next field, which must have `tag`.
    pub(crate) fn value(&mut self, tag: Tag) -> der::Result<&'a [u8]> {
        let header = Header::decode(&mut self.0)?;
        header.tag().assert_eq(tag)?;
        self.0.read_slice(header.length())
    }

    /// The fields inside the next field, which must have `tag`.
    pub(crate) fn nested(&mut self, tag: Tag) -> der::Result<Self> {
        Self::new(self.value(tag)?)
    }

    /// The next field with its tag and length, which must have `tag`.
    pub(crate) fn tlv(&mut self, tag: Tag) -> der::Result<&'a [u8]> {
        Tag::peek(&self.0)?.assert_eq(tag)?;
        self.0.tlv_bytes()
    }

    /// The content of the next field if it has `tag`.
    pub(crate) fn optional(&mut self, tag: Tag) -> der::Result<Option<&'a [u8]>> {
        if self.is_finished() || Tag::peek(&self.0)? != tag {
            return Ok(None);
        }
        self.value(tag).map(Some)
    }

    /// The content of a BIT STRING that fills whole bytes.
    pub(crate) fn bit_string(&mut self) -> der::Result<&'a [u8]> {
        match self.value(Tag::BitString)?.split_first() {
            Some((0, bytes)) => Ok(bytes),
            _ => Err(invalid(Tag::BitString)),
        }
    }

    /// One of the two time types of RFC 5280 §4.1.2.5.
    pub(crate) fn time(&mut self) -> der::Result<Timestamp> {
        let tag = Tag::peek(&self.0)?;
        let tlv = self.0.tlv_bytes()?;
        let since_epoch = match tag {
            Tag::UtcTime => UtcTime::from_der(tlv)?.to_unix_duration(),
            Tag::GeneralizedTime => GeneralizedTime::from_der(tlv)?.to_unix_duration(),
            other => return Err(other.unexpected_error(None).into()),
        };
        let seconds = i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX);
        // 99991231235959Z, RFC 5280's "no end", is a few hours past what a Timestamp holds.
        Ok(Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX))
    }

    /// Whether every field was read.
    pub(crate) fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// Fails if anything is left.
    pub(crate) fn finish(self) -> der::Result<()> {
        self.0.finish()
    }
}

/// Encodes a value of `tag` whose content is `parts`, one after the other.
pub(crate) fn tlv(tag: Tag, parts: &[&[u8]]) -> der::Result<Vec<u8>> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(length + MAX_HEADER);
    Header::new(tag, Length::try_from(length)?).encode_to_vec(&mut out)?;
    for part in parts {
        out.extend_from_slice(part);
    }
    Ok(out)
}

/// Appends a value of `tag` with this content to `out`.
pub(crate) fn append(out: &mut Vec<u8>, tag: Tag, content: &[u8]) -> der::Result<()> {
    Header::new(tag, Length::try_from(content.len())?).encode_to_vec(out)?;
    out.extend_from_slice(content);
    Ok(())
}

/// Encodes a SEQUENCE whose content is `parts`.
pub(crate) fn sequence(parts: &[&[u8]]) -> der::Result<Vec<u8>> {
    tlv(Tag::Sequence, parts)
}

/// Encodes a BIT STRING of whole bytes.
pub(crate) fn bit_string(bytes: &[u8]) -> der::Result<Vec<u8>> {
    tlv(Tag::BitString, &[&[0], bytes])
}

/// Encodes a time as RFC 5280 §4.1.2.5 wants it: UTCTime through 2049, then GeneralizedTime.
///
/// # Errors
/// Before 1970 or after 9999.
pub(crate) fn time(at: Timestamp) -> der::Result<Vec<u8>> {
    let seconds = u64::try_from(at.as_second()).map_err(|_| invalid(Tag::UtcTime))?;
    let date = DateTime::from_unix_duration(Duration::from_secs(seconds))?;
    if date.year() <= UtcTime::MAX_YEAR {
        UtcTime::from_date_time(date)?.to_der()
    } else {
        GeneralizedTime::from_date_time(date).to_der()
    }
}

/// The error for a field of type `tag` whose value is not allowed.
pub(crate) fn invalid(tag: Tag) -> der::Error {
    tag.value_error().into()
}

/// The tag `[number]` of a constructed (or EXPLICIT) field.
pub(crate) const fn constructed(number: u32) -> Tag {
    Tag::ContextSpecific {
        constructed: true,
        number: TagNumber(number),
    }
}

/// The tag `[number]` of a primitive IMPLICIT field.
pub(crate) const fn primitive(number: u32) -> Tag {
    Tag::ContextSpecific {
        constructed: false,
        number: TagNumber(number),
    }
}

/// A tag byte and the longest length the `der` crate writes.
const MAX_HEADER: usize = 6;
