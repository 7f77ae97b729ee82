//! What the sandbox did, for whoever asks in the end: counts, and what it refused or did not enforce.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What happened so far.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Report {
    /// PodCertificateRequests the kubelet created.
    pub requests: u64,
    /// Times a volume's files were replaced by a new generation.
    pub generations: u64,
    /// Containers that were started, restarts included.
    pub container_starts: u64,
    /// Containers that were restarted after they had ended by themselves.
    pub container_restarts: u64,
    /// Times the kubelet was restarted.
    pub kubelet_restarts: u64,
    /// Pods that do not run because the sandbox cannot honour them: the first thousand remarks.
    pub refusals: BTreeSet<Remark>,
    /// What pods asked for that the sandbox does not enforce: the first thousand remarks.
    pub notes: BTreeSet<Remark>,
}

/// A sentence about a pod's spec.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Remark {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// Field and limit.
    pub sentence: String,
}

/// Where the sandbox's parts write the report. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger(Arc<Mutex<Report>>);

impl Report {
    /// Adds remarks; a sandbox that stays does not remember those of each pod that there ever was.
    pub(crate) fn remark(set: &mut BTreeSet<Remark>, remarks: impl Iterator<Item = Remark>) {
        set.extend(remarks.take(MOST_REMARKS.saturating_sub(set.len())));
    }
}

impl Ledger {
    /// Writes something down.
    pub(crate) fn note(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.lock());
    }

    /// The report so far.
    pub(crate) fn read(&self) -> Report {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Report> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const MOST_REMARKS: usize = 1000;
