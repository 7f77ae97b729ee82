//! Which sockets answer for which Service: EndpointSlice controller, kube-proxy and cluster DNS in one file.
//!
//! A pod is behind a Service's port when the Service's selector matches it, it is Ready and not terminating, and its
//! process listens: the socket of the target port exists. The list is written atomically whenever it changes. No
//! EndpointSlice objects are made.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::deployments::is_ready;
use crate::folders::PodFolders;
use crate::kubelet::Node;
use crate::pod_map::Services;
use crate::state_dir::write_private;

/// Runs until `stop`.
pub(crate) async fn run(client: Client, node: Arc<Node>, stop: CancellationToken) {
    let (bell, mut rung) = mpsc::channel(1);
    let services = super::ring::<Service>(client.clone(), bell.clone(), stop.clone());
    let pods = super::ring::<Pod>(client.clone(), bell, stop.clone());
    let mut changes = node.containers.changes();
    let work = async {
        let mut list = ServicesFile::new(&node.folders);
        let mut objects = None;
        let mut pause = POLL;
        loop {
            if objects.is_none() {
                objects = look(&client).await;
            }
            let missing = match &objects {
                Some((services, pods)) => list.write(services, pods),
                None => true,
            };
            // A process opens its sockets without telling anybody: while one is missing, look for it again and again,
            // less and less often.
            tokio::select! {
                biased;
                rung = rung.recv() => {
                    if rung.is_none() {
                        return;
                    }
                    objects = None;
                    pause = POLL;
                }
                _ = changes.changed() => pause = POLL,
                () = sleep(pause), if missing => pause = (pause * 2).min(POLL_MAX),
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        ((), (), ()) = async { tokio::join!(services, pods, work) } => {}
    }
}

/// The Services and pods as they are now; `None` when the API cannot say.
async fn look(client: &Client) -> Option<(Vec<Service>, Vec<Pod>)> {
    let everything = ListParams::default();
    let services = Api::<Service>::all(client.clone());
    let pods = Api::<Pod>::all(client.clone());
    match tokio::try_join!(services.list(&everything), pods.list(&everything)) {
        Ok((services, pods)) => Some((services.items, pods.items)),
        Err(error) => {
            tracing::debug!(%error, "endpoints are looked at again");
            None
        }
    }
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
    fn write(&mut self, services: &[Service], pods: &[Pod]) -> bool {
        let mut missing = false;
        let list = resolve(services, pods, |pod, port| {
            let folder = self.folders.find(&pod.uid()?)?;
            let socket = folder.listen_dir().join(format!("{port}.sock"));
            if socket.exists() {
                return Some(socket);
            }
            missing = true;
            None
        });
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

/// The list: `socket` answers where a pod's port is open, if it is.
fn resolve(
    services: &[Service],
    pods: &[Pod],
    mut socket: impl FnMut(&Pod, u16) -> Option<PathBuf>,
) -> Services {
    let mut list = BTreeMap::new();
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
        let behind: Vec<&Pod> = pods
            .iter()
            .filter(|pod| {
                let selected = selector.is_some_and(|s| {
                    s.iter()
                        .all(|(key, value)| pod.labels().get(key) == Some(value))
                });
                selected
                    && pod.metadata.namespace.as_deref() == Some(&namespace)
                    && pod.metadata.deletion_timestamp.is_none()
                    && is_ready(pod)
            })
            .collect();
        let mut ports: BTreeMap<u16, Vec<PathBuf>> = BTreeMap::new();
        for port in spec.ports.iter().flatten() {
            let tcp = port
                .protocol
                .as_deref()
                .is_none_or(|protocol| protocol == "TCP");
            let Ok(number) = u16::try_from(port.port) else {
                continue;
            };
            if tcp {
                let open = behind
                    .iter()
                    .filter_map(|pod| socket(pod, target(port, pod)?));
                ports.insert(number, open.collect());
            }
        }
        let name = service.name_any();
        for suffix in ["", ".svc", ".svc.cluster.local"] {
            list.insert(format!("{name}.{namespace}{suffix}"), ports.clone());
        }
    }
    Services(list)
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

const POLL: Duration = Duration::from_millis(20);
const POLL_MAX: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
