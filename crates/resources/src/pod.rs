//! Pods as the cross-checks need them: where a pod runs, as whom, and what it mounts.

use std::{borrow::Cow, collections::BTreeMap};

use k8s_openapi::NamespaceResourceScope;
use kube::core::{ObjectMeta, Resource};
use serde::Deserialize;

use crate::meta;

/// A pod, lean.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Pod {
    /// Name, namespace, UID, labels, resource version and deletion time; nothing else is kept.
    #[serde(deserialize_with = "meta::with_labels")]
    pub metadata: ObjectMeta,

    #[serde(default)]
    spec: PodSpec,

    #[serde(default)]
    status: PodStatus,
}

/// A `podCertificate` source of one of a pod's projected volumes.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct PodCertificateProjection {
    /// The signer asked.
    pub signer_name: String,
    /// What the kubelet copies into a request's `unverifiedUserAnnotations`.
    #[serde(deserialize_with = "meta::null_as_default")]
    pub user_annotations: BTreeMap<String, String>,
}

impl Pod {
    /// The node the pod is bound to, once it is.
    pub fn node_name(&self) -> Option<&str> {
        Some(self.spec.node_name.as_str()).filter(|name| !name.is_empty())
    }

    /// The service account the pod runs as; the API server defaults it to `default`.
    pub fn service_account_name(&self) -> &str {
        &self.spec.service_account_name
    }

    /// Every `podCertificate` source the pod mounts, in the order of its volumes.
    pub fn pod_certificates(&self) -> impl Iterator<Item = &PodCertificateProjection> {
        self.spec
            .volumes
            .iter()
            .filter_map(|volume| volume.projected.as_ref())
            .flat_map(|projected| &projected.sources)
            .filter_map(|source| source.pod_certificate.as_ref())
    }

    /// Whether the pod has run to its end (phase `Succeeded` or `Failed`).
    pub fn ended(&self) -> bool {
        matches!(self.status.phase.as_str(), "Succeeded" | "Failed")
    }
}

impl Resource for Pod {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Pod".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "pods".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodSpec {
    node_name: String,
    service_account_name: String,
    #[serde(deserialize_with = "meta::null_as_default")]
    volumes: Vec<Volume>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct PodStatus {
    #[serde(default)]
    phase: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Volume {
    projected: Option<Projected>,
}

#[derive(Clone, Debug, Deserialize)]
struct Projected {
    #[serde(default, deserialize_with = "meta::null_as_default")]
    sources: Vec<Source>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Source {
    pod_certificate: Option<PodCertificateProjection>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_the_cross_checks_need() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "p", "labels": {"app": "web"}},
            "spec": {
                "nodeName": "n1",
                "serviceAccountName": "default",
                "containers": [{"name": "c", "image": "i"}],
                "volumes": [
                    {"name": "a", "emptyDir": {}},
                    {"name": "b", "projected": {"sources": [
                        {"serviceAccountToken": {"path": "t"}},
                        {"podCertificate": {"signerName": "row-major.net/spiffe", "keyType": "ED25519"}},
                        {"podCertificate": {
                            "signerName": "row-major.net/service-dns",
                            "keyType": "ECDSAP256",
                            "userAnnotations": {"service-dns.row-major.net/services": "web"},
                        }},
                    ]}},
                    {"name": "c", "projected": {"sources": null}},
                ],
            },
            "status": {"phase": "Running", "conditions": []},
        }))
        .unwrap();
        assert_eq!(pod.node_name(), Some("n1"));
        assert_eq!(pod.service_account_name(), "default");
        assert_eq!(pod.metadata.labels.as_ref().unwrap()["app"], "web");
        assert!(!pod.ended());
        let projections: Vec<_> = pod.pod_certificates().collect();
        assert_eq!(projections.len(), 2);
        assert_eq!(projections[0].signer_name, "row-major.net/spiffe");
        assert!(projections[0].user_annotations.is_empty());
        assert_eq!(
            projections[1].user_annotations["service-dns.row-major.net/services"],
            "web"
        );
    }

    #[test]
    fn a_pod_not_yet_bound_has_no_node() {
        let pod: Pod = serde_json::from_str(r#"{"metadata":{"name":"web"},"spec":{}}"#).unwrap();
        assert_eq!(pod.node_name(), None);
        let ended: Pod =
            serde_json::from_str(r#"{"metadata":{"name":"w"},"status":{"phase":"Succeeded"}}"#)
                .unwrap();
        assert!(ended.ended());
    }
}
