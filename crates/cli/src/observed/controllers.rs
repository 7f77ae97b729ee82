//! Controllers in a cluster: their replicas' Leases, their pods, and what these answer for.

use anyhow::Result;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use podcert_diagnosis::cluster::{self, Configured, ControllerReport};
use podcert_diagnosis::{NotShown, Shown};
use podcert_issuance::Policy;
use podcert_resources::lease::APPLICATION_LABEL;

use super::Reader;
use crate::commands::controller;

/// What shows itself as a controller.
pub(crate) struct Controllers {
    /// Leases of replicas.
    pub(crate) leases: Shown<Vec<Lease>>,
    /// The API server's time when they were read.
    pub(crate) leases_read: Timestamp,
    /// Pods of replicas, and pods labelled as podcert's.
    pub(crate) pods: Shown<Vec<Pod>>,
}

impl Controllers {
    /// Looks for them.
    ///
    /// # Errors
    /// When the server does not answer, or with something else.
    pub(crate) async fn find(reader: &Reader) -> Result<Self> {
        let leases: Shown<Vec<Lease>> = reader
            .list(
                "/apis/coordination.k8s.io/v1/leases",
                &format!("labelSelector={}", APPLICATION_LABEL.replace('/', "%2F")),
                "Leases",
            )
            .await?;
        let leases_read = reader.now();
        let labelled: Shown<Vec<Pod>> = reader
            .list("/api/v1/pods", &format!("labelSelector={LABELS}"), "pods")
            .await?;
        let mut pods = Vec::new();
        let mut refused: Option<NotShown> = None;
        match labelled {
            Ok(labelled) => pods = labelled,
            Err(not_shown) => refused = Some(not_shown),
        }
        for lease in leases.iter().flatten() {
            let metadata = &lease.metadata;
            let (Some(namespace), Some(name)) = (&metadata.namespace, &metadata.name) else {
                continue;
            };
            let is_known = pods.iter().any(|pod: &Pod| {
                pod.metadata.name.as_ref() == Some(name)
                    && pod.metadata.namespace.as_ref() == Some(namespace)
            });
            if is_known {
                continue;
            }
            let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
            match reader.object(&path, "the pods of controllers").await? {
                Ok(pod) => pods.extend(pod),
                Err(not_shown) => refused = Some(not_shown),
            }
        }
        let pods = match refused {
            Some(not_shown) if pods.is_empty() => Err(not_shown),
            _ => Ok(pods),
        };
        Ok(Self {
            leases,
            leases_read,
            pods,
        })
    }

    /// Them, as `podcert status` tells of them.
    pub(crate) fn report(&self) -> Vec<ControllerReport> {
        let leases = self.leases.as_deref().ok();
        let pods = self.pods.as_deref().ok();
        cluster::controllers(leases, pods, &configured, self.leases_read)
    }

    /// What those that were found issue, as their command lines say.
    pub(crate) fn policies(&self) -> Vec<Policy> {
        let pods = self.pods.iter().flatten();
        let policies = pods.filter_map(|pod| controller::policies(&args(pod)?).ok());
        policies.flatten().collect()
    }
}

/// What the controller in `pod` is told to do; nothing if its command line cannot be read.
pub(crate) fn configured(pod: &Pod) -> Option<Configured> {
    let args = args(pod)?;
    let policies = controller::policies(&args).ok()?.into_iter();
    Some(Configured {
        signers: policies.map(|policy| policy.signer.to_string()).collect(),
        application: controller::application(&args),
    })
}

/// The flags of the first container of `pod` that runs a controller.
fn args(pod: &Pod) -> Option<controller::Args> {
    let containers = &pod.spec.as_ref()?.containers;
    containers.iter().find_map(|container| {
        let command = container.command.iter().flatten();
        let words: Vec<&String> = command.chain(container.args.iter().flatten()).collect();
        let at = words.iter().position(|word| *word == "controller")?;
        let flags: Vec<String> = words
            .iter()
            .skip(at + 1)
            .map(|word| (*word).clone())
            .collect();
        controller::read(&flags).ok()
    })
}

/// What podcert's own manifests label a controller with.
const LABELS: &str =
    "app.kubernetes.io%2Fname%3Dpodcert,app.kubernetes.io%2Fcomponent%3Dcontroller";
