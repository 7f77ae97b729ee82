//! ClusterTrustBundles: what clients must trust, kept as the pool has it.
//!
//! One bundle a signer, found by its name. A watch of that one object shows what is there; a pure
//! [`plan()`] compares it with what should be, and its one step is executed. Nothing is written
//! when nothing differs: not at a restart, not when somebody else's label was added, not when
//! the same anchors stand there in another order. A bundle somebody deletes or edits is put back.
//!
//! Whoever takes a CA out of the pool takes it out of every client: an anchor is removed when a good
//! reload dropped its CA, seen by whoever publishes since it does. Others that the pool does not have are not ours to judge (another
//! controller's, or dropped before): they stay and are reported, until an operator has
//! them removed. With two controllers who remove each other's anchors, each does so ever more slowly,
//! and says so. A CA that is new in the pool signs once the bundle shows it (see the crate's
//! documentation).
//!
//! Of replicas that share the work, one writes, and all look: at what their next CA waits for.

mod plan;
mod writing;

use std::collections::{BTreeMap, HashSet};
use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use kube::runtime::watcher::{self, Event};
use podcert_authority::Authority;
use podcert_pki::{BundleError, Certificate};
use podcert_resources::{ClusterTrustBundle, bundle};
use podcert_runtime::{Backoff, Check};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use self::plan::{Desired, Step, plan};
use self::writing::Undone;
use crate::config::{FOLLOW_PATIENCE, PUBLISH_PATIENCE};
use crate::sharing::Owners;
use crate::versions::Spoken;
use crate::{Context, Signer, UnknownAnchors, watching};

/// An authority whose anchors are published.
pub(crate) type Ready = (usize, Arc<Authority>);

/// Keeps the bundle of `signer` until shutdown, and hands each authority on when it may sign.
pub(crate) async fn keep(
    context: Context,
    index: usize,
    signer: Signer,
    unknown: UnknownAnchors,
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
    let mut share = context.sharing.changes();
    let first = share.borrow_and_update().clone();
    let mut bundle = KeptBundle {
        context: &context,
        index,
        check,
        name: name.clone(),
        unknown,
        term: first.term(),
        owners: first.owners().clone(),
        told: HashSet::new(),
        told_unread: None,
        observed: Observation::Unknown,
        desired: None,
        signing: Signing::Nothing,
        failures: 0,
        not_before: None,
        undone: Undone::default(),
    };
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let watch = || {
        let events = context
            .versions
            .watch(&context, Spoken::Bundles, config.clone());
        events.boxed()
    };
    let mut events = watch();
    loop {
        let authority = pool.borrow_and_update().clone();
        if let Some(authority) = authority {
            bundle.follow_pool(&signer_name, &labels.labels, &authority);
        }
        let looked = Instant::now();
        tokio::select! {
            biased;
            () = context.shutdown.cancelled() => return,
            () = bundle.reconcile() => {}
        }
        if !bundle.hand_on(&ready_to_sign).await {
            return;
        }
        let wake = bundle.wake_at(looked);
        // Cancel safe: a watch event or a pool is either taken whole or still there next time.
        tokio::select! {
            biased;
            () = context.shutdown.cancelled() => return,
            Ok(()) = share.changed() => {
                let share = share.borrow_and_update().clone();
                let published = bundle.owners.own_bundles();
                bundle.owners = share.owners().clone();
                let new_term = share.term() != bundle.term;
                if new_term {
                    bundle.term = share.term();
                    bundle.observed = Observation::Unknown;
                    events = watch();
                }
                if new_term || !published && bundle.owners.own_bundles() {
                    bundle.forget_dropped();
                }
            }
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
    unknown: UnknownAnchors,
    /// Of what was observed.
    term: u64,
    owners: Owners,
    /// Unknown anchors that were told of.
    told: HashSet<Certificate>,
    /// Why the bundle cannot be read to the end, as was told.
    told_unread: Option<BundleError>,
    observed: Observation,
    desired: Option<Desired>,
    signing: Signing,
    failures: u32,
    /// Nothing is written before: the last write failed.
    not_before: Option<Instant>,
    undone: Undone,
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
    /// Nobody yet.
    Nothing,
    /// This one.
    Now(Arc<Authority>),
    /// Another one did, if any; this one will, once published, or when it has waited long enough.
    Next(Arc<Authority>, Waited),
}

/// How long an authority waits to sign.
#[derive(Clone, Copy)]
enum Waited {
    /// It waits no longer.
    Enough,
    /// As [`Waited::Since`], the first of this process: it waits for no bundle where there is none. No
    /// client can have mounted what was never published, and whoever mounts it later mounts it with
    /// these anchors. What an earlier process published may lack them.
    First(Instant),
    /// Since then.
    Since(Instant),
}

impl KeptBundle<'_> {
    fn follow_pool(
        &mut self,
        signer: &str,
        labels: &BTreeMap<String, String>,
        authority: &Arc<Authority>,
    ) {
        let known = match &self.signing {
            Signing::Nothing => false,
            Signing::Now(known) | Signing::Next(known, _) => Arc::ptr_eq(known, authority),
        };
        if known {
            return;
        }
        let anchors = authority.anchors().clone();
        let mut dropped = HashSet::new();
        if let Some(before) = self.desired.take() {
            dropped = before.dropped;
            dropped.extend(before.anchors.anchors().iter().cloned());
            dropped.retain(|anchor| !anchors.anchors().contains(anchor));
        }
        self.desired = Some(Desired {
            name: self.name.clone(),
            signer: signer.to_owned(),
            labels: labels.clone(),
            anchors,
            dropped,
            unknown: self.unknown,
        });
        // A new pool is worth a try at once.
        self.failures = 0;
        self.not_before = None;
        self.undone = Undone::default();
        let waited = match &self.signing {
            Signing::Nothing => Waited::First(Instant::now()),
            Signing::Now(_) => Waited::Since(Instant::now()),
            Signing::Next(_, waited) => *waited,
        };
        self.signing = Signing::Next(Arc::clone(authority), waited);
    }

    /// Others published until now. What left this replica's pool meanwhile may be back in theirs, and
    /// sign: it is theirs to judge.
    fn forget_dropped(&mut self) {
        if let Some(desired) = &mut self.desired {
            desired.dropped.clear();
        }
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
            (Err(failure), before) => {
                self.context.metrics.watch_failed("clustertrustbundles");
                failure.log(&self.context.rights, "clustertrustbundles");
                if self
                    .desired
                    .as_ref()
                    .is_none_or(|desired| !desired.is_in(&before))
                {
                    self.check
                        .fail(format!("ClusterTrustBundle {}: {}", self.name, failure.why));
                }
                before
            }
        };
    }

    /// Takes the one step there is to take, if it is time.
    async fn reconcile(&mut self) {
        let unknown = self.look_at_unknown_anchors();
        self.sign_first();
        if !self.owners.own_bundles() {
            self.follow_publisher();
            return;
        }
        let (Some(desired), Observation::Known(observed)) = (&self.desired, &self.observed) else {
            return;
        };
        let now = Instant::now();
        self.undone.rest_until = self.undone.rest_until.filter(|until| now < *until);
        let step = plan(desired, observed.as_deref());
        if matches!(step, Step::Nothing) {
            self.published(unknown);
            return;
        }
        let held_back = self.not_before.is_some_and(|time| now < time);
        if held_back || self.undone.rest_until.is_some() {
            return;
        }
        if self.context.sharing.allows(self.term) {
            let desired = desired.clone();
            self.write(&desired, step).await;
        }
    }

    fn published(&mut self, unknown: usize) {
        self.failures = 0;
        self.not_before = None;
        let unread = match &self.observed {
            Observation::Known(Some(bundle)) => plan::unreadable(bundle),
            _ => None,
        };
        self.check.pass_saying(match (&unread, unknown) {
            (Some(_), _) => "it holds what cannot be read".to_owned(),
            (None, 0) => String::new(),
            (None, some) => format!("it holds {some} anchors that are in no pool"),
        });
        self.tell_of_unread(unread);
        self.sign_now();
    }

    fn sign_now(&mut self) {
        if let Signing::Next(authority, _) = &self.signing {
            self.signing = Signing::Next(Arc::clone(authority), Waited::Enough);
        }
    }

    /// The first pool signs at once where clients trust it or there is nothing they could trust.
    fn sign_first(&mut self) {
        let Signing::Next(_, Waited::First(_)) = &self.signing else {
            return;
        };
        let (Some(desired), Observation::Known(observed)) = (&self.desired, &self.observed) else {
            return;
        };
        let trusted = observed.as_deref().is_none_or(|bundle| {
            let published = plan::anchors(bundle);
            published.is_some_and(|published| desired.is_published_in(&published))
        });
        if trusted {
            self.sign_now();
        }
    }

    /// Another replica writes; whether it did is seen here as well.
    fn follow_publisher(&mut self) {
        let (Some(desired), Observation::Known(observed)) = (&self.desired, &self.observed) else {
            return;
        };
        let Some(publisher) = self.owners.publisher() else {
            return;
        };
        let published = observed.as_deref().and_then(plan::anchors);
        let published = published.is_some_and(|published| desired.is_published_in(&published));
        // Not this replica's to put right, and no reason to hold up the next replica.
        self.check.pass_saying(if published {
            format!("{publisher} publishes it")
        } else {
            format!("{publisher} publishes it, and has not put this replica's pool there yet")
        });
        if published {
            self.sign_now();
        }
    }

    /// Counts the anchors that are in no pool, and tells of those that are new.
    fn look_at_unknown_anchors(&mut self) -> usize {
        let (Some(desired), Observation::Known(observed)) = (&self.desired, &self.observed) else {
            return 0;
        };
        let published = observed.as_deref().and_then(plan::anchors);
        let unknown = published.map_or_else(Vec::new, |published| desired.unknown_in(&published));
        self.context
            .metrics
            .unknown_anchors(self.index, unknown.len());
        let count = unknown.len();
        if self.owners.own_bundles() {
            self.tell_of(unknown);
        }
        count
    }

    /// Lets the next authority sign when its time has come. False when nobody is there to sign.
    async fn hand_on(&mut self, ready_to_sign: &mpsc::Sender<Ready>) -> bool {
        let Signing::Next(authority, waited) = &self.signing else {
            return true;
        };
        if self
            .waits_until(*waited)
            .is_some_and(|until| Instant::now() < until)
        {
            return true;
        }
        let authority = Arc::clone(authority);
        self.signing = Signing::Now(Arc::clone(&authority));
        ready_to_sign.send((self.index, authority)).await.is_ok()
    }

    /// Replicas see a new pool within a minute and a half of each other.
    fn waits_until(&self, waited: Waited) -> Option<Instant> {
        match waited {
            Waited::Enough => None,
            // Nobody signs meanwhile, for a bundle that is perhaps not to be seen.
            Waited::First(since) if !matches!(self.observed, Observation::Known(_)) => {
                Some(since + PUBLISH_PATIENCE)
            }
            Waited::First(since) | Waited::Since(since) if self.owners.own_bundles() => {
                Some(since + PUBLISH_PATIENCE)
            }
            Waited::First(since) | Waited::Since(since) => Some(since + FOLLOW_PATIENCE),
        }
    }

    /// When there is more to do than at `looked`. What could not be done then although its time had
    /// come waits for something else: a write for the Lease, say.
    fn wake_at(&self, looked: Instant) -> Option<Instant> {
        let sign = match &self.signing {
            Signing::Next(_, waited) => self.waits_until(*waited),
            _ => None,
        };
        let write = match &self.observed {
            Observation::Known(_) if self.owners.own_bundles() => {
                self.not_before.max(self.undone.rest_until)
            }
            _ => None,
        };
        let instants = sign.into_iter().chain(write);
        instants.filter(|at| *at > looked).min()
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

const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
