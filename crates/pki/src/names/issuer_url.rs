//! The URL of an OpenID Connect issuer.
//!
//! Verifiers compare it byte for byte with the `iss` of tokens and with what they are configured
//! with, so it is kept exactly as given: no case is changed, no slash added.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
    sync::Arc,
};

use super::{Kind, NameError, Problem};

/// The URL of a token issuer (OpenID Connect Discovery 1.0 §3), such as the first
/// `--service-account-issuer` of a cluster: `https`, a host, perhaps a port and a path; without
/// user, query and fragment; at most 1024 bytes.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct IssuerUrl(Arc<str>);

impl IssuerUrl {
    /// The URL, as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IssuerUrl {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match check(text) {
            Ok(()) => Ok(Self(text.into())),
            Err(problem) => Err(NameError::new(Kind::IssuerUrl, text, problem)),
        }
    }
}

fn check(text: &str) -> Result<(), Problem> {
    if text.len() > MAX_LEN {
        return Err(Problem::TooLong { limit: MAX_LEN });
    }
    let rest = text.strip_prefix("https://").ok_or(Problem::Https)?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    check_authority(authority)?;
    if let Some(found) = path.chars().find(|c| !is_path_char(*c)) {
        return Err(Problem::Character {
            found,
            allowed: "those of an RFC 3986 path; no query and no fragment",
        });
    }
    let percent_encoded = path.split('%').skip(1).all(|after| {
        let digits = after.as_bytes().get(..2).unwrap_or_default();
        digits.len() == 2 && digits.iter().all(u8::is_ascii_hexdigit)
    });
    if percent_encoded {
        Ok(())
    } else {
        Err(Problem::Percent)
    }
}

/// `host[:port]`; an IPv6 address stands in brackets.
fn check_authority(authority: &str) -> Result<(), Problem> {
    let (is_host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or(Problem::Host)?;
            (address.parse::<Ipv6Addr>().is_ok(), port)
        }
        None => {
            let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
            (is_dns_or_ipv4(host), port)
        }
    };
    if !is_host {
        return Err(Problem::Host);
    }
    if port.is_empty() {
        return Ok(());
    }
    let digits = port.strip_prefix(':').ok_or(Problem::Host)?;
    let is_port = digits.bytes().all(|b| b.is_ascii_digit())
        && digits.parse::<u16>().is_ok_and(|port| port != 0);
    if is_port { Ok(()) } else { Err(Problem::Port) }
}

/// Upper case is allowed here: the cluster's flag may have it, and its tokens have it then.
fn is_dns_or_ipv4(host: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    host.parse::<Ipv4Addr>().is_ok() || (host.len() <= MAX_HOST && host.split('.').all(label))
}

/// RFC 3986 §3.3: pchar and the slash.
fn is_path_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/%".contains(c)
}

/// Ours: an issuer URL is in every leaf, and real ones have less than a hundred.
const MAX_LEN: usize = 1024;
/// RFC 1035 §2.3.4.
const MAX_HOST: usize = 253;
