//! Outcomes: what became of an answer, or of a decision that gave none, and what follows from it.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use podcert_issuance::{RequestedKey, Wait, Wake};
use podcert_resources::{ApiVersion, event::Severity};
use podcert_runtime::Backoff;
use tokio::time::Instant;

use super::{
    Queue, Uid,
    announcing::Announcement,
    entry::{Cure, Pending, State},
    timers::Timer,
};
use crate::metrics::Outcome as Counted;
use crate::reasons::{API_VERSION_NOT_SERVED, CONFLICT, NOT_FOUND, STATUS_REFUSED};

/// How long things are waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// After a failure that may pass.
    pub(crate) retry: Backoff,
    /// After a refusal that somebody must change, or that passes: an API server that has just
    /// started forbids everything until it has read its roles.
    pub(crate) refused: Backoff,
    /// For the version that beat ours.
    pub(crate) conflict: Backoff,
    /// How long a request must have waited for one reason before an Event says so: a pod the
    /// watch shows a moment late is not worth a write.
    pub(crate) announce_after: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            retry: Backoff::new(Duration::from_secs(1), Duration::from_secs(60)),
            refused: Backoff::new(Duration::from_secs(1), Duration::from_secs(300)),
            conflict: Backoff::new(Duration::from_secs(10), Duration::from_secs(60)),
            announce_after: Duration::from_secs(10),
        }
    }
}

/// What became of a [`Work`](super::Work) or an [`Unread`](super::Unread).
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) uid: Uid,
    /// The resource version it was conditional on.
    pub(crate) version: String,
    pub(crate) outcome: Outcome,
}

/// How an answer fared.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It stands.
    Written {
        counted: Counted,
        reason: &'static str,
        /// What its pod's owner should know.
        tell: Vec<Tell>,
    },
    /// The API server knows no such request.
    Gone,
    /// What v1beta1 shows as its key.
    Shown(RequestedKey),
    /// The API server does not serve this version of the API (any more).
    Unserved(ApiVersion),
    /// Another version of the request was written before.
    Conflict,
    /// It may succeed later.
    Retry {
        reason: &'static str,
        message: String,
        when: RetryWhen,
    },
    /// It must not be sent.
    Wait(Wait),
    /// It was not sent, or not once more: what allowed it was withdrawn.
    Withdrawn,
}

impl Outcome {
    /// Whether an answer was sent that the request, as it stands, did not take.
    fn was_refused(&self) -> bool {
        match self {
            Self::Conflict => true,
            Self::Retry { reason, .. } => *reason == STATUS_REFUSED,
            _ => false,
        }
    }
}

/// One Event about an answer that stands.
#[derive(Debug)]
pub(crate) struct Tell {
    pub(crate) severity: Severity,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// When to try again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum RetryWhen {
    /// Soon, and less soon each time.
    Soon,
    /// After this long at least.
    After(Duration),
    /// Soon, and then ever more slowly: somebody must change something first.
    Refused,
    /// With the next pool.
    OnPool,
}

impl Queue {
    /// Takes in what became of an answer.
    pub(crate) fn finish(&mut self, done: Done, date: Timestamp, now: Instant) {
        let Done {
            uid,
            version,
            outcome,
        } = done;
        let Some(entry) = self.tracked.get_mut(&uid) else {
            return;
        };
        if let Outcome::Written {
            counted,
            reason,
            tell,
        } = outcome
        {
            self.metrics
                .answered(entry.signer, counted, reason, now - entry.since);
            let request = Arc::clone(&entry.request);
            self.announcements
                .extend(tell.into_iter().map(|tell| Announcement {
                    request: Arc::clone(&request),
                    severity: tell.severity,
                    reason: tell.reason,
                    message: tell.message,
                }));
            if entry.over {
                self.forget(&uid);
            } else {
                self.set_state(&uid, State::Answered);
            }
            return;
        }
        if entry.over {
            if entry.settled && outcome.was_refused() {
                self.metrics.double_write(entry.signer);
            }
            self.forget(&uid);
            return;
        }
        let newer_pool = self
            .signers
            .get(entry.signer)
            .is_some_and(|signer| signer.pool != entry.pool);
        match outcome {
            Outcome::Written { .. } => {}
            // The pool it would wait for came while it was under way.
            Outcome::Wait(Wait {
                wake: Wake::Authority,
                ..
            })
            | Outcome::Retry {
                when: RetryWhen::OnPool,
                ..
            } if newer_pool => self.enqueue(&uid),
            // If it is true the watch shows it going and ends this. If some proxy made it up, or
            // an API server that was only starting, the request is still there to be answered.
            Outcome::Gone => {
                let pending = Pending {
                    reason: NOT_FOUND,
                    message: "the API server answered that the request does not exist".into(),
                    cure: Cure::Version,
                };
                self.fail(&uid, pending, RetryWhen::Soon, now);
            }
            Outcome::Shown(key) => {
                entry.read_again = true;
                self.show(&uid, key);
                self.enqueue(&uid);
            }
            Outcome::Unserved(version) => {
                let noticed = if entry.hides_its_key() {
                    !self.versions.requests_at_v1beta1
                } else {
                    self.versions.requests != Some(version)
                };
                if noticed {
                    self.enqueue(&uid);
                    return;
                }
                let message = format!(
                    "the API server does not serve podcertificaterequests of {} (any more?); \
                     looking for what it serves",
                    version.group_version()
                );
                let pending = Pending {
                    reason: API_VERSION_NOT_SERVED,
                    message,
                    cure: Cure::Served,
                };
                self.fail(&uid, pending, RetryWhen::Soon, now);
            }
            // The newer version is here already: answer that one.
            Outcome::Conflict if entry.version != version => self.enqueue(&uid),
            Outcome::Conflict => {
                let pending = Pending {
                    reason: CONFLICT,
                    message: "another version of the request was written; waiting to see it".into(),
                    cure: Cure::Version,
                };
                self.fail(&uid, pending, RetryWhen::Soon, now);
            }
            Outcome::Retry {
                reason,
                message,
                when,
            } => {
                let cure = if when == RetryWhen::OnPool {
                    Cure::Pool
                } else {
                    Cure::Other
                };
                self.fail(
                    &uid,
                    Pending {
                        reason,
                        message,
                        cure,
                    },
                    when,
                    now,
                );
            }
            Outcome::Wait(wait) => self.wait_for(&uid, wait, date, now),
            Outcome::Withdrawn => self.enqueue(&uid),
        }
    }

    /// Files `uid` under what can cure `wait`.
    pub(super) fn wait_for(&mut self, uid: &Uid, wait: Wait, date: Timestamp, now: Instant) {
        let Wait {
            reason,
            message,
            wake,
        } = wait;
        let (cure, after) = match wake {
            Wake::Pod => (Cure::Pod, None),
            Wake::PodOrServices => (Cure::PodOrServices, None),
            // A pool may also become good by the clock: one that jumped comes back.
            Wake::Authority => (Cure::Pool, Some(RECHECK)),
            Wake::Node => (Cure::Node, None),
            Wake::ServiceAccount => (Cure::ServiceAccount, None),
            // Dates are looked at again each minute: clocks are set, machines sleep. Another pool may
            // have a CA with other dates.
            Wake::At(at) => {
                let left = Duration::try_from(at.duration_since(date)).unwrap_or_default();
                (Cure::Pool, Some(left.clamp(SHORTEST_WAIT, RECHECK)))
            }
            Wake::ApiVersion => (Cure::Served, None),
            Wake::Restart => (Cure::Other, None),
        };
        self.wait(
            uid,
            Pending {
                reason: reason.as_str(),
                message,
                cure,
            },
            now,
        );
        if let Some(after) = after {
            self.wake_after(uid, after, now);
        }
    }

    pub(super) fn wait(&mut self, uid: &Uid, pending: Pending, now: Instant) {
        let reason = pending.reason;
        self.set_state(uid, State::Pending(pending));
        self.announce_later(uid, reason, now);
    }

    /// Has it said that `uid` waits for `reason`, if it still does in a while.
    fn announce_later(&mut self, uid: &Uid, reason: &'static str, now: Instant) {
        let Some(entry) = self.tracked.get_mut(uid) else {
            return;
        };
        if entry.announcing != Some(reason) && !entry.announced.contains(&reason) {
            entry.announcing = Some(reason);
            let timer = Timer::Announce {
                uid: Arc::clone(uid),
                reason,
            };
            self.timers.start(now + self.patience.announce_after, timer);
        }
    }

    /// Holds `uid` back after a failure.
    pub(super) fn fail(&mut self, uid: &Uid, pending: Pending, when: RetryWhen, now: Instant) {
        let Some(entry) = self.tracked.get_mut(uid) else {
            return;
        };
        let failures = match when {
            RetryWhen::Refused => &mut entry.refusals,
            RetryWhen::After(_) | RetryWhen::OnPool | RetryWhen::Soon => &mut entry.failures,
        };
        *failures = failures.saturating_add(1);
        let failures = *failures;
        let Pending { reason, cure, .. } = pending;
        tracing::warn!(
            namespace = entry.request.namespace,
            request = entry.request.name,
            pod = entry.request.pod_name,
            reason,
            why = pending.message,
            "no answer yet"
        );
        self.set_state(uid, State::Pending(pending));
        let backoff = match when {
            RetryWhen::Refused => self.patience.refused,
            _ if cure == Cure::Version => self.patience.conflict,
            _ => self.patience.retry,
        };
        let mut after = backoff.delay(failures, &self.jitter);
        if let RetryWhen::After(least) = when {
            after = after.max(least);
        }
        // The watch explains the others in a moment.
        if cure != Cure::Version {
            self.announce_later(uid, reason, now);
        }
        self.wake_after(uid, after, now);
    }
}

const RECHECK: Duration = podcert_runtime::clock::RECHECK;
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
