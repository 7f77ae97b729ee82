//! CoreDNS in the cluster, as clusters have it: a Deployment behind the Service `kube-dns`.

use std::time::Duration;

use anyhow::{Result, bail};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, Client};
use tokio::time::{Instant, sleep};

use crate::manifests;

/// Applies it and waits until it answers.
pub(super) async fn start(client: &Client, image: &str) -> Result<()> {
    let text = MANIFEST
        .replace("IMAGE", image)
        .replace("ADDRESS", super::DNS);
    manifests::apply(client, &text).await?;
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "kube-system");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let deployment = deployments.get("coredns").await?;
        let available = deployment
            .status
            .and_then(|status| status.available_replicas);
        if available.is_some_and(|replicas| replicas > 0) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!(
                "CoreDNS is not ready after {} s: the kubelet's log and those of pods say why",
                PATIENCE.as_secs()
            );
        }
        sleep(Duration::from_millis(200)).await;
    }
}

const MANIFEST: &str = include_str!("coredns.yaml");

const PATIENCE: Duration = Duration::from_secs(180);
