//! What the live screen shows: the newest of everything, kept up to date by those who watch it.
//!
//! Nothing here draws, and nothing here decides: [`super::screen`] reads a copy ten times a second.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

/// Shared by all who write and the one who draws.
#[derive(Clone, Debug, Default)]
pub(super) struct Board(Arc<Mutex<View>>);

/// Everything there is to see.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    /// What is going on.
    pub(super) act: String,
    /// By namespace and name.
    pub(super) pods: BTreeMap<(String, String), Pod>,
    /// By namespace, pod and signer.
    pub(super) certificates: BTreeMap<(String, String, String), Certificate>,
    /// Clients by namespace and name.
    pub(super) clients: BTreeMap<(String, String), Client>,
    /// ClusterTrustBundles by name.
    pub(super) bundles: BTreeMap<String, Bundle>,
    /// The last events, oldest first.
    pub(super) events: VecDeque<Event>,
}

/// A pod.
#[derive(Clone, Debug, Default)]
pub(super) struct Pod {
    /// As `kubectl get pods` calls it.
    pub(super) phase: String,
    pub(super) ready: bool,
    pub(super) restarts: i32,
}

/// A pod's certificate, or the request for it.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    /// How many requests there were for it.
    pub(super) requests: u32,
    pub(super) life: Life,
}

/// How far the newest request is.
#[derive(Clone, Debug)]
pub(super) enum Life {
    /// Asked for, and for how long so.
    Waiting { since: Timestamp },
    /// In force.
    Issued {
        not_before: Timestamp,
        refresh: Timestamp,
        not_after: Timestamp,
        names: Vec<String>,
    },
    /// Denied or failed, and why.
    Refused(String),
}

/// A pod that calls a server.
#[derive(Clone, Debug, Default)]
pub(super) struct Client {
    /// The names in the certificates that it met last.
    pub(super) server: Vec<String>,
    pub(super) ok: u64,
    pub(super) failed: u64,
}

/// What clients trust.
#[derive(Clone, Debug, Default)]
pub(super) struct Bundle {
    pub(super) signer: String,
    /// `live` or `canary`, if its labels say.
    pub(super) stage: String,
    /// The anchors' subjects.
    pub(super) anchors: Vec<String>,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub(super) struct Event {
    /// Since the beginning.
    pub(super) at: Duration,
    pub(super) who: String,
    pub(super) what: String,
}

impl Board {
    /// Changes what is shown.
    pub(super) fn update(&self, change: impl FnOnce(&mut View)) {
        change(&mut self.lock());
    }

    /// Shows an event, and forgets the oldest.
    pub(super) fn tell(&self, event: Event) {
        let mut view = self.lock();
        if view.events.len() == EVENTS {
            view.events.pop_front();
        }
        view.events.push_back(event);
    }

    /// What is shown now.
    pub(super) fn view(&self) -> View {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, View> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// More than any terminal shows.
const EVENTS: usize = 200;
