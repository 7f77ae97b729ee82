//! The names that may appear in a certificate, each with its standard's grammar.
//!
//! A value of one of these types is the proof that its text is well formed and within its
//! limits, so nothing further in needs to check again. We are as strict as go-spiffe and
//! rustls: what they would refuse to read, we refuse to make.

mod issuer_url;
mod object;

use std::{fmt, str::FromStr, sync::Arc};

pub use self::{
    issuer_url::IssuerUrl,
    object::{ObjectName, ObjectUid},
};

/// A SPIFFE trust domain (SPIFFE-ID §2.1): 1 to 255 of `a-z 0-9 . - _`.
///
/// This departs from the standard in one thing: an empty label, that is a dot at either end or two
/// in a row, is refused, though SPIFFE-ID §2.1 allows it. Go's crypto/x509 cannot parse a
/// certificate with such a host in its URI, and so neither kube-apiserver nor any Go peer could.
/// What else is no host name (a hyphen or an underscore anywhere, digits alone) is allowed.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// The name, without scheme.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The ID of the trust domain itself, `spiffe://<trust domain>`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{SCHEME}{}", self.0)
    }
}

/// A SPIFFE ID (SPIFFE-ID §2): `spiffe://<trust domain>[/<path>]`, at most 2048 bytes.
///
/// The path may be empty here; an X509-SVID leaf needs one, which [`crate::LeafSpec`] checks.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SpiffeId {
    uri: Arc<str>,
    trust_domain: TrustDomain,
}

impl SpiffeId {
    /// Makes the ID from a trust domain and a path such as `/ns/a/sa/b` (or the empty path).
    ///
    /// # Errors
    /// [`NameError`] when the path breaks the grammar or the whole is over 2048 bytes.
    pub fn new(trust_domain: &TrustDomain, path: &str) -> Result<Self, NameError> {
        let error = |problem| NameError::new(Kind::SpiffePath, path, problem);
        check_path(path).map_err(error)?;
        let uri = format!("{SCHEME}{trust_domain}{path}");
        if uri.len() > MAX_SPIFFE_ID {
            return Err(error(Problem::TooLong {
                limit: MAX_SPIFFE_ID,
            }));
        }
        Ok(Self {
            uri: uri.into(),
            trust_domain: trust_domain.clone(),
        })
    }

    /// The trust domain this ID belongs to.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The path with its leading slash, or the empty string for the trust domain's own ID.
    #[must_use]
    pub fn path(&self) -> &str {
        self.uri
            .get(SCHEME.len() + self.trust_domain.0.len()..)
            .unwrap_or_default()
    }

    /// The ID as a URI.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.uri
    }

    /// The ID as an owned URI.
    #[must_use]
    pub fn to_uri(&self) -> String {
        self.uri.as_ref().to_owned()
    }
}

/// A DNS name as it may stand in a certificate (RFC 1123 host name, RFC 5280 §4.2.1.6).
///
/// Lower-case letters, digits and hyphens; labels of 1 to 63 bytes that neither start nor end
/// with a hyphen; at most 253 bytes; no wildcard, no trailing dot. The last label is not all
/// digits, so the name can never be read as an IP address (rustls refuses such names too).
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DnsName(Arc<str>);

impl DnsName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text that is not the name it should be.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{kind} {text:?} is not valid: {problem}")]
pub struct NameError {
    kind: Kind,
    text: String,
    problem: Problem,
}

impl NameError {
    fn new(kind: Kind, text: &str, problem: Problem) -> Self {
        // A name that is too long is not repeated in full: it may be megabytes.
        let mut shown: String = text.chars().take(MAX_SHOWN).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        Self {
            kind,
            text: shown,
            problem,
        }
    }
}

impl FromStr for TrustDomain {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let problem = if text.is_empty() {
            Problem::Empty
        } else if text.len() > MAX_TRUST_DOMAIN {
            Problem::TooLong {
                limit: MAX_TRUST_DOMAIN,
            }
        } else if let Some(found) = text.chars().find(|c| !is_trust_domain_char(*c)) {
            Problem::Character {
                found,
                allowed: "a-z, 0-9, '.', '-' and '_'",
            }
        } else if text.split('.').any(str::is_empty) {
            Problem::EmptyLabel
        } else {
            return Ok(Self(text.into()));
        };
        Err(NameError::new(Kind::TrustDomain, text, problem))
    }
}

impl FromStr for SpiffeId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let error = |problem| NameError::new(Kind::SpiffeId, text, problem);
        if text.len() > MAX_SPIFFE_ID {
            return Err(error(Problem::TooLong {
                limit: MAX_SPIFFE_ID,
            }));
        }
        let Some(rest) = text.strip_prefix(SCHEME) else {
            return Err(error(Problem::Scheme));
        };
        let path_start = rest.find('/').unwrap_or(rest.len());
        let (trust_domain, path) = rest.split_at(path_start);
        let trust_domain = trust_domain
            .parse::<TrustDomain>()
            .map_err(|e| error(Problem::TrustDomain(Box::new(e.problem))))?;
        check_path(path).map_err(error)?;
        Ok(Self {
            uri: text.into(),
            trust_domain,
        })
    }
}

impl FromStr for DnsName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match check_dns(text) {
            Ok(()) => Ok(Self(text.into())),
            Err(problem) => Err(NameError::new(Kind::DnsName, text, problem)),
        }
    }
}

macro_rules! text_conversions {
    ($($name:ident),*) => {$(
        impl TryFrom<&str> for $name {
            type Error = NameError;

            fn try_from(text: &str) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }
    )*};
}

text_conversions!(
    DnsName,
    IssuerUrl,
    ObjectName,
    ObjectUid,
    SpiffeId,
    TrustDomain
);

/// Which grammar a text was held against.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    DnsName,
    IssuerUrl,
    ObjectName,
    ObjectUid,
    SpiffeId,
    SpiffePath,
    TrustDomain,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DnsName => "DNS name",
            Self::IssuerUrl => "issuer URL",
            Self::ObjectName => "name of a Kubernetes object",
            Self::ObjectUid => "UID of a Kubernetes object",
            Self::SpiffeId => "SPIFFE ID",
            Self::SpiffePath => "SPIFFE ID path",
            Self::TrustDomain => "trust domain",
        })
    }
}

/// The first rule a text broke.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
enum Problem {
    #[error("it holds {found:?}, allowed are {allowed}")]
    Character { found: char, allowed: &'static str },
    #[error("it is empty")]
    Empty,
    #[error("it has an empty label (a leading, trailing or doubled dot)")]
    EmptyLabel,
    #[error("it has an empty path segment (a trailing or doubled slash)")]
    EmptySegment,
    #[error("its host is no DNS name and no IP address")]
    Host,
    #[error("it must start with \"https://\"")]
    Https,
    #[error("a label starts or ends with a hyphen")]
    Hyphen,
    #[error("a label is longer than {MAX_LABEL} bytes")]
    LongLabel,
    #[error("its last label is all digits, so it reads as an IP address")]
    NumericEnd,
    #[error("a percent sign must stand before two hexadecimal digits")]
    Percent,
    #[error("its port is not a number from 1 to 65535")]
    Port,
    #[error("its path has the relative segment {0:?}")]
    RelativeSegment(String),
    #[error("it must start with \"spiffe://\"")]
    Scheme,
    #[error("its path must be empty or start with a slash")]
    Slash,
    #[error("it is longer than {limit} bytes")]
    TooLong { limit: usize },
    #[error("its trust domain is not valid: {0}")]
    TrustDomain(Box<Problem>),
}

/// SPIFFE-ID §2.2: no empty, `.` or `..` segments, no trailing slash, no percent-encoding.
fn check_path(path: &str) -> Result<(), Problem> {
    if path.is_empty() {
        return Ok(());
    }
    let Some(segments) = path.strip_prefix('/') else {
        return Err(Problem::Slash);
    };
    for segment in segments.split('/') {
        if let Some(found) = segment.chars().find(|c| !is_segment_char(*c)) {
            return Err(Problem::Character {
                found,
                allowed: "a-z, A-Z, 0-9, '.', '-' and '_'",
            });
        }
        match segment {
            "" => return Err(Problem::EmptySegment),
            "." | ".." => return Err(Problem::RelativeSegment(segment.to_owned())),
            _ => {}
        }
    }
    Ok(())
}

fn check_dns(text: &str) -> Result<(), Problem> {
    if text.is_empty() {
        return Err(Problem::Empty);
    }
    if text.len() > MAX_DNS_NAME {
        return Err(Problem::TooLong {
            limit: MAX_DNS_NAME,
        });
    }
    let mut numeric = false;
    for label in text.split('.') {
        if label.is_empty() {
            return Err(Problem::EmptyLabel);
        }
        let bad = |c: &char| !matches!(c, 'a'..='z' | '0'..='9' | '-');
        if let Some(found) = label.chars().find(bad) {
            return Err(Problem::Character {
                found,
                allowed: "a-z, 0-9, '-' and '.'",
            });
        }
        if label.len() > MAX_LABEL {
            return Err(Problem::LongLabel);
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err(Problem::Hyphen);
        }
        numeric = label.bytes().all(|b| b.is_ascii_digit());
    }
    if numeric {
        return Err(Problem::NumericEnd);
    }
    Ok(())
}

fn is_trust_domain_char(c: char) -> bool {
    matches!(c, 'a'..='z' | '0'..='9' | '.' | '-' | '_')
}

fn is_segment_char(c: char) -> bool {
    is_trust_domain_char(c) || c.is_ascii_uppercase()
}

const SCHEME: &str = "spiffe://";
/// SPIFFE-ID §2.3: the trust domain's limit.
const MAX_TRUST_DOMAIN: usize = 255;
/// SPIFFE-ID §2.3: what every implementation must support and none should exceed.
const MAX_SPIFFE_ID: usize = 2048;
/// RFC 1035 §2.3.4 without the root label.
const MAX_DNS_NAME: usize = 253;
/// RFC 1035 §2.3.4.
const MAX_LABEL: usize = 63;
/// How many characters of a refused text an error repeats.
const MAX_SHOWN: usize = 80;

#[cfg(test)]
mod tests;
