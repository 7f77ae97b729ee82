//! A real Kubernetes control plane on this machine, without containers.
//!
//! [`parts`] says what it is made of and where each part's Go module is, [`build`] builds the parts
//! with `go build` into a cache outside the checkout, [`pki`] makes its keys and certificates,
//! [`flags`] the command line of each part, [`process`] runs one part so that it ends with whoever
//! started it, and this file puts them together: a [`Cluster`] in one folder ([`folders`]) with its
//! logs in one place. [`supervisor`] holds a cluster for [`command`] (`cargo xtask cluster`); the
//! e2e runs hold theirs in process.
//!
//! Everything binds [`Network::LOCAL`], unless there is a [`node`]: then the API server listens where the
//! node's pods reach it.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use http::Request;
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use podcert_cases::Release;
use tokio::time::{Instant, sleep};

mod build;
pub(crate) mod command;
mod flags;
mod folders;
pub(crate) mod node;
pub(crate) mod parts;
pub(crate) mod pki;
mod ports;
pub(crate) mod process;
pub(crate) mod progress;
mod supervisor;

pub(crate) use self::flags::CertificatesApi;
pub(crate) use self::folders::Claim;
use self::folders::Folder;
use self::node::{Host, Node};
pub(crate) use self::parts::Purpose;
pub(crate) use self::parts::checkout;
use self::parts::{Part, Parts, Selection};
use self::ports::Ports;
use self::process::Process;
use self::progress::Progress;

/// What to start.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The release of every part but etcd.
    pub(crate) release: Release,
    /// Which versions of `certificates.k8s.io` the server serves.
    pub(crate) api: CertificatesApi,
    /// Whom it is for.
    pub(crate) purpose: Purpose,
    /// The release of a node beside the control plane, if there is to be one.
    pub(crate) node: Option<Release>,
    /// Who is told how far it is.
    pub(crate) progress: Progress,
}

impl Options {
    /// A server of this release that serves every version of `certificates.k8s.io` it knows.
    pub(crate) fn new(release: Release, progress: Progress) -> Self {
        Self {
            release,
            api: CertificatesApi::All,
            purpose: Purpose::Run,
            node: None,
            progress,
        }
    }

    /// The same with a node of this release, which is the server's or earlier.
    #[must_use]
    pub(crate) fn with_node(mut self, kubelet: Release) -> Self {
        self.node = Some(kubelet);
        self
    }

    /// What it is made of, with a control plane of that release.
    fn selection(&self, release: Release) -> Selection {
        Selection {
            release,
            purpose: self.purpose,
            node: self.node,
        }
    }

    /// The same, serving what the release serves by default where that is enough to issue: v1
    /// alone on 1.37. Earlier releases serve v1beta1 all the same.
    #[must_use]
    pub(crate) fn stock(mut self) -> Self {
        self.api = CertificatesApi::Stock;
        self
    }
}

/// Which addresses a cluster listens on and tells others.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Network {
    /// Where the API server listens.
    pub(crate) bind: IpAddr,
    /// The API server's address as it tells others.
    pub(crate) advertise: IpAddr,
}

impl Network {
    /// All on this machine: no node, no pods.
    pub(crate) const LOCAL: Self = Self {
        bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
        advertise: IpAddr::V4(Ipv4Addr::LOCALHOST),
    };

    /// All at one address of this machine, which pods reach.
    fn at(address: Ipv4Addr) -> Self {
        Self {
            bind: IpAddr::V4(address),
            advertise: IpAddr::V4(address),
        }
    }
}

/// A running control plane. Dropping it kills every part; so does the end of this process, however
/// it ends.
#[derive(Debug)]
pub(crate) struct Cluster {
    options: Options,
    claim: Claim,
    ports: Ports,
    network: Network,
    running: Mutex<Running>,
    node: Option<Node>,
}

/// What changes while it runs.
#[derive(Debug)]
struct Running {
    release: Release,
    api: CertificatesApi,
    parts: Parts,
    etcd: Arc<Process>,
    apiserver: Option<Arc<Process>>,
    controllers: Option<Arc<Process>>,
    scheduler: Option<Arc<Process>>,
}

impl Cluster {
    /// Builds what is not built yet and starts a cluster for this process alone, in a folder that
    /// no other run uses.
    pub(crate) async fn start(options: &Options) -> Result<Self> {
        let claim = Claim::for_a_run(options.release)?;
        claim.folder().create()?;
        Self::start_in(claim, options).await
    }

    /// The same, in a folder that the caller has claimed and created.
    pub(crate) async fn start_in(claim: Claim, options: &Options) -> Result<Self> {
        let progress = &options.progress;
        // Before minutes of building.
        let host = match options.node {
            Some(_) => {
                folders::sweep()?;
                Some(Host::prepare(progress).await?)
            }
            None => None,
        };
        let parts = Parts::build(options.selection(options.release), progress).await?;
        let folder = claim.folder();
        folder.link(&parts)?;
        let node = match options.node.zip(host) {
            Some((kubelet, host)) => {
                Some(Node::open(folder, claim.locks(), host, kubelet, &parts, progress).await?)
            }
            None => None,
        };
        let network = node
            .as_ref()
            .map_or(Network::LOCAL, |node| Network::at(node.gateway()));
        let ports = Ports::reserve(claim.locks())?;
        let authority = pki::write(folder, network, &ports)?;
        if let Some(node) = &node {
            let server = ports.apiserver_url(network);
            pki::write_node(folder, &authority, node.address(), &server)?;
        }

        progress.begin(format!("starting etcd {}", parts.etcd().version));
        let etcd = Process::spawn(
            Part::Etcd.name(),
            &parts.etcd().program,
            &flags::etcd(folder, &ports),
            &folder.log(Part::Etcd.name()),
        )?;
        let cluster = Self {
            options: options.clone(),
            claim,
            ports,
            network,
            running: Mutex::new(Running {
                release: options.release,
                api: options.api,
                parts,
                etcd: Arc::new(etcd),
                apiserver: None,
                controllers: None,
                scheduler: None,
            }),
            node,
        };
        cluster.etcd_ready().await?;
        cluster.start_apiserver().await?;
        cluster.start_controllers().await?;
        cluster.start_node().await?;
        progress.end();
        Ok(cluster)
    }

    /// The release that the API server is of now.
    pub(crate) fn release(&self) -> Release {
        self.running().release
    }

    /// The API server's full version: `v1.37.0`.
    pub(crate) fn version(&self) -> String {
        self.running().parts.apiserver().version.clone()
    }

    /// An administrator's kubeconfig.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder().kubeconfig()
    }

    /// Where the API server listens.
    pub(crate) fn url(&self) -> String {
        self.ports.apiserver_url(self.network)
    }

    /// How to reach etcd, in the form of a kubeconfig.
    pub(crate) fn etcd_config(&self) -> PathBuf {
        self.folder().pki("etcd.kubeconfig")
    }

    /// Where etcd listens.
    pub(crate) fn etcd_url(&self) -> String {
        self.ports.etcd_url()
    }

    /// The folder of the logs, one file for each part.
    pub(crate) fn logs(&self) -> PathBuf {
        self.folder().logs()
    }

    /// What the service account of meshtool's installation asked the API server, an event a line.
    pub(crate) fn audit_log(&self) -> PathBuf {
        self.folder().log(flags::AUDIT)
    }

    /// Every part that should be running, with its process.
    pub(crate) fn processes(&self) -> Vec<Arc<Process>> {
        let running = self.running();
        let mut processes = vec![Arc::clone(&running.etcd)];
        processes.extend(running.apiserver.clone());
        processes.extend(running.controllers.clone());
        processes.extend(running.scheduler.clone());
        processes.extend(self.node.iter().flat_map(Node::processes));
        processes
    }

    /// Whether every part runs, of the release and with the versions that it was started with.
    pub(crate) fn is_as_started(&self) -> bool {
        let all = {
            let running = self.running();
            running.apiserver.is_some()
                && running.controllers.is_some()
                && running.release == self.options.release
                && running.api == self.options.api
                && self.node.as_ref().is_none_or(Node::is_whole)
        };
        all && self.processes().iter().all(|part| part.is_running())
    }

    /// Stops etcd in its tracks: it keeps its connections and answers nothing.
    pub(crate) fn pause_etcd(&self) -> Result<()> {
        self.etcd().signal(process::Signal::STOP)
    }

    /// Lets a paused etcd go on.
    pub(crate) fn resume_etcd(&self) -> Result<()> {
        self.etcd().signal(process::Signal::CONT)
    }

    /// Kills the API server, as a crash would; it is gone when this returns.
    pub(crate) async fn kill_apiserver(&self) {
        let apiserver = self.running().apiserver.take();
        if let Some(apiserver) = apiserver {
            apiserver.kill().await;
        }
    }

    /// Asks the API server to end, and waits until it has: it ends its watches and the requests
    /// under way first. One that takes too long is killed.
    pub(crate) async fn stop_apiserver(&self) {
        let apiserver = self.running().apiserver.take();
        if let Some(apiserver) = apiserver {
            apiserver.terminate(GRACE).await;
        }
    }

    /// Starts an API server on the same port and the same data, in place of the one that was
    /// killed or stopped; one that still runs is stopped first. Returns when it is ready.
    pub(crate) async fn restart_apiserver(&self) -> Result<()> {
        self.stop_apiserver().await;
        self.start_apiserver().await?;
        self.options.progress.end();
        Ok(())
    }

    /// The same with an API server that serves these versions of `certificates.k8s.io`.
    pub(crate) async fn serve(&self, api: CertificatesApi) -> Result<()> {
        self.running().api = api;
        self.restart_apiserver().await
    }

    /// Starts the API server and the controllers of another release on the same data and port, in
    /// place of those that run. Builds them first where needed, so that the API server is away for
    /// seconds.
    pub(crate) async fn upgrade(&self, release: Release) -> Result<()> {
        let parts = Parts::build(self.options.selection(release), &self.options.progress).await?;
        self.folder().link(&parts)?;
        let controllers = {
            let mut running = self.running();
            running.release = release;
            running.parts = parts;
            running.controllers.take()
        };
        if let Some(controllers) = controllers {
            controllers.terminate(GRACE).await;
        }
        self.stop_apiserver().await;
        self.start_apiserver().await?;
        self.start_controllers().await?;
        self.options.progress.end();
        Ok(())
    }

    /// Ends every part and removes its data; the logs stay until the folder is used again.
    pub(crate) async fn shutdown(self) -> Result<()> {
        self.end().await?;
        self.folder().remove_all_but_logs()
    }

    /// Ends every part and removes everything.
    pub(crate) async fn remove(self) -> Result<()> {
        self.end().await?;
        self.folder().remove()
    }

    /// Nothing of it is worth a graceful end.
    async fn end(&self) -> Result<()> {
        // First the node: its pods' volumes are unmounted by its end.
        if let Some(node) = &self.node {
            node.end().await?;
        }
        for process in self.processes().into_iter().rev() {
            process.kill().await;
        }
        Ok(())
    }

    fn folder(&self) -> &Folder {
        self.claim.folder()
    }

    fn etcd(&self) -> Arc<Process> {
        Arc::clone(&self.running().etcd)
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn etcd_ready(&self) -> Result<()> {
        let etcd = self.etcd();
        until_ready(&etcd, || async {
            tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.ports.etcd()))
                .await
                .is_ok()
        })
        .await
    }

    async fn start_apiserver(&self) -> Result<()> {
        let apiserver = {
            let mut running = self.running();
            let built = running.parts.apiserver();
            self.options
                .progress
                .begin(format!("starting kube-apiserver {}", built.version));
            let process = Arc::new(Process::spawn(
                Part::Apiserver.name(),
                &built.program,
                &flags::apiserver(
                    running.release,
                    running.api,
                    self.folder(),
                    self.network,
                    &self.ports,
                    self.node.is_some(),
                ),
                &self.folder().log(Part::Apiserver.name()),
            )?);
            running.apiserver = Some(Arc::clone(&process));
            process
        };
        let client = self.client()?;
        until_ready(&apiserver, || async {
            let request = Request::get("/readyz").body(Vec::new());
            match request {
                Ok(request) => client.request_text(request).await.is_ok(),
                Err(_) => false,
            }
        })
        .await
    }

    /// Ready when they have done something that everybody needs.
    async fn start_controllers(&self) -> Result<()> {
        let controllers = {
            let mut running = self.running();
            self.options.progress.begin(format!(
                "starting kube-controller-manager {}",
                running.parts.controller_manager().version
            ));
            let process = Arc::new(Process::spawn(
                Part::ControllerManager.name(),
                &running.parts.controller_manager().program,
                &flags::controller_manager(running.release, self.folder()),
                &self.folder().log(Part::ControllerManager.name()),
            )?);
            running.controllers = Some(Arc::clone(&process));
            process
        };
        let client = self.client()?;
        until_ready(&controllers, || async {
            let path = "/api/v1/namespaces/default/serviceaccounts/default";
            match Request::get(path).body(Vec::new()) {
                Ok(request) => client.request_text(request).await.is_ok(),
                Err(_) => false,
            }
        })
        .await
    }

    /// Starts the scheduler and everything on the node, if there is to be one.
    async fn start_node(&self) -> Result<()> {
        let Some(node) = &self.node else {
            return Ok(());
        };
        let (parts, progress) = (self.running().parts.clone(), &self.options.progress);
        let built = parts.other(Part::Scheduler)?;
        progress.begin(format!("starting kube-scheduler {}", built.version));
        let scheduler = Process::spawn(
            Part::Scheduler.name(),
            &built.program,
            &flags::scheduler(self.folder()),
            &self.folder().log(Part::Scheduler.name()),
        )?;
        self.running().scheduler = Some(Arc::new(scheduler));
        node.start(self.folder(), &parts, &self.client()?, progress)
            .await
    }

    /// Ends the kubelet and starts it again; pods go on meanwhile. Returns when its node is ready.
    pub(crate) async fn restart_kubelet(&self) -> Result<()> {
        let node = self.node.as_ref().context("the cluster has no node")?;
        let (parts, progress) = (self.running().parts.clone(), &self.options.progress);
        node.stop_kubelet().await;
        node.start_kubelet(self.folder(), &parts, &self.client()?, progress)
            .await?;
        progress.end();
        Ok(())
    }

    /// Gives the node an image.
    pub(crate) async fn import(&self, image: &Path) -> Result<()> {
        node::images::Ctr::of(self.folder()).import(image).await
    }

    /// An administrator's client, made inside the runtime that will use it.
    pub(crate) fn client(&self) -> Result<Client> {
        client(&self.kubeconfig())
    }
}

/// A client from a kubeconfig whose server may be away: a call fails soon rather than late.
fn client(kubeconfig: &Path) -> Result<Client> {
    let file = Kubeconfig::read_from(kubeconfig)
        .with_context(|| format!("kubeconfig {}", kubeconfig.display()))?;
    let options = KubeConfigOptions::default();
    let mut config =
        futures::executor::block_on(kube::Config::from_custom_kubeconfig(file, &options))?;
    config.connect_timeout = Some(Duration::from_secs(5));
    Ok(Client::try_from(config)?)
}

/// The real time: what runs here runs on real servers.
fn now() -> jiff::Timestamp {
    #[allow(clippy::disallowed_methods, reason = "a real server has the real time")]
    jiff::Timestamp::now()
}

/// Waits until `ready` says so. The end of the process is an error with the end of its log, and so
/// is patience that runs out.
pub(crate) async fn until_ready<F, R>(process: &Process, ready: F) -> Result<()>
where
    F: Fn() -> R,
    R: Future<Output = bool>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        tokio::select! {
            status = process.exited() => bail!(
                "{} ended before it was ready ({status}); {}",
                process.name(),
                process.log_end()
            ),
            ready = async { tokio::time::timeout(ATTEMPT, ready()).await.unwrap_or(false) } => {
                if ready {
                    return Ok(());
                }
            }
        }
        if Instant::now() > deadline {
            bail!(
                "{} is not ready after {} s; {}",
                process.name(),
                PATIENCE.as_secs(),
                process.log_end()
            );
        }
        sleep(PAUSE).await;
    }
}

/// A busy machine with two cores starts an API server within half a minute.
const PATIENCE: Duration = Duration::from_secs(180);

/// One question whether a part is ready.
const ATTEMPT: Duration = Duration::from_secs(5);

/// Between two such questions.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a part may take to end when asked to.
const GRACE: Duration = Duration::from_secs(20);
