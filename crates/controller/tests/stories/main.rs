//! The controller against the embedded API server, in virtual time: each test is a story of what
//! happens in a cluster and what the controller makes of it.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a story that panics has failed: that is its report"
)]

mod bundles;
mod cluster;
mod faults;
mod forged;
mod hostile;
mod issuing;
mod metrics;
mod pod_identity;
mod pools;
mod replicas;
mod rights;
mod sharing;
mod uids;
mod versions;
mod waiting;
