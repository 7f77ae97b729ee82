//! The controller: requests for certificates answered from watches, trust anchors published.
//!
//! ```text
//!   pool file ─▶ pools/ ─▶ bundles/ ─▶ ClusterTrustBundle      pods, Services,     requests
//!                             │                                     │                 │
//!                             └── authority, once its anchors ──▶ requests/ ◀── watches
//!                                 are published                     │    sharing/ says which are ours
//!                                              one PUT of a status ─┤
//!                                                        events ◀───┘
//! ```
//!
//! One concern a module. Each decides purely ([`podcert_issuance::decide`], the queue in
//! `requests`, the plan in `bundles`) and acts thinly. Each signer has a task that follows its
//! pool and one that keeps its bundle; one task answers the requests of all signers, so it needs
//! no locks; one writes Events; one finds out which versions of the API are served (`versions`); one
//! keeps this replica's Lease and says what its share of the work is (`sharing`); one says once which
//! rights are missing (`rights`). All end with the shutdown token, the Lease after the last answer.
//!
//! A new pool's CA signs only once its anchors are in the bundle (or could not be put there for
//! 30 seconds), so that no leaf is issued that nobody can verify because of our own order.

mod bundles;
mod config;
mod events;
mod metrics;
mod optional;
mod pools;
mod reasons;
mod requests;
mod rights;
mod sharing;
mod skew;
mod trial;
mod versions;
mod watching;

use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use podcert_resources::event::{Notice, Severity, pod_reference};
use podcert_resources::{CERTIFICATES_GROUP, bundle};
use podcert_runtime::{Check, Health, Jitter, api::Connection};
use prometheus_client::registry::Registry;
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

pub use crate::config::{
    Config, ConfigError, DEFAULT_CONCURRENCY, OwnPod, PoolSource, Signer, UnknownAnchors,
};
pub use crate::trial::Trial;
use crate::{
    events::Recorder, metrics::Metrics, rights::Rights, sharing::Sharing, versions::Versions,
};

/// A controller, ready to run.
#[derive(Debug)]
pub struct Controller {
    config: Config,
    connection: Connection,
    jitter: Jitter,
    metrics: Metrics,
    health: Health,
    checks: Checks,
}

/// The readiness of a controller, part by part. All of it is there from the beginning, so that
/// one that has not started yet is not ready.
#[derive(Debug)]
struct Checks {
    versions: Check,
    sharing: Option<Check>,
    watches: requests::Checks,
    signers: Vec<(Check, Check)>,
}

/// What the tasks of a controller share.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) connection: Connection,
    pub(crate) jitter: Jitter,
    pub(crate) metrics: Metrics,
    pub(crate) recorder: Recorder,
    pub(crate) own_pod: Option<Arc<ObjectReference>>,
    pub(crate) sharing: Sharing,
    pub(crate) rights: Rights,
    pub(crate) signing: Arc<Semaphore>,
    pub(crate) versions: Versions,
    pub(crate) shutdown: CancellationToken,
}

impl Context {
    /// An Event on the controller's own pod, if it runs in one: something that an operator must see to.
    pub(crate) fn warn_own_pod(&self, reason: &'static str, action: &'static str, note: String) {
        if let Some(pod) = &self.own_pod {
            self.recorder.tell(Notice {
                regarding: pod.as_ref().clone(),
                related: None,
                severity: Severity::Warning,
                reason,
                action,
                note,
            });
        }
    }
}

impl Controller {
    /// A controller that works through `connection` and shows its counts in `registry`. `jitter`
    /// spreads its retries.
    ///
    /// # Errors
    /// When the configuration makes no sense.
    pub fn new(
        config: Config,
        connection: Connection,
        jitter: Jitter,
        registry: &mut Registry,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        let signers = config
            .signers
            .iter()
            .map(|signer| signer.policy.signer.clone())
            .collect();
        let health = Health::new();
        let metrics = Metrics::new(signers);
        metrics.register(registry, &health);
        connection.metrics().register(registry);
        let names = || config.signers.iter().map(|signer| &signer.policy.signer);
        let checks = Checks {
            versions: health.check(format!("versions of {CERTIFICATES_GROUP}")),
            sharing: config
                .replica()
                .map(|replica| health.check(format!("lease of {}", replica.name))),
            watches: requests::Checks::new(&health, names()),
            signers: names()
                .map(|name| {
                    let bundle = bundle::name(name.as_str());
                    (
                        health.check(format!("pool of {name}")),
                        health.check(format!("bundle {bundle}")),
                    )
                })
                .collect(),
        };
        Ok(Self {
            config,
            connection,
            jitter,
            metrics,
            health,
            checks,
        })
    }

    /// Its readiness: pools loaded, caches filled, bundles published.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Works until `shutdown`, then lets the writes under way end.
    ///
    /// Nothing that can pass ends it earlier: while a pool file is missing or the API server
    /// cannot be reached it is not ready, says why, and goes on trying.
    ///
    /// # Errors
    /// When a part of it ended by a defect; the others are stopped then.
    ///
    /// # Cancel safety
    /// When dropped, all of it stops at once; a write under way may or may not have happened.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Broken> {
        let Self {
            config,
            connection,
            jitter,
            metrics,
            health: _,
            checks,
        } = self;
        let (recorder, notices) = Recorder::new(metrics.clone());
        let own_pod = config
            .own_pod
            .as_ref()
            .map(|pod| Arc::new(pod_reference(&pod.namespace, &pod.name, &pod.uid)));
        let wanted = rights::all(&config);
        let (versions, discovery) = Versions::new();
        let (sharing, share) = match config.replica().zip(checks.sharing) {
            Some(as_whom) => {
                let (sharing, share) = Sharing::with_others();
                (sharing, Some((as_whom, share)))
            }
            None => {
                metrics.shares(1, 1.0);
                (Sharing::alone(), None)
            }
        };
        let context = Context {
            connection,
            jitter,
            metrics,
            recorder,
            own_pod,
            sharing,
            rights: Rights::new(),
            signing: requests::signing::slots(),
            versions,
            shutdown: shutdown.child_token(),
        };

        let stop = context.shutdown.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(versions::follow(
            context.clone(),
            checks.versions,
            discovery,
        ));
        let (listed, known) = watch::channel(false);
        let finished = CancellationToken::new();
        if let Some(((replica, check), share)) = share {
            let task = sharing::Task {
                replica,
                check,
                share,
                known,
                finished: finished.clone(),
            };
            tasks.spawn(sharing::keep(context.clone(), task));
        }
        let (ready_to_sign, authorities) = mpsc::channel(config.signers.len().max(1));
        for (index, (signer, (pool_check, bundle_check))) in
            config.signers.iter().zip(checks.signers).enumerate()
        {
            let (loaded, pool) = watch::channel(None);
            tasks.spawn(pools::follow(
                context.clone(),
                index,
                signer.clone(),
                pool_check,
                loaded,
            ));
            tasks.spawn(bundles::keep(
                context.clone(),
                index,
                signer.clone(),
                config.unknown_anchors,
                bundle_check,
                pool,
                ready_to_sign.clone(),
            ));
        }
        drop(ready_to_sign);
        tasks.spawn(events::write(
            notices,
            context.connection.client().clone(),
            Arc::clone(context.connection.server_clock()),
            config.instance,
            context.own_pod.clone(),
            context.metrics.clone(),
            context.shutdown.clone(),
        ));
        tasks.spawn(skew::watch(context.clone()));
        tasks.spawn(rights::report(context.clone(), wanted));
        let policies = config
            .signers
            .into_iter()
            .map(|signer| signer.policy)
            .collect();
        let answering = requests::answer(
            context,
            checks.watches,
            policies,
            config.concurrency,
            listed,
            authorities,
        );
        tasks.spawn(async move {
            // However it ends, there is no more work for others to wait with.
            let _finished = finished.drop_guard();
            answering.await;
        });
        let mut broken = false;
        while let Some(ended) = tasks.join_next().await {
            // A part that ends before it was told to has panicked, or lost one that has.
            if !stop.is_cancelled() || ended.is_err() {
                broken = true;
                stop.cancel();
            }
        }
        if broken { Err(Broken) } else { Ok(()) }
    }
}

/// A part of the controller ended by a defect of podcert's. What is known of it is in the log;
/// starting again is the way on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a part of the controller ended by a defect (see the log above); start it again")]
pub struct Broken;
