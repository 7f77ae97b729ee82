//! ClusterTrustBundles: what clients must trust, kept as the pool has it.
//!
//! One bundle a signer, found by its name. A watch of that one object shows what is there; a pure
//! [`plan()`] compares it with what should be, and its one step is executed. Nothing is written
//! when nothing differs: not at a restart, not when somebody else's label was added, not when
//! the same anchors stand there in another order. A bundle somebody deletes or edits is put back.
//!
//! The pool is the truth: an anchor in the bundle that the pool does not have is removed with the
//! next write. So whoever takes a CA out of the pool takes it out of every client, and with two
//! controllers of different pools on one signer they undo each other, ever more slowly, and say so.
//! A CA that is new in the pool signs once the bundle shows it (see the crate's documentation).

mod plan;

use std::{pin::pin, sync::Arc, time::Duration};

use futures::StreamExt as _;
use kube::api::{Api, PostParams};
use kube::runtime::watcher::{self, Event};
use podcert_authority::Authority;
use podcert_resources::event::{Notice, Severity};
use podcert_resources::{ApiVersion, ClusterTrustBundle, bundle};
use podcert_runtime::{Backoff, Check};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use self::plan::{Desired, Step, plan};
use crate::versions::{Spoken, is_unserved};
use crate::{Context, Signer, config::PUBLISH_PATIENCE, reasons::BUNDLE_CONTESTED, watching};

/// An authority whose anchors are published.
pub(crate) type Ready = (usize, Arc<Authority>);

/// Keeps the bundle of `signer` until shutdown, and hands each authority on when it may sign.
pub(crate) async fn keep(
    context: Context,
    index: usize,
    signer: Signer,
    check: Check,
    mut pool: watch::Receiver<Option<Arc<Authority>>>,
    ready_to_sign: mpsc::Sender<Ready>,
) {
    let signer_name = signer.policy.signer.to_string();
    let name = bundle::name(&signer_name);
    let labels = bundle::labels(&signer_name, signer.trust_domain());
    if let Some(omitted) = &labels.omitted {
        tracing::warn!(bundle = name, "{omitted}");
    }
    let mut bundle = KeptBundle {
        context: &context,
        index,
        check,
        name: name.clone(),
        observed: Observation::Unknown,
        desired: None,
        signing: Signing::Nothing,
        failures: 0,
        not_before: None,
        undone: Undone::default(),
    };
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = pin!(context.versions.watch(&context, Spoken::Bundles, config));
    loop {
        let authority = pool.borrow_and_update().clone();
        if let Some(authority) = authority {
            bundle.follow_pool(&signer_name, &labels.labels, &authority);
        }
        tokio::select! {
            biased;
            () = context.shutdown.cancelled() => return,
            () = bundle.reconcile() => {}
        }
        if !bundle.hand_on(&ready_to_sign).await {
            return;
        }
        let wake = bundle.wake_at();
        // Cancel safe: a watch event or a pool is either taken whole or still there next time.
        tokio::select! {
            biased;
            () = context.shutdown.cancelled() => return,
            Some(event) = events.next() => bundle.observe(event),
            changed = pool.changed() => {
                if changed.is_err() {
                    // The pool's task has ended, so shutdown is under way.
                    return;
                }
            }
            () = sleep_until(wake.unwrap_or_else(far_away)), if wake.is_some() => {}
        }
    }
}

struct KeptBundle<'a> {
    context: &'a Context,
    index: usize,
    check: Check,
    name: String,
    observed: Observation,
    desired: Option<Desired>,
    signing: Signing,
    failures: u32,
    /// Nothing is written before: the last write failed.
    not_before: Option<Instant>,
    undone: Undone,
}

/// How often somebody else undid what was written. The first time it is put right at once, then
/// ever later: two who disagree must not spend the API server on it.
#[derive(Debug, Default)]
struct Undone {
    /// When this pool's anchors were last written.
    written: Option<Instant>,
    times: u32,
    /// Nothing is written before.
    rest_until: Option<Instant>,
}

/// What is known of the bundle in the cluster.
enum Observation {
    /// Not listed yet.
    Unknown,
    /// Being listed; what was found so far.
    Listing(Option<Box<ClusterTrustBundle>>),
    /// As it is.
    Known(Option<Box<ClusterTrustBundle>>),
}

/// Who signs.
enum Signing {
    /// Nobody yet: the first pool signs at once. No client can have mounted what was never
    /// published, and whoever mounts it later mounts it with these anchors.
    Nothing,
    /// This one.
    Now(Arc<Authority>),
    /// Another one did; this one will, once published, or at this time.
    Next(Arc<Authority>, Instant),
}

impl KeptBundle<'_> {
    fn follow_pool(
        &mut self,
        signer: &str,
        labels: &std::collections::BTreeMap<String, String>,
        authority: &Arc<Authority>,
    ) {
        let known = match &self.signing {
            Signing::Nothing => false,
            Signing::Now(known) | Signing::Next(known, _) => Arc::ptr_eq(known, authority),
        };
        if known {
            return;
        }
        self.desired = Some(Desired {
            name: self.name.clone(),
            signer: signer.to_owned(),
            labels: labels.clone(),
            anchors: authority.anchors().clone(),
        });
        // A new pool is worth a try at once.
        self.failures = 0;
        self.not_before = None;
        self.undone = Undone::default();
        let deadline = match &self.signing {
            Signing::Nothing => Instant::now(),
            Signing::Now(_) => Instant::now() + PUBLISH_PATIENCE,
            Signing::Next(_, deadline) => *deadline,
        };
        self.signing = Signing::Next(Arc::clone(authority), deadline);
    }

    fn observe(&mut self, event: watching::Observed<ClusterTrustBundle>) {
        if event.is_ok() {
            self.not_before = None;
        }
        self.observed = match (
            event,
            std::mem::replace(&mut self.observed, Observation::Unknown),
        ) {
            (Ok(Event::Init), _) => Observation::Listing(None),
            (Ok(Event::InitApply(found)), _) => Observation::Listing(Some(Box::new(found))),
            (Ok(Event::InitDone), Observation::Listing(found)) => Observation::Known(found),
            (Ok(Event::InitDone), other) => other,
            (Ok(Event::Apply(found)), _) => Observation::Known(Some(Box::new(found))),
            (Ok(Event::Delete(_)), _) => Observation::Known(None),
            (Err(why), before) => {
                self.context.metrics.watch_failed("clustertrustbundles");
                tracing::warn!(bundle = self.name, why, "a watch begins again");
                if self
                    .desired
                    .as_ref()
                    .is_none_or(|desired| !desired.is_in(&before))
                {
                    self.check
                        .fail(format!("ClusterTrustBundle {}: {why}", self.name));
                }
                before
            }
        };
    }

    /// Takes the one step there is to take, if it is time.
    async fn reconcile(&mut self) {
        let (Some(desired), Observation::Known(observed)) = (&self.desired, &self.observed) else {
            return;
        };
        let now = Instant::now();
        self.undone.rest_until = self.undone.rest_until.filter(|until| now < *until);
        let step = plan(desired, observed.as_deref());
        if matches!(step, Step::Nothing) {
            self.published();
            return;
        }
        let held_back = self.not_before.is_some_and(|time| now < time);
        if held_back || self.undone.rest_until.is_some() {
            return;
        }
        // Known, as the bundle was observed.
        let Some(version) = self.context.versions.now().bundles else {
            return;
        };
        let client = self.context.connection.client().clone();
        let api: Api<ClusterTrustBundle> = Api::all_with(client, &version);
        let params = PostParams::default();
        let (outcome, written) = match step {
            Step::Nothing => return,
            Step::Create(bundle) => ("created", api.create(&params, &bundle.at(version)).await),
            Step::Update(bundle) => {
                let bundle = bundle.at(version);
                ("updated", api.replace(&self.name, &params, &bundle).await)
            }
        };
        match written {
            Ok(bundle) => {
                self.context.metrics.bundle_outcome(self.index, outcome);
                tracing::info!(
                    bundle = self.name,
                    anchors = desired.anchors.anchors().len(),
                    "ClusterTrustBundle {outcome}"
                );
                self.observed = Observation::Known(Some(Box::new(bundle)));
                self.published();
                self.note_write();
            }
            Err(error) => self.refused(version, &error),
        }
    }

    fn published(&mut self) {
        self.failures = 0;
        self.not_before = None;
        self.check.pass();
        if let Signing::Next(authority, _) = &self.signing {
            self.signing = Signing::Next(Arc::clone(authority), Instant::now());
        }
    }

    /// Keeps count of writes that put right what was right before.
    fn note_write(&mut self) {
        let now = Instant::now();
        let again = self
            .undone
            .written
            .is_some_and(|last| now - last < FORGOTTEN_AFTER);
        self.undone.written = Some(now);
        if !again {
            self.undone.times = 0;
            return;
        }
        self.undone.times = self.undone.times.saturating_add(1);
        let rest = BACKOFF.delay(self.undone.times, &self.context.jitter);
        self.undone.rest_until = Some(now + rest);
        if self.undone.times != TOLD_AFTER {
            return;
        }
        let note = format!(
            "somebody else keeps writing ClusterTrustBundle {}: two controllers with different CA \
             pools for one signer? Clients trust now the one, now the other",
            self.name
        );
        tracing::error!(bundle = self.name, reason = BUNDLE_CONTESTED, "{note}");
        if let Some(pod) = &self.context.own_pod {
            self.context.recorder.tell(Notice {
                regarding: pod.as_ref().clone(),
                related: None,
                severity: Severity::Warning,
                reason: BUNDLE_CONTESTED,
                action: "PublishAnchors",
                note,
            });
        }
    }

    fn refused(&mut self, version: ApiVersion, error: &kube::Error) {
        self.failures = self.failures.saturating_add(1);
        let after = BACKOFF.delay(self.failures, &self.context.jitter);
        self.not_before = Some(Instant::now() + after);
        if matches!(error, kube::Error::Api(status) if is_unserved(status)) {
            self.context.versions.unserved(Spoken::Bundles, version);
            tracing::info!(bundle = self.name, %version, "this version is not served any more");
            return;
        }
        if matches!(error, kube::Error::Api(status) if matches!(status.code, 404 | 409)) {
            // Somebody else wrote it: what stands there now comes over the watch, and is compared
            // at once.
            self.context.metrics.bundle_outcome(self.index, "conflict");
            return;
        }
        self.context.metrics.bundle_outcome(self.index, "refused");
        let why = format!(
            "ClusterTrustBundle {} cannot be written: {error}",
            self.name
        );
        tracing::warn!(retry_in = ?after, "{why}");
        self.check.fail(why);
    }

    /// Lets the next authority sign when its time has come. False when nobody is there to sign.
    async fn hand_on(&mut self, ready_to_sign: &mpsc::Sender<Ready>) -> bool {
        let Signing::Next(authority, deadline) = &self.signing else {
            return true;
        };
        if Instant::now() < *deadline {
            return true;
        }
        let authority = Arc::clone(authority);
        self.signing = Signing::Now(Arc::clone(&authority));
        ready_to_sign.send((self.index, authority)).await.is_ok()
    }

    fn wake_at(&self) -> Option<Instant> {
        let sign = match &self.signing {
            Signing::Next(_, deadline) => Some(*deadline),
            _ => None,
        };
        let write = match &self.observed {
            Observation::Known(_) => self.not_before.max(self.undone.rest_until),
            _ => None,
        };
        sign.into_iter().chain(write).min()
    }
}

impl Desired {
    fn is_in(&self, observed: &Observation) -> bool {
        match observed {
            Observation::Known(observed) => {
                matches!(plan(self, observed.as_deref()), Step::Nothing)
            }
            _ => false,
        }
    }
}

fn far_away() -> Instant {
    Instant::now() + Duration::from_secs(86_400)
}

const TOLD_AFTER: u32 = 3;
const FORGOTTEN_AFTER: Duration = Duration::from_mins(10);
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
