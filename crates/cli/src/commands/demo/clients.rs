//! What the clients say: each of their lines is a handshake that worked or did not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use podcert_sandbox::{LogLine, PodLogs, Stream};
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::board;
use super::story::Story;
use crate::commands::https_client::{Outcome, Poll};

/// Reads the clients' lines while it lives.
#[derive(Debug)]
pub(super) struct Clients {
    tally: Arc<Mutex<Tally>>,
    task: JoinHandle<()>,
}

/// What was counted.
#[derive(Debug, Default)]
struct Tally {
    clients: BTreeMap<String, Client>,
    /// Serial numbers of the certificates of chapters that are over.
    old: BTreeSet<String>,
    /// Serial numbers seen in this chapter.
    current: BTreeSet<String>,
    missed: u64,
    told: Option<Instant>,
}

/// One client pod.
#[derive(Debug, Default)]
struct Client {
    ok: u64,
    failed: u64,
    /// Calls before the first that worked: the server was not there yet.
    early: u64,
    /// Calls in a row, in this chapter, over certificates of this chapter alone.
    fresh: u64,
}

impl Clients {
    /// Begins to listen.
    pub(super) fn listen(logs: &PodLogs, story: Arc<Story>) -> Self {
        let mut lines = logs.subscribe();
        let tally = Arc::new(Mutex::new(Tally::default()));
        let shared = tally.clone();
        let task = tokio::spawn(async move {
            loop {
                match lines.recv().await {
                    Ok(line) => note(&line, &mut lock(&shared), &story),
                    Err(RecvError::Lagged(missed)) => lock(&shared).missed += missed,
                    Err(RecvError::Closed) => return,
                }
            }
        });
        Self { tally, task }
    }

    /// Certificates seen until now count as old from now on.
    pub(super) fn new_chapter(&self) {
        let mut tally = lock(&self.tally);
        let seen = std::mem::take(&mut tally.current);
        tally.old.extend(seen);
        for client in tally.clients.values_mut() {
            client.fresh = 0;
        }
    }

    /// Whether `expected` clients talk, and over certificates of this chapter alone.
    pub(super) fn settled(&self, expected: usize) -> bool {
        self.count_current() >= expected
    }

    /// How many clients have made several calls in a row over certificates of this chapter alone.
    pub(super) fn count_current(&self) -> usize {
        lock(&self.tally)
            .clients
            .values()
            .filter(|client| client.fresh >= IN_A_ROW)
            .count()
    }

    /// How many clients there are.
    pub(super) fn count(&self) -> usize {
        lock(&self.tally).clients.len()
    }

    /// Calls that worked, those that failed after a first success, and those before it.
    pub(super) fn handshakes(&self) -> Handshakes {
        let tally = lock(&self.tally);
        let sum = |of: fn(&Client) -> u64| tally.clients.values().map(of).sum();
        Handshakes {
            ok: sum(|client| client.ok),
            failed: sum(|client| client.failed),
            early: sum(|client| client.early),
            unseen: tally.missed,
        }
    }
}

/// How often it worked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handshakes {
    /// A full handshake and an answer.
    pub(super) ok: u64,
    /// No answer, after the client had had one before.
    pub(super) failed: u64,
    /// No answer, before the client's first one: its server was not there yet.
    pub(super) early: u64,
    /// Lines the demo was too slow to read.
    pub(super) unseen: u64,
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Counts a line, and tells it if it says something new.
fn note(line: &LogLine, tally: &mut Tally, story: &Story) {
    if line.stream != Stream::Stdout {
        return;
    }
    let Ok(poll) = line.text.parse::<Poll>() else {
        return;
    };
    let name = format!("{}/{}", line.namespace, line.pod);
    let client = tally.clients.entry(name.clone()).or_default();
    match poll.outcome {
        Outcome::Ok {
            status,
            body,
            serial,
            own_serial,
            names,
            ..
        } => {
            let first = client.ok == 0;
            client.ok += 1;
            let serials = [Some(&serial), own_serial.as_ref()];
            let stale = serials
                .into_iter()
                .flatten()
                .any(|serial| tally.old.contains(serial));
            client.fresh = if stale { 0 } else { client.fresh + 1 };
            show(line, story, |shown| {
                shown.ok += 1;
                shown.server = names.iter().map(|name| bare(name).to_owned()).collect();
            });
            let news = tally.current.insert(serial.clone()) && !stale;
            tally.current.extend(own_serial);
            if first {
                story.line("client", &format!("{name}: {status} {:?}", body.trim_end()));
            } else if news && !tally.old.is_empty() {
                let short = serial.get(..8).unwrap_or(&serial);
                story.line(
                    "client",
                    &format!("{name}: meets a new server certificate, {short}…: {status}"),
                );
            }
        }
        Outcome::Failed { error } if client.ok == 0 => {
            if client.early == 0 {
                story.line(
                    "client",
                    &format!("{name}: its server is not there yet ({error})"),
                );
            }
            client.early += 1;
        }
        Outcome::Failed { error } => {
            show(line, story, |shown| shown.failed += 1);
            client.failed += 1;
            client.fresh = 0;
            story.line("FAILED", &format!("{name}: {error}"));
        }
    }
    heartbeat(tally, story);
}

/// Changes what the board shows of the client.
fn show(line: &LogLine, story: &Story, change: impl FnOnce(&mut board::Client)) {
    let key = (line.namespace.clone(), line.pod.clone());
    story
        .board()
        .update(|view| change(view.clients.entry(key).or_default()));
}

/// The name without `DNS:` or `URI:`.
fn bare(name: &str) -> &str {
    name.split_once(':').map_or(name, |(_, name)| name)
}

/// Says now and then that all goes on, since calls that work are not told one by one.
fn heartbeat(tally: &mut Tally, story: &Story) {
    let now = Instant::now();
    let due = tally
        .told
        .is_none_or(|told| now.duration_since(told) >= HEARTBEAT);
    if !due {
        return;
    }
    let started = tally.told.replace(now).is_some();
    if started {
        let ok: u64 = tally.clients.values().map(|client| client.ok).sum();
        let failed: u64 = tally.clients.values().map(|client| client.failed).sum();
        let clients = tally.clients.len();
        story.line(
            "clients",
            &format!("{clients} call on: {ok} handshakes, {failed} failed"),
        );
    }
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

/// With three servers behind a Service, so many calls have met each of them.
const IN_A_ROW: u64 = 6;
const HEARTBEAT: std::time::Duration = std::time::Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Format;

    fn line(pod: &str, text: &str) -> LogLine {
        LogLine {
            namespace: "demo".to_owned(),
            pod: pod.to_owned(),
            container: "client".to_owned(),
            stream: Stream::Stdout,
            text: text.to_owned(),
            at: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    fn ok(serial: &str) -> String {
        format!(
            "ok poll=1 failures=0 status=200 body=\"OK\" serial={serial} \
             not_after=2026-11-22T10:00:00Z names=DNS:a"
        )
    }

    const FAILED: &str = "failed poll=1 failures=1 error=\"refused\"";

    #[tokio::test]
    async fn a_failure_counts_once_a_client_has_talked() {
        let story = Story::new(Format::Json);
        let mut tally = Tally::default();
        for text in [FAILED, &ok("aa"), FAILED, &ok("aa"), "some other line"] {
            note(&line("a", text), &mut tally, &story);
        }
        let client = &tally.clients["demo/a"];
        assert_eq!((client.early, client.ok, client.failed), (1, 2, 1));
    }

    #[tokio::test]
    async fn only_calls_over_new_certificates_alone_are_fresh() {
        let story = Story::new(Format::Json);
        let clients = Clients {
            tally: Arc::default(),
            task: tokio::spawn(async {}),
        };
        let say = |serial: &str| {
            note(&line("a", &ok(serial)), &mut lock(&clients.tally), &story);
        };
        for _ in 0..IN_A_ROW {
            say("aa");
        }
        assert!(clients.settled(1));
        clients.new_chapter();
        assert!(!clients.settled(1));
        // Two servers, one of which still shows its old certificate: not there yet.
        for _ in 0..IN_A_ROW {
            say("bb");
            say("aa");
        }
        assert!(!clients.settled(1));
        for _ in 0..IN_A_ROW {
            say("bb");
        }
        assert!(clients.settled(1));
        assert!(!clients.settled(2));
    }
}
