//! ClusterTrustBundles: the names and labels pods find ours by.
//!
//! For the default signers both are exactly meshtool's, so that its example manifests mount
//! our bundles unchanged. A renamed signer gets the same shape: the label prefix is the signer's
//! path put before its domain (`row-major.net/spiffe` gives `spiffe.row-major.net/...`). Only
//! `row-major.net/pod-identity` has a prefix of its own, as meshtool's code has it.

use std::collections::BTreeMap;

use crate::signers;

/// The suffix of the bundle each signer publishes.
pub const PRIMARY: &str = "primary-bundle";

/// The value of the `canarying` label: what everybody mounts.
pub const LIVE: &str = "live";

/// The longest value Kubernetes allows a label.
const MAX_LABEL_VALUE: usize = 63;

/// The name of `signer`'s bundle: `row-major.net:spiffe:primary-bundle`.
pub fn name(signer: &str) -> String {
    format!("{}:{PRIMARY}", signer.replace('/', ":"))
}

/// The labels of a bundle, and the one that could not be set.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Labels {
    /// What the bundle carries.
    pub labels: BTreeMap<String, String>,
    /// What it should carry and cannot.
    pub omitted: Option<OmittedLabel>,
}

/// A label left out because Kubernetes would refuse its value: a trust domain may have 255
/// characters and begin with `-` or `_`, a label value has 63 and begins and ends alphanumeric.
///
/// It is left out rather than shortened or hashed: no pod can select by the true value either
/// way (the API server refuses such a selector), a bundle is still found by signer name and the
/// `canarying` label, and a value that only looks like a trust domain would mislead.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "label {key} is left out: {value:?} is no label value (at most 63 characters, alphanumeric at \
     both ends); select the bundle by signer name and the canarying label alone"
)]
pub struct OmittedLabel {
    /// The label's key.
    pub key: String,
    /// The value it cannot hold.
    pub value: String,
}

/// The labels of `signer`'s bundle; with the trust domain for a SPIFFE signer.
pub fn labels(signer: &str, trust_domain: Option<&str>) -> Labels {
    let prefix = label_prefix(signer);
    let mut labels = BTreeMap::from([(format!("{prefix}/canarying"), LIVE.to_owned())]);
    let mut omitted = None;
    if let Some(value) = trust_domain {
        let key = format!("{prefix}/trust-domain");
        if is_label_value(value) {
            labels.insert(key, value.to_owned());
        } else {
            omitted = Some(OmittedLabel {
                key,
                value: value.to_owned(),
            });
        }
    }
    Labels { labels, omitted }
}

/// `row-major.net/spiffe` to `spiffe.row-major.net`.
fn label_prefix(signer: &str) -> String {
    match signer.split_once('/') {
        _ if signer == signers::POD_IDENTITY => "podidentity.row-major.net".to_owned(),
        Some((domain, path)) => format!("{}.{domain}", path.replace('/', ".")),
        None => signer.to_owned(),
    }
}

/// Kubernetes' rule for a non-empty label value.
pub(crate) fn is_label_value(value: &str) -> bool {
    let alphanumeric = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = value.as_bytes();
    bytes.len() <= MAX_LABEL_VALUE
        && alphanumeric(bytes.first())
        && alphanumeric(bytes.last())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels_are_meshtools() {
        assert_eq!(
            name(signers::SERVICE_DNS),
            "row-major.net:service-dns:primary-bundle"
        );
        assert_eq!(name(signers::SPIFFE), "row-major.net:spiffe:primary-bundle");
        assert_eq!(
            labels(signers::SERVICE_DNS, None).labels,
            BTreeMap::from([("service-dns.row-major.net/canarying".into(), "live".into())])
        );
        let spiffe = labels(signers::SPIFFE, Some("cluster.local"));
        assert_eq!(
            spiffe.labels,
            BTreeMap::from([
                ("spiffe.row-major.net/canarying".into(), "live".into()),
                (
                    "spiffe.row-major.net/trust-domain".into(),
                    "cluster.local".into()
                ),
            ])
        );
        assert_eq!(spiffe.omitted, None);
        assert_eq!(
            name(signers::POD_IDENTITY),
            "row-major.net:pod-identity:primary-bundle"
        );
        assert_eq!(
            labels(signers::POD_IDENTITY, Some("cluster.local")).labels,
            BTreeMap::from([
                ("podidentity.row-major.net/canarying".into(), "live".into()),
                (
                    "podidentity.row-major.net/trust-domain".into(),
                    "cluster.local".into()
                ),
            ])
        );
    }

    #[test]
    fn a_trust_domain_no_label_can_hold_is_left_out_and_named() {
        let longest = "a".repeat(63);
        assert_eq!(labels(signers::SPIFFE, Some(&longest)).omitted, None);
        for value in [
            "a".repeat(64),
            "-leading.example".into(),
            "trailing_".into(),
        ] {
            let labels = labels(signers::SPIFFE, Some(&value));
            assert_eq!(labels.labels.len(), 1);
            let omitted = labels.omitted.unwrap();
            assert_eq!(omitted.value, value);
            let text = omitted.to_string();
            assert!(text.contains("spiffe.row-major.net/trust-domain"), "{text}");
            assert!(text.contains(&value), "{text}");
        }
    }

    #[test]
    fn a_renamed_signer_keeps_the_shape() {
        assert_eq!(
            name("certs.example.com/web"),
            "certs.example.com:web:primary-bundle"
        );
        assert!(
            labels("certs.example.com/web", None)
                .labels
                .contains_key("web.certs.example.com/canarying")
        );
        assert!(
            labels("certs.example.com/pod-identity", None)
                .labels
                .contains_key("pod-identity.certs.example.com/canarying")
        );
    }
}
