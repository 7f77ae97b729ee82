//! Requests as a node's kubelet makes them.
//!
//! The node user is played by impersonation, so the server's NodeRestriction checks each request
//! against the pod, as it does with a real kubelet.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::core::Object;
use kube::{Client, ResourceExt as _};
use podcert_cases::material::{self, KeyType};
use podcert_cases::{Release, User};
use podcert_pki::{CertificationRequest, PublicKey};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::{Answers, Node, Outcome, PATIENCE, Pod, Stage};

/// A PodCertificateRequest of any version.
pub(crate) type Request = Object<Spec, Status>;

/// What it asks, in the fields of every version.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Spec {
    pub(crate) signer_name: String,
    pub(crate) pod_name: String,
    #[serde(rename = "podUID")]
    pub(crate) pod_uid: String,
    pub(crate) service_account_name: String,
    #[serde(rename = "serviceAccountUID")]
    pub(crate) service_account_uid: String,
    pub(crate) node_name: String,
    #[serde(rename = "nodeUID")]
    pub(crate) node_uid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_expiration_seconds: Option<i32>,
    /// Base64.
    #[serde(rename = "stubPKCS10Request", skip_serializing_if = "Option::is_none")]
    pub(crate) stub_pkcs10_request: Option<String>,
    /// Base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pkix_public_key: Option<String>,
    /// Base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) proof_of_possession: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) unverified_user_annotations: BTreeMap<String, String>,
}

/// What was answered.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Status {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) conditions: Vec<Condition>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) certificate_chain: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) not_before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) begin_refresh_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) not_after: Option<String>,
}

/// A workload's key. Nothing forbids to use one for many requests, and RSA is slow to make.
pub(crate) struct WorkloadKey {
    kind: KeyType,
    pub(crate) public: PublicKey,
    pair: rcgen::KeyPair,
    csr: String,
}

/// One request to be made.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) pod: Arc<Pod>,
    pub(crate) signer: String,
    pub(crate) key: Arc<WorkloadKey>,
}

/// Which request: namespace and name.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct RequestId {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// One request that was made, and its answer.
#[derive(Clone, Debug)]
pub(crate) struct Answered {
    pub(crate) ask: Ask,
    pub(crate) outcome: Outcome,
}

/// What makes requests for the pods of a node.
#[derive(Clone)]
pub(crate) struct Kubelet {
    stage: Arc<Stage>,
    client: Client,
}

impl WorkloadKey {
    /// The key of this type: made once in the life of the process, and used for many requests.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(crate) fn of(kind: KeyType) -> Result<Arc<Self>> {
        static MADE: Mutex<Vec<Arc<WorkloadKey>>> = Mutex::new(Vec::new());
        let made = || MADE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = made().iter().find(|key| key.kind == kind) {
            return Ok(Arc::clone(key));
        }
        let key = Self::new(kind)?;
        made().push(Arc::clone(&key));
        Ok(key)
    }

    /// A new key.
    ///
    /// # Errors
    /// When podcert's own reader cannot read the other library's request.
    pub(crate) fn new(kind: KeyType) -> Result<Arc<Self>> {
        let pair = material::key(kind);
        let csr = material::csr(&pair);
        Ok(Arc::new(Self {
            kind,
            public: CertificationRequest::from_der(&csr)?.public_key().clone(),
            csr: STANDARD.encode(csr),
            pair,
        }))
    }

    /// The key itself, for requests out of the ordinary.
    pub(crate) fn pair(&self) -> &rcgen::KeyPair {
        &self.pair
    }

    /// Puts the key into a request, in the form that this release's kubelets use: a CSR from 1.36
    /// on, a public key and a signature of the pod's UID before.
    pub(crate) fn show(&self, release: Release, spec: &mut Spec) {
        if release >= Release::V1_36 {
            spec.stub_pkcs10_request = Some(self.csr.clone());
        } else {
            let proof = material::proof_of_possession(&self.pair, &spec.pod_uid);
            spec.pkix_public_key = Some(STANDARD.encode(self.public.spki_der()));
            spec.proof_of_possession = Some(STANDARD.encode(proof));
        }
    }
}

impl Ask {
    /// A request as the pod's projection of this signer makes it.
    pub(crate) fn new(pod: &Arc<Pod>, signer: &str, key: &Arc<WorkloadKey>) -> Self {
        Self {
            pod: Arc::clone(pod),
            signer: signer.to_owned(),
            key: Arc::clone(key),
        }
    }

    /// What the request says.
    pub(crate) fn spec(&self, release: Release) -> Spec {
        let pod = &self.pod;
        let mut spec = Spec {
            signer_name: self.signer.clone(),
            pod_name: pod.name.clone(),
            pod_uid: pod.uid.clone(),
            service_account_name: pod.service_account.clone(),
            service_account_uid: pod.service_account_uid.clone(),
            node_name: pod.node.name.clone(),
            node_uid: pod.node.uid.clone(),
            max_expiration_seconds: Some(86_400),
            ..Spec::default()
        };
        self.key.show(release, &mut spec);
        spec
    }
}

impl Stage {
    /// Makes a request as whoever `client` speaks for.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn request(
        &self,
        client: &Client,
        namespace: &str,
        spec: Spec,
    ) -> kube::Result<RequestId> {
        let api: Api<Request> = self.requests(client.clone(), namespace);
        let request = Request {
            types: Some(kube::api::TypeMeta {
                api_version: self.resource("").api_version,
                kind: "PodCertificateRequest".into(),
            }),
            metadata: ObjectMeta {
                generate_name: Some("req-".into()),
                ..ObjectMeta::default()
            },
            spec,
            status: None,
        };
        let made = api.create(&PostParams::default(), &request).await?;
        Ok(RequestId {
            namespace: namespace.to_owned(),
            name: made.name_any(),
        })
    }
}

impl Kubelet {
    /// The kubelet of a node.
    ///
    /// # Errors
    /// When the configuration makes no client.
    pub(crate) fn of(stage: &Arc<Stage>, node: &Node) -> Result<Self> {
        Ok(Self {
            stage: Arc::clone(stage),
            client: stage.client(&User::node(&node.name))?,
        })
    }

    /// The node's client.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Makes a request. As long as the server has not seen the pod itself, tries again.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn ask(&self, ask: &Ask) -> Result<RequestId> {
        let spec = ask.spec(self.stage.skew.kubelets);
        let started = Instant::now();
        loop {
            let made = self
                .stage
                .request(&self.client, &ask.pod.namespace, spec.clone())
                .await;
            match made {
                Err(kube::Error::Api(status))
                    if lags(&status.message) && started.elapsed() < PATIENCE =>
                {
                    sleep(Duration::from_millis(20)).await;
                }
                other => {
                    return other.with_context(|| {
                        let Pod {
                            namespace, name, ..
                        } = &*ask.pod;
                        format!("cannot ask {} for pod {namespace}/{name}", ask.signer)
                    });
                }
            }
        }
    }

    /// Makes all requests, `at_once` at a time, and waits for no answer.
    ///
    /// # Errors
    /// When the server refuses one.
    pub(crate) async fn burst(&self, asks: &[Ask], at_once: usize) -> Result<Vec<RequestId>> {
        stream::iter(asks)
            .map(|ask| self.ask(ask))
            .buffered(at_once)
            .try_collect()
            .await
    }

    /// Makes the requests in a closed loop, never more than `at_once` of them unanswered.
    ///
    /// # Errors
    /// When the server refuses one, or one is not answered in time.
    pub(crate) async fn closed_loop(
        &self,
        answers: &Answers,
        asks: Vec<Ask>,
        at_once: usize,
    ) -> Result<Vec<Answered>> {
        stream::iter(asks)
            .map(|ask| async move {
                let id = self.ask(&ask).await?;
                let outcome = answers.of(&id, PATIENCE).await?;
                Ok(Answered { ask, outcome })
            })
            .buffer_unordered(at_once)
            .try_collect()
            .await
    }
}

impl RequestId {
    /// Where a request is.
    pub(crate) fn of(request: &Request) -> Self {
        Self {
            namespace: request.namespace().unwrap_or_default(),
            name: request.name_any(),
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for WorkloadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WorkloadKey").field(&self.kind).finish()
    }
}

impl fmt::Debug for Kubelet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kubelet").field(&self.stage.name).finish()
    }
}

/// NodeRestriction looks at its own copy of pods, nodes and service accounts, which may be behind.
fn lags(message: &str) -> bool {
    [
        "named in the PodCertificateRequest",
        "inconsistent with the running node",
        "differs from running pod",
        "differs from the running service account",
    ]
    .iter()
    .any(|known| message.contains(known))
        && !message.contains("is not running on node")
}
