//! A cluster of an API server and a controller, and the hands that make objects in it.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fmt::Debug,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{ClusterTrustBundle, PodCertificateRequest};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service, ServiceAccount};
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use podcert_apiserver::{ApiServer, Effect, Fault, Matching, Occurrence, Stats, User, Verb};
use podcert_authority::{CaId, CaOptions, Pool};
use podcert_controller::{Broken, Config, Controller, OwnPod, PoolSource, Signer, UnknownAnchors};
use podcert_issuance::{NamePolicy, Policy, pod_identity, service_dns, spiffe};
use podcert_pki::{Chain, IssuerUrl, KeyType, PrivateKey, TrustBundle, empty_csr};
use podcert_runtime::{Clock as _, Health, Jitter, TokioClock, api};
use podcert_workload::files::Options;
use prometheus_client::registry::Registry;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinHandle, time::sleep};
use tokio_util::sync::CancellationToken;
use tower::{ServiceExt as _, service_fn};

pub(crate) const SERVICE_DNS: &str = "row-major.net/service-dns";
pub(crate) const SPIFFE: &str = "row-major.net/spiffe";
pub(crate) const POD_IDENTITY: &str = "row-major.net/pod-identity";
pub(crate) const NODE: &str = "node-1";
pub(crate) const CONTROLLER: &str = "system:serviceaccount:mesh-controller:default";

type PoolBytes = Option<Arc<[u8]>>;

/// What a story begins with.
pub(crate) struct Setup {
    pub(crate) api: ApiServer,
    pub(crate) clock: Arc<TokioClock>,
    pub(crate) skew: SignedDuration,
    pub(crate) trust_domain: String,
    pub(crate) service_dns: service_dns::Policy,
    /// Of a third signer, if there is one.
    pub(crate) pod_identity: Option<pod_identity::Policy>,
    /// What every certificate says, if any.
    pub(crate) service_account_issuer: Option<IssuerUrl>,
    pub(crate) strict: bool,
    pub(crate) concurrency: usize,
    /// Instead of the pool in memory.
    pub(crate) spiffe_file: Option<PathBuf>,
    /// What becomes of anchors that are in no pool.
    pub(crate) unknown_anchors: UnknownAnchors,
    /// What the controller gets to see of each object the API server shows it.
    pub(crate) shown_as: Option<fn(&mut Value)>,
    /// What it is answered instead.
    pub(crate) gate: Gate,
}

/// Answers the controller's requests before they reach the API server: what lies outside its
/// resources (discovery), and servers of another release behind the same address.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<Mutex<Vec<Rule>>>);

/// Which requests, and the status they get.
type Rule = (fn(&Method, &str) -> bool, u16);

impl Gate {
    /// Requests of this method and path get this status, as plain text.
    pub(crate) fn close(&self, which: fn(&Method, &str) -> bool, status: u16) {
        self.0.lock().unwrap().push((which, status));
    }

    pub(crate) fn open(&self) {
        self.0.lock().unwrap().clear();
    }

    pub(crate) fn answer(
        &self,
        request: &Request<kube::client::Body>,
    ) -> Option<Response<StoryBody>> {
        let rules = self.0.lock().unwrap();
        let (_, status) = rules
            .iter()
            .find(|(which, _)| which(request.method(), request.uri().path()))?;
        let body = Full::from("the gate is closed").map_err(|never| match never {});
        let answer = Response::builder().status(*status);
        Some(answer.body(body.boxed_unsync()).unwrap())
    }
}

pub(crate) type StoryBody = UnsyncBoxBody<Bytes, Infallible>;

impl Setup {
    pub(crate) fn new() -> Self {
        Self::on(ApiServer::builder())
    }

    /// On an API server that asks its roles.
    pub(crate) fn with_rbac() -> Self {
        Self::on(ApiServer::builder().rbac())
    }

    fn on(server: podcert_apiserver::Builder) -> Self {
        let clock = Arc::new(TokioClock::starting_at(
            "2026-11-21T12:00:00Z".parse().unwrap(),
        ));
        let dates = Arc::clone(&clock);
        let api = server.clock(Arc::new(move || dates.now())).seed(7).build();
        Self {
            api,
            clock,
            skew: SignedDuration::ZERO,
            trust_domain: "cluster.local".into(),
            service_dns: service_dns::Policy::default(),
            pod_identity: None,
            service_account_issuer: None,
            strict: false,
            concurrency: 32,
            spiffe_file: None,
            unknown_anchors: UnknownAnchors::Keep,
            shown_as: None,
            gate: Gate::default(),
        }
    }

    /// Starts the controller, without pools.
    pub(crate) async fn start(self) -> Cluster {
        let Self {
            api,
            clock,
            skew,
            trust_domain,
            service_dns,
            pod_identity,
            service_account_issuer,
            strict,
            concurrency,
            spiffe_file,
            unknown_anchors,
            shown_as,
            gate,
        } = self;
        // A failing story shows its log; the first test sets it up for all.
        let _ = tracing_subscriber::fmt().with_test_writer().try_init();
        let client = kube::Client::new(api.as_user(User::admin()), "default");
        let namespaces: Api<Namespace> = Api::all(client.clone());
        for name in ["default", "mesh-controller", "shop"] {
            let namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
            // It may be there already.
            let _ = namespaces.create(&PostParams::default(), &namespace).await;
        }
        let nodes: Api<Node> = Api::all(client.clone());
        let node = serde_json::from_value(json!({"metadata": {"name": NODE}})).unwrap();
        let _ = nodes.create(&PostParams::default(), &node).await;
        let (service_dns_pool, service_dns_bytes) = watch::channel(None);
        let (spiffe_pool, spiffe_bytes) = watch::channel(None);
        let (pod_identity_pool, pod_identity_bytes) = watch::channel(None);
        let names =
            spiffe::Policy::new(trust_domain.parse().unwrap(), spiffe::IdTemplate::default());
        let signer = |name: &str, names, pool| {
            let mut policy = Policy::new(name.parse().unwrap(), names);
            policy
                .service_account_issuer
                .clone_from(&service_account_issuer);
            if strict {
                policy.unknown_annotations = podcert_issuance::UnknownAnnotations::Deny;
            }
            Signer { policy, pool }
        };
        let spiffe_source = match spiffe_file {
            // Without file system events: virtual time does not wait for them.
            Some(path) => PoolSource::File {
                path,
                options: Options::poll_only(Duration::from_secs(30)),
            },
            None => PoolSource::Memory(spiffe_bytes),
        };
        let mut signers = vec![
            signer(
                SERVICE_DNS,
                NamePolicy::ServiceDns(service_dns),
                PoolSource::Memory(service_dns_bytes),
            ),
            signer(SPIFFE, NamePolicy::Spiffe(names.unwrap()), spiffe_source),
        ];
        if let Some(names) = pod_identity {
            signers.push(signer(
                POD_IDENTITY,
                NamePolicy::PodIdentity(names),
                PoolSource::Memory(pod_identity_bytes),
            ));
        }
        let config = Config {
            concurrency,
            unknown_anchors,
            own_pod: Some(OwnPod {
                namespace: "mesh-controller".into(),
                name: "podcert-0".into(),
                uid: "own".into(),
            }),
            ..Config::new(signers)
        };
        let local = Arc::new(TokioClock::starting_at(clock.now() + skew));
        let service = api.as_user(User::new(CONTROLLER));
        let server = service_fn(move |request: Request<kube::client::Body>| {
            let (service, gate) = (service.clone(), gate.clone());
            async move {
                if let Some(answer) = gate.answer(&request) {
                    return Ok::<_, Infallible>(answer);
                }
                let response = service.oneshot(request).await?;
                Ok(response.map(|body| {
                    let shown = body.map_frame(move |frame| {
                        frame.map_data(|data| match shown_as {
                            Some(change) => changed(&data, change),
                            None => data,
                        })
                    });
                    shown.boxed_unsync()
                }))
            }
        });
        let connection = api::Connection::from_service(
            server,
            "default",
            api::Options {
                jitter: Jitter::seeded(1),
                ..api::Options::new(local)
            },
        );
        let mut registry = Registry::default();
        let controller =
            Controller::new(config, connection, Jitter::seeded(2), &mut registry).unwrap();
        let health = controller.health().clone();
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(controller.run(shutdown.clone()));
        Cluster {
            client,
            api,
            clock,
            service_dns_pool,
            spiffe_pool,
            pod_identity_pool,
            health,
            registry,
            shutdown,
            running,
        }
    }

    /// Starts the controller with a pool of one CA for each signer, and waits until it is ready.
    pub(crate) async fn ready(self) -> Cluster {
        let cluster = self.start().await;
        let (service_dns, spiffe) = (cluster.new_pool(&["1"]), cluster.new_pool(&["1"]));
        cluster.service_dns_pool.send_replace(Some(service_dns));
        cluster.spiffe_pool.send_replace(Some(spiffe));
        let pod_identity = cluster.new_pool(&["1"]);
        cluster.pod_identity_pool.send_replace(Some(pod_identity));
        cluster.health.ready().await;
        cluster
    }
}

/// A cluster under way.
pub(crate) struct Cluster {
    pub(crate) api: ApiServer,
    pub(crate) client: kube::Client,
    pub(crate) clock: Arc<TokioClock>,
    pub(crate) service_dns_pool: watch::Sender<PoolBytes>,
    pub(crate) spiffe_pool: watch::Sender<PoolBytes>,
    pub(crate) pod_identity_pool: watch::Sender<PoolBytes>,
    pub(crate) health: Health,
    pub(crate) registry: Registry,
    pub(crate) shutdown: CancellationToken,
    pub(crate) running: JoinHandle<Result<(), Broken>>,
}

/// A request that was made, and its key.
pub(crate) struct Asked {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) key: PrivateKey,
}

/// How a kubelet asks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    /// From 1.36 on: with a CSR, at v1 or v1beta1.
    Csr(&'static str),
    /// Of 1.35: with a key and a proof of possession, at v1beta1.
    Key,
}

impl Cluster {
    pub(crate) async fn ready() -> Self {
        Setup::new().ready().await
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Lets things happen for a while.
    pub(crate) async fn pass(&self, seconds: u64) {
        sleep(Duration::from_secs(seconds)).await;
    }

    /// A pool of new CAs with these IDs.
    pub(crate) fn new_pool(&self, ids: &[&str]) -> Arc<[u8]> {
        let cas: Vec<Value> = ids
            .iter()
            .flat_map(|id| {
                let pool = Pool::generate(&CaOptions::new(CaId::new(*id)), self.now()).unwrap();
                let mut json: Value = serde_json::from_slice(&pool.to_json()).unwrap();
                json["CAs"]
                    .as_array_mut()
                    .unwrap()
                    .drain(..)
                    .collect::<Vec<_>>()
            })
            .collect();
        json!({"CAs": cas}).to_string().into_bytes().into()
    }

    /// The pool of the CAs of `pools`, in order.
    pub(crate) fn joined(pools: &[&Arc<[u8]>]) -> Arc<[u8]> {
        let cas: Vec<Value> = pools
            .iter()
            .flat_map(|pool| {
                let json: Value = serde_json::from_slice(pool).unwrap();
                json["CAs"].as_array().unwrap().clone()
            })
            .collect();
        json!({"CAs": cas}).to_string().into_bytes().into()
    }

    pub(crate) fn spiffe_pool_bytes(&self) -> Arc<[u8]> {
        self.spiffe_pool.borrow().clone().unwrap()
    }

    fn objects<K>(&self, namespace: &str) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    pub(crate) fn requests(&self, namespace: &str) -> Api<PodCertificateRequest> {
        self.objects(namespace)
    }

    pub(crate) fn pods(&self, namespace: &str) -> Api<Pod> {
        self.objects(namespace)
    }

    pub(crate) fn services(&self, namespace: &str) -> Api<Service> {
        self.objects(namespace)
    }

    pub(crate) fn nodes(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }

    pub(crate) fn service_accounts(&self, namespace: &str) -> Api<ServiceAccount> {
        self.objects(namespace)
    }

    pub(crate) fn bundles(&self) -> Api<ClusterTrustBundle> {
        Api::all(self.client.clone())
    }

    /// A bound pod labelled `app: <name>` that mounts a projection of each signer.
    pub(crate) async fn pod(&self, namespace: &str, name: &str) -> Pod {
        self.pod_with(
            namespace,
            name,
            &json!([{"signerName": SERVICE_DNS}, {"signerName": SPIFFE}]),
        )
        .await
    }

    /// A pod with these `podCertificate` projections.
    pub(crate) async fn pod_with(&self, namespace: &str, name: &str, sources: &Value) -> Pod {
        let sources: Vec<Value> = sources
            .as_array()
            .unwrap()
            .iter()
            .map(|source| {
                let mut source = source.clone();
                source["keyType"] = json!("ECDSAP256");
                source["credentialBundlePath"] = json!("bundle.pem");
                json!({"podCertificate": source})
            })
            .collect();
        let pod = json!({
            "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
            "spec": {
                "nodeName": NODE,
                "serviceAccountName": "default",
                "containers": [{"name": "c", "image": "i"}],
                "volumes": [{"name": "v", "projected": {"sources": sources}}],
            },
        });
        create(&self.pods(namespace), pod).await
    }

    /// A Service that selects pods labelled `app: <app>`.
    pub(crate) async fn service(&self, namespace: &str, name: &str, app: &str) -> Service {
        let service = json!({
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"selector": {"app": app}, "ports": [{"port": 443}]},
        });
        create(&self.services(namespace), service).await
    }

    /// A request for `pod`'s certificate, as its kubelet makes it.
    pub(crate) async fn ask(&self, pod: &Pod, signer: &str) -> Asked {
        self.ask_with(pod, signer, BTreeMap::new()).await
    }

    /// The same with annotations.
    pub(crate) async fn ask_with(
        &self,
        pod: &Pod,
        signer: &str,
        annotations: BTreeMap<String, String>,
    ) -> Asked {
        self.send(pod, signer, Form::Csr("v1"), annotations).await
    }

    /// The same in another form.
    pub(crate) async fn ask_as(&self, pod: &Pod, signer: &str, form: Form) -> Asked {
        self.send(pod, signer, form, BTreeMap::new()).await
    }

    async fn send(
        &self,
        pod: &Pod,
        signer: &str,
        form: Form,
        annotations: BTreeMap<String, String>,
    ) -> Asked {
        let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
        let namespace = pod.metadata.namespace.clone().unwrap();
        let pod_uid = pod.metadata.uid.clone().unwrap();
        let node = self.nodes().get(NODE).await.unwrap();
        let account = self.service_accounts(&namespace).get("default").await;
        let version = match form {
            Form::Csr(version) => version,
            Form::Key => "v1beta1",
        };
        let mut request = json!({
            "apiVersion": format!("certificates.k8s.io/{version}"),
            "kind": "PodCertificateRequest",
            "metadata": {"generateName": "req-", "namespace": namespace},
            "spec": {
                "signerName": signer,
                "podName": pod.metadata.name,
                "podUID": pod_uid,
                "serviceAccountName": "default",
                "serviceAccountUID": account.unwrap().metadata.uid,
                "nodeName": NODE,
                "nodeUID": node.metadata.uid,
                "maxExpirationSeconds": 86400,
                "unverifiedUserAnnotations": annotations,
            },
        });
        let spec = &mut request["spec"];
        match form {
            Form::Csr(_) => {
                spec["stubPKCS10Request"] = json!(ByteString(empty_csr(&key).unwrap()));
            }
            Form::Key => {
                let spki = key.public_key().spki_der().to_vec();
                spec["pkixPublicKey"] = json!(ByteString(spki));
                let proof = key.sign(pod_uid.as_bytes()).unwrap();
                spec["proofOfPossession"] = json!(ByteString(proof));
            }
        }
        let path = format!(
            "/apis/certificates.k8s.io/{version}/namespaces/{namespace}/podcertificaterequests"
        );
        let body = Request::post(path).body(request.to_string().into_bytes());
        let made: Value = self.client.request(body.unwrap()).await.unwrap();
        Asked {
            namespace,
            name: made["metadata"]["name"].as_str().unwrap().to_owned(),
            key,
        }
    }

    /// The request as it stands, in whatever version it is served.
    pub(crate) async fn look(&self, asked: &Asked) -> PodCertificateRequest {
        let Asked {
            namespace, name, ..
        } = asked;
        self.read(&format!(
            "namespaces/{namespace}/podcertificaterequests/{name}"
        ))
        .await
    }

    /// An object of `certificates.k8s.io`, shown as if it were read at v1.
    async fn read<K: DeserializeOwned>(&self, path: &str) -> K {
        for version in ["v1", "v1beta1"] {
            let request = Request::get(format!("/apis/certificates.k8s.io/{version}/{path}"));
            let request = request.body(Vec::new()).unwrap();
            if let Ok(mut object) = self.client.request::<Value>(request).await {
                object["apiVersion"] = json!("certificates.k8s.io/v1");
                return serde_json::from_value(object).unwrap();
            }
        }
        panic!("{path} is nowhere")
    }

    /// The type and reason of its condition, if it has one.
    pub(crate) async fn condition(&self, asked: &Asked) -> Option<(String, String)> {
        let conditions = self.look(asked).await.status?.conditions?;
        let condition = conditions.into_iter().next()?;
        Some((condition.type_, condition.reason))
    }

    pub(crate) async fn is_issued(&self, asked: &Asked) -> bool {
        self.condition(asked)
            .await
            .is_some_and(|(type_, _)| type_ == "Issued")
    }

    /// The certificate that was issued.
    pub(crate) async fn chain(&self, asked: &Asked) -> Chain {
        let status = self.look(asked).await.status.unwrap();
        Chain::from_pem(status.certificate_chain.expect("not issued")).unwrap()
    }

    /// The DNS names that were issued.
    pub(crate) async fn dns_names(&self, asked: &Asked) -> Vec<String> {
        self.chain(asked)
            .await
            .leaf()
            .dns_names()
            .map(str::to_owned)
            .collect()
    }

    /// The anchors published for a signer.
    pub(crate) async fn anchors(&self, signer: &str) -> TrustBundle {
        let name = format!("{}:primary-bundle", signer.replace('/', ":"));
        let bundle: ClusterTrustBundle = self.read(&format!("clustertrustbundles/{name}")).await;
        TrustBundle::from_pem(bundle.spec.trust_bundle).unwrap()
    }

    /// How many Events give this reason.
    pub(crate) async fn told(&self, reason: &str) -> usize {
        self.events()
            .await
            .iter()
            .filter(|(told, _)| told == reason)
            .count()
    }

    /// A fault that hits the controller's writes of statuses.
    pub(crate) fn trouble_writing(&self, occurrence: Occurrence, effect: Effect) -> Fault {
        let writes = Matching::any()
            .user(CONTROLLER)
            .verb(Verb::Update)
            .resource("podcertificaterequests/status");
        self.api.faults().inject(writes, occurrence, effect)
    }

    /// How many requests wait, whatever for.
    pub(crate) fn waiting(&self) -> i64 {
        self.metrics()
            .lines()
            .filter(|line| line.starts_with("podcert_requests_waiting{"))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<i64>().unwrap())
            .sum()
    }

    /// Reasons and notes of all Events.
    pub(crate) async fn events(&self) -> Vec<(String, String)> {
        let events: Api<Event> = Api::all(self.client.clone());
        let events = events.list(&ListParams::default()).await.unwrap();
        events
            .items
            .into_iter()
            .map(|event| (event.reason.unwrap(), event.note.unwrap()))
            .collect()
    }

    /// How often the controller asked for what.
    pub(crate) fn controller_stats(&self) -> Stats {
        self.api.stats().of_user(CONTROLLER)
    }

    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
    }
}

/// The objects of an answer (one, a list, or lines of a watch), each changed.
fn changed(data: &Bytes, change: fn(&mut Value)) -> Bytes {
    let mut lines = Vec::new();
    for line in serde_json::Deserializer::from_slice(data).into_iter::<Value>() {
        let Ok(mut line) = line else {
            // Plain text, as of a page that is not there.
            return data.clone();
        };
        if let Some(items) = line.get_mut("items").and_then(Value::as_array_mut) {
            items.iter_mut().for_each(change);
        } else if let Some(object) = line.get_mut("object") {
            change(object);
        } else {
            change(&mut line);
        }
        lines.extend(line.to_string().into_bytes());
        lines.push(b'\n');
    }
    lines.into()
}

pub(crate) async fn create<K>(api: &Api<K>, object: Value) -> K
where
    K: Clone + Debug + serde::Serialize + DeserializeOwned,
{
    let object = serde_json::from_value(object).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap()
}

pub(crate) async fn delete<K>(api: &Api<K>, name: &str)
where
    K: Clone + Debug + DeserializeOwned,
{
    api.delete(name, &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
}
