//! What the controller counts. Every label value is one of few words: a signer of the
//! configuration, a reason of ours.
//!
//! What `deploy/monitoring` asks about is here under the same names and labels; a test holds that.

mod labels;
mod readiness;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use podcert_issuance::{DenialReason, SignerName};
use podcert_runtime::Health;
use prometheus_client::metrics::{
    counter::Counter,
    family::Family,
    gauge::Gauge,
    histogram::{Histogram, exponential_buckets},
};
use prometheus_client::registry::{Registry, Unit};

use self::labels::{
    BuildLabel, Label, OutcomeLabel, OutcomeLabels, ReasonLabels, RequestLabels, ResourceLabel,
    SignerLabel, VersionLabels,
};
use self::readiness::Readiness;
use crate::reasons::ISSUED;

/// All counts of a controller. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    signers: Arc<[SignerName]>,
    requests: Family<RequestLabels, Counter>,
    waiting: Family<ReasonLabels, Gauge>,
    oldest_waiting: Family<ReasonLabels, Gauge>,
    answer_seconds: Family<SignerLabel, Histogram, fn() -> Histogram>,
    signing_seconds: Family<SignerLabel, Histogram, fn() -> Histogram>,
    pools: Family<OutcomeLabels, Counter>,
    pool_usable: Family<SignerLabel, Gauge>,
    pool_loaded_at: Family<SignerLabel, Gauge>,
    chain_expiry: Family<SignerLabel, Gauge>,
    anchor_expiry: Family<SignerLabel, Gauge>,
    bundles: Family<OutcomeLabels, Counter>,
    events: Family<OutcomeLabel, Counter>,
    watch_failures: Family<ResourceLabel, Counter>,
    uids_compared: Family<ResourceLabel, Gauge>,
    versions: Family<VersionLabels, Gauge>,
    read_again: Family<OutcomeLabels, Counter>,
    clock_offset: Gauge<f64, std::sync::atomic::AtomicU64>,
    replicas_live: Gauge,
    share_owned: Gauge<f64, std::sync::atomic::AtomicU64>,
    lease_renewals: Family<OutcomeLabel, Counter>,
    double_writes: Family<SignerLabel, Counter>,
    unknown_anchors: Family<SignerLabel, Gauge>,
    build: Family<BuildLabel, Gauge>,
}

/// A pool that was read and will sign.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadedPool {
    /// When it was read.
    pub(crate) at: Timestamp,
    /// When the first certificate of the signing CA's chain expires.
    pub(crate) chain_not_after: Timestamp,
    /// When the first of its anchors expires.
    pub(crate) anchor_not_after: Option<Timestamp>,
}

/// How a request was answered.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Outcome {
    Denied,
    Issued,
}

impl Metrics {
    pub(crate) fn new(signers: Vec<SignerName>) -> Self {
        let metrics = Self {
            signers: signers.into(),
            requests: Family::default(),
            waiting: Family::default(),
            oldest_waiting: Family::default(),
            // 1 ms to 17 min: a request is cleaned away after 15.
            answer_seconds: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.001, 4.0, 11))
            }),
            // 10 us to 0.6 s.
            signing_seconds: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.000_01, 4.0, 9))
            }),
            pools: Family::default(),
            pool_usable: Family::default(),
            pool_loaded_at: Family::default(),
            chain_expiry: Family::default(),
            anchor_expiry: Family::default(),
            bundles: Family::default(),
            events: Family::default(),
            watch_failures: Family::default(),
            uids_compared: Family::default(),
            versions: Family::default(),
            read_again: Family::default(),
            clock_offset: Gauge::default(),
            replicas_live: Gauge::default(),
            share_owned: Gauge::default(),
            lease_renewals: Family::default(),
            double_writes: Family::default(),
            unknown_anchors: Family::default(),
            build: Family::default(),
        };
        metrics.begin_at_zero();
        metrics
    }

    /// Makes the counters that alerts ask about. `rate` and `increase` look at differences: of one
    /// that appears with its first event they would miss that event.
    fn begin_at_zero(&self) {
        for signer in self.signers.iter().map(|signer| Label(signer.clone())) {
            let denied = DenialReason::ALL.map(|reason| (Outcome::Denied, reason.as_str()));
            for (outcome, reason) in denied.into_iter().chain([(Outcome::Issued, ISSUED)]) {
                let signer = signer.clone();
                self.requests.get_or_create_owned(&RequestLabels {
                    signer,
                    outcome,
                    reason,
                });
            }
            for (family, outcomes) in [
                (&self.pools, ["loaded", "refused", "missing"].as_slice()),
                (
                    &self.bundles,
                    &["created", "updated", "conflict", "refused"],
                ),
            ] {
                for &outcome in outcomes {
                    let signer = signer.clone();
                    family.get_or_create_owned(&OutcomeLabels { signer, outcome });
                }
            }
            self.double_writes
                .get_or_create_owned(&SignerLabel { signer });
        }
        for outcome in ["written", "refused", "dropped"] {
            self.events.get_or_create_owned(&OutcomeLabel { outcome });
        }
        for outcome in [
            "created",
            "renewed",
            "conflict",
            "gone",
            "refused",
            "unanswered",
        ] {
            self.lease_renewals
                .get_or_create_owned(&OutcomeLabel { outcome });
        }
        for resource in [
            "clustertrustbundles",
            "leases",
            "nodes",
            "podcertificaterequests",
            "pods",
            "serviceaccounts",
            "services",
        ] {
            self.watch_failures
                .get_or_create_owned(&ResourceLabel { resource });
        }
    }

    /// Shows them in `registry`, and whether `health` is well.
    pub(crate) fn register(&self, registry: &mut Registry, health: &Health) {
        registry.register(
            "podcert_build_info",
            "1, for the version of podcert that runs",
            self.build.clone(),
        );
        let version = env!("CARGO_PKG_VERSION");
        self.build.get_or_create(&BuildLabel { version }).set(1);
        registry.register_collector(Box::new(Readiness::of("podcert_ready", health)));
        registry.register(
            "podcert_requests",
            "Requests answered, by signer, outcome and reason",
            self.requests.clone(),
        );
        registry.register(
            "podcert_requests_waiting",
            "Requests not answered yet, by signer and reason",
            self.waiting.clone(),
        );
        // A time, as Prometheus' instrumentation guide has it, and not an age: it is right whenever it is
        // scraped without anybody counting seconds, and a rule subtracts it from `time()`. That of the
        // request's creation, because Kubernetes deletes it so long after that, whoever looked at it
        // since: a restart of podcert makes no request young.
        registry.register(
            "podcert_requests_oldest_waiting_timestamp_seconds",
            "When the oldest request that waits was created, Unix time, by signer and reason; absent \
             where none waits",
            self.oldest_waiting.clone(),
        );
        registry.register_with_unit(
            "podcert_request_answer",
            "Time from first seeing a request to its answer being written",
            Unit::Seconds,
            self.answer_seconds.clone(),
        );
        registry.register_with_unit(
            "podcert_signing",
            "Time to build and sign a certificate",
            Unit::Seconds,
            self.signing_seconds.clone(),
        );
        registry.register(
            "podcert_pool_loads",
            "Readings of CA pool files, by signer and outcome",
            self.pools.clone(),
        );
        registry.register(
            "podcert_pool_last_load_successful",
            "1 if the CA pool, as it was last read, can be used, else 0",
            self.pool_usable.clone(),
        );
        registry.register(
            "podcert_pool_last_load_success_timestamp_seconds",
            "When a usable CA pool was last read, Unix time",
            self.pool_loaded_at.clone(),
        );
        registry.register(
            "podcert_signing_chain_expiry_timestamp_seconds",
            "When the first certificate of the signing CA's chain expires, Unix time",
            self.chain_expiry.clone(),
        );
        registry.register(
            "podcert_anchor_expiry_timestamp_seconds",
            "When the first of the pool's trust anchors expires, Unix time",
            self.anchor_expiry.clone(),
        );
        registry.register(
            "podcert_bundle_writes",
            "Writes of ClusterTrustBundles, by signer and outcome",
            self.bundles.clone(),
        );
        registry.register(
            "podcert_events",
            "Events, by what became of them",
            self.events.clone(),
        );
        registry.register(
            "podcert_watch_failures",
            "Lists and watches that failed and were begun again",
            self.watch_failures.clone(),
        );
        registry.register(
            "podcert_uids_compared",
            "1 where UIDs in requests are compared with live objects, 0 where RBAC shows none",
            self.uids_compared.clone(),
        );
        registry.register(
            "podcert_api_version",
            "1 for the version of certificates.k8s.io a resource is spoken in",
            self.versions.clone(),
        );
        registry.register(
            "podcert_requests_read_again",
            "Requests whose key v1 does not show, read at v1beta1, by signer and outcome",
            self.read_again.clone(),
        );
        registry.register_with_unit(
            "podcert_api_server_clock_offset",
            "How far the API server's clock is ahead of this machine's",
            Unit::Seconds,
            self.clock_offset.clone(),
        );
        registry.register(
            "podcert_replicas_live",
            "Replicas the work is shared among, this one included; 1 if it works alone",
            self.replicas_live.clone(),
        );
        registry.register(
            "podcert_share_owned_ratio",
            "The part of all requests that is this replica's",
            self.share_owned.clone(),
        );
        registry.register(
            "podcert_lease_renewals",
            "Writes of this replica's Lease, by outcome",
            self.lease_renewals.clone(),
        );
        registry.register(
            "podcert_double_writes",
            "Answers refused because the request was answered before, by signer",
            self.double_writes.clone(),
        );
        registry.register(
            "podcert_bundle_unknown_anchors",
            "Anchors of a ClusterTrustBundle that are in no pool this replica has seen, by signer",
            self.unknown_anchors.clone(),
        );
    }

    pub(crate) fn answered(
        &self,
        signer: usize,
        outcome: Outcome,
        reason: &'static str,
        took: Duration,
    ) {
        let Some(signer) = self.label(signer) else {
            return;
        };
        let answer_seconds = self.answer_seconds.get_or_create(&signer);
        answer_seconds.observe(took.as_secs_f64());
        drop(answer_seconds);
        let SignerLabel { signer } = signer;
        self.requests
            .get_or_create(&RequestLabels {
                signer,
                outcome,
                reason,
            })
            .inc();
    }

    pub(crate) fn waiting(&self, signer: usize, reason: &'static str, change: i64) {
        let Some(SignerLabel { signer }) = self.label(signer) else {
            return;
        };
        self.waiting
            .get_or_create(&ReasonLabels { signer, reason })
            .inc_by(change);
    }

    /// Of the requests that wait for `reason`, the oldest was created then; or none waits any more.
    pub(crate) fn oldest_waiting(
        &self,
        signer: usize,
        reason: &'static str,
        created: Option<Timestamp>,
    ) {
        let Some(SignerLabel { signer }) = self.label(signer) else {
            return;
        };
        let labels = ReasonLabels { signer, reason };
        match created {
            Some(created) => {
                let oldest = self.oldest_waiting.get_or_create(&labels);
                oldest.set(created.as_second());
            }
            None => {
                self.oldest_waiting.remove(&labels);
            }
        }
    }

    pub(crate) fn signed(&self, signer: usize, took: Duration) {
        let Some(signer) = self.label(signer) else {
            return;
        };
        self.signing_seconds
            .get_or_create(&signer)
            .observe(took.as_secs_f64());
    }

    pub(crate) fn pool_loaded(&self, signer: usize, pool: LoadedPool) {
        let Some(label) = self.label(signer) else {
            return;
        };
        let set = |family: &Family<SignerLabel, Gauge>, value: i64| {
            family.get_or_create(&label).set(value);
        };
        set(&self.pool_usable, 1);
        set(&self.pool_loaded_at, pool.at.as_second());
        set(&self.chain_expiry, pool.chain_not_after.as_second());
        match pool.anchor_not_after {
            Some(end) => set(&self.anchor_expiry, end.as_second()),
            None => {
                self.anchor_expiry.remove(&label);
            }
        }
        self.pool_outcome(signer, "loaded");
    }

    /// The pool's source gives none that can be used.
    pub(crate) fn pool_unusable(&self, signer: usize, outcome: &'static str) {
        if let Some(label) = self.label(signer) {
            self.pool_usable.get_or_create(&label).set(0);
        }
        self.pool_outcome(signer, outcome);
    }

    fn pool_outcome(&self, signer: usize, outcome: &'static str) {
        let Some(SignerLabel { signer }) = self.label(signer) else {
            return;
        };
        self.pools
            .get_or_create(&OutcomeLabels { signer, outcome })
            .inc();
    }

    pub(crate) fn bundle_outcome(&self, signer: usize, outcome: &'static str) {
        let Some(SignerLabel { signer }) = self.label(signer) else {
            return;
        };
        self.bundles
            .get_or_create(&OutcomeLabels { signer, outcome })
            .inc();
    }

    pub(crate) fn event_outcome(&self, outcome: &'static str) {
        self.events.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    pub(crate) fn watch_failed(&self, resource: &'static str) {
        self.watch_failures
            .get_or_create(&ResourceLabel { resource })
            .inc();
    }

    /// Whether requests are compared with live objects of `resource` from now on. Returns whether
    /// that is new.
    pub(crate) fn uids_compared(&self, resource: &'static str, compared: bool) -> bool {
        let gauge = self
            .uids_compared
            .get_or_create_owned(&ResourceLabel { resource });
        let compared = i64::from(compared);
        gauge.set(compared) != compared
    }

    /// `resource` is spoken in `version` from now on, and was in `before`.
    pub(crate) fn speaks(
        &self,
        resource: &'static str,
        before: Option<&'static str>,
        version: Option<&'static str>,
    ) {
        for (version, value) in [(before, 0), (version, 1)] {
            if let Some(version) = version {
                self.versions
                    .get_or_create(&VersionLabels { resource, version })
                    .set(value);
            }
        }
    }

    pub(crate) fn read_again(&self, signer: usize, outcome: &'static str) {
        let Some(SignerLabel { signer }) = self.label(signer) else {
            return;
        };
        self.read_again
            .get_or_create(&OutcomeLabels { signer, outcome })
            .inc();
    }

    pub(crate) fn clock_offset(&self, seconds: f64) {
        self.clock_offset.set(seconds);
    }

    /// The work is shared among so many, and this part of it is this replica's.
    pub(crate) fn shares(&self, live: usize, share: f64) {
        self.replicas_live
            .set(i64::try_from(live).unwrap_or(i64::MAX));
        self.share_owned.set(share);
    }

    pub(crate) fn lease_renewal(&self, outcome: &'static str) {
        let outcome = OutcomeLabel { outcome };
        self.lease_renewals.get_or_create(&outcome).inc();
    }

    pub(crate) fn double_write(&self, signer: usize) {
        if let Some(signer) = self.label(signer) {
            self.double_writes.get_or_create(&signer).inc();
        }
    }

    pub(crate) fn unknown_anchors(&self, signer: usize, anchors: usize) {
        if let Some(signer) = self.label(signer) {
            let anchors = i64::try_from(anchors).unwrap_or(i64::MAX);
            self.unknown_anchors.get_or_create(&signer).set(anchors);
        }
    }

    #[cfg(test)]
    pub(crate) fn waiting_count(&self, signer: usize, reason: &'static str) -> i64 {
        let Some(SignerLabel { signer }) = self.label(signer) else {
            return 0;
        };
        self.waiting
            .get(&ReasonLabels { signer, reason })
            .map_or(0, |gauge| gauge.get())
    }

    fn label(&self, signer: usize) -> Option<SignerLabel> {
        self.signers.get(signer).map(|signer| SignerLabel {
            signer: Label(signer.clone()),
        })
    }
}

#[cfg(test)]
mod tests;
