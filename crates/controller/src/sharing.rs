//! The sharing of work among replicas, by rendezvous hashing over Leases.
//!
//! ```text
//!   Leases of others ─▶ membership ─┐
//!                                   ├─▶ Share: term, until when, whose ──▶ requests, bundles
//!   own Lease ◀── own: renewals ────┘       │
//!                                           └─▶ permit, asked before each write
//! ```
//!
//! Format and hashing are meshtool's (`podcert_resources::lease`, `rendezvous`), so that replicas
//! of both may work side by side. All of it saves work and nothing depends on it: a status is written
//! once. So whatever goes wrong here, the way on is to work alone, and twice at worst: where Leases
//! are refused, where they cannot be read.
//!
//! One task keeps the Lease and says what this replica's share is; a process without an application
//! to share with has no such task, and everything is its own.

mod membership;
mod own;
mod rendezvous;
mod share;

use std::{fmt::Write as _, pin::pin, sync::Arc, time::Duration};

use futures::FutureExt as _;
use futures::future::{Fuse, FusedFuture as _};
use futures::stream::{BoxStream, StreamExt as _};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use kube::runtime::watcher;
use podcert_resources::lease::{DURATION, Replica, ReplicaLease};
use podcert_runtime::{Check, Clock as _, api::Permit};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use self::membership::Membership;
use self::own::{Action, Answer, OwnLease};
use self::share::{LOOK, Permission, Replicas, Share, Terms};
use crate::optional::{self, Seen};
use crate::rights::Refusal;
use crate::{Context, pools::with_sources};

pub(crate) use self::share::Owners;

/// What this replica's share is, for whoever works. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Sharing {
    share: watch::Receiver<Share>,
}

impl Sharing {
    /// For a replica that shares nothing.
    pub(crate) fn alone() -> Self {
        let (_, share) = watch::channel(Share::alone());
        Self { share }
    }

    /// For one that shares; [`keep`] wants the other end.
    pub(crate) fn with_others() -> (Self, watch::Sender<Share>) {
        let (sender, share) = watch::channel(Share::nothing());
        (Self { share }, sender)
    }

    /// The share, and each change of it.
    pub(crate) fn changes(&self) -> watch::Receiver<Share> {
        self.share.clone()
    }

    /// Whether what is decided on what was read in `term` may be written now.
    pub(crate) fn allows(&self, term: u64) -> bool {
        self.share.borrow().allows(term, Instant::now())
    }

    /// The same, to be asked before each try of a request.
    pub(crate) fn permit(&self, term: u64) -> Permit {
        let sharing = self.clone();
        Permit::new(move || sharing.allows(term))
    }
}

/// What [`keep`] is to do.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) replica: Replica,
    pub(crate) check: Check,
    pub(crate) share: watch::Sender<Share>,
    /// Says that the API server has read its roles: it showed something that must be shown.
    pub(crate) known: watch::Receiver<bool>,
    /// Cancelled when the last answer was given: the Lease is given up then.
    pub(crate) finished: CancellationToken,
}

/// Keeps this replica's Lease, and says what its share is, until the work is finished.
pub(crate) async fn keep(context: Context, task: Task) {
    let Task {
        replica,
        check,
        share,
        mut known,
        finished,
    } = task;
    if replica.uid.is_empty() {
        tracing::warn!(
            lease = replica.name,
            "nobody will remove this replica's Lease after its pod: --sharding-pod-uid is missing"
        );
    }
    check.fail("this replica has no Lease yet");
    tokio::select! {
        biased;
        () = finished.cancelled() => return,
        ready = known.wait_for(|known| *known) => if ready.is_err() { return },
    }
    let mut keeper = Keeper {
        context: &context,
        leases: Api::namespaced(context.connection.client().clone(), &replica.namespace),
        selector: replica.application.selector(),
        me: replica.name.clone(),
        known,
        check,
        share,
        own: OwnLease::new(replica),
        membership: Membership::default(),
        unlisted_since: Instant::now(),
        hidden: None,
        terms: Terms::new(Instant::now()),
        told: None,
        lapsed: true,
    };
    let mut events = keeper.watch();
    let mut request = pin!(Fuse::terminated());
    loop {
        if keeper.say() {
            events = keeper.watch();
        }
        if request.is_terminated()
            && let Some(action) = keeper.next()
        {
            let patience = keeper.own.patience();
            let apis = (keeper.leases.clone(), keeper.replicas());
            request.set(carry_out(apis, keeper.me.clone(), action, patience).fuse());
        }
        let wake = keeper.wake_at();
        // Cancel safe: an event or an answer is taken whole, or still there the next time round.
        tokio::select! {
            biased;
            () = finished.cancelled() => break,
            answer = &mut request => keeper.finish(answer),
            Some(seen) = events.next() => keeper.observe(seen),
            () = sleep_until(wake) => {}
        }
    }
    keeper.release().await;
}

type Events = BoxStream<'static, optional::Observed<ReplicaLease>>;

struct Keeper<'a> {
    context: &'a Context,
    leases: Api<Lease>,
    selector: String,
    me: String,
    known: watch::Receiver<bool>,
    check: Check,
    share: watch::Sender<Share>,
    own: OwnLease,
    membership: Membership,
    unlisted_since: Instant,
    /// Why the Leases of others are not shown.
    hidden: Option<String>,
    terms: Terms,
    /// Why it works alone, as was told.
    told: Option<String>,
    /// What was told of whose the work is holds no longer, as there is no Lease.
    lapsed: bool,
}

impl Keeper<'_> {
    /// Leases as others' are read.
    fn replicas(&self) -> Api<ReplicaLease> {
        let client = self.context.connection.client().clone();
        match self.leases.namespace() {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        }
    }

    fn watch(&self) -> Events {
        let leases = self.replicas();
        let config = watcher::Config::default().labels(&self.selector);
        let jitter = self.context.jitter.clone();
        optional::follow(leases, config, self.known.clone(), jitter).boxed()
    }

    fn next(&mut self) -> Option<Action> {
        let date = self.context.connection.server_clock().now();
        self.own.next(Instant::now(), date)
    }

    fn wake_at(&self) -> Instant {
        let now = Instant::now();
        let others = self.membership.next_death(now);
        let own = self.own.wake_at(now);
        let soon = now + LOOK;
        [others, own].into_iter().flatten().fold(soon, Instant::min)
    }

    fn observe(&mut self, seen: optional::Observed<ReplicaLease>) {
        match seen {
            Ok(Seen::Event(event)) => {
                let date = self.context.connection.server_clock().now();
                self.membership.observe(event, Instant::now(), date);
                if self.membership.is_listed() {
                    self.hidden = None;
                }
            }
            Ok(Seen::Refused(why)) => {
                self.membership.forget();
                self.hidden = Some(why);
            }
            Err(failure) => {
                self.context.metrics.watch_failed(LEASES);
                failure.log(&self.context.rights, LEASES);
            }
        }
    }

    fn finish(&mut self, (outcome, answer): (&'static str, Answer)) {
        match &answer {
            Answer::Gone => tracing::warn!(
                lease = self.me,
                "somebody deleted the Lease of this replica, it is made again; if that goes on, is \
                 --sharding-pod-uid the UID of its pod?"
            ),
            Answer::Refused {
                forbidden: true, ..
            } if self.context.rights.tells_of(&[LEASES]) => {}
            Answer::Refused { why, .. } | Answer::Unanswered(why) if self.own.is_well() => {
                tracing::warn!(
                    lease = self.me,
                    why,
                    "the Lease is not renewed; trying again"
                );
            }
            // Told once in a row, or with what it leads to.
            Answer::Refused { .. } | Answer::Unanswered(_) => {}
            Answer::Found(_) | Answer::Written(_) | Answer::Conflict => {}
        }
        // A look that found what there is renews nothing.
        if !matches!(answer, Answer::Found(_)) {
            self.context.metrics.lease_renewal(outcome);
        }
        let jitter = &self.context.jitter;
        self.own.finish(answer, Instant::now(), jitter);
    }

    /// Says what this replica's share is now. True when a new term begins, for which the Leases of
    /// others must be read anew.
    fn say(&mut self) -> bool {
        let now = Instant::now();
        let permission = match (self.own.refused(), self.own.held_until()) {
            (Some(_), _) => Permission::Always,
            (None, Some(until)) if now <= until => Permission::Until(until),
            (None, _) => Permission::Never,
        };
        let before = self.share.borrow().term();
        let (term, permission) = self.terms.at(now, permission, &self.context.jitter);
        let new_term = term != before;
        if new_term {
            tracing::warn!(
                "this replica had no Lease for a while, or stood still: everything is read anew \
                 before it goes on"
            );
            self.membership.forget();
        }
        if new_term || permission == Permission::Never {
            self.unlisted_since = now;
        }
        let owners = if permission == Permission::Never {
            // Nothing may be written, so nothing changes hands here: what waits goes on waiting.
            self.tell_of_no_lease();
            self.share.borrow().owners().clone()
        } else {
            let owners = self.owners(now);
            self.tell(&owners);
            owners
        };
        let share = Share::new(term, permission, owners);
        self.share.send_if_modified(|known| {
            let changed = *known != share;
            *known = share;
            changed
        });
        new_term
    }

    fn owners(&self, now: Instant) -> Owners {
        if self.why_alone(now).is_some() {
            return Owners::Alone;
        }
        if !self.membership.is_listed() {
            return Owners::Unknown;
        }
        let mut live = self.membership.live(now);
        live.insert(&self.me);
        Owners::Among(Arc::new(Replicas {
            me: self.me.clone(),
            live: live.into_iter().map(str::to_owned).collect(),
        }))
    }

    fn why_alone(&self, now: Instant) -> Option<String> {
        if let Some(why) = self.own.refused() {
            return Some(format!("its Lease is refused: {why}"));
        }
        if let Some(why) = &self.hidden {
            return Some(format!("the Leases of others are not shown: {why}"));
        }
        // Others leave this replica its share, so somebody must do it.
        let late = !self.membership.is_listed() && now - self.unlisted_since > DURATION;
        late.then(|| "the Leases of others cannot be read".to_owned())
    }

    fn tell_of_no_lease(&mut self) {
        self.context.metrics.shares(0, 0.0);
        let had_one = self.own.held_until().is_some();
        if had_one && !std::mem::replace(&mut self.lapsed, true) {
            // A replica that is cut off is no better for being taken for unready.
            self.check
                .pass_saying("it has no Lease at the moment, and writes nothing until it has");
        }
    }

    /// The log, the metrics and the check of a change.
    fn tell(&mut self, owners: &Owners) {
        let known = self.share.borrow().owners() == owners;
        if known && self.told.is_none() && !self.lapsed {
            return;
        }
        let metrics = &self.context.metrics;
        match owners {
            // The Leases of others are being read.
            Owners::Unknown => return,
            Owners::Alone => {
                metrics.shares(1, 1.0);
                let why = self.why_alone(Instant::now()).unwrap_or_default();
                if self.told.as_ref() != Some(&why) {
                    self.tell_of_working_alone(&why);
                    self.check.pass_saying(format!("works alone: {why}"));
                }
                self.told = Some(why);
            }
            Owners::Among(replicas) => {
                self.told = None;
                let share = replicas.share();
                metrics.shares(replicas.live.len(), share);
                let live = some_of(&replicas.live);
                let percent = (share * 100.0).round();
                tracing::info!(live, percent, "the work is shared among these replicas");
                self.check.pass_saying(format!("shares the work: {live}"));
            }
        }
        self.lapsed = false;
    }

    fn tell_of_working_alone(&self, why: &str) {
        let lost = "this replica works alone: run no second one, or grant the rights to get, list, \
                    watch, create and update leases in its namespace (podcert looks every few \
                    minutes)";
        if self.own.is_forbidden() || self.hidden.is_some() {
            self.context.rights.refused(Refusal {
                resource: LEASES,
                why: why.to_owned(),
                lost,
            });
        } else {
            tracing::warn!(why, "{lost}");
        }
    }

    /// Gives the Lease up, so that others take over at once.
    async fn release(self) {
        let Some(uid) = self.own.uid() else {
            return;
        };
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(uid.to_owned()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let given_up = timeout(LAST_PATIENCE, self.leases.delete(&self.me, &params)).await;
        let why = match given_up {
            Ok(Ok(_)) => {
                self.context.metrics.lease_renewal("released");
                return;
            }
            Ok(Err(error)) => with_sources(&error),
            Err(_) => "no answer".to_owned(),
        };
        tracing::info!(
            lease = self.me,
            why,
            "the Lease of this replica could not be given up; it runs out in {} seconds",
            DURATION.as_secs()
        );
    }
}

/// Makes one request, and gives what became of it, and as what it is counted.
///
/// # Cancel safety
/// When dropped, the write may or may not have happened; the next look shows which.
async fn carry_out(
    (api, lenient): (Api<Lease>, Api<ReplicaLease>),
    name: String,
    action: Action,
    patience: Duration,
) -> (&'static str, Answer) {
    let params = PostParams::default();
    let creates = matches!(action, Action::Create(_));
    let answered = async {
        Ok(match action {
            Action::Read => {
                let found = match api.get_opt(&name).await {
                    // What somebody else left there, such as a date that is none for us. It is overwritten.
                    Err(kube::Error::SerdeError(_)) => {
                        lenient.get_opt(&name).await?.map(|found| Lease {
                            metadata: found.metadata,
                            spec: None,
                        })
                    }
                    found => found?,
                };
                ("read", Answer::Found(found.map(Box::new)))
            }
            Action::Create(lease) => {
                let lease = api.create(&params, &lease).await?;
                ("created", Answer::Written(Box::new(lease)))
            }
            Action::Renew(lease) => {
                let lease = api.replace(&name, &params, &lease).await?;
                ("renewed", Answer::Written(Box::new(lease)))
            }
        })
    };
    let error: kube::Error = match timeout(patience, answered).await {
        Ok(Ok(done)) => return done,
        Ok(Err(error)) => error,
        Err(_) => {
            let why = format!("no answer within {} seconds", patience.as_secs());
            return ("unanswered", Answer::Unanswered(why));
        }
    };
    match &error {
        kube::Error::Api(status) => match status.code {
            409 => ("conflict", Answer::Conflict),
            404 if !creates => ("gone", Answer::Gone),
            // Overloaded or just starting: it says nothing about this Lease.
            code @ (429 | 503 | 504) => {
                let why = format!("{} ({code})", status.message);
                ("unanswered", Answer::Unanswered(why))
            }
            code => {
                let why = format!("{} ({code})", status.message);
                let forbidden = code == 403;
                ("refused", Answer::Refused { forbidden, why })
            }
        },
        _ => ("unanswered", Answer::Unanswered(with_sources(&error))),
    }
}

/// Their names, as many as a line of a log holds.
fn some_of(live: &[String]) -> String {
    let mut names = live
        .iter()
        .take(MOST_NAMED)
        .cloned()
        .collect::<Vec<_>>()
        .join(" ");
    if let Some(more @ 1..) = live.len().checked_sub(MOST_NAMED) {
        let _ = write!(names, " and {more} more");
    }
    names
}

const LEASES: &str = "leases";
const MOST_NAMED: usize = 16;
/// For giving the Lease up at the end.
const LAST_PATIENCE: Duration = Duration::from_secs(3);
