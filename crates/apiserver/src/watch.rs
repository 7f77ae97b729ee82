//! Watches: a cursor into a kind's log, turned into lines of JSON.
//!
//! A watch ends when its time is up, when it falls behind the kept history, when a fault cuts it
//! or when the client drops it. It begins in one of three ways:
//!
//! - at a resource version: with the changes after it, or with one `ERROR` event of code 410 when
//!   those are gone (never with an HTTP error: clients rely on that);
//! - at none or at `0`: with an `ADDED` for each object there is, then the changes;
//! - with `sendInitialEvents`: the same, and after the initial objects a `BOOKMARK` annotated
//!   `k8s.io/initial-events-end`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use serde_json::json;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until};

use crate::kinds::Kind;
use crate::object::metadata_mut;
use crate::representation::Representation;
use crate::selectors::Selection;
use crate::server::ServerClock;
use crate::status::Failure;
use crate::store::{Change, ChangeKind, Filter, Store, Stored};
use crate::table::Headers;

/// Everything a watch needs to run.
pub(crate) struct Watch {
    pub(crate) store: Arc<Store>,
    pub(crate) kind: &'static Kind,
    pub(crate) selection: Selection,
    pub(crate) representation: Representation,
    /// For the ages in tables.
    pub(crate) clock: ServerClock,
    /// Changes up to here are known to the client.
    pub(crate) cursor: u64,
    pub(crate) queue: VecDeque<Bytes>,
    /// How often to send a bookmark; `None` when the client wants none.
    pub(crate) bookmarks: Option<Duration>,
    /// When the watch ends by itself; `None` for never.
    pub(crate) deadline: Option<Instant>,
    pub(crate) changed: watch::Receiver<u64>,
    /// Resolves when a fault drops the watch. Also keeps the watch counted as open.
    pub(crate) dropped: oneshot::Receiver<()>,
    /// Ends the watch once the queue is empty.
    pub(crate) ending: bool,
}

impl Watch {
    /// Queues an `ADDED` event for each of these objects.
    pub(crate) fn queue_initial(&mut self, objects: &[Arc<Stored>]) {
        for object in objects {
            let line = self.line(ChangeKind::Added, object);
            self.queue.push_back(line);
        }
    }

    /// Queues a bookmark at the cursor that tells the client it has seen all initial objects.
    pub(crate) fn queue_initial_end(&mut self) {
        let line = bookmark(
            self.kind,
            self.cursor,
            json!({"k8s.io/initial-events-end": "true"}),
        );
        self.queue.push_back(line);
    }

    /// Queues an `ERROR` event, after which the watch ends.
    pub(crate) fn queue_error(&mut self, failure: &Failure) {
        self.queue.push_back(error_line(failure));
        self.ending = true;
    }

    /// The lines of the watch.
    pub(crate) fn into_stream(self) -> impl Stream<Item = Bytes> + Send {
        let next_bookmark = self.bookmarks.map(|period| self.bookmark_after(period));
        futures::stream::unfold(
            (self, next_bookmark),
            |(mut watch, mut next_bookmark)| async move {
                let line = watch.next(&mut next_bookmark).await?;
                Some((line, (watch, next_bookmark)))
            },
        )
    }

    async fn next(&mut self, next_bookmark: &mut Option<Instant>) -> Option<Bytes> {
        let mut bookmark_due = false;
        loop {
            if let Some(line) = self.queue.pop_front() {
                return Some(line);
            }
            if self.ending {
                return None;
            }
            self.changed.mark_unchanged();
            match self.store.changes_since(self.kind, self.cursor) {
                // Too slow: the client resumes from what it saw, and learns there if that is gone.
                Err(_) => return None,
                Ok(fresh) => {
                    for change in &fresh.changes {
                        if let Some(line) = self.seen_as(change) {
                            self.queue.push_back(line);
                        }
                    }
                    self.cursor = fresh.cursor;
                }
            }
            if !self.queue.is_empty() {
                continue;
            }
            if bookmark_due {
                return Some(bookmark(self.kind, self.cursor, json!(null)));
            }
            tokio::select! {
                biased;
                _ = &mut self.dropped => return None,
                changed = self.changed.changed() => changed.ok()?,
                () = until(self.deadline) => return None,
                () = until(*next_bookmark) => {
                    *next_bookmark = self.bookmarks.map(|period| self.bookmark_after(period));
                    // Only after another look: a bookmark promises that all before it was sent.
                    bookmark_due = true;
                }
            }
        }
    }

    /// The next bookmark's time: after the period, or shortly before the watch's end.
    fn bookmark_after(&self, period: Duration) -> Instant {
        let now = Instant::now();
        let regular = now + period;
        match self.deadline.and_then(|end| end.checked_sub(BEFORE_END)) {
            Some(last) if last > now => regular.min(last),
            _ => regular,
        }
    }

    /// The change as this watch sees it: an object that begins or ceases to match its selectors is
    /// added or deleted.
    fn seen_as(&mut self, change: &Change) -> Option<Bytes> {
        let selection = &self.selection;
        if !selection.namespace.is_empty() && change.object.key.namespace != selection.namespace {
            return None;
        }
        let was = change
            .previous
            .as_ref()
            .is_some_and(|previous| selection.matches(previous));
        let is = change.kind != ChangeKind::Deleted && selection.matches(&change.object);
        let seen = match (was, is) {
            (false, false) => return None,
            (false, true) => ChangeKind::Added,
            (true, true) => ChangeKind::Modified,
            (true, false) => ChangeKind::Deleted,
        };
        if self.representation == Representation::Whole
            && seen == change.kind
            && self.kind.is_native()
        {
            return Some(change.frame.clone());
        }
        if seen == ChangeKind::Deleted && change.kind != ChangeKind::Deleted {
            // The state that last matched, at the revision of the change that ended it.
            let previous = change.previous.as_ref()?;
            let mut value = previous.value.clone();
            metadata_mut(&mut value).insert(
                "resourceVersion".into(),
                change.revision().to_string().into(),
            );
            let mut object = Vec::new();
            let now = (self.clock)();
            self.representation
                .append(self.kind, &value, now, &mut object);
            self.headers_sent();
            return Some(event_line(seen, &object));
        }
        Some(self.line(seen, &change.object))
    }

    fn line(&mut self, seen: ChangeKind, object: &Stored) -> Bytes {
        let now = (self.clock)();
        let line = event_line(seen, &self.representation.bytes(self.kind, object, now));
        self.headers_sent();
        line
    }

    /// Only the first table of a watch names the columns.
    fn headers_sent(&mut self) {
        if let Representation::Table(options) = &mut self.representation {
            options.headers = Headers::Left;
        }
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

fn event_line(seen: ChangeKind, object: &[u8]) -> Bytes {
    let mut line = Vec::with_capacity(object.len() + 40);
    line.extend_from_slice(b"{\"type\":\"");
    line.extend_from_slice(seen.event_type().as_bytes());
    line.extend_from_slice(b"\",\"object\":");
    line.extend_from_slice(object);
    line.extend_from_slice(b"}\n");
    line.into()
}

fn bookmark(kind: &Kind, revision: u64, annotations: serde_json::Value) -> Bytes {
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    if !annotations.is_null()
        && let Some(map) = metadata.as_object_mut()
    {
        map.insert("annotations".into(), annotations);
    }
    let event = json!({
        "type": "BOOKMARK",
        "object": {
            "kind": kind.kind,
            "apiVersion": kind.api_version(),
            "metadata": metadata,
        },
    });
    format!("{event}\n").into()
}

fn error_line(failure: &Failure) -> Bytes {
    format!(
        "{}\n",
        json!({"type": "ERROR", "object": failure.to_json()})
    )
    .into()
}

/// How long before its end a watch sends a last bookmark.
const BEFORE_END: Duration = Duration::from_secs(2);
