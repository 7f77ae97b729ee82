//! What the clients of the examples say of their calls, in the logs of their pods.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, LogParams};
use kube::{Api, Client, ResourceExt as _};
use tokio::time::{Instant, sleep};

use super::{PATIENCE, PAUSE};

/// One line of `podcert https-client`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Poll {
    /// Whether the server proved its name and answered.
    pub(super) ok: bool,
    fields: BTreeMap<String, String>,
}

impl Poll {
    /// The poll of a line, if it is the line of one.
    fn parse(line: &str) -> Option<Self> {
        let (outcome, mut rest) = line.split_once(' ')?;
        let ok = match outcome {
            "ok" => true,
            "failed" => false,
            _ => return None,
        };
        let mut fields = BTreeMap::new();
        while !rest.is_empty() {
            let (key, after) = rest.split_once('=')?;
            let (value, length) = if after.starts_with('"') {
                let mut strings = serde_json::Deserializer::from_str(after).into_iter::<String>();
                (strings.next()?.ok()?, strings.byte_offset())
            } else {
                let end = after.find(' ').unwrap_or(after.len());
                (after.get(..end)?.to_owned(), end)
            };
            fields.insert(key.to_owned(), value);
            rest = after.get(length..)?.trim_start_matches(' ');
        }
        Some(Self { ok, fields })
    }

    /// What a key says, and nothing where it is not there.
    pub(super) fn get(&self, key: &str) -> &str {
        self.fields.get(key).map_or("", String::as_str)
    }

    fn count(&self, key: &str) -> Result<u64> {
        let text = self.get(key);
        text.parse()
            .with_context(|| format!("a poll without a number `{key}`: {self:?}"))
    }
}

/// The clients of one namespace.
#[derive(Clone, Debug)]
pub(super) struct Clients {
    pods: Api<Pod>,
    namespace: String,
}

impl Clients {
    pub(super) fn of(client: &Client, namespace: &str) -> Self {
        Self {
            pods: Api::namespaced(client.clone(), namespace),
            namespace: namespace.to_owned(),
        }
    }

    /// The pods that are not being deleted, by name, each with its last polls.
    async fn polls(&self) -> Result<BTreeMap<String, Vec<Poll>>> {
        let list = self
            .pods
            .list(&ListParams::default().labels("app=client"))
            .await?;
        let mut polls = BTreeMap::new();
        for pod in list {
            if pod.metadata.deletion_timestamp.is_some() {
                continue;
            }
            let name = pod.name_any();
            let tail = LogParams {
                tail_lines: Some(LAST),
                ..LogParams::default()
            };
            // One that does not run yet has no log.
            let log = self.pods.logs(&name, &tail).await.unwrap_or_default();
            polls.insert(name, log.lines().filter_map(Poll::parse).collect());
        }
        Ok(polls)
    }

    /// Waits until so many clients there are, and no others, and the last polls of each went well.
    /// Answers the last of each.
    pub(super) async fn settled(&self, count: usize) -> Result<Vec<Poll>> {
        self.until(count, |_| true).await
    }

    /// The same, and the last poll of each is as wanted.
    pub(super) async fn until(
        &self,
        count: usize,
        wanted: impl Fn(&Poll) -> bool,
    ) -> Result<Vec<Poll>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let polls = self.polls().await?;
            let good = |polls: &Vec<Poll>| {
                let last = polls.iter().rev().take(SETTLED);
                polls.len() >= SETTLED
                    && last.clone().all(|poll| poll.ok)
                    && polls.last().is_some_and(&wanted)
            };
            if polls.len() == count && polls.values().all(good) {
                return Ok(polls
                    .into_values()
                    .filter_map(|mut polls| polls.pop())
                    .collect());
            }
            if Instant::now() > deadline {
                bail!(
                    "the clients in {} have not settled after {} s: {polls:?}",
                    self.namespace,
                    PATIENCE.as_secs()
                );
            }
            sleep(PAUSE).await;
        }
    }

    /// Watches each client make [`QUIET`] more polls, of which none may fail, nor any go unseen.
    /// Answers how many were watched.
    pub(super) async fn none_fails(&self, count: usize) -> Result<u64> {
        self.none_fails_for(count, QUIET).await
    }

    /// The same for so many polls.
    pub(super) async fn none_fails_for(&self, count: usize, quiet: u64) -> Result<u64> {
        let last = |polls: &[Poll]| -> Result<(u64, u64)> {
            let poll = polls.last().context("a client without a poll")?;
            Ok((poll.count("poll")?, poll.count("failures")?))
        };
        let before = self.polls().await?;
        ensure!(
            before.len() == count,
            "{} clients, not {count}",
            before.len()
        );
        let deadline = Instant::now() + PATIENCE;
        let mut watched = 0;
        for (pod, polls) in before {
            let (from, failures) = last(&polls)?;
            loop {
                let now = self.polls().await?;
                let (number, failed) =
                    last(now.get(&pod).with_context(|| format!("{pod} is gone"))?)?;
                ensure!(
                    failed == failures,
                    "{pod} in {} had {} failed calls of {} after it had settled: {now:?}",
                    self.namespace,
                    failed.saturating_sub(failures),
                    number.saturating_sub(from)
                );
                if number >= from + quiet {
                    watched += number - from;
                    break;
                }
                ensure!(Instant::now() < deadline, "{pod} stopped polling: {now:?}");
                sleep(PAUSE).await;
            }
        }
        Ok(watched)
    }

    /// Deletes all clients, so that others come in their place.
    pub(super) async fn replace_all(&self) -> Result<()> {
        for name in self.polls().await?.keys() {
            self.pods
                .delete(name, &kube::api::DeleteParams::default())
                .await?;
        }
        Ok(())
    }

    /// Deletes one client, so that another comes in its place.
    pub(super) async fn replace_one(&self) -> Result<()> {
        let polls = self.polls().await?;
        let name = polls.keys().next().context("no client to replace")?;
        self.pods
            .delete(name, &kube::api::DeleteParams::default())
            .await?;
        Ok(())
    }
}

/// Polls that are read.
const LAST: i64 = 20;
/// Polls that must go well in a row.
const SETTLED: usize = 3;
/// Polls that are watched after that.
const QUIET: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poll_is_read_with_strings_and_words() {
        let line = r#"ok poll=12 failures=1 status=200 body="a \"b\" x=1\n" serial=4f2a names=DNS:a,URI:b own_serial=51"#;
        let poll = Poll::parse(line).unwrap();
        assert!(poll.ok);
        assert_eq!(poll.get("body"), "a \"b\" x=1\n");
        assert_eq!(
            (poll.count("poll").unwrap(), poll.count("failures").unwrap()),
            (12, 1)
        );
        assert_eq!(
            (poll.get("names"), poll.get("own_serial")),
            ("DNS:a,URI:b", "51")
        );
        assert_eq!(poll.get("none"), "");
    }

    #[test]
    fn a_failure_is_a_poll_and_another_line_is_none() {
        let poll = Poll::parse(r#"failed poll=2 failures=1 error="cannot connect""#).unwrap();
        assert!(!poll.ok);
        assert_eq!(poll.get("error"), "cannot connect");
        assert!(poll.count("status").is_err());
        for other in ["", "ok", "okay poll=1", "ok poll", r#"ok body="x"#] {
            assert_eq!(Poll::parse(other), None, "{other}");
        }
    }
}
