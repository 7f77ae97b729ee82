//! Distinguished names, for people to read and for bytes to compare.

use std::fmt;

use der::Decode;
use x509_cert::name::Name;

/// The name of a subject or issuer, as its exact DER.
///
/// Displays as RFC 4514 has it, most specific attribute first; an empty name as `(empty)`.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct DistinguishedName<'a>(&'a [u8]);

impl<'a> DistinguishedName<'a> {
    pub(crate) fn new(der: &'a [u8]) -> Self {
        Self(der)
    }

    /// The DER of the whole Name.
    #[must_use]
    pub fn der(&self) -> &'a [u8] {
        self.0
    }

    /// Whether it has no attribute at all, as the roots of meshtool have none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == EMPTY
    }
}

impl fmt::Display for DistinguishedName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("(empty)");
        }
        match Name::from_der(self.0) {
            Ok(name) => name.fmt(f),
            // A name only some readers take (an unordered set, say) still identifies its owner.
            Err(_) => {
                f.write_str("#")?;
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

impl fmt::Debug for DistinguishedName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DistinguishedName({self})")
    }
}

/// A SEQUENCE of nothing.
const EMPTY: &[u8] = &[0x30, 0];
