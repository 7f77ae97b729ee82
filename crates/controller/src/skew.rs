//! The distance between the API server's clock and ours.
//!
//! It changes nothing: certificates begin by the server's clock. But a machine that is minutes off
//! has other problems, its owner should hear of it, and what we log bears its dates.

use std::time::Duration;

use jiff::SignedDuration;
use podcert_resources::event::{Notice, Severity};

use crate::{Context, reasons::CLOCK_SKEW};

/// Measures until shutdown; says once when the clocks part and once when they meet again.
pub(crate) async fn watch(context: Context) {
    let mut apart = false;
    // By the first look some answers have come, and who starts on a wrong clock is told at once.
    let mut pause = FIRST_LOOK;
    loop {
        tokio::select! {
            biased;
            () = context.shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => pause = podcert_runtime::clock::RECHECK,
        }
        let offset = context.connection.server_clock().offset();
        context.metrics.clock_offset(offset.as_secs_f64());
        if offset.abs() > WORTH_A_WARNING && !apart {
            apart = true;
            let note = format!(
                "the API server's clock is {offset:#} from this machine's: certificates follow \
                 the API server, one of the two clocks should be set"
            );
            tracing::warn!(offset_seconds = offset.as_secs_f64(), "{note}");
            if let Some(pod) = &context.own_pod {
                context.recorder.tell(Notice {
                    regarding: pod.as_ref().clone(),
                    related: None,
                    severity: Severity::Warning,
                    reason: CLOCK_SKEW,
                    action: "ReadClock",
                    note,
                });
            }
        } else if offset.abs() < MET_AGAIN && apart {
            apart = false;
            tracing::info!(
                offset_seconds = offset.as_secs_f64(),
                "the clocks agree again"
            );
        }
    }
}

const FIRST_LOOK: Duration = Duration::from_secs(5);
// kube-apiserver allows five minutes, of which backdating takes two.
const WORTH_A_WARNING: SignedDuration = SignedDuration::from_mins(4);
const MET_AGAIN: SignedDuration = SignedDuration::from_mins(3);
