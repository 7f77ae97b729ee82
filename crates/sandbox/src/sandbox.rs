//! The sandbox as a whole: what is started, in which order, and how it ends.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use podcert_apiserver::{ApiServer, User};
use podcert_runtime::{Jitter, ScaledClock, SharedClock};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::apply::{Applied, ApplyError, apply};
use crate::containers::{Containers, PodRunner, StopOnDrop};
use crate::controllers::{
    Caches, daemon_sets, deployments, endpoints, namespaces, request_cleaner, scheduler,
};
use crate::folders::PodFolders;
use crate::images::Images;
use crate::kubelet::{Kubelet, KubeletTiming, LEASES, Node, register};
use crate::limits::raise_open_files;
use crate::listener::Listener;
use crate::logs::PodLogs;
use crate::processes::Processes;
use crate::report::{Ledger, Report};
use crate::state_dir::{StateDir, StateDirError};

/// How a sandbox is to be.
#[derive(Debug)]
pub struct Options {
    /// Where every date comes from.
    pub clock: SharedClock,
    /// Which images run, played by which programs.
    pub images: Images,
    /// Whether other processes can reach the API server.
    pub door: Door,
    /// The nodes' names; each has a kubelet of its own. Without any there is one, `sandbox`.
    pub nodes: Vec<String>,
    /// What runs containers.
    pub runner: Runner,
    /// Makes names, UIDs and jitter repeat from run to run (keys and serial numbers never do).
    pub seed: Option<u64>,
    /// In which folder the sandbox makes its own; the system's place for such if not set.
    pub state_parent: Option<PathBuf>,
    /// How fast the kubelet is.
    pub timing: KubeletTiming,
    /// Variables that every container has, unless its pod says otherwise.
    pub environment: BTreeMap<String, String>,
}

/// Whether the sandbox has a listener.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Door {
    /// Only this process reaches the API server.
    Closed,
    /// A TLS listener on the loopback interface; callers need a client certificate of the sandbox.
    Loopback,
}

/// What runs the containers.
#[derive(Clone, Debug)]
pub enum Runner {
    /// Something else: tasks, in tests with virtual time.
    Custom(Arc<dyn PodRunner>),
    /// Child processes.
    Processes,
}

/// A running cluster. End it with [`Sandbox::shutdown`]; dropped, it still takes its processes and its folder with it,
/// but does not wait for them.
pub struct Sandbox {
    admin: Client,
    api: ApiServer,
    folders: Arc<PodFolders>,
    kubelets: Mutex<Vec<Kubelet>>,
    ledger: Ledger,
    listener: Option<Listener>,
    logs: PodLogs,
    nodes: Vec<Arc<Node>>,
    stop: tokio_util::sync::DropGuard,
    tasks: TaskTracker,
    // Dropped last, in this order: whatever uses files goes before them.
    containers: StopOnDrop,
    state: StateDir,
}

/// Why a sandbox could not start, or not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The sandbox's own API server refused what every sandbox does.
    #[error("cannot prepare the node")]
    Api(#[from] kube::Error),
    /// A manifest was not applied.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// A kubeconfig was asked of a sandbox without a listener.
    #[error("the sandbox has no listener, so a kubeconfig would lead nowhere")]
    Closed,
    /// Something of the sandbox was left behind.
    #[error("cannot remove {path}")]
    Cleanup {
        /// What is left.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The listener or its certificates could not be made.
    #[error("cannot open the listener")]
    Listener(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// There is no place for the sandbox's files.
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    /// A folder below the sandbox's own could not be made.
    #[error("cannot prepare {path}")]
    StateFiles {
        /// Where.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox")
            .field("state_dir", &self.state.path())
            .field("address", &self.address())
            .finish_non_exhaustive()
    }
}

impl Options {
    /// A sandbox that runs processes and has a listener, with the kubelet's own timing.
    #[must_use]
    pub fn new(clock: SharedClock, images: Images) -> Self {
        Self {
            clock,
            images,
            door: Door::Loopback,
            nodes: vec![DEFAULT_NODE.to_owned()],
            runner: Runner::Processes,
            seed: None,
            state_parent: None,
            timing: KubeletTiming::default(),
            environment: BTreeMap::new(),
        }
    }

    /// As [`Options::new`], by a clock that runs faster: the kubelet's waits are as much shorter, and containers are
    /// told of it in [`ScaledClock::VARIABLE`].
    #[must_use]
    pub fn scaled(clock: ScaledClock, images: Images) -> Self {
        let variable = (ScaledClock::VARIABLE.to_owned(), clock.to_string());
        Self {
            timing: KubeletTiming::default().faster(clock.factor()),
            environment: BTreeMap::from([variable]),
            ..Self::new(Arc::new(clock), images)
        }
    }
}

impl Sandbox {
    /// Starts the API server, the listener, the controllers and the kubelet.
    ///
    /// # Errors
    /// No private folder can be made, or no port opened.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let Options {
            clock,
            images,
            door,
            mut nodes,
            runner,
            seed,
            state_parent,
            timing,
            environment,
        } = options;
        let state = StateDir::create(state_parent.as_deref())?;
        let files = |source| Error::StateFiles {
            path: state.path().to_path_buf(),
            source,
        };
        let folders = Arc::new(PodFolders::create(state.path()).map_err(files)?);
        let logs = PodLogs::new();

        let mut builder = ApiServer::builder()
            .rbac()
            .clock({
                let clock = clock.clone();
                Arc::new(move || clock.now())
            })
            .pod_logs(Arc::new(logs.clone()))
            .token_volumes();
        if let Some(seed) = seed {
            builder = builder.seed(seed);
        }
        let api = builder.build();
        let client = |user| Client::new(api.as_user(user), "default");
        let admin = client(User::admin());
        create_namespaces(&admin).await?;

        let (runner, images): (Arc<dyn PodRunner>, _) = match runner {
            Runner::Custom(runner) => (runner, images),
            Runner::Processes => {
                raise_open_files();
                let processes = Processes::new(logs.clone(), clock.clone(), environment);
                (Arc::new(processes), images.probed(state.path()).await)
            }
        };
        let containers = Containers::new(runner, clock.clone(), logs.clone());

        let listener = match door {
            Door::Closed => None,
            Door::Loopback => {
                let opened = Listener::open(api.clone(), state.path()).await;
                Some(opened.map_err(|error| Error::Listener(error.into()))?)
            }
        };

        if listener.is_some() {
            endpoints::create_api_service(&admin).await?;
        }
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let ledger = Ledger::default();
        let jitter = seed.map_or_else(Jitter::from_process, Jitter::seeded);
        if nodes.is_empty() {
            nodes.push(DEFAULT_NODE.to_owned());
        }
        let mut machines = Vec::with_capacity(nodes.len());
        for name in nodes {
            let client = client(User::node(&name));
            machines.push(Arc::new(Node {
                uid: register(&client, &name).await?,
                client,
                clock: clock.clone(),
                containers: containers.clone(),
                folders: folders.clone(),
                hosted: std::sync::Mutex::default(),
                images: images.clone(),
                jitter: jitter.clone(),
                ledger: ledger.clone(),
                name,
                timing,
            }));
        }
        // The sandbox's own controllers may do everything: they are part of it.
        let controller = |name: &str| {
            let mut user = User::service_account("kube-system", name);
            user.groups.push("system:masters".to_owned());
            client(user)
        };
        let caches = Caches::follow(&controller("shared-informers"), &tasks, &stop);
        tasks.spawn(deployments::run(
            controller("deployment-controller"),
            clock.clone(),
            caches.deployments,
            caches.pods.clone(),
            stop.clone(),
        ));
        tasks.spawn(daemon_sets::run(
            controller("daemon-set-controller"),
            clock.clone(),
            caches.daemon_sets,
            caches.pods.clone(),
            caches.nodes,
            stop.clone(),
        ));
        tasks.spawn(scheduler::run(
            controller("default-scheduler"),
            clock.clone(),
            stop.clone(),
        ));
        tasks.spawn(request_cleaner::run(
            controller("podcertificaterequestcleaner"),
            clock,
            timing.request_cleaning,
            stop.clone(),
        ));
        let ca = listener.as_ref().map(Listener::ca).unwrap_or_default();
        tasks.spawn(namespaces::run(
            controller("root-ca-cert-publisher"),
            ca,
            tasks.clone(),
            stop.clone(),
        ));
        if let Some(first) = machines.first() {
            tasks.spawn(endpoints::run(
                caches.services,
                caches.pods,
                first.clone(),
                stop.clone(),
            ));
        }
        let kubelets = machines.iter().cloned().map(Kubelet::start).collect();
        Ok(Self {
            admin,
            api,
            folders,
            kubelets: Mutex::new(kubelets),
            ledger,
            listener,
            logs,
            stop: stop.drop_guard(),
            tasks,
            containers: StopOnDrop(containers),
            nodes: machines,
            state,
        })
    }

    /// The API server itself: its faults and its counters.
    #[must_use]
    pub fn api(&self) -> &ApiServer {
        &self.api
    }

    /// A client that speaks for `user`, without a socket.
    #[must_use]
    pub fn client(&self, user: User) -> Client {
        Client::new(self.api.as_user(user), "default")
    }

    /// A client that may do everything.
    #[must_use]
    pub fn admin(&self) -> Client {
        self.admin.clone()
    }

    /// Creates or replaces what the YAML stream holds, as the administrator.
    ///
    /// # Errors
    /// The text is no YAML, a document is incomplete or of a kind the sandbox does not have (then nothing was changed),
    /// or the API server refused one.
    pub async fn apply(&self, yaml: &str) -> Result<Vec<Applied>, Error> {
        Ok(apply(&self.admin, yaml).await?)
    }

    /// Restarts the kubelets: they forget every key and request, so each projection gets a new key and certificate,
    /// while the processes keep running. Returns when the new kubelets have started, not when they are done.
    pub async fn restart_kubelet(&self) {
        let mut kubelets = self.kubelets.lock().await;
        for old in kubelets.drain(..) {
            old.stop().await;
        }
        kubelets.extend(self.nodes.iter().cloned().map(Kubelet::start));
        self.ledger.note(|report| report.kubelet_restarts += 1);
    }

    /// What the pods' processes print.
    #[must_use]
    pub fn logs(&self) -> &PodLogs {
        &self.logs
    }

    /// What happened so far.
    #[must_use]
    pub fn report(&self) -> Report {
        self.ledger.read()
    }

    /// The nodes' names.
    pub fn nodes(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().map(|node| node.name.as_str())
    }

    /// Where the listener is, if there is one.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.as_ref().map(Listener::address)
    }

    /// Writes a kubeconfig with a client certificate for `user` into the sandbox's folder (0600) and answers where. It
    /// ends with the sandbox.
    ///
    /// # Errors
    /// The sandbox has no listener, or the file cannot be written.
    pub fn kubeconfig(&self, user: &User) -> Result<PathBuf, Error> {
        let listener = self.listener.as_ref().ok_or(Error::Closed)?;
        listener
            .kubeconfig(user)
            .map_err(|error| Error::Listener(error.into()))
    }

    /// The sandbox's folder (0700).
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        self.state.path()
    }

    /// Where the volume of a pod lies on this machine, by the pod's UID and the volume's name.
    #[must_use]
    pub fn volume(&self, pod_uid: &str, volume: &str) -> Option<PathBuf> {
        self.folders.find(pod_uid)?.volume(volume).ok()
    }

    /// Ends everything in order: controllers and kubelet, then the processes (SIGTERM, two seconds, SIGKILL), the
    /// listener, and the folder.
    ///
    /// # Errors
    /// The folder could not be removed. Nothing runs any more then either.
    pub async fn shutdown(self) -> Result<(), Error> {
        let Self {
            kubelets,
            listener,
            stop,
            tasks,
            containers,
            state,
            ..
        } = self;
        drop(stop);
        tasks.close();
        for kubelet in kubelets.into_inner() {
            kubelet.stop().await;
        }
        containers.0.shutdown(LAST_GRACE).await;
        drop(containers);
        tasks.wait().await;
        if let Some(listener) = listener {
            listener.close().await;
        }
        let path = state.path().to_path_buf();
        state
            .remove()
            .map_err(|source| Error::Cleanup { path, source })
    }
}

/// The namespaces of every cluster that the API server does not make itself.
async fn create_namespaces(client: &Client) -> kube::Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    for name in [LEASES, "kube-public"] {
        let namespace = Namespace {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        match namespaces.create(&PostParams::default(), &namespace).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            created => drop(created?),
        }
    }
    Ok(())
}

/// The node of a sandbox for which none is named.
const DEFAULT_NODE: &str = "sandbox";
/// What processes get at the sandbox's own end, whatever their pods say.
const LAST_GRACE: Duration = Duration::from_secs(2);
