//! Which Events are written, as client-go's correlator decides (`tools/record/events_cache.go`): what is said again is
//! counted up; of ten that differ in their message alone within ten minutes, the last stands for all that follow; and
//! nobody says more about an object than 25 things at once and one in five minutes.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use jiff::{SignedDuration, Timestamp};

use super::Severity;

/// What a component has said.
#[derive(Debug, Default)]
pub(super) struct Correlator {
    kinds: HashMap<Kind, Variety>,
    series: HashMap<Key, Series>,
    budgets: HashMap<String, Budget>,
}

/// What Events have in common that differ in their message alone.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Kind {
    /// The UID of what it is about.
    object: String,
    severity: Severity,
    reason: &'static str,
}

/// Which series an Event belongs to.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Key {
    kind: Kind,
    /// None for the one that stands for many.
    message: Option<String>,
}

/// The messages of a kind of Event.
#[derive(Debug)]
struct Variety {
    messages: BTreeSet<String>,
    last: Timestamp,
}

/// What was said several times.
#[derive(Debug)]
struct Series {
    count: i32,
    first: Timestamp,
    last: Timestamp,
    name: Name,
}

/// The Event that holds a series.
#[derive(Clone, Debug)]
enum Name {
    /// There is none.
    None,
    /// It is being created since then, unless whoever does it was ended meanwhile.
    Awaited(Timestamp),
    Known(String),
}

/// What may still be said about an object.
#[derive(Debug)]
struct Budget {
    left: f64,
    at: Timestamp,
}

/// An Event that is to be written.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) key: Key,
    pub(super) message: String,
    pub(super) count: i32,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    /// The Event that is to be counted up; without, a new one.
    pub(super) name: Option<String>,
}

impl Correlator {
    /// Takes over that this is said now about the object with this UID; answers with what is to be written of it, if
    /// anything. A new Event is reported back by [`Correlator::created`].
    pub(super) fn observe(
        &mut self,
        object: &str,
        severity: Severity,
        reason: &'static str,
        message: &str,
        now: Timestamp,
    ) -> Option<Told> {
        let kind = Kind {
            object: object.to_owned(),
            severity,
            reason,
        };
        let combined = self.is_one_of_many(&kind, message, now);
        let key = Key {
            kind,
            message: (!combined).then(|| message.to_owned()),
        };
        make_room(&mut self.series, &key, |series| series.last);
        let series = self.series.entry(key.clone()).or_insert(Series {
            count: 0,
            first: now,
            last: now,
            name: Name::None,
        });
        series.count = series.count.saturating_add(1);
        series.last = now;
        let name = match &series.name {
            // The next one counts this one, too.
            Name::Awaited(since) if now.duration_since(*since) < PATIENCE => return None,
            Name::Awaited(_) | Name::None => None,
            Name::Known(name) => Some(name.clone()),
        };
        let (count, first) = (series.count, series.first);
        if !self.afford(object, now) {
            return None;
        }
        if name.is_none()
            && let Some(series) = self.series.get_mut(&key)
        {
            series.name = Name::Awaited(now);
        }
        Some(Told {
            message: if combined {
                format!("(combined from similar events): {message}")
            } else {
                message.to_owned()
            },
            key,
            count,
            first,
            last: now,
            name,
        })
    }

    /// Takes over under which name a new Event was created, if it was.
    pub(super) fn created(&mut self, key: &Key, name: Option<String>) {
        if let Some(series) = self.series.get_mut(key) {
            series.name = name.map_or(Name::None, Name::Known);
        }
    }

    /// Forgets an object that is gone.
    pub(super) fn forget(&mut self, object: &str) {
        self.kinds.retain(|kind, _| kind.object != object);
        self.series.retain(|key, _| key.kind.object != object);
        self.budgets.remove(object);
    }

    fn is_one_of_many(&mut self, kind: &Kind, message: &str, now: Timestamp) -> bool {
        make_room(&mut self.kinds, kind, |variety| variety.last);
        let variety = self.kinds.entry(kind.clone()).or_insert(Variety {
            messages: BTreeSet::new(),
            last: now,
        });
        if now.duration_since(variety.last) > MEMORY {
            variety.messages.clear();
        }
        variety.last = now;
        variety.messages.insert(message.to_owned());
        let many = variety.messages.len() >= SIMILAR;
        if many {
            variety.messages.pop_first();
        }
        many
    }

    /// Whether one more thing may be said about the object.
    fn afford(&mut self, object: &str, now: Timestamp) -> bool {
        make_room(&mut self.budgets, object, |budget| budget.at);
        let budget = self.budgets.entry(object.to_owned()).or_insert(Budget {
            left: BURST,
            at: now,
        });
        let passed = now.duration_since(budget.at).as_secs_f64().max(0.0);
        *budget = Budget {
            left: (budget.left + passed / REFILL.as_secs_f64()).min(BURST),
            at: now,
        };
        if budget.left < 1.0 {
            return false;
        }
        budget.left -= 1.0;
        true
    }
}

/// Forgets what was used longest ago, for something new, when there is too much.
fn make_room<K, Q, V>(map: &mut HashMap<K, V>, new: &Q, last: impl Fn(&V) -> Timestamp)
where
    K: std::borrow::Borrow<Q> + Clone + Eq + Hash,
    Q: Eq + Hash + ?Sized,
{
    if map.len() < REMEMBERED || map.contains_key(new) {
        return;
    }
    let oldest = map.iter().min_by_key(|(_, value)| last(value));
    if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
        map.remove(oldest.borrow());
    }
}

const BURST: f64 = 25.0;
const REFILL: SignedDuration = SignedDuration::from_mins(5);
const MEMORY: SignedDuration = SignedDuration::from_mins(10);
const SIMILAR: usize = 10;
const REMEMBERED: usize = 4096;
/// How long an Event may take to be created.
const PATIENCE: SignedDuration = SignedDuration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn said(correlator: &mut Correlator, message: &str, second: i64) -> Option<Told> {
        let now = at(second);
        correlator.observe("uid", Severity::Warning, "Unhealthy", message, now)
    }

    #[test]
    fn what_is_said_again_is_counted_in_the_same_event() {
        let mut correlator = Correlator::default();
        let first = said(&mut correlator, "no", 0).unwrap();
        assert_eq!((first.count, &first.name), (1, &None));
        assert!(
            said(&mut correlator, "no", 1).is_none(),
            "its name is not known yet"
        );
        assert!(said(&mut correlator, "lost", 0).is_some());
        assert!(said(&mut correlator, "lost", 30).is_some());
        correlator.created(&first.key, Some("e".to_owned()));
        let third = said(&mut correlator, "no", 2).unwrap();
        assert_eq!((third.count, third.name.as_deref()), (3, Some("e")));
        assert_eq!((third.first, third.last), (at(0), at(2)));
        assert_eq!(said(&mut correlator, "else", 3).unwrap().count, 1);
        correlator.created(&first.key, None);
        let anew = said(&mut correlator, "no", 4).unwrap();
        assert_eq!((anew.count, anew.name), (4, None), "the Event has expired");
        correlator.forget("uid");
        assert_eq!(said(&mut correlator, "no", 5).unwrap().count, 1);
    }

    #[test]
    fn many_that_differ_in_words_become_one() {
        let mut correlator = Correlator::default();
        for number in 0..9 {
            let told = said(&mut correlator, &number.to_string(), number).unwrap();
            assert_eq!(told.message, number.to_string());
        }
        let tenth = said(&mut correlator, "9", 9).unwrap();
        assert_eq!(tenth.message, "(combined from similar events): 9");
        correlator.created(&tenth.key, Some("all".to_owned()));
        let next = said(&mut correlator, "10", 10).unwrap();
        assert_eq!((next.count, next.name.as_deref()), (2, Some("all")));
        let later = said(&mut correlator, "11", 10 + 601).unwrap();
        assert_eq!((later.message.as_str(), later.count), ("11", 1));
    }

    #[test]
    fn nobody_talks_without_end() {
        let mut correlator = Correlator::default();
        let first = said(&mut correlator, "no", 0).unwrap();
        correlator.created(&first.key, Some("e".to_owned()));
        let told = (1..100).filter_map(|_| said(&mut correlator, "no", 0));
        assert_eq!(told.count(), 24);
        assert!(said(&mut correlator, "no", 299).is_none());
        let later = said(&mut correlator, "no", 600).unwrap();
        assert_eq!(later.count, 102, "what was not told is counted");
        let now = at(0);
        let other = correlator.observe("other", Severity::Normal, "Started", "x", now);
        assert!(other.is_some(), "each object by itself");
    }

    #[test]
    fn memory_is_bounded() {
        let mut correlator = Correlator::default();
        for number in 0..5000 {
            let (uid, now) = (number.to_string(), at(number));
            correlator.observe(&uid, Severity::Normal, "Scheduled", "x", now);
        }
        assert_eq!(correlator.series.len(), REMEMBERED);
        assert_eq!(correlator.budgets.len(), REMEMBERED);
        assert!(correlator.budgets.contains_key("4999"));
    }
}
