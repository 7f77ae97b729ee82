//! The pod's certificates: each source moves on its own pass, and whenever a request of the pod changes.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{PodCertificateRequest, PodCertificateRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ObjectMeta, PostParams};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt};
use podcert_pki::{KeyType, PrivateKey, empty_csr};
use tokio::time::Instant;

use super::playing::{Playing, doubled};
use super::{API_RETRY, PodWorker};
use crate::events::Severity;
use crate::kubelet::certificate::{self, State, Transition};
use crate::kubelet::plan::{CertificatePlan, Source, VolumePlan};

impl PodWorker {
    /// Moves every certificate source as far as it goes now.
    pub(super) async fn look_at_certificates(&mut self, playing: &mut Playing) {
        let due = Instant::now() >= playing.next_pass;
        if playing.over || (!due && !playing.poked) {
            return;
        }
        playing.poked = false;
        if due {
            let pass = self.shared.node.timing.refresh_pass;
            playing.next_pass = Instant::now() + pass + self.shared.node.draw(pass);
        }
        let mut failed = false;
        let keys: Vec<_> = playing.certificates.keys().cloned().collect();
        for key in keys {
            let Some(VolumePlan::Files { sources, .. }) = playing.plan.volumes.get(&key.0) else {
                continue;
            };
            let Some(Source::Certificate(source)) = sources.get(key.1).cloned() else {
                continue;
            };
            let Some(state) = playing.certificates.get_mut(&key) else {
                continue;
            };
            failed |= self.advance(&source, state).await.is_err();
        }
        if failed {
            playing.request_failures = playing.request_failures.saturating_add(1);
            let wait = doubled(API_RETRY, playing.request_failures, API_RETRY_MAX);
            playing.next_pass = playing.next_pass.min(Instant::now() + wait);
        } else {
            playing.request_failures = 0;
        }
    }

    async fn advance(&self, source: &CertificatePlan, state: &mut State) -> Result<(), ()> {
        let node = &self.shared.node;
        loop {
            let find = |name: &str| {
                let key = ObjectRef::new(name).within(&self.name.namespace);
                self.shared.requests.get(&key).map(Arc::unwrap_or_clone)
            };
            let jitter = || node.draw(certificate::JITTER);
            match state.advance(find, node.clock.now(), jitter) {
                Transition::Request => {
                    // First: whether it can be asked for is another matter.
                    self.tell_lateness(state).await;
                    match self.request(source).await {
                        Ok((key, request)) => {
                            let created = request.creation_timestamp().map(|time| time.0);
                            let created = created.unwrap_or_else(|| node.clock.now());
                            state.requested(key, request.name_any(), created, jitter());
                            node.ledger.note(|report| report.requests += 1);
                            return Ok(());
                        }
                        Err(message) => {
                            self.emit(Severity::Warning, "FailedCertificateRequest", &message)
                                .await;
                            return Err(());
                        }
                    }
                }
                Transition::Denied(refusal) => {
                    self.emit(Severity::Warning, "Denied", &refusal.to_string())
                        .await;
                }
                Transition::Failed(refusal) => {
                    self.emit(Severity::Warning, "Failed", &refusal.to_string())
                        .await;
                }
                Transition::Issued | Transition::Lost => {}
                Transition::Rest => break,
            }
        }
        self.tell_lateness(state).await;
        Ok(())
    }

    async fn tell_lateness(&self, state: &mut State) {
        for lateness in state.lateness(self.shared.node.clock.now()) {
            let (reason, message) = lateness.words();
            self.emit(Severity::Warning, reason, message).await;
        }
    }

    /// Makes a key and a request for it.
    async fn request(
        &self,
        source: &CertificatePlan,
    ) -> Result<(PrivateKey, PodCertificateRequest), String> {
        let node = &self.shared.node;
        let account = self.account();
        let accounts: Api<ServiceAccount> =
            Api::namespaced(node.client.clone(), &self.name.namespace);
        let account_uid = accounts
            .get(&account)
            .await
            .map_err(|error| format!("cannot read service account {account:?}: {error}"))?
            .uid()
            .unwrap_or_default();
        let (key, csr) = make_key(source.key_type).await?;
        let request = PodCertificateRequest {
            metadata: ObjectMeta {
                generate_name: Some("req-".to_owned()),
                namespace: Some(self.name.namespace.clone()),
                owner_references: Some(vec![OwnerReference {
                    api_version: "v1".to_owned(),
                    kind: "Pod".to_owned(),
                    name: self.name.name.clone(),
                    uid: self.name.uid.clone(),
                    ..OwnerReference::default()
                }]),
                ..ObjectMeta::default()
            },
            spec: PodCertificateRequestSpec {
                max_expiration_seconds: source.max_expiration_seconds,
                node_name: node.name.clone(),
                node_uid: node.uid.clone(),
                pod_name: self.name.name.clone(),
                pod_uid: self.name.uid.clone(),
                service_account_name: account,
                service_account_uid: account_uid,
                signer_name: source.signer_name.clone(),
                stub_pkc_s10_request: ByteString(csr),
                unverified_user_annotations: source.user_annotations.clone(),
            },
            status: None,
        };
        let requests: Api<PodCertificateRequest> =
            Api::namespaced(node.client.clone(), &self.name.namespace);
        let created = requests.create(&PostParams::default(), &request).await;
        let signer = &source.signer_name;
        let created = created
            .map_err(|error| format!("cannot request a certificate of {signer}: {error}"))?;
        Ok((key, created))
    }
}

/// RSA keys take long enough to be made elsewhere.
async fn make_key(key_type: KeyType) -> Result<(PrivateKey, Vec<u8>), String> {
    let made = tokio::task::spawn_blocking(move || {
        let key = PrivateKey::generate(key_type).map_err(|error| error.to_string())?;
        let csr = empty_csr(&key).map_err(|error| error.to_string())?;
        Ok((key, csr))
    });
    made.await.map_err(|error| error.to_string())?
}

const API_RETRY_MAX: Duration = Duration::from_secs(60);
