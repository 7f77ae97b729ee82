//! A pod's status as the kubelet reports it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, Pod, PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::containers::{ContainerState as Observed, Exit};

/// What the worker knows about its pod.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct View {
    pub(super) container: String,
    pub(super) image: String,
    pub(super) address: Option<String>,
    pub(super) state: State,
    pub(super) restarts: i32,
    /// How the last run ended, when there is a newer one or none yet.
    pub(super) last_end: Option<Ended>,
}

/// Where the pod's container stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum State {
    /// Refused: it will never run.
    Refused(String),
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

    fn set(&mut self, name: &str, holds: Holds, now: Timestamp) -> PodCondition {
        let status = match holds {
            Holds::No(_) => "False",
            Holds::Yes => "True",
        };
        let (held, since) = self
            .0
            .entry(name.to_owned())
            .or_insert_with(|| (status.to_owned(), now));
        if held != status {
            (*held, *since) = (status.to_owned(), now);
        }
        PodCondition {
            type_: name.to_owned(),
            status: status.to_owned(),
            last_transition_time: Some(Time(*since)),
            reason: match holds {
                Holds::No(reason) => Some(reason.to_owned()),
                Holds::Yes => None,
            },
            ..PodCondition::default()
        }
    }
}

#[derive(Clone, Copy)]
enum Holds {
    No(&'static str),
    Yes,
}

impl View {
    /// The status object, its condition times kept where nothing changed.
    pub(super) fn status(
        &self,
        conditions: &mut Conditions,
        started: Timestamp,
        now: Timestamp,
    ) -> PodStatus {
        let phase = match &self.state {
            State::Refused(_) => "Pending",
            State::Waiting { .. } if self.restarts == 0 && self.last_end.is_none() => "Pending",
            State::Waiting { .. } | State::Running { .. } => "Running",
            State::Ended(Ended { exit, .. }) if exit.is_success() => "Succeeded",
            State::Ended(_) => "Failed",
        };
        let ready = match &self.state {
            State::Running { .. } => Holds::Yes,
            State::Ended(Ended { exit, .. }) if exit.is_success() => Holds::No("PodCompleted"),
            State::Ended(_) => Holds::No("PodFailed"),
            State::Refused(_) | State::Waiting { .. } => Holds::No("ContainersNotReady"),
        };
        let conditions = vec![
            conditions.set("PodScheduled", Holds::Yes, now),
            conditions.set("Initialized", Holds::Yes, now),
            conditions.set("ContainersReady", ready, now),
            conditions.set("Ready", ready, now),
        ];
        let (reason, message) = match &self.state {
            State::Refused(message) => (Some(REFUSED.to_owned()), Some(message.clone())),
            _ => (None, None),
        };
        PodStatus {
            phase: Some(phase.to_owned()),
            reason,
            message,
            conditions: Some(conditions),
            container_statuses: Some(vec![self.container_status()]),
            host_ip: self.address.as_ref().map(|_| LOOPBACK.to_owned()),
            pod_ip: self.address.clone(),
            pod_ips: self
                .address
                .as_ref()
                .map(|ip| vec![PodIP { ip: ip.clone() }]),
            start_time: Some(Time(started)),
            ..PodStatus::default()
        }
    }

    fn container_status(&self) -> ContainerStatus {
        let running = matches!(self.state, State::Running { .. });
        let waiting = |reason: &str, message: &str| ContainerState {
            waiting: Some(ContainerStateWaiting {
                reason: Some(reason.to_owned()),
                message: (!message.is_empty()).then(|| message.to_owned()),
            }),
            ..ContainerState::default()
        };
        let state = match &self.state {
            State::Refused(message) => waiting(REFUSED, message),
            State::Waiting { reason, message } => waiting(reason, message),
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
            name: self.container.clone(),
            image: self.image.clone(),
            image_id: String::new(),
            ready: running,
            started: Some(running),
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
const LOOPBACK: &str = "127.0.0.1";
