//! What of the work is this replica's, and while what holds. Pure.
//!
//! Time between two gaps is a *term*. A gap is when this replica might not act: its Lease ran out,
//! or the process was paused, so that what it knows may be of another age. With a new term
//! everything is read anew, and what was decided in an earlier one is sent no more.

use std::{sync::Arc, time::Duration};

use podcert_resources::lease::DURATION;
use podcert_runtime::{Backoff, Jitter};
use tokio::time::Instant;

use super::rendezvous;

/// What is this replica's, and while what holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Share {
    term: u64,
    permission: Permission,
    owners: Owners,
}

/// Whose the work is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Owners {
    /// Not known yet, or not this replica's as it has no Lease.
    Unknown,
    /// All of it this replica's: it works alone.
    Alone,
    /// Everybody's, by rendezvous hashing.
    Among(Arc<Replicas>),
}

/// The replicas that live, this one among them.
#[derive(Debug, PartialEq)]
pub(crate) struct Replicas {
    pub(super) me: String,
    /// Sorted, each once.
    pub(super) live: Vec<String>,
}

/// Until when this replica may write.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Permission {
    Never,
    Until(Instant),
    Always,
}

impl Share {
    /// All of the work, for ever: that of a replica that shares nothing.
    pub(super) fn alone() -> Self {
        Self {
            term: 0,
            permission: Permission::Always,
            owners: Owners::Alone,
        }
    }

    /// None of it yet.
    pub(super) fn nothing() -> Self {
        Self {
            term: 0,
            permission: Permission::Never,
            owners: Owners::Unknown,
        }
    }

    pub(super) fn new(term: u64, permission: Permission, owners: Owners) -> Self {
        Self {
            term,
            permission,
            owners,
        }
    }

    /// The term this is of.
    pub(crate) fn term(&self) -> u64 {
        self.term
    }

    /// Whose the work is.
    pub(crate) fn owners(&self) -> &Owners {
        &self.owners
    }

    /// Whether what was decided in `term` may be written at `now`.
    pub(super) fn allows(&self, term: u64, now: Instant) -> bool {
        self.term == term && self.permission.holds(now)
    }
}

impl Permission {
    fn holds(self, now: Instant) -> bool {
        match self {
            Self::Never => false,
            Self::Until(until) => now <= until,
            Self::Always => true,
        }
    }
}

impl Owners {
    #[cfg(test)]
    pub(crate) fn among(me: &str, live: &[&str]) -> Self {
        Self::Among(Arc::new(Replicas {
            me: me.to_owned(),
            live: live.iter().map(|name| (*name).to_owned()).collect(),
        }))
    }

    /// Whether the request of this namespace and name is this replica's to answer, when it was
    /// passed on so often.
    pub(crate) fn own_request(&self, namespace: &str, name: &str, passed: usize) -> bool {
        let item = [namespace, "/", name];
        match (self, passed) {
            // Leases of many that do not answer must not keep it from one that does: a request lives fifteen minutes,
            // and what is answered twice is refused once.
            (Self::Among(_), EVERYBODY..) => true,
            (Self::Among(replicas), 1..) => {
                let live = replicas.live.iter().map(String::as_str);
                rendezvous::in_turn(&item, live, passed) == Some(&replicas.me)
            }
            _ => self.own(&item),
        }
    }

    /// Whose the request of this namespace and name is before it is passed on, where it is shared.
    pub(crate) fn owner_of_request(&self, namespace: &str, name: &str) -> Option<&str> {
        match self {
            Self::Unknown | Self::Alone => None,
            Self::Among(replicas) => replicas.owner(&[namespace, "/", name]),
        }
    }

    /// Whether bundles are this replica's to publish: all of them are one item, as in meshtool.
    pub(crate) fn own_bundles(&self) -> bool {
        self.own(&[BUNDLES])
    }

    /// Who publishes bundles, if it is somebody else.
    pub(crate) fn publisher(&self) -> Option<&str> {
        match self {
            Self::Unknown | Self::Alone => None,
            Self::Among(replicas) => replicas.owner(&[BUNDLES]),
        }
    }

    fn own(&self, item: &[&str]) -> bool {
        match self {
            Self::Unknown => false,
            Self::Alone => true,
            Self::Among(replicas) => replicas.owner(item) == Some(&replicas.me),
        }
    }
}

/// Once a request was passed on so often, at a minute each, all that live answer it.
const EVERYBODY: usize = 3;

impl Replicas {
    fn owner(&self, item: &[&str]) -> Option<&str> {
        rendezvous::owner(item, self.live.iter().map(String::as_str))
    }

    /// The part of all items that is this replica's.
    pub(super) fn share(&self) -> f64 {
        rendezvous::share_of(&self.me, &self.live)
    }
}

/// Counts terms.
#[derive(Debug)]
pub(super) struct Terms {
    term: u64,
    permission: Permission,
    interrupted: bool,
    looked: Instant,
    /// When this term began, if it was not the first.
    begun: Option<Instant>,
    /// How many followed each other closely.
    in_a_row: u32,
    /// When the next one begins at the earliest, while one is due.
    rest_until: Option<Instant>,
}

impl Terms {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            term: 0,
            permission: Permission::Never,
            interrupted: false,
            looked: now,
            begun: None,
            in_a_row: 0,
            rest_until: None,
        }
    }

    /// The term at `now`, and what of `permission` holds in it from now on. Called at least every
    /// [`LOOK`]: when it was not for as long as a Lease lasts, this process stood still. Terms that
    /// follow each other closely begin ever later, as each has everything read anew: lists may be
    /// what makes the next renewal late.
    pub(super) fn at(
        &mut self,
        now: Instant,
        permission: Permission,
        jitter: &Jitter,
    ) -> (u64, Permission) {
        let stood_still = now - self.looked > DURATION;
        let lapsed = self.permission != Permission::Never && !self.permission.holds(now);
        self.looked = now;
        self.interrupted |= stood_still || lapsed;
        self.permission = if permission.holds(now) {
            permission
        } else {
            Permission::Never
        };
        if self.interrupted && self.permission != Permission::Never {
            let rest_until = match self.rest_until {
                Some(until) => until,
                None => now + self.rest(now, jitter),
            };
            if now < rest_until {
                self.rest_until = Some(rest_until);
                self.permission = Permission::Never;
            } else {
                self.rest_until = None;
                self.interrupted = false;
                self.begun = Some(now);
                self.term += 1;
            }
        }
        (self.term, self.permission)
    }

    /// How long the next term waits.
    fn rest(&mut self, now: Instant, jitter: &Jitter) -> Duration {
        let close = self.begun.is_some_and(|begun| now - begun < CLOSE);
        self.in_a_row = if close {
            self.in_a_row.saturating_add(1)
        } else {
            0
        };
        match self.in_a_row {
            0 => Duration::ZERO,
            some => REST.delay(some, jitter),
        }
    }
}

/// The item that stands for all bundles; meshtool's.
const BUNDLES: &str = "maintain-trust-bundles";
/// A third of a Lease: so that a process that stood still is told from one that had nothing to do.
pub(super) const LOOK: Duration = Duration::from_secs(5);
/// Terms that begin within that time of each other follow closely.
const CLOSE: Duration = Duration::from_mins(2);
/// Within the minute after which others answer what this replica lets lie.
const REST: Backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(30));

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use super::*;

    fn moment(seconds: u64) -> Instant {
        static START: OnceLock<Instant> = OnceLock::new();
        *START.get_or_init(Instant::now) + Duration::from_secs(seconds)
    }

    fn until(seconds: u64) -> Permission {
        Permission::Until(moment(seconds))
    }

    fn term(terms: &mut Terms, now: Instant, permission: Permission) -> u64 {
        terms.at(now, permission, &Jitter::seeded(1)).0
    }

    #[test]
    fn invented_replicas_keep_a_request_from_nobody_for_long() {
        let names: Vec<String> = (0..100)
            .map(|number| format!("invented-{number}"))
            .collect();
        let mut live: Vec<&str> = names.iter().map(String::as_str).collect();
        live.push("me");
        let owners = Owners::among("me", &live);
        let own = |passed| {
            let own = |number: &u32| owners.own_request("shop", &format!("r{number}"), passed);
            (0..100).filter(own).count()
        };
        assert!(own(EVERYBODY - 1) < 20);
        assert_eq!(own(EVERYBODY), 100);
    }

    #[test]
    fn a_term_lasts_while_the_lease_is_renewed_in_time() {
        let mut terms = Terms::new(moment(0));
        assert_eq!(term(&mut terms, moment(0), Permission::Never), 0);
        assert_eq!(term(&mut terms, moment(1), until(16)), 0);
        for second in 2..60 {
            let renewed = second / 10 * 10 + 15;
            assert_eq!(
                term(&mut terms, moment(second), until(renewed)),
                0,
                "{second}"
            );
        }
        // It is not renewed, and nothing begins before it is.
        for second in 60..90 {
            assert_eq!(term(&mut terms, moment(second), until(65)), 0, "{second}");
        }
        assert_eq!(term(&mut terms, moment(90), until(105)), 1);
        assert_eq!(term(&mut terms, moment(95), until(105)), 1);
        // Between two looks; it follows closely.
        assert_eq!(term(&mut terms, moment(106), until(121)), 1);
        assert_eq!(term(&mut terms, moment(111), until(121)), 2);
    }

    #[test]
    fn a_process_that_stood_still_begins_a_term_whatever_it_held() {
        for permission in [Permission::Always, until(1000)] {
            let mut terms = Terms::new(moment(0));
            assert_eq!(term(&mut terms, moment(1), permission), 0);
            assert_eq!(term(&mut terms, moment(16), permission), 0);
            assert_eq!(term(&mut terms, moment(32), permission), 1);
            assert_eq!(term(&mut terms, moment(33), permission), 1);
        }
        // Before it held anything, too: what it read is old.
        let mut terms = Terms::new(moment(0));
        assert_eq!(term(&mut terms, moment(60), Permission::Never), 0);
        assert_eq!(term(&mut terms, moment(61), until(76)), 1);
    }

    #[test]
    fn terms_that_follow_closely_begin_ever_later() {
        let mut terms = Terms::new(moment(0));
        let jitter = Jitter::seeded(1);
        let (mut now, mut waits) = (0, Vec::new());
        // Held for 15 seconds and lost for five, again and again.
        for _ in 0..6 {
            for _ in 0..5 {
                now += 1;
                let (_, permission) = terms.at(moment(now), Permission::Never, &jitter);
                assert_eq!(permission, Permission::Never);
            }
            let (before, _) = terms.at(moment(now), Permission::Never, &jitter);
            let mut waited = 0;
            loop {
                let (term, permission) = terms.at(moment(now), until(now + 15), &jitter);
                if permission != Permission::Never {
                    waits.push(waited);
                    assert_eq!(
                        (term, permission),
                        (waits.len() as u64 - 1, until(now + 15))
                    );
                    break;
                }
                assert_eq!(term, before, "what is not begun is no term");
                now += 1;
                waited += 1;
            }
            now += 15;
            let (_, permission) = terms.at(moment(now), until(now), &jitter);
            assert_eq!(permission, until(now));
        }
        assert_eq!(
            waits[..2],
            [0, 0],
            "the first, and the first that is regained"
        );
        assert!(
            waits[2..].is_sorted_by(|one, next| *next >= *one / 2),
            "{waits:?}"
        );
        assert!(
            (2..=5).contains(&waits[2]) && (10..=30).contains(&waits[5]),
            "{waits:?}"
        );

        // One more, and after some minutes in peace the next begins at once.
        for _ in 0..180 {
            now += 1;
            terms.at(moment(now), until(now + 15), &jitter);
        }
        now += 30;
        let (term, permission) = terms.at(moment(now), until(now + 15), &jitter);
        assert_eq!((term, permission), (7, until(now + 15)));
    }

    #[test]
    fn what_was_decided_in_another_term_is_not_sent() {
        let share = Share::new(3, until(15), Owners::Alone);
        assert!(share.allows(3, moment(15)));
        assert!(!share.allows(2, moment(1)));
        assert!(!share.allows(3, moment(16)));
        assert!(Share::alone().allows(0, moment(1_000_000)));
        assert!(!Share::nothing().allows(0, moment(0)));
    }

    #[test]
    fn every_request_is_somebodys() {
        let live = ["a", "b", "c"];
        let owners = live.map(|me| Owners::among(me, &live));
        for number in 0..100 {
            let name = format!("req-{number}");
            let own = owners.iter().filter(|o| o.own_request("shop", &name, 0));
            assert_eq!(own.count(), 1, "{name}");
        }
        assert_eq!(owners.iter().filter(|o| o.own_bundles()).count(), 1);
        assert!(owners[0].publisher().is_some());
        assert!(Owners::Alone.own_request("shop", "req", 0));
        assert!(!Owners::Unknown.own_request("shop", "req", 1));
    }
}
