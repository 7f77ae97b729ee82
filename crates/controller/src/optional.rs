//! A watch that RBAC may refuse.
//!
//! Nodes and service accounts are compared where they are shown, and meshtool's RBAC shows neither;
//! without the Leases of other replicas a replica works alone.
//! So a 403 is an answer here: it is told once, what was known before is given up with it, and it is
//! asked again seldom, for a right that is granted later. Every other error is treated as that of
//! the other watches.
//!
//! A 403 alone is not believed, though: an API server that has just started forbids everything until
//! it has read its roles. So nothing is asked before the server has shown something that must be
//! shown, and where objects were shown before, a refusal must have stood for some seconds.

use std::{fmt::Debug, time::Duration};

use futures::stream::{self, BoxStream, Stream, StreamExt as _};
use kube::api::Api;
use kube::core::Resource;
use kube::runtime::watcher;
use podcert_runtime::{Backoff, Jitter};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::watching::{self, FORBIDDEN, Failure, Pace};

/// What a watch that may be refused says.
#[derive(Clone, Debug)]
pub(crate) enum Seen<K> {
    /// What there is.
    Event(watcher::Event<K>),
    /// Objects are not shown, and what was shown before counts no longer. In words why.
    Refused(String),
}

/// What such a watch says, or why it has to begin again.
pub(crate) type Observed<K> = Result<Seen<K>, Failure>;

/// The events of all objects behind `api` that `config` selects, if they are shown. Asked for once `known` says that the
/// server knows its roles.
pub(crate) fn follow<K>(
    api: Api<K>,
    config: watcher::Config,
    mut known: watch::Receiver<bool>,
    jitter: Jitter,
) -> impl Stream<Item = Observed<K>> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    // An error says that nobody is left who could know: the controller ends.
    let known = async move { known.wait_for(|known| *known).await.is_ok() };
    stream::once(known)
        .filter(|known| std::future::ready(*known))
        .flat_map(move |_| {
            let (api, config) = (api.clone(), config.clone());
            let begin = move || watcher(api.clone(), config.clone()).boxed();
            observe(begin, jitter.clone())
        })
}

type Events<K> = BoxStream<'static, watcher::Result<watcher::Event<K>>>;

/// The same of a watch that `begin` begins with a list.
fn observe<K, F>(begin: F, jitter: Jitter) -> impl Stream<Item = Observed<K>> + Send
where
    K: Send + 'static,
    F: Fn() -> Events<K> + Send,
{
    let watch = Watch {
        events: begin(),
        begin,
        pace: Pace::new(jitter.clone()),
        jitter,
        pause: None,
        shown: Shown::NotYet,
        refused: None,
    };
    stream::unfold(watch, |mut watch| async move {
        let observed = watch.next().await?;
        Some((observed, watch))
    })
}

struct Watch<K, F> {
    begin: F,
    events: Events<K>,
    jitter: Jitter,
    pace: Pace,
    pause: Option<Duration>,
    shown: Shown,
    refused: Option<Refusals>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Shown {
    NotYet,
    Yes,
    No,
}

/// Refusals in a row.
#[derive(Clone, Copy, Debug)]
struct Refusals {
    first: Instant,
    last: Instant,
}

impl<K, F> Watch<K, F>
where
    F: Fn() -> Events<K>,
{
    /// Nothing at the end, which kube's watcher does not have.
    async fn next(&mut self) -> Option<Observed<K>> {
        loop {
            if let Some(pause) = self.pause.take() {
                sleep(pause).await;
            }
            let error = match self.events.next().await? {
                Ok(event) => {
                    self.note(&event);
                    return Some(Ok(Seen::Event(event)));
                }
                Err(error) => error,
            };
            let status = watching::status(&error);
            if status.is_none_or(|status| status.code != FORBIDDEN) {
                self.refused = None;
                self.pause = self.pace.next();
                return Some(Err(Failure::of(&error)));
            }
            if self.is_believed(Instant::now()) {
                // From the beginning: what is given up must be listed again.
                self.events = (self.begin)();
                self.pause = Some(ASK_AGAIN.delay(1, &self.jitter));
                let told = std::mem::replace(&mut self.shown, Shown::No) == Shown::No;
                if !told {
                    return Some(Ok(Seen::Refused(watching::describe(&error))));
                }
            } else {
                self.pause = Some(CONFIRM);
            }
        }
    }

    fn note(&mut self, event: &watcher::Event<K>) {
        match event {
            // They come before a list is whole, and a list that is refused has them too.
            watcher::Event::Init | watcher::Event::InitApply(_) => {}
            watcher::Event::InitDone => {
                self.shown = Shown::Yes;
                self.refused = None;
            }
            watcher::Event::Apply(_) | watcher::Event::Delete(_) => self.refused = None,
        }
    }

    /// Whether another refusal, at `now`, is the answer.
    fn is_believed(&mut self, now: Instant) -> bool {
        if self.shown != Shown::Yes {
            return true;
        }
        let refused = self
            .refused
            .filter(|refused| now - refused.last < ROW)
            .unwrap_or(Refusals {
                first: now,
                last: now,
            });
        self.refused = Some(Refusals {
            last: now,
            ..refused
        });
        now - refused.first >= SHOWN_BEFORE
    }
}

/// Until a refusal is repeated.
const CONFIRM: Duration = Duration::from_secs(1);
/// How long a refusal must have stood where objects were shown: nobody waits for it, and a server
/// that starts again may take its time.
const SHOWN_BEFORE: Duration = Duration::from_secs(15);
/// Longer than [`CONFIRM`] and a slow answer; shorter than a watch lasts.
const ROW: Duration = Duration::from_secs(60);
/// Spread over its second half: five to ten minutes.
const ASK_AGAIN: Backoff = Backoff::new(Duration::from_mins(10), Duration::from_mins(10));

#[cfg(test)]
mod tests;
