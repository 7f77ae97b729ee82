//! Which other replicas live, from what the watch of their Leases shows. Pure.
//!
//! A replica lives while its Lease was seen to change within the Lease's own duration, by this
//! machine's monotonic clock: no other clock is believed. One Lease is judged by its date: one
//! that a list shows in a version not seen before, as a list does not say since when it looks like
//! that. Its date is compared with the API server's; who is wronged by that, because its clock is
//! off, is put right by its next renewal, within ten seconds.
//!
//! Go replicas compare dates always. Where clocks are right both ways agree to within the delay of
//! a watch. Where a holder's clock is behind, Go replicas take it for dead and do its share as well;
//! where it is ahead, they take it for alive for longer. We go by its renewals in both cases, so it
//! is left its share while it works, and its share is taken over 15 seconds after its last renewal.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use kube::runtime::watcher::Event;
use podcert_resources::lease::{Held, ReplicaLease};
use tokio::time::Instant;

/// What is known of all Leases of an application.
#[derive(Debug, Default)]
pub(super) struct Membership {
    /// By the names of Leases.
    known: Leases,
    /// Being listed.
    next: Option<Leases>,
    listed: bool,
}

type Leases = BTreeMap<String, Seen>;

#[derive(Clone, Debug)]
struct Seen {
    held: Held,
    /// Nothing: it was dead when it was seen first.
    lives_until: Option<Instant>,
}

impl Membership {
    /// Takes in what the watch says at `now`; `date` is the API server's.
    pub(super) fn observe(&mut self, event: Event<ReplicaLease>, now: Instant, date: Timestamp) {
        match event {
            Event::Init => self.next = Some(Leases::new()),
            Event::InitApply(lease) => {
                let Some((name, held)) = read(lease) else {
                    return;
                };
                let left = match self.unchanged(&name, &held) {
                    Some(lives_until) => lives_until,
                    None => left(&held, date).map(|left| now + left),
                };
                if let Some(next) = &mut self.next {
                    next.insert(name, Seen::new(held, left));
                }
            }
            Event::InitDone => {
                if let Some(next) = self.next.take() {
                    self.known = next;
                    self.listed = true;
                }
            }
            Event::Apply(lease) => {
                let gone = lease.metadata.name.clone();
                if let Some((name, held)) = read(lease) {
                    let lives_until = match self.unchanged(&name, &held) {
                        Some(lives_until) => lives_until,
                        None => Some(now + held.duration),
                    };
                    self.known.insert(name, Seen::new(held, lives_until));
                } else if let Some(name) = gone {
                    self.known.remove(&name);
                }
            }
            Event::Delete(lease) => {
                if let Some(name) = &lease.metadata.name {
                    self.known.remove(name);
                }
            }
        }
    }

    /// Whether the Leases were read whole, since the last [`Self::forget`].
    pub(super) fn is_listed(&self) -> bool {
        self.listed
    }

    /// Knows of nobody, until all are listed anew.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Who lives at `now`.
    pub(super) fn live(&self, now: Instant) -> BTreeSet<&str> {
        self.known
            .values()
            .filter(|seen| seen.lives_until.is_some_and(|until| now <= until))
            .map(|seen| seen.held.holder.as_str())
            .collect()
    }

    /// When the next of those who live is taken for dead unless it renews.
    pub(super) fn next_death(&self, now: Instant) -> Option<Instant> {
        let lives = self.known.values().filter_map(|seen| seen.lives_until);
        let next = lives.filter(|until| now <= *until).min()?;
        Some(next + Duration::from_millis(1))
    }

    /// Until when a Lease lives that was seen before as it is.
    fn unchanged(&self, name: &str, held: &Held) -> Option<Option<Instant>> {
        let seen = self.known.get(name)?;
        (seen.held == *held).then_some(seen.lives_until)
    }
}

impl Seen {
    fn new(held: Held, lives_until: Option<Instant>) -> Self {
        Self { held, lives_until }
    }
}

fn read(lease: ReplicaLease) -> Option<(String, Held)> {
    let held = lease.held()?.clone();
    Some((lease.metadata.name?, held))
}

/// What is left of a Lease by its date, if it has not run out. One of the future was not renewed
/// before now.
fn left(held: &Held, date: Timestamp) -> Option<Duration> {
    let age = Duration::try_from(date.duration_since(held.renewed)).unwrap_or_default();
    held.duration.checked_sub(age)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn lease(name: &str, spec: Value) -> ReplicaLease {
        let mut lease = json!({"metadata": {"name": name}});
        lease["spec"] = spec;
        serde_json::from_value(lease).unwrap()
    }

    fn renewed(name: &str, at: Timestamp) -> ReplicaLease {
        let spec = json!({"holderIdentity": name, "leaseDurationSeconds": 15, "renewTime": at});
        lease(name, spec)
    }

    fn date(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn listed(leases: Vec<ReplicaLease>, now: Instant, date: Timestamp) -> Membership {
        let mut membership = Membership::default();
        list(&mut membership, leases, now, date);
        membership
    }

    fn list(known: &mut Membership, leases: Vec<ReplicaLease>, now: Instant, date: Timestamp) {
        known.observe(Event::Init, now, date);
        for lease in leases {
            known.observe(Event::InitApply(lease), now, date);
        }
        known.observe(Event::InitDone, now, date);
    }

    fn live(known: &Membership, now: Instant) -> Vec<&str> {
        known.live(now).into_iter().collect()
    }

    #[test]
    fn who_renews_lives_whatever_its_clock_says() {
        let now = Instant::now();
        for off in [-3600, 0, 3600] {
            let mut known = listed(vec![], now, date(0));
            known.observe(Event::Apply(renewed("a", date(off))), now, date(0));
            assert_eq!(live(&known, now + seconds(15)), ["a"]);
            assert_eq!(
                known.next_death(now),
                Some(now + Duration::from_millis(15_001))
            );
            assert_eq!(live(&known, now + Duration::from_millis(15_001)), [""; 0]);
            let later = now + seconds(10);
            known.observe(Event::Apply(renewed("a", date(off + 10))), later, date(10));
            assert_eq!(live(&known, now + seconds(25)), ["a"]);
            // Touched by somebody, but not renewed.
            let later = now + seconds(20);
            known.observe(Event::Apply(renewed("a", date(off + 10))), later, date(20));
            assert_eq!(live(&known, now + seconds(26)), [""; 0]);
        }
    }

    #[test]
    fn what_a_list_shows_first_is_judged_by_its_date() {
        let now = Instant::now();
        let leases = vec![
            renewed("dead", date(-16)),
            renewed("half", date(-5)),
            renewed("ahead", date(3600)),
        ];
        let mut known = listed(leases, now, date(0));
        assert_eq!(live(&known, now), ["ahead", "half"]);
        assert_eq!(live(&known, now + seconds(10)), ["ahead", "half"]);
        assert_eq!(live(&known, now + seconds(11)), ["ahead"]);
        assert_eq!(live(&known, now + seconds(16)), [""; 0]);

        // A list that shows them as they were gives nobody another life.
        let later = now + seconds(12);
        let leases = vec![renewed("half", date(-5)), renewed("ahead", date(3600))];
        list(&mut known, leases, later, date(12));
        assert_eq!(live(&known, later), ["ahead"]);
        assert_eq!(live(&known, now + seconds(16)), [""; 0]);
        // And one behind by its clock lives with its next renewal.
        let dead = renewed("dead", date(-6));
        known.observe(Event::Apply(dead), later, date(12));
        assert_eq!(live(&known, now + seconds(16)), ["dead"]);
    }

    #[test]
    fn who_gives_its_lease_up_is_gone_at_once_and_nonsense_is_nobodys() {
        let now = Instant::now();
        let leases = vec![renewed("a", date(0)), renewed("b", date(0))];
        let mut known = listed(leases, now, date(0));
        known.observe(Event::Delete(renewed("a", date(0))), now, date(0));
        assert_eq!(live(&known, now), ["b"]);
        let nonsense = lease("b", json!({"holderIdentity": "b"}));
        known.observe(Event::Apply(nonsense), now, date(0));
        assert_eq!(live(&known, now), [""; 0]);
        known.observe(Event::Apply(renewed("c", date(0))), now, date(0));
        known.forget();
        assert!(!known.is_listed());
        assert_eq!(live(&known, now), [""; 0]);
    }

    fn anything() -> impl Strategy<Value = Value> {
        let date = (-400_000_000_000_i64..400_000_000_000)
            .prop_map(|second| json!(Timestamp::from_second(second).ok()));
        let field = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(|n| json!(n)),
            ".{0,8}".prop_map(|text| json!(text)),
            date,
        ];
        (field.clone(), field.clone(), field).prop_map(|(holder, duration, renewed)| {
            json!({"holderIdentity": holder, "leaseDurationSeconds": duration, "renewTime": renewed})
        })
    }

    proptest! {
        #[test]
        fn no_lease_is_too_strange(
            specs in prop::collection::vec((anything(), 0..5_u8), 0..20),
            at in -400_000_000_000_i64..250_000_000_000,
        ) {
            let start = Instant::now();
            let date = Timestamp::from_second(at).unwrap_or(Timestamp::MAX);
            let mut known = Membership::default();
            for (number, (spec, kind)) in specs.into_iter().enumerate() {
                let lease = lease(&format!("l{}", number % 4), spec);
                let event = match kind {
                    0 => Event::Init,
                    1 => Event::InitApply(lease),
                    2 => Event::InitDone,
                    3 => Event::Apply(lease),
                    _ => Event::Delete(lease),
                };
                known.observe(event, start, date);
                // Nobody lives for longer than a Lease may claim.
                prop_assert!(known.live(start + Duration::from_secs(61)).is_empty());
                prop_assert!(!known.live(start).contains(""));
            }
        }
    }
}
