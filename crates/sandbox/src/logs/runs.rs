//! The lines of each container by its runs: the present one and the one before, each bounded.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;

use super::LogLine;
use crate::pod_map::PodName;

/// All containers' runs, by namespace, pod and container.
#[derive(Debug, Default)]
pub(super) struct Runs(HashMap<(String, String, String), Container>);

#[derive(Debug)]
struct Container {
    pod_uid: String,
    present: Arc<Run>,
    previous: Option<Arc<Run>>,
    /// The one before that, for as long as it is not clear whether the present one starts.
    before: Option<Arc<Run>>,
}

/// One run's lines.
#[derive(Debug)]
pub(super) struct Run {
    kept: Mutex<Kept>,
    changes: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<Line>,
    bytes: usize,
    /// The number of the first line that is kept.
    first: u64,
    ended: bool,
}

/// A line and when it was read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Line {
    pub(super) at: Timestamp,
    pub(super) text: String,
}

impl Runs {
    pub(super) fn begin(&mut self, pod: &PodName, container: &str) {
        let key = key(&pod.namespace, &pod.name, container);
        let last = self.0.remove(&key).filter(|c| c.pod_uid == pod.uid);
        let (previous, before) = match last {
            Some(last) => (Some(last.present), last.previous),
            None => (None, None),
        };
        let next = Container {
            pod_uid: pod.uid.clone(),
            present: Arc::default(),
            previous,
            before,
        };
        self.0.insert(key, next);
    }

    /// The run that began last did not start: what was before it stays what is read.
    pub(super) fn undo(&mut self, pod: &PodName, container: &str) {
        self.end(pod, container);
        let key = key(&pod.namespace, &pod.name, container);
        let Some(container) = self.0.get_mut(&key).filter(|c| c.pod_uid == pod.uid) else {
            return;
        };
        match container.previous.take() {
            Some(previous) => {
                container.present = previous;
                container.previous = container.before.take();
            }
            None => drop(self.0.remove(&key)),
        }
    }

    pub(super) fn end(&mut self, pod: &PodName, container: &str) {
        let container = self.0.get(&key(&pod.namespace, &pod.name, container));
        if let Some(container) = container.filter(|c| c.pod_uid == pod.uid) {
            container.present.end();
        }
    }

    pub(super) fn forget(&mut self, pod_uid: &str) {
        self.0.retain(|_, container| container.pod_uid != pod_uid);
    }

    pub(super) fn push(&mut self, line: &LogLine) {
        let key = key(&line.namespace, &line.pod, &line.container);
        if let Some(container) = self.0.get_mut(&key) {
            container.before = None;
            container.present.push(Line {
                at: line.at,
                text: line.text.clone(),
            });
        }
    }

    /// The container's present run, of this pod.
    pub(super) fn present(&self, pod: &PodName, container: &str) -> Option<Arc<Run>> {
        Some(self.find(pod, container)?.present.clone())
    }

    /// The run before.
    pub(super) fn previous(&self, pod: &PodName, container: &str) -> Option<Arc<Run>> {
        self.find(pod, container)?.previous.clone()
    }

    fn find(&self, pod: &PodName, container: &str) -> Option<&Container> {
        let found = self.0.get(&key(&pod.namespace, &pod.name, container));
        found.filter(|found| found.pod_uid == pod.uid)
    }
}

impl Default for Run {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
            changes: watch::Sender::new(()),
        }
    }
}

impl Run {
    fn push(&self, line: Line) {
        {
            let mut kept = self.kept();
            kept.bytes += line.text.len();
            kept.lines.push_back(line);
            while kept.lines.len() > LINES || kept.bytes > BYTES {
                let Some(oldest) = kept.lines.pop_front() else {
                    break;
                };
                kept.bytes -= oldest.text.len();
                kept.first += 1;
            }
        }
        self.changes.send_replace(());
    }

    fn end(&self) {
        self.kept().ended = true;
        self.changes.send_replace(());
    }

    /// The kept lines from this number on, the number of the one after them, and whether none will follow.
    pub(super) fn from(&self, number: u64) -> (Vec<Line>, u64, bool) {
        let kept = self.kept();
        let skip = usize::try_from(number.saturating_sub(kept.first)).unwrap_or(usize::MAX);
        let lines = kept.lines.iter().skip(skip).cloned().collect();
        let count = u64::try_from(kept.lines.len()).unwrap_or(u64::MAX);
        (lines, kept.first.saturating_add(count), kept.ended)
    }

    /// Changes whenever there is a line more, or the end.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(namespace: &str, pod: &str, container: &str) -> (String, String, String) {
    (namespace.to_owned(), pod.to_owned(), container.to_owned())
}

/// What one run may keep.
const BYTES: usize = 512 << 10;
const LINES: usize = 4096;
