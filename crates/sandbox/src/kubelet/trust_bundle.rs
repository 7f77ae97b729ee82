//! What a `clusterTrustBundle` source puts into its file: the anchors of every matching bundle, each once, without PEM
//! headers or comments, in an order that each kubelet shuffles for itself so that nobody relies on it.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::certificates::v1::ClusterTrustBundle;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use pem_rfc7468::LineEnding;
use podcert_runtime::Jitter;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Which bundles a source takes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Selection {
    /// The bundle of this name.
    Name(String),
    /// The bundles of this signer that the selector matches. No selector matches none, an empty one all.
    Signer {
        /// `signerName`.
        signer_name: String,
        /// `labelSelector`.
        label_selector: Option<LabelSelector>,
    },
}

/// Whether a source may match nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Presence {
    /// The mount waits until something matches.
    Required,
    /// The file is empty while nothing matches.
    Optional,
}

/// The file's content as PEM.
///
/// # Errors
/// A sentence for the mount's Event: nothing matches and `presence` requires it, or a bundle is no PEM.
pub(crate) fn content<'a>(
    bundles: impl IntoIterator<Item = &'a ClusterTrustBundle>,
    selection: &Selection,
    presence: Presence,
    seed: u64,
) -> Result<String, String> {
    let mut anchors = BTreeSet::new();
    for bundle in bundles
        .into_iter()
        .filter(|bundle| selection.matches(bundle))
    {
        for anchor in CertificateDer::pem_slice_iter(bundle.spec.trust_bundle.as_bytes()) {
            let anchor = anchor.map_err(|error| {
                let name = bundle.metadata.name.as_deref().unwrap_or_default();
                format!("ClusterTrustBundle {name:?} is no PEM: {error}")
            })?;
            anchors.insert(anchor.to_vec());
        }
    }
    if anchors.is_empty() && presence == Presence::Required {
        return Err(selection.unmatched());
    }
    let mut anchors: Vec<Vec<u8>> = anchors.into_iter().collect();
    shuffle(&mut anchors, seed);
    anchors
        .iter()
        .map(|anchor| encode("CERTIFICATE", anchor))
        .collect()
}

/// The chain as the kubelet writes it: only the certificates, headers and comments gone.
///
/// # Errors
/// A sentence for the mount's Event.
pub(crate) fn clean_chain(chain: &str) -> Result<String, String> {
    CertificateDer::pem_slice_iter(chain.as_bytes())
        .map(|block| {
            let block = block.map_err(|error| format!("issued chain is no PEM: {error}"))?;
            encode("CERTIFICATE", &block)
        })
        .collect()
}

impl Selection {
    fn matches(&self, bundle: &ClusterTrustBundle) -> bool {
        match self {
            Self::Name(name) => bundle.metadata.name.as_deref() == Some(name),
            Self::Signer {
                signer_name,
                label_selector,
            } => {
                let labels = bundle.metadata.labels.as_ref();
                bundle.spec.signer_name.as_deref() == Some(signer_name)
                    && label_selector
                        .as_ref()
                        .is_some_and(|selector| selector_matches(selector, labels))
            }
        }
    }

    fn unmatched(&self) -> String {
        match self {
            Self::Name(name) => format!("clustertrustbundle {name:?} not found"),
            Self::Signer { signer_name, .. } => format!(
                "combination of signerName={signer_name:?} and labelSelector matched zero \
                 ClusterTrustBundles",
            ),
        }
    }
}

/// Fisher-Yates.
fn shuffle(anchors: &mut [Vec<u8>], seed: u64) {
    let jitter = Jitter::seeded(seed);
    for last in (1..anchors.len()).rev() {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "a place in a short list, bounded by `min`"
        )]
        let place = (jitter.next() * (last + 1) as f64) as usize;
        anchors.swap(last, place.min(last));
    }
}

fn encode(label: &'static str, der: &[u8]) -> Result<String, String> {
    pem_rfc7468::encode_string(label, LineEnding::LF, der)
        .map_err(|error| format!("cannot write PEM: {error}"))
}

fn selector_matches(selector: &LabelSelector, labels: Option<&BTreeMap<String, String>>) -> bool {
    let label = |key: &str| labels.and_then(|labels| labels.get(key));
    let equal = selector
        .match_labels
        .iter()
        .flatten()
        .all(|(key, value)| label(key) == Some(value));
    equal
        && selector
            .match_expressions
            .iter()
            .flatten()
            .all(|requirement| requirement_matches(requirement, label(&requirement.key)))
}

/// An operator this version does not know matches nothing: the API server would have refused it.
fn requirement_matches(requirement: &LabelSelectorRequirement, value: Option<&String>) -> bool {
    let listed = || value.is_some_and(|v| requirement.values.iter().flatten().any(|o| o == v));
    match requirement.operator.as_str() {
        "DoesNotExist" => value.is_none(),
        "Exists" => value.is_some(),
        "In" => listed(),
        "NotIn" => !listed(),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
