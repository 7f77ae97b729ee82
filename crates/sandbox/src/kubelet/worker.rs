//! One pod's worker: it looks, writes what is due, and sleeps until something changes or a timer ends.
//!
//! The order within one round is the kubelet's: certificates are asked for, then volumes are set up, and only when all
//! of them are there the container starts. Certificates move on their own pass (and whenever a request of the pod
//! changes), volumes with the pod's sync; that a new certificate reaches the files only with the next sync is what
//! makes rotations in a real cluster slower than their events.

mod playing;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{PodCertificateRequest, PodCertificateRequestSpec};
use k8s_openapi::api::core::v1::{Pod, PodStatus, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt};
use podcert_pki::{KeyType, PrivateKey, empty_csr};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use self::playing::{Playing, Reported, doubled};
use super::certificate::{self, State, Transition};
use super::events::Severity;
use super::generation::{self, File, Outcome, Payload};
use super::plan::{self, CertificatePlan, PodPlan, Source, VolumePlan};
use super::status::{self, Conditions, View};
use super::{Seen, Shared, trust_bundle};
use crate::containers::{ContainerState, Launch};
use crate::pod_map::{Mount, PodMap, PodName};
use crate::report::Remark;
use crate::state_dir::write_private;

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

    async fn refuse(&mut self, sentences: &[String]) {
        self.remark(sentences, Outcomes::Refusals);
        let message = sentences.join("; ");
        self.emit(Severity::Warning, status::REFUSED, &message)
            .await;
        let containers = self.pod.spec.iter().flat_map(|spec| spec.containers.iter());
        let first = containers.into_iter().next();
        let view = View {
            container: first.map(|c| c.name.clone()).unwrap_or_default(),
            image: first.and_then(|c| c.image.clone()).unwrap_or_default(),
            address: None,
            state: status::State::Refused(message),
            restarts: 0,
            last_end: None,
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
            match self.shared.node.folders.open(&self.name.uid) {
                Ok(folder) => break folder,
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
        let container = containers.find(&self.name.uid, &plan.container);
        let mut playing = Playing::new(plan, folder, &self.pod, container);
        while !self.terminating() {
            self.look_at_certificates(&mut playing).await;
            self.sync_volumes(&mut playing).await;
            self.sync_container(&mut playing).await;
            let reported = self.report(&playing.view()).await;
            playing.rest(reported, &mut self.seen, &self.poke).await;
            self.look();
        }
    }

    /// Moves every certificate source as far as it goes now.
    async fn look_at_certificates(&mut self, playing: &mut Playing) {
        let due = Instant::now() >= playing.next_pass;
        if playing.over || (!due && !playing.poked) {
            return;
        }
        playing.poked = false;
        if due {
            let pass = self.shared.node.timing.refresh_pass;
            playing.next_pass = Instant::now() + pass + self.shared.node.draw(pass);
        }
        let mut failed = false;
        let keys: Vec<_> = playing.certificates.keys().cloned().collect();
        for key in keys {
            let Some(VolumePlan::Projected { sources, .. }) = playing.plan.volumes.get(&key.0)
            else {
                continue;
            };
            let Some(Source::Certificate(source)) = sources.get(key.1).cloned() else {
                continue;
            };
            let Some(state) = playing.certificates.get_mut(&key) else {
                continue;
            };
            failed |= self.advance(&source, state).await.is_err();
        }
        if failed {
            playing.request_failures = playing.request_failures.saturating_add(1);
            let wait = doubled(API_RETRY, playing.request_failures, API_RETRY_MAX);
            playing.next_pass = playing.next_pass.min(Instant::now() + wait);
        } else {
            playing.request_failures = 0;
        }
    }

    async fn advance(&self, source: &CertificatePlan, state: &mut State) -> Result<(), ()> {
        let node = &self.shared.node;
        loop {
            let find = |name: &str| {
                let key = ObjectRef::new(name).within(&self.name.namespace);
                self.shared.requests.get(&key).map(Arc::unwrap_or_clone)
            };
            let jitter = || node.draw(certificate::JITTER);
            match state.advance(find, node.clock.now(), jitter) {
                Transition::Request => match self.request(source).await {
                    Ok((key, request)) => {
                        let created = request.creation_timestamp().map(|time| time.0);
                        let created = created.unwrap_or_else(|| node.clock.now());
                        state.requested(key, request.name_any(), created, jitter());
                        node.ledger.note(|report| report.requests += 1);
                        return Ok(());
                    }
                    Err(message) => {
                        self.emit(Severity::Warning, "FailedCertificateRequest", &message)
                            .await;
                        return Err(());
                    }
                },
                Transition::Denied(refusal) => {
                    self.emit(Severity::Warning, "Denied", &refusal.to_string())
                        .await;
                }
                Transition::Failed(refusal) => {
                    self.emit(Severity::Warning, "Failed", &refusal.to_string())
                        .await;
                }
                Transition::Issued | Transition::Lost => {}
                Transition::Rest => break,
            }
        }
        if let Ok(credential) = state.credential() {
            let now = node.clock.now();
            if now > credential.not_after {
                let message = "certificate has expired and was not refreshed";
                self.emit(Severity::Warning, "CertificateExpired", message)
                    .await;
            } else if now.duration_since(credential.begin_refresh_at) > OVERDUE {
                let message = "certificate is overdue for refresh";
                self.emit(Severity::Warning, "CertificateOverdueForRefresh", message)
                    .await;
            }
        }
        Ok(())
    }

    /// Makes a key and a request for it.
    async fn request(
        &self,
        source: &CertificatePlan,
    ) -> Result<(PrivateKey, PodCertificateRequest), String> {
        let node = &self.shared.node;
        let spec = self.pod.spec.as_ref();
        let account = spec.and_then(|spec| spec.service_account_name.clone());
        let account = account.unwrap_or_else(|| "default".to_owned());
        let accounts: Api<ServiceAccount> =
            Api::namespaced(node.client.clone(), &self.name.namespace);
        let account_uid = accounts
            .get(&account)
            .await
            .map_err(|error| format!("cannot read service account {account:?}: {error}"))?
            .uid()
            .unwrap_or_default();
        let (key, csr) = make_key(source.key_type).await?;
        let request = PodCertificateRequest {
            metadata: ObjectMeta {
                generate_name: Some("req-".to_owned()),
                namespace: Some(self.name.namespace.clone()),
                owner_references: Some(vec![OwnerReference {
                    api_version: "v1".to_owned(),
                    kind: "Pod".to_owned(),
                    name: self.name.name.clone(),
                    uid: self.name.uid.clone(),
                    ..OwnerReference::default()
                }]),
                ..ObjectMeta::default()
            },
            spec: PodCertificateRequestSpec {
                max_expiration_seconds: source.max_expiration_seconds,
                node_name: node.name.clone(),
                node_uid: node.uid.clone(),
                pod_name: self.name.name.clone(),
                pod_uid: self.name.uid.clone(),
                service_account_name: account,
                service_account_uid: account_uid,
                signer_name: source.signer_name.clone(),
                stub_pkc_s10_request: ByteString(csr),
                unverified_user_annotations: source.user_annotations.clone(),
            },
            status: None,
        };
        let requests: Api<PodCertificateRequest> =
            Api::namespaced(node.client.clone(), &self.name.namespace);
        let created = requests.create(&PostParams::default(), &request).await;
        let signer = &source.signer_name;
        let created = created
            .map_err(|error| format!("cannot request a certificate of {signer}: {error}"))?;
        Ok((key, created))
    }

    /// Brings every volume up to date when the sync is due.
    async fn sync_volumes(&mut self, playing: &mut Playing) {
        if playing.over || Instant::now() < playing.next_sync {
            return;
        }
        let timing = self.shared.node.timing;
        let mut failed = false;
        for (name, volume) in &playing.plan.volumes {
            if let Err(message) = self.set_up(playing, name, volume) {
                failed = true;
                let message = format!("MountVolume.SetUp failed for volume {name:?} : {message}");
                self.emit(Severity::Warning, "FailedMount", &message).await;
            }
        }
        let wait = if failed {
            playing.mount_failures = playing.mount_failures.saturating_add(1);
            doubled(
                timing.mount_retry,
                playing.mount_failures,
                timing.mount_retry_max,
            )
        } else {
            playing.mounted = true;
            playing.mount_failures = 0;
            timing.sync_frequency + self.shared.node.draw(timing.sync_frequency / 2)
        };
        playing.next_sync = Instant::now() + wait;
    }

    fn set_up(&self, playing: &Playing, name: &str, volume: &VolumePlan) -> Result<(), String> {
        let path = playing
            .folder
            .volume(name)
            .map_err(|error| error.to_string())?;
        let VolumePlan::Projected { mode, sources } = volume else {
            return Ok(());
        };
        let mut payload = Payload::new();
        for (index, source) in sources.iter().enumerate() {
            match source {
                Source::Certificate(source) => {
                    let state = playing.certificates.get(&(name.to_owned(), index));
                    let state = state.ok_or("the certificate's state is missing")?;
                    add_credential(&mut payload, source, state, *mode)?;
                }
                Source::TrustBundle {
                    selection,
                    presence,
                    path,
                } => {
                    let bundles = self.shared.bundles.state();
                    let bundles = bundles.iter().map(AsRef::as_ref);
                    let shuffle = self.shared.shuffle;
                    let text = trust_bundle::content(bundles, selection, *presence, shuffle)?;
                    let bytes = Zeroizing::new(text.into_bytes());
                    payload.insert(path.clone(), File { bytes, mode: *mode });
                }
            }
        }
        let now = self.shared.node.clock.now();
        // Not in a thread of its own: a few small files, and a kubelet that is stopped must not leave a writer behind
        // that could put its generation over that of the next kubelet.
        match generation::write(&path, &payload, now) {
            Ok(Outcome::Replaced) => {
                self.shared
                    .node
                    .ledger
                    .note(|report| report.generations += 1);
                Ok(())
            }
            Ok(Outcome::Unchanged) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Starts the container when its volumes are there, and again when it ended and may.
    async fn sync_container(&mut self, playing: &mut Playing) {
        if let Some(ended) = playing.just_ended() {
            playing.container_ended(ended, &self.shared.node.timing);
        }
        let due = playing.start_at.is_some_and(|at| Instant::now() >= at);
        if playing.over || playing.is_running() || !playing.mounted || !due {
            return;
        }
        match self.start(playing) {
            Ok(container) => {
                let restarted = playing.end.is_some();
                playing.container = Some(container);
                playing.start_at = None;
                playing.start_failure = None;
                self.shared.node.ledger.note(|report| {
                    report.container_starts += 1;
                    report.container_restarts += u64::from(restarted);
                });
                if restarted {
                    playing.restarts = playing.restarts.saturating_add(1);
                }
                let message = format!("Started container {}", playing.plan.container);
                self.emit(Severity::Normal, "Started", &message).await;
            }
            Err(message) => {
                let timing = &self.shared.node.timing;
                playing.backoff = playing.backoff.saturating_add(1);
                let wait = doubled(
                    timing.restart_backoff,
                    playing.backoff,
                    timing.restart_backoff_max,
                );
                playing.start_at = Some(Instant::now() + wait);
                self.emit(Severity::Warning, "FailedStart", &message).await;
                playing.start_failure = Some(message);
            }
        }
    }

    fn start(&self, playing: &Playing) -> Result<watch::Receiver<ContainerState>, String> {
        let (plan, folder) = (&playing.plan, &playing.folder);
        let mounts = plan.mounts.iter().map(|mount| {
            let host_path: PathBuf = folder.volume(&mount.volume)?;
            Ok(Mount {
                mount_path: mount.path.clone(),
                host_path,
            })
        });
        let mounts = mounts
            .collect::<std::io::Result<Vec<_>>>()
            .map_err(|e| e.to_string())?;
        let map = PodMap {
            pod: self.name.clone(),
            mounts,
            listen_dir: folder.listen_dir(),
            services_file: self.shared.node.folders.services_file().to_path_buf(),
        };
        let map_file = folder.map_file();
        let text = serde_json::to_vec_pretty(&map).map_err(|error| error.to_string())?;
        write_private(&map_file, &text).map_err(|error| error.to_string())?;
        self.shared.node.containers.start(Launch {
            program: plan.program.clone(),
            argv: plan.argv.clone(),
            environment: plan.environment.clone(),
            container: plan.container.clone(),
            map,
            map_file,
        })
    }

    /// Stops the container, takes the pod's files away and tells the API server that it is over.
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

    /// Takes over what the watch showed.
    fn look(&mut self) {
        if let Seen::There(pod) = &*self.seen.borrow_and_update() {
            self.pod = pod.clone();
        }
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
            set.extend(sentences.iter().map(|sentence| Remark {
                namespace: self.name.namespace.clone(),
                pod: self.name.name.clone(),
                sentence: sentence.clone(),
            }));
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

/// RSA keys take long enough to be made elsewhere.
async fn make_key(key_type: KeyType) -> Result<(PrivateKey, Vec<u8>), String> {
    let made = tokio::task::spawn_blocking(move || {
        let key = PrivateKey::generate(key_type).map_err(|error| error.to_string())?;
        let csr = empty_csr(&key).map_err(|error| error.to_string())?;
        Ok((key, csr))
    });
    made.await.map_err(|error| error.to_string())?
}

fn add_credential(
    payload: &mut Payload,
    source: &CertificatePlan,
    state: &State,
    mode: u32,
) -> Result<(), String> {
    let credential = state.credential()?;
    let key = credential
        .key
        .to_pkcs8_pem()
        .map_err(|error| error.to_string())?;
    let chain = trust_bundle::clean_chain(&credential.chain)?;
    let mut add = |path: &Option<generation::RelativePath>, parts: &[&str]| {
        if let Some(path) = path {
            let mut bytes = Zeroizing::new(Vec::with_capacity(parts.iter().map(|p| p.len()).sum()));
            for part in parts {
                bytes.extend_from_slice(part.as_bytes());
            }
            payload.insert(path.clone(), File { bytes, mode });
        }
    };
    add(&source.paths.bundle, &[&key, &chain]);
    add(&source.paths.key, &[&key]);
    add(&source.paths.chain, &[&chain]);
    Ok(())
}

const API_RETRY: Duration = Duration::from_secs(1);
const API_RETRY_MAX: Duration = Duration::from_secs(60);
/// From `beginRefreshAt` until the kubelet calls a refresh overdue.
const OVERDUE: SignedDuration = SignedDuration::from_secs(10 * 60);
