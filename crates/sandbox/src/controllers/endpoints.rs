//! Which sockets answer for which Service: EndpointSlice controller, kube-proxy and cluster DNS in one file.
//!
//! A pod is behind a Service's port when the Service's selector matches it, it is Ready and not terminating, and its
//! process listens: the socket of the target port exists. By its own address a pod is reached Ready or not, at the ports
//! it declares and whichever else it is seen to listen on. The Service `kubernetes` leads to the sandbox's API server.
//! The list is written atomically whenever it changes. No EndpointSlice objects are made.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, ResourceExt};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::cache::Cache;
use super::pods::is_ready;
use crate::folders::PodFolders;
use crate::kubelet::Node;
use crate::listener;
use crate::pod_map::Services;
use crate::state_dir::write_private;

/// Runs until `stop`.
pub(crate) async fn run(
    mut services: Cache<Service>,
    mut pods: Cache<Pod>,
    node: Arc<Node>,
    stop: CancellationToken,
) {
    let mut changes = node.containers.changes();
    let work = async {
        let mut list = ServicesFile::new(&node.folders);
        let mut pause = POLL;
        tokio::join!(services.ready(), pods.ready());
        let (mut their_services, mut their_pods) = (services.look(), pods.look());
        loop {
            let missing = list.write(&their_services, &their_pods);
            // A process opens its sockets without telling anybody: while one is missing, look for it again and again,
            // less and less often.
            tokio::select! {
                () = services.changed() => {}
                () = pods.changed() => {}
                _ = changes.changed() => pause = POLL,
                () = sleep(pause), if missing => pause = (pause * 2).min(POLL_MAX),
            }
            if services.has_changed() || pods.has_changed() {
                (their_services, their_pods) = (services.look(), pods.look());
                pause = POLL;
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = work => {}
    }
}

/// Makes the Service that leads pods to the API server, as that does by itself in a real cluster.
pub(crate) async fn create_api_service(client: &Client) -> kube::Result<()> {
    let port = ServicePort {
        name: Some("https".to_owned()),
        port: 443,
        ..ServicePort::default()
    };
    let service = Service {
        metadata: ObjectMeta {
            name: Some(API_SERVER.1.to_owned()),
            ..ObjectMeta::default()
        },
        spec: Some(ServiceSpec {
            cluster_ip: Some(API_ADDRESS.to_owned()),
            ports: Some(vec![port]),
            ..ServiceSpec::default()
        }),
        status: None,
    };
    let services: Api<Service> = Api::namespaced(client.clone(), API_SERVER.0);
    services.create(&PostParams::default(), &service).await?;
    Ok(())
}

/// The file, and what it holds.
#[derive(Debug)]
struct ServicesFile<'a> {
    folders: &'a PodFolders,
    written: Option<Services>,
}

impl<'a> ServicesFile<'a> {
    fn new(folders: &'a PodFolders) -> Self {
        Self {
            folders,
            written: None,
        }
    }

    /// Brings the file up to date; answers whether something is to be tried again: a Ready pod's socket that is not
    /// there yet, or a file that could not be written.
    fn write(&mut self, services: &[Arc<Service>], pods: &[Arc<Pod>]) -> bool {
        let api = self
            .folders
            .services_file()
            .with_file_name(listener::SOCKET);
        let mut network = Sockets {
            folders: self.folders,
            api: api.exists().then_some(api),
            missing: false,
        };
        let list = resolve(services, pods, &mut network);
        let missing = network.missing;
        if self.written.as_ref() == Some(&list) {
            return missing;
        }
        let written = serde_json::to_vec_pretty(&list)
            .map_err(std::io::Error::from)
            .and_then(|text| write_private(self.folders.services_file(), &text));
        match written {
            Ok(()) => {
                self.written = Some(list);
                missing
            }
            Err(error) => {
                tracing::warn!(%error, "the list of Services cannot be written");
                true
            }
        }
    }
}

/// Where things are.
trait Network {
    /// The API server's socket.
    fn api(&mut self) -> Option<PathBuf>;
    /// The address of a pod that has one.
    fn address(&mut self, pod: &Pod) -> Option<Ipv4Addr>;
    /// The socket of a pod's port if it is open. That it is not is remembered, to be looked at again.
    fn socket(&mut self, pod: &Pod, port: u16) -> Option<PathBuf>;
    /// Every port of a pod that is open.
    fn open(&mut self, pod: &Pod) -> BTreeMap<u16, PathBuf>;
}

/// The pods' folders.
#[derive(Debug)]
struct Sockets<'a> {
    folders: &'a PodFolders,
    api: Option<PathBuf>,
    missing: bool,
}

impl Network for Sockets<'_> {
    fn api(&mut self) -> Option<PathBuf> {
        self.api.clone()
    }

    fn address(&mut self, pod: &Pod) -> Option<Ipv4Addr> {
        Some(self.folders.find(&pod.uid()?)?.address())
    }

    fn socket(&mut self, pod: &Pod, port: u16) -> Option<PathBuf> {
        let folder = self.folders.find(&pod.uid()?)?;
        let socket = folder.listen_dir().join(format!("{port}.sock"));
        if socket.exists() {
            return Some(socket);
        }
        self.missing = true;
        None
    }

    fn open(&mut self, pod: &Pod) -> BTreeMap<u16, PathBuf> {
        let folder = pod.uid().and_then(|uid| self.folders.find(&uid));
        let entries = folder.and_then(|folder| std::fs::read_dir(folder.listen_dir()).ok());
        let paths = entries.into_iter().flatten().flatten().map(|e| e.path());
        paths
            .filter_map(|path| Some((port_of(&path)?, path)))
            .collect()
    }
}

/// The port that a socket stands for: `443.sock`.
fn port_of(socket: &Path) -> Option<u16> {
    socket
        .file_name()?
        .to_str()?
        .strip_suffix(".sock")?
        .parse()
        .ok()
}

/// The list.
fn resolve(services: &[Arc<Service>], pods: &[Arc<Pod>], network: &mut impl Network) -> Services {
    let mut list = Services::default();
    for pod in pods.iter().filter(|pod| is_running(pod)) {
        let Some(address) = network.address(pod) else {
            continue;
        };
        let containers = pod.spec.iter().flat_map(|spec| spec.containers.iter());
        for port in containers.flat_map(|container| container.ports.iter().flatten()) {
            if let Ok(port) = u16::try_from(port.container_port) {
                network.socket(pod, port);
            }
        }
        let open = network.open(pod).into_iter();
        let ports = open.map(|(port, socket)| (port, vec![socket])).collect();
        list.sockets.insert(address.to_string(), ports);
    }
    for service in services {
        let Some(spec) = &service.spec else { continue };
        if spec.type_.as_deref() == Some("ExternalName") {
            continue;
        }
        let namespace = service.namespace().unwrap_or_default();
        let selector = spec
            .selector
            .as_ref()
            .filter(|selector| !selector.is_empty());
        let unready = spec.publish_not_ready_addresses == Some(true);
        let headless = spec.cluster_ip.as_deref() == Some("None");
        let behind: Vec<&Pod> = pods
            .iter()
            .map(AsRef::as_ref)
            .filter(|pod| {
                let selected = selector.is_some_and(|s| {
                    s.iter()
                        .all(|(key, value)| pod.labels().get(key) == Some(value))
                });
                selected
                    && pod.metadata.namespace.as_deref() == Some(&namespace)
                    && pod.metadata.deletion_timestamp.is_none()
                    && (is_ready(pod) || unready)
            })
            .collect();
        let is_api = (namespace.as_str(), service.name_any().as_str()) == API_SERVER;
        let mut ports: BTreeMap<u16, Vec<PathBuf>> = BTreeMap::new();
        // A name without an address of its own is its pods', and nobody translates ports.
        for pod in behind.iter().filter(|_| headless) {
            for (port, socket) in network.open(pod) {
                ports.entry(port).or_default().push(socket);
            }
        }
        for port in spec.ports.iter().flatten() {
            let tcp = port
                .protocol
                .as_deref()
                .is_none_or(|protocol| protocol == "TCP");
            let Ok(number) = u16::try_from(port.port) else {
                continue;
            };
            if tcp && is_api && selector.is_none() {
                ports.insert(number, network.api().into_iter().collect());
            } else if headless {
                // Looked for, so that it is looked for again while it is not open.
                for pod in &behind {
                    let target = target(port, pod);
                    target.and_then(|target| network.socket(pod, target));
                }
            } else if tcp {
                let open = behind
                    .iter()
                    .filter_map(|pod| network.socket(pod, target(port, pod)?));
                ports.insert(number, open.collect());
            }
        }
        let name = format!("{}.{namespace}", service.name_any());
        let cluster_ip = spec.cluster_ip.as_deref().and_then(|ip| ip.parse().ok());
        let addresses = match cluster_ip {
            Some(address) => {
                list.sockets
                    .insert(Ipv4Addr::to_string(&address), ports.clone());
                vec![address]
            }
            None => behind
                .iter()
                .filter_map(|pod| network.address(pod))
                .collect(),
        };
        for suffix in ["", ".svc", ".svc.cluster.local"] {
            list.sockets
                .insert(format!("{name}{suffix}"), ports.clone());
        }
        list.addresses.insert(name, addresses);
    }
    list
}

/// Whether the pod has processes to reach.
fn is_running(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    phase == Some("Running")
}

/// The port of the pod that the Service's port stands for: `targetPort`, by number or by the name a container gave it,
/// else the same number.
fn target(port: &ServicePort, pod: &Pod) -> Option<u16> {
    let number = match &port.target_port {
        None => port.port,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(name)) => {
            let containers = pod.spec.iter().flat_map(|spec| spec.containers.iter());
            let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
            ports
                .find(|port| port.name.as_ref() == Some(name))?
                .container_port
        }
    };
    u16::try_from(number).ok()
}

/// The first address of Services is the API server's.
const API_ADDRESS: &str = "10.96.0.1";
/// Namespace and name of the Service that every cluster has.
const API_SERVER: (&str, &str) = ("default", "kubernetes");
const POLL: Duration = Duration::from_millis(20);
const POLL_MAX: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
