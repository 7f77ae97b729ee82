//! One pod's worker: it looks, writes what is due, and sleeps until something changes or a timer ends.
//!
//! The order within one round is the kubelet's: certificates are asked for, then volumes are set up, and only when all
//! of them are there containers start. Certificates move on their own pass (and whenever a request of the pod
//! changes), volumes with the pod's sync; that a new certificate reaches the files only with the next sync is what
//! makes rotations in a real cluster slower than their events.

mod certificates;
mod containers;
mod playing;
mod run;
mod volumes;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, ResourceExt};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};

use self::playing::{Playing, Reported};
use super::plan::{self, PodPlan, Role};
use super::status::{self, Conditions, ContainerView, View};
use super::{Seen, Shared};
use crate::events::Severity;
use crate::pod_map::PodName;
use crate::report::{Remark, Report};

/// Plays one pod until it is gone or the kubelet stops.
pub(super) struct PodWorker {
    shared: Arc<Shared>,
    name: PodName,
    pod: Arc<Pod>,
    seen: watch::Receiver<Seen>,
    poke: Arc<Notify>,
    conditions: Conditions,
    reported: Option<PodStatus>,
    first_seen: Timestamp,
}

impl PodWorker {
    pub(super) fn new(
        shared: Arc<Shared>,
        pod: Arc<Pod>,
        seen: watch::Receiver<Seen>,
        poke: Arc<Notify>,
    ) -> Self {
        let name = PodName {
            namespace: pod.namespace().unwrap_or_default(),
            name: pod.name_any(),
            uid: pod.uid().unwrap_or_default(),
        };
        let started = pod
            .status
            .as_ref()
            .and_then(|status| status.start_time.as_ref());
        let first_seen = started.map_or_else(|| shared.node.clock.now(), |time| time.0);
        let conditions = Conditions::of(&pod);
        Self {
            shared,
            name,
            pod,
            seen,
            poke,
            conditions,
            reported: None,
            first_seen,
        }
    }

    /// # Cancel safety
    /// Dropped, it leaves the container running and the files whole; a next kubelet's worker takes over.
    pub(super) async fn run(mut self) {
        let grace = match plan::parse(&self.pod, &self.shared.node.images) {
            Ok(plan) => {
                let grace = plan.grace;
                self.remark(&plan.notes, Outcomes::Notes);
                self.play(plan).await;
                grace
            }
            Err(sentences) => {
                self.refuse(&sentences).await;
                Duration::ZERO
            }
        };
        self.end(grace).await;
    }

    /// The pod's service account.
    fn account(&self) -> String {
        let spec = self.pod.spec.as_ref();
        let account = spec.and_then(|spec| spec.service_account_name.clone());
        account.unwrap_or_else(|| "default".to_owned())
    }

    async fn refuse(&mut self, sentences: &[String]) {
        self.remark(sentences, Outcomes::Refusals);
        let message = sentences.join("; ");
        self.emit(Severity::Warning, status::REFUSED, &message)
            .await;
        let containers = self.pod.spec.iter().flat_map(|spec| {
            let init = spec.init_containers.iter().flatten();
            init.map(|container| (container, Role::Init)).chain(
                spec.containers
                    .iter()
                    .map(|container| (container, Role::Main)),
            )
        });
        let containers = containers.map(|(container, role)| ContainerView {
            name: container.name.clone(),
            image: container.image.clone().unwrap_or_default(),
            role,
            state: status::State::Waiting {
                reason: status::REFUSED,
                message: message.clone(),
            },
            ready: false,
            started: false,
            restarts: 0,
            last_end: None,
        });
        let view = View {
            containers: containers.collect(),
            address: None,
            refused: Some(message.clone()),
        };
        while !self.terminating() {
            let retry = self.report(&view).await;
            let mut seen = self.seen.clone();
            tokio::select! {
                biased;
                changed = seen.changed() => if changed.is_err() { return },
                () = sleep(API_RETRY), if retry == Reported::Failed => {}
            }
            self.look();
        }
    }

    async fn play(&mut self, plan: PodPlan) {
        let folder = loop {
            let opened = self.shared.node.folders.open(&self.name.uid);
            match opened {
                Ok(folder) => {
                    self.shared.node.hosted().insert(self.name.uid.clone());
                    break folder;
                }
                Err(error) => {
                    let message = format!("cannot make the pod's folder: {error}");
                    self.emit(Severity::Warning, "FailedCreatePodSandBox", &message)
                        .await;
                    sleep(API_RETRY).await;
                }
            }
            self.look();
            if self.terminating() {
                return;
            }
        };
        let containers = &self.shared.node.containers;
        let mut playing = Playing::new(plan, folder, &self.pod, |container| {
            containers.find(&self.name.uid, container)
        });
        while !self.terminating() {
            self.look_at_certificates(&mut playing).await;
            self.sync_volumes(&mut playing).await;
            self.sync_containers(&mut playing).await;
            let reported = self.report(&playing.view(&self.name)).await;
            playing.rest(reported, &mut self.seen, &self.poke).await;
            if self.look() {
                // What files tell about the pod has changed.
                playing.next_sync = Instant::now();
            }
        }
    }

    /// Stops the containers, takes the pod's files away and tells the API server that it is over.
    async fn end(&mut self, grace: Duration) {
        let node = self.shared.node.clone();
        let asked = self.pod.metadata.deletion_grace_period_seconds;
        let grace = match asked.and_then(|seconds| u64::try_from(seconds).ok()) {
            Some(seconds) => Duration::from_secs(seconds),
            None => grace,
        };
        node.containers.remove(&self.name.uid, grace).await;
        if let Err(error) = node.folders.remove(&self.name.uid) {
            tracing::warn!(%error, pod = self.name.name, "cannot remove the pod's folder");
        }
        node.hosted().remove(&self.name.uid);
        let pods: Api<Pod> = Api::namespaced(node.client.clone(), &self.name.namespace);
        let at_once = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: Some(self.name.uid.clone()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        while !matches!(*self.seen.borrow(), Seen::Gone) {
            match pods.delete(&self.name.name, &at_once).await {
                Ok(_) => break,
                Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {
                    break;
                }
                Err(error) => {
                    tracing::debug!(%error, pod = self.name.name, "its end is told again");
                    sleep(API_RETRY).await;
                }
            }
        }
        self.shared.events.forget(&self.name.uid);
    }

    /// Writes the status if it differs from the last one.
    async fn report(&mut self, view: &View) -> Reported {
        let node = &self.shared.node;
        let status = view.status(&mut self.conditions, self.first_seen, node.clock.now());
        if self.reported.as_ref() == Some(&status) {
            return Reported::Done;
        }
        let pods: Api<Pod> = Api::namespaced(node.client.clone(), &self.name.namespace);
        let patch = serde_json::json!({ "metadata": { "uid": self.name.uid }, "status": status });
        let patched = pods
            .patch_status(
                &self.name.name,
                &PatchParams::default(),
                &Patch::Merge(patch),
            )
            .await;
        match patched {
            Ok(_) => {
                self.reported = Some(status);
                Reported::Done
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => Reported::Done,
            Err(error) => {
                tracing::debug!(%error, pod = self.name.name, "its status is written again");
                Reported::Failed
            }
        }
    }

    /// Takes over what the watch showed; answers whether labels or annotations have changed.
    fn look(&mut self) -> bool {
        let Seen::There(pod) = &*self.seen.borrow_and_update() else {
            return false;
        };
        let (old, new) = (&self.pod.metadata, &pod.metadata);
        let changed = (&old.labels, &old.annotations) != (&new.labels, &new.annotations);
        self.pod = pod.clone();
        changed
    }

    fn terminating(&self) -> bool {
        let gone = matches!(*self.seen.borrow(), Seen::Gone);
        gone || self.pod.metadata.deletion_timestamp.is_some()
    }

    fn remark(&self, sentences: &[String], outcomes: Outcomes) {
        self.shared.node.ledger.note(|report| {
            let set = match outcomes {
                Outcomes::Notes => &mut report.notes,
                Outcomes::Refusals => &mut report.refusals,
            };
            let remarks = sentences.iter().map(|sentence| Remark {
                namespace: self.name.namespace.clone(),
                pod: self.name.name.clone(),
                sentence: sentence.clone(),
            });
            Report::remark(set, remarks);
        });
    }

    async fn emit(&self, severity: Severity, reason: &'static str, message: &str) {
        self.shared
            .events
            .emit(&self.pod, severity, reason, message)
            .await;
    }
}

/// Which list of the report a sentence goes to.
#[derive(Clone, Copy, Debug)]
enum Outcomes {
    Notes,
    Refusals,
}

const API_RETRY: Duration = Duration::from_secs(1);
