//! A cluster on a laptop: the embedded API server, a kubelet that plays projections and runs pods, and the few
//! controllers they need; no container runtime, no privileges, one process and its children.
//!
//! ```text
//!            Sandbox::apply ─▶ ┌───────────┐ ◀─ deployments, daemon_sets ─▶ Pods; scheduler: Pods ─▶ nodes
//!   Sandbox::client(user) ───▶ │ ApiServer │ ◀─ endpoints:   Services ─▶ services.json
//!   listener (TLS, loopback) ▶ └───────────┘ ◀─ kubelets:    Pods ─▶ volumes on disk, containers, status
//!                                                              │
//!                             containers (outlive the kubelet) ▼ PodRunner: child processes, or tasks in tests
//!                             <program> sandbox exec-pod --map FILE -- command args
//! ```
//!
//! What a real cluster does and this one does not is refused with a sentence, never silently ignored: see
//! [`Report::refusals`]. The kubelet keeps the real one's timing and habits, since what happens between certificates is
//! what a sandbox is for.

mod apply;
mod containers;
mod controllers;
mod events;
pub mod exec_pod;
mod fault_plan;
mod folders;
mod images;
pub mod instance;
#[cfg(target_os = "linux")]
pub mod isolation;
#[cfg(not(target_os = "linux"))]
#[path = "isolation/elsewhere.rs"]
pub mod isolation;
mod kubelet;
mod limits;
mod listener;
mod logs;
pub mod pod_map;
mod processes;
mod report;
mod sandbox;
mod sockets;
mod state_dir;

pub use podcert_apiserver::{Stats, User, Verb};

pub use crate::apply::{Applied, ApplyError, Change, apply, check_manifest};
pub use crate::containers::{Exit, Launch, PodRunner, StopSignal};
pub use crate::controllers::is_ready;
pub use crate::fault_plan::{FaultPlan, FaultPlanError};
pub use crate::images::{Images, Program, repository};
pub use crate::kubelet::KubeletTiming;
pub use crate::logs::{LogLine, PodLogs, Stream};
pub use crate::processes::Processes;
pub use crate::report::{Remark, Report};
pub use crate::sandbox::{Door, Error, Options, Runner, Sandbox};
pub use crate::state_dir::{StateDirError, make_private, write_private};
