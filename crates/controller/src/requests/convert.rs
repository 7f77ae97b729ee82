//! From the API's request to the one decisions are made on.

use std::time::Duration;

use podcert_issuance::{Request, RequestedKey, SignerName};
use podcert_resources::{PodCertificateRequest, PodCertificateRequestSpec};

/// Reads `object`, a request for `signer`. Nothing for an object without name, namespace or UID,
/// which no API server serves.
///
/// Strings are moved, and the CSR is parsed here, once, however often the request is decided.
pub(crate) fn request(object: PodCertificateRequest, signer: &SignerName) -> Option<Request> {
    let PodCertificateRequest { metadata, spec, .. } = object;
    let key = key(&spec);
    Some(Request {
        namespace: metadata.namespace?,
        name: metadata.name?,
        uid: metadata.uid?,
        signer: signer.clone(),
        pod_name: spec.pod_name,
        pod_uid: spec.pod_uid,
        service_account_name: spec.service_account_name,
        service_account_uid: spec.service_account_uid,
        node_name: spec.node_name,
        node_uid: spec.node_uid,
        max_expiration: max_expiration(spec.max_expiration_seconds),
        key,
        annotations: spec.unverified_user_annotations,
    })
}

/// The key of a request: of its CSR or, as a kubelet of 1.35 asks and v1beta1 shows it, the bare
/// key. The API server takes one of the two, and has verified the proof that came with it.
pub(super) fn key(spec: &PodCertificateRequestSpec) -> RequestedKey {
    let shown = match spec.csr_der() {
        Ok(der) if der.is_empty() => spec
            .public_key_der()
            .map(|der| RequestedKey::from_pkix_public_key(&der)),
        Ok(der) => Ok(RequestedKey::from_stub_pkcs10(&der)),
        Err(error) => Err(error),
    };
    shown.unwrap_or_else(|error| RequestedKey::Unreadable {
        problem: error.to_string(),
    })
}

/// The API server defaults it to a day and refuses less than an hour; below zero there is none.
fn max_expiration(seconds: Option<i32>) -> Duration {
    let seconds = seconds.unwrap_or(DEFAULT_MAX_EXPIRATION_SECONDS);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

const DEFAULT_MAX_EXPIRATION_SECONDS: i32 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    fn convert(spec: &serde_json::Value) -> Request {
        let object = serde_json::from_value(serde_json::json!({
            "metadata": {"namespace": "shop", "name": "req-1", "uid": "r"}, "spec": spec,
        }))
        .unwrap();
        request(object, &"row-major.net/spiffe".parse().unwrap()).unwrap()
    }

    #[test]
    fn what_cannot_be_read_is_a_property_of_the_key() {
        let request = convert(&serde_json::json!({"stubPKCS10Request": "AAAA"}));
        assert!(
            matches!(request.key, RequestedKey::Unreadable { .. }),
            "{:?}",
            request.key
        );
        let request = convert(&serde_json::json!({"stubPKCS10Request": "%"}));
        assert!(
            matches!(request.key, RequestedKey::Unreadable { .. }),
            "{:?}",
            request.key
        );
        let request = convert(&serde_json::json!({}));
        assert_eq!(request.key, RequestedKey::NotShown);
    }

    #[test]
    fn the_longest_lifetime_is_never_negative() {
        assert_eq!(max_expiration(None), Duration::from_secs(86_400));
        assert_eq!(max_expiration(Some(3600)), Duration::from_secs(3600));
        assert_eq!(max_expiration(Some(-1)), Duration::ZERO);
    }

    #[test]
    fn an_object_without_identity_is_none() {
        let object = serde_json::from_str(r#"{"metadata":{"name":"x"}}"#).unwrap();
        assert_eq!(request(object, &"a.b/c".parse().unwrap()), None);
    }
}
