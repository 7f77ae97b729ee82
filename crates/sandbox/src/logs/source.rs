//! The logs as the API server serves them: what a kubelet answers to `containerLogs`.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, stream};
use podcert_apiserver::{PodLogQuery, PodLogSource};
use tokio::sync::watch;

use super::PodLogs;
use super::runs::{Line, Run};
use crate::pod_map::PodName;

impl PodLogSource for PodLogs {
    fn open(
        &self,
        query: PodLogQuery,
    ) -> BoxFuture<'static, Result<BoxStream<'static, Bytes>, String>> {
        let opened = self.read(&query);
        async move { opened }.boxed()
    }
}

impl PodLogs {
    fn read(&self, query: &PodLogQuery) -> Result<BoxStream<'static, Bytes>, String> {
        let pod = PodName {
            namespace: query.namespace.clone(),
            name: query.pod.clone(),
            uid: query.uid.clone(),
        };
        let (name, container) = (&query.pod, &query.container);
        let run = if query.previous {
            self.runs().previous(&pod, container).ok_or_else(|| {
                format!("previous terminated container {container:?} in pod {name:?} not found")
            })?
        } else {
            self.runs().present(&pod, container).ok_or_else(|| {
                format!(
                    "container {container:?} in pod {name:?} is waiting to start: ContainerCreating"
                )
            })?
        };
        let changes = run.changes();
        let (lines, next, _) = run.from(0);
        let since = query.since;
        let mut lines: VecDeque<Line> = lines
            .into_iter()
            .filter(|line| since.is_none_or(|since| line.at >= since))
            .collect();
        if let Some(tail) = query.tail_lines.and_then(|tail| usize::try_from(tail).ok()) {
            lines.drain(..lines.len().saturating_sub(tail));
        }
        let reader = Reader {
            run,
            changes,
            lines,
            next,
            follow: query.follow,
            timestamps: query.timestamps,
            left: query.limit_bytes,
        };
        let pieces = stream::unfold(reader, |mut reader| async move {
            let piece = reader.next().await?;
            Some((piece, reader))
        });
        Ok(pieces.boxed())
    }
}

/// Where somebody who reads a log is.
struct Reader {
    run: Arc<Run>,
    changes: watch::Receiver<()>,
    lines: VecDeque<Line>,
    next: u64,
    follow: bool,
    timestamps: bool,
    left: Option<u64>,
}

impl Reader {
    async fn next(&mut self) -> Option<Bytes> {
        if self.left == Some(0) {
            return None;
        }
        while self.lines.is_empty() {
            if !self.follow {
                return None;
            }
            // Marked as seen before looking: a line that comes in between is not missed.
            self.changes.borrow_and_update();
            let (lines, next, ended) = self.run.from(self.next);
            self.next = next;
            self.lines = lines.into();
            if self.lines.is_empty() && (ended || self.changes.changed().await.is_err()) {
                return None;
            }
        }
        let mut text = String::new();
        for line in self.lines.drain(..) {
            if self.timestamps {
                text.push_str(&line.at.strftime("%Y-%m-%dT%H:%M:%S.%9fZ ").to_string());
            }
            text.push_str(&line.text);
            text.push('\n');
        }
        let mut piece = Bytes::from(text);
        if let Some(left) = &mut self.left {
            piece.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= u64::try_from(piece.len()).unwrap_or_default();
        }
        Some(piece)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::logs::{LogLine, Stream};

    fn pod() -> PodName {
        PodName {
            namespace: "demo".to_owned(),
            name: "web".to_owned(),
            uid: "u".to_owned(),
        }
    }

    fn push(logs: &PodLogs, second: i64, text: &str) {
        logs.push(LogLine {
            namespace: "demo".to_owned(),
            pod: "web".to_owned(),
            container: "main".to_owned(),
            stream: Stream::Stdout,
            text: text.to_owned(),
            at: Timestamp::from_second(second).unwrap(),
        });
    }

    fn query(change: impl FnOnce(&mut PodLogQuery)) -> PodLogQuery {
        let mut query = PodLogQuery::default();
        query.namespace = "demo".to_owned();
        query.pod = "web".to_owned();
        query.uid = "u".to_owned();
        query.container = "main".to_owned();
        change(&mut query);
        query
    }

    async fn read(logs: &PodLogs, change: impl FnOnce(&mut PodLogQuery)) -> Result<String, String> {
        let pieces: Vec<Bytes> = logs.open(query(change)).await?.collect().await;
        Ok(String::from_utf8(pieces.concat()).unwrap())
    }

    #[tokio::test]
    async fn a_log_is_read_in_parts_and_by_runs() {
        let logs = PodLogs::new();
        let waiting = read(&logs, |_| {}).await.unwrap_err();
        assert!(waiting.contains("is waiting to start"), "{waiting}");
        logs.begin(&pod(), "main");
        for (second, text) in [(1, "one"), (2, "two"), (3, "three")] {
            push(&logs, second, text);
        }
        assert_eq!(read(&logs, |_| {}).await.unwrap(), "one\ntwo\nthree\n");
        let tail = read(&logs, |q| q.tail_lines = Some(1)).await.unwrap();
        assert_eq!(tail, "three\n");
        let since = read(&logs, |q| {
            q.since = Some(Timestamp::from_second(2).unwrap());
        });
        assert_eq!(since.await.unwrap(), "two\nthree\n");
        let dated = read(&logs, |q| (q.timestamps, q.tail_lines) = (true, Some(1))).await;
        assert_eq!(dated.unwrap(), "1970-01-01T00:00:03.000000000Z three\n");
        let cut = read(&logs, |q| q.limit_bytes = Some(5)).await.unwrap();
        assert_eq!(cut, "one\nt");

        assert!(read(&logs, |q| q.previous = true).await.is_err());
        logs.end(&pod(), "main");
        logs.begin(&pod(), "main");
        push(&logs, 4, "again");
        assert_eq!(read(&logs, |_| {}).await.unwrap(), "again\n");
        let previous = read(&logs, |q| q.previous = true).await.unwrap();
        assert_eq!(previous, "one\ntwo\nthree\n");
        assert!(read(&logs, |q| q.uid = "other".to_owned()).await.is_err());
        logs.forget("u");
        assert!(read(&logs, |_| {}).await.is_err());
    }

    #[tokio::test]
    async fn a_followed_log_ends_with_its_container() {
        let logs = PodLogs::new();
        logs.begin(&pod(), "main");
        push(&logs, 1, "one");
        let mut stream = logs.open(query(|q| q.follow = true)).await.unwrap();
        assert_eq!(stream.next().await.unwrap(), "one\n");
        push(&logs, 2, "two");
        assert_eq!(stream.next().await.unwrap(), "two\n");
        push(&logs, 3, "last");
        logs.end(&pod(), "main");
        assert_eq!(stream.next().await.unwrap(), "last\n");
        assert_eq!(stream.next().await, None);
    }

    #[tokio::test]
    async fn a_container_that_floods_keeps_its_newest_lines() {
        let logs = PodLogs::new();
        logs.begin(&pod(), "main");
        for n in 0..200 {
            push(&logs, n, &"x".repeat(16 << 10));
        }
        push(&logs, 200, "newest");
        let kept = read(&logs, |_| {}).await.unwrap();
        assert!(kept.len() <= (512 << 10) + 100, "{}", kept.len());
        assert!(kept.ends_with("newest\n"));
    }
}
