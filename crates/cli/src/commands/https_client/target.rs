//! What is fetched: an `https` URL, taken apart once.

use std::str::FromStr;

use url::{Host, Url};

/// An `https` URL with a host, and without credentials in it.
#[derive(Clone, Debug)]
pub(super) struct Target {
    host: String,
    port: u16,
    authority: String,
    path: String,
}

impl Target {
    /// The host to connect to and to verify the server as; an IPv6 address without brackets.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// The Host header.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// Path and query.
    pub(super) fn path(&self) -> &str {
        &self.path
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| error.to_string())?;
        if url.scheme() != "https" {
            return Err(format!(
                "expected an https URL, this one is {}",
                url.scheme()
            ));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a user name or password in the URL is not supported".to_owned());
        }
        let host = match url.host() {
            Some(Host::Domain(name)) => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            None => return Err("expected a host".to_owned()),
        };
        let mut path = url.path().to_owned();
        if let Some(query) = url.query() {
            path.push('?');
            path.push_str(query);
        }
        Ok(Self {
            host,
            port: url.port().unwrap_or(443),
            authority: url.authority().to_owned(),
            path,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let target: Target = "https://server.demo.svc/healthz?x=1#y".parse().unwrap();
        assert_eq!((target.host(), target.port()), ("server.demo.svc", 443));
        assert_eq!(
            (target.authority(), target.path()),
            ("server.demo.svc", "/healthz?x=1")
        );
        let target: Target = "https://[::1]:8443".parse().unwrap();
        assert_eq!((target.host(), target.port()), ("::1", 8443));
        assert_eq!((target.authority(), target.path()), ("[::1]:8443", "/"));
    }

    #[test]
    fn what_cannot_be_fetched_is_refused() {
        for (text, why) in [
            ("", "relative URL without a base"),
            ("server.demo.svc/healthz", "relative URL without a base"),
            (
                "http://server.demo.svc/",
                "expected an https URL, this one is http",
            ),
            (
                "https://me:secret@server/",
                "a user name or password in the URL is not supported",
            ),
            ("https://", "empty host"),
        ] {
            assert_eq!(text.parse::<Target>().unwrap_err(), why, "{text}");
        }
    }
}
