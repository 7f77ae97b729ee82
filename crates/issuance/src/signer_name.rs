//! The name of a signer, `<domain>/<path>`, as `spec.signerName` carries it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A signer's name: `<DNS-1123 subdomain>/<path>`, at most 571 characters, as kube-apiserver
/// validates it (`ValidateSignerName`). Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignerName(Arc<str>);

impl SignerName {
    /// The whole name, for example `row-major.net/spiffe`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What precedes the first `/`, for example `row-major.net`.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.0.split_once('/').map_or("", |(domain, _)| domain)
    }

    /// How names of this signer's `ClusterTrustBundle`s must begin: the name with `/` replaced by
    /// `:`, to be followed by `:` and a suffix.
    #[must_use]
    pub fn bundle_prefix(&self) -> String {
        self.0.replace('/', ":")
    }
}

impl FromStr for SignerName {
    type Err = SignerNameError;

    fn from_str(name: &str) -> Result<Self, SignerNameError> {
        if name.len() > MAX_LEN {
            return Err(SignerNameError::TooLong { len: name.len() });
        }
        let Some((domain, path)) = name.split_once('/') else {
            return Err(SignerNameError::NoPath {
                name: name.to_owned(),
            });
        };
        let well_formed = domain.len() <= MAX_DOMAIN_LEN
            && domain.split('.').all(is_domain_label)
            && !path.is_empty()
            && path.split('.').all(is_path_label);
        if well_formed {
            Ok(Self(name.into()))
        } else {
            Err(SignerNameError::Malformed {
                name: name.to_owned(),
            })
        }
    }
}

impl TryFrom<&str> for SignerName {
    type Error = SignerNameError;

    fn try_from(name: &str) -> Result<Self, SignerNameError> {
        name.parse()
    }
}

impl AsRef<str> for SignerName {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for SignerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SignerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// Why a text is no signer name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignerNameError {
    /// More than 571 characters.
    #[error("a signer name has at most {MAX_LEN} characters, not {len}")]
    TooLong {
        /// How many it has.
        len: usize,
    },
    /// No `/`.
    #[error("signer name {name:?} is not of the form 'example.com/signer-name'")]
    NoPath {
        /// The text.
        name: String,
    },
    /// The domain is no DNS-1123 subdomain, or the path holds what Kubernetes forbids.
    #[error(
        "signer name {name:?} must be a DNS subdomain in lower case, '/', and a path of lower case \
         letters, digits, '-' and '.'"
    )]
    Malformed {
        /// The text.
        name: String,
    },
}

fn is_domain_label(label: &str) -> bool {
    (1..=63).contains(&label.len()) && is_path_label(label)
}

/// A DNS-1123 label but for its length.
fn is_path_label(label: &str) -> bool {
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = label.as_bytes();
    bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
        && bytes.iter().all(|b| alphanumeric(b) || *b == b'-')
}

/// 253 for the domain, `/`, and 317 for the path, as the API server counts.
const MAX_LEN: usize = 571;
const MAX_DOMAIN_LEN: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_kubernetes_accepts() {
        for name in [
            "row-major.net/spiffe",
            "kubernetes.io/kube-apiserver-serving",
            "a/b.c-d.9",
        ] {
            let signer: SignerName = name.parse().unwrap();
            assert_eq!(signer.as_str(), name);
        }
        let signer: SignerName = "row-major.net/service-dns".parse().unwrap();
        assert_eq!(signer.bundle_prefix(), "row-major.net:service-dns");
        assert_eq!(signer.domain(), "row-major.net");
    }

    #[test]
    fn names_kubernetes_refuses() {
        for name in [
            "", "noslash", "/path", "a.b/", "A.b/c", "a..b/c", "a.b/c/d", "a.b/C", "-a/b", "a/b-",
            "a/b:c",
        ] {
            assert!(name.parse::<SignerName>().is_err(), "{name:?}");
        }
        let longest = format!("{}/{}", "a.".repeat(126) + "a", "b".repeat(317));
        assert_eq!(longest.len(), 571);
        assert!(longest.parse::<SignerName>().is_ok());
        assert_eq!(
            format!("{longest}b").parse::<SignerName>(),
            Err(SignerNameError::TooLong { len: 572 })
        );
    }
}
