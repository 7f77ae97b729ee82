//! Pools of CAs, followed.
//!
//! A pool that cannot be used (missing, malformed, a key that belongs to no certificate) never
//! ends anything: before the first good one the controller is not ready and says why; after it,
//! the last good one goes on signing while a metric, an Event and the log say that the new one
//! is bad. The files hold private keys, so nothing of their content is ever told.

use std::{path::Path, sync::Arc};

use podcert_authority::{Authority, Pool};
use podcert_pki::Certificate;
use podcert_runtime::{Check, Clock as _};
use podcert_workload::files::{self, Reading};
use tokio::sync::watch;

use crate::metrics::LoadedPool;
use crate::reasons::{CA_POOL_MISSING, CA_POOL_REFUSED};
use crate::{Context, PoolSource, Signer};

/// Follows the pool of `signer` until shutdown and hands on each good one.
pub(crate) async fn follow(
    context: Context,
    index: usize,
    signer: Signer,
    check: Check,
    loaded: watch::Sender<Option<Arc<Authority>>>,
) {
    let name = signer.policy.signer.as_str();
    let mut pool = FollowedPool {
        context: &context,
        index,
        name,
        check,
        loaded,
    };
    match signer.pool {
        PoolSource::File { path, options } => {
            let mut readings =
                files::follow([path.clone()], options, context.shutdown.child_token()).await;
            loop {
                let reading = readings.borrow_and_update().clone();
                pool.take_in(&from_file(&path, &reading));
                if !changed(&context, &mut readings).await {
                    return;
                }
            }
        }
        PoolSource::Memory(mut bytes) => loop {
            let content = bytes.borrow_and_update().clone();
            pool.take_in(&match &content {
                Some(content) => Observed::Content(content),
                None => Observed::Nothing("the CA pool is not there yet".to_owned()),
            });
            if !changed(&context, &mut bytes).await {
                return;
            }
        },
    }
}

/// What a look at the pool's source showed.
enum Observed<'a> {
    Content(&'a [u8]),
    Nothing(String),
}

struct FollowedPool<'a> {
    context: &'a Context,
    index: usize,
    name: &'a str,
    check: Check,
    loaded: watch::Sender<Option<Arc<Authority>>>,
}

impl FollowedPool<'_> {
    fn take_in(&mut self, observed: &Observed<'_>) {
        match observed {
            Observed::Content(json) => match Pool::from_json(json) {
                Ok(pool) => self.load(pool),
                Err(error) => self.refuse("refused", CA_POOL_REFUSED, &with_sources(&error)),
            },
            Observed::Nothing(why) => self.refuse("missing", CA_POOL_MISSING, why),
        }
    }

    fn load(&mut self, pool: Pool) {
        let now = self.context.connection.server_clock().now();
        let cas = pool.cas().len();
        for warning in pool.warnings(now) {
            tracing::warn!(signer = self.name, "{warning}");
        }
        let authority = Authority::from_pool(pool);
        tracing::info!(
            signer = self.name,
            cas,
            signs = %authority.ca_id(),
            until = %authority.chain_not_after(),
            "CA pool loaded"
        );
        let anchors = authority.anchors().anchors().iter();
        let loaded = LoadedPool {
            at: now,
            chain_not_after: authority.chain_not_after(),
            anchor_not_after: anchors.map(Certificate::not_after).min(),
        };
        self.context.metrics.pool_loaded(self.index, loaded);
        self.loaded.send_replace(Some(Arc::new(authority)));
        self.check.pass();
    }

    /// There is no new pool to use. The last good one, if there was any, goes on signing.
    fn refuse(&mut self, outcome: &'static str, reason: &'static str, why: &str) {
        self.context.metrics.pool_unusable(self.index, outcome);
        if self.loaded.borrow().is_none() {
            self.check.fail(why);
            return;
        }
        let name = self.name;
        let note = format!("signer {name} goes on with the CA pool it has: {why}");
        tracing::error!(
            signer = name,
            reason,
            why,
            "the last good CA pool goes on signing"
        );
        self.context.warn_own_pod(reason, "LoadCaPool", note);
    }
}

fn from_file<'a>(path: &Path, reading: &'a Reading) -> Observed<'a> {
    match reading {
        Reading::Present(contents) => match contents.bytes(path) {
            Some(bytes) => Observed::Content(bytes),
            None => Observed::Nothing(format!("CA pool file {} was not read", path.display())),
        },
        Reading::Missing { path } => {
            Observed::Nothing(format!("CA pool file {} is missing", path.display()))
        }
        Reading::Unreadable { path, why } => Observed::Nothing(format!(
            "CA pool file {} cannot be read: {why}",
            path.display()
        )),
    }
}

/// Waits for the next value; false when there will be none, or none is wanted any more.
async fn changed<T>(context: &Context, values: &mut watch::Receiver<T>) -> bool {
    tokio::select! {
        biased;
        () = context.shutdown.cancelled() => false,
        changed = values.changed() => {
            if changed.is_err() {
                // Whoever fed it is gone: the last value stands until shutdown.
                context.shutdown.cancelled().await;
            }
            changed.is_ok()
        }
    }
}

/// An error and all it stems from, in one line.
pub(crate) fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
