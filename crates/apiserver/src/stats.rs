//! How often the server was asked for what, and by whom.
//!
//! Counted before faults and rules apply: a refused request was still a request. Benchmarks read
//! "API calls per certificate" from here.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::request::Verb;

/// One line of the statistics.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RequestCount {
    /// What was done.
    pub verb: Verb,
    /// To what: `pods`, `podcertificaterequests/status` ... without the group.
    pub resource: &'static str,
    /// The name of the user who asked.
    pub user: String,
    /// How often.
    pub requests: u64,
}

/// The counts at one moment.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// One line per verb, resource and user, in that order.
    pub counts: Vec<RequestCount>,
}

impl Stats {
    /// Requests that read: get, list and watch.
    pub fn reads(&self) -> u64 {
        self.sum(|count| !count.verb.is_write())
    }

    /// Requests that write.
    pub fn writes(&self) -> u64 {
        self.sum(|count| count.verb.is_write())
    }

    /// The lines of one user.
    pub fn of_user(&self, user: &str) -> Self {
        self.filtered(|count| count.user == user)
    }

    /// The lines of one resource, for example `podcertificaterequests/status`.
    pub fn of_resource(&self, resource: &str) -> Self {
        self.filtered(|count| count.resource == resource)
    }

    /// The lines of one verb.
    pub fn of_verb(&self, verb: Verb) -> Self {
        self.filtered(|count| count.verb == verb)
    }

    /// All requests.
    pub fn total(&self) -> u64 {
        self.sum(|_| true)
    }

    fn sum(&self, wanted: impl Fn(&RequestCount) -> bool) -> u64 {
        self.counts
            .iter()
            .filter(|count| wanted(count))
            .map(|count| count.requests)
            .sum()
    }

    fn filtered(&self, wanted: impl Fn(&RequestCount) -> bool) -> Self {
        Self {
            counts: self
                .counts
                .iter()
                .filter(|count| wanted(count))
                .cloned()
                .collect(),
        }
    }
}

/// The running counters: per user, so that counting a known user's request allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct Counters(Mutex<HashMap<String, OfUser>>);

#[derive(Debug, Default)]
struct OfUser(HashMap<(Verb, &'static str), u64>);

impl Counters {
    pub(crate) fn count(&self, verb: Verb, resource: &'static str, user: &str) {
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !users.contains_key(user) {
            users.insert(user.to_owned(), OfUser::default());
        }
        if let Some(counts) = users.get_mut(user) {
            *counts.0.entry((verb, resource)).or_default() += 1;
        }
    }

    pub(crate) fn snapshot(&self) -> Stats {
        let users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counts: Vec<_> = users
            .iter()
            .flat_map(|(user, counts)| {
                counts
                    .0
                    .iter()
                    .map(|(&(verb, resource), &requests)| RequestCount {
                        verb,
                        resource,
                        user: user.clone(),
                        requests,
                    })
            })
            .collect();
        counts.sort_by(|a, b| (a.verb, a.resource, &a.user).cmp(&(b.verb, b.resource, &b.user)));
        Stats { counts }
    }

    pub(crate) fn reset(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}
