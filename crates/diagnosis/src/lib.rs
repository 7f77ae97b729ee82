//! Why pods have, or have not, their certificates, and how podcert is: from the objects of a cluster to
//! findings in words.
//!
//! ```text
//!   pod, its requests, Events, bundles ─▶ pod::explain ────▶ PodReport      podcert explain
//!   all requests, Leases, bundles ──────▶ cluster::assess ─▶ ClusterReport  podcert status
//! ```
//!
//! Who asks reads the objects (with the rights of the person who asks, so any part may be
//! [`NotShown`]) and prints the report. Nothing here does I/O or reads a clock. What a reason means and what
//! cures it is told by [`reason`], from the operators' page, so that page, Event and report say the same.
//!
//! The facts about the kubelet that sentences here rest on: it makes a request for each
//! `podCertificate` source once the pod is bound to its node, and the pod's containers start only when
//! all volumes are there; Denied and Failed are final for the pod; requests are deleted by Kubernetes
//! some fifteen minutes after they were made, answered or not.

pub mod cluster;
pub mod pod;
mod reasons;
mod request;
#[cfg(test)]
mod testing;

use std::fmt;

use serde::Serialize;

pub use crate::reasons::{Reason, reason};
pub use crate::request::{Answer, Expectation, Request, Said, Told};

/// Something that could not be looked at: what, and in words why.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct NotShown {
    /// What was asked for, as kubectl calls it: `events in namespace shop`.
    pub what: String,
    /// Why it was not shown.
    pub why: String,
}

impl fmt::Display for NotShown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be looked at: {}", self.what, self.why)
    }
}

/// Objects of a list that are left out because they cannot be read: whoever may write such objects somewhere
/// hides nobody else's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unread {
    /// The list: `Leases`.
    pub what: String,
    /// How many there are.
    pub count: usize,
    /// The first, with its namespace.
    pub first: String,
}

impl Unread {
    /// As something hidden.
    #[must_use]
    pub fn not_shown(&self) -> NotShown {
        NotShown {
            what: format!("{} of {}, the first {},", self.count, self.what, self.first),
            why: "podcert cannot read them, such as a date at the end of the year 9999".to_owned(),
        }
    }
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, count, first } = self;
        match count {
            1 => write!(f, "one of {what} cannot be read and is left out: {first}"),
            _ => write!(
                f,
                "{count} of {what} cannot be read and are left out, the first {first}"
            ),
        }
    }
}

/// What was read, or why it could not be.
pub type Shown<T> = Result<T, NotShown>;

/// How long Kubernetes keeps a request after it was made (kube-controller-manager's cleaner).
pub const REQUEST_KEPT_MINUTES: i64 = 15;

/// The kubelet begins within some minutes of beginRefreshAt, and tries again if it fails.
pub const REFRESH_TAKES_MINUTES: i64 = 30;
