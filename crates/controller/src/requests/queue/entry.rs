//! What is kept of one request: what it is, where it stands, what could move it.

use std::sync::Arc;

use jiff::Timestamp;
use podcert_issuance::Request;
use tokio::time::Instant;

#[derive(Debug)]
pub(super) struct Tracked {
    pub(super) signer: usize,
    pub(super) request: Arc<Request>,
    pub(super) version: String,
    pub(super) epoch: u64,
    // By the API server's clock.
    pub(super) created: Option<Timestamp>,
    // First seen here.
    pub(super) since: Instant,
    pub(super) state: State,
    // Of the state; a timer of an older state is void.
    pub(super) generation: u64,
    pub(super) failures: u32,
    // Counted apart: after a minute without a server, one that forbids for a moment is no reason
    // to hold back for long.
    pub(super) refusals: u32,
    // At v1beta1, which says no more the second time.
    pub(super) read_again: bool,
    // The pool it was last decided on, counted by its signer.
    pub(super) pool: u64,
    // Settled, deleted or missing from a list while in flight.
    pub(super) over: bool,
    // Over because somebody answered it.
    pub(super) settled: bool,
    // How often others let it lie, as far as they could have answered.
    pub(super) passed: usize,
    // Known from before a gap; a list must show it again.
    pub(super) stale: bool,
    pub(super) announced: Vec<&'static str>,
    // The reason a timer will announce.
    pub(super) announcing: Option<&'static str>,
}

#[derive(Debug)]
pub(super) enum State {
    Answered,
    // Another replica's.
    Elsewhere,
    InFlight,
    Pending(Pending),
    Queued,
}

/// Why a request is not answered yet: `Waiting`, `Retrying` and `Conflicted` of the diagram.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) reason: &'static str,
    pub(super) message: String,
    pub(super) cure: Cure,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Cure {
    /// A timer of its own, or nothing.
    Other,
    Node,
    Pod,
    PodOrServices,
    Pool,
    /// Another version of the API being served.
    Served,
    ServiceAccount,
    /// A newer version of the request.
    Version,
}
