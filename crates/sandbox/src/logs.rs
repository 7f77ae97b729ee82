//! What the pods' processes print: the last lines of all are kept and each is broadcast as it comes; and the last lines
//! of each container, of its present and its previous run, for `kubectl logs`.

mod runs;
mod source;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::broadcast;

use self::runs::Runs;
use crate::pod_map::PodName;

/// The lines of all pods. Clones share them.
#[derive(Clone, Debug)]
pub struct PodLogs(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kept: Mutex<Kept>,
    runs: Mutex<Runs>,
    live: broadcast::Sender<LogLine>,
}

/// The newest lines, and how long their texts are together.
#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<LogLine>,
    bytes: usize,
}

/// One line of one process.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogLine {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The container's name.
    pub container: String,
    /// Where the process wrote it.
    pub stream: Stream,
    /// The line without its end, cut at 16 KiB; bytes that are no UTF-8 are replaced.
    pub text: String,
    /// When the sandbox read it.
    pub at: Timestamp,
}

/// An output stream of a process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stream {
    /// Standard error.
    Stderr,
    /// Standard output.
    Stdout,
}

impl PodLogs {
    pub(crate) fn new() -> Self {
        let (live, _) = broadcast::channel(LIVE_LINES);
        Self(Arc::new(Inner {
            kept: Mutex::default(),
            runs: Mutex::default(),
            live,
        }))
    }

    /// The lines from now on. A receiver that falls more than 1024 lines behind is told how many it missed.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<LogLine> {
        self.0.live.subscribe()
    }

    /// The lines that are kept (the last 8192 of all pods, at most 8 MiB), oldest first.
    #[must_use]
    pub fn lines(&self) -> Vec<LogLine> {
        self.kept().lines.iter().cloned().collect()
    }

    /// A container starts: what it prints from now on is another run's.
    pub(crate) fn begin(&self, pod: &PodName, container: &str) {
        self.runs().begin(pod, container);
    }

    /// A container that was to begin did not start.
    pub(crate) fn undo(&self, pod: &PodName, container: &str) {
        self.runs().undo(pod, container);
    }

    /// A container has ended: who follows its log comes to an end.
    pub(crate) fn end(&self, pod: &PodName, container: &str) {
        self.runs().end(pod, container);
    }

    /// A pod is gone, and its containers' logs with it.
    pub(crate) fn forget(&self, pod_uid: &str) {
        self.runs().forget(pod_uid);
    }

    pub(crate) fn push(&self, line: LogLine) {
        self.runs().push(&line);
        // No receiver is no failure: the line is kept.
        let _ = self.0.live.send(line.clone());
        let mut kept = self.kept();
        kept.bytes += line.text.len();
        kept.lines.push_back(line);
        while kept.lines.len() > KEPT_LINES || kept.bytes > KEPT_BYTES {
            let Some(oldest) = kept.lines.pop_front() else {
                break;
            };
            kept.bytes -= oldest.text.len();
        }
    }

    fn runs(&self) -> std::sync::MutexGuard<'_, Runs> {
        self.0.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A pod that floods the log with long lines must not fill the memory.
const KEPT_BYTES: usize = 8 << 20;
const KEPT_LINES: usize = 8192;
const LIVE_LINES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn line(n: usize) -> LogLine {
        LogLine {
            namespace: "demo".to_owned(),
            pod: "web".to_owned(),
            container: "main".to_owned(),
            stream: Stream::Stdout,
            text: n.to_string(),
            at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn the_log_is_bounded_and_live() {
        let logs = PodLogs::new();
        let mut live = logs.subscribe();
        for n in 0..KEPT_LINES + 10 {
            logs.push(line(n));
            if n == 0 {
                assert_eq!(live.try_recv().unwrap(), line(0));
            }
        }
        let kept = logs.lines();
        assert_eq!(kept.len(), KEPT_LINES);
        assert_eq!(kept.first(), Some(&line(10)));
        assert_eq!(kept.last(), Some(&line(KEPT_LINES + 9)));
        let lagged = live.try_recv().unwrap_err();
        assert!(matches!(lagged, broadcast::error::TryRecvError::Lagged(_)));
    }

    #[test]
    fn a_run_that_did_not_start_takes_no_log_away() {
        let logs = PodLogs::new();
        let pod = PodName {
            namespace: "demo".to_owned(),
            name: "web".to_owned(),
            uid: "u".to_owned(),
        };
        for n in 0..2 {
            logs.begin(&pod, "main");
            logs.push(line(n));
            logs.end(&pod, "main");
        }
        for _ in 0..3 {
            logs.begin(&pod, "main");
            logs.undo(&pod, "main");
        }
        let text = |run: Option<Arc<runs::Run>>| run.unwrap().from(0).0.remove(0).text;
        assert_eq!(text(logs.runs().present(&pod, "main")), "1");
        assert_eq!(text(logs.runs().previous(&pod, "main")), "0");
        logs.begin(&pod, "main");
        assert_eq!(text(logs.runs().previous(&pod, "main")), "1");
    }

    #[test]
    fn a_flood_of_long_lines_does_not_fill_the_memory() {
        let logs = PodLogs::new();
        for n in 0..1024 {
            let text = "\u{fffd}".repeat(16 * 1024);
            logs.push(LogLine { text, ..line(n) });
        }
        let kept = logs.lines();
        let bytes: usize = kept.iter().map(|line| line.text.len()).sum();
        assert!(bytes <= 8 << 20, "{bytes}");
        assert!(!kept.is_empty());
    }
}
