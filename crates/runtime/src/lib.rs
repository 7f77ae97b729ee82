//! What every long-running command of podcert needs, and nothing about certificates.
//!
//! - [`clock`] and [`server_clock`]: dates, ours and the API server's. Nobody else asks the
//!   system for the time.
//! - [`backoff`]: how long to wait before the next try, with injected jitter.
//! - [`api`]: a connection to the API server with our one retry layer, the observer of its
//!   `Date` headers and the request counters.
//! - [`health`] and [`http`]: named readiness checks, and the listener that shows them with the
//!   metrics.
//! - [`shutdown`]: a token cancelled by SIGTERM or SIGINT.

pub mod api;
pub mod backoff;
pub mod clock;
pub mod health;
pub mod http;
pub mod server_clock;
pub mod shutdown;

pub use crate::backoff::{Backoff, Jitter};
pub use crate::clock::{Clock, NotAClock, ScaledClock, SharedClock, SystemClock, TokioClock};
pub use crate::health::{Check, Health};
pub use crate::server_clock::ServerClock;
