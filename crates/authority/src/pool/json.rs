//! The pool as JSON, byte for byte what Go's `encoding/json` makes of meshtool's structs:
//!
//! ```go
//! type Pool struct{ CAs []CA }
//! type CA struct {
//!     ID                          string
//!     SigningKeyPKCS8             []byte
//!     RootCertificateDER          []byte
//!     IntermediateCertificatesDER [][]byte
//! }
//! ```
//!
//! Reading has Go's habits, as a file that works with meshtool must work here: field names match
//! whatever their case, unknown fields are skipped, `null` leaves a field empty, of a field that is
//! there twice the last one counts, base64 may be broken by CR and LF, a byte slice may also be an
//! array of numbers, and text that is not Unicode gets replacement characters. One habit is left out:
//! when `CAs` is there twice, Go decodes the second into the elements of the first and mixes
//! their fields, which could only pair a key with another CA's root. Here the last one counts whole.
//!
//! All of this is key material. It is decoded into buffers that are wiped, and errors say where they
//! happened but repeat nothing of what was there.

mod decode;
mod encode;

use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

pub(super) use self::decode::decode;
pub(super) use self::encode::encode;

/// A pool as it stands in the file: nothing is checked yet.
#[derive(Default)]
pub(super) struct RawPool {
    pub(super) cas: Vec<RawCa>,
}

/// One CA as it stands in the file.
#[derive(Default)]
pub(super) struct RawCa {
    pub(super) id: String,
    pub(super) signing_key_pkcs8: Zeroizing<Vec<u8>>,
    pub(super) root_certificate_der: Vec<u8>,
    pub(super) intermediate_certificates_der: Vec<Vec<u8>>,
}

/// One CA to be written.
pub(super) struct CaToWrite<'a> {
    pub(super) id: &'a str,
    pub(super) signing_key_pkcs8: &'a [u8],
    pub(super) root_certificate_der: &'a [u8],
    pub(super) intermediate_certificates_der: Vec<&'a [u8]>,
}

/// Where a text stops being a pool. Holds nothing of the text itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// Not JSON, or JSON followed by something.
    #[error("not JSON from line {line} column {column} on")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
    /// The text ends in the middle.
    #[error("cut short at line {line} column {column}")]
    Truncated {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
    /// A value of the wrong kind.
    #[error("{field} must be {expected} (line {line} column {column})")]
    Value {
        /// The field, as in `CAs[0].SigningKeyPKCS8`.
        field: String,
        /// What it should be.
        expected: &'static str,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
}

/// Go's `base64.StdEncoding`: padded, and careless about the bits that pad the last byte.
const GO_STD_ENCODING: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

const CAS: &str = "CAs";
const ID: &str = "ID";
const SIGNING_KEY: &str = "SigningKeyPKCS8";
const ROOT: &str = "RootCertificateDER";
const INTERMEDIATES: &str = "IntermediateCertificatesDER";

#[cfg(test)]
mod tests;
