//! Watches that never end.
//!
//! kube's watcher lists, watches, resumes and, when told that its place is gone (410), lists
//! anew. It leaves the pace of its retries to us: [`follow`] slows it down after errors and turns
//! them into words.

use std::{fmt::Debug, time::Duration};

use futures::{Stream, StreamExt as _};
use kube::api::Api;
use kube::core::Resource;
use kube::runtime::{utils::StreamBackoff, watcher};
use podcert_runtime::{Backoff, Jitter};
use serde::de::DeserializeOwned;

/// What a watch says: an event, or in words why it has to begin again.
pub(crate) type Observed<K> = Result<watcher::Event<K>, String>;

/// The events of all objects behind `api` that `config` selects.
pub(crate) fn follow<K>(
    api: Api<K>,
    config: watcher::Config,
    jitter: Jitter,
) -> impl Stream<Item = Observed<K>> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let pace = Pace {
        backoff: WATCH_BACKOFF,
        jitter,
        failures: 0,
    };
    StreamBackoff::new(watcher(api, config), pace)
        .map(|event| event.map_err(|error| describe(&error)))
}

/// What the person who reads `/readyz` or the log needs to know.
fn describe(error: &watcher::Error) -> String {
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
struct Pace {
    backoff: Backoff,
    jitter: Jitter,
    failures: u32,
}

impl Iterator for Pace {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.failures = self.failures.saturating_add(1);
        Some(self.backoff.delay(self.failures, &self.jitter))
    }
}

impl kube::runtime::utils::Backoff for Pace {
    fn reset(&mut self) {
        self.failures = 0;
    }
}

const WATCH_BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
