//! Which requests there are, what each waits for, and which is next. Pure: no I/O, no clock of
//! its own; the loop beside it feeds it watch events, results and the time.
//!
//! ```text
//!            watch shows it                decide: Issue, Deny            written
//!   (none) ────────────────▶ Queued ────────────────────────▶ InFlight ────────────▶ Answered
//!                              ▲  │ decide: Wait                │  │                    │
//!          cure, timer ┌───────┘  ▼                    conflict │  │ refused, failed    │
//!                      └────── Waiting ◀──────────────┐         ▼  ▼                    │
//!                      ▲                              │   Conflicted / Retrying ─▶ Queued
//!                      └── pod, Services, pool, date  └── status rule broken            │
//!                                                                                       ▼
//!   a condition or a deletion shown by the watch ends any state ─────────────────▶ (forgotten)
//! ```
//!
//! A request is decided only when something happened that can change the answer: it is filed under
//! what can cure it, and exactly that wakes it. `Answered` keeps a request whose condition the
//! watch has not shown yet, so that an older version of it, delivered late, is not answered twice.
//! `Conflicted` waits for the version that beat ours; a timer stands behind it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use kube::runtime::watcher::Event;
use podcert_authority::Authority;
use podcert_issuance::{
    Decision, Denial, Facts as _, Note, Plan, Policy, Request, ServiceFacts, Wait, Wake, decide,
};
use podcert_resources::event::Severity;
use podcert_resources::{Pod, PodCertificateRequest, Service};
use podcert_runtime::{Backoff, Jitter};
use tokio::time::Instant;

use super::{
    convert,
    world::{Change, Keep, World},
};
use crate::metrics::{Metrics, Outcome as Counted};

/// A request's UID.
pub(crate) type Uid = Arc<str>;

/// All requests that are not settled, and the live objects they are decided on.
#[derive(Debug)]
pub(crate) struct Queue {
    signers: Vec<Signer>,
    world: World,
    tracked: HashMap<Uid, Tracked>,
    ready: VecDeque<Uid>,
    cures: Cures,
    timers: BTreeMap<(Instant, u64), Timer>,
    sequence: u64,
    announcements: Vec<Announcement>,
    patience: Patience,
    jitter: Jitter,
    metrics: Metrics,
}

/// How long things are waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// After a failure that may pass.
    pub(crate) retry: Backoff,
    /// After a refusal that somebody must change.
    pub(crate) refused: Backoff,
    /// For the version that beat ours.
    pub(crate) conflict: Backoff,
    /// How long a request must have waited for one reason before an Event says so: a pod the
    /// watch shows a moment late is not worth a write.
    pub(crate) announce_after: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            retry: Backoff::new(Duration::from_secs(1), Duration::from_secs(60)),
            refused: Backoff::new(Duration::from_secs(60), Duration::from_secs(300)),
            conflict: Backoff::new(Duration::from_secs(10), Duration::from_secs(60)),
            announce_after: Duration::from_secs(10),
        }
    }
}

/// An answer to be given: signed if need be, and written once.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) uid: Uid,
    /// Index of the signer in the configuration.
    pub(crate) signer: usize,
    pub(crate) authority: Arc<Authority>,
    pub(crate) request: Arc<Request>,
    /// The resource version the write is conditional on.
    pub(crate) version: String,
    pub(crate) answer: Answer,
}

/// What to answer.
#[derive(Debug)]
pub(crate) enum Answer {
    Deny(Denial),
    Issue(Plan),
}

/// What became of a [`Work`].
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) uid: Uid,
    /// The resource version it was conditional on.
    pub(crate) version: String,
    pub(crate) outcome: Outcome,
}

/// How an answer fared.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It stands.
    Written {
        counted: Counted,
        reason: &'static str,
        notes: Vec<Note>,
    },
    /// The request is gone.
    Gone,
    /// Another version of the request was written before.
    Conflict,
    /// It may succeed later.
    Retry {
        reason: &'static str,
        message: String,
        when: RetryWhen,
    },
    /// It must not be sent.
    Wait(Wait),
}

/// When to try again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum RetryWhen {
    /// Soon, and less soon each time.
    Soon,
    /// After this long at least.
    After(Duration),
    /// Slowly: somebody must change something first, so an Event says so.
    Refused,
    /// With the next pool.
    OnPool,
}

/// Something the owner of a pod should know.
#[derive(Debug)]
pub(crate) struct Announcement {
    pub(crate) request: Arc<Request>,
    pub(crate) severity: Severity,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

#[derive(Debug)]
struct Signer {
    policy: Policy,
    authority: Option<Arc<Authority>>,
    // Counts lists of requests: one that a new list does not show is gone.
    epoch: u64,
}

#[derive(Debug)]
struct Tracked {
    signer: usize,
    request: Arc<Request>,
    version: String,
    epoch: u64,
    since: Instant,
    state: State,
    // Of the state; a timer of an older state is void.
    generation: u64,
    failures: u32,
    // Settled or deleted while in flight.
    over: bool,
    announced: Vec<&'static str>,
    // The reason a timer will announce.
    announcing: Option<&'static str>,
}

#[derive(Debug)]
enum State {
    Answered,
    InFlight,
    Pending(Pending),
    Queued,
}

/// Why a request is not answered yet: `Waiting`, `Retrying` and `Conflicted` of the diagram.
#[derive(Debug)]
struct Pending {
    reason: &'static str,
    message: String,
    cure: Cure,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Cure {
    /// A timer of its own, or nothing.
    Other,
    Pod,
    PodOrServices,
    Pool,
    /// A newer version of the request.
    Version,
}

#[derive(Debug)]
enum Timer {
    Announce { uid: Uid, reason: &'static str },
    Wake { uid: Uid, generation: u64 },
}

impl Queue {
    /// Knows of no request yet.
    pub(crate) fn new(
        policies: Vec<Policy>,
        patience: Patience,
        jitter: Jitter,
        metrics: Metrics,
    ) -> Self {
        let keep = if policies.iter().all(|policy| policy.unprojected.is_empty()) {
            Keep::Projected
        } else {
            Keep::All
        };
        let names = policies
            .iter()
            .map(|policy| policy.signer.clone())
            .collect();
        Self {
            world: World::new(names, keep),
            signers: policies
                .into_iter()
                .map(|policy| Signer {
                    policy,
                    authority: None,
                    epoch: 0,
                })
                .collect(),
            tracked: HashMap::new(),
            ready: VecDeque::new(),
            cures: Cures::default(),
            timers: BTreeMap::new(),
            sequence: 0,
            announcements: Vec::new(),
            patience,
            jitter,
            metrics,
        }
    }

    /// Takes in what the watch of pods says.
    pub(crate) fn observe_pod(&mut self, event: Event<Pod>) {
        let change = self.world.observe_pod(event);
        self.wake_by(&change);
    }

    /// Takes in what the watch of Services says.
    pub(crate) fn observe_service(&mut self, event: Event<Service>) {
        let change = self.world.observe_service(event);
        self.wake_by(&change);
    }

    /// Takes in what the watch of requests for one signer says.
    pub(crate) fn observe_request(
        &mut self,
        signer: usize,
        event: Event<PodCertificateRequest>,
        now: Instant,
    ) {
        match event {
            Event::Init => {
                if let Some(signer) = self.signers.get_mut(signer) {
                    signer.epoch += 1;
                }
            }
            Event::Apply(object) | Event::InitApply(object) => self.apply(signer, object, now),
            Event::Delete(object) => {
                if let Some(uid) = &object.metadata.uid {
                    self.end(uid);
                }
            }
            Event::InitDone => {
                let Some(epoch) = self.signers.get(signer).map(|signer| signer.epoch) else {
                    return;
                };
                let vanished: Vec<Uid> = self
                    .tracked
                    .iter()
                    .filter(|(_, entry)| entry.signer == signer && entry.epoch != epoch)
                    .map(|(uid, _)| Arc::clone(uid))
                    .collect();
                for uid in vanished {
                    self.end(&uid);
                }
            }
        }
    }

    /// Signs with `authority` from now on.
    pub(crate) fn sign_with(&mut self, signer: usize, authority: Arc<Authority>) {
        if let Some(signer) = self.signers.get_mut(signer) {
            signer.authority = Some(authority);
        }
        for uid in self.cures.pool.clone() {
            if self
                .tracked
                .get(&uid)
                .is_some_and(|entry| entry.signer == signer)
            {
                self.enqueue(&uid);
            }
        }
    }

    /// The next answer to give. `date` is the API server's time.
    pub(crate) fn next(&mut self, date: Timestamp, now: Instant) -> Option<Work> {
        if !self.world.is_listed() {
            return None;
        }
        while let Some(uid) = self.ready.pop_front() {
            let Some(entry) = self.tracked.get(&uid) else {
                continue;
            };
            if !matches!(entry.state, State::Queued) {
                continue;
            }
            let signer = entry.signer;
            let (decision, authority) = match self.signers.get(signer) {
                Some(Signer {
                    policy,
                    authority: Some(authority),
                    ..
                }) => {
                    let chain = authority.chain_validity();
                    (
                        decide(policy, &entry.request, &self.world, chain, date),
                        authority,
                    )
                }
                _ => {
                    let pending = Pending {
                        reason: POOL_NOT_LOADED,
                        message: format!(
                            "no CA pool of signer {} is loaded yet",
                            entry.request.signer
                        ),
                        cure: Cure::Pool,
                    };
                    self.wait(&uid, pending, now);
                    continue;
                }
            };
            let answer = match decision {
                Decision::Issue(plan) => Answer::Issue(plan),
                Decision::Deny(denial) => Answer::Deny(denial),
                Decision::Wait(wait) => {
                    self.wait_for(&uid, wait, date, now);
                    continue;
                }
            };
            let (request, version) = (Arc::clone(&entry.request), entry.version.clone());
            let authority = Arc::clone(authority);
            self.set_state(&uid, State::InFlight);
            return Some(Work {
                uid,
                signer,
                authority,
                request,
                version,
                answer,
            });
        }
        None
    }

    /// Takes in what became of an answer.
    pub(crate) fn finish(&mut self, done: Done, date: Timestamp, now: Instant) {
        let Done {
            uid,
            version,
            outcome,
        } = done;
        let Some(entry) = self.tracked.get_mut(&uid) else {
            return;
        };
        if let Outcome::Written {
            counted,
            reason,
            notes,
        } = outcome
        {
            self.metrics
                .answered(entry.signer, counted, reason, now - entry.since);
            let request = Arc::clone(&entry.request);
            self.announcements
                .extend(notes.into_iter().map(|note| Announcement {
                    request: Arc::clone(&request),
                    severity: Severity::Normal,
                    reason: note.reason.as_str(),
                    message: note.message,
                }));
            if entry.over {
                self.forget(&uid);
            } else {
                self.set_state(&uid, State::Answered);
            }
            return;
        }
        if entry.over || matches!(outcome, Outcome::Gone) {
            self.forget(&uid);
            return;
        }
        match outcome {
            Outcome::Written { .. } | Outcome::Gone => {}
            // The newer version is here already: answer that one.
            Outcome::Conflict if entry.version != version => self.enqueue(&uid),
            Outcome::Conflict => {
                let pending = Pending {
                    reason: CONFLICT,
                    message: "another version of the request was written; waiting to see it".into(),
                    cure: Cure::Version,
                };
                self.fail(&uid, pending, RetryWhen::Soon, now);
            }
            Outcome::Retry {
                reason,
                message,
                when,
            } => {
                let cure = if when == RetryWhen::OnPool {
                    Cure::Pool
                } else {
                    Cure::Other
                };
                self.fail(
                    &uid,
                    Pending {
                        reason,
                        message,
                        cure,
                    },
                    when,
                    now,
                );
            }
            Outcome::Wait(wait) => self.wait_for(&uid, wait, date, now),
        }
    }

    /// When [`Self::tick`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.timers.first_key_value().map(|((at, _), _)| *at)
    }

    /// Fires the timers due at `now`.
    pub(crate) fn tick(&mut self, now: Instant) {
        while let Some(first) = self.timers.first_entry()
            && first.key().0 <= now
        {
            match first.remove() {
                Timer::Announce { uid, reason } => self.announce(&uid, reason),
                Timer::Wake { uid, generation } => {
                    if self
                        .tracked
                        .get(&uid)
                        .is_some_and(|entry| entry.generation == generation)
                    {
                        self.enqueue(&uid);
                    }
                }
            }
        }
    }

    /// What has been to announce since the last call.
    pub(crate) fn announcements(&mut self) -> Vec<Announcement> {
        std::mem::take(&mut self.announcements)
    }

    /// Takes in one version of a request.
    fn apply(&mut self, signer: usize, mut object: PodCertificateRequest, now: Instant) {
        let Some(uid) = object.metadata.uid.as_deref().map(Uid::from) else {
            return;
        };
        // A condition settles it; a deletion time is a request somebody is taking back.
        if object.settled().is_some() || object.metadata.deletion_timestamp.is_some() {
            self.end(&uid);
            return;
        }
        let Some(Signer { policy, epoch, .. }) = self.signers.get(signer) else {
            return;
        };
        let epoch = *epoch;
        let version = object.metadata.resource_version.take().unwrap_or_default();
        if let Some(entry) = self.tracked.get_mut(&uid) {
            entry.version = version;
            entry.epoch = epoch;
            // The spec is immutable: a new version changes no decision but lets a write through.
            if matches!(&entry.state, State::Pending(pending) if pending.cure == Cure::Version) {
                self.enqueue(&uid);
            }
            return;
        }
        // The server filters by signer; what slips through is nobody's here.
        if object.spec.signer_name != policy.signer.as_str() {
            return;
        }
        let Some(request) = convert::request(object, &policy.signer) else {
            return;
        };
        let entry = Tracked {
            signer,
            request: Arc::new(request),
            version,
            epoch,
            since: now,
            state: State::Queued,
            generation: 0,
            failures: 0,
            over: false,
            announced: Vec::new(),
            announcing: None,
        };
        self.tracked.insert(Arc::clone(&uid), entry);
        self.ready.push_back(uid);
    }

    /// The request needs no answer any more.
    fn end(&mut self, uid: &str) {
        match self.tracked.get_mut(uid) {
            // Its result still comes in.
            Some(entry) if matches!(entry.state, State::InFlight) => entry.over = true,
            Some(_) => self.forget(uid),
            None => {}
        }
    }

    fn forget(&mut self, uid: &str) {
        if let Some((uid, entry)) = self.tracked.remove_entry(uid) {
            self.leave(&uid, &entry.state, &entry.request, entry.signer);
        }
    }

    /// Queues what `change` can cure.
    fn wake_by(&mut self, change: &Change) {
        let woken: Vec<Uid> = match change {
            Change::Nothing => return,
            Change::Pod { namespace, name } => self.cures.by_pod(namespace, name),
            Change::Pods => self.cures.all_pods(),
            Change::Services => self.cures.all_services(),
            Change::Service {
                namespace,
                before,
                after,
            } => {
                let mut waiting = self.cures.by_services(namespace);
                waiting.retain(|uid| {
                    self.tracked.get(uid).is_some_and(|entry| {
                        self.may_name(&entry.request, before.as_ref())
                            || self.may_name(&entry.request, after.as_ref())
                    })
                });
                waiting
            }
        };
        for uid in woken {
            self.enqueue(&uid);
        }
    }

    /// Whether `service` bears on the names of `request`: it selects its pod, or the pod asks for
    /// it by name. Among 10 000 Services made at once, few wake anybody.
    fn may_name(&self, request: &Request, service: Option<&ServiceFacts>) -> bool {
        let Some(service) = service else { return false };
        !request.annotations.is_empty()
            || self
                .world
                .pod(&request.namespace, &request.pod_name)
                .is_none_or(|pod| service.selects(&pod.labels))
    }

    fn enqueue(&mut self, uid: &Uid) {
        let state = self.tracked.get(uid).map(|entry| &entry.state);
        if matches!(state, Some(State::InFlight | State::Pending(_))) {
            self.set_state(uid, State::Queued);
            self.ready.push_back(Arc::clone(uid));
        }
    }

    /// Files `uid` under what can cure `wait`.
    fn wait_for(&mut self, uid: &Uid, wait: Wait, date: Timestamp, now: Instant) {
        let Wait {
            reason,
            message,
            wake,
        } = wait;
        let (cure, after) = match wake {
            Wake::Pod => (Cure::Pod, None),
            Wake::PodOrServices => (Cure::PodOrServices, None),
            Wake::Authority => (Cure::Pool, None),
            // Neither is watched; a look each minute costs nothing.
            Wake::Node | Wake::ServiceAccount => (Cure::Other, Some(RECHECK)),
            // Dates are looked at again each minute: clocks are set, machines sleep.
            Wake::At(at) => {
                let left = Duration::try_from(at.duration_since(date)).unwrap_or_default();
                (Cure::Other, Some(left.clamp(SHORTEST_WAIT, RECHECK)))
            }
            Wake::Restart => (Cure::Other, None),
        };
        self.wait(
            uid,
            Pending {
                reason: reason.as_str(),
                message,
                cure,
            },
            now,
        );
        if let Some(after) = after {
            self.wake_after(uid, after, now);
        }
    }

    fn wait(&mut self, uid: &Uid, pending: Pending, now: Instant) {
        let reason = pending.reason;
        self.set_state(uid, State::Pending(pending));
        let Some(entry) = self.tracked.get_mut(uid) else {
            return;
        };
        if entry.announcing != Some(reason) && !entry.announced.contains(&reason) {
            entry.announcing = Some(reason);
            let timer = Timer::Announce {
                uid: Arc::clone(uid),
                reason,
            };
            self.start(now + self.patience.announce_after, timer);
        }
    }

    /// Holds `uid` back after a failure.
    fn fail(&mut self, uid: &Uid, pending: Pending, when: RetryWhen, now: Instant) {
        let Some(entry) = self.tracked.get_mut(uid) else {
            return;
        };
        entry.failures = entry.failures.saturating_add(1);
        let failures = entry.failures;
        let Pending { reason, cure, .. } = pending;
        tracing::warn!(
            namespace = entry.request.namespace,
            request = entry.request.name,
            pod = entry.request.pod_name,
            reason,
            message = pending.message,
            "no answer yet"
        );
        self.set_state(uid, State::Pending(pending));
        let backoff = match when {
            RetryWhen::Refused => self.patience.refused,
            _ if cure == Cure::Version => self.patience.conflict,
            _ => self.patience.retry,
        };
        let mut after = backoff.delay(failures, &self.jitter);
        match when {
            RetryWhen::After(least) => after = after.max(least),
            RetryWhen::Refused => self.announce(uid, reason),
            RetryWhen::OnPool | RetryWhen::Soon => {}
        }
        self.wake_after(uid, after, now);
    }

    fn wake_after(&mut self, uid: &Uid, after: Duration, now: Instant) {
        if let Some(entry) = self.tracked.get(uid) {
            let timer = Timer::Wake {
                uid: Arc::clone(uid),
                generation: entry.generation,
            };
            self.start(now + after, timer);
        }
    }

    fn start(&mut self, at: Instant, timer: Timer) {
        self.sequence += 1;
        self.timers.insert((at, self.sequence), timer);
    }

    /// Says once per request and reason that it waits, if it still does.
    fn announce(&mut self, uid: &Uid, reason: &'static str) {
        let Some(entry) = self.tracked.get_mut(uid) else {
            return;
        };
        if entry.announcing == Some(reason) {
            entry.announcing = None;
        }
        let State::Pending(pending) = &entry.state else {
            return;
        };
        if pending.reason != reason || entry.announced.contains(&reason) {
            return;
        }
        entry.announced.push(reason);
        self.announcements.push(Announcement {
            request: Arc::clone(&entry.request),
            severity: Severity::Warning,
            reason,
            message: pending.message.clone(),
        });
    }

    /// Moves `uid` to `state` and files it accordingly.
    fn set_state(&mut self, uid: &Uid, state: State) {
        let Some(entry) = self.tracked.get_mut(uid) else {
            return;
        };
        entry.generation += 1;
        let (request, signer) = (Arc::clone(&entry.request), entry.signer);
        let before = std::mem::replace(&mut entry.state, state);
        let entered = match &entry.state {
            State::Pending(pending) => Some((pending.cure, pending.reason)),
            _ => None,
        };
        self.leave(uid, &before, &request, signer);
        if let Some((cure, reason)) = entered {
            self.cures.file(uid, cure, &request);
            self.metrics.waiting(signer, reason, 1);
        }
    }

    fn leave(&mut self, uid: &Uid, state: &State, request: &Request, signer: usize) {
        if let State::Pending(pending) = state {
            self.cures.unfile(uid, pending.cure, request);
            self.metrics.waiting(signer, pending.reason, -1);
        }
    }
}

/// Requests filed under what can cure their wait. Sorted, so that a replay wakes in one order.
#[derive(Debug, Default)]
struct Cures {
    namespaces: BTreeMap<String, InNamespace>,
    pool: BTreeSet<Uid>,
}

#[derive(Debug, Default)]
struct InNamespace {
    pods: BTreeMap<String, BTreeSet<Uid>>,
    services: BTreeSet<Uid>,
}

impl Cures {
    fn file(&mut self, uid: &Uid, cure: Cure, request: &Request) {
        match cure {
            Cure::Other | Cure::Version => {}
            Cure::Pool => {
                self.pool.insert(Arc::clone(uid));
            }
            Cure::Pod | Cure::PodOrServices => {
                let found = self
                    .namespaces
                    .entry(request.namespace.clone())
                    .or_default();
                let pod = found.pods.entry(request.pod_name.clone()).or_default();
                pod.insert(Arc::clone(uid));
                if cure == Cure::PodOrServices {
                    found.services.insert(Arc::clone(uid));
                }
            }
        }
    }

    fn unfile(&mut self, uid: &Uid, cure: Cure, request: &Request) {
        match cure {
            Cure::Other | Cure::Version => {}
            Cure::Pool => {
                self.pool.remove(uid);
            }
            Cure::Pod | Cure::PodOrServices => {
                let Some(found) = self.namespaces.get_mut(&request.namespace) else {
                    return;
                };
                if let Some(pod) = found.pods.get_mut(&request.pod_name) {
                    pod.remove(uid);
                    if pod.is_empty() {
                        found.pods.remove(&request.pod_name);
                    }
                }
                found.services.remove(uid);
                if found.pods.is_empty() && found.services.is_empty() {
                    self.namespaces.remove(&request.namespace);
                }
            }
        }
    }

    fn by_pod(&self, namespace: &str, name: &str) -> Vec<Uid> {
        let found = self
            .namespaces
            .get(namespace)
            .and_then(|found| found.pods.get(name));
        found.into_iter().flatten().cloned().collect()
    }

    fn by_services(&self, namespace: &str) -> Vec<Uid> {
        self.namespaces
            .get(namespace)
            .map(|found| &found.services)
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }

    fn all_pods(&self) -> Vec<Uid> {
        self.namespaces
            .values()
            .flat_map(|found| found.pods.values())
            .flatten()
            .cloned()
            .collect()
    }

    fn all_services(&self) -> Vec<Uid> {
        self.namespaces
            .values()
            .flat_map(|found| &found.services)
            .cloned()
            .collect()
    }
}

/// The reason of a request whose signer has no pool yet.
pub(crate) const POOL_NOT_LOADED: &str = "PoolNotLoaded";
/// The reason of a request another version of which was written.
pub(crate) const CONFLICT: &str = "Conflict";

const RECHECK: Duration = podcert_runtime::clock::RECHECK;
const SHORTEST_WAIT: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
