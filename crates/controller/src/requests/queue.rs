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
//!                      └── pod, node, account,        └── status rule broken            │
//!                          Services, pool, date                                         ▼
//!   a condition or a deletion shown by the watch ends any state ─────────────────▶ (forgotten)
//!   another replica's: Elsewhere, until the share changes, it is passed on, or the watch ends it
//! ```
//!
//! A request is decided only when something happened that can change the answer: it is filed under
//! what can cure it, and exactly that wakes it. `Answered` keeps a request whose condition the
//! watch has not shown yet, so that an older version of it, delivered late, is not answered twice.
//! `Conflicted` waits for the version that beat ours; a timer stands behind it. A request whose key
//! v1 does not show is queued apart and read at v1beta1, in flight meanwhile as a write would be.
//! What waits for a pool is also looked at each minute, as a clock that jumped and came back is no
//! change of pool. After a gap (see `sharing`) a request known from before it is `stale`: nothing is
//! decided or said about it until a list has shown it again.

mod ages;
mod announcing;
mod cures;
mod entry;
mod outcomes;
mod picking;
mod shared;
mod timers;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::runtime::watcher::Event;
use podcert_authority::Authority;
use podcert_issuance::{Facts as _, Policy, Request, RequestedKey, ServiceFacts};
use podcert_resources::{Identity, Pod, PodCertificateRequest, Service};
use podcert_runtime::Jitter;
use tokio::time::Instant;

use self::ages::Ages;
use self::cures::Cures;
use self::entry::{Cure, State, Tracked};
use self::timers::Timers;
use super::{
    convert,
    world::{Change, Keep, World},
};
use crate::reasons::{CONFLICT, STATUS_REFUSED};
use crate::{metrics::Metrics, optional::Seen, sharing::Owners, versions::InUse};

pub(crate) use self::announcing::Announcement;
pub(crate) use self::outcomes::{Done, Outcome, Patience, RetryWhen, Tell};
pub(crate) use self::picking::{Answer, Unread, Work};

/// A request's UID.
pub(crate) type Uid = Arc<str>;

/// All requests that are not settled, and the live objects they are decided on.
#[derive(Debug)]
pub(crate) struct Queue {
    signers: Vec<Signer>,
    world: World,
    tracked: HashMap<Uid, Tracked>,
    ready: VecDeque<Uid>,
    /// Whether more of them are to be looked at soon.
    paused: bool,
    // Queued, but to be read at v1beta1 first.
    unread: VecDeque<Uid>,
    versions: InUse,
    owners: Owners,
    cures: Cures,
    ages: Ages,
    timers: Timers,
    announcements: Vec<Announcement>,
    patience: Patience,
    jitter: Jitter,
    metrics: Metrics,
}

#[derive(Debug)]
struct Signer {
    policy: Policy,
    authority: Option<Arc<Authority>>,
    // Counts pools.
    pool: u64,
    // Counts lists of requests: one that a new list does not show is gone.
    epoch: u64,
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
                    pool: 0,
                    epoch: 0,
                })
                .collect(),
            tracked: HashMap::new(),
            ready: VecDeque::new(),
            paused: false,
            unread: VecDeque::new(),
            versions: InUse::default(),
            owners: Owners::Alone,
            cures: Cures::default(),
            ages: Ages::default(),
            timers: Timers::default(),
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

    /// Takes in what the watch of nodes says.
    pub(crate) fn observe_node(&mut self, seen: Seen<Identity<Node>>) {
        let change = self.world.observe_node(seen);
        self.wake_by(&change);
    }

    /// Takes in what the watch of service accounts says.
    pub(crate) fn observe_service_account(&mut self, seen: Seen<Identity<ServiceAccount>>) {
        let change = self.world.observe_service_account(seen);
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
                    self.end(uid, object.settled().is_some());
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
                    self.end(&uid, false);
                }
            }
        }
    }

    /// Signs with `authority` from now on.
    pub(crate) fn sign_with(&mut self, signer: usize, authority: Arc<Authority>) {
        if let Some(signer) = self.signers.get_mut(signer) {
            signer.authority = Some(authority);
            signer.pool += 1;
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

    /// Speaks these versions of the API from now on: what waits for another one is looked at.
    pub(crate) fn speak(&mut self, versions: InUse) {
        self.versions = versions;
        if !versions.requests_at_v1beta1 {
            self.ready.extend(self.unread.drain(..));
        }
        for uid in self.cures.served.clone() {
            self.enqueue(&uid);
        }
    }

    /// Takes in one version of a request.
    fn apply(&mut self, signer: usize, mut object: PodCertificateRequest, now: Instant) {
        let Some(uid) = object.metadata.uid.as_deref().map(Uid::from) else {
            return;
        };
        // A condition settles it; a deletion time is a request somebody is taking back.
        let settled = object.settled().is_some();
        if settled || object.metadata.deletion_timestamp.is_some() {
            self.end(&uid, settled);
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
            // A list of a server that lags may have lacked it: it is there to be answered.
            entry.over = false;
            let was_stale = std::mem::take(&mut entry.stale);
            if was_stale && matches!(entry.state, State::Queued) {
                self.ready.push_back(Arc::clone(&uid));
            }
            // The spec is immutable, but v1beta1 may show a key that v1 did not.
            if entry.request.key == RequestedKey::NotShown {
                let key = convert::key(&object.spec);
                if key != RequestedKey::NotShown {
                    self.show(&uid, key);
                    return;
                }
            }
            // A new version changes no decision but lets a write through.
            if matches!(&entry.state, State::Pending(pending) if pending.cure == Cure::Version) {
                self.enqueue(&uid);
            }
            return;
        }
        // The server filters by signer; what slips through is nobody's here.
        if object.spec.signer_name != policy.signer.as_str() {
            return;
        }
        let created = object
            .metadata
            .creation_timestamp
            .as_ref()
            .map(|time| time.0);
        let Some(request) = convert::request(object, &policy.signer) else {
            return;
        };
        let entry = Tracked {
            signer,
            request: Arc::new(request),
            version,
            epoch,
            created,
            since: now,
            state: State::Queued,
            generation: 0,
            failures: 0,
            refusals: 0,
            read_again: false,
            pool: 0,
            over: false,
            settled: false,
            passed: 0,
            stale: false,
            announced: Vec::new(),
            announcing: None,
        };
        self.tracked.insert(Arc::clone(&uid), entry);
        self.ready.push_back(uid);
    }

    /// The key of `uid` has come to light.
    fn show(&mut self, uid: &Uid, key: RequestedKey) {
        let Some(entry) = self.tracked.get_mut(uid) else {
            return;
        };
        let request = Request {
            key,
            ..entry.request.as_ref().clone()
        };
        entry.request = Arc::new(request);
        match entry.state {
            // It may stand among the unread; standing here twice does no harm.
            State::Queued => self.ready.push_back(Arc::clone(uid)),
            State::Pending(_) => self.enqueue(uid),
            // What is under way is its reading, which ends in a moment.
            State::InFlight | State::Answered | State::Elsewhere => {}
        }
    }

    /// The request needs no answer any more; it may be because it was `settled`.
    fn end(&mut self, uid: &str, settled: bool) {
        let Some(entry) = self.tracked.get_mut(uid) else {
            return;
        };
        match &entry.state {
            // Its result still comes in.
            State::InFlight => (entry.over, entry.settled) = (true, settled),
            State::Pending(pending) => {
                if settled && matches!(pending.reason, CONFLICT | STATUS_REFUSED) {
                    self.metrics.double_write(entry.signer);
                }
                self.forget(uid);
            }
            State::Answered | State::Elsewhere | State::Queued => self.forget(uid),
        }
    }

    fn forget(&mut self, uid: &str) {
        if let Some((uid, entry)) = self.tracked.remove_entry(uid) {
            let (signer, created) = (entry.signer, entry.created);
            self.leave(&uid, &entry.state, &entry.request, signer, created);
        }
    }

    /// Queues what `change` can cure.
    fn wake_by(&mut self, change: &Change) {
        let woken: Vec<Uid> = match change {
            Change::Nothing => return,
            Change::Node { name } => self.cures.by_node(name),
            Change::Nodes => self.cures.all_nodes(),
            Change::ServiceAccount { namespace, name } => {
                self.cures.by_service_account(namespace, name)
            }
            Change::ServiceAccounts => self.cures.all_service_accounts(),
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

    /// Moves `uid` to `state` and files it accordingly.
    fn set_state(&mut self, uid: &Uid, state: State) {
        let Some(entry) = self.tracked.get_mut(uid) else {
            return;
        };
        entry.generation += 1;
        let before = std::mem::replace(&mut entry.state, state);
        let (request, signer, created) = (Arc::clone(&entry.request), entry.signer, entry.created);
        let entered = match &entry.state {
            State::Pending(pending) => Some((pending.cure, pending.reason)),
            _ => None,
        };
        self.leave(uid, &before, &request, signer, created);
        if let Some((cure, reason)) = entered {
            self.cures.file(uid, cure, &request);
            self.metrics.waiting(signer, reason, 1);
            let oldest = self.ages.enter(signer, reason, created);
            self.metrics.oldest_waiting(signer, reason, oldest);
        }
    }

    fn leave(
        &mut self,
        uid: &Uid,
        state: &State,
        request: &Request,
        signer: usize,
        created: Option<Timestamp>,
    ) {
        if let State::Pending(pending) = state {
            self.cures.unfile(uid, pending.cure, request);
            self.metrics.waiting(signer, pending.reason, -1);
            let oldest = self.ages.leave(signer, pending.reason, created);
            self.metrics.oldest_waiting(signer, pending.reason, oldest);
        }
    }
}

#[cfg(test)]
mod tests;
