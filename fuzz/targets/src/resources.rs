//! Kubernetes objects as the controller reads them.

use podcert_resources::{ClusterTrustBundle, Pod, PodCertificateRequest, Service};

/// An object of any kind, in JSON.
pub fn resources(data: &[u8]) {
    if let Ok(request) = serde_json::from_slice::<PodCertificateRequest>(data) {
        let _ = request.settled();
        for der in [request.spec.csr_der(), request.spec.public_key_der()]
            .into_iter()
            .flatten()
        {
            crate::csr(&der);
        }
    }
    if let Ok(pod) = serde_json::from_slice::<Pod>(data) {
        let _ = (pod.node_name(), pod.service_account_name(), pod.ended());
        let _ = pod.pod_certificates().count();
    }
    if let Ok(service) = serde_json::from_slice::<Service>(data) {
        let _ = service.type_().len();
        let _ = service.into_selector();
    }
    if let Ok(bundle) = serde_json::from_slice::<ClusterTrustBundle>(data) {
        crate::pem(bundle.spec.trust_bundle.as_bytes());
    }
}
