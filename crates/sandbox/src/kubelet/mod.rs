//! The kubelet: it watches the pods of its node and plays each of them.
//!
//! ```text
//! watch Pods ────▶ one PodWorker per pod ──▶ volumes on disk, container, status, Events
//! watch PodCertificateRequests ─poke─▲ │
//! watch ClusterTrustBundles ──read───┘ └──create PodCertificateRequest
//! ```
//!
//! [`Node`] is what a machine keeps when its kubelet restarts: the containers that run and the folders of their pods.
//! [`Kubelet`] is what it loses: every key and every request it waited for.

mod certificate;
mod environment;
mod generation;
mod heartbeat;
mod objects;
mod plan;
mod probe;
mod status;
mod token;
mod trust_bundle;
mod worker;

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{Stream, StreamExt};
use k8s_openapi::api::certificates::v1::{ClusterTrustBundle, PodCertificateRequest};
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::reflector::Store;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, Client, ResourceExt};
use podcert_runtime::{Jitter, SharedClock};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use self::heartbeat::{LEASES, register};
use self::worker::PodWorker;
use crate::containers::Containers;
use crate::events::Events;
use crate::folders::PodFolders;
use crate::images::Images;
use crate::report::Ledger;

/// How fast the kubelet does what it does, and who cleans up after it. The default is the real ones'.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KubeletTiming {
    /// A mounted volume is brought up to date every `sync_frequency × (1 + U(0, 0.5))`: `syncFrequency`, one minute.
    pub sync_frequency: Duration,
    /// A volume that cannot be set up is tried again after this long, doubling: half a second.
    pub mount_retry: Duration,
    /// The longest such wait: 2 min 2 s.
    pub mount_retry_max: Duration,
    /// Certificates are looked at, beside whenever a request of the pod changes, every
    /// `refresh_pass × (1 + U(0, 1))`: one minute.
    pub refresh_pass: Duration,
    /// A container that ended is restarted at once the first time, then after this long, doubling: 10 s.
    pub restart_backoff: Duration,
    /// The longest such wait: 5 min.
    pub restart_backoff_max: Duration,
    /// A container whose environment is incomplete is tried again every `config_retry × (1 + U(0, 0.5))`: 10 s.
    pub config_retry: Duration,
    /// How often the node's Lease is renewed: 10 s.
    pub lease_renewal: Duration,
    /// How often the node's status is reported: 5 min.
    pub node_report: Duration,
    /// How often kube-controller-manager's cleaner looks for old PodCertificateRequests: 5 min.
    pub request_cleaning: Duration,
}

/// The machine: what outlives its kubelet.
pub(crate) struct Node {
    pub(crate) client: Client,
    pub(crate) clock: SharedClock,
    pub(crate) containers: Containers,
    pub(crate) folders: Arc<PodFolders>,
    /// The pods that have, or had, something on this node and are not cleaned up, by UID.
    pub(crate) hosted: Mutex<HashSet<String>>,
    pub(crate) images: Images,
    pub(crate) jitter: Jitter,
    pub(crate) ledger: Ledger,
    pub(crate) name: String,
    pub(crate) timing: KubeletTiming,
    pub(crate) uid: String,
}

/// A running kubelet.
#[derive(Debug)]
pub(crate) struct Kubelet {
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// What the kubelet's tasks share.
struct Shared {
    node: Arc<Node>,
    events: Events,
    requests: Store<PodCertificateRequest>,
    bundles: Store<ClusterTrustBundle>,
    /// Orders the anchors of trust bundles: each kubelet has its own order.
    shuffle: u64,
    stop: CancellationToken,
    tasks: TaskTracker,
    workers: Mutex<HashMap<String, Worker>>,
}

/// How the watches reach a pod's worker.
#[derive(Debug)]
struct Worker {
    seen: watch::Sender<Seen>,
    poke: Arc<Notify>,
}

/// The pod as the watch last showed it.
#[derive(Clone, Debug)]
enum Seen {
    Gone,
    There(Arc<Pod>),
}

impl Default for KubeletTiming {
    fn default() -> Self {
        Self {
            sync_frequency: Duration::from_secs(60),
            mount_retry: Duration::from_millis(500),
            mount_retry_max: Duration::from_secs(122),
            refresh_pass: Duration::from_secs(60),
            restart_backoff: Duration::from_secs(10),
            restart_backoff_max: Duration::from_secs(300),
            config_retry: Duration::from_secs(10),
            lease_renewal: Duration::from_secs(10),
            node_report: Duration::from_secs(5 * 60),
            request_cleaning: Duration::from_secs(5 * 60),
        }
    }
}

impl KubeletTiming {
    /// Everything so many times sooner: for a clock that runs so many times faster. Nothing happens more often than
    /// every 10 ms.
    #[must_use]
    pub fn faster(self, factor: u32) -> Self {
        let sooner = |wait: Duration| (wait / factor.max(1)).max(Duration::from_millis(10));
        Self {
            sync_frequency: sooner(self.sync_frequency),
            mount_retry: sooner(self.mount_retry),
            mount_retry_max: sooner(self.mount_retry_max),
            refresh_pass: sooner(self.refresh_pass),
            restart_backoff: sooner(self.restart_backoff),
            restart_backoff_max: sooner(self.restart_backoff_max),
            // Everybody's Leases, at once: often enough that nobody takes the node for dead, and no more.
            lease_renewal: self.lease_renewal,
            config_retry: sooner(self.config_retry),
            node_report: self.node_report,
            request_cleaning: sooner(self.request_cleaning),
        }
    }
}

impl Node {
    /// The pods that have something here.
    fn hosted(&self) -> MutexGuard<'_, HashSet<String>> {
        self.hosted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A duration from `U(0, max)`.
    fn draw(&self, max: Duration) -> Duration {
        max.mul_f64(self.jitter.next())
    }
}

impl Kubelet {
    /// Starts a kubelet that knows nothing yet. Containers that run on the node keep running.
    pub(crate) fn start(node: Arc<Node>) -> Self {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (requests, requests_writer) = reflector::store();
        let (bundles, bundles_writer) = reflector::store();
        let (pods, pods_writer) = reflector::store();
        let ours = watcher::Config::default().fields(&format!("spec.nodeName={}", node.name));

        let shared = Arc::new(Shared {
            events: Events::new(
                node.client.clone(),
                node.clock.clone(),
                "kubelet",
                node.name.clone(),
            ),
            shuffle: node.jitter.next().to_bits(),
            requests,
            bundles,
            stop: stop.clone(),
            tasks: tasks.clone(),
            workers: Mutex::default(),
            node,
        });

        let client = &shared.node.client;
        let requests = watcher(
            Api::<PodCertificateRequest>::all(client.clone()),
            ours.clone(),
        );
        let requests = reflector(requests_writer, requests.default_backoff());
        tasks.spawn(shared.clone().follow_requests(requests));
        let bundles = watcher(
            Api::<ClusterTrustBundle>::all(client.clone()),
            watcher::Config::default(),
        );
        let bundles = reflector(bundles_writer, bundles.default_backoff());
        tasks.spawn(shared.clone().follow_bundles(bundles));
        let stream = watcher(Api::<Pod>::all(client.clone()), ours).default_backoff();
        let stream = reflector(pods_writer, stream);
        tasks.spawn(shared.clone().follow_pods(pods, stream));
        let (node, ended) = (shared.node.clone(), stop.clone());
        tasks.spawn(async move {
            tokio::select! {
                biased;
                () = ended.cancelled() => {}
                () = heartbeat::run(&node) => {}
            }
        });
        Self { stop, tasks }
    }

    /// Ends the kubelet and forgets what it knew. Containers keep running, files stay.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Shared {
    async fn follow_requests(
        self: Arc<Self>,
        stream: impl Stream<Item = watcher::Result<watcher::Event<PodCertificateRequest>>>,
    ) {
        let mut stream = pin!(stream);
        while let Some(event) = self.next(stream.next()).await {
            match event {
                watcher::Event::Apply(request) | watcher::Event::Delete(request) => {
                    if let Some(worker) = self.workers().get(&request.spec.pod_uid) {
                        worker.poke.notify_one();
                    }
                }
                watcher::Event::InitDone => {
                    self.workers()
                        .values()
                        .for_each(|worker| worker.poke.notify_one());
                }
                watcher::Event::Init | watcher::Event::InitApply(_) => {}
            }
        }
    }

    /// Only keeps the store fed: a changed bundle reaches files with the next sync of their pod.
    async fn follow_bundles(
        self: Arc<Self>,
        stream: impl Stream<Item = watcher::Result<watcher::Event<ClusterTrustBundle>>>,
    ) {
        let mut stream = pin!(stream);
        while self.next(stream.next()).await.is_some() {}
    }

    async fn follow_pods(
        self: Arc<Self>,
        pods: Store<Pod>,
        stream: impl Stream<Item = watcher::Result<watcher::Event<Pod>>>,
    ) {
        // As the kubelet does, know the requests and bundles first: else each would look missing.
        let synced = async {
            let (requests, bundles) = tokio::join!(
                self.requests.wait_until_ready(),
                self.bundles.wait_until_ready()
            );
            requests.is_ok() && bundles.is_ok()
        };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => return,
            synced = synced => if !synced { return },
        }
        let mut stream = pin!(stream);
        while let Some(event) = self.next(stream.next()).await {
            match event {
                watcher::Event::Apply(pod) => self.see(pod),
                watcher::Event::Delete(pod) => self.lose(&pod.uid().unwrap_or_default()),
                watcher::Event::InitDone => {
                    let there = pods.state();
                    let uids: HashSet<_> = there.iter().filter_map(|pod| pod.uid()).collect();
                    let known: Vec<_> = self.workers().keys().cloned().collect();
                    for gone in known.iter().filter(|uid| !uids.contains(*uid)) {
                        self.lose(gone);
                    }
                    for orphan in self.node.hosted().clone() {
                        if !uids.contains(&orphan) && !known.contains(&orphan) {
                            self.clean_up(orphan);
                        }
                    }
                    for pod in there {
                        self.see(Arc::unwrap_or_clone(pod));
                    }
                }
                watcher::Event::Init | watcher::Event::InitApply(_) => {}
            }
        }
    }

    /// The stream's next event; errors are passed over, since the watch starts again by itself. `None` at the end.
    async fn next<K>(
        &self,
        next: impl Future<Output = Option<watcher::Result<watcher::Event<K>>>>,
    ) -> Option<watcher::Event<K>> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            event = next => match event? {
                Ok(event) => Some(event),
                Err(error) => {
                    tracing::debug!(%error, "the sandbox's kubelet watches again");
                    Some(watcher::Event::Init)
                }
            }
        }
    }

    fn see(self: &Arc<Self>, pod: Pod) {
        let Some(uid) = pod.uid() else { return };
        let pod = Arc::new(pod);
        let mut workers = self.workers();
        if let Some(worker) = workers.get(&uid) {
            worker.seen.send_replace(Seen::There(pod));
            return;
        }
        let (seen, receiver) = watch::channel(Seen::There(pod.clone()));
        let poke = Arc::new(Notify::new());
        let task = PodWorker::new(self.clone(), pod, receiver, poke.clone());
        workers.insert(uid.clone(), Worker { seen, poke });
        let this = self.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = this.stop.cancelled() => {}
                () = task.run() => {}
            }
            this.workers().remove(&uid);
        });
    }

    /// Ends what an earlier kubelet started for a pod that vanished while no kubelet looked.
    fn clean_up(self: &Arc<Self>, uid: String) {
        let this = self.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = this.stop.cancelled() => return,
                () = this.node.containers.remove(&uid, ORPHAN_GRACE) => {}
            }
            if let Err(error) = this.node.folders.remove(&uid) {
                tracing::warn!(%error, uid, "cannot remove an orphaned pod's folder");
            }
            this.node.hosted().remove(&uid);
        });
    }

    fn lose(&self, uid: &str) {
        if let Some(worker) = self.workers().get(uid) {
            worker.seen.send_replace(Seen::Gone);
        }
    }

    fn workers(&self) -> MutexGuard<'_, HashMap<String, Worker>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every node's address: pods are processes of this machine.
const HOST_ADDRESS: &str = "127.0.0.1";
/// What the process of a pod that nobody knows any more gets.
const ORPHAN_GRACE: Duration = Duration::from_secs(2);
