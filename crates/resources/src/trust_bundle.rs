//! `ClusterTrustBundle`, the same in v1 and v1beta1.
//!
//! Bundles are few and written back whole, so their metadata is kept whole too.

use std::borrow::Cow;

use k8s_openapi::ClusterResourceScope;
use kube::core::{ObjectMeta, Resource};
use serde::{Deserialize, Serialize};

use crate::{ApiVersion, CERTIFICATES_GROUP};

/// Trust anchors as clients mount them. What is read says nothing of its version (the items of a
/// list do not either); what is written says the one given to [`Self::at`].
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ClusterTrustBundle {
    #[serde(rename = "apiVersion", skip_deserializing)]
    api_version: ApiVersion,
    #[serde(default)]
    kind: Kind,

    /// All of it: what others put there must be there after our update.
    pub metadata: ObjectMeta,

    /// The anchors, and whose they are.
    pub spec: ClusterTrustBundleSpec,
}

/// The anchors of a bundle, and whose they are.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClusterTrustBundleSpec {
    /// The signer whose anchors these are; immutable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signer_name: Option<String>,
    /// PEM, certificates only.
    pub trust_bundle: String,
}

impl ClusterTrustBundle {
    /// A bundle, not written yet.
    pub fn new(metadata: ObjectMeta, spec: ClusterTrustBundleSpec) -> Self {
        Self {
            api_version: ApiVersion::default(),
            kind: Kind::default(),
            metadata,
            spec,
        }
    }

    /// The same, to be written at `version`.
    #[must_use]
    pub fn at(mut self, version: ApiVersion) -> Self {
        self.api_version = version;
        self
    }
}

impl Resource for ClusterTrustBundle {
    type DynamicType = ApiVersion;
    type Scope = ClusterResourceScope;

    fn kind(_: &ApiVersion) -> Cow<'_, str> {
        "ClusterTrustBundle".into()
    }

    fn group(_: &ApiVersion) -> Cow<'_, str> {
        CERTIFICATES_GROUP.into()
    }

    fn version(version: &ApiVersion) -> Cow<'_, str> {
        version.as_str().into()
    }

    fn plural(_: &ApiVersion) -> Cow<'_, str> {
        "clustertrustbundles".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
enum Kind {
    #[default]
    ClusterTrustBundle,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_put_there_is_written_back_at_the_version_asked() {
        let text = serde_json::json!({
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "ClusterTrustBundle",
            "metadata": {
                "name": "b", "resourceVersion": "7", "finalizers": ["a.example/keep"],
                "annotations": {"team": "a"},
            },
            "spec": {"signerName": "a.example/b", "trustBundle": "PEM"},
        });
        let read: ClusterTrustBundle = serde_json::from_value(text.clone()).unwrap();
        for version in ApiVersion::ALL {
            let mut expected = text.clone();
            expected["apiVersion"] = version.group_version().into();
            let written = serde_json::to_value(read.clone().at(version)).unwrap();
            assert_eq!(written, expected);
        }
    }

    #[test]
    fn the_items_of_a_list_name_no_version() {
        let read: ClusterTrustBundle = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "b"}, "spec": {"trustBundle": "PEM"},
        }))
        .unwrap();
        assert_eq!(read.spec.signer_name, None);
        let url = ClusterTrustBundle::url_path(&ApiVersion::V1Beta1, None);
        assert_eq!(url, "/apis/certificates.k8s.io/v1beta1/clustertrustbundles");
    }
}
