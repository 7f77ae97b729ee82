//! Object identifiers under which an extension of ours may stand.

use std::{fmt, str::FromStr};

use const_oid::ObjectIdentifier;

/// The OID of an extension beside the profile. Read from text it is an operator's own: those that
/// mean something already are refused.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct ExtensionOid(ObjectIdentifier);

impl ExtensionOid {
    /// agent-substrate's `PodIdentity`.
    pub const SUBSTRATE_POD_IDENTITY: Self =
        Self(ObjectIdentifier::new_unwrap("1.3.6.1.4.1.11129.2.12.1"));

    /// Fulcio's `Issuer (V2)`: who issued the OpenID Connect token an identity is from.
    pub const SERVICE_ACCOUNT_ISSUER: Self =
        Self(ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.8"));

    /// The content octets of the OBJECT IDENTIFIER.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    pub(crate) fn identifier(self) -> ObjectIdentifier {
        self.0
    }
}

impl FromStr for ExtensionOid {
    type Err = OidError;

    fn from_str(text: &str) -> Result<Self, OidError> {
        let shown = || text.chars().take(MAX_SHOWN).collect::<String>();
        let not_an_oid = || OidError::NotAnOid { text: shown() };
        // Arcs are numbers without sign and leading zeros, or two texts would be one OID.
        let mut arcs = Vec::new();
        for arc in text.split('.') {
            let number = arc.parse::<u128>().ok().filter(|_| {
                arc.bytes().all(|b| b.is_ascii_digit()) && (arc == "0" || !arc.starts_with('0'))
            });
            arcs.push(number.ok_or_else(not_an_oid)?);
        }
        // The first two arcs share one number in DER.
        let joined = match arcs.as_slice() {
            [first, second, _, ..] => second.saturating_add(first.saturating_mul(40)),
            _ => return Err(not_an_oid()),
        };
        if let Some(arc) = arcs.iter().chain([&joined]).find(|arc| **arc > MAX_ARC) {
            return Err(OidError::LargeArc { arc: *arc });
        }
        let oid = ObjectIdentifier::new(text).map_err(|_| not_an_oid())?;
        match RESERVED.iter().find(|(arc, _)| is_under(oid, *arc)) {
            Some((_, owner)) => Err(OidError::Reserved {
                oid: shown(),
                owner,
            }),
            None => Ok(Self(oid)),
        }
    }
}

impl fmt::Display for ExtensionOid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ExtensionOid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExtensionOid({self})")
    }
}

/// Why a text is no OID for an extension of one's own.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OidError {
    /// Not numbers with dots between.
    #[error(
        "{text:?} is no object identifier: expected at least three numbers with dots between, such \
         as 1.3.6.1.4.1.<your enterprise number>.1, of at most 39 bytes in DER"
    )]
    NotAnOid {
        /// The text, cut short.
        text: String,
    },
    /// An arc Go cannot read, such as the UUID in `2.25.<UUID>`. kube-apiserver parses every
    /// certificate with Go's crypto/x509 and would refuse the chain.
    #[error(
        "the arc {arc} of the object identifier is over 2147483647, which Go's crypto/x509, and so \
         kube-apiserver, cannot read"
    )]
    LargeArc {
        /// The arc.
        arc: u128,
    },
    /// An OID whose meaning somebody else has fixed.
    #[error("object identifier {oid} already means something: it belongs to {owner}")]
    Reserved {
        /// The OID.
        oid: String,
        /// To whom.
        owner: &'static str,
    },
}

fn is_under(oid: ObjectIdentifier, arc: ObjectIdentifier) -> bool {
    // No subidentifier ends inside another one, so bytes compare as arcs do.
    oid.as_bytes().starts_with(arc.as_bytes())
}

/// Whose extensions verifiers read, or that podcert writes itself in one format only.
const RESERVED: [(ObjectIdentifier, &str); 5] = [
    (
        ObjectIdentifier::new_unwrap("2.5.29"),
        "the standard extensions of RFC 5280",
    ),
    (
        ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7"),
        "PKIX, the standard extensions of RFC 5280",
    ),
    (
        ObjectIdentifier::new_unwrap("1.3.6.1.4.1.11129.2.4"),
        "Certificate Transparency (RFC 6962)",
    ),
    (
        ObjectIdentifier::new_unwrap("1.3.6.1.4.1.11129.2.12"),
        "agent-substrate",
    ),
    (
        ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264"),
        "Sigstore",
    ),
];

/// What Go's crypto/x509 reads: 31 bits.
const MAX_ARC: u128 = 0x7fff_ffff;
const MAX_SHOWN: usize = 80;
