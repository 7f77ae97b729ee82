//! Watches that never end.
//!
//! kube's watcher lists, watches, resumes and, when told that its place is gone (410), lists
//! anew. It leaves the pace of its retries to us: [`follow`] slows it down after errors and turns
//! them into words.

use std::{fmt::Debug, time::Duration};

use futures::{Stream, StreamExt as _};
use kube::api::Api;
use kube::core::{Resource, Status};
use kube::runtime::{utils::StreamBackoff, watcher};
use podcert_runtime::{Backoff, Jitter};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::rights::Rights;

/// What a watch says: an event, or why it has to begin again.
pub(crate) type Observed<K> = Result<watcher::Event<K>, Failure>;

/// Why a watch has to begin again.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Failure {
    /// For whoever reads `/readyz` or the log.
    pub(crate) why: String,
    /// The API server did not allow it.
    pub(crate) forbidden: bool,
}

impl Failure {
    /// That of `error`.
    pub(crate) fn of(error: &watcher::Error) -> Self {
        Self {
            why: describe(error),
            forbidden: status(error).is_some_and(|status| status.code == FORBIDDEN),
        }
    }

    /// The log of a watch of `resource` that begins again for this.
    pub(crate) fn log(&self, rights: &Rights, resource: &'static str) {
        let why = &self.why;
        if self.forbidden && rights.tells_of(&[resource]) {
            tracing::debug!(resource, why, "a watch begins again");
        } else {
            tracing::warn!(resource, why, "a watch begins again");
        }
    }
}

/// The events of all objects behind `api` that `config` selects.
pub(crate) fn follow<K>(
    api: Api<K>,
    config: watcher::Config,
    jitter: Jitter,
) -> impl Stream<Item = Observed<K>> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    paced(api, config, jitter).map(|event| event.map_err(|error| Failure::of(&error)))
}

/// The same with errors as they come.
pub(crate) fn paced<K>(
    api: Api<K>,
    config: watcher::Config,
    jitter: Jitter,
) -> impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    StreamBackoff::new(watcher(api, config), Pace::new(jitter))
}

/// What the API server answered, if it answered.
pub(crate) fn status(error: &watcher::Error) -> Option<&Status> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status),
        _ => None,
    }
}

/// What the person who reads `/readyz` or the log needs to know.
pub(crate) fn describe(error: &watcher::Error) -> String {
    let (doing, source) = match error {
        watcher::Error::InitialListFailed(source) => ("cannot list", source),
        watcher::Error::WatchStartFailed(source) => ("cannot watch", source),
        watcher::Error::WatchFailed(source) => ("the watch broke", source),
        watcher::Error::WatchError(status) => {
            return format!("the watch ended: {} ({})", status.message, status.code);
        }
        watcher::Error::NoResourceVersion => {
            return "the API server sent an object without resourceVersion".to_owned();
        }
    };
    match source {
        kube::Error::Api(status) => format!("{doing}: {} ({})", status.message, status.code),
        other => format!("{doing}: {other}"),
    }
}

/// The pause after each failure in a row.
///
/// A list that fails is preceded by an `Init` each time, so an event that came through says
/// nothing about the next one: only time without a failure ends a row.
pub(crate) struct Pace {
    jitter: Jitter,
    failures: u32,
    last: Option<Instant>,
}

impl Pace {
    pub(crate) fn new(jitter: Jitter) -> Self {
        Self {
            jitter,
            failures: 0,
            last: None,
        }
    }
}

impl Iterator for Pace {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let now = Instant::now();
        if self.last.is_none_or(|last| now - last > QUIET) {
            self.failures = 0;
        }
        self.last = Some(now);
        self.failures = self.failures.saturating_add(1);
        Some(WATCH_BACKOFF.delay(self.failures, &self.jitter))
    }
}

impl kube::runtime::utils::Backoff for Pace {
    fn reset(&mut self) {}
}

/// HTTP's 403.
pub(crate) const FORBIDDEN: u16 = 403;
const WATCH_BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
/// Longer than the longest pause, so that a row of failures is one row.
const QUIET: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use kube::runtime::utils::Backoff as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn failures_slow_down_until_there_was_quiet() {
        let mut pace = Pace::new(Jitter::seeded(1));
        let mut pauses = Vec::new();
        for _ in 0..10 {
            let pause = pace.next().unwrap();
            tokio::time::sleep(pause).await;
            // An `Init` came through before the list failed again.
            pace.reset();
            pauses.push(pause);
        }
        assert!(pauses[0] <= Duration::from_secs(1), "{pauses:?}");
        assert!(pauses[9] >= Duration::from_secs(15), "{pauses:?}");
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert!(pace.next().unwrap() <= Duration::from_secs(1));
    }
}
