//! The sandbox as a whole: what is started, in which order, and how it ends.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node as NodeObject;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, ResourceExt};
use podcert_apiserver::{ApiServer, User};
use podcert_runtime::{Jitter, SharedClock};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::apply::{Applied, ApplyError, apply};
use crate::containers::{Containers, PodRunner, StopOnDrop};
use crate::controllers::{deployments, endpoints};
use crate::folders::PodFolders;
use crate::images::Images;
use crate::kubelet::{Kubelet, KubeletTiming, Node};
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
    /// The one node's name.
    pub node: String,
    /// What runs containers.
    pub runner: Runner,
    /// Makes names, UIDs and jitter repeat from run to run (keys and serial numbers never do).
    pub seed: Option<u64>,
    /// In which folder the sandbox makes its own; the system's place for such if not set.
    pub state_parent: Option<PathBuf>,
    /// How fast the kubelet is.
    pub timing: KubeletTiming,
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
    kubelet: Mutex<Option<Kubelet>>,
    listener: Option<Listener>,
    logs: PodLogs,
    node: Arc<Node>,
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
            node: "sandbox".to_owned(),
            runner: Runner::Processes,
            seed: None,
            state_parent: None,
            timing: KubeletTiming::default(),
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
            node,
            runner,
            seed,
            state_parent,
            timing,
        } = options;
        let state = StateDir::create(state_parent.as_deref())?;
        let files = |source| Error::StateFiles {
            path: state.path().to_path_buf(),
            source,
        };
        let folders = PodFolders::create(state.path()).map_err(files)?;

        let mut builder = ApiServer::builder().clock({
            let clock = clock.clone();
            Arc::new(move || clock.now())
        });
        if let Some(seed) = seed {
            builder = builder.seed(seed);
        }
        let api = builder.build();
        let client = |user| Client::new(api.as_user(user), "default");
        let admin = client(User::admin());
        let uid = create_node(&admin, &node).await?;

        let logs = PodLogs::new();
        let runner = match runner {
            Runner::Custom(runner) => runner,
            Runner::Processes => Arc::new(Processes::new(logs.clone(), clock.clone())),
        };
        let containers = Containers::new(runner, clock.clone());

        let listener = match door {
            Door::Closed => None,
            Door::Loopback => {
                let opened = Listener::open(api.clone(), state.path()).await;
                Some(opened.map_err(|error| Error::Listener(error.into()))?)
            }
        };

        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let controller = |name: &str| client(User::service_account("kube-system", name));
        tasks.spawn(deployments::run(
            controller("deployment-controller"),
            node.clone(),
            clock.clone(),
            stop.clone(),
        ));
        let node = Arc::new(Node {
            client: client(User::node(&node)),
            clock,
            containers,
            folders,
            images,
            jitter: seed.map_or_else(Jitter::from_process, Jitter::seeded),
            ledger: Ledger::default(),
            name: node,
            timing,
            uid,
        });
        tasks.spawn(endpoints::run(
            controller("endpoint-controller"),
            node.clone(),
            stop.clone(),
        ));
        let kubelet = Kubelet::start(node.clone());
        Ok(Self {
            admin,
            api,
            kubelet: Mutex::new(Some(kubelet)),
            listener,
            logs,
            stop: stop.drop_guard(),
            tasks,
            containers: StopOnDrop(node.containers.clone()),
            node,
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

    /// Creates or replaces what the YAML stream holds, as the administrator. Pods without a node get the one there is.
    ///
    /// # Errors
    /// The text is no YAML, a document is incomplete or of a kind the sandbox does not have (then nothing was changed),
    /// or the API server refused one.
    pub async fn apply(&self, yaml: &str) -> Result<Vec<Applied>, Error> {
        Ok(apply(&self.admin, &self.node.name, yaml).await?)
    }

    /// Restarts the kubelet: it forgets every key and request, so each projection gets a new key and certificate, while
    /// the processes keep running. Returns when the new kubelet has started, not when it is done.
    pub async fn restart_kubelet(&self) {
        let mut kubelet = self.kubelet.lock().await;
        if let Some(old) = kubelet.take() {
            old.stop().await;
        }
        *kubelet = Some(Kubelet::start(self.node.clone()));
        self.node.ledger.note(|report| report.kubelet_restarts += 1);
    }

    /// What the pods' processes print.
    #[must_use]
    pub fn logs(&self) -> &PodLogs {
        &self.logs
    }

    /// What happened so far.
    #[must_use]
    pub fn report(&self) -> Report {
        self.node.ledger.read()
    }

    /// The one node's name.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node.name
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
        self.node.folders.find(pod_uid)?.volume(volume).ok()
    }

    /// Ends everything in order: controllers and kubelet, then the processes (SIGTERM, two seconds, SIGKILL), the
    /// listener, and the folder.
    ///
    /// # Errors
    /// The folder could not be removed. Nothing runs any more then either.
    pub async fn shutdown(self) -> Result<(), Error> {
        let Self {
            kubelet,
            listener,
            node,
            stop,
            tasks,
            containers,
            state,
            ..
        } = self;
        drop(stop);
        tasks.close();
        if let Some(kubelet) = kubelet.into_inner() {
            kubelet.stop().await;
        }
        node.containers.shutdown(LAST_GRACE).await;
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

async fn create_node(client: &Client, name: &str) -> kube::Result<String> {
    let node = NodeObject {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        ..NodeObject::default()
    };
    let nodes: Api<NodeObject> = Api::all(client.clone());
    Ok(nodes
        .create(&PostParams::default(), &node)
        .await?
        .uid()
        .unwrap_or_default())
}

/// What processes get at the sandbox's own end, whatever their pods say.
const LAST_GRACE: Duration = Duration::from_secs(2);
