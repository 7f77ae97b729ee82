//! Events: told once, by create alone, and never in the way.
//!
//! Whoever has something to say puts it into a bounded channel and goes on. One task writes; it
//! keeps to a rate so that a cluster full of waiting pods does not become a cluster full of
//! Events, and what does not fit, or is refused, is counted and forgotten.

use std::time::Duration;

use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, PostParams};
use podcert_resources::event::Notice;
use podcert_runtime::{Clock as _, ServerClock};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// Where notices go.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    sender: mpsc::Sender<Notice>,
    metrics: Metrics,
}

impl Recorder {
    /// A recorder, and what its writer reads from.
    pub(crate) fn new(metrics: Metrics) -> (Self, mpsc::Receiver<Notice>) {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        (Self { sender, metrics }, receiver)
    }

    /// Hands `notice` to the writer, or counts it as dropped.
    pub(crate) fn tell(&self, notice: Notice) {
        tracing::info!(
            namespace = notice.regarding.namespace,
            object = notice.regarding.name,
            reason = notice.reason,
            note = notice.note,
            "event"
        );
        if self.sender.try_send(notice).is_err() {
            self.metrics.event_outcome("dropped");
        }
    }
}

/// Writes notices until `shutdown`.
pub(crate) async fn write(
    mut notices: mpsc::Receiver<Notice>,
    client: kube::Client,
    clock: Arc<ServerClock>,
    instance: String,
    metrics: Metrics,
    shutdown: CancellationToken,
) {
    let mut allowance = Allowance::new(Instant::now());
    loop {
        let notice = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            notice = notices.recv() => match notice {
                Some(notice) => notice,
                None => return,
            },
        };
        if !allowance.take(Instant::now()) {
            metrics.event_outcome("dropped");
            continue;
        }
        let event = notice.to_event(&instance, clock.now());
        let namespace = event.metadata.namespace.as_deref().unwrap_or("default");
        let api: Api<Event> = Api::namespaced(client.clone(), namespace);
        let params = PostParams::default();
        let written = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            written = api.create(&params, &event) => written,
        };
        match written {
            Ok(_) => metrics.event_outcome("written"),
            Err(error) => {
                metrics.event_outcome("refused");
                tracing::debug!(%error, reason = notice.reason, "the event could not be written");
            }
        }
    }
}

/// A bucket of Events: full at first, refilled slowly.
#[derive(Debug)]
struct Allowance {
    left: u32,
    refilled: Instant,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            refilled: now,
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        let periods = now.duration_since(self.refilled).as_millis() / REFILL.as_millis();
        let periods = u32::try_from(periods).unwrap_or(u32::MAX);
        if periods > 0 {
            self.left = self.left.saturating_add(periods).min(BURST);
            self.refilled += REFILL.saturating_mul(periods);
        }
        let allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        allowed
    }
}

const CAPACITY: usize = 256;
const BURST: u32 = 100;
const REFILL: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn events_keep_to_a_rate() {
        let mut allowance = Allowance::new(Instant::now());
        let burst = (0..1000).filter(|_| allowance.take(Instant::now())).count();
        assert_eq!(burst, 100);
        tokio::time::sleep(Duration::from_secs(10)).await;
        let later = (0..1000).filter(|_| allowance.take(Instant::now())).count();
        assert_eq!(later, 20);
        tokio::time::sleep(Duration::from_secs(86_400)).await;
        let full = (0..1000).filter(|_| allowance.take(Instant::now())).count();
        assert_eq!(full, 100);
    }
}
