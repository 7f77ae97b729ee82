//! This replica's own Lease: what is to be done next, and until when it holds. Pure.
//!
//! ```text
//!   Unknown ──read──▶ none ──create──▶ Held ◀──renew, every 10 s──┐
//!      ▲  └─────────▶ one: renewed, whoever left it ────▶ ┘       │
//!      ├── conflict ◀───────────────────────────────────┘─────────┘
//!      └── refused: for good if it stands, and then asked again seldom
//! ```
//!
//! A renewal is good from when it was **begun**, as others may see it from then on, whenever we hear
//! that it was done.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use podcert_resources::lease::{DURATION, RENEWAL_PERIOD, Replica};
use podcert_runtime::{Backoff, Jitter};
use tokio::time::Instant;

/// A request to the API server.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    Read,
    Create(Box<Lease>),
    Renew(Box<Lease>),
}

/// What became of it.
#[derive(Debug)]
pub(super) enum Answer {
    /// Read: there it is, or there is none.
    Found(Option<Box<Lease>>),
    /// Created or renewed.
    Written(Box<Lease>),
    /// Somebody else wrote it.
    Conflict,
    /// There is none to renew.
    Gone,
    /// The API server said no.
    Refused { forbidden: bool, why: String },
    /// It did not say anything, or not now.
    Unanswered(String),
}

/// The Lease of this replica.
#[derive(Debug)]
pub(super) struct OwnLease {
    replica: Replica,
    known: Known,
    held_until: Option<Instant>,
    /// When the request under way was begun.
    begun: Option<Instant>,
    next_at: Option<Instant>,
    failures: u32,
    refused_since: Option<Instant>,
    refused: Option<String>,
    /// The last refusal was one of rights.
    forbidden: bool,
}

#[derive(Debug)]
enum Known {
    Nothing,
    None,
    There(Box<Lease>),
}

impl OwnLease {
    /// Nothing is known yet.
    pub(super) fn new(replica: Replica) -> Self {
        Self {
            replica,
            known: Known::Nothing,
            held_until: None,
            begun: None,
            next_at: None,
            failures: 0,
            refused_since: None,
            refused: None,
            forbidden: false,
        }
    }

    /// What to do now, if it is time and nothing is under way. `date` is the API server's, which is
    /// what the clocks of those who read it follow. [`Self::finish`] wants to hear how it went.
    pub(super) fn next(&mut self, now: Instant, date: Timestamp) -> Option<Action> {
        let early = self.next_at.is_some_and(|at| now < at);
        if early || self.begun.is_some() {
            return None;
        }
        self.begun = Some(now);
        Some(match &self.known {
            Known::Nothing => Action::Read,
            Known::None => Action::Create(Box::new(self.replica.lease(date))),
            Known::There(lease) => {
                let renewed = self.replica.renewed(lease.as_ref().clone(), date);
                Action::Renew(Box::new(renewed))
            }
        })
    }

    /// How long the request under way may take: the first so long that another one can save the
    /// Lease.
    pub(super) fn patience(&self) -> Duration {
        if self.failures == 0 {
            FIRST_PATIENCE
        } else {
            PATIENCE
        }
    }

    /// Takes in what became of it.
    pub(super) fn finish(&mut self, answer: Answer, now: Instant, jitter: &Jitter) {
        let Some(begun) = self.begun.take() else {
            return;
        };
        let answer = match answer {
            // A read comes before the next write: while those are answered, it is the write that does
            // not pass, as where a webhook hangs.
            Answer::Unanswered(why) if !matches!(self.known, Known::Nothing) => Answer::Refused {
                forbidden: false,
                why,
            },
            other => other,
        };
        match answer {
            Answer::Found(found) => {
                self.known = found.map_or(Known::None, Known::There);
                self.next_at = None;
            }
            Answer::Written(lease) => {
                self.known = Known::There(lease);
                self.held_until = Some(begun + DURATION);
                self.next_at = Some(begun + RENEWAL_PERIOD);
                self.failures = 0;
                self.refused_since = None;
                self.refused = None;
            }
            Answer::Conflict => self.fail(Known::Nothing, now, jitter),
            Answer::Gone => self.fail(Known::None, now, jitter),
            Answer::Unanswered(_) => {
                self.refused_since = None;
                self.fail(Known::Nothing, now, jitter);
            }
            Answer::Refused { forbidden, why } => {
                self.fail(Known::Nothing, now, jitter);
                let since = *self.refused_since.get_or_insert(now);
                // An API server that has just started forbids everything for a moment.
                let must_stand = match (forbidden, self.held_until) {
                    (true, None) => Duration::ZERO,
                    (true, Some(_)) => DURATION,
                    (false, _) => REFUSED_AFTER,
                };
                if now - since >= must_stand {
                    self.refused = Some(why);
                    self.forbidden = forbidden;
                    let again = if forbidden { SELDOM } else { AGAIN };
                    self.next_at = Some(now + again.delay(1, jitter));
                }
            }
        }
    }

    /// Whether the last request went well.
    pub(super) fn is_well(&self) -> bool {
        self.failures == 0
    }

    /// Until when it holds, if it ever was held.
    pub(super) fn held_until(&self) -> Option<Instant> {
        self.held_until
    }

    /// Why it cannot be had, if that is so for good.
    pub(super) fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// Whether it cannot be had for good for want of rights.
    pub(super) fn is_forbidden(&self) -> bool {
        self.refused.is_some() && self.forbidden
    }

    /// When [`Self::next`] has something to do; nothing while a request is under way.
    pub(super) fn wake_at(&self, now: Instant) -> Option<Instant> {
        match self.begun {
            Some(_) => None,
            None => Some(self.next_at.unwrap_or(now)),
        }
    }

    /// Its UID, if there is one to give up.
    pub(super) fn uid(&self) -> Option<&str> {
        match &self.known {
            Known::There(lease) => lease.metadata.uid.as_deref(),
            _ => None,
        }
    }

    /// The first failure is answered at once: most pass with a look at what is there.
    fn fail(&mut self, known: Known, now: Instant, jitter: &Jitter) {
        self.known = known;
        self.failures = self.failures.saturating_add(1);
        self.next_at = match self.failures {
            1 => None,
            more => Some(now + RETRY.delay(more - 1, jitter)),
        };
    }
}

const FIRST_PATIENCE: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(10);
const RETRY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
/// Nobody answers requests for that long while a Lease is refused for another reason than rights: a
/// webhook that is broken or hangs, a quota.
const REFUSED_AFTER: Duration = Duration::from_secs(60);
const AGAIN: Backoff = Backoff::new(Duration::from_secs(60), Duration::from_secs(60));
/// Spread over its second half: five to ten minutes.
const SELDOM: Backoff = Backoff::new(Duration::from_mins(10), Duration::from_mins(10));

#[cfg(test)]
mod tests {
    use super::*;

    struct Story {
        own: OwnLease,
        now: Instant,
        date: Timestamp,
        jitter: Jitter,
    }

    impl Story {
        fn new() -> Self {
            let replica = Replica {
                namespace: "ns".into(),
                name: "a".into(),
                uid: "u".into(),
                application: "app".parse().unwrap(),
            };
            Self {
                own: OwnLease::new(replica),
                now: Instant::now(),
                date: "2026-11-21T12:00:00Z".parse().unwrap(),
                jitter: Jitter::seeded(1),
            }
        }

        fn pass(&mut self, seconds: u64) {
            self.now += Duration::from_secs(seconds);
            self.date += Duration::from_secs(seconds);
        }

        fn next(&mut self) -> Option<Action> {
            self.own.next(self.now, self.date)
        }

        fn finish(&mut self, answer: Answer) {
            self.own.finish(answer, self.now, &self.jitter);
        }

        /// Has what it asks for done.
        fn write(&mut self) {
            match self.next() {
                Some(Action::Create(lease) | Action::Renew(lease)) => {
                    self.finish(Answer::Written(lease));
                }
                other => panic!("{other:?}"),
            }
        }

        fn hold(&mut self) {
            assert_eq!(self.next(), Some(Action::Read));
            self.finish(Answer::Found(None));
            self.write();
        }

        fn holds(&self) -> bool {
            let until = self.own.held_until();
            until.is_some_and(|until| self.now <= until)
        }
    }

    fn refused(forbidden: bool) -> Answer {
        Answer::Refused {
            forbidden,
            why: "no".into(),
        }
    }

    #[test]
    fn a_lease_is_read_made_and_renewed_every_ten_seconds() {
        let mut story = Story::new();
        story.hold();
        assert!(story.holds());
        assert_eq!(story.next(), None);
        story.pass(9);
        assert_eq!(story.next(), None);
        story.pass(1);
        assert!(matches!(story.next(), Some(Action::Renew(_))));
        assert_eq!(story.next(), None, "one at a time");
    }

    #[test]
    fn it_holds_from_the_beginning_of_a_renewal() {
        let mut story = Story::new();
        story.hold();
        story.pass(10);
        let Some(Action::Renew(lease)) = story.next() else {
            panic!()
        };
        story.pass(4);
        story.finish(Answer::Written(lease));
        story.pass(11);
        assert!(story.holds());
        story.pass(1);
        assert!(!story.holds());
    }

    #[test]
    fn an_earlier_lease_is_adopted() {
        let mut story = Story::new();
        let mut left = story
            .own
            .replica
            .lease("2026-01-01T00:00:00Z".parse().unwrap());
        left.metadata.uid = Some("lease".into());
        story.next();
        story.finish(Answer::Found(Some(Box::new(left))));
        let Some(Action::Renew(lease)) = story.next() else {
            panic!()
        };
        let renewed = lease.spec.as_ref().and_then(|spec| spec.renew_time.clone());
        assert_eq!(renewed.unwrap().0, story.date);
        story.finish(Answer::Written(lease));
        assert!(story.holds());
        assert_eq!(story.own.uid(), Some("lease"));
    }

    #[test]
    fn a_conflict_is_looked_at_and_a_deleted_lease_made_again() {
        let mut story = Story::new();
        story.hold();
        story.pass(10);
        story.next();
        story.finish(Answer::Conflict);
        assert_eq!(story.next(), Some(Action::Read));
        let lease = Box::new(story.own.replica.lease(story.date));
        story.finish(Answer::Found(Some(lease)));
        story.write();
        story.pass(10);
        story.next();
        story.finish(Answer::Gone);
        assert!(matches!(story.next(), Some(Action::Create(_))));
        story.finish(Answer::Conflict);
        assert_eq!(story.next(), None, "two who fight wait in between");
        story.pass(1);
        assert_eq!(story.next(), Some(Action::Read));
    }

    #[test]
    fn silence_is_asked_again_soon_and_refuses_nothing() {
        let mut story = Story::new();
        story.hold();
        story.pass(10);
        let mut asked = 0;
        for _ in 0..300 {
            if story.next().is_some() {
                asked += 1;
                story.finish(Answer::Unanswered("no route".into()));
            }
            story.pass(1);
        }
        assert!((50..=150).contains(&asked), "{asked}");
        assert!(!story.holds());
        assert_eq!(story.own.refused(), None);
    }

    #[test]
    fn writes_that_hang_while_reads_are_answered_are_refused_in_the_end() {
        let mut story = Story::new();
        story.hold();
        story.pass(10);
        let mut after = 0;
        let mut reads_too = |story: &mut Story, silent: bool, seconds: u64| {
            for _ in 0..seconds {
                match story.next() {
                    Some(Action::Read) if !silent => {
                        let there = story.own.replica.lease(story.date);
                        story.finish(Answer::Found(Some(Box::new(there))));
                        continue;
                    }
                    Some(_) => {
                        story.pass(10);
                        after += 10;
                        story.finish(Answer::Unanswered("no answer".into()));
                    }
                    None => {
                        story.pass(1);
                        after += 1;
                    }
                }
                if story.own.refused().is_some() {
                    break;
                }
            }
            std::mem::take(&mut after)
        };
        let after = reads_too(&mut story, false, 1000);
        assert!((60..=90).contains(&after), "{after}");
        assert!(story.own.refused().is_some());

        // A read that is silent too: the API server is away, and counting begins anew.
        let mut story = Story::new();
        story.hold();
        story.pass(10);
        reads_too(&mut story, false, 6);
        reads_too(&mut story, true, 20);
        assert_eq!(story.own.refused(), None);
        let after = reads_too(&mut story, false, 1000);
        assert!((60..=90).contains(&after), "{after}");
    }

    /// Seconds until it is believed, and how often it is asked in the ten minutes from then on.
    fn believed(story: &mut Story, forbidden: bool) -> (u64, u32) {
        let mut after = 0;
        while story.own.refused().is_none() {
            if story.next().is_some() {
                story.finish(refused(forbidden));
            }
            if story.own.refused().is_none() {
                story.pass(1);
                after += 1;
            }
        }
        let mut asked = 0;
        for _ in 0..600 {
            story.pass(1);
            if story.next().is_some() {
                asked += 1;
                story.finish(refused(forbidden));
            }
        }
        (after, asked)
    }

    #[test]
    fn a_refusal_that_stands_is_believed_and_asked_again_seldom() {
        let mut new = Story::new();
        let (after, asked) = believed(&mut new, true);
        assert_eq!(after, 0);
        assert!((1..=2).contains(&asked), "{asked}");
        new.pass(600);
        new.hold();
        assert_eq!(new.own.refused(), None);

        let mut held = Story::new();
        held.hold();
        held.pass(10);
        let (after, _) = believed(&mut held, true);
        assert!((15..=20).contains(&after), "{after}");

        let (after, asked) = believed(&mut Story::new(), false);
        assert!((60..=66).contains(&after), "{after}");
        assert!((10..=20).contains(&asked), "{asked}");
    }
}
