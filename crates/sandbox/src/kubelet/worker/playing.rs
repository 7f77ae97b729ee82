//! Where a pod stands that the sandbox runs: its certificates, volumes and containers, and when each is to be looked at
//! again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, select_all};
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::API_RETRY;
use super::run::Run;
use crate::containers::ContainerState;
use crate::folders::PodFolder;
use crate::kubelet::Seen;
use crate::kubelet::certificate::State;
use crate::kubelet::objects::Objects;
use crate::kubelet::plan::{PodPlan, Role, Source, VolumePlan};
use crate::kubelet::status::View;
use crate::kubelet::token::Tokens;
use crate::pod_map::PodName;

/// A pod that the sandbox can run, and where it stands.
#[derive(Debug)]
pub(super) struct Playing {
    pub(super) plan: Arc<PodPlan>,
    pub(super) folder: PodFolder,
    /// The state of each certificate source, by volume and place in it.
    pub(super) certificates: BTreeMap<(String, usize), State>,
    pub(super) objects: Objects,
    pub(super) tokens: Tokens,
    pub(super) mounted: bool,
    /// Certificates are looked at when this is due, and whenever the worker is poked.
    pub(super) next_pass: Instant,
    pub(super) poked: bool,
    /// Failures in a row to create a request.
    pub(super) request_failures: u32,
    /// Volumes are set up when this is due.
    pub(super) next_sync: Instant,
    pub(super) mount_failures: u32,
    /// The containers, in the order of the plan.
    pub(super) runs: Vec<Run>,
    /// Rung by probes.
    pub(super) bell: Arc<Notify>,
    /// Whether everything that runs before the pod's own containers has.
    initialized: bool,
    /// No container of the pod is started again.
    pub(super) over: bool,
}

/// Whether the status reached the API server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reported {
    Done,
    Failed,
}

impl Playing {
    /// `find` answers with a container that runs, or ran, already.
    pub(super) fn new(
        plan: PodPlan,
        folder: PodFolder,
        pod: &Pod,
        find: impl Fn(&str) -> Option<watch::Receiver<ContainerState>>,
    ) -> Self {
        let mut certificates = BTreeMap::new();
        for (name, volume) in &plan.volumes {
            let VolumePlan::Files { sources, .. } = volume else {
                continue;
            };
            for (index, source) in sources.iter().enumerate() {
                if matches!(source, Source::Certificate(_)) {
                    certificates.insert((name.clone(), index), State::Initial);
                }
            }
        }
        let status = pod.status.as_ref();
        let phase = status.and_then(|status| status.phase.as_deref());
        let containers = plan.containers.iter();
        let runs = containers.map(|plan| Run::new(plan.clone(), pod, find(&plan.name)));
        let now = Instant::now();
        Self {
            runs: runs.collect(),
            plan: Arc::new(plan),
            folder,
            certificates,
            objects: Objects::default(),
            tokens: Tokens::default(),
            mounted: false,
            next_pass: now,
            poked: true,
            request_failures: 0,
            next_sync: now,
            mount_failures: 0,
            bell: Arc::new(Notify::new()),
            initialized: false,
            over: matches!(phase, Some("Failed" | "Succeeded")),
        }
    }

    /// The containers that may be started, whenever that is.
    fn startable(&self) -> Vec<&Run> {
        let mut found = Vec::new();
        if self.over || !self.mounted {
            return found;
        }
        for run in &self.runs {
            let idle = !run.is_running() && !run.done;
            if idle {
                found.push(run);
            }
            let blocks = match run.plan.role {
                Role::Init => !run.has_succeeded(),
                Role::Main => false,
                Role::Sidecar => !self.initialized && !run.has_started(),
            };
            if blocks {
                break;
            }
        }
        found
    }

    /// The place of a container that is to be started now.
    pub(super) fn next_due(&self) -> Option<usize> {
        let now = Instant::now();
        let startable = self.startable();
        let due = startable.iter().find(|run| run.start_at <= now)?;
        self.runs
            .iter()
            .position(|run| run.plan.name == due.plan.name)
    }

    /// Draws the conclusions of what the containers do.
    pub(super) fn settle(&mut self) {
        let mut before = self.runs.iter().filter(|run| run.plan.role != Role::Main);
        self.initialized |= before.all(|run| match run.plan.role {
            Role::Sidecar => run.has_started(),
            Role::Init | Role::Main => run.has_succeeded(),
        });
        let failed = |run: &Run| run.plan.role == Role::Init && run.done && !run.has_succeeded();
        let mut main = self.runs.iter().filter(|run| run.plan.role == Role::Main);
        self.over |= self.runs.iter().any(failed) || main.all(|run| run.done);
    }

    pub(super) fn view(&self, pod: &PodName) -> View {
        let staged = self.runs.iter().any(|run| run.plan.role != Role::Main);
        let initializing = staged && !self.initialized;
        View {
            refused: None,
            address: Some(self.folder.address().to_string()),
            containers: self
                .runs
                .iter()
                .map(|run| run.view(pod, initializing))
                .collect(),
        }
    }

    /// Sleeps until something is to do.
    pub(super) async fn rest(
        &mut self,
        reported: Reported,
        seen: &mut watch::Receiver<Seen>,
        poke: &Notify,
    ) {
        let mut until = None;
        if !self.over {
            // Nothing is renewed for a pod whose containers will not run again.
            let starts = self.startable().into_iter().map(|run| run.start_at).min();
            let pass = (!self.certificates.is_empty()).then_some(self.next_pass);
            until = [Some(self.next_sync), pass, starts]
                .into_iter()
                .flatten()
                .min();
        }
        let timer = async {
            match until {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        let states = self.runs.iter_mut().filter_map(|run| run.state.as_mut());
        let mut changes: Vec<BoxFuture<'_, ()>> = states
            .map(|state| async move { drop(state.changed().await) }.boxed())
            .collect();
        changes.push(self.bell.notified().boxed());
        // Cancel safe: each branch only waits.
        tokio::select! {
            biased;
            _ = seen.changed() => {}
            () = poke.notified() => self.poked = true,
            _ = select_all(changes) => {}
            () = timer => {}
            () = sleep(API_RETRY), if reported == Reported::Failed => {}
        }
    }
}

/// `first` after one failure, twice that after two, ..., at most `max`.
pub(super) fn doubled(first: Duration, failures: u32, max: Duration) -> Duration {
    first
        .saturating_mul(1 << failures.saturating_sub(1).min(20))
        .min(max)
}
