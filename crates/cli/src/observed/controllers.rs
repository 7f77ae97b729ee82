//! Controllers in a cluster: their replicas' Leases, their pods, and what these answer for.

use std::collections::HashSet;

use anyhow::Result;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use podcert_diagnosis::cluster::{self, Candidate, Configured, Found, Lease, Rights, in_turns};
use podcert_diagnosis::{NotShown, Shown};
use podcert_issuance::Policy;
use podcert_resources::lease::{APPLICATION_LABEL, ReplicaLease};
use serde::de::{Deserialize, Deserializer, Error as _};
use serde_json::Value;

use super::Reader;
use crate::commands::controller;

/// What shows itself as a controller.
pub(crate) struct Controllers {
    /// Leases of replicas.
    leases: Shown<Vec<Lease>>,
    /// The API server's time when they were read.
    leases_read: Timestamp,
    /// Pods that these name, and pods labelled as podcert's.
    candidates: Shown<Vec<Candidate>>,
    /// Which of them may sign.
    rights: Shown<Rights>,
    /// What was too much to look at.
    left_out: Vec<NotShown>,
}

impl Controllers {
    /// Looks for them.
    ///
    /// # Errors
    /// When the server does not answer, or with something else.
    pub(crate) async fn find(reader: &Reader) -> Result<Self> {
        let leases: Shown<Vec<Labelled>> = reader
            .list(
                "/apis/coordination.k8s.io/v1/leases",
                &format!("labelSelector={}", APPLICATION_LABEL.replace('/', "%2F")),
                "Leases",
            )
            .await?;
        let leases_read = reader.now();
        let mut leases: Shown<Vec<Lease>> =
            leases.map(|leases| leases.into_iter().map(|Labelled(lease)| lease).collect());
        let labelled: Shown<Vec<Pod>> = reader
            .list("/api/v1/pods", &format!("labelSelector={LABELS}"), "pods")
            .await?;
        let mut pods = Vec::new();
        let mut refused: Option<NotShown> = None;
        match labelled {
            Ok(labelled) => pods = labelled,
            Err(not_shown) => refused = Some(not_shown),
        }
        let mut left_out = Vec::new();
        if let Ok(leases) = &mut leases {
            left_out.extend(leave_out(leases, &pods));
            for Lease {
                namespace, name, ..
            } in without_pod(leases, &pods)
            {
                let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
                match reader.object(&path, "the pods of controllers").await? {
                    Ok(pod) => pods.extend(pod),
                    Err(not_shown) => refused = Some(not_shown),
                }
            }
        }
        let candidates: Vec<Candidate> = pods
            .into_iter()
            .map(|pod| Candidate {
                configured: configured(&pod),
                pod,
            })
            .collect();
        let rights = reader.rights(cluster::questions(&candidates)).await?;
        let candidates = match refused {
            Some(not_shown) if candidates.is_empty() => Err(not_shown),
            _ => Ok(candidates),
        };
        Ok(Self {
            leases,
            leases_read,
            candidates,
            rights,
            left_out,
        })
    }

    /// Them, as `podcert status` judges them.
    pub(crate) fn found(&self) -> Found<'_> {
        Found {
            leases: self.leases.as_deref().map_err(Clone::clone),
            read: self.leases_read,
            candidates: self.candidates.as_deref().map_err(Clone::clone),
            rights: self.rights.as_ref().map_err(Clone::clone),
            left_out: &self.left_out,
        }
    }

    /// What those issue that may, as their command lines say.
    pub(crate) fn policies(&self) -> Vec<Policy> {
        let judged = self.found().judged().unwrap_or_default();
        let policies = judged.controllers.iter().filter_map(|controller| {
            let signers = &controller.configured.as_ref()?.signers;
            let mut policies = controller::policies(&args(controller.pod)?).ok()?;
            policies.retain(|policy| signers.iter().any(|own| own == policy.signer.as_str()));
            Some(policies)
        });
        policies.flatten().collect()
    }

    /// Why not all that is said of them is sure.
    pub(crate) fn hidden(&self) -> Vec<NotShown> {
        let rights = self.rights.as_ref().err().cloned();
        rights.into_iter().chain(self.left_out.clone()).collect()
    }
}

/// Those of `leases` whose pod is none of `pods`.
fn without_pod(leases: &[Lease], pods: &[Pod]) -> Vec<Lease> {
    let known: HashSet<(Option<&str>, Option<&str>)> = pods
        .iter()
        .map(|pod| {
            let metadata = &pod.metadata;
            (metadata.namespace.as_deref(), metadata.name.as_deref())
        })
        .collect();
    let leases = leases.iter();
    let unknown = leases.filter(|one| !known.contains(&(Some(&*one.namespace), Some(&*one.name))));
    unknown.cloned().collect()
}

/// Takes those of `leases` away whose pods would be too many to ask for, each by itself.
fn leave_out(leases: &mut Vec<Lease>, pods: &[Pod]) -> Option<NotShown> {
    let unknown = without_pod(leases, pods);
    let (asked, left_out) = in_turns(unknown.clone(), MOST_PODS, |lease| &lease.namespace);
    if left_out == 0 {
        return None;
    }
    let key = |lease: &Lease| (lease.namespace.clone(), lease.name.clone());
    let asked: HashSet<_> = asked.iter().map(key).collect();
    let unknown: HashSet<_> = unknown.iter().map(key).collect();
    leases.retain(|lease| !unknown.contains(&key(lease)) || asked.contains(&key(lease)));
    Some(NotShown {
        what: format!("the pods of {left_out} more Leases"),
        why: format!(
            "at most {MOST_PODS} pods without podcert's labels are asked for; these Leases are left out"
        ),
    })
}

/// A Lease with its label, read as other replicas read it: whatever else it says is no reason not to.
struct Labelled(Lease);

impl<'de> Deserialize<'de> for Labelled {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = Value::deserialize(deserializer)?;
        let label = object
            .pointer("/metadata/labels")
            .and_then(|labels| labels.get(APPLICATION_LABEL))
            .and_then(Value::as_str)
            .map(str::to_owned);
        let lease = ReplicaLease::deserialize(object).map_err(D::Error::custom)?;
        Ok(Self(Lease {
            held: lease.held().cloned(),
            namespace: lease.metadata.namespace.unwrap_or_default(),
            name: lease.metadata.name.unwrap_or_default(),
            application: label.ok_or_else(|| D::Error::missing_field(APPLICATION_LABEL))?,
        }))
    }
}

/// What the controller in `pod` is told to do; nothing if its command line cannot be read.
fn configured(pod: &Pod) -> Option<Configured> {
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
/// Each is a request.
const MOST_PODS: usize = 50;
