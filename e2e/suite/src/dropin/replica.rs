//! A replica of meshtool's controller, as far as others see one: a pod, a Lease that it renews, and
//! its share of the requests, which it answers.
//!
//! It denies, with words of its own: so each answer shows whose it is.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, PostParams};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::place::{APPLICATION, NAMESPACE};
use crate::harness::rendezvous::owner;
use crate::harness::{Pod, Request, RequestId, Stage, now};

/// The replica under way.
pub(super) struct GoReplica {
    working: JoinHandle<Result<()>>,
}

impl GoReplica {
    /// Begins, in `pod`, with the Lease; the replicas that share the work are `holders`.
    ///
    /// # Errors
    /// When the server refuses the Lease.
    pub(super) async fn begin(
        stage: &Arc<Stage>,
        pod: &Pod,
        holders: &'static [&'static str],
        namespace: &str,
    ) -> Result<Self> {
        let leases: Api<Lease> = Api::namespaced(stage.admin.clone(), NAMESPACE);
        let lease = serde_json::from_value(lease(pod, now()))?;
        let mut lease = leases.create(&PostParams::default(), &lease).await?;
        let requests = stage.requests(stage.admin.clone(), namespace);
        let me = pod.name.clone();
        let working = tokio::spawn(async move {
            let mut renewed = Instant::now();
            loop {
                if renewed.elapsed() > RENEWAL_PERIOD {
                    renewed = Instant::now();
                    if let Some(spec) = &mut lease.spec {
                        let date = serde_json::from_value(micro_time(now()))?;
                        spec.renew_time = Some(date);
                    }
                    lease = leases.replace(&me, &PostParams::default(), &lease).await?;
                }
                for request in requests.list(&ListParams::default()).await? {
                    let mine = owner(&RequestId::of(&request).to_string(), holders) == me;
                    if mine && condition(&request).is_none() {
                        let mut answered = request.clone();
                        answered.status = Some(serde_json::from_value(denied())?);
                        requests
                            .replace_status(&request.name_any(), &PostParams::default(), &answered)
                            .await?;
                    }
                }
                sleep(PAUSE).await;
            }
        });
        Ok(Self { working })
    }

    /// Ends without a word, as meshtool does: its Lease stays and runs out.
    ///
    /// # Errors
    /// Why it had ended before.
    pub(super) async fn die(self) -> Result<()> {
        self.working.abort();
        match self.working.await {
            Ok(failed) => failed.context("the replica that is played"),
            Err(error) if error.is_cancelled() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Type and message of the answer, if there is one.
pub(super) fn condition(request: &Request) -> Option<(&str, &str)> {
    let condition = request.status.as_ref()?.conditions.first()?;
    Some((condition.type_.as_str(), condition.message.as_str()))
}

/// A Lease as meshtool writes it.
pub(super) fn lease(pod: &Pod, renewed: Timestamp) -> Value {
    let time = micro_time(renewed);
    json!({
        "metadata": {
            "name": pod.name,
            "labels": {"rendezvous.row-major.net/application": APPLICATION},
            "ownerReferences": [{
                "apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid,
                "controller": true,
            }],
        },
        "spec": {
            "holderIdentity": pod.name, "leaseDurationSeconds": 15, "acquireTime": time,
            "renewTime": time, "leaseTransitions": 1,
        },
    })
}

fn micro_time(time: Timestamp) -> Value {
    format!("{time:.6}").into()
}

fn denied() -> Value {
    json!({"conditions": [{
        "type": "Denied", "status": "True", "reason": "Reason", "message": GO_SAYS,
        "lastTransitionTime": podcert_cases::material::date(now()),
    }]})
}

/// What it says in its answers.
pub(super) const GO_SAYS: &str = "Go said so";
const RENEWAL_PERIOD: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);
