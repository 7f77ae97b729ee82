//! `PodCertificateRequest` as a signer sees it.
//!
//! Everything in `spec` was written once, by the kubelet (or by whoever may create requests), and
//! is immutable. Of `status` only the condition types are kept: a request with any of them is
//! settled, and its certificate chain, which comes back to us over the watch for each certificate
//! we issue, is skipped unread.

use std::{borrow::Cow, collections::BTreeMap};

use k8s_openapi::{ByteString, NamespaceResourceScope};
use kube::core::{ObjectMeta, Resource};
use serde::Deserialize;
use serde::de::IntoDeserializer;

use crate::{ApiVersion, CERTIFICATES_GROUP, meta};

/// A request for a certificate, lean, in whatever version it was read.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct PodCertificateRequest {
    /// Name, namespace, UID, resource version and times; nothing else is kept.
    #[serde(deserialize_with = "meta::identity")]
    pub metadata: ObjectMeta,

    /// What is asked for; immutable.
    #[serde(default)]
    pub spec: PodCertificateRequestSpec,

    #[serde(default)]
    status: Status,
}

/// What a request asks for, as the API server stored it. All of it but the annotations was
/// checked by the API server against the kubelet that wrote it (NodeRestriction), *if* a kubelet
/// wrote it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct PodCertificateRequestSpec {
    /// Who shall sign.
    pub signer_name: String,
    /// The pod the certificate is for, in the request's namespace.
    pub pod_name: String,
    /// That pod's UID.
    #[serde(rename = "podUID")]
    pub pod_uid: String,
    /// The service account the pod runs as.
    pub service_account_name: String,
    /// That service account's UID.
    #[serde(rename = "serviceAccountUID")]
    pub service_account_uid: String,
    /// The node the pod is bound to.
    pub node_name: String,
    /// That node's UID.
    #[serde(rename = "nodeUID")]
    pub node_uid: String,
    /// The longest lifetime the API server will accept, seconds; defaulted by the server.
    pub max_expiration_seconds: Option<i32>,
    // Base64. A server writes `null` for the field an object does not use.
    #[serde(rename = "stubPKCS10Request")]
    stub_pkcs10_request: Option<String>,
    // Of v1beta1 alone.
    pkix_public_key: Option<String>,
    /// The projection's `userAnnotations`, which nobody verified.
    #[serde(deserialize_with = "meta::null_as_default")]
    pub unverified_user_annotations: BTreeMap<String, String>,
}

impl PodCertificateRequestSpec {
    /// The certificate signing request, DER. Empty when the request carries none, which is how v1
    /// shows the request of a kubelet of 1.35.
    ///
    /// # Errors
    /// When the field is not base64, which an API server never serves.
    pub fn csr_der(&self) -> Result<Vec<u8>, MalformedBase64> {
        decoded("stubPKCS10Request", self.stub_pkcs10_request.as_deref())
    }

    /// The public key as a kubelet of 1.35 sends it, a DER `SubjectPublicKeyInfo`; v1beta1 alone
    /// shows it. The API server has verified the proof of possession that came with it. Empty
    /// when the request has a CSR.
    ///
    /// # Errors
    /// When the field is not base64, which an API server never serves.
    pub fn public_key_der(&self) -> Result<Vec<u8>, MalformedBase64> {
        decoded("pkixPublicKey", self.pkix_public_key.as_deref())
    }
}

fn decoded(field: &'static str, text: Option<&str>) -> Result<Vec<u8>, MalformedBase64> {
    let text: serde::de::value::StrDeserializer<'_, serde::de::value::Error> =
        text.unwrap_or_default().into_deserializer();
    ByteString::deserialize(text)
        .map(|bytes| bytes.0)
        .map_err(|source| MalformedBase64 { field, source })
}

/// A field of a request's spec is not base64.
#[derive(Debug, thiserror::Error)]
#[error("field spec.{field} is not base64")]
pub struct MalformedBase64 {
    field: &'static str,
    source: serde::de::value::Error,
}

/// The conditions a request can carry; each of them settles it for good.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum ConditionType {
    /// A signer refused.
    Denied,
    /// A signer gave up.
    Failed,
    /// A signer issued.
    Issued,
    /// None of the three the API allows.
    #[serde(other)]
    Other,
}

impl PodCertificateRequest {
    /// The condition that settled this request, if any: then no signer may touch it again.
    pub fn settled(&self) -> Option<ConditionType> {
        self.status
            .conditions
            .iter()
            .map(|condition| condition.type_)
            .find(|type_| *type_ != ConditionType::Other)
    }
}

impl Resource for PodCertificateRequest {
    type DynamicType = ApiVersion;
    type Scope = NamespaceResourceScope;

    fn kind(_: &ApiVersion) -> Cow<'_, str> {
        "PodCertificateRequest".into()
    }

    fn group(_: &ApiVersion) -> Cow<'_, str> {
        CERTIFICATES_GROUP.into()
    }

    fn version(version: &ApiVersion) -> Cow<'_, str> {
        version.as_str().into()
    }

    fn plural(_: &ApiVersion) -> Cow<'_, str> {
        "podcertificaterequests".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Status {
    #[serde(default, deserialize_with = "meta::null_as_default")]
    conditions: Vec<StatusCondition>,
}

#[derive(Clone, Debug, Deserialize)]
struct StatusCondition {
    #[serde(rename = "type")]
    type_: ConditionType,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kubelet_wrote() {
        let request: PodCertificateRequest = serde_json::from_value(serde_json::json!({
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "PodCertificateRequest",
            "metadata": {
                "name": "req-x7k2p",
                "generateName": "req-",
                "namespace": "shop",
                "uid": "0b1e",
                "resourceVersion": "42",
                "creationTimestamp": "2026-11-21T10:00:00Z",
                "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:spec": {}}}],
                "ownerReferences": [{"apiVersion": "core/v1", "kind": "Pod", "name": "web", "uid": "p"}],
            },
            "spec": {
                "signerName": "row-major.net/spiffe",
                "podName": "web", "podUID": "p",
                "serviceAccountName": "default", "serviceAccountUID": "s",
                "nodeName": "n1", "nodeUID": "n",
                "maxExpirationSeconds": 86400,
                "stubPKCS10Request": "MAo=",
            },
            "status": {},
        }))
        .unwrap();
        assert_eq!(request.metadata.name.as_deref(), Some("req-x7k2p"));
        assert_eq!(request.metadata.resource_version.as_deref(), Some("42"));
        assert_eq!(request.metadata.managed_fields, None);
        assert_eq!(request.spec.signer_name, "row-major.net/spiffe");
        assert_eq!(request.spec.pod_uid, "p");
        assert_eq!(request.spec.service_account_uid, "s");
        assert_eq!(request.spec.node_uid, "n");
        assert_eq!(request.spec.max_expiration_seconds, Some(86400));
        assert_eq!(request.spec.csr_der().unwrap(), [0x30, 0x0a]);
        assert_eq!(request.settled(), None);
    }

    #[test]
    fn a_condition_settles_a_request() {
        for (type_, expected) in [
            ("Issued", Some(ConditionType::Issued)),
            ("Denied", Some(ConditionType::Denied)),
            ("Failed", Some(ConditionType::Failed)),
            ("Pondered", None),
        ] {
            let request: PodCertificateRequest = serde_json::from_value(serde_json::json!({
                "metadata": {"name": "r"},
                "status": {
                    "certificateChain": "-----BEGIN",
                    "conditions": [{"type": type_, "status": "True", "reason": "R"}],
                },
            }))
            .unwrap();
            assert_eq!(request.settled(), expected, "{type_}");
        }
    }

    #[test]
    fn nulls_are_absent_values() {
        let request: PodCertificateRequest = serde_json::from_str(
            r#"{"metadata":{"name":"r","creationTimestamp":null},
                "spec":{"unverifiedUserAnnotations":null,"stubPKCS10Request":null,
                        "pkixPublicKey":null,"proofOfPossession":null},
                "status":{"conditions":null}}"#,
        )
        .unwrap();
        assert_eq!(request.settled(), None);
        assert!(request.spec.unverified_user_annotations.is_empty());
        assert!(request.spec.csr_der().unwrap().is_empty());
        assert!(request.spec.public_key_der().unwrap().is_empty());
    }

    #[test]
    fn v1beta1_may_show_a_key_in_place_of_a_csr() {
        let request: PodCertificateRequest = serde_json::from_str(
            r#"{"metadata":{"name":"r"},"spec":{"pkixPublicKey":"MAo=","proofOfPossession":"AA=="}}"#,
        )
        .unwrap();
        assert_eq!(request.spec.public_key_der().unwrap(), [0x30, 0x0a]);
        assert!(request.spec.csr_der().unwrap().is_empty());
        let url = PodCertificateRequest::url_path(&ApiVersion::V1Beta1, Some("shop"));
        assert_eq!(
            url,
            "/apis/certificates.k8s.io/v1beta1/namespaces/shop/podcertificaterequests"
        );
    }

    #[test]
    fn base64_that_is_none_is_an_error_of_this_request_alone() {
        let request: PodCertificateRequest = serde_json::from_str(
            r#"{"metadata":{"name":"r"},"spec":{"stubPKCS10Request":"%%","pkixPublicKey":"%"}}"#,
        )
        .unwrap();
        assert_eq!(
            request.spec.csr_der().unwrap_err().to_string(),
            "field spec.stubPKCS10Request is not base64"
        );
        assert_eq!(
            request.spec.public_key_der().unwrap_err().to_string(),
            "field spec.pkixPublicKey is not base64"
        );
    }
}
