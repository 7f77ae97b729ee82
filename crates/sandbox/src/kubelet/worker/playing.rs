//! Where a pod stands that the sandbox runs: its certificates, volumes and container, and when each is to be looked at
//! again.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::API_RETRY;
use crate::containers::ContainerState;
use crate::folders::PodFolder;
use crate::kubelet::certificate::State;
use crate::kubelet::plan::{PodPlan, RestartPolicy, Source, VolumePlan};
use crate::kubelet::status::{self, Ended, View};
use crate::kubelet::{KubeletTiming, Seen};

/// A pod that the sandbox can run, and where it stands.
#[derive(Debug)]
pub(super) struct Playing {
    pub(super) plan: PodPlan,
    pub(super) folder: PodFolder,
    /// The state of each certificate source, by volume and place in it.
    pub(super) certificates: BTreeMap<(String, usize), State>,
    pub(super) mounted: bool,
    /// Certificates are looked at when this is due, and whenever the worker is poked.
    pub(super) next_pass: Instant,
    pub(super) poked: bool,
    /// Failures in a row to create a request.
    pub(super) request_failures: u32,
    /// Volumes are set up when this is due.
    pub(super) next_sync: Instant,
    pub(super) mount_failures: u32,
    pub(super) container: Option<watch::Receiver<ContainerState>>,
    /// The end that is being dealt with.
    pub(super) end: Option<Ended>,
    pub(super) start_at: Option<Instant>,
    pub(super) start_failure: Option<String>,
    pub(super) restarts: i32,
    pub(super) backoff: u32,
    pub(super) over: bool,
}

/// Whether the status reached the API server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reported {
    Done,
    Failed,
}

impl Playing {
    pub(super) fn new(
        plan: PodPlan,
        folder: PodFolder,
        pod: &Pod,
        container: Option<watch::Receiver<ContainerState>>,
    ) -> Self {
        let mut certificates = BTreeMap::new();
        for (name, volume) in &plan.volumes {
            let VolumePlan::Projected { sources, .. } = volume else {
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
        let statuses = status.and_then(|status| status.container_statuses.as_ref());
        let restarts = statuses
            .and_then(|all| all.first())
            .map_or(0, |one| one.restart_count);
        let now = Instant::now();
        Self {
            plan,
            folder,
            certificates,
            mounted: false,
            next_pass: now,
            poked: true,
            request_failures: 0,
            next_sync: now,
            mount_failures: 0,
            container,
            end: None,
            start_at: Some(now),
            start_failure: None,
            restarts,
            backoff: 0,
            over: matches!(phase, Some("Failed" | "Succeeded")),
        }
    }

    pub(super) fn is_running(&self) -> bool {
        let running = |state: &ContainerState| matches!(state, ContainerState::Running { .. });
        self.container
            .as_ref()
            .is_some_and(|container| running(&container.borrow()))
    }

    /// The end of the container's run, once.
    pub(super) fn just_ended(&mut self) -> Option<Ended> {
        let ended = Ended::of(&self.container.as_ref()?.borrow())?;
        self.container = None;
        Some(ended)
    }

    pub(super) fn container_ended(&mut self, ended: Ended, timing: &KubeletTiming) {
        let ran = ended.ended.duration_since(ended.started);
        let again = match self.plan.restart {
            RestartPolicy::Always => true,
            RestartPolicy::Never => false,
            RestartPolicy::OnFailure => !ended.exit.is_success(),
        };
        self.end = Some(ended);
        if !again {
            self.over = true;
            return;
        }
        if ran >= BACKOFF_FORGIVEN {
            self.backoff = 0;
        }
        // The first restart is immediate; from the second on the wait doubles.
        let wait = match self.backoff {
            0 => Duration::ZERO,
            failures => doubled(timing.restart_backoff, failures, timing.restart_backoff_max),
        };
        self.backoff = self.backoff.saturating_add(1);
        self.start_at = Some(Instant::now() + wait);
    }

    pub(super) fn view(&self) -> View {
        let state = match &self.container {
            Some(container) => match &*container.borrow() {
                ContainerState::Running { started } => status::State::Running { started: *started },
                ContainerState::Ended { .. } => waiting("ContainerCreating", ""),
            },
            None => match (&self.end, &self.start_failure) {
                (Some(end), _) if self.over => status::State::Ended(end.clone()),
                (_, Some(failure)) => waiting("RunContainerError", failure),
                (Some(_), None) => {
                    waiting("CrashLoopBackOff", "the process ended and is started again")
                }
                (None, None) => waiting("ContainerCreating", ""),
            },
        };
        View {
            container: self.plan.container.clone(),
            image: self.plan.image.clone(),
            address: Some(self.folder.address()),
            state,
            restarts: self.restarts,
            last_end: if self.over { None } else { self.end.clone() },
        }
    }

    /// Sleeps until something is to do.
    pub(super) async fn rest(
        &mut self,
        reported: Reported,
        seen: &mut watch::Receiver<Seen>,
        poke: &Notify,
    ) {
        if self.over {
            // Nothing is renewed for a pod whose container will not run again.
            tokio::select! {
                biased;
                _ = seen.changed() => {}
                () = sleep(API_RETRY), if reported == Reported::Failed => {}
            }
            return;
        }
        let running = self.is_running();
        let mut until = self.next_sync;
        if !self.certificates.is_empty() {
            until = until.min(self.next_pass);
        }
        if let Some(start_at) = self.start_at.filter(|_| self.mounted && !running) {
            until = until.min(start_at);
        }
        if reported == Reported::Failed {
            until = until.min(Instant::now() + API_RETRY);
        }
        let container = async {
            match &mut self.container {
                Some(container) => container.changed().await.is_ok(),
                None => std::future::pending().await,
            }
        };
        // Cancel safe: each branch only waits.
        tokio::select! {
            biased;
            _ = seen.changed() => {}
            () = poke.notified() => self.poked = true,
            _ = container => {}
            () = sleep_until(until) => {}
        }
    }
}

fn waiting(reason: &'static str, message: &str) -> status::State {
    status::State::Waiting {
        reason,
        message: message.to_owned(),
    }
}

/// `first` after one failure, twice that after two, ..., at most `max`.
pub(super) fn doubled(first: Duration, failures: u32, max: Duration) -> Duration {
    first
        .saturating_mul(1 << failures.saturating_sub(1).min(20))
        .min(max)
}

/// A container that ran this long starts with a fresh back-off when it ends.
const BACKOFF_FORGIVEN: SignedDuration = SignedDuration::from_secs(10 * 60);
