//! Replicas that share the work of one cluster, each with a user of its own, so that it can be told
//! who did what.

use std::{convert::Infallible, sync::Arc, sync::Mutex, time::Duration};

use http::{Method, Request};
use http_body_util::BodyExt;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;
use podcert_apiserver::{Effect, Fault, Matching, Occurrence, User, Verb};
use podcert_controller::{Broken, Config, Controller, OwnPod, PoolSource, Signer};
use podcert_issuance::{NamePolicy, Policy, service_dns, spiffe};
use podcert_runtime::{Clock as _, Health, Jitter, TokioClock, api};
use prometheus_client::registry::Registry;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::{ServiceExt as _, service_fn};

use crate::cluster::{Asked, Cluster, Gate, SERVICE_DNS, SPIFFE, Setup};

pub(crate) const NAMESPACE: &str = "mesh-controller";
pub(crate) const APPLICATION: &str = "mesh-controller";

/// What a replica asked for, in order.
pub(crate) type Journal = Arc<Mutex<Vec<(Method, String)>>>;

/// A replica under way.
pub(crate) struct Replica {
    pub(crate) name: String,
    pub(crate) health: Health,
    pub(crate) registry: Registry,
    pub(crate) shutdown: CancellationToken,
    pub(crate) running: JoinHandle<Result<(), Broken>>,
}

/// A replica that does not run yet.
pub(crate) struct Idle {
    pub(crate) controller: Controller,
    pub(crate) registry: Registry,
    pub(crate) journal: Journal,
}

impl Idle {
    /// Starts it as the replica `name`.
    pub(crate) fn start(self, name: &str) -> Replica {
        let health = self.controller.health().clone();
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(self.controller.run(shutdown.clone()));
        Replica {
            name: name.into(),
            health,
            registry: self.registry,
            shutdown,
            running,
        }
    }
}

/// A cluster with pools and without a controller.
pub(crate) async fn cluster() -> Cluster {
    cluster_of(Setup::new()).await
}

/// The same of another server.
pub(crate) async fn cluster_of(setup: Setup) -> Cluster {
    let cluster = setup.start().await;
    // The one that is there has done nothing yet.
    cluster.shutdown.cancel();
    cluster
        .spiffe_pool
        .send_replace(Some(cluster.new_pool(&["1"])));
    cluster
        .service_dns_pool
        .send_replace(Some(cluster.new_pool(&["1"])));
    cluster
}

pub(crate) fn user(name: &str) -> String {
    format!("system:serviceaccount:{NAMESPACE}:{name}")
}

impl Cluster {
    /// A replica named `name`; called in the runtime it will run in.
    pub(crate) fn replica(&self, name: &str) -> Idle {
        self.replica_behind(name, Gate::default())
    }

    /// The same behind a gate.
    pub(crate) fn replica_behind(&self, name: &str, gate: Gate) -> Idle {
        let names = spiffe::Policy::new(
            "cluster.local".parse().unwrap(),
            spiffe::IdTemplate::default(),
        );
        let signer = |signer: &str, names, pool| Signer {
            policy: Policy::new(signer.parse().unwrap(), names),
            pool: PoolSource::Memory(pool),
        };
        let service_dns = NamePolicy::ServiceDns(service_dns::Policy::default());
        let signers = vec![
            signer(SERVICE_DNS, service_dns, self.service_dns_pool.subscribe()),
            signer(
                SPIFFE,
                NamePolicy::Spiffe(names.unwrap()),
                self.spiffe_pool.subscribe(),
            ),
        ];
        let config = Config {
            own_pod: Some(OwnPod {
                namespace: NAMESPACE.into(),
                name: name.into(),
                uid: format!("uid-of-{name}"),
            }),
            application: Some(APPLICATION.parse().unwrap()),
            ..Config::new(signers)
        };
        let journal = Journal::default();
        let service = self.api.as_user(User::new(user(name)));
        let server = service_fn({
            let journal = Arc::clone(&journal);
            move |request: Request<kube::client::Body>| {
                let asked = (request.method().clone(), request.uri().to_string());
                journal.lock().unwrap().push(asked);
                let (service, gate) = (service.clone(), gate.clone());
                async move {
                    if let Some(answer) = gate.answer(&request) {
                        return Ok::<_, Infallible>(answer);
                    }
                    let response = service.oneshot(request).await?;
                    Ok(response.map(BodyExt::boxed_unsync))
                }
            }
        });
        let options = api::Options {
            jitter: Jitter::seeded(1),
            ..api::Options::new(Arc::new(TokioClock::starting_at(self.clock.now())))
        };
        let connection = api::Connection::from_service(server, "default", options);
        let mut registry = Registry::default();
        let jitter = Jitter::seeded(2);
        let controller = Controller::new(config, connection, jitter, &mut registry).unwrap();
        Idle {
            controller,
            registry,
            journal,
        }
    }

    /// Starts a replica.
    pub(crate) fn join(&self, name: &str) -> Replica {
        self.replica(name).start(name)
    }

    /// Starts these replicas, and waits until they are ready and know of each other.
    pub(crate) async fn join_all<const N: usize>(&self, names: [&str; N]) -> [Replica; N] {
        let replicas = names.map(|name| self.join(name));
        for replica in &replicas {
            replica.health.ready().await;
        }
        self.pass(1).await;
        for replica in &replicas {
            assert_eq!(replica.metric("podcert_replicas_live"), N as f64);
        }
        replicas
    }

    pub(crate) fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// So many new requests for one pod.
    pub(crate) async fn ask_often(&self, pod: &str, times: usize) -> Vec<Asked> {
        let pod = self.pod("shop", pod).await;
        let mut asked = Vec::new();
        for _ in 0..times {
            asked.push(self.ask(&pod, SPIFFE).await);
        }
        asked
    }

    /// How many of `asked` were issued.
    pub(crate) async fn issued(&self, asked: &[Asked]) -> usize {
        let mut issued = 0;
        for request in asked {
            issued += usize::from(self.is_issued(request).await);
        }
        issued
    }

    /// How many writes of statuses a replica sent.
    pub(crate) fn answers_of(&self, name: &str) -> u64 {
        let stats = self.api.stats().of_user(&user(name));
        stats.of_resource("podcertificaterequests/status").writes()
    }

    pub(crate) fn bundle_writes_of(&self, name: &str) -> u64 {
        let stats = self.api.stats().of_user(&user(name));
        stats.of_resource("clustertrustbundles").writes()
    }

    /// A fault that hits what a replica does with a resource.
    pub(crate) fn hinder(
        &self,
        name: &str,
        verbs: &[Verb],
        resource: &str,
        effect: &Effect,
    ) -> Vec<Fault> {
        let of_verb = |verb: &Verb| {
            let matching = Matching::any().user(user(name)).resource(resource);
            let faults = self.api.faults();
            faults.inject(matching.verb(*verb), Occurrence::Always, effect.clone())
        };
        verbs.iter().map(of_verb).collect()
    }
}

impl Replica {
    pub(crate) fn metrics(&self) -> String {
        metrics(&self.registry)
    }

    /// The value of the one sample of this name.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let metrics = self.metrics();
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().parse().unwrap()
    }

    /// The sum of a counter, whatever its labels.
    pub(crate) fn count(&self, name: &str) -> u64 {
        let metrics = self.metrics();
        let lines = metrics.lines().filter(|line| line.starts_with(name));
        lines
            .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
            .sum()
    }

    /// Ends it in order.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
    }

    /// Ends it as a crash does: no task of it is polled again.
    pub(crate) async fn die(self) {
        self.running.abort();
        let _ = self.running.await;
    }
}

pub(crate) fn metrics(registry: &Registry) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    text
}

/// Stops what is left.
pub(crate) async fn stop_all(cluster: Cluster, replicas: impl IntoIterator<Item = Replica>) {
    for replica in replicas {
        replica.stop().await;
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    cluster.stop().await;
}
