//! The distance between the API server's clock and ours.
//!
//! It changes nothing: certificates begin by the server's clock. But a machine that is minutes off
//! has other problems, its owner should hear of it, and what we log bears its dates.

use std::time::Duration;

use jiff::SignedDuration;

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
            let note = apart_by(offset);
            tracing::warn!(offset_seconds = offset.as_secs_f64(), "{note}");
            context.warn_own_pod(CLOCK_SKEW, "ReadClock", note);
        } else if offset.abs() < MET_AGAIN && apart {
            apart = false;
            tracing::info!(
                offset_seconds = offset.as_secs_f64(),
                "the clocks agree again"
            );
        }
    }
}

/// In words, for an offset of the server's clock from ours.
fn apart_by(offset: SignedDuration) -> String {
    let distance = SignedDuration::from_secs(offset.abs().as_secs());
    let side = if offset.is_negative() {
        "behind"
    } else {
        "ahead of"
    };
    format!(
        "the API server's clock is {distance:#} {side} this machine's: certificates follow the API \
         server, one of the two clocks should be set"
    )
}

const FIRST_LOOK: Duration = Duration::from_secs(5);
// kube-apiserver allows five minutes, of which backdating takes two.
const WORTH_A_WARNING: SignedDuration = SignedDuration::from_mins(4);
const MET_AGAIN: SignedDuration = SignedDuration::from_mins(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_which_clock_is_ahead() {
        let offset = SignedDuration::from_millis(3_725_400);
        let ahead = apart_by(offset);
        assert!(
            ahead.starts_with("the API server's clock is 1h 2m 5s ahead of this machine's: "),
            "{ahead}"
        );
        let behind = apart_by(-offset);
        assert!(
            behind.starts_with("the API server's clock is 1h 2m 5s behind this machine's: "),
            "{behind}"
        );
    }
}
