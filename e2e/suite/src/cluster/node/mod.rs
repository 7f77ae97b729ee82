//! A real node beside a control plane: kubelet, containerd, runc, a network for pods, kube-proxy and
//! CoreDNS, without a container engine and without a trace on the machine.
//!
//! The node lives in namespaces of its own ([`inside`], [`space`]), linked to the API server by a pair of
//! devices ([`link`]); what the distribution must have is found by [`host`], images come from what we
//! build ([`images`]), [`config`] is what each part is told. Cgroups are the one thing that the kernel
//! does not take back by itself: [`cgroups`] does, at `down` and before a cluster of the name is made anew.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use k8s_openapi::api::core::v1::Node as NodeObject;
use kube::{Api, Client};
use podcert_cases::Release;

use self::config::Settings;
pub(crate) use self::host::Host;
use self::link::Link;
use self::space::Space;
use super::folders::{Folder, write};
use super::parts::{Part, Parts};
use super::process::Process;
use super::progress::Progress;
use super::until_ready;

pub(crate) mod cgroups;
mod config;
mod dns;
mod host;
pub(crate) mod images;
pub(crate) mod inside;
mod link;
mod space;

/// The node's name.
pub(crate) const NAME: &str = "node";

/// The image that holds a pod's namespaces.
const PAUSE: &str = "podcert.dev/e2e/pause:v1";

/// The address of the Service of CoreDNS.
const DNS: &str = "10.0.0.10";

/// What is a tmpfs of the node's own: places that its parts write to whatever they are told.
pub(crate) const OWN_FOLDERS: [&str; 3] = ["/run", "/var/lib", "/var/log"];

/// A node, from its namespaces on. Dropping it ends it with everything on it.
#[derive(Debug)]
pub(crate) struct Node {
    release: Release,
    folder: PathBuf,
    link: Link,
    space: Space,
    programs: Programs,
    running: Mutex<Running>,
}

/// Programs that the parts are told of.
#[derive(Debug)]
struct Programs {
    runc: PathBuf,
    shim: PathBuf,
}

#[derive(Debug, Default)]
struct Running {
    containerd: Option<Arc<Process>>,
    kubelet: Option<Arc<Process>>,
    proxy: Option<Arc<Process>>,
}

impl Node {
    /// Makes the node's namespaces and the line to them, so that the API server has an address.
    pub(super) async fn open(
        folder: &Folder,
        locks: &Path,
        host: Host,
        release: Release,
        parts: &Parts,
        progress: &Progress,
    ) -> Result<Self> {
        check_place(folder.root())?;
        cgroups::create(folder.root())?;
        folder.create_for_node()?;
        progress.begin("making the node's namespaces".to_owned());
        let space = Space::open(folder).await?;
        let link = Link::reserve(locks)?;
        link.lay(&space, &host.ip).await?;
        let shim = parts.other(Part::ContainerdShim)?.program.clone();
        Ok(Self {
            release,
            folder: folder.root().to_path_buf(),
            link,
            space,
            programs: Programs {
                runc: host.runc,
                shim,
            },
            running: Mutex::default(),
        })
    }

    /// Where the API server is to listen.
    pub(super) fn gateway(&self) -> Ipv4Addr {
        self.link.outside()
    }

    /// The kubelet's address.
    pub(super) fn address(&self) -> Ipv4Addr {
        self.link.inside()
    }

    /// Starts everything on it and waits until pods can run and find each other by name.
    pub(super) async fn start(
        &self,
        folder: &Folder,
        parts: &Parts,
        client: &Client,
        progress: &Progress,
    ) -> Result<()> {
        let settings = self.settings(folder);
        write(&folder.node("containerd.toml"), &settings.containerd())?;
        write(
            &folder.node("cni").join("10-podcert-e2e.conflist"),
            &settings.cni().to_string(),
        )?;
        write(
            &folder.node("kubelet.json"),
            &settings.kubelet().to_string(),
        )?;
        write(
            &folder.node("kube-proxy.json"),
            &settings.kube_proxy().to_string(),
        )?;

        let built = parts.other(Part::Containerd)?;
        progress.begin(format!("starting containerd {}", built.version));
        let args = [format!(
            "--config={}",
            folder.node("containerd.toml").display()
        )];
        let containerd = self.spawn(Part::Containerd, &built.program, &args, folder)?;
        self.running().containerd = Some(Arc::clone(&containerd));
        let ctr = images::Ctr::of(folder);
        until_ready(&containerd, || async { ctr.answers().await }).await?;
        for part in [Part::Pause, Part::CoreDns] {
            let built = parts.other(part)?;
            progress.begin(format!("making the image of {}", part.name()));
            ctr.import(&images::of_part(built)?).await?;
        }

        self.start_kubelet(folder, parts, client, progress).await?;
        let built = parts.other(Part::KubeProxy)?;
        progress.begin(format!("starting kube-proxy {}", built.version));
        let args = [format!(
            "--config={}",
            folder.node("kube-proxy.json").display()
        )];
        let proxy = self.spawn(Part::KubeProxy, &built.program, &args, folder)?;
        self.running().proxy = Some(proxy);

        let built = parts.other(Part::CoreDns)?;
        progress.begin(format!("starting CoreDNS {}", built.version));
        dns::start(client, &images::name(built)).await?;
        Ok(())
    }

    /// Starts the kubelet and waits until its node is ready.
    pub(super) async fn start_kubelet(
        &self,
        folder: &Folder,
        parts: &Parts,
        client: &Client,
        progress: &Progress,
    ) -> Result<()> {
        let built = parts.other(Part::Kubelet)?;
        progress.begin(format!("starting kubelet {}", built.version));
        let args = self.settings(folder).kubelet_flags();
        let began = super::now();
        let kubelet = self.spawn(Part::Kubelet, &built.program, &args, folder)?;
        self.running().kubelet = Some(Arc::clone(&kubelet));
        let nodes: Api<NodeObject> = Api::all(client.clone());
        until_ready(&kubelet, || async {
            let node = nodes.get(NAME).await;
            node.is_ok_and(|node| is_ready_since(&node, began))
        })
        .await
    }

    /// Asks the kubelet to end and waits until it has; the pods stay.
    pub(super) async fn stop_kubelet(&self) {
        let kubelet = self.running().kubelet.take();
        if let Some(kubelet) = kubelet {
            kubelet.terminate(GRACE).await;
        }
    }

    /// Every part of it that should be running, with its process.
    pub(super) fn processes(&self) -> Vec<Arc<Process>> {
        let running = self.running();
        let mut processes = vec![self.space.process()];
        processes.extend(running.containerd.clone());
        processes.extend(running.kubelet.clone());
        processes.extend(running.proxy.clone());
        processes
    }

    /// Whether all that is to run was started and not stopped.
    pub(super) fn is_whole(&self) -> bool {
        let running = self.running();
        running.containerd.is_some() && running.kubelet.is_some() && running.proxy.is_some()
    }

    /// Ends everything on it and removes what the kernel does not.
    pub(super) async fn end(&self) -> Result<()> {
        self.space.end().await;
        cgroups::remove(&self.folder)
    }

    fn settings<'a>(&'a self, folder: &'a Folder) -> Settings<'a> {
        Settings {
            folder,
            address: self.address(),
            programs: &self.programs,
            release: self.release,
        }
    }

    fn spawn(
        &self,
        part: Part,
        program: &Path,
        args: &[String],
        folder: &Folder,
    ) -> Result<Arc<Process>> {
        self.space.spawn(part.name(), program, args, folder)
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ready, as the kubelet that was started at `began` says it and no earlier one.
fn is_ready_since(node: &NodeObject, began: jiff::Timestamp) -> bool {
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| {
        let heard = condition.last_heartbeat_time.as_ref();
        condition.type_ == "Ready"
            && condition.status == "True"
            // Times are whole seconds.
            && heard.is_some_and(|heard| heard.0.as_second() >= began.as_second())
    })
}

/// The folder must be seen in the node too, and containerd's socket in it must have a name that fits.
fn check_place(folder: &Path) -> Result<()> {
    for own in OWN_FOLDERS {
        ensure!(
            !folder.starts_with(own),
            "a node has a {own} of its own, so its cluster cannot be in {}: set PODCERT_E2E_STATE",
            folder.display()
        );
    }
    let longest = folder.join("node/containerd.sock");
    if longest.as_os_str().len() > SOCKET_NAME {
        bail!(
            "{} is too long for the name of a socket ({SOCKET_NAME} bytes): set PODCERT_E2E_STATE to a \
             shorter folder",
            longest.display()
        );
    }
    Ok(())
}

/// What fits into a socket's address.
const SOCKET_NAME: usize = 107;

/// The time that a kubelet has to end.
const GRACE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_a_node_would_not_see_is_refused_with_the_way_out() {
        assert!(check_place(Path::new("/home/me/.local/state/podcert/e2e/clusters/1.37")).is_ok());
        for bad in ["/run/me/cluster", "/var/lib/cluster", "/var/log/cluster"] {
            let error = check_place(Path::new(bad)).unwrap_err().to_string();
            assert!(error.contains("PODCERT_E2E_STATE"), "{error}");
        }
        let long = Path::new("/home").join("a".repeat(90));
        assert!(check_place(&long).is_err());
    }
}
