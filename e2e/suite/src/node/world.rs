//! What the steps of a node have in common: the controller in a pod, the examples in theirs.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client};
use podcert_image::podcert;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use super::polls::{Clients, Poll};
use super::{PATIENCE, PAUSE};
use crate::cluster::{Cluster, checkout};
use crate::diagnosis::asker::Asker;
use crate::manifests;
use crate::run::Context;

/// A cluster with a node, and podcert's images on it.
pub(super) struct World {
    pub(super) cluster: Arc<Cluster>,
    pub(super) client: Client,
    program: PathBuf,
}

/// An application of `deploy/examples`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Example {
    /// One server, and a client that verifies it.
    Unauthenticated,
    /// Three servers, and three clients that show a SPIFFE ID.
    Spiffe,
}

impl Example {
    /// Both.
    pub(super) const ALL: [Self; 2] = [Self::Unauthenticated, Self::Spiffe];

    /// The namespace that its manifest names, which is the manifest's name too.
    pub(super) fn namespace(self) -> &'static str {
        match self {
            Self::Unauthenticated => "service-dns-unauth-client",
            Self::Spiffe => "service-dns-spiffe-client",
        }
    }

    /// How many clients it has.
    pub(super) fn clients(self) -> usize {
        match self {
            Self::Unauthenticated => 1,
            Self::Spiffe => 3,
        }
    }

    /// The manifest, in another namespace if one is named. It differs from what is in the checkout in
    /// that images are never pulled, and that clients poll each second.
    fn manifest(self, namespace: &str) -> Result<String> {
        let file = checkout().join(format!("deploy/examples/{}.yaml", self.namespace()));
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        Ok(text
            .replace(self.namespace(), namespace)
            .replace("imagePullPolicy: Always", "imagePullPolicy: IfNotPresent")
            .replace(
                "- https-client\n",
                "- https-client\n        - --interval=1s\n",
            ))
    }

    /// Whether a call was answered as the example promises.
    fn check(self, poll: &Poll, namespace: &str) -> Result<()> {
        let body = match self {
            Self::Unauthenticated => "OK".to_owned(),
            Self::Spiffe => {
                format!("Client Identity: spiffe://cluster.local/ns/{namespace}/sa/default")
            }
        };
        let name = format!("DNS:server.{namespace}.svc");
        if poll.get("body").trim_end() != body
            || !poll.get("names").split(',').any(|one| one == name)
        {
            bail!("a client in {namespace} expected `{body}` from {name}: {poll:?}");
        }
        Ok(())
    }
}

impl World {
    /// A cluster without a controller.
    pub(super) fn bare(cluster: Arc<Cluster>, context: &Context) -> Result<Self> {
        Ok(Self {
            client: cluster.client()?,
            cluster,
            program: context.podcert.clone().context(NO_PROGRAM)?,
        })
    }

    /// Puts the image on the node and the controller into the cluster, where they are not there yet.
    pub(super) async fn on(cluster: Arc<Cluster>, context: &Context) -> Result<Self> {
        let world = Self::bare(cluster, context)?;
        let rights = checkout().join("deploy/controller/rbac.yaml");
        manifests::apply(&world.client, &std::fs::read_to_string(rights)?).await?;
        for pool in ["service-dns-ca-pool", "spiffe-ca-pool"] {
            world.pool(pool).await?;
        }
        let deployments: Api<Deployment> = Api::namespaced(world.client.clone(), NAMESPACE);
        if deployments.get_opt(CONTROLLER).await?.is_none() {
            let progress = &context.progress;
            progress.detail("starting the controller".to_owned());
            world.run_controller(IMAGE).await?;
        }
        Ok(world)
    }

    /// Makes a pool as the documentation says, unless it is there.
    async fn pool(&self, name: &str) -> Result<()> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), NAMESPACE);
        if secrets.get_opt(name).await?.is_some() {
            return Ok(());
        }
        self.podcert(&[
            "make-ca-pool-secret",
            "--ca-id=1",
            "--namespace",
            NAMESPACE,
            "--name",
            name,
        ])
        .await
    }

    /// Runs the controller from an image of this name, in place of any other.
    pub(super) async fn run_controller(&self, image: &str) -> Result<()> {
        self.run_build(image, b"").await
    }

    /// The same with a program that has something behind its end, which nobody reads: for containerd another
    /// build, with another digest.
    pub(super) async fn run_build(&self, image: &str, behind: &[u8]) -> Result<()> {
        self.load(image, behind).await?;
        let manifest = include_str!("controller.yaml").replace("IMAGE", image);
        manifests::apply(&self.client, &manifest).await?;
        self.rolled_out(NAMESPACE, CONTROLLER).await
    }

    /// Puts an image of this name on the node, of the program and what is to be behind its end.
    pub(super) async fn load(&self, image: &str, behind: &[u8]) -> Result<()> {
        let mut bytes = std::fs::read(&self.program)?;
        bytes.extend_from_slice(behind);
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("podcert.tar");
        podcert(image).build(&bytes)?.write(&file)?;
        self.cluster.import(&file).await
    }

    /// Runs the controller as `podcert install` does, in place of any other.
    pub(super) async fn install(&self) -> Result<()> {
        self.remove_controller().await?;
        self.podcert(&[
            "install",
            "--signer=service-dns",
            "--signer=spiffe",
            "--image",
            IMAGE,
        ])
        .await?;
        self.rolled_out(NAMESPACE, CONTROLLER).await
    }

    /// Ends the controller; the next step starts its own.
    pub(super) async fn remove_controller(&self) -> Result<()> {
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), NAMESPACE);
        deployments
            .delete(CONTROLLER, &DeleteParams::foreground())
            .await?;
        let deadline = Instant::now() + PATIENCE;
        while deployments.get_opt(CONTROLLER).await?.is_some() {
            if Instant::now() > deadline {
                bail!("the controller's pods do not end");
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// The controller's pods that are not being deleted.
    pub(super) async fn controllers(&self) -> Result<Vec<Pod>> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        let mut pods = pods.list(&ListParams::default()).await?.items;
        pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
        Ok(pods)
    }

    /// What the controller's containers run, by what is in it.
    pub(super) async fn digests(&self) -> Result<BTreeSet<String>> {
        let pods = self.controllers().await?;
        let statuses = pods.iter().filter_map(|pod| pod.status.as_ref());
        let containers = statuses.filter_map(|status| status.container_statuses.as_ref());
        Ok(containers
            .flatten()
            .map(|container| container.image_id.clone())
            .collect())
    }

    /// Waits until the controller's Deployment is whole again.
    pub(super) async fn controllers_are_back(&self) -> Result<()> {
        self.rolled_out(NAMESPACE, CONTROLLER).await
    }

    /// Asks podcert, on this machine, as the cluster's administrator.
    pub(super) fn asker(&self) -> Asker {
        Asker::new(&self.program, self.cluster.kubeconfig())
    }

    /// Runs podcert on this machine, as the cluster's administrator.
    async fn podcert(&self, arguments: &[&str]) -> Result<()> {
        let done = Command::new(&self.program)
            .args(arguments)
            .arg("--kubeconfig")
            .arg(self.cluster.kubeconfig())
            .kill_on_drop(true)
            .output()
            .await?;
        if !done.status.success() {
            let said = String::from_utf8_lossy(&done.stderr);
            bail!("podcert {}: {}: {said}", arguments.join(" "), done.status);
        }
        Ok(())
    }

    /// Runs an example in a namespace and waits until its clients are served as it promises.
    pub(super) async fn run_example(&self, example: Example, namespace: &str) -> Result<()> {
        manifests::apply(&self.client, &example.manifest(namespace)?).await?;
        for deployment in ["server", "client"] {
            self.rolled_out(namespace, deployment).await?;
        }
        self.check(example, namespace).await
    }

    /// Waits until the clients of an example are settled, and holds what they see against its promise.
    pub(super) async fn check(&self, example: Example, namespace: &str) -> Result<()> {
        let clients = Clients::of(&self.client, namespace);
        for poll in clients.settled(example.clients()).await? {
            example.check(&poll, namespace)?;
        }
        Ok(())
    }

    /// Removes what an example made in a namespace that stays, and waits until its pods are gone.
    pub(super) async fn remove_example(&self, namespace: &str) -> Result<()> {
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), namespace);
        for name in ["server", "client"] {
            deployments
                .delete(name, &DeleteParams::foreground())
                .await?;
        }
        let services: Api<Service> = Api::namespaced(self.client.clone(), namespace);
        services.delete("server", &DeleteParams::default()).await?;
        let deadline = Instant::now() + PATIENCE;
        while !deployments
            .list(&Default::default())
            .await?
            .items
            .is_empty()
        {
            if Instant::now() > deadline {
                bail!("the pods of the example in {namespace} do not end");
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Waits until a Deployment is.
    pub(super) async fn rolled_out(&self, namespace: &str, name: &str) -> Result<()> {
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), namespace);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let deployment = deployments.get(name).await?;
            if is_rolled_out(&deployment) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "the Deployment {namespace}/{name} is not rolled out after {} s: {}",
                    PATIENCE.as_secs(),
                    serde_json::to_string(&deployment.status)?
                );
            }
            sleep(PAUSE).await;
        }
    }
}

/// As `kubectl rollout status` sees it.
fn is_rolled_out(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.replicas;
    deployment.status.as_ref().is_some_and(|status| {
        status.observed_generation >= deployment.metadata.generation
            && status.updated_replicas == wanted
            && status.replicas == wanted
            && status.available_replicas == wanted
    })
}

/// The image that the examples name.
pub(super) const IMAGE: &str = "ghcr.io/podcert/podcert:0.1.0";

/// The controller's.
pub(super) const NAMESPACE: &str = "podcert";
const CONTROLLER: &str = "podcert-controller";

const NO_PROGRAM: &str = "`--node` needs `--podcert FILE`, a static build of podcert: `cargo xtask e2e --node` makes one";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_is_moved_as_a_whole_and_never_pulls() {
        for example in Example::ALL {
            let there = example.manifest(example.namespace()).unwrap();
            assert!(there.contains(IMAGE) && there.contains("--interval=1s"));
            let moved = example.manifest("default").unwrap();
            assert!(!moved.contains(example.namespace()));
            assert!(moved.contains("https://server.default.svc/"));
            assert!(!moved.contains("Always\n        command"));
        }
    }
}
