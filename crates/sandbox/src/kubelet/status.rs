//! A pod's status as the kubelet reports it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::HOST_ADDRESS;
use super::plan::Role;
use crate::containers::{ContainerState as Observed, Exit};

/// What the worker knows about its pod.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct View {
    /// Why the pod will never run, if it will not.
    pub(super) refused: Option<String>,
    pub(super) address: Option<String>,
    /// The containers in the order of the plan: those that run before the others first.
    pub(super) containers: Vec<ContainerView>,
}

/// What the worker knows about a container.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct ContainerView {
    pub(super) name: String,
    pub(super) image: String,
    pub(super) role: Role,
    pub(super) state: State,
    pub(super) ready: bool,
    pub(super) started: bool,
    pub(super) restarts: i32,
    /// How the last run ended, when there is a newer one or none yet.
    pub(super) last_end: Option<Ended>,
}

/// Where a container stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum State {
    /// It does not run now, for a reason as kubectl shows it.
    Waiting {
        reason: &'static str,
        message: String,
    },
    /// It runs.
    Running { started: Timestamp },
    /// It ended and is not started again.
    Ended(Ended),
}

/// One run of a container that is over.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Ended {
    pub(super) exit: Exit,
    pub(super) started: Timestamp,
    pub(super) ended: Timestamp,
}

/// Since when which condition has which status. Kept over a kubelet's restart in the pod itself.
#[derive(Debug, Default)]
pub(super) struct Conditions(BTreeMap<String, (String, Timestamp)>);

impl Ended {
    /// The run, if it is over.
    pub(super) fn of(state: &Observed) -> Option<Self> {
        match state {
            Observed::Running { .. } => None,
            Observed::Ended {
                exit,
                started,
                ended,
            } => Some(Self {
                exit: exit.clone(),
                started: *started,
                ended: *ended,
            }),
        }
    }

    fn report(&self) -> ContainerStateTerminated {
        let (reason, signal) = match self.exit {
            Exit::Code(0) => ("Completed", None),
            Exit::Code(_) => ("Error", None),
            Exit::Signal(signal) => ("Error", Some(signal)),
        };
        ContainerStateTerminated {
            exit_code: self.exit.code(),
            finished_at: Some(Time(self.ended)),
            reason: Some(reason.to_owned()),
            signal,
            started_at: Some(Time(self.started)),
            ..ContainerStateTerminated::default()
        }
    }
}

impl Conditions {
    /// What the pod's status says.
    pub(super) fn of(pod: &Pod) -> Self {
        let conditions = pod
            .status
            .iter()
            .flat_map(|status| status.conditions.iter().flatten());
        Self(
            conditions
                .filter_map(|condition| {
                    let since = condition.last_transition_time.as_ref()?.0;
                    Some((condition.type_.clone(), (condition.status.clone(), since)))
                })
                .collect(),
        )
    }

    fn set(&mut self, name: &str, holds: &Holds, now: Timestamp) -> PodCondition {
        let status = match holds {
            Holds::No(..) => "False",
            Holds::Yes => "True",
        };
        let (held, since) = self
            .0
            .entry(name.to_owned())
            .or_insert_with(|| (status.to_owned(), now));
        if held != status {
            (*held, *since) = (status.to_owned(), now);
        }
        let (reason, message) = match holds {
            Holds::No(reason, message) => (
                Some((*reason).to_owned()),
                Some(message.clone()).filter(|message| !message.is_empty()),
            ),
            Holds::Yes => (None, None),
        };
        PodCondition {
            type_: name.to_owned(),
            status: status.to_owned(),
            last_transition_time: Some(Time(*since)),
            reason,
            message,
            ..PodCondition::default()
        }
    }
}

/// Whether a condition holds; why not, as reason and message.
enum Holds {
    No(&'static str, String),
    Yes,
}

/// What the containers that count come to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Pending,
    Running,
    Succeeded,
    Failed,
}

impl View {
    /// The status object, its condition times kept where nothing changed.
    pub(super) fn status(
        &self,
        conditions: &mut Conditions,
        started: Timestamp,
        now: Timestamp,
    ) -> PodStatus {
        let phase = self.phase();
        let ready = self.ready(phase);
        let conditions = vec![
            conditions.set("PodScheduled", &Holds::Yes, now),
            conditions.set("Initialized", &self.initialized(phase), now),
            conditions.set("ContainersReady", &ready, now),
            conditions.set("Ready", &ready, now),
        ];
        let reason = self.refused.as_ref().map(|_| REFUSED.to_owned());
        let statuses = |init: bool| -> Vec<ContainerStatus> {
            let stage = |container: &&ContainerView| (container.role != Role::Main) == init;
            let containers = self.containers.iter().filter(stage);
            containers.map(ContainerView::status).collect()
        };
        PodStatus {
            phase: Some(format!("{phase:?}")),
            reason,
            message: self.refused.clone(),
            conditions: Some(conditions),
            init_container_statuses: Some(statuses(true)).filter(|all| !all.is_empty()),
            container_statuses: Some(statuses(false)),
            host_ip: self.address.as_ref().map(|_| HOST_ADDRESS.to_owned()),
            host_ips: self.address.as_ref().map(|_| {
                vec![HostIP {
                    ip: HOST_ADDRESS.to_owned(),
                }]
            }),
            pod_ip: self.address.clone(),
            pod_ips: self
                .address
                .as_ref()
                .map(|ip| vec![PodIP { ip: ip.clone() }]),
            start_time: Some(Time(started)),
            ..PodStatus::default()
        }
    }

    fn of_role(&self, role: Role) -> impl Iterator<Item = &ContainerView> {
        self.containers.iter().filter(move |c| c.role == role)
    }

    /// As `getPhase` in `pkg/kubelet/kubelet_pods.go`.
    fn phase(&self) -> Phase {
        if self.refused.is_some() {
            return Phase::Pending;
        }
        let failed =
            |c: &&ContainerView| matches!(&c.state, State::Ended(end) if !end.exit.is_success());
        if self.of_role(Role::Init).any(|c| failed(&c)) {
            return Phase::Failed;
        }
        let initialized = self.of_role(Role::Init).all(ContainerView::has_succeeded)
            && self
                .of_role(Role::Sidecar)
                .all(|c| c.started || c.has_run());
        let mut main = self.of_role(Role::Main).peekable();
        let waits = |c: &ContainerView| matches!(c.state, State::Waiting { .. }) && !c.has_run();
        if !initialized || self.of_role(Role::Main).any(waits) {
            return Phase::Pending;
        }
        if main.peek().is_some() && main.all(|c| matches!(c.state, State::Ended(_))) {
            let failed = self.of_role(Role::Main).any(|c| failed(&c));
            return if failed {
                Phase::Failed
            } else {
                Phase::Succeeded
            };
        }
        Phase::Running
    }

    fn initialized(&self, phase: Phase) -> Holds {
        let incomplete = |c: &&ContainerView| match c.role {
            Role::Init => !c.has_succeeded(),
            Role::Main => false,
            Role::Sidecar => !c.started && !c.has_run(),
        };
        let names: Vec<&str> = self
            .containers
            .iter()
            .filter(incomplete)
            .map(|c| c.name.as_str())
            .collect();
        if names.is_empty() || phase == Phase::Succeeded {
            return Holds::Yes;
        }
        let message = format!("containers with incomplete status: [{}]", names.join(" "));
        Holds::No("ContainersNotInitialized", message)
    }

    fn ready(&self, phase: Phase) -> Holds {
        match phase {
            Phase::Succeeded => return Holds::No("PodCompleted", String::new()),
            Phase::Failed => return Holds::No("PodFailed", String::new()),
            Phase::Pending | Phase::Running => {}
        }
        let unready: Vec<&str> = self
            .containers
            .iter()
            .filter(|c| c.role != Role::Init && !c.ready)
            .map(|c| c.name.as_str())
            .collect();
        if unready.is_empty() {
            return Holds::Yes;
        }
        let message = format!("containers with unready status: [{}]", unready.join(" "));
        Holds::No("ContainersNotReady", message)
    }
}

impl ContainerView {
    fn has_run(&self) -> bool {
        self.last_end.is_some() || self.restarts > 0 || matches!(self.state, State::Ended(_))
    }

    fn has_succeeded(&self) -> bool {
        matches!(&self.state, State::Ended(end) if end.exit.is_success())
    }

    fn status(&self) -> ContainerStatus {
        let state = match &self.state {
            State::Waiting { reason, message } => ContainerState {
                waiting: Some(ContainerStateWaiting {
                    reason: Some((*reason).to_owned()),
                    message: (!message.is_empty()).then(|| message.clone()),
                }),
                ..ContainerState::default()
            },
            State::Running { started } => ContainerState {
                running: Some(ContainerStateRunning {
                    started_at: Some(Time(*started)),
                }),
                ..ContainerState::default()
            },
            State::Ended(ended) => ContainerState {
                terminated: Some(ended.report()),
                ..ContainerState::default()
            },
        };
        ContainerStatus {
            name: self.name.clone(),
            image: self.image.clone(),
            image_id: String::new(),
            ready: self.ready,
            started: Some(self.started),
            restart_count: self.restarts,
            state: Some(state),
            last_state: self.last_end.as_ref().map(|ended| ContainerState {
                terminated: Some(ended.report()),
                ..ContainerState::default()
            }),
            ..ContainerStatus::default()
        }
    }
}

/// The reason in status and Event of a pod the sandbox refuses.
pub(super) const REFUSED: &str = "CannotBeHonoured";
