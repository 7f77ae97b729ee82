//! The sandbox's container runtime: what runs, for which pod, and how it ended.
//!
//! It is apart from the kubelet, as in a real node, so that a kubelet can be restarted while the containers keep
//! running. How a container really runs is up to a [`PodRunner`]: [`crate::Processes`] starts child processes; a test
//! in virtual time runs tasks.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use podcert_runtime::SharedClock;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::images::Program;
use crate::logs::PodLogs;
use crate::pod_map::PodMap;

/// Runs containers.
pub trait PodRunner: fmt::Debug + Send + Sync {
    /// Starts a container and answers with what ends when it has ended. When `stop` asks, the container is to end
    /// within the grace that it names. Dropping the future ends the container at once.
    ///
    /// # Errors
    /// A sentence that says why it did not start; the kubelet tries again.
    fn start(&self, launch: Launch, stop: StopSignal) -> Result<BoxFuture<'static, Exit>, String>;

    /// Runs another command in a container that runs, as a probe does, and answers with what ends when the command has
    /// ended. Dropping the future ends the command at once.
    ///
    /// # Errors
    /// A sentence that says why it cannot be run.
    fn exec(&self, launch: &Launch, argv: Vec<String>) -> Result<BoxFuture<'static, Exit>, String>;
}

/// What a container needs to start. Its environment may hold secrets, which `Debug` does not show.
#[derive(Clone)]
pub struct Launch {
    /// The program that plays the image.
    pub program: Program,
    /// The container's command and arguments.
    pub argv: Vec<String>,
    /// The whole environment.
    pub environment: BTreeMap<String, String>,
    /// The container's name.
    pub container: String,
    /// The pod's view, also written at `map_file`.
    pub map: PodMap,
    /// Where the map is.
    pub map_file: PathBuf,
}

impl fmt::Debug for Launch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Launch")
            .field("program", &self.program)
            .field("pod", &self.map.pod)
            .field("container", &self.container)
            .finish_non_exhaustive()
    }
}

/// How a container ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// Asks a running container to end.
#[derive(Clone, Debug)]
pub struct StopSignal(watch::Receiver<Option<Duration>>);

/// The containers that were started and not yet removed. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Containers(Arc<Inner>);

/// Asks every container to stop, at once, when dropped.
#[derive(Debug)]
pub(crate) struct StopOnDrop(pub(crate) Containers);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop(Duration::ZERO);
    }
}

#[derive(Debug)]
struct Inner {
    runner: Arc<dyn PodRunner>,
    clock: SharedClock,
    logs: PodLogs,
    tasks: TaskTracker,
    /// By the pods' UIDs and the containers' names.
    entries: Mutex<HashMap<String, BTreeMap<String, Entry>>>,
    /// Bumped whenever a container starts or ends.
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
struct Entry {
    launch: Launch,
    state: watch::Receiver<ContainerState>,
    stop: watch::Sender<Option<Duration>>,
}

/// Where a container stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum ContainerState {
    Ended {
        exit: Exit,
        started: Timestamp,
        ended: Timestamp,
    },
    Running {
        started: Timestamp,
    },
}

impl Exit {
    /// Zero, as a shell would see it.
    #[must_use]
    pub fn is_success(&self) -> bool {
        *self == Self::Code(0)
    }

    /// The code as container runtimes report it: 128 and the signal's number when there was one.
    #[must_use]
    pub fn code(&self) -> i32 {
        match self {
            Self::Code(code) => *code,
            Self::Signal(signal) => signal.saturating_add(128),
        }
    }
}

impl StopSignal {
    pub(crate) fn new(asked: watch::Receiver<Option<Duration>>) -> Self {
        Self(asked)
    }

    /// Ends when the container is to stop, with the time it is given for that. May be called again afterwards: then it
    /// ends when that time was changed. Never ends once nobody can ask any more.
    pub async fn requested(&mut self) -> Duration {
        loop {
            if self.0.changed().await.is_err() {
                return std::future::pending().await;
            }
            if let Some(grace) = *self.0.borrow_and_update() {
                return grace;
            }
        }
    }
}

impl Containers {
    pub(crate) fn new(runner: Arc<dyn PodRunner>, clock: SharedClock, logs: PodLogs) -> Self {
        let (changes, _) = watch::channel(0);
        Self(Arc::new(Inner {
            runner,
            clock,
            logs,
            tasks: TaskTracker::new(),
            entries: Mutex::default(),
            changes,
        }))
    }

    /// Starts a container of a pod in place of its run that ended before.
    pub(crate) fn start(&self, launch: Launch) -> Result<watch::Receiver<ContainerState>, String> {
        let (uid, container) = (launch.map.pod.uid.clone(), launch.container.clone());
        let (stop, asked) = watch::channel(None);
        let (pod, name) = (launch.map.pod.clone(), launch.container.clone());
        // Before it starts: what it prints is read in tasks of their own.
        self.0.logs.begin(&pod, &name);
        let running = self
            .0
            .runner
            .start(launch.clone(), StopSignal::new(asked))
            .inspect_err(|_| self.0.logs.undo(&pod, &name))?;
        let started = self.0.clock.now();
        let (state, seen) = watch::channel(ContainerState::Running { started });
        let entry = Entry {
            launch,
            state: seen.clone(),
            stop,
        };
        self.entries()
            .entry(uid)
            .or_default()
            .insert(container, entry);
        self.changed();
        let this = self.clone();
        self.0.tasks.spawn(async move {
            let exit = running.await;
            let ended = this.0.clock.now();
            this.0.logs.end(&pod, &name);
            state.send_replace(ContainerState::Ended {
                exit,
                started,
                ended,
            });
            this.changed();
        });
        Ok(seen)
    }

    /// Runs a command in a container of a pod, as that was started.
    pub(crate) fn exec(
        &self,
        pod_uid: &str,
        container: &str,
        argv: Vec<String>,
    ) -> Result<BoxFuture<'static, Exit>, String> {
        let launch = {
            let entries = self.entries();
            let entry = entries.get(pod_uid).and_then(|pod| pod.get(container));
            entry.map(|entry| entry.launch.clone())
        };
        let launch = launch.ok_or_else(|| format!("container {container:?} is not there"))?;
        self.0.runner.exec(&launch, argv)
    }

    /// The pod's container of that name, if it was started.
    pub(crate) fn find(
        &self,
        pod_uid: &str,
        container: &str,
    ) -> Option<watch::Receiver<ContainerState>> {
        let entries = self.entries();
        let entry = entries.get(pod_uid)?.get(container)?;
        Some(entry.state.clone())
    }

    /// Asks one container to stop; its end is seen in its state.
    pub(crate) fn stop_one(&self, pod_uid: &str, container: &str, grace: Duration) {
        if let Some(entry) = self
            .entries()
            .get(pod_uid)
            .and_then(|pod| pod.get(container))
        {
            entry.stop.send_replace(Some(grace));
        }
    }

    /// Stops the pod's containers, waits for their end and forgets them.
    ///
    /// # Cancel safety
    /// Dropped in between, the containers still stop; calling again waits for them.
    pub(crate) async fn remove(&self, pod_uid: &str, grace: Duration) {
        let states: Vec<_> = {
            let entries = self.entries();
            let pod = entries.get(pod_uid).into_iter().flat_map(BTreeMap::values);
            pod.map(|entry| {
                entry.stop.send_replace(Some(grace));
                entry.state.clone()
            })
            .collect()
        };
        for mut state in states {
            let ended = |state: &ContainerState| matches!(state, ContainerState::Ended { .. });
            // An error means its task is gone, and with it the container.
            let _ = state.wait_for(ended).await;
        }
        self.0.logs.forget(pod_uid);
        if self.entries().remove(pod_uid).is_some() {
            self.changed();
        }
    }

    /// Asks everything to stop.
    pub(crate) fn stop(&self, grace: Duration) {
        for entry in self.entries().values().flat_map(BTreeMap::values) {
            entry.stop.send_replace(Some(grace));
        }
    }

    /// Stops everything and waits for the end of it.
    pub(crate) async fn shutdown(&self, grace: Duration) {
        self.stop(grace);
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// Changes whenever a container starts or ends.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    fn changed(&self) {
        self.0
            .changes
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<String, BTreeMap<String, Entry>>> {
        self.0
            .entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
