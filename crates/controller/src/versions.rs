//! Which versions of `certificates.k8s.io` the API server serves, and which of them is spoken.
//!
//! ```text
//!   doubts ──▶ follow: GET /apis/certificates.k8s.io/{v1,v1beta1} ─▶ choose ──▶ InUse
//!     ▲        at the start, at a doubt, every five to ten minutes    (pure)      │
//!     └───── watches, writes, re-reads: "404, no such path" ◀─────────────────────┘
//! ```
//!
//! One task asks and all others listen. A watch follows what is chosen ([`Versions::watch`]
//! begins anew at another version); whoever writes asks at the moment of writing. A version is
//! given up only for another one that is served: a server that shows nothing at all is starting,
//! and it is asked again.

mod choice;

use std::time::Duration;

use futures::stream::{self, BoxStream, Stream, StreamExt as _};
use kube::api::Api;
use kube::core::{Resource, Status};
use kube::runtime::watcher;
use podcert_resources::{ApiVersion, CERTIFICATES_GROUP};
use podcert_runtime::{Backoff, Check};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use self::choice::{Choice, Served};
use crate::{Context, pools::with_sources, watching};

pub(crate) use self::choice::{InUse, Spoken};

/// What is in use, and where to say that it cannot be right. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Versions {
    in_use: watch::Receiver<InUse>,
    doubts: mpsc::Sender<Doubt>,
}

/// The other end of [`Versions`], for [`follow`].
#[derive(Debug)]
pub(crate) struct Discovery {
    in_use: watch::Sender<InUse>,
    doubts: mpsc::Receiver<Doubt>,
}

/// Why what is known may be out of date.
#[derive(Clone, Copy, Debug)]
enum Doubt {
    /// There is no such path.
    Unserved(Spoken, ApiVersion),
    /// A watch broke: perhaps the server was replaced by another release.
    Broken,
}

impl Versions {
    /// Nothing is known yet.
    pub(crate) fn new() -> (Self, Discovery) {
        let (known, in_use) = watch::channel(InUse::default());
        let (doubts, heard) = mpsc::channel(MOST_DOUBTS);
        let discovery = Discovery {
            in_use: known,
            doubts: heard,
        };
        (Self { in_use, doubts }, discovery)
    }

    /// What is in use now.
    pub(crate) fn now(&self) -> InUse {
        *self.in_use.borrow()
    }

    /// What is in use, and each change of it.
    pub(crate) fn changes(&self) -> watch::Receiver<InUse> {
        self.in_use.clone()
    }

    /// Has it found out anew what is served: `version` of `spoken` was answered with a 404 that
    /// is about no object.
    pub(crate) fn unserved(&self, spoken: Spoken, version: ApiVersion) {
        self.doubt(Doubt::Unserved(spoken, version));
    }

    fn doubt(&self, doubt: Doubt) {
        // When it is full, enough was said.
        let _ = self.doubts.try_send(doubt);
    }

    /// The events of all `spoken` objects that `config` selects, at the version in use: when that
    /// changes, the watch begins again with a list at the new one.
    pub(crate) fn watch<K>(
        &self,
        context: &Context,
        spoken: Spoken,
        config: watcher::Config,
    ) -> impl Stream<Item = watching::Observed<K>> + Send + use<K>
    where
        K: Resource<DynamicType = ApiVersion> + Clone + DeserializeOwned + std::fmt::Debug,
        K: Send + 'static,
    {
        let watch = Watch {
            versions: self.clone(),
            changes: self.changes(),
            begin: {
                let (client, jitter) =
                    (context.connection.client().clone(), context.jitter.clone());
                move |version: ApiVersion| {
                    let api = Api::<K>::all_with(client.clone(), &version);
                    watching::paced(api, config.clone(), jitter.clone()).boxed()
                }
            },
            spoken,
            version: None,
            events: stream::pending().boxed(),
        };
        stream::unfold(watch, |mut watch| async move {
            let event = watch.next().await?;
            Some((event, watch))
        })
    }
}

/// A watch at the version in use.
struct Watch<K, F> {
    versions: Versions,
    changes: watch::Receiver<InUse>,
    begin: F,
    spoken: Spoken,
    version: Option<ApiVersion>,
    events: BoxStream<'static, watcher::Result<watcher::Event<K>>>,
}

impl<K, F> Watch<K, F>
where
    F: Fn(ApiVersion) -> BoxStream<'static, watcher::Result<watcher::Event<K>>>,
{
    /// Nothing at the end, when nobody looks for versions any more.
    async fn next(&mut self) -> Option<watching::Observed<K>> {
        loop {
            let version = self.changes.borrow_and_update().of(self.spoken);
            if let Some(wanted) = version.filter(|_| version != self.version) {
                self.version = version;
                self.events = (self.begin)(wanted);
            }
            tokio::select! {
                biased;
                changed = self.changes.changed() => changed.ok()?,
                Some(event) = self.events.next() => {
                    return Some(event.map_err(|error| self.explain(&error)));
                }
            }
        }
    }

    /// In words; and has the versions looked for again where that may be the reason.
    fn explain(&self, error: &watcher::Error) -> watching::Failure {
        let failure = watching::Failure::of(error);
        let Some(version) = self.version else {
            return failure;
        };
        if !watching::status(error).is_some_and(is_unserved) {
            self.versions.doubt(Doubt::Broken);
            return failure;
        }
        self.versions.unserved(self.spoken, version);
        let why = format!(
            "the API server does not serve {} of {} (any more?): {}",
            self.spoken.plural(),
            version.group_version(),
            failure.why
        );
        watching::Failure { why, ..failure }
    }
}

/// Whether a 404 is about the path, not about an object. About an object it names that object;
/// otherwise it is plain text, or a Status that names nothing.
pub(crate) fn is_unserved(status: &Status) -> bool {
    let names_an_object = |status: &Status| {
        let details = status.details.as_ref();
        details.is_some_and(|details| !details.name.is_empty())
    };
    status.code == 404 && !names_an_object(status)
}

/// Keeps what is in use up to date until shutdown.
pub(crate) async fn follow(context: Context, check: Check, discovery: Discovery) {
    let Discovery { in_use, mut doubts } = discovery;
    let mut choice = Choice::default();
    let mut pace = Pace::default();
    let mut failures: u32 = 0;
    loop {
        // What was doubted until now is answered by what is asked now.
        while let Ok(doubt) = doubts.try_recv() {
            choice.doubt(doubt, Instant::now());
        }
        pace.ask(Instant::now());
        let seen = tokio::select! {
            biased;
            () = context.shutdown.cancelled() => return,
            seen = ask(&context) => seen,
        };
        let missing = match seen {
            Ok(served) => {
                in_use.send_if_modified(|known| {
                    let chosen = choice.among(served, Instant::now());
                    let changed = *known != chosen;
                    if changed {
                        announce(&context, *known, chosen);
                    }
                    *known = chosen;
                    changed
                });
                served.missing()
            }
            Err(why) => Some(format!(
                "it cannot be found out what the API server serves: {why}"
            )),
        };
        let wait = match missing {
            None => {
                failures = 0;
                check.pass_saying(choice.in_use().to_string());
                LOOK_AGAIN.delay(1, &context.jitter)
            }
            Some(why) => {
                failures = failures.saturating_add(1);
                let wait = TRY_AGAIN.delay(failures, &context.jitter);
                tracing::warn!(retry_in = ?wait, "{why}");
                check.fail_unless_passing(why);
                wait
            }
        };
        let mut again = Instant::now() + wait;
        loop {
            // Cancel safe: a doubt is heard, or still there the next time round.
            tokio::select! {
                biased;
                () = context.shutdown.cancelled() => return,
                Some(doubt) = doubts.recv() => {
                    if choice.doubt(doubt, Instant::now()) {
                        again = again.min(pace.earliest(doubt, &context.jitter));
                    }
                }
                () = sleep_until(again) => break,
            }
        }
    }
}

/// What the API server serves.
///
/// # Errors
/// When it did not say, in words.
async fn ask(context: &Context) -> Result<Served, String> {
    let mut served = Served::default();
    for version in ApiVersion::ALL {
        let path = format!("/apis/{}", version.group_version());
        let request = http::Request::get(&path)
            .body(Vec::new())
            .map_err(|error| with_sources(&error))?;
        let answer: Result<ResourceList, _> = context.connection.client().request(request).await;
        match answer {
            Ok(list) => {
                let names = list.resources.unwrap_or_default();
                for spoken in Spoken::ALL {
                    if names.iter().any(|found| found.name == spoken.plural()) {
                        served.add(spoken, version);
                    }
                }
            }
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            // Somebody took away what every user may read unless told otherwise. It is tried then.
            Err(kube::Error::Api(status)) if status.code == 403 => {
                tracing::warn!(
                    path,
                    why = status.message,
                    "not allowed to see what is served"
                );
                for spoken in Spoken::ALL {
                    served.add(spoken, version);
                }
            }
            Err(error) => return Err(format!("GET {path}: {}", with_sources(&error))),
        }
    }
    Ok(served)
}

/// The log and the metric of a change.
fn announce(context: &Context, before: InUse, now: InUse) {
    for spoken in Spoken::ALL {
        let (before, version) = (before.of(spoken), now.of(spoken));
        if before != version {
            let (before, version) = (
                before.map(ApiVersion::as_str),
                version.map(ApiVersion::as_str),
            );
            tracing::info!(
                resource = spoken.plural(),
                version = version.unwrap_or("none"),
                before = before.unwrap_or("none"),
                "speaks {CERTIFICATES_GROUP}"
            );
            context.metrics.speaks(spoken.plural(), before, version);
        }
    }
}

/// How soon it is asked again.
#[derive(Debug, Default)]
struct Pace {
    asked: Option<Instant>,
    /// How often it was asked, one soon after the other.
    row: u32,
}

impl Pace {
    fn ask(&mut self, now: Instant) {
        let soon = self.asked.is_some_and(|last| now - last < QUIET);
        self.row = if soon { self.row.saturating_add(1) } else { 0 };
        self.asked = Some(now);
    }

    /// When `doubt` may have it asked again: at once, unless that was done just before.
    fn earliest(&self, doubt: Doubt, jitter: &podcert_runtime::Jitter) -> Instant {
        let after = match doubt {
            Doubt::Broken => BROKEN_PAUSE,
            Doubt::Unserved(..) if self.row == 0 => Duration::ZERO,
            Doubt::Unserved(..) => TRY_AGAIN.delay(self.row, jitter),
        };
        self.asked.map_or_else(Instant::now, |asked| asked + after)
    }
}

/// As much of an `APIResourceList` as is looked at.
#[derive(Debug, Deserialize)]
struct ResourceList {
    resources: Option<Vec<ListedResource>>,
}

#[derive(Debug, Deserialize)]
struct ListedResource {
    name: String,
}

const MOST_DOUBTS: usize = 64;
/// Spread over its second half: five to ten minutes.
const LOOK_AGAIN: Backoff = Backoff::new(Duration::from_mins(10), Duration::from_mins(10));
const TRY_AGAIN: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
/// Watches break together, and more often for other reasons.
const BROKEN_PAUSE: Duration = Duration::from_secs(30);
/// Longer than the longest pause, so that a row of questions is one row.
const QUIET: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
