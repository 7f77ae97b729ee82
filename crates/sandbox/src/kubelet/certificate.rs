//! The kubelet's state machine for one `podCertificate` source of one volume of one pod.
//!
//! ```text
//! Initial ──request──▶ Waiting ──Issued──▶ Fresh ──refreshAt──▶ Refreshing ──Issued──▶ Fresh
//!    ▲                   │  │                ▲                    │   │
//!    └──request lost─────┘  │                └───request lost─────┘   │
//!                           └──Denied, Failed──▶ Denied, Failed ◀─────┘   (absorbing)
//! ```
//!
//! It follows `pkg/kubelet/podcertificate/podcertificatemanager.go`: a new key for every request, state only in memory,
//! refresh at `beginRefreshAt + U(0, 5 min)`, a request counts as lost when it cannot be found later than its creation
//! `+ 10 min + U(0, 5 min)`, and Denied and Failed are final, on refresh too. [`State::advance`] decides without
//! touching the world; whoever drives it creates the request and calls [`State::requested`].

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::PodCertificateRequest;
use podcert_pki::PrivateKey;

/// Where one source stands.
#[derive(Debug)]
pub(crate) enum State {
    /// The signer refused. Only a new pod recovers.
    Denied(Refusal),
    /// The signer failed. Only a new pod recovers.
    Failed(Refusal),
    /// There is a certificate, and its refresh is not due.
    Fresh(Credential),
    /// Nothing was asked for yet.
    Initial,
    /// There is a certificate, and a request for its successor.
    Refreshing {
        /// What the files hold meanwhile.
        current: Credential,
        /// The successor's key and request.
        pending: Pending,
    },
    /// The first request is on its way.
    Waiting(Pending),
}

/// A request without an answer, and the key it asks a certificate for.
#[derive(Debug)]
pub(crate) struct Pending {
    key: PrivateKey,
    name: String,
    lost_after: Timestamp,
}

/// A key and the chain that was issued for it.
#[derive(Debug)]
pub(crate) struct Credential {
    /// The private key.
    pub(crate) key: PrivateKey,
    /// The chain as the status held it, PEM, leaf first.
    pub(crate) chain: String,
    not_after: Timestamp,
    refresh_at: Timestamp,
    /// What was told of it.
    told: BTreeSet<Lateness>,
}

/// What is told about a certificate, once, when nothing has come in its place.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Lateness {
    /// It should have been refreshed ten minutes ago.
    Overdue,
    /// It is not valid any more.
    Expired,
}

/// Why a signer refused or failed, in its words.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Refusal {
    /// The condition's reason.
    pub(crate) reason: String,
    /// The condition's message.
    pub(crate) message: String,
}

/// What [`State::advance`] found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Transition {
    /// The signer refused: emit a Warning Event.
    Denied(Refusal),
    /// The signer failed: emit a Warning Event.
    Failed(Refusal),
    /// A certificate arrived: the files may be written.
    Issued,
    /// The request is gone without an answer: the next step asks again.
    Lost,
    /// Make a key, create a request for it, and call [`State::requested`].
    Request,
    /// There is nothing to do now.
    Rest,
}

impl State {
    /// Looks at the source once. `find` answers with the request of that name as the watch last showed it; `jitter`
    /// draws from `U(0, 5 min)`.
    pub(crate) fn advance(
        &mut self,
        find: impl FnOnce(&str) -> Option<PodCertificateRequest>,
        now: Timestamp,
        jitter: impl FnOnce() -> Duration,
    ) -> Transition {
        match self {
            Self::Initial => Transition::Request,
            Self::Denied(_) | Self::Failed(_) => Transition::Rest,
            Self::Fresh(current) if now < current.refresh_at => Transition::Rest,
            Self::Fresh(_) => Transition::Request,
            Self::Waiting(pending) | Self::Refreshing { pending, .. } => {
                match pending.answer(find(&pending.name).as_ref(), now) {
                    Answer::Lost => self.lose(),
                    Answer::None => Transition::Rest,
                    Answer::Terminal(Terminal::Denied(refusal)) => {
                        *self = Self::Denied(refusal.clone());
                        Transition::Denied(refusal)
                    }
                    Answer::Terminal(Terminal::Failed(refusal)) => {
                        *self = Self::Failed(refusal.clone());
                        Transition::Failed(refusal)
                    }
                    Answer::Terminal(Terminal::Issued(issued)) => self.accept(issued, jitter()),
                }
            }
        }
    }

    /// Notes that a request with this key was created at `created` under `name`; `jitter` is drawn from
    /// `U(0, 5 min)`.
    pub(crate) fn requested(
        &mut self,
        key: PrivateKey,
        name: String,
        created: Timestamp,
        jitter: Duration,
    ) {
        let lost_after = later(created, LOST_AFTER.saturating_add(jitter));
        let pending = Pending {
            key,
            name,
            lost_after,
        };
        *self = match std::mem::replace(self, Self::Initial) {
            Self::Fresh(current) | Self::Refreshing { current, .. } => {
                Self::Refreshing { current, pending }
            }
            _ => Self::Waiting(pending),
        };
    }

    /// What is to be told now about the certificate, before its successor is asked for or while it is waited for.
    pub(crate) fn lateness(&mut self, now: Timestamp) -> Vec<Lateness> {
        let (Self::Fresh(current) | Self::Refreshing { current, .. }) = self else {
            return Vec::new();
        };
        let late = now >= current.refresh_at;
        let overdue = now > later(current.refresh_at, OVERDUE);
        let expired = late && now > current.not_after;
        [(Lateness::Overdue, overdue), (Lateness::Expired, expired)]
            .into_iter()
            .filter(|(lateness, holds)| *holds && current.told.insert(*lateness))
            .map(|(lateness, _)| lateness)
            .collect()
    }

    /// What the files should hold, or why the volume cannot be set up now.
    pub(crate) fn credential(&self) -> Result<&Credential, String> {
        match self {
            Self::Fresh(current) | Self::Refreshing { current, .. } => Ok(current),
            Self::Initial | Self::Waiting(_) => {
                Err("credential bundle is not issued yet".to_owned())
            }
            Self::Denied(Refusal { reason, message }) => Err(format!(
                "PodCertificateRequest was permanently denied: reason={reason:?} message={message:?}"
            )),
            Self::Failed(Refusal { reason, message }) => Err(format!(
                "PodCertificateRequest was permanently failed: reason={reason:?} message={message:?}"
            )),
        }
    }

    fn lose(&mut self) -> Transition {
        *self = match std::mem::replace(self, Self::Initial) {
            Self::Refreshing { current, .. } => Self::Fresh(current),
            _ => Self::Initial,
        };
        Transition::Lost
    }

    fn accept(&mut self, issued: Issued, jitter: Duration) -> Transition {
        *self = match std::mem::replace(self, Self::Initial) {
            Self::Waiting(Pending { key, .. })
            | Self::Refreshing {
                pending: Pending { key, .. },
                ..
            } => Self::Fresh(Credential {
                key,
                chain: issued.chain,
                told: BTreeSet::new(),
                not_after: issued.not_after,
                refresh_at: later(issued.begin_refresh_at, jitter),
            }),
            other => other,
        };
        Transition::Issued
    }
}

impl Lateness {
    /// Reason and message of the Event, in the kubelet's words.
    pub(crate) fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Overdue => (
                "CertificateOverdueForRefresh",
                "PodCertificate refresh overdue",
            ),
            Self::Expired => ("CertificateExpired", "PodCertificate expired"),
        }
    }
}

impl Pending {
    fn answer(&self, request: Option<&PodCertificateRequest>, now: Timestamp) -> Answer {
        match request {
            None if now > self.lost_after => Answer::Lost,
            None => Answer::None,
            Some(request) => Terminal::of(request).map_or(Answer::None, Answer::Terminal),
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.reason, self.message)
    }
}

enum Answer {
    Lost,
    None,
    Terminal(Terminal),
}

enum Terminal {
    Denied(Refusal),
    Failed(Refusal),
    Issued(Issued),
}

struct Issued {
    chain: String,
    begin_refresh_at: Timestamp,
    not_after: Timestamp,
}

impl Terminal {
    /// The request's answer, if it has one. An Issued condition without its fields is none: the API server never
    /// stores such a status.
    fn of(request: &PodCertificateRequest) -> Option<Self> {
        let status = request.status.as_ref()?;
        status.conditions.iter().flatten().find_map(|condition| {
            if condition.status != "True" {
                return None;
            }
            let refusal = || Refusal {
                reason: condition.reason.clone(),
                message: condition.message.clone(),
            };
            match condition.type_.as_str() {
                "Denied" => Some(Self::Denied(refusal())),
                "Failed" => Some(Self::Failed(refusal())),
                "Issued" => Some(Self::Issued(Issued {
                    chain: status.certificate_chain.clone()?,
                    begin_refresh_at: status.begin_refresh_at.as_ref()?.0,
                    not_after: status.not_after.as_ref()?.0,
                })),
                _ => None,
            }
        })
    }
}

/// `at + by`; the end of time when there is no such date.
fn later(at: Timestamp, by: Duration) -> Timestamp {
    jiff::SignedDuration::try_from(by)
        .ok()
        .and_then(|by| at.checked_add(by).ok())
        .unwrap_or(Timestamp::MAX)
}

/// A request that cannot be found is given this long, and jitter, before it counts as lost: the watch may lag.
const LOST_AFTER: Duration = Duration::from_secs(10 * 60);

/// From when a certificate is refreshed until the kubelet calls that overdue.
const OVERDUE: Duration = Duration::from_secs(10 * 60);

/// Both jitters are drawn from zero up to this.
pub(crate) const JITTER: Duration = Duration::from_secs(5 * 60);

#[cfg(test)]
mod tests;
