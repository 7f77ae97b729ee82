//! The controller against the embedded API server, in virtual time: each test is a story of what
//! happens in a cluster and what the controller makes of it.

mod bundles;
mod cluster;
mod faults;
mod hostile;
mod issuing;
mod pools;
mod waiting;
