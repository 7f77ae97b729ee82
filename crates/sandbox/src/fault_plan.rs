//! Faults by plan: a YAML file that says what is to go wrong with the sandbox's API server, and when.
//!
//! ```yaml
//! faults:
//! - name: two refusals out of five        # free text, for the log
//!   after: 10s                            # since the sandbox was ready; at once if not set
//!   for: 30s                              # for ever if not set
//!   match: {verb: update, resource: podcertificaterequests/status, user: system:serviceaccount:a:b}
//!   probability: 0.4                      # or `every: 3`, or `next: 10`; each request if none is set
//!   error: {code: 503, reason: ServiceUnavailable, message: told to}
//! - after: 1m
//!   dropWatches: {resource: pods}
//! ```
//!
//! Exactly one of `error`, `conflict: true`, `lostReply: true`, `delay`, `dropWatches`, `compact: true` and
//! `restartKubelet: true` says what happens. Durations are of the machine's time, whatever the sandbox's clock shows.

use std::time::Duration;

use jiff::SignedDuration;
use podcert_apiserver::{Effect, Matching, Occurrence, Verb};
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};

use crate::sandbox::Sandbox;

/// What goes wrong when.
#[derive(Clone, Debug, Default)]
pub struct FaultPlan {
    faults: Vec<Planned>,
}

/// Why a text is no plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FaultPlanError {
    /// A fault of it makes no sense.
    #[error("fault {number}: {what}")]
    Fault {
        /// Counted from 1.
        number: usize,
        /// What is wrong with it.
        what: String,
    },
    /// The text is no YAML, or has fields that a plan does not have.
    #[error("no plan of faults")]
    Yaml(#[source] Box<serde_saphyr::Error>),
}

#[derive(Clone, Debug)]
struct Planned {
    name: String,
    after: Duration,
    lasts: Option<Duration>,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Requests(Matching, Occurrence, Effect),
    DropWatches(Matching),
    Compact,
    RestartKubelet,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    faults: Vec<Words>,
}

/// A fault as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Words {
    name: Option<String>,
    after: Option<SignedDuration>,
    r#for: Option<SignedDuration>,
    r#match: Option<MatchWords>,
    probability: Option<f64>,
    every: Option<u64>,
    next: Option<u64>,
    error: Option<ErrorWords>,
    conflict: bool,
    lost_reply: bool,
    delay: Option<SignedDuration>,
    drop_watches: Option<MatchWords>,
    compact: bool,
    restart_kubelet: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct MatchWords {
    verb: Option<String>,
    resource: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
    user: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ErrorWords {
    code: u16,
    reason: String,
    #[serde(default)]
    message: String,
}

impl FaultPlan {
    /// Reads a plan.
    ///
    /// # Errors
    /// It is no YAML, has unknown fields, or a fault says nothing, too much or nonsense.
    pub fn parse(yaml: &str) -> Result<Self, FaultPlanError> {
        let document: Document =
            serde_saphyr::from_str(yaml).map_err(|error| FaultPlanError::Yaml(error.into()))?;
        let faults = document.faults.into_iter().zip(1..).map(|(words, number)| {
            words
                .parse(number)
                .map_err(|what| FaultPlanError::Fault { number, what })
        });
        Ok(Self {
            faults: faults.collect::<Result<_, _>>()?,
        })
    }

    /// How many faults it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.faults.len()
    }

    /// Whether nothing goes wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// Lets it happen, from now on; ends when nothing is left to begin or to end.
    ///
    /// # Cancel safety
    /// Dropping it leaves the faults that are in force in force.
    pub async fn play(self, sandbox: &Sandbox) {
        let begin = Instant::now();
        futures::future::join_all(
            self.faults
                .into_iter()
                .map(|planned| planned.play(sandbox, begin)),
        )
        .await;
    }
}

impl Planned {
    async fn play(self, sandbox: &Sandbox, begin: Instant) {
        // A time beyond all times never comes.
        let Some(at) = begin.checked_add(self.after) else {
            return;
        };
        sleep_until(at).await;
        let faults = sandbox.api().faults();
        match self.what {
            What::Requests(matching, occurrence, effect) => {
                let fault = faults.inject(matching, occurrence, effect);
                tracing::info!(fault = self.name, "a fault begins");
                if let Some(end) = self.lasts.and_then(|lasts| at.checked_add(lasts)) {
                    sleep_until(end).await;
                    fault.remove();
                    tracing::info!(fault = self.name, requests = fault.hits(), "a fault ended");
                }
            }
            What::DropWatches(matching) => {
                let watches = faults.drop_watches(&matching);
                tracing::info!(fault = self.name, watches, "watches were ended");
            }
            What::Compact => {
                faults.compact();
                tracing::info!(fault = self.name, "history was forgotten");
            }
            What::RestartKubelet => {
                sandbox.restart_kubelet().await;
                tracing::info!(fault = self.name, "the kubelet was restarted");
            }
        }
    }
}

impl Words {
    fn parse(self, number: usize) -> Result<Planned, String> {
        let occurrence = match (self.probability, self.every, self.next) {
            (None, None, None) => Occurrence::Always,
            (Some(chance), None, None) if (0.0..=1.0).contains(&chance) => {
                Occurrence::Probability(chance)
            }
            (Some(chance), None, None) => {
                return Err(format!("probability {chance} is not between 0 and 1"));
            }
            (None, Some(0), None) => return Err("every 0 hits nothing".to_owned()),
            (None, Some(every), None) => Occurrence::Every(every),
            (None, None, Some(next)) => Occurrence::Next(next),
            _ => return Err("only one of probability, every and next".to_owned()),
        };
        let picky = occurrence != Occurrence::Always || self.r#match.is_some();
        let delay = self.delay.map(duration("delay")).transpose()?;
        let effects = [
            self.error.map(ErrorWords::parse).transpose()?,
            self.conflict.then(Effect::conflict),
            self.lost_reply.then(Effect::lost_reply),
            delay.map(Effect::delay),
        ];
        let matching = self.r#match.unwrap_or_default().parse()?;
        let moments = [
            self.drop_watches
                .map(MatchWords::parse)
                .transpose()?
                .map(What::DropWatches),
            self.compact.then_some(What::Compact),
            self.restart_kubelet.then_some(What::RestartKubelet),
        ];
        let effects = effects.into_iter().flatten();
        let effects = effects.map(|effect| What::Requests(matching.clone(), occurrence, effect));
        let mut all = effects.chain(moments.into_iter().flatten());
        let (Some(what), None) = (all.next(), all.next()) else {
            return Err(ONE_OF.to_owned());
        };
        let is_moment = !matches!(what, What::Requests(..));
        if is_moment && (picky || self.r#for.is_some()) {
            return Err("it happens once: no match, for, probability, every or next".to_owned());
        }
        Ok(Planned {
            name: self.name.unwrap_or_else(|| number.to_string()),
            after: self
                .after
                .map(duration("after"))
                .transpose()?
                .unwrap_or_default(),
            lasts: self.r#for.map(duration("for")).transpose()?,
            what,
        })
    }
}

impl MatchWords {
    fn parse(self) -> Result<Matching, String> {
        let mut matching = Matching::any();
        if let Some(verb) = self.verb {
            let known = VERBS.iter().find(|known| known.as_str() == verb);
            let names = || VERBS.map(Verb::as_str).join(", ");
            matching = matching
                .verb(*known.ok_or_else(|| format!("verb {verb:?} is none of {}", names()))?);
        }
        if let Some(resource) = self.resource {
            matching = matching.resource(resource);
        }
        if let Some(namespace) = self.namespace {
            matching = matching.namespace(namespace);
        }
        if let Some(name) = self.name {
            matching = matching.name(name);
        }
        if let Some(user) = self.user {
            matching = matching.user(user);
        }
        Ok(matching)
    }
}

impl ErrorWords {
    fn parse(self) -> Result<Effect, String> {
        if !(400..600).contains(&self.code) {
            return Err(format!("error code {} is not 400 to 599", self.code));
        }
        Ok(Effect::error(self.code, self.reason, self.message))
    }
}

fn duration(field: &'static str) -> impl Fn(SignedDuration) -> Result<Duration, String> {
    move |signed| {
        Duration::try_from(signed).map_err(|_negative| format!("{field} may not be negative"))
    }
}

const ONE_OF: &str = "exactly one of error, conflict, lostReply, delay, dropWatches, compact and \
                      restartKubelet says what happens";
const VERBS: [Verb; 8] = [
    Verb::Create,
    Verb::Delete,
    Verb::DeleteCollection,
    Verb::Get,
    Verb::List,
    Verb::Patch,
    Verb::Update,
    Verb::Watch,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_module_is_a_plan() {
        let plan = FaultPlan::parse(
            "faults:\n\
             - name: two refusals out of five\n  after: 10s\n  for: 30s\n  \
               match: {verb: update, resource: podcertificaterequests/status, user: u}\n  \
               probability: 0.4\n  error: {code: 503, reason: ServiceUnavailable, message: told to}\n\
             - after: 1m\n  dropWatches: {resource: pods}\n\
             - compact: true\n- restartKubelet: true\n- {next: 2, conflict: true}\n\
             - {every: 3, delay: 250ms}\n- lostReply: true\n",
        )
        .unwrap();
        assert_eq!(plan.len(), 7);
        let first = plan.faults.first().unwrap();
        assert_eq!(first.after, Duration::from_secs(10));
        assert_eq!(first.lasts, Some(Duration::from_secs(30)));
        assert!(matches!(
            first.what,
            What::Requests(_, Occurrence::Probability(_), _)
        ));
        assert!(FaultPlan::parse("faults: []").unwrap().is_empty());
    }

    #[test]
    fn nonsense_is_told_with_its_number() {
        for (fault, expected) in [
            ("{}", "exactly one of"),
            ("{conflict: true, lostReply: true}", "exactly one of"),
            ("{conflict: true, probability: 2}", "not between 0 and 1"),
            ("{conflict: true, every: 0}", "hits nothing"),
            ("{conflict: true, every: 2, next: 2}", "only one of"),
            ("{conflict: true, match: {verb: fetch}}", "none of create"),
            ("{conflict: true, after: -1s}", "after may not be negative"),
            ("{error: {code: 200, reason: OK}}", "not 400 to 599"),
            ("{compact: true, for: 1s}", "happens once"),
            ("{dropWatches: {}, match: {name: x}}", "happens once"),
        ] {
            let yaml = format!("faults:\n- conflict: true\n- {fault}\n");
            let error = FaultPlan::parse(&yaml).unwrap_err().to_string();
            assert!(error.starts_with("fault 2: "), "{error}");
            assert!(error.contains(expected), "{error}");
        }
        for yaml in [
            "",
            "faults: 1",
            "fault: []",
            "faults: [{conflct: true}]",
            "[",
            "faults: [{after: 3 moons, compact: true}]",
        ] {
            let error = FaultPlan::parse(yaml).unwrap_err();
            assert!(matches!(error, FaultPlanError::Yaml(_)), "{yaml}: {error}");
        }
    }
}
