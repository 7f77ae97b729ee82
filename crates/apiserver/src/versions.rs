//! API versions of one resource: PodCertificateRequest and ClusterTrustBundle are served as
//! `certificates.k8s.io/v1` and, on request, as `v1beta1`, from one storage.
//!
//! Objects are stored in the form that holds everything any version knows, as upstream stores them
//! as v1beta1. A version differs from that form in its `apiVersion` and in the fields of the spec
//! that it does not know: v1 has no `pkixPublicKey` and no `proofOfPossession`. Who reads a request
//! made with these at v1 sees one without any key; who writes it back there has changed its spec.
//!
//! ```text
//! body at v1beta1 ──▶ known ──▶ rules ──▶ store ──▶ append_object ──▶ answer at v1
//! ```

use serde_json::Value;

use crate::kinds::{Kind, Rules};

/// Under which versions PodCertificateRequests and ClusterTrustBundles are served.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Versions {
    /// `v1` alone, as 1.37 does if nothing is configured.
    #[default]
    V1,
    /// `v1` and `v1beta1`: 1.37 with a `--runtime-config` for `v1beta1`.
    Both,
    /// `v1beta1` alone, as 1.35 and 1.36 do. The group's `v1` exists all the same: upstream it has
    /// CertificateSigningRequests.
    V1beta1,
}

impl Versions {
    /// Whether this row of the table is served.
    pub(crate) fn include(self, kind: &Kind) -> bool {
        match (kind.rules, kind.version) {
            (Rules::PodCertificateRequest | Rules::ClusterTrustBundle, "v1") => {
                self != Self::V1beta1
            }
            (Rules::PodCertificateRequest | Rules::ClusterTrustBundle, _) => self != Self::V1,
            _ => true,
        }
    }
}

/// Drops from an object what this version does not know: what a typed decoder ignores.
pub(crate) fn known(kind: &Kind, object: &mut Value) {
    let unknown = unknown_to(kind);
    if let Some(Value::Object(spec)) = object.get_mut("spec") {
        spec.retain(|field, _| !unknown.contains(&field.as_str()));
    }
}

/// A stored object as this version shows it.
pub(crate) fn view(kind: &Kind, stored: &Value) -> Value {
    let mut object = stored.clone();
    known(kind, &mut object);
    if let Some(map) = object.as_object_mut() {
        map.insert("apiVersion".into(), kind.api_version().into());
    }
    object
}

/// Fields of the spec that other versions have and this one does not.
pub(crate) fn unknown_to(kind: &Kind) -> &'static [&'static str] {
    match (kind.rules, kind.version) {
        (Rules::PodCertificateRequest, "v1") => &["pkixPublicKey", "proofOfPossession"],
        _ => &[],
    }
}
