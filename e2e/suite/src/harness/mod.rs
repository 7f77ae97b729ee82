//! What the checks of the program share: a stage on a real server, the program on it, CA pools,
//! pods, and requests for their certificates.
//!
//! ```text
//!  Stage ──▶ kubeconfig of a service account ──▶ Program (podcert controller, a process)
//!    │                                              ▲ pool files: CaPool
//!    ├──▶ Population: node, namespaces, pods        │
//!    └──▶ Kubelet: makes requests as the node ──▶ API server ──▶ Answers: one watch
//! ```
//!
//! Everything a stage makes bears its name, also the signers: any number of stages, and of
//! controllers, get along on one server. Nothing here knows what is checked.

mod answers;
mod kubelet;
mod metrics;
mod pools;
mod population;
mod program;
pub(crate) mod rendezvous;
mod stage;

use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use tokio::time::{Instant, sleep};

pub(crate) use self::answers::{Answers, Outcome};
pub(crate) use self::kubelet::{
    Answered, Ask, Kubelet, Request, RequestId, Spec, Status, WorkloadKey,
};
pub(crate) use self::metrics::Metrics;
pub(crate) use self::pools::{CaKind, CaPool};
pub(crate) use self::population::{Node, Plan, Pod, Population, Source};
pub(crate) use self::program::{Program, Setup, beside_us};
pub(crate) use self::stage::{Stage, bundle_name};

/// The real time: what runs here runs on real servers.
pub(crate) fn now() -> Timestamp {
    #[allow(clippy::disallowed_methods, reason = "a real server has the real time")]
    Timestamp::now()
}

/// Waits until `holds` does, and answers with what it found, or with its last error if that takes longer than
/// [`PATIENCE`].
pub(crate) async fn until<F, R, T>(holds: F) -> Result<T>
where
    F: Fn() -> R,
    R: Future<Output = Result<T>>,
{
    let started = Instant::now();
    loop {
        match holds().await {
            Err(_) if started.elapsed() < PATIENCE => sleep(Duration::from_millis(50)).await,
            other => return other,
        }
    }
}

/// How long anything may take that is expected at once; a machine may be slow, not that slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
