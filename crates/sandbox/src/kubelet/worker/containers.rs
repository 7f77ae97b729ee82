//! The pod's containers: started in their order when the volumes are there, started again when they ended and may, and
//! stopped when a probe says so.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::PodWorker;
use super::playing::Playing;
use crate::containers::{ContainerState, Launch};
use crate::events::Severity;
use crate::kubelet::environment;
use crate::kubelet::plan::{ContainerPlan, Role};
use crate::kubelet::probe::{Probes, Subject};
use crate::pod_map::{Mount, PodMap};
use crate::state_dir::write_private;

impl PodWorker {
    pub(super) async fn sync_containers(&mut self, playing: &mut Playing) {
        self.observe(playing).await;
        if !playing.mounted {
            return;
        }
        while let Some(index) = playing.next_due() {
            self.start(playing, index).await;
            self.probe(playing);
        }
        playing.settle();
        if playing.over {
            self.stop_sidecars(playing);
        }
    }

    /// Takes note of ends and of what probes found.
    async fn observe(&mut self, playing: &mut Playing) {
        for index in 0..playing.runs.len() {
            let Some(run) = playing.runs.get_mut(index) else {
                break;
            };
            if let Some(ended) = run.just_ended() {
                let wait = run.ended(ended, &self.shared.node.timing);
                if !wait.is_zero() {
                    let (container, pod) = (&run.plan.name, &self.name);
                    let message = format!(
                        "Back-off restarting failed container {container} in pod {}_{}({})",
                        pod.name, pod.namespace, pod.uid
                    );
                    self.emit(Severity::Warning, "BackOff", &message).await;
                }
            }
            let failed = run.probes.as_ref().and_then(Probes::failed);
            if let Some((probe, grace)) = failed.filter(|_| !run.stopping) {
                run.stopping = true;
                let container = run.plan.name.clone();
                let grace = grace.unwrap_or(playing.plan.grace);
                let message =
                    format!("Container {container} failed {probe} probe, will be restarted");
                self.emit(Severity::Normal, "Killing", &message).await;
                let containers = &self.shared.node.containers;
                containers.stop_one(&self.name.uid, &container, grace);
            }
        }
        playing.settle();
        self.probe(playing);
    }

    /// Begins to probe what runs and is not probed yet.
    fn probe(&self, playing: &mut Playing) {
        let now = self.shared.node.clock.now();
        for run in &mut playing.runs {
            let started = match run.state.as_ref().map(|state| state.borrow().clone()) {
                Some(ContainerState::Running { started }) if run.probes.is_none() => started,
                _ => continue,
            };
            let subject = Subject {
                shared: Arc::clone(&self.shared),
                pod: Arc::clone(&self.pod),
                name: self.name.clone(),
                folder: playing.folder.clone(),
                bell: Arc::clone(&playing.bell),
            };
            let running = Duration::try_from(now.duration_since(started)).unwrap_or_default();
            run.probes = Some(Probes::start(&subject, &run.plan, running));
        }
    }

    async fn start(&mut self, playing: &mut Playing, index: usize) {
        let Some(plan) = playing.plan.containers.get(index).cloned() else {
            return;
        };
        let launch = self.launch(playing, &plan).await;
        let Some(run) = playing.runs.get_mut(index) else {
            return;
        };
        let node = &self.shared.node;
        let launch = match launch {
            Ok(launch) => launch,
            Err(message) => {
                let retry = node.timing.config_retry;
                let wait = retry + node.draw(retry / 2);
                run.cannot_be_made(message.clone(), wait);
                let message = format!("Error: {message}");
                self.emit(Severity::Warning, "Failed", &message).await;
                return;
            }
        };
        match node.containers.start(launch) {
            Ok(state) => {
                let restarted = run.started(state);
                node.ledger.note(|report| {
                    report.container_starts += 1;
                    report.container_restarts += u64::from(restarted);
                });
                let message = format!("Started container {}", plan.name);
                self.emit(Severity::Normal, "Started", &message).await;
            }
            Err(message) => {
                run.failed_to_start(message.clone(), &node.timing);
                let message = format!("Error: {message}");
                self.emit(Severity::Warning, "Failed", &message).await;
            }
        }
    }

    /// Everything the container starts with; its map is written.
    async fn launch(&self, playing: &mut Playing, plan: &ContainerPlan) -> Result<Launch, String> {
        let node = &self.shared.node;
        let folder = &playing.folder;
        let address = folder.address().to_string();
        let environment = environment::read(
            &node.client,
            &mut playing.objects,
            &plan.environment,
            &self.pod,
            &address,
        )
        .await?;
        let argv = environment::words(&plan.words, &environment)?;
        let mounts = plan.mounts.iter().map(|mount| {
            let host_path: PathBuf = folder.volume(&mount.volume)?;
            Ok(Mount {
                mount_path: mount.path.clone(),
                host_path,
                read_only: mount.read_only,
            })
        });
        let mounts = mounts
            .collect::<std::io::Result<Vec<_>>>()
            .map_err(|error| error.to_string())?;
        let map = PodMap {
            pod: self.name.clone(),
            address: folder.address(),
            run_as: plan.run_as,
            mounts,
            listen_dir: folder.listen_dir(),
            services_file: node.folders.services_file().to_path_buf(),
        };
        let map_file = folder.map_file(&plan.name);
        let text = serde_json::to_vec_pretty(&map).map_err(|error| error.to_string())?;
        write_private(&map_file, &text).map_err(|error| error.to_string())?;
        Ok(Launch {
            program: plan.program.clone(),
            argv,
            environment,
            container: plan.name.clone(),
            map,
            map_file,
        })
    }

    /// A pod whose containers are done needs its sidecars no longer.
    fn stop_sidecars(&self, playing: &mut Playing) {
        for run in &mut playing.runs {
            if run.plan.role == Role::Sidecar && run.is_running() && !run.stopping {
                run.stopping = true;
                let containers = &self.shared.node.containers;
                containers.stop_one(&self.name.uid, &run.plan.name, playing.plan.grace);
            }
        }
    }
}
