//! A sandbox in virtual time, with a signer that answers for everything under `test.example/`.

#![allow(dead_code, reason = "each test crate uses its part")]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::certificates::v1::{PodCertificateRequest, PodCertificateRequestStatus};
use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::api::{ListParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use podcert_pki::ca::{CaSpec, SubjectName, new_root};
use podcert_pki::{
    Certificate, CertificationRequest, CredentialBundle, DnsName, ExtKeyUsages, IssuerContext,
    KeyType, LeafNames, LeafSpec, PrivateKey, Serial, Validity,
};
use podcert_runtime::{SharedClock, TokioClock};
use podcert_sandbox::{
    Door, Exit, Images, Launch, Options, PodRunner, Runner, Sandbox, StopSignal, User,
};
use tokio::time::sleep;

pub(crate) const START: &str = "2027-01-01T00:00:00Z";

/// Containers as tasks that run until they are stopped.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    pub(crate) launches: Mutex<Vec<Launch>>,
    pub(crate) stops: Arc<Mutex<Vec<Duration>>>,
    /// Words that make a command that is run in a container succeed.
    pub(crate) healthy: Mutex<BTreeSet<String>>,
}

impl PodRunner for Tasks {
    fn start(
        &self,
        launch: Launch,
        mut stop: StopSignal,
    ) -> Result<BoxFuture<'static, Exit>, String> {
        // `crash-after 5` and `succeed-after 5` end by themselves.
        let crash = match launch.argv.as_slice() {
            [word, seconds] if word == "crash-after" || word == "succeed-after" => {
                let code = i32::from(word == "crash-after");
                Some((Duration::from_secs(seconds.parse().unwrap()), code))
            }
            _ => None,
        };
        self.launches.lock().unwrap().push(launch);
        let stops = self.stops.clone();
        Ok(async move {
            match crash {
                Some((after, code)) => {
                    sleep(after).await;
                    Exit::Code(code)
                }
                None => {
                    let grace = stop.requested().await;
                    stops.lock().unwrap().push(grace);
                    Exit::Code(0)
                }
            }
        }
        .boxed())
    }

    /// `true` succeeds and everything else fails, unless the test says otherwise by [`Tasks::healthy`].
    fn exec(
        &self,
        _launch: &Launch,
        argv: Vec<String>,
    ) -> Result<BoxFuture<'static, Exit>, String> {
        let healthy = argv
            .iter()
            .any(|word| self.healthy.lock().unwrap().contains(word));
        let code = i32::from(!healthy && argv != ["true"]);
        Ok(async move { Exit::Code(code) }.boxed())
    }
}

/// A sandbox, its clock, its containers and its signer.
pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) clock: SharedClock,
    pub(crate) tasks: Arc<Tasks>,
    signer: tokio::task::JoinHandle<()>,
}

impl World {
    /// Everything as tasks; call with paused time.
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Options)) -> Self {
        let clock: SharedClock = Arc::new(TokioClock::starting_at(START.parse().unwrap()));
        let tasks = Arc::new(Tasks::default());
        let mut options = Options::new(clock.clone(), Images::new().with("img", "/none"));
        options.door = Door::Closed;
        options.runner = Runner::Custom(tasks.clone());
        options.seed = Some(7);
        // Days of a Lease's renewals would be most of what a test does.
        options.timing.lease_renewal = Duration::from_secs(300);
        change(&mut options);
        let sandbox = Sandbox::start(options).await.unwrap();
        let mut user = User::new("signer");
        user.groups.push("system:masters".to_owned());
        let signer = tokio::spawn(sign(sandbox.client(user), clock.clone()));
        Self {
            sandbox,
            clock,
            tasks,
            signer,
        }
    }

    pub(crate) async fn end(self) {
        self.signer.abort();
        self.sandbox.shutdown().await.unwrap();
    }

    pub(crate) async fn apply(&self, yaml: &str) {
        self.sandbox.apply(yaml).await.unwrap();
    }

    pub(crate) async fn pods(&self) -> Vec<Pod> {
        let pods: Api<Pod> = Api::all(self.sandbox.admin());
        pods.list(&ListParams::default()).await.unwrap().items
    }

    /// The only pod, once `holds` is true of it.
    pub(crate) async fn pod_when(&self, what: &str, holds: impl Fn(&Pod) -> bool) -> Pod {
        for _ in 0..600 {
            if let [pod] = self.pods().await.as_slice()
                && holds(pod)
            {
                return pod.clone();
            }
            sleep(Duration::from_millis(500)).await;
        }
        panic!(
            "no pod is {what} after five minutes: {:#?}",
            self.pods().await
        );
    }

    pub(crate) async fn ready_pod(&self) -> Pod {
        self.pod_when("Ready", is_ready).await
    }

    pub(crate) async fn requests(&self) -> Vec<PodCertificateRequest> {
        let requests: Api<PodCertificateRequest> = Api::all(self.sandbox.admin());
        requests.list(&ListParams::default()).await.unwrap().items
    }

    /// The messages of all Events with this reason.
    pub(crate) async fn events(&self, reason: &str) -> Vec<String> {
        let events: Api<Event> = Api::all(self.sandbox.admin());
        let events = events.list(&ListParams::default()).await.unwrap();
        let of_reason = events
            .into_iter()
            .filter(|event| event.reason.as_deref() == Some(reason));
        of_reason.filter_map(|event| event.message).collect()
    }

    pub(crate) async fn assert_event(&self, reason: &str, text: &str) {
        let events = self.events(reason).await;
        assert!(
            events.iter().any(|message| message.contains(text)),
            "{reason} {text}: {events:?}"
        );
    }

    pub(crate) fn file(&self, pod: &Pod, volume: &str, file: &str) -> PathBuf {
        self.sandbox
            .volume(&pod.uid().unwrap(), volume)
            .unwrap()
            .join(file)
    }

    pub(crate) fn read(&self, pod: &Pod, file: &str) -> Option<String> {
        std::fs::read_to_string(self.file(pod, "tls", file)).ok()
    }

    pub(crate) fn bundle(&self, pod: &Pod) -> CredentialBundle {
        CredentialBundle::from_pem(self.read(pod, "creds.pem").unwrap()).unwrap()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// A runner that keeps containers as tasks, for sandboxes that are not a [`World`].
pub(crate) fn tasks() -> Runner {
    Runner::Custom(Arc::new(Tasks::default()))
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|c| c.type_ == "Ready" && c.status == "True")
}

/// A Deployment of one container with one projected volume `tls`.
pub(crate) fn deployment(replicas: u32, sources: &str) -> String {
    deployment_with(replicas, sources, "[serve]", "")
}

pub(crate) fn deployment_with(
    replicas: u32,
    sources: &str,
    command: &str,
    pod_spec: &str,
) -> String {
    format!(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: default}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      {pod_spec}
      containers:
      - name: main
        image: img:1
        command: {command}
        volumeMounts: [{{name: tls, mountPath: /run/tls}}]
      volumes:
      - name: tls
        projected:
          sources: {sources}
"
    )
}

pub(crate) fn certificate(signer: &str) -> String {
    format!(
        "{{podCertificate: {{signerName: test.example/{signer}, keyType: ECDSAP256, \
         credentialBundlePath: creds.pem}}}}"
    )
}

/// A ClusterTrustBundle without signer holding one fresh anchor.
pub(crate) fn trust_bundle(name: &str) -> (String, Certificate) {
    trust_bundle_of(name, "", "{}")
}

/// A ClusterTrustBundle with this line in its spec and these labels.
pub(crate) fn trust_bundle_of(name: &str, signer: &str, labels: &str) -> (String, Certificate) {
    let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let anchor = root(&key, START.parse().unwrap());
    let indented: String = anchor
        .to_pem()
        .lines()
        .map(|line| format!("    {line}\n"))
        .collect();
    let yaml = format!(
        "
apiVersion: certificates.k8s.io/v1
kind: ClusterTrustBundle
metadata: {{name: '{name}', labels: {labels}}}
spec:
  {signer}
  trustBundle: |
{indented}"
    );
    (yaml, anchor)
}

fn root(key: &PrivateKey, now: Timestamp) -> Certificate {
    let day = SignedDuration::from_hours(24);
    let spec = CaSpec {
        subject: SubjectName::for_key("test", None, key.public_key()).unwrap(),
        validity: Validity::new(now - day, now + day * 3650).unwrap(),
        serial: Serial::random().unwrap(),
    };
    new_root(key, &spec).unwrap()
}

/// Answers requests: `test.example/mute` never, `/deny` with a denial, the others with a certificate of 24 hours to be
/// refreshed after 12.
async fn sign(client: Client, clock: SharedClock) {
    let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let issuer = root(&key, clock.now());
    let context = IssuerContext::new(&issuer, key.signature_algorithm()).unwrap();
    let requests: Api<PodCertificateRequest> = Api::all(client.clone());
    let stream = watcher(requests, watcher::Config::default()).default_backoff();
    let mut stream = std::pin::pin!(stream.applied_objects());
    let mut keys = BTreeSet::new();
    while let Some(event) = stream.next().await {
        let Ok(mut request) = event else { continue };
        let settled = request
            .status
            .as_ref()
            .and_then(|s| s.conditions.as_ref())
            .is_some();
        if settled || request.spec.signer_name == "test.example/mute" {
            continue;
        }
        let csr = CertificationRequest::from_der(&request.spec.stub_pkc_s10_request.0).unwrap();
        csr.verify().unwrap();
        let fresh = keys.insert(csr.public_key().spki_der().to_vec());
        assert!(fresh, "a key was used for two requests");
        let now = Timestamp::from_second(clock.now().as_second()).unwrap();
        let condition = |type_: &str| {
            Some(vec![Condition {
                type_: type_.to_owned(),
                status: "True".to_owned(),
                reason: "Test".to_owned(),
                message: "by the test".to_owned(),
                last_transition_time: Time(now),
                observed_generation: None,
            }])
        };
        request.status = Some(if request.spec.signer_name == "test.example/deny" {
            PodCertificateRequestStatus {
                conditions: condition("Denied"),
                ..Default::default()
            }
        } else {
            let hour = SignedDuration::from_hours(1);
            let validity = Validity::new(now, now + hour * 24).unwrap();
            let spec = LeafSpec::new(
                csr.public_key().clone(),
                LeafNames::Dns(vec!["web.default.svc".parse::<DnsName>().unwrap()]),
                ExtKeyUsages {
                    server_auth: true,
                    client_auth: false,
                },
                validity,
            )
            .unwrap();
            let tbs = context.leaf_tbs(&spec, &Serial::random().unwrap()).unwrap();
            let der = tbs
                .assemble(&key.sign(tbs.to_be_signed()).unwrap())
                .unwrap();
            PodCertificateRequestStatus {
                conditions: condition("Issued"),
                certificate_chain: Some(Certificate::from_der(der).unwrap().to_pem()),
                not_before: Some(Time(validity.not_before())),
                begin_refresh_at: Some(Time(now + hour * 12)),
                not_after: Some(Time(validity.not_after())),
            }
        });
        let api: Api<PodCertificateRequest> =
            Api::namespaced(client.clone(), &request.namespace().unwrap());
        let name = request.name_any();
        // Refused or lost: the watch shows it again, or the kubelet asks again.
        let _ = api
            .replace_status(&name, &PostParams::default(), &request)
            .await;
    }
}
