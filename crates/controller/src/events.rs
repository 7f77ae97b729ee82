//! Events: told once, by create alone, and never in the way.
//!
//! Whoever has something to say puts it into a bounded channel and goes on. One task writes; it
//! keeps to a rate so that a cluster full of waiting pods does not become a cluster full of
//! Events, and what does not fit, or is refused, is counted and forgotten. No namespace can use up
//! the rate of the others, and what went well leaves room for what did not.

use std::{collections::HashMap, time::Duration};

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, PostParams};
use podcert_resources::event::{Notice, Severity};
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

/// Writes notices until `shutdown`. Those on `own_pod` are few, and not its namespace's doing.
pub(crate) async fn write(
    mut notices: mpsc::Receiver<Notice>,
    client: kube::Client,
    clock: Arc<ServerClock>,
    instance: String,
    own_pod: Option<Arc<ObjectReference>>,
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
        let whose = account(&notice.regarding, own_pod.as_deref());
        if !allowance.take(whose, notice.severity, Instant::now()) {
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

/// The namespace whose allowance an Event about `regarding` is taken from.
fn account<'a>(
    regarding: &'a ObjectReference,
    own_pod: Option<&ObjectReference>,
) -> Option<&'a str> {
    let own = own_pod == Some(regarding);
    regarding.namespace.as_deref().filter(|_| !own)
}

/// What may be written: in all, and of each namespace.
#[derive(Debug)]
struct Allowance {
    all: Bucket,
    // Every namespace not in here has its whole allowance.
    namespaces: HashMap<String, Bucket>,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        Self {
            all: Bucket::new(&ALL, now),
            namespaces: HashMap::new(),
        }
    }

    /// Whether one more Event of `severity` may be written, on account of `namespace` if it is any's.
    fn take(&mut self, namespace: Option<&str>, severity: Severity, now: Instant) -> bool {
        let reserve = match severity {
            Severity::Normal => ALL.burst / 2,
            Severity::Warning => 0,
        };
        // What is not written for want of the one is not taken from the other.
        if self.all.left(now) <= reserve {
            return false;
        }
        if let Some(namespace) = namespace
            && !self.namespace(namespace, now).take(now)
        {
            return false;
        }
        self.all.take(now)
    }

    fn namespace(&mut self, name: &str, now: Instant) -> &mut Bucket {
        if !self.namespaces.contains_key(name) && self.namespaces.len() >= MAX_NAMESPACES {
            let oldest = self.namespaces.iter().min_by_key(|(_, bucket)| bucket.used);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                self.namespaces.remove(&oldest);
            }
        }
        self.namespaces
            .entry(name.to_owned())
            .or_insert_with(|| Bucket::new(&ONE_NAMESPACE, now))
    }
}

/// How many Events at once, and how soon there may be one more.
#[derive(Debug)]
struct Rate {
    burst: u32,
    refill: Duration,
}

/// A bucket of Events: full at first, refilled slowly.
#[derive(Debug)]
struct Bucket {
    rate: &'static Rate,
    left: u32,
    refilled: Instant,
    used: Instant,
}

impl Bucket {
    fn new(rate: &'static Rate, now: Instant) -> Self {
        Self {
            rate,
            left: rate.burst,
            refilled: now,
            used: now,
        }
    }

    fn left(&mut self, now: Instant) -> u32 {
        let refill = self.rate.refill;
        let periods = now.duration_since(self.refilled).as_millis() / refill.as_millis();
        let periods = u32::try_from(periods).unwrap_or(u32::MAX);
        if periods > 0 {
            self.left = self.left.saturating_add(periods).min(self.rate.burst);
            self.refilled += refill.saturating_mul(periods);
        }
        self.left
    }

    fn take(&mut self, now: Instant) -> bool {
        self.used = now;
        let allowed = self.left(now) > 0;
        self.left = self.left.saturating_sub(1);
        allowed
    }
}

const CAPACITY: usize = 256;
const ALL: Rate = Rate {
    burst: 100,
    refill: Duration::from_millis(500),
};
const ONE_NAMESPACE: Rate = Rate {
    burst: 20,
    refill: Duration::from_secs(3),
};
/// Of more namespaces than these, whoever had nothing to say for longest is forgotten.
const MAX_NAMESPACES: usize = 1024;

#[cfg(test)]
mod tests {
    use podcert_resources::event::pod_reference;

    use super::*;

    /// How many of a thousand are allowed now.
    fn taken(allowance: &mut Allowance, namespace: Option<&str>, severity: Severity) -> usize {
        let mut take = || allowance.take(namespace, severity, Instant::now());
        (0..1000).filter(|_| take()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn events_keep_to_a_rate() {
        let mut allowance = Allowance::new(Instant::now());
        let mut warned = || taken(&mut allowance, None, Severity::Warning);
        assert_eq!(warned(), 100);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(warned(), 20);
        tokio::time::sleep(Duration::from_secs(86_400)).await;
        assert_eq!(warned(), 100);
    }

    #[test]
    fn the_own_pod_is_on_nobodys_account() {
        let own = pod_reference("mesh", "controller-0", "u");
        assert_eq!(account(&own, Some(&own)), None);
        assert_eq!(account(&own, None), Some("mesh"));
        let other = pod_reference("mesh", "controller-0", "v");
        assert_eq!(account(&other, Some(&own)), Some("mesh"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_namespace_takes_nothing_from_others() {
        let mut allowance = Allowance::new(Instant::now());
        let mut warned = |namespace| taken(&mut allowance, namespace, Severity::Warning);
        assert_eq!(warned(Some("loud")), 20);
        assert_eq!(warned(Some("quiet")), 20);
        assert_eq!(warned(None), 60);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(warned(Some("loud")), 20);
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_eq!(warned(Some("loud")), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_went_well_leaves_half_to_what_did_not() {
        let mut allowance = Allowance::new(Instant::now());
        let namespaces = ["a", "b", "c"];
        let told = namespaces.map(|name| taken(&mut allowance, Some(name), Severity::Normal));
        assert_eq!(told, [20, 20, 10]);
        // What the reserve refused is not on the namespace's account.
        assert_eq!(taken(&mut allowance, Some("c"), Severity::Warning), 10);
        assert_eq!(taken(&mut allowance, None, Severity::Warning), 40);
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(taken(&mut allowance, None, Severity::Normal), 0);
        assert_eq!(taken(&mut allowance, Some("d"), Severity::Warning), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn namespaces_are_remembered_up_to_a_number() {
        let mut allowance = Allowance::new(Instant::now());
        assert_eq!(taken(&mut allowance, Some("first"), Severity::Warning), 20);
        for number in 0..MAX_NAMESPACES * 2 {
            tokio::time::advance(Duration::from_secs(1)).await;
            let namespace = number.to_string();
            assert!(allowance.take(Some(&namespace), Severity::Warning, Instant::now()));
        }
        assert_eq!(allowance.namespaces.len(), MAX_NAMESPACES);
        assert!(!allowance.namespaces.contains_key("first"));
        assert!(!allowance.namespaces.contains_key("0"));
        let last = (MAX_NAMESPACES * 2 - 1).to_string();
        assert!(allowance.namespaces.contains_key(&last));
    }
}
