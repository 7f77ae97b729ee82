//! Startup, liveness and readiness probes, as `pkg/kubelet/prober` makes them.
//!
//! Each probe of a running container is a task with a ticker of its own. What it finds counts when it was found as
//! often in a row as its threshold says; liveness and readiness wait until the startup probe has succeeded. A failed
//! liveness or startup probe stops probing: the container is about to be stopped. What probes cannot reach by address
//! they reach where the pod's process really listens: at the UNIX socket of the port.

mod http;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use tokio::net::UnixStream;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::Shared;
use super::plan::{Action, ContainerPlan, ProbePlan};
use crate::containers::Exit;
use crate::events::Severity;
use crate::folders::PodFolder;
use crate::pod_map::PodName;

/// The probes of one run of a container. They end when dropped.
#[derive(Debug)]
pub(super) struct Probes {
    startup: Option<Probe>,
    liveness: Option<Probe>,
    readiness: Option<Probe>,
}

#[derive(Debug)]
struct Probe {
    found: watch::Receiver<Found>,
    grace: Option<Duration>,
    _task: AbortOnDropHandle<()>,
}

/// What a probe found so far, thresholds applied.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Found {
    Nothing,
    Failure,
    Success,
}

/// Which probe it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Liveness,
    Readiness,
    Startup,
}

/// Whom the probes ask, and who hears what they find.
#[derive(Clone)]
pub(super) struct Subject {
    pub(super) shared: Arc<Shared>,
    pub(super) pod: Arc<Pod>,
    pub(super) name: PodName,
    pub(super) folder: PodFolder,
    /// Rung when something that counts was found.
    pub(super) bell: Arc<Notify>,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
            Self::Startup => "Startup",
        }
    }
}

impl Probes {
    /// Begins to probe a container that has run for `running` already.
    pub(super) fn start(subject: &Subject, plan: &ContainerPlan, running: Duration) -> Self {
        let spawn = |kind, plan: &Option<ProbePlan>, container: &str, gate: Option<&Probe>| {
            let plan = plan.clone()?;
            let (sender, found) = watch::channel(Found::Nothing);
            let grace = plan.grace;
            let task = Task {
                subject: subject.clone(),
                container: container.to_owned(),
                kind,
                found: sender,
                gate: gate.map(|gate| gate.found.clone()),
                initial_delay: plan.initial_delay.saturating_sub(running),
                plan,
            };
            Some(Probe {
                found,
                grace,
                _task: AbortOnDropHandle::new(tokio::spawn(task.run())),
            })
        };
        let (probes, name) = (&plan.probes, plan.name.as_str());
        let startup = spawn(Kind::Startup, &probes.startup, name, None);
        let liveness = spawn(Kind::Liveness, &probes.liveness, name, startup.as_ref());
        let readiness = spawn(Kind::Readiness, &probes.readiness, name, startup.as_ref());
        Self {
            startup,
            liveness,
            readiness,
        }
    }

    /// Whether the container counts as started.
    pub(super) fn started(&self) -> bool {
        let startup = self.startup.as_ref();
        startup.is_none_or(|probe| *probe.found.borrow() == Found::Success)
    }

    /// Whether the container counts as ready.
    pub(super) fn ready(&self) -> bool {
        let readiness = self.readiness.as_ref();
        self.started() && readiness.is_none_or(|probe| *probe.found.borrow() == Found::Success)
    }

    /// The probe that says the container must go, and the time it gives for that.
    pub(super) fn failed(&self) -> Option<(&'static str, Option<Duration>)> {
        let failed = |probe: &Option<Probe>, name| {
            let probe = probe.as_ref()?;
            (*probe.found.borrow() == Found::Failure).then_some((name, probe.grace))
        };
        failed(&self.startup, "startup").or_else(|| failed(&self.liveness, "liveness"))
    }
}

struct Task {
    subject: Subject,
    container: String,
    kind: Kind,
    plan: ProbePlan,
    found: watch::Sender<Found>,
    gate: Option<watch::Receiver<Found>>,
    initial_delay: Duration,
}

impl Task {
    async fn run(mut self) {
        let begin = Instant::now();
        let mut ticks = interval_at(begin, self.plan.period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        if let Some(gate) = &mut self.gate {
            let open = gate.wait_for(|found| *found == Found::Success).await;
            if open.is_err() {
                return;
            }
            // A container that has started is looked at at once, then with the ticks.
            ticks.reset_immediately();
        }
        let mut last = Found::Nothing;
        let mut in_a_row: u32 = 0;
        loop {
            ticks.tick().await;
            if begin.elapsed() < self.initial_delay {
                continue;
            }
            let (now, threshold) = match self.attempt().await {
                Ok(()) => (Found::Success, self.plan.success_threshold),
                Err(why) => {
                    let message = format!("{} probe failed: {why}", self.kind.name());
                    let subject = &self.subject;
                    subject
                        .shared
                        .events
                        .emit(&subject.pod, Severity::Warning, "Unhealthy", &message)
                        .await;
                    (Found::Failure, self.plan.failure_threshold)
                }
            };
            in_a_row = if now == last {
                in_a_row.saturating_add(1)
            } else {
                1
            };
            last = now;
            if in_a_row < threshold {
                continue;
            }
            if self.found.send_replace(now) != now {
                self.subject.bell.notify_one();
            }
            let over = match self.kind {
                Kind::Liveness => now == Found::Failure,
                Kind::Readiness => false,
                Kind::Startup => true,
            };
            if over {
                return;
            }
        }
    }

    /// Asks once.
    async fn attempt(&self) -> Result<(), String> {
        let limit = self.plan.timeout;
        match &self.plan.action {
            Action::Exec(argv) => {
                let containers = &self.subject.shared.node.containers;
                let uid = &self.subject.name.uid;
                let running = containers.exec(uid, &self.container, argv.clone())?;
                match timeout(limit, running).await {
                    Ok(exit) if exit.is_success() => Ok(()),
                    Ok(Exit::Code(code)) => Err(format!("command ended with code {code}")),
                    Ok(Exit::Signal(signal)) => Err(format!("command ended by signal {signal}")),
                    Err(_) => Err(format!(
                        "command timed out: {:?} timed out after {limit:?}",
                        argv.join(" ")
                    )),
                }
            }
            Action::Http {
                tls,
                port,
                path,
                headers,
            } => {
                let scheme = if *tls { "https" } else { "http" };
                let address = self.subject.folder.address().to_string();
                let url = format!("{scheme}://{address}:{port}{path}");
                let socket = self.socket(*port);
                let asked = http::get(&socket, &address, *tls, *port, path, headers);
                match timeout(limit, asked).await {
                    Ok(Ok(status)) if (200..400).contains(&status) => Ok(()),
                    Ok(Ok(status)) => Err(format!("HTTP probe failed with statuscode: {status}")),
                    Ok(Err(why)) => Err(format!("Get {url:?}: {why}")),
                    Err(_) => Err(format!(
                        "Get {url:?}: context deadline exceeded (Client.Timeout exceeded while \
                         awaiting headers)"
                    )),
                }
            }
            Action::Tcp(port) => {
                let at = format!("dial tcp {}:{port}", self.subject.folder.address());
                match timeout(limit, UnixStream::connect(self.socket(*port))).await {
                    Ok(Ok(_connected)) => Ok(()),
                    Ok(Err(error)) => Err(format!("{at}: connect: {}", refused(&error))),
                    Err(_) => Err(format!("{at}: i/o timeout")),
                }
            }
        }
    }

    fn socket(&self, port: u16) -> PathBuf {
        self.subject
            .folder
            .listen_dir()
            .join(format!("{port}.sock"))
    }
}

/// Nobody listens where there is no socket, as where nobody accepts.
fn refused(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => {
            "connection refused".to_owned()
        }
        _ => error.to_string(),
    }
}
