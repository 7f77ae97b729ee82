//! Things going wrong on purpose: errors, conflicts, slow and lost answers, watches cut, history
//! gone.
//!
//! A fault is a rule: which requests ([`Matching`]), which of those ([`Occurrence`]) and what
//! happens to them ([`Effect`]). Every request runs past all rules in the order they were injected;
//! delays add up, the first error ends it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::random::Randomness;
use crate::request::{Target, Verb};
use crate::status::Failure;
use crate::store::Store;
use crate::user::User;

/// Which requests a fault is about: all that agree with every part that is set.
#[derive(Clone, Debug, Default)]
pub struct Matching {
    verb: Option<Verb>,
    resource: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
    user: Option<String>,
}

impl Matching {
    /// Every request.
    pub fn any() -> Self {
        Self::default()
    }

    /// Only requests with this verb.
    #[must_use]
    pub fn verb(mut self, verb: Verb) -> Self {
        self.verb = Some(verb);
        self
    }

    /// Only requests for this resource: `pods`, `podcertificaterequests/status` ...
    #[must_use]
    pub fn resource(mut self, resource: impl Into<String>) -> Self {
        self.resource = Some(resource.into());
        self
    }

    /// Only requests in this namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// Only requests for the object of this name.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Only requests of the user of this name.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    fn matches(&self, target: &Target, user: &User) -> bool {
        self.verb.is_none_or(|verb| verb == target.verb)
            && agrees(self.resource.as_deref(), target.resource())
            && agrees(self.namespace.as_deref(), &target.namespace)
            && agrees(self.name.as_deref(), &target.name)
            && agrees(self.user.as_deref(), &user.name)
    }
}

/// Which of the matching requests are hit.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Occurrence {
    /// Every one.
    Always,
    /// The next so many, then the fault is over.
    Next(u64),
    /// Every k-th: `Every(3)` hits the third, the sixth ...
    Every(u64),
    /// Each with this probability, drawn from the server's seeded randomness.
    Probability(f64),
}

/// What happens to a request that is hit.
#[derive(Clone, Debug)]
pub struct Effect(Blow);

#[derive(Clone, Debug)]
enum Blow {
    Conflict,
    Delay(Duration),
    Error(Failure),
    LostReply,
}

impl Effect {
    /// The request fails with this HTTP code and reason (for example 503, `ServiceUnavailable`)
    /// and does nothing.
    pub fn error(code: u16, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self(Blow::Error(Failure::new(code, reason.into(), message)))
    }

    /// The request fails as if someone else had changed the object first.
    pub fn conflict() -> Self {
        Self(Blow::Conflict)
    }

    /// The request is held this long (tokio's time), then goes on.
    pub fn delay(duration: Duration) -> Self {
        Self(Blow::Delay(duration))
    }

    /// The request takes effect, but its sender gets a 504.
    pub fn lost_reply() -> Self {
        Self(Blow::LostReply)
    }
}

/// Injects faults into a running server.
#[derive(Clone, Debug)]
pub struct Faults {
    rig: Arc<Rig>,
    store: Arc<Store>,
}

/// An injected fault.
#[derive(Clone, Debug)]
pub struct Fault {
    rig: Arc<Rig>,
    id: u64,
    hits: Arc<AtomicU64>,
}

impl Fault {
    /// How many requests it has hit.
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// Takes it out.
    pub fn remove(&self) {
        self.rig.lock().rules.retain(|rule| rule.id != self.id);
    }
}

impl Faults {
    pub(crate) fn new(rig: Arc<Rig>, store: Arc<Store>) -> Self {
        Self { rig, store }
    }

    /// Adds a fault.
    pub fn inject(&self, matching: Matching, occurrence: Occurrence, effect: Effect) -> Fault {
        let hits = Arc::new(AtomicU64::new(0));
        let mut state = self.rig.lock();
        state.last_id += 1;
        let id = state.last_id;
        state.rules.push(Rule {
            id,
            matching,
            occurrence,
            effect: effect.0,
            seen: 0,
            hits: hits.clone(),
        });
        Fault {
            rig: self.rig.clone(),
            id,
            hits,
        }
    }

    /// Takes all faults out.
    pub fn clear(&self) {
        self.rig.lock().rules.clear();
    }

    /// Ends the open watches that match, now; returns how many.
    pub fn drop_watches(&self, matching: &Matching) -> usize {
        let mut state = self.rig.lock();
        let hit: Vec<u64> = state
            .watches
            .iter()
            .filter(|(_, watch)| matching.matches(&watch.target, &watch.user))
            .map(|(&id, _)| id)
            .collect();
        let mut dropped = 0;
        for id in hit {
            if let Some(watch) = state.watches.remove(&id)
                && watch.cut.send(()).is_ok()
            {
                dropped += 1;
            }
        }
        dropped
    }

    /// Forgets all history: who resumes a watch from before, or continues a list, gets 410.
    pub fn compact(&self) {
        self.store.compact();
    }
}

/// The faults in force and the watches they could cut.
#[derive(Debug, Default)]
pub(crate) struct Rig(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last_id: u64,
    rules: Vec<Rule>,
    watches: HashMap<u64, OpenWatch>,
}

#[derive(Debug)]
struct Rule {
    id: u64,
    matching: Matching,
    occurrence: Occurrence,
    effect: Blow,
    /// Matching requests so far.
    seen: u64,
    hits: Arc<AtomicU64>,
}

#[derive(Debug)]
struct OpenWatch {
    target: Target,
    user: User,
    cut: oneshot::Sender<()>,
}

impl Rig {
    /// Applies the faults to a request. `Ok(Some(..))`: serve it, then answer with that failure.
    pub(crate) async fn strike(
        &self,
        random: &Randomness,
        target: &Target,
        user: &User,
    ) -> Result<Option<Failure>, Failure> {
        let mut lost = None;
        for blow in self.blows(random, target, user) {
            match blow {
                Blow::Conflict => return Err(Failure::modified(target.kind, &target.name)),
                Blow::Delay(duration) => tokio::time::sleep(duration).await,
                Blow::Error(failure) => return Err(failure),
                Blow::LostReply => {
                    lost = Some(Failure::new(
                        504,
                        "Timeout",
                        "Timeout: request did not complete within the allotted timeout",
                    ));
                }
            }
        }
        Ok(lost)
    }

    /// Registers an open watch; the receiver resolves when it is to be cut. Watches whose
    /// receivers are gone are forgotten here.
    pub(crate) fn register(&self, target: &Target, user: &User) -> oneshot::Receiver<()> {
        let (cut, receiver) = oneshot::channel();
        let mut state = self.lock();
        state.watches.retain(|_, watch| !watch.cut.is_closed());
        state.last_id += 1;
        let id = state.last_id;
        state.watches.insert(
            id,
            OpenWatch {
                target: target.clone(),
                user: user.clone(),
                cut,
            },
        );
        receiver
    }

    pub(crate) fn open_watches(&self) -> usize {
        let mut state = self.lock();
        state.watches.retain(|_, watch| !watch.cut.is_closed());
        state.watches.len()
    }

    fn blows(&self, random: &Randomness, target: &Target, user: &User) -> Vec<Blow> {
        let mut state = self.lock();
        let mut blows = Vec::new();
        for rule in &mut state.rules {
            if !rule.matching.matches(target, user) {
                continue;
            }
            rule.seen += 1;
            let hit = match rule.occurrence {
                Occurrence::Always => true,
                Occurrence::Next(count) => rule.seen <= count,
                Occurrence::Every(k) => rule.seen.checked_rem(k) == Some(0),
                Occurrence::Probability(probability) => random.chance(probability),
            };
            if hit {
                rule.hits.fetch_add(1, Ordering::Relaxed);
                blows.push(rule.effect.clone());
            }
        }
        blows
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn agrees(wanted: Option<&str>, actual: &str) -> bool {
    wanted.is_none_or(|wanted| wanted == actual)
}
