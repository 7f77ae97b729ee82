//! Where one container of a pod stands, over all its runs.

use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;
use tokio::time::Instant;

use super::playing::doubled;
use crate::containers::ContainerState;
use crate::kubelet::KubeletTiming;
use crate::kubelet::plan::{ContainerPlan, RestartPolicy, Role};
use crate::kubelet::probe::Probes;
use crate::kubelet::status::{ContainerView, Ended, State};
use crate::pod_map::PodName;

/// A container and its runs.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) plan: ContainerPlan,
    pub(super) state: Option<watch::Receiver<ContainerState>>,
    pub(super) probes: Option<Probes>,
    /// Whether it was asked to end.
    pub(super) stopping: bool,
    /// How the last run ended.
    pub(super) end: Option<Ended>,
    /// When it may be started, if nothing else is in the way.
    pub(super) start_at: Instant,
    /// How long it waits for its next start, as the status says.
    wait: Duration,
    /// Why it could not be started: a reason as kubectl shows it, and a sentence.
    pub(super) trouble: Option<(&'static str, String)>,
    restarts: i32,
    backoff: u32,
    /// It is never started again.
    pub(super) done: bool,
}

impl Run {
    pub(super) fn new(
        plan: ContainerPlan,
        pod: &Pod,
        state: Option<watch::Receiver<ContainerState>>,
    ) -> Self {
        let statuses = pod.status.iter().flat_map(|status| {
            let init = status.init_container_statuses.iter().flatten();
            init.chain(status.container_statuses.iter().flatten())
        });
        let status = statuses.into_iter().find(|status| status.name == plan.name);
        Self {
            restarts: status.map_or(0, |status| status.restart_count),
            plan,
            state,
            probes: None,
            stopping: false,
            end: None,
            start_at: Instant::now(),
            wait: Duration::ZERO,
            trouble: None,
            backoff: 0,
            done: false,
        }
    }

    pub(super) fn is_running(&self) -> bool {
        let running = |state: &ContainerState| matches!(state, ContainerState::Running { .. });
        self.state
            .as_ref()
            .is_some_and(|state| running(&state.borrow()))
    }

    /// Running, and past its startup probe.
    pub(super) fn has_started(&self) -> bool {
        self.is_running() && self.probes.as_ref().is_some_and(Probes::started)
    }

    pub(super) fn has_succeeded(&self) -> bool {
        self.done && self.end.as_ref().is_some_and(|end| end.exit.is_success())
    }

    /// The end of the run, once.
    pub(super) fn just_ended(&mut self) -> Option<Ended> {
        let ended = Ended::of(&self.state.as_ref()?.borrow())?;
        self.state = None;
        self.probes = None;
        self.stopping = false;
        Some(ended)
    }

    /// Notes an end, and when the next run may begin; answers how long that is to wait.
    pub(super) fn ended(&mut self, ended: Ended, timing: &KubeletTiming) -> Duration {
        let ran = ended.ended.duration_since(ended.started);
        let again = match self.plan.restart {
            RestartPolicy::Always => true,
            RestartPolicy::Never => false,
            RestartPolicy::OnFailure => !ended.exit.is_success(),
        };
        self.end = Some(ended);
        if !again {
            self.done = true;
            return Duration::ZERO;
        }
        if ran >= BACKOFF_FORGIVEN {
            self.backoff = 0;
        }
        // The first restart is immediate; from the second on the wait doubles.
        self.wait = match self.backoff {
            0 => Duration::ZERO,
            failures => doubled(timing.restart_backoff, failures, timing.restart_backoff_max),
        };
        self.backoff = self.backoff.saturating_add(1);
        self.start_at = Instant::now() + self.wait;
        self.wait
    }

    /// Notes a start; answers whether it was a restart.
    pub(super) fn started(&mut self, state: watch::Receiver<ContainerState>) -> bool {
        self.state = Some(state);
        self.trouble = None;
        let restarted = self.end.is_some();
        if restarted {
            self.restarts = self.restarts.saturating_add(1);
        }
        restarted
    }

    /// Notes that the container did not start though everything for it was there.
    pub(super) fn failed_to_start(&mut self, sentence: String, timing: &KubeletTiming) {
        self.backoff = self.backoff.saturating_add(1);
        let wait = doubled(
            timing.restart_backoff,
            self.backoff,
            timing.restart_backoff_max,
        );
        self.start_at = Instant::now() + wait;
        self.trouble = Some(("RunContainerError", sentence));
    }

    /// Notes that something that the container needs is missing.
    pub(super) fn cannot_be_made(&mut self, sentence: String, wait: Duration) {
        self.start_at = Instant::now() + wait;
        self.trouble = Some(("CreateContainerConfigError", sentence));
    }

    pub(super) fn view(&self, pod: &PodName, initializing: bool) -> ContainerView {
        let running = self.is_running();
        let probed = |holds: fn(&Probes) -> bool| self.probes.as_ref().is_some_and(holds);
        ContainerView {
            name: self.plan.name.clone(),
            image: self.plan.image.clone(),
            role: self.plan.role,
            state: self.shown(pod, initializing),
            ready: match self.plan.role {
                Role::Init => self.has_succeeded(),
                Role::Main | Role::Sidecar => running && probed(Probes::ready),
            },
            started: running && probed(Probes::started),
            restarts: self.restarts,
            last_end: self.end.clone().filter(|_| !self.done),
        }
    }

    fn shown(&self, pod: &PodName, initializing: bool) -> State {
        if let Some(state) = &self.state
            && let ContainerState::Running { started } = &*state.borrow()
        {
            return State::Running { started: *started };
        }
        let (reason, message) = match (&self.end, &self.trouble) {
            (Some(end), _) if self.done => return State::Ended(end.clone()),
            (_, Some((reason, message))) => (*reason, message.clone()),
            (Some(_), None) => {
                let PodName {
                    namespace,
                    name,
                    uid,
                } = pod;
                let (wait, container) = (self.wait.as_secs(), &self.plan.name);
                let message = format!(
                    "back-off {wait}s restarting failed container={container} \
                     pod={name}_{namespace}({uid})"
                );
                ("CrashLoopBackOff", message)
            }
            (None, None) if initializing => ("PodInitializing", String::new()),
            (None, None) => ("ContainerCreating", String::new()),
        };
        State::Waiting { reason, message }
    }
}

/// A container that ran this long starts with a fresh back-off when it ends.
const BACKOFF_FORGIVEN: SignedDuration = SignedDuration::from_secs(10 * 60);
